//! Owns a network as graphs are built from it: dimensions, pooling, where its numbers lie, what was changed
//! since.
//!
//! Refuses to know where it came from: a directory, a bundle and a network in training look alike.

use std::collections::BTreeMap;

use super::config::Config;
use super::kinds::Pooling;
use super::products::{Forms, Product};
use super::tensors::WORDS;
use super::weights::{Weights, check_rows};
use crate::error::Result;
use crate::graph::{Data, Dim, ValueType};
use crate::tensors::bytes_of;

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
    /// Whether token types are an input of its graphs; otherwise every token has type 0.
    pub typed: bool,
    /// The rows of the word table that are left, by their ids before; none: all.
    pub pieces: Option<&'a [u32]>,
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
        Self { config, weights, pooling, normalize, changed: None, typed: false, pieces: None, forms: None }
    }

    /// The numbers of a tensor as they are now, row-major.
    ///
    /// # Errors
    /// There is no such tensor, or the file cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        let changed = self.changed.and_then(|changed| changed.get(name));
        match (self.pieces.filter(|_| name == WORDS), changed) {
            (None, Some(numbers)) => Ok(numbers.clone()),
            (None, None) => self.weights.read(name),
            (Some(ids), None) => self.weights.read_rows(name, ids),
            (Some(ids), Some(numbers)) => {
                let width = self.config.hidden_size;
                check_rows(ids, numbers.len() / width).map_err(|error| error.tensor(name))?;
                Ok(ids.iter().flat_map(|id| &numbers[*id as usize * width..][..width]).copied().collect())
            }
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
    ///
    /// # Errors
    /// There is no such tensor, or its numbers cannot be read.
    pub fn tensor(&self, name: &str) -> Result<(ValueType, Data)> {
        if let Some(tensor) = self.forms.and_then(|forms| forms.tensors.get(name)) {
            return Ok(tensor.clone());
        }
        if let Some(ids) = self.pieces.filter(|_| name == WORDS) {
            let shape = [ids.len(), self.config.hidden_size].map(Dim::Size);
            return Ok((ValueType::float(shape), Data::Inline(bytes_of(&self.read(name)?))));
        }
        let stored = self.weights.stored(name)?;
        let data = match self.changed.and_then(|changed| changed.get(name)) {
            Some(numbers) => Data::Inline(bytes_of(numbers)),
            None => Data::External(stored.place.clone()),
        };
        Ok((stored.value_type(), data))
    }
}
