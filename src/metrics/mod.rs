//! Owns figures: of labels, of several labels, of numbers, with their standard errors; calibration and coverage.
//!
//! Refuses to choose what is measured; it is given truth, probabilities or logits.

mod calibration;
mod classification;
mod latency;
mod limits;
mod number;
mod paired;
mod reliability;
mod several;
mod task_metrics;
mod threshold;

pub use calibration::{Calibration, Coverage, answered_only, coverage, temperature};
pub use classification::classification;
pub use latency::Latency;
pub use limits::{Interval, Limits, NEVER};
pub use number::regression;
pub use paired::{Difference, difference};
pub use reliability::Reliability;
pub use several::{Tagged, tagging};
pub use task_metrics::{IntervalMetrics, LabelMetrics, NumberMetrics, SeveralMetrics, TaskMetrics};
pub use threshold::{LabelLimit, Promise, Threshold, best_f1, promised};
