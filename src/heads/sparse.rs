//! Owns lists of numbers with what each counts: what stands in rows, and where that stands.

use super::word_rows::WordEntry;

/// Lists of numbers with what each counts, one after another.
#[derive(Default)]
pub(super) struct Sparse {
    ends: Vec<usize>,
    entries: Vec<WordEntry>,
}

impl Sparse {
    /// Appends a list.
    pub fn push(&mut self, list: impl Iterator<Item = WordEntry>) {
        self.entries.extend(list);
        self.ends.push(self.entries.len());
    }

    /// One of them.
    pub fn of(&self, list: usize) -> &[WordEntry] {
        let start = list.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.entries[start..self.ends[list]]
    }

    /// The lists of the numbers, each of what they stood in.
    pub fn transposed(&self, numbers: usize) -> Self {
        let mut starts = vec![0; numbers + 1];
        self.entries.iter().for_each(|(number, _)| starts[*number as usize + 1] += 1);
        for number in 0..numbers {
            starts[number + 1] += starts[number];
        }
        let ends = starts[1..].to_vec();
        let mut entries = vec![(0, 0.0); self.entries.len()];
        for list in 0..self.ends.len() {
            for (number, counts) in self.of(list) {
                let place = &mut starts[*number as usize];
                entries[*place] = (u32::try_from(list).unwrap_or(u32::MAX), *counts);
                *place += 1;
            }
        }
        Self { ends, entries }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_row_says_where_it_stands() {
        let mut rows = Sparse::default();
        for row in [vec![(0, 1.0), (2, 0.5)], vec![], vec![(2, 2.0)]] {
            rows.push(row.into_iter());
        }
        let places = rows.transposed(3);
        let of: Vec<&[WordEntry]> = (0..3).map(|place| places.of(place)).collect();
        assert_eq!(of, [&[(0, 1.0)][..], &[], &[(0, 0.5), (2, 2.0)]]);
        assert_eq!(places.transposed(3).of(0), rows.of(0));
    }
}
