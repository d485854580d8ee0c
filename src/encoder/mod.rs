//! Owns the one network that frosthead knows: its configuration, its weights in our one layout, the ONNX
//! graphs made from both, and the families of published encoders that become it.
//!
//! Refuses encoders that compute something else, and to run anything: graphs are bytes for `runtime`. Token
//! ids come from `tokens`.

mod architecture;
#[cfg(feature = "train")]
mod asked;
#[cfg(feature = "train")]
mod checkpoint;
mod choice;
mod config;
mod dense;
#[cfg(feature = "train")]
mod family;
mod fields;
#[cfg(feature = "train")]
mod foreign;
mod forms;
mod header;
mod inference;
mod kinds;
mod layout;
#[cfg(feature = "train")]
mod modules;
#[cfg(feature = "train")]
mod names;
mod network;
mod pooling;
pub mod ports;
mod products;
mod relative;
#[cfg(feature = "train")]
mod shards;
mod tensors;
#[cfg(feature = "train")]
mod training;
mod transformer;
mod types;
#[cfg(feature = "train")]
mod vectors;
mod weights;

pub use architecture::Architecture;
#[cfg(feature = "train")]
pub use asked::{TrainingHead, TrainingOptions};
pub use choice::FeatureChoice;
pub use config::Config;
#[cfg(feature = "train")]
pub use family::{Published, shifts_positions};
#[cfg(feature = "train")]
pub use foreign::{ForeignEncoder, TokenStates};
pub use inference::{GraphOptions, Outputs, inference_graph, product_inputs_graph};
pub use kinds::{Dense, DenseActivation, Pooling};
pub use network::{ChangedTensors, Matrix, Network};
pub use ports::{beside, head_bias, head_weight, loss, mean_of, targets};
pub use products::{Form, Forms, Part, Product, TableForm};
pub use relative::RelativePositions;
#[cfg(feature = "train")]
pub use shards::{checkpoint_files, shard_names};
pub use tensors::{TrainedTensors, can_be_trained, is_ours, is_shared_by_layers, layer_of};
#[cfg(feature = "train")]
pub use training::{TrainingGraph, TrainingParameter, training_graph};
pub use transformer::{Operators, Start};
pub use types::{take_types, takes_types};
pub use weights::Weights;

#[cfg(test)]
#[cfg(feature = "train")]
mod tests;
