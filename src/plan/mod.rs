//! Owns the freeze plan: what is frozen, and from that the cut, the trained tensors and the scenario.
//!
//! Refuses plans that contradict themselves, name what is not there, or leave nothing to train without saying
//! so.

use std::collections::BTreeSet;
use std::fmt;

use crate::encoder::{Start, TrainedTensors, Weights, can_be_trained, is_shared_by_layers, layer_of};
use crate::error::{Error, Kind, Result};

/// Which parts of a network are trained; everything else is frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreezePlan {
    /// Whether the embeddings are trained.
    pub embeddings: bool,
    /// The trained layers.
    pub layers: BTreeSet<usize>,
    /// What of them, and of the embeddings, is trained.
    pub tensors: TrainedTensors,
    /// Tasks whose heads are trained.
    pub heads: BTreeSet<String>,
    /// All tasks.
    tasks: Vec<String>,
    /// Layers the backbone has; none when it cannot be looked into.
    depth: Option<usize>,
}

/// The four ways of freezing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// 1: everything is frozen.
    Frozen,
    /// 2: the backbone is frozen, heads are fitted on its features.
    Heads,
    /// 3 and gradual unfreezing: a part of the backbone is trained.
    Network,
}

impl FreezePlan {
    /// Reads the values of `--freeze`: `all`, `backbone`, `backbone:embeddings`, `backbone:A-B` or
    /// `backbone:N`, `head:TASK`. None at all is `backbone`. `depth` is the backbone's number of layers, none
    /// when it is opaque.
    ///
    /// # Errors
    /// A value that is none of these, a layer or head that is not there, `all` beside others, an inner cut of
    /// an opaque backbone, or nothing left to train.
    pub fn parse(freeze: &[String], tasks: &[String], depth: Option<usize>) -> Result<Self> {
        let mut plan = Self::everything(tasks, depth);
        let default = ["backbone".to_owned()];
        let values = if freeze.is_empty() { &default } else { freeze };
        if values.iter().any(|value| value == "all") {
            if let Some(other) = values.iter().find(|value| *value != "all") {
                return Err(contradiction(&format!("--freeze all --freeze {other}")));
            }
            return Ok(Self { embeddings: false, layers: BTreeSet::new(), heads: BTreeSet::new(), ..plan });
        }
        if depth.is_none() && !values.iter().any(|value| value == "backbone") {
            return Err(opaque());
        }
        for value in values {
            plan.freeze(value)?;
        }
        if !plan.embeddings && plan.layers.is_empty() && plan.heads.is_empty() {
            return Err(nothing_left(values));
        }
        Ok(plan)
    }

    /// A stage of gradual unfreezing: the top `count` layers and all heads are trained.
    ///
    /// # Errors
    /// The backbone has fewer layers, or is opaque.
    pub fn top(count: usize, tasks: &[String], depth: Option<usize>) -> Result<Self> {
        let mut plan = Self::everything(tasks, depth);
        plan.embeddings = false;
        let layers = depth.unwrap_or(0);
        if depth.is_some() && count > layers {
            return Err(Error::new(Kind::Usage, "the backbone does not have that many layers to unfreeze")
                .found(format!("--unfreeze {count}"))
                .expected(format!("at most {layers}")));
        }
        plan.layers = (layers.saturating_sub(count)..layers).collect();
        if depth.is_none() && count > 0 {
            return Err(opaque());
        }
        Ok(plan)
    }

    /// The same plan with some heads frozen: values `head:TASK`.
    ///
    /// # Errors
    /// There is no such head, or nothing is left to train.
    pub fn without(mut self, heads: &[String]) -> Result<Self> {
        heads.iter().try_for_each(|value| self.freeze(value))?;
        if self.layers.is_empty() && self.heads.is_empty() {
            return Err(nothing_left(heads));
        }
        Ok(self)
    }

    /// The same plan, of whose free layers only this is trained.
    #[must_use]
    pub fn training(self, tensors: TrainedTensors) -> Self {
        Self { tensors, ..self }
    }

    fn everything(tasks: &[String], depth: Option<usize>) -> Self {
        Self {
            embeddings: depth.is_some(),
            layers: (0..depth.unwrap_or(0)).collect(),
            tensors: TrainedTensors::default(),
            heads: tasks.iter().cloned().collect(),
            tasks: tasks.to_vec(),
            depth,
        }
    }

    fn freeze(&mut self, value: &str) -> Result<()> {
        match value.split_once(':') {
            None if value == "backbone" => {
                self.embeddings = false;
                self.layers.clear();
            }
            Some(("backbone", "embeddings")) => self.embeddings = false,
            Some(("backbone", range)) => {
                let (first, last) = self.range(value, range)?;
                self.layers.retain(|layer| !(first..=last).contains(layer));
                // Layers from the bottom on are frozen together with what lies below them.
                self.embeddings &= first > 0;
            }
            Some(("head", task)) => {
                if !self.heads.remove(task) {
                    let known = self.tasks.iter().any(|name| name == task);
                    let what =
                        if known { "a head is frozen twice" } else { "there is no such head to freeze" };
                    return Err(Error::new(Kind::Usage, what)
                        .found(format!("--freeze {value}"))
                        .expected(format!("one of the tasks {}", self.tasks.join(", "))));
                }
            }
            _ => {
                return Err(Error::new(Kind::Usage, "there is nothing of this name to freeze")
                    .found(format!("--freeze {value}"))
                    .expected("all, backbone, backbone:embeddings, backbone:0-3, or head:TASK"));
            }
        }
        Ok(())
    }

    fn range(&self, value: &str, range: &str) -> Result<(usize, usize)> {
        let depth = self.depth.ok_or_else(opaque)?;
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) if first <= last && last < depth => Ok((first, last)),
            _ => Err(Error::new(Kind::Usage, "the backbone has no such layers")
                .found(format!("--freeze {value}"))
                .expected(format!("layers from 0 to {}, as in backbone:0-{}", depth - 1, depth - 1))),
        }
    }

    /// Which scenario this is.
    #[must_use]
    pub fn scenario(&self) -> Scenario {
        if self.embeddings || !self.layers.is_empty() {
            Scenario::Network
        } else if self.heads.is_empty() {
            Scenario::Frozen
        } else {
            Scenario::Heads
        }
    }

    /// Where the trained part begins; none when it is above the pooling.
    #[must_use]
    pub fn cut(&self) -> Option<Start> {
        if self.embeddings {
            return Some(Start::Ids);
        }
        self.layers.first().map(|layer| Start::States(*layer))
    }

    /// The trained tensors of the backbone.
    #[must_use]
    pub fn tensors(&self, weights: &Weights) -> BTreeSet<String> {
        let all_layers = Some(self.layers.len()) == self.depth;
        let trained = |name: &&str| match layer_of(name) {
            Some(layer) => self.layers.contains(&layer),
            None if !can_be_trained(name) => false,
            None => self.embeddings && (all_layers || !is_shared_by_layers(name)),
        };
        let of_kind = |name: &&str| weights.shape(name).is_some_and(|shape| self.tensors.has(shape));
        weights.names().filter(trained).filter(of_kind).map(str::to_owned).collect()
    }

    /// Whether a matrix is trained, of a layer, of the embeddings or of a head.
    #[must_use]
    pub fn trains_matrices(&self) -> bool {
        !self.heads.is_empty()
            || (self.scenario() == Scenario::Network && self.tensors == TrainedTensors::All)
    }

    /// Tasks whose heads are frozen.
    #[must_use]
    pub fn frozen_heads(&self) -> Vec<String> {
        self.tasks.iter().filter(|task| !self.heads.contains(*task)).cloned().collect()
    }
}

/// What is frozen, for people.
impl fmt::Display for FreezePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let depth = self.depth.unwrap_or(0);
        let frozen: Vec<usize> = (0..depth).filter(|layer| !self.layers.contains(layer)).collect();
        let mut parts = Vec::new();
        if !self.embeddings && self.layers.is_empty() {
            parts.push("backbone".to_owned());
        } else {
            if !self.embeddings {
                parts.push("embeddings".to_owned());
            }
            match (frozen.first(), frozen.last()) {
                (Some(first), Some(last)) if first == last => parts.push(format!("layer {first}")),
                (Some(first), Some(last)) if last - first + 1 == frozen.len() => {
                    parts.push(format!("layers {first}-{last}"));
                }
                (Some(_), _) => {
                    let all: Vec<String> = frozen.iter().map(ToString::to_string).collect();
                    parts.push(format!("layers {}", all.join(", ")));
                }
                _ => {}
            }
            if self.tensors == TrainedTensors::Biases {
                parts.push("the backbone's matrices".to_owned());
            }
        }
        parts.extend(self.frozen_heads().into_iter().map(|task| format!("head {task}")));
        f.write_str(&if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") })
    }
}

fn contradiction(found: &str) -> Error {
    Error::new(Kind::Usage, "the freeze plan contradicts itself")
        .found(found.to_owned())
        .help("`all` stands alone; `backbone`, `backbone:…` and `head:…` can be combined")
}

fn nothing_left(values: &[String]) -> Error {
    Error::new(Kind::Usage, "the freeze plan leaves nothing to train")
        .found(values.iter().map(|value| format!("--freeze {value}")).collect::<Vec<_>>().join(" "))
        .help("say --freeze all to evaluate the untrained network (scenario 1), or freeze less")
}

fn opaque() -> Error {
    Error::new(Kind::Usage, "this backbone cannot be cut inside")
        .found("an imported .onnx file, or a bundle of 8-bit weights: its only cut is after the pooling")
        .expected("--freeze backbone or --freeze all")
        .help("import the model from its Hugging Face directory (model.safetensors), or take an fp32 bundle, to train its layers")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks() -> Vec<String> {
        ["type", "sentiment"].map(str::to_owned).into()
    }

    fn parse(freeze: &[&str]) -> Result<FreezePlan> {
        FreezePlan::parse(
            &freeze.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>(),
            &tasks(),
            Some(6),
        )
    }

    #[test]
    fn every_scenario_has_its_cut() {
        let expected = [
            (vec![], Scenario::Heads, None, "backbone"),
            (vec!["backbone"], Scenario::Heads, None, "backbone"),
            (vec!["all"], Scenario::Frozen, None, "backbone, head type, head sentiment"),
            (vec!["head:type"], Scenario::Network, Some(Start::Ids), "head type"),
            (vec!["backbone:embeddings"], Scenario::Network, Some(Start::States(0)), "embeddings"),
            (vec!["backbone:0-3"], Scenario::Network, Some(Start::States(4)), "embeddings, layers 0-3"),
            (vec!["backbone:2-3"], Scenario::Network, Some(Start::Ids), "layers 2-3"),
            (vec!["backbone:5"], Scenario::Network, Some(Start::Ids), "layer 5"),
            (
                vec!["backbone:0-3", "head:type"],
                Scenario::Network,
                Some(Start::States(4)),
                "embeddings, layers 0-3, head type",
            ),
            (vec!["backbone:0-5"], Scenario::Heads, None, "backbone"),
            (vec!["backbone", "head:type"], Scenario::Heads, None, "backbone, head type"),
        ];
        for (freeze, scenario, cut, text) in expected {
            let plan = parse(&freeze).unwrap();
            assert_eq!(
                (plan.scenario(), plan.cut(), plan.to_string().as_str()),
                (scenario, cut, text),
                "{freeze:?}"
            );
        }
    }

    #[test]
    fn stages_unfreeze_from_the_top() {
        let plan = FreezePlan::top(2, &tasks(), Some(6)).unwrap();
        assert_eq!(
            (plan.cut(), plan.to_string()),
            (Some(Start::States(4)), "embeddings, layers 0-3".to_owned())
        );
        assert_eq!(FreezePlan::top(0, &tasks(), Some(6)).unwrap().scenario(), Scenario::Heads);
        assert!(FreezePlan::top(7, &tasks(), Some(6)).unwrap_err().to_string().contains("at most 6"));
        assert!(FreezePlan::top(1, &tasks(), None).unwrap_err().to_string().contains(".onnx"));
    }

    #[test]
    fn a_plan_that_trains_biases_says_that_matrices_are_frozen() {
        let biases = |plan: FreezePlan| plan.training(TrainedTensors::Biases);
        let top = biases(FreezePlan::top(2, &tasks(), Some(6)).unwrap());
        assert_eq!(top.to_string(), "embeddings, layers 0-3, the backbone's matrices");
        assert_eq!((top.cut(), top.scenario()), (Some(Start::States(4)), Scenario::Network));
        let head = biases(parse(&["head:type"]).unwrap());
        assert_eq!(head.to_string(), "the backbone's matrices, head type");
        assert_eq!(biases(parse(&["backbone"]).unwrap()).to_string(), "backbone");
        // Heads are matrices, too.
        let frozen = |freeze: &[&str]| biases(parse(freeze).unwrap()).trains_matrices();
        assert!(frozen(&["backbone:0"]) && !frozen(&["backbone:0", "head:type", "head:sentiment"]));
        assert!(parse(&["backbone:0", "head:type", "head:sentiment"]).unwrap().trains_matrices());
    }

    #[test]
    fn plans_that_make_no_sense_say_why() {
        for (freeze, part) in [
            (vec!["all", "backbone"], "contradicts"),
            (vec!["head:topic"], "no such head"),
            (vec!["head:type", "head:type"], "twice"),
            (vec!["backbone", "head:type", "head:sentiment"], "nothing to train"),
            (vec!["backbone:0-6"], "no such layers"),
            (vec!["backbone:3-1"], "no such layers"),
            (vec!["backbone:x"], "no such layers"),
            (vec!["pooler"], "nothing of this name"),
        ] {
            let error = parse(&freeze).unwrap_err().to_string();
            assert!(error.contains(part), "{freeze:?}: {error}");
        }
        let inner = FreezePlan::parse(&["backbone:0-3".to_owned()], &tasks(), None).unwrap_err().to_string();
        assert!(inner.contains(".onnx") && inner.contains("after the pooling"), "{inner}");
        let outer = ["backbone", "head:type"].map(str::to_owned);
        assert_eq!(FreezePlan::parse(&outer, &tasks(), None).unwrap().frozen_heads(), ["type"]);
    }
}
