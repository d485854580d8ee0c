//! Owns how far a head's answers can be believed: what its logits are divided by, from where on its labels
//! are answered, and how far its numbers may be off. All of it is found on rows that it was not fitted on.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::metrics::{Interval, Limits};
use crate::task::TaskKind;

/// How far a head's answers can be believed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Believed {
    /// What logits are divided by before they become answers: one number, or one for each label; 1 before it
    /// was found.
    #[serde(serialize_with = "one_or_each", deserialize_with = "read_one_or_each")]
    pub temperature: Vec<f32>,
    /// Per label, the least probability with which it is answered; none where nothing was found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<f32>,
    /// How far a number may be off, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
}

impl Believed {
    /// Before anything was found, of a head of so many labels.
    #[must_use]
    pub fn nothing(kind: TaskKind, classes: usize) -> Self {
        Self::with_temperature(vec![1.0; kind.temperatures(classes)])
    }

    /// A temperature, and nothing else.
    #[must_use]
    pub fn with_temperature(temperature: Vec<f32>) -> Self {
        Self { temperature, thresholds: Vec::new(), interval: None }
    }

    /// What a label's logits are divided by.
    #[must_use]
    pub fn temperature_of(&self, label: usize) -> f32 {
        let one = self.temperature.first().copied().unwrap_or(1.0);
        self.temperature.get(label).copied().unwrap_or(one)
    }

    /// From where on labels are answered, and how far numbers may be off.
    #[must_use]
    pub fn limits(&self) -> Limits<'_> {
        Limits { thresholds: &self.thresholds, interval: self.interval }
    }

    /// Whether there are thresholds, or an interval.
    #[must_use]
    pub fn has_limits(&self) -> bool {
        !self.thresholds.is_empty() || self.interval.is_some()
    }

    /// Whether it can be that of a head of this kind, with so many labels.
    #[must_use]
    pub fn fits(&self, kind: TaskKind, classes: usize) -> bool {
        let above = |number: &f32| *number > 0.0 && number.is_finite();
        let share = |number: &f32| (0.0..=crate::metrics::NEVER).contains(number);
        let interval = |interval: Interval| {
            !kind.has_labels()
                && (0.0..1.0).contains(&interval.level)
                && interval.width >= 0.0
                && interval.width.is_finite()
        };
        self.temperature.len() == kind.temperatures(classes)
            && self.temperature.iter().all(above)
            && (self.thresholds.is_empty() || kind.has_labels() && self.thresholds.len() == classes)
            && self.thresholds.iter().all(share)
            && self.interval.is_none_or(interval)
    }
}

/// A single number stands for itself.
fn one_or_each<S: Serializer>(numbers: &[f32], out: S) -> Result<S::Ok, S::Error> {
    match numbers {
        [one] => one.serialize(out),
        each => each.serialize(out),
    }
}

fn read_one_or_each<'d, D: Deserializer<'d>>(input: D) -> Result<Vec<f32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        One(f32),
        Each(Vec<f32>),
    }
    Ok(match Written::deserialize(input)? {
        Written::One(one) => vec![one],
        Written::Each(each) => each,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_temperature_is_written_as_a_number() {
        let one = Believed::nothing(TaskKind::OneOf, 3);
        assert_eq!(serde_json::to_string(&one).unwrap(), r#"{"temperature":1.0}"#);
        let each = Believed { thresholds: vec![0.5, 0.25], ..Believed::nothing(TaskKind::AnyOf, 2) };
        let text = serde_json::to_string(&each).unwrap();
        assert_eq!(text, r#"{"temperature":[1.0,1.0],"thresholds":[0.5,0.25]}"#);
        for believed in [one, each] {
            let text = serde_json::to_string(&believed).unwrap();
            assert_eq!(serde_json::from_str::<Believed>(&text).unwrap(), believed);
        }
    }

    #[test]
    fn what_cannot_be_is_no_belief() {
        let fits = |believed: &Believed| believed.fits(TaskKind::AnyOf, 2);
        let good = Believed { thresholds: vec![0.5, 2.0], ..Believed::nothing(TaskKind::AnyOf, 2) };
        assert!(fits(&good) && !good.fits(TaskKind::AnyOf, 3) && !good.fits(TaskKind::OneOf, 2));
        for temperature in [vec![1.0], vec![0.0, 1.0], vec![1.0, f32::INFINITY]] {
            assert!(!fits(&Believed { temperature, ..good.clone() }));
        }
        for thresholds in [vec![0.5], vec![-0.1, 0.5], vec![0.5, 3.0]] {
            assert!(!fits(&Believed { thresholds, ..good.clone() }));
        }
        let interval = Some(Interval { level: 0.9, width: 1.0, rows: 9 });
        assert!(!fits(&Believed { interval, ..good }));
        let number = Believed { interval, ..Believed::nothing(TaskKind::Number, 1) };
        assert!(number.fits(TaskKind::Number, 1));
    }
}
