//! Owns what is asked of a head's words, and what was found of them.

use serde::{Deserialize, Serialize};

#[cfg(feature = "train")]
use super::mixture::Pairs;

/// Texts that a piece or a pair must stand in to have a weight, if nobody says otherwise: what stands in a
/// single one says more of it than of its label.
pub const WORDS_AT_LEAST: u32 = 2;

/// Whether words are put beside what a head sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WordsWanted {
    #[default]
    No,
    /// Where they help on held-out training rows.
    Auto,
    Yes,
}

impl WordsWanted {
    /// Whether there is something to fit or to weigh where it is known, or not, what stands in the texts: of
    /// features without texts nothing is weighed; who asks for words all the same is told.
    #[must_use]
    pub fn applies(self, known: bool) -> bool {
        match self {
            Self::No => false,
            Self::Auto => known,
            Self::Yes => true,
        }
    }
}

/// What is asked of a head's words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WordsOptions {
    pub wanted: WordsWanted,
    /// In how many different training texts a piece or a pair must stand.
    pub at_least: u32,
    /// What was found before, so that nothing is tried.
    #[serde(skip)]
    pub settled: Option<SettledWords>,
    /// Weights take 8 bits.
    #[serde(skip)]
    pub in_bytes: bool,
}

impl Default for WordsOptions {
    fn default() -> Self {
        Self { wanted: WordsWanted::No, at_least: WORDS_AT_LEAST, settled: None, in_bytes: false }
    }
}

impl WordsOptions {
    /// Whether a file need not say anything of it.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a piece or pair counts while weights are fitted; weights are of what stands in a text as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weighing {
    /// The same, whatever it is.
    #[default]
    Plain,
    /// Less the more texts it stands in: divided by the root of their number. Where single rare words decide,
    /// this is better by a point and more (`docs/LOG.md`, *words*).
    Rare,
}

impl Weighing {
    /// What an entry that stands in so many texts counts.
    #[must_use]
    pub fn of(self, texts: u32) -> f64 {
        match self {
            Self::Plain => 1.0,
            Self::Rare => 1.0 / f64::from(texts.max(1)).sqrt(),
        }
    }
}

/// How words are fitted and mixed in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SettledWords {
    pub weighing: Weighing,
    /// The weight of their penalty.
    pub alpha: f64,
    /// What the logits of the features and those of the words count.
    pub counts: [f64; 2],
}

/// What a fit of words came to, and why they were taken or not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WordsReport {
    /// None: they did not help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<SettledWords>,
    /// Pieces and pairs with weights.
    pub places: usize,
    /// As those of the features, at the words' own weights, before the mix.
    pub loss: f64,
    pub gradient_norm: f64,
    pub tolerance: f64,
    pub converged: bool,
    pub seconds: f64,
    /// Training rows that the mix was found on, each out of its fold; all that follows is of them.
    pub rows: u64,
    /// Mean cross entropy of the features alone, at the temperature that is best …
    pub cross_entropy_without: f64,
    /// … and by how much it falls with the words, with the standard error of that, row by row.
    pub gain: f64,
    pub standard_error: f64,
    /// Accuracy without and with them.
    pub accuracy_without: f64,
    pub accuracy: f64,
    /// The penalties that were tried, each with its best mix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<WordsTrial>,
}

/// A penalty of words that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WordsTrial {
    pub weighing: Weighing,
    pub alpha: f64,
    /// The best mix.
    pub counts: [f64; 2],
    /// Mean cross entropy with it.
    pub cross_entropy: f64,
}

impl WordsReport {
    /// Whether the cross entropy falls by more than one standard error.
    #[must_use]
    pub fn helps(&self) -> bool {
        self.gain > self.standard_error
    }

    /// What was found before a fit, with what the fit came to.
    #[must_use]
    pub fn fitted(self, fit: Option<Self>) -> Self {
        let Some(fit) = fit else { return self };
        let Self { places, loss, gradient_norm, tolerance, converged, seconds, .. } = fit;
        Self { places, loss, gradient_norm, tolerance, converged, seconds: self.seconds + seconds, ..self }
    }

    /// The report of words that are left out.
    #[cfg(feature = "train")]
    pub(super) fn refused(self, seconds: f64) -> Self {
        Self { seconds, converged: true, ..self }
    }

    /// Compares a mix with the features alone.
    #[cfg(feature = "train")]
    pub(super) fn judge(&mut self, pairs: &Pairs<'_>, counts: [f64; 2]) {
        let alone = pairs.best(true).counts;
        let (before, after) = (pairs.losses(alone), pairs.losses(counts));
        let rows = before.len().max(1) as f64;
        let mean = |numbers: &[f64]| numbers.iter().sum::<f64>() / rows;
        let gains: Vec<f64> = before.iter().zip(&after).map(|(before, after)| before - after).collect();
        self.gain = mean(&gains);
        let squares: f64 = gains.iter().map(|gain| (gain - self.gain).powi(2)).sum();
        self.standard_error = squares.sqrt() / rows;
        self.cross_entropy_without = mean(&before);
        (self.accuracy_without, self.accuracy) = (mean(&pairs.right(alone)), mean(&pairs.right(counts)));
    }
}
