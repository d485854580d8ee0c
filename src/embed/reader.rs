//! Owns reading texts apart from the network: texts → the token ids of their pieces, from any thread, and the
//! rows of a text's pieces → the row of the text.
//!
//! Refuses to run anything: what pieces go through the network together is the caller's choice
//! (`Extractor::run_pieces`).

use std::sync::Arc;

use super::ids::{buckets, check_kind, limit, piece_uses, windows};
use super::windowed::Sum;
use crate::backbone::Backbone;
use crate::error::Result;
use crate::text::{AsText, Text};
use crate::tokens::{Buckets, LongTexts, Lost, PieceUse, Spacing, Tokens, Windows};

/// Reads texts as one backbone does. Cheap to share between threads.
pub struct Reader {
    backbone: Arc<Backbone>,
    windows: Option<Windows>,
    buckets: Buckets,
}

/// A text or a pair, ready for the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Token ids, special ones included: one piece, or a text's windows in their order.
    pub pieces: Vec<Tokens>,
    /// What was cut off.
    pub lost: Lost,
    /// How the text, its prefix included, was cut into pieces, each counted once; none where some of it was
    /// cut off, as there are more words then than those of the pieces.
    pub used: Option<PieceUse>,
}

impl Reading {
    /// Tokens of all pieces.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.pieces.iter().map(|piece| piece.ids.len()).sum()
    }

    /// The ids of every piece.
    #[must_use]
    pub fn into_ids(self) -> Vec<Vec<u32>> {
        self.pieces.into_iter().map(|piece| piece.ids).collect()
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

    /// Tokens of a text that it reads at once; of more it reads the start, or windows.
    #[must_use]
    pub fn limit(&self) -> usize {
        limit(&self.backbone, self.windows.as_ref())
    }

    /// Whether a text with these pieces is longer than that.
    #[must_use]
    pub fn is_longer(&self, text: &PieceUse) -> bool {
        let special = self.backbone.tokenizer().special_tokens_of(self.backbone.reads_pairs());
        text.pieces + special as u64 > self.limit() as u64
    }

    /// Whether it reads pairs of texts.
    #[must_use]
    pub fn reads_pairs(&self) -> bool {
        self.backbone.reads_pairs()
    }

    /// How whole texts are cut into pieces, however long they are; found on so many threads.
    ///
    /// # Errors
    /// The texts are of another kind than it reads, or the tokenizer fails on one.
    pub fn piece_uses(&self, texts: &[impl AsText], threads: usize) -> Result<Vec<PieceUse>> {
        piece_uses(&self.backbone, texts, threads)
    }

    /// Reads a text or a pair; stops behind `most` tokens, so that the reading is known to have more.
    ///
    /// # Errors
    /// It is of another kind than the backbone reads, or the tokenizer fails.
    pub fn read(&self, text: impl AsText, most: usize) -> Result<Reading> {
        let text = text.as_text();
        check_kind(&self.backbone, text)?;
        let (tokenizer, preparation) = (self.backbone.tokenizer(), &self.backbone.manifest().preparation);
        let first = text.first_behind(&preparation.prefix);
        let Some(windows) = &self.windows else {
            let text = Text { first: &first, second: text.second };
            let (tokens, lost, used) = tokenizer.read(text, preparation.max_length)?;
            return Ok(Reading { pieces: vec![tokens], lost, used });
        };
        let mut all = windows.of(tokenizer, &first, false);
        let mut reading = Reading { pieces: Vec::new(), lost: Lost::default(), used: None };
        let mut tokens = 0;
        while let Some(window) = all.next_window()? {
            tokens += window.ids.len();
            reading.pieces.push(Tokens::of_one(window.ids));
            if let Some(lost) = window.last {
                reading.lost = lost;
                reading.used = (lost == Lost::default()).then(|| all.piece_use());
            }
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
