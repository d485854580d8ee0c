//! Fits against scikit-learn's (`tests/data/heads_golden.json`), and what a fit refuses.

use super::*;
use crate::heads::minimize::minimize;
use crate::heads::problem::problem;
use crate::heads::solver::Solution;
use crate::heads::standardize::Scaler;
use crate::heads::{ClassWeight, FeatureView, Shape};
use crate::metrics::Limits;
use crate::task::{Target, TaskKind, Truth};

const ROWS: usize = 300;
const WIDTH: usize = 10;

/// The sample of `scripts/golden/make_heads_golden.py`.
fn sample(classes: u32) -> (Vec<f32>, Vec<u32>) {
    let mut bits = 12345_u64;
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    for row in 0..ROWS as u32 {
        let label = if row % 10 < 6 { 0 } else { 1 + row % (classes - 1) };
        let start = features.len();
        for _ in 0..WIDTH {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            features.push(((bits >> 40) as f64 / 8_388_608.0 - 1.0) as f32);
        }
        features[start + label as usize] += 0.8;
        features[start + WIDTH - 1] = 7.0;
        labels.push(label);
    }
    (features, labels)
}

fn answers(labels: &[String]) -> Answers<'_> {
    Answers { task: "task", kind: TaskKind::OneOf, labels, limits: Limits::default() }
}

fn names(classes: u32) -> Vec<String> {
    (0..classes).map(|class| format!("class {class}")).collect()
}

fn fitted(classes: u32, alpha: f64, class_weight: ClassWeight) -> (Head, FitReport, f64) {
    let (features, labels) = sample(classes);
    let rows: Vec<usize> = (0..ROWS).collect();
    let examples = Examples {
        features: FeatureView::whole(&features, WIDTH),
        rows: &rows,
        targets: &Target::each(&labels),
    };
    let options = FitOptions { alpha: Alpha::Fixed(alpha), class_weight, ..FitOptions::default() };
    let (head, report) = fit(answers(&names(classes)), &examples, &options).unwrap();
    let mut out = vec![0.0; classes as usize];
    let mut confusion = vec![vec![0.0_f64; classes as usize]; classes as usize];
    for (row, label) in labels.iter().enumerate() {
        head.probabilities(&features[row * WIDTH..(row + 1) * WIDTH], &mut out);
        let best = (0..out.len()).max_by(|a, b| out[*a].total_cmp(&out[*b])).unwrap();
        confusion[*label as usize][best] += 1.0;
    }
    let f1 = (0..classes as usize).map(|class| {
        let predicted: f64 = confusion.iter().map(|row| row[class]).sum();
        let actual: f64 = confusion[class].iter().sum();
        2.0 * confusion[class][class] / (predicted + actual)
    });
    let macro_f1 = f1.sum::<f64>() / f64::from(classes);
    (head, report, macro_f1)
}

#[test]
fn fits_reach_scikit_learns_loss_probabilities_and_balance() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/data/heads_golden.json")).unwrap();
    let fits = golden["fits"].as_array().unwrap();
    assert_eq!(fits.len(), 8);
    for expected in fits {
        let classes = u32::try_from(expected["classes"].as_u64().unwrap()).unwrap();
        let weight: ClassWeight = expected["class_weight"].as_str().unwrap().parse().unwrap();
        let (head, report, macro_f1) = fitted(classes, expected["alpha"].as_f64().unwrap(), weight);
        assert!(report.converged, "{report:?}");
        // Predictions on the edge may fall either way within the tolerance of the fit: one row moves this by
        // under 0.01.
        let difference = macro_f1 - expected["macro_f1"].as_f64().unwrap();
        assert!(difference.abs() < 0.01, "{expected}: {macro_f1}");
        let loss = expected["loss"].as_f64().unwrap();
        assert!((loss * 0.999_999..loss * 1.0005).contains(&report.loss), "{} {loss}", report.loss);
        let (features, _) = sample(classes);
        for (row, probabilities) in expected["first_probabilities"].as_array().unwrap().iter().enumerate() {
            let mut out = vec![0.0; classes as usize];
            head.probabilities(&features[row * WIDTH..(row + 1) * WIDTH], &mut out);
            for (ours, theirs) in out.iter().zip(probabilities.as_array().unwrap()) {
                // At the tolerance of the fit (1e-4 per row) probabilities may differ by some 1e-3.
                assert!(
                    (f64::from(*ours) - theirs.as_f64().unwrap()).abs() < 5e-3,
                    "{expected} row {row}: {out:?}"
                );
            }
        }
    }
}

#[test]
fn balancing_lifts_the_rare_classes() {
    let (_, _, plain) = fitted(4, 20.0, ClassWeight::None);
    let (_, _, balanced) = fitted(4, 20.0, ClassWeight::Balanced);
    assert!(balanced > plain + 0.03, "{plain} {balanced}");
}

#[test]
fn a_constant_feature_gets_no_weight() {
    let (head, ..) = fitted(4, 20.0, ClassWeight::None);
    assert!(head.weights.chunks_exact(WIDTH).all(|weights| weights[WIDTH - 1] == 0.0));
}

#[test]
fn the_same_fit_gives_the_same_bits_and_another_penalty_others() {
    assert_eq!(fitted(4, 20.0, ClassWeight::None).0, fitted(4, 20.0, ClassWeight::None).0);
    assert_ne!(fitted(4, 20.0, ClassWeight::None).0, fitted(4, 21.0, ClassWeight::None).0);
}

#[test]
fn the_report_is_computed_at_the_returned_weights() {
    let (features, labels) = sample(3);
    let rows: Vec<usize> = (0..ROWS).collect();
    let examples = Examples {
        features: FeatureView::whole(&features, WIDTH),
        rows: &rows,
        targets: &Target::each(&labels),
    };
    let scaler = Scaler::of(&examples, 1);
    let problem = problem(&scaler, &examples, Shape::one_of(3), &FitOptions::default());
    let solution = minimize(&problem, 1.0);
    let mut moved = solution.parameters.clone();
    moved[[0, 0]] += 0.5;
    let worse = Solution::at::<f64>(&problem, 1.0, moved);
    assert!(worse.loss > solution.loss && worse.gradient_norm > solution.tolerance);
}

#[test]
fn what_cannot_be_fitted_is_refused() {
    let rows = [0, 1, 2, 3];
    let fit_of = |features: &[f32], labels: &[u32], classes: u32| {
        let examples = Examples {
            features: FeatureView::whole(features, 2),
            rows: &rows,
            targets: &Target::each(labels),
        };
        fit(answers(&names(classes)), &examples, &FitOptions::default()).unwrap_err().to_string()
    };
    assert!(fit_of(&[0.0; 8], &[0; 4], 1).contains("classes to tell apart"));
    assert!(fit_of(&[0.0; 8], &[0; 4], 2).contains("\"class 1\""));
    let mut features = [0.5; 8];
    features[5] = f32::NAN;
    let error = fit_of(&features, &[0, 1, 0, 1], 2);
    assert!(error.contains("row 3") && error.contains("NaN"), "{error}");
    assert!(fit_of(&[0.0; 7], &[0, 1, 0, 1], 2).contains("width"));
}

/// One row far away from all others: linfa-logistic alone stops far from the optimum there, without an error.
#[test]
fn a_row_far_away_does_not_keep_a_fit_from_its_optimum() {
    const COLUMNS: usize = 120;
    let (features, labels) = with_outlier(1500, COLUMNS);
    let rows: Vec<usize> = (0..labels.len()).collect();
    let examples = Examples {
        features: FeatureView::whole(&features, COLUMNS),
        rows: &rows,
        targets: &Target::each(&labels),
    };
    for alpha in [10.0, 1000.0] {
        let options = FitOptions { alpha: Alpha::Fixed(alpha), ..FitOptions::default() };
        let (_, report) = fit(answers(&names(4)), &examples, &options).unwrap();
        assert!(report.converged, "{report:?}");
    }
}

fn with_outlier(rows: usize, columns: usize) -> (Vec<f32>, Vec<u32>) {
    let mut bits = 99_u64;
    let mut draw = || {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (bits >> 40) as f32 / 8_388_608.0 - 1.0
    };
    let directions: Vec<f32> = (0..4 * columns).map(|_| draw()).collect();
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let label = if row % 10 < 7 { 0 } else { 1 + row % 3 };
        // One row in twelve looks like another class.
        let looks = if row % 12 == 0 { (label + 1) % 4 } else { label };
        let scale = if row == 77 { 20.0 } else { 1.0 };
        for column in 0..columns {
            features.push(scale * (directions[looks * columns + column] + 0.3 * draw()));
        }
        labels.push(label as u32);
    }
    (features, labels)
}

#[test]
fn words_are_weighed_where_texts_are_known_and_asked_for_only_there() {
    let (features, labels) = sample(2);
    let rows: Vec<usize> = (0..ROWS).collect();
    let examples = Examples {
        features: FeatureView::whole(&features, WIDTH),
        rows: &rows,
        targets: &Target::each(&labels),
    };
    let with = |wanted| {
        let words = crate::heads::WordsOptions { wanted, ..crate::heads::WordsOptions::default() };
        fit(answers(&names(2)), &examples, &FitOptions { words, ..FitOptions::default() })
    };
    let (head, report) = with(crate::heads::WordsWanted::Auto).unwrap();
    assert!(head.words.is_none() && report.words.is_none());
    let error = with(crate::heads::WordsWanted::Yes).unwrap_err().to_string();
    assert!(error.contains("the words of these rows are not known"), "{error}");
}

/// Rows of `scripts/golden/make_kinds_golden.py`.
fn plain_sample() -> Vec<f32> {
    let mut bits = 12_345_u64;
    let draw = |_| {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (bits >> 40) as f32 / 8_388_608.0 - 1.0
    };
    (0..ROWS * WIDTH).map(draw).collect()
}

fn kinds_golden() -> serde_json::Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/kinds_golden.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[track_caller]
fn near(found: f64, expected: &serde_json::Value, within: f64) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= within, "{found} {expected}");
}

#[test]
fn several_labels_are_fitted_as_by_scikit_learn() {
    let features = plain_sample();
    let view = FeatureView::whole(&features, WIDTH);
    let least = [0.0_f32, 0.5, 0.8];
    let targets: Vec<Target> = features
        .chunks_exact(WIDTH)
        .enumerate()
        .map(|(row, values)| {
            let has = |label: &u32| {
                let label = *label as usize;
                (values[label] + 0.5 * values[9] > least[label]) != (row % 11 == 0)
            };
            Target::Labels((0..3).filter(has).collect())
        })
        .collect();
    assert!(targets.iter().any(|target| target.labels().is_empty()));
    let names: Vec<String> = names(3);
    let answers = Answers { kind: TaskKind::AnyOf, ..answers(&names) };
    let rows: Vec<usize> = (0..ROWS).collect();
    let truth = Truth { rows: rows.clone(), targets: targets.clone(), unseen: Vec::new() };
    for expected in kinds_golden()["several"].as_array().unwrap() {
        let options = FitOptions {
            alpha: Alpha::Fixed(expected["alpha"].as_f64().unwrap()),
            class_weight: expected["class_weight"].as_str().unwrap().parse().unwrap(),
            ..FitOptions::default()
        };
        let (head, report) =
            fit(answers, &Examples { features: view, rows: &rows, targets: &targets }, &options).unwrap();
        assert!(report.converged);
        near(report.loss, &expected["loss"], 5e-4 * report.loss);
        let mut all = vec![0.0; ROWS * 3];
        for (row, out) in rows.iter().zip(all.chunks_exact_mut(3)) {
            head.probabilities(view.row(*row), out);
        }
        let first = expected["first_probabilities"].as_array().unwrap();
        for (found, expected) in all.iter().zip(first.iter().flat_map(|row| row.as_array().unwrap())) {
            near(f64::from(*found), expected, 2e-3);
        }
        let found = TaskKind::AnyOf.measure((&names, Limits::default()), &truth, &all);
        let several = found.several.as_ref().unwrap();
        near(found.score().unwrap(), &expected["micro_f1"], 3e-3);
        near(found.macro_f1.unwrap(), &expected["macro_f1"], 5e-3);
        near(found.accuracy.unwrap(), &expected["exact"], 7e-3);
        near(several.average_precision.unwrap(), &expected["average_precision"], 2e-3);
    }
}

#[test]
fn numbers_are_fitted_as_by_scikit_learn_whatever_their_units() {
    let features = plain_sample();
    let view = FeatureView::whole(&features, WIDTH);
    let numbers: Vec<f64> = features
        .chunks_exact(WIDTH)
        .map(|values| {
            let [a, b, c, d] = [values[0], values[1], values[2], values[3]].map(f64::from);
            3.0 + 2.0 * a - b + c * d
        })
        .collect();
    let names = vec!["rating".to_owned()];
    let answers = Answers { kind: TaskKind::Number, ..answers(&names) };
    let rows: Vec<usize> = (0..ROWS).collect();
    for expected in kinds_golden()["number"].as_array().unwrap() {
        for (scale, shift) in [(1.0, 0.0), (1e-4, -7.0), (1e5, 1e6)] {
            let targets: Vec<Target> =
                numbers.iter().map(|number| Target::Number(scale * number + shift)).collect();
            let options = FitOptions {
                alpha: Alpha::Fixed(expected["alpha"].as_f64().unwrap()),
                ..FitOptions::default()
            };
            let examples = Examples { features: view, rows: &rows, targets: &targets };
            let (head, report) = fit(answers, &examples, &options).unwrap();
            assert!(report.converged);
            near(report.loss, &expected["loss"], 5e-4 * report.loss);
            let mut all = vec![0.0; ROWS];
            rows.iter()
                .zip(all.chunks_exact_mut(1))
                .for_each(|(row, out)| head.probabilities(view.row(*row), out));
            let own = |said: f32| (f64::from(said) - shift) / scale;
            // Single precision of what is added to a mean of 7 or a million.
            let rounded = 4e-7 * shift.abs() / scale + 2e-3;
            for (found, expected) in all.iter().zip(expected["first"].as_array().unwrap()) {
                near(own(*found), expected, rounded);
            }
            let truth = Truth { rows: rows.clone(), targets, unseen: Vec::new() };
            let found = TaskKind::Number.measure((&names, Limits::default()), &truth, &all);
            near(found.score().unwrap(), &expected["r2"], 2e-3);
        }
    }
}

#[test]
fn numbers_that_are_all_the_same_are_refused() {
    let features = plain_sample();
    let names = vec!["rating".to_owned()];
    let answers = Answers { kind: TaskKind::Number, ..answers(&names) };
    let rows: Vec<usize> = (0..ROWS).collect();
    let targets = vec![Target::Number(4.0); ROWS];
    let examples =
        Examples { features: FeatureView::whole(&features, WIDTH), rows: &rows, targets: &targets };
    let error = fit(answers, &examples, &FitOptions::default()).unwrap_err().to_string();
    assert!(error.contains("all the same") && error.contains('4'), "{error}");
}
