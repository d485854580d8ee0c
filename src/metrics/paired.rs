//! Owns how two answers to the same rows are compared: row by row.

/// The mean difference of two scores of the same rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The second less the first.
    pub value: f64,
    pub standard_error: f64,
}

/// How much better the second is than the first; none without rows, or where they are not the same rows. The
/// error is counted as if one row more differed, so that it is never 0 by luck.
#[must_use]
pub fn difference(first: &[f64], second: &[f64]) -> Option<Difference> {
    if first.is_empty() || first.len() != second.len() {
        return None;
    }
    let count = first.len() as f64;
    let gains = || first.iter().zip(second).map(|(first, second)| second - first);
    let value = gains().sum::<f64>() / count;
    let squares = gains().map(|gain| (gain - value).powi(2)).sum::<f64>();
    Some(Difference { value, standard_error: (squares + 1.0).sqrt() / count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_have_in_common_is_no_noise() {
        // One row of a hundred gets better; half of all are right.
        let first: Vec<f64> = (0..100).map(|row| f64::from(row % 2)).collect();
        let mut second = first.clone();
        second[0] = 1.0;
        let found = difference(&first, &second).unwrap();
        assert!((found.value - 0.01).abs() < 1e-12);
        // Squares: .99² + 99 · .01² = .99, and one.
        assert!((found.standard_error - 1.99_f64.sqrt() / 100.0).abs() < 1e-12);
        assert!(difference(&first, &first).unwrap().standard_error > 0.0);
        assert!(difference(&[], &[]).is_none() && difference(&first, &second[1..]).is_none());
    }
}
