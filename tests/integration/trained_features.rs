//! Trained layers whose heads see any features: views of the trained states, from raw texts what training
//! measured, and nothing trained that no head sees.

use std::path::Path;

use frosthead::internal::store::StatePrecision;
use serde_json::Value;

use crate::harness::{Finished, demo, directory, frosthead, text};
use crate::network::{cached_and_raw, json, proof, train, weights};

/// Asserts that the test rows, read as raw texts, give what training measured on its cached states.
#[track_caller]
fn raw_texts_agree(data: &Path, run: &Path) {
    let eval = ["eval", text(data), "--model", text(run), "--rows", "test", "--json"].map(str::to_owned);
    let eval: Vec<&str> = eval.iter().map(String::as_str).collect();
    let metrics = json(&run.join("metrics.json"));
    assert_eq!(frosthead(&eval).success().json()["tasks"], metrics["tasks"]);
}

/// What a task's head sees, as the recipe says.
fn choice(run: &Path, task: &str) -> String {
    let run = frosthead::internal::classifier::Run::open(run).unwrap();
    run.recipe.features.tasks[task].choice.unwrap().to_string()
}

fn stages(run: &Path) -> Vec<Value> {
    json(&run.join("training.json")).as_array().unwrap().clone()
}

#[test]
fn heads_that_see_every_layer_train_the_top_one_and_say_the_same_of_raw_texts() {
    let (directory, data) = (directory(), demo(300));
    let path = |name: &str| directory.path().join(name);
    let run = path("all");
    // Dropout is on, as by default; drawn heads, because from fitted ones no epoch need be better than none.
    let plan = ["--unfreeze", "1", "--epochs", "1", "--states", "f32", "--head-init", "random"];
    train(&data, &run, &[&plan[..], &["--features", "all"]].concat()).success();
    assert_eq!(choice(&run, "sentiment"), "all");
    raw_texts_agree(&data, &run);
    let pairs = cached_and_raw(&data, &run, (None, 5), StatePrecision::F32);
    assert!(pairs.iter().all(|(cached, raw, same)| cached.to_bits() == raw.to_bits() && *same));
    for (name, [trained, moved, gradient]) in proof(&run) {
        let expected = name.starts_with("encoder.layer.5.") || name.starts_with("heads.");
        assert_eq!([trained, moved, gradient], [expected; 3], "{name}");
    }
    // Other features, another training.
    let last = path("last");
    train(&data, &last, &plan).success();
    assert!(weights(&last)[1] != weights(&run)[1], "--features is ignored");
    // Rounded states change what layer 5 gives, by little; what lies below the cut is exact.
    let pairs = cached_and_raw(&data, &run, (None, 5), StatePrecision::F16);
    let largest = pairs.iter().map(|(cached, raw, _)| (cached - raw).abs()).fold(0.0, f32::max);
    assert!(largest > 0.0 && largest <= 0.01, "{largest}");
}

#[test]
fn training_begins_with_heads_fitted_on_the_same_features() {
    let (directory, data) = (directory(), demo(300));
    let (run, heads) = (directory.path().join("run"), directory.path().join("heads"));
    let plan = ["--unfreeze", "2", "--epochs", "1", "--states", "f32", "--features", "all"];
    train(&data, &run, &plan).success();
    train(&data, &heads, &["--features", "all"]).success();
    let metrics = json(&heads.join("metrics.json"));
    for (task, name) in ["domain", "sentiment"].iter().enumerate() {
        let first = &stages(&run)[0]["epochs"][0]["validation"]["accuracy"][task];
        assert_eq!(*first, metrics["valid"][name]["accuracy"]);
    }
}

#[test]
fn stages_go_on_from_one_another_on_states_below_each_ones_own_cut() {
    let (directory, data) = (directory(), demo(300));
    let run = directory.path().join("run");
    let plan = ["--unfreeze", "1,2", "--features", "layers:3-5", "--epochs", "1", "--states", "f32"];
    train(&data, &run, &[&plan[..], &["--head-init", "random"]].concat()).success();
    let stages = stages(&run);
    assert_eq!(stages.len(), 2);
    let best = usize::try_from(stages[0]["best"].as_u64().unwrap()).unwrap();
    assert!(best > 0, "{stages:?}");
    // Stage 2 begins where stage 1 ended: layer 4, stored before, comes from the graph now, with the same
    // bits.
    assert_eq!(stages[1]["epochs"][0]["validation"], stages[0]["epochs"][best]["validation"]);
    raw_texts_agree(&data, &run);
    let all = proof(&run);
    assert!(all["encoder.layer.4.output.dense.weight"][2] && all["encoder.layer.5.output.dense.weight"][2]);
    assert!(!all["encoder.layer.3.output.dense.weight"][0]);
}

#[test]
fn the_whole_network_is_trained_for_heads_that_see_every_layer() {
    let (directory, data) = (directory(), demo(200));
    let run = directory.path().join("run");
    let plan = ["--freeze", "head:sentiment", "--features", "all", "--epochs", "1", "--head-init", "random"];
    train(&data, &run, &plan).success();
    raw_texts_agree(&data, &run);
    for (name, [trained, moved, gradient]) in proof(&run) {
        assert_eq!([trained, moved, gradient], [!name.starts_with("heads.sentiment."); 3], "{name}");
    }
}

#[test]
fn layers_above_what_the_heads_see_need_not_be_trained_and_layers_that_no_head_sees_cannot_be() {
    let (directory, data) = (directory(), demo(200));
    let out = directory.path().join("out");
    let refused = |more: &[&str], parts: &[&str]| {
        train(&data, &out, more).fails_with(&[&["without any gradient"][..], parts].concat());
        assert!(!out.exists());
    };
    let layer_3 = ["--features", "layers:3"];
    let parts = ["layer 5 is trained", "domain: layers:3", "sentiment: layers:3", "--features last"];
    refused(&[&layer_3[..], &["--unfreeze", "0,1"]].concat(), &parts);
    refused(&[&layer_3[..], &["--freeze", "backbone:0-3"]].concat(), &parts);
    refused(&["--features", "layers:3-4", "--freeze", "head:domain"], &["layer 5 is trained", "layers:3-4"]);
    // A loss that counts nothing has no gradient either.
    let weights = ["--task-weight", "domain=0", "--task-weight", "sentiment=0"];
    refused(&[&weights[..], &["--unfreeze", "1"]].concat(), &["layer 5 is trained", "its loss counts 0"]);
    // Only what lies below the heads is trained, from the cut up to there.
    let plan = ["--freeze", "backbone:0-2", "--freeze", "backbone:4-5", "--epochs", "1", "--states", "f32"];
    train(&data, &out, &[&layer_3[..], &plan, &["--head-init", "random"]].concat()).success();
    for (name, [trained, moved, _]) in proof(&out) {
        let expected = name.starts_with("encoder.layer.3.") || name.starts_with("heads.");
        assert_eq!([trained, moved], [expected; 2], "{name}");
    }
    raw_texts_agree(&data, &out);
}

#[test]
fn auto_is_settled_on_frozen_features_and_frozen_heads_keep_theirs() {
    let (directory, data) = (directory(), demo(300));
    let path = |name: &str| directory.path().join(name);
    let (auto, heads) = (path("auto"), path("heads"));
    let plan = ["--unfreeze", "1", "--epochs", "1", "--states", "f32", "--head-init", "random"];
    let finished = train(&data, &auto, &[&plan[..], &["--features", "auto"]].concat()).success();
    assert!(finished.stderr.contains("sentiment: chose "), "{}", finished.stderr);
    train(&data, &heads, &["--features", "auto"]).success();
    for task in ["domain", "sentiment"] {
        assert_eq!(choice(&auto, task), choice(&heads, task), "{task}");
    }
    raw_texts_agree(&data, &auto);
    // A head that is taken over sees what it saw, whatever is chosen for the others.
    let (first, later) = (path("first"), path("later"));
    train(&data, &first, &["--features", "layers:2-5"]).success();
    let frozen = ["--freeze", "backbone:0-4", "--freeze", "head:domain", "--epochs", "1", "--states", "f32"];
    let init = ["--init-heads", text(&first)];
    let finished = train(&data, &later, &[&frozen[..], &init, &["--features", "auto"]].concat()).success();
    assert!(!finished.stderr.contains("domain: chose "), "{}", finished.stderr);
    assert_eq!(choice(&later, "domain"), "layers:2-5");
    raw_texts_agree(&data, &later);
    let head = |run: &Path| {
        let head = frosthead::internal::classifier::Run::open(run).unwrap().heads.remove(0);
        (head.weights, head.bias)
    };
    assert!(head(&later) == head(&first));
    // As many numbers of other layers are other features.
    let heads = ["--freeze", "backbone", "--freeze", "head:domain", "--features", "layers:1-4"];
    train(&data, &path("other"), &[&heads[..], &init].concat()).fails_with(&[
        "does not fit",
        "layers:2-5",
        "layers:1-4",
        "--features layers:2-5",
    ]);
    // The trained backbone stands for another one: its own states are stored, seen and trained on.
    let second = path("second");
    let from = |more: &[&str]| -> Finished {
        let tasks = ["--task", "domain", "--task", "sentiment", "--out", text(&second)];
        frosthead(&[&["train", text(&data), "--backbone", text(&later)], &tasks[..], more].concat())
    };
    from(&[&["--features", "all", "--unfreeze", "2"], &plan[2..]].concat()).success();
    raw_texts_agree(&data, &second);
}

#[test]
fn layers_are_trained_on_the_start_of_long_texts_whatever_the_heads_see() {
    let (directory, table) = (directory(), demo(200));
    let data = directory.path().join("long.csv");
    let mut content = std::fs::read_to_string(&table).unwrap();
    content += &format!("{},tweet,positive\n", "The plot drags but the actors shine ".repeat(60));
    std::fs::write(&data, content).unwrap();
    let (run, frozen) = (directory.path().join("run"), directory.path().join("frozen"));
    let plan = ["--unfreeze", "1", "--features", "all", "--epochs", "1", "--states", "f32"];
    let finished = train(&data, &run, &plan).success();
    assert!(finished.stderr.contains("1 of 201 texts were cut at 256 tokens"), "{}", finished.stderr);
    let finished = train(&data, &frozen, &["--features", "all"]).success();
    assert!(finished.stderr.contains("read in windows"), "{}", finished.stderr);
    train(&data, &directory.path().join("windows"), &[&plan[..], &["--long", "windows"]].concat())
        .fails_with(&["start of a text", "--long truncate", "frozen backbone"]);
    let stored = ["--store-layers", "last", "--unfreeze", "1", "--epochs", "1", "--states", "f32"];
    let last = directory.path().join("last");
    train(&data, &last, &[&stored[..], &["--features", "all"]].concat())
        .fails_with(&["not stored", "--store-layers"]);
    train(&data, &last, &stored).success();
    raw_texts_agree(&data, &last);
}
