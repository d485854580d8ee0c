//! Owns what a fit is asked for and what it reports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::balance::ClassWeight;
use super::view::FeatureView;
#[cfg(feature = "train")]
use super::word_options::WordsWanted;
use super::word_options::{WordsOptions, WordsReport};
use crate::error::{Error, Kind, Result};
use crate::metrics::Promise;
use crate::task::Target;

/// The penalties `auto` chooses from, strongest first, so that each fit starts from a smoother neighbour.
pub const GRID: [f64; 10] = [3000.0, 1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1];

/// The weight of the penalty: `alpha / 2 · |W|²` on the standardised features, beside the summed cross
/// entropy (of numbers: half the summed squared error, in units of their deviation). The same as `C = 1 /
/// alpha` in scikit-learn, and `alpha` of its ridge regression.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Alpha {
    Fixed(f64),
    /// The one of the grid with the least calibrated cross entropy in 3-fold cross-validation on at most
    /// 3,000 training rows.
    Auto,
}

impl FromStr for Alpha {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.parse::<f64>() {
            Ok(alpha) if alpha.is_finite() && alpha > 0.0 => Ok(Self::Fixed(alpha)),
            _ => Err(Error::new(Kind::Usage, "there is no such alpha")
                .found(format!("{text:?}"))
                .expected("a number above 0, or auto")),
        }
    }
}

impl fmt::Display for Alpha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(alpha) => write!(f, "{alpha}"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

impl From<Alpha> for String {
    fn from(alpha: Alpha) -> Self {
        alpha.to_string()
    }
}

impl TryFrom<String> for Alpha {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// How a head is fitted; a recipe keeps seed and threads elsewhere, or not at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitOptions {
    pub alpha: Alpha,
    pub class_weight: ClassWeight,
    /// After measuring, the heads of the run are fitted once more on all labelled rows.
    #[serde(rename = "final", skip_serializing_if = "std::ops::Not::not")]
    pub final_fit: bool,
    /// Words beside what is seen.
    #[serde(skip_serializing_if = "WordsOptions::is_default")]
    pub words: WordsOptions,
    /// What is promised of the answers.
    #[serde(skip_serializing_if = "Promise::is_default")]
    pub promise: Promise,
    /// Seed of the cross-validation folds.
    #[serde(skip)]
    pub seed: u64,
    /// Threads; they change the time, never the result.
    #[serde(skip)]
    pub threads: usize,
}

impl Default for FitOptions {
    /// No fixed alpha serves: the best of one set costs another 4 points and more (`docs/LOG.md`).
    fn default() -> Self {
        let (alpha, class_weight, words) = (Alpha::Auto, ClassWeight::None, WordsOptions::default());
        let promise = Promise::default();
        Self { alpha, class_weight, final_fit: false, words, promise, seed: 13, threads: 1 }
    }
}

/// Labelled rows of a feature matrix.
#[derive(Debug, Clone, Copy)]
pub struct Examples<'a> {
    /// All rows.
    pub features: FeatureView<'a>,
    /// Which rows to fit on.
    pub rows: &'a [usize],
    /// What is true of each of `rows`.
    pub targets: &'a [Target],
}

/// Some of the examples.
#[cfg(feature = "train")]
pub(super) struct Chosen {
    pub rows: Vec<usize>,
    pub targets: Vec<Target>,
}

#[cfg(feature = "train")]
impl Examples<'_> {
    /// Those at these places.
    pub(super) fn chosen(&self, places: &[usize]) -> Chosen {
        let of = |&place: &usize| (self.rows[place], self.targets[place].clone());
        let (rows, targets) = places.iter().map(of).unzip();
        Chosen { rows, targets }
    }
}

#[cfg(feature = "train")]
impl Chosen {
    /// Them as examples, with all rows' features.
    pub fn of<'c>(&'c self, features: FeatureView<'c>) -> Examples<'c> {
        Examples { features, rows: &self.rows, targets: &self.targets }
    }
}

/// What a fit reached, computed in f64 at the weights that were returned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FitReport {
    pub task: String,
    /// Numbers the head sees of a text.
    pub width: usize,
    /// Training rows.
    pub rows: u64,
    pub alpha: f64,
    /// Summed cross entropy (of numbers: half the summed squared error, in units of their deviation) plus
    /// penalty.
    pub loss: f64,
    /// Euclidean length of the gradient.
    pub gradient_norm: f64,
    /// What the gradient's length must not exceed.
    pub tolerance: f64,
    pub converged: bool,
    pub seconds: f64,
    /// What `auto` tried, with the choice of features where it tried several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// The two choices that were compared once more on all training rows, when the first comparison left
    /// several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run_off: Vec<Candidate>,
    /// What was found of words, where they were tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<WordsReport>,
}

impl FitOptions {
    /// The same with weights of words in 8 bits, or exact.
    #[must_use]
    pub fn with_words_in_bytes(&self, in_bytes: bool) -> Self {
        Self { words: WordsOptions { in_bytes, ..self.words.clone() }, ..self.clone() }
    }
}

#[cfg(feature = "train")]
impl FitReport {
    /// The options of a fit as this one was: nothing is chosen any more.
    #[must_use]
    pub fn settled(&self, options: &FitOptions) -> FitOptions {
        settled(options, self.alpha, self.words.as_ref())
    }
}

/// The options of a fit that nothing is chosen for any more.
#[cfg(feature = "train")]
#[must_use]
pub fn settled(options: &FitOptions, alpha: f64, words: Option<&WordsReport>) -> FitOptions {
    let used = words.and_then(|words| words.used);
    let wanted = if used.is_some() { WordsWanted::Yes } else { WordsWanted::No };
    let words = WordsOptions { wanted, settled: used, ..options.words.clone() };
    FitOptions { alpha: Alpha::Fixed(alpha), words, ..options.clone() }
}

/// One penalty that `auto` tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The choice of features; empty when only penalties were tried.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub features: String,
    pub alpha: f64,
    /// Mean cross entropy of the held-out rows, weighted as the training rows are, at the temperature that is
    /// best for them (in runs of earlier versions, at 1); absent in a run-off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_entropy: Option<f64>,
    /// Share of the held-out rows that were labelled rightly, weighted likewise; of other kinds of tasks their
    /// score, micro-F1 or R².
    pub accuracy: f64,
    /// Of the accuracy's distance, row by row, to that of the most accurate choice of features, with its
    /// penalty.
    pub standard_error: f64,
}

impl Candidate {
    /// For each choice of features, in their order, the place of its penalty: the one with the least
    /// calibrated cross entropy, of equal ones the first.
    #[must_use]
    pub fn best_of_each(tried: &[Self]) -> Vec<usize> {
        let loss = |place: usize| tried[place].cross_entropy.unwrap_or(f64::INFINITY);
        let mut best: Vec<usize> = Vec::new();
        for place in 0..tried.len() {
            match best.last_mut().filter(|best| tried[**best].features == tried[place].features) {
                Some(best) if loss(place) < loss(*best) => *best = place,
                Some(_) => {}
                None => best.push(place),
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_parsed_and_printed_alike() {
        for text in ["auto", "0.5", "100"] {
            assert_eq!(text.parse::<Alpha>().unwrap().to_string(), text);
        }
        for text in ["none", "balanced"] {
            assert_eq!(text.parse::<ClassWeight>().unwrap().to_string(), text);
        }
        for text in ["", "0", "-1", "NaN", "inf", "much"] {
            assert!(text.parse::<Alpha>().is_err(), "{text}");
        }
        assert!("heavy".parse::<ClassWeight>().is_err());
    }
}
