//! Owns the stored rows of a layout: those stored for it, and those of whole rows that were stored before, of
//! which it takes its part.
//!
//! Refuses to write into the whole rows' place.

use std::path::Path;

use super::layout::RowLayout;
use crate::error::Result;
use crate::fingerprint::TextKey;
use crate::store::{Damage, Store, StoreKey};

/// The rows of a layout in the feature store.
pub(super) struct StoredRows {
    layout: RowLayout,
    store: Store,
    /// Rows that hold everything, and more than these.
    whole: Option<(Store, RowLayout)>,
    damaged: Vec<Damage>,
}

impl StoredRows {
    /// Opens the rows of `layout`; `key` names the place of a layout. Whole rows are looked up where such a
    /// place is there already.
    ///
    /// # Errors
    /// A store cannot be opened.
    pub fn open(
        root: &Path,
        (layout, whole): (RowLayout, RowLayout),
        key: &dyn Fn(&RowLayout) -> StoreKey,
    ) -> Result<Self> {
        let store = Store::open(root, &key(&layout), layout.width())?;
        let whole_key = key(&whole);
        let whole = (whole != layout && Store::exists(root, &whole_key))
            .then(|| Ok((Store::open(root, &whole_key, whole.width())?, whole)))
            .transpose()?;
        let stores = [Some(&store), whole.as_ref().map(|(store, _)| store)];
        let damaged = stores.into_iter().flatten().flat_map(Store::damaged).cloned().collect();
        Ok(Self { layout, store, whole, damaged })
    }

    /// The place where rows are written to.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Parts that could not be trusted.
    pub fn damaged(&self) -> &[Damage] {
        &self.damaged
    }

    /// Different texts whose rows can be read, or a few more where both places hold some.
    pub fn count(&self) -> usize {
        self.store.len() + self.whole.as_ref().map_or(0, |(store, _)| store.len())
    }

    /// Whether a text's row can be read.
    pub fn contains(&self, key: &TextKey) -> bool {
        self.store.contains(key) || self.whole.as_ref().is_some_and(|(store, _)| store.contains(key))
    }

    /// Reads places of a row, all of them states, or the embedding, or counts; false when it is not there.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn read(&self, key: &TextKey, first: usize, out: &mut [f32]) -> Result<bool> {
        if self.store.read(key, first, out)? {
            return Ok(true);
        }
        match &self.whole {
            Some((store, whole)) => store.read(key, self.layout.within(whole, first), out),
            None => Ok(false),
        }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn append(&mut self, key: TextKey, row: &[f32]) -> Result<()> {
        self.store.append(key, row)
    }

    /// Writes what is still buffered.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.store.flush()
    }
}
