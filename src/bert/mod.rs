//! Owns BERT: its configuration, its weights in our one layout, and the ONNX graphs made from both.
//!
//! Refuses other architectures, and to run anything: graphs are bytes for `runtime`. Token ids come from `tokens`.

mod checkpoint;
mod config;
mod encoder;
mod foreign;
mod header;
mod pooling;
mod weights;

pub use checkpoint::convert_checkpoint;
pub use config::{Activation, Config};
pub use encoder::{GraphOptions, Operators, Outputs, Pooling, inference_graph};
pub use foreign::ForeignEncoder;
pub use weights::Weights;

#[cfg(test)]
mod tests;
