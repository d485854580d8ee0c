//! Owns which words spoke for which label: what every piece and every pair of neighbours adds to a task's
//! logits.
//!
//! Exact: a text's logits are the sum of these and of what its features say. Refuses to say anything of heads
//! that do not look at words.

use std::collections::BTreeMap;

use super::Classifier;
use crate::error::{Error, Kind, Result};
use crate::heads::{Head, Words};
use crate::text::AsText;

/// What a piece, or a pair of neighbours, adds to a task's logits, all its places in the text together.
#[derive(Debug, Clone, PartialEq)]
pub struct WordLogits {
    /// One piece, or two, as the tokenizer writes them.
    pub pieces: Vec<String>,
    /// No piece of the text, but what the tokenizer puts around every text.
    pub around: bool,
    /// `[classes]`.
    pub logits: Vec<f32>,
}

/// Pieces and pairs of a text with what each counts.
type Counted = BTreeMap<(u32, Option<u32>), f64>;

impl Classifier {
    /// Whether a head looks at words.
    #[must_use]
    pub fn looks_at_words(&self) -> bool {
        self.heads().iter().any(|head| head.words.is_some())
    }

    /// Per task, what every piece and pair of neighbours of a text adds to its logits; nothing for a task without words.
    ///
    /// # Errors
    /// No head looks at words, or the tokenizer fails.
    pub fn explain_words(&self, text: impl AsText) -> Result<Vec<Vec<WordLogits>>> {
        if !self.looks_at_words() {
            return Err(Error::new(Kind::Usage, "no head of this model looks at words")
                .at(self.model().path())
                .expected("a model trained with words: --features auto, or +words behind a choice"));
        }
        let windows = self.reader(None)?.read(text, usize::MAX)?.into_ids();
        let counted = counted(&windows);
        let extractor = self.locked();
        let tokenizer = extractor.backbone().tokenizer();
        let (before, behind) = tokenizer.special_ids();
        let around = |id: u32| before.contains(&id) || behind.contains(&id);
        let name = |id: u32| tokenizer.piece(id).unwrap_or_else(|| format!("[{id}]"));
        let of_words = |words: &Words| -> Vec<WordLogits> {
            let of_one = |(&(left, right), &counts): (&(u32, Option<u32>), &f64)| {
                let place = right.map_or(left as usize, |right| words.grams.pair(left, right));
                let codes = words.codes_of(place).iter().zip(&words.scales);
                let logits =
                    codes.map(|(code, scale)| (counts * f64::from(*code) * f64::from(*scale)) as f32);
                WordLogits {
                    pieces: std::iter::once(left).chain(right).map(name).collect(),
                    around: around(left) && right.is_none_or(around),
                    logits: logits.collect(),
                }
            };
            let all = counted.iter().map(of_one);
            all.filter(|found| found.logits.iter().any(|logit| *logit != 0.0)).collect()
        };
        Ok(self
            .heads()
            .iter()
            .map(|head: &Head| head.words.as_ref().map(of_words).unwrap_or_default())
            .collect())
    }
}

/// What stands in a text, as `heads::entries` counts it.
fn counted(windows: &[Vec<u32>]) -> Counted {
    let tokens: usize = windows.iter().map(Vec::len).sum();
    let mut all = Counted::new();
    for window in windows {
        let counts = (window.len() as f64).sqrt() / tokens.max(1) as f64;
        let pairs = window.windows(2).map(|pair| (pair[0], Some(pair[1])));
        for word in window.iter().map(|id| (*id, None)).chain(pairs) {
            *all.entry(word).or_default() += counts;
        }
    }
    all
}
