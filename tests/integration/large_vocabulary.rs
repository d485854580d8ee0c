//! Bundles of networks with a large Unigram vocabulary: they carry it in a compact form as well, from which
//! they answer just as the run does that they were made of.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{demo, directory, frosthead, frosthead_reading, root, text};

/// As many pieces as a vocabulary must have for a compact form.
const ENOUGH: usize = 20_000;
const HIDDEN: usize = 8;

/// Writes a BERT of one layer with the pieces of a small Unigram tokenizer, and pieces nobody needs behind
/// them.
fn write_checkpoint(directory: &Path, pieces: usize, change: impl FnOnce(&mut Value)) {
    let read = |name: &str| std::fs::read(root().join("tests/data").join(name)).unwrap();
    let mut tokenizer: Value = serde_json::from_slice(&read("tokenizer_unigram/tokenizer.json")).unwrap();
    let vocabulary = tokenizer["model"]["vocab"].as_array_mut().unwrap();
    let own = vocabulary.len();
    vocabulary.extend((own..pieces).map(|id| json!([format!("▁qz{id}"), -14.0 - (id % 97) as f64 / 64.0])));
    change(&mut tokenizer);
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(directory.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let config = json!({"model_type": "bert", "hidden_size": HIDDEN, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": HIDDEN, "vocab_size": pieces, "max_position_embeddings": 64, "type_vocab_size": 2,
        "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 1});
    std::fs::write(directory.join("config.json"), config.to_string()).unwrap();
    let square = vec![HIDDEN, HIDDEN];
    let mut tensors = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![pieces, HIDDEN]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![64, HIDDEN]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, HIDDEN]),
    ];
    let products =
        ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"];
    for product in products.into_iter().chain(["intermediate.dense", "output.dense"]) {
        tensors.push((format!("encoder.layer.0.{product}.weight"), square.clone()));
        tensors.push((format!("encoder.layer.0.{product}.bias"), vec![HIDDEN]));
    }
    let norms = ["embeddings", "encoder.layer.0.attention.output", "encoder.layer.0.output"];
    for part in
        norms.iter().flat_map(|norm| ["weight", "bias"].map(|part| format!("{norm}.LayerNorm.{part}")))
    {
        tensors.push((part, vec![HIDDEN]));
    }
    let mut state = 7_u64;
    let drawn: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, shape)| {
            let numbers = (0..shape.iter().product()).flat_map(|_: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5).to_le_bytes()
            });
            let bytes = numbers.collect();
            (name, shape, bytes)
        })
        .collect();
    let views = drawn.iter().map(|(name, shape, bytes)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (name, view.unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    std::fs::write(directory.join("model.safetensors"), bytes).unwrap();
}

struct Made {
    _directory: tempfile::TempDir,
    place: PathBuf,
    run: PathBuf,
    data: PathBuf,
}

/// A run on a network with so many pieces.
fn trained(pieces: usize, change: impl FnOnce(&mut Value)) -> Made {
    let directory = directory();
    let place = directory.path().to_path_buf();
    write_checkpoint(&place.join("checkpoint"), pieces, change);
    let (backbone, run, data) = (place.join("backbone"), place.join("run"), demo(120));
    frosthead(&["import", text(&place.join("checkpoint")), "--out", text(&backbone)]).success();
    let train =
        ["train", text(&data), "--backbone", text(&backbone), "--task", "domain", "--out", text(&run)];
    frosthead(&train).success();
    Made { _directory: directory, place, run, data }
}

const TEXTS: &str =
    "Great phone, but the battery died after 2 days :-(\nnaïve café 中文 🙂 — qz17 <unk>\n  \nqz19999 qz\n";

fn predicted(model: &Path) -> Vec<Value> {
    let arguments = ["predict", "-", "--format", "lines", "--model", text(model), "--all-probabilities"];
    frosthead_reading(TEXTS.as_bytes(), &arguments).success().json_lines()
}

/// The same rows with the same labels; probabilities of a run and of a bundle differ by rounding alone.
#[track_caller]
fn same(one: &[Value], other: &[Value]) {
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(other) {
        for (name, value) in one.as_object().unwrap() {
            match (value.as_f64(), other[name].as_f64()) {
                (Some(one), Some(other)) => assert!((one - other).abs() < 1e-6, "{name}: {one} {other}"),
                _ => assert_eq!(value, &other[name], "{name}"),
            }
        }
    }
}

fn entries(bundle: &Path) -> Vec<String> {
    let kept = frosthead(&["inspect", text(bundle), "--privacy", "--json"]).success().json();
    kept.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

fn format(bundle: &Path) -> Value {
    frosthead(&["inspect", text(bundle), "--json"]).success().json()["manifest"]["format"].clone()
}

#[test]
fn a_large_vocabulary_is_read_from_its_compact_form_with_the_same_answers() {
    let made = trained(ENOUGH, |_| {});
    let out = made.place.join("x.frost");
    let told = frosthead(&["bundle", text(&made.run), "--out", text(&out)]).success().stderr;
    assert!(!told.contains("large vocabulary"), "{told}");
    assert!(entries(&out).contains(&"tokenizer.safetensors".to_owned()));
    assert_eq!(format(&out), 7);
    let inspected = frosthead(&["inspect", text(&out)]).success().stdout;
    assert!(inspected.contains("read from its compact form, tokenizer.safetensors"), "{inspected}");
    same(&predicted(&out), &predicted(&made.run));
    frosthead(&["doctor", text(&out)]).success();
    frosthead(&["eval", text(&made.data), "--model", text(&out)]).success();
    // A bundle that is made of it carries it, too, and the same bundle is up to date.
    let refitted = made.place.join("refitted.frost");
    frosthead(&["refit", text(&out), text(&made.data), "--task", "domain", "--out", text(&refitted)])
        .success();
    assert!(entries(&refitted).contains(&"tokenizer.safetensors".to_owned()));
    assert_eq!(format(&refitted), 7);
    let again = frosthead(&["bundle", text(&made.run), "--out", text(&out)]).success().stderr;
    assert!(again.contains("up to date"), "{again}");
    // Of few pieces nothing is there but the tokenizer.json, in the format that it always had.
    let used = made.place.join("used.frost");
    frosthead(&[
        "bundle",
        text(&made.run),
        "--out",
        text(&used),
        "--vocabulary",
        "used",
        "--max-drop",
        "100",
    ])
    .success();
    assert!(!entries(&used).contains(&"tokenizer.safetensors".to_owned()));
    assert_eq!(format(&used), 3);
}

#[test]
fn vocabularies_without_a_compact_form_stay_as_they_are_and_say_so_when_they_are_large() {
    let few = trained(ENOUGH - 1, |_| {});
    let out = few.place.join("x.frost");
    let told = frosthead(&["bundle", text(&few.run), "--out", text(&out)]).success().stderr;
    assert!(!told.contains("large vocabulary"), "{told}");
    assert!(!entries(&out).contains(&"tokenizer.safetensors".to_owned()));
    assert_eq!(format(&out), 2);
    let twice = trained(ENOUGH, |tokenizer| tokenizer["model"]["vocab"][ENOUGH - 1][0] = "▁qz5000".into());
    let out = twice.place.join("x.frost");
    let told = frosthead(&["bundle", text(&twice.run), "--out", text(&out)]).success().stderr;
    for part in
        ["its large vocabulary is there as tokenizer.json only", "\"▁qz5000\" stands in its vocabulary twice"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(format(&out), 2);
    same(&predicted(&out), &predicted(&twice.run));
}
