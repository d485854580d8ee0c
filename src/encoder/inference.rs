//! Owns the graphs that only compute forward: what may be asked of them, and building them, with heads or
//! without.
//!
//! Refuses to train: see `training`.

use std::collections::BTreeMap;

use super::network::Network;
use super::pooling::{Behind, Means, side_by_side};
use super::ports;
use super::products::Product;
use super::transformer::{Encoder, Operators, Start};
use crate::error::{Error, Kind, Result};
use crate::graph;

/// What a graph gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// The means over real tokens of the hidden states below a number, from the start on, if there are any,
    /// as [`ports::LAYER_MEANS`]: of the embeddings, layer 0, …; not normalised, and means whatever the
    /// pooling. And [`ports::EMBEDDING`], if it is wanted; nothing above what is wanted is in the graph.
    Vectors {
        /// The number: 0, or up to layers + 1.
        means: usize,
        /// Whether the sentence embedding is wanted.
        embedding: bool,
    },
    /// Only this one of [`ports::hidden`]; nothing above it is in the graph.
    HiddenState(usize),
}

impl Outputs {
    /// The sentence embedding alone.
    pub const EMBEDDING: Self = Self::Vectors { means: 0, embedding: true };

    /// What they are called, in their order.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        match self {
            Self::Vectors { means, embedding } => {
                let wanted = [(ports::EMBEDDING, embedding), (ports::LAYER_MEANS, means > 0)];
                wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name.to_owned()).collect()
            }
            Self::HiddenState(level) => vec![ports::hidden(level)],
        }
    }
}

impl Network<'_> {
    /// Outputs for which all of it is run, and whose last numbers say what a text is like: the sentence
    /// embedding, or the means up to the highest state.
    #[must_use]
    pub fn summary(&self) -> Outputs {
        match self.pooling {
            Some(_) => Outputs::EMBEDDING,
            None => Outputs::Vectors { means: self.config.layers + 1, embedding: false },
        }
    }
}

impl Network<'_> {
    /// Numbers of those last ones.
    #[must_use]
    pub fn summary_size(&self) -> usize {
        if self.pooling.is_some() { self.config.embedding_size() } else { self.config.hidden_size }
    }
}

impl Default for Outputs {
    fn default() -> Self {
        Self::EMBEDDING
    }
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
/// The configuration is impossible, the weights do not belong to it, or the graph would have no layer to
/// start from.
pub fn inference_graph(network: &Network<'_>, options: &GraphOptions) -> Result<Vec<u8>> {
    let config = network.config;
    config.check()?;
    let mut encoder = Encoder::new(*network, options.operators, options.start)?;
    let (level, means, embedding) = match options.outputs {
        Outputs::Vectors { means, embedding: true } => (config.layers, means, true),
        Outputs::Vectors { means, embedding: false } => (means.saturating_sub(1), means, false),
        Outputs::HiddenState(level) => (level, 0, false),
    };
    if means > config.layers + 1 {
        return Err(Error::new(Kind::Graph, "the graph has no such hidden states")
            .found(format!("means of {means}"))
            .expected(format!("at most {}", config.layers + 1)));
    }
    let states = encoder.hidden_states(level, means > 0)?;
    let last = states.last().ok_or_else(no_states)?.clone();
    if let Outputs::HiddenState(_) = options.outputs {
        encoder.graph.output(&last)?;
        return Ok(graph::encode(&encoder.graph.finish()?));
    }
    let behind = match embedding {
        true => Behind { dense: encoder.dense_values()?, normalize: network.normalize },
        false => Behind::scaling(false),
    };
    let (mask, hidden, fused) = (encoder.attention_mask.clone(), encoder.hidden(), encoder.fused());
    let mut graph = encoder.graph;
    let pool = Means::new(&mut graph, &mask, hidden, fused)?;
    if embedding {
        let pooling = network.pooling.ok_or_else(no_embedding)?;
        let embedding = pool.embedding(&mut graph, &last, pooling, &behind)?;
        graph.output(&embedding)?;
    }
    if means > 0 {
        let above = level + 1 - means;
        let each = states[..states.len().saturating_sub(above)].iter().enumerate();
        let each = each
            .map(|(index, state)| pool.mean(&mut graph, state, &format!("pooling/mean.{index}")))
            .collect::<Result<Vec<_>>>()?;
        let joined = side_by_side(&mut graph, &each, config.hidden_size, ports::LAYER_MEANS)?;
        graph.output(&joined)?;
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

/// A cut network has no sentence embedding, and whoever asks for one asks first.
pub(super) fn no_embedding() -> Error {
    Error::new(
        Kind::Graph,
        "the network was cut below its last layer and has no sentence embedding; this is a bug",
    )
}

fn no_states() -> Error {
    Error::new(Kind::Graph, "an encoder has hidden states; this is a bug")
}
