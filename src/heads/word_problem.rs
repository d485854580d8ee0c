//! Owns the fit of a head's words: a sparse logistic regression, its objective and its descent.
//!
//! `loss(V, c) = Σ_i w_i · (logsumexp(x_i V + c) − (x_i V + c)[y_i]) + α/2 · |V|²`, the bias not penalised,
//! as that of the features (`objective.rs`), in double precision throughout. What stands in fewer texts than
//! asked for has no weight; the rest counts as it is, or, weighed by rarity, divided by the root of the
//! number of texts that it stands in, so that the penalty holds rare pieces back no more than common ones.
//! Refuses to let the number of threads change the result.

use std::collections::HashMap;
use std::ops::Range;

use ndarray::{Array2, ArrayView1, s};

use super::class_weight::{Counts, counts};
use super::descent::descend;
use super::head::Shape;
use super::loss::{first_curvature, slopes};
use super::minimize::{TOLERANCE_PER_ROW, penalty};
use super::options::{Examples, FitOptions};
use super::parallel::PARTS;
use super::solver::Solution;
use super::word_options::Weighing;
use super::word_rows::{WordEntry, WordRows};
use crate::parallel::in_parallel;
use crate::task::TaskKind;

/// How long the gradient may be at the end of a fit, per row, where fits are compared.
const COARSE: f64 = 1e-3;

/// Labelled rows as the fit of words sees them.
pub(super) struct WordProblem<'a> {
    words: &'a WordRows,
    examples: Examples<'a>,
    shape: Shape,
    /// What rows count.
    counts: Counts,
    /// The places that have weights, in rising order.
    pub places: Vec<u32>,
    /// What an entry of each of them counts more.
    rarity: Vec<f64>,
    /// Per row, its entries among those.
    rows: Sparse,
    /// Per place, the rows that it stands in.
    columns: Sparse,
    /// How long the gradient may be at the end, per row.
    precision: f64,
    threads: usize,
}

/// Lists of numbers with what each counts, one after another.
#[derive(Default)]
struct Sparse {
    ends: Vec<usize>,
    entries: Vec<WordEntry>,
}

impl Sparse {
    fn of(&self, list: usize) -> &[WordEntry] {
        let start = list.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.entries[start..self.ends[list]]
    }

    /// The lists of the numbers, each of what they stood in.
    fn transposed(&self, numbers: usize) -> Self {
        let mut starts = vec![0; numbers + 1];
        self.entries.iter().for_each(|(number, _)| starts[*number as usize + 1] += 1);
        for number in 0..numbers {
            starts[number + 1] += starts[number];
        }
        let ends = starts[1..].to_vec();
        let mut entries = vec![(0, 0.0); self.entries.len()];
        for list in 0..self.ends.len() {
            for (number, counts) in self.of(list) {
                let place = &mut starts[*number as usize];
                entries[*place] = (u32::try_from(list).unwrap_or(u32::MAX), *counts);
                *place += 1;
            }
        }
        Self { ends, entries }
    }
}

impl<'a> WordProblem<'a> {
    /// The problem of these rows: places that stand in `at_least` different texts of them have weights.
    pub fn new(
        words: &'a WordRows,
        examples: &Examples<'a>,
        (shape, weighing): (Shape, Weighing),
        options: &FitOptions,
    ) -> Self {
        let (places, rarity) = frequent((words, examples.rows), options.words.at_least, weighing);
        let numbers: HashMap<u32, u32> = (0..).zip(&places).map(|(number, place)| (*place, number)).collect();
        let mut rows = Sparse::default();
        for &row in examples.rows {
            let known = words.row(row).iter();
            rows.entries.extend(known.filter_map(|(place, counts)| {
                let number = *numbers.get(place)?;
                Some((number, (f64::from(*counts) * rarity[number as usize]) as f32))
            }));
            rows.ends.push(rows.entries.len());
        }
        let columns = rows.transposed(places.len());
        let counts = counts(examples.targets, shape, options.class_weight);
        let (examples, threads) = (*examples, options.threads);
        let precision = TOLERANCE_PER_ROW;
        Self { words, examples, shape, counts, places, rarity, rows, columns, precision, threads }
    }

    /// The same, to be solved only as far as choices need it.
    pub fn coarse(self) -> Self {
        Self { precision: COARSE, ..self }
    }

    /// The weights and the bias `[places + 1, classes]` with this penalty, from `start` on or from zero.
    pub fn solve(&self, alpha: f64, start: Option<&Array2<f64>>) -> Solution {
        let alpha = penalty(alpha, self.shape);
        let curvature = self.curvature(alpha);
        let guess = |direction: &mut Array2<f64>| {
            for (mut row, curvature) in direction.rows_mut().into_iter().zip(&curvature) {
                row.mapv_inplace(|value| value / curvature);
            }
        };
        let zeros = || Array2::zeros((self.places.len() + 1, self.shape.classes));
        let start = start.cloned().unwrap_or_else(zeros);
        descend(&|parameters| self.at(alpha, parameters), &guess, start)
    }

    /// The Hessian's diagonal where nothing is known yet: `c·Σ_i w_i x_ij² + α` with `c = (1 − 1/k) / k`.
    fn curvature(&self, alpha: f64) -> Vec<f64> {
        let scale = first_curvature(self.shape, self.examples.targets);
        let of_place = |place: usize| {
            let squares = self.columns.of(place).iter();
            let sum: f64 = squares
                .map(|(row, counts)| self.counts.row(*row as usize) * f64::from(*counts).powi(2))
                .sum();
            scale * sum + alpha
        };
        let bias: f64 = (0..self.examples.rows.len()).map(|row| self.counts.row(row)).sum();
        (0..self.places.len()).map(of_place).chain([(scale * bias).max(f64::MIN_POSITIVE)]).collect()
    }

    fn at(&self, alpha: f64, parameters: Array2<f64>) -> Solution {
        let (loss, gradient) = self.loss_and_gradient(alpha, &parameters);
        let gradient_norm = gradient.iter().map(|value| value * value).sum::<f64>().sqrt();
        let tolerance = self.precision * self.examples.rows.len() as f64;
        Solution { parameters, loss, gradient, gradient_norm, tolerance }
    }

    /// Loss and gradient (`[places + 1, classes]`, the last row the bias's).
    fn loss_and_gradient(&self, alpha: f64, parameters: &Array2<f64>) -> (f64, Array2<f64>) {
        let (rows, places) = (self.examples.rows.len(), self.places.len());
        let parts = |count: usize| -> Vec<Range<usize>> {
            (0..PARTS).map(|part| part * count / PARTS..(part + 1) * count / PARTS).collect()
        };
        let forward = in_parallel(self.threads, parts(rows), &|part| self.residuals(parameters, part));
        let weights = parameters.slice(s![..places, ..]);
        let mut loss = 0.5 * alpha * weights.iter().map(|weight| weight * weight).sum::<f64>();
        let mut residuals = Vec::with_capacity(rows * self.shape.classes);
        for (part_loss, part) in forward {
            loss += part_loss;
            residuals.extend(part);
        }
        let backward = in_parallel(self.threads, parts(places), &|part: Range<usize>| {
            let mut gradient = Vec::with_capacity(part.len() * self.shape.classes);
            for place in part {
                gradient.extend(parameters.row(place).iter().map(|weight| alpha * weight));
                let first = gradient.len() - self.shape.classes;
                for (row, counts) in self.columns.of(place) {
                    let residual = &residuals[*row as usize * self.shape.classes..][..self.shape.classes];
                    add(&mut gradient[first..], residual, f64::from(*counts));
                }
            }
            gradient
        });
        let mut gradient: Vec<f64> = backward.into_iter().flatten().collect();
        let mut bias = vec![0.0; self.shape.classes];
        residuals.chunks_exact(self.shape.classes).for_each(|residual| add(&mut bias, residual, 1.0));
        gradient.extend(bias);
        let gradient = Array2::from_shape_vec((places + 1, self.shape.classes), gradient);
        (loss, gradient.expect("every place has a number a class: anything else is a bug"))
    }

    /// Loss of some rows, and the slopes of each, one after another.
    fn residuals(&self, parameters: &Array2<f64>, part: Range<usize>) -> (f64, Vec<f64>) {
        let (mut loss, mut all) = (0.0, Vec::with_capacity(part.len() * self.shape.classes));
        for row in part {
            let first = all.len();
            all.extend(parameters.row(self.places.len()));
            let logits = &mut all[first..];
            for (place, counts) in self.rows.of(row) {
                add(logits, in_a_row(parameters.row(*place as usize)), f64::from(*counts));
            }
            let target = &self.examples.targets[row];
            loss += match self.shape.kind {
                TaskKind::OneOf => of_one(logits, target.label(), self.counts.row(row)),
                kind => slopes(kind, logits, target, (&self.counts, row)),
            };
        }
        (loss, all)
    }

    /// The weights of the places as they are, `[places, classes]`, and the bias.
    pub fn weights(&self, parameters: &Array2<f64>) -> (Vec<f64>, Vec<f64>) {
        let rows = parameters.rows().into_iter().zip(&self.rarity);
        let weights =
            rows.flat_map(|(row, rarity)| row.iter().map(|weight| weight * rarity).collect::<Vec<_>>());
        (weights.collect(), parameters.row(self.places.len()).to_vec())
    }

    /// The logits of other rows, `[rows, classes]`.
    pub fn logits(&self, parameters: &Array2<f64>, rows: &[usize]) -> Vec<f64> {
        let mut all = Vec::with_capacity(rows.len() * self.shape.classes);
        for &row in rows {
            let first = all.len();
            all.extend(parameters.row(self.places.len()));
            for (place, counts) in self.words.row(row) {
                if let Ok(number) = self.places.binary_search(place) {
                    add(
                        &mut all[first..],
                        in_a_row(parameters.row(number)),
                        f64::from(*counts) * self.rarity[number],
                    );
                }
            }
        }
        all
    }
}

/// The places that stand in so many different texts of some rows, in rising order, and what an entry of each
/// counts more.
fn frequent((words, rows): (&WordRows, &[usize]), at_least: u32, weighing: Weighing) -> (Vec<u32>, Vec<f64>) {
    let mut counts = vec![0_u32; words.grams().places()];
    for row in words.different(rows) {
        words.row(row).iter().for_each(|(place, _)| counts[*place as usize] += 1);
    }
    let frequent = (0..).zip(counts).filter(|(_, count)| *count >= at_least.max(1));
    frequent.map(|(place, count)| (place, weighing.of(count))).unzip()
}

/// Turns the logits of a row with one label into the slopes of its loss, and gives that.
fn of_one(logits: &mut [f64], label: usize, weight: f64) -> f64 {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let of_label = logits[label] - largest;
    logits.iter_mut().for_each(|logit| *logit = (*logit - largest).exp());
    let sum: f64 = logits.iter().sum();
    logits.iter_mut().for_each(|share| *share *= weight / sum);
    logits[label] -= weight;
    weight * (sum.ln() - of_label)
}

fn add(sums: &mut [f64], row: &[f64], counts: f64) {
    sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += counts * value);
}

fn in_a_row(row: ArrayView1<'_, f64>) -> &[f64] {
    row.to_slice().expect("rows of a standard array are contiguous: anything else is a bug")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::*;
    use crate::heads::{FeatureView, WordTable, WordsOptions};
    use crate::task::Target;
    use crate::tokens::Grams;

    fn rows(texts: &[Vec<u32>], grams: Grams) -> WordRows {
        let mut table = WordTable::new(grams);
        texts.iter().for_each(|ids| table.push(std::slice::from_ref(ids)));
        WordRows::new(Arc::new(table), (0..texts.len() as u32).collect())
    }

    fn golden() -> Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/words_golden.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    /// Does something with each problem of the golden file, with its penalty and scikit-learn's loss.
    fn each(options: &FitOptions, mut check: impl FnMut(&WordProblem<'_>, f64, f64)) {
        let golden = golden();
        let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        for case in golden["cases"].as_array().unwrap() {
            let texts: Vec<Vec<u32>> = serde_json::from_value(case["texts"].clone()).unwrap();
            let labels: Vec<u32> = serde_json::from_value(case["labels"].clone()).unwrap();
            let grams =
                Grams { pieces: number(&golden["pieces"]), pairs: number(&golden["pairs"]), ids: None };
            let words = rows(&texts, grams);
            let (features, every) = (vec![0.0; texts.len()], (0..texts.len()).collect::<Vec<_>>());
            let examples = Examples {
                features: FeatureView::whole(&features, 1),
                rows: &every,
                targets: &Target::each(&labels),
            };
            for (weighing, name) in [(Weighing::Plain, "plain"), (Weighing::Rare, "rare")] {
                let problem = WordProblem::new(
                    &words,
                    &examples,
                    (Shape::one_of(number(&case["classes"])), weighing),
                    options,
                );
                check(&problem, case["alpha"].as_f64().unwrap(), case[name].as_f64().unwrap());
            }
        }
    }

    /// scikit-learn stopped at a gradient of 1e-10, ours at 1e-4 per row: a loss above its by some 1e-6 of
    /// it.
    #[test]
    fn the_loss_is_that_of_scikit_learn() {
        each(&FitOptions::default(), |problem, alpha, expected| {
            let solution = problem.solve(alpha, None);
            assert!(solution.converged(), "{alpha}: {}", solution.gradient_norm);
            let ratio = solution.loss / expected;
            assert!((1.0 - 1e-6..1.0005).contains(&ratio), "alpha {alpha}: {ratio}");
        });
    }

    #[test]
    fn the_gradient_is_that_of_the_loss_and_threads_change_nothing() {
        let options =
            FitOptions { class_weight: crate::heads::ClassWeight::Balanced, ..FitOptions::default() };
        each(&options, |problem, alpha, _| {
            let shape = (problem.places.len() + 1, problem.shape.classes);
            let at = Array2::from_shape_fn(shape, |(place, class)| {
                ((place * 7 + class * 3) % 11) as f64 / 11.0 - 0.5
            });
            let (_, gradient) = problem.loss_and_gradient(alpha, &at);
            // Central differences: error of order step² ≈ 1e-10.
            let step = 1e-5;
            for place in [(0, 0), (5, 1), (shape.0 / 2, 0), (shape.0 - 2, 1), (shape.0 - 1, 1)] {
                let moved = |by: f64| {
                    let mut moved = at.clone();
                    moved[place] += by;
                    problem.loss_and_gradient(alpha, &moved).0
                };
                let difference = (moved(step) - moved(-step)) / (2.0 * step);
                assert!(
                    (difference - gradient[place]).abs() < 1e-5,
                    "{place:?}: {difference} {}",
                    gradient[place]
                );
            }
        });
        each(&FitOptions { threads: 3, ..FitOptions::default() }, |problem, alpha, _| {
            let (three, one) = (problem.solve(alpha, None), {
                let mut alone = Vec::new();
                each(&FitOptions::default(), |other, same, _| {
                    if same.to_bits() == alpha.to_bits()
                        && other.shape == problem.shape
                        && other.rarity == problem.rarity
                    {
                        alone.push(other.solve(same, None).parameters);
                    }
                });
                alone.remove(0)
            });
            assert_eq!(three.parameters, one);
        });
    }

    #[test]
    fn what_stands_in_too_few_texts_has_no_weight_however_many_rows_repeat_it() {
        let grams = Grams { pieces: 10, pairs: 1, ids: None };
        let mut table = WordTable::new(grams);
        [vec![1, 5], vec![1, 6], vec![1, 7]].iter().for_each(|ids| table.push(std::slice::from_ref(ids)));
        // The first text three times.
        let words = WordRows::new(Arc::new(table), vec![0, 0, 0, 1, 2]);
        let features = [0.0; 5];
        let examples = Examples {
            features: FeatureView::whole(&features, 1),
            rows: &[0, 1, 2, 3, 4],
            targets: &Target::each(&[0, 0, 0, 1, 1]),
        };
        let of = |at_least| {
            let words_options = WordsOptions { at_least, ..WordsOptions::default() };
            let options = FitOptions { words: words_options, ..FitOptions::default() };
            WordProblem::new(&words, &examples, (Shape::one_of(2), Weighing::Plain), &options).places
        };
        assert_eq!(of(1), [1, 5, 6, 7, 10]);
        assert_eq!(of(2), [1, 10]);
        assert_eq!(of(4), [0_u32; 0]);
    }
}
