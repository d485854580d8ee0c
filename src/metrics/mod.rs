//! Owns figures: classification metrics with their standard errors, calibration and coverage.
//!
//! Refuses to choose what is measured; it is given truth, probabilities or logits.

mod calibration;
mod classification;
mod latency;
mod paired;

pub use calibration::{Calibration, Coverage, coverage, temperature};
pub use classification::{LabelMetrics, TaskMetrics, classification};
pub use latency::Latency;
pub use paired::{Difference, difference};
