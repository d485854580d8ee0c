//! Owns the words of a head: a weight per class for every piece and pair of pieces that stood often enough in
//! the training rows, and its arithmetic.
//!
//! Weights are whole numbers times a scale per class, so that a sum of them is exact, whatever its order, its
//! batch and its processor. Refuses weights whose sum over the longest text could overflow 32 bits.

use super::word_options::SettledWords;
use super::word_rows::WordEntry;
use crate::error::{Error, Kind, Result};
use crate::tokens::Grams;

/// The largest code of a weight: two entries each of 8,192 tokens stay below 2^31.
pub const LARGEST_CODE: i32 = (1 << 17) - 1;
/// The largest code of a weight in 8 bits.
pub const LARGEST_BYTE: i32 = 127;

/// A linear model on what stands in a text; its logits are added to those of the features.
#[derive(Debug, Clone, PartialEq)]
pub struct Words {
    /// Which places there are.
    pub grams: Grams,
    /// Per place, the row of its weights; row 0 is nothing.
    pub index: Vec<u32>,
    /// `[rows, classes]`, row-major; row 0 is zeros.
    pub codes: Vec<i32>,
    /// `[classes]`: a weight is its code times this.
    pub scales: Vec<f32>,
    /// How they were fitted and mixed in; not known of a bundle's.
    pub settled: Option<SettledWords>,
}

impl Words {
    /// Words with these weights: `rows` has the place of each row of `weights` `[rows, classes]`. They are
    /// rounded to codes of at most `largest`.
    #[must_use]
    pub fn new(grams: &Grams, rows: &[u32], weights: &[f64], classes: usize, largest: i32) -> Self {
        let mut most = vec![0.0_f64; classes];
        for row in weights.chunks_exact(classes) {
            most.iter_mut().zip(row).for_each(|(most, weight)| *most = most.max(weight.abs()));
        }
        let scales: Vec<f32> = most
            .iter()
            .map(|most| if *most > 0.0 { (most / f64::from(largest)) as f32 } else { 1.0 })
            .collect();
        let mut index = vec![0; grams.places()];
        for (number, place) in (1..).zip(rows) {
            index[*place as usize] = number;
        }
        let code = |(weight, scale): (&f64, &f32)| {
            ((weight / f64::from(*scale)).round() as i32).clamp(-largest, largest)
        };
        let mut codes = vec![0; classes];
        for row in weights.chunks_exact(classes) {
            codes.extend(row.iter().zip(&scales).map(code));
        }
        Self { grams: grams.clone(), index, codes, scales, settled: None }
    }

    /// Classes that it tells apart.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.scales.len()
    }

    /// Pieces and pairs with weights.
    #[must_use]
    pub fn rows(&self) -> usize {
        (self.codes.len() / self.classes().max(1)).saturating_sub(1)
    }

    /// Whether its codes take 8 bits.
    #[must_use]
    pub fn in_bytes(&self) -> bool {
        self.codes.iter().all(|code| code.abs() <= LARGEST_BYTE)
    }

    /// The codes of a place, `[classes]`.
    #[must_use]
    pub fn codes_of(&self, place: usize) -> &[i32] {
        let classes = self.classes();
        &self.codes[self.index[place] as usize * classes..][..classes]
    }

    /// Adds its logits of a text to `out` `[classes]`.
    pub fn add_logits(&self, text: &[WordEntry], out: &mut [f32]) {
        let mut sums = vec![0.0_f64; out.len()];
        for (place, counts) in text {
            for (sum, code) in sums.iter_mut().zip(self.codes_of(*place as usize)) {
                *sum += f64::from(*counts) * f64::from(*code);
            }
        }
        for ((out, sum), scale) in out.iter_mut().zip(sums).zip(&self.scales) {
            *out += (sum * f64::from(*scale)) as f32;
        }
    }

    /// The place of each row of weights, from the second on, and the weights, `[rows, classes]`.
    #[must_use]
    pub fn weights(&self) -> (Vec<u32>, Vec<f64>) {
        let classes = self.classes();
        let mut places = vec![0; self.rows()];
        for (place, row) in (0..).zip(&self.index) {
            if let Some(row) = row.checked_sub(1) {
                places[row as usize] = place;
            }
        }
        let rows = self.codes[classes..].chunks_exact(classes);
        let weight = |(code, scale): (&i32, &f32)| f64::from(*code) * f64::from(*scale);
        (places, rows.flat_map(|row| row.iter().zip(&self.scales).map(weight)).collect())
    }

    /// The same with weights that are so many times as large.
    #[must_use]
    pub fn scaled(mut self, by: f32) -> Self {
        self.scales.iter_mut().for_each(|scale| *scale *= by);
        self
    }

    /// The same in 8 bits.
    #[must_use]
    pub fn rounded(&self) -> Self {
        let (places, weights) = self.weights();
        let rounded = Self::new(&self.grams, &places, &weights, self.classes(), LARGEST_BYTE);
        Self { settled: self.settled, ..rounded }
    }

    /// The words of other classes, each one of these or new, as which it begins at their mean; all divided by
    /// a temperature.
    #[must_use]
    pub fn for_classes(&self, classes: &[Option<usize>], temperature: f32) -> Self {
        let (places, weights) = self.weights();
        let of_row = |row: &[f64]| of_classes(row, classes, f64::from(temperature));
        let weights: Vec<f64> = weights.chunks_exact(self.classes()).flat_map(of_row).collect();
        let largest = if self.in_bytes() { LARGEST_BYTE } else { LARGEST_CODE };
        Self { settled: self.settled, ..Self::new(&self.grams, &places, &weights, classes.len(), largest) }
    }

    /// The words of a smaller vocabulary, whose pieces had these ids: pieces that are gone lose their
    /// weights.
    #[must_use]
    pub fn with_pieces(&self, ids: &[u32]) -> Self {
        let (classes, pairs) = (self.classes(), &self.index[self.grams.pieces..]);
        let kept = ids.iter().map(|id| &self.index[*id as usize]).chain(pairs);
        let (mut index, mut codes) = (Vec::with_capacity(ids.len() + pairs.len()), vec![0; classes]);
        for row in kept {
            if *row == 0 {
                index.push(0);
                continue;
            }
            index.push(u32::try_from(codes.len() / classes).unwrap_or(u32::MAX));
            codes.extend_from_slice(&self.codes[*row as usize * classes..][..classes]);
        }
        Self { grams: self.grams.with_pieces(ids), index, codes, ..self.clone() }
    }

    /// Checks that its parts fit one another, wherever they come from.
    ///
    /// # Errors
    /// They do not.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str| Error::new(Kind::Heads, what.to_owned());
        let classes = self.classes();
        let whole = classes > 0 && self.codes.len() >= classes && self.codes.len().is_multiple_of(classes);
        if !whole || self.codes[..classes].iter().any(|code| *code != 0) {
            return Err(wrong("the weights of words are not rows of the classes, the first of them zeros"));
        }
        if self.index.len() != self.grams.places() {
            return Err(wrong("the places of words are not those of the vocabulary and its pairs")
                .found(self.index.len().to_string())
                .expected(self.grams.places().to_string()));
        }
        let rows = self.codes.len() / classes;
        if let Some(row) = self.index.iter().find(|row| **row as usize >= rows) {
            return Err(wrong("a place of words has weights that are not there")
                .found(row.to_string())
                .expected(format!("less than {rows}")));
        }
        if let Some(code) = self.codes.iter().find(|code| code.unsigned_abs() > LARGEST_CODE.unsigned_abs()) {
            return Err(wrong("a weight of words is too large to be added up")
                .found(code.to_string())
                .expected(format!("at most {LARGEST_CODE}")));
        }
        match self.scales.iter().find(|scale| !(scale.is_finite() && **scale > 0.0)) {
            Some(scale) => Err(wrong("a scale of words is no number above 0").found(scale.to_string())),
            None => Ok(()),
        }
    }
}

/// Of other classes, each one of these or new, the numbers of a row `[classes]`: a new one has their mean; all
/// divided by a temperature.
#[must_use]
pub fn of_classes(row: &[f64], classes: &[Option<usize>], temperature: f64) -> Vec<f64> {
    let mean = row.iter().sum::<f64>() / row.len().max(1) as f64;
    classes.iter().map(|class| class.map_or(mean, |class| row[class]) / temperature).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(largest: i32) -> Words {
        let grams = Grams { pieces: 4, pairs: 3, ids: None };
        Words::new(&grams, &[2, 5], &[0.5, -1.0, 0.25, 2.0], 2, largest)
    }

    #[test]
    fn weights_are_codes_times_a_scale_of_their_class() {
        let words = words(LARGEST_CODE);
        words.check().unwrap();
        assert_eq!((words.rows(), words.classes(), words.codes_of(0)), (2, 2, &[0, 0][..]));
        let mut out = [1.0, 1.0];
        words.add_logits(&[(0, 9.0), (2, 0.5), (5, 2.0)], &mut out);
        // 0.5 · 0.5 + 2 · 0.25, and 0.5 · −1 + 2 · 2.
        assert!((out[0] - 1.75).abs() < 1e-5 && (out[1] - 4.5).abs() < 1e-5, "{out:?}");
        assert!(!words.in_bytes());
    }

    #[test]
    fn in_8_bits_a_weight_is_off_by_half_a_step_at_most() {
        let (exact, rounded) = (words(LARGEST_CODE), words(LARGEST_CODE).rounded());
        rounded.check().unwrap();
        assert!(rounded.in_bytes() && rounded.index == exact.index);
        for place in 0..7 {
            let of = |words: &Words, class: usize| words.codes_of(place)[class] as f32 * words.scales[class];
            for (class, step) in [0.5 / 127.0, 2.0 / 127.0].into_iter().enumerate() {
                assert!((of(&exact, class) - of(&rounded, class)).abs() <= 0.51 * step);
            }
        }
        assert_eq!(rounded, words(LARGEST_BYTE));
    }

    #[test]
    fn other_classes_begin_where_they_were_or_at_the_mean() {
        let words = words(LARGEST_CODE);
        let other = words.for_classes(&[Some(1), None, Some(0)], 2.0);
        other.check().unwrap();
        let (places, weights) = other.weights();
        assert_eq!(places, [2, 5]);
        for (found, expected) in weights.iter().zip([-0.5, -0.125, 0.25, 1.0, 0.5625, 0.125]) {
            assert!((found - expected).abs() < 1e-4, "{weights:?}");
        }
    }

    #[test]
    fn a_smaller_vocabulary_keeps_the_weights_of_its_pieces_and_of_pairs() {
        let (whole, smaller) = (words(LARGEST_CODE), words(LARGEST_CODE).with_pieces(&[3, 2]));
        smaller.check().unwrap();
        assert_eq!((smaller.codes_of(0), smaller.codes_of(1)), (&[0, 0][..], whole.codes_of(2)));
        assert_eq!(smaller.codes_of(3), whole.codes_of(5));
        let without = whole.with_pieces(&[0, 1]);
        assert_eq!((without.rows(), without.codes_of(3)), (1, whole.codes_of(5)));
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let good = words(LARGEST_BYTE);
        let mut cases: Vec<(Words, &str)> = Vec::new();
        cases.push((Words { scales: Vec::new(), ..good.clone() }, "rows of the classes"));
        cases.push((Words { codes: vec![0; 5], ..good.clone() }, "rows of the classes"));
        cases.push((Words { codes: vec![1; 6], ..good.clone() }, "zeros"));
        cases.push((Words { index: vec![0; 6], ..good.clone() }, "places of words"));
        cases.push((Words { index: vec![3; 7], ..good.clone() }, "not there"));
        cases.push((Words { codes: vec![0, 0, 1 << 17, 0], index: vec![0; 7], ..good.clone() }, "too large"));
        cases
            .push((Words { codes: vec![0, 0, i32::MIN, 0], index: vec![0; 7], ..good.clone() }, "too large"));
        cases.push((Words { scales: vec![1.0, f32::NAN], ..good.clone() }, "above 0"));
        for (words, part) in cases {
            let error = words.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
