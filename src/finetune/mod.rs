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

pub use adamw::Parameter;
pub use epoch::{Epoch, Validation};
pub use options::{HeadInit, LayerOptions, OptionHelp};
pub use stage::{Stage, StageOutcome, StageProgress, StageTask};
pub use step::Step;

#[cfg(test)]
mod tests;
