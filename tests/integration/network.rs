//! Freeze plans through the real binary: what is trained moves and nothing else, a run from an inner cut is
//! used like any other, kills and interrupts change nothing, and every option of the loop matters.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use frosthead::internal::classifier::Run;
use frosthead::internal::embed::{CutRows, StatesPlace, StatesProgress};
use frosthead::internal::encoder::{Outputs, Start};
use frosthead::internal::fingerprint::TextKey;
use frosthead::internal::store::StatePrecision;
use frosthead::internal::tokens::Batching;
use frosthead::{Backbone, EmbedOptions, Embedder, Runtime, RuntimeOptions};

use crate::harness::{
    Finished, backbone, checkpoint, command, demo, directory, finish, frosthead, real, root, text,
};
use crate::tiny::NUMBERS;

/// The arguments of a training on both tasks of the demo data.
fn arguments<'a>(data: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments =
        vec!["train", text(data), "--backbone", backbone(), "--task", "domain", "--task", "sentiment"];
    arguments.extend(["--out", text(out)]);
    arguments.extend(more);
    arguments
}

pub fn train(data: &Path, out: &Path, more: &[&str]) -> Finished {
    frosthead(&arguments(data, out, more))
}

/// With the real encoder.
fn train_real(data: &Path, out: &Path, more: &[&str]) -> Finished {
    let mut arguments = arguments(data, out, more);
    *arguments.iter_mut().find(|argument| **argument == backbone()).unwrap() = real();
    frosthead(&arguments)
}

pub fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The files that say what a network has become.
pub fn weights(run: &Path) -> [Vec<u8>; 3] {
    ["heads.safetensors", "backbone.safetensors", "proof.json"]
        .map(|name| std::fs::read(run.join(name)).unwrap())
}

/// Per tensor: trained, moved, has seen a gradient.
pub fn proof(run: &Path) -> BTreeMap<String, [bool; 3]> {
    let all = json(&run.join("proof.json"));
    let of = |tensor: &serde_json::Value| {
        let gradient = tensor["largest_gradient"].as_f64().unwrap_or(0.0) > 0.0;
        [tensor["trained"] == true, tensor["before"] != tensor["after"], gradient]
    };
    all.as_array()
        .unwrap()
        .iter()
        .map(|tensor| (tensor["name"].as_str().unwrap().to_owned(), of(tensor)))
        .collect()
}

#[test]
fn what_the_plan_trains_moves_and_nothing_else() {
    let (directory, data) = (directory(), demo(300));
    let run = directory.path().join("run");
    let cache = directory.path().join("cache");
    let plan =
        ["--freeze", "backbone:0-3", "--freeze", "head:domain", "--epochs", "1", "--cache", text(&cache)];
    let finished = train(&data, &run, &[&plan[..], &["--head-init", "random"]].concat()).success();
    assert!(finished.stderr.contains("frozen: embeddings, layers 0-3, head domain"), "{}", finished.stderr);
    assert!(finished.stderr.contains("token states of 300 texts"), "{}", finished.stderr);
    let proof = proof(&run);
    // 5 tensors of the embeddings, 16 in each of 6 layers, 2 heads of 2.
    assert_eq!(proof.len(), 5 + 6 * 16 + 2 * 2);
    for (name, [trained, moved, gradient]) in &proof {
        let top = name.starts_with("encoder.layer.4.") || name.starts_with("encoder.layer.5.");
        let expected = top || name.starts_with("heads.sentiment.");
        assert_eq!(*trained, expected, "{name}");
        assert_eq!([*moved, *gradient], [expected; 2], "{name}");
    }
    // The frozen head under the moving backbone: its accuracy before and after is reported, and can be
    // bounded.
    let metrics = json(&run.join("metrics.json"));
    let drift = &metrics["drift"]["domain"];
    assert_eq!(drift["after"], metrics["tasks"]["domain"]["accuracy"]);
    assert!(finished.stderr.contains("domain (frozen): accuracy"), "{}", finished.stderr);
    let moved = directory.path().join("moved");
    let plan =
        ["--freeze", "backbone:0-3", "--freeze", "head:domain", "--epochs", "3", "--learning-rate", "0.003"];
    let drifted = train(&data, &moved, &[&plan[..], &["--max-drift", "0.01"]].concat());
    let drift = json(&moved.join("metrics.json"))["drift"]["domain"].clone();
    let lost = drift["before"].as_f64().unwrap() - drift["after"].as_f64().unwrap();
    drifted.exits(i32::from(lost > 0.0001));
    train(&data, &moved, &[&plan[..], &["--max-drift", "100"]].concat()).success();
}

#[test]
fn the_whole_network_is_trained_under_a_frozen_head() {
    let (directory, data) = (directory(), demo(300));
    let run = directory.path().join("run");
    let plan =
        ["--freeze", "head:sentiment", "--epochs", "1", "--head-init", "random", "--init-heads", "random"];
    train(&data, &run, &plan).success();
    for (name, [trained, moved, _]) in proof(&run) {
        assert_eq!([trained, moved], [!name.starts_with("heads.sentiment."); 2], "{name}");
    }
    // From the raw texts: the test rows as training measured them.
    let eval =
        frosthead(&["eval", text(&data), "--model", text(&run), "--rows", "test", "--json"]).success().json();
    assert_eq!(eval["tasks"], json(&run.join("metrics.json"))["tasks"]);
}

/// Probabilities per row and task from cached states at a cut, and from the raw texts through `predict`. With
/// a lower cut, its states are stored before.
pub fn cached_and_raw(
    data: &Path,
    run: &Path,
    (lower, level): (Option<usize>, usize),
    precision: StatePrecision,
) -> Vec<(f32, f32, bool)> {
    let library = Some(root().join(".downloads/onnxruntime"));
    let runtime = Runtime::load(&RuntimeOptions { library, ..RuntimeOptions::default() }).unwrap();
    let opened = Run::open(run).unwrap();
    let (frozen, trained) = (Backbone::open(Path::new(backbone())).unwrap(), opened.backbone(None).unwrap());
    let mut reader = csv::Reader::from_path(data).unwrap();
    let texts: Vec<String> = reader.records().map(|row| row.unwrap()[0].to_owned()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let keys: Vec<TextKey> = texts.iter().map(|text| TextKey::of(text)).collect();
    let store = directory();
    let place = StatesPlace { root: store.path(), precision, batching: Batching::default() };
    let states = |level| {
        let mut from = Vec::new();
        let rows = CutRows::states(&frozen, &runtime, place, level, (&texts, &keys), &mut |progress| {
            if let StatesProgress::Need(need) = progress {
                from.push(need.from);
            }
        });
        (rows.unwrap(), from)
    };
    if let Some(lower) = lower {
        assert_eq!(states(lower).1, [None]);
    }
    let (rows, from) = states(level);
    assert_eq!(from, [lower]);
    assert_eq!(rows.rounded_at(), lower.filter(|_| precision == StatePrecision::F16));
    // Stored now, whichever way they came.
    assert_eq!(states(level).1, []);
    let outputs = Outputs::Vectors { means: 7, embedding: true };
    let mut session = trained.sessions_from(&runtime, outputs, Start::States(level)).unwrap();
    let all: Vec<usize> = (0..texts.len()).collect();
    // What the frozen backbone says up to the cut, and the trained one above it.
    let runtime = Arc::new(runtime);
    let mut embedder =
        Embedder::open(Arc::new(frozen), runtime, store.path(), EmbedOptions::default()).unwrap();
    embedder.ensure(&texts, &keys, &mut |_| ()).unwrap();
    let layout = embedder.layout();
    let below = NUMBERS * (level + 1);
    let mut features = vec![vec![f32::NAN; layout.width()]; texts.len()];
    for (row, key) in features.iter_mut().zip(&keys) {
        embedder.read(key, 0, &mut row[..below]).unwrap();
    }
    rows.run(&mut session, &all, &["embedding", "layer_means"], &mut |place, found| {
        features[place][layout.embedding()].copy_from_slice(found[0]);
        features[place][below..layout.embedding().start].copy_from_slice(&found[1][NUMBERS..]);
        Ok(())
    })
    .unwrap();
    let raw = frosthead(&["predict", text(data), "--model", text(run), "--all-probabilities"])
        .success()
        .json_lines();
    let mut pairs = Vec::new();
    let columns = opened.columns(&layout).unwrap();
    for (features, raw) in features.iter().zip(&raw) {
        for (head, columns) in opened.heads.iter().zip(&columns) {
            let mut cached = vec![0.0; head.labels.len()];
            head.probabilities(&features[columns.clone()], &mut cached);
            let best = (0..cached.len())
                .fold(0, |best, label| if cached[label] > cached[best] { label } else { best });
            let same = raw[format!("{}_predicted", head.task)] == *head.labels[best];
            for (label, probability) in head.labels.iter().zip(&cached) {
                let raw = raw[format!("{}_probability_{label}", head.task)].as_f64().unwrap();
                pairs.push((*probability, raw as f32, same));
            }
        }
    }
    assert_eq!(pairs.len(), texts.len() * (4 + 3));
    pairs
}

#[test]
fn a_run_from_an_inner_cut_says_the_same_of_raw_texts() {
    let (directory, data) = (directory(), demo(600));
    let run = directory.path().join("run");
    train(&data, &run, &["--freeze", "backbone:0-4", "--epochs", "1", "--states", "f32"]).success();
    for lower in [None, Some(3)] {
        let pairs = cached_and_raw(&data, &run, (lower, 5), StatePrecision::F32);
        assert!(pairs.iter().all(|(cached, raw, same)| cached.to_bits() == raw.to_bits() && *same));
        // Rounded to 11 bits, token states are off by up to 5e-4 of their size.
        let pairs = cached_and_raw(&data, &run, (lower, 5), StatePrecision::F16);
        let largest = pairs.iter().map(|(cached, raw, _)| (cached - raw).abs()).fold(0.0, f32::max);
        let same = pairs.iter().filter(|(_, _, same)| *same).count() as f64 / pairs.len() as f64;
        assert!(largest > 0.0 && largest <= 0.01, "{largest}");
        assert!(same >= 0.998, "{same}");
    }
}

/// Starts a training and waits until it says that epoch 1 has ended.
fn after_first_epoch(arguments: &[&str], signal: &str) -> Finished {
    let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut said = String::new();
    for line in lines.by_ref() {
        said = said + &line + "\n";
        if line.starts_with("epoch 1/") && line.contains("validation") {
            break;
        }
    }
    let id = child.id().to_string();
    std::process::Command::new("kill").args([signal, &id]).status().unwrap();
    lines.for_each(|line| said = std::mem::take(&mut said) + &line + "\n");
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    Finished { command: arguments.join(" "), code: output.status.code(), stdout, stderr: said }
}

#[test]
fn a_training_killed_or_interrupted_goes_on_and_ends_the_same() {
    let (directory, data) = (directory(), demo(600));
    let path = |name: &str| directory.path().join(name);
    let plan = ["--freeze", "backbone:0-4", "--dropout", "0.2", "--epochs", "3", "--patience", "9"];
    let undisturbed = train(&data, &path("undisturbed"), &plan).success();
    assert!(!undisturbed.stderr.contains("going on"), "{}", undisturbed.stderr);
    let expected = weights(&path("undisturbed"));
    let again = path("again");
    train(&data, &again, &[&plan[..], &["--threads", "1"]].concat()).success();
    assert!(weights(&again) == expected, "two runs differ");

    let killed = path("killed");
    let arguments_killed = arguments(&data, &killed, &plan);
    assert_eq!(after_first_epoch(&arguments_killed, "-KILL").code, None);
    assert!(!killed.exists(), "an unfinished run has its name already");
    let resumed = frosthead(&arguments_killed).success();
    assert!(resumed.stderr.contains("going on after epoch"), "{}", resumed.stderr);
    assert!(weights(&killed) == expected, "a killed run ends differently");
    assert!(!path(".killed.training").exists(), "checkpoints are left behind");

    let interrupted = path("interrupted");
    let arguments_interrupted = arguments(&data, &interrupted, &plan);
    let first = after_first_epoch(&arguments_interrupted, "-INT").success();
    assert!(first.stderr.contains("ended early: interrupted"), "{}", first.stderr);
    frosthead(&["eval", text(&data), "--model", text(&interrupted)]).success();
    frosthead(&arguments_interrupted).success();
    assert!(weights(&interrupted) == expected, "an interrupted run goes on differently");
    assert!(frosthead(&arguments_interrupted).success().stderr.contains("up to date"));
}

/// The figures of the epochs before the kill come out of the checkpoint.
#[cfg(feature = "fault-injection")]
#[test]
fn a_training_killed_when_its_run_is_there_leaves_neither_checkpoints_nor_other_figures() {
    let (directory, data) = (directory(), demo(120));
    let plan = ["--freeze", "backbone:0-4", "--epochs", "3", "--patience", "9"];
    let kill = |arguments: &[&str], point: &str| {
        let mut command = command(arguments);
        let status = command.env("FROSTHEAD_KILL_AT", point).stderr(Stdio::null()).status().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{point}");
    };
    train(&data, &directory.path().join("undisturbed"), &plan).success();
    let run = directory.path().join("killed");
    let arguments = arguments(&data, &run, &plan);
    let checkpoints = directory.path().join(".killed.training");
    kill(&arguments, "directory-before-rename:1");
    assert!(checkpoints.exists());
    kill(&arguments, "directory-after-rename:1");
    assert!(checkpoints.exists());
    assert!(frosthead(&arguments).success().stderr.contains("up to date"));
    assert!(!checkpoints.exists(), "checkpoints are left behind");
    let losses = |name: &str| {
        let stages = json(&directory.path().join(name).join("training.json"));
        let epochs = stages[0]["epochs"].as_array().unwrap().iter();
        epochs.map(|epoch| epoch["losses"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(losses("killed"), losses("undisturbed"));
    assert_eq!(losses("killed").len(), 4, "the state before training, and three epochs");
}

#[test]
fn every_option_of_the_loop_changes_the_weights() {
    let (directory, data) = (directory(), demo(200));
    let train = |name: &str, more: &[&str]| {
        let run = directory.path().join(name);
        // The last epoch need not be the best: without patience or validation, weights would not tell.
        let plan = ["--freeze", "backbone:0-3", "--epochs", "2", "--head-init", "random"];
        train(&data, &run, &[&plan[..], more].concat()).success();
        assert!(
            json(&run.join("training.json"))[0]["best"].as_u64().unwrap() > 0,
            "{name}: nothing was learned"
        );
        weights(&run)[1].clone()
    };
    let base = train("base", &[]);
    for more in [
        ["--dropout", "0.3"],
        ["--learning-rate", "0.0003"],
        ["--head-rate", "2"],
        ["--layer-decay", "0.5"],
        ["--warm-up", "0.4"],
        ["--weight-decay", "0.5"],
        ["--clip", "0.1"],
        ["--train-tokens", "512"],
        ["--states", "f32"],
        ["--task-weight", "domain=0.3"],
        ["--class-weight", "balanced"],
        ["--seed", "14"],
    ] {
        assert!(train(more[0], &more) != base, "{} is ignored", more.join(" "));
    }
}

#[test]
fn epochs_patience_and_the_first_heads_are_what_was_asked_for() {
    let (directory, data) = (directory(), demo(300));
    let stage = |name: &str, more: &[&str]| {
        let run = directory.path().join(name);
        train(&data, &run, &[&["--freeze", "backbone:0-4"], more].concat()).success();
        json(&run.join("training.json"))[0].clone()
    };
    let epochs = |stage: &serde_json::Value| stage["epochs"].as_array().unwrap().len() - 1;
    assert_eq!(epochs(&stage("two", &["--epochs", "2", "--patience", "9"])), 2);
    // A learning rate of 0 never gets better: patience ends it.
    let still = stage("still", &["--epochs", "9", "--patience", "1", "--learning-rate", "0"]);
    assert_eq!(epochs(&still), 1);
    assert!(still["stopped"].as_str().unwrap().contains("no better"), "{still}");
    // Before training, fitted heads are scenario 2's; random ones know nothing.
    let fitted = stage("fitted", &["--epochs", "1"])["epochs"][0].clone();
    let random = stage("random", &["--epochs", "1", "--head-init", "random"])["epochs"][0].clone();
    let heads = directory.path().join("heads");
    train(&data, &heads, &[]).success();
    let metrics = json(&heads.join("metrics.json"));
    for (task, name) in ["domain", "sentiment"].iter().enumerate() {
        assert_eq!(fitted["validation"]["accuracy"][task], metrics["valid"][name]["accuracy"]);
    }
    assert!(fitted["validation"]["score"].as_f64() > random["validation"]["score"].as_f64());
}

#[test]
fn unfreezing_goes_stage_by_stage_from_the_best_of_the_last() {
    let (directory, data) = (directory(), demo(300));
    let run = directory.path().join("run");
    train(&data, &run, &["--unfreeze", "0,1,2", "--epochs", "1"]).success();
    let stages = json(&run.join("training.json"));
    let stages = stages.as_array().unwrap();
    assert_eq!(stages.len(), 2);
    assert_eq!(
        [&stages[0]["frozen"], &stages[1]["frozen"]],
        ["embeddings, layers 0-4", "embeddings, layers 0-3"]
    );
    assert!(stages[0]["trained_parameters"].as_u64() < stages[1]["trained_parameters"].as_u64());
    let best = usize::try_from(stages[0]["best"].as_u64().unwrap()).unwrap();
    // f16 states of another level: scores agree to a row or two.
    let ended = stages[0]["epochs"][best]["validation"]["score"].as_f64().unwrap();
    let begins = stages[1]["epochs"][0]["validation"]["score"].as_f64().unwrap();
    assert!((ended - begins).abs() < 0.05, "{ended} {begins}");
    for (name, [trained, _, _]) in proof(&run) {
        let expected =
            ["encoder.layer.4.", "encoder.layer.5.", "heads."].iter().any(|part| name.starts_with(part));
        assert_eq!(trained, expected, "{name}");
    }
}

#[test]
fn biases_of_top_layers_are_trained_stage_by_stage_and_are_all_that_a_run_keeps() {
    let (directory, data) = (directory(), demo(600));
    let path = |name: &str| directory.path().join(name);
    let plan = ["--train", "biases", "--unfreeze", "0,1,2", "--epochs", "2", "--dropout", "0.2"];
    let plan = [&plan[..], &["--learning-rate", "0.003"]].concat();
    let run = path("run");
    let finished = train(&data, &run, &plan).success();
    let said = "frozen: embeddings, layers 0-3, the backbone's matrices";
    assert!(finished.stderr.contains(said), "{}", finished.stderr);
    for (name, [trained, _, _]) in proof(&run) {
        let top = ["encoder.layer.4.", "encoder.layer.5."].iter().any(|layer| name.starts_with(layer));
        let vector = name.ends_with(".bias") || name.contains("LayerNorm");
        assert_eq!(trained, (top && vector) || name.starts_with("heads."), "{name}");
    }
    // What changed, of tensors of one dimension: at most 20 of them.
    let changed = std::fs::read(run.join("backbone.safetensors")).unwrap();
    let changed = safetensors::SafeTensors::deserialize(&changed).unwrap();
    let shapes: Vec<usize> = changed.iter().map(|(_, tensor)| tensor.shape().len()).collect();
    assert!(!shapes.is_empty() && shapes.len() <= 20 && shapes.iter().all(|rank| *rank == 1), "{shapes:?}");
    let described = frosthead(&["inspect", text(&run)]).success().stdout;
    assert!(described.contains("the backbone's matrices"), "{described}");
    let recipe = std::fs::read_to_string(run.join("recipe.toml")).unwrap();
    assert!(recipe.contains("train = \"biases\""), "{recipe}");
    assert!(train(&data, &run, &plan).success().stderr.contains("up to date"));
    // Everything of the same layers is another run.
    train(&data, &run, &plan[2..]).fails_with(&["made from something else"]);
    let killed = path("killed");
    let arguments = arguments(&data, &killed, &plan);
    assert_eq!(after_first_epoch(&arguments, "-KILL").code, None);
    frosthead(&arguments).success();
    assert!(weights(&killed) == weights(&run), "a killed run ends differently");
}

#[test]
fn everything_frozen_is_measured_honestly() {
    let (directory, data) = (directory(), demo(1200));
    let run = directory.path().join("run");
    let finished = train_real(&data, &run, &["--freeze", "all"]).success();
    assert!(finished.stderr.contains("untrained heads"), "{}", finished.stderr);
    let metrics = json(&run.join("metrics.json"));
    let accuracy = |kind: &str, task: &str| metrics[kind][task]["accuracy"].as_f64().unwrap();
    // Four domains: the names of the labels alone find more than half.
    assert!(accuracy("tasks", "domain") > 0.5 && accuracy("untrained", "domain") < 0.5, "{metrics}");
    assert!(proof(&run).values().all(|tensor| *tensor == [false; 3]));
    let described = directory.path().join("labels.csv");
    let rows = [
        ("domain", ["movie_review", "news_editorial", "product_review", "tweet"]),
        ("sentiment", ["negative", "neutral", "positive", ""]),
    ];
    let mut table = "task,label,text\n".to_owned();
    for (task, labels) in rows {
        labels
            .iter()
            .filter(|label| !label.is_empty())
            .for_each(|label| table += &format!("{task},{label},about {label}\n"));
    }
    std::fs::write(&described, &table).unwrap();
    let other = directory.path().join("other");
    train_real(&data, &other, &["--freeze", "all", "--label-text", text(&described)]).success();
    assert_ne!(json(&other.join("metrics.json"))["tasks"], metrics["tasks"], "--label-text is ignored");
    std::fs::write(&described, table.replace("sentiment,neutral,about neutral\n", "")).unwrap();
    let lacking = ["--freeze", "all", "--label-text", text(&described), "--overwrite"];
    train_real(&data, &other, &lacking).fails_with(&["no description", "neutral", "sentiment"]);
}

#[test]
fn a_frozen_head_comes_from_an_earlier_run() {
    let (directory, data) = (directory(), demo(300));
    let path = |name: &str| directory.path().join(name);
    train(&data, &path("first"), &[]).success();
    let first = path("first");
    let later = [
        "--freeze",
        "backbone:0-4",
        "--freeze",
        "head:domain",
        "--epochs",
        "1",
        "--init-heads",
        text(&first),
    ];
    train(&data, &path("later"), &later).success();
    let head = |name: &str| {
        let heads = Run::open(&path(name)).unwrap().heads;
        let head = heads.into_iter().find(|head| head.task == "domain").unwrap();
        (head.weights, head.bias)
    };
    assert_eq!(head("later"), head("first"));
    // Without the run it is fitted on the same rows; a random one stays only where it is asked for by name.
    train(&data, &path("fitted"), &later[..6]).success();
    assert_eq!(head("fitted"), head("first"));
    train(&data, &path("drawn"), &[&later[..6], &["--init-heads", "random"]].concat()).success();
    assert_ne!(head("drawn"), head("first"), "--init-heads is ignored");
    // Labels that are not the earlier run's.
    let changed = path("changed.csv");
    let content = std::fs::read_to_string(&data).unwrap().replace(",tweet,", ",post,");
    std::fs::write(&changed, content).unwrap();
    train(&changed, &path("wrong"), &later).fails_with(&["does not fit", "tweet", "post"]);
}

#[test]
fn an_earlier_run_can_be_gone_on_from_backbone_and_all() {
    let (directory, data) = (directory(), demo(300));
    let path = |name: &str| directory.path().join(name);
    let first = path("first");
    let plan =
        ["--freeze", "backbone:0-4", "--freeze", "head:sentiment", "--head-init", "random", "--epochs", "1"];
    train(&data, &first, &plan).success();
    let from = |out: &Path, more: &[&str]| {
        let tasks = ["--task", "domain", "--task", "sentiment", "--out", text(out)];
        frosthead(&[&["train", text(&data), "--backbone", text(&first)], &tasks[..], more].concat())
    };
    // The head that was frozen is released on the backbone that moved: only heads are fitted, the backbone
    // stays.
    let second = path("second");
    from(&second, &["--init-heads", text(&first)]).fails_with(&["no effect", "--freeze head:TASK"]);
    from(&second, &["--init-heads", "random"]).fails_with(&["no effect", "no frozen head"]);
    from(&second, &[]).success();
    let [heads, backbone, _] = weights(&second);
    assert!(heads != weights(&first)[0] && backbone == weights(&first)[1]);
    let eval = ["eval", text(&data), "--rows", "test", "--json", "--model", text(&second)];
    let metrics = json(&second.join("metrics.json"));
    assert_eq!(frosthead(&eval).success().json()["tasks"], metrics["tasks"]);
    // The run stands alone: the first one may go, the imported backbone may not.
    let third = path("third");
    from(&third, &["--freeze", "backbone:0-3", "--epochs", "1", "--head-init", "random"]).success();
    assert!(proof(&third)["encoder.layer.5.output.dense.weight"][1]);
    assert!(
        from(&third, &["--freeze", "backbone:0-3", "--epochs", "1", "--head-init", "random"])
            .success()
            .stderr
            .contains("up to date")
    );
    // Features made with a run's backbone belong to it.
    let features = path("features.parquet");
    frosthead(&["embed", text(&data), "--backbone", text(&first), "--out", text(&features)]).success();
    let cached = path("cached");
    frosthead(&["train", text(&features), "--task", "domain", "--task", "sentiment", "--out", text(&cached)])
        .success();
    assert_eq!(json(&cached.join("metrics.json"))["tasks"], metrics["tasks"]);
    let predict = ["predict", text(&data), "--model", text(&cached)];
    frosthead(&[&predict[..], &["--backbone", text(&first)]].concat()).success();
    frosthead(&[&predict[..], &["--backbone", crate::harness::backbone()]].concat())
        .fails_with(&["not the one"]);
    // Heads of one backbone on another make no sense.
    let plan = ["--freeze", "backbone:0-4", "--freeze", "head:domain"];
    train(&data, &path("wrong"), &[&plan[..], &["--init-heads", text(&first)]].concat())
        .fails_with(&["another backbone", "--backbone"]);
    std::fs::remove_dir_all(&first).unwrap();
    frosthead(&eval).success();
}

#[test]
fn plans_that_cannot_be_are_refused_before_any_work() {
    let (directory, data) = (directory(), demo(300));
    let out = directory.path().join("out");
    let refused = |more: &[&str], parts: &[&str]| {
        train(&data, &out, more).fails_with(parts);
        assert!(!out.exists());
    };
    refused(&["--freeze", "all", "--freeze", "head:domain"], &["contradicts"]);
    refused(&["--freeze", "head:topic"], &["no such head", "domain, sentiment"]);
    refused(&["--freeze", "backbone:0-6"], &["no such layers", "from 0 to 5"]);
    refused(
        &["--freeze", "backbone", "--freeze", "head:domain", "--freeze", "head:sentiment"],
        &["nothing to train", "scenario 1"],
    );
    refused(&["--freeze", "backbone:0-3", "--unfreeze", "0,1"], &["contradict"]);
    refused(&["--unfreeze", "2,1"], &["from fewer to more"]);
    refused(&["--unfreeze", "7"], &["at most 6"]);
    refused(&["--freeze", "backbone:0-3", "--dropout", "1"], &["--dropout", "below 1"]);
    refused(
        &["--freeze", "backbone:0-3", "--task-weight", "topic=2"],
        &["--task-weight", "domain, sentiment"],
    );
    refused(&["--freeze", "backbone:0-3", "--valid-fraction", "0"], &["validation rows"]);
}

#[test]
fn an_opaque_backbone_has_one_cut() {
    let directory = directory();
    let model = directory.path().join("opaque");
    let data = root().join("tests/data/foreign_onnx");
    let source = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
    let source =
        source.filter(|path| path.extension().is_some_and(|extension| extension == "onnx")).min().unwrap();
    frosthead(&["import", text(&source), "--out", text(&model), "--max-length", "16"]).success();
    let (table, out) = (demo(300), directory.path().join("out"));
    let arguments = |plan| {
        [
            "train",
            text(&table),
            "--backbone",
            text(&model),
            "--task",
            "domain",
            "--out",
            text(&out),
            "--freeze",
            plan,
        ]
        .map(str::to_owned)
    };
    for plan in ["backbone:0-3", "head:domain"] {
        let arguments = arguments(plan);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        frosthead(&arguments).fails_with(&[
            "cannot be cut inside",
            ".onnx",
            "after the pooling",
            "model.safetensors",
        ]);
    }
}

#[test]
fn a_run_that_was_tampered_with_is_not_used() {
    let (directory, data) = (directory(), demo(300));
    let run = directory.path().join("run");
    let model = directory.path().join("model");
    frosthead(&["import", text(&checkpoint()), "--out", text(&model)]).success();
    let tasks =
        ["--task", "domain", "--task", "sentiment", "--freeze", "backbone:0-4", "--freeze", "head:domain"];
    let rest = ["train", text(&data), "--backbone", text(&model), "--out", text(&run), "--epochs", "1"];
    frosthead(&[&rest[..], &tasks[..]].concat()).success();
    let eval = ["eval", text(&data), "--model", text(&run)].map(str::to_owned);
    let eval: Vec<&str> = eval.iter().map(String::as_str).collect();
    frosthead(&eval).success();
    // A flipped bit in a frozen head, in a trained tensor, in a frozen tensor of the backbone.
    for (path, expected) in [
        (run.join("heads.safetensors"), "changed after it was trained"),
        (run.join("backbone.safetensors"), "changed after it was trained"),
        (model.join("model.safetensors"), "changed after it was imported"),
    ] {
        let whole = std::fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        let place = whole.len() - 9;
        damaged[place] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        frosthead(&eval).fails_with(&[expected, text(&path)]);
        std::fs::write(&path, whole).unwrap();
    }
    frosthead(&eval).success();
    // Another backbone than the one it was trained on.
    let other = directory.path().join("other");
    frosthead(&["import", text(&checkpoint()), "--out", text(&other), "--pooling", "cls"]).success();
    frosthead(&[&eval[..], &["--backbone", text(&other)]].concat()).fails_with(&["not the one"]);
}

#[test]
fn deeper_states_are_computed_from_stored_shallower_ones() {
    let (directory, data) = (directory(), demo(300));
    let path = |name: &str| directory.path().join(name);
    let (cache, precision) = (path("cache"), ["--states", "f16", "--epochs", "1"]);
    let train = |name: &str, frozen: &str| {
        let plan = ["--freeze", frozen, "--cache", text(&cache)];
        let finished = train(&data, &path(name), &[&plan[..], &precision[..]].concat()).success();
        (finished.stderr, json(&path(name).join("training.json"))[0]["states_from"].clone())
    };
    let (said, from) = train("shallow", "backbone:0-2");
    assert!(said.contains("are computed once: ") && from.is_null(), "{said}");
    let (said, from) = train("deep", "backbone:0-4");
    assert!(said.contains("are computed once, from those stored below layer 3: "), "{said}");
    assert_eq!(from, "hidden.3 as f16");
    // What they were computed from once stays what is read, also beside other states to compute them from.
    let (said, _) = train("middle", "backbone:0-3");
    assert!(said.contains("from those stored below layer 3: "), "{said}");
    let (said, from) = train("again", "backbone:0-4");
    assert!(!said.contains("are computed once"), "{said}");
    assert_eq!(from, "hidden.3 as f16");
    assert!(weights(&path("again")) == weights(&path("deep")));
}

#[test]
fn a_frozen_head_whose_loss_counts_nothing_leaves_the_layers_to_the_others() {
    let (directory, data) = (directory(), demo(300));
    let path = |name: &str| directory.path().join(name);
    let plan =
        ["--freeze", "backbone:0-4", "--freeze", "head:sentiment", "--epochs", "1", "--head-init", "random"];
    let train = |name: &str, more: &[&str]| {
        train(&data, &path(name), &[&plan[..], more].concat()).success();
        weights(&path(name))
    };
    // Two heads for sentiment: the one that was drawn, and a fitted one.
    let base = ["train", text(&data), "--backbone", backbone(), "--task", "sentiment"];
    let first = path("first");
    frosthead(&[&base[..], &["--out", text(&first)]].concat()).success();
    let (random, fitted) = (["--init-heads", "random"], ["--init-heads", text(&first)]);
    assert!(
        train("drawn", &random)[1] != train("fitted", &fitted)[1],
        "the layers do not serve the frozen head"
    );
    let without = ["--task-weight", "sentiment=0"];
    let (drawn, fitted) = (
        train("drawn without", &[random, without].concat()),
        train("fitted without", &[fitted, without].concat()),
    );
    assert!(drawn[0] != fitted[0] && drawn[1] == fitted[1], "a loss that counts nothing moves the layers");
}

#[test]
fn damaged_token_states_are_said_and_computed_again() {
    let (directory, data) = (directory(), demo(300));
    let path = |name: &str| directory.path().join(name);
    let cache = path("cache");
    let plan = ["--freeze", "backbone:0-4", "--epochs", "1", "--cache", text(&cache)];
    train(&data, &path("first"), &plan).success();
    let mut parts = Vec::new();
    let mut folders = vec![cache.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "safetensors") {
                parts.push(entry);
            }
        }
    }
    // One, or more on a slow machine.
    assert!(!parts.is_empty());
    for part in &parts {
        let bytes = std::fs::read(part).unwrap();
        std::fs::write(part, &bytes[..bytes.len() / 2]).unwrap();
    }
    let again = train(&data, &path("second"), &plan).success();
    assert!(
        again.stderr.contains("damaged") && again.stderr.contains("token states of 300 texts"),
        "{}",
        again.stderr
    );
    assert!(weights(&path("first")) == weights(&path("second")));
    // What is there is used: a second cut of the same level computes nothing.
    let third = train(&data, &path("third"), &plan).success();
    assert!(!third.stderr.contains("token states of"), "{}", third.stderr);
}

#[test]
fn a_loss_that_is_no_number_ends_training_with_the_best_so_far() {
    let (directory, data) = (directory(), demo(300));
    let run = directory.path().join("run");
    let plan = ["--freeze", "backbone:0-4", "--epochs", "2", "--learning-rate", "1e30", "--clip", "0"];
    let finished = train(&data, &run, &plan).success();
    let stage = json(&run.join("training.json"))[0].clone();
    let stopped = stage["stopped"].as_str().unwrap();
    assert!(stopped.contains("step ") && stopped.contains("not a finite number"), "{stopped}");
    assert_eq!(stage["best"], 0);
    assert!(
        finished.stderr.contains("ended early") && finished.stderr.contains("smaller --learning-rate"),
        "{}",
        finished.stderr
    );
    frosthead(&["eval", text(&data), "--model", text(&run)]).success();
}

#[test]
fn a_label_of_the_test_file_that_training_never_saw_counts_as_wrong() {
    let (directory, data) = (directory(), demo(300));
    let test = directory.path().join("test.csv");
    std::fs::write(&test, "text,domain,sentiment\nA fine day,tweet,happy\n").unwrap();
    let out = directory.path().join("out");
    let more = ["--freeze", "backbone:0-4", "--epochs", "1", "--test", text(&test)];
    let finished = train(&data, &out, &more).success();
    let line = "sentiment: training never saw the label \"happy\": 1 row, counted as wrong";
    assert!(finished.stdout.contains(line), "{}", finished.stdout);
    assert_eq!(json(&out.join("metrics.json"))["tasks"]["sentiment"]["accuracy"], 0.0);
}

#[test]
fn the_need_of_token_states_is_checked_against_the_disk() {
    // The printed need is that of the file.
    let (directory, data) = (directory(), demo(300));
    let need = |precision: &str| {
        let (run, cache) =
            (directory.path().join(precision), directory.path().join(format!("cache-{precision}")));
        let more =
            ["--freeze", "backbone:0-4", "--epochs", "1", "--states", precision, "--cache", text(&cache)];
        let finished = finish(command(&arguments(&data, &run, &more)), &more).success();
        let line =
            finished.stderr.lines().find(|line| line.starts_with("token states of")).unwrap().to_owned();
        let bytes = json(&run.join("training.json"))[0]["states_bytes"].as_u64().unwrap();
        let (_, said) = line.split_once("computed once: ").unwrap();
        let mut words = said.split([' ', ',']);
        let number: f64 = words.next().unwrap().parse().unwrap();
        let said = match words.next().unwrap() {
            "kB" => number * 1e3,
            "MB" => number * 1e6,
            unit => panic!("{unit} in {line}"),
        };
        // What is needed beside the states is rounded up.
        assert!((0.85..1.05).contains(&(bytes as f64 / said)), "{line}: {bytes}");
        bytes
    };
    let (half, whole) = (need("f16"), need("f32"));
    assert!((whole as f64 / half as f64 - 2.0).abs() < 0.02, "{half} {whole}");
}
