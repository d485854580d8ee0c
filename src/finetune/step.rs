//! Owns one training step on ONNX Runtime: a batch in, losses and gradients out.
//!
//! Refuses to choose batches or to update anything.

use std::borrow::Cow;
use std::time::Instant;

use super::adamw::Parameter;
use super::dropout::Draws;
use crate::embed::CutTokens;
use crate::encoder::{TrainingGraph, TrainingParameter, beside, loss, mean_of, targets};
use crate::error::{Error, Kind, Result};
use crate::graph::Dim;
use crate::runtime::{Input, Lent, Session, Values};

/// Rows that are trained on together.
#[derive(Clone, Debug)]
pub struct StepBatch {
    pub rows: usize,
    /// Tokens of a row, padding included.
    pub length: usize,
    pub tokens: CutTokens,
    /// 1 real, 0 padding: `[rows, length]`.
    pub mask: Vec<i64>,
    /// Per mean that the graph is given, `[rows, hidden]`.
    pub means: Vec<Vec<f32>>,
    /// Per head, `[rows, target width]`.
    pub targets: Vec<Vec<f32>>,
    /// Per head, what is added to its logits, `[rows, classes]`; empty where nothing is.
    pub beside: Vec<Vec<f32>>,
}

/// Which numbers are dropped.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    pub rate: f32,
    pub seed: u64,
    pub step: u64,
}

/// A training graph that has been loaded.
pub struct Step {
    session: Session,
    graph: TrainingGraph,
    /// Tasks and the widths of their targets, in the order of the heads.
    heads: Vec<(String, usize)>,
    hidden: usize,
    threads: usize,
    /// The masks of the last step: their space is used again.
    masks: Vec<Vec<f32>>,
    /// Seconds inside ONNX Runtime.
    pub runtime_seconds: f64,
}

impl Step {
    /// Steps of a training graph that was loaded.
    #[must_use]
    pub fn new(session: Session, graph: TrainingGraph, heads: Vec<(String, usize)>, hidden: usize) -> Self {
        let (threads, masks) = (session.threads(), vec![Vec::new(); graph.masks.len()]);
        Self { session, graph, heads, hidden, threads, masks, runtime_seconds: 0.0 }
    }

    /// Losses and gradients of a batch. `parameters` are those of the graph, in its order.
    ///
    /// # Errors
    /// ONNX Runtime fails, or a loss is not finite.
    pub fn run<'s>(
        &'s mut self,
        parameters: &[Parameter],
        batch: &'s StepBatch,
        dropout: Option<Dropout>,
    ) -> Result<StepResult<'s>> {
        let mut masks = std::mem::take(&mut self.masks);
        let mask_shapes = self.fill_masks(&mut masks, batch, dropout);
        let names: Vec<[String; 3]> =
            self.heads.iter().map(|(task, _)| [targets(task), loss(task), beside(task)]).collect();
        let given: Vec<String> = self.graph.given.iter().map(|&level| mean_of(level)).collect();
        let shape = [batch.rows, batch.length, self.hidden];
        let means_shape = [batch.rows, self.hidden];
        let target_shapes: Vec<[usize; 2]> = self.heads.iter().map(|head| [batch.rows, head.1]).collect();
        let mut inputs = batch.tokens.inputs(&batch.mask, &shape);
        for (name, values) in given.iter().zip(&batch.means) {
            inputs.push(Input { name, shape: &means_shape, values: Values::F32(values) });
        }
        for (((name, _), shape), mask) in self.graph.masks.iter().zip(&mask_shapes).zip(&masks) {
            inputs.push(Input { name, shape, values: Values::F32(mask) });
        }
        for ((names, shape), values) in names.iter().zip(&target_shapes).zip(&batch.targets) {
            inputs.push(Input { name: &names[0], shape, values: Values::F32(values) });
        }
        let shapes: Vec<[usize; 2]> =
            batch.beside.iter().map(|more| [batch.rows, more.len() / batch.rows.max(1)]).collect();
        for ((names, shape), values) in names.iter().zip(&shapes).zip(&batch.beside) {
            if !values.is_empty() {
                inputs.push(Input { name: &names[2], shape, values: Values::F32(values) });
            }
        }
        for parameter in parameters {
            let Parameter { name, shape, values, .. } = parameter;
            inputs.push(Input { name, shape, values: Values::F32(values) });
        }
        let mut outputs: Vec<&str> = names.iter().map(|names| names[1].as_str()).collect();
        outputs.extend(self.graph.parameters.iter().map(|parameter| parameter.gradient.as_str()));
        let start = Instant::now();
        let found = self.session.run_lent(&inputs, &outputs)?;
        self.runtime_seconds += start.elapsed().as_secs_f64();
        self.masks = masks;
        let loss = |names: &[String; 3]| Ok(f64::from(found.tensor(&names[1])?.1[0]));
        let losses = names.iter().map(loss).collect::<Result<Vec<f64>>>()?;
        for ((task, _), loss) in self.heads.iter().zip(&losses) {
            if !loss.is_finite() {
                return Err(Error::new(Kind::Training, "the loss is not a finite number")
                    .found(format!("{loss} for task {task:?}"))
                    .help("use a smaller --learning-rate"));
            }
        }
        Ok(StepResult { losses, found, parameters: &self.graph.parameters, tokens: &batch.tokens })
    }

    /// Draws the masks of a batch and returns their shapes.
    fn fill_masks(
        &self,
        masks: &mut [Vec<f32>],
        batch: &StepBatch,
        dropout: Option<Dropout>,
    ) -> Vec<Vec<usize>> {
        let size = |dim: &Dim| match dim {
            Dim::Size(size) => *size,
            Dim::Name(name) if &**name == "batch" => batch.rows,
            Dim::Name(name) if &**name == "sequence" => batch.length,
            Dim::Name(_) => batch.rows * batch.length,
        };
        let mut shapes = Vec::with_capacity(masks.len());
        for (number, ((_, shape), mask)) in (0..).zip(self.graph.masks.iter().zip(masks)) {
            let shape: Vec<usize> = shape.iter().map(size).collect();
            mask.resize(shape.iter().product(), 1.0);
            match dropout {
                Some(Dropout { rate, seed, step }) => {
                    Draws::new(seed, step, number).fill(rate, mask, self.threads);
                }
                None => mask.fill(1.0),
            }
            shapes.push(shape);
        }
        shapes
    }
}

/// What a step found; the gradients are ONNX Runtime's until this is dropped.
pub struct StepResult<'s> {
    /// Loss per head.
    pub losses: Vec<f64>,
    found: Lent<'s>,
    parameters: &'s [TrainingParameter],
    tokens: &'s CutTokens,
}

impl StepResult<'_> {
    /// Gradient per parameter, in its shape.
    ///
    /// # Errors
    /// Never after a step that succeeded.
    pub fn gradients(&self) -> Result<Vec<Cow<'_, [f32]>>> {
        let gradient = |parameter: &TrainingParameter| {
            let (_, numbers) = self.found.tensor(&parameter.gradient)?;
            Ok(match (self.tokens, parameter.by_token) {
                (CutTokens::Ids { ids, .. }, true) => {
                    Cow::Owned(sum_by_token(numbers, ids, &parameter.shape))
                }
                _ => Cow::Borrowed(numbers),
            })
        };
        self.parameters.iter().map(gradient).collect()
    }
}

/// The gradient of a table `[ids, width]` from those of the rows that were looked up.
fn sum_by_token(rows: &[f32], ids: &[i64], shape: &[usize]) -> Vec<f32> {
    let width = shape[1];
    let mut table = vec![0.0; shape[0] * width];
    for (row, &id) in rows.chunks_exact(width).zip(ids) {
        let first = usize::try_from(id).unwrap_or(0) * width;
        table[first..first + width].iter_mut().zip(row).for_each(|(sum, term)| *sum += term);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_gradients_are_summed_by_id() {
        let rows = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let table = sum_by_token(&rows, &[2, 0, 2], &[4, 2]);
        assert_eq!(table, [3.0, 4.0, 0.0, 0.0, 6.0, 8.0, 0.0, 0.0]);
    }
}
