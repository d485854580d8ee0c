//! Owns `--alpha auto`: the strongest penalty of the grid whose accuracy on held-out folds of the training rows is within one
//! standard error of the best (Breiman et al. 1984, §3.4.3; the error is that of the difference between the two, row by row).
//!
//! Refuses to look at validation or test rows, and to let the number of threads change the result.

use std::sync::Mutex;

use super::fit::problem;
use super::minimize::minimize;
use super::objective::{Score, score};
use super::options::{Candidate, Examples, FitOptions, GRID};
use super::standardize::Scaler;
use crate::error::Result;
use crate::fingerprint::Fields;

const FOLDS: usize = 3;
/// A fold's path down the grid ends after so many penalties in a row were worse than its best.
const PATIENCE: usize = 2;

/// The score per penalty of the grid, as far as a fold went.
type Path = Vec<Score>;

/// The chosen penalty, and every one that all folds tried.
pub(super) fn choose(
    examples: &Examples<'_>,
    classes: usize,
    options: &FitOptions,
) -> Result<(f64, Vec<Candidate>)> {
    let folds = folds(examples.labels, classes, options.seed);
    let next = Mutex::new(0..FOLDS);
    let paths: Vec<Mutex<Option<Result<Path>>>> = (0..FOLDS).map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..options.threads.clamp(1, FOLDS) {
            scope.spawn(|| {
                while let Some(fold) = next.lock().ok().and_then(|mut next| next.next()) {
                    let path = walk(examples, classes, options, &folds, fold);
                    if let Ok(mut place) = paths[fold].lock() {
                        *place = Some(path);
                    }
                }
            });
        }
    });
    let paths = paths
        .into_iter()
        .map(|path| {
            path.into_inner()
                .ok()
                .flatten()
                .expect("every fold was walked before the scope ended: anything else is a bug")
        })
        .collect::<Result<Vec<Path>>>()?;
    let candidates = candidates(&paths);
    let chosen = simplest(&candidates).map_or(GRID[0], |chosen| chosen.alpha);
    Ok((chosen, candidates))
}

/// Every penalty that all folds tried.
fn candidates(paths: &[Path]) -> Vec<Candidate> {
    let tried = paths.iter().map(Vec::len).min().unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "three folds")]
    let folds = paths.len() as f64;
    // Folds are as large as each other, to a row per class: their rows count the same.
    let right = |place: usize| {
        paths.iter().flat_map(move |path| path[place].right.iter().map(move |own| own / folds))
    };
    let accuracy = |place: usize| right(place).sum::<f64>();
    let best = (0..tried).max_by(|a, b| accuracy(*a).total_cmp(&accuracy(*b))).unwrap_or(0);
    (0..tried)
        .map(|place| Candidate {
            alpha: GRID[place],
            cross_entropy: paths.iter().map(|path| path[place].cross_entropy).sum::<f64>() / folds,
            accuracy: accuracy(place),
            // The variance of a sum of independent terms, each near 0 on average.
            standard_error: right(place)
                .zip(right(best))
                .map(|(own, best)| (best - own).powi(2))
                .sum::<f64>()
                .sqrt(),
        })
        .collect()
}

/// The grid goes from strong to weak: the first within one standard error of the best.
fn simplest(candidates: &[Candidate]) -> Option<&Candidate> {
    let best = candidates.iter().map(|candidate| candidate.accuracy).fold(0.0, f64::max);
    candidates.iter().find(|candidate| best - candidate.accuracy <= candidate.standard_error)
}

/// Fits the grid from its strongest penalty on, each from the last solution, on all folds but one; scores on that one.
fn walk(
    examples: &Examples<'_>,
    classes: usize,
    options: &FitOptions,
    folds: &[usize],
    fold: usize,
) -> Result<Path> {
    let (inside, outside): (Vec<usize>, Vec<usize>) =
        (0..folds.len()).partition(|&example| folds[example] != fold);
    let chosen = |places: &[usize]| -> (Vec<usize>, Vec<u32>) {
        places.iter().map(|&example| (examples.rows[example], examples.labels[example])).unzip()
    };
    let (rows, labels) = chosen(&inside);
    let training = Examples { rows: &rows, labels: &labels, ..*examples };
    let scaler = Scaler::of(&training);
    let training = problem(&scaler, &training, classes, options.class_weight);
    // Held-out rows are weighted as the training rows are, so that the choice serves the same aim.
    let (rows, labels) = chosen(&outside);
    let held_out = Examples { rows: &rows, labels: &labels, ..*examples };
    let held_out = problem(&scaler, &held_out, classes, options.class_weight);
    let mut path = Path::new();
    let mut start = None;
    let (mut best, mut worse) = (f64::INFINITY, 0);
    for alpha in GRID {
        // The penalty is on summed losses: fewer rows, proportionally less penalty.
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53 rows")]
        let share = inside.len() as f64 / folds.len() as f64;
        let solution = minimize(&training, alpha * share, start.as_ref())?;
        let scored = score(&held_out, &solution.parameters);
        start = Some(solution.parameters);
        if scored.cross_entropy < best {
            (best, worse) = (scored.cross_entropy, 0);
        } else {
            worse += 1;
        }
        path.push(scored);
        if worse == PATIENCE {
            break;
        }
    }
    Ok(path)
}

/// The fold of each example: stratified by label, seeded.
fn folds(labels: &[u32], classes: usize, seed: u64) -> Vec<usize> {
    let mut folds = vec![0; labels.len()];
    for class in 0..classes {
        let mut own: Vec<usize> =
            (0..labels.len()).filter(|&example| labels[example] as usize == class).collect();
        own.sort_by_cached_key(|example| {
            Fields::new("frosthead folds 1")
                .field("seed", seed.to_le_bytes())
                .field("example", example.to_le_bytes())
                .finish()
        });
        for (place, example) in own.into_iter().enumerate() {
            // A different first fold per class spreads rare classes over all folds.
            folds[example] = (place + class) % FOLDS;
        }
    }
    folds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heads::{Alpha, ClassWeight};

    /// Two overlapping classes in 12 dimensions, of which one tells them apart.
    fn sample() -> (Vec<f32>, Vec<u32>) {
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
        let (_, labels) = sample();
        let one = folds(&labels, 2, 1);
        for fold in 0..FOLDS {
            for class in 0..2 {
                let own = (0..240).filter(|&row| one[row] == fold && labels[row] == class).count();
                let all = labels.iter().filter(|label| **label == class).count();
                assert!(own.abs_diff(all / FOLDS) <= 1);
            }
        }
        assert_ne!(one, folds(&labels, 2, 2));
    }

    #[test]
    fn the_choice_is_that_of_brute_force_and_threads_change_nothing() {
        let (features, labels) = sample();
        let rows: Vec<usize> = (0..240).collect();
        let examples = Examples { features: &features, width: 12, rows: &rows, labels: &labels };
        let options = FitOptions { alpha: Alpha::Auto, class_weight: ClassWeight::None, seed: 5, threads: 1 };
        let (alpha, candidates) = choose(&examples, 2, &options).unwrap();
        assert_eq!(
            (alpha, candidates.clone()),
            choose(&examples, 2, &FitOptions { threads: 3, ..options }).unwrap()
        );
        // Brute force: every fold, every penalty, from scratch.
        let assigned = folds(&labels, 2, 5);
        let mut scores = vec![0.0; GRID.len()];
        for fold in 0..FOLDS {
            let inside: Vec<usize> = (0..240).filter(|&row| assigned[row] != fold).collect();
            let outside: Vec<usize> = (0..240).filter(|&row| assigned[row] == fold).collect();
            let own: Vec<u32> = inside.iter().map(|&row| labels[row]).collect();
            let others: Vec<u32> = outside.iter().map(|&row| labels[row]).collect();
            let training = Examples { rows: &inside, labels: &own, ..examples };
            let held_out = Examples { rows: &outside, labels: &others, ..examples };
            let scaler = Scaler::of(&training);
            let training = problem(&scaler, &training, 2, ClassWeight::None);
            let held_out = problem(&scaler, &held_out, 2, ClassWeight::None);
            for (sum, alpha) in scores.iter_mut().zip(GRID) {
                let share = inside.len() as f64 / 240.0;
                let solution = minimize(&training, alpha * share, None).unwrap();
                *sum += score(&held_out, &solution.parameters).right.iter().sum::<f64>() / 3.0;
            }
        }
        // Cold and warm starts end within the tolerance of the fit of each other: a row on the edge may fall either way.
        for (candidate, accuracy) in candidates.iter().zip(&scores) {
            assert!((candidate.accuracy - accuracy).abs() < 1.5 / 240.0, "{scores:?}, {candidates:?}");
        }
        assert_eq!(alpha, simplest(&candidates).unwrap().alpha);
    }

    #[test]
    fn the_strongest_penalty_within_one_standard_error_of_the_best_is_chosen() {
        let score = |right: [u8; 4]| Score {
            cross_entropy: 1.0,
            right: right.iter().map(|own| f64::from(*own) / 4.0).collect(),
        };
        // Against the best (all right): 2 rows fewer, error √2 rows; 1 row fewer, error 1 row.
        let fold = || vec![score([1, 1, 0, 0]), score([1, 1, 1, 0]), score([1, 1, 1, 1])];
        let candidates = candidates(&[fold()]);
        assert_eq!(candidates.iter().map(|own| own.accuracy).collect::<Vec<_>>(), [0.5, 0.75, 1.0]);
        let errors: Vec<f64> = candidates.iter().map(|own| own.standard_error).collect();
        assert_eq!(errors, [2.0_f64.sqrt() / 4.0, 0.25, 0.0]);
        assert_eq!(simplest(&candidates).unwrap().alpha, GRID[1]);
    }
}
