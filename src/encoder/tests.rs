//! What the tests of this module share: the committed checkpoints, the real model, and ONNX Runtime itself.

mod checkpoints;
mod families;
mod numbers;
mod pairs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value as Json;

use super::*;
use crate::error::Kind;
use crate::runtime::{Input, Runtime, RuntimeOptions, Session, Values};

/// A file of this repository; files that are downloaded once must be there.
fn file(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    assert!(path.exists(), "{} is missing: run the download script first", path.display());
    path
}

/// The description of the tiny checkpoints.
fn tiny() -> Json {
    serde_json::from_slice(&std::fs::read(file("tests/data/bert_tiny.json")).unwrap()).unwrap()
}

fn tiny_config(activation: &str) -> Published {
    let mut config = tiny()["config"].clone();
    config["hidden_act"] = activation.into();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    Published::open(&path).unwrap()
}

fn ids(json: &Json) -> Vec<Vec<u32>> {
    serde_json::from_value(json.clone()).unwrap()
}

/// The 32-bit floats of a committed file, by name.
fn golden(path: &str) -> BTreeMap<String, Vec<f32>> {
    let bytes = std::fs::read(file(path)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let floats =
        |data: &[u8]| data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    tensors.iter().map(|(name, tensor)| (name.to_owned(), floats(tensor.data()))).collect()
}

/// A converted checkpoint in a folder of its own.
struct Model {
    folder: tempfile::TempDir,
    config: Config,
    weights: Weights,
}

const WEIGHT_FILE: &str = "model.safetensors";

impl Model {
    fn convert(source: &Path, published: Published) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(WEIGHT_FILE);
        published.convert(source, &path).unwrap();
        let config = published.config;
        let weights = Weights::open(&path, &config).unwrap();
        Self { folder, config, weights }
    }

    fn tiny(checkpoint: &str, activation: &str) -> Self {
        let source = file(&format!("tests/data/bert_tiny_{checkpoint}.safetensors"));
        Self::convert(&source, tiny_config(activation))
    }

    /// all-MiniLM-L6-v2.
    fn real() -> Self {
        let published = Published::open(&file(".downloads/all-MiniLM-L6-v2/config.json")).unwrap();
        Self::convert(&file(".downloads/all-MiniLM-L6-v2/model.safetensors"), published)
    }

    fn graph(&self, wanted: &Wanted) -> Vec<u8> {
        let Wanted { operators, pooling, normalize, outputs, start } = *wanted;
        let network = Network { pooling: Some(pooling), normalize, ..self.network() };
        inference_graph(&network, &GraphOptions { operators, outputs, start }).unwrap()
    }

    fn network(&self) -> Network<'_> {
        Network::new(&self.config, &self.weights)
    }

    fn session(&self, options: &Wanted, threads: usize) -> Session {
        self.open(&self.graph(options), threads)
    }

    fn open(&self, graph: &[u8], threads: usize) -> Session {
        let library = Some(file(".downloads/onnxruntime/libonnxruntime.so.1.32.0"));
        let options_of = RuntimeOptions { library, threads: Some(threads), ..RuntimeOptions::default() };
        let runtime = Runtime::load(&options_of).unwrap();
        runtime.session_from_memory(graph, self.folder.path()).unwrap()
    }
}

/// A graph and how its network is pooled.
#[derive(Clone, Copy, Default)]
struct Wanted {
    operators: Operators,
    pooling: Pooling,
    normalize: bool,
    outputs: Outputs,
    start: Start,
}

/// Runs a batch of texts padded to `length`; what stands in the padding is `padding`.
fn run(session: &mut Session, texts: &[&[u32]], length: usize, padding: u32) -> BTreeMap<String, Vec<f32>> {
    let (mut input_ids, mut attention_mask) = (Vec::new(), Vec::new());
    for text in texts {
        let fill = length - text.len();
        input_ids.extend(text.iter().copied().chain(std::iter::repeat_n(padding, fill)).map(i64::from));
        attention_mask.extend(std::iter::repeat_n(1i64, text.len()).chain(std::iter::repeat_n(0, fill)));
    }
    let shape = [texts.len(), length];
    let inputs = [
        Input { name: "input_ids", shape: &shape, values: Values::I64(&input_ids) },
        Input { name: "attention_mask", shape: &shape, values: Values::I64(&attention_mask) },
    ];
    let names: Vec<String> = session.outputs().iter().map(|output| output.name.clone()).collect();
    let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    let outputs = session.run(&inputs, &wanted).unwrap();
    names.iter().cloned().zip(outputs.into_iter().map(|tensor| tensor.data)).collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().all(|x| x.is_finite()));
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}
