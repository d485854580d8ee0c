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

/// What is tried, in this order: some of it needs what was made before.
const ABILITIES: [(&str, fn(&Made)); 11] = [
    ("import and embedding", embeds),
    ("states of all layers and every choice of features", sees_every_layer),
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
    for seen in ["last", "all", "layers:0-1", "layers:2-3", "auto"] {
        made.train("run", &["--features", seen, "--overwrite"]);
    }
    made.train("run", &["--features", "all", "--overwrite"]);
    let run = made.path("run");
    let bundle = made.bundle("run", "fp32.frost", &[]);
    let (ours, theirs) = (predicted(&bundle, LINES, &[]), predicted(&run, LINES, &[]));
    assert!(ours.len() == 5 && ours.iter().zip(&theirs).all(|(a, b)| agree(a, b)), "{ours:?} {theirs:?}");
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
    made.train("top", &["--freeze", "backbone:0-0", "--epochs", "1"]);
    let proof = proof(&made.path("top"));
    for (name, [trained, moved, _]) in &proof {
        let expected = ["encoder.layer.1.", "encoder.layer.2.", "heads."];
        let expected = expected.iter().any(|part| name.starts_with(part));
        assert_eq!([*trained, *moved], [expected; 2], "{} {name}", made.family);
    }
    let shared = proof.contains_key("embeddings.position_bias.weight");
    assert_eq!(shared, made.family == "mpnet");
    let bundle = made.bundle("top", "top.frost", &[]);
    let (ours, theirs) = (predicted(&bundle, LINES, &[]), predicted(&made.path("top"), LINES, &[]));
    assert!(ours.iter().zip(&theirs).all(|(a, b)| agree(a, b)), "{ours:?} {theirs:?}");
}

fn trains_everything(made: &Made) {
    made.train("whole", &["--freeze", "head:domain", "--epochs", "1"]);
    for (name, [trained, moved, _]) in proof(&made.path("whole")) {
        let of_heads = name.starts_with("heads.");
        // Tokens have no types in some families; ours are zeros there, and learn all the same.
        assert_eq!([trained, moved], [!of_heads; 2], "{} {name}", made.family);
    }
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
        for (line, together) in LINES.lines().zip(together) {
            assert_eq!(
                predicted(&bundle, &format!("{line}\n"), &[])[0],
                together,
                "{} {precision}",
                made.family
            );
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
