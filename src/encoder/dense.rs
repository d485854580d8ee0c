//! Owns the product that some sentence encoders have behind their pooling (sentence-transformers' `Dense`): its
//! dimensions, its part of the graph, and how it is published.
//!
//! Refuses residual connections, and other inputs and outputs than the sentence embedding. It is never trained:
//! it belongs to no layer.

#[cfg(feature = "train")]
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

#[cfg(feature = "train")]
use super::family::Published;
#[cfg(feature = "train")]
use super::fields::Fields;
use super::ports::batch;
use super::tensors::{DENSE_BIAS, DENSE_WEIGHT};
use super::transformer::Encoder;
use crate::error::Result;
#[cfg(feature = "train")]
use crate::error::{Error, Kind};
use crate::graph::{Builder, Operation, Value, ValueType};

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

/// Its tensors in a graph.
pub(super) struct DenseValues {
    dense: Dense,
    weight: Value,
    bias: Value,
}

impl Encoder<'_> {
    /// The tensors of the product behind the pooling, where the network has one.
    pub(super) fn dense_values(&mut self) -> Result<Option<DenseValues>> {
        let Some(dense) = self.dense_of_config() else { return Ok(None) };
        Ok(Some(DenseValues { dense, weight: self.weight(DENSE_WEIGHT)?, bias: self.weight(DENSE_BIAS)? }))
    }
}

impl DenseValues {
    /// What it makes of `pooled` `[batch, hidden]`: `[batch, outputs]`.
    pub(super) fn of(&self, graph: &mut Builder, pooled: &Value, name: &str) -> Result<Value> {
        let wide = || ValueType::float([batch(), self.dense.outputs.into()]);
        let product = Operation::new("Gemm", &[pooled, &self.weight, &self.bias]).with("transB", 1);
        let operator = match self.dense.activation {
            DenseActivation::Identity => return graph.add(product, name, wide()),
            DenseActivation::Tanh => "Tanh",
            DenseActivation::Relu => "Relu",
            DenseActivation::Gelu => "Gelu",
        };
        let product = graph.add(product, "dense/product", wide())?;
        graph.add_like(Operation::new(operator, &[&product]), name, &product)
    }
}

#[cfg(feature = "train")]
impl Published {
    /// The same encoder with the product that lies in this folder behind its pooling.
    ///
    /// # Errors
    /// Its configuration cannot be read, does not fit the encoder, or says something that is not supported; its
    /// weights are not there.
    pub fn with_dense(mut self, folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let fields = Fields::open(&path)?;
        let dense = read(&fields, self.config.hidden_size).map_err(|error| error.at(&path))?;
        self.config.dense = Some(dense);
        self.config.check().map_err(|error| error.at(&path))?;
        self.dense = Some(weights(folder)?);
        Ok(self)
    }
}

#[cfg(feature = "train")]
fn read(fields: &Fields, hidden_size: usize) -> Result<Dense> {
    const MODULES: &str = "torch.nn.modules.";
    const KNOWN: [(&str, DenseActivation); 5] = [
        ("activation.Tanh", DenseActivation::Tanh),
        ("linear.Identity", DenseActivation::Identity),
        ("activation.ReLU", DenseActivation::Relu),
        ("activation.GELU", DenseActivation::Gelu),
        // As older versions of PyTorch say it.
        ("identity.Identity", DenseActivation::Identity),
    ];
    const SENTENCE: &str = "sentence_embedding";
    let inputs = fields.size("in_features", None)?;
    if inputs != hidden_size {
        return Err(Error::new(Kind::Model, "the module's width is not the encoder's")
            .field("in_features")
            .found(inputs.to_string())
            .expected(hidden_size.to_string())
            .help("take all files from the model's own directory"));
    }
    fields.not_true("use_residual", "residual connections are not supported: export the model to ONNX")?;
    for field in ["module_input_name", "module_output_name"] {
        fields.one_of(field, &[SENTENCE], Some(SENTENCE), "only what is behind the pooling is supported")?;
    }
    let names = KNOWN.map(|(name, _)| format!("{MODULES}{name}"));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let name = fields.one_of("activation_function", &names, Some(names[0]), "export the model to ONNX")?;
    let found = names.iter().zip(KNOWN).find(|(known, _)| **known == name);
    let (_, (_, activation)) = found.expect("one of the known names was found; this is a bug");
    Ok(Dense { outputs: fields.size("out_features", None)?, activation })
}

/// The file with its weights.
#[cfg(feature = "train")]
fn weights(folder: &Path) -> Result<PathBuf> {
    const PICKLE: &str = "pytorch_model.bin";
    let path = folder.join("model.safetensors");
    if path.is_file() {
        return Ok(path);
    }
    let error = Error::new(Kind::Model, "the module has no `model.safetensors`").at(folder);
    if !folder.join(PICKLE).is_file() {
        return Err(error.expected("its weights").help("download the complete model"));
    }
    let convert = format!(
        "python3 -c 'import sys, torch, safetensors.torch as s; s.save_file(torch.load(sys.argv[1] + \
         \"/{PICKLE}\", weights_only=True), sys.argv[1] + \"/model.safetensors\")' {}",
        crate::recognize::shell_word(&folder.display().to_string())
    );
    Err(error.found(PICKLE).help(format!("convert it: `{convert}`")))
}
