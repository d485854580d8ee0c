//! Owns the choice of what a task's head sees: options are tried on its training rows, first on a sample,
//! then, where that cannot tell them apart, on all of them.
//!
//! Refuses to look at validation or test rows, and options whose fit would not fit the memory.

use std::ops::Range;
use std::time::Instant;

use super::Fitting;
use crate::dataset::Dataset;
use crate::embed::{Embedder, covering};
use crate::encoder::FeatureChoice;
use crate::error::Result;
use crate::heads::{
    self, Answers, Candidate, Examples, FitOptions, SCREENED_ROWS, Selection, Trial, Units, WordsReport,
    fit_bytes, select_bytes,
};
use crate::task::{Target, Truth};

/// A choice of features, and its places in a stored row.
pub type Seen = (FeatureChoice, Range<usize>);

/// What may be chosen of the network cut to so many layers (none: of all that is stored of it), fewest
/// numbers first.
///
/// # Errors
/// The network is not that deep, cannot be looked into, or its states are not stored.
pub fn options(embedder: &Embedder, depth: Option<usize>) -> Result<Vec<Seen>> {
    let backbone = embedder.backbone();
    let stored = !embedder.layout().levels().is_empty();
    let choices = match (backbone.layers(), depth) {
        (Some(layers), Some(depth)) => {
            FeatureChoice::candidates(depth, backbone.has_embedding() && depth == layers)
        }
        (Some(layers), None) if stored => FeatureChoice::candidates(layers, backbone.has_embedding()),
        (_, None) => vec![FeatureChoice::Last],
        // Says that there are no layers to choose from.
        (None, Some(_)) => vec![FeatureChoice::All],
    };
    choices.into_iter().map(|choice| Ok((choice, embedder.columns_at(choice, depth)?))).collect()
}

/// A task's training rows, and how heads are fitted on them.
pub struct Screening<'s> {
    pub embedder: &'s Embedder,
    /// All rows; which of their features are in memory changes.
    pub rows: &'s mut Dataset,
    pub answers: Answers<'s>,
    /// The training rows.
    pub truth: &'s Truth,
    pub fitting: Fitting<'s>,
}

/// What was chosen for a task, and what was tried.
#[derive(Debug, Clone)]
pub struct Screened {
    pub choice: FeatureChoice,
    /// Its place in a stored row.
    pub columns: Range<usize>,
    pub alpha: f64,
    pub tried: Vec<Candidate>,
    /// Those that were compared once more on all training rows, if any.
    pub run_off: Vec<Candidate>,
    /// What was found of words beside that, where they were tried.
    pub words: Option<WordsReport>,
    pub seconds: f64,
    /// Bytes that trying and fitting take at their peak, the features included.
    pub memory: u64,
}

impl Screened {
    /// The options of a fit of what was chosen: nothing is tried any more.
    #[must_use]
    pub fn settled(&self, fit: &FitOptions) -> FitOptions {
        heads::settled(fit, self.alpha, self.words.as_ref())
    }
}

impl Screening<'_> {
    /// Compares options, fewest numbers first, and penalties by cross-validation on some of the task's
    /// training rows. The first option is there whatever its fit takes.
    ///
    /// # Errors
    /// The features cannot be read, or a fit fails.
    pub fn among(&mut self, options: &[Seen], show: &mut dyn FnMut(&str)) -> Result<Screened> {
        let start = Instant::now();
        let (name, classes) = (self.answers.task, self.answers.labels.len());
        let mut left = Vec::with_capacity(options.len());
        for option in options {
            if left.is_empty() || self.fit_bytes(option) <= self.fitting.memory {
                left.push(option.clone());
            }
        }
        let options = left;
        let sample = heads::sample(&self.truth.targets, classes, SCREENED_ROWS, self.fitting.fit.seed);
        let mut fits = |done: usize, most: usize| {
            show(&format!("{name}: choosing what its head sees, {done} of at most {most} fits"));
        };
        let selection = self.select(&options, &sample, &mut fits).map_err(|error| error.task(name))?;
        let mut chosen = (selection.trial, selection.alpha);
        let (mut run_off, mut fitted) = (Vec::new(), vec![chosen.0]);
        if !selection.rivals.is_empty() && self.truth.rows.len() > sample.len() {
            let finalists: Vec<(usize, f64)> = [chosen].into_iter().chain(selection.rivals).collect();
            fitted = finalists.iter().map(|(option, _)| *option).collect();
            show(&format!("{name}: choosing between {} on all training rows", finalists.len()));
            run_off = self.run_off(&options, &finalists)?;
            let best = run_off.iter().map(|found| found.accuracy).fold(f64::NEG_INFINITY, f64::max);
            let near = run_off.iter().position(|found| best - found.accuracy <= found.standard_error);
            chosen = finalists[near.unwrap_or(0)];
        }
        let (choice, columns) = options[chosen.0].clone();
        let memory = self.memory(&options, sample.len(), &fitted);
        let (alpha, tried) = (chosen.1, selection.candidates);
        let words = self.words(&columns, alpha, show)?;
        let seconds = start.elapsed().as_secs_f64();
        Ok(Screened { choice, columns, alpha, tried, run_off, words, seconds, memory })
    }

    /// Whether words help beside the features that were chosen, where that is asked for.
    fn words(
        &mut self,
        columns: &Range<usize>,
        alpha: f64,
        show: &mut dyn FnMut(&str),
    ) -> Result<Option<WordsReport>> {
        self.rows.load(self.embedder, columns.clone())?;
        let features = self.rows.view(columns);
        if !self.fitting.fit.words.wanted.applies(features.words().is_some()) {
            return Ok(None);
        }
        show(&format!("{}: what words add to that", self.answers.task));
        let examples = Examples { features, rows: &self.truth.rows, targets: &self.truth.targets };
        heads::weigh_words(self.answers, &examples, alpha, self.fitting.fit).map(Some)
    }

    /// Compares all options on a sample of the rows.
    fn select(
        &self,
        options: &[Seen],
        sample: &[usize],
        show: &mut dyn FnMut(usize, usize),
    ) -> Result<Selection> {
        let keys: Vec<_> = sample.iter().map(|&place| self.rows.keys[self.truth.rows[place]]).collect();
        let targets: Vec<Target> = sample.iter().map(|&place| self.truth.targets[place].clone()).collect();
        let shape = self.answers.shape();
        let targets = Units::of(shape.kind, &targets, self.answers.task)?.targets(&targets);
        let places: Vec<usize> = (0..sample.len()).collect();
        let sampled = self.embedder.read_rows(&keys, covered(options, 0..options.len()))?;
        let trial =
            |(choice, columns): &Seen| Trial { name: choice.to_string(), features: sampled.view(columns) };
        let trials: Vec<Trial<'_>> = options.iter().map(trial).collect();
        Ok(heads::select(&trials, (&places, &targets), shape, self.fitting.fit, show))
    }

    /// Compares options, with their penalties, on all rows.
    fn run_off(&mut self, options: &[Seen], finalists: &[(usize, f64)]) -> Result<Vec<Candidate>> {
        self.rows.load(self.embedder, covered(options, finalists.iter().map(|(option, _)| *option)))?;
        let trial = |&(option, alpha): &(usize, f64)| {
            let (choice, columns) = &options[option];
            (Trial { name: choice.to_string(), features: self.rows.view(columns) }, alpha)
        };
        let trials: Vec<(Trial<'_>, f64)> = finalists.iter().map(trial).collect();
        let fits: Vec<u64> = finalists.iter().map(|(option, _)| self.fit_bytes(&options[*option])).collect();
        let (at_once, _) = self.side_by_side(&fits);
        let known = (&self.truth.rows[..], &self.truth.targets[..]);
        heads::run_off(&trials, known, self.answers, (self.fitting.fit, at_once))
    }

    /// Bytes that fitting a head on a choice takes, beside its features.
    fn fit_bytes(&self, (_, columns): &Seen) -> u64 {
        fit_bytes(self.truth.rows.len(), columns.len(), self.answers.labels.len())
    }

    /// How many of these fits, by their bytes, run at once, and what that takes.
    fn side_by_side(&self, fits: &[u64]) -> (usize, u64) {
        let (threads, together) = (self.fitting.fit.threads, fits.iter().sum());
        if threads > 1 && together <= self.fitting.memory {
            return (threads, together);
        }
        (1, fits.iter().copied().max().unwrap_or(0))
    }

    /// Bytes at the peak of trying all options on `sampled` rows and of fitting some; all rows are held.
    fn memory(&self, options: &[Seen], sampled: usize, fitted: &[usize]) -> u64 {
        let (all, classes, threads) = (self.rows.rows(), self.answers.labels.len(), self.fitting.fit.threads);
        let widest = options.iter().map(|(_, columns)| columns.len()).max().unwrap_or(0);
        let matrix = 4 * (sampled * covered(options, 0..options.len()).len()) as u64;
        let trying = matrix + select_bytes(sampled, widest, classes, threads);
        let fits: Vec<u64> = fitted.iter().map(|&option| self.fit_bytes(&options[option])).collect();
        let (_, fit) = self.side_by_side(&fits);
        trying.max(4 * (all * covered(options, fitted.iter().copied()).len()) as u64 + fit)
    }
}

/// The places that hold all of some options.
fn covered(options: &[Seen], some: impl IntoIterator<Item = usize>) -> Range<usize> {
    let columns: Vec<Range<usize>> = some.into_iter().map(|option| options[option].1.clone()).collect();
    covering(&columns)
}
