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
//! What a program needs stands on this page, in the order in which it is needed. Everything else is in the
//! modules, which the program `frosthead` is made of; they change from version to version.

// A bundle or a run, opened to label texts.
pub use classifier::{Classifier, OpenOptions, TaskPrediction};
pub use error::{Error, Kind, Result};
pub use runtime::{Device, Runtime, RuntimeOptions};
pub use tokens::LongTexts;

// A published encoder, imported; texts, embedded once.
pub use backbone::{Backbone, ImportOptions, Imported, import};
pub use dataset::Input;
pub use embed::{EmbedOptions, EmbedRequest, Embedded, Embedder, FeatureChoice, embed_file};

// Training, measuring, comparing.
#[cfg(feature = "train")]
pub use compare::{CompareRequest, Compared, Scenario, compare};
pub use evaluate::{Evaluation, Evaluator};
pub use finetune::LayerOptions;
pub use task::{TaskKind, Tasks};
#[cfg(feature = "train")]
pub use train::{Freezing, Learning, Output, RefitRequest, RowsRequest, TrainRequest, Trained, refit, train};

// One file, and answering over HTTP.
pub use bundle::{Bundle, PublicKey};
#[cfg(feature = "train")]
pub use classifier::{BundleOptions, bundle_run};
pub use quantize::Precision;
#[cfg(feature = "serve")]
pub use serve::{ServeOptions, serve};

// The layers, from the bottom up; each uses only those above it in this list.
mod error;

mod document;
mod files;
mod fingerprint;
mod parallel;
mod quantities;
mod recognize;
mod tensors;

mod held;

mod data;
mod graph;
mod metrics;
mod tokens;

mod task;

mod encoder;
mod heads;
mod runtime;
mod store;

mod backbone;

mod embed;
mod plan;

mod bundle;
mod dataset;
mod finetune;
#[cfg(feature = "train")]
mod precision;
mod quantize;
mod tuning;

mod classifier;

mod evaluate;
#[cfg(feature = "train")]
mod train;

mod bench;
mod inspect;
#[cfg(feature = "train")]
mod report;
#[cfg(feature = "serve")]
mod serve;

#[cfg(feature = "train")]
mod compare;

mod cli;
#[doc(hidden)]
pub use cli::main;
