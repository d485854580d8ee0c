//! Owns putting words beside a head that is fitted on features: whether they help, how strongly their weights
//! are held back, and how much each of the two counts.
//!
//! All three are found on rows that neither was fitted on: the penalty whose mix has the least cross entropy,
//! and, where nobody asked for words, whether that is lower than without them by more than one standard error
//! of the difference, row by row. Refuses to look at validation or test rows.

use std::time::Instant;

use super::folds::{NO_FOLD, text_folds};
use super::head::{Answers, Head};
use super::options::{Alpha, Examples, FitOptions};
use super::shape::Shape;
use super::units::Units;
use super::word_choice::choose;
use super::word_options::{SettledWords, WordsReport};
use super::word_problem::WordProblem;
use super::word_rows::WordRows;
use super::words::{LARGEST_BYTE, LARGEST_CODE, Words};
use crate::error::{Error, Kind, Result};
use crate::parallel::in_parallel;
use crate::task::TaskKind;

/// Puts words beside a head that was fitted on the features of these rows with the penalty `options` says;
/// none where they do not help.
///
/// # Errors
/// The rows have no texts, or a fit fails.
pub(super) fn put_beside(
    head: &mut Head,
    examples: &Examples<'_>,
    options: &FitOptions,
) -> Result<Option<WordsReport>> {
    let start = Instant::now();
    let words = words_of(&head.task, examples)?;
    let units = Units::of(head.kind, examples.targets, &head.task)?;
    let targets = units.targets(examples.targets);
    let examples = &Examples { targets: &targets, ..*examples };
    *head = units.head(head);
    let (settled, found) = match options.words.settled {
        Some(settled) => (settled, None),
        None => match choose((words, head.answers()), examples, options)? {
            (Some(settled), found) => (settled, Some(found)),
            (None, found) => {
                *head = units.own_head(head);
                return Ok(Some(found.refused(start.elapsed().as_secs_f64())));
            }
        },
    };
    let SettledWords { weighing, alpha, counts: [of_features, of_words] } = settled;
    let problem = WordProblem::new(words, examples, (head.answers().shape(), weighing), options);
    if head.features > 0 && (problem.places.is_empty() || of_words <= 0.0) {
        // They would say nothing, and tell only which words stood there. A head of words alone has to have some.
        *head = units.own_head(head);
        return Ok(found.map(|found| found.refused(start.elapsed().as_secs_f64())));
    }
    let solution = problem.solve(alpha, None);
    let (weights, bias) = problem.weights(&solution.parameters);
    let weights: Vec<f64> = weights.iter().map(|weight| of_words * weight).collect();
    let largest = if options.words.in_bytes { LARGEST_BYTE } else { LARGEST_CODE };
    head.weights.iter_mut().for_each(|weight| *weight = (of_features * f64::from(*weight)) as f32);
    for (of_head, of_word) in head.bias.iter_mut().zip(bias) {
        *of_head = (of_features * f64::from(*of_head) + of_words * of_word) as f32;
    }
    let fitted = Words::new(words.grams(), &problem.places, &weights, head.labels.len(), largest);
    head.words = Some(Words { settled: Some(settled), ..fitted });
    *head = units.own_head(head);
    Ok(Some(WordsReport {
        used: Some(settled),
        places: problem.places.len(),
        loss: solution.loss,
        gradient_norm: solution.gradient_norm,
        tolerance: solution.tolerance,
        converged: solution.converged(),
        seconds: start.elapsed().as_secs_f64(),
        ..found.unwrap_or_default()
    }))
}

fn words_of<'e>(task: &str, examples: &Examples<'e>) -> Result<&'e WordRows> {
    examples.features.words().ok_or_else(|| {
        Error::new(Kind::Heads, "the words of these rows are not known")
            .task(task)
            .found("features without texts")
            .expected("a table of texts")
            .help("give the texts and --backbone, or leave +words away")
    })
}

/// What words add to features whose penalty is known, and how they are to be fitted, if they are to be used.
///
/// # Errors
/// The rows have no texts, or a fit fails.
pub fn weigh_words(
    answers: Answers<'_>,
    examples: &Examples<'_>,
    alpha: f64,
    options: &FitOptions,
) -> Result<WordsReport> {
    let start = Instant::now();
    let words = words_of(answers.task, examples)?;
    let targets = Units::of(answers.kind, examples.targets, answers.task)?.targets(examples.targets);
    let examples = &Examples { targets: &targets, ..*examples };
    let options = FitOptions { alpha: Alpha::Fixed(alpha), ..options.clone() };
    let (used, found) = choose((words, answers), examples, &options)?;
    Ok(WordsReport { used, ..found.refused(start.elapsed().as_secs_f64()) })
}

/// What the words of a head say of the rows that they were fitted on, `[rows, classes]`: words that were
/// fitted in the same way on all folds but a row's own. The bias is the head's.
///
/// # Errors
/// The rows have no texts, or it is not known how the words were fitted.
pub fn words_out_of_fold(
    (words, kind): (&Words, TaskKind),
    examples: &Examples<'_>,
    options: &FitOptions,
) -> Result<Vec<f32>> {
    let classes = words.classes();
    let shape = Shape { kind, classes };
    let (Some(settled), Some(rows)) = (words.settled, examples.features.words()) else {
        return Err(Error::new(Kind::Heads, "it is not known how the words of this head were fitted")
            .help("train the head again: a bundle's words stay as they are"));
    };
    let folds = text_folds(examples, classes, options.seed);
    let of_fold = |fold: usize| {
        let (outside, inside): (Vec<usize>, Vec<usize>) =
            (0..folds.len()).partition(|&example| folds[example] == fold);
        let others: Vec<usize> = outside.iter().map(|&example| examples.rows[example]).collect();
        let inside = examples.chosen(&inside);
        let training = inside.of(examples.features);
        let problem = WordProblem::new(rows, &training, (shape, settled.weighing), options);
        let mut parameters = problem.solve(settled.alpha, None).parameters;
        parameters.row_mut(problem.places.len()).fill(0.0);
        (outside, problem.logits(&parameters, &others))
    };
    let mut all = vec![0.0; folds.len() * classes];
    // A row that no fold holds out says nothing.
    let used = (0..NO_FOLD).filter(|fold| folds.contains(fold)).collect();
    for (outside, logits) in in_parallel(options.threads, used, &of_fold) {
        for (example, said) in outside.into_iter().zip(logits.chunks_exact(classes)) {
            let out = &mut all[example * classes..][..classes];
            out.iter_mut().zip(said).for_each(|(out, said)| *out = (settled.counts[1] * said) as f32);
        }
    }
    Ok(all)
}
