//! Owns what a head sees of a matrix: the same columns of every row, and what is known of the words in the
//! rows' texts.

use std::ops::Range;

use super::word_logits::WordLogits;
use super::word_rows::WordRows;
use super::words::Words;
use crate::fingerprint::TextKey;
use crate::tensors::bytes_of;

/// What is known of the words in the texts of a matrix's rows.
#[derive(Debug, Clone, Copy)]
pub enum RowWords<'a> {
    Nothing,
    /// What stands in them.
    Texts(&'a WordRows),
    /// What the words of the head that looks at them say.
    Logits(&'a WordLogits),
}

impl<'a> From<Option<&'a WordRows>> for RowWords<'a> {
    fn from(texts: Option<&'a WordRows>) -> Self {
        texts.map_or(Self::Nothing, Self::Texts)
    }
}

impl<'a> From<Option<&'a WordLogits>> for RowWords<'a> {
    fn from(logits: Option<&'a WordLogits>) -> Self {
        logits.map_or(Self::Nothing, Self::Logits)
    }
}

/// Some columns of a row-major matrix.
#[derive(Debug, Clone, Copy)]
pub struct FeatureView<'a> {
    values: &'a [f32],
    /// Numbers in a row of the matrix.
    stride: usize,
    first: usize,
    width: usize,
    words: RowWords<'a>,
}

impl<'a> FeatureView<'a> {
    /// These columns of a matrix whose rows have `stride` numbers.
    #[must_use]
    pub fn new(values: &'a [f32], stride: usize, columns: Range<usize>) -> Self {
        debug_assert!(columns.end <= stride, "columns {columns:?} of {stride}");
        Self { values, stride, first: columns.start, width: columns.len(), words: RowWords::Nothing }
    }

    /// All columns of a matrix of this width.
    #[must_use]
    pub fn whole(values: &'a [f32], width: usize) -> Self {
        Self::new(values, width, 0..width)
    }

    /// The same with what is known of the words in the rows' texts.
    #[must_use]
    pub fn with_words(self, words: impl Into<RowWords<'a>>) -> Self {
        Self { words: words.into(), ..self }
    }

    /// What stands in the rows' texts, where it is known.
    #[must_use]
    pub fn words(&self) -> Option<&'a WordRows> {
        match self.words {
            RowWords::Texts(rows) => Some(rows),
            RowWords::Nothing | RowWords::Logits(_) => None,
        }
    }

    /// Adds what a head's words say of a row to `out` `[classes]`.
    ///
    /// # Panics
    /// Nothing is known of the row's words, which is a bug.
    pub(super) fn add_word_logits(&self, words: &Words, row: usize, out: &mut [f32]) {
        match self.words {
            RowWords::Texts(rows) => words.add_logits(rows.row(row), out),
            RowWords::Logits(said) => {
                out.iter_mut().zip(said.row(row)).for_each(|(out, said)| *out += said);
            }
            RowWords::Nothing => panic!("a head of words is shown the words of rows; this is a bug"),
        }
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
        match self.words {
            RowWords::Texts(words) if self.width == 0 => TextKey::of_bytes(&words.text(row).to_le_bytes()),
            _ => TextKey::of_bytes(&bytes_of(self.row(row))),
        }
    }

    /// Whether the matrix is one of whole rows.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match self.width {
            0 => !matches!(self.words, RowWords::Nothing),
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
