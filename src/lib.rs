//! **frosthead**: freeze the backbone, train the heads, ship one file.
//!
//! A pre-trained BERT-family encoder runs frozen on ONNX Runtime, its embeddings are cached, and light heads
//! are trained on them, several tasks on the same sentence at once. A run is bundled into one file, and that
//! is all that an application needs:
//!
//! ```no_run
#![doc = include_str!("../examples/predict.rs")]
//! ```
//!
//! What a program needs, in the order in which it needs it (`examples/train.rs` goes all the way):
//!
//! | to | names |
//! |---|---|
//! | label texts by a bundle or a run | [`Classifier`], [`OpenOptions`], [`TaskPrediction`], [`LongTexts`], [`Text`], [`AsText`] |
//! | run networks, and know what went wrong | [`Runtime`], [`RuntimeOptions`], [`Error`], [`Kind`], [`Result`] |
//! | import a published encoder | [`import()`], [`ImportOptions`], [`Backbone`] |
//! | embed texts, each once | [`Source`], [`Embedder`], [`EmbedOptions`], [`embed_file`], [`EmbedRequest`], [`Embedded`] |
//! | train, and measure on other rows | [`train()`], [`TrainRequest`], [`Input`], [`Tasks`], [`RowsRequest`], [`Learning`], [`Freezing`], [`Output`], [`Trained`], [`evaluate()`], [`Evaluation`] |
//! | compare ways of freezing | [`compare()`], [`CompareRequest`], [`Scenario`] |
//! | ship one file, and fit its heads anew | [`bundle_run`], [`BundleOptions`], [`Bundle`], [`PublicKey`], [`refit`], [`RefitRequest`] |
//! | answer over HTTP | [`serve()`], [`ServeOptions`] |
//!
//! Everything else is private. The feature `train` has what only training needs, `serve` the server.

#![cfg_attr(
    not(feature = "train"),
    allow(dead_code, reason = "training's files are left out, not each of its functions")
)]

pub use classifier::{Classifier, OpenOptions, TaskPrediction};
pub use error::{Error, Kind, Result};
pub use runtime::{Runtime, RuntimeOptions};
pub use text::{AsText, Text};
pub use tokens::LongTexts;

pub use backbone::Backbone;
#[cfg(feature = "train")]
pub use backbone::{ImportOptions, import};
pub use data::Source;
pub use embed::{EmbedOptions, Embedder};
#[cfg(feature = "train")]
pub use embed::{EmbedRequest, Embedded, embed_file};

pub use dataset::Input;
pub use evaluate::{Evaluation, evaluate};
#[cfg(feature = "train")]
pub use {
    compare::{CompareRequest, Scenario, compare},
    task::Tasks,
    train::{Freezing, Learning, Output, RefitRequest, RowsRequest, TrainRequest, Trained, refit, train},
};

pub use bundle::{Bundle, PublicKey};
#[cfg(feature = "train")]
pub use classifier::{BundleOptions, bundle_run};
#[cfg(feature = "serve")]
pub use serve::{ServeOptions, serve};

// The layers, from the bottom up; each uses only those above it in this list. Hidden, so that what only the
// program and the tests see needs no documents for programs.
#[doc(hidden)]
mod error;

#[doc(hidden)]
mod document;
#[doc(hidden)]
mod files;
#[doc(hidden)]
mod fingerprint;
#[doc(hidden)]
mod named;
#[doc(hidden)]
mod parallel;
#[doc(hidden)]
mod quantities;
#[doc(hidden)]
mod recognize;
#[doc(hidden)]
mod tensors;

#[doc(hidden)]
mod held;
#[doc(hidden)]
mod text;

#[doc(hidden)]
mod data;
#[doc(hidden)]
mod graph;
#[doc(hidden)]
mod metrics;
#[doc(hidden)]
mod tokens;

#[doc(hidden)]
mod task;

#[doc(hidden)]
mod encoder;
#[doc(hidden)]
mod heads;
#[doc(hidden)]
mod runtime;
#[doc(hidden)]
mod store;

#[doc(hidden)]
mod backbone;

#[doc(hidden)]
mod embed;
#[cfg(feature = "train")]
#[doc(hidden)]
mod plan;

#[doc(hidden)]
mod bundle;
#[doc(hidden)]
mod dataset;
#[doc(hidden)]
mod finetune;
#[doc(hidden)]
mod quantize;
#[doc(hidden)]
mod tuning;

#[doc(hidden)]
mod classifier;
#[cfg(feature = "train")]
#[doc(hidden)]
mod selection;

#[doc(hidden)]
mod evaluate;
#[cfg(feature = "train")]
#[doc(hidden)]
mod precision;
#[cfg(feature = "train")]
#[doc(hidden)]
mod train;

#[doc(hidden)]
mod bench;
#[doc(hidden)]
mod inspect;
#[cfg(feature = "train")]
#[doc(hidden)]
mod report;
#[cfg(feature = "serve")]
#[doc(hidden)]
mod serve;

#[cfg(feature = "train")]
#[doc(hidden)]
mod compare;

/// The door for what comes with this library, and for nobody else: the program, the Python package, the tests.
#[doc(hidden)]
pub mod internal;
