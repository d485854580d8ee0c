//! Owns the fit of a head's words: a sparse logistic regression, its objective and its descent.
//!
//! `loss(V, c) = Σ_i w_i · (logsumexp(x_i V + c) − (x_i V + c)[y_i]) + α/2 · |V|²`, the bias not penalised,
//! as that of the features (`objective.rs`), or the loss of another kind (`loss.rs`); most steps multiply in
//! single precision, the last in double, all sums are in double. What stands in fewer texts than asked for has no weight; the rest counts as it is, or, weighed by rarity, divided by the root of
//! the number of texts that it stands in, so that the penalty holds rare pieces back no more than common ones.
//! Refuses to let the number of threads change the result.

use std::ops::Range;

use ndarray::Array2;

use super::class_weight::{Counts, counts};
use super::descent::{Pace, STEPS, descend};
use super::loss::{answer, bends, slopes};
use super::memory::Memory;
use super::minimize::{TOLERANCE_PER_ROW, penalty};
use super::options::{Examples, FitOptions};
use super::parallel::PARTS;
use super::precision::Precision;
use super::preconditioner::{Common, Preconditioner, dot};
use super::shape::Shape;
use super::solver::Solution;
use super::sparse::{Sparse, gather};
use super::word_options::Weighing;
use super::word_rows::WordRows;
use crate::parallel::in_parallel;
use crate::task::{Target, TaskKind};

/// How long the gradient may be at the end of a fit, per row, where fits are compared.
const COARSE: f64 = 1e-3;
/// Steps after which what is known of the Hessian is made anew: it changes most at the beginning.
const STAGES: [usize; 3] = [16, 32, STEPS];
/// Steps remembered; ten took a tenth fewer passes, and more time between them (`docs/LOG.md`, *words*).
const MEMORY: usize = 6;

/// Labelled rows as the fit of words sees them.
pub(super) struct WordProblem<'a> {
    words: &'a WordRows,
    examples: Examples<'a>,
    shape: Shape,
    counts: Counts,
    /// The places that have weights, what stands in most rows first: so what is asked for most lies together.
    pub places: Vec<u32>,
    /// Per place, which of those it is.
    numbers: Vec<Option<u32>>,
    /// What an entry of each of them counts more.
    rarity: Vec<f64>,
    /// Per row, its entries among those.
    rows: Sparse,
    /// Per place, the rows that it stands in.
    columns: Sparse,
    /// What stands in most rows, and where: what the preconditioner knows more of.
    common: Common,
    /// How long the gradient may be at the end, per row.
    precision: f64,
    threads: usize,
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
        let mut numbers = vec![None; words.grams().places()];
        (0_u32..).zip(&places).for_each(|(number, place)| numbers[*place as usize] = Some(number));
        let mut rows = Sparse::default();
        for &row in examples.rows {
            rows.push(words.row(row).iter().filter_map(|(place, counts)| {
                let number = numbers[*place as usize]?;
                Some((number, (f64::from(*counts) * rarity[number as usize]) as f32))
            }));
        }
        let columns = rows.transposed(places.len());
        let common = Common::of(&rows, &columns, shape.classes);
        let counts = counts(examples.targets, shape, options.class_weight);
        let (examples, threads) = (*examples, options.threads);
        let precision = TOLERANCE_PER_ROW;
        Self {
            words,
            examples,
            shape,
            counts,
            places,
            numbers,
            rarity,
            rows,
            columns,
            common,
            precision,
            threads,
        }
    }

    /// The same, to be solved only as far as choices need it.
    pub fn coarse(self) -> Self {
        Self { precision: COARSE, ..self }
    }

    /// The weights and the bias `[places + 1, classes]` with this penalty, from `start` on or from zero.
    pub fn solve(&self, alpha: f64, start: Option<&Array2<f64>>) -> Solution {
        let zeros = || Array2::zeros((self.places.len() + 1, self.shape.classes));
        let start = start.cloned().unwrap_or_else(zeros);
        let penalised = Penalised { problem: self, alpha: penalty(alpha, self.shape) };
        let (mut guess, mut near) = (penalised.preconditioner(&start), start);
        for steps in STAGES {
            let pace = Pace { steps, slack: self.precision / 2.0 };
            let apply = |direction: &mut Array2<f64>| guess.apply(direction);
            // A new guess, whose steps tell how much of its curvature is left.
            let memory = &mut self.memory();
            let (found, ended) = descend(&|at| penalised.at::<f32>(at), (&apply, memory), near, &pace);
            near = found.parameters;
            if ended {
                break;
            }
            guess = penalised.preconditioner(&near);
        }
        let apply = |direction: &mut Array2<f64>| guess.apply(direction);
        descend(&|at| penalised.at::<f64>(at), (&apply, &mut self.memory()), near, &Pace::plain()).0
    }

    fn memory(&self) -> Memory {
        Memory::of(MEMORY, self.shape.kind == TaskKind::AnyOf)
    }

    /// Something of the logits of every row, `[rows, classes]`: `each` finds it in their place, and what it
    /// gives is added up.
    fn forward<T: Precision>(&self, parameters: &[T], each: &Each<'_>) -> (f64, Vec<T>) {
        let bias: Vec<f64> =
            parameters[self.places.len() * self.shape.classes..].iter().map(|n| n.double()).collect();
        let of_part = |part: Range<usize>| {
            let (mut sum, mut all) = (0.0, Vec::with_capacity(part.len() * self.shape.classes));
            let mut logits = bias.clone();
            for row in part {
                logits.copy_from_slice(&bias);
                gather(self.rows.of(row), parameters, counted, &mut logits);
                sum += each(row, &mut logits);
                all.extend(logits.iter().map(|value| T::of(*value)));
            }
            (sum, all)
        };
        let parts = in_parallel(self.threads, self.rows.parts(PARTS), &of_part);
        parts.into_iter().fold((0.0, Vec::new()), |(sum, mut all), (part_sum, part)| {
            all.extend(part);
            (sum + part_sum, all)
        })
    }

    /// Sums over the rows of numbers of each, `[rows, classes]`, times what each place counts in it, or its
    /// square; then the plain sums: `[places + 1, classes]`.
    fn backward<T: Precision>(&self, values: &[T], squared: bool) -> Vec<f64> {
        let of_part = |part: Range<usize>| {
            let mut sums = vec![0.0; part.len() * self.shape.classes];
            for (place, sums) in part.zip(sums.chunks_exact_mut(self.shape.classes)) {
                let rows = self.columns.of(place);
                if squared {
                    gather(rows, values, |counts| counted::<T>(counts) * counted(counts), sums);
                } else {
                    gather(rows, values, counted, sums);
                }
            }
            sums
        };
        let parts = in_parallel(self.threads, self.columns.parts(PARTS), &of_part);
        let mut sums = Vec::with_capacity((self.places.len() + 1) * self.shape.classes);
        parts.iter().for_each(|part| sums.extend_from_slice(part));
        let mut bias = vec![0.0; self.shape.classes];
        for value in values.chunks_exact(self.shape.classes) {
            bias.iter_mut().zip(value).for_each(|(sum, value)| *sum += value.double());
        }
        sums.extend(bias);
        sums
    }

    /// What is true of a row, and what it counts.
    fn truth(&self, row: usize) -> (&Target, (&Counts, usize)) {
        (&self.examples.targets[row], (&self.counts, row))
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
        let parameters = in_a_row(parameters);
        let of = |place: usize| &parameters[place * self.shape.classes..][..self.shape.classes];
        let mut all = Vec::with_capacity(rows.len() * self.shape.classes);
        for &row in rows {
            let first = all.len();
            all.extend(of(self.places.len()));
            for (place, counts) in self.words.row(row) {
                if let Some(number) = self.numbers[*place as usize] {
                    let number = number as usize;
                    add(&mut all[first..], of(number), f64::from(*counts) * self.rarity[number]);
                }
            }
        }
        all
    }
}

/// Does something with a row's logits, in their place.
type Each<'e> = dyn Fn(usize, &mut [f64]) -> f64 + Sync + 'e;

/// The problem with a penalty.
struct Penalised<'p> {
    problem: &'p WordProblem<'p>,
    /// As it is in the loss.
    alpha: f64,
}

impl Penalised<'_> {
    /// Adds the penalty's part of a gradient or a product, `α · parameters` without the bias.
    fn add_penalty(&self, parameters: &Array2<f64>, mut sums: Vec<f64>) -> Array2<f64> {
        let weights = self.problem.places.len() * self.problem.shape.classes;
        let held = sums[..weights].iter_mut().zip(parameters);
        held.for_each(|(sum, weight)| *sum += self.alpha * weight);
        let sums = Array2::from_shape_vec(parameters.raw_dim(), sums);
        sums.expect("every place has a number a class: anything else is a bug")
    }

    /// How each row's loss curves along each of its logits, and the Hessian's diagonal, all of it above 0.
    fn diagonal(&self, answers: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let Self { problem, alpha } = self;
        let classes = problem.shape.classes;
        let mut bent = answers.to_vec();
        for (row, bent) in bent.chunks_exact_mut(classes).enumerate() {
            let (target, counts) = problem.truth(row);
            bends(problem.shape.kind, bent, target, counts);
        }
        let mut sums = problem.backward(&bent, true);
        let (weights, bias) = sums.split_at_mut(problem.places.len() * classes);
        weights.iter_mut().for_each(|sum| *sum += alpha);
        bias.iter_mut().for_each(|sum| *sum = sum.max(f64::MIN_POSITIVE));
        (bent, sums)
    }
    /// What is answered to every row, `[rows, classes]`.
    fn answers(&self, parameters: &Array2<f64>) -> Vec<f64> {
        let problem = self.problem;
        let answered = problem.forward(in_a_row(parameters), &|row, logits| {
            let (target, counts) = problem.truth(row);
            answer(problem.shape.kind, logits, target, counts)
        });
        answered.1
    }

    /// Loss and gradient; numbers that are multiplied in this precision, sums in double.
    fn at<T: Precision>(&self, parameters: Array2<f64>) -> Solution {
        let Self { problem, alpha } = self;
        let numbers: Vec<T> = in_a_row(&parameters).iter().map(|value| T::of(*value)).collect();
        let (loss, residuals) = problem.forward(&numbers, &|row, logits| {
            let (target, counts) = problem.truth(row);
            slopes(problem.shape.kind, logits, target, counts)
        });
        let weights = &in_a_row(&parameters)[..problem.places.len() * problem.shape.classes];
        let loss = loss + 0.5 * alpha * dot(weights, weights);
        let gradient = self.add_penalty(&parameters, problem.backward(&residuals, false));
        let gradient_norm = gradient.iter().map(|value| value * value).sum::<f64>().sqrt();
        let tolerance = problem.precision * problem.examples.rows.len() as f64;
        Solution { parameters, loss, gradient, gradient_norm, tolerance }
    }

    /// What is known of the Hessian there.
    fn preconditioner(&self, parameters: &Array2<f64>) -> Preconditioner {
        let (own, diagonal) = self.diagonal(&self.answers(parameters));
        self.problem.common.preconditioner(
            &self.problem.rows,
            (&own, diagonal),
            self.alpha,
            self.problem.threads,
        )
    }
}

/// The places that stand in so many different texts of some rows, what stands in most first, and what an entry
/// of each counts more.
fn frequent((words, rows): (&WordRows, &[usize]), at_least: u32, weighing: Weighing) -> (Vec<u32>, Vec<f64>) {
    let mut counts = vec![0_u32; words.grams().places()];
    for row in words.different(rows) {
        words.row(row).iter().for_each(|(place, _)| counts[*place as usize] += 1);
    }
    let frequent = (0..).zip(counts).filter(|(_, count)| *count >= at_least.max(1));
    let mut frequent: Vec<(u32, u32)> = frequent.collect();
    frequent.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    frequent.into_iter().map(|(place, count)| (place, weighing.of(count))).unzip()
}

/// What an entry counts, in some precision.
fn counted<T: Precision>(counts: f32) -> T {
    T::of(f64::from(counts))
}

fn add(sums: &mut [f64], row: &[f64], counts: f64) {
    sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += counts * value);
}

fn in_a_row(parameters: &Array2<f64>) -> &[f64] {
    parameters.as_slice().expect("a standard array is contiguous: anything else is a bug")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::*;
    use crate::heads::{FeatureView, WordTable, WordsOptions};
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
            let penalised = Penalised { problem, alpha };
            let there = penalised.at::<f64>(at.clone());
            let (gradient, single) = (&there.gradient, penalised.at::<f32>(at.clone()).gradient);
            // Sums of at most some hundred numbers, each right to 6e-8 of it.
            let largest = gradient.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
            let off = (&single - gradient).iter().fold(0.0_f64, |most, off| most.max(off.abs()));
            assert!(off < 1e-5 * largest, "{off} of {largest}");
            let diagonal = penalised.diagonal(&penalised.answers(&at)).1;
            // Central differences: error of order step² ≈ 1e-10.
            let step = 1e-5;
            for place in [(0, 0), (5, 1), (shape.0 / 2, 0), (shape.0 - 2, 1), (shape.0 - 1, 1)] {
                let moved = |by: f64| {
                    let mut moved = at.clone();
                    moved[place] += by;
                    penalised.at::<f64>(moved)
                };
                let (more, less) = (moved(step), moved(-step));
                let difference = (more.loss - less.loss) / (2.0 * step);
                assert!(
                    (difference - gradient[place]).abs() < 1e-5,
                    "{place:?}: {difference} {}",
                    gradient[place]
                );
                // The Hessian's diagonal, by the same differences of the gradient.
                let bends = (more.gradient[place] - less.gradient[place]) / (2.0 * step);
                let number = place.0 * problem.shape.classes + place.1;
                assert!((diagonal[number] - bends).abs() < 1e-5, "{place:?}: {} {bends}", diagonal[number]);
            }
        });
        each(&FitOptions { threads: 3, ..FitOptions::default() }, |problem, alpha, _| {
            let (three, one) = (problem.solve(alpha, None), {
                let mut alone = Vec::new();
                each(&FitOptions::default(), |other, same, _| {
                    if same.to_bits() == alpha.to_bits()
                        && other.shape.classes == problem.shape.classes
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
        assert_eq!(of(1), [1, 10, 5, 6, 7]);
        assert_eq!(of(2), [1, 10]);
        assert_eq!(of(4), [0_u32; 0]);
    }
}
