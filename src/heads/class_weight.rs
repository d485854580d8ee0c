//! Owns `balanced`: linfa-logistic has no row weights, so rows are repeated.
//!
//! Every class is repeated up to the size of the largest: each row ⌊m / n⌋ times, and m mod n rows, evenly spaced, once
//! more. So every class has exactly the same weight in all, which is what `balanced` means; within a class some rows count
//! once more than others. The penalty is scaled with the number of rows, so that alpha keeps its meaning.

use super::options::ClassWeight;

/// Which examples to fit on, repeated ones included, and how much more there are (1 when nothing is repeated).
pub(super) fn repeated(labels: &[u32], classes: usize, weight: ClassWeight) -> (Vec<usize>, f64) {
    let all: Vec<usize> = (0..labels.len()).collect();
    if weight == ClassWeight::None {
        return (all, 1.0);
    }
    let mut of_class: Vec<Vec<usize>> = vec![Vec::new(); classes];
    for (example, label) in labels.iter().enumerate() {
        of_class[*label as usize].push(example);
    }
    let most = of_class.iter().map(Vec::len).max().unwrap_or(0);
    let mut examples = Vec::new();
    for own in of_class.iter().filter(|own| !own.is_empty()) {
        for _ in 0..most / own.len() {
            examples.extend_from_slice(own);
        }
        let extra = most % own.len();
        examples.extend((0..extra).map(|place| own[place * own.len() / extra]));
    }
    examples.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53 rows")]
    let growth = examples.len() as f64 / labels.len().max(1) as f64;
    (examples, growth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_ends_with_the_same_weight() {
        let labels: Vec<u32> = (0..100)
            .map(|row| {
                if row < 70 {
                    0
                } else if row < 97 {
                    1
                } else {
                    2
                }
            })
            .collect();
        let (examples, growth) = repeated(&labels, 3, ClassWeight::Balanced);
        let mut counts = [0; 3];
        examples.iter().for_each(|example| counts[labels[*example] as usize] += 1);
        assert_eq!(counts, [70, 70, 70]);
        assert!((growth - 2.1).abs() < 1e-12);
        let times = |example| examples.iter().filter(|own| **own == example).count();
        assert!(
            (70..97).all(|example| (2..=3).contains(&times(example))),
            "rows of a class are repeated evenly"
        );
    }

    #[test]
    fn without_weights_nothing_is_repeated() {
        assert_eq!(repeated(&[0, 1, 1], 2, ClassWeight::None), (vec![0, 1, 2], 1.0));
    }
}
