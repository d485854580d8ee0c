//! Owns what each row counts in the loss.
//!
//! `balanced` is scikit-learn's: rows / (classes · rows of the class), so that every class counts the same
//! and all weights together are as many as the rows.

use super::options::ClassWeight;

/// What a row of each class counts, 0 of a class without rows; nothing when all count 1.
#[must_use]
pub fn class_weights(labels: &[u32], classes: usize, weight: ClassWeight) -> Option<Vec<f64>> {
    if weight == ClassWeight::None {
        return None;
    }
    let mut of_class = vec![0_u32; classes];
    labels.iter().for_each(|label| of_class[*label as usize] += 1);
    let share = labels.len() as f64 / of_class.iter().filter(|rows| **rows > 0).count().max(1) as f64;
    Some(of_class.iter().map(|&rows| if rows > 0 { share / f64::from(rows) } else { 0.0 }).collect())
}

/// The weight of each example, in their order; nothing when all count 1.
pub(super) fn row_weights(labels: &[u32], classes: usize, weight: ClassWeight) -> Option<Vec<f64>> {
    let weights = class_weights(labels, classes, weight)?;
    Some(labels.iter().map(|label| weights[*label as usize]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_counts_the_same() {
        let labels: Vec<u32> = (0..100).map(|row| u32::from(row >= 70) + u32::from(row >= 97)).collect();
        let weights = row_weights(&labels, 3, ClassWeight::Balanced).unwrap();
        for class in 0..3 {
            let of_class = labels.iter().zip(&weights).filter(|(label, _)| **label == class);
            assert!((of_class.map(|(_, weight)| weight).sum::<f64>() - 100.0 / 3.0).abs() < 1e-9);
        }
        assert!((weights[99] - 100.0 / 9.0).abs() < 1e-12);
    }

    #[test]
    fn a_class_without_rows_takes_no_share() {
        assert_eq!(class_weights(&[0, 2, 2, 2], 3, ClassWeight::Balanced).unwrap(), [2.0, 0.0, 2.0 / 3.0]);
    }

    #[test]
    fn without_weights_there_are_none() {
        assert_eq!(row_weights(&[0, 1, 1], 2, ClassWeight::None), None);
    }
}
