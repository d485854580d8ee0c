//! Owns what stands in texts, as a head of words sees it: per text the places that its pieces and pairs take
//! (`tokens::Grams`), and what each counts.
//!
//! A window of n tokens counts `1 / √n` for every piece and pair in it, so that long texts shout no louder
//! than short ones; of a text in several windows the mean counts, each as many times as it has tokens: then a
//! text's logits are the mean of those of its windows, as its features are. Refuses to keep a text or its
//! order.

use std::collections::HashSet;
use std::sync::Arc;

use crate::tokens::Grams;

/// A place and what it counts.
pub type WordEntry = (u32, f32);

/// What stands in different texts.
#[derive(Debug, Clone, PartialEq)]
pub struct WordTable {
    grams: Grams,
    /// Where each text's entries end.
    ends: Vec<usize>,
    entries: Vec<WordEntry>,
}

impl WordTable {
    /// No text yet.
    #[must_use]
    pub fn new(grams: Grams) -> Self {
        Self { grams, ends: Vec::new(), entries: Vec::new() }
    }

    /// Which places there are.
    #[must_use]
    pub fn grams(&self) -> &Grams {
        &self.grams
    }

    /// Number of texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (size_of_val(&self.entries[..]) + size_of_val(&self.ends[..])) as u64
    }

    /// Adds a text: the token ids of its windows, special ones included.
    pub fn push(&mut self, windows: &[Vec<u32>]) {
        self.entries.extend(entries(&self.grams, windows));
        self.ends.push(self.entries.len());
    }

    /// A text's entries, in the order of their places.
    #[must_use]
    pub fn row(&self, text: usize) -> &[WordEntry] {
        let start = text.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.entries[start..self.ends[text]]
    }
}

/// What the windows of one text come to, in the order of the places.
#[must_use]
pub fn entries(grams: &Grams, windows: &[Vec<u32>]) -> Vec<WordEntry> {
    let tokens: usize = windows.iter().map(Vec::len).sum();
    let mut all: Vec<(u32, f64)> = Vec::with_capacity(2 * tokens);
    for window in windows {
        // share · 1/√n with a share of n of all tokens.
        let counts = (window.len() as f64).sqrt() / tokens.max(1) as f64;
        grams.each(window, |place| all.push((u32::try_from(place).unwrap_or(u32::MAX), counts)));
    }
    all.sort_unstable_by_key(|(place, _)| *place);
    let mut entries: Vec<(u32, f64)> = Vec::with_capacity(all.len());
    for (place, counts) in all {
        match entries.last_mut().filter(|(last, _)| *last == place) {
            Some((_, sum)) => *sum += counts,
            None => entries.push((place, counts)),
        }
    }
    entries.into_iter().map(|(place, counts)| (place, counts as f32)).collect()
}

/// What stands in the texts of rows.
#[derive(Debug, Clone)]
pub struct WordRows {
    table: Arc<WordTable>,
    /// Per row, its text.
    texts: Vec<u32>,
}

impl PartialEq for WordRows {
    fn eq(&self, other: &Self) -> bool {
        self.texts.len() == other.texts.len()
            && (0..self.texts.len()).all(|row| self.row(row) == other.row(row))
    }
}

impl WordRows {
    /// The texts of rows, by their numbers in a table.
    #[must_use]
    pub fn new(table: Arc<WordTable>, texts: Vec<u32>) -> Self {
        Self { table, texts }
    }

    /// Which places there are.
    #[must_use]
    pub fn grams(&self) -> &Grams {
        self.table.grams()
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The number of a row's text.
    pub(super) fn text(&self, row: usize) -> u32 {
        self.texts[row]
    }

    /// What stands in a row's text.
    #[must_use]
    pub fn row(&self, row: usize) -> &[WordEntry] {
        self.table.row(self.texts[row] as usize)
    }

    /// Of some rows one for each different text.
    #[must_use]
    pub fn different(&self, rows: &[usize]) -> Vec<usize> {
        let mut met = HashSet::new();
        rows.iter().copied().filter(|&row| met.insert(self.texts[row])).collect()
    }

    /// Some of the rows.
    #[must_use]
    pub fn only(&self, rows: &[usize]) -> Self {
        let texts = rows.iter().map(|&row| self.texts[row]).collect();
        Self { table: Arc::clone(&self.table), texts }
    }

    /// The same with other texts in some rows: those of `others`, in their order.
    #[must_use]
    pub fn with(&self, rows: &[usize], others: &Self) -> Self {
        let (mut table, mut texts) = (WordTable::clone(&self.table), self.texts.clone());
        for (place, &row) in rows.iter().enumerate() {
            texts[row] = u32::try_from(table.len()).unwrap_or(u32::MAX);
            table.entries.extend_from_slice(others.row(place));
            table.ends.push(table.entries.len());
        }
        Self { table: Arc::new(table), texts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_counts_by_the_root_of_its_length_and_windows_by_their_tokens() {
        let grams = Grams { pieces: 10, pairs: 1, ids: None };
        // Every pair has the one place there is.
        assert_eq!(entries(&grams, &[vec![1, 2, 2, 3]]), [(1, 0.5), (2, 1.0), (3, 0.5), (10, 1.5)]);
        let two = entries(&grams, &[vec![1; 4], vec![2]]);
        let near = |found: WordEntry, place: u32, counts: f32| {
            assert!(found.0 == place && (found.1 - counts).abs() < 1e-6, "{found:?}");
        };
        // Means of 4 · 1/2 and 0, of 0 and 1, of 3 · 1/2 and 0, by 4 and 1 tokens.
        near(two[0], 1, 1.6);
        near(two[1], 2, 0.2);
        near(two[2], 10, 1.2);
        assert!(entries(&grams, &[]).is_empty() && entries(&grams, &[Vec::new()]).is_empty());
    }

    #[test]
    fn rows_share_the_texts_of_a_table() {
        let grams = Grams { pieces: 10, pairs: 1, ids: None };
        let mut table = WordTable::new(grams);
        table.push(&[vec![1]]);
        table.push(&[vec![]]);
        table.push(&[vec![7]]);
        let rows = WordRows::new(Arc::new(table), vec![2, 0, 0, 1]);
        assert_eq!((rows.row(0), rows.row(1), rows.row(3)), (&[(7, 1.0)][..], &[(1, 1.0)][..], &[][..]));
        assert_eq!(rows.row(1), rows.row(2));
        let some = rows.only(&[3, 0]);
        assert_eq!((some.len(), some.row(1)), (2, &[(7, 1.0)][..]));
        let other = rows.with(&[1], &rows.only(&[0]));
        assert_eq!((other.row(1), other.row(2)), (&[(7, 1.0)][..], &[(1, 1.0)][..]));
        assert_ne!(other, rows);
    }
}
