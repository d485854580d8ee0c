//! Owns `--alpha auto`: the penalty of the grid whose probabilities on held-out folds of the training rows are
//! best once they are calibrated (the least cross entropy at the best temperature).
//!
//! Accuracy counts rows, so with few of them it is mostly noise, and the plain cross entropy wants a strong
//! penalty only to make logits small, which is the temperature's work. Measured in `docs/LOG.md` (2026-11-28)
//! by `scripts/alpha-table.py`, against the strongest penalty within one standard error of the best accuracy.
//!
//! Choices of features are compared, each with its own penalty, by accuracy: the fewest numbers within one
//! standard error of the best (Breiman et al. 1984, §3.4.3; the error is that of the difference between the
//! two, row by row).
//!
//! Refuses to look at validation or test rows, and to let the number of threads change the result.

use std::ops::Range;

use super::curvature::Products;
use super::descent::{Descent, descent_bytes, memory};
use super::folds::{FOLDS, sample, text_folds};
use super::held_out::{Score, calibrated_loss, score};
use super::minimize::{COARSE, penalty};
use super::objective::Problem;
use super::options::{Alpha, Candidate, Chosen, Examples, FitOptions, GRID};
use super::problem::problem;
use super::reduce::{REDUCED, reduced};
use super::shape::Shape;
use super::standardize::Scaler;
use super::view::FeatureView;
use crate::parallel::in_parallel;
use crate::task::Target;

/// Most training rows that penalties and choices of features are compared on.
pub const SCREENED_ROWS: usize = 3000;
/// A fold's path down the grid ends after so many penalties in a row were no better than its best.
const PATIENCE: usize = 2;

/// The score per penalty of the grid, as far as a fold went.
type Path = Vec<Score>;

/// One choice of features in a comparison; the cheapest comes first.
#[derive(Debug, Clone)]
pub struct Trial<'a> {
    pub name: String,
    pub features: FeatureView<'a>,
}

/// A trial's rows, as the folds are made from them.
struct Source<'a> {
    examples: Examples<'a>,
    /// They have been standardised, all together.
    standardized: bool,
}

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Index of the chosen trial.
    pub trial: usize,
    pub alpha: f64,
    /// Trials with more numbers, fewest first, each with its penalty: the most accurate of those that are
    /// within one standard error too, and the widest. More rows may tell them apart from the chosen one.
    pub rivals: Vec<(usize, f64)>,
    /// Everything that all folds tried.
    pub candidates: Vec<Candidate>,
}

/// The penalty for a head on these rows, and what was tried. It is found on [`SCREENED_ROWS`] of them at most:
/// what suits these suits all, and their number does not enter it.
pub(super) fn choose_alpha(
    examples: &Examples<'_>,
    shape: Shape,
    options: &FitOptions,
) -> (f64, Vec<Candidate>) {
    let places = sample(examples.targets, shape.classes, SCREENED_ROWS, options.seed);
    let Chosen { rows, targets } = examples.chosen(&places);
    let trials = [Trial { name: String::new(), features: examples.features }];
    let Selection { alpha, candidates, .. } =
        select(&trials, (&rows, &targets), shape, options, &mut |_, _| ());
    (alpha, candidates)
}

/// Compares choices of features, and penalties unless one is given, by cross-validation on `rows` of each;
/// numbers among `targets` are in units of their deviation (`units.rs`);
/// `show` sees how many fits are done, of how many at most.
pub fn select(
    trials: &[Trial<'_>],
    (rows, targets): (&[usize], &[Target]),
    shape: Shape,
    options: &FitOptions,
    show: &mut dyn FnMut(usize, usize),
) -> Selection {
    let folds = trials.first().map_or_else(Vec::new, |first| {
        text_folds(&Examples { features: first.features, rows, targets }, shape.classes, options.seed)
    });
    let every: Vec<usize> = (0..rows.len()).collect();
    let narrow: Vec<Option<(Vec<f32>, usize)>> = trials
        .iter()
        .map(|trial| {
            (trial.features.width() > REDUCED).then(|| reduced(trial.features, rows, options.threads))
        })
        .collect();
    let mut sources = Vec::with_capacity(trials.len());
    for (trial, narrow) in trials.iter().zip(&narrow) {
        sources.push(source(trial, narrow.as_ref(), (rows, &every, targets)));
    }
    // The widest first, so that none is left for the end alone.
    let jobs: Vec<Range<usize>> = (0..trials.len() * FOLDS).rev().map(|job| job..job + 1).collect();
    let grid = grid(options.alpha);
    let most = jobs.len() * grid.len();
    let (fitted, fits) = std::sync::mpsc::channel();
    let mut paths = std::thread::scope(|scope| {
        let (sources, folds) = (&sources, &folds);
        let working = scope.spawn(move || {
            in_parallel(options.threads, jobs, &|job: Range<usize>| {
                // Who listens does so until the last fit is done.
                let done = || fitted.send(()).unwrap_or_default();
                walk(&sources[job.start / FOLDS], shape, options, folds, (job.start % FOLDS, &done))
            })
        });
        fits.iter().enumerate().for_each(|(before, ())| show(before + 1, most));
        working.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    paths.reverse();
    let candidates = candidates(trials, &paths, &grid);
    let best = Candidate::best_of_each(&candidates).into_iter();
    let best: Vec<&Candidate> = best.map(|best| &candidates[best]).collect();
    let trial = simplest(&best);
    let (alpha, rivals) = (best[trial].alpha, rivals(trials, &best, trial));
    Selection { trial, alpha, rivals, candidates }
}

/// A trial's rows: its own features, or what they were reduced to, of the rows numbered by `every`.
fn source<'a>(
    trial: &Trial<'a>,
    narrow: Option<&'a (Vec<f32>, usize)>,
    (rows, every, targets): (&'a [usize], &'a [usize], &'a [Target]),
) -> Source<'a> {
    match narrow {
        Some((values, width)) => {
            let features = FeatureView::whole(values, *width);
            Source { examples: Examples { features, rows: every, targets }, standardized: true }
        }
        None => {
            let examples = Examples { features: trial.features, rows, targets };
            Source { examples, standardized: false }
        }
    }
}

/// Bytes that comparing choices of so many features at most takes at its peak, beside the features
/// themselves.
#[must_use]
pub fn select_bytes(rows: usize, widest: usize, classes: usize, threads: usize) -> u64 {
    let reduced = if widest > REDUCED { 12 * rows * widest + 8 * rows * rows } else { 0 };
    let folds = threads.max(1) as u64 * descent_bytes(rows, widest.min(REDUCED), classes);
    (reduced as u64).max(folds) + (4 * rows * REDUCED) as u64
}

/// Penalties to try, strongest first.
fn grid(alpha: Alpha) -> Vec<f64> {
    match alpha {
        Alpha::Auto => GRID.to_vec(),
        Alpha::Fixed(alpha) => vec![alpha],
    }
}

/// Every penalty that all folds of a trial tried, trial by trial.
fn candidates(trials: &[Trial<'_>], paths: &[Path], grid: &[f64]) -> Vec<Candidate> {
    let folds = FOLDS as f64;
    let (mut candidates, mut right) = (Vec::new(), Vec::new());
    for (trial, paths) in trials.iter().zip(paths.chunks_exact(FOLDS)) {
        for place in 0..paths.iter().map(Vec::len).min().unwrap_or(0) {
            let scores = || paths.iter().map(|path| &path[place]);
            // Folds are as large as each other, to a row per class: their rows count the same.
            let rows: Vec<f64> =
                scores().flat_map(|score| score.right.iter().map(|right| right / folds)).collect();
            candidates.push(Candidate {
                features: trial.name.clone(),
                alpha: grid[place],
                cross_entropy: Some(calibrated_loss(scores())),
                accuracy: rows.iter().sum(),
                standard_error: 0.0,
            });
            right.push(rows);
        }
    }
    let best = Candidate::best_of_each(&candidates).into_iter();
    let best = best.max_by(|&a, &b| candidates[a].accuracy.total_cmp(&candidates[b].accuracy));
    let best = best.map(|best| right[best].clone()).unwrap_or_default();
    for (candidate, right) in candidates.iter_mut().zip(right) {
        // The variance of a sum of independent terms, each near 0 on average.
        let squares = right.iter().zip(&best).map(|(score, best)| (best - score).powi(2));
        candidate.standard_error = squares.sum::<f64>().sqrt();
    }
    candidates
}

/// Whether a candidate is within one standard error of the most accurate of those that are the best of their
/// trials.
fn is_near(best: &[&Candidate], candidate: &Candidate) -> bool {
    let most = best.iter().map(|candidate| candidate.accuracy).fold(f64::NEG_INFINITY, f64::max);
    most - candidate.accuracy <= candidate.standard_error
}

/// See [`Selection::rivals`]; `best` has the best candidate of every trial.
fn rivals(trials: &[Trial<'_>], best: &[&Candidate], chosen: usize) -> Vec<(usize, f64)> {
    let width = |trial: &usize| trials[*trial].features.width();
    let wider: Vec<usize> = (0..best.len()).filter(|trial| width(trial) > width(&chosen)).collect();
    let near = wider.iter().filter(|trial| is_near(best, best[**trial]));
    let near = near.max_by(|a, b| best[**a].accuracy.total_cmp(&best[**b].accuracy));
    let mut rivals: Vec<usize> = near.into_iter().chain(wider.last()).copied().collect();
    rivals.sort_by_key(width);
    rivals.dedup();
    rivals.into_iter().map(|trial| (trial, best[trial].alpha)).collect()
}

/// Trials go from few to many numbers: the first whose best candidate is within one standard error.
fn simplest(best: &[&Candidate]) -> usize {
    best.iter().position(|candidate| is_near(best, candidate)).unwrap_or(0)
}

/// Fits the grid from its strongest penalty on, each from the last solution, on all folds but one; scores on
/// that one. `fitted` is called after every fit.
fn walk(
    source: &Source<'_>,
    shape: Shape,
    options: &FitOptions,
    folds: &[usize],
    (fold, fitted): (usize, &dyn Fn()),
) -> Path {
    let examples = &source.examples;
    let (inside, outside): (Vec<usize>, Vec<usize>) =
        (0..folds.len()).partition(|&example| folds[example] != fold);
    let inside = examples.chosen(&inside);
    let training = inside.of(examples.features);
    let scaler =
        if source.standardized { Scaler::none(examples.features.width()) } else { Scaler::of(&training, 1) };
    // The folds share the threads.
    let alone = FitOptions { threads: 1, ..options.clone() };
    let training = Problem { precision: COARSE, ..problem(&scaler, &training, shape, &alone) };
    // Held-out rows are weighted as the training rows are, so that the choice serves the same aim.
    let outside = examples.chosen(&outside);
    let held_out = outside.of(examples.features);
    let held_out = problem(&scaler, &held_out, shape, &alone);
    let products = Products::of(&training);
    let mut path = Path::new();
    let (mut start, mut memory, mut before) = (None, memory(shape.kind), None);
    let (mut best, mut worse) = (f64::INFINITY, 0);
    for alpha in grid(options.alpha) {
        let alpha = penalty(alpha, shape);
        // What was learnt of the curvature with one penalty is true of the next, but for the penalty.
        memory.penalize(alpha - before.replace(alpha).unwrap_or(alpha));
        let descent = Descent { alpha, products: &products, start: start.as_ref() };
        let solution = descent.solve_on(&training, &mut memory);
        let scored = score(&held_out, &solution.parameters);
        start = Some(solution.parameters);
        fitted();
        let loss = calibrated_loss([&scored].into_iter());
        if loss < best {
            (best, worse) = (loss, 0);
        } else {
            worse += 1;
        }
        path.push(scored);
        if worse == PATIENCE {
            break;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heads::folds::{NO_FOLD, folds};
    use crate::heads::{Alpha, FeatureView};

    /// Two overlapping classes in 12 dimensions, of which one tells them apart.
    fn two_classes() -> (Vec<f32>, Vec<u32>) {
        let mut bits = 7_u64;
        let mut draw = || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (bits >> 40) as f32 / 8_388_608.0 - 1.0
        };
        let labels: Vec<u32> = (0..240).map(|row| u32::from(row % 3 == 0)).collect();
        let features = labels
            .iter()
            .flat_map(|label| {
                let mut row: Vec<f32> = (0..12).map(|_| draw()).collect();
                row[0] += *label as f32;
                row
            })
            .collect();
        (features, labels)
    }

    #[test]
    fn folds_are_stratified_and_seeded() {
        let (_, labels) = two_classes();
        let one = folds(&labels, 2, 1);
        for fold in 0..FOLDS {
            for class in 0..2 {
                let here = (0..240).filter(|&row| one[row] == fold && labels[row] == class).count();
                let all = labels.iter().filter(|label| **label == class).count();
                assert!(here.abs_diff(all / FOLDS) <= 1);
            }
        }
        assert_ne!(one, folds(&labels, 2, 2));
        // The only one of its class is held out by nobody.
        assert_eq!(
            folds(&[0, 1, 0, 0, 2], 3, 1).iter().map(|fold| *fold == NO_FOLD).collect::<Vec<_>>(),
            [false, true, false, false, true]
        );
    }

    #[test]
    fn every_fit_is_shown_as_it_is_done() {
        let (features, labels) = two_classes();
        let rows: Vec<usize> = (0..240).collect();
        let trials = [Trial { name: "all".into(), features: FeatureView::whole(&features, 12) }];
        let options = FitOptions { alpha: Alpha::Auto, threads: 2, ..FitOptions::default() };
        let mut shown = Vec::new();
        let found = select(
            &trials,
            (&rows, &Target::each(&labels)),
            Shape::one_of(2),
            &options,
            &mut |done, most| shown.push((done, most)),
        );
        let most = FOLDS * GRID.len();
        assert!(shown.len() >= found.candidates.len() * FOLDS && shown.len() <= most, "{}", shown.len());
        assert!(shown.iter().enumerate().all(|(before, shown)| *shown == (before + 1, most)), "{shown:?}");
    }

    #[test]
    fn the_choice_is_that_of_brute_force_and_threads_change_nothing() {
        let (features, labels) = two_classes();
        let rows: Vec<usize> = (0..240).collect();
        let examples = Examples {
            features: FeatureView::whole(&features, 12),
            rows: &rows,
            targets: &Target::each(&labels),
        };
        let options = FitOptions { alpha: Alpha::Auto, seed: 5, ..FitOptions::default() };
        let trials = [Trial { name: "all".into(), features: examples.features }];
        let of = |options: &FitOptions| {
            select(&trials, (&rows, &Target::each(&labels)), Shape::one_of(2), options, &mut |_, _| ())
        };
        let selection = of(&options);
        assert_eq!(selection, of(&FitOptions { threads: 3, ..options.clone() }));
        let Selection { alpha, candidates, .. } = selection;
        // Brute force: every fold, every penalty, from scratch.
        let assigned = folds(&labels, 2, 5);
        let mut scores = vec![0.0; GRID.len()];
        for fold in 0..FOLDS {
            let inside: Vec<usize> = (0..240).filter(|&row| assigned[row] != fold).collect();
            let outside: Vec<usize> = (0..240).filter(|&row| assigned[row] == fold).collect();
            let inside_labels: Vec<u32> = inside.iter().map(|&row| labels[row]).collect();
            let others: Vec<u32> = outside.iter().map(|&row| labels[row]).collect();
            let training = Examples { rows: &inside, targets: &Target::each(&inside_labels), ..examples };
            let held_out = Examples { rows: &outside, targets: &Target::each(&others), ..examples };
            let scaler = Scaler::of(&training, 1);
            let training = problem(&scaler, &training, Shape::one_of(2), &options);
            let held_out = problem(&scaler, &held_out, Shape::one_of(2), &options);
            for (sum, alpha) in scores.iter_mut().zip(GRID) {
                let solution = crate::heads::minimize::minimize(&training, alpha);
                *sum += score(&held_out, &solution.parameters).right.iter().sum::<f64>() / 3.0;
            }
        }
        // Cold and warm starts end within the tolerance of the fit of each other: a row on the edge may fall
        // either way.
        for (candidate, accuracy) in candidates.iter().zip(&scores) {
            assert!((candidate.accuracy - accuracy).abs() < 1.5 / 240.0, "{scores:?}, {candidates:?}");
        }
        let best = &candidates[Candidate::best_of_each(&candidates)[0]];
        assert_eq!(best.alpha, alpha);
        let loss = |candidate: &Candidate| candidate.cross_entropy.unwrap();
        assert!(candidates.iter().all(|candidate| loss(candidate) >= loss(best)));
    }

    /// Rows of a fold of which these shares are right, with a loss that no temperature changes.
    fn scored(right: [u8; 4], loss: f64) -> Score {
        Score {
            losses: vec![loss; 33],
            right: right.iter().map(|quarters| f64::from(*quarters) / 4.0).collect(),
        }
    }

    #[test]
    fn the_penalty_with_the_least_calibrated_loss_is_chosen_whatever_the_accuracy() {
        let features = [0.0; 4];
        let trials = [Trial { name: String::new(), features: FeatureView::whole(&features, 1) }];
        let path = || vec![scored([1, 1, 1, 1], 0.9), scored([1, 1, 1, 0], 0.5), scored([1, 1, 1, 1], 0.5)];
        let mut short = path();
        short.push(scored([1, 1, 1, 1], 0.1));
        let tried = candidates(&trials, &[path(), short, path()], &GRID);
        let alphas: Vec<f64> = tried.iter().map(|candidate| candidate.alpha).collect();
        assert_eq!(alphas, GRID[..3], "what only one fold tried is no candidate");
        assert_eq!(Candidate::best_of_each(&tried), [1], "of equal ones the strongest");
        // Three rows of twelve told them apart.
        assert!((tried[0].standard_error - 3.0_f64.sqrt() / 12.0).abs() < 1e-12);
        assert_eq!(tried[1].standard_error, 0.0);
    }

    #[test]
    fn the_fewest_numbers_within_one_standard_error_of_the_best_are_chosen() {
        let right = || vec![scored([1, 1, 1, 1], 1.0)];
        let features = [0.0; 4];
        let trials = [("few", 1), ("many", 2)]
            .map(|(name, width)| Trial { name: name.into(), features: FeatureView::whole(&features, width) });
        let chosen = |few: [u8; 4], many: [u8; 4]| {
            let of = |rows| vec![scored(rows, 1.0)];
            let tried = candidates(&trials, &[of(few), right(), right(), of(many), right(), right()], &GRID);
            let best: Vec<&Candidate> = tried.iter().collect();
            let simplest = simplest(&best);
            (tried.clone(), simplest, rivals(&trials, &best, simplest))
        };
        // Of twelve rows the best has all right; one row fewer is one standard error, two rows fewer are √2
        // of it.
        let (tried, choice, rivals) = chosen([1, 1, 1, 0], [1, 1, 1, 1]);
        assert!((tried[0].accuracy - 11.0 / 12.0).abs() < 1e-12 && (tried[1].accuracy - 1.0).abs() < 1e-12);
        assert!((tried[0].standard_error - 1.0 / 12.0).abs() < 1e-12 && tried[1].standard_error == 0.0);
        assert_eq!(choice, 0);
        assert_eq!(rivals, [(1, GRID[0])], "more rows may tell them apart");
        let (_, choice, rivals) = chosen([1, 1, 1, 1], [1, 1, 0, 0]);
        assert_eq!(choice, 0);
        assert_eq!(rivals, [(1, GRID[0])], "the widest is worse on few rows only, perhaps");
        let (tried, choice, rivals) = chosen([1, 1, 0, 0], [1, 1, 1, 1]);
        assert!((tried[0].standard_error - 2.0_f64.sqrt() / 12.0).abs() < 1e-12);
        assert_eq!((choice, rivals), (1, Vec::new()), "nothing is wider");
    }

    /// Classes with few rows each, and what is common to all of them in front: `[rows, 24]`, labels.
    fn many_classes(
        rows: usize,
        draw: &mut dyn FnMut() -> f32,
        means: &[f32],
        common: &[f32],
    ) -> (Vec<f32>, Vec<u32>) {
        let labels: Vec<u32> = (0..20 * rows as u32).map(|row| row % 20).collect();
        let features = labels.iter().flat_map(|label| {
            let shares = [draw(), draw(), draw()];
            let row: Vec<f32> = (0..24)
                .map(|place| {
                    let shared: f32 = (0..3).map(|factor| shares[factor] * common[factor * 24 + place]).sum();
                    means[*label as usize * 24 + place] + shared + draw()
                })
                .collect();
            row
        });
        (features.collect(), labels)
    }

    #[test]
    fn with_many_classes_and_few_rows_it_is_better_than_one_standard_error_of_the_accuracy() {
        let options = FitOptions { alpha: Alpha::Auto, ..FitOptions::default() };
        let (mut before, mut now, mut hindsight) = (0.0, 0.0, 0.0);
        for seed in 1..=6_u64 {
            let mut bits = seed;
            let mut draw = || {
                bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (bits >> 40) as f32 / 8_388_608.0 - 1.0
            };
            let means: Vec<f32> = (0..20 * 24).map(|_| 1.5 * draw()).collect();
            let common: Vec<f32> = (0..3 * 24).map(|_| 1.5 * draw()).collect();
            let (features, labels) = many_classes(3, &mut draw, &means, &common);
            let (unseen, truth) = many_classes(40, &mut draw, &means, &common);
            let rows: Vec<usize> = (0..labels.len()).collect();
            let examples = Examples {
                features: FeatureView::whole(&features, 24),
                rows: &rows,
                targets: &Target::each(&labels),
            };
            let trials = [Trial { name: String::new(), features: examples.features }];
            let chosen =
                select(&trials, (&rows, &Target::each(&labels)), Shape::one_of(20), &options, &mut |_, _| ())
                    .alpha;
            let earlier = earlier_rule(&examples, &options);
            let scaler = Scaler::of(&examples, 1);
            let training = problem(&scaler, &examples, Shape::one_of(20), &options);
            let every: Vec<usize> = (0..truth.len()).collect();
            let unseen = Examples {
                features: FeatureView::whole(&unseen, 24),
                rows: &every,
                targets: &Target::each(&truth),
            };
            let unseen = problem(&scaler, &unseen, Shape::one_of(20), &options);
            let accuracy = |alpha: f64| {
                let found =
                    Descent { alpha, products: &Products::of(&training), start: None }.solve(&training);
                score(&unseen, &found.parameters).right.iter().sum::<f64>() / 6.0
            };
            now += accuracy(chosen);
            before += accuracy(earlier);
            hindsight += GRID.into_iter().map(accuracy).fold(0.0, f64::max);
        }
        assert!(now > before + 0.005, "{now} {before}");
        assert!(now > hindsight - 0.005, "{now} {hindsight}");
    }

    /// What `auto` took until 2026-11-28: the strongest penalty within one standard error of the best
    /// accuracy.
    fn earlier_rule(examples: &Examples<'_>, options: &FitOptions) -> f64 {
        let assigned = folds(
            &examples.targets.iter().map(|target| target.label() as u32).collect::<Vec<_>>(),
            20,
            options.seed,
        );
        let source = Source { examples: *examples, standardized: false };
        let paths: Vec<Path> = (0..FOLDS)
            .map(|fold| walk(&source, Shape::one_of(20), options, &assigned, (fold, &|| ())))
            .collect();
        let tried = paths.iter().map(Vec::len).min().unwrap();
        let right = |place: usize| paths.iter().flat_map(move |path| path[place].right.clone());
        let accuracy = |place: usize| right(place).sum::<f64>();
        let best = (0..tried).max_by(|a, b| accuracy(*a).total_cmp(&accuracy(*b))).unwrap();
        let error =
            |place: usize| right(place).zip(right(best)).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let strongest = (0..tried).find(|place| accuracy(best) - accuracy(*place) <= error(*place));
        GRID[strongest.unwrap()]
    }

    #[test]
    fn a_sample_keeps_every_class_in_proportion() {
        let labels: Vec<u32> = (0..1000).map(|row| u32::from(row % 10 == 0) + u32::from(row < 4)).collect();
        let of = |seed| sample(&Target::each(&labels), 3, 300, seed);
        let chosen = of(1);
        assert!((295..=305).contains(&chosen.len()) && chosen.is_sorted());
        for class in 0..3 {
            let all = labels.iter().filter(|label| **label == class).count();
            let count = chosen.iter().filter(|row| labels[**row] == class).count();
            assert!(
                count.abs_diff(all * 300 / 1000) <= 1 || count == FOLDS.min(all),
                "{class}: {count} of {all}"
            );
        }
        assert_ne!(chosen, of(2));
        assert_eq!(sample(&Target::each(&labels), 3, 1000, 1).len(), 1000);
    }
}
