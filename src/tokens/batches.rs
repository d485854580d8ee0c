//! Owns length buckets and token-budget batches.
//!
//! Refuses to let the number of distinct input shapes grow: ONNX Runtime keeps memory for each it has seen.

/// The lengths a batch may be padded to.
///
/// Every second length up to 32, where most sentences are, then some 12 % apart: 25 lengths up to 256 tokens, 31 up to 512.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets(Vec<usize>);

impl Buckets {
    /// Buckets for texts of at most `max_length` tokens.
    #[must_use]
    pub fn new(max_length: usize) -> Self {
        let mut lengths: Vec<usize> = (4..=32).step_by(2).filter(|length| *length < max_length).collect();
        let mut length = 32;
        while length < max_length {
            length = (length + length / 8 + 4).next_multiple_of(4);
            lengths.push(length.min(max_length));
        }
        if lengths.last() != Some(&max_length) {
            lengths.push(max_length);
        }
        Self(lengths)
    }

    /// Every length up to `max_length`: no padding beyond a batch's longest text, for as many shapes as there are lengths.
    #[must_use]
    pub fn every(max_length: usize) -> Self {
        Self((1..=max_length).collect())
    }

    /// The lengths, ascending.
    #[must_use]
    pub fn lengths(&self) -> &[usize] {
        &self.0
    }

    /// The shortest bucket that holds `length` tokens.
    #[must_use]
    pub fn padded(&self, length: usize) -> usize {
        let place = self.0.partition_point(|bucket| *bucket < length);
        self.0.get(place).copied().unwrap_or(length)
    }
}

/// Texts that go through the network together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Which texts.
    pub rows: Vec<usize>,
    /// Length to pad to.
    pub length: usize,
    /// Rows to feed: those of `rows`, and fill rows whose results are dropped.
    pub size: usize,
}

/// Sorts texts by length, longest first, and cuts them into batches of at most `token_budget` tokens, padding included (one
/// text at least). Every batch is full but the last, which is filled up to a power of two.
#[must_use]
pub fn batches(lengths: &[usize], buckets: &Buckets, token_budget: usize) -> Vec<Batch> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&text| (std::cmp::Reverse(lengths[text]), text));
    let mut batches = Vec::new();
    let mut rest = order.as_slice();
    while let Some(&longest) = rest.first() {
        let length = buckets.padded(lengths[longest]);
        let full = (token_budget / length).max(1);
        let (rows, others) = rest.split_at(full.min(rest.len()));
        let size = if rows.len() == full { full } else { rows.len().next_power_of_two().min(full) };
        batches.push(Batch { rows: rows.to_vec(), length, size });
        rest = others;
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn buckets_hold_every_length_and_are_few() {
        for (max_length, most) in [(256, 28), (512, 32), (128, 24), (3, 1)] {
            let buckets = Buckets::new(max_length);
            assert!(buckets.lengths().len() <= most, "{:?}", buckets.lengths());
            assert_eq!(buckets.lengths().last(), Some(&max_length));
            assert!(buckets.lengths().is_sorted());
            for length in 1..=max_length {
                assert!(buckets.padded(length) >= length && buckets.padded(length) <= max_length);
            }
        }
    }

    #[test]
    fn every_text_is_in_one_batch_within_the_budget() {
        let buckets = Buckets::new(256);
        let lengths: Vec<usize> = (0..1000).map(|text| 2 + text * 7919 % 255).collect();
        let batches = batches(&lengths, &buckets, 1024);
        let mut seen: Vec<usize> = batches.iter().flat_map(|batch| batch.rows.clone()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
        for batch in &batches {
            assert!(batch.size * batch.length <= 1024);
            assert!(batch.rows.len() <= batch.size);
            assert!(batch.rows.iter().all(|&row| lengths[row] <= batch.length));
        }
        assert!(batches[..batches.len() - 1].iter().all(|batch| batch.rows.len() == batch.size));
    }

    #[test]
    fn a_text_beyond_the_budget_is_alone() {
        let batches = batches(&[200, 200], &Buckets::new(256), 100);
        assert_eq!(batches.len(), 2);
        assert!(batches.iter().all(|batch| batch.size == 1));
    }

    #[test]
    fn a_whole_corpus_has_few_shapes() {
        for max_length in [256, 512] {
            let buckets = Buckets::new(max_length);
            let mut shapes = HashSet::new();
            let mut bits = 1_u64;
            for _window in 0..25 {
                let lengths: Vec<usize> = (0..8192)
                    .map(|_| {
                        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        // Roughly geometric lengths, as sentences have, with a long tail.
                        let uniform = ((bits >> 33) as f64 + 1.0) / f64::from(1_u32 << 31);
                        (3.0 - uniform.ln() * 22.0).min(max_length as f64) as usize
                    })
                    .collect();
                shapes
                    .extend(batches(&lengths, &buckets, 1024).iter().map(|batch| (batch.size, batch.length)));
            }
            assert!(shapes.len() <= 40, "{} shapes for {max_length}", shapes.len());
        }
    }
}
