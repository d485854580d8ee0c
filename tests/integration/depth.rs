//! Exact depth: what lies above the highest layer that a head sees is neither computed nor stored nor shipped,
//! and what remains gives the same bits.

use std::path::{Path, PathBuf};

use frosthead::internal::embed::CutRows;
use frosthead::internal::encoder::Outputs;
use frosthead::internal::quantize::{BuildOptions, Precision, Variant, build, calibrate};
use frosthead::internal::runtime::Sessions;
use frosthead::internal::tokens::Batching;
use frosthead::{Backbone, Runtime, RuntimeOptions};
use serde_json::{Value, json};

use crate::harness::{
    Finished, backbone, demo, directory, features, frosthead, frosthead_reading, real, text,
};
use crate::serve::Server;
use crate::tiny::NUMBERS;

const TASKS: [&str; 4] = ["--task", "domain", "--task", "sentiment"];

fn train(data: &Path, out: &Path, more: &[&str]) -> Finished {
    let arguments = ["train", text(data), "--backbone", backbone(), "--out", text(out)];
    frosthead(&[&arguments[..], &TASKS, more].concat())
}

fn bundle(run: &Path, more: &[&str]) -> (PathBuf, Finished) {
    let out = run.with_extension("frost");
    let finished = frosthead(&[&["bundle", text(run), "--overwrite", "--out", text(&out)], more].concat());
    (out, finished)
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

fn predicted(model: &Path) -> Vec<Value> {
    let texts = b"lol best day ever\nthe battery died after two days\nwhat a film\n";
    let arguments = ["predict", "-", "--model", text(model), "--all-probabilities"];
    frosthead_reading(texts, &arguments).success().json_lines()
}

/// A bundle says what its run says: the same labels, and probabilities that differ by the order in which ONNX
/// Runtime adds up a head.
#[track_caller]
fn agree(bundle: &Path, run: &Path) {
    let (ours, theirs) = (predicted(bundle), predicted(run));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        for (name, value) in ours.as_object().unwrap() {
            match (value.as_f64(), theirs[name].as_f64()) {
                (Some(ours), Some(theirs)) => {
                    assert!((ours - theirs).abs() < 1e-5, "{name}: {ours} {theirs}");
                }
                _ => assert_eq!(*value, theirs[name]),
            }
        }
    }
}

/// Layers whose weights the graph of a bundle names.
fn layers_within(bundle: &Path) -> Vec<usize> {
    let bytes = String::from_utf8_lossy(&std::fs::read(bundle).unwrap()).into_owned();
    (0..6).filter(|layer| bytes.contains(&format!("encoder.layer.{layer}.output.dense"))).collect()
}

/// In every precision, of the real network: the states of a cut one are the whole's, to the bit.
#[test]
fn a_cut_network_gives_the_bits_of_the_whole_one_in_every_precision() {
    let open = || Backbone::open(Path::new(real())).unwrap();
    let runtime = Runtime::load(&RuntimeOptions { threads: Some(2), ..RuntimeOptions::default() }).unwrap();
    let mut reader = csv::Reader::from_path(demo(60)).unwrap();
    let texts: Vec<String> = reader.records().map(|record| record.unwrap()[0].to_owned()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let calibration = calibrate(&open(), &runtime, &texts[..30]).unwrap();
    let rows = CutRows::ids(&open(), &texts, Batching::default()).unwrap();
    let chosen: Vec<usize> = (0..texts.len()).collect();
    let states = |backbone: &Backbone, variant: &Variant, means: usize, embedding: bool| {
        let outputs = Outputs::Vectors { means, embedding };
        let options = BuildOptions { outputs, ..BuildOptions::default() };
        let built = build(backbone, variant, Some(&calibration), &options).unwrap();
        let folder = directory();
        let path = folder.path().join("model.onnx.data");
        built.write_weights(&mut std::fs::File::create(&path).unwrap(), &path).unwrap();
        let mut session = Sessions::one(runtime.session_from_memory(&built.graph, folder.path()).unwrap());
        let mut found = vec![Vec::new(); texts.len()];
        rows.run(&mut session, &chosen, &["layer_means"], &mut |place, outputs| {
            found[place] = outputs[0].to_vec();
            Ok(())
        })
        .unwrap();
        (found, size(&path))
    };
    for precision in [Precision::Fp32, Precision::W8, Precision::Int8] {
        let variant = Variant { precision, ..Variant::default() };
        let (whole, all) = states(&open(), &variant, 7, true);
        for depth in [0, 1, 3] {
            let (cut, less) = states(&open().to_depth(depth).unwrap(), &variant, depth + 1, false);
            for (cut, whole) in cut.iter().zip(&whole) {
                assert_eq!(cut.len(), 384 * (depth + 1));
                assert_eq!(cut[..], whole[..cut.len()], "{precision}, depth {depth}");
            }
            // A layer of the real network has 1,774,464 weights and biases.
            let of_layers = 1_700_000 * (6 - depth as u64) * if precision == Precision::Fp32 { 4 } else { 1 };
            assert!(all - less >= of_layers, "{precision}, depth {depth}: {all} and {less} bytes");
        }
    }
}

#[test]
fn a_depth_is_part_of_the_stored_whole_and_is_computed_alone() {
    let directory = directory();
    let data = demo(300);
    let embed = |name: &str, cache: &str, more: &[&str]| {
        let (out, cache) = (directory.path().join(name), directory.path().join(cache));
        let arguments = ["embed", text(&data), "--backbone", backbone(), "--cache", text(&cache)];
        let finished = frosthead(&[&arguments[..], &["--out", text(&out)], more].concat());
        (out, finished)
    };
    let numbers = |path: &Path| {
        let table = features(path, Some("features"));
        (table.features, table.width)
    };
    let (whole, _) = embed("whole.parquet", "whole", &["--features", "all"]);
    let (whole, width) = numbers(&whole);
    assert_eq!(width, 7 * NUMBERS);
    let lowest = |states: usize| -> Vec<f32> {
        whole.chunks_exact(width).flat_map(|row| &row[..states * NUMBERS]).copied().collect()
    };
    for depth in [0, 2] {
        let name = format!("{depth}.parquet");
        let arguments = ["--features", "all", "--depth", &depth.to_string()];
        let (alone, finished) = embed(&name, &format!("cache-{depth}"), &arguments);
        let said = finished.success().stderr;
        assert!(said.contains("300 texts computed, 0 from the store"), "{said}");
        assert_eq!(numbers(&alone), (lowest(depth + 1), (depth + 1) * NUMBERS));
        // What was stored whole is not computed again, and not stored again.
        let (taken, finished) = embed(&format!("taken-{name}"), "whole", &arguments);
        let said = finished.success().stderr;
        assert!(said.contains("0 texts computed, 300 from the store"), "{said}");
        assert_eq!(numbers(&taken).0, numbers(&alone).0);
        // The same again is up to date, another depth is something else.
        let said = embed(&format!("taken-{name}"), "whole", &arguments).1.success().stderr;
        assert!(said.contains("up to date"), "{said}");
        embed(&format!("taken-{name}"), "whole", &["--features", "all", "--depth", "1"])
            .1
            .fails_with(&["made from something else"]);
    }
    let refused = |more: &[&str], parts: &[&str]| embed("no.parquet", "whole", more).1.fails_with(parts);
    refused(&["--depth", "7", "--features", "all"], &["not that deep", "depth 7", "0 to 6"]);
    refused(&["--depth", "2"], &["no sentence embedding", "--features last", "layer 1", "--keep-embedding"]);
    refused(&["--depth", "2", "--features", "layers:1-2"], &["no such layer", "0 to 1"]);
    refused(&["--depth", "x", "--features", "all"], &["--depth"]);
    // A Parquet of a depth says so, and a head on it knows what it sees of texts.
    let run = directory.path().join("run");
    let table = directory.path().join("2.parquet");
    frosthead(&[&["train", text(&table), "--out", text(&run)], &TASKS[..]].concat()).success();
    let direct = directory.path().join("direct");
    train(&data, &direct, &["--depth", "2", "--features", "all"]).success();
    let heads = |run: &Path| std::fs::read(run.join("heads.safetensors")).unwrap();
    assert_eq!(heads(&run), heads(&direct));
    let input = b"lol best day ever\n";
    let of = |run: &Path| {
        let arguments =
            ["predict", "-", "--model", text(run), "--backbone", backbone(), "--all-probabilities"];
        frosthead_reading(input, &arguments).success().json_lines()
    };
    assert_eq!(of(&run), of(&direct));
}

#[test]
fn nothing_above_the_highest_layer_that_a_head_sees_is_in_a_bundle() {
    let directory = directory();
    let data = demo(600);
    let path = |name: &str| directory.path().join(name);
    train(&data, &path("whole"), &["--features", "last"]).success();
    train(&data, &path("cut"), &["--depth", "2", "--features", "layers:1"]).success();
    train(&data, &path("implied"), &["--features", "layers:1"]).success();
    let heads = |run: &str| std::fs::read(path(run).join("heads.safetensors")).unwrap();
    assert_eq!(heads("cut"), heads("implied"));
    let [whole, cut, implied] = ["whole", "cut", "implied"].map(|run| {
        let (out, finished) = bundle(&path(run), &[]);
        finished.success();
        out
    });
    assert_eq!(layers_within(&whole), [0, 1, 2, 3, 4, 5]);
    assert_eq!(layers_within(&cut), [0, 1]);
    assert_eq!(layers_within(&implied), [0, 1]);
    agree(&cut, &path("cut"));
    assert_eq!(predicted(&cut), predicted(&implied));
    let inspected = frosthead(&["inspect", text(&cut)]).success().stdout;
    for part in ["2 layers", "the lower part of 6 layers", "none: layers that no head sees", "format 3"] {
        assert!(inspected.contains(part), "{part}: {inspected}");
    }
    let manifest = frosthead(&["inspect", text(&cut), "--json"]).success().json();
    assert_eq!(manifest["manifest"]["part_of"], json!({ "layers": 6, "vocabulary_size": 30522 }));
    // What is kept is all of it, and the heads say the same.
    let (kept, said) = bundle(&path("implied"), &["--keep-embedding"]);
    said.success();
    assert_eq!(layers_within(&kept), [0, 1, 2, 3, 4, 5]);
    agree(&kept, &path("implied"));
    bundle(&path("cut"), &["--keep-embedding"]).1.fails_with(&["no sentence embedding to keep", "depth 2"]);
    bundle(&path("whole"), &["--keep-embedding"]).1.fails_with(&["--keep-embedding", "has no effect"]);
    // Under a limit, and in 8 bits, which a head fitted anew on the cut network judges.
    let arguments = ["predict", text(&data), "--model", text(&cut), "--memory", "300M"];
    frosthead(&arguments).success();
    let (coded, said) = bundle(&path("cut"), &["--precision", "int8", "--max-drop", "100"]);
    said.success();
    assert_eq!(layers_within(&coded), [0, 1]);
    frosthead(&["eval", text(&data), "--model", text(&coded), "--rows", "all"]).success();
}

#[test]
fn a_cut_bundle_is_a_backbone_of_its_depth() {
    let directory = directory();
    let data = demo(600);
    let path = |name: &str| directory.path().join(name);
    train(&data, &path("run"), &["--depth", "2"]).success();
    let (cut, said) = bundle(&path("run"), &["--keep-validation"]);
    said.success();
    let of_bundle = |command: &[&str], more: &[&str]| {
        frosthead(&[command, &["--backbone", text(&cut), "--out", text(&path("of-bundle"))], more].concat())
    };
    let embed = ["embed", text(&data)];
    of_bundle(&embed, &[]).fails_with(&["no sentence embedding", "--features last"]);
    of_bundle(&embed, &["--features", "layers:0-2"]).fails_with(&["no such layer", "0 to 1"]);
    of_bundle(&embed, &["--features", "all", "--depth", "3"]).fails_with(&["not that deep", "0 to 2"]);
    of_bundle(&embed, &["--features", "all"]).success();
    let again = [&["train", text(&data)], &TASKS[..], &["--features", "all", "--overwrite"]].concat();
    of_bundle(&again, &[]).success();
    let (nested, said) = bundle(&path("of-bundle"), &[]);
    said.success();
    let manifest = frosthead(&["inspect", text(&nested), "--json"]).success().json();
    assert_eq!(manifest["manifest"]["part_of"], json!({ "layers": 6, "vocabulary_size": 30522 }));
    // Heads are fitted anew on what there is.
    let refitted = path("refit.frost");
    let refit = |more: &[&str]| {
        let arguments = ["refit", text(&cut), text(&data), "--out", text(&refitted), "--overwrite"];
        frosthead(&[&arguments[..], &TASKS, more].concat())
    };
    refit(&[]).success();
    let manifest = frosthead(&["inspect", text(&refitted), "--json"]).success().json();
    assert_eq!(manifest["manifest"]["part_of"], json!({ "layers": 6, "vocabulary_size": 30522 }));
    // The head of a new task sees what stands for the sentence embedding.
    let table = std::fs::read_to_string(&data).unwrap().replacen("sentiment", "mood", 1);
    std::fs::write(path("mood.csv"), table).unwrap();
    let added = path("mood.frost");
    let arguments = ["refit", text(&cut), text(&path("mood.csv")), "--out", text(&added), "--task", "mood"]
        .map(str::to_owned);
    frosthead(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).success();
    let manifest = frosthead(&["inspect", text(&added), "--json"]).success().json();
    assert_eq!(manifest["manifest"]["tasks"][2]["features"], "layers:1");
    // A server says what it cannot do.
    let server = Server::of(&cut, &[]);
    assert_eq!(server.get("/v1/model").json()["dimensions"], Value::Null);
    server.post("/v1/embeddings", &json!({ "input": "one" })).refused(400, "no_embedding");
    server.post("/embed", &json!({ "inputs": "one" })).refused(400, "no_embedding");
    assert_eq!(server.post("/v1/predict", &json!({ "texts": ["one"] })).status, 200);
}

#[test]
fn layers_are_trained_below_a_depth_as_below_the_last_layer() {
    let directory = directory();
    let data = demo(240);
    let path = |name: &str| directory.path().join(name);
    let quick = ["--epochs", "1", "--seed", "7"];
    train(&data, &path("run"), &[&quick[..], &["--depth", "3", "--unfreeze", "0,1"]].concat()).success();
    let proof: Value = serde_json::from_slice(&std::fs::read(path("run/proof.json")).unwrap()).unwrap();
    let said = proof.to_string();
    assert!(said.contains("encoder.layer.2.output.dense.weight"), "{said}");
    assert!(!said.contains("encoder.layer.3."), "{said}");
    let (cut, finished) = bundle(&path("run"), &[]);
    finished.success();
    assert_eq!(layers_within(&cut), [0, 1, 2]);
    agree(&cut, &path("run"));
    let (run, on) = (path("run"), path("on"));
    let go_on = |depth: &str| {
        let arguments = ["train", text(&data), "--backbone", text(&run), "--out", text(&on)];
        frosthead(&[&arguments[..], &TASKS, &["--features", "all", "--depth", depth]].concat())
    };
    go_on("2").fails_with(&["a layer above this depth was trained", "encoder.layer.2."]);
    go_on("3").success();
    train(&data, &path("no"), &["--depth", "2", "--unfreeze", "3"]).fails_with(&["2"]);
    train(&data, &path("no"), &["--depth", "2", "--freeze", "backbone:0-4"])
        .fails_with(&["layers from 0 to 1"]);
    train(&data, &path("no"), &["--depth", "2", "--features", "last"]).fails_with(&["no sentence embedding"]);
}

#[test]
fn no_layer_at_all_works_everywhere() {
    let directory = directory();
    let data = demo(600);
    let path = |name: &str| directory.path().join(name);
    train(&data, &path("run"), &["--depth", "0"]).success();
    frosthead(&["eval", text(&data), "--model", text(&path("run"))]).success();
    let (cut, finished) = bundle(&path("run"), &[]);
    finished.success();
    assert_eq!(layers_within(&cut), [0_usize; 0]);
    agree(&cut, &path("run"));
    for precision in ["w8", "int8", "auto"] {
        let (coded, finished) = bundle(&path("run"), &["--precision", precision, "--max-drop", "100"]);
        finished.success();
        assert_eq!(predicted(&coded).len(), 3);
    }
    frosthead(&["predict", text(&data), "--model", text(&cut), "--memory", "200M"]).success();
    let trained = ["--freeze", "head:domain", "--epochs", "1", "--depth", "0", "--features", "all"];
    train(&data, &path("embeddings"), &trained).success();
    train(&data, &path("all"), &["--freeze", "all", "--depth", "0"]).success();
    let compared = path("compare");
    let compare =
        ["compare", text(&data), "--backbone", backbone(), "--out", text(&compared), "--depth", "0"];
    let table = frosthead(&[&compare[..], &TASKS, &["--scenarios", "1,2"]].concat()).success().stdout;
    assert!(table.contains("2:auto"), "{table}");
    frosthead(&["doctor", text(&cut)]).success();
    frosthead(&["bench", "embed", text(&data), "--backbone", text(&cut), "--limit", "50", "--rounds", "1"])
        .success();
}
