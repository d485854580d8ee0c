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
mod numbers;
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

named!(Precision, "there is no such precision", Fp32 = "fp32", W8 = "w8", Int8 = "int8");

/// A network in some precision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// The precision of the embedding tables and of all products …
    pub precision: Precision,
    /// … but these, which are one step more exact: `w8` in `int8`, `fp32` in `w8`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kept: BTreeSet<Product>,
}

#[cfg(test)]
#[cfg(feature = "train")]
mod tests;
