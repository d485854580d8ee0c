//! Owns what answers cost a task against other answers: both are given by heads that were fitted on the same
//! folds, of rows that these heads have not seen.
//!
//! Refuses to judge by the training rows' own predictions: a head knows those.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::heads::{self, Answers, Examples, FeatureView, FitOptions};
use crate::metrics::difference;
use crate::task::Truth;

/// Labelled rows of a task, and the fold in which each is held out.
pub struct Judging<'j> {
    answers: Answers<'j>,
    known: &'j Truth,
    folds: Vec<usize>,
}

/// What was answered to rows that were held out.
pub struct HeldOut {
    /// What every row adds to the score, whose mean that is.
    scores: Vec<f64>,
    /// None without rows.
    pub score: Option<f64>,
    pub macro_f1: Option<f64>,
}

/// What some answers cost a task against others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Rows that were held out: all labelled training and validation rows but those of classes with a single
    /// one, which no head can do without.
    pub rows: u64,
    /// Points of the score (accuracy, micro-F1 or R²) lost on them; none without such rows …
    pub accuracy_drop: Option<f64>,
    /// … with the standard error of the difference, row by row …
    pub standard_error: Option<f64>,
    /// … and points of macro-F1; none of numbers.
    pub macro_f1_drop: Option<f64>,
}

impl<'j> Judging<'j> {
    /// Rows, `known`, whose labels a head knows, in folds by their texts: these are known by `features`, which
    /// shows all rows.
    #[must_use]
    pub fn by_folds(answers: Answers<'j>, known: &'j Truth, features: FeatureView<'_>, seed: u64) -> Self {
        let examples = Examples { features, rows: &known.rows, targets: &known.targets };
        Self { answers, known, folds: heads::text_folds(&examples, answers.labels.len(), seed) }
    }

    /// Rows that no head has seen: each is judged by the answers it gets.
    #[must_use]
    pub fn unseen(answers: Answers<'j>, known: &'j Truth) -> Self {
        Self { answers, known, folds: vec![0; known.rows.len()] }
    }

    /// What heads on these features say of every row that they were not fitted on.
    ///
    /// # Errors
    /// A fit fails.
    pub fn fitted(&self, features: FeatureView<'_>, fit: &FitOptions) -> Result<HeldOut> {
        let examples = Examples { features, rows: &self.known.rows, targets: &self.known.targets };
        Ok(self.of(&heads::answers_out_of_fold(self.answers, &examples, fit, &self.folds)?))
    }

    /// The judgement of answers `[rows, classes]`.
    #[must_use]
    pub fn of(&self, answers: &[f32]) -> HeldOut {
        let Answers { kind, labels, limits, .. } = self.answers;
        let judged = || (0..self.folds.len()).filter(|&place| self.folds[place] != heads::NO_FOLD);
        let truth = self.known.only(judged());
        let of_row = |place: usize| &answers[place * labels.len()..(place + 1) * labels.len()];
        let answers: Vec<f32> = judged().flat_map(of_row).copied().collect();
        let scores = kind.row_scores(limits, &truth, &answers, labels.len());
        let measured = kind.measure((labels, limits), &truth, &answers);
        HeldOut { scores, score: measured.score(), macro_f1: measured.macro_f1 }
    }
}

impl HeldOut {
    /// Rows that were judged.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.scores.len() as u64
    }

    /// What these answers cost against others to the same rows.
    #[must_use]
    pub fn loss(&self, before: &Self) -> Loss {
        let lost = difference(&self.scores, &before.scores);
        Loss {
            rows: self.rows(),
            accuracy_drop: lost.map(|lost| 100.0 * lost.value),
            standard_error: lost.map(|lost| 100.0 * lost.standard_error),
            macro_f1_drop: before.macro_f1.zip(self.macro_f1).map(|(before, after)| 100.0 * (before - after)),
        }
    }
}

impl Loss {
    /// Both losses together, measured on rows of their own.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let sum = |of: fn(&Self) -> Option<f64>| of(self).zip(of(other)).map(|(one, other)| one + other);
        let errors = self.standard_error.zip(other.standard_error);
        Self {
            rows: self.rows,
            accuracy_drop: sum(|loss| loss.accuracy_drop),
            standard_error: errors.map(|(one, other)| one.hypot(other)),
            macro_f1_drop: sum(|loss| loss.macro_f1_drop),
        }
    }

    /// Points lost, of the score or of macro-F1, whichever lost more; none where nothing could be measured.
    #[must_use]
    pub fn most(&self) -> Option<f64> {
        let drop = self.accuracy_drop?;
        Some(drop.max(self.macro_f1_drop.unwrap_or(drop)))
    }
}

/// The gate: whether no task loses more than `max_drop` points. Where nothing can be measured of a task, only
/// what is exact passes.
#[must_use]
pub fn passes<'l>(losses: impl IntoIterator<Item = &'l Loss>, max_drop: f64, exact: bool) -> bool {
    losses.into_iter().all(|loss| loss.most().map_or(exact, |lost| lost <= max_drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Limits;
    use crate::task::{Target, TaskKind};

    fn loss(accuracy: f64, f1: f64) -> Loss {
        let (accuracy_drop, macro_f1_drop) = (Some(accuracy), Some(f1));
        Loss { rows: 10, accuracy_drop, standard_error: Some(0.1), macro_f1_drop }
    }

    #[test]
    fn the_gate_holds_every_task_to_what_loses_most() {
        let gate = |losses: &[Loss], exact| passes(losses, 0.5, exact);
        assert!(gate(&[loss(0.5, -3.0), loss(-1.0, 0.5)], false));
        assert!(!gate(&[loss(0.6, -3.0), loss(-1.0, 0.5)], true));
        assert!(!gate(&[loss(0.0, 0.0), loss(-1.0, 0.6)], true));
        assert!(gate(&[Loss::default()], true) && !gate(&[Loss::default()], false));
    }

    #[test]
    fn losses_of_two_kinds_add_up() {
        let both = loss(0.3, -0.2).and(&loss(0.1, 0.4));
        let near = |found: Option<f64>, wanted: f64| (found.unwrap() - wanted).abs() < 1e-12;
        assert!(near(both.accuracy_drop, 0.4) && near(both.macro_f1_drop, 0.2));
        assert!(near(both.standard_error, 0.02_f64.sqrt()));
        assert_eq!(loss(0.3, 0.2).and(&Loss::default()).most(), None);
    }

    #[test]
    fn what_is_lost_is_counted_row_by_row() {
        let names = ["no", "yes"].map(str::to_owned);
        let answers = Answers { task: "t", kind: TaskKind::OneOf, labels: &names, limits: Limits::default() };
        let known =
            Truth { rows: (0..4).collect(), targets: Target::each(&[0, 1, 0, 1]), unseen: Vec::new() };
        let judging = Judging::unseen(answers, &known);
        let right = judging.of(&[0.9, 0.1, 0.2, 0.8, 0.7, 0.3, 0.4, 0.6]);
        let wrong = judging.of(&[0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.4, 0.6]);
        assert_eq!((right.score, wrong.score, right.rows()), (Some(1.0), Some(0.75), 4));
        let lost = wrong.loss(&right);
        assert_eq!((lost.rows, lost.accuracy_drop), (4, Some(25.0)));
        // Macro-F1 of 2 right and 1 of 2: the mean of 4/5 and 2/3.
        let macro_f1 = f64::midpoint(0.8, 2.0 / 3.0);
        assert!((lost.macro_f1_drop.unwrap() - 100.0 * (1.0 - macro_f1)).abs() < 1e-9);
        assert!(lost.standard_error.unwrap() > 0.0 && lost.most() == lost.macro_f1_drop);
        assert_eq!(right.loss(&wrong).accuracy_drop, Some(-25.0));
    }

    #[test]
    fn heads_know_nothing_of_the_rows_they_are_judged_by() {
        // Noise: who has seen a row knows its label by heart, who has not, guesses.
        let mut bits = 3_u64;
        let mut draw = || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (bits >> 40) as f32 / 8_388_608.0 - 1.0
        };
        let mut features: Vec<f32> = (0..60 * 40).map(|_| draw()).collect();
        // Every text twice; class 2 has a single row, which is in no fold.
        features.extend_from_within(..);
        features.extend((0..40).map(|_| draw()));
        let labels: Vec<u32> = (0..120).map(|row| row % 2).chain([2]).collect();
        let known = Truth { rows: (0..121).collect(), targets: Target::each(&labels), unseen: Vec::new() };
        let names = ["a", "b", "c"].map(str::to_owned);
        let answers = Answers { task: "t", kind: TaskKind::OneOf, labels: &names, limits: Limits::default() };
        let view = FeatureView::whole(&features, 40);
        let fit = FitOptions { alpha: crate::heads::Alpha::Fixed(0.1), ..FitOptions::default() };
        let found = Judging::by_folds(answers, &known, view, 13).fitted(view, &fit).unwrap();
        assert_eq!(found.rows(), 120);
        assert!(found.score.unwrap() < 0.7, "{:?}", found.score);
        let threads = FitOptions { threads: 2, ..fit };
        let again = Judging::by_folds(answers, &known, view, 13).fitted(view, &threads).unwrap();
        assert_eq!(again.scores, found.scores);
    }
}
