//! Owns length buckets and token-budget batches.
//!
//! Refuses to let the number of distinct input shapes grow: ONNX Runtime keeps memory for each it has seen.

use serde::{Deserialize, Serialize};

/// Tokens (padding included) in one batch on a processor, all of whose threads share it: the fastest of 256 …
/// 4,096 on two cores (`docs/LOG.md`); larger ones span more lengths, which is padding, and take more memory.
pub const TOKEN_BUDGET: usize = 512;

/// The same of a batch that a thread has for itself: the fastest of 192 … 1,024.
pub const OWN_TOKEN_BUDGET: usize = 256;

/// How far apart the lengths are that a batch may be padded to: the finer, the less padding, and the more
/// shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spacing {
    /// Every second length up to 32, where most sentences are, then some 15 % apart: 27 lengths up to 256
    /// tokens.
    Coarse,
    /// Every length from 4 to 32, then some 7 % apart: 54 lengths up to 256 tokens, 65 up to 512.
    #[default]
    Standard,
    /// Every length from 4 to 32, then some 4 % apart: 85 lengths up to 256 tokens.
    Fine,
}

impl std::fmt::Display for Spacing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Coarse => "coarse",
            Self::Standard => "standard",
            Self::Fine => "fine",
        })
    }
}

/// How texts are put into batches: of speed and memory alone, no number that a text gets depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Tokens in one batch, padding included.
    pub token_budget: usize,
    /// How far apart the lengths are that batches are padded to.
    pub spacing: Spacing,
}

impl Default for Batching {
    fn default() -> Self {
        Self { token_budget: TOKEN_BUDGET, spacing: Spacing::default() }
    }
}

/// The lengths a batch may be padded to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets(Vec<usize>);

impl Buckets {
    /// Buckets for texts of at most `max_length` tokens.
    #[must_use]
    pub fn new(max_length: usize, spacing: Spacing) -> Self {
        // Step and first length up to 32; then the share that is added, and what lengths are multiples of.
        let (first, step, share, multiple) = match spacing {
            Spacing::Coarse => (4, 2, 8, 4),
            Spacing::Standard => (4, 1, 16, 2),
            Spacing::Fine => (4, 1, 32, 1),
        };
        let mut lengths: Vec<usize> =
            (first..=32).step_by(step).filter(|length| *length < max_length).collect();
        let mut length = 32;
        while length < max_length {
            length = (length + length / share + multiple).next_multiple_of(multiple);
            lengths.push(length.min(max_length));
        }
        if lengths.last() != Some(&max_length) {
            lengths.push(max_length);
        }
        Self(lengths)
    }

    /// Every length up to `max_length`: no padding beyond a batch's longest text, for as many shapes as there
    /// are lengths.
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

/// Sorts texts by length, longest first, and cuts them into batches of at most `token_budget` tokens, padding
/// included (one text at least). Every batch is full but the last, which is filled up to a power of two.
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
        let (coarse, standard, fine) = (Spacing::Coarse, Spacing::Standard, Spacing::Fine);
        for (max_length, spacing, count) in [
            (256, standard, 54),
            (512, standard, 65),
            (128, standard, 45),
            (3, standard, 1),
            (256, coarse, 27),
            (3, coarse, 1),
            (256, fine, 85),
            (3, fine, 1),
        ] {
            let buckets = Buckets::new(max_length, spacing);
            assert_eq!(buckets.lengths().len(), count, "{:?}", buckets.lengths());
            assert_eq!(buckets.lengths().last(), Some(&max_length));
            assert!(buckets.lengths().is_sorted());
            for length in 1..=max_length {
                assert!(buckets.padded(length) >= length && buckets.padded(length) <= max_length);
            }
        }
    }

    #[test]
    fn every_text_is_in_one_batch_within_the_budget() {
        let buckets = Buckets::new(256, Spacing::Standard);
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
        let batches = batches(&[200, 200], &Buckets::new(256, Spacing::Standard), 100);
        assert_eq!(batches.len(), 2);
        assert!(batches.iter().all(|batch| batch.size == 1));
    }

    #[test]
    fn a_whole_corpus_has_few_shapes() {
        for max_length in [256, 512] {
            let buckets = Buckets::new(max_length, Spacing::Standard);
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
                shapes.extend(
                    batches(&lengths, &buckets, TOKEN_BUDGET).iter().map(|batch| (batch.size, batch.length)),
                );
            }
            assert!(shapes.len() <= 80, "{} shapes for {max_length}", shapes.len());
        }
    }
}
