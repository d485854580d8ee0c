//! Owns the units in which numbers are fitted: their mean is 0 and their deviation 1, so that one penalty and
//! one tolerance serve all. Whoever fits in them gives back heads and logits in the table's own.
//!
//! Other kinds of tasks are fitted as they are.

use super::head::Head;
use crate::error::{Error, Kind, Result};
use crate::task::{Target, TaskKind};

/// Mean and deviation of the numbers of a task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Units {
    mean: f64,
    deviation: f64,
}

impl Units {
    /// Those of these rows.
    ///
    /// # Errors
    /// Their numbers are all the same.
    pub fn of(kind: TaskKind, targets: &[Target], task: &str) -> Result<Self> {
        if kind != TaskKind::Number {
            return Ok(Self { mean: 0.0, deviation: 1.0 });
        }
        let count = targets.len() as f64;
        let mean = targets.iter().map(Target::number).sum::<f64>() / count;
        let squares = targets.iter().map(|target| (target.number() - mean).powi(2)).sum::<f64>();
        let deviation = (squares / count).sqrt();
        if deviation.is_finite() && deviation > 1e-12 * mean.abs().max(f64::MIN_POSITIVE) {
            return Ok(Self { mean, deviation });
        }
        Err(Error::new(Kind::Heads, "the numbers to learn from are all the same")
            .task(task)
            .found(targets.first().map_or_else(|| "none".to_owned(), |target| target.number().to_string()))
            .expected("numbers that differ"))
    }

    /// Whether these are the table's own.
    fn own(self) -> bool {
        self == Self { mean: 0.0, deviation: 1.0 }
    }

    /// Targets in these units.
    #[must_use]
    pub fn targets(self, targets: &[Target]) -> Vec<Target> {
        let into = |target: &Target| match target {
            Target::Number(number) => Target::Number((number - self.mean) / self.deviation),
            other => other.clone(),
        };
        targets.iter().map(into).collect()
    }

    /// A head that answers in these units, from one that answers in the table's.
    #[must_use]
    pub fn head(self, head: &Head) -> Head {
        self.scaled(head, 1.0 / self.deviation, -self.mean / self.deviation)
    }

    /// A head that answers in the table's units.
    #[must_use]
    pub fn own_head(self, head: &Head) -> Head {
        self.scaled(head, self.deviation, self.mean)
    }

    /// A logit in these units.
    #[must_use]
    pub fn logit(self, logit: f64) -> f64 {
        if self.own() { logit } else { (logit - self.mean) / self.deviation }
    }

    /// Differences of logits, or weights, in the table's units.
    pub fn own_differences(self, numbers: &mut [f32]) {
        if !self.own() {
            numbers.iter_mut().for_each(|number| *number = (f64::from(*number) * self.deviation) as f32);
        }
    }

    /// Logits in the table's units.
    pub fn own_logits(self, logits: &mut [f32]) {
        if !self.own() {
            logits
                .iter_mut()
                .for_each(|logit| *logit = (f64::from(*logit) * self.deviation + self.mean) as f32);
        }
    }

    /// Weights and a bias of a head, in the table's units.
    pub fn own_weights(self, weights: &mut [f32], bias: &mut [f32]) {
        self.own_differences(weights);
        self.own_logits(bias);
    }

    fn scaled(self, head: &Head, by: f64, more: f64) -> Head {
        if self.own() {
            return head.clone();
        }
        let mut scaled = head.clone();
        scaled.weights.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * by) as f32);
        scaled.bias.iter_mut().for_each(|bias| *bias = (f64::from(*bias) * by + more) as f32);
        scaled.words = scaled.words.map(|words| words.scaled(by as f32));
        scaled
    }
}
