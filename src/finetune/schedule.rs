//! Owns the learning rate's course: linear warm-up, linear decay.

/// The factor of the learning rate in step `step` (from 1) of `total`, of which `warm_up` (a share) rise from
/// 0 to 1, and the rest fall towards 0, as `transformers.get_linear_schedule_with_warmup`.
#[must_use]
pub fn rate_factor(step: u64, total: u64, warm_up: f32) -> f32 {
    let rising = (f64::from(warm_up) * total as f64).round();
    let done = step.saturating_sub(1) as f64;
    let factor = if done < rising {
        (done + 1.0) / rising.max(1.0)
    } else {
        (total as f64 - done) / (total as f64 - rising).max(1.0)
    };
    factor.clamp(0.0, 1.0) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_falls_and_never_leaves_zero_to_one() {
        let factors: Vec<f32> = (1..=100).map(|step| rate_factor(step, 100, 0.1)).collect();
        assert!(
            factors[..10].is_sorted() && (factors[0] - 0.1).abs() < 1e-6 && (factors[9] - 1.0).abs() < 1e-6
        );
        assert!(factors[10..].windows(2).all(|pair| pair[1] < pair[0]));
        assert!((factors[99] - 1.0 / 90.0).abs() < 1e-6);
        assert_eq!(rate_factor(1, 1, 0.0), 1.0);
    }
}
