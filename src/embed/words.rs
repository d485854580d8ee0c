//! Owns what stands in the texts of a table, for heads that look at that: every different text is read once,
//! as the network reads it.
//!
//! Refuses to keep a text: what is left of it are the places that its pieces and pairs take, and no order.

use std::collections::HashMap;
use std::sync::Arc;

use super::reader::Reader;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::TextKey;
use crate::heads::{WordRows, WordTable};
use crate::parallel::in_parallel;
use crate::text::{AsText, Text};
use crate::tokens::Grams;

/// Texts that a thread reads at a time.
const PIECE: usize = 256;

/// The texts that were read so far.
pub(super) struct TextWords {
    reader: Reader,
    threads: usize,
    table: Arc<WordTable>,
    texts: HashMap<TextKey, u32>,
}

impl TextWords {
    /// No text yet.
    pub fn new(reader: Reader, grams: Grams, threads: usize) -> Self {
        Self { reader, threads, table: Arc::new(WordTable::new(grams)), texts: HashMap::new() }
    }

    /// Which places there are.
    pub fn grams(&self) -> &Grams {
        self.table.grams()
    }

    /// Reads the texts that were not read yet. `keys[i]` is the key of `texts[i]`.
    ///
    /// # Errors
    /// The tokenizer fails on a text.
    pub fn ensure(&mut self, texts: &[Text<'_>], keys: &[TextKey]) -> Result<()> {
        let mut missing = Vec::new();
        for (text, key) in keys.iter().enumerate() {
            let next = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
            self.texts.entry(*key).or_insert_with(|| {
                missing.push(text);
                next
            });
        }
        let reader = &self.reader;
        let pieces: Vec<&[usize]> = missing.chunks(PIECE).collect();
        let read = in_parallel(self.threads, pieces, &|piece: &[usize]| {
            let of = |text: &usize| {
                Ok(reader.read(texts[*text], usize::MAX).map_err(|error| error.text(*text))?.into_ids())
            };
            piece.iter().map(of).collect::<Result<Vec<_>>>()
        });
        let table = Arc::make_mut(&mut self.table);
        for windows in read {
            windows?.iter().for_each(|windows| table.push(windows));
        }
        Ok(())
    }

    /// What stands in the texts of some rows.
    ///
    /// # Errors
    /// A text was not read before.
    pub fn rows(&self, keys: &[TextKey]) -> Result<WordRows> {
        let number = |key: &TextKey| {
            self.texts.get(key).copied().ok_or_else(|| {
                Error::new(Kind::Store, "the words of a text were never read; this is a bug")
                    .found(format!("text {key}"))
            })
        };
        Ok(WordRows::new(Arc::clone(&self.table), keys.iter().map(number).collect::<Result<_>>()?))
    }
}

/// What stands in texts, each read whole as a network with a smaller vocabulary does, whose pieces had these
/// `ids` in the whole one: at the places of the whole one.
///
/// # Errors
/// The tokenizer fails on a text.
pub fn words_of_fewer_pieces(
    reader: &Reader,
    grams: &Grams,
    ids: &[u32],
    texts: &[impl AsText],
) -> Result<WordRows> {
    let mut table = WordTable::new(grams.clone());
    for (place, text) in texts.iter().enumerate() {
        let mut windows = reader.read(text, usize::MAX).map_err(|error| error.text(place))?.into_ids();
        windows.iter_mut().flatten().for_each(|id| *id = ids[*id as usize]);
        table.push(&windows);
    }
    let rows = (0..u32::try_from(texts.len()).unwrap_or(u32::MAX)).collect();
    Ok(WordRows::new(Arc::new(table), rows))
}
