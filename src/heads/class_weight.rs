//! Owns what each row, or each label of a row, counts in the loss.
//!
//! `balanced` is scikit-learn's: rows / (classes · rows of the class), so that every class counts the same
//! and all weights together are as many as the rows. Where several labels can be true, each is a problem of
//! its own, of two classes: rows that have it and rows that have not.

use super::balance::ClassWeight;
use super::shape::Shape;
use crate::task::{Target, TaskKind};

/// What rows count.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Counts {
    /// All the same.
    Alike,
    /// Each of them.
    Rows(Vec<f64>),
    /// Each of their labels, where a row has it and where it has not.
    Labels(Vec<[f64; 2]>),
}

impl Counts {
    /// What a whole row counts.
    pub fn row(&self, row: usize) -> f64 {
        match self {
            Self::Rows(rows) => rows[row],
            Self::Alike | Self::Labels(_) => 1.0,
        }
    }

    /// What the labels of rows count, where that is not the same for all.
    pub fn labels(&self) -> Option<&[[f64; 2]]> {
        if let Self::Labels(labels) = self { Some(labels) } else { None }
    }
}

/// What a row counts for each class, where it has it and where it has not; 0 of a class without rows; nothing
/// when all count 1.
#[must_use]
pub fn class_weights(targets: &[Target], shape: Shape, weight: ClassWeight) -> Option<Vec<[f64; 2]>> {
    if weight == ClassWeight::None || shape.kind == TaskKind::Number {
        return None;
    }
    let mut of_class = vec![0_u32; shape.classes];
    targets.iter().flat_map(Target::labels).for_each(|label| of_class[*label as usize] += 1);
    let all = targets.len() as f64;
    let share = |rows: f64, classes: f64| if rows > 0.0 { all / (classes * rows) } else { 0.0 };
    let several = |&rows: &u32| [f64::from(rows), all - f64::from(rows)].map(|rows| share(rows, 2.0));
    if shape.kind == TaskKind::AnyOf {
        return Some(of_class.iter().map(several).collect());
    }
    let share = all / of_class.iter().filter(|rows| **rows > 0).count().max(1) as f64;
    let one = |&rows: &u32| [if rows > 0 { share / f64::from(rows) } else { 0.0 }; 2];
    Some(of_class.iter().map(one).collect())
}

/// What the examples count.
pub(super) fn counts(targets: &[Target], shape: Shape, weight: ClassWeight) -> Counts {
    match class_weights(targets, shape, weight) {
        None => Counts::Alike,
        Some(weights) if shape.kind == TaskKind::AnyOf => Counts::Labels(weights),
        Some(weights) => Counts::Rows(targets.iter().map(|target| weights[target.label()][0]).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(kind: TaskKind, classes: usize) -> Shape {
        Shape { kind, classes }
    }

    fn labels(labels: &[u32]) -> Vec<Target> {
        labels.iter().copied().map(Target::Label).collect()
    }

    #[test]
    fn every_class_counts_the_same() {
        let places: Vec<u32> = (0..100).map(|row| u32::from(row >= 70) + u32::from(row >= 97)).collect();
        let found = counts(&labels(&places), shape(TaskKind::OneOf, 3), ClassWeight::Balanced);
        for class in 0..3 {
            let of_class = (0..100).filter(|row| places[*row] == class);
            assert!((of_class.map(|row| found.row(row)).sum::<f64>() - 100.0 / 3.0).abs() < 1e-9);
        }
        assert!((found.row(99) - 100.0 / 9.0).abs() < 1e-12);
    }

    #[test]
    fn a_class_without_rows_takes_no_share() {
        let found = class_weights(&labels(&[0, 2, 2, 2]), shape(TaskKind::OneOf, 3), ClassWeight::Balanced);
        assert_eq!(found.unwrap(), [[2.0; 2], [0.0; 2], [2.0 / 3.0; 2]]);
    }

    #[test]
    fn rows_with_a_label_count_as_much_as_those_without() {
        let targets = [vec![0, 1], vec![0], vec![], vec![]].map(|labels| Target::Labels(labels.into()));
        let found = class_weights(&targets, shape(TaskKind::AnyOf, 3), ClassWeight::Balanced).unwrap();
        assert_eq!(found, [[1.0, 1.0], [2.0, 2.0 / 3.0], [0.0, 0.5]]);
    }

    #[test]
    fn without_weights_there_are_none() {
        let shape = shape(TaskKind::OneOf, 2);
        assert_eq!(counts(&labels(&[0, 1, 1]), shape, ClassWeight::None), Counts::Alike);
    }
}
