//! Owns the graphs that only compute forward: what may be asked of them, and building them, with heads or without.
//!
//! Refuses to train: see `training`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::encoder::{Encoder, Operators, Start, batch};
use super::forms::Product;
use super::pooling::Means;
use super::weights::Network;
use crate::error::{Error, Kind, Result};
use crate::graph::{self, Builder, Operation, Value, ValueType};

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
    /// Also `layer_means` `[batch, (layers + 1) · hidden]`: the mean over real tokens of the embeddings, layer 0, …; not
    /// normalised, and a mean whatever the pooling.
    EmbeddingAndLayerMeans,
    /// Also `hidden.0` (embeddings), `hidden.1` (layer 0), …: `[batch, sequence, hidden]`.
    EmbeddingAndHiddenStates,
    /// Only `hidden.N`, `[batch, sequence, hidden]`; nothing above it is in the graph.
    HiddenState(usize),
}

/// What to build; the default is the mean-pooled embedding, not normalised, from fused operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GraphOptions {
    /// The operators to use.
    pub operators: Operators,
    /// How `embedding` is made.
    pub pooling: Pooling,
    /// Whether `embedding` has length 1.
    pub normalize: bool,
    /// The outputs.
    pub outputs: Outputs,
    /// What the graph starts from.
    pub start: Start,
}

/// What a head inside a graph sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadFeatures {
    /// `embedding`.
    Embedding,
    /// The means over real tokens of these hidden states, side by side: 0 is what the embeddings give, k + 1 what layer k gives.
    States(Range<usize>),
}

/// A task's linear classifier inside a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphHead {
    /// The task; the outputs are `logits_TASK` and `probabilities_TASK`, `[batch, classes]`.
    pub task: String,
    /// What it sees.
    pub features: HeadFeatures,
    /// `[classes, features]`, row-major.
    pub weights: Vec<f32>,
    /// `[classes]`.
    pub bias: Vec<f32>,
    /// Probabilities are the softmax of the logits divided by it.
    pub temperature: f32,
}

/// The ONNX model that embeds batches of token ids, or of token states kept from another run.
///
/// Inputs: `input_ids` (i64) or `states` (f32 `[batch, sequence, hidden]`), and `attention_mask` (1 real, 0 padding), i64
/// `[batch, sequence]`, padding at the end, sequence from 1 to `config.positions`. Outputs: see [`Outputs`]. A row's result is
/// the same bits whatever its batch, padding, the number of threads, and whether it starts from ids or from the states that
/// another such graph gave. The same arguments give the same bytes.
///
/// # Errors
/// The configuration is impossible, the weights do not belong to it, or the graph would have no layer to start from.
pub fn inference_graph(network: &Network<'_>, options: &GraphOptions) -> Result<Vec<u8>> {
    deployed_graph(network, options, &[])
}

/// [`inference_graph`] with heads: one forward pass gives all tasks' `logits_TASK` and `probabilities_TASK` too.
///
/// # Errors
/// As [`inference_graph`]; a head's numbers do not fit what it sees, two heads have the same task, or the graph has no
/// embedding for them.
pub fn deployed_graph(network: &Network<'_>, options: &GraphOptions, heads: &[GraphHead]) -> Result<Vec<u8>> {
    let config = network.config;
    config.check()?;
    let mut encoder = Encoder::new(network.clone(), options.operators, options.start)?;
    if let Outputs::HiddenState(level) = options.outputs {
        if let Some(head) = heads.first() {
            return Err(Error::new(Kind::Graph, "a graph that ends inside the network has no heads")
                .found(format!("the head {:?}", head.task)));
        }
        let states = encoder.hidden_states(level, false)?;
        let last = states.last().ok_or_else(no_states)?;
        encoder.graph.output(last)?;
        return Ok(graph::encode(&encoder.graph.finish()?));
    }
    let all = options.outputs != Outputs::Embedding
        || heads.iter().any(|head| head.features != HeadFeatures::Embedding);
    let states = encoder.hidden_states(config.layers, all)?;
    let last = states.last().ok_or_else(no_states)?.clone();
    let (mask, hidden, fused) = (encoder.attention_mask.clone(), encoder.hidden(), encoder.fused());
    let mut graph = encoder.graph;
    let means = Means::new(&mut graph, &mask, hidden, fused)?;
    let embedding = means.embedding(&mut graph, &last, options.pooling, options.normalize)?;
    graph.output(&embedding)?;
    let mut pooled = Pooled { width: config.hidden_size, states, means, embedding, made: BTreeMap::new() };
    match options.outputs {
        Outputs::Embedding | Outputs::HiddenState(_) => {}
        Outputs::EmbeddingAndHiddenStates => {
            for state in &pooled.states {
                graph.output(state)?;
            }
        }
        Outputs::EmbeddingAndLayerMeans => {
            let joined = pooled.joined(&mut graph, 0..pooled.states.len(), "layer_means")?;
            graph.output(&joined)?;
        }
    }
    for head in heads {
        add_head(&mut graph, &mut pooled, head)?;
    }
    Ok(graph::encode(&graph.finish()?))
}

/// The graph whose outputs are the rows that each product multiplies, f32 `[tokens, inputs]`, padding included; and which
/// output is which product's.
///
/// # Errors
/// As [`inference_graph`].
pub fn product_inputs_graph(network: &Network<'_>) -> Result<(Vec<u8>, BTreeMap<Product, String>)> {
    network.config.check()?;
    let mut encoder = Encoder::new(network.clone(), Operators::Fused, Start::Ids)?;
    encoder.hidden_states(network.config.layers, false)?;
    let mut names = BTreeMap::new();
    for (product, rows) in &encoder.product_inputs {
        encoder.graph.output(rows)?;
        names.insert(*product, rows.name().to_owned());
    }
    Ok((graph::encode(&encoder.graph.finish()?), names))
}

/// The pooled vectors of a graph.
struct Pooled {
    width: usize,
    /// All hidden states, or only the last.
    states: Vec<Value>,
    means: Means,
    embedding: Value,
    /// Means made so far, by the number of the state.
    made: BTreeMap<usize, Value>,
}

impl Pooled {
    /// The means of some hidden states, side by side: `[batch, states · hidden]`.
    fn joined(&mut self, graph: &mut Builder, range: Range<usize>, name: &str) -> Result<Value> {
        let width = range.len() * self.width;
        let mut each = Vec::with_capacity(range.len());
        for index in range {
            if let Some(made) = self.made.get(&index) {
                each.push(made.clone());
                continue;
            }
            let state = self.states.get(index).ok_or_else(|| {
                Error::new(Kind::Graph, "there are no such hidden states").found(format!("hidden.{index}"))
            })?;
            let mean = self.means.mean(graph, state, &format!("pooling/mean.{index}"))?;
            self.made.insert(index, mean.clone());
            each.push(mean);
        }
        let joined = Operation::new("Concat", &each.iter().collect::<Vec<_>>()).with("axis", 1);
        graph.add(joined, name, ValueType::float([batch(), width.into()]))
    }
}

/// `logits_TASK = features · weightsᵀ + bias` and `probabilities_TASK`, `[batch, classes]`.
fn add_head(graph: &mut Builder, pooled: &mut Pooled, head: &GraphHead) -> Result<()> {
    let (task, classes) = (&head.task, head.bias.len());
    let (features, width) = match &head.features {
        HeadFeatures::Embedding => (pooled.embedding.clone(), pooled.width),
        HeadFeatures::States(range) => {
            let features = pooled.joined(graph, range.clone(), &format!("features_{task}"))?;
            (features, range.len() * pooled.width)
        }
    };
    if head.weights.len() != classes * width || classes == 0 {
        return Err(Error::new(Kind::Graph, format!("the head {task:?} does not fit its features"))
            .found(format!("{} weights for {classes} classes", head.weights.len()))
            .expected(format!("{width} for each class")));
    }
    if !(head.temperature.is_finite() && head.temperature > 0.0) {
        return Err(Error::new(Kind::Graph, format!("the head {task:?} has an impossible temperature"))
            .found(head.temperature.to_string())
            .expected("a number above 0"));
    }
    let weights = graph.floats(&format!("heads.{task}.weight"), &[classes, width], &head.weights)?;
    let bias = graph.floats(&format!("heads.{task}.bias"), &[classes], &head.bias)?;
    let rows = || ValueType::float([batch(), classes.into()]);
    let logits = Operation::new("Gemm", &[&features, &weights, &bias]).with("transB", 1);
    let logits = graph.add(logits, &format!("logits_{task}"), rows())?;
    let temperature = graph.floats(&format!("heads.{task}.temperature"), &[], &[head.temperature])?;
    let scaled = Operation::new("Div", &[&logits, &temperature]);
    let scaled = graph.add(scaled, &format!("heads.{task}.scaled"), rows())?;
    let shares = Operation::new("Softmax", &[&scaled]).with("axis", -1);
    let shares = graph.add(shares, &format!("probabilities_{task}"), rows())?;
    graph.output(&logits)?;
    graph.output(&shares)
}

fn no_states() -> Error {
    Error::new(Kind::Graph, "an encoder has hidden states; this is a bug")
}
