//! Owns training above a cut: batches, steps on ONNX Runtime, AdamW, schedule, early stopping, checkpoints.
//!
//! Refuses to know plans, tables or runs: it is given rows, parameters and a training graph.

#[cfg(feature = "train")]
mod adamw;
#[cfg(feature = "train")]
mod checkpoint;
#[cfg(feature = "train")]
mod dropout;
#[cfg(feature = "train")]
mod epoch;
mod options;
#[cfg(feature = "train")]
mod sampler;
#[cfg(feature = "train")]
mod schedule;
#[cfg(feature = "train")]
mod sharing;
#[cfg(feature = "train")]
mod stage;
#[cfg(feature = "train")]
mod step;

#[cfg(feature = "train")]
pub use adamw::Parameter;
#[cfg(feature = "train")]
pub use epoch::{Epoch, Validation};
pub use options::LayerOptions;
#[cfg(feature = "train")]
pub use options::{HeadInit, OptionHelp};
#[cfg(feature = "train")]
pub use stage::{Stage, StageOutcome, StageProgress, StageTask};
#[cfg(feature = "train")]
pub use step::Step;

#[cfg(test)]
#[cfg(feature = "train")]
mod tests;
