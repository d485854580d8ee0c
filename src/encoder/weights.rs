//! Owns our one weight layout: which tensors a BERT encoder has, their shapes, and where a
//! `model.safetensors` holds them.
//!
//! Refuses any other layout (`convert_checkpoint` makes this one) and never holds the numbers themselves.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorInfo};

use super::checkpoint::header_bytes;
use super::config::Config;
use super::forms::Forms;
use super::header::Header;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::Fingerprint;
use crate::graph::proto::TensorProto;
use crate::graph::{Data, DataType, Dim, External, ModelProto, ValueType};
use crate::tensors::{bytes_of, floats_of};

/// Bytes hashed at a time.
const PIECE: usize = 1 << 18;

/// A tensor that the encoder has: canonical name and shape, in PyTorch's layout (`[out, in]` for products).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
}

impl Expected {
    /// Bytes as 32-bit floats.
    pub(super) fn byte_length(&self) -> u64 {
        4 * self.shape.iter().map(|&size| size as u64).product::<u64>()
    }
}

/// Every tensor of the encoder, in the order of the canonical file: embeddings, then layer by layer.
pub(super) fn expected(config: &Config) -> Vec<Expected> {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: &[usize]| tensors.push(Expected { name, shape: shape.to_vec() });
    add("embeddings.word_embeddings.weight".to_owned(), &[config.vocabulary_size, hidden]);
    add("embeddings.position_embeddings.weight".to_owned(), &[config.positions, hidden]);
    add("embeddings.token_type_embeddings.weight".to_owned(), &[config.token_types, hidden]);
    add("embeddings.LayerNorm.weight".to_owned(), &[hidden]);
    add("embeddings.LayerNorm.bias".to_owned(), &[hidden]);
    for layer in 0..config.layers {
        let products = [
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", inner, hidden),
            ("output.dense", hidden, inner),
        ];
        for (name, outputs, inputs) in products {
            add(format!("encoder.layer.{layer}.{name}.weight"), &[outputs, inputs]);
            add(format!("encoder.layer.{layer}.{name}.bias"), &[outputs]);
        }
        for name in ["attention.output.LayerNorm", "output.LayerNorm"] {
            add(format!("encoder.layer.{layer}.{name}.weight"), &[hidden]);
            add(format!("encoder.layer.{layer}.{name}.bias"), &[hidden]);
        }
    }
    tensors
}

/// Checks one tensor of a file; `name` is what the file calls it.
pub(super) fn check(
    name: &str,
    found: Option<&TensorInfo>,
    wanted: &Expected,
    types: &[Dtype],
    path: &Path,
) -> Result<()> {
    let help = "check that config.json and the weights belong to the same model";
    let Some(info) = found else {
        return Err(Error::new(Kind::Model, format!("the tensor {name:?} is missing"))
            .at(path)
            .found("nothing by that name")
            .expected(format!("shape {:?}", wanted.shape))
            .help(help));
    };
    if info.shape != wanted.shape {
        return Err(Error::new(Kind::Model, format!("the tensor {name:?} has the wrong shape"))
            .at(path)
            .found(format!("{:?}", info.shape))
            .expected(format!("{:?}", wanted.shape))
            .help(help));
    }
    if !types.contains(&info.dtype) {
        return Err(Error::new(Kind::Model, format!("the tensor {name:?} has the wrong element type"))
            .at(path)
            .found(info.dtype.to_string())
            .expected(types.iter().map(Dtype::to_string).collect::<Vec<_>>().join(", "))
            .help("export the weights as 32-bit floats"));
    }
    Ok(())
}

/// A validated canonical weight file: where each tensor is.
#[derive(Clone, Debug)]
pub struct Weights(BTreeMap<String, Place>);

#[derive(Clone, Debug)]
struct Place {
    shape: Vec<usize>,
    offset: u64,
    length: u64,
}

impl Weights {
    /// Opens the `model.safetensors` that [`super::convert_checkpoint`] wrote: exactly the tensors of
    /// `config`, 32-bit floats, wholly there. The numbers are not read.
    ///
    /// # Errors
    /// The configuration is impossible, or the file cannot be read, is truncated, or lacks a tensor, has one of a wrong shape or type, or one too many.
    pub fn open(path: &Path, config: &Config) -> Result<Self> {
        config.check()?;
        let header = Header::open(path)?;
        let mut places = BTreeMap::new();
        for wanted in expected(config) {
            let found = header.tensors.get(&wanted.name);
            check(&wanted.name, found, &wanted, &[Dtype::F32], path)?;
            if let Some(info) = found {
                let length = wanted.byte_length();
                places
                    .insert(wanted.name, Place { shape: wanted.shape, offset: header.offset(info), length });
            }
        }
        if let Some(extra) = header.tensors.keys().find(|&name| !places.contains_key(name)) {
            return Err(Error::new(Kind::Model, format!("the tensor {extra:?} does not belong here"))
                .at(path)
                .expected("only the encoder's own tensors")
                .help("import the model again"));
        }
        Ok(Self(places))
    }

    /// The same of a graph whose initializers have the tensors' own names and lie in one other file,
    /// uncompressed 32-bit floats; none when any is missing or different.
    #[must_use]
    pub fn of_graph(model: &ModelProto, config: &Config) -> Option<Self> {
        let initializers = model.graph.iter().flat_map(|graph| &graph.initializer);
        let found: BTreeMap<&str, &TensorProto> = initializers.map(|own| (own.name(), own)).collect();
        let place = |wanted: Expected| {
            let tensor = found.get(wanted.name.as_str())?;
            let said = |key: &str| -> Option<u64> {
                tensor.external_data.iter().find(|own| own.key() == key)?.value().parse().ok()
            };
            let (offset, length) = (said("offset")?, said("length")?);
            let shape: Option<Vec<usize>> =
                tensor.dims.iter().map(|&size| usize::try_from(size).ok()).collect();
            let fits = shape? == wanted.shape
                && length == wanted.byte_length()
                && tensor.data_type == Some(DataType::Float as i32);
            fits.then_some((wanted.name, Place { shape: wanted.shape, offset, length }))
        };
        expected(config).into_iter().map(place).collect::<Option<_>>().map(Self)
    }

    /// The hash that the canonical weight file of these tensors has; they lie in the file `path`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn canonical_fingerprint(&self, path: &Path, config: &Config) -> Result<Fingerprint> {
        let tensors = expected(config);
        let failed = |source| Error::io("read", path, source);
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header_bytes(&tensors));
        let mut piece = vec![0; PIECE];
        for tensor in tensors {
            let place = self.place(&tensor.name)?;
            let (mut start, end) = (place.offset, place.offset + place.length);
            while start < end {
                let length = usize::try_from(end - start).unwrap_or(PIECE).min(PIECE);
                file.read_exact_at(&mut piece[..length], start).map_err(failed)?;
                hasher.update(&piece[..length]);
                start += length as u64;
            }
        }
        Ok(Fingerprint(*hasher.finalize().as_bytes()))
    }

    /// Names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Shape of a tensor.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.0.get(name).map(|place| place.shape.as_slice())
    }

    /// Reads one tensor from the weight file at `path`.
    ///
    /// # Errors
    /// There is no such tensor, or the file cannot be read.
    pub fn read(&self, path: &Path, name: &str) -> Result<Vec<f32>> {
        let place = self.place(name)?;
        let failed = |source| Error::io("read", path, source);
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut bytes = vec![0; usize::try_from(place.length).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, place.offset).map_err(failed)?;
        Ok(floats_of(&bytes))
    }

    /// The shape of a tensor, its first byte in the weight file, and how many there are.
    ///
    /// # Errors
    /// There is no such tensor.
    pub fn range(&self, name: &str) -> Result<(&[usize], u64, u64)> {
        let place = self.place(name)?;
        Ok((&place.shape, place.offset, place.length))
    }

    /// The type of a tensor and its place in the file `location`.
    fn external(&self, name: &str, location: &str) -> Result<(ValueType, External)> {
        let place = self.place(name)?;
        let shape: Vec<Dim> = place.shape.iter().map(|&size| Dim::Size(size)).collect();
        let external = External { location: location.to_owned(), offset: place.offset, length: place.length };
        Ok((ValueType::float(shape), external))
    }

    fn place(&self, name: &str) -> Result<&Place> {
        self.0.get(name).ok_or_else(|| {
            Error::new(Kind::Model, format!("the tensor {name:?} is missing"))
                .help("check that the configuration and the weights belong to the same model")
        })
    }
}

/// Tensors that training changed, by canonical name: their numbers, row-major.
pub type ChangedTensors = BTreeMap<String, Vec<f32>>;

/// A network: its dimensions, its weight file, and what was changed since.
#[derive(Clone, Debug)]
pub struct Network<'a> {
    /// The dimensions.
    pub config: &'a Config,
    /// The tensors of the weight file.
    pub weights: &'a Weights,
    /// The weight file's name, relative to where the graph's external data is looked up.
    pub weight_file: &'a str,
    /// Tensors that are not those of the file any more.
    pub changed: Option<&'a ChangedTensors>,
    /// What is not plain 32-bit floats, and tensors that lie elsewhere.
    pub forms: Option<&'a Forms>,
}

impl Network<'_> {
    /// A tensor's type and where its numbers are.
    pub(super) fn tensor(&self, name: &str) -> Result<(ValueType, Data)> {
        if let Some(tensor) = self.forms.and_then(|forms| forms.tensors.get(name)) {
            return Ok(tensor.clone());
        }
        let (value_type, place) = self.weights.external(name, self.weight_file)?;
        let data = match self.changed.and_then(|changed| changed.get(name)) {
            Some(numbers) => Data::Inline(bytes_of(numbers)),
            None => Data::External(place),
        };
        Ok((value_type, data))
    }
}
