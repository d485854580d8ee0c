//! Owns one stage of training: epochs of shuffled batches, validation after each, the best weights,
//! checkpoints.
//!
//! Refuses to measure anything itself (the caller validates), and to let an interruption change the result:
//! an epoch depends on seed, epoch and the state at its beginning alone.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use super::adamw::{AdamW, Parameter};
use super::checkpoint::Checkpoint;
use super::epoch::{Epoch, Validation};
use super::options::LayerOptions;
use super::sampler::epoch_batches;
use super::schedule::rate_factor;
use super::step::{Dropout, Step, StepBatch};
use crate::embed::CutRows;
use crate::error::{Kind, Result};
use crate::fingerprint::Fingerprint;
use crate::heads::FeatureView;
use crate::task::{TaskKind, Truth};
use crate::tokens::Batch;

/// The targets of one task.
#[derive(Clone, Debug)]
pub struct StageTask {
    kind: TaskKind,
    classes: usize,
    truth: Truth,
    /// Per row of the stage's rows, its place in the truth; none is left out of this task.
    places: Vec<Option<usize>>,
    /// What a row counts for each class, where it has it and where it has not; 1 on average.
    weights: Vec<[f32; 2]>,
    /// What is added to the logits of every row, `[rows, classes]`; empty where nothing is.
    beside: Vec<f32>,
}

impl StageTask {
    /// The targets of `rows` rows, of which those in `truth` have one; `weights` is what a row counts for each
    /// class, where it has it and where it has not, if not 1.
    #[must_use]
    pub fn new(
        kind: TaskKind,
        classes: usize,
        rows: usize,
        truth: Truth,
        weights: Option<Vec<[f64; 2]>>,
    ) -> Self {
        let mut places = vec![None; rows];
        truth.rows.iter().enumerate().for_each(|(place, &row)| places[row] = Some(place));
        let weights = weights.map_or_else(
            || vec![[1.0; 2]; classes],
            |weights| weights.iter().map(|both| both.map(|weight| weight as f32)).collect(),
        );
        Self { kind, classes, truth, places, weights, beside: Vec::new() }
    }

    /// The same with what is added to the logits of every row, `[rows, classes]`.
    #[must_use]
    pub fn with_beside(self, beside: Vec<f32>) -> Self {
        Self { beside, ..self }
    }

    /// What is added to the logits of a batch, `[batch, classes]`; rows that fill it up count for nothing.
    fn beside(&self, batch: &Batch) -> Vec<f32> {
        if self.beside.is_empty() {
            return Vec::new();
        }
        let mut all = vec![0.0; batch.size * self.classes];
        for (out, &row) in all.chunks_exact_mut(self.classes).zip(&batch.rows) {
            out.copy_from_slice(&self.beside[row * self.classes..][..self.classes]);
        }
        all
    }

    /// What a labelled row counts in a batch, so that every labelled row of an epoch counts the same whatever
    /// the size of its batch, and a batch's loss is the mean loss of a row.
    fn row_count(&self, train: &[usize], batches: usize) -> f32 {
        let labelled = train.iter().filter(|&&row| self.places[row].is_some()).count();
        batches as f32 / labelled.max(1) as f32
    }

    /// The targets of a batch, `[batch, target width]`.
    fn targets(&self, batch: &Batch, count: f32) -> Vec<f32> {
        let width = self.kind.target_width(self.classes);
        let weights: Vec<[f32; 2]> =
            self.weights.iter().map(|both| both.map(|weight| count * weight)).collect();
        let mut targets = vec![0.0; batch.size * width];
        for (target, &row) in targets.chunks_exact_mut(width).zip(&batch.rows) {
            if let Some(place) = self.places[row] {
                self.kind.put_target(&self.truth.targets[place], &weights, target);
            }
        }
        targets
    }
}

/// Where training is.
#[derive(Clone, Debug)]
pub struct StageProgress<'p> {
    pub epoch: u64,
    pub epochs: u64,
    /// Batches done in this epoch.
    pub batch: usize,
    pub batches: usize,
    /// Mean loss per task so far in this epoch.
    pub losses: &'p [f64],
    /// Real tokens of this epoch so far.
    pub tokens: u64,
    pub seconds: f64,
    /// An epoch that just ended.
    pub ended: Option<&'p Epoch>,
    /// Epochs that a checkpoint had already done when this stage began.
    pub resumed: u64,
}

/// What a stage ended with.
#[derive(Debug)]
pub struct StageOutcome {
    /// The parameters with the values of the best epoch.
    pub parameters: Vec<Parameter>,
    /// Before training, then epoch by epoch.
    pub history: Vec<Epoch>,
    /// The best epoch's number.
    pub best: u64,
    /// Why training ended early, if it did.
    pub stopped: Option<String>,
    /// Whether somebody asked it to end; the checkpoint is good to go on from.
    pub interrupted: bool,
}

/// Checks given weights on validation rows.
pub type Validate<'v> = dyn FnMut(&[Parameter]) -> Result<Validation> + 'v;
/// Shows where training is; a break ends it with the best so far.
pub type Show<'s> = dyn FnMut(&StageProgress<'_>) -> ControlFlow<()> + 's;

/// One stage, ready to be trained.
pub struct Stage<'s> {
    pub step: &'s mut Step,
    pub rows: &'s CutRows,
    /// Rows to train on.
    pub train: &'s [usize],
    pub tasks: &'s [StageTask],
    /// Per mean that the training graph is given, that of every row.
    pub means: Vec<FeatureView<'s>>,
    pub options: &'s LayerOptions,
    pub seed: u64,
    /// Threads of the update; they change the time, never the result.
    pub threads: usize,
    /// Where checkpoints are kept, and the hash of everything the stage depends on.
    pub checkpoint: (&'s Path, Fingerprint),
}

impl Stage<'_> {
    /// Trains from these parameters, or goes on from the checkpoint.
    ///
    /// # Errors
    /// ONNX Runtime fails, stored states are gone, or the checkpoint cannot be written. A loss that is not
    /// finite is no error: training stops with the best so far.
    pub fn train(
        mut self,
        parameters: Vec<Parameter>,
        validate: &mut Validate<'_>,
        show: &mut Show<'_>,
    ) -> Result<StageOutcome> {
        let (path, inputs) = self.checkpoint;
        let mut state = match Checkpoint::load(path, inputs, &parameters)? {
            Some(state) => state,
            None => Checkpoint::first(validate(&parameters)?, parameters),
        };
        let resumed = state.history.len() as u64 - 1;
        let plan = self.plan();
        let total: u64 = plan.iter().map(|batches| batches.len() as u64).sum();
        let (mut stopped, mut interrupted) = (None, false);
        for (number, batches) in (1..).zip(&plan).skip(state.history.len() - 1) {
            if number - best_epoch(&state.history) > self.options.patience {
                stopped = Some(format!("no better validation score in {} epochs", self.options.patience));
                break;
            }
            let mut show_own =
                |progress: &StageProgress<'_>| show(&StageProgress { resumed, ..progress.clone() });
            let epoch = match self.epoch(&mut state, number, batches, total, &mut show_own) {
                Ok(Some(epoch)) => epoch,
                Ok(None) => {
                    stopped = Some(format!("interrupted in epoch {number}"));
                    interrupted = true;
                    break;
                }
                Err(error) if error.kind() == Kind::Training => {
                    let help = error.remedy().map(|help| format!("; {help}")).unwrap_or_default();
                    stopped = Some(format!("step {}, epoch {number}: {error}{help}", state.steps));
                    break;
                }
                Err(error) => return Err(error),
            };
            let validation = validate(&state.parameters)?;
            let better = validation.score > state.history[best_place(&state.history)].validation.score;
            state.history.push(Epoch { validation, ..epoch });
            if better {
                state.best = state.parameters.iter().map(|parameter| parameter.values.clone()).collect();
            }
            state.save(path, inputs)?;
            let ended = state.history.last();
            let progress = self.progress(number, batches.len(), batches.len(), &[], ended);
            if show_own(&progress).is_break() {
                interrupted = true;
                stopped = Some(format!("interrupted after epoch {number}"));
                break;
            }
        }
        let best = best_epoch(&state.history);
        for (parameter, values) in state.parameters.iter_mut().zip(state.best) {
            parameter.values = values;
        }
        Ok(StageOutcome { parameters: state.parameters, history: state.history, best, stopped, interrupted })
    }

    /// The batches of every epoch.
    fn plan(&self) -> Vec<Vec<Batch>> {
        let LayerOptions { epochs, train_tokens, .. } = *self.options;
        let lengths = self.rows.lengths();
        (0..epochs).map(|epoch| epoch_batches(self.train, lengths, train_tokens, self.seed, epoch)).collect()
    }

    /// One epoch; none when it was interrupted.
    fn epoch(
        &mut self,
        state: &mut Checkpoint,
        number: u64,
        batches: &[Batch],
        total: u64,
        show: &mut Show<'_>,
    ) -> Result<Option<Epoch>> {
        let start = Instant::now();
        let runtime_before = self.step.runtime_seconds;
        let counts: Vec<f32> =
            self.tasks.iter().map(|task| task.row_count(self.train, batches.len())).collect();
        let adam = AdamW::from(self.options);
        let mut sums = vec![0.0; self.tasks.len()];
        let mut tokens = 0;
        for (done, batch) in (1..).zip(batches) {
            state.steps += 1;
            let step = state.steps;
            let dropout = Dropout { rate: self.options.dropout, seed: self.seed, step };
            let fed = self.batch(batch, &counts)?;
            let found = self.step.run(&state.parameters, &fed, Some(dropout))?;
            let rate = self.options.learning_rate * rate_factor(step, total, self.options.warm_up);
            adam.update(&mut state.parameters, &found.gradients()?, step, rate, self.threads)?;
            sums.iter_mut().zip(&found.losses).for_each(|(sum, loss)| *sum += loss);
            drop(found);
            tokens += batch.rows.iter().map(|&row| self.rows.lengths()[row] as u64).sum::<u64>();
            let means: Vec<f64> = sums.iter().map(|sum| sum / done as f64).collect();
            let mut progress = self.progress(number, done, batches.len(), &means, None);
            progress.tokens = tokens;
            progress.seconds = start.elapsed().as_secs_f64();
            if show(&progress).is_break() {
                return Ok(None);
            }
        }
        let losses = sums.iter().map(|sum| sum / batches.len() as f64).collect();
        Ok(Some(Epoch {
            number,
            losses,
            seconds: start.elapsed().as_secs_f64(),
            runtime_seconds: self.step.runtime_seconds - runtime_before,
            tokens,
            ..Epoch::default()
        }))
    }

    fn batch(&self, batch: &Batch, counts: &[f32]) -> Result<StepBatch> {
        let (tokens, mask) = self.rows.fill(batch)?;
        let targets =
            self.tasks.iter().zip(counts).map(|(task, count)| task.targets(batch, *count)).collect();
        let means = self.means.iter().map(|view| {
            // Rows that fill the batch up count for nothing: zeros do for them.
            let mut means = vec![0.0; batch.size * view.width()];
            for (mean, &row) in means.chunks_exact_mut(view.width()).zip(&batch.rows) {
                mean.copy_from_slice(view.row(row));
            }
            means
        });
        let means = means.collect();
        let beside = self.tasks.iter().map(|task| task.beside(batch)).collect();
        Ok(StepBatch { rows: batch.size, length: batch.length, tokens, mask, means, targets, beside })
    }

    fn progress<'p>(
        &self,
        epoch: u64,
        batch: usize,
        batches: usize,
        losses: &'p [f64],
        ended: Option<&'p Epoch>,
    ) -> StageProgress<'p> {
        let epochs = self.options.epochs;
        StageProgress { epoch, epochs, batch, batches, losses, tokens: 0, seconds: 0.0, ended, resumed: 0 }
    }
}

/// The first of the best epochs.
fn best_place(history: &[Epoch]) -> usize {
    let mut best = 0;
    for (place, epoch) in history.iter().enumerate() {
        if epoch.validation.score > history[best].validation.score {
            best = place;
        }
    }
    best
}

fn best_epoch(history: &[Epoch]) -> u64 {
    history[best_place(history)].number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equally_good_epochs_is_the_best() {
        let epoch = |number, score| Epoch {
            number,
            validation: Validation { score, scores: Vec::new() },
            ..Epoch::default()
        };
        let history = [epoch(0, 0.5), epoch(1, 0.75), epoch(2, 0.75), epoch(3, 0.7)];
        assert_eq!(best_epoch(&history), 1);
    }
}
