//! Owns what conjugate gradients are told of a sparse problem's Hessian: its diagonal, and, class by class,
//! what the commonest places say together.
//!
//! Those stand in most rows, so they say nearly the same as each other and as the bias, which a diagonal
//! cannot know (`docs/LOG.md`, *words*). Classes are taken as independent. Refuses to need exact numbers: how
//! places go together is found on a sample of the rows, since only the number of steps hangs on it, never the
//! optimum.

use ndarray::Array2;

use super::sparse::Sparse;
use crate::parallel::in_parallel;

/// Common places, at most.
const MOST: usize = 256;
/// Numbers that the factors of all classes may take together (32 MiB).
const NUMBERS: usize = 1 << 22;
/// Factors of fewer places than these are not worth it.
const LEAST: usize = 16;
/// Products with the Hessian that making the factors may cost, about.
const WORTH: usize = 2;
/// Rows on which it is found how places go together, about.
const SAMPLED: usize = 8192;
/// A pivot's least share of its diagonal: places that say the same as others have none.
const PIVOT: f64 = 1e-9;

/// The commonest places, and where they stand in a sample of the rows.
pub(super) struct Common {
    /// Their numbers, the bias last.
    numbers: Vec<usize>,
    /// The rows of the sample.
    rows: Vec<usize>,
    /// Per place its number among the common ones.
    among: Vec<Option<u32>>,
    classes: usize,
}

impl Common {
    /// Of a problem's rows; `columns` are the same by place.
    pub fn of(rows: &Sparse, columns: &Sparse, classes: usize) -> Self {
        let worth = (6 * WORTH * rows.entries()) as f64;
        let room = (NUMBERS / classes.max(1)) as f64;
        let most = (worth.cbrt().min(room.sqrt()) as usize).min(MOST);
        let most = if most < LEAST { 0 } else { most };
        let mut numbers: Vec<usize> = (0..columns.len()).collect();
        numbers.sort_by_key(|place| (std::cmp::Reverse(columns.of(*place).len()), *place));
        numbers.truncate(most);
        let mut among = vec![None; columns.len()];
        (0_u32..).zip(&numbers).for_each(|(number, place)| among[*place] = Some(number));
        numbers.push(columns.len());
        let rows = (0..rows.len()).step_by(rows.len().div_ceil(SAMPLED).max(1)).collect();
        Self { numbers, rows, among, classes }
    }

    /// What is known of the Hessian, by how each row's loss curves along its logits (`[rows, classes]`), and
    /// by the Hessian's diagonal.
    pub fn preconditioner(
        &self,
        rows: &Sparse,
        (curvatures, diagonal): (&[f64], Vec<f64>),
        alpha: f64,
        threads: usize,
    ) -> Preconditioner {
        if self.numbers.len() < LEAST {
            return Preconditioner::of_diagonal(diagonal);
        }
        let of_class = |class: usize| {
            let own: Vec<f64> =
                self.numbers.iter().map(|number| diagonal[number * self.classes + class]).collect();
            let mut factor = self.together(rows, (curvatures, class), alpha);
            as_on(&mut factor, &own);
            factorize(&mut factor, own.len());
            factor
        };
        let factors = in_parallel(threads, (0..self.classes).collect(), &of_class);
        Preconditioner { diagonal, numbers: self.numbers.clone(), factors }
    }

    /// The lower triangle of the Hessian of a class, of the common places, on the sample.
    fn together(&self, rows: &Sparse, (curvatures, class): (&[f64], usize), alpha: f64) -> Vec<f64> {
        let size = self.numbers.len();
        let bias = size - 1;
        let mut sums = vec![0.0; size * size];
        let mut met: Vec<(usize, f64)> = Vec::new();
        // As if the sample were all rows, but for a factor, which the penalty takes, too.
        let share = self.rows.len() as f64 / rows.len().max(1) as f64;
        for &row in &self.rows {
            let known = rows.of(row).iter().filter_map(|(place, counts)| {
                self.among[*place as usize].map(|number| (number as usize, f64::from(*counts)))
            });
            met.clear();
            met.extend(known);
            met.sort_unstable_by_key(|(number, _)| *number);
            met.push((bias, 1.0));
            let curvature = curvatures[row * self.classes + class];
            for (place, (number, counts)) in met.iter().enumerate() {
                let sums = &mut sums[number * size..][..size];
                let times = curvature * counts;
                met[..=place].iter().for_each(|(other, counts)| sums[*other] += times * counts);
            }
        }
        (0..bias).for_each(|number| sums[number * size + number] += share * alpha);
        sums
    }
}

/// About a Hessian, and easily solved for.
pub(super) struct Preconditioner {
    /// `[places + 1, classes]`, all of it above 0.
    diagonal: Vec<f64>,
    /// The places of which more is known than that …
    numbers: Vec<usize>,
    /// … and per class the Cholesky factor of what is known of them.
    factors: Vec<Vec<f64>>,
}

impl Preconditioner {
    /// Of a Hessian of which nothing else is known.
    pub fn of_diagonal(diagonal: Vec<f64>) -> Self {
        Self { diagonal, numbers: Vec::new(), factors: Vec::new() }
    }

    /// What times this is the residual.
    pub fn solve(&self, residual: &Array2<f64>) -> Array2<f64> {
        let mut solved = residual.clone();
        solved.iter_mut().zip(&self.diagonal).for_each(|(value, curvature)| *value /= curvature);
        for (class, factor) in self.factors.iter().enumerate() {
            let mut of_class: Vec<f64> =
                self.numbers.iter().map(|number| residual[[*number, class]]).collect();
            substitute(factor, &mut of_class);
            self.numbers.iter().zip(of_class).for_each(|(number, value)| solved[[*number, class]] = value);
        }
        solved
    }
}

/// Scales a matrix so that its diagonal is this one.
fn as_on(matrix: &mut [f64], diagonal: &[f64]) {
    let size = diagonal.len();
    let scale = |(place, wanted): (usize, &f64)| {
        let found = matrix[place * size + place];
        if found > 0.0 { (wanted / found).sqrt() } else { 0.0 }
    };
    let scales: Vec<f64> = diagonal.iter().enumerate().map(scale).collect();
    for (place, row) in matrix.chunks_exact_mut(size).enumerate() {
        row.iter_mut().zip(&scales).for_each(|(value, scale)| *value *= scale * scales[place]);
        row[place] = diagonal[place];
    }
}

/// Turns the lower triangle of a matrix into its Cholesky factor.
fn factorize(matrix: &mut [f64], size: usize) {
    for row in 0..size {
        let (above, own) = matrix.split_at_mut(row * size);
        for column in 0..row {
            let other = &above[column * size..][..=column];
            own[column] = (own[column] - dot(&own[..column], &other[..column])) / other[column];
        }
        let left = own[row] - own[..row].iter().map(|value| value * value).sum::<f64>();
        own[row] = left.max(PIVOT * own[row]).max(f64::MIN_POSITIVE).sqrt();
    }
}

/// Solves for the matrix of a Cholesky factor, in place.
fn substitute(factor: &[f64], values: &mut [f64]) {
    let size = values.len();
    for row in 0..size {
        let own = &factor[row * size..][..=row];
        values[row] = (values[row] - dot(&own[..row], &values[..row])) / own[row];
    }
    for row in (0..size).rev() {
        let own = &factor[row * size..][..=row];
        values[row] /= own[row];
        let (before, value) = (&own[..row], values[row]);
        values.iter_mut().zip(before).for_each(|(other, factor)| *other -= factor * value);
    }
}

/// The sum of all products, in eight sums side by side, which a processor adds at once.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut().zip(a).zip(b).for_each(|((sum, a), b)| *sum += a * b);
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of 40 places that all have the first 20, and curvatures of two classes.
    fn rows() -> (Sparse, Vec<f64>) {
        let mut rows = Sparse::default();
        for row in 0..300_u32 {
            let places = (0..40).filter(|place| *place < 20 || (row * 7 + place * 5) % 11 == 0);
            rows.push(places.map(|place| (place, 0.5 + ((row + 3 * place) % 13) as f32 / 13.0)));
        }
        (rows, (0..600).map(|place| 0.1 + f64::from(place % 7) / 50.0).collect())
    }

    /// The Hessian of a class, `[41, 41]`.
    fn hessian(rows: &Sparse, curvatures: &[f64], class: usize, alpha: f64) -> Array2<f64> {
        let mut hessian = Array2::zeros((41, 41));
        for row in 0..rows.len() {
            let mut all: Vec<(usize, f64)> =
                rows.of(row).iter().map(|(place, counts)| (*place as usize, f64::from(*counts))).collect();
            all.push((40, 1.0));
            for (one, counts) in &all {
                for (other, times) in &all {
                    hessian[[*one, *other]] += curvatures[row * 2 + class] * counts * times;
                }
            }
        }
        (0..40).for_each(|place| hessian[[place, place]] += alpha);
        hessian
    }

    #[test]
    fn what_common_places_say_together_is_known_and_of_others_the_diagonal() {
        let (rows, curvatures) = rows();
        let columns = rows.transposed(40);
        let mut common = Common::of(&rows, &columns, 2);
        assert_eq!(common.numbers.len(), 41);
        // Twenty of them.
        common.among.iter_mut().skip(20).for_each(|number| *number = None);
        common.numbers = (0..20).chain([40]).collect();
        let hessians = [0, 1].map(|class| hessian(&rows, &curvatures, class, 0.3));
        let diagonal = (0..41).flat_map(|place| [0, 1].map(|class: usize| hessians[class][[place, place]]));
        let made =
            |threads| common.preconditioner(&rows, (&curvatures, diagonal.clone().collect()), 0.3, threads);
        let right = Array2::from_shape_fn((41, 2), |(place, class)| ((place * 3 + class) % 5) as f64 - 1.5);
        let solved = made(1).solve(&right);
        assert_eq!(made(3).solve(&right), solved);
        for ((place, class), wanted) in right.indexed_iter() {
            let known = |other: &usize| {
                *other == place || (common.numbers.contains(&place) && common.numbers.contains(other))
            };
            let row =
                (0..41).filter(known).map(|other| hessians[class][[place, other]] * solved[[other, class]]);
            assert!((row.sum::<f64>() - wanted).abs() < 1e-6, "{place}, {class}");
        }
    }

    #[test]
    fn places_that_say_the_same_break_nothing() {
        let mut same = vec![1.0; 9];
        factorize(&mut same, 3);
        let mut values = [1.0, 2.0, 3.0];
        substitute(&same, &mut values);
        assert!(values.iter().all(|value| value.is_finite()), "{values:?}");
    }
}
