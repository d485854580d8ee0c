//! Owns `--alpha auto`: the penalty of the grid with the least cross entropy on held-out folds of the training rows.
//!
//! Refuses to look at validation or test rows, and to let the number of threads change the result.

use std::sync::Mutex;

use super::class_weight::repeated;
use super::fit::{minimize, problem};
use super::objective::score;
use super::options::{Candidate, Examples, FitOptions, GRID};
use super::standardize::Scaler;
use crate::error::Result;
use crate::fingerprint::Fields;

const FOLDS: usize = 3;
/// A fold's path down the grid ends after so many penalties in a row were worse than its best.
const PATIENCE: usize = 2;

/// Mean cross entropy and accuracy per penalty of the grid, as far as a fold went.
type Path = Vec<(f64, f64)>;

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
    let tried = paths.iter().map(Vec::len).min().unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "three folds")]
    let mean = |value: &dyn Fn(&Path) -> f64| paths.iter().map(value).sum::<f64>() / FOLDS as f64;
    let candidates: Vec<Candidate> = (0..tried)
        .map(|place| Candidate {
            alpha: GRID[place],
            cross_entropy: mean(&|path| path[place].0),
            accuracy: mean(&|path| path[place].1),
        })
        .collect();
    let best = candidates.iter().min_by(|a, b| a.cross_entropy.total_cmp(&b.cross_entropy));
    Ok((best.map_or(GRID[0], |best| best.alpha), candidates))
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
    let rows: Vec<usize> = inside.iter().map(|&example| examples.rows[example]).collect();
    let labels: Vec<u32> = inside.iter().map(|&example| examples.labels[example]).collect();
    let training = Examples { rows: &rows, labels: &labels, ..*examples };
    let scaler = Scaler::of(&training);
    let (chosen, growth) = repeated(&labels, classes, options.class_weight);
    let training = problem(&scaler, &training, &chosen, classes);
    let held_out_labels: Vec<u32> = outside.iter().map(|&example| examples.labels[example]).collect();
    // Held-out rows are weighted as the training rows are, so that the choice serves the same aim.
    let (counted, _) = repeated(&held_out_labels, classes, options.class_weight);
    let counted: Vec<usize> = counted.into_iter().map(|place| outside[place]).collect();
    let held_out = problem(&scaler, examples, &counted, classes);
    let mut path = Path::new();
    let mut start = None;
    let (mut best, mut worse) = (f64::INFINITY, 0);
    for alpha in GRID {
        // The penalty is on summed losses: fewer rows, proportionally less penalty.
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53 rows")]
        let share = inside.len() as f64 / folds.len() as f64;
        let solution = minimize(&training, alpha * growth * share, start.as_ref())?;
        let scored = score(&held_out.features, &held_out.labels, &solution.parameters);
        path.push(scored);
        start = Some(solution.parameters);
        if scored.0 < best {
            (best, worse) = (scored.0, 0);
        } else {
            worse += 1;
            if worse == PATIENCE {
                break;
            }
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
        let mut losses = vec![0.0; GRID.len()];
        for fold in 0..FOLDS {
            let inside: Vec<usize> = (0..240).filter(|&row| assigned[row] != fold).collect();
            let outside: Vec<usize> = (0..240).filter(|&row| assigned[row] == fold).collect();
            let own: Vec<u32> = inside.iter().map(|&row| labels[row]).collect();
            let scaler = Scaler::of(&Examples { rows: &inside, labels: &own, ..examples });
            let training = problem(&scaler, &examples, &inside, 2);
            let held_out = problem(&scaler, &examples, &outside, 2);
            for (loss, alpha) in losses.iter_mut().zip(GRID) {
                let share = inside.len() as f64 / 240.0;
                let solution = minimize(&training, alpha * share, None).unwrap();
                *loss += score(&held_out.features, &held_out.labels, &solution.parameters).0;
            }
        }
        let best = losses.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        assert_eq!(alpha, GRID[best], "{losses:?}, {candidates:?}");
    }
}
