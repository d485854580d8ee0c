//! Owns the run-off between choices of features that a comparison on few rows could not tell apart.
//!
//! More numbers need more rows: on a few thousand the cheaper choice looks better than it will be. So they
//! are fitted once more on two thirds of all rows, and measured on the last third.
//!
//! Refuses to look at words: they are weighed beside what is chosen here.

use super::class_weight::counts;
use super::cross_validation::Trial;
use super::dense::fit_coarsely;
use super::folds::text_folds;
use super::head::Answers;
use super::loss;
use super::options::{Alpha, Candidate, Examples, FitOptions};
use crate::error::Result;
use crate::parallel::in_parallel;
use crate::task::Target;

/// Fits the trials with their penalties, so many at once, and measures them on the same held-out rows; the
/// errors are those of the difference to the most accurate one.
///
/// # Errors
/// As a fit.
pub fn run_off(
    trials: &[(Trial<'_>, f64)],
    (rows, targets): (&[usize], &[Target]),
    answers: Answers<'_>,
    (options, at_once): (&FitOptions, usize),
) -> Result<Vec<Candidate>> {
    let shape = answers.shape();
    let Some((first, _)) = trials.first() else { return Ok(Vec::new()) };
    let all = Examples { features: first.features, rows, targets };
    let folds = text_folds(&all, shape.classes, options.seed);
    let (inside, outside): (Vec<usize>, Vec<usize>) = (0..folds.len()).partition(|&place| folds[place] != 0);
    let (inside, outside) = (all.chosen(&inside), all.chosen(&outside));
    let counts = counts(&outside.targets, shape, options.class_weight);
    let total: f64 = (0..outside.rows.len()).map(|row| counts.row(row)).sum();
    let shares: Vec<f64> = (0..outside.rows.len()).map(|row| counts.row(row) / total).collect();
    let scores = |place: usize| {
        let (trial, alpha) = &trials[place];
        let options = FitOptions { alpha: Alpha::Fixed(*alpha), ..options.clone() };
        let head = fit_coarsely(answers, &inside.of(trial.features), &options)?;
        let (mut row_logits, mut logits) = (vec![0.0; shape.classes], Vec::new());
        for &row in &outside.rows {
            head.logits(trial.features.row(row), &mut row_logits);
            logits.extend(row_logits.iter().map(|logit| f64::from(*logit)));
        }
        Ok(loss::right(shape, &logits, &outside.targets, &shares))
    };
    let right = in_parallel(at_once, (0..trials.len()).collect(), &scores);
    let right = right.into_iter().collect::<Result<Vec<_>>>()?;
    let accuracy = |scores: &[f64]| scores.iter().sum::<f64>();
    let Some(top) = right.iter().max_by(|a, b| accuracy(a).total_cmp(&accuracy(b))) else {
        return Ok(Vec::new());
    };
    let of_trial = |((trial, alpha), scores): (&(Trial<'_>, f64), &Vec<f64>)| Candidate {
        features: trial.name.clone(),
        alpha: *alpha,
        cross_entropy: None,
        accuracy: accuracy(scores),
        standard_error: scores.iter().zip(top).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
    };
    Ok(trials.iter().zip(&right).map(of_trial).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::heads::{FeatureView, WordRows, WordTable, WordsOptions, WordsWanted};
    use crate::metrics::Limits;
    use crate::task::TaskKind;
    use crate::tokens::Grams;

    const ROWS: usize = 600;

    /// The run-off between one column that says nothing and three of which two say something, with the rows'
    /// words, of which one is the label.
    fn found(wanted: WordsWanted, at_once: usize) -> Vec<Candidate> {
        let mut bits = 5_u64;
        let mut draw = || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (bits >> 40) as f32 / 8_388_608.0 - 1.0
        };
        let labels: Vec<u32> = (0..ROWS as u32).map(|row| u32::from(row % 3 == 0)).collect();
        let values: Vec<f32> = labels
            .iter()
            .flat_map(|label| [draw(), draw() + *label as f32, draw() + *label as f32])
            .collect();
        let rows: Vec<usize> = (0..ROWS).collect();
        let mut table = WordTable::new(Grams { pieces: 8, pairs: 8, ids: None });
        labels.iter().for_each(|label| table.push(&[vec![*label, 2]]));
        let words = WordRows::new(Arc::new(table), (0..ROWS as u32).collect());
        let trial = |name: &str, columns| Trial {
            name: name.into(),
            features: FeatureView::new(&values, 3, columns).with_words(Some(&words)),
        };
        let trials = [(trial("few", 0..1), 10.0), (trial("many", 0..3), 3.0)];
        let labels_of = ["no", "yes"].map(str::to_owned);
        let answers =
            Answers { task: "t", kind: TaskKind::OneOf, labels: &labels_of, limits: Limits::default() };
        let words = WordsOptions { wanted, ..WordsOptions::default() };
        let options = FitOptions { words, ..FitOptions::default() };
        run_off(&trials, (&rows, &Target::each(&labels)), answers, (&options, at_once)).unwrap()
    }

    #[test]
    fn the_informative_choice_wins_by_more_than_its_error() {
        let found = found(WordsWanted::No, 1);
        let [one, other] = &found[..] else { panic!("{found:?}") };
        assert_eq!((one.features.as_str(), one.alpha, other.alpha), ("few", 10.0, 3.0));
        assert!(
            other.accuracy > one.accuracy + one.standard_error && one.standard_error > 0.0,
            "{one:?} {other:?}"
        );
        assert_eq!(other.standard_error, 0.0);
        // Held-out rows: a third.
        assert!((one.accuracy * 200.0 - (one.accuracy * 200.0).round()).abs() < 1e-9);
    }

    #[test]
    fn words_neither_help_nor_harm_a_choice() {
        assert_eq!(found(WordsWanted::Yes, 1), found(WordsWanted::No, 1));
    }

    #[test]
    fn how_many_are_fitted_at_once_changes_nothing() {
        assert_eq!(found(WordsWanted::No, 2), found(WordsWanted::No, 1));
    }
}
