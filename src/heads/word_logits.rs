//! Owns what the words of a head say of rows: enough for a head whose words stay as they are, without the
//! words themselves.

use super::head::Head;
use super::word_rows::WordRows;
use super::words::of_classes;

/// What the words of a head add to its logits.
#[derive(Debug, Clone, PartialEq)]
pub struct WordLogits {
    pub classes: usize,
    /// `[rows, classes]`, row-major.
    pub values: Vec<f32>,
}

impl WordLogits {
    /// Of a head, where it has words, and some rows whose texts are known.
    #[must_use]
    pub fn of(head: &Head, texts: Option<&WordRows>, rows: &[usize]) -> Option<Self> {
        let (words, texts) = (head.words.as_ref()?, texts?);
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

    /// What the words of the head that `old` begins as, to be fitted further with these labels, say of the
    /// same rows (see [`Words::for_classes`](super::words::Words::for_classes)).
    #[must_use]
    pub fn begun(&self, old: &Head, labels: &[String]) -> Self {
        let (places, believed) = (old.places_of(labels), &old.believed);
        // Each label may have a temperature of its own.
        let (own, temperature) = match believed.temperature[..] {
            [temperature] => (false, f64::from(temperature)),
            _ => (true, 1.0),
        };
        let divided = |(label, logit): (usize, &f32)| {
            f64::from(*logit) / if own { f64::from(believed.temperature_of(label)) } else { 1.0 }
        };
        let of_row = |row: &[f32]| {
            let row: Vec<f64> = row.iter().enumerate().map(divided).collect();
            of_classes(&row, &places, temperature).into_iter().map(|logit| logit as f32)
        };
        let values = self.values.chunks_exact(self.classes).flat_map(of_row).collect();
        Self { classes: labels.len(), values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heads::Believed;
    use crate::task::TaskKind;

    #[test]
    fn words_of_a_head_that_begins_with_more_labels_say_the_mean_of_the_new_one() {
        let labels = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let known = labels(&["no", "yes"]);
        let old = Head {
            task: "t".into(),
            kind: TaskKind::OneOf,
            labels: known.clone(),
            features: 1,
            weights: vec![0.0; 2],
            bias: vec![0.0; 2],
            believed: Believed::with_temperature(vec![2.0]),
            words: None,
        };
        let said = WordLogits { classes: 2, values: vec![1.0, 3.0, -4.0, 2.0] };
        let begun = said.begun(&old, &labels(&["maybe", "no", "yes"]));
        assert_eq!(begun, WordLogits { classes: 3, values: vec![1.0, 0.5, 1.5, -0.5, -2.0, 1.0] });
        assert_eq!((begun.only(&[1]).values, begun.row(0)), (vec![-0.5, -2.0, 1.0], &[1.0, 0.5, 1.5][..]));
        assert_eq!(WordLogits::of(&old, None, &[0]), None);
    }
}
