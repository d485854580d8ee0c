//! Owns a network as graphs are built from it: dimensions, pooling, where its numbers lie, what was changed
//! since.
//!
//! Refuses to know where it came from: a directory, a bundle and a network in training look alike.

use std::collections::BTreeMap;

use super::config::Config;
use super::inference::Outputs;
use super::kinds::Pooling;
use super::products::{Forms, Product};
use super::weights::Weights;
use crate::error::Result;
use crate::graph::{Data, ValueType};

/// Tensors that training changed, by canonical name: their numbers, row-major.
pub type ChangedTensors = BTreeMap<String, Vec<f32>>;

/// A network, up to its sentence embedding.
#[derive(Clone, Copy, Debug)]
pub struct Network<'a> {
    /// The dimensions.
    pub config: &'a Config,
    /// The tensors of the weight file.
    pub weights: &'a Weights,
    /// How token states become the sentence embedding: none in a network that was cut below its last layer …
    pub pooling: Option<Pooling>,
    /// … and whether that has length 1.
    pub normalize: bool,
    /// Tensors that are not those of the file any more.
    pub changed: Option<&'a ChangedTensors>,
    /// What is not plain 32-bit floats, and tensors that lie elsewhere.
    pub forms: Option<&'a Forms>,
}

/// A matrix of a product, in PyTorch's layout, with its bias.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// Its canonical name, to which those of what it consists of are added.
    pub name: String,
    /// `[outputs, inputs]`.
    pub weight: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
    /// Numbers of a row that it multiplies.
    pub inputs: usize,
}

impl Matrix {
    /// Numbers that it gives for a row.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// The weights of an output.
    #[must_use]
    pub fn row(&self, output: usize) -> &[f32] {
        &self.weight[output * self.inputs..][..self.inputs]
    }

    /// What [`Self::weight`] is called.
    #[must_use]
    pub fn weight_name(&self) -> String {
        format!("{}.weight", self.name)
    }

    /// What [`Self::bias`] is called.
    #[must_use]
    pub fn bias_name(&self) -> String {
        format!("{}.bias", self.name)
    }
}

impl<'a> Network<'a> {
    /// A network as its file has it, with the mean over tokens as it comes.
    #[must_use]
    pub fn new(config: &'a Config, weights: &'a Weights) -> Self {
        let (pooling, normalize) = (Some(Pooling::default()), false);
        Self { config, weights, pooling, normalize, changed: None, forms: None }
    }

    /// Outputs for which all of it is run, and whose last numbers say what a text is like: the sentence
    /// embedding, or the means up to the highest state.
    #[must_use]
    pub fn summary(&self) -> Outputs {
        match self.pooling {
            Some(_) => Outputs::EMBEDDING,
            None => Outputs::Vectors { means: self.config.layers + 1, embedding: false },
        }
    }

    /// The numbers of a tensor as they are now, row-major.
    ///
    /// # Errors
    /// There is no such tensor, or the file cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        match self.changed.and_then(|changed| changed.get(name)) {
            Some(numbers) => Ok(numbers.clone()),
            None => self.weights.read(name),
        }
    }

    /// The matrices of a product.
    ///
    /// # Errors
    /// There is no such product, or the file cannot be read.
    pub fn matrices(&self, product: Product) -> Result<Vec<Matrix>> {
        let matrix = |name: String| {
            let mut matrix = Matrix { name, weight: Vec::new(), bias: Vec::new(), inputs: 0 };
            matrix.weight = self.read(&matrix.weight_name())?;
            matrix.bias = self.read(&matrix.bias_name())?;
            matrix.inputs = matrix.weight.len() / matrix.outputs();
            Ok(matrix)
        };
        product.tensors().map(matrix).collect()
    }

    /// A tensor's type and where its numbers are.
    pub(super) fn tensor(&self, name: &str) -> Result<(ValueType, Data)> {
        if let Some(tensor) = self.forms.and_then(|forms| forms.tensors.get(name)) {
            return Ok(tensor.clone());
        }
        let stored = self.weights.stored(name)?;
        let data = match self.changed.and_then(|changed| changed.get(name)) {
            Some(numbers) => Data::Inline(numbers.iter().flat_map(|number| number.to_le_bytes()).collect()),
            None => Data::External(stored.place.clone()),
        };
        Ok((stored.value_type(), data))
    }
}
