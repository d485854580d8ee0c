//! Owns the one network that frosthead knows: its configuration, its weights in our one layout, the ONNX
//! graphs made from both, and the families of published encoders that become it.
//!
//! Refuses encoders that compute something else, and to run anything: graphs are bytes for `runtime`. Token
//! ids come from `tokens`.

mod architecture;
mod asked;
mod checkpoint;
mod choice;
mod config;
mod family;
mod fields;
mod foreign;
mod forms;
mod header;
mod inference;
mod kinds;
mod layout;
mod network;
mod pooling;
pub mod ports;
mod products;
mod seen;
mod shards;
mod tensors;
mod training;
mod transformer;
mod weights;

pub use architecture::Architecture;
pub use asked::{TrainingHead, TrainingOptions};
pub use choice::FeatureChoice;
pub use config::Config;
pub use family::{Published, shifts_positions};
pub use foreign::{ForeignEncoder, ForeignOutput, TokenStates};
pub use inference::{GraphOptions, Outputs, inference_graph, product_inputs_graph};
pub use kinds::{Activation, Pooling};
pub use network::{ChangedTensors, Matrix, Network};
pub use ports::{head_bias, head_weight, loss, mean_of, targets};
pub use products::{Form, Forms, Part, Product};
pub use shards::{checkpoint_files, shard_names};
pub use tensors::{is_ours, layer_of};
pub use training::{TrainingGraph, TrainingParameter, training_graph};
pub use transformer::{Operators, Start};
pub use weights::{Stored, Weights};

#[cfg(test)]
mod tests;
