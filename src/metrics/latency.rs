//! Owns latency statistics: how long single calls took, at the median and for the unlucky ones.

use serde::Serialize;

/// Milliseconds of single calls.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    pub calls: usize,
    pub mean: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl Latency {
    /// Summarises durations in seconds; none when there are none. A percentile is the smallest duration that
    /// so many percent of the calls do not exceed (nearest rank).
    #[must_use]
    pub fn of(seconds: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = seconds.iter().map(|second| 1e3 * second).collect();
        sorted.sort_by(f64::total_cmp);
        let max = *sorted.last()?;
        let percentile = |percent: usize| sorted[(percent * sorted.len()).div_ceil(100).max(1) - 1];
        let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
        let (p50, p95, p99) = (percentile(50), percentile(95), percentile(99));
        Some(Self { calls: sorted.len(), mean, p50, p95, p99, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let seconds: Vec<f64> = (1..=200).rev().map(|number| f64::from(number) / 1e3).collect();
        let latency = Latency::of(&seconds).unwrap();
        let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-9, "{found} {wanted}");
        near(latency.p50, 100.0);
        near(latency.p95, 190.0);
        near(latency.p99, 198.0);
        near(latency.max, 200.0);
        near(latency.mean, 100.5);
        assert_eq!(latency.calls, 200);
        assert_eq!(Latency::of(&[]), None);
        near(Latency::of(&[0.001]).unwrap().p50, 1.0);
    }
}
