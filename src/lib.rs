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
//! | label texts by a bundle or a run | [`Classifier`], [`OpenOptions`], [`TaskPrediction`], [`LongTexts`] |
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
    not(all(feature = "serve", feature = "train")),
    allow(dead_code, unused_imports, reason = "whole files are left out by features, not single functions")
)]
#![cfg_attr(feature = "fault-injection", allow(missing_docs, reason = "tests see more than programs do"))]

pub use classifier::{Classifier, OpenOptions, TaskPrediction};
pub use error::{Error, Kind, Result};
pub use runtime::{Runtime, RuntimeOptions};
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
#[cfg(feature = "train")]
mod plan;

mod bundle;
mod dataset;
mod finetune;
mod quantize;
mod tuning;

mod classifier;

mod evaluate;
#[cfg(feature = "train")]
mod precision;
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

// The two ways in for what comes with this library, and for nobody else: the program, and the tests of it.
#[doc(hidden)]
pub use cli::main as command_line;
#[cfg(feature = "fault-injection")]
#[doc(hidden)]
pub mod internal;
