//! Owns what a published encoder chooses between: the function in its feed-forward blocks, how a text's states
//! become one vector, and what stands behind that.

use serde::{Deserialize, Serialize};

use crate::named::named;

/// The function between the two products of a feed-forward block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x · Φ(x) with the exact error function (`gelu`).
    Gelu,
    /// The tanh approximation of GELU (`gelu_new`, `gelu_pytorch_tanh`).
    GeluTanh,
    /// max(0, x).
    Relu,
}

impl Activation {
    /// From where on a number comes out as it is, up to what 8 bits cannot tell anyway. GELU differs from
    /// max(0, x) by less than 0.17 near 0 and by nothing to speak of beyond 4; there is no reason to treat
    /// max(0, x) otherwise.
    #[must_use]
    pub fn identity_from(self) -> f32 {
        match self {
            Self::Gelu | Self::GeluTanh | Self::Relu => 4.0,
        }
    }
}

/// How token states become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The mean over real tokens.
    #[default]
    Mean,
    /// The first token.
    Cls,
    /// The largest number of any real token, each number by itself.
    Max,
}

/// The function behind the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DenseActivation {
    /// None.
    Identity,
    /// tanh x.
    Tanh,
    /// max(0, x).
    Relu,
    /// x · Φ(x).
    Gelu,
}

/// A product behind the pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dense {
    /// Numbers of the sentence embedding.
    pub outputs: usize,
    /// The function behind it.
    pub activation: DenseActivation,
}

named!(Pooling, "there is no such pooling", Mean = "mean", Cls = "cls", Max = "max");
