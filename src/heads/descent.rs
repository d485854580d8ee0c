//! Owns the descent to a head's optimum: L-BFGS (Nocedal & Wright 2006, algorithm 7.4) on `objective`'s loss,
//! whose first guess of the inverse Hessian is `curvature`'s.
//!
//! linfa-logistic has no such guess and takes several times as many steps, each of three passes over the rows
//! in double precision. Here most passes are in single precision.
//!
//! Refuses to say that it arrived: whoever asked compares the gradient with the tolerance.

use std::collections::VecDeque;

use ndarray::Array2;

use super::curvature::{Guess, Products, guess_bytes};
use super::objective::{Problem, loss_and_gradient};
use super::parallel::PARTS;
use super::precision::Precision;

/// Steps remembered.
const MEMORY: usize = 20;
/// Steps of a descent, at most.
const STEPS: usize = 400;

/// Parameters, and how good they are.
#[derive(Debug)]
pub(super) struct Solution {
    /// `[features + 1, classes]`, the last row the bias.
    pub parameters: Array2<f64>,
    pub loss: f64,
    pub gradient: Array2<f64>,
    pub gradient_norm: f64,
    pub tolerance: f64,
}

impl Solution {
    /// Computed in this precision.
    pub fn at<T: Precision>(problem: &Problem<'_>, alpha: f64, parameters: Array2<f64>) -> Self {
        let (loss, gradient) = loss_and_gradient::<T>(problem, alpha, &parameters);
        let gradient_norm = dot(&gradient, &gradient).sqrt();
        Self { parameters, loss, gradient, gradient_norm, tolerance: problem.tolerance() }
    }

    pub fn converged(&self) -> bool {
        self.gradient_norm <= self.tolerance
    }
}

/// Bytes that a descent takes at its peak, beside the features themselves.
pub(super) fn descent_bytes(rows: usize, width: usize, classes: usize) -> u64 {
    guess_bytes(rows, width) + ((2 * MEMORY + PARTS + 8) * 8 * (width + 1) * classes) as u64
}

/// The optimum, from `start` on when there is one: in single precision as far as that goes, then in double.
pub(super) fn optimum(
    problem: &Problem<'_>,
    products: &Products,
    alpha: f64,
    start: Option<&Array2<f64>>,
) -> Solution {
    let guess = products.guess(alpha);
    let near = descend::<f32>(problem, alpha, &guess, first(problem, start));
    descend::<f64>(problem, alpha, &guess, near.parameters)
}

/// Where a descent begins.
pub(super) fn first(problem: &Problem<'_>, start: Option<&Array2<f64>>) -> Array2<f64> {
    start.cloned().unwrap_or_else(|| Array2::zeros((problem.width() + 1, problem.classes)))
}

/// A step that was taken and what it did to the gradient.
struct Pair {
    step: Array2<f64>,
    change: Array2<f64>,
    curvature: f64,
}

/// Descends until the gradient is as short as it must be, or the loss, in this precision, cannot fall any
/// further.
pub(super) fn descend<T: Precision>(
    problem: &Problem<'_>,
    alpha: f64,
    guess: &Guess,
    start: Array2<f64>,
) -> Solution {
    let mut at = Solution::at::<T>(problem, alpha, start);
    let mut memory: VecDeque<Pair> = VecDeque::with_capacity(MEMORY);
    for _ in 0..STEPS {
        if at.converged() {
            break;
        }
        let direction = direction(guess, &memory, &at.gradient);
        let Some(next) = search::<T>(problem, alpha, &at, &direction) else { break };
        let step = &next.parameters - &at.parameters;
        let change = &next.gradient - &at.gradient;
        let curvature = dot(&step, &change);
        if curvature > 0.0 {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back(Pair { step, change, curvature });
        }
        at = next;
    }
    at
}

/// The two-loop recursion: the direction in which a quadratic model of the loss has its minimum.
fn direction(guess: &Guess, memory: &VecDeque<Pair>, gradient: &Array2<f64>) -> Array2<f64> {
    let mut direction = gradient * -1.0;
    let mut shares = Vec::with_capacity(memory.len());
    for pair in memory.iter().rev() {
        let share = dot(&pair.step, &direction) / pair.curvature;
        direction.scaled_add(-share, &pair.change);
        shares.push(share);
    }
    guess.apply(&mut direction);
    // The guess is one of the beginning; the last step knows how much of that curvature is left (ibid.,
    // equation 7.20).
    if let Some(pair) = memory.back() {
        let mut guessed = pair.change.clone();
        guess.apply(&mut guessed);
        direction *= pair.curvature / dot(&pair.change, &guessed);
    }
    for (pair, share) in memory.iter().zip(shares.into_iter().rev()) {
        let other = dot(&pair.change, &direction) / pair.curvature;
        direction.scaled_add(share - other, &pair.step);
    }
    direction
}

/// Halves the step until the loss falls as much as the slope promises (Armijo); nothing when it cannot fall
/// any further.
fn search<T: Precision>(
    problem: &Problem<'_>,
    alpha: f64,
    at: &Solution,
    direction: &Array2<f64>,
) -> Option<Solution> {
    let slope = dot(&at.gradient, direction);
    let mut length = 1.0;
    for _ in 0..20 {
        let next = Solution::at::<T>(problem, alpha, &at.parameters + &(direction * length));
        if next.loss <= at.loss + 1e-4 * length * slope {
            return Some(next);
        }
        length /= 2.0;
    }
    None
}

fn dot(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heads::minimize::minimize;
    use crate::heads::standardize::Scaler;
    use crate::heads::{ClassWeight, Examples, FeatureView};

    /// Correlated features of which some tell three classes apart.
    fn sample(rows: usize, width: usize) -> (Vec<f32>, Vec<u32>) {
        let mut bits = 11_u64;
        let mut draw = || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (bits >> 40) as f32 / 8_388_608.0 - 1.0
        };
        let labels: Vec<u32> = (0..rows as u32).map(|row| row % 7 % 3).collect();
        let features = labels.iter().flat_map(|label| {
            let common = draw();
            let mut row: Vec<f32> = (0..width).map(|_| 0.3 * draw() + common).collect();
            row[*label as usize] += 0.2;
            row
        });
        (features.collect(), labels)
    }

    #[test]
    fn it_ends_where_linfa_alone_does_whatever_the_threads_and_weights() {
        let (features, labels) = sample(500, 40);
        let rows: Vec<usize> = (0..500).collect();
        let examples = Examples { features: FeatureView::whole(&features, 40), rows: &rows, labels: &labels };
        let scaler = Scaler::of(&examples, 1);
        let options = |threads| crate::heads::FitOptions { threads, ..Default::default() };
        let problem = |threads| crate::heads::problem::problem(&scaler, &examples, 3, &options(threads));
        let of = |threads| {
            let problem = problem(threads);
            optimum(&problem, &Products::of(&problem), 10.0, None)
        };
        let found = of(1);
        assert!(found.converged(), "{}", found.gradient_norm);
        let (zeros, tolerance) = (Array2::zeros((41, 3)), found.tolerance);
        let linfa = crate::heads::minimize::linfa(&problem(1), 10.0, tolerance, zeros).unwrap();
        let expected = Solution::at::<f64>(&problem(1), 10.0, linfa).loss;
        assert!((found.loss / expected - 1.0).abs() < 1e-4, "{} {expected}", found.loss);
        assert_eq!(found.parameters, of(3).parameters);
        let weight = |class_weight| {
            let options = crate::heads::FitOptions { class_weight, ..Default::default() };
            let problem = crate::heads::problem::problem(&scaler, &examples, 3, &options);
            minimize(&problem, 10.0).unwrap()
        };
        let balanced = weight(ClassWeight::Balanced);
        assert!(balanced.converged() && (balanced.loss / found.loss - 1.0).abs() > 1e-4);
    }

    #[test]
    fn double_precision_ends_what_single_cannot() {
        let (features, labels) = sample(500, 40);
        let rows: Vec<usize> = (0..500).collect();
        let examples = Examples { features: FeatureView::whole(&features, 40), rows: &rows, labels: &labels };
        let scaler = Scaler::of(&examples, 1);
        let options = crate::heads::FitOptions::default();
        // A gradient of some 1e-9 per row: far below the rounding of single precision.
        let problem = crate::heads::objective::Problem {
            precision: 1e-11,
            ..crate::heads::problem::problem(&scaler, &examples, 3, &options)
        };
        let products = Products::of(&problem);
        let single = descend::<f32>(&problem, 10.0, &products.guess(10.0), first(&problem, None));
        assert!(!single.converged(), "{}", single.gradient_norm);
        assert!(optimum(&problem, &products, 10.0, None).converged());
    }
}
