//! One integration binary that drives the real `frosthead` with the real encoder.

mod bad_input;
mod bundle;
mod compare;
mod confidence;
mod features;
mod harness;
mod imports;
mod layers;
mod memory;
mod messages;
mod network;
mod options;
mod pipeline;
mod precision;
mod quantize;
mod refit;
mod robust;
#[cfg(feature = "serve")]
mod serve;
mod streams;
mod tiny;
mod trained_features;
mod tune;
