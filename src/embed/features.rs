//! Owns features of rows in memory: of every row the same run of places.
//!
//! Refuses places that are not held.

use std::ops::Range;

use crate::heads::{FeatureView, WordRows};

/// Of every row the numbers at the same run of places: of a stored row, or of a vector made elsewhere.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FeatureRows {
    places: Range<usize>,
    /// `[rows, places]`, row-major.
    numbers: Vec<f32>,
    /// What stands in the rows' texts, where heads look at that.
    words: Option<WordRows>,
}

impl FeatureRows {
    /// `numbers` is `[rows, places]`, row-major.
    #[must_use]
    pub fn new(places: Range<usize>, numbers: Vec<f32>) -> Self {
        debug_assert!(numbers.len().is_multiple_of(places.len().max(1)), "whole rows");
        Self { places, numbers, words: None }
    }

    /// The same with what stands in the rows' texts, if that is known.
    #[must_use]
    pub fn with_words(self, words: Option<WordRows>) -> Self {
        Self { words, ..self }
    }

    /// What stands in the rows' texts, where it is known.
    #[must_use]
    pub fn words(&self) -> Option<&WordRows> {
        self.words.as_ref()
    }

    /// So many rows of zeros.
    #[must_use]
    pub fn zeros(places: Range<usize>, rows: usize) -> Self {
        let numbers = vec![0.0; rows * places.len()];
        Self::new(places, numbers)
    }

    /// Number of rows; none when no place is held.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.numbers.len().checked_div(self.width()).unwrap_or(0)
    }

    /// Numbers held of a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.places.len()
    }

    /// Which places of a row are held.
    #[must_use]
    pub fn places(&self) -> Range<usize> {
        self.places.clone()
    }

    /// All numbers, `[rows, places]`.
    #[must_use]
    pub fn numbers(&self) -> &[f32] {
        &self.numbers
    }

    /// What is held of a row.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.numbers[row * self.width()..(row + 1) * self.width()]
    }

    /// These places of every row; all of them are held.
    #[must_use]
    pub fn view(&self, places: &Range<usize>) -> FeatureView<'_> {
        let seen = FeatureView::new(&self.numbers, self.width(), within(places, &self.places));
        seen.with_words(self.words.as_ref())
    }

    /// Appends rows of the same places, whose words are not known.
    pub fn append(&mut self, mut other: Self) {
        debug_assert_eq!(self.places, other.places);
        self.numbers.append(&mut other.numbers);
        self.words = None;
    }

    /// Writes the numbers of a run of a row's places, as far as these are held.
    pub fn put(&mut self, row: usize, places: &Range<usize>, numbers: &[f32]) {
        let held = overlap(places, &self.places);
        if held.is_empty() {
            return;
        }
        let (from, to, first) = (within(&held, places), within(&held, &self.places), row * self.width());
        self.numbers[first + to.start..first + to.end].copy_from_slice(&numbers[from]);
    }

    /// Takes what both hold of these places from a row of another.
    pub fn take(&mut self, row: usize, places: &Range<usize>, other: &Self, other_row: usize) {
        let there = overlap(places, &other.places);
        if !there.is_empty() {
            self.put(row, &there, other.view(&there).row(other_row));
        }
    }
}

/// The shortest run of places that holds all of these; empty for none.
#[must_use]
pub fn covering(columns: &[Range<usize>]) -> Range<usize> {
    let first = columns.iter().map(|range| range.start).min().unwrap_or(0);
    first..columns.iter().map(|range| range.end).max().unwrap_or(0)
}

/// The places that are in both; an empty run when there are none.
fn overlap(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    a.start.max(b.start)..a.end.min(b.end)
}

/// Places of a row, counted from the start of a run that holds them.
fn within(places: &Range<usize>, held: &Range<usize>) -> Range<usize> {
    places.start - held.start..places.end - held.start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_of_a_run_of_places_is_written() {
        let numbers = [1.0, 2.0, 3.0, 4.0];
        let of = |held: Range<usize>, places: Range<usize>| {
            let mut rows = FeatureRows::zeros(held, 2);
            rows.put(1, &places, &numbers);
            assert!(rows.row(0).iter().all(|number| *number == 0.0));
            rows.row(1).to_vec()
        };
        assert_eq!(of(2..8, 3..7), [0.0, 1.0, 2.0, 3.0, 4.0, 0.0]);
        assert_eq!(of(4..6, 3..7), [2.0, 3.0]);
        assert_eq!(of(0..3, 2..6), [0.0, 0.0, 1.0]);
        assert_eq!(of(0..2, 3..7), [0.0, 0.0]);
    }

    #[test]
    fn what_both_hold_of_a_run_of_places_is_taken() {
        let other = FeatureRows::new(2..5, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let of = |held: Range<usize>, places: Range<usize>| {
            let mut rows = FeatureRows::zeros(held, 1);
            rows.take(0, &places, &other, 1);
            rows.row(0).to_vec()
        };
        assert_eq!(of(2..5, 0..9), [4.0, 5.0, 6.0]);
        assert_eq!(of(0..6, 0..4), [0.0, 0.0, 4.0, 5.0, 0.0, 0.0]);
        assert_eq!(of(3..6, 4..5), [0.0, 6.0, 0.0]);
        assert_eq!(of(0..6, 0..2), [0.0; 6]);
        assert_eq!(of(0..6, 5..6), [0.0; 6]);
    }

    #[test]
    fn a_view_counts_places_as_a_row_does() {
        let rows = FeatureRows::new(2..5, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!((rows.rows(), rows.view(&(3..5)).row(1)), (2, &[5.0, 6.0][..]));
    }

    #[test]
    fn a_run_of_places_covers_every_choice() {
        assert_eq!(covering(&[70..80, 10..20]), 10..80);
        assert_eq!(covering(&[]), 0..0);
    }
}
