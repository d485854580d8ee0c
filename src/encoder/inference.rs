//! Owns the graphs that only compute forward: what may be asked of them, and building them, with heads or
//! without.
//!
//! Refuses to train: see `training`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::forms::Product;
use super::network::Network;
use super::pooling::Means;
use super::transformer::{Encoder, Operators, Start, batch};
use crate::error::{Error, Kind, Result};
use crate::graph::{self, Operation, ValueType};

/// How token states become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The mean over real tokens.
    #[default]
    Mean,
    /// The first token.
    Cls,
}

impl FromStr for Pooling {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "mean" => Ok(Self::Mean),
            "cls" => Ok(Self::Cls),
            _ => Err(Error::new(Kind::Usage, "there is no such pooling")
                .found(format!("{text:?}"))
                .expected("mean or cls")),
        }
    }
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
        })
    }
}

/// What a graph gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outputs {
    /// `embedding` `[batch, hidden]`.
    #[default]
    Embedding,
    /// Also `layer_means` `[batch, (layers + 1) · hidden]`: the mean over real tokens of the embeddings,
    /// layer 0, …; not normalised, and a mean whatever the pooling.
    EmbeddingAndLayerMeans,
    /// Also `hidden.0` (embeddings), `hidden.1` (layer 0), …: `[batch, sequence, hidden]`.
    EmbeddingAndHiddenStates,
    /// Only `hidden.N`, `[batch, sequence, hidden]`; nothing above it is in the graph.
    HiddenState(usize),
}

/// What to build; the default is the sentence embedding of token ids, from fused operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GraphOptions {
    /// The operators to use.
    pub operators: Operators,
    /// The outputs.
    pub outputs: Outputs,
    /// What the graph starts from.
    pub start: Start,
}

/// The ONNX model that embeds batches of token ids, or of token states kept from another run.
///
/// Inputs: `input_ids` (i64) or `states` (f32 `[batch, sequence, hidden]`), and `attention_mask` (1 real, 0
/// padding), i64 `[batch, sequence]`, padding at the end, sequence from 1 to `config.positions`. Outputs: see
/// [`Outputs`]. A row's result is the same bits whatever its batch, padding, the number of threads, and
/// whether it starts from ids or from the states that another such graph gave. The same arguments give the
/// same bytes.
///
/// # Errors
/// The configuration is impossible, the weights do not belong to it, or the graph would have no layer to start from.
pub fn inference_graph(network: &Network<'_>, options: &GraphOptions) -> Result<Vec<u8>> {
    let config = network.config;
    config.check()?;
    let mut encoder = Encoder::new(*network, options.operators, options.start)?;
    if let Outputs::HiddenState(level) = options.outputs {
        let states = encoder.hidden_states(level, false)?;
        let last = states.last().ok_or_else(no_states)?;
        encoder.graph.output(last)?;
        return Ok(graph::encode(&encoder.graph.finish()?));
    }
    let states = encoder.hidden_states(config.layers, options.outputs != Outputs::Embedding)?;
    let last = states.last().ok_or_else(no_states)?.clone();
    let (mask, hidden, fused) = (encoder.attention_mask.clone(), encoder.hidden(), encoder.fused());
    let mut graph = encoder.graph;
    let means = Means::new(&mut graph, &mask, hidden, fused)?;
    let embedding = means.embedding(&mut graph, &last, network.pooling, network.normalize)?;
    graph.output(&embedding)?;
    match options.outputs {
        Outputs::Embedding | Outputs::HiddenState(_) => {}
        Outputs::EmbeddingAndHiddenStates => {
            for state in &states {
                graph.output(state)?;
            }
        }
        Outputs::EmbeddingAndLayerMeans => {
            let mut each = Vec::with_capacity(states.len());
            for (index, state) in states.iter().enumerate() {
                each.push(means.mean(&mut graph, state, &format!("pooling/mean.{index}"))?);
            }
            let joined = Operation::new("Concat", &each.iter().collect::<Vec<_>>()).with("axis", 1);
            let width = states.len() * config.hidden_size;
            let joined = graph.add(joined, "layer_means", ValueType::float([batch(), width.into()]))?;
            graph.output(&joined)?;
        }
    }
    Ok(graph::encode(&graph.finish()?))
}

/// The graph whose outputs are the rows that each product multiplies, f32 `[tokens, inputs]`, padding
/// included; and which output is which product's.
///
/// # Errors
/// As [`inference_graph`].
pub fn product_inputs_graph(network: &Network<'_>) -> Result<(Vec<u8>, BTreeMap<Product, String>)> {
    network.config.check()?;
    let mut encoder = Encoder::new(*network, Operators::Fused, Start::Ids)?;
    encoder.hidden_states(network.config.layers, false)?;
    let mut names = BTreeMap::new();
    for (product, rows) in &encoder.product_inputs {
        encoder.graph.output(rows)?;
        names.insert(*product, rows.name().to_owned());
    }
    Ok((graph::encode(&encoder.graph.finish()?), names))
}

fn no_states() -> Error {
    Error::new(Kind::Graph, "an encoder has hidden states; this is a bug")
}
