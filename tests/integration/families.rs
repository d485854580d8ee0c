//! Every family of encoders and everything that is done with one: a table of abilities, each tried on the tiny
//! checkpoint of each family (`tests/data/families`).

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::{Finished, demo, directory, features, frosthead, frosthead_reading, root, text};
use crate::network::proof;
use crate::serve::Server;

const FAMILIES: [(&str, &str); 6] = [
    ("bert", "BERT"),
    ("roberta", "RoBERTa"),
    ("xlm-roberta", "XLM-R"),
    ("camembert", "CamemBERT"),
    ("distilbert", "DistilBERT"),
    ("mpnet", "MPNet"),
];
const LAYERS: usize = 3;
const TASK: [&str; 2] = ["--task", "domain"];

/// Something that is done with a family's backbone.
type Try = fn(&Made);

/// What is tried, in this order: some of it needs what was made before.
const ABILITIES: [(&str, Try); 12] = [
    ("import and embedding", embeds),
    ("states of all layers and every choice of features", sees_every_layer),
    ("words beside states", looks_at_words),
    ("windows", reads_in_windows),
    ("depth", is_cut),
    ("training of top layers, and its proof", trains_top_layers),
    ("training of all layers", trains_everything),
    ("precisions behind the gate", is_quantised),
    ("one text, one embedding in 8 bits", is_the_same_alone_and_together),
    ("vocabulary", is_left_fewer_pieces),
    ("a limit of memory", fits_into_memory),
    ("serving and fitting a head anew", serves_and_is_refitted),
];

/// A family's backbone, and a directory for what is made with it.
struct Made {
    family: &'static str,
    name: &'static str,
    place: tempfile::TempDir,
    data: PathBuf,
}

impl Made {
    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn checkpoint(&self) -> PathBuf {
        root().join("tests/data/families").join(self.family)
    }

    fn golden(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.checkpoint().join("golden.json")).unwrap()).unwrap()
    }

    fn train(&self, run: &str, more: &[&str]) -> Finished {
        let (data, backbone, out) = (&self.data, self.path("backbone"), self.path(run));
        let arguments = ["train", text(data), "--backbone", text(&backbone), "--out", text(&out)];
        frosthead(&[&arguments[..], &TASK, more].concat()).success()
    }

    fn bundle(&self, run: &str, bundle: &str, more: &[&str]) -> PathBuf {
        let (run, out) = (self.path(run), self.path(bundle));
        let arguments = ["bundle", text(&run), "--out", text(&out)];
        frosthead(&[&arguments[..], more].concat()).success();
        out
    }
}

fn predicted(model: &Path, lines: &str, more: &[&str]) -> Vec<Value> {
    let arguments = ["predict", "-", "--format", "lines", "--model", text(model), "--all-probabilities"];
    frosthead_reading(lines.as_bytes(), &[&arguments[..], more].concat()).success().json_lines()
}

const LINES: &str = "The battery died after two days.\nlol best day ever\nA dull, lifeless film.\nok\n\
                     The committee will meet on Tuesday to discuss the proposal and vote on its amendments.\n";

/// Numbers that agree but for the order in which sums are added up.
fn agree(ours: &Value, theirs: &Value) -> bool {
    match (ours.as_f64(), theirs.as_f64()) {
        (Some(ours), Some(theirs)) => (ours - theirs).abs() < 1e-5,
        _ => ours.as_object().zip(theirs.as_object()).map_or(ours == theirs, |(ours, theirs)| {
            ours.len() == theirs.len() && ours.iter().all(|(name, value)| agree(value, &theirs[name]))
        }),
    }
}

#[test]
fn every_family_can_do_everything() {
    for (family, name) in FAMILIES {
        let made = Made { family, name, place: directory(), data: demo(240) };
        for (ability, tried) in ABILITIES {
            eprintln!("{family}: {ability}");
            tried(&made);
        }
    }
}

/// By the program, from raw texts: what sentence-transformers computes from the same directory.
fn embeds(made: &Made) {
    let backbone = made.path("backbone");
    let imported = frosthead(&["import", text(&made.checkpoint()), "--out", text(&backbone)]).success();
    let told = format!("imported: {} with {LAYERS} layers", made.name);
    assert!(imported.stderr.contains(&told), "{}", imported.stderr);
    let inspected = frosthead(&["inspect", text(&backbone)]).success().stdout;
    assert!(inspected.contains(&format!("{}: {LAYERS} layers", made.name)), "{inspected}");
    let golden = made.golden();
    let count = 17;
    let texts = golden["texts"].as_array().unwrap()[..count].iter();
    let lines: String = texts.map(|text| format!("{}\n", json!({"text": text}))).collect();
    let (data, out) = (made.path("texts.jsonl"), made.path("out.parquet"));
    std::fs::write(&data, lines).unwrap();
    frosthead(&["embed", text(&data), "--backbone", text(&backbone), "--out", text(&out)]).success();
    let table = features(&out, None);
    let bytes = std::fs::read(made.checkpoint().join("golden.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let expected = tensors.tensor("embedding").unwrap();
    let expected = expected.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    assert_eq!(table.features.len(), count * table.width);
    for (place, (ours, theirs)) in table.features.iter().zip(expected).enumerate() {
        assert!((ours - theirs).abs() <= 1e-5, "text {}: {ours} {theirs}", place / table.width);
    }
}

fn sees_every_layer(made: &Made) {
    for seen in ["last", "all", "layers:0-1", "layers:1-2", "auto"] {
        made.train("run", &["--features", seen, "--overwrite"]);
    }
    made.train("run", &["--features", "all", "--overwrite"]);
    let run = made.path("run");
    let bundle = made.bundle("run", "fp32.frost", &[]);
    let (ours, theirs) = (predicted(&bundle, LINES, &[]), predicted(&run, LINES, &[]));
    assert!(ours.len() == 5 && ours.iter().zip(&theirs).all(|(a, b)| agree(a, b)), "{ours:?} {theirs:?}");
}

/// Pieces of every kind of tokenizer: a run and its bundle say the same, and a piece of the text is among the reasons.
fn looks_at_words(made: &Made) {
    made.train("words", &["--features", "last+words"]);
    let bundle = made.bundle("words", "words.frost", &[]);
    let (ours, theirs) = (predicted(&bundle, LINES, &[]), predicted(&made.path("words"), LINES, &[]));
    assert!(ours.iter().zip(&theirs).all(|(a, b)| agree(a, b)), "{ours:?} {theirs:?}");
    made.train("plain", &["--features", "last"]);
    let plain = predicted(&made.path("plain"), LINES, &[]);
    assert!(ours.iter().zip(&plain).any(|(a, b)| !agree(a, b)), "{}: words change nothing", made.family);
    let why = predicted(&bundle, LINES, &["--explain", "words"]);
    let task = TASK[1];
    assert!(why.iter().any(|row| !row[format!("{task}_words")].as_array().unwrap().is_empty()), "{why:?}");
}

fn reads_in_windows(made: &Made) {
    made.train("windows", &["--long", "windows", "--window", "24", "--stride", "11"]);
    let long = format!("{}\n", LINES.replace('\n', " ").repeat(400));
    let (short, long) =
        (predicted(&made.path("windows"), LINES, &[]), predicted(&made.path("windows"), &long, &[]));
    assert_eq!((short.len(), long.len()), (5, 1));
}

fn is_cut(made: &Made) {
    for depth in ["0", "2"] {
        let run = format!("depth-{depth}");
        made.train(&run, &["--depth", depth]);
        let bundle = made.bundle(&run, &format!("{run}.frost"), &[]);
        let (ours, theirs) = (predicted(&bundle, LINES, &[]), predicted(&made.path(&run), LINES, &[]));
        assert!(ours.iter().zip(&theirs).all(|(a, b)| agree(a, b)), "{ours:?} {theirs:?}");
    }
}

/// Two layers above a cut: these move, and nothing else does, also not what all layers share.
fn trains_top_layers(made: &Made) {
    made.train("top", &["--freeze", "backbone:0-0", "--epochs", "1", "--head-init", "random"]);
    let proof = proof(&made.path("top"));
    for (name, tensor) in &proof {
        let expected = ["encoder.layer.1.", "encoder.layer.2.", "heads."];
        is_trained(made, name, *tensor, expected.iter().any(|part| name.starts_with(part)));
    }
    let shared = proof.contains_key("embeddings.position_bias.weight");
    assert_eq!(shared, made.family == "mpnet");
    let bundle = made.bundle("top", "top.frost", &[]);
    let (ours, theirs) = (predicted(&bundle, LINES, &[]), predicted(&made.path("top"), LINES, &[]));
    assert!(ours.iter().zip(&theirs).all(|(a, b)| agree(a, b)), "{ours:?} {theirs:?}");
}

fn trains_everything(made: &Made) {
    let plan = ["--task", "sentiment", "--freeze", "head:sentiment", "--epochs", "1"];
    made.train("whole", &[&plan[..], &["--head-init", "random", "--init-heads", "random"]].concat());
    for (name, tensor) in proof(&made.path("whole")) {
        // What stands behind the pooling is no layer's. Tokens have no types in some families; ours are zeros
        // there, and learn all the same.
        let expected = !["heads.sentiment.", "dense."].iter().any(|part| name.starts_with(part));
        is_trained(made, &name, tensor, expected);
    }
}

/// Whether a tensor was trained, and had a gradient, just as expected. Where no epoch was better than the drawn
/// head that it began with, what was trained is kept as it was.
fn is_trained(made: &Made, name: &str, [trained, moved, gradient]: [bool; 3], expected: bool) {
    assert_eq!([trained, gradient], [expected; 2], "{} {name}", made.family);
    assert!(expected || !moved, "{} {name}", made.family);
}

fn is_quantised(made: &Made) {
    for precision in ["w8", "int8"] {
        let bundle = made.bundle(
            "run",
            &format!("{precision}.frost"),
            &["--precision", precision, "--max-drop", "100"],
        );
        assert_eq!(predicted(&bundle, LINES, &[]).len(), 5);
    }
    made.bundle("run", "least.frost", &["--precision", "int8", "--table-bits", "4", "--max-drop", "100"]);
}

fn is_the_same_alone_and_together(made: &Made) {
    for precision in ["fp32", "w8", "int8"] {
        let bundle = made.path(&format!("{precision}.frost"));
        let together = predicted(&bundle, LINES, &[]);
        for (line, mut together) in LINES.lines().zip(together) {
            let mut alone = predicted(&bundle, &format!("{line}\n"), &[]).remove(0);
            // Which row of its table it is, is all that differs.
            (alone["row"], together["row"]) = (Value::Null, Value::Null);
            assert_eq!(alone, together, "{} {precision}", made.family);
        }
    }
}

/// Texts of kept pieces have the same answers, to the bit.
fn is_left_fewer_pieces(made: &Made) {
    let whole = made.path("fp32.frost");
    let used = made.bundle("run", "used.frost", &["--vocabulary", "used", "--max-drop", "100"]);
    let pieces = |bundle: &Path| {
        let inspected = frosthead(&["inspect", text(bundle), "--json"]).success().json();
        inspected["manifest"]["backbone"]["architecture"]["config"]["vocabulary_size"].as_u64().unwrap()
    };
    assert!(pieces(&used) <= pieces(&whole));
    let mut reader = csv::Reader::from_path(&made.data).unwrap();
    let texts = reader.records().map(|record| record.unwrap()[0].replace(['\n', '\r'], " "));
    let lines = texts.collect::<Vec<_>>().join("\n");
    let (all, some) = (predicted(&whole, &lines, &[]), predicted(&used, &lines, &[]));
    let same = all.iter().zip(&some).filter(|(a, b)| a == b).count();
    assert!(same * 10 >= all.len() * 9, "{}: {same} of {}", made.family, all.len());
}

fn fits_into_memory(made: &Made) {
    let bundle = made.path("int8.frost");
    let limited = predicted(&bundle, LINES, &["--memory", "400M"]);
    assert_eq!(limited, predicted(&bundle, LINES, &[]));
}

fn serves_and_is_refitted(made: &Made) {
    let (whole, anew) = (made.path("int8.frost"), made.path("anew.frost"));
    let arguments = ["refit", text(&whole), text(&made.data), "--out", text(&anew)];
    frosthead(&[&arguments[..], &TASK].concat()).success();
    let server = Server::of(&anew, &[]);
    let reply = server.post("/v1/predict", &json!({"texts": ["The battery died after two days."]}));
    assert_eq!(reply.status, 200);
}

#[test]
fn the_catalogue_is_listed_without_a_source_and_beside_one_that_is_none() {
    let listed = frosthead(&["import"]).success().stdout;
    for part in ["all-mpnet-base-v2", "MPNet", "apache-2.0", "100 languages", "768", "Checked: 20"] {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    let refused = frosthead(&["import", "nonsense"]).fails_with(&["no such encoder", "nonsense", "hub id"]);
    assert!(refused.stderr.contains("all-mpnet-base-v2"), "{}", refused.stderr);
    frosthead(&["import", "all-mpnet-base-v2"]).fails_with(&["--out models/all-mpnet-base-v2"]);
    frosthead(&["import", "--pooling", "cls"]).exits(2);
}

/// Copies a directory and what is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn what_does_not_belong_to_a_family_is_refused() {
    let place = directory();
    let known = root().join("tests/data/families");
    let out = place.path().join("out");
    let import = |from: &Path, more: &[&str]| {
        frosthead(&[&["import", text(from), "--out", text(&out)], more].concat())
    };
    let other = known.join("bert/tokenizer.json");
    import(&known.join("roberta"), &["--tokenizer", text(&other)]).fails_with(&[
        "do not belong together",
        "padding's id 0",
        "expected 1",
        "RoBERTa",
    ]);
    import(&known.join("roberta"), &["--max-length", "97"])
        .fails_with(&["beyond the model's positions", "96"]);
    let lie = place.path().join("lie");
    copy(&known.join("distilbert"), &lie);
    std::fs::copy(known.join("bert/config.json"), lie.join("config.json")).unwrap();
    import(&lie, &[]).fails_with(&["not of one family", "DistilBERT", "BERT, as config.json says"]);
    // The product behind the pooling.
    let dense = place.path().join("dense");
    copy(&known.join("distilbert"), &dense);
    let (weights, pickle) =
        (dense.join("2_Dense/model.safetensors"), dense.join("2_Dense/pytorch_model.bin"));
    std::fs::rename(&weights, &pickle).unwrap();
    import(&dense, &[]).fails_with(&["no `model.safetensors`", "python3 -c", "2_Dense"]);
    std::fs::rename(&pickle, &weights).unwrap();
    let config = dense.join("2_Dense/config.json");
    let good = std::fs::read_to_string(&config).unwrap();
    for (from, to, part) in [
        ("\"in_features\": 32", "\"in_features\": 31", "in_features"),
        ("\"out_features\": 20", "\"out_features\": 21", "wrong shape"),
        ("activation.Tanh", "activation.Softsign", "activation_function"),
        ("\"bias\"", "\"use_residual\": true, \"bias\"", "use_residual"),
    ] {
        assert!(good.contains(from), "{good}");
        std::fs::write(&config, good.replace(from, to)).unwrap();
        import(&dense, &[]).fails_with(&[part]);
    }
    std::fs::write(&config, good).unwrap();
    let told = import(&dense, &[]).success().stderr;
    assert!(
        told.contains("20 dimensions") && told.contains("left out") && told.contains("vocab_projector"),
        "{told}"
    );
}

/// The layout of old sentence-transformers models: the transformer in a folder of its own.
#[test]
fn a_transformer_in_a_folder_of_its_own_is_the_same_encoder() {
    let place = directory();
    let (from, old) = (root().join("tests/data/families/mpnet"), place.path().join("old"));
    copy(&from, &old.join("0_Transformer"));
    for folder in ["1_Pooling", "2_Normalize"] {
        let _ = std::fs::rename(old.join("0_Transformer").join(folder), old.join(folder));
        std::fs::create_dir_all(old.join(folder)).unwrap();
    }
    std::fs::remove_file(old.join("0_Transformer/modules.json")).unwrap();
    let weights = |name: &str, source: &Path| {
        let out = place.path().join(name);
        frosthead(&["import", text(source), "--out", text(&out)]).success();
        let manifest: Value =
            serde_json::from_slice(&std::fs::read(out.join("backbone.json")).unwrap()).unwrap();
        assert_eq!(manifest["source"]["family"], "MPNet");
        assert!(manifest["architecture"]["config"]["relative_positions"]["buckets"] == 32);
        (manifest["files"]["model.safetensors"].clone(), manifest["preparation"].clone())
    };
    assert_eq!(weights("new", &from), weights("folders", &old));
}
