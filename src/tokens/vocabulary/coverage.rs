//! Owns what a smaller vocabulary does to texts: how many are cut as before, and how the pieces of all fit.
//!
//! Refuses to judge it.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::Pruned;
use crate::error::Result;
use crate::text::{AsText, as_texts};
use crate::tokens::{PieceUse, Tokenizer};

/// Some texts under a vocabulary, and under a smaller one that was made of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Texts that have the same pieces as before: all that the network says of them is the same.
    pub same: u64,
    /// How all texts were cut before …
    pub before: PieceUse,
    /// … and are cut now.
    pub after: PieceUse,
}

impl Coverage {
    /// Adds whole texts or pairs, as the network reads them: with their prefix, where there is one. The number of
    /// threads changes nothing.
    ///
    /// # Errors
    /// A tokenizer fails on a text.
    pub fn add(
        &mut self,
        whole: &Tokenizer,
        pruned: &Pruned,
        threads: usize,
        texts: &[impl AsText],
    ) -> Result<()> {
        let texts = as_texts(texts);
        let before = whole.all_ids_on(threads, &texts)?;
        let after = pruned.tokenizer.all_ids_on(threads, &texts)?;
        for ((text, before), after) in texts.iter().zip(&before).zip(&after) {
            self.before += PieceUse::of(text, before, whole.unknown_id());
            self.after += PieceUse::of(text, after, pruned.tokenizer.unknown_id());
            let same = after.iter().map(|id| pruned.rows.get(*id as usize)).eq(before.iter().map(Some));
            self.same += u64::from(same);
        }
        Ok(())
    }

    /// The share of texts that have the same pieces, 0 to 1; 1 when there are no texts.
    #[must_use]
    pub fn same_share(&self) -> f64 {
        if self.before.texts == 0 { 1.0 } else { self.same as f64 / self.before.texts as f64 }
    }
}

impl AddAssign for Coverage {
    fn add_assign(&mut self, other: Self) {
        self.same += other.same;
        self.before += other.before;
        self.after += other.after;
    }
}
