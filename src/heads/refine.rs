//! Owns fitting a head that is there already on more rows: it begins where it is and is drawn towards that.
//!
//! What is fitted is the difference `D` to the calibrated head `W₀`: `Σ_i w_i · cross_entropy(x_i (W₀ + D)) +
//! α/2 · |D|²` on standardised features, the bias penalised too, so that few rows move little, and rows of
//! one class alone do not move everything. The strength α is chosen by cross-validation: the strongest whose
//! cross entropy on held-out rows is within one standard error of the least.
//!
//! Its words stay as they are. Refuses to forget a label: one that no row has stays as the head knows it.

use std::time::Instant;

use ndarray::Array2;

use super::curvature::Products;
use super::dense::finite;
use super::descent::Descent;
use super::folds::{NO_FOLD, text_folds};
use super::head::{Answers, Head};
use super::loss::{loss_at, right};
use super::minimize::penalty;
use super::objective::{Problem, logits};
use super::options::{Alpha, Candidate, Examples, FitOptions, FitReport};
use super::problem::problem;
use super::solver::Solution;
use super::standardize::Scaler;
use super::units::Units;
use super::word_logits::WordLogits;
use crate::error::Result;
use crate::parallel::in_parallel;
use crate::task::TaskKind;

/// The strengths that are tried: from one that leaves the head as it is to that of the mildest penalty.
const STRENGTHS: [f64; 10] = [1e6, 1e5, 3e4, 1e4, 3000.0, 1000.0, 300.0, 100.0, 30.0, 10.0];

/// A head that was fitted further.
#[derive(Debug)]
pub struct Refined {
    pub head: Head,
    pub report: FitReport,
    /// Logits `[rows, classes]` of every row by a head that was refined in the same way without the third of
    /// the rows that it is in.
    pub held_out: Vec<f32>,
}

/// Fits a head further, from where it [begins](begun).
///
/// # Errors
/// A feature is not finite.
pub fn refine(begun: &Head, examples: &Examples<'_>, options: &FitOptions) -> Result<Refined> {
    let start = Instant::now();
    finite(&begun.task, examples)?;
    let (shape, units) = (begun.answers().shape(), Units::of(begun.kind, examples.targets, &begun.task)?);
    let targets = units.targets(examples.targets);
    let examples = &Examples { targets: &targets, ..*examples };
    let whole = Rows { begun, units, examples: *examples, options };
    let folds = text_folds(examples, shape.classes, options.seed);
    let (alpha, candidates) = match options.alpha {
        Alpha::Fixed(alpha) => (alpha, Vec::new()),
        Alpha::Auto => strength(&whole, &folds),
    };
    let held_out = held_out(&whole, &folds, alpha);
    let scaler = Scaler::of(examples, options.threads);
    let problem = whole.problem(&scaler);
    let penalty = penalty(alpha, shape);
    let solution = Descent { alpha: penalty, products: &Products::of(&problem), start: None }.solve(&problem);
    let head = added(begun, &scaler, &solution, units);
    let report = solution.report(&begun.task, examples, (alpha, candidates), start);
    Ok(Refined { head, report, held_out })
}

/// Where a head begins that is fitted further: the calibrated old one with the labels that it shall know, the
/// old ones among them; a new label is as likely as the old ones are on average.
#[must_use]
pub fn begun(old: &Head, answers: Answers<'_>) -> Head {
    let (old, temperature) = &old.tempered();
    let count = old.labels.len().max(1) as f32;
    let mean = |numbers: &mut dyn Iterator<Item = f32>| numbers.sum::<f32>() / count / temperature;
    let (mut weights, mut bias) = (Vec::with_capacity(answers.labels.len() * old.features), Vec::new());
    for label in answers.labels {
        match old.labels.iter().position(|known| known == label) {
            Some(class) => {
                let known = &old.weights[class * old.features..(class + 1) * old.features];
                weights.extend(known.iter().map(|weight| weight / temperature));
                bias.push(old.bias[class] / temperature);
            }
            None => {
                let of = |feature: usize| {
                    mean(&mut old.weights.iter().skip(feature).step_by(old.features).copied())
                };
                weights.extend((0..old.features).map(of));
                bias.push(mean(&mut old.bias.iter().copied()));
            }
        }
    }
    let mut head = Head::new(answers, old.features, weights, bias);
    head.words =
        old.words.as_ref().map(|words| words.for_classes(&old.places_of(answers.labels), *temperature));
    head
}

/// What the words of the head that an old one [begins](begun) as say of rows, by what its own said.
#[must_use]
pub fn begun_words(old: &Head, labels: &[String], said: &WordLogits) -> WordLogits {
    said.for_classes(&old.places_of(labels), &old.believed)
}

/// The head with what was found to be added to it.
fn added(begun: &Head, scaler: &Scaler, found: &Solution, units: Units) -> Head {
    let (mut weights, mut bias) = scaler.fold(&found.parameters);
    units.own_differences(&mut weights);
    units.own_differences(&mut bias);
    let mut head = begun.clone();
    head.weights.iter_mut().zip(weights).for_each(|(weight, more)| *weight += more);
    head.bias.iter_mut().zip(bias).for_each(|(bias, more)| *bias += more);
    head
}

/// Rows that a head is refined on.
#[derive(Clone, Copy)]
struct Rows<'r> {
    begun: &'r Head,
    /// Those of the examples' targets.
    units: Units,
    examples: Examples<'r>,
    options: &'r FitOptions,
}

impl Rows<'_> {
    fn problem<'p>(&'p self, scaler: &'p Scaler) -> Problem<'p> {
        let shape = self.begun.answers().shape();
        let mut row = vec![0.0; shape.classes];
        let rows = self.examples.rows;
        let mut there = Array2::zeros((rows.len(), shape.classes));
        for (&of, mut logits) in rows.iter().zip(there.rows_mut()) {
            self.begun.logits_of(self.examples.features, of, &mut row);
            logits
                .iter_mut()
                .zip(&row)
                .for_each(|(logit, value)| *logit = self.units.logit(f64::from(*value)));
        }
        Problem { there: Some(there), ..problem(scaler, &self.examples, shape, self.options) }
    }

    /// Does something with the rows of all folds but one, and those of that one.
    fn without<T>(
        &self,
        folds: &[usize],
        fold: usize,
        each: impl FnOnce(&Problem<'_>, &Problem<'_>, &[usize]) -> T,
    ) -> T {
        let (inside, outside): (Vec<usize>, Vec<usize>) =
            (0..folds.len()).partition(|&example| folds[example] != fold);
        let (examples, others) = (self.examples.chosen(&inside), self.examples.chosen(&outside));
        let alone = FitOptions { threads: 1, ..self.options.clone() };
        let of = |examples| Rows { examples, options: &alone, ..*self };
        let training = of(examples.of(self.examples.features));
        let held_out = of(others.of(self.examples.features));
        let scaler = Scaler::of(&training.examples, 1);
        each(&training.problem(&scaler), &held_out.problem(&scaler), &outside)
    }
}

/// The folds that have rows.
fn used(folds: &[usize]) -> Vec<usize> {
    (0..NO_FOLD).filter(|fold| folds.contains(fold) && folds.iter().any(|other| other != fold)).collect()
}

/// What one held-out row says of a strength.
#[derive(Clone, Copy)]
struct Said {
    /// Its share of all weight, times its cross entropy.
    cross_entropy: f64,
    /// Its share where its label is the most probable, else 0.
    right: f64,
}

/// What every row says of parameters.
fn said(problem: &Problem<'_>, parameters: &Array2<f64>) -> Vec<Said> {
    let (rows, shares, targets) = (logits(problem, parameters), problem.shares(), problem.examples.targets);
    let flat: Vec<f64> = rows.iter().copied().collect();
    let right = right(problem.shape, &flat, targets, &shares);
    let of_row = |(row, logits): (usize, ndarray::ArrayView1<'_, f64>)| {
        let (kind, target) = (problem.shape.kind, &targets[row]);
        let cross_entropy = match kind {
            TaskKind::OneOf => {
                let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
                sum.ln() + largest - logits[target.label()]
            }
            TaskKind::AnyOf | TaskKind::Number => {
                loss_at(kind, &logits.to_vec(), target, (&problem.counts, row, 1.0))
            }
        };
        Said { cross_entropy: shares[row] * cross_entropy, right: right[row] }
    };
    rows.rows().into_iter().enumerate().map(of_row).collect()
}

/// The strongest within one standard error of the least cross entropy, and what was tried.
fn strength(rows: &Rows<'_>, folds: &[usize]) -> (f64, Vec<Candidate>) {
    let used = used(folds);
    let walk = |fold: usize| {
        rows.without(folds, fold, |training, held_out, _| {
            let products = Products::of(training);
            let mut start = None;
            let of = |alpha: f64| {
                let penalty = penalty(alpha, training.shape);
                let descent = Descent { alpha: penalty, products: &products, start: start.as_ref() };
                let solution = descent.solve(training);
                let said = said(held_out, &solution.parameters);
                start = Some(solution.parameters);
                said
            };
            STRENGTHS.map(of)
        })
    };
    let paths = in_parallel(rows.options.threads, used, &walk);
    let Some(count) = Some(paths.len()).filter(|count| *count > 0) else { return (STRENGTHS[0], Vec::new()) };
    // Folds are as large as each other, to a row per class: their rows count the same.
    let said = |place: usize| paths.iter().flat_map(move |path| path[place].iter().copied());
    let sum = |place: usize, of: &dyn Fn(Said) -> f64| said(place).map(of).sum::<f64>() / count as f64;
    let losses: Vec<f64> = (0..STRENGTHS.len()).map(|place| sum(place, &|said| said.cross_entropy)).collect();
    let least = (0..losses.len()).min_by(|a, b| losses[*a].total_cmp(&losses[*b])).unwrap_or(0);
    // The variance of a sum of independent terms, each near 0 on average.
    let error = |place: usize, other: usize, of: &dyn Fn(Said) -> f64| {
        let squares = said(place).zip(said(other)).map(|(a, b)| (of(a) - of(b)).powi(2));
        squares.sum::<f64>().sqrt() / count as f64
    };
    let near =
        |place: &usize| losses[*place] - losses[least] <= error(*place, least, &|said| said.cross_entropy);
    let chosen = (0..losses.len()).find(near).unwrap_or(least);
    let accuracy = |place: usize| sum(place, &|said| said.right);
    let best = (0..losses.len()).max_by(|a, b| accuracy(*a).total_cmp(&accuracy(*b))).unwrap_or(0);
    let candidate = |place: usize| Candidate {
        features: String::new(),
        alpha: STRENGTHS[place],
        cross_entropy: Some(losses[place]),
        accuracy: accuracy(place),
        standard_error: error(place, best, &|said| said.right),
    };
    (STRENGTHS[chosen], (0..STRENGTHS.len()).map(candidate).collect())
}

/// See [`Refined::held_out`]. A row that is in no fold, as the only one of its class, has the old head's.
fn held_out(rows: &Rows<'_>, folds: &[usize], alpha: f64) -> Vec<f32> {
    let classes = rows.begun.labels.len();
    let mut all = vec![0.0; rows.examples.rows.len() * classes];
    for (out, &row) in all.chunks_exact_mut(classes).zip(rows.examples.rows) {
        rows.begun.logits_of(rows.examples.features, row, out);
    }
    let of_fold = |fold: usize| {
        rows.without(folds, fold, |training, held_out, places| {
            let penalty = penalty(alpha, rows.begun.answers().shape());
            let products = Products::of(training);
            let solution = Descent { alpha: penalty, products: &products, start: None }.solve(training);
            (places.to_vec(), logits(held_out, &solution.parameters))
        })
    };
    for (places, logits) in in_parallel(rows.options.threads, used(folds), &of_fold) {
        for (place, row) in places.into_iter().zip(logits.rows()) {
            let out = &mut all[place * classes..(place + 1) * classes];
            out.iter_mut().zip(row).for_each(|(out, logit)| *out = *logit as f32);
            rows.units.own_logits(out);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heads::FeatureView;
    use crate::heads::fit::fit;
    use crate::metrics::Limits;
    use crate::task::{Target, TaskKind};

    const WIDTH: usize = 24;

    /// Rows of two noisy classes: the first feature says which, unless `flipped`.
    fn rows(count: usize, seed: u64, flipped: bool) -> (Vec<f32>, Vec<u32>) {
        let mut bits = seed;
        let mut draw = || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (bits >> 40) as f32 / 8_388_608.0 - 1.0
        };
        let labels: Vec<u32> = (0..count as u32).map(|row| row % 2).collect();
        let features = labels.iter().flat_map(|label| {
            let mut row: Vec<f32> = (0..WIDTH).map(|_| draw()).collect();
            row[0] += if (*label == 1) == flipped { -0.9 } else { 0.9 };
            row
        });
        (features.collect(), labels)
    }

    fn options(alpha: Alpha) -> FitOptions {
        FitOptions { alpha, threads: 2, ..FitOptions::default() }
    }

    fn names() -> Vec<String> {
        vec!["no".into(), "yes".into()]
    }

    fn answers(labels: &[String]) -> Answers<'_> {
        Answers { task: "t", kind: TaskKind::OneOf, labels, limits: Limits::default() }
    }

    fn with<T>((features, labels): &(Vec<f32>, Vec<u32>), each: impl FnOnce(&Examples<'_>) -> T) -> T {
        let rows: Vec<usize> = (0..labels.len()).collect();
        each(&Examples {
            features: FeatureView::whole(features, WIDTH),
            rows: &rows,
            targets: &Target::each(labels),
        })
    }

    fn old() -> Head {
        with(&rows(600, 1, false), |examples| {
            fit(answers(&names()), examples, &options(Alpha::Fixed(10.0))).unwrap().0
        })
    }

    fn refined(data: &(Vec<f32>, Vec<u32>), alpha: Alpha) -> Refined {
        with(data, |examples| refine(&old(), examples, &options(alpha)).unwrap())
    }

    fn accuracy(head: &Head, (features, labels): &(Vec<f32>, Vec<u32>)) -> f64 {
        let mut logits = vec![0.0; head.labels.len()];
        let right = features.chunks_exact(WIDTH).zip(labels).filter(|(row, label)| {
            head.logits(row, &mut logits);
            (logits[1] > logits[0]) == (**label == 1)
        });
        right.count() as f64 / labels.len() as f64
    }

    #[test]
    fn few_rows_do_not_make_a_head_forget() {
        let fresh = rows(2000, 99, false);
        let before = accuracy(&old(), &fresh);
        for seed in 2..12 {
            let few = rows(12, seed, false);
            let after = accuracy(&refined(&few, Alpha::Auto).head, &fresh);
            assert!(after > before - 0.015, "{seed}: {before} {after}");
        }
        let alone = with(&rows(12, 2, false), |examples| {
            fit(answers(&names()), examples, &options(Alpha::Fixed(10.0))).unwrap().0
        });
        assert!(accuracy(&alone, &fresh) < before - 0.05, "twelve rows alone are enough");
    }

    #[test]
    fn many_rows_that_say_otherwise_move_it() {
        let head = refined(&rows(600, 3, true), Alpha::Auto).head;
        assert!(accuracy(&head, &rows(2000, 99, true)) > 0.9);
    }

    #[test]
    fn a_penalty_without_end_leaves_the_calibrated_head_and_a_fixed_one_counts() {
        let few = rows(40, 5, true);
        let mut begun = old();
        begun.believed.temperature = vec![2.0];
        let kept = with(&few, |examples| {
            let calibrated = super::begun(&begun, answers(&names()));
            refine(&calibrated, examples, &options(Alpha::Fixed(1e12))).unwrap()
        });
        let same = kept.head.weights.iter().zip(&begun.weights).all(|(a, b)| (a - b / 2.0).abs() < 1e-6);
        assert!(same && kept.head.believed.temperature == [1.0] && kept.report.candidates.is_empty());
        let mild = refined(&few, Alpha::Fixed(1.0)).head;
        assert!(accuracy(&mild, &few) > accuracy(&begun, &few) + 0.3);
    }

    #[test]
    fn rows_of_one_class_move_little_and_labels_without_rows_stay() {
        let (features, labels) = rows(40, 6, false);
        let only: (Vec<f32>, Vec<u32>) = (
            features
                .chunks_exact(WIDTH)
                .zip(&labels)
                .filter(|(_, label)| **label == 1)
                .flat_map(|(row, _)| row.to_vec())
                .collect(),
            vec![1; 20],
        );
        let fresh = rows(2000, 99, false);
        let head = refined(&only, Alpha::Auto).head;
        assert_eq!(head.labels, ["no", "yes"]);
        assert!(accuracy(&head, &fresh) > accuracy(&old(), &fresh) - 0.05);
        // A single row has no fold to be held out in: the head stays.
        let single = (only.0[..WIDTH].to_vec(), vec![1]);
        let head = refined(&single, Alpha::Auto).head;
        assert!((accuracy(&head, &fresh) - accuracy(&old(), &fresh)).abs() < 0.005);
    }

    #[test]
    fn a_new_label_is_learned_beside_the_old_ones() {
        let labels: Vec<String> = ["maybe", "no", "yes"].map(str::to_owned).into();
        let (mut features, mut truth) = rows(300, 7, false);
        for (row, label) in features.chunks_exact_mut(WIDTH).zip(&mut truth) {
            *label += 1;
            if row[1] > 0.4 {
                *label = 0;
            }
        }
        let data = (features, truth);
        let options = options(Alpha::Auto);
        let begun = begun(&old(), answers(&labels));
        let head = with(&data, |examples| refine(&begun, examples, &options).unwrap().head);
        let mut logits = vec![0.0; 3];
        let found = data.0.chunks_exact(WIDTH).filter(|row| row[1] > 0.6).filter(|row| {
            head.logits(row, &mut logits);
            logits[0] > logits[1].max(logits[2])
        });
        let asked = data.0.chunks_exact(WIDTH).filter(|row| row[1] > 0.6).count();
        assert!(found.count() as f64 > 0.8 * asked as f64);
    }

    #[test]
    fn held_out_logits_are_of_heads_that_did_not_see_the_row() {
        // Labels of noise: what is learned of them helps no row that was not seen.
        let (features, labels) = rows(36, 8, false);
        let noise: Vec<u32> = (0..36).map(|row| u32::from(row * 7 % 36 < 18)).collect();
        let data = (features, noise);
        let found = refined(&data, Alpha::Fixed(1e-3));
        let held_out = found.held_out.chunks_exact(2).zip(&data.1);
        let right = held_out.filter(|(row, label)| (row[1] > row[0]) == (**label == 1)).count();
        assert!(accuracy(&found.head, &data) > 0.9 && right < 28, "{right} of {}", labels.len());
    }
}
