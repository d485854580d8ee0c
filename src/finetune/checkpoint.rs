//! Owns the checkpoint of a training stage: everything that the next epoch depends on, in one file that
//! appears whole.
//!
//! Refuses a checkpoint of other inputs, and one whose tensors are not those of the stage.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::adamw::Parameter;
use super::epoch::{Epoch, Validation};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::Fingerprint;

/// The state of a stage after an epoch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Checkpoint {
    pub parameters: Vec<Parameter>,
    /// Values of the best epoch so far, parallel to `parameters`.
    pub best: Vec<Vec<f32>>,
    pub history: Vec<Epoch>,
    /// Steps done.
    pub steps: u64,
}

#[derive(Serialize, Deserialize)]
struct Header {
    inputs: Fingerprint,
    history: Vec<Epoch>,
    steps: u64,
    largest_gradients: Vec<f32>,
}

const HEADER: &str = "frosthead";

impl Checkpoint {
    /// The state before the first step, with what validation says of it.
    pub fn first(validation: Validation, parameters: Vec<Parameter>) -> Self {
        let best = parameters.iter().map(|own| own.values.clone()).collect();
        let history = vec![Epoch { validation, ..Epoch::default() }];
        Self { parameters, best, history, steps: 0 }
    }

    /// Writes the checkpoint under a temporary name and renames it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, path: &Path, inputs: Fingerprint) -> Result<()> {
        let header = Header {
            inputs,
            history: self.history.clone(),
            steps: self.steps,
            largest_gradients: self.parameters.iter().map(|own| own.largest_gradient).collect(),
        };
        let wrong =
            |what| Error::new(Kind::Training, "the checkpoint cannot be written").at(path).found(what);
        let header = serde_json::to_string(&header).map_err(|source| wrong(source.to_string()))?;
        let bytes: Vec<(String, &[usize], Vec<u8>)> = (self.parameters.iter().zip(&self.best))
            .flat_map(|(own, best)| {
                let kinds =
                    [("values", &own.values), ("first", &own.first), ("second", &own.second), ("best", best)];
                kinds.map(|(kind, numbers)| {
                    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
                    (format!("{kind}/{}", own.name), own.shape.as_slice(), bytes)
                })
            })
            .collect();
        let views = bytes.iter().map(|(name, shape, bytes)| {
            TensorView::new(Dtype::F32, shape.to_vec(), bytes).map(|view| (name.as_str(), view))
        });
        let views =
            views.collect::<std::result::Result<Vec<_>, _>>().map_err(|source| wrong(source.to_string()))?;
        let metadata = HashMap::from([(HEADER.to_owned(), header)]);
        let bytes =
            safetensors::serialize(views, Some(metadata)).map_err(|source| wrong(source.to_string()))?;
        let failed = |source| Error::io("write", path, source);
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(failed)?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        file.write_all(&bytes).map_err(failed)?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(path).map(drop).map_err(|error| failed(error.error))
    }

    /// Reads the checkpoint of these inputs for these parameters; none when there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(path: &Path, inputs: Fingerprint, parameters: &[Parameter]) -> Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io("read", path, source)),
        };
        Ok(Self::decode(&bytes, inputs, parameters))
    }

    /// A checkpoint that is damaged or of something else is none: training then starts from the beginning.
    fn decode(bytes: &[u8], inputs: Fingerprint, parameters: &[Parameter]) -> Option<Self> {
        let file = SafeTensors::deserialize(bytes).ok()?;
        let (_, metadata) = SafeTensors::read_metadata(bytes).ok()?;
        let header: Header = serde_json::from_str(metadata.metadata().as_ref()?.get(HEADER)?).ok()?;
        if header.inputs != inputs || header.largest_gradients.len() != parameters.len() {
            return None;
        }
        let tensors: BTreeMap<String, TensorView<'_>> = file.tensors().into_iter().collect();
        let numbers = |kind: &str, own: &Parameter| {
            let tensor = tensors.get(&format!("{kind}/{}", own.name))?;
            let fits = tensor.shape() == own.shape && tensor.dtype() == Dtype::F32;
            fits.then(|| {
                tensor.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<_>>()
            })
        };
        let mut found = Vec::with_capacity(parameters.len());
        let mut best = Vec::with_capacity(parameters.len());
        for (own, largest_gradient) in parameters.iter().zip(header.largest_gradients) {
            found.push(Parameter {
                values: numbers("values", own)?,
                first: numbers("first", own)?,
                second: numbers("second", own)?,
                largest_gradient,
                ..own.clone()
            });
            best.push(numbers("best", own)?);
        }
        Some(Self { parameters: found, best, history: header.history, steps: header.steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back_for_its_own_inputs_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stage/checkpoint.safetensors");
        let mut parameter = Parameter::new("p".into(), vec![2], vec![1.0, 2.0], 0.5);
        parameter.first = vec![0.1, 0.2];
        parameter.largest_gradient = 3.0;
        let inputs = Fingerprint::of_bytes(b"inputs");
        let checkpoint = Checkpoint {
            parameters: vec![parameter.clone()],
            best: vec![vec![7.0, 8.0]],
            history: vec![Epoch { number: 1, ..Epoch::default() }],
            steps: 17,
        };
        let fresh = [Parameter::new("p".into(), vec![2], vec![0.0, 0.0], 0.5)];
        assert_eq!(Checkpoint::load(&path, inputs, &fresh).unwrap(), None);
        checkpoint.save(&path, inputs).unwrap();
        assert_eq!(Checkpoint::load(&path, inputs, &fresh).unwrap().unwrap(), checkpoint);
        assert_eq!(Checkpoint::load(&path, Fingerprint::of_bytes(b"others"), &fresh).unwrap(), None);
        let wider = [Parameter::new("p".into(), vec![3], vec![0.0; 3], 0.5)];
        assert_eq!(Checkpoint::load(&path, inputs, &wider).unwrap(), None);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(Checkpoint::decode(&bytes[..bytes.len() - 4], inputs, &fresh), None);
    }
}
