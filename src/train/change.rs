//! Owns comparing a head with the one that it was before it was fitted anew: on the same rows, row by row.
//!
//! Refuses to know where the answers come from.

use std::collections::BTreeMap;

use serde::Serialize;

use super::task::same;
use crate::heads::Head;
use crate::task::{Target, Truth};

/// A head before and after it was fitted anew.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeadChange {
    /// On all rows.
    pub all: ScoreChange,
    /// On the rows that truly have a label.
    pub labels: BTreeMap<String, ScoreChange>,
}

/// The score of some rows: of one label, the share that is labelled rightly; micro-F1, and R² of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ScoreChange {
    pub rows: u64,
    /// By the bundle's head; none for an added task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<f64>,
    pub after: f64,
    /// Of the difference between both, row by row; none where every row differs alike, as where none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
}

/// Two heads and their answers `[rows, classes]` to the same rows; labels are compared by name, because the
/// heads need not know the same ones.
pub(super) fn change(
    (names, truth): (&[String], &Truth),
    before: Option<(&Head, &[f32])>,
    after: (&Head, &[f32]),
) -> HeadChange {
    let scores = |(head, answers): (&Head, &[f32])| -> Vec<f64> {
        let place = |name: &str| {
            let exactly = head.labels.iter().position(|label| label == name);
            exactly.or_else(|| head.labels.iter().position(|label| same(label, name)))
        };
        let places: Vec<u32> = (names.iter().chain(&truth.unseen))
            .map(|name| place(name).and_then(|place| u32::try_from(place).ok()).unwrap_or(u32::MAX))
            .collect();
        let placed = |target: &Target| target.placed(|label| Some(places[label as usize]));
        let targets = truth.targets.iter().filter_map(placed).collect();
        let known = Truth { targets, ..truth.clone() };
        head.kind.row_scores(head.believed.limits(), &known, answers, head.labels.len())
    };
    let (before, after) = (before.map(scores), scores(after));
    let among = |label: Option<u32>| {
        let chosen: Vec<usize> = (0..after.len())
            .filter(|&row| label.is_none_or(|label| truth.targets[row].labels().contains(&label)))
            .collect();
        let of = |scores: &[f64]| chosen.iter().map(|&row| scores[row]).collect::<Vec<_>>();
        let (before, after) = (before.as_deref().map(of), of(&after));
        ScoreChange {
            rows: chosen.len() as u64,
            before: before.as_deref().map(mean),
            after: mean(&after),
            standard_error: before.and_then(|before| difference_error(&before, &after)),
        }
    };
    let labels = (0_u32..).zip(names.iter().chain(&truth.unseen));
    let labels = labels.map(|(place, name)| (name.clone(), among(Some(place))));
    HeadChange { all: among(None), labels: labels.filter(|(_, change)| change.rows > 0).collect() }
}

/// The standard error of the mean difference of paired numbers; none where all differences are the same.
fn difference_error(before: &[f64], after: &[f64]) -> Option<f64> {
    let gains: Vec<f64> = before.iter().zip(after).map(|(before, after)| after - before).collect();
    let gain = mean(&gains);
    let squares: Vec<f64> = gains.iter().map(|one| (one - gain).powi(2)).collect();
    let count = gains.len().max(1) as f64;
    Some((mean(&squares) / count).sqrt()).filter(|error| *error > 0.0)
}

/// The mean; 0 of nothing.
fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::probabilities;
    use crate::heads::{Believed, FeatureView};
    use crate::task::TaskKind;

    fn head(labels: &[&str], weights: &[f32]) -> Head {
        Head {
            task: "t".into(),
            kind: TaskKind::OneOf,
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            features: 1,
            weights: weights.to_vec(),
            bias: vec![0.0; labels.len()],
            believed: Believed::nothing(TaskKind::OneOf, labels.len()),
            words: None,
        }
    }

    #[test]
    fn heads_with_other_labels_are_compared_by_name() {
        let names = ["a", "b", "c"].map(str::to_owned);
        // The old head says b below zero and a above; the new one, which does not know b, c and a.
        let (old, new) = (head(&["a", "b"], &[1.0, -1.0]), head(&["a", "c"], &[1.0, -1.0]));
        let rows = Truth {
            rows: vec![0, 1, 2, 3],
            targets: [0, 1, 2, 2].map(Target::Label).to_vec(),
            unseen: Vec::new(),
        };
        let features = [1.0, -1.0, -2.0, 3.0];
        let view = FeatureView::whole(&features, 1);
        let [before, after] = [&old, &new].map(|head| probabilities(head, view, &rows.rows));
        let found = change((&names, &rows), Some((&old, &before)), (&new, &after));
        let of = |changed: &ScoreChange| (changed.rows, changed.before, changed.after);
        assert_eq!(of(&found.all), (4, Some(0.5), 0.5));
        assert_eq!(of(&found.labels["a"]), (1, Some(1.0), 1.0));
        assert_eq!(of(&found.labels["b"]), (1, Some(1.0), 0.0));
        assert_eq!(of(&found.labels["c"]), (2, Some(0.0), 0.5));
        // Gains 0, −1, 0, 1: variance 1/2, four rows.
        assert!((found.all.standard_error.unwrap() - (0.5_f64 / 4.0).sqrt()).abs() < 1e-12);
        // Gains 0 and 1: variance 1/4, two rows.
        assert!((found.labels["c"].standard_error.unwrap() - (0.25_f64 / 2.0).sqrt()).abs() < 1e-12);
        let added = change((&names, &rows), None, (&new, &after));
        assert_eq!((added.all.before, added.all.standard_error), (None, None));
    }
}
