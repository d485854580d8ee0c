//! Owns what a published encoder chooses between: the function in its feed-forward blocks, and how a text's
//! states become one vector.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

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
