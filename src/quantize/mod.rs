//! Owns the precisions of a deployed network: which there are, the numbers of each (scales, codes), how they
//! are calibrated on texts, what each product costs in accuracy, and building the one graph and the one file
//! of weights of a variant.
//!
//! Refuses to decide whether a variant is good enough (whoever bundles has the labels to measure that with),
//! and to compute in 8 bits where it was not tried: see [`Precision::check_device`].
//!
//! # What `int8` does, and why
//!
//! all-MiniLM-L6-v2, cosine to fp32. Static scales per tensor alone lose as much as dynamic ones (160 demo
//! texts: mean 0.992, smallest 0.966), because a few channels are ten times as large as all others. With all
//! of the following it is 0.9987 and 0.9865 over all 23,610 demo texts, at 2.8 times the speed of fp32
//! (AVX-512 VNNI, 2 threads):
//!
//! * Rows that a layer normalisation gives are first divided by a factor per channel that goes into the
//!   weights (Xiao et al., *SmoothQuant*, ICML 2023): `calibration::smoothing`.
//! * Behind the activation no such factor helps: it makes one weight of every output large. There the range
//!   is cut, and a channel that reaches further is continued in copies of itself, as its activation is the
//!   identity up there: `continued`.
//! * Codes of weights are limited so that no processor can overflow, and rounded by what their inputs count:
//!   `numbers::integers`.
//!
//! # A word table in 4 bits
//!
//! The word table of all-MiniLM-L6-v2 (46.9 MB in fp32, 11.8 MB in 8 bits) takes 6.8 MB, and its rows are
//! still looked up one by one. With it alone in 4 bits and all else in fp32 the embeddings of 1,000 demo
//! texts have these cosines to fp32, by what a block of numbers has beside its codes:
//!
//! | block | scale | zero | size | mean | smallest |
//! |---|---|---|---|---|---|
//! | 32 | of the largest number | | 6.59 MB | 0.99870 | 0.9953 |
//! | 32 | searched | | 6.59 MB | 0.99879 | 0.9960 |
//! | **32** | **searched** | **4 bits** | **6.78 MB** | **0.99902** | **0.9973** |
//! | 16 | searched | 4 bits | 7.69 MB | 0.99929 | 0.9977 |
//! | 64 | searched | | 6.23 MB | 0.99837 | 0.9951 |
//! | 64 | and offset, 16 bits each | | 6.59 MB | 0.99875 | 0.9964 |
//!
//! Scales of 32 bits instead of 16 changed the sixth digit; errors weighted by the normalisation that follows
//! gained nothing; 16 levels placed by the numbers' distribution, with a scale only, were worse (0.9987).

#[cfg(feature = "train")]
mod agreement;
#[cfg(feature = "train")]
pub(crate) mod build;
#[cfg(feature = "train")]
mod calibration;
#[cfg(feature = "train")]
mod code;
#[cfg(feature = "train")]
mod continued;
#[cfg(feature = "train")]
mod data_file;
#[cfg(feature = "train")]
mod network;
#[cfg(feature = "train")]
mod nibbles;
#[cfg(feature = "train")]
mod numbers;
#[cfg(feature = "train")]
mod ranges;
#[cfg(feature = "train")]
mod sensitivity;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

#[cfg(feature = "train")]
pub use agreement::Agreement;
#[cfg(feature = "train")]
pub use build::{BuildOptions, build};
#[cfg(feature = "train")]
pub use calibration::{CALIBRATION_TEXTS, Calibration, calibrate};
#[cfg(feature = "train")]
pub use sensitivity::sensitivity;

use crate::encoder::Product;
use crate::error::{Error, Kind, Result};
use crate::named::named;
use crate::runtime::Device;

/// How a network's numbers are kept and multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    Fp32,
    /// 8-bit weights in blocks of 32, 32-bit arithmetic.
    W8,
    /// 8-bit weights and rows, with scales that do not depend on the text.
    Int8,
}

impl Precision {
    /// Refuses a precision that the device does not compute.
    ///
    /// # Errors
    /// `int8` on a GPU.
    pub fn check_device(self, device: Device) -> Result<()> {
        match (self, device) {
            (Self::Int8, Device::Cuda(_)) => {
                Err(Error::new(Kind::Usage, "int8 is for CPUs")
                    .found(format!("the device {device}, for which ONNX Runtime has no MatMulIntegerToFloat"))
                    .expected("--device cpu, or fp32")
                    .help("a GPU computes fp32 faster than a CPU computes int8: bundle with --precision fp32 for it"))
            }
            _ => Ok(()),
        }
    }
}

/// How exact the word table is in a precision other than fp32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TableBits {
    /// 8 bits a number, and a scale per row.
    #[default]
    #[serde(rename = "8")]
    Eight,
    /// 4 bits a number, and a scale and a zero per 32 numbers.
    #[serde(rename = "4")]
    Four,
}

impl TableBits {
    /// Whether rows of a width can be kept so: in 4 bits, an even number of blocks of 32 or 16.
    #[cfg(feature = "train")]
    #[must_use]
    pub fn fit(self, width: usize) -> bool {
        self == Self::Eight || nibbles::block_of(width).is_some()
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

named!(TableBits, "the word table is not kept in so many bits", Eight = "8", Four = "4");

named!(Precision, "there is no such precision", Fp32 = "fp32", W8 = "w8", Int8 = "int8");

/// A network in some precision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// The precision of the embedding tables and of all products …
    pub precision: Precision,
    /// … but the word table, if it is in 4 bits …
    #[serde(default, skip_serializing_if = "TableBits::is_default")]
    pub table: TableBits,
    /// … and these products, which are one step more exact: `w8` in `int8`, `fp32` in `w8`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kept: BTreeSet<Product>,
}

impl Variant {
    /// Refuses a variant that the device does not compute.
    ///
    /// # Errors
    /// `int8`, or a word table in 4 bits, on a GPU.
    pub fn check_device(&self, device: Device) -> Result<()> {
        self.precision.check_device(device)?;
        match (self.table, device) {
            (TableBits::Four, Device::Cuda(_)) => {
                Err(Error::new(Kind::Usage, "a word table in 4 bits is for CPUs")
                    .found(format!("the device {device}"))
                    .expected("--device cpu, or --table-bits 8")
                    .help("a GPU has room for the table: bundle with --precision fp32 for it"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[cfg(feature = "train")]
mod tests;
