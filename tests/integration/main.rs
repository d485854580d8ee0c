//! One integration binary that drives the real `frosthead` with the real encoder.

mod bad_input;
mod features;
mod harness;
mod imports;
mod layers;
mod options;
mod pipeline;
mod robust;
