//! Owns the descent to the optimum of a sparse problem: truncated Newton (Nocedal & Wright 2006, algorithm
//! 7.1), whose inner systems are solved by conjugate gradients, preconditioned by what the function knows
//! of its Hessian (`preconditioner.rs`).
//!
//! At the same gradient L-BFGS ends further above the least loss, and its own sums over as many numbers as
//! there are parameters cost more than a pass over the rows (`docs/LOG.md`, *words*).
//!
//! Refuses to say that it arrived: whoever asked compares the gradient with the tolerance.

use ndarray::Array2;

use super::preconditioner::{self, Preconditioner};
use super::solver::Solution;

/// Newton's steps, at most.
const STEPS: usize = 50;
/// Conjugate gradients of one of them, at most.
const INNER: usize = 60;
/// How exactly an inner system is solved, against its right-hand side: first the one, near the optimum the
/// other (ibid., 7.3). More exactly took a quarter more passes to the same gradient.
const FORCING: [f64; 2] = [0.3, 0.2];

/// A smooth convex function of many numbers.
pub(super) trait Convex {
    /// What the Hessian at a place needs.
    type Place;

    /// Loss and gradient at parameters.
    fn at(&self, parameters: Array2<f64>) -> (Solution, Self::Place);

    /// About the Hessian at a place, and easily solved for.
    fn preconditioner(&self, place: &Self::Place) -> Preconditioner;

    /// The Hessian at a place times a direction.
    fn product(&self, place: &Self::Place, direction: &Array2<f64>) -> Array2<f64>;

    /// By which share of itself the loss may have fallen in the last step.
    fn slack(&self) -> f64;
}

/// Descends until the gradient is as short as it must be and the loss hardly falls, or cannot fall any further.
pub(super) fn newton<F: Convex>(function: &F, start: Array2<f64>) -> Solution {
    let (mut at, mut place) = function.at(start);
    let (first, mut fell) = (at.gradient_norm, 0.0);
    for _ in 0..STEPS {
        // Steps shrink the distance to the least loss several times: after one that was short enough, what is
        // left is less. A short gradient alone does not say so where curvatures differ much.
        if at.converged() && fell <= function.slack() * at.loss.abs() {
            break;
        }
        let exactness = (at.gradient_norm / first).sqrt().clamp(FORCING[1], FORCING[0]);
        let step = conjugate_gradients(function, (&at, &place), exactness);
        let Some(next) = search(function, &at, &step) else { break };
        fell = at.loss - next.0.loss;
        (at, place) = next;
    }
    at
}

/// The step to the minimum of the quadratic model, as exactly as is asked for.
fn conjugate_gradients<F: Convex>(
    function: &F,
    (at, place): (&Solution, &F::Place),
    exactness: f64,
) -> Array2<f64> {
    let preconditioner = function.preconditioner(place);
    let mut step = Array2::zeros(at.gradient.raw_dim());
    let mut residual = at.gradient.mapv(|slope| -slope);
    let mut direction = preconditioner.solve(&residual);
    let mut length = dot(&residual, &direction);
    let enough = exactness * exactness * length;
    for _ in 0..INNER {
        let product = function.product(place, &direction);
        let curvature = dot(&direction, &product);
        if curvature <= 0.0 {
            break;
        }
        let share = length / curvature;
        step.scaled_add(share, &direction);
        residual.scaled_add(-share, &product);
        let next = preconditioner.solve(&residual);
        let shorter = dot(&residual, &next);
        if shorter <= enough {
            break;
        }
        direction *= shorter / length;
        direction += &next;
        length = shorter;
    }
    step
}

/// Halves the step until the loss falls as much as the slope promises (Armijo); nothing when it cannot fall
/// any further.
fn search<F: Convex>(function: &F, at: &Solution, step: &Array2<f64>) -> Option<(Solution, F::Place)> {
    let slope = dot(&at.gradient, step);
    let mut length = 1.0;
    for _ in 0..20 {
        let next = function.at(&at.parameters + &(step * length));
        if next.0.loss <= at.loss + 1e-4 * length * slope {
            return Some(next);
        }
        length /= 2.0;
    }
    None
}

/// The sum of all products.
fn dot(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    let of = |array: &Array2<f64>| -> Vec<f64> { array.iter().copied().collect() };
    match (a.as_slice(), b.as_slice()) {
        (Some(a), Some(b)) => preconditioner::dot(a, b),
        _ => preconditioner::dot(&of(a), &of(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Σ_i cosh(s_i · (x_i − i))`: its minimum is at `x_i = i`, its curvature differs a hundredfold.
    struct Bowl {
        scales: Vec<f64>,
    }

    impl Bowl {
        fn of(&self, parameters: &Array2<f64>, each: impl Fn(f64, f64) -> f64) -> Vec<f64> {
            let places = parameters.iter().zip(&self.scales).enumerate();
            places.map(|(place, (value, scale))| each(*scale, scale * (value - place as f64))).collect()
        }
    }

    impl Convex for Bowl {
        type Place = Vec<f64>;

        fn at(&self, parameters: Array2<f64>) -> (Solution, Vec<f64>) {
            let loss = self.of(&parameters, |_, at| at.cosh()).iter().sum();
            let gradient = self.of(&parameters, |scale, at| scale * at.sinh());
            let curvature = self.of(&parameters, |scale, at| scale * scale * at.cosh());
            let gradient_norm = gradient.iter().map(|slope| slope * slope).sum::<f64>().sqrt();
            let gradient = Array2::from_shape_vec(parameters.raw_dim(), gradient).unwrap();
            (Solution { parameters, loss, gradient, gradient_norm, tolerance: 1e-9 }, curvature)
        }

        fn preconditioner(&self, place: &Vec<f64>) -> Preconditioner {
            // Not the right one: conjugate gradients have something to do.
            Preconditioner::of_diagonal(place.iter().map(|curvature| curvature.sqrt()).collect())
        }

        fn product(&self, place: &Vec<f64>, direction: &Array2<f64>) -> Array2<f64> {
            let mut product = direction.clone();
            product.iter_mut().zip(place).for_each(|(value, curvature)| *value *= curvature);
            product
        }

        fn slack(&self) -> f64 {
            1.0
        }
    }

    #[test]
    fn the_minimum_is_found_whatever_the_curvature() {
        let bowl = Bowl { scales: (0..15).map(|place| 0.05 + f64::from(place) / 60.0).collect() };
        let found = newton(&bowl, Array2::zeros((5, 3)));
        assert!(found.converged(), "{}", found.gradient_norm);
        // A gradient of 1e-9 over a curvature of at least 0.0025.
        for (place, value) in found.parameters.iter().enumerate() {
            assert!((value - place as f64).abs() < 1e-6, "{place}: {value}");
        }
    }
}
