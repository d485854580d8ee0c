//! Owns BERT: its configuration, its weights in our one layout, and the ONNX graphs made from both.
//!
//! Refuses other architectures, and to run anything: graphs are bytes for `runtime`. Token ids come from
//! `tokens`.

mod checkpoint;
mod config;
mod foreign;
mod forms;
mod header;
mod inference;
mod pooling;
mod seen;
mod shards;
mod training;
mod transformer;
mod weights;

pub use checkpoint::convert_checkpoint;
pub use config::{Activation, Config};
pub use foreign::{ForeignEncoder, ForeignOutput, TokenStates};
pub use forms::{Form, Forms, Part, Product};
pub use inference::{GraphOptions, Outputs, Pooling, inference_graph, product_inputs_graph};
pub use seen::{Seen, mean_of};
pub use shards::{checkpoint_files, shard_names};
pub use training::{
    TrainingGraph, TrainingHead, TrainingOptions, TrainingParameter, head_bias, head_weight, loss, targets,
    training_graph,
};
pub use transformer::{Operators, Start};
pub use weights::{ChangedTensors, Network, Weights};

#[cfg(test)]
mod tests;
