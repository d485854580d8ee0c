//! Owns figures: classification metrics with their standard errors, latency statistics.
//!
//! Refuses to choose what is measured; it is given truth, probabilities or durations.

mod classification;
mod latency;

pub use classification::{LabelMetrics, TaskMetrics, classification};
pub use latency::Latency;
