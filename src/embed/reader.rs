//! Owns reading texts apart from the network: texts → the token ids of their pieces, from any thread, and the
//! rows of a text's pieces → the row of the text.
//!
//! Refuses to run anything: what pieces go through the network together is the caller's choice
//! (`Extractor::run_pieces`).

use std::sync::Arc;

use super::ids::{buckets, encode, prefixed, windows};
use super::windowed::Sum;
use crate::backbone::Backbone;
use crate::error::Result;
use crate::tokens::{Buckets, LongTexts, Lost, Spacing, Windows};

/// Reads texts as one backbone does. Cheap to share between threads.
pub struct Reader {
    backbone: Arc<Backbone>,
    windows: Option<Windows>,
    buckets: Buckets,
}

/// A text, ready for the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Token ids, special ones included: one piece, or a text's windows in their order.
    pub pieces: Vec<Vec<u32>>,
    /// What was cut off.
    pub lost: Lost,
}

impl Reading {
    /// Tokens of all pieces.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum()
    }
}

impl Reader {
    /// # Errors
    /// The backbone's texts cannot be read in such windows.
    pub(super) fn new(backbone: Arc<Backbone>, long: LongTexts, spacing: Spacing) -> Result<Self> {
        let windows = windows(&backbone, long)?;
        let buckets = buckets(&backbone, windows.as_ref(), spacing);
        Ok(Self { backbone, windows, buckets })
    }

    /// The length a piece is padded to.
    #[must_use]
    pub fn padded(&self, length: usize) -> usize {
        self.buckets.padded(length)
    }

    /// Reads a text; stops behind `most` tokens, so that the reading is known to have more.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn read(&self, text: &str, most: usize) -> Result<Reading> {
        let Some(windows) = &self.windows else {
            let encoded = encode(&self.backbone, &[text], 1)?;
            return Ok(Reading { pieces: vec![encoded.ids(0).to_vec()], lost: encoded.lost(0) });
        };
        let text = prefixed(&self.backbone.manifest().preparation.prefix, text);
        let mut all = windows.of(self.backbone.tokenizer(), &text, false);
        let mut reading = Reading { pieces: Vec::new(), lost: Lost::default() };
        let mut tokens = 0;
        while let Some(window) = all.next_window()? {
            tokens += window.ids.len();
            reading.pieces.push(window.ids);
            reading.lost = window.last.unwrap_or_default();
            if tokens > most {
                break;
            }
        }
        Ok(reading)
    }
}

/// The row of a text from those of its pieces and their tokens: their mean, each counting as many times as it
/// has tokens.
#[must_use]
pub fn row_of_text(pieces: Vec<(Vec<f32>, usize)>) -> Vec<f32> {
    let Some((first, _)) = pieces.first() else { return Vec::new() };
    let mut row = first.clone();
    if pieces.len() > 1 {
        let mut sum = Sum::new(row.len());
        pieces.iter().for_each(|(piece, tokens)| sum.add(piece, *tokens));
        sum.mean(&mut row);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_piece_is_the_text_and_several_are_its_mean() {
        assert_eq!(row_of_text(vec![(vec![0.1, -7.0], 3)]), [0.1, -7.0]);
        assert_eq!(row_of_text(vec![(vec![1.0, 0.0], 128), (vec![5.0, 2.0], 32)]), [1.8, 0.4]);
    }
}
