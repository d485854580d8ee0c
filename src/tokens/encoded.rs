//! Owns what texts become: ragged token ids with their types, and what each text lost at the limit.
//!
//! Refuses token types but 0 and, behind those, 1.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Ragged token ids of some texts, and what each text lost.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    ids: Vec<u32>,
    /// `ends[i]` is where text i's ids end.
    ends: Vec<usize>,
    /// How many of them have token type 0: those behind, in a pair's second text, have 1.
    zeros: Vec<usize>,
    lost: Vec<Lost>,
}

/// Token ids that go through the network together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Special ones included.
    pub ids: Vec<u32>,
    /// How many of them have token type 0; the others have 1.
    pub zeros: usize,
}

impl Tokens {
    /// Those of one text: all have token type 0.
    #[must_use]
    pub fn of_one(ids: Vec<u32>) -> Self {
        Self { zeros: ids.len(), ids }
    }
}

/// What one text lost at the maximum length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    pub tokens: u64,
    /// The text was too long to count: it lost at least so many.
    pub at_least: bool,
}

/// What some texts lost at the maximum length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truncation {
    /// Texts that were cut.
    pub texts: u64,
    /// Tokens they lost in all.
    pub tokens_lost: u64,
    /// Some texts were too long to count: they lost at least so many.
    pub at_least: bool,
}

impl AddAssign for Truncation {
    fn add_assign(&mut self, other: Self) {
        self.texts += other.texts;
        self.tokens_lost += other.tokens_lost;
        self.at_least |= other.at_least;
    }
}

impl Truncation {
    /// What one text lost.
    #[must_use]
    pub fn of(lost: Lost) -> Self {
        Self {
            texts: u64::from(lost.tokens > 0 || lost.at_least),
            tokens_lost: lost.tokens,
            at_least: lost.at_least,
        }
    }
}

impl Encoded {
    /// Adds a text's ids, all of token type 0.
    pub fn push(&mut self, ids: &[u32], lost: Lost) {
        self.push_typed(ids, ids.len(), lost);
    }

    /// Adds the ids of a text or a pair, of which so many have token type 0.
    pub fn push_typed(&mut self, ids: &[u32], zeros: usize, lost: Lost) {
        self.ids.extend_from_slice(ids);
        self.ends.push(self.ids.len());
        self.zeros.push(zeros);
        self.lost.push(lost);
    }

    /// Adds other texts.
    pub(super) fn append(&mut self, other: &Self) {
        (0..other.len())
            .for_each(|text| self.push_typed(other.ids(text), other.zeros(text), other.lost(text)));
    }

    /// How many ids of a text have token type 0; the others have 1.
    #[must_use]
    pub fn zeros(&self, text: usize) -> usize {
        self.zeros[text]
    }

    /// Number of texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no texts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The ids of a text.
    #[must_use]
    pub fn ids(&self, text: usize) -> &[u32] {
        let start = if text == 0 { 0 } else { self.ends[text - 1] };
        &self.ids[start..self.ends[text]]
    }

    /// How many ids each text has.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        (0..self.len()).map(|text| self.ids(text).len())
    }

    /// What a text lost.
    #[must_use]
    pub fn lost(&self, text: usize) -> Lost {
        self.lost[text]
    }

    /// What all texts lost.
    #[must_use]
    pub fn truncation(&self) -> Truncation {
        let mut truncation = Truncation::default();
        for &lost in &self.lost {
            truncation += Truncation::of(lost);
        }
        truncation
    }
}
