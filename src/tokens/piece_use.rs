//! Owns how well a vocabulary fits texts: pieces a word, and how many of them stand for what is unknown.
//!
//! Refuses to keep texts or pieces: what is kept are counts, which add up.

use std::fmt;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::quantities::percent;
use crate::text::AsText;

/// How some texts were cut into pieces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceUse {
    /// Texts.
    pub texts: u64,
    /// Their words: what stands between white space.
    pub words: u64,
    /// Their pieces, without special tokens.
    pub pieces: u64,
    /// Those of the pieces that stand for what is not in the vocabulary.
    pub unknown: u64,
}

impl PieceUse {
    /// Of one text or pair: `ids` are all of its pieces, without special tokens, and `unknown` is what
    /// [`Tokenizer::unknown_id`](super::Tokenizer::unknown_id) says.
    #[must_use]
    pub fn of(text: impl AsText, ids: &[u32], unknown: Option<u32>) -> Self {
        let words = text.as_text().halves().map(words).sum();
        let mut used = Self { texts: 1, words, ..Self::default() };
        used.add_pieces(ids, unknown);
        used
    }

    /// Of one text, from what [`Self::add_pieces`] has counted of it.
    pub(super) fn of_counted(self, text: &str) -> Self {
        Self { texts: 1, words: words(text), ..self }
    }

    /// Counts some of a text's pieces.
    pub(super) fn add_pieces(&mut self, ids: &[u32], unknown: Option<u32>) {
        self.pieces += ids.len() as u64;
        self.unknown += ids.iter().filter(|id| Some(**id) == unknown).count() as u64;
    }

    /// Pieces a word; 0 when there are no words.
    #[must_use]
    pub fn pieces_per_word(&self) -> f64 {
        self.pieces as f64 / self.words.max(1) as f64
    }

    /// The share of pieces that are unknown, 0 to 1.
    #[must_use]
    pub fn unknown_share(&self) -> f64 {
        self.unknown as f64 / self.pieces.max(1) as f64
    }
}

fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

/// What is to be compared.
impl fmt::Display for PieceUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} pieces a word, {} unknown", self.pieces_per_word(), percent(self.unknown_share()))
    }
}

impl AddAssign for PieceUse {
    fn add_assign(&mut self, other: Self) {
        self.texts += other.texts;
        self.words += other.words;
        self.pieces += other.pieces;
        self.unknown += other.unknown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::tokenizer::tests::word_piece;

    #[test]
    fn words_pieces_and_unknown_ones_are_counted_and_add_up() {
        let tokenizer = word_piece();
        let mut all = PieceUse::default();
        for text in ["unbelievable  battery", "one", ""] {
            all += PieceUse::of(text, &tokenizer.all_ids(text).unwrap(), tokenizer.unknown_id());
        }
        let pieces =
            ["unbelievable", "battery", "one"].map(|word| tokenizer.all_ids(word).unwrap().len() as u64);
        assert_eq!(all, PieceUse { texts: 3, words: 3, pieces: pieces.iter().sum(), unknown: 0 });
        let strange = "one 𒀀𒀀 two";
        let strange = PieceUse::of(strange, &tokenizer.all_ids(strange).unwrap(), tokenizer.unknown_id());
        assert_eq!(strange, PieceUse { texts: 1, words: 3, pieces: 3, unknown: 1 });
        assert_eq!((strange.pieces_per_word(), strange.unknown_share()), (1.0, 1.0 / 3.0));
        assert_eq!(strange.to_string(), "1.00 pieces a word, 33.33 % unknown");
        assert_eq!((PieceUse::default().pieces_per_word(), PieceUse::default().unknown_share()), (0.0, 0.0));
    }
}
