//! Owns how far probabilities are true: rows by what was said of them, and how many of those were so.

use serde::{Deserialize, Serialize};

/// Bins of equal width.
const BINS: usize = 15;

/// Answers of about the same probability.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    /// How many.
    pub answers: u64,
    /// The mean of their probabilities …
    pub said: f64,
    /// … and the share of them that is true.
    pub so: f64,
}

/// Bins of answers `(probability, whether it is so)`, those without answers left away.
pub(super) fn reliability(answers: impl Iterator<Item = (f64, bool)>) -> Vec<Reliability> {
    let mut bins = [(0_u64, 0.0_f64, 0_u64); BINS];
    for (probability, so) in answers {
        // What is no number says nothing, and is so counted.
        let probability = if probability.is_finite() { probability } else { 0.0 };
        let bin = ((probability * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        let (count, sum, right) = &mut bins[bin];
        *count += 1;
        *sum += probability;
        *right += u64::from(so);
    }
    let mean = |(answers, sum, right): (u64, f64, u64)| Reliability {
        answers,
        said: sum / answers as f64,
        so: right as f64 / answers as f64,
    };
    bins.into_iter().filter(|(answers, ..)| *answers > 0).map(mean).collect()
}

/// The expected calibration error: |so − said|, weighted by answers; none of nothing.
pub(super) fn calibration_error(bins: &[Reliability]) -> Option<f64> {
    let all: u64 = bins.iter().map(|bin| bin.answers).sum();
    let sum: f64 = bins.iter().map(|bin| bin.answers as f64 * (bin.so - bin.said).abs()).sum();
    (all > 0).then(|| sum / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_hold_what_was_said_and_what_is_so() {
        let found = reliability([(0.9, true), (0.92, false), (0.1, false), (1.0, true)].into_iter());
        let of = |bin: &Reliability| (bin.answers, (1e6 * bin.said).round(), bin.so);
        assert_eq!(found.iter().map(of).collect::<Vec<_>>(), [(1, 1e5, 0.0), (2, 9.1e5, 0.5), (1, 1e6, 1.0)]);
        assert!((calibration_error(&found).unwrap() - (0.1 + 2.0 * 0.41) / 4.0).abs() < 1e-9);
        assert_eq!(calibration_error(&[]), None);
    }
}
