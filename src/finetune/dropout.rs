//! Owns the random draws of dropout: a number for every element, from its place alone.
//!
//! Refuses state: a draw depends on seed, step, mask and element, so a run that goes on from a checkpoint
//! drops the same numbers as one that was never interrupted.

use super::sharing::{PIECE, shared};

/// Draws for one mask of one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draws(u64);

impl Draws {
    /// The draws of the mask number `mask` in step `step`.
    pub fn new(seed: u64, step: u64, mask: u64) -> Self {
        Self(mix(mix(mix(seed) ^ step) ^ mask))
    }

    /// Fills `out` with 0 (with probability `rate`) or `1 / (1 − rate)`, which keeps the mean.
    pub fn fill(self, rate: f32, out: &mut [f32], threads: usize) {
        let pieces = (0..).zip(out.chunks_mut(PIECE)).collect();
        shared(pieces, threads, &|(number, piece)| self.fill_from(number * PIECE / 4, rate, piece));
    }

    fn fill_from(self, first: usize, rate: f32, out: &mut [f32]) {
        let keep = 1.0 / (1.0 - rate);
        // Each draw gives four numbers of 16 bits: a rate is met to 1 / 65,536.
        let threshold = (rate * 65_536.0).round() as u64;
        for (place, four) in (first..).zip(out.chunks_mut(4)) {
            let bits = mix(self.0.wrapping_add((place as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
            for (shift, number) in [0, 16, 32, 48].into_iter().zip(four) {
                *number = if (bits >> shift) & 0xFFFF < threshold { 0.0 } else { keep };
            }
        }
    }
}

/// SplitMix64's output function (Steele, Lea & Flood 2014): a bijection that spreads every bit over all.
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64, step: u64, mask: u64, rate: f32) -> Vec<f32> {
        let mut out = vec![0.0; 10_001];
        Draws::new(seed, step, mask).fill(rate, &mut out, 1);
        out
    }

    #[test]
    fn the_share_of_zeros_is_the_rate_and_the_mean_stays_one() {
        for rate in [0.1, 0.5] {
            let drawn = drawn(1, 2, 3, rate);
            let zeros = drawn.iter().filter(|factor| **factor == 0.0).count() as f32 / drawn.len() as f32;
            // Five standard errors of 10,000 draws are at most 0.025.
            assert!((zeros - rate).abs() < 0.025, "{zeros}");
            assert!(drawn.iter().all(|factor| *factor == 0.0 || (*factor - 1.0 / (1.0 - rate)).abs() < 1e-6));
        }
        assert!(drawn(1, 2, 3, 0.0).iter().all(|factor| *factor == 1.0));
    }

    #[test]
    fn seed_step_and_mask_change_the_draws_and_nothing_else_does() {
        assert_eq!(drawn(1, 2, 3, 0.1), drawn(1, 2, 3, 0.1));
        let mut shared = vec![0.0; 3 * PIECE + 5];
        let mut alone = shared.clone();
        Draws::new(1, 2, 3).fill(0.1, &mut shared, 3);
        Draws::new(1, 2, 3).fill(0.1, &mut alone, 1);
        assert_eq!(shared, alone);
        for other in [drawn(2, 2, 3, 0.1), drawn(1, 3, 3, 0.1), drawn(1, 2, 4, 0.1)] {
            assert_ne!(other, drawn(1, 2, 3, 0.1));
        }
    }
}
