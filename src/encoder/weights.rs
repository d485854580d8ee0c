//! Owns our one weight layout: where a `model.safetensors`, or the data of a bundle, holds an encoder's
//! tensors.
//!
//! Refuses any other layout (`checkpoint` makes this one) and never holds the numbers themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorInfo};

use super::config::Config;
use super::header::Header;
use super::header::header_bytes;
use super::layout::{Expected, expected};
use crate::error::{Error, Kind, Result};
use crate::files::FileRange;
use crate::fingerprint::Fingerprint;
use crate::graph::proto::TensorProto;
use crate::graph::{DataType, Dim, External, ModelProto, ValueType};
use crate::tensors::floats_of;

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

/// The tensors of an encoder in a file that was checked: where each of them is.
#[derive(Clone, Debug)]
pub struct Weights {
    path: PathBuf,
    tensors: BTreeMap<String, Stored>,
}

/// A tensor of 32-bit floats in a file.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Its bytes in the file, which graphs look up beside themselves.
    pub place: External,
}

impl Stored {
    /// As the value of a graph.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        ValueType::float(self.shape.iter().map(|&size| Dim::Size(size)).collect::<Vec<_>>())
    }
}

impl Weights {
    /// Opens the `model.safetensors` that [`Published::convert`](super::Published::convert) wrote: exactly
    /// the tensors of `config`, 32-bit floats, wholly there. The numbers are not read.
    ///
    /// # Errors
    /// The configuration is impossible, or the file cannot be read, is truncated, or lacks a tensor, has one
    /// of a wrong shape or type, or one too many.
    pub fn open(path: &Path, config: &Config) -> Result<Self> {
        config.check()?;
        let header = Header::open(path)?;
        let mut tensors = BTreeMap::new();
        for wanted in expected(config) {
            let found = header.tensors.get(&wanted.name);
            check(&wanted.name, found, &wanted, &[Dtype::F32], path)?;
            if let Some(info) = found {
                let stored = stored(&wanted, path, header.offset(info));
                tensors.insert(wanted.name, stored);
            }
        }
        if let Some(extra) = header.tensors.keys().find(|&name| !tensors.contains_key(name)) {
            return Err(Error::new(Kind::Model, format!("the tensor {extra:?} does not belong here"))
                .at(path)
                .expected("only the encoder's own tensors")
                .help("import the model again"));
        }
        Ok(Self { path: path.to_path_buf(), tensors })
    }

    /// The same of a graph whose initializers have the tensors' own names and lie in the file `path`,
    /// uncompressed 32-bit floats; none when any is missing or different.
    #[must_use]
    pub fn of_graph(model: &ModelProto, config: &Config, path: &Path) -> Option<Self> {
        let initializers = model.graph.iter().flat_map(|graph| &graph.initializer);
        let found: BTreeMap<&str, &TensorProto> =
            initializers.map(|tensor| (tensor.name(), tensor)).collect();
        let place = |wanted: Expected| {
            let tensor = found.get(wanted.name.as_str())?;
            let place = External::of(tensor)?;
            let shape = tensor.dims.iter().map(|&size| usize::try_from(size).ok());
            let fits = shape.eq(wanted.shape.iter().map(|&size| Some(size)))
                && place.length == wanted.byte_length()
                && tensor.data_type == Some(DataType::Float as i32);
            fits.then(|| {
                let stored = stored(&wanted, path, place.offset);
                (wanted.name, stored)
            })
        };
        let tensors = expected(config).into_iter().map(place).collect::<Option<_>>()?;
        Some(Self { path: path.to_path_buf(), tensors })
    }

    /// Those of a network that is a part of this one.
    #[must_use]
    pub fn of_part(mut self, config: &Config) -> Self {
        let kept: BTreeSet<String> = expected(config).into_iter().map(|wanted| wanted.name).collect();
        self.tensors.retain(|name, _| kept.contains(name));
        self
    }

    /// The hash that the canonical weight file of these tensors has.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn canonical_fingerprint(&self, config: &Config) -> Result<Fingerprint> {
        let tensors = expected(config);
        let failed = |source| Error::io("read", &self.path, source);
        let file = std::fs::File::open(&self.path).map_err(failed)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header_bytes(&tensors));
        for tensor in tensors {
            let place = self.stored(&tensor.name)?.place.range();
            hasher.update_reader(FileRange::new(&file, place)).map_err(failed)?;
        }
        Ok(Fingerprint(*hasher.finalize().as_bytes()))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Shape of a tensor.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|stored| stored.shape.as_slice())
    }

    /// Numbers in some tensors.
    #[must_use]
    pub fn parameters(&self, names: impl IntoIterator<Item = impl AsRef<str>>) -> u64 {
        let size = |name: &str| self.shape(name).map_or(0, |shape| shape.iter().product::<usize>());
        names.into_iter().map(|name| size(name.as_ref())).sum::<usize>() as u64
    }

    /// Reads one tensor, row-major.
    ///
    /// # Errors
    /// There is no such tensor, or the file cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        let place = &self.stored(name)?.place;
        let failed = |source| Error::io("read", &self.path, source);
        let file = std::fs::File::open(&self.path).map_err(failed)?;
        let mut bytes = vec![0; usize::try_from(place.length).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, place.offset).map_err(failed)?;
        Ok(floats_of(&bytes))
    }

    /// Reads these rows of a tensor, one behind the other.
    ///
    /// # Errors
    /// There is no such tensor, it has no such row, or the file cannot be read.
    pub fn read_rows(&self, name: &str, rows: &[u32]) -> Result<Vec<f32>> {
        let stored = self.stored(name)?;
        let count = stored.shape.first().copied().unwrap_or(0);
        check_rows(rows, count).map_err(|error| error.at(&self.path).tensor(name))?;
        let length = stored.place.length / count.max(1) as u64;
        let failed = |source| Error::io("read", &self.path, source);
        let file = std::fs::File::open(&self.path).map_err(failed)?;
        let mut bytes = vec![0; rows.len() * length as usize];
        for (row, bytes) in rows.iter().zip(bytes.chunks_exact_mut((length as usize).max(1))) {
            file.read_exact_at(bytes, stored.place.offset + u64::from(*row) * length).map_err(failed)?;
        }
        Ok(floats_of(&bytes))
    }

    /// Where a tensor is.
    ///
    /// # Errors
    /// There is no such tensor.
    pub fn stored(&self, name: &str) -> Result<&Stored> {
        self.tensors.get(name).ok_or_else(|| {
            Error::new(Kind::Model, format!("the tensor {name:?} is missing"))
                .help("check that the configuration and the weights belong to the same model")
        })
    }
}

/// Whether a table of so many rows has all of these.
pub(super) fn check_rows(rows: &[u32], count: usize) -> Result<()> {
    match rows.iter().find(|row| **row as usize >= count) {
        None => Ok(()),
        Some(row) => Err(Error::new(Kind::Model, "the table does not have such a row")
            .found(format!("row {row}"))
            .expected(format!("rows below {count}"))
            .help("check that the tokenizer and the weights belong to the same model")),
    }
}

/// A tensor that begins at `offset` in a file.
fn stored(wanted: &Expected, path: &Path, offset: u64) -> Stored {
    let location = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let place = External { location, offset, length: wanted.byte_length() };
    Stored { shape: wanted.shape.clone(), place }
}
