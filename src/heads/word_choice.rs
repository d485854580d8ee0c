//! Owns whether words help a head on features, how they are weighed and held back, and how much each of the
//! two counts: found on rows that neither was fitted on.
//!
//! Refuses to look at validation or test rows.

use super::class_weight::{Counts, counts};
use super::dense::fit_dense;
use super::folds::{NO_FOLD, sample, text_folds};
use super::head::Answers;
use super::mixture::{Mix, Pairs};
use super::options::{Examples, FitOptions};
use super::shape::Shape;
use super::word_options::{SettledWords, Weighing, WordsOptions, WordsReport, WordsTrial, WordsWanted};
use super::word_problem::WordProblem;
use super::word_rows::WordRows;
use crate::error::Result;
use crate::parallel::in_parallel;
use crate::task::Target;

/// What is tried: ways to weigh words, each with its penalties, strongest first. One penalty each lost 0.03 points
/// against five (`docs/LOG.md`, *words*).
const TRIED: [(Weighing, [f64; 2]); 2] = [(Weighing::Plain, [0.3, 0.03]), (Weighing::Rare, [0.03, 0.005])];
/// Most training rows that the mix is found on.
const MIXED_ROWS: usize = 6000;

/// One of the models that are fitted without a fold.
#[derive(Clone, Copy)]
enum Model {
    Features,
    /// Words by a way of [`TRIED`].
    Words(usize),
}

/// What is fitted without each fold.
const MODELS: [Model; 3] = [Model::Features, Model::Words(0), Model::Words(1)];

/// What models that were fitted without a fold say of its rows.
struct HeldOut {
    /// Of the features.
    features: Vec<f64>,
    /// Per way of [`TRIED`] and penalty.
    words: Vec<Vec<Vec<f64>>>,
}

impl HeldOut {
    /// Of what each of [`MODELS`] says of so many folds: of the first model all of them, then of the next.
    fn of(said: &[Vec<Vec<f64>>], folds: usize) -> Vec<Self> {
        let of_fold = |fold: usize| {
            let models: Vec<_> = said.iter().skip(fold).step_by(folds).collect();
            let words = models[1..].iter().map(|said| (*said).clone()).collect();
            Self { features: models[0].concat(), words }
        };
        (0..folds).map(of_fold).collect()
    }
}

/// Rows that were held out, all folds together.
struct Judged {
    targets: Vec<Target>,
    counts: Counts,
    features: Vec<f64>,
    shape: Shape,
}

impl Judged {
    fn pairs<'p>(&'p self, words: &'p [f64]) -> Pairs<'p> {
        let logits = [&self.features[..], words];
        Pairs { logits, targets: &self.targets, counts: &self.counts, shape: self.shape }
    }
}

/// How words are to be fitted, if they help, and what was tried.
pub(super) fn choose(
    (words, answers): (&WordRows, Answers<'_>),
    examples: &Examples<'_>,
    options: &FitOptions,
) -> Result<(Option<SettledWords>, WordsReport)> {
    let shape = answers.shape();
    let places = sample(examples.targets, shape.classes, MIXED_ROWS, options.seed);
    let sampled = examples.chosen(&places);
    let sampled = sampled.of(examples.features);
    let folds = text_folds(&sampled, shape.classes, options.seed);
    let used: Vec<usize> =
        (0..NO_FOLD).filter(|fold| folds.contains(fold) && folds.iter().any(|other| other != fold)).collect();
    // Features first: they take longest, and none is left for the end alone.
    let of_model = |model: Model| used.iter().map(move |fold| (*fold, model));
    let jobs: Vec<(usize, Model)> = MODELS.into_iter().flat_map(of_model).collect();
    let alone = FitOptions {
        threads: (options.threads / jobs.len().max(1)).max(1),
        words: WordsOptions { wanted: WordsWanted::No, ..options.words.clone() },
        ..options.clone()
    };
    let of_job = |job: (usize, Model)| held_out((words, answers), &sampled, &alone, (&folds, job));
    let found = in_parallel(options.threads, jobs, &of_job).into_iter().collect::<Result<Vec<_>>>()?;
    let found = HeldOut::of(&found, used.len());
    let inside = used.iter().flat_map(|fold| (0..folds.len()).filter(|&place| folds[place] == *fold));
    let targets: Vec<Target> = inside.map(|place| sampled.targets[place].clone()).collect();
    let counts = counts(&targets, shape, options.class_weight);
    let features = found.iter().flat_map(|held| held.features.clone()).collect();
    let judged = Judged { targets, counts, features, shape };
    let mut report = WordsReport { rows: judged.targets.len() as u64, ..WordsReport::default() };
    let Some((settled, of_words)) = best(&found, &judged, &mut report) else {
        // Nothing can be held out: what was asked for is believed, nothing else is.
        let asked = options.words.wanted == WordsWanted::Yes;
        let believed = SettledWords { weighing: Weighing::Plain, alpha: 0.1, counts: [0.5, 0.5] };
        return Ok((asked.then_some(believed), report));
    };
    report.judge(&judged.pairs(&of_words), settled.counts);
    let helps = options.words.wanted == WordsWanted::Yes || report.helps();
    Ok((helps.then_some(settled), report))
}

/// The way, penalty and mix with the least cross entropy, and what words say so; none without rows.
fn best(found: &[HeldOut], judged: &Judged, report: &mut WordsReport) -> Option<(SettledWords, Vec<f64>)> {
    let mut best: Option<(SettledWords, Mix, Vec<f64>)> = None;
    for (way, (weighing, penalties)) in TRIED.into_iter().enumerate() {
        for (place, alpha) in penalties.into_iter().enumerate() {
            let of_words: Vec<f64> = found.iter().flat_map(|held| held.words[way][place].clone()).collect();
            let pairs = judged.pairs(&of_words);
            let mix = pairs.best(false);
            let losses = pairs.losses(mix.counts);
            let cross_entropy = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
            report.tried.push(WordsTrial { weighing, alpha, counts: mix.counts, cross_entropy });
            if best.as_ref().is_none_or(|(_, best, _)| mix.loss < best.loss) {
                best = Some((SettledWords { weighing, alpha, counts: mix.counts }, mix, of_words));
            }
        }
    }
    best.filter(|_| !judged.targets.is_empty()).map(|(settled, _, of_words)| (settled, of_words))
}

/// Fits a model without a fold, and asks it what it says of its rows: logits `[rows, classes]`, of words per
/// penalty.
fn held_out(
    (words, answers): (&WordRows, Answers<'_>),
    examples: &Examples<'_>,
    options: &FitOptions,
    (folds, (fold, model)): (&[usize], (usize, Model)),
) -> Result<Vec<Vec<f64>>> {
    let (outside, inside): (Vec<usize>, Vec<usize>) =
        (0..folds.len()).partition(|&example| folds[example] == fold);
    let (inside, others) = (examples.chosen(&inside), examples.chosen(&outside));
    let training = inside.of(examples.features);
    let shape = answers.shape();
    if let Model::Words(way) = model {
        let (weighing, penalties) = TRIED[way];
        let problem = WordProblem::new(words, &training, (shape, weighing), options).coarse();
        return Ok(path(&problem, &penalties, &others.rows));
    }
    let (head, _) = fit_dense(answers, &training, options)?;
    let mut features = Vec::with_capacity(others.rows.len() * shape.classes);
    let mut logits = vec![0.0; shape.classes];
    for &row in &others.rows {
        head.logits_of(examples.features, row, &mut logits);
        features.extend(logits.iter().map(|logit| f64::from(*logit)));
    }
    Ok(vec![features])
}

/// What words say of the rows of a fold, penalty by penalty, each fit from the last solution.
fn path(problem: &WordProblem<'_>, penalties: &[f64], rows: &[usize]) -> Vec<Vec<f64>> {
    let (mut start, mut path) = (None, Vec::new());
    for &alpha in penalties {
        let solution = problem.solve(alpha, start.as_ref());
        path.push(problem.logits(&solution.parameters, rows));
        start = Some(solution.parameters);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_models_say_goes_to_the_fold_whose_rows_it_is_about() {
        // A number for each model, fold and penalty.
        let said =
            |model: f64, fold: f64| vec![vec![100.0 * model + fold], vec![100.0 * model + fold + 10.0]];
        let all: Vec<_> =
            [1.0, 2.0, 3.0].iter().flat_map(|model| [1.0, 2.0].map(|fold| said(*model, fold))).collect();
        let found = HeldOut::of(&all, 2);
        assert_eq!(found.len(), 2);
        for (fold, held) in [1.0, 2.0].into_iter().zip(found) {
            assert_eq!(held.features, said(1.0, fold).concat());
            assert_eq!(held.words, [said(2.0, fold), said(3.0, fold)]);
        }
    }
}
