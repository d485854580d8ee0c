//! Owns tasks whose answer is a number: the logit is the answer, squared error, R².

use super::any_of::halves;
use super::target::Target;
use super::truth::Truth;
use crate::error::Result;
use crate::graph::{Builder, Operation, Value, ValueType};
use crate::metrics::{Interval, Limits, Promise, TaskMetrics, regression};

/// `½ Σ counts · (logits − numbers)²`: what each row counts stands before its number.
pub(super) fn loss(
    graph: &mut Builder,
    [logits, targets]: [&Value; 2],
    rows: &ValueType,
    named: &dyn Fn(&str) -> String,
) -> Result<Value> {
    let [counts, wanted] = halves(graph, targets, rows, named)?;
    let off = graph.add(Operation::new("Sub", &[logits, &wanted]), &named("off"), rows.clone())?;
    let square = graph.add(Operation::new("Mul", &[&off, &off]), &named("square"), rows.clone())?;
    let counted = graph.add(Operation::new("Mul", &[&counts, &square]), &named("counted"), rows.clone())?;
    let sum = Operation::new("ReduceSum", &[&counted]).with("keepdims", 0);
    let sum = graph.add(sum, &named("squares"), ValueType::float([]))?;
    let half = graph.floats(&named("half"), &[], &[0.5])?;
    graph.add(Operation::new("Mul", &[&sum, &half]), &named("loss"), ValueType::float([]))
}

/// What the row counts, and its number.
pub(super) fn put_target(number: f64, weights: &[[f32; 2]], target: &mut [f32]) {
    let [count, wanted] = target else { return };
    (*count, *wanted) = (weights.first().map_or(1.0, |weight| weight[0]), number as f32);
}

/// R² is `1 − mean square of the error / variance`: that of each row.
pub(super) fn row_scores<'a>(targets: &[Target], answers: impl Iterator<Item = &'a [f32]>) -> Vec<f64> {
    let count = targets.len().max(1) as f64;
    let mean = targets.iter().map(Target::number).sum::<f64>() / count;
    let variance = targets.iter().map(|target| (target.number() - mean).powi(2)).sum::<f64>() / count;
    let of_row = |(answer, target): (&[f32], &Target)| {
        let off = (f64::from(answer[0]) - target.number()).powi(2);
        // Rows that are all alike: right is right, and anything else is as bad as it is far.
        if variance > 0.0 { 1.0 - off / variance } else { 0.0 - off }
    };
    answers.zip(targets).map(of_row).collect()
}

pub(super) fn measure(limits: Limits<'_>, truth: &Truth, answers: &[f32]) -> TaskMetrics {
    let numbers: Vec<f64> = truth.targets.iter().map(Target::number).collect();
    let scores = row_scores(&truth.targets, answers.chunks_exact(1));
    let interval = limits.interval.map(|interval| (f64::from(interval.level), f64::from(interval.width)));
    regression(&numbers, answers, interval, &scores)
}

/// The interval that holds as often as was promised.
pub(super) fn interval(promise: Promise, targets: &[Target], answers: &[f32]) -> Option<Interval> {
    let off = |(said, target): (&f32, &Target)| (f64::from(*said) - target.number()).abs();
    Interval::of(promise.interval, answers.iter().zip(targets).map(off).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_add_up_to_r_squared() {
        let targets = [1.0, 2.0, 4.0, 5.0].map(Target::Number);
        let answers = [[1.5_f32], [2.0], [3.0], [5.5]];
        let found = row_scores(&targets, answers.iter().map(|row| &row[..]));
        // 1 − (0.25 + 0 + 1 + 0.25) / (4 + 1 + 1 + 4).
        assert!((found.iter().sum::<f64>() / 4.0 - 0.85).abs() < 1e-12, "{found:?}");
    }
}
