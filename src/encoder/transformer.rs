//! Owns the ONNX graph of an encoder: embeddings, layers, and which outputs it has.
//!
//! Refuses to hold weights: every one is a range of the weight file in PyTorch's `[out, in]` layout, unless
//! it was changed by training (then it is in the graph) or is being trained (then it is an input). Products
//! with them are `Gemm`, or what `forms` makes of them, over `[tokens, hidden]` (tokens = batch · sequence),
//! whose rows do not depend on one another, to the bit.

use std::collections::{BTreeMap, BTreeSet};

use super::config::Config;
use super::dense::DenseValues;
use super::kinds::Activation;
use super::network::Network;
use super::pooling::float_mask;
use super::ports::{self, DROPOUT, batch};
use super::products::{Form, Part, Product, TableForm};
use super::relative::RelativePositions;
use super::tensors::{
    ATTENTION_NORM, DENSE_BIAS, DENSE_WEIGHT, EMBEDDINGS_NORM, OUTPUT_NORM, POSITION_BIAS, POSITIONS,
    TOKEN_TYPES, WORDS, in_layer,
};
use crate::error::{Error, Kind, Result};
use crate::graph::{Builder, Data, DataType, Dim, Operation, Value, ValueType};

/// Which operators a graph is made of; both kinds give the same numbers up to rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operators {
    /// ONNX Runtime's own (`com.microsoft`) where they are faster.
    #[default]
    Fused,
    /// ONNX's standard ones only.
    Standard,
}

/// What a graph starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Start {
    /// Token ids: the whole network.
    #[default]
    Ids,
    /// The hidden states of this number, given as `states`: 0 is what the embeddings give, k + 1 what layer k
    /// gives.
    States(usize),
}

/// `x` times a mask that is an input of the graph.
pub(super) fn dropped(graph: &mut Builder, x: &Value, mask: &str, name: &str) -> Result<Value> {
    let value_type = graph.type_of(x)?.clone();
    let mask = graph.input(mask, value_type)?;
    graph.add_like(Operation::new("Mul", &[x, &mask]), name, x)
}

/// A graph under construction, with what all its parts need.
pub(super) struct Encoder<'a> {
    pub(super) graph: Builder,
    network: Network<'a>,
    operators: Operators,
    start: Start,
    /// Token ids or token states.
    source: Value,
    /// Token types, where they are an input.
    types: Option<Value>,
    pub(super) attention_mask: Value,
    shapes: Shapes,
    attention: Padding,
    /// What every layer adds to its scores for the distance between two tokens, `[1, heads, sequence,
    /// sequence]`, in networks that have it.
    position_bias: Option<Value>,
    /// Tensors that are inputs of the graph because they are being trained.
    trained: BTreeSet<String>,
    /// Layers whose numbers are dropped at random while training.
    dropped: BTreeSet<usize>,
    /// The rows that each product multiplies, `[tokens, inputs]` …
    pub(super) product_inputs: BTreeMap<Product, Value>,
    /// … and in 8 bits, with scale and zero point, where they are needed so.
    pub(super) integer_rows: BTreeMap<Product, [Value; 3]>,
}

/// Targets of `Reshape`.
struct Shapes {
    /// `[batch, sequence]`.
    ids: Value,
    /// `[batch, sequence, hidden]`.
    states: Value,
    /// `[tokens, hidden]`.
    rows: Value,
}

/// What keeps attention off the padding.
#[derive(Clone)]
enum Padding {
    /// Fused: how many tokens each row has before its padding, `[batch]`.
    Lengths(Value),
    /// Standard: what is added to the scores (0, or the lowest float), `[batch, 1, 1, sequence]`; `[batch,
    /// sequence, heads, head]` as a target of `Reshape`; 1 / √head.
    Bias { bias: Value, heads: Value, scale: Value },
}

impl<'a> Encoder<'a> {
    pub(super) fn new(network: Network<'a>, operators: Operators, start: Start) -> Result<Self> {
        let config = network.config;
        let mut graph = Builder::new("bert");
        let ids_type = || ValueType::int64([batch(), "sequence".into()]);
        let hidden_size = Dim::Size(config.hidden_size);
        let source = match start {
            Start::Ids => graph.input(ports::INPUT_IDS, ids_type())?,
            Start::States(_) => {
                graph.input(ports::STATES, ValueType::float([batch(), "sequence".into(), hidden_size]))?
            }
        };
        let mask = graph.input(ports::ATTENTION_MASK, ids_type())?;
        let typed = network.typed && start == Start::Ids;
        let types = typed.then(|| graph.input(ports::TOKEN_TYPES, ids_type())).transpose()?;
        let ids = graph.add(Operation::new("Shape", &[&mask]), "shape/ids", ValueType::int64([2.into()]))?;
        let hidden = graph.integers("shape/hidden", &[1], &[config.hidden_size as i64])?;
        let states = Operation::new("Concat", &[&ids, &hidden]).with("axis", 0);
        let states = graph.add(states, "shape/states", ValueType::int64([3.into()]))?;
        let rows = graph.integers("shape/rows", &[2], &[-1, config.hidden_size as i64])?;
        let attention = match operators {
            Operators::Fused => {
                let axis = graph.integers("attention/axis", &[1], &[1])?;
                let lengths = Operation::new("ReduceSum", &[&mask, &axis]).with("keepdims", 0);
                Padding::Lengths(graph.add(lengths, "attention/lengths", ValueType::int64([batch()]))?)
            }
            Operators::Standard => standard_padding(&mut graph, config, &mask, &ids)?,
        };
        Ok(Self {
            graph,
            network,
            operators,
            start,
            source,
            types,
            attention_mask: mask,
            shapes: Shapes { ids, states, rows },
            attention,
            position_bias: None,
            trained: BTreeSet::new(),
            dropped: BTreeSet::new(),
            product_inputs: BTreeMap::new(),
            integer_rows: BTreeMap::new(),
        })
    }

    /// Makes tensors inputs of the graph, and drops numbers of layers through masks that are inputs too.
    pub(super) fn train(&mut self, tensors: BTreeSet<String>, dropped: BTreeSet<usize>) {
        self.trained = tensors;
        self.dropped = dropped;
    }

    fn config(&self) -> &'a Config {
        self.network.config
    }

    /// The tensors of the product behind the pooling, where the network has one.
    pub(super) fn dense_values(&mut self) -> Result<Option<DenseValues>> {
        let Some(dense) = self.config().dense else { return Ok(None) };
        let (weight, bias) = (self.weight(DENSE_WEIGHT)?, self.weight(DENSE_BIAS)?);
        Ok(Some(DenseValues { dense, weight, bias }))
    }

    pub(super) fn hidden_size(&self) -> usize {
        self.config().hidden_size
    }

    pub(super) fn hidden(&self) -> Dim {
        Dim::Size(self.hidden_size())
    }

    pub(super) fn fused(&self) -> bool {
        self.operators == Operators::Fused
    }

    /// `[batch, sequence, hidden]`.
    fn states_type(&self) -> ValueType {
        ValueType::float([batch(), "sequence".into(), self.hidden()])
    }

    /// Rows as states, `[batch, sequence, hidden]`.
    fn as_states(&mut self, rows: &Value, name: &str) -> Result<Value> {
        let shape = self.shapes.states.clone();
        self.reshape(rows, &shape, name, self.states_type())
    }

    /// States as rows, `[tokens, hidden]`.
    fn as_rows(&mut self, states: &Value, name: &str) -> Result<Value> {
        let shape = self.shapes.rows.clone();
        self.reshape(states, &shape, name, ValueType::float(["tokens".into(), self.hidden()]))
    }

    /// The hidden states from the start up to `hidden.level`: all of them, or only the last; each `[batch,
    /// sequence, hidden]`.
    pub(super) fn hidden_states(&mut self, level: usize, all: bool) -> Result<Vec<Value>> {
        let (first, states) = match self.start {
            Start::Ids => (0, self.embeddings(&ports::hidden(0))?),
            Start::States(first) => (first, self.source.clone()),
        };
        if first > level || level > self.config().layers {
            return Err(Error::new(Kind::Graph, "the graph has no such hidden states")
                .found(format!("{}, starting from {}", ports::hidden(level), ports::hidden(first)))
                .expected(format!("{} to {}", ports::hidden(first), ports::hidden(self.config().layers))));
        }
        if let Some(relative) = self.config().relative_positions.filter(|_| first < level) {
            self.position_bias = Some(self.bias_of_distances(relative)?);
        }
        let mut rows = self.as_rows(&states, "embeddings/rows")?;
        let mut found = vec![states];
        for layer in first..level {
            rows = self.layer(&rows, layer)?;
            if all || layer + 1 == level {
                found.push(self.as_states(&rows, &ports::hidden(layer + 1))?);
            }
        }
        Ok(found)
    }

    /// Token + position + token type, normalised: `[batch, sequence, hidden]`. Without types as an input
    /// every token has type 0.
    fn embeddings(&mut self, name: &str) -> Result<Value> {
        if self.fused() && self.table_form(WORDS).is_none() && self.table_form(POSITIONS).is_none() {
            let (word, position) = (self.weight(WORDS)?, self.weight(POSITIONS)?);
            let token_type = self.weight(TOKEN_TYPES)?;
            let [scale, shift] = self.scale_and_shift(EMBEDDINGS_NORM)?;
            let ids_type = ValueType::new(DataType::Int32, [batch(), "sequence".into()]);
            let cast = Operation::new("Cast", &[&self.source]).with("to", DataType::Int32 as i64);
            let ids = self.graph.add(cast, "embeddings/ids", ids_type.clone())?;
            let types = match &self.types {
                Some(types) => Operation::new("Cast", &[types]).with("to", DataType::Int32 as i64),
                None => {
                    let zero = ValueType::new(DataType::Int32, []);
                    let zero = self.graph.initializer("embeddings/zero", zero, Data::Inline(vec![0; 4]))?;
                    Operation::new("Mul", &[&ids, &zero])
                }
            };
            let types = self.graph.add(types, "embeddings/token_types", ids_type)?;
            let inputs = [&ids, &types, &word, &position, &token_type, &scale, &shift];
            let operation = Operation::microsoft("EmbedLayerNormalization", &inputs)
                .with("epsilon", self.config().layer_norm_epsilon);
            let mask_index = ValueType::new(DataType::Int32, [batch()]);
            let outputs =
                vec![(name.to_owned(), self.states_type()), ("embeddings/mask_index".to_owned(), mask_index)];
            return Ok(self.graph.add_all(operation, outputs)?.remove(0));
        }
        let hidden = self.hidden();
        let word = self.word_rows(&self.source.clone(), "embeddings/word")?;
        let types = match &self.types {
            Some(types) => types.clone(),
            None => self.graph.integers("embeddings/zero", &[], &[0])?,
        };
        let one = self.graph.integers("embeddings/one", &[1], &[1])?;
        let from = self.graph.integers("embeddings/from", &[1], &[0])?;
        let to = Operation::new("Gather", &[&self.shapes.ids, &one]).with("axis", 0);
        let to = self.graph.add(to, "embeddings/to", ValueType::int64([1.into()]))?;
        let slice = |table: &Value| Operation::new("Slice", &[table, &from, &to, &from]);
        let position = self.table_rows(POSITIONS, "embeddings/position", &["sequence".into()], &slice)?;
        let token_type = self.token_type(&types, hidden)?;
        let sum = Operation::new("Add", &[&word, &position]);
        let sum = self.graph.add_like(sum, "embeddings/word_and_position", &word)?;
        let sum = self.graph.add_like(Operation::new("Add", &[&sum, &token_type]), "embeddings/sum", &sum)?;
        self.normalization(&sum, EMBEDDINGS_NORM, name)
    }

    /// What is added for token types, one of them or each token's: rows of their table.
    fn token_type(&mut self, types: &Value, hidden: Dim) -> Result<Value> {
        let (table, row) = (self.weight(TOKEN_TYPES)?, "embeddings/token_type");
        let typed = self.types.is_some();
        if !typed || !self.trained.contains(TOKEN_TYPES) {
            let shape = if typed { self.states_type() } else { ValueType::float([hidden]) };
            let look_up = Operation::new("Gather", &[&table, types]).with("axis", 0);
            return self.graph.add(look_up, row, shape);
        }
        // As a product, which has a gradient: that of a table looked up in is not one of its shape.
        let kinds = self.config().token_types;
        let all: Vec<i64> = (0..kinds as i64).collect();
        let all = self.graph.integers("embeddings/all_types", &[kinds], &all)?;
        let last = self.graph.integers("embeddings/behind", &[1], &[-1])?;
        let wide = ValueType::int64([batch(), "sequence".into(), 1.into()]);
        let wide = self.graph.add(Operation::new("Unsqueeze", &[types, &last]), "embeddings/types", wide)?;
        let cube = |element| ValueType::new(element, [batch(), "sequence".into(), kinds.into()]);
        let hits = Operation::new("Equal", &[&wide, &all]);
        let hits = self.graph.add(hits, "embeddings/type_hits", cube(DataType::Bool))?;
        let cast = Operation::new("Cast", &[&hits]).with("to", DataType::Float as i64);
        let hits = self.graph.add(cast, "embeddings/type_shares", cube(DataType::Float))?;
        let states = self.states_type();
        self.graph.add(Operation::new("MatMul", &[&hits, &table]), row, states)
    }

    /// The bias of every pair of tokens: `[1, heads, sequence, sequence]`.
    fn bias_of_distances(&mut self, relative: RelativePositions) -> Result<Value> {
        let (table, config) = (self.weight(POSITION_BIAS)?, self.config());
        let buckets = relative.of_all_pairs(&mut self.graph, &self.shapes.ids, config.positions)?;
        if self.trained.contains(POSITION_BIAS) {
            relative.bias_by_product(&mut self.graph, [&table, &buckets], config.attention_heads)
        } else {
            relative.bias(&mut self.graph, [&table, &buckets], config.attention_heads)
        }
    }

    /// One transformer layer over `[tokens, hidden]`.
    fn layer(&mut self, rows: &Value, layer: usize) -> Result<Value> {
        let name = format!("layer.{layer}");
        let context = self.attention(rows, layer, &name)?;
        let attended =
            self.dense(&context, layer, Part::AttentionOutput, &format!("{name}/attention/output"))?;
        let attended = self.drop_numbers(&attended, layer, "attended")?;
        let attended = self.add_and_normalize(
            &attended,
            rows,
            &in_layer(layer, ATTENTION_NORM),
            &format!("{name}/attended"),
        )?;
        let inner = self.dense(&attended, layer, Part::Intermediate, &format!("{name}/intermediate"))?;
        let inner = self.activation(&inner, &format!("{name}/activated"))?;
        let output = self.dense(&inner, layer, Part::Output, &format!("{name}/feed_forward"))?;
        let output = self.drop_numbers(&output, layer, "output")?;
        self.add_and_normalize(&output, &attended, &in_layer(layer, OUTPUT_NORM), &format!("{name}/output"))
    }

    /// A product with one matrix.
    fn dense(&mut self, rows: &Value, layer: usize, part: Part, name: &str) -> Result<Value> {
        let tensor = in_layer(layer, part.tensors()[0]);
        self.product(rows, Product { layer, part }, &tensor, name)
    }

    /// Multi-head self-attention before its output product: `[tokens, hidden]`.
    fn attention(&mut self, rows: &Value, layer: usize, name: &str) -> Result<Value> {
        let product = Product { layer, part: Part::Attention };
        let parts = ["query", "key", "value"].iter().zip(product.tensors());
        let parts = parts
            .map(|(part, tensor)| self.product(rows, product, &tensor, &format!("{name}/{part}")))
            .collect::<Result<Vec<_>>>()?;
        let context = match self.attention.clone() {
            Padding::Lengths(lengths) => self.fused_attention(&parts, &lengths, name)?,
            Padding::Bias { bias, heads, scale } => {
                self.standard_attention(&parts, &[bias, heads, scale], layer, name)?
            }
        };
        self.as_rows(&context, &format!("{name}/context/rows"))
    }

    /// One operator, which reads nothing after a row's own tokens: they come first. The same numbers, to the
    /// bit, as ONNX Runtime's own `MultiHeadAttention` with a mask, in two thirds of its time.
    fn fused_attention(&mut self, parts: &[Value], lengths: &Value, name: &str) -> Result<Value> {
        let states = parts.iter().map(|part| self.as_states(part, &format!("{}/states", part.name())));
        let states = states.collect::<Result<Vec<_>>>()?;
        let heads = self.config().attention_heads as i64;
        // Between the keys and the lengths: what is added to the scores, and no keys and values from before.
        let attention = Operation::new("Attention", &states.iter().collect::<Vec<_>>())
            .input(self.position_bias.as_ref())
            .input(None)
            .input(None)
            .input(Some(lengths))
            .with("q_num_heads", heads)
            .with("kv_num_heads", heads);
        self.graph.add(attention, &format!("{name}/context"), self.states_type())
    }

    fn standard_attention(
        &mut self,
        parts: &[Value],
        constants: &[Value; 3],
        layer: usize,
        name: &str,
    ) -> Result<Value> {
        let [bias, shape, scale] = constants;
        let sequence = || Dim::from("sequence");
        let heads = Dim::Size(self.config().attention_heads);
        let head = Dim::Size(self.config().head_size());
        let split = ValueType::float([batch(), sequence(), heads.clone(), head.clone()]);
        let by_head = ValueType::float([batch(), heads.clone(), sequence(), head.clone()]);
        let keys = ValueType::float([batch(), heads.clone(), head, sequence()]);
        let scores = ValueType::float([batch(), heads, sequence(), sequence()]);
        let turns = [([0, 2, 1, 3], &by_head), ([0, 2, 3, 1], &keys), ([0, 2, 1, 3], &by_head)];
        let mut turned = Vec::with_capacity(3);
        for (part, (order, value_type)) in parts.iter().zip(turns) {
            let heads = self.reshape(part, shape, &format!("{}/heads", part.name()), split.clone())?;
            let transpose = Operation::new("Transpose", &[&heads]).with("perm", order);
            let name = format!("{}/by_head", part.name());
            turned.push(self.graph.add(transpose, &name, value_type.clone())?);
        }
        let mut step = |operation: Operation, step: &str| {
            self.graph.add(operation, &format!("{name}/{step}"), scores.clone())
        };
        let products = step(Operation::new("MatMul", &[&turned[0], &turned[1]]), "products")?;
        let mut scaled = step(Operation::new("Mul", &[&products, scale]), "scores")?;
        if let Some(of_positions) = &self.position_bias {
            scaled = step(Operation::new("Add", &[&scaled, of_positions]), "positioned")?;
        }
        let masked = step(Operation::new("Add", &[&scaled, bias]), "masked")?;
        let shares = step(Operation::new("Softmax", &[&masked]).with("axis", -1), "probabilities")?;
        let shares = self.drop_numbers(&shares, layer, "attention")?;
        let context = Operation::new("MatMul", &[&shares, &turned[2]]);
        let context = self.graph.add(context, &format!("{name}/context/by_head"), by_head)?;
        let transpose = Operation::new("Transpose", &[&context]).with("perm", [0, 2, 1, 3]);
        self.graph.add(transpose, &format!("{name}/context"), split)
    }

    /// `x` times a mask that is an input of the graph, `dropout.layer.LAYER.PLACE`, where the layer's numbers
    /// are dropped.
    fn drop_numbers(&mut self, x: &Value, layer: usize, place: &str) -> Result<Value> {
        if !self.dropped.contains(&layer) {
            return Ok(x.clone());
        }
        let mask = format!("{DROPOUT}layer.{layer}.{place}");
        dropped(&mut self.graph, x, &mask, &format!("layer.{layer}/{place}/dropped"))
    }

    fn activation(&mut self, rows: &Value, name: &str) -> Result<Value> {
        let operation = match (self.config().activation, self.operators) {
            (Activation::Relu, _) => Operation::new("Relu", &[rows]),
            (Activation::Gelu, Operators::Fused) => Operation::microsoft("Gelu", &[rows]),
            (Activation::GeluTanh, Operators::Fused) => Operation::microsoft("FastGelu", &[rows]),
            (Activation::Gelu, Operators::Standard) => Operation::new("Gelu", &[rows]),
            (Activation::GeluTanh, Operators::Standard) => {
                Operation::new("Gelu", &[rows]).with("approximate", "tanh")
            }
        };
        self.graph.add_like(operation, name, rows)
    }

    /// The residual connection and its normalisation: `[tokens, hidden]`.
    ///
    /// Two operators, because ONNX Runtime 1.32's fused `SkipLayerNormalization` makes the whole model 5 to 9
    /// % slower.
    fn add_and_normalize(&mut self, rows: &Value, skip: &Value, tensor: &str, name: &str) -> Result<Value> {
        let sum = Operation::new("Add", &[rows, skip]);
        let sum = self.graph.add_like(sum, &format!("{name}/sum"), rows)?;
        self.normalization(&sum, tensor, name)
    }

    fn normalization(&mut self, x: &Value, tensor: &str, name: &str) -> Result<Value> {
        let [scale, shift] = self.scale_and_shift(tensor)?;
        let operation = Operation::new("LayerNormalization", &[x, &scale, &shift])
            .with("axis", -1)
            .with("epsilon", self.config().layer_norm_epsilon);
        self.graph.add_like(operation, name, x)
    }

    /// The weights of a layer normalisation.
    fn scale_and_shift(&mut self, tensor: &str) -> Result<[Value; 2]> {
        Ok([self.weight(&format!("{tensor}.weight"))?, self.weight(&format!("{tensor}.bias"))?])
    }

    fn reshape(&mut self, x: &Value, shape: &Value, name: &str, value_type: ValueType) -> Result<Value> {
        self.graph.add(Operation::new("Reshape", &[x, shape]), name, value_type)
    }

    /// The form of a product that is not a plain one.
    pub(super) fn form(&self, product: Product) -> Option<Form> {
        self.network.forms.and_then(|forms| forms.products.get(&product)).copied()
    }

    /// The form of an embedding table that is not a plain one.
    pub(super) fn table_form(&self, table: &str) -> Option<TableForm> {
        self.network.forms.and_then(|forms| forms.tables.get(table)).copied()
    }

    /// A tensor of the network, wherever it is.
    pub(super) fn weight(&mut self, name: &str) -> Result<Value> {
        let (value_type, data) = self.network.tensor(name)?;
        if self.trained.contains(name) {
            return self.graph.input(name, value_type);
        }
        self.graph.initializer(name, value_type, data)
    }
}

/// What the standard operators need to keep attention off the padding, see [`Padding::Bias`].
fn standard_padding(graph: &mut Builder, config: &Config, mask: &Value, ids: &Value) -> Result<Padding> {
    let wide = ValueType::float([batch(), 1.into(), 1.into(), "sequence".into()]);
    let mask = float_mask(graph, mask, "attention/mask")?;
    let axes = graph.integers("attention/axes", &[2], &[1, 2])?;
    let mask = graph.add(Operation::new("Unsqueeze", &[&mask, &axes]), "attention/mask/wide", wide)?;
    let one = graph.floats("attention/one", &[], &[1.0])?;
    let padding = graph.add_like(Operation::new("Sub", &[&one, &mask]), "attention/padding", &mask)?;
    // Added to any score, the lowest float leaves a probability of exactly 0 once the softmax has subtracted
    // its maximum.
    let lowest = graph.floats("attention/lowest", &[], &[f32::MIN])?;
    let bias = graph.add_like(Operation::new("Mul", &[&padding, &lowest]), "attention/bias", &padding)?;
    let sizes = [config.attention_heads as i64, config.head_size() as i64];
    let sizes = graph.integers("attention/sizes", &[2], &sizes)?;
    let heads = Operation::new("Concat", &[ids, &sizes]).with("axis", 0);
    let heads = graph.add(heads, "attention/heads", ValueType::int64([4.into()]))?;
    let scale = graph.floats("attention/scale", &[], &[1.0 / (config.head_size() as f32).sqrt()])?;
    Ok(Padding::Bias { bias, heads, scale })
}
