//! Owns tasks whose answer is several labels or none: a sigmoid for each, the sum of their cross entropies,
//! micro-F1.

use super::target::Target;
use super::truth::Truth;
use crate::data::labels_in;
use crate::error::Result;
use crate::graph::{Builder, Operation, Value, ValueType};
use crate::metrics::{self, Limits, Promise, Tagged, TaskMetrics, Threshold, best_f1, promised, tagging};

/// What a cell says: the places of the labels in it.
pub(super) fn target(cell: &str, place: &mut dyn FnMut(&str) -> u32) -> Target {
    let mut labels: Vec<u32> = labels_in(cell).iter().map(|label| place(label)).collect();
    labels.sort_unstable();
    labels.dedup();
    Target::Labels(labels.into())
}

/// Logits → probabilities, each for itself.
pub(super) fn sigmoids(logits: &mut [f32]) {
    for logit in logits {
        *logit = sigmoid(*logit);
    }
}

fn sigmoid(logit: f32) -> f32 {
    // Of what is not above 0, so that nothing overflows.
    let below = (-logit.abs()).exp();
    if logit >= 0.0 { 1.0 / (1.0 + below) } else { below / (1.0 + below) }
}

/// `Σ counts · softplus(logits) − targets · logits`: what each entry counts stands before what it counts
/// times its truth.
pub(super) fn loss(
    graph: &mut Builder,
    [logits, targets]: [&Value; 2],
    rows: &ValueType,
    named: &dyn Fn(&str) -> String,
) -> Result<Value> {
    let [counts, wanted] = halves(graph, targets, rows, named)?;
    let softplus = graph.add(Operation::new("Softplus", &[logits]), &named("softplus"), rows.clone())?;
    let above = graph.add(Operation::new("Mul", &[&counts, &softplus]), &named("above"), rows.clone())?;
    let chosen = graph.add(Operation::new("Mul", &[&wanted, logits]), &named("chosen"), rows.clone())?;
    let lost = graph.add(Operation::new("Sub", &[&above, &chosen]), &named("lost"), rows.clone())?;
    let sum = Operation::new("ReduceSum", &[&lost]).with("keepdims", 0);
    graph.add(sum, &named("loss"), ValueType::float([]))
}

/// The two halves of targets `[batch, 2 · classes]`.
pub(super) fn halves(
    graph: &mut Builder,
    targets: &Value,
    rows: &ValueType,
    named: &dyn Fn(&str) -> String,
) -> Result<[Value; 2]> {
    let classes = match rows.shape.last() {
        Some(crate::graph::Dim::Size(classes)) => i64::try_from(*classes).unwrap_or(i64::MAX),
        _ => 1,
    };
    let mut bound = |name: &str, value: i64| graph.integers(&named(name), &[1], &[value]);
    let (start, middle) = (bound("first", 0)?, bound("middle", classes)?);
    let (end, axis) = (bound("behind", 2 * classes)?, bound("axis", 1)?);
    let counts = Operation::new("Slice", &[targets, &start, &middle, &axis]);
    let counts = graph.add(counts, &named("counts"), rows.clone())?;
    let wanted = Operation::new("Slice", &[targets, &middle, &end, &axis]);
    Ok([counts, graph.add(wanted, &named("wanted"), rows.clone())?])
}

/// What each label counts, then that of those that the row has.
pub(super) fn put_target(labels: &[u32], weights: &[[f32; 2]], target: &mut [f32]) {
    let (counts, wanted) = target.split_at_mut(weights.len());
    counts.iter_mut().zip(weights).for_each(|(count, [_, without])| *count = *without);
    for label in labels.iter().map(|label| *label as usize).filter(|label| *label < weights.len()) {
        (counts[label], wanted[label]) = (weights[label][0], weights[label][0]);
    }
}

/// Labels that are answered and true, answered, and true.
fn counts(limits: Limits<'_>, answer: &[f32], labels: &[u32]) -> [f64; 3] {
    let answered = |label: usize| answer.get(label).is_some_and(|p| *p >= limits.of_several(label));
    let right = labels.iter().filter(|label| answered(**label as usize)).count();
    let all = (0..answer.len()).filter(|label| answered(*label)).count();
    [right, all, labels.len()].map(|count| count as f64)
}

/// Micro-F1 is `2·right / (answered + true)` of all rows together. A row adds that, and by how much it lies
/// above or below: the mean is micro-F1, and how the rows vary is its error (the delta method).
pub(super) fn row_scores<'a>(
    limits: Limits<'_>,
    targets: &[Target],
    answers: impl Iterator<Item = &'a [f32]>,
) -> Vec<f64> {
    let rows: Vec<[f64; 2]> = answers
        .zip(targets)
        .map(|(answer, target)| {
            let [right, answered, true_ones] = counts(limits, answer, target.labels());
            [2.0 * right, answered + true_ones]
        })
        .collect();
    let sum = |place: usize| rows.iter().map(|row| row[place]).sum::<f64>();
    let (right, all) = (sum(0), sum(1));
    if all == 0.0 {
        // Nothing is true, and nothing is answered.
        return vec![1.0; rows.len()];
    }
    let (score, mean) = (right / all, all / rows.len() as f64);
    rows.iter().map(|[right, all]| score + (right - score * all) / mean).collect()
}

pub(super) fn measure(
    (labels, limits): (&[String], Limits<'_>),
    truth: &Truth,
    probabilities: &[f32],
) -> TaskMetrics {
    let thresholds: Vec<f32> = (0..labels.len()).map(|label| limits.of_several(label)).collect();
    let of_rows = truth.targets.iter().map(Target::labels).collect();
    let classes = labels.len();
    let scores = row_scores(limits, &truth.targets, probabilities.chunks_exact(classes.max(1)));
    tagging(
        &Tagged { labels, unseen: &truth.unseen, truth: of_rows, probabilities, thresholds: &thresholds },
        &scores,
    )
}

/// Each label's: that of two classes, of which one has the logit 0.
pub(super) fn temperatures(classes: usize, targets: &[Target], logits: &[f32]) -> Vec<f64> {
    let of_label = |label: usize| {
        let has = |target: &Target| u32::from(target.labels().contains(&(label as u32)));
        let truth: Vec<u32> = targets.iter().map(has).collect();
        if truth.iter().all(|has| *has == truth[0]) {
            return 1.0;
        }
        let pairs: Vec<f32> = logits.chunks_exact(classes).flat_map(|row| [0.0, row[label]]).collect();
        metrics::temperature(2, &truth, &pairs)
    };
    (0..classes).map(of_label).collect()
}

/// Each label's: as promised, or with the best F1.
pub(super) fn thresholds(
    promise: Promise,
    classes: usize,
    targets: &[Target],
    answers: &[f32],
) -> Vec<Threshold> {
    let of_label = |label: usize| {
        let has = |target: &Target| target.labels().contains(&(label as u32));
        let said = answers.iter().skip(label).step_by(classes).copied().zip(targets.iter().map(has));
        let said: Vec<(f32, bool)> = said.collect();
        promised(promise, said.clone()).unwrap_or_else(|| Threshold { least: best_f1(said), most: None })
    };
    (0..classes).map(of_label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(labels: &[u32]) -> Target {
        Target::Labels(labels.into())
    }

    #[test]
    fn a_probability_is_one_whatever_the_logit() {
        let mut logits = [0.0, 2.0, -2.0, 1000.0, -1000.0];
        sigmoids(&mut logits);
        assert!((logits[1] - 0.880_797_1).abs() < 1e-6 && (logits[1] + logits[2] - 1.0).abs() < 1e-6);
        assert_eq!([logits[0], logits[3], logits[4]], [0.5, 1.0, 0.0]);
    }

    #[test]
    fn rows_add_up_to_micro_f1() {
        let limits = Limits { thresholds: &[0.5, 0.9], interval: None };
        let targets = [set(&[0]), set(&[0, 1]), set(&[]), set(&[2])];
        let answers = [[0.6_f32, 0.8], [0.4, 0.95], [0.1, 0.99], [0.0, 0.0]];
        let found = row_scores(limits, &targets, answers.iter().map(|row| &row[..]));
        // Right: 0 and 1; answered: 0, 1, 1; true: 0, 0, 1, and one that cannot be answered.
        let expected = 2.0 * 2.0 / (3.0 + 4.0);
        assert!((found.iter().sum::<f64>() / 4.0 - expected).abs() < 1e-12, "{found:?}");
        assert!(found[0] > expected && found[2] < expected);
        let none = row_scores(limits, &[set(&[])], [[0.0_f32, 0.0]].iter().map(|row| &row[..]));
        assert_eq!(none, [1.0]);
    }

    #[test]
    fn a_target_has_what_its_entries_count() {
        let mut target = [0.0; 4];
        put_target(&[1], &[[5.0, 0.5], [2.0, 0.25]], &mut target);
        assert_eq!(target, [0.5, 2.0, 0.0, 2.0]);
    }

    #[test]
    fn every_label_has_a_temperature_of_its_own() {
        // Label 0 is three times too sure of itself, label 1 says nothing wrong; label 2 no row has.
        let (mut targets, mut logits) = (Vec::new(), Vec::new());
        for row in 0..600_u32 {
            let is = row % 4 != 0;
            let right = if row % 2 == 0 { is } else { row % 3 != 0 };
            targets.push(set(if is { &[0] } else { &[1] }));
            logits.extend([if right { 6.0 } else { -6.0 }, if is { -0.1 } else { 0.1 }, 0.0]);
        }
        let found = temperatures(3, &targets, &logits);
        assert!(found[0] > 1.5, "{found:?}");
        assert_eq!(found[2], 1.0);
    }
}
