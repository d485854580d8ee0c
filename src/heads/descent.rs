//! Owns the descent to a head's optimum: L-BFGS (Nocedal & Wright 2006, algorithm 7.4) on `objective`'s loss,
//! whose first guess of the inverse Hessian is `curvature`'s.
//!
//! linfa-logistic has no such guess and takes several times as many steps, each of three passes over the rows
//! in double precision. Here most passes are in single precision, and rows count as they are weighted. Words,
//! whose parameters are many and whose curvatures differ a thousandfold, descend in the same way, with a guess
//! of their own (`preconditioner.rs`).
//!
//! Refuses to say that it arrived: whoever asked compares the gradient with the tolerance.

use std::collections::VecDeque;

use linfa::traits::Fit;
use ndarray::Array2;

use super::curvature::{Products, guess_bytes};
use super::memory::{Guess, Memory, dot};
use super::objective::Problem;
use super::parallel::PARTS;
use super::solver::{Dataset, Failure, Solution};
use crate::task::{Target, TaskKind};

/// Steps remembered.
const MEMORY: usize = 20;
/// Steps of a descent, at most.
pub(super) const STEPS: usize = 400;
/// Steps over which it is seen whether the loss still falls.
const SEEN: usize = 5;

/// Bytes that a descent takes at its peak, beside the features themselves.
pub(super) fn descent_bytes(rows: usize, width: usize, classes: usize) -> u64 {
    guess_bytes(rows, width) + ((2 * MEMORY + PARTS + 8) * 8 * (width + 1) * classes) as u64
}

/// The solver: in single precision as far as that goes, then in double.
pub(super) struct Descent<'d> {
    pub alpha: f64,
    pub products: &'d Products,
    /// Where it begins; where nothing is known yet where there is none.
    pub start: Option<&'d Array2<f64>>,
}

impl Descent<'_> {
    pub fn solve(&self, problem: &Problem<'_>) -> Solution {
        self.solve_on(problem, &mut memory(problem.shape.kind))
    }

    /// The same, with what an earlier descent on this problem remembers; it remembers this one's steps then.
    pub fn solve_on(&self, problem: &Problem<'_>, memory: &mut Memory) -> Solution {
        let guess = self.products.guess(self.alpha);
        let start = self.start.cloned().unwrap_or_else(|| problem.start());
        let guess = |direction: &mut Array2<f64>| guess.apply(direction);
        let single = |at| Solution::at::<f32>(problem, self.alpha, at);
        let near = descend(&single, (&guess, memory), start, &Pace::plain()).0.parameters;
        descend(&|at| Solution::at::<f64>(problem, self.alpha, at), (&guess, memory), near, &Pace::plain()).0
    }
}

/// What a descent remembers at its beginning.
pub(super) fn memory(kind: TaskKind) -> Memory {
    Memory::of(MEMORY, kind == TaskKind::AnyOf)
}

impl<'p> Fit<&'p Problem<'p>, &'p [Target], Failure> for Descent<'_> {
    type Object = Solution;

    fn fit(&self, dataset: &Dataset<'p>) -> Result<Solution, Failure> {
        Ok(self.solve(dataset.records))
    }
}

/// The objective at parameters.
type At<'a> = dyn Fn(Array2<f64>) -> Solution + 'a;
/// How a descent goes, and when it ends.
pub(super) struct Pace {
    /// Steps, at most.
    pub steps: usize,
    /// By which share of itself the loss may have fallen in the last [`SEEN`] steps. A short gradient alone
    /// does not say that little is left where curvatures differ much.
    pub slack: f64,
}

impl Pace {
    /// Until the gradient is short.
    pub fn plain() -> Self {
        Self { steps: STEPS, slack: f64::INFINITY }
    }

    /// Whether this is near enough; `losses` are those of the last steps.
    fn ends(&self, at: &Solution, losses: &VecDeque<f64>) -> bool {
        let fell = match losses.front() {
            Some(earlier) if losses.len() == SEEN => earlier - at.loss,
            _ => f64::INFINITY,
        };
        at.converged() && (self.slack.is_infinite() || fell <= self.slack * at.loss.abs())
    }
}

/// Descends until the gradient is as short as it must be, or the loss, in the objective's precision, cannot
/// fall any further; and whether it ended so, before all its steps were taken.
pub(super) fn descend(
    evaluate: &At<'_>,
    (guess, memory): (&Guess<'_>, &mut Memory),
    start: Array2<f64>,
    pace: &Pace,
) -> (Solution, bool) {
    let mut at = evaluate(start);
    let mut losses = VecDeque::with_capacity(SEEN + 1);
    for _ in 0..pace.steps {
        if pace.ends(&at, &losses) {
            return (at, true);
        }
        losses.push_back(at.loss);
        if losses.len() > SEEN {
            losses.pop_front();
        }
        let direction = memory.direction(guess, &at.gradient);
        let Some(next) = search(evaluate, &at, &direction) else { return (at, true) };
        memory.remember(&next.parameters - &at.parameters, &next.gradient - &at.gradient);
        at = next;
    }
    (at, false)
}

/// Halves the step until the loss falls as much as the slope promises (Armijo); nothing when it cannot fall
/// any further.
fn search(evaluate: &At<'_>, at: &Solution, direction: &Array2<f64>) -> Option<Solution> {
    let slope = dot(&at.gradient, direction);
    let mut length = 1.0;
    for _ in 0..20 {
        let next = evaluate(&at.parameters + &(direction * length));
        if next.loss <= at.loss + 1e-4 * length * slope {
            return Some(next);
        }
        length /= 2.0;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heads::standardize::Scaler;
    use crate::heads::{Examples, FeatureView, FitOptions};

    #[test]
    fn a_short_gradient_ends_a_descent_once_the_loss_hardly_falls() {
        let at = |gradient_norm| Solution {
            parameters: Array2::zeros((1, 1)),
            loss: 100.0,
            gradient: Array2::zeros((1, 1)),
            gradient_norm,
            tolerance: 1.0,
        };
        let seen = |first: f64| VecDeque::from([first, 100.0, 100.0, 100.0, 100.0]);
        let pace = Pace { slack: 1e-3, ..Pace::plain() };
        assert!(pace.ends(&at(0.5), &seen(100.09)));
        assert!(!pace.ends(&at(0.5), &seen(100.11)), "it fell by more than a thousandth");
        assert!(!pace.ends(&at(0.5), &VecDeque::from([100.0])), "too few steps were seen");
        assert!(!pace.ends(&at(1.5), &seen(100.0)), "the gradient is long");
        assert!(Pace::plain().ends(&at(0.5), &VecDeque::new()));
    }

    #[test]
    fn labels_that_lose_apart_from_each_other_take_fewer_passes_when_they_remember_apart() {
        const LABELS: usize = 40;
        let (rows, width) = (400, 30);
        let mut bits = 5_u64;
        let mut draw = || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (bits >> 40) as f32 / 8_388_608.0 - 1.0
        };
        let features: Vec<f32> = (0..rows * width).map(|_| draw()).collect();
        // Each label stands where one of the features is large; some are common, some are rare.
        let targets: Vec<Target> = features
            .chunks_exact(width)
            .map(|row| {
                let has = |label: &u32| row[*label as usize % width] > 0.02 * *label as f32;
                Target::Labels((0..LABELS as u32).filter(has).collect())
            })
            .collect();
        let rows: Vec<usize> = (0..rows).collect();
        let examples =
            Examples { features: FeatureView::whole(&features, width), rows: &rows, targets: &targets };
        let (scaler, shape) =
            (Scaler::of(&examples, 1), crate::heads::Shape { kind: TaskKind::AnyOf, classes: LABELS });
        let problem = crate::heads::problem::problem(&scaler, &examples, shape, &FitOptions::default());
        let guess = Products::of(&problem).guess(0.1);
        let passes = |apart: bool| {
            let count = std::cell::Cell::new(0);
            let at = |at| {
                count.set(count.get() + 1);
                Solution::at::<f64>(&problem, 0.1, at)
            };
            let guess = |direction: &mut Array2<f64>| guess.apply(direction);
            let memory = &mut Memory::of(MEMORY, apart);
            let found = descend(&at, (&guess, memory), problem.start(), &Pace::plain()).0;
            assert!(found.converged());
            (count.get(), found.loss)
        };
        let (apart, together) = (passes(true), passes(false));
        assert!((apart.1 / together.1 - 1.0).abs() < 1e-6, "{apart:?} {together:?}");
        assert!(2 * apart.0 < together.0, "{apart:?} {together:?}");
    }

    #[test]
    fn double_precision_ends_what_single_cannot() {
        let (rows, width) = (500, 40);
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
        let features: Vec<f32> = features.collect();
        let rows: Vec<usize> = (0..rows).collect();
        let examples = Examples {
            features: FeatureView::whole(&features, width),
            rows: &rows,
            targets: &Target::each(&labels),
        };
        let scaler = Scaler::of(&examples, 1);
        // A gradient of 5e-6 altogether: below the rounding of single precision, and long enough that the fall
        // of the loss, some gradient²/α, is above that of double.
        let problem = Problem {
            precision: 1e-8,
            ..crate::heads::problem::problem(
                &scaler,
                &examples,
                crate::heads::Shape::one_of(3),
                &FitOptions::default(),
            )
        };
        let products = Products::of(&problem);
        let zeros = Array2::zeros((width + 1, 3));
        let guess = products.guess(10.0);
        let single = descend(
            &|at| Solution::at::<f32>(&problem, 10.0, at),
            (&|direction| guess.apply(direction), &mut memory(TaskKind::OneOf)),
            zeros,
            &Pace::plain(),
        )
        .0;
        assert!(!single.converged(), "{}", single.gradient_norm);
        assert!(Descent { alpha: 10.0, products: &products, start: None }.solve(&problem).converged());
    }
}
