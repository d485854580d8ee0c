//! Owns what the words of a head say of rows: enough for a head whose words stay as they are, without the
//! words themselves.

use super::believed::Believed;
use super::word_rows::WordRows;
use super::words::{Words, of_classes};

/// What the words of a head add to its logits.
#[derive(Debug, Clone, PartialEq)]
pub struct WordLogits {
    pub classes: usize,
    /// `[rows, classes]`, row-major.
    pub values: Vec<f32>,
}

impl WordLogits {
    /// Of the words of a head, where it has some, and some rows whose texts are known.
    #[must_use]
    pub fn of(words: Option<&Words>, texts: Option<&WordRows>, rows: &[usize]) -> Option<Self> {
        let (words, texts) = (words?, texts?);
        let classes = words.classes();
        let mut values = vec![0.0; rows.len() * classes];
        for (&row, out) in rows.iter().zip(values.chunks_exact_mut(classes)) {
            words.add_logits(texts.row(row), out);
        }
        Some(Self { classes, values })
    }

    /// Of one row, `[classes]`.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.classes..(row + 1) * self.classes]
    }

    /// Of some of the rows.
    #[must_use]
    pub fn only(&self, rows: &[usize]) -> Self {
        Self { classes: self.classes, values: rows.iter().flat_map(|row| self.row(*row)).copied().collect() }
    }

    /// What the words of other classes ([`Words::for_classes`]) say of the same rows.
    #[must_use]
    pub fn for_classes(&self, classes: &[Option<usize>], believed: &Believed) -> Self {
        let of_row = |row: &[f32]| {
            let divided =
                |(label, logit): (usize, &f32)| f64::from(*logit) / f64::from(believed.temperature_of(label));
            let row: Vec<f64> = row.iter().enumerate().map(divided).collect();
            of_classes(&row, classes, 1.0).into_iter().map(|logit| logit as f32)
        };
        let values = self.values.chunks_exact(self.classes).flat_map(of_row).collect();
        Self { classes: classes.len(), values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_class_more_say_the_mean_of_it() {
        let said = WordLogits { classes: 2, values: vec![1.0, 3.0, -4.0, 2.0] };
        let more = said.for_classes(&[None, Some(0), Some(1)], &Believed::with_temperature(vec![2.0]));
        assert_eq!(more, WordLogits { classes: 3, values: vec![1.0, 0.5, 1.5, -0.5, -2.0, 1.0] });
        assert_eq!((more.only(&[1]).values, more.row(0)), (vec![-0.5, -2.0, 1.0], &[1.0, 0.5, 1.5][..]));
        assert_eq!(WordLogits::of(None, None, &[0]), None);
    }
}
