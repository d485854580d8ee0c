//! Owns how what stands behind an encoder's pooling is published: sentence-transformers' `Dense`, in a folder of its
//! own.
//!
//! Refuses residual connections, and other inputs and outputs than the sentence embedding.

use std::path::{Path, PathBuf};

use super::family::Published;
use super::fields::Fields;
use super::kinds::{Dense, DenseActivation};
use crate::error::{Error, Kind, Result};
use crate::recognize::shell_word;

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
        shell_word(&folder.display().to_string())
    );
    Err(error.found(PICKLE).help(format!("convert it: `{convert}`")))
}
