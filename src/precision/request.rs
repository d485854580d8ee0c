//! Owns what a choice of precision and depth is asked for.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use super::rows::RunRows;
use crate::backbone::Backbone;
use crate::classifier::Run;
use crate::embed::Embedder;
use crate::error::{Error, Kind, Result, quoted};
use crate::quantize::{Calibration, Precision, TableBits};
use crate::runtime::Runtime;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrecisionChoice {
    /// The smallest that passes the gate.
    Auto,
    /// This one (`int8` may make exceptions), if it passes.
    Fixed(Precision),
}

impl FromStr for PrecisionChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => {
                text.parse().map(Self::Fixed).map_err(|error: Error| error.expected("fp32, w8, int8 or auto"))
            }
        }
    }
}

impl fmt::Display for PrecisionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(precision) => precision.fmt(f),
        }
    }
}

/// How deep the network shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DepthChoice {
    /// The shallowest that passes the gate.
    Auto,
    /// So many layers at most.
    Fixed(usize),
}

impl FromStr for DepthChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => text.parse().map(Self::Fixed).map_err(|_| {
                Error::new(Kind::Usage, "there is no such depth")
                    .found(quoted(text))
                    .expected("a number of layers, or auto")
            }),
        }
    }
}

impl fmt::Display for DepthChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(depth) => depth.fmt(f),
        }
    }
}

/// Which word pieces are kept, beside those that must stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VocabularyChoice {
    /// Those in this file; none: those of the run's training and validation texts …
    pub file: Option<PathBuf>,
    /// … of which the most frequent in these texts.
    pub most: Option<usize>,
}

/// What to choose for.
pub struct PrecisionRequest<'r> {
    pub run: &'r Run,
    /// As it is deployed; the run's whole backbone where a depth is asked for.
    pub backbone: &'r Arc<Backbone>,
    /// The same backbone's stored features.
    pub embedder: &'r Embedder,
    pub runtime: &'r Runtime,
    pub rows: &'r RunRows,
    pub choice: PrecisionChoice,
    /// None: as deep as the run's.
    pub depth: Option<DepthChoice>,
    /// How the word table is kept; without it in 8 bits, and `auto` tries 4 bits first.
    pub table: Option<TableBits>,
    /// Word pieces to keep; none: all.
    pub vocabulary: Option<VocabularyChoice>,
    /// The ranges that 8-bit steps come from; none: they are measured on the run's training texts.
    pub ranges: Option<Calibration>,
    /// Points of accuracy or macro-F1 that a task may lose.
    pub max_drop: f64,
    /// Threads of the fits.
    pub threads: usize,
}
