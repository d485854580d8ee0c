//! Owns the 8-bit forms of an encoder's products and embedding tables: what they are called, which tensors
//! each needs, and the operators that compute with them.
//!
//! Refuses to choose numbers: scales and codes are `quantize`'s work. Every form here is one of ONNX
//! Runtime's own operators, so a graph with one has [`Operators::Fused`](super::Operators).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::config::Config;
use super::tensors::{WORDS, in_layer};
use super::transformer::{Encoder, batch};
use crate::error::{Error, Kind, Result};
use crate::graph::{Data, DataType, Dim, Operation, Value, ValueType};

/// Which of a layer's products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Query, key and value: three matrices that multiply the same rows.
    Attention,
    /// What attention gives → hidden states.
    AttentionOutput,
    /// Hidden states → the feed-forward block's inner numbers.
    Intermediate,
    /// The inner numbers → hidden states.
    Output,
}

impl Part {
    /// All of them, in the order they are computed.
    pub const ALL: [Self; 4] = [Self::Attention, Self::AttentionOutput, Self::Intermediate, Self::Output];

    /// Whether the rows that it multiplies come from a layer normalisation.
    #[must_use]
    pub fn follows_normalization(self) -> bool {
        matches!(self, Self::Attention | Self::Intermediate)
    }

    /// The shape of each of its matrices: `[outputs, inputs]`.
    pub(super) fn shape(self, config: &Config) -> [usize; 2] {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        match self {
            Self::Attention | Self::AttentionOutput => [hidden, hidden],
            Self::Intermediate => [inner, hidden],
            Self::Output => [hidden, inner],
        }
    }

    /// The names of its matrices within a layer, without `.weight`.
    pub(super) fn tensors(self) -> &'static [&'static str] {
        match self {
            Self::Attention => &["attention.self.query", "attention.self.key", "attention.self.value"],
            Self::AttentionOutput => &["attention.output.dense"],
            Self::Intermediate => &["intermediate.dense"],
            Self::Output => &["output.dense"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::AttentionOutput => "attention_output",
            Self::Intermediate => "intermediate",
            Self::Output => "output",
        }
    }
}

/// One product of an encoder: the rows it multiplies are quantised together. Written `layer.3.intermediate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Product {
    /// The layer, numbered as in the checkpoint.
    pub layer: usize,
    /// Which of its products.
    pub part: Part,
}

impl Product {
    /// All products of an encoder with so many layers, in the order they are computed.
    pub fn all(layers: usize) -> impl Iterator<Item = Self> {
        (0..layers).flat_map(|layer| Part::ALL.map(|part| Self { layer, part }))
    }

    /// The names of its matrices, without `.weight` and `.bias`, which each of them has.
    pub(super) fn tensors(self) -> impl Iterator<Item = String> {
        self.part.tensors().iter().map(move |tensor| in_layer(self.layer, tensor))
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer.{}.{}", self.layer, self.part.name())
    }
}

impl FromStr for Product {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.strip_prefix("layer.").and_then(|rest| rest.split_once('.'));
        let parsed = parsed.and_then(|(layer, name)| {
            let part = Part::ALL.into_iter().find(|part| part.name() == name)?;
            Some(Self { layer: layer.parse().ok()?, part })
        });
        parsed.ok_or_else(|| {
            Error::new(Kind::Usage, "there is no such product").found(format!("{text:?}")).expected(
                "layer.N.attention, layer.N.attention_output, layer.N.intermediate or layer.N.output",
            )
        })
    }
}

impl TryFrom<String> for Product {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Product> for String {
    fn from(product: Product) -> Self {
        product.to_string()
    }
}

/// How a product is computed when not by plain 32-bit floats.
///
/// Its tensors, for a matrix `NAME` `[out, in]`, beside `NAME.bias` f32 `[out]`:
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// 8-bit weights in blocks along the inputs, 32-bit arithmetic: `NAME.codes` u8 `[out, blocks, block]`
    /// (128 is 0) and `NAME.scales` f32 `[out · blocks]`.
    Blocks {
        /// Weights that share a scale: a power of two from 16 on.
        block: usize,
    },
    /// 8-bit weights and rows, 32-bit integer sums: `NAME.codes` i8 `[in, out]`, `NAME.scales` f32 `[out]`,
    /// and of the product `PRODUCT.scale` f32 and `PRODUCT.zero` u8, both scalars.
    Integers {
        /// Whether the rows are first multiplied by `PRODUCT.smoothing` f32 `[in]`.
        smoothed: bool,
    },
}

/// What of an encoder is not plain, and where every tensor is.
#[derive(Clone, Debug, Default)]
pub struct Forms {
    /// Products in another form.
    pub products: BTreeMap<Product, Form>,
    /// Embedding tables in 8 bits: `NAME.codes` i8 `[rows, hidden]` and `NAME.scales` f32 `[rows, 1]` instead
    /// of `NAME`.
    pub tables: BTreeSet<String>,
    /// Tensors by name; they go before those of the weight file.
    pub tensors: BTreeMap<String, (ValueType, Data)>,
}

/// How exactly `MatMulNBits` computes: 1 is 32-bit floats. Its 8-bit arithmetic (4) is a fifth faster in
/// batches, yet loses 2.6 times as much (demo texts: smallest cosine 0.9966, not 0.9990), and in larger
/// blocks its rows depend on the batch.
const FLOAT_ACCURACY: i64 = 1;

impl Encoder<'_> {
    /// rows · weightᵀ + bias for the matrix `tensor` of a product: `[tokens, outputs]`.
    pub(super) fn product(
        &mut self,
        rows: &Value,
        product: Product,
        tensor: &str,
        name: &str,
    ) -> Result<Value> {
        self.product_inputs.insert(product, rows.clone());
        let operation = match self.form(product) {
            None => {
                let weight = self.weight(&format!("{tensor}.weight"))?;
                Operation::new("Gemm", &[rows, &weight]).with("transB", 1)
            }
            Some(Form::Blocks { block }) => {
                let [codes, scales] = self.coded(tensor)?;
                let inputs = self.last_size(rows)?;
                Operation::microsoft("MatMulNBits", &[rows, &codes, &scales])
                    .input(None)
                    .input(None)
                    .with("K", inputs as i64)
                    .with("N", (self.last_size(&scales)? / inputs.div_ceil(block)) as i64)
                    .with("bits", 8)
                    .with("block_size", block as i64)
                    .with("accuracy_level", FLOAT_ACCURACY)
            }
            Some(Form::Integers { smoothed }) => {
                let [rows, scale, zero] = self.integer_rows(rows, product, smoothed)?;
                let [codes, scales] = self.coded(tensor)?;
                Operation::microsoft("MatMulIntegerToFloat", &[&rows, &codes, &scale, &scales, &zero])
                    .input(None)
            }
        };
        let bias = self.weight(&format!("{tensor}.bias"))?;
        let outputs = self.last_size(&bias)?;
        let value_type = ValueType::float(["tokens".into(), outputs.into()]);
        self.graph.add(operation.input(Some(&bias)), name, value_type)
    }

    /// The rows of a product in 8 bits, with their scale and zero point; made once for all its matrices.
    fn integer_rows(&mut self, rows: &Value, product: Product, smoothed: bool) -> Result<[Value; 3]> {
        if let Some(made) = self.integer_rows.get(&product) {
            return Ok(made.clone());
        }
        let mut value_type = self.graph.type_of(rows)?.clone();
        let mut rows = rows.clone();
        if smoothed {
            let factors = self.weight(&format!("{product}.smoothing"))?;
            let smooth = Operation::new("Mul", &[&rows, &factors]);
            rows = self.graph.add(smooth, &format!("{product}.smoothed"), value_type.clone())?;
        }
        let scale = self.weight(&format!("{product}.scale"))?;
        let zero = self.weight(&format!("{product}.zero"))?;
        value_type.element = DataType::Uint8;
        let quantize = Operation::new("QuantizeLinear", &[&rows, &scale, &zero]);
        let rows = self.graph.add(quantize, &format!("{product}.rows"), value_type)?;
        let made = [rows, scale, zero];
        self.integer_rows.insert(product, made.clone());
        Ok(made)
    }

    fn last_size(&self, value: &Value) -> Result<usize> {
        match self.graph.type_of(value)?.shape.last() {
            Some(Dim::Size(size)) => Ok(*size),
            _ => Err(Error::new(Kind::Graph, "the width of rows is open; this is a bug")),
        }
    }

    /// Codes and scales of a matrix or table.
    fn coded(&mut self, name: &str) -> Result<[Value; 2]> {
        Ok([self.weight(&format!("{name}.codes"))?, self.weight(&format!("{name}.scales"))?])
    }

    /// The rows of the word table that the token ids name, `[batch, sequence, hidden]`.
    pub(super) fn word_rows(&mut self, ids: &Value, name: &str) -> Result<Value> {
        let gather = |source: &Value| Operation::new("Gather", &[source, ids]).with("axis", 0);
        self.table_rows(WORDS, name, &[batch(), "sequence".into()], &gather)
    }

    /// The rows of an embedding table that `choose` takes; of one in 8 bits only those become floats.
    pub(super) fn table_rows(
        &mut self,
        table: &str,
        name: &str,
        shape: &[Dim],
        choose: &dyn Fn(&Value) -> Operation,
    ) -> Result<Value> {
        let rows = |width: Dim| [shape, &[width]].concat();
        let floats = ValueType::float(rows(self.hidden()));
        if !self.is_table_coded(table) {
            let table = self.weight(table)?;
            return self.graph.add(choose(&table), name, floats);
        }
        let [codes, scales] = self.coded(table)?;
        let coded = ValueType::new(DataType::Int8, rows(self.hidden()));
        let codes = self.graph.add(choose(&codes), &format!("{name}/codes"), coded)?;
        let cast = Operation::new("Cast", &[&codes]).with("to", DataType::Float as i64);
        let numbers = self.graph.add(cast, &format!("{name}/numbers"), floats.clone())?;
        let one = ValueType::float(rows(1.into()));
        let scales = self.graph.add(choose(&scales), &format!("{name}/scales"), one)?;
        self.graph.add(Operation::new("Mul", &[&numbers, &scales]), name, floats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_written_as_they_are_read() {
        for product in Product::all(12) {
            assert_eq!(product.to_string().parse::<Product>().unwrap(), product);
        }
        assert_eq!(Product::all(2).count(), 8);
        for wrong in ["", "layer.1", "layer.x.output", "layer.1.outputs", "1.output"] {
            assert_eq!(wrong.parse::<Product>().unwrap_err().kind(), Kind::Usage, "{wrong:?}");
        }
        let json = serde_json::to_string(&Product { layer: 3, part: Part::Intermediate }).unwrap();
        assert_eq!(json, "\"layer.3.intermediate\"");
    }
}
