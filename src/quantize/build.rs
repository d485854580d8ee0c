//! Owns building a variant: one graph with pooling, and one file with all its weights.
//!
//! Refuses an opaque backbone, whose weights it does not know, and products that the network does not have.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use super::calibration::Calibration;
use super::code::{Choice, Coded};
use super::data_file::{DataFile, Numbers};
use super::network::network_of;
use super::{Precision, TableBits, Variant};
use crate::backbone::Backbone;
use crate::encoder::{Forms, GraphOptions, Network, Outputs, Product, inference_graph};
use crate::error::{Error, Kind, Result};
use crate::graph::Data;

/// What a built network is asked for.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// The outputs.
    pub outputs: Outputs,
    /// The name of the file of weights, as the graph refers to it.
    pub location: String,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self { outputs: Outputs::EMBEDDING, location: "model.onnx.data".to_owned() }
    }
}

/// A network in some precision.
#[derive(Debug)]
pub struct Built {
    /// The ONNX model.
    pub graph: Vec<u8>,
    data: DataFile,
}

impl Built {
    /// Bytes of the file of weights.
    #[must_use]
    pub fn weights_length(&self) -> u64 {
        self.data.length()
    }

    /// Writes the file of weights; errors name it `target`.
    ///
    /// # Errors
    /// The backbone's weights cannot be read, or `out` cannot be written.
    pub fn write_weights(&self, out: &mut dyn Write, target: &Path) -> Result<()> {
        self.data.write(out, target)
    }
}

/// Builds a backbone in a precision, pooled as its manifest says; all products in one graph, all weights in
/// one file, each at a multiple of 64 bytes. The same arguments give the same bytes; a text's outputs are the
/// same bits whatever its batch (`w8`: of two tokens or more, padding included; ONNX Runtime multiplies a
/// single row by another kernel).
///
/// `int8` needs a calibration.
///
/// # Errors
/// The backbone is an imported `.onnx` file, a product to keep does not exist, the word table is asked for in 4
/// bits and its rows have no such form, there is no calibration or not
/// one of this network, or the weights cannot be read.
pub fn build(
    backbone: &Backbone,
    variant: &Variant,
    calibration: Option<&Calibration>,
    options: &BuildOptions,
) -> Result<Built> {
    build_from(&network_of(backbone)?, variant, calibration, options)
}

/// [`build`] from a network's numbers.
pub(super) fn build_from(
    network: &Network<'_>,
    variant: &Variant,
    calibration: Option<&Calibration>,
    options: &BuildOptions,
) -> Result<Built> {
    let layers = network.config.layers;
    if let Some(unknown) = variant.kept.iter().find(|product| product.layer >= layers) {
        return Err(Error::new(Kind::Usage, "there is no such product in this network")
            .found(unknown.to_string())
            .expected(format!("layers from 0 to {}", layers.saturating_sub(1))));
    }
    let choices = choices(variant, layers);
    let mut coded = Coded::default();
    for layer in 0..layers {
        coded.add_layer(network, layer, &choices, calibration)?;
    }
    if variant.table == TableBits::Four {
        coded.add_words(network)?;
    }
    if variant.precision != Precision::Fp32 {
        coded.add_tables(network)?;
    }
    add_plain(&mut coded, network)?;
    let (data, tensors) = DataFile::lay_out(coded.tensors, &options.location, network.weights.path());
    let forms = Forms { products: coded.products, tables: coded.tables, tensors };
    let options = GraphOptions { outputs: options.outputs, ..GraphOptions::default() };
    let graph = inference_graph(&Network { forms: Some(&forms), ..*network }, &options)?;
    Ok(Built { graph, data })
}

/// What each product of a variant becomes.
fn choices(variant: &Variant, layers: usize) -> BTreeMap<Product, Choice> {
    let choice = |product: &Product| match (variant.precision, variant.kept.contains(product)) {
        (Precision::Fp32, _) | (Precision::W8, true) => Choice::Plain,
        (Precision::W8, false) | (Precision::Int8, true) => Choice::Blocks,
        (Precision::Int8, false) => Choice::Integers,
    };
    Product::all(layers).map(|product| (product, choice(&product))).collect()
}

/// Adds every tensor that has no other form, as it is.
fn add_plain(coded: &mut Coded, network: &Network<'_>) -> Result<()> {
    for name in network.weights.names() {
        if coded.tensors.contains_key(name) || coded.replaced.contains(name) {
            continue;
        }
        let (value_type, data) = network.tensor(name)?;
        let numbers = match data {
            Data::Inline(bytes) => Numbers::Bytes(bytes),
            Data::External(place) => Numbers::Copied { offset: place.offset, length: place.length },
        };
        coded.tensors.insert(name.to_owned(), (value_type, numbers));
    }
    Ok(())
}
