//! Owns lists of numbers with what each counts: what stands in rows, and where that stands.

use super::precision::Precision;
use super::word_rows::WordEntry;

/// Columns of a matrix that are summed at once.
const COLUMNS: usize = 8;
/// Entries after which a sum goes on in double precision.
const RUN: usize = 64;

/// Adds the rows of a matrix that a list names, each times what its entry counts, to `sums`, which are as
/// many as the matrix has columns.
pub(super) fn gather<T: Precision>(
    list: &[WordEntry],
    matrix: &[T],
    counts: impl Fn(f32) -> T + Copy,
    sums: &mut [f64],
) {
    let columns = sums.len();
    for (band, sums) in sums.chunks_mut(COLUMNS).enumerate() {
        let at = (columns, band * COLUMNS);
        match sums.len() {
            1 => gather_band::<T, 1>(list, (matrix, at), counts, sums),
            2 => gather_band::<T, 2>(list, (matrix, at), counts, sums),
            3 => gather_band::<T, 3>(list, (matrix, at), counts, sums),
            4 => gather_band::<T, 4>(list, (matrix, at), counts, sums),
            5 => gather_band::<T, 5>(list, (matrix, at), counts, sums),
            6 => gather_band::<T, 6>(list, (matrix, at), counts, sums),
            7 => gather_band::<T, 7>(list, (matrix, at), counts, sums),
            _ => gather_band::<T, COLUMNS>(list, (matrix, at), counts, sums),
        }
    }
}

/// The same of `WIDTH` columns from the first on; the compiler knows how many, so they stay in registers.
fn gather_band<T: Precision, const WIDTH: usize>(
    list: &[WordEntry],
    (matrix, (columns, first)): (&[T], (usize, usize)),
    counts: impl Fn(f32) -> T,
    sums: &mut [f64],
) {
    for run in list.chunks(RUN) {
        let mut of_run = [T::zero(); WIDTH];
        for (number, entry) in run {
            let row = &matrix[*number as usize * columns + first..][..WIDTH];
            let times = counts(*entry);
            of_run.iter_mut().zip(row).for_each(|(sum, value)| *sum += times * *value);
        }
        sums.iter_mut().zip(of_run).for_each(|(sum, of_run)| *sum += of_run.double());
    }
}

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

    /// How many lists there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// How many entries all of them have.
    pub fn entries(&self) -> usize {
        self.entries.len()
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

    #[test]
    fn rows_are_gathered_whatever_the_number_of_columns() {
        let list: Vec<WordEntry> =
            (0..150).map(|entry| (entry * 7 % 40, 0.5 + entry as f32 / 64.0)).collect();
        for columns in [1, 2, 3, 4, 5, 6, 7, 8, 9, 21] {
            let matrix: Vec<f64> = (0..40 * columns).map(|place| ((place * 31) % 17) as f64 - 8.0).collect();
            let single: Vec<f32> = matrix.iter().map(|value| *value as f32).collect();
            let mut sums = [vec![1.0; columns], vec![1.0; columns]];
            gather(&list, &matrix, f64::from, &mut sums[0]);
            gather(&list, &single, |counts| counts, &mut sums[1]);
            for column in 0..columns {
                let of = |(number, counts): &WordEntry| {
                    f64::from(*counts) * matrix[*number as usize * columns + column]
                };
                let expected = 1.0 + list.iter().map(of).sum::<f64>();
                // 64 sums in single precision, of numbers below 23.
                for (found, off) in [(sums[0][column], 1e-9), (sums[1][column], 1e-2)] {
                    assert!((found - expected).abs() < off, "{columns}, {column}: {found} {expected}");
                }
            }
        }
    }
}
