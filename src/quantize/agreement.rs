//! Owns comparing two precisions' vectors of the same texts.

/// How far vectors point in the same direction as those of another precision.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Agreement {
    /// Mean cosine.
    pub mean: f64,
    /// Smallest cosine.
    pub smallest: f64,
}

impl Agreement {
    /// Compares rows of `width` numbers; none agree perfectly.
    #[must_use]
    pub fn of(first: &[f32], second: &[f32], width: usize) -> Self {
        let rows = first.chunks_exact(width).zip(second.chunks_exact(width));
        let (mut sum, mut smallest, mut count) = (0.0, 1.0_f64, 0.0);
        for (a, b) in rows {
            let cosine = cosine(a, b);
            sum += cosine;
            smallest = smallest.min(cosine);
            count += 1.0;
        }
        Self { mean: if count > 0.0 { sum / count } else { 1.0 }, smallest }
    }
}

/// a · b / (|a| |b|); 0 when one of them is 0.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum() };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_those_of_the_rows() {
        let first = [1.0, 0.0, 2.0, 2.0, 0.0, 3.0];
        let second = [5.0, 0.0, 1.0, 0.0, 0.0, -1.0];
        let found = Agreement::of(&first, &second, 2);
        assert!((found.mean - 0.5_f64.sqrt() / 3.0).abs() < 1e-12 && found.smallest == -1.0, "{found:?}");
        assert_eq!(Agreement::of(&first, &[0.0; 6], 2), Agreement { mean: 0.0, smallest: 0.0 });
        assert_eq!(Agreement::of(&[], &[], 2), Agreement { mean: 1.0, smallest: 1.0 });
    }
}
