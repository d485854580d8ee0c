//! One integration binary that drives the real `frosthead` with the real encoder.

mod bad_input;
mod bundle;
mod changed_files;
mod compare;
mod confidence;
mod damage;
mod debug_forms;
mod features;
mod files;
mod foreign;
mod harness;
mod imports;
mod labels;
mod layers;
mod layouts;
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
mod text_tables;
mod tiny;
mod trained_features;
mod tune;
mod values;
