//! Owns what heads say of training rows that they were not fitted on: the rows are divided into folds, and
//! those of a fold go to a head that was fitted in the same way on all others.
//!
//! Refuses to have a text in two folds, and to fit more often than enough rows need.

use super::fit::fit;
use super::folds::{NO_FOLD, text_folds};
use super::head::{Answers, Head};
use super::options::{Examples, FitOptions};
use crate::error::Result;
use crate::fingerprint::TextKey;
use crate::parallel::in_parallel;
use crate::task::Target;

/// Labelled rows, and what heads that were not fitted on them say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OutOfFold {
    /// What is true of each row …
    pub targets: Vec<Target>,
    /// … and its text ([`FeatureView::text`](super::FeatureView::text)).
    pub texts: Vec<TextKey>,
    /// `[rows, classes]`.
    pub logits: Vec<f32>,
    /// The heads began at one that may have seen the rows: that they are sure of them says nothing.
    pub begun: bool,
}

/// Holds out fold after fold of the examples, until they are `enough`. With many rows that is one more fit,
/// on two thirds of them.
///
/// # Errors
/// A fit fails.
pub fn out_of_fold(
    answers: Answers<'_>,
    examples: &Examples<'_>,
    options: &FitOptions,
    enough: usize,
) -> Result<OutOfFold> {
    let folds = text_folds(examples, answers.labels.len(), options.seed);
    let (mut used, mut rows) = (Vec::new(), 0);
    for fold in 0..NO_FOLD {
        let size = folds.iter().filter(|other| **other == fold).count();
        if size > 0 && rows < enough {
            used.push(fold);
            rows += size;
        }
    }
    let alone = FitOptions { threads: (options.threads / used.len().max(1)).max(1), ..options.clone() };
    let of_fold = |fold: usize| -> Result<OutOfFold> {
        let (head, outside) = fit_outside(answers, examples, &alone, (&folds, fold))?;
        let mut held = OutOfFold::default();
        let mut logits = vec![0.0; answers.labels.len()];
        for example in outside {
            head.logits_of(examples.features, examples.rows[example], &mut logits);
            held.targets.push(examples.targets[example].clone());
            held.texts.push(examples.features.text(examples.rows[example]));
            held.logits.extend_from_slice(&logits);
        }
        Ok(held)
    };
    let mut all = OutOfFold::default();
    for held in in_parallel(options.threads, used, &of_fold) {
        let OutOfFold { targets, texts, logits, .. } = held?;
        all.targets.extend(targets);
        all.texts.extend(texts);
        all.logits.extend(logits);
    }
    Ok(all)
}

/// What is answered to the examples, `[examples, classes]`, each by a head that was fitted on all folds but
/// its own; zeros for an example that is in none.
///
/// # Errors
/// A fit fails.
pub fn answers_out_of_fold(
    answers: Answers<'_>,
    examples: &Examples<'_>,
    options: &FitOptions,
    folds: &[usize],
) -> Result<Vec<f32>> {
    let classes = answers.labels.len();
    let mut all = vec![0.0; folds.len() * classes];
    for fold in (0..NO_FOLD).filter(|fold| folds.contains(fold)) {
        let (head, outside) = fit_outside(answers, examples, options, (folds, fold))?;
        for example in outside {
            let answer = &mut all[example * classes..(example + 1) * classes];
            head.probabilities_of(examples.features, examples.rows[example], answer);
        }
    }
    Ok(all)
}

/// A head that was fitted on the examples outside of a fold, and the examples in it.
fn fit_outside(
    answers: Answers<'_>,
    examples: &Examples<'_>,
    options: &FitOptions,
    (folds, fold): (&[usize], usize),
) -> Result<(Head, Vec<usize>)> {
    let (others, held_out): (Vec<usize>, Vec<usize>) =
        (0..folds.len()).partition(|&example| folds[example] != fold);
    let (head, _) = fit(answers, &examples.chosen(&others).of(examples.features), options)?;
    Ok((head, held_out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heads::{Alpha, FeatureView};
    use crate::metrics::Limits;
    use crate::task::TaskKind;

    /// Random rows: whatever is right of them, a head knows it by heart only.
    fn noise(count: usize) -> (Vec<f32>, Vec<u32>) {
        let mut bits = 3_u64;
        let mut draw = || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (bits >> 40) as f32 / 8_388_608.0 - 1.0
        };
        let features = (0..count * 40).map(|_| draw()).collect();
        (features, (0..count as u32).map(|row| row % 2).collect())
    }

    fn right(found: &OutOfFold) -> usize {
        let rows = found.logits.chunks_exact(2).zip(&found.targets);
        rows.filter(|(logits, label)| (logits[1] > logits[0]) == (label.label() == 1)).count()
    }

    fn found(features: &[f32], labels: &[u32], enough: usize, threads: usize) -> OutOfFold {
        let names = ["no", "yes"].map(str::to_owned);
        let answers = Answers { task: "t", kind: TaskKind::OneOf, labels: &names, limits: Limits::default() };
        let rows: Vec<usize> = (0..labels.len()).collect();
        let examples = Examples {
            features: FeatureView::whole(features, 40),
            rows: &rows,
            targets: &Target::each(labels),
        };
        let options = FitOptions { alpha: Alpha::Fixed(0.1), threads, ..FitOptions::default() };
        out_of_fold(answers, &examples, &options, enough).unwrap()
    }

    #[test]
    fn rows_are_judged_by_heads_that_do_not_know_them_also_where_texts_are_repeated() {
        let (mut features, mut labels) = noise(60);
        let once = found(&features, &labels, 1000, 1);
        assert_eq!(once.targets.len(), 60);
        // Nothing can be known of them, and a head that was fitted on them knows all.
        assert!(right(&once) < 42, "{}", right(&once));
        features.extend_from_within(..);
        labels.extend_from_within(..);
        let twice = found(&features, &labels, 1000, 2);
        assert_eq!(twice.targets.len(), 120);
        assert!(right(&twice) < 84, "{}", right(&twice));
    }

    #[test]
    fn no_more_folds_are_held_out_than_enough_rows_need_whatever_the_threads() {
        let (features, labels) = noise(60);
        let [some, all] = [10, 50].map(|enough| found(&features, &labels, enough, 1));
        assert_eq!((some.targets.len(), all.targets.len()), (20, 60));
        assert_eq!(some.logits, all.logits[..40]);
        assert_eq!(found(&features, &labels, 50, 3), all);
    }

    #[test]
    fn every_class_keeps_a_row_to_be_fitted_on() {
        // The only text of class 2 occurs three times; both of class 1 are of class 0 too, in its folds.
        let features = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 4.0, 9.0, 9.0, 9.0];
        let labels = [0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2];
        let rows: Vec<usize> = (0..labels.len()).collect();
        for seed in 0..20 {
            let examples = Examples {
                features: FeatureView::whole(&features, 1),
                rows: &rows,
                targets: &Target::each(&labels),
            };
            let folds = text_folds(&examples, 3, seed);
            assert_eq!((folds[1], folds[4]), (folds[6], folds[7]));
            assert_eq!(folds[8..], [NO_FOLD; 3]);
            for fold in 0..NO_FOLD {
                let left = |class| rows.iter().any(|&row| labels[row] == class && folds[row] != fold);
                assert!((0..3).all(left), "seed {seed}: {folds:?}");
            }
        }
    }
}
