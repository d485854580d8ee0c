//! Owns the pieces of texts that wait for the network, and which of them make the next batch.
//!
//! Refuses to let a piece starve: the one that waits longest is in the next batch; the others are those that
//! fit it best.

use std::collections::{BTreeMap, BTreeSet};

/// What a batch costs beside its tokens, in tokens: it is not filled up with texts that cost more padding
/// than that.
///
/// Measured, a batch of all-MiniLM-L6-v2 costs what some 15 tokens more would (int8 0.4 ms, fp32 1 ms).
/// Simulated with that cost, 4 to 256 clients with demo sentences are served best at 4 to 8 (91 to 97 % of
/// the cost is real tokens from 64 clients on), as what is left over finds better company later; at 48 they
/// are 2 to 8 points worse.
const BATCH_OVERHEAD: usize = 8;

/// A piece of a text, by the request it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// The request.
    pub job: u64,
    /// Which of the request's texts.
    pub text: usize,
    /// Which of the text's pieces.
    pub piece: usize,
    /// Its tokens.
    pub tokens: usize,
}

/// Pieces that are run together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub pieces: Vec<Piece>,
    /// The length they are padded to.
    pub length: usize,
}

/// Pieces that wait, by the length they are padded to and the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Pool {
    by_length: BTreeMap<(usize, u64), Piece>,
    by_age: BTreeSet<(u64, usize)>,
    came: u64,
    tokens: usize,
}

impl Pool {
    pub(super) fn push(&mut self, piece: Piece, padded: usize) {
        self.by_length.insert((padded, self.came), piece);
        self.by_age.insert((self.came, padded));
        self.came += 1;
        self.tokens += padded;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }

    /// Tokens of everything that waits, padding included.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Drops the pieces of other requests than these.
    pub(super) fn retain(&mut self, mut wanted: impl FnMut(u64) -> bool) {
        let Self { by_length, by_age, tokens, .. } = self;
        by_length.retain(|&(padded, came), piece| {
            let stays = wanted(piece.job);
            if !stays {
                by_age.remove(&(came, padded));
                *tokens -= padded;
            }
            stays
        });
    }

    /// Takes the next batch: within the budget (one piece at least), the one with the most tokens for its
    /// cost of those that hold the oldest piece and its neighbours in length.
    pub(super) fn take(&mut self, budget: usize) -> Option<Batch> {
        let &(came, padded) = self.by_age.first()?;
        let oldest = (padded, came);
        // No batch can hold more than these.
        let below: Vec<_> = self.by_length.range(..oldest).rev().take(budget / padded).map(entry).collect();
        let above = self.by_length.range(oldest..).take((budget / padded).max(1)).map(entry);
        let around: Vec<_> = below.iter().rev().copied().chain(above).collect();
        let chosen = best(&around, below.len(), budget);
        let length = around[chosen.end - 1].0.0;
        let pieces = around[chosen].iter().map(|&(key, piece)| {
            self.by_length.remove(&key);
            self.by_age.remove(&(key.1, key.0));
            self.tokens -= key.0;
            piece
        });
        Some(Batch { pieces: pieces.collect(), length })
    }
}

fn entry((&key, &piece): (&(usize, u64), &Piece)) -> ((usize, u64), Piece) {
    (key, piece)
}

/// The range around `anchor` with the most tokens for its cost, of pieces sorted by padded length.
fn best(sorted: &[((usize, u64), Piece)], anchor: usize, budget: usize) -> std::ops::Range<usize> {
    let mut best = (anchor..anchor + 1, 0.0);
    let mut up_to = 0;
    for end in anchor + 1..=sorted.len() {
        let length = sorted[end - 1].0.0;
        up_to += sorted[end - 1].1.tokens;
        if (end - anchor) * length > budget && end > anchor + 1 {
            break;
        }
        let mut tokens = up_to;
        for start in (0..=anchor).rev() {
            let cost = (end - start) * length;
            if start < anchor {
                if cost > budget {
                    break;
                }
                tokens += sorted[start].1.tokens;
            }
            let worth = tokens as f64 / (cost + BATCH_OVERHEAD) as f64;
            if worth >= best.1 {
                best = (start..end, worth);
            }
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(lengths: &[usize]) -> Pool {
        let mut pool = Pool::default();
        for (job, &tokens) in (0..).zip(lengths) {
            pool.push(Piece { job, text: 0, piece: 0, tokens }, tokens);
        }
        pool
    }

    fn jobs(batch: &Batch) -> Vec<u64> {
        let mut jobs: Vec<u64> = batch.pieces.iter().map(|piece| piece.job).collect();
        jobs.sort_unstable();
        jobs
    }

    #[test]
    fn the_oldest_is_taken_with_what_fits_it() {
        let mut pool = pool(&[20, 200, 20, 20, 200, 19]);
        let first = pool.take(1024).unwrap();
        assert_eq!((jobs(&first), first.length), (vec![0, 2, 3, 5], 20));
        let second = pool.take(1024).unwrap();
        assert_eq!((jobs(&second), second.length), (vec![1, 4], 200));
        assert_eq!((pool.take(1024), pool.tokens(), pool.is_empty()), (None, 0, true));
    }

    #[test]
    fn every_piece_is_taken_once_within_the_budget() {
        let lengths: Vec<usize> = (0..500).map(|n| 2 + n * 7919 % 255).collect();
        let mut pool = pool(&lengths);
        let (mut seen, mut cost) = (Vec::new(), 0);
        while let Some(batch) = pool.take(1024) {
            assert!(batch.pieces.len() * batch.length <= 1024);
            assert!(batch.pieces.iter().all(|piece| piece.tokens <= batch.length));
            cost += batch.pieces.len() * batch.length;
            seen.extend(jobs(&batch));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
        let tokens: usize = lengths.iter().sum();
        assert!(cost < tokens + tokens / 10, "{cost} for {tokens} tokens");
    }

    #[test]
    fn the_oldest_is_never_passed_over() {
        let mut pool = pool(&[250]);
        for job in 1..=400 {
            pool.push(Piece { job, text: 0, piece: 0, tokens: 4 }, 4);
        }
        assert!(jobs(&pool.take(1024).unwrap()).contains(&0));
    }

    #[test]
    fn one_beyond_the_budget_is_alone() {
        let mut pool = pool(&[300, 300, 4]);
        assert_eq!(jobs(&pool.take(256).unwrap()), [0]);
        assert_eq!(jobs(&pool.take(256).unwrap()), [1]);
    }

    #[test]
    fn what_nobody_waits_for_is_dropped() {
        let mut pool = pool(&[20, 20, 20]);
        pool.retain(|job| job == 1);
        assert_eq!(pool.tokens(), 20);
        assert_eq!(jobs(&pool.take(1024).unwrap()), [1]);
        assert!(pool.is_empty());
    }
}
