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
pub use embed::{EmbedOptions, EmbedRequest, Embedded, Embedder, embed_file};
pub use encoder::FeatureChoice;

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
#[doc(hidden)]
pub mod error;

#[doc(hidden)]
pub mod document;
#[doc(hidden)]
pub mod files;
#[doc(hidden)]
pub mod fingerprint;
mod parallel;
#[doc(hidden)]
pub mod quantities;
#[doc(hidden)]
pub mod recognize;
mod tensors;

#[doc(hidden)]
pub mod held;

#[doc(hidden)]
pub mod data;
#[doc(hidden)]
pub mod graph;
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod tokens;

#[doc(hidden)]
pub mod task;

#[doc(hidden)]
pub mod encoder;
#[doc(hidden)]
pub mod heads;
#[doc(hidden)]
pub mod runtime;
#[doc(hidden)]
pub mod store;

#[doc(hidden)]
pub mod backbone;

#[doc(hidden)]
pub mod embed;
#[doc(hidden)]
pub mod plan;

#[doc(hidden)]
pub mod bundle;
#[doc(hidden)]
pub mod dataset;
#[doc(hidden)]
pub mod finetune;
#[cfg(feature = "train")]
#[doc(hidden)]
pub mod precision;
#[doc(hidden)]
pub mod quantize;
#[doc(hidden)]
pub mod tuning;

#[doc(hidden)]
pub mod classifier;

#[doc(hidden)]
pub mod evaluate;
#[cfg(feature = "train")]
#[doc(hidden)]
pub mod train;

#[doc(hidden)]
pub mod bench;
#[doc(hidden)]
pub mod inspect;
#[cfg(feature = "train")]
#[doc(hidden)]
pub mod report;
#[cfg(feature = "serve")]
#[doc(hidden)]
pub mod serve;

#[cfg(feature = "train")]
#[doc(hidden)]
pub mod compare;
