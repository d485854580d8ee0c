//! Owns the checkpoint of a training stage: everything that the next epoch depends on, in one file that
//! appears whole: named tensors, and behind them the hash of all bytes before it.
//!
//! Refuses a checkpoint of other inputs, and one whose tensors are not those of the stage.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::adamw::Parameter;
use super::epoch::{Epoch, Validation};
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::fingerprint::Fingerprint;
use crate::tensors::{TensorFile, Tensors};

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
        let best = parameters.iter().map(|parameter| parameter.values.clone()).collect();
        let history = vec![Epoch { validation, ..Epoch::default() }];
        Self { parameters, best, history, steps: 0 }
    }

    /// Writes the checkpoint; it appears whole.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, path: &Path, inputs: Fingerprint) -> Result<()> {
        let header = Header {
            inputs,
            history: self.history.clone(),
            steps: self.steps,
            largest_gradients: self.parameters.iter().map(|parameter| parameter.largest_gradient).collect(),
        };
        let mut file = TensorFile::default();
        file.note(HEADER, &header);
        for (parameter, best) in self.parameters.iter().zip(&self.best) {
            let kinds = [
                ("values", &parameter.values),
                ("first", &parameter.first),
                ("second", &parameter.second),
                ("best", best),
            ];
            for (kind, numbers) in kinds {
                file.add_floats(format!("{kind}/{}", parameter.name), &parameter.shape, numbers);
            }
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|source| Error::io("write", path, source))?;
        let mut bytes = file.to_bytes();
        bytes.extend(Fingerprint::of_bytes(&bytes).0);
        files::write(path, &bytes)
    }

    /// Reads the checkpoint of these inputs for these parameters; none when there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(path: &Path, inputs: Fingerprint, parameters: &[Parameter]) -> Result<Option<Self>> {
        Ok(files::read(path)?.and_then(|bytes| Self::decode(&bytes, inputs, parameters)))
    }

    /// A checkpoint that is damaged or of something else is none: training then starts from the beginning.
    fn decode(bytes: &[u8], inputs: Fingerprint, parameters: &[Parameter]) -> Option<Self> {
        let (bytes, hash) = bytes.split_last_chunk()?;
        if Fingerprint::of_bytes(bytes) != Fingerprint(*hash) {
            return None;
        }
        let file = Tensors::read(bytes, Kind::Training).ok()?;
        let header: Header = serde_json::from_str(&file.note(HEADER)?).ok()?;
        if header.inputs != inputs || header.largest_gradients.len() != parameters.len() {
            return None;
        }
        let numbers = |kind: &str, parameter: &Parameter| {
            let (shape, numbers) = file.floats(&format!("{kind}/{}", parameter.name)).ok()?;
            (shape == parameter.shape).then_some(numbers)
        };
        let mut found = Vec::with_capacity(parameters.len());
        let mut best = Vec::with_capacity(parameters.len());
        for (parameter, largest_gradient) in parameters.iter().zip(header.largest_gradients) {
            found.push(Parameter {
                values: numbers("values", parameter)?,
                first: numbers("first", parameter)?,
                second: numbers("second", parameter)?,
                largest_gradient,
                ..parameter.clone()
            });
            best.push(numbers("best", parameter)?);
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
        assert_eq!(Fingerprint::of_bytes(&bytes).short(), "363ef8b50422", "the bytes of the file changed");
        assert_eq!(Checkpoint::decode(&bytes[..bytes.len() - 4], inputs, &fresh), None);
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1;
            assert_eq!(Checkpoint::decode(&flipped, inputs, &fresh), None, "byte {place}");
        }
    }
}
