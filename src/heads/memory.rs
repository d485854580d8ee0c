//! Owns what L-BFGS remembers of a descent, and the direction that follows from it: the two-loop recursion
//! (Nocedal & Wright 2006, algorithm 7.4).
//!
//! Labels that lose apart from each other are as many problems in one matrix, a column each: every column has
//! curvatures of its own then, and none waits for another's. Refuses steps that tell nothing about curvature.

use std::collections::VecDeque;

use ndarray::{Array1, Array2, s};

use super::preconditioner;

/// A step tells nothing where the gradient's change has less than this share of its length along it: that is
/// rounding.
const ALONG: f64 = 1e-3;

/// Multiplies a direction by the first guess of the inverse Hessian.
pub(super) type Guess<'g> = dyn Fn(&mut Array2<f64>) + 'g;

/// A step that was taken and what it did to the gradient.
struct Pair {
    step: Array2<f64>,
    change: Array2<f64>,
    /// Their product, of every column or of all together; 0 where it tells nothing.
    curvature: Array1<f64>,
}

/// The last steps of a descent.
pub(super) struct Memory {
    pairs: VecDeque<Pair>,
    /// Steps remembered.
    most: usize,
    /// Columns are problems of their own.
    apart: bool,
}

impl Memory {
    pub fn of(most: usize, apart: bool) -> Self {
        Self { pairs: VecDeque::with_capacity(most), most, apart }
    }

    pub fn remember(&mut self, step: Array2<f64>, change: Array2<f64>) {
        let curvature = self.curvature(&step, &change);
        if curvature.iter().any(|curvature| *curvature > 0.0) {
            if self.pairs.len() == self.most {
                self.pairs.pop_front();
            }
            self.pairs.push_back(Pair { step, change, curvature });
        }
    }

    /// Keeps what is remembered true of an objective whose penalty is larger by so much: its curvature is, in
    /// all rows but the last, the biases.
    pub fn penalize(&mut self, more: f64) {
        for mut pair in std::mem::take(&mut self.pairs) {
            let weights = s![..pair.step.nrows() - 1, ..];
            pair.change.slice_mut(weights).scaled_add(more, &pair.step.slice(weights));
            self.remember(pair.step, pair.change);
        }
    }

    /// The direction in which a quadratic model of the loss has its minimum.
    pub fn direction(&self, guess: &Guess<'_>, gradient: &Array2<f64>) -> Array2<f64> {
        let mut direction = gradient * -1.0;
        let mut shares = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let share = divided(self.dots(&pair.step, &direction), &pair.curvature, 0.0);
            direction -= &(&pair.change * &share);
            shares.push(share);
        }
        guess(&mut direction);
        // The guess is one of the beginning; the last step knows how much of that curvature is left (ibid.,
        // equation 7.20).
        if let Some(pair) = self.pairs.back() {
            let mut guessed = pair.change.clone();
            guess(&mut guessed);
            let expected = self.dots(&pair.change, &guessed);
            direction *= &divided(expected, &pair.curvature, 1.0).mapv_into(|ratio| 1.0 / ratio);
        }
        for (pair, share) in self.pairs.iter().zip(shares.into_iter().rev()) {
            let other = divided(self.dots(&pair.change, &direction), &pair.curvature, 0.0);
            direction += &(&pair.step * &(share - other));
        }
        direction
    }

    /// The curvature along a step: 0 where it has too little of the change's length to be more than rounding.
    fn curvature(&self, step: &Array2<f64>, change: &Array2<f64>) -> Array1<f64> {
        let mut along = self.dots(step, change);
        if self.apart {
            let (step, change) = (self.dots(step, step), self.dots(change, change));
            for ((along, step), change) in along.iter_mut().zip(step).zip(change) {
                *along = if *along > ALONG * (step * change).sqrt() { *along } else { 0.0 };
            }
        }
        along
    }

    /// Sums of products: of every column, or of all together.
    fn dots(&self, a: &Array2<f64>, b: &Array2<f64>) -> Array1<f64> {
        if !self.apart {
            return Array1::from_elem(1, dot(a, b));
        }
        let mut sums = Array1::zeros(a.ncols());
        for (a, b) in a.rows().into_iter().zip(b.rows()) {
            sums.iter_mut().zip(a).zip(b).for_each(|((sum, a), b)| *sum += a * b);
        }
        sums
    }
}

/// The sum of all products.
pub(super) fn dot(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    let of = |array: &Array2<f64>| -> Vec<f64> { array.iter().copied().collect() };
    match (a.as_slice(), b.as_slice()) {
        (Some(a), Some(b)) => preconditioner::dot(a, b),
        _ => preconditioner::dot(&of(a), &of(b)),
    }
}

/// Quotients; `none` where there is nothing to divide by.
fn divided(mut values: Array1<f64>, by: &Array1<f64>, none: f64) -> Array1<f64> {
    values.zip_mut_with(by, |value, by| *value = if *by > 0.0 { *value / by } else { none });
    values
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    /// Two problems in a matrix: curvatures of weights and bias, column by column.
    fn curvatures() -> Array2<f64> {
        array![[3.0, 200.0], [5.0, 0.5], [1.0, 70.0]]
    }

    /// Descends to the minimum of `½ Σ curvature · x²`; the steps that it takes.
    fn steps(memory: &mut Memory, curvatures: &Array2<f64>, mut at: Array2<f64>) -> usize {
        for step in 0..200 {
            let gradient = &at * curvatures;
            if dot(&gradient, &gradient) < 1e-16 {
                return step;
            }
            let direction = memory.direction(&|_| (), &gradient);
            // The best length along a quadratic.
            let length = -dot(&gradient, &direction) / dot(&direction, &(&direction * curvatures));
            let next = &at + &(&direction * length);
            memory.remember(&next - &at, &next * curvatures - gradient);
            at = next;
        }
        200
    }

    #[test]
    fn a_quadratic_is_solved_in_as_many_steps_as_it_has_numbers() {
        let start = || array![[1.0, -2.0], [0.5, 1.0], [2.0, 1.0]];
        assert!(steps(&mut Memory::of(20, false), &curvatures(), start()) <= 7);
    }

    #[test]
    fn a_column_that_stands_still_does_not_hold_the_others() {
        let mut memory = Memory::of(20, true);
        let start = array![[1.0, 0.0], [0.5, 0.0], [2.0, 0.0]];
        assert!(steps(&mut memory, &curvatures(), start) <= 4);
        assert!(memory.pairs.iter().all(|pair| pair.curvature[1] == 0.0 && pair.curvature[0] > 0.0));
    }

    #[test]
    fn what_is_remembered_is_of_the_new_penalty() {
        let start = || array![[1.0, -2.0], [0.5, 1.0], [2.0, 1.0]];
        let mut memory = Memory::of(20, false);
        steps(&mut memory, &curvatures(), start());
        memory.penalize(2.0);
        let mut more = curvatures();
        more.slice_mut(s![..2, ..]).mapv_inplace(|curvature| curvature + 2.0);
        for pair in &memory.pairs {
            assert!((&pair.change - &(&pair.step * &more)).iter().all(|off| off.abs() < 1e-9));
            assert!((pair.curvature[0] - dot(&pair.step, &pair.change)).abs() < 1e-12);
        }
    }
}
