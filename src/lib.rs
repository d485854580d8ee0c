//! **frosthead**: freeze the backbone, train the heads, ship one file.
//!
//! A pre-trained BERT-family encoder runs frozen on ONNX Runtime, its embeddings are cached, and light heads are trained on
//! them, several tasks on the same sentence at once.
//!
//! ```no_run
//! use frosthead::Classifier;
//!
//! # fn main() -> frosthead::Result<()> {
//! let classifier = Classifier::open("runs/quickstart")?;
//! for predictions in classifier.predict(&["Great phone, would buy again!"])? {
//!     for (head, prediction) in classifier.heads().iter().zip(predictions) {
//!         println!("{}: {}", head.task, head.labels[prediction.label]);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The modules are layers, listed here from the bottom up; each uses only those above it in this list.

pub mod error;
pub mod finetune;
pub mod fingerprint;
pub mod quantities;

pub mod data;
pub mod graph;
pub mod metrics;
pub mod tokens;

pub mod bert;
pub mod heads;
pub mod runtime;
pub mod store;

pub mod backbone;

pub mod embed;
pub mod plan;

pub mod dataset;
pub mod quantize;

pub mod classifier;

pub mod evaluate;
#[cfg(feature = "train")]
pub mod train;

pub mod bench;
pub mod inspect;
#[cfg(feature = "train")]
pub mod report;

#[cfg(feature = "train")]
pub mod compare;

pub mod cli;

pub use classifier::Classifier;
pub use error::{Error, Result};
