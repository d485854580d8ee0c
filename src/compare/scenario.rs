//! Owns the scenarios of a comparison: their names, their plans, and the training each of them is.
//!
//! Refuses scenarios that do not exist.

use std::fmt;

use crate::encoder::TrainedTensors;
use crate::error::{Error, Kind, Result};
use crate::plan::FreezePlan;
use crate::report::{Report, depth_name, depth_of};
use crate::train::{FeatureRequest, Freezing, FrozenHead};

/// One way of freezing, in the order of the table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// `1`: everything is frozen.
    Frozen,
    /// `2`: the backbone is frozen, heads are fitted.
    Heads,
    /// `2:FEATURES`: the same on other features than the sentence embedding.
    Features(FeatureRequest),
    /// `depth-N`: scenario 2 on the best features of the lowest N layers, which alone are run.
    Depth(usize),
    /// `3:TASK`: that head is frozen, everything else is trained. `3:TASK:FEATURES`: the same on other
    /// features.
    FrozenHead(String, FeatureRequest),
    /// `topN`: gradual unfreezing of so many top layers. `topN:FEATURES`: the same on other features.
    Top(usize, FeatureRequest),
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frozen => f.write_str("1"),
            Self::Heads => f.write_str("2"),
            Self::Features(features) => write!(f, "2:{features}"),
            Self::Depth(depth) => f.write_str(&depth_name(*depth)),
            Self::FrozenHead(task, features) => write!(f, "3:{task}{}", suffix(*features)),
            Self::Top(layers, features) => write!(f, "top{layers}{}", suffix(*features)),
        }
    }
}

impl Scenario {
    /// Reads the values of `--scenarios`; none at all is every scenario: 1, 2, 3 for each task, top1 and
    /// top2. A `2` alone stands for `2:last` and `2:auto`, a `3` for all tasks.
    ///
    /// # Errors
    /// There is no such scenario, or no such task.
    pub fn choose(values: &[String], tasks: &[String]) -> Result<Vec<Self>> {
        if values.is_empty() {
            return Ok(Self::all(tasks));
        }
        let mut chosen = Vec::new();
        for value in values {
            match value.as_str() {
                "1" => chosen.push(Self::Frozen),
                "2" => chosen.extend([Self::Heads, Self::Features(FeatureRequest::AUTO)]),
                "3" => chosen.extend(Self::frozen_heads(tasks)),
                _ => chosen.push(Self::parse(value, tasks)?),
            }
        }
        chosen.sort();
        chosen.dedup();
        Ok(chosen)
    }

    /// Every scenario with these tasks: 1, 2 on two kinds of features, 3 for each task, top1 and top2.
    #[must_use]
    pub fn all(tasks: &[String]) -> Vec<Self> {
        let mut all = vec![Self::Frozen, Self::Heads, Self::Features(FeatureRequest::AUTO)];
        all.extend(Self::frozen_heads(tasks));
        all.extend([1, 2].map(|layers| Self::Top(layers, FeatureRequest::default())));
        all.sort();
        all
    }

    /// The scenario of a name that [`fmt::Display`] gave, none where there is no such scenario or task.
    #[must_use]
    pub fn named(name: &str, tasks: &[String]) -> Option<Self> {
        match name {
            "1" => Some(Self::Frozen),
            "2" => Some(Self::Heads),
            _ => depth_of(name).map(Self::Depth).or_else(|| Self::parse(name, tasks).ok()),
        }
    }

    /// The scenarios of a report.
    #[must_use]
    pub fn of_report(report: &Report) -> Vec<Self> {
        let all = report.backbones.iter().flat_map(|backbone| &backbone.scenarios);
        all.filter_map(|entry| Self::named(&entry.scenario, &report.tasks)).collect()
    }

    fn frozen_heads(tasks: &[String]) -> impl Iterator<Item = Self> {
        tasks.iter().cloned().map(|task| Self::FrozenHead(task, FeatureRequest::default()))
    }

    fn parse(value: &str, tasks: &[String]) -> Result<Self> {
        if let Some(head) = value.strip_prefix("3:") {
            return Self::frozen_head(value, head, tasks);
        }
        if let Some(features) = value.strip_prefix("2:") {
            return Ok(Self::fitted(features.parse()?));
        }
        let (layers, features) = value.split_once(':').unwrap_or((value, "last"));
        let layers = layers.strip_prefix("top").and_then(|number| number.parse().ok());
        let layers = layers.filter(|layers| *layers > 0).ok_or_else(|| {
            Error::new(Kind::Usage, "there is no such scenario")
                .found(format!("--scenarios {value}"))
                .expected("1, 2, 2:FEATURES, 3, 3:TASK, 3:TASK:FEATURES, top1, top2, …, topN:FEATURES")
        })?;
        Ok(Self::Top(layers, features.parse()?))
    }

    /// `TASK` or `TASK:FEATURES`; a task may have a colon in its name, and comes first.
    fn frozen_head(value: &str, head: &str, tasks: &[String]) -> Result<Self> {
        if tasks.iter().any(|task| task == head) {
            return Ok(Self::FrozenHead(head.to_owned(), FeatureRequest::default()));
        }
        let features = |task: &str| head.strip_prefix(task)?.strip_prefix(':');
        match tasks.iter().find_map(|task| Some((task, features(task)?))) {
            Some((task, features)) => Ok(Self::FrozenHead(task.clone(), features.parse()?)),
            None => Err(Error::new(Kind::Usage, "there is no such head to freeze")
                .found(format!("--scenarios {value}"))
                .expected(format!("3:TASK or 3:TASK:FEATURES with a task of {}", tasks.join(", ")))),
        }
    }

    /// Scenario 2 on these features.
    #[must_use]
    pub fn fitted(features: FeatureRequest) -> Self {
        if features == FeatureRequest::default() { Self::Heads } else { Self::Features(features) }
    }

    /// What its heads see.
    #[must_use]
    pub fn features(&self) -> FeatureRequest {
        match self {
            Self::Frozen | Self::Heads => FeatureRequest::default(),
            Self::Depth(_) => FeatureRequest::AUTO,
            Self::Features(features) | Self::FrozenHead(_, features) | Self::Top(_, features) => *features,
        }
    }

    /// Whether its heads sit on a frozen backbone and see means of its layers: they may read long texts in
    /// windows.
    #[must_use]
    pub fn reads_windows(&self) -> bool {
        matches!(self, Self::Features(_) | Self::Depth(_))
    }

    /// What has to be run before it.
    #[must_use]
    pub fn needs(&self, frozen_head: &FrozenHead) -> Option<Self> {
        let fitted = matches!(self, Self::FrozenHead(..)) && *frozen_head == FrozenHead::Fitted;
        fitted.then(|| Self::fitted(self.features()))
    }

    /// A name for its directory: letters, digits, `.`, `_` and `-`; everything else by its code.
    #[must_use]
    pub fn folder(&self) -> String {
        match self {
            Self::Features(features) => format!("2-{}", folder(&features.to_string())),
            Self::FrozenHead(task, features) => {
                format!("3-{}", folder(&format!("{task}{}", suffix(*features))))
            }
            Self::Top(layers, features) => format!("top{layers}{}", folder(&suffix(*features))),
            Self::Frozen | Self::Heads | Self::Depth(_) => self.to_string(),
        }
    }

    /// Its plans, stage by stage. `also` is what scenario 3 freezes beside the head, `tensors` what is trained
    /// of free layers.
    ///
    /// # Errors
    /// The backbone has too few layers, or cannot be cut inside.
    pub fn plans(
        &self,
        (tasks, depth): (&[String], Option<usize>),
        also: &[String],
        tensors: TrainedTensors,
    ) -> Result<Vec<FreezePlan>> {
        let plans: Result<Vec<FreezePlan>> = match self {
            Self::Features(_) if depth.is_none() => {
                Err(Error::new(Kind::Usage, "an imported .onnx file has the features of its last layer only"))
            }
            Self::Top(layers, _) => (0..=*layers).map(|count| FreezePlan::top(count, tasks, depth)).collect(),
            _ => FreezePlan::parse(&self.freeze(also), tasks, depth).map(|plan| vec![plan]),
        };
        plans.map(|plans| plans.into_iter().map(|plan| plan.training(tensors)).collect())
    }

    /// The values of `--freeze`.
    fn freeze(&self, also: &[String]) -> Vec<String> {
        match self {
            Self::Frozen => vec!["all".to_owned()],
            Self::FrozenHead(task, _) => [&[format!("head:{task}")], also].concat(),
            Self::Heads | Self::Features(_) | Self::Depth(_) | Self::Top(..) => Vec::new(),
        }
    }

    /// What its training freezes. `also` is what scenario 3 freezes beside the head.
    ///
    /// # Errors
    /// That contradicts itself.
    pub fn freezing(&self, also: &[String]) -> Result<Freezing> {
        let unfreeze = if let Self::Top(layers, _) = self { (0..=*layers).collect() } else { Vec::new() };
        Freezing::new(self.freeze(also), unfreeze)
    }
}

/// `:FEATURES`, and nothing for the sentence embedding.
fn suffix(features: FeatureRequest) -> String {
    if features == FeatureRequest::default() { String::new() } else { format!(":{features}") }
}

/// A name as part of a path: no two names give the same.
pub(super) fn folder(name: &str) -> String {
    let mut folder = String::new();
    for (place, byte) in name.bytes().enumerate() {
        let plain =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && place > 0);
        if plain { folder.push(char::from(byte)) } else { folder += &format!("%{byte:02X}") }
    }
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks() -> Vec<String> {
        ["type", "sentiment"].map(str::to_owned).into()
    }

    fn choose(values: &[&str]) -> Result<String> {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        let names = Scenario::choose(&values, &tasks())?;
        Ok(names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn scenarios_are_read_in_any_order_and_once() {
        assert_eq!(choose(&[]).unwrap(), "1 2 2:auto 3:sentiment 3:type top1 top2");
        assert_eq!(choose(&["top12", "3:type", "2", "2", "top1"]).unwrap(), "2 2:auto 3:type top1 top12");
        assert_eq!(choose(&["2:last", "2:layers:2-5", "2:all"]).unwrap(), "2 2:layers:2-5 2:all");
        assert_eq!(choose(&["3", "3:type"]).unwrap(), "3:sentiment 3:type");
        assert_eq!(
            choose(&["top2:all", "3:type:layers:2-5", "top1:last", "top2", "3:type:last"]).unwrap(),
            "3:type 3:type:layers:2-5 top1 top2 top2:all"
        );
        for scenario in
            Scenario::choose(&["1", "2", "2:all", "3", "top3:all"].map(str::to_owned), &tasks()).unwrap()
        {
            assert_eq!(Scenario::named(&scenario.to_string(), &tasks()), Some(scenario));
        }
        assert_eq!(Scenario::named("3", &tasks()), None);
        assert_eq!(Scenario::named("depth-3", &tasks()), Some(Scenario::Depth(3)));
        assert!(choose(&["depth-3"]).is_err(), "depths are asked for by --depths");
        // A task may be called like another one's features.
        let tasks = ["a:all", "a"].map(str::to_owned);
        let of = |value: &str| Scenario::choose(&[value.to_owned()], &tasks).unwrap().remove(0);
        assert_eq!(of("3:a:all"), Scenario::FrozenHead("a:all".into(), FeatureRequest::default()));
        assert_eq!(of("3:a:auto"), Scenario::FrozenHead("a".into(), FeatureRequest::AUTO));
    }

    #[test]
    fn unknown_scenarios_say_what_there_is() {
        for (value, part) in [
            ("4", "1, 2, 2:FEATURES, 3, 3:TASK"),
            ("top0", "top1"),
            ("top", "top1"),
            ("3:topic", "type, sentiment"),
            ("3:topic:all", "type, sentiment"),
            ("3:type:every", "layers:2-5"),
            ("top1:every", "layers:2-5"),
            ("top1:", "layers:2-5"),
            ("", "1, 2"),
        ] {
            let error = choose(&[value]).unwrap_err().to_string();
            let found = value.rsplit(':').next().unwrap();
            assert!(error.contains(part) && error.contains(found), "{error}");
        }
    }

    #[test]
    fn each_scenario_has_its_plan() {
        let frozen = |scenario: Scenario, also: &[&str]| {
            let also: Vec<String> = also.iter().map(|value| (*value).to_owned()).collect();
            let plans = scenario.plans((&tasks(), Some(6)), &also, TrainedTensors::All).unwrap();
            plans.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(frozen(Scenario::Frozen, &["backbone:0-3"]), ["backbone, head type, head sentiment"]);
        assert_eq!(frozen(Scenario::Heads, &["backbone:0-3"]), ["backbone"]);
        let head = Scenario::FrozenHead("type".into(), FeatureRequest::default());
        assert_eq!(frozen(head.clone(), &[]), ["head type"]);
        assert_eq!(frozen(head, &["backbone:0-3"]), ["embeddings, layers 0-3, head type"]);
        let top = frozen(Scenario::Top(2, FeatureRequest::default()), &["backbone:0-3"]);
        assert_eq!(top, ["backbone", "embeddings, layers 0-4", "embeddings, layers 0-3"]);
        let top = |layers, depth, tensors| {
            Scenario::Top(layers, FeatureRequest::default()).plans((&tasks(), depth), &[], tensors)
        };
        assert!(top(7, Some(6), TrainedTensors::All).is_err());
        assert!(top(1, None, TrainedTensors::All).unwrap_err().to_string().contains(".onnx"));
        let biases = top(1, Some(6), TrainedTensors::Biases).unwrap();
        assert_eq!(biases[1].to_string(), "embeddings, layers 0-4, the backbone's matrices");
    }

    #[test]
    fn folders_are_safe_and_different() {
        let of = |task: &str| Scenario::FrozenHead(task.into(), FeatureRequest::default()).folder();
        assert_eq!(of("type"), "3-type");
        assert_eq!(of("../a b"), "3-%2E.%2Fa%20b");
        assert_ne!(of("a/b"), of("a_b"));
        assert_eq!(folder(".."), "%2E.");
        assert_eq!(Scenario::Top(2, FeatureRequest::default()).folder(), "top2");
        assert_eq!(Scenario::Depth(3).folder(), "depth-3");
        assert_eq!(Scenario::Top(2, "layers:3".parse().unwrap()).folder(), "top2%3Alayers%3A3");
        assert_eq!(Scenario::FrozenHead("type".into(), FeatureRequest::AUTO).folder(), "3-type%3Aauto");
    }
}
