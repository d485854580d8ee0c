//! Owns what a head sees of a matrix: the same columns of every row, and what stands in the rows' texts.

use std::ops::Range;

use super::word_rows::WordRows;
use crate::fingerprint::TextKey;
use crate::tensors::bytes_of;

/// Some columns of a row-major matrix.
#[derive(Debug, Clone, Copy)]
pub struct FeatureView<'a> {
    values: &'a [f32],
    /// Numbers in a row of the matrix.
    stride: usize,
    first: usize,
    width: usize,
    words: Option<&'a WordRows>,
}

impl<'a> FeatureView<'a> {
    /// These columns of a matrix whose rows have `stride` numbers.
    #[must_use]
    pub fn new(values: &'a [f32], stride: usize, columns: Range<usize>) -> Self {
        debug_assert!(columns.end <= stride, "columns {columns:?} of {stride}");
        Self { values, stride, first: columns.start, width: columns.len(), words: None }
    }

    /// All columns of a matrix of this width.
    #[must_use]
    pub fn whole(values: &'a [f32], width: usize) -> Self {
        Self::new(values, width, 0..width)
    }

    /// The same with what stands in the rows' texts, if that is known.
    #[must_use]
    pub fn with_words(self, words: Option<&'a WordRows>) -> Self {
        Self { words, ..self }
    }

    /// What stands in the rows' texts, where it is known.
    #[must_use]
    pub fn words(&self) -> Option<&'a WordRows> {
        self.words
    }

    /// What the head sees of a row.
    #[must_use]
    pub fn row(&self, row: usize) -> &'a [f32] {
        let first = row * self.stride + self.first;
        &self.values[first..first + self.width]
    }

    /// Numbers it sees.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// What tells the text of a row from others: its features, or, where nothing is seen of them, its words.
    #[must_use]
    pub fn text(&self, row: usize) -> TextKey {
        match self.words.filter(|_| self.width == 0) {
            Some(words) => TextKey::of_bytes(&words.text(row).to_le_bytes()),
            None => TextKey::of_bytes(&bytes_of(self.row(row))),
        }
    }

    /// Whether the matrix is one of whole rows.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match self.width {
            0 => self.words.is_some(),
            _ => self.values.len().is_multiple_of(self.stride),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_shows_the_same_columns_of_every_row() {
        let values = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let view = FeatureView::new(&values, 3, 1..3);
        assert_eq!((view.row(0), view.row(1), view.width()), (&[1.0, 2.0][..], &[4.0, 5.0][..], 2));
        assert!(view.is_whole());
        assert!(!FeatureView::whole(&values, 4).is_whole() && !FeatureView::whole(&values, 0).is_whole());
    }
}
