//! Owns which places of a table of weights the word pieces of a text take: one a piece, and one a pair of
//! neighbours, whose ids are hashed.
//!
//! Refuses to weigh them: that is a head's work. A graph computes the same places (`encoder/words.rs`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Places of pairs: a prime, so that all bits of both ids count, as near to 2^16 as one is. More make no
/// answer better (`docs/LOG.md`, *words*).
pub const PAIR_PLACES: usize = 65_521;
/// Most places of pairs.
pub const MOST_PAIR_PLACES: usize = 1 << 22;
/// What the ids of a pair, below 2^21, are multiplied by: no sum overflows 64 bits.
pub const PAIR_FACTORS: [u64; 2] = [2_654_435_761, 2_246_822_519];

/// The table's places: the ids of a vocabulary, and behind them those of pairs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grams {
    /// Word pieces of the vocabulary, special ones included.
    pub pieces: usize,
    /// Places of pairs.
    pub pairs: usize,
    /// Of a smaller vocabulary: the id that each piece had in the whole one, by which pairs are hashed.
    #[serde(skip)]
    pub ids: Option<Arc<[u32]>>,
}

impl Grams {
    /// The places for a vocabulary of so many pieces.
    #[must_use]
    pub fn of(pieces: usize) -> Self {
        Self { pieces, pairs: PAIR_PLACES, ids: None }
    }

    /// The places of a smaller vocabulary, whose pieces had these ids in this one.
    #[must_use]
    pub fn with_pieces(&self, ids: &[u32]) -> Self {
        Self { pieces: ids.len(), pairs: self.pairs, ids: Some(ids.into()) }
    }

    /// Number of places.
    #[must_use]
    pub fn places(&self) -> usize {
        self.pieces + self.pairs
    }

    /// The place of a pair of neighbours.
    #[must_use]
    pub fn pair(&self, left: u32, right: u32) -> usize {
        let [left, right] = [left, right].map(|id| match &self.ids {
            Some(ids) => ids[id as usize],
            None => id,
        });
        let mixed = u64::from(left) * PAIR_FACTORS[0] + u64::from(right) * PAIR_FACTORS[1];
        self.pieces + (mixed % self.pairs.max(1) as u64) as usize
    }

    /// The places that some ids take, one after the other: every piece, then every pair.
    pub fn each(&self, ids: &[u32], mut each: impl FnMut(usize)) {
        ids.iter().for_each(|id| each(*id as usize));
        ids.windows(2).for_each(|pair| each(self.pair(pair[0], pair[1])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_places_of_their_own_and_pairs_come_behind() {
        let grams = Grams::of(100);
        let mut places = Vec::new();
        grams.each(&[2, 7, 7, 3], |place| places.push(place));
        assert_eq!(places[..4], [2, 7, 7, 3]);
        assert_eq!(places[4..], [grams.pair(2, 7), grams.pair(7, 7), grams.pair(7, 3)]);
        assert!(places[4..].iter().all(|place| (100..grams.places()).contains(place)));
        assert_ne!(grams.pair(2, 7), grams.pair(7, 2));
        grams.each(&[], |place| panic!("{place}"));
        grams.each(&[5], |place| assert_eq!(place, 5));
    }

    #[test]
    fn pairs_are_spread_over_all_places() {
        // Of 40,000 pairs some 45.7 % of the places are taken where each is as likely as any other.
        let grams = Grams::of(30_522);
        let mut taken = vec![false; grams.places()];
        for left in 0..200_u32 {
            for right in 0..200_u32 {
                taken[grams.pair(100 * left + 1000, 37 * right + 3)] = true;
            }
        }
        let count = taken.iter().filter(|taken| **taken).count();
        let expected = grams.pairs as f64 * (1.0 - (-40_000.0 / grams.pairs as f64).exp());
        assert!((count as f64) > 0.97 * expected, "{count} of {expected}");
        // No vocabulary is larger (`encoder/config.rs`).
        let largest = grams.pair(1 << 21, 1 << 21);
        assert!(largest < grams.places());
    }

    #[test]
    fn a_smaller_vocabulary_has_the_same_places_of_pairs() {
        let whole = Grams::of(100);
        let smaller = whole.with_pieces(&[3, 50, 99]);
        let behind = |grams: &Grams, left: u32, right: u32| grams.pair(left, right) - grams.pieces;
        assert_eq!(behind(&smaller, 1, 2), behind(&whole, 50, 99));
        assert_eq!(smaller.places(), 3 + PAIR_PLACES);
    }
}
