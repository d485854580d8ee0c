//! Owns the comparison of a text's bits alone, in batches of several sizes, at several paddings, and beside longer texts.
//!
//! Refuses a network that gives a text other numbers in other company: features are stored once and used for ever.

use super::{Runner, Texts, Trial};
use crate::error::Result;

/// What another run of the same text differed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Company {
    /// The number of texts in its batch, or the others, at the same length.
    Batch,
    /// How far it was padded.
    Padding,
    /// A longer text beside it, which has both.
    Longer,
}

/// Two rows of one text, compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Difference {
    pub company: Company,
    /// Texts in the batch.
    pub texts: usize,
    pub cosine: f64,
    /// The largest difference, in parts of the largest number.
    pub share: f64,
}

/// A batch, and whose row each of its rows must be.
struct Case<'t> {
    company: Company,
    texts: Vec<&'t [u32]>,
    /// Padded to so many tokens at least.
    length: usize,
}

impl Trial<'_> {
    /// Runs the texts alone and in company; returns their rows.
    pub(super) fn check_bits(&self, runner: &mut Runner, texts: &Texts) -> Result<Vec<Vec<f32>>> {
        let failed = |error| self.refusals().does_not_run(&error);
        let Texts { empty, short, other, medium, largest } = texts;
        let own = [short, other, medium, empty, largest].map(Vec::as_slice);
        let mut rows = Vec::new();
        for (text, what) in
            own.iter().zip(["a short text", "a short text", "a text", "an empty text", "its largest id"])
        {
            let row = runner.run(&[text], 0).map_err(failed)?.data;
            self.refusals().check_finite(&row, what)?;
            rows.push(row);
        }
        for Case { company, texts, length } in cases(texts, runner.max_length) {
            let found = runner.run(&texts, length).map_err(failed)?.data;
            let width = found.len() / texts.len();
            for (text, found) in texts.iter().zip(found.chunks_exact(width.max(1))) {
                let Some(place) = own.iter().position(|own| own == text) else { continue };
                if let Some((cosine, share)) = differ(&rows[place], found) {
                    let difference = Difference { company, texts: texts.len(), cosine, share };
                    return Err(self.refusals().other_bits(difference));
                }
            }
        }
        Ok(rows)
    }
}

fn cases<'t>(texts: &'t Texts, max_length: usize) -> Vec<Case<'t>> {
    let Texts { empty, short, other, medium, largest: _ } = texts;
    let all: [(Company, &[&Vec<u32>], usize); 10] = [
        (Company::Batch, &[short, other], 0),
        (Company::Batch, &[other, short, short], 0),
        (Company::Batch, &[short, other, other, short, other, short, short, other, other], 0),
        (Company::Batch, &[medium, medium], 0),
        (Company::Padding, &[short], short.len() + 1),
        (Company::Padding, &[short], 16),
        (Company::Padding, &[short, other], medium.len()),
        (Company::Longer, &[short, medium], 0),
        (Company::Longer, &[medium, other, empty], 0),
        (Company::Longer, &[empty, medium, short, other, medium, short, other], 0),
    ];
    let case = |(company, texts, length): (Company, &[&'t Vec<u32>], usize)| Case {
        company,
        texts: texts.iter().map(|text| text.as_slice()).collect(),
        length: length.min(max_length),
    };
    all.into_iter().map(case).collect()
}

/// None when two rows are the same to the bit; else their cosine, and their largest difference in parts of the largest number.
fn differ(alone: &[f32], found: &[f32]) -> Option<(f64, f64)> {
    let same = alone.len() == found.len() && alone.iter().zip(found).all(|(a, b)| a.to_bits() == b.to_bits());
    if same {
        return None;
    }
    let (mut product, mut squares, mut largest, mut difference) = (0.0, [0.0; 2], 0.0_f64, 0.0_f64);
    for (a, b) in alone.iter().zip(found).map(|(a, b)| (f64::from(*a), f64::from(*b))) {
        product += a * b;
        squares[0] += a * a;
        squares[1] += b * b;
        largest = largest.max(a.abs());
        difference = difference.max((a - b).abs());
    }
    let length = (squares[0] * squares[1]).sqrt();
    Some((
        if length > 0.0 { product / length } else { 0.0 },
        if largest > 0.0 { difference / largest } else { 1.0 },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_compared_to_the_bit() {
        assert_eq!(differ(&[1.0, -2.0], &[1.0, -2.0]), None);
        assert!(differ(&[0.0], &[-0.0]).is_some());
        let (cosine, share) = differ(&[3.0, 4.0], &[4.0, 3.0]).unwrap();
        assert!((cosine - 0.96).abs() < 1e-9 && (share - 0.25).abs() < 1e-9);
        assert!(differ(&[1.0], &[1.0, 2.0]).is_some());
    }
}
