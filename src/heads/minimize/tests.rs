//! Both solvers on the same problems: where they end, which one is picked, and how long each takes.

use std::time::Instant;

use super::*;
use crate::heads::problem::problem;
use crate::heads::standardize::Scaler;
use crate::heads::{ClassWeight, Examples, FeatureView, FitOptions, Shape};
use crate::task::Target;

/// Correlated features of which some tell three classes apart; one row is `far` times as long as the others.
fn sample(rows: usize, width: usize, far: f32) -> (Vec<f32>, Vec<u32>) {
    let mut bits = 11_u64;
    let mut draw = || {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (bits >> 40) as f32 / 8_388_608.0 - 1.0
    };
    let labels: Vec<u32> = (0..rows as u32).map(|row| row % 7 % 3).collect();
    let features = labels.iter().enumerate().flat_map(|(place, label)| {
        let (common, length) = (draw(), if place == 5 { far } else { 1.0 });
        let mut row: Vec<f32> = (0..width).map(|_| length * (0.3 * draw() + common)).collect();
        row[*label as usize] += 0.2;
        row
    });
    (features.collect(), labels)
}

/// Checks with the problem of a sample with three classes.
fn with_problem(
    (rows, width, far): (usize, usize, f32),
    options: &FitOptions,
    check: impl FnOnce(&Problem<'_>),
) {
    let (features, labels) = sample(rows, width, far);
    let rows: Vec<usize> = (0..rows).collect();
    let examples = Examples {
        features: FeatureView::whole(&features, width),
        rows: &rows,
        targets: &Target::each(&labels),
    };
    let scaler = Scaler::of(&examples, 1);
    check(&problem(&scaler, &examples, Shape::one_of(3), options));
}

fn descent(problem: &Problem<'_>, alpha: f64) -> Solution {
    let products = Products::of(problem);
    let solver = Descent { alpha, products: &products, start: None };
    solver.fit(&dataset(problem)).unwrap()
}

fn linfa(problem: &Problem<'_>, alpha: f64) -> Solution {
    LinfaLogistic { alpha }.fit(&dataset(problem)).unwrap()
}

#[test]
fn both_solvers_end_at_the_same_loss() {
    for shape in [(500, 40, 1.0), (30, 120, 1.0)] {
        with_problem(shape, &FitOptions::default(), |problem| {
            for alpha in [1.0, 10.0, 100.0] {
                let (ours, theirs) = (descent(problem, alpha), linfa(problem, alpha));
                assert!(ours.converged() && theirs.converged(), "{shape:?} {alpha}");
                let ratio = ours.loss / theirs.loss;
                assert!((ratio - 1.0).abs() < 1e-4, "{shape:?} {alpha}: {} {}", ours.loss, theirs.loss);
            }
        });
    }
}

#[test]
fn linfa_logistic_solves_where_rows_are_few_and_count_alike_and_the_descent_all_else() {
    let solved = |shape, options: &FitOptions| {
        let mut by: (bool, bool) = Default::default();
        with_problem(shape, options, |problem| {
            let (found, ours) = (minimize(problem, 10.0), descent(problem, 10.0));
            assert!(found.converged() && ours.converged(), "{shape:?}");
            let theirs =
                (problem.counts == crate::heads::class_weight::Counts::Alike).then(|| linfa(problem, 10.0));
            by = (
                found.parameters == ours.parameters,
                theirs.is_some_and(|theirs| found.parameters == theirs.parameters),
            );
        });
        by
    };
    let alike = FitOptions::default();
    let (by_descent, by_linfa) = ((true, false), (false, true));
    // Three classes: 30 rows of 90 numbers are the last that are few.
    assert_eq!(solved((30, 90, 1.0), &alike), by_linfa);
    assert_eq!(solved((31, 90, 1.0), &alike), by_descent);
    let balanced = FitOptions { class_weight: ClassWeight::Balanced, ..FitOptions::default() };
    assert_eq!(solved((30, 90, 1.0), &balanced), by_descent);
}

#[test]
fn what_linfa_logistic_leaves_unfinished_the_descent_does() {
    let mut left = 0;
    for far in [30.0, 100.0, 1000.0] {
        with_problem((40, 120, far), &FitOptions::default(), |problem| {
            for alpha in [1e-3, 1e-2, 0.1, 1.0] {
                let theirs = LinfaLogistic { alpha }.fit(&dataset(problem));
                left += usize::from(!theirs.is_ok_and(|theirs| theirs.converged()));
                let found = minimize(problem, alpha);
                assert!(found.converged(), "{far} {alpha}: {}", found.gradient_norm);
            }
        });
    }
    assert!(left > 0, "nothing was left to the descent: the test shows nothing");
}

#[test]
fn neither_threads_nor_weights_are_ignored_and_threads_change_nothing() {
    let of = |options: &FitOptions| {
        let mut found = None;
        with_problem((500, 40, 1.0), options, |problem| found = Some(minimize(problem, 10.0)));
        found.unwrap()
    };
    let alike = of(&FitOptions::default());
    assert_eq!(alike.parameters, of(&FitOptions { threads: 3, ..FitOptions::default() }).parameters);
    let balanced = of(&FitOptions { class_weight: ClassWeight::Balanced, ..FitOptions::default() });
    assert!(balanced.converged() && (balanced.loss / alike.loss - 1.0).abs() > 1e-4);
}

/// What a fit says that it takes is no less than either solver may: a fit of few rows may need both.
#[test]
fn the_bytes_of_a_fit_are_those_of_the_larger_solver() {
    // Wider than a block of the guess, so that linfa-logistic's copy of the rows is the larger.
    let (rows, width, classes) = (50_000, 100_000, 2);
    assert_eq!(minimize_bytes(rows, width, classes), logistic_bytes(rows, width, classes));
    assert!(logistic_bytes(rows, width, classes) > descent_bytes(rows, width, classes));
    assert_eq!(minimize_bytes(rows + 1, width, classes), descent_bytes(rows + 1, width, classes));
    assert_eq!(minimize_bytes(30, 384, 3), descent_bytes(30, 384, 3));
}

/// A shape of the table in `docs/LOG.md`, two solvers: rows, numbers, classes, seconds and losses of both.
fn measured(examples: &Examples<'_>, classes: usize, alpha: f64) -> [(f64, Solution); 2] {
    let scaler = Scaler::of(examples, 2);
    let options = FitOptions { threads: 2, ..FitOptions::default() };
    let problem = problem(&scaler, examples, Shape::one_of(classes), &options);
    let timed = |solve: &dyn Fn() -> Solution| {
        let once = || (Instant::now(), solve());
        let runs = (0..3).map(|_| once()).map(|(start, found)| (start.elapsed().as_secs_f64(), found));
        runs.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
    };
    [timed(&|| descent(&problem, alpha)), timed(&|| linfa(&problem, alpha))]
}

/// Of a sample; where `FEATURES` names what `frosthead embed --features all` wrote and `TASK` a column of it,
/// the table of `docs/LOG.md` is printed: `FEATURES=x.parquet TASK=domain cargo test --release --lib
/// solvers_measured -- --nocapture`.
#[test]
fn solvers_measured_end_at_the_same_loss() {
    let (features, labels) = sample(60, 24, 1.0);
    let mut table = (features, 24, labels);
    let mut shapes = vec![(24, 60)];
    #[cfg(feature = "parquet")]
    if let Some(path) = std::env::var_os("FEATURES") {
        let task = std::env::var("TASK").expect("TASK: the label column");
        table = features_of(path.as_ref(), &task);
        let whole = table.1;
        shapes = [30, 120, 250, 500, 1000, 2000].map(|rows| (384, rows)).into();
        shapes.extend([60, 250, 800, 1600].map(|rows| (whole, rows)));
    }
    let (features, whole, all) = &table;
    for (width, rows) in shapes {
        let view = FeatureView::new(features, *whole, whole - width..*whole);
        let rows: Vec<usize> = (0..all.len()).step_by((all.len() / rows).max(1)).take(rows).collect();
        let mut names: Vec<u32> = rows.iter().map(|row| all[*row]).collect();
        names.sort_unstable();
        names.dedup();
        let label = |row: &usize| names.binary_search(&all[*row]).unwrap() as u32;
        let labels: Vec<u32> = rows.iter().map(label).collect();
        let examples = Examples { features: view, rows: &rows, targets: &Target::each(&labels) };
        for alpha in [10.0, 100.0] {
            let [ours, theirs] = measured(&examples, names.len(), alpha);
            let few = few(rows.len(), width, names.len());
            println!(
                "| {} × {width} | {} | {alpha} | {:.3} | {:.3} | {:.4} | {:.4} | few: {few} |",
                rows.len(),
                names.len(),
                ours.0,
                theirs.0,
                ours.1.loss,
                theirs.1.loss,
            );
            assert!(ours.1.converged() && theirs.1.converged());
            assert!(
                (ours.1.loss - theirs.1.loss).abs() <= 1e-5 * ours.1.loss,
                "{} {}",
                ours.1.loss,
                theirs.1.loss
            );
        }
    }
}

/// Features `[rows, width]`, their width, and the label of each row.
#[cfg(feature = "parquet")]
fn features_of(path: &std::path::Path, task: &str) -> (Vec<f32>, usize, Vec<u32>) {
    use crate::data::{FeatureColumns, read_labelled_features};
    let cells = [task.into()];
    let columns = FeatureColumns { vectors: Some("features"), cells: &cells, ..FeatureColumns::default() };
    let table = read_labelled_features(path, &columns).unwrap();
    let cells: Vec<&str> = table.cells[0].iter().map(|cell| cell.as_str().unwrap_or_default()).collect();
    let mut names = cells.clone();
    names.sort_unstable();
    names.dedup();
    let labels = cells.iter().map(|cell| names.binary_search(cell).unwrap() as u32).collect();
    (table.features, table.width, labels)
}
