//! Owns which pieces texts use, and how often.
//!
//! Refuses to cut texts at a model's limit: where a word is cut in two by it, its pieces before the limit
//! depend on those behind.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::text::{AsText, as_texts};
use crate::tokens::Tokenizer;

/// How often each piece stands in some texts, by its id. Special tokens that a template adds are not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PieceCounts(BTreeMap<u32, u64>);

impl PieceCounts {
    /// Adds the pieces of whole texts or pairs, as the network reads them: with their prefix, where there is one. The
    /// number of threads changes nothing.
    ///
    /// # Errors
    /// The tokenizer fails on a text.
    pub fn add(&mut self, tokenizer: &Tokenizer, threads: usize, texts: &[impl AsText]) -> Result<()> {
        for ids in tokenizer.all_ids_on(threads, &as_texts(texts))? {
            ids.into_iter().for_each(|id| *self.0.entry(id).or_default() += 1);
        }
        Ok(())
    }

    /// The counts of some pieces.
    #[must_use]
    pub fn only(mut self, pieces: &BTreeSet<u32>) -> Self {
        self.0.retain(|id, _| pieces.contains(id));
        self
    }

    /// All pieces that were seen.
    #[must_use]
    pub fn used(&self) -> BTreeSet<u32> {
        self.0.keys().copied().collect()
    }

    /// The `most` pieces that were seen most often, of equals those of the lower ids. Those that stay anyway
    /// may be among them; those that are not are kept beside them, so that a vocabulary has some more.
    #[must_use]
    pub fn most_frequent(&self, most: usize) -> BTreeSet<u32> {
        let mut pieces: Vec<(Reverse<u64>, u32)> =
            self.0.iter().map(|(id, count)| (Reverse(*count), *id)).collect();
        pieces.sort_unstable();
        pieces.into_iter().take(most).map(|(_, id)| id).collect()
    }
}
