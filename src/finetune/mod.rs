//! Owns training above a cut: batches, steps on ONNX Runtime, AdamW, schedule, early stopping, checkpoints.
//!
//! Refuses to know plans, tables or runs: it is given rows, parameters and a training graph.

mod adamw;
mod checkpoint;
mod dropout;
mod epoch;
mod options;
mod sampler;
mod schedule;
mod sharing;
mod stage;
mod step;

pub use adamw::{AdamW, Parameter};
pub use epoch::{Epoch, Validation};
pub use options::{HeadInit, LayerOptions, OptionHelp};
pub use sampler::epoch_batches;
pub use schedule::rate_factor;
pub use stage::{Show, Stage, StageOutcome, StageProgress, StageTask, Validate};
pub use step::{Dropout, Step, StepBatch, StepResult};

#[cfg(test)]
mod tests;
