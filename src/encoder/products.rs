//! Owns what an encoder multiplies: the products of its layers, and the forms that they and the embedding
//! tables may have beside plain 32-bit floats.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::tensors::in_layer;
use crate::error::{Error, Kind, Result};
use crate::graph::{Data, ValueType};

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

    /// The shape of each of its matrices, `[outputs, inputs]`, in a network of so wide hidden states and
    /// feed-forward blocks.
    #[must_use]
    pub fn shape(self, [hidden, inner]: [usize; 2]) -> [usize; 2] {
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

/// How an embedding table `NAME` `[rows, hidden]` is kept when not as plain 32-bit floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableForm {
    /// 8 bits: `NAME.codes` i8 `[rows, hidden]` and `NAME.scales` f32 `[rows, 1]`.
    Rows,
    /// 4 bits, in blocks along a row, for the word table: `NAME.codes` u8 `[rows, hidden / 2]`,
    /// `NAME.scales` f16 `[rows, blocks]` and `NAME.zeros` u8 `[rows, blocks / 2]`, of an even number of
    /// blocks. Codes and zeros are two in a byte, the first one in its lower half; a number is
    /// (code - zero) · scale.
    Blocks {
        /// Numbers that share a scale and a zero: a power of two from 16 on.
        block: usize,
    },
}

/// What of an encoder is not plain, and where every tensor is.
#[derive(Clone, Debug, Default)]
pub struct Forms {
    /// Products in another form.
    pub products: BTreeMap<Product, Form>,
    /// Embedding tables in another form.
    pub tables: BTreeMap<String, TableForm>,
    /// Tensors by name; they go before those of the weight file.
    pub tensors: BTreeMap<String, (ValueType, Data)>,
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
