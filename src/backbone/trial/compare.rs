//! Owns the comparison of a text's bits alone, in batches of several sizes, at several paddings, and beside
//! longer texts.
//!
//! Refuses a network that gives a text other numbers in other company: features are stored once and used for
//! ever.

use super::{Runner, Texts, Trial};
use crate::error::Result;

/// Of two runs that differ by more, one counted what it must not count: sums in another order differ by far
/// less.
const ROUNDING: f64 = 1e-4;

/// Texts in the largest batch: as many short ones as fit a batch of the default budget, and more.
const MANY: usize = 100;

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

impl Difference {
    /// Whether sums in another order explain it.
    pub(super) fn is_rounding(self) -> bool {
        self.share <= ROUNDING
    }
}

/// A batch, and whose row each of its rows must be.
struct Case<'t> {
    company: Company,
    texts: Vec<&'t [u32]>,
    /// Padded to so many tokens at least.
    length: usize,
}

impl Trial<'_> {
    /// Runs the texts alone and in company; returns their rows, and the largest difference if there is any.
    pub(super) fn compare(
        &self,
        runner: &mut Runner,
        texts: &Texts,
    ) -> Result<(Vec<Vec<f32>>, Option<Difference>)> {
        let failed = |error| self.refusals().does_not_run(&error);
        let Texts { empty, short, other, medium, full, largest } = texts;
        let singles = [short, other, medium, empty, largest, full].map(Vec::as_slice);
        let mut rows = Vec::new();
        let whats = [
            "a short text",
            "a short text",
            "a text",
            "an empty text",
            "its largest id",
            "a text of full length",
        ];
        for (text, what) in singles.iter().zip(whats) {
            let row = runner.run(&[text], 0).map_err(failed)?.data;
            self.refusals().check_finite(&row, what)?;
            // Once is enough: whatever is drawn at random is drawn for every text.
            if rows.is_empty() && differ(&row, &runner.run(&[text], 0).map_err(failed)?.data).is_some() {
                return Err(self.refusals().other_every_time());
            }
            rows.push(row);
        }
        let mut differences = Vec::new();
        for Case { company, texts, length } in cases(texts, runner.max_length) {
            let found = runner.run(&texts, length);
            let found = found.map_err(|error| match texts.len() {
                MANY => failed(error).found(format!("a graph that fails on a batch of {MANY} short texts")),
                _ => failed(error),
            })?;
            let found = found.data;
            let width = found.len() / texts.len();
            for (text, found) in texts.iter().zip(found.chunks_exact(width.max(1))) {
                let Some(place) = singles.iter().position(|ids| ids == text) else { continue };
                if let Some((cosine, share)) = differ(&rows[place], found) {
                    differences.push(Difference { company, texts: texts.len(), cosine, share });
                }
            }
        }
        // What depends on other texts is worse than what depends on padding; else the largest tells the most
        // of its cause.
        let mixed =
            |difference: &Difference| difference.company == Company::Batch && !difference.is_rounding();
        let worst =
            differences.into_iter().max_by(|a, b| mixed(a).cmp(&mixed(b)).then(a.share.total_cmp(&b.share)));
        Ok((rows, worst))
    }
}

/// Whether texts have the same rows here and there, but for the order of sums.
pub(super) fn same_but_for_rounding(here: &[Vec<f32>], there: &[Vec<f32>]) -> bool {
    let same = |(a, b): (&Vec<f32>, &Vec<f32>)| differ(a, b).is_none_or(|(_, share)| share <= ROUNDING);
    here.len() == there.len() && here.iter().zip(there).all(same)
}

fn cases<'t>(texts: &'t Texts, max_length: usize) -> Vec<Case<'t>> {
    let Texts { empty, short, other, medium, full, largest: _ } = texts;
    let many: Vec<&Vec<u32>> = (0..MANY).map(|place| if place % 3 == 0 { other } else { short }).collect();
    let all: [(Company, &[&Vec<u32>], usize); 13] = [
        (Company::Batch, &[short, other], 0),
        (Company::Batch, &[other, short, short], 0),
        (Company::Batch, &[short, other, other, short, other, short, short, other, other], 0),
        (Company::Batch, &[medium, medium], 0),
        (Company::Batch, &many, 0),
        (Company::Padding, &[short], short.len() + 1),
        (Company::Padding, &[short], 16),
        (Company::Padding, &[short, other], medium.len()),
        (Company::Longer, &[short, medium], 0),
        (Company::Longer, &[medium, other, empty], 0),
        (Company::Longer, &[full, short], 0),
        (Company::Longer, &[medium, full], 0),
        (Company::Longer, &[empty, medium, short, other, medium, short, other], 0),
    ];
    let case = |(company, texts, length): (Company, &[&'t Vec<u32>], usize)| Case {
        company,
        texts: texts.iter().map(|text| text.as_slice()).collect(),
        length: length.min(max_length),
    };
    all.into_iter().map(case).collect()
}

/// None when two rows are the same to the bit; else their cosine, and their largest difference in parts of
/// the largest number.
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
    fn a_text_meets_the_longest_and_as_many_as_a_batch_holds() {
        let [empty, short, other, medium, full, largest] =
            [2, 5, 6, 48, 200, 3].map(|tokens| vec![7; tokens]);
        let texts = Texts { empty, short, other, medium, full, largest };
        let cases = cases(&texts, 200);
        let beside = |one: &Vec<u32>, other: &Vec<u32>| {
            cases.iter().any(|case| [one, other].iter().all(|text| case.texts.contains(&text.as_slice())))
        };
        assert!(beside(&texts.short, &texts.full) && beside(&texts.medium, &texts.full));
        assert!(cases.iter().any(|case| case.texts.len() == MANY));
    }

    #[test]
    fn rows_are_compared_to_the_bit() {
        assert_eq!(differ(&[1.0, -2.0], &[1.0, -2.0]), None);
        assert!(differ(&[0.0], &[-0.0]).is_some());
        let (cosine, share) = differ(&[3.0, 4.0], &[4.0, 3.0]).unwrap();
        assert!((cosine - 0.96).abs() < 1e-9 && (share - 0.25).abs() < 1e-9);
        assert!(differ(&[1.0], &[1.0, 2.0]).is_some());
    }
}
