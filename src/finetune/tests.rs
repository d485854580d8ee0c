//! Training steps against PyTorch's (`tests/data/golden`, made by `make_golden.py` there) on the real model.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value as Json;

use super::adamw::AdamW;
use super::step::StepBatch;
use super::*;
use crate::embed::CutTokens;
use crate::encoder::{
    Config, FeatureChoice, GraphOptions, Network, Outputs, Published, Start, TrainedTensors, TrainingHead,
    TrainingOptions, Weights, head_bias, head_weight, inference_graph, ports, training_graph,
};
use crate::graph::{self, Dim};
use crate::runtime::{Runtime, RuntimeOptions};
use crate::task::TaskKind;
use crate::tokens::Tokenizer;

const TASKS: [(&str, usize); 2] = [("type", 4), ("sentiment", 3)];
const WEIGHT_FILE: &str = "model.safetensors";

fn file(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    assert!(path.exists(), "{} is missing: run scripts/setup.sh first", path.display());
    path
}

fn runtime() -> Runtime {
    let library = Some(file(".downloads/onnxruntime/libonnxruntime.so.1.32.0"));
    Runtime::load(&RuntimeOptions { library, threads: Some(2), ..RuntimeOptions::default() }).unwrap()
}

/// The means of these layers.
fn layers(first: usize, last: usize) -> FeatureChoice {
    FeatureChoice::Layers { first, last }
}

struct Golden {
    tensors: BTreeMap<String, Vec<f32>>,
    json: Json,
    folder: tempfile::TempDir,
    config: Config,
    weights: Weights,
}

impl Golden {
    fn open() -> Self {
        let bytes = std::fs::read(file("tests/data/golden/golden.safetensors")).unwrap();
        let floats = |data: &[u8]| data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = tensors.iter().map(|(name, tensor)| (name.to_owned(), floats(tensor.data()))).collect();
        let json = std::fs::read(file("tests/data/golden/golden.json")).unwrap();
        let published = Published::open(&file(".downloads/all-MiniLM-L6-v2/config.json")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(WEIGHT_FILE);
        published.convert(&file(".downloads/all-MiniLM-L6-v2/model.safetensors"), &path).unwrap();
        let config = published.config;
        let weights = Weights::open(&path, &config).unwrap();
        Self { tensors, json: serde_json::from_slice(&json).unwrap(), folder, config, weights }
    }

    /// The batch, all rows padded to the longest; every labelled row counts one share of the batch.
    fn batch(&self) -> StepBatch {
        let tokenizer = Tokenizer::open(&file(".downloads/all-MiniLM-L6-v2/tokenizer.json")).unwrap();
        let texts: Vec<String> = serde_json::from_value(self.json["train"]["texts"].clone()).unwrap();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encoded = tokenizer.encode(&texts, 256).unwrap();
        let length = encoded.lengths().max().unwrap();
        let (mut ids, mut mask) = (vec![0; texts.len() * length], vec![0; texts.len() * length]);
        for row in 0..texts.len() {
            for (place, id) in encoded.ids(row).iter().enumerate() {
                ids[row * length + place] = i64::from(*id);
                mask[row * length + place] = 1;
            }
        }
        let targets = TASKS.map(|(task, classes)| {
            let labels: Vec<usize> = serde_json::from_value(self.json["train"][task].clone()).unwrap();
            let mut targets = vec![0.0; texts.len() * classes];
            labels.iter().enumerate().for_each(|(row, label)| targets[row * classes + label] = 1.0 / 8.0);
            targets
        });
        StepBatch {
            rows: texts.len(),
            length,
            tokens: CutTokens::Ids { ids, types: None },
            mask,
            means: Vec::new(),
            targets: targets.into(),
            beside: Vec::new(),
        }
    }

    fn network(&self) -> Network<'_> {
        Network::new(&self.config, &self.weights)
    }

    fn step(&self, tensors: BTreeSet<String>, start: Start) -> (Step, Vec<Parameter>) {
        self.step_of(tensors, start, [FeatureChoice::Last; 2])
    }

    /// Heads that see more than the embedding begin with the golden weights for each state.
    fn step_of(
        &self,
        tensors: BTreeSet<String>,
        start: Start,
        seen: [FeatureChoice; 2],
    ) -> (Step, Vec<Parameter>) {
        let network = self.network();
        let head = |(&(task, classes), seen): (&(&str, usize), FeatureChoice)| TrainingHead {
            task: task.into(),
            kind: TaskKind::OneOf,
            classes,
            seen,
            share: 1.0,
            frozen: None,
            beside: false,
        };
        let options = TrainingOptions {
            start,
            tensors,
            heads: TASKS.iter().zip(seen).map(head).collect(),
            dropped: BTreeSet::new(),
        };
        let graph = training_graph(&network, &options).unwrap();
        let initial = |name: &str| {
            TASKS.iter().find_map(|(task, _)| {
                let kinds = [(head_weight(task), "weight"), (head_bias(task), "bias")];
                let kind = kinds.iter().find(|(parameter, _)| parameter == name)?.1;
                Some(self.tensors[&format!("head.{task}.{kind}")].clone())
            })
        };
        let parameters = graph.parameters.iter().map(|parameter| {
            let values =
                initial(&parameter.name).unwrap_or_else(|| self.weights.read(&parameter.name).unwrap());
            let states = parameter.shape.iter().product::<usize>() / values.len();
            let values = values.chunks(384.min(values.len())).flat_map(|row| row.repeat(states)).collect();
            Parameter::new(parameter.name.clone(), parameter.shape.clone(), values, 1.0)
        });
        let parameters = parameters.collect();
        let heads = TASKS.map(|(task, classes)| (task.to_owned(), classes)).into();
        let session = runtime().session_from_memory(&graph.bytes, self.folder.path()).unwrap();
        let step = Step::new(session, graph, heads, self.config.hidden_size);
        (step, parameters)
    }

    /// Tensors of layers 4 and 5.
    fn top(&self) -> BTreeSet<String> {
        let top = |name: &&str| name.starts_with("encoder.layer.4.") || name.starts_with("encoder.layer.5.");
        self.weights.names().filter(top).map(str::to_owned).collect()
    }
}

/// The golden file's name of a parameter.
fn golden_name(name: &str) -> String {
    name.strip_prefix("heads.").map_or_else(|| name.to_owned(), |rest| format!("head.{rest}"))
}

fn largest(numbers: impl Iterator<Item = f32>) -> f32 {
    numbers.map(f32::abs).fold(0.0, f32::max)
}

#[test]
fn three_steps_of_two_layers_and_two_heads_are_pytorchs() {
    let golden = Golden::open();
    let batch = golden.batch();
    let (mut step, mut parameters) = golden.step(golden.top(), Start::Ids);
    assert_eq!(parameters.len(), 2 * 16 + 4);
    let expected: Vec<Vec<f64>> =
        serde_json::from_value(golden.json["train"]["losses_type_sentiment_at_step_0_to_3"].clone()).unwrap();
    let adam = AdamW { weight_decay: 0.1, clip: 0.0, ..AdamW::default() };
    for (number, expected) in (1..).zip(&expected) {
        let result = step.run(&parameters, &batch, None).unwrap();
        let gradients = result.gradients().unwrap();
        for (found, expected) in result.losses.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "step {number}: {found} {expected}");
        }
        if number == 1 {
            check_gradients(&golden, &parameters, &gradients);
        }
        if number < 4 {
            adam.update(&mut parameters, &gradients, number, 1e-3, 2).unwrap();
        }
    }
    for parameter in parameters.iter().filter(|parameter| !parameter.name.ends_with("self.key.bias")) {
        let expected = &golden.tensors[&format!("train.after3.{}", golden_name(&parameter.name))];
        let found = &parameter.values[..expected.len()];
        let difference = largest(found.iter().zip(expected).map(|(a, b)| a - b));
        assert!(difference < 2e-5, "{}: {difference:e}", parameter.name);
    }
}

fn check_gradients(golden: &Golden, parameters: &[Parameter], gradients: &[Cow<'_, [f32]>]) {
    for (parameter, gradient) in parameters.iter().zip(gradients) {
        let name = golden_name(&parameter.name);
        let most = largest(gradient.iter().copied());
        if name.ends_with("self.key.bias") {
            // Softmax does not change when all scores of a row do: the true gradient is 0.
            assert!(most < 1e-6, "{name}: {most:e}");
            continue;
        }
        let norm = gradient.iter().map(|number| f64::from(*number) * f64::from(*number)).sum::<f64>().sqrt();
        let expected = golden.json["train"]["grad_norms"][&name].as_f64().unwrap();
        assert!((norm / expected - 1.0).abs() < 1e-4, "{name}: {norm} {expected}");
        let expected = &golden.tensors[&format!("train.grad.{name}")];
        let difference = largest(gradient[..expected.len()].iter().zip(expected).map(|(a, b)| a - b));
        assert!(difference <= 2e-5 * most, "{name}: {difference:e} of {most:e}");
    }
}

#[test]
fn the_whole_network_trains_and_its_gradients_agree_with_finite_differences() {
    let golden = Golden::open();
    let batch = golden.batch();
    let all = golden.weights.names().map(str::to_owned).collect();
    let (mut step, mut parameters) = golden.step(all, Start::Ids);
    let names = [
        "embeddings.word_embeddings.weight",
        "embeddings.position_embeddings.weight",
        "embeddings.token_type_embeddings.weight",
        "embeddings.LayerNorm.weight",
        "encoder.layer.0.attention.self.query.weight",
    ];
    check_slopes(&mut step, &mut parameters, &batch, &names);
}

/// Compares gradients with central differences of the loss.
fn check_slopes(step: &mut Step, parameters: &mut [Parameter], batch: &StepBatch, names: &[&str]) {
    let result = step.run(parameters, batch, None).unwrap();
    let gradients: Vec<Vec<f32>> = result.gradients().unwrap().into_iter().map(Cow::into_owned).collect();
    drop(result);
    for name in names {
        let place = parameters.iter().position(|parameter| parameter.name == *name).unwrap();
        let gradient = &gradients[place];
        // Along the gradient itself the slope is its length: a step of 2e-3 / length changes the loss by 2e-3
        // each way, far above its rounding (1e-6), while the curvature cancels.
        let length = gradient.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
        let mut loss_at = |side: f64| {
            let before = parameters[place].values.clone();
            for (value, direction) in parameters[place].values.iter_mut().zip(gradient) {
                *value += (side * 2e-3 * f64::from(*direction) / (length * length)) as f32;
            }
            let losses = step.run(parameters, batch, None).unwrap().losses;
            parameters[place].values = before;
            losses.iter().sum::<f64>()
        };
        let slope = (loss_at(1.0) - loss_at(-1.0)) / 4e-3;
        assert!((slope - 1.0).abs() < 0.02, "{name}: {slope} times the expected slope");
    }
}

/// What the frozen network gives for the batch: every hidden state, and its mean over real tokens in f64.
fn states_and_means(golden: &Golden, batch: &StepBatch) -> Vec<(Vec<f32>, Vec<f32>)> {
    let hidden = golden.config.hidden_size;
    let mean = |states: &[f32]| {
        let rows = states.chunks_exact(batch.length * hidden).zip(batch.mask.chunks_exact(batch.length));
        rows.flat_map(|(states, mask)| {
            let tokens = mask.iter().filter(|bit| **bit == 1).count();
            (0..hidden).map(move |column| {
                let real = states[column..].iter().step_by(hidden).take(tokens);
                (real.map(|state| f64::from(*state)).sum::<f64>() / tokens as f64) as f32
            })
        })
        .collect()
    };
    let shape = [batch.rows, batch.length, hidden];
    let state = |level| {
        let options = GraphOptions { outputs: Outputs::HiddenState(level), ..GraphOptions::default() };
        let graph = inference_graph(&golden.network(), &options).unwrap();
        let mut session = runtime().session_from_memory(&graph, golden.folder.path()).unwrap();
        let inputs = batch.tokens.inputs(&batch.mask, &shape);
        let found = session.run(&inputs, &[&ports::hidden(level)]).unwrap().remove(0);
        (found.data.clone(), mean(&found.data))
    };
    (0..=golden.config.layers).map(state).collect()
}

#[test]
fn heads_that_see_every_layer_have_the_gradients_of_finite_differences_from_any_start() {
    let golden = Golden::open();
    let batch = golden.batch();
    let seen = || [FeatureChoice::All, layers(3, 4)];
    let (mut step, mut parameters) = golden.step_of(golden.top(), Start::Ids, seen());
    let names = [
        "encoder.layer.4.attention.self.value.weight",
        "encoder.layer.4.output.LayerNorm.bias",
        "encoder.layer.5.attention.self.query.weight",
        "encoder.layer.5.output.dense.weight",
        "heads.type.weight",
        "heads.sentiment.weight",
    ];
    check_slopes(&mut step, &mut parameters, &batch, &names);
    let result = step.run(&parameters, &batch, None).unwrap();
    let expected: Vec<Vec<f32>> = result.gradients().unwrap().into_iter().map(Cow::into_owned).collect();
    let losses = result.losses.clone();
    drop(result);
    // From the states at the cut, with what lies below given: the same.
    let states = states_and_means(&golden, &batch);
    let (mut from_cut, at_cut) = golden.step_of(golden.top(), Start::States(4), seen());
    assert_eq!(at_cut, parameters);
    let given = |means: &dyn Fn(usize) -> Vec<f32>| StepBatch {
        tokens: CutTokens::States(states[4].0.clone()),
        means: (0..=4).map(means).collect(),
        ..batch.clone()
    };
    let fed = given(&|level| states[level].1.clone());
    let result = from_cut.run(&at_cut, &fed, None).unwrap();
    assert!(
        result.losses.iter().zip(&losses).all(|(a, b)| (a - b).abs() < 1e-5),
        "{:?} {losses:?}",
        result.losses
    );
    for ((parameter, found), expected) in at_cut.iter().zip(result.gradients().unwrap()).zip(&expected) {
        let most = largest(expected.iter().copied());
        let difference = largest(found.iter().zip(expected).map(|(a, b)| a - b));
        assert!(difference <= 1e-4 * most + 1e-7, "{}: {difference:e} of {most:e}", parameter.name);
    }
    drop(result);
    // What is given is what the heads see: other means, another loss.
    for level in 0..=4 {
        let other = given(&|asked| if asked == level { vec![0.0; 384 * 8] } else { states[asked].1.clone() });
        let found = from_cut.run(&at_cut, &other, None).unwrap().losses;
        assert!((found[0] - losses[0]).abs() > 1e-4, "level {level}: {found:?} {losses:?}");
        // The other head sees the states 4 and 5.
        assert_eq!((found[1] - losses[1]).abs() > 1e-4, level == 4, "level {level}: {found:?} {losses:?}");
    }
}

/// Nodes of a training graph that multiply with something turned, as only gradients of matrices do, and how
/// often the activation of layer 5 is read.
fn weight_products(golden: &Golden, tensors: BTreeSet<String>) -> (usize, usize) {
    let head = |&(task, classes): &(&str, usize)| TrainingHead {
        task: task.into(),
        kind: TaskKind::OneOf,
        classes,
        seen: FeatureChoice::Last,
        share: 1.0,
        frozen: None,
        beside: false,
    };
    let heads = TASKS.iter().map(head).collect();
    let options = TrainingOptions { start: Start::States(4), tensors, heads, dropped: BTreeSet::new() };
    let graph = training_graph(&golden.network(), &options).unwrap();
    let nodes = graph::decode(&graph.bytes).unwrap().graph.unwrap().node;
    let turned = nodes
        .iter()
        .filter(|node| node.attribute.iter().any(|attribute| attribute.name.as_deref() == Some("transA")));
    let reads = nodes.iter().filter(|node| node.input.iter().any(|input| input == "layer.5/activated"));
    (turned.count(), reads.count())
}

#[test]
fn biases_alone_have_the_same_gradients_without_a_product_for_any_matrix() {
    let golden = Golden::open();
    let batch = golden.batch();
    let (mut whole, all) = golden.step(golden.top(), Start::Ids);
    let result = whole.run(&all, &batch, None).unwrap();
    let expected: Vec<Vec<f32>> = result.gradients().unwrap().into_iter().map(Cow::into_owned).collect();
    drop(result);
    let vector = |name: &String| TrainedTensors::Biases.has(golden.weights.shape(name).unwrap());
    let biases: BTreeSet<String> = golden.top().into_iter().filter(vector).collect();
    // Of a layer: three of attention, its output, two of the feed-forward part, two normalisations of two.
    assert_eq!(biases.len(), 2 * 10);
    let (mut step, mut parameters) = golden.step(biases.clone(), Start::Ids);
    assert_eq!(parameters.len(), 2 * 10 + 4);
    let result = step.run(&parameters, &batch, None).unwrap();
    for (parameter, found) in parameters.iter().zip(result.gradients().unwrap()) {
        let place = all.iter().position(|one| one.name == parameter.name).unwrap();
        let most = largest(expected[place].iter().copied());
        let difference = largest(found.iter().zip(&expected[place]).map(|(a, b)| a - b));
        assert!(difference <= 1e-4 * most + 1e-7, "{}: {difference:e} of {most:e}", parameter.name);
    }
    drop(result);
    let names = [
        "encoder.layer.4.attention.self.value.bias",
        "encoder.layer.4.output.LayerNorm.weight",
        "encoder.layer.5.intermediate.dense.bias",
        "encoder.layer.5.attention.output.LayerNorm.bias",
        "heads.type.weight",
    ];
    check_slopes(&mut step, &mut parameters, &batch, &names);
    // Six matrices of each layer and two heads; the heads alone. An activation that only the gradient of a
    // matrix needs is read once, by the product that goes on with it.
    assert_eq!(weight_products(&golden, golden.top()), (2 * 6 + 2, 2));
    assert_eq!(weight_products(&golden, biases), (2, 1));
}

#[test]
fn a_layer_that_no_head_sees_is_no_parameter() {
    let golden = Golden::open();
    let options = TrainingOptions {
        start: Start::States(4),
        tensors: golden.top(),
        heads: vec![TrainingHead {
            kind: TaskKind::OneOf,
            task: "type".into(),
            classes: 4,
            seen: layers(0, 4),
            share: 1.0,
            frozen: None,
            beside: false,
        }],
        dropped: BTreeSet::new(),
    };
    // The heads see as far as layer 4, and layer 5 is trained.
    let error = training_graph(&golden.network(), &options).unwrap_err().to_string();
    assert!(error.contains("no influence on the loss") && error.contains("layer.5"), "{error}");
}

#[test]
fn every_vector_that_heads_see_is_dropped_with_a_mask_of_its_own() {
    let golden = Golden::open();
    let masks = |seen: [FeatureChoice; 3]| {
        let head = |(place, seen): (usize, FeatureChoice)| TrainingHead {
            kind: TaskKind::OneOf,
            task: format!("task {place}"),
            classes: 3,
            seen,
            share: 1.0,
            frozen: None,
            beside: false,
        };
        let options = TrainingOptions {
            start: Start::States(5),
            tensors: golden.top().into_iter().filter(|tensor| tensor.contains("layer.5")).collect(),
            heads: seen.into_iter().enumerate().map(head).collect(),
            dropped: BTreeSet::from([5]),
        };
        let graph = training_graph(&golden.network(), &options).unwrap();
        let inner = graph.masks.iter().filter(|(name, _)| name.starts_with("dropout.layer.")).count();
        assert_eq!(inner, 3);
        let outer = graph.masks.into_iter().skip(inner);
        let width = |shape: Vec<Dim>| shape.last().cloned().unwrap();
        (outer.map(|(name, shape)| (name, width(shape))).collect::<Vec<_>>(), graph.given)
    };
    let named = |name: &str, width: usize| (name.to_owned(), Dim::Size(width));
    let (found, given) = masks([FeatureChoice::Last, FeatureChoice::All, FeatureChoice::Last]);
    assert_eq!(found, [named("dropout.pooled", 384), named("dropout.means.0-6", 7 * 384)]);
    assert_eq!(given, [0, 1, 2, 3, 4, 5]);
    let (found, given) = masks([layers(5, 5), layers(4, 5), layers(4, 4)]);
    let expected = [("6-6", 384), ("5-6", 2 * 384), ("5-5", 384)];
    assert_eq!(found, expected.map(|(range, width)| named(&format!("dropout.means.{range}"), width)));
    assert_eq!(given, [5]);
}
