//! **frosthead**: freeze the backbone, train the heads, ship one file.
//!
//! A pre-trained BERT-family encoder runs frozen on ONNX Runtime, its embeddings are cached, and light heads
//! are trained on them, several tasks on the same sentence at once.
//!
//! One file holds everything that `frosthead bundle` made of a trained run; this is all that an application
//! needs (`examples/predict.rs`):
//!
//! ```no_run
#![doc = include_str!("../examples/predict.rs")]
//! ```
//!
//! The modules are layers, listed here from the bottom up; each uses only those above it in this list.

mod document;
pub mod error;
mod files;
pub mod finetune;
pub mod fingerprint;
pub mod held;
mod parallel;
pub mod quantities;
mod recognize;
mod tensors;

pub mod data;
pub mod graph;
pub mod metrics;
pub mod tokens;

pub mod task;

pub mod encoder;
pub mod heads;
pub mod runtime;
pub mod store;

pub mod backbone;

pub mod embed;
pub mod plan;

pub mod bundle;
pub mod dataset;
#[cfg(feature = "train")]
pub mod precision;
pub mod quantize;
pub mod tuning;

pub mod classifier;

pub mod evaluate;
#[cfg(feature = "train")]
pub mod train;

pub mod bench;
pub mod inspect;
#[cfg(feature = "train")]
pub mod report;
#[cfg(feature = "serve")]
pub mod serve;

#[cfg(feature = "train")]
pub mod compare;

pub mod cli;

pub use classifier::Classifier;
pub use error::{Error, Result};
