//! Owns the fit of a head's words: a sparse logistic regression, its objective and its descent.
//!
//! `loss(V, c) = Σ_i w_i · (logsumexp(x_i V + c) − (x_i V + c)[y_i]) + α/2 · |V|²`, the bias not penalised, as
//! that of the features (`objective.rs`), in double precision throughout; what stands in fewer rows than asked
//! for has no weights. Refuses to let the number of threads change the result.

use std::collections::HashMap;
use std::ops::Range;

use ndarray::{Array2, ArrayView1, s};

use super::class_weight::row_weights;
use super::descent::descend;
use super::minimize::{TOLERANCE_PER_ROW, penalty};
use super::options::{Examples, FitOptions};
use super::parallel::PARTS;
use super::solver::Solution;
use super::word_rows::{WordEntry, WordRows};
use crate::parallel::in_parallel;

/// Labelled rows as the fit of words sees them.
pub(super) struct WordProblem<'a> {
    words: &'a WordRows,
    examples: Examples<'a>,
    classes: usize,
    /// What each row counts; 1 where there are none.
    weights: Option<Vec<f64>>,
    /// The places that have weights, in rising order.
    pub places: Vec<u32>,
    /// Per row, its entries among those.
    rows: Sparse,
    /// Per place, the rows that it stands in.
    columns: Sparse,
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
    pub fn new(words: &'a WordRows, examples: &Examples<'a>, classes: usize, options: &FitOptions) -> Self {
        let places = frequent(words, examples.rows, options.words.at_least);
        let numbers: HashMap<u32, u32> = (0..).zip(&places).map(|(number, place)| (*place, number)).collect();
        let mut rows = Sparse::default();
        for &row in examples.rows {
            let known = words.row(row).iter();
            rows.entries.extend(known.filter_map(|(place, counts)| Some((*numbers.get(place)?, *counts))));
            rows.ends.push(rows.entries.len());
        }
        let columns = rows.transposed(places.len());
        let weights = row_weights(examples.labels, classes, options.class_weight);
        Self { words, examples: *examples, classes, weights, places, rows, columns, threads: options.threads }
    }

    fn weight(&self, row: usize) -> f64 {
        self.weights.as_ref().map_or(1.0, |weights| weights[row])
    }

    /// The weights and the bias `[places + 1, classes]` with this penalty, from `start` on or from zero.
    pub fn solve(&self, alpha: f64, start: Option<&Array2<f64>>) -> Solution {
        let alpha = penalty(alpha, self.classes);
        let curvature = self.curvature(alpha);
        let guess = |direction: &mut Array2<f64>| {
            for (mut row, curvature) in direction.rows_mut().into_iter().zip(&curvature) {
                row.mapv_inplace(|value| value / curvature);
            }
        };
        let zeros = || Array2::zeros((self.places.len() + 1, self.classes));
        let start = start.cloned().unwrap_or_else(zeros);
        descend(&|parameters| self.at(alpha, parameters), &guess, start)
    }

    /// The Hessian's diagonal where nothing is known yet: `c·Σ_i w_i x_ij² + α` with `c = (1 − 1/k) / k`.
    fn curvature(&self, alpha: f64) -> Vec<f64> {
        let scale = (1.0 - 1.0 / self.classes as f64) / self.classes as f64;
        let of_place = |place: usize| {
            let squares = self.columns.of(place).iter();
            let sum: f64 =
                squares.map(|(row, counts)| self.weight(*row as usize) * f64::from(*counts).powi(2)).sum();
            scale * sum + alpha
        };
        let bias: f64 = (0..self.examples.rows.len()).map(|row| self.weight(row)).sum();
        (0..self.places.len()).map(of_place).chain([(scale * bias).max(f64::MIN_POSITIVE)]).collect()
    }

    fn at(&self, alpha: f64, parameters: Array2<f64>) -> Solution {
        let (loss, gradient) = self.loss_and_gradient(alpha, &parameters);
        let gradient_norm = gradient.iter().map(|value| value * value).sum::<f64>().sqrt();
        let tolerance = TOLERANCE_PER_ROW * self.examples.rows.len() as f64;
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
        let mut residuals = Vec::with_capacity(rows * self.classes);
        for (part_loss, part) in forward {
            loss += part_loss;
            residuals.extend(part);
        }
        let backward = in_parallel(self.threads, parts(places), &|part: Range<usize>| {
            let mut gradient = Vec::with_capacity(part.len() * self.classes);
            for place in part {
                gradient.extend(parameters.row(place).iter().map(|weight| alpha * weight));
                let first = gradient.len() - self.classes;
                for (row, counts) in self.columns.of(place) {
                    let residual = &residuals[*row as usize * self.classes..][..self.classes];
                    add(&mut gradient[first..], residual, f64::from(*counts));
                }
            }
            gradient
        });
        let mut gradient: Vec<f64> = backward.into_iter().flatten().collect();
        let mut bias = vec![0.0; self.classes];
        residuals.chunks_exact(self.classes).for_each(|residual| add(&mut bias, residual, 1.0));
        gradient.extend(bias);
        let gradient = Array2::from_shape_vec((places + 1, self.classes), gradient);
        (loss, gradient.expect("every place has a number a class: anything else is a bug"))
    }

    /// Loss of some rows, and `w · (softmax − onehot)` of each, one after another.
    fn residuals(&self, parameters: &Array2<f64>, part: Range<usize>) -> (f64, Vec<f64>) {
        let (mut loss, mut all) = (0.0, Vec::with_capacity(part.len() * self.classes));
        for row in part {
            let first = all.len();
            all.extend(parameters.row(self.places.len()));
            let logits = &mut all[first..];
            for (place, counts) in self.rows.of(row) {
                add(logits, in_a_row(parameters.row(*place as usize)), f64::from(*counts));
            }
            let (label, weight) = (self.examples.labels[row] as usize, self.weight(row));
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let of_label = logits[label] - largest;
            logits.iter_mut().for_each(|logit| *logit = (*logit - largest).exp());
            let sum: f64 = logits.iter().sum();
            loss += weight * (sum.ln() - of_label);
            logits.iter_mut().for_each(|share| *share *= weight / sum);
            logits[label] -= weight;
        }
        (loss, all)
    }

    /// The logits of other rows, `[rows, classes]`.
    pub fn logits(&self, parameters: &Array2<f64>, rows: &[usize]) -> Vec<f64> {
        let mut all = Vec::with_capacity(rows.len() * self.classes);
        for &row in rows {
            let first = all.len();
            all.extend(parameters.row(self.places.len()));
            for (place, counts) in self.words.row(row) {
                if let Ok(number) = self.places.binary_search(place) {
                    add(&mut all[first..], in_a_row(parameters.row(number)), f64::from(*counts));
                }
            }
        }
        all
    }
}

/// The places that stand in so many different texts of some rows, in rising order.
fn frequent(words: &WordRows, rows: &[usize], at_least: u32) -> Vec<u32> {
    let mut counts = vec![0_u32; words.grams().places()];
    for row in words.different(rows) {
        words.row(row).iter().for_each(|(place, _)| counts[*place as usize] += 1);
    }
    let frequent = (0..).zip(counts).filter(|(_, count)| *count >= at_least.max(1));
    frequent.map(|(place, _)| place).collect()
}

fn add(sums: &mut [f64], row: &[f64], counts: f64) {
    sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += counts * value);
}

fn in_a_row(row: ArrayView1<'_, f64>) -> &[f64] {
    row.to_slice().expect("rows of a standard array are contiguous: anything else is a bug")
}
