//! Owns the door by which what comes with this library, the program, the Python package and the tests, sees the
//! modules.
//!
//! Refuses to be a library: it changes from version to version.

pub mod backbone {
    pub use crate::backbone::*;
}
pub mod bench {
    pub use crate::bench::*;
}
pub mod bundle {
    pub use crate::bundle::*;
}
pub mod classifier {
    pub use crate::classifier::*;
}
#[cfg(feature = "train")]
pub mod compare {
    pub use crate::compare::*;
}
pub mod data {
    pub use crate::data::feature_table::FeatureTable;
    pub use crate::data::*;
}
pub mod dataset {
    pub use crate::dataset::*;
}
pub mod document {
    pub use crate::document::*;
}
pub mod embed {
    pub use crate::embed::*;
}
pub mod encoder {
    pub use crate::encoder::*;
}
pub mod error {
    pub use crate::error::*;
}
pub mod evaluate {
    pub use crate::evaluate::*;
}
pub mod files {
    pub use crate::files::*;
}
pub mod finetune {
    pub use crate::finetune::*;
}
pub mod fingerprint {
    pub use crate::fingerprint::*;
}
pub mod graph {
    pub use crate::graph::*;
}
pub mod held {
    pub use crate::held::*;
}
pub mod heads {
    pub use crate::heads::*;
}
pub mod inspect {
    pub use crate::inspect::*;
}
pub mod metrics {
    pub use crate::metrics::*;
}
#[cfg(feature = "train")]
pub mod plan {
    pub use crate::plan::*;
}
#[cfg(feature = "train")]
pub mod precision {
    pub use crate::precision::*;
}
pub mod quantities {
    pub use crate::quantities::*;
}
pub mod quantize {
    #[cfg(feature = "train")]
    pub use crate::quantize::build::Built;
    pub use crate::quantize::*;
}
pub mod recognize {
    pub use crate::recognize::*;
}
#[cfg(feature = "train")]
pub mod report {
    pub use crate::report::*;
}
pub mod runtime {
    pub use crate::runtime::*;
}
#[cfg(feature = "train")]
pub mod selection {
    pub use crate::selection::*;
}
#[cfg(feature = "serve")]
pub mod serve {
    pub use crate::serve::*;
}
pub mod store {
    pub use crate::store::*;
}
pub mod task {
    pub use crate::task::*;
}
pub mod text {
    pub use crate::text::*;
}
pub mod tokens {
    pub use crate::tokens::*;
}
#[cfg(feature = "train")]
pub mod train {
    pub use crate::train::*;
}
pub mod tuning {
    pub use crate::tuning::*;
}
