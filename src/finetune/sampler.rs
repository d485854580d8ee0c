//! Owns the order of training: which rows are in which batch of which epoch.
//!
//! Refuses any state: the batches of an epoch follow from the rows' lengths, the seed and the epoch alone.

use super::dropout::mix;
use crate::tokens::{Batch, Buckets, batches};

/// Rows that are sorted by length together, in batches' worth of tokens: large enough for little padding,
/// small enough for batches of mixed company.
const POOL_BATCHES: usize = 128;

/// The batches of one epoch. `rows` are the rows to train on, `lengths[row]` their tokens; a batch holds at
/// most `token_budget` tokens, padding included (one row at least), and its rows have similar lengths.
#[must_use]
pub fn epoch_batches(
    rows: &[usize],
    lengths: &[usize],
    token_budget: usize,
    seed: u64,
    epoch: u64,
) -> Vec<Batch> {
    // Training runs where memory is not scarce: padding costs more than ONNX Runtime keeps for further
    // shapes.
    let buckets = Buckets::every(lengths.iter().copied().max().unwrap_or(1));
    let draw = |domain: u64, place: usize| mix(mix(mix(seed ^ domain) ^ epoch) ^ place as u64);
    let mut shuffled = rows.to_vec();
    shuffled.sort_by_key(|&row| (draw(1, row), row));
    let mut all = Vec::new();
    let mut pool = Vec::new();
    let mut tokens = 0;
    for (place, &row) in shuffled.iter().enumerate() {
        pool.push(row);
        tokens += lengths[row];
        if tokens >= POOL_BATCHES * token_budget || place + 1 == shuffled.len() {
            let pooled: Vec<usize> = pool.iter().map(|&row| lengths[row]).collect();
            all.extend(
                batches(&pooled, &buckets, token_budget).into_iter().map(|batch| Batch {
                    rows: batch.rows.iter().map(|&place| pool[place]).collect(),
                    ..batch
                }),
            );
            pool.clear();
            tokens = 0;
        }
    }
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|&place| (draw(2, place), place));
    let mut slots: Vec<Option<Batch>> = all.into_iter().map(Some).collect();
    order.into_iter().filter_map(|place| slots[place].take()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_batch_of_an_epoch_and_epochs_differ() {
        let lengths: Vec<usize> = (0..3000).map(|row| 3 + row * 7919 % 60).collect();
        let rows: Vec<usize> = (0..3000).filter(|row| row % 3 != 0).collect();
        let make = |seed, epoch| epoch_batches(&rows, &lengths, 512, seed, epoch);
        let first = make(1, 0);
        let mut seen: Vec<usize> = first.iter().flat_map(|batch| batch.rows.clone()).collect();
        seen.sort_unstable();
        assert_eq!(seen, rows);
        assert!(first.iter().all(|batch| batch.size * batch.length <= 512));
        assert!(first.iter().all(|batch| batch.rows.iter().all(|&row| lengths[row] <= batch.length)));
        let (tokens, padded) = first.iter().fold((0, 0), |(tokens, padded), batch| {
            (
                tokens + batch.rows.iter().map(|&row| lengths[row]).sum::<usize>(),
                padded + batch.size * batch.length,
            )
        });
        assert!(tokens as f64 / padded as f64 > 0.95, "{tokens} of {padded}");
        assert_eq!(first, make(1, 0));
        assert_ne!(first, make(1, 1));
        assert_ne!(first, make(2, 0));
        // Neighbouring batches are not of neighbouring lengths.
        let falling = first.windows(2).filter(|pair| pair[1].length <= pair[0].length).count();
        assert!((first.len() / 4..3 * first.len() / 4).contains(&falling), "{falling} of {}", first.len());
    }
}
