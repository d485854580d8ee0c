//! Owns tasks whose answer is one of several labels: softmax, cross entropy, accuracy.

use super::target::Target;
use super::truth::Truth;
use crate::error::Result;
use crate::graph::{Builder, Operation, Value, ValueType};
use crate::metrics::{self, Promise, TaskMetrics, Threshold, classification, promised};

/// Logits → probabilities.
pub(super) fn softmax(logits: &mut [f32]) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in logits.iter_mut() {
        *value = (*value - largest).exp();
        sum += *value;
    }
    for value in logits {
        *value /= sum;
    }
}

pub(super) fn tail(logits: &Value) -> Operation {
    Operation::new("Softmax", &[logits]).with("axis", -1)
}

/// `−Σ targets · log softmax(logits)`.
pub(super) fn loss(
    graph: &mut Builder,
    [logits, targets]: [&Value; 2],
    rows: &ValueType,
    named: &dyn Fn(&str) -> String,
) -> Result<Value> {
    let log = Operation::new("LogSoftmax", &[logits]).with("axis", -1);
    let log = graph.add(log, &named("log_probabilities"), rows.clone())?;
    let chosen = graph.add(Operation::new("Mul", &[&log, targets]), &named("chosen"), rows.clone())?;
    let sum = Operation::new("ReduceSum", &[&chosen]).with("keepdims", 0);
    let sum = graph.add(sum, &named("likelihood"), ValueType::float([]))?;
    graph.add(Operation::new("Neg", &[&sum]), &named("loss"), ValueType::float([]))
}

/// What the row counts, at its class.
pub(super) fn put_target(label: usize, weights: &[[f32; 2]], target: &mut [f32]) {
    target[label] = weights[label][0];
}

/// 1 where the most probable label, the first of equals, is the true one.
pub(super) fn row_score(answer: &[f32], label: usize) -> f64 {
    if best(answer) == label { 1.0 } else { 0.0 }
}

/// The most probable label, the first of equals.
fn best(answer: &[f32]) -> usize {
    (1..answer.len()).fold(0, |best, place| if answer[place] > answer[best] { place } else { best })
}

pub(super) fn measure(labels: &[String], truth: &Truth, probabilities: &[f32]) -> TaskMetrics {
    classification(labels, &truth.unseen, &places(&truth.targets), probabilities)
}

pub(super) fn temperature(classes: usize, targets: &[Target], logits: &[f32]) -> f64 {
    metrics::temperature(classes, &places(targets), logits)
}

fn places(targets: &[Target]) -> Vec<u32> {
    targets.iter().map(|target| target.label() as u32).collect()
}

/// Each label's, where a precision is promised: of the rows to which it is the most probable one.
pub(super) fn thresholds(
    promise: Promise,
    classes: usize,
    targets: &[Target],
    answers: &[f32],
) -> Vec<Threshold> {
    let mut said: Vec<Vec<(f32, bool)>> = vec![Vec::new(); classes];
    for (answer, target) in answers.chunks_exact(classes.max(1)).zip(targets) {
        let best = best(answer);
        said[best].push((answer[best], best == target.label()));
    }
    let promise = Promise { recall: None, ..promise };
    said.into_iter().filter_map(|said| promised(promise, said)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_scores_when_the_first_of_the_most_probable_is_true() {
        let score = |answer: &[f32]| [0, 1, 2].map(|label| row_score(answer, label));
        assert_eq!(score(&[0.2, 0.5, 0.3]), [0.0, 1.0, 0.0]);
        assert_eq!(score(&[0.4, 0.4, 0.2]), [1.0, 0.0, 0.0]);
        // A label that cannot be answered is never right.
        assert_eq!(row_score(&[1.0, 0.0], 2), 0.0);
    }

    #[test]
    fn a_target_has_what_its_class_counts() {
        let mut target = [0.0; 3];
        put_target(1, &[[0.5; 2], [2.0; 2], [1.0; 2]], &mut target);
        assert_eq!(target, [0.0, 2.0, 0.0]);
    }

    #[test]
    fn probabilities_add_up_to_one_even_for_huge_logits() {
        let mut logits = [1000.0, -1000.0];
        softmax(&mut logits);
        assert_eq!(logits, [1.0, 0.0]);
        let mut logits = [0.5, -0.5];
        softmax(&mut logits);
        // 1 / (1 + e^-1)
        assert!((logits[0] - 0.731_058_6).abs() < 1e-6 && (logits[0] + logits[1] - 1.0).abs() < 1e-6);
    }
}
