//! Owns what a head's logits lose, by the kind of its task: the loss of a row, and how it changes with each
//! logit, in either precision.
//!
//! Cross entropy of softmax; of several labels, the sum of the cross entropies of their sigmoids; of numbers,
//! half the squared error. Refuses to know features and penalties.

use super::class_weight::Counts;
use super::precision::Precision;
use super::shape::Shape;
use crate::metrics::Limits;
use crate::task::{Target, TaskKind, Truth};

/// Factors between 1 and 2 that are multiplied before a logarithm is taken of them.
const FACTORS: usize = 64;

/// Turns a row of logits into the slopes of its loss, and gives that; both as the row counts.
pub(super) fn slopes<T: Precision>(
    kind: TaskKind,
    row: &mut [T],
    target: &Target,
    counts: (&Counts, usize),
) -> f64 {
    let loss = answer(kind, row, target, counts);
    off(kind, row, target, counts);
    loss
}

/// Turns a row of logits into what is answered: shares of the classes, probabilities of each label, or the
/// number; gives the loss, as the row counts.
pub(super) fn answer<T: Precision>(
    kind: TaskKind,
    row: &mut [T],
    target: &Target,
    (counts, place): (&Counts, usize),
) -> f64 {
    match kind {
        TaskKind::OneOf => counts.row(place) * cross_entropy(row, target.label()),
        TaskKind::AnyOf => several(row, target.labels(), counts.labels()),
        TaskKind::Number => 0.5 * (row[0] - T::of(target.number())).double().powi(2),
    }
}

/// Turns what is answered to a row into the slopes of its loss by the logits: how far it is off, as that
/// counts. So it is for every kind, because each has the loss that its link belongs to.
pub(super) fn off<T: Precision>(
    kind: TaskKind,
    answers: &mut [T],
    target: &Target,
    counts: (&Counts, usize),
) {
    match kind {
        TaskKind::OneOf => answers[target.label()] -= T::one(),
        TaskKind::AnyOf => target.labels().iter().for_each(|label| answers[*label as usize] -= T::one()),
        TaskKind::Number => answers[0] -= T::of(target.number()),
    }
    count(answers, target, counts);
}

/// Multiplies numbers of a row's logits by what each counts.
fn count<T: Precision>(values: &mut [T], target: &Target, (counts, place): (&Counts, usize)) {
    match counts {
        Counts::Alike => {}
        Counts::Rows(rows) => values.iter_mut().for_each(|value| *value *= T::of(rows[place])),
        Counts::Labels(labels) => {
            for ((label, value), [with, without]) in (0_u32..).zip(values).zip(labels) {
                let has = target.labels().binary_search(&label).is_ok();
                *value *= T::of(if has { *with } else { *without });
            }
        }
    }
}

/// Turns what is answered to a row into the second derivatives of its loss by each logit alone.
pub(super) fn bends(kind: TaskKind, answers: &mut [f64], target: &Target, counts: (&Counts, usize)) {
    match kind {
        TaskKind::OneOf | TaskKind::AnyOf => answers.iter_mut().for_each(|share| *share *= 1.0 - *share),
        TaskKind::Number => answers.fill(1.0),
    }
    count(answers, target, counts);
}

/// Turns changes of a row's logits into those of the slopes of its loss, where such is answered to it.
pub(super) fn bend(
    kind: TaskKind,
    (answers, changes): (&[f64], &mut [f64]),
    target: &Target,
    counts: (&Counts, usize),
) {
    let mean: f64 = answers.iter().zip(&*changes).map(|(share, change)| share * change).sum();
    let shares = answers.iter().zip(&mut *changes);
    match kind {
        TaskKind::OneOf => shares.for_each(|(share, change)| *change = share * (*change - mean)),
        TaskKind::AnyOf => shares.for_each(|(share, change)| *change *= share * (1.0 - share)),
        TaskKind::Number => {}
    }
    count(changes, target, counts);
}

/// Turns a row of logits into probabilities and gives its cross entropy.
fn cross_entropy<T: Precision>(row: &mut [T], label: usize) -> f64 {
    let largest = row.iter().copied().fold(T::neg_infinity(), T::max);
    let of_label = row[label] - largest;
    let mut sum = T::zero();
    for value in row.iter_mut() {
        *value = (*value - largest).exp();
        sum += *value;
    }
    row.iter_mut().for_each(|value| *value /= sum);
    (sum.ln() - of_label).double()
}

/// The same of several labels, `softplus(z) − z` where a row has one, `softplus(z)` where it has not.
fn several<T: Precision>(row: &mut [T], labels: &[u32], counts: Option<&[[f64; 2]]>) -> f64 {
    if let Some(counts) = counts {
        return weighed(row, labels, counts);
    }
    let mut loss: f64 = labels.iter().map(|label| 0.0 - row[*label as usize].double()).sum();
    for piece in row.chunks_mut(FACTORS) {
        let (mut factors, mut above) = (T::one(), T::zero());
        for logit in piece {
            above += logit.max(T::zero());
            let below = (-logit.abs()).exp();
            let factor = T::one() + below;
            *logit = if *logit >= T::zero() { T::one() / factor } else { below / factor };
            factors *= factor;
        }
        loss += (above + factors.ln()).double();
    }
    loss
}

/// The same where labels count differently.
fn weighed<T: Precision>(row: &mut [T], labels: &[u32], counts: &[[f64; 2]]) -> f64 {
    let mut loss = 0.0;
    for ((place, logit), [with, without]) in (0_u32..).zip(row).zip(counts) {
        let has = labels.binary_search(&place).is_ok();
        let (count, wanted) = if has { (*with, T::one()) } else { (*without, T::zero()) };
        loss += count * (softplus(logit.double()) - (wanted * *logit).double());
        let below = (-logit.abs()).exp();
        *logit = if *logit >= T::zero() { T::one() } else { below } / (T::one() + below);
    }
    loss
}

/// `ln(1 + e^z)`.
fn softplus(logit: f64) -> f64 {
    logit.max(0.0) + (-logit.abs()).exp().ln_1p()
}

/// The loss of a row of logits, each multiplied by `inverse`, as it counts. Of one label and of several.
pub(super) fn loss_at(
    kind: TaskKind,
    row: &[f64],
    target: &Target,
    (counts, place, inverse): (&Counts, usize, f64),
) -> f64 {
    let mut scaled: Vec<f64> = row.iter().map(|logit| inverse * logit).collect();
    slopes(kind, &mut scaled, target, (counts, place))
}

/// How the loss of a row curves along two directions of its logits: `uu`, `uv`, `vv`; `logits` are the row's.
pub(super) fn curvature(
    kind: TaskKind,
    logits: &[f64],
    [u, v]: [&[f64]; 2],
    (target, counts): (&Target, &Counts),
) -> [f64; 3] {
    let mut sums = [0.0; 3];
    for (label, ((logit, u), v)) in (0_u32..).zip(logits.iter().zip(u).zip(v)) {
        let curved = match kind {
            TaskKind::AnyOf => {
                let share = 1.0 / (1.0 + (-logit).exp());
                let has = target.labels().binary_search(&label).is_ok();
                let count = counts.labels().map_or(1.0, |counts| counts[label as usize][usize::from(!has)]);
                count * share * (1.0 - share)
            }
            TaskKind::OneOf | TaskKind::Number => 1.0,
        };
        sums[0] += curved * u * u;
        sums[1] += curved * u * v;
        sums[2] += curved * v * v;
    }
    sums
}

/// What rows of logits `[rows, classes]` add to the score, each times the share of all that it counts: of one
/// label, which logits are the largest.
pub(super) fn right(shape: Shape, logits: &[f64], targets: &[Target], shares: &[f64]) -> Vec<f64> {
    if shape.kind == TaskKind::OneOf {
        let rows = logits.chunks_exact(shape.classes).zip(targets).zip(shares);
        let of_row = |((row, target), share): ((&[f64], &Target), &f64)| {
            let best =
                (0..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best });
            if best == target.label() { *share } else { 0.0 }
        };
        return rows.map(of_row).collect();
    }
    let mut answers: Vec<f32> = logits.iter().map(|logit| *logit as f32).collect();
    shape.kind.link(&mut answers);
    let truth = Truth { targets: targets.to_vec(), ..Truth::default() };
    let scores = shape.kind.row_scores(Limits::default(), &truth, &answers, shape.classes);
    scores.iter().zip(shares).map(|(score, share)| score * share).collect()
}

/// How a loss curves where nothing is known yet, at most about: the mean over the classes.
pub(super) fn first_curvature(shape: Shape, targets: &[Target]) -> f64 {
    match shape.kind {
        TaskKind::OneOf => (1.0 - 1.0 / shape.classes as f64) / shape.classes as f64,
        TaskKind::AnyOf => {
            let shares = label_shares(shape, targets);
            let curved: f64 = shares.iter().map(|share| share * (1.0 - share)).sum();
            curved / shape.classes as f64
        }
        TaskKind::Number => 1.0,
    }
}

/// The share of the rows that has each label, as if one more of two had it.
pub(super) fn label_shares(shape: Shape, targets: &[Target]) -> Vec<f64> {
    let mut rows = vec![1.0; shape.classes];
    for label in targets.iter().flat_map(Target::labels) {
        rows[*label as usize] += 1.0;
    }
    rows.into_iter().map(|rows| rows / (targets.len() as f64 + 2.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(labels: &[u32]) -> Target {
        Target::Labels(labels.into())
    }

    /// Every kind with logits and a truth, and what it counts.
    fn cases() -> Vec<(TaskKind, Vec<f64>, Target, Counts)> {
        let logits = vec![0.3, -1.2, 2.0];
        vec![
            (TaskKind::OneOf, logits.clone(), Target::Label(1), Counts::Alike),
            (TaskKind::OneOf, logits.clone(), Target::Label(1), Counts::Rows(vec![0.4])),
            (TaskKind::AnyOf, logits.clone(), set(&[0, 2]), Counts::Alike),
            (TaskKind::AnyOf, logits.clone(), set(&[]), Counts::Alike),
            (TaskKind::AnyOf, logits, set(&[1]), Counts::Labels(vec![[0.5, 2.0], [3.0, 0.1], [1.0, 0.7]])),
            (TaskKind::Number, vec![0.3], Target::Number(-0.5), Counts::Alike),
        ]
    }

    fn loss(kind: TaskKind, logits: &[f64], target: &Target, counts: &Counts) -> f64 {
        slopes(kind, &mut logits.to_vec(), target, (counts, 0))
    }

    #[test]
    fn slopes_are_those_of_the_loss() {
        for (kind, logits, target, counts) in cases() {
            let mut found = logits.clone();
            slopes(kind, &mut found, &target, (&counts, 0));
            for place in 0..logits.len() {
                let moved = |by: f64| {
                    let mut moved = logits.clone();
                    moved[place] += by;
                    loss(kind, &moved, &target, &counts)
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((slope - found[place]).abs() < 1e-8, "{kind:?} {place}: {slope} {}", found[place]);
            }
        }
    }

    #[test]
    fn curvatures_are_those_of_the_loss() {
        let (u, v) = ([0.5, -1.0, 0.25], [1.0, 0.5, -2.0]);
        for (kind, logits, target, counts) in cases().into_iter().filter(|case| case.0 != TaskKind::OneOf) {
            let (u, v) = (&u[..logits.len()], &v[..logits.len()]);
            let found = curvature(kind, &logits, [u, v], (&target, &counts));
            let at = |a: f64, b: f64| {
                let moved: Vec<f64> =
                    (0..u.len()).map(|place| logits[place] + a * u[place] + b * v[place]).collect();
                loss(kind, &moved, &target, &counts)
            };
            let step = 1e-4;
            let uu = (at(step, 0.0) - 2.0 * at(0.0, 0.0) + at(-step, 0.0)) / step.powi(2);
            let uv = (at(step, step) - at(step, -step) - at(-step, step) + at(-step, -step))
                / (4.0 * step.powi(2));
            assert!(
                (uu - found[0]).abs() < 1e-5 && (uv - found[1]).abs() < 1e-5,
                "{kind:?} {found:?} {uu} {uv}"
            );
        }
    }

    #[test]
    fn many_labels_lose_what_each_loses() {
        let logits: Vec<f64> = (0..200).map(|place| f64::from(place % 17) - 8.0).collect();
        let labels: Vec<u32> = (0..200).step_by(7).collect();
        let expected: f64 = logits
            .iter()
            .enumerate()
            .map(|(place, logit)| softplus(*logit) - if place % 7 == 0 { *logit } else { 0.0 })
            .sum();
        assert!((loss(TaskKind::AnyOf, &logits, &set(&labels), &Counts::Alike) - expected).abs() < 1e-9);
        let extreme = loss(TaskKind::AnyOf, &[1e4, -1e4], &set(&[0]), &Counts::Alike);
        assert!(extreme.abs() < 1e-12, "{extreme}");
    }
}
