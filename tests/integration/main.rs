//! One integration binary that drives the real `frosthead` with the real encoder.

mod harness;
mod pipeline;
mod robust;
