//! Owns what is true of one row: a label, a set of labels, or a number; and the strata by which rows are
//! divided.

use std::sync::Arc;

/// Numbers are divided into so many strata by their rank, at most …
const RANKS: usize = 10;
/// … each of so many rows, at least: one for every fold.
const LEAST_ROWS: usize = 3;

/// What is true of a row. Labels are places among those that a head can answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// Its only label.
    Label(u32),
    /// Its labels in rising order; perhaps none.
    Labels(Arc<[u32]>),
    Number(f64),
}

impl Target {
    /// Its labels: one, several or none. A number has none.
    #[must_use]
    pub fn labels(&self) -> &[u32] {
        match self {
            Self::Label(label) => std::slice::from_ref(label),
            Self::Labels(labels) => labels,
            Self::Number(_) => &[],
        }
    }

    /// The label of a row that has one only.
    ///
    /// # Panics
    /// It is of another kind, which is a bug.
    #[must_use]
    pub fn label(&self) -> usize {
        *self.labels().first().expect("a row of a task of one label has it: anything else is a bug") as usize
    }

    /// The number of a row; not a number where it has labels.
    #[must_use]
    pub fn number(&self) -> f64 {
        if let Self::Number(number) = self { *number } else { f64::NAN }
    }

    /// The same with other places for its labels; those without a place are left out. None where the only
    /// label has no place.
    #[must_use]
    pub fn placed(&self, place: impl Fn(u32) -> Option<u32>) -> Option<Self> {
        match self {
            Self::Label(label) => place(*label).map(Self::Label),
            Self::Labels(labels) => {
                let mut labels: Vec<u32> = labels.iter().filter_map(|label| place(*label)).collect();
                labels.sort_unstable();
                labels.dedup();
                Some(Self::Labels(labels.into()))
            }
            Self::Number(_) => Some(self.clone()),
        }
    }
}

#[cfg(test)]
impl Target {
    /// Rows of one label each.
    pub fn each(labels: &[u32]) -> Vec<Self> {
        labels.iter().copied().map(Self::Label).collect()
    }
}

/// The stratum of every row, and how many strata there are: each part of a division shall have its share of
/// every one. A row with one of `classes` labels is of that label's; one with several, of the rarest one's;
/// one without any, of a stratum behind these. Numbers are of their tenth, or, where they are few, of a larger
/// part.
#[must_use]
pub fn strata(targets: &[Target], classes: usize) -> (Vec<u32>, usize) {
    match targets.first() {
        None | Some(Target::Label(_)) => {
            (targets.iter().map(|target| target.label() as u32).collect(), classes)
        }
        Some(Target::Labels(_)) => (rarest(targets, classes), classes + 1),
        Some(Target::Number(_)) => by_rank(targets),
    }
}

fn rarest(targets: &[Target], classes: usize) -> Vec<u32> {
    let mut rows = vec![0_usize; classes];
    for label in targets.iter().flat_map(Target::labels) {
        rows[*label as usize] += 1;
    }
    let none = u32::try_from(classes).unwrap_or(u32::MAX);
    let of_row = |target: &Target| {
        let labels = target.labels().iter().copied();
        labels.min_by_key(|label| (rows[*label as usize], *label)).unwrap_or(none)
    };
    targets.iter().map(of_row).collect()
}

fn by_rank(targets: &[Target]) -> (Vec<u32>, usize) {
    let count = (targets.len() / LEAST_ROWS).clamp(1, RANKS);
    let mut order: Vec<usize> = (0..targets.len()).collect();
    order.sort_by(|&a, &b| targets[a].number().total_cmp(&targets[b].number()).then(a.cmp(&b)));
    let (mut strata, mut stratum) = (vec![0; targets.len()], 0);
    for (rank, &row) in order.iter().enumerate() {
        // Equal numbers are of one stratum.
        if rank == 0 || targets[row] != targets[order[rank - 1]] {
            stratum = (rank * count / targets.len()) as u32;
        }
        strata[row] = stratum;
    }
    (strata, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(labels: &[u32]) -> Target {
        Target::Labels(labels.into())
    }

    #[test]
    fn rows_are_of_their_rarest_label_and_of_their_tenth() {
        let targets = [set(&[0, 1]), set(&[0]), set(&[]), set(&[0, 2]), set(&[1, 2])];
        assert_eq!(strata(&targets, 3), (vec![1, 0, 3, 2, 1], 4));
        let labels = [2, 0].map(Target::Label);
        assert_eq!(strata(&labels, 3), (vec![2, 0], 3));
        let numbers = |rows: i32| -> Vec<Target> {
            (0..rows).rev().map(|n| Target::Number(f64::from(n / 4))).collect()
        };
        let (tenths, count) = strata(&numbers(40), 1);
        assert_eq!((tenths[0], tenths[3], tenths[39], count), (9, 9, 0, 10));
        assert_eq!(strata(&numbers(2), 1), (vec![0, 0], 1));
        assert_eq!(strata(&[], 2), (Vec::new(), 2));
    }

    #[test]
    fn labels_find_other_places() {
        let place = |label: u32| (label != 1).then_some(9 - label);
        assert_eq!(set(&[0, 1, 2]).placed(place), Some(set(&[7, 9])));
        assert_eq!(Target::Label(1).placed(place), None);
        assert_eq!(Target::Number(0.5).placed(place), Some(Target::Number(0.5)));
    }
}
