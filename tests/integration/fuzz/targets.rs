//! Owns what is fuzzed: one function from bytes to nothing for every parser of bytes that somebody else made.
//! `fuzz/` runs them under libFuzzer, `mod.rs` here on mutated seeds in every test run.
//!
//! A function puts the bytes where the parser finds them, lets it say what it will, and uses what it
//! accepted. Refuses to judge an error: what must not happen is a panic, a hang or much memory, and that
//! something accepted does not mean what it says.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use frosthead::ImportOptions;
use frosthead::internal::backbone::Manifest;
use frosthead::internal::bundle::{Bundle, UpdateOptions, apply_update};
use frosthead::internal::classifier::Run;
use frosthead::internal::classifier::run_files::NewFiles;
use frosthead::internal::data::{FeatureColumns, Format, Reading, Source, TableReader};
use frosthead::internal::embed::RowLayout;
use frosthead::internal::encoder::{FeatureChoice, ForeignEncoder, Pooling, Published, TokenStates, Weights};
use frosthead::internal::fingerprint::{Fingerprint, TextKey};
use frosthead::internal::graph::{self, WeightBytes};
use frosthead::internal::heads;
use frosthead::internal::quantize::Calibration;
use frosthead::internal::runtime::RuntimeOptions;
use frosthead::internal::store::{self, StatePrecision, Store, StoreKey};
use frosthead::internal::tokens::{Tokenizer, WindowOptions, Windows};

use super::repair;

/// Reads bytes.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const ALL: [(&str, Target); 11] = [
    ("bundle", bundle),
    ("update", update),
    ("safetensors", safetensors),
    ("store", store),
    ("tokenizer", tokenizer),
    ("config", config),
    ("onnx", onnx),
    ("csv", csv),
    ("json", json),
    ("parquet", parquet),
    ("http", http),
];

/// The server that [`http`] talks to; one that says nothing for so long hangs.
pub static SERVER: OnceLock<(SocketAddr, Duration)> = OnceLock::new();

/// Files of ours that some parsers want beside the fuzzed ones.
const CONFIG: &[u8] = include_bytes!("../../data/bert_tiny.json");
const CHECKPOINT: &[u8] = include_bytes!("../../data/bert_tiny_f16.safetensors");
const TOKENIZER: &[u8] = include_bytes!("../../data/foreign_onnx/tokenizer.json");

/// A folder of this thread.
fn scratch() -> PathBuf {
    thread_local! {
        static SCRATCH: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
    }
    let new = || tempfile::tempdir().unwrap();
    SCRATCH.with(|scratch| scratch.get_or_init(new).path().to_path_buf())
}

/// Puts bytes into a file of this thread's folder.
fn put(name: &str, bytes: &[u8]) -> PathBuf {
    let path = scratch().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The configuration of the tiny BERT.
fn tiny_config() -> Vec<u8> {
    let described: serde_json::Value = serde_json::from_slice(CONFIG).unwrap();
    described["config"].to_string().into_bytes()
}

/// A bundle: its bytes, with its checksums made right; or [sections](repair::sections), each an entry, of
/// which a bundle is made.
pub fn bundle(bytes: &[u8]) {
    let bytes = match bytes.starts_with(b"PK") {
        true => repair::resealed(bytes),
        false => repair::archive(&repair::sections(bytes)),
    };
    let path = put("x.frost", &bytes);
    let _ = Bundle::peek_text_columns(&path);
    let Ok(bundle) = Bundle::open(&path, None) else { return };
    assert_eq!(bundle.heads().len(), bundle.manifest().tasks.len());
    assert_eq!(bundle.heads().len(), bundle.calibration().len());
    bundle.backbone_fingerprint().expect("an opened bundle can be read");
    let _ = (bundle.fingerprint(), bundle.stored(), bundle.kept(), bundle.weight_bytes());
    let backbone = &bundle.manifest().backbone;
    let embedding = bundle.manifest().embedding_size();
    let layout = RowLayout::new(backbone.layers(), embedding, backbone.hidden_size, FeatureChoice::All);
    let _ = bundle.columns(&layout);
    if let Ok(Some(validation)) = bundle.validation() {
        for task in validation.tasks() {
            let view = validation.view(task);
            assert_eq!(task.truth.len(), validation.rows());
            assert!((0..validation.rows()).all(|row| view.row(row).len() == task.columns.len()));
        }
    }
    if let Ok(Some(ranges)) = bundle.ranges() {
        let _ = Calibration::from_bytes(&ranges);
    }
    let _ = bundle.own_backbone();
    let _ = bundle.backbone();
}

/// An update and the bundle that it is of, in [sections](repair::sections): `old`, `header`, and the `body`
/// before it is packed; or the file of one, which is of no bundle that is there. What can be made right is.
pub fn update(bytes: &[u8]) {
    let (old, bytes) = match bytes.starts_with(b"FROSTUP") {
        true => (repair::archive(&[("manifest.json".to_owned(), Vec::new())]), repair::sealed(bytes)),
        false => repair::update(bytes),
    };
    let (old, update, out) =
        (put("old.frost", &old), put("x.frostup", &bytes), scratch().join("updated.frost"));
    let _ = std::fs::remove_file(&out);
    match apply_update(&old, &update, &UpdateOptions { out: Some(out.clone()), ..UpdateOptions::default() }) {
        Ok(updated) => {
            assert_eq!(Fingerprint::of_file(&out).unwrap(), updated.header.to.hash);
            Bundle::open(&out, None).expect("what an update made is a bundle");
        }
        Err(_) => assert!(!out.exists(), "an update that failed left a file"),
    }
}

/// A safetensors file, as everybody who reads one does: a checkpoint, converted weights, heads, ranges.
pub fn safetensors(bytes: &[u8]) {
    let path = put("a.safetensors", bytes);
    let config = put("config.json", &tiny_config());
    if let Ok(heads) = heads::read(bytes) {
        assert!(heads::read(&heads::to_bytes(&heads)).is_ok(), "heads that were read cannot be read again");
    }
    let published = Published::open(&config).unwrap();
    if let Ok(ranges) = Calibration::from_bytes(bytes) {
        assert!(ranges.to_bytes().is_some_and(|written| written == bytes), "ranges that say something else");
        let _ = ranges.of_network(&published.config);
    }
    let _ = Weights::open(&path, &published.config);
    let converted = scratch().join("converted.safetensors");
    if published.convert(&path, &converted).is_ok() {
        let weights = Weights::open(&converted, &published.config).expect("what was converted can be opened");
        for name in weights.names() {
            assert!(weights.read(name).unwrap().iter().all(|number| number.is_finite()));
        }
    }
}

/// A file of the feature store: `key.json` when it begins like JSON, a part of features when it begins like
/// one, else token states. Whose it is, its checksum and its name are made right.
pub fn store(bytes: &[u8]) {
    const WIDTH: usize = 3;
    let root = scratch().join("store");
    let fields = BTreeMap::from([("weights".to_owned(), "w".to_owned())]);
    let key = StoreKey { fields, owner: None, processor: None };
    let folder = root.join("features").join(key.fingerprint().to_string());
    let _ = std::fs::remove_dir_all(&folder);
    let at = |name: &str, bytes: &[u8]| {
        std::fs::create_dir_all(folder.join("parts")).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    };
    if bytes.starts_with(b"{") {
        at("key.json", bytes);
    } else if bytes.starts_with(b"FHPART") {
        let (bytes, name) = repair::part(bytes, key.fingerprint());
        at(&format!("parts/{name}.part"), &bytes);
    } else {
        let name = &Fingerprint::of_bytes(bytes).to_string()[..32];
        at(&format!("parts/{name}.safetensors"), bytes);
    }
    let _ = store::list(&root);
    let _ = store::verify(&root);
    // The keys of a part lie behind its header.
    let keys: Vec<TextKey> =
        bytes.get(56..).unwrap_or(&[]).as_chunks().0.iter().map(|k| TextKey(*k)).collect();
    if let Ok(store) = Store::open(&root, &key, WIDTH) {
        let mut row = [0.0; WIDTH];
        let found = keys.iter().filter(|key| store.read(key, 0, &mut row).expect("a checked row")).count();
        assert!(store.is_empty() || found > 0, "rows that are there cannot be read");
    }
    for precision in [StatePrecision::F16, StatePrecision::F32] {
        let Ok(states) = store::TokenStates::open(&root, &key, WIDTH, precision) else { continue };
        // Damaged states are set aside, and so are those in the other precision: that one has its turn.
        states.damaged().iter().for_each(|damage| {
            let _ = std::fs::rename(&damage.path, damage.path.with_extension(""));
        });
        let mut room = vec![0.0; bytes.len()];
        for start in 0..bytes.len().saturating_sub(16).min(256) {
            let key = TextKey(bytes[start..start + 16].try_into().unwrap());
            states.read(&key, &mut room).expect("states that were accepted");
        }
    }
}

/// A `tokenizer.json`, or the compact form of one.
pub fn tokenizer(bytes: &[u8]) {
    let path = put("tokenizer.json", bytes);
    let _ = Tokenizer::open_for(&path, Some(100));
    for tokenizer in [Tokenizer::open(&path), Tokenizer::from_compact(bytes, &path)].into_iter().flatten() {
        use_tokenizer(&tokenizer);
        if let Some(Ok(compact)) = tokenizer.compact_form(bytes, 0) {
            use_tokenizer(&Tokenizer::from_compact(&compact, &path).expect("what was written can be read"));
        }
    }
}

fn use_tokenizer(tokenizer: &Tokenizer) {
    let _ = (tokenizer.vocabulary_size(), tokenizer.special_ids(), tokenizer.keeps_case());
    let long = "Great phone, would buy again! Ünï 中文 \u{0} [MASK] ".repeat(20);
    let texts = ["", " ", "a b c", "Great phone, would buy again!", &long];
    if let Ok(encoded) = tokenizer.encode(&texts, 16) {
        assert!(encoded.len() == texts.len() && encoded.lengths().all(|length| length <= 16));
    }
    let options = WindowOptions { window: 16, stride: None, most: Some(8) };
    let Ok(windows) = Windows::new(tokenizer, "", 16, options) else { return };
    for text in texts {
        let mut of_text = windows.of(tokenizer, text, true);
        let count = std::iter::from_fn(|| of_text.next_window().ok().flatten()).take(100).count();
        assert!(count <= 8, "{count} windows of at most 8");
    }
}

/// Everything small that describes a model, a run or a tuning, in [sections](repair::sections) by their files'
/// names; the tiny BERT's checkpoint and tokenizer lie beside them.
pub fn config(bytes: &[u8]) {
    const KNOWN: [&str; 8] = [
        "config.json",
        "modules.json",
        "1_Pooling/config.json",
        "sentence_bert_config.json",
        "tokenizer_config.json",
        "config_sentence_transformers.json",
        "README.md",
        "model.safetensors.index.json",
    ];
    let (model, run) = (scratch().join("model"), scratch().join("run"));
    for folder in [&model, &run] {
        let _ = std::fs::remove_dir_all(folder);
    }
    for (name, bytes) in [("model.safetensors", CHECKPOINT), ("tokenizer.json", TOKENIZER)] {
        put(&format!("model/{name}"), bytes);
    }
    std::fs::create_dir_all(&run).unwrap();
    let mut files = NewFiles::new(&run);
    for (name, bytes) in repair::sections(bytes) {
        match name.as_str() {
            name if KNOWN.contains(&name) => drop(put(&format!("model/{name}"), &bytes)),
            "backbone.json" => drop(Manifest::open(&put("backbone/backbone.json", &bytes))),
            "recipe.toml" | "heads.safetensors" | "rows.safetensors" => {
                files.put(&name, &bytes).unwrap();
            }
            "tuning.json" => drop(tuned(&bytes)),
            _ => {}
        }
    }
    files.seal().unwrap();
    if let Ok(run) = Run::open(&run) {
        assert!(run.recipe.to_toml().is_ok(), "a recipe that was read cannot be written");
        let _ = (run.rows(), run.changed(), run.kept_out(), run.stored());
    }
    let _ = Published::open(&model.join("config.json"));
    let _ = frosthead::internal::encoder::shard_names(&model.join("model.safetensors.index.json"));
    // There is no such library, so that the network is not tried; everything else of an import is done.
    let runtime = RuntimeOptions { library: Some(scratch().join("none")), ..RuntimeOptions::default() };
    let options = ImportOptions { runtime, overwrite: true, ..ImportOptions::default() };
    assert!(frosthead::import(&model, &scratch().join("imported"), &options).is_err());
}

/// A tuning under the name of its own key, if it says one.
fn tuned(bytes: &[u8]) -> Option<frosthead::internal::tuning::Kept> {
    let said: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let key: frosthead::internal::tuning::Key = serde_json::from_value(said.get("key")?.clone()).ok()?;
    let folder = scratch().join("tuning");
    std::fs::create_dir_all(&folder).unwrap();
    let path = frosthead::internal::tuning::file_of(&folder, &key);
    std::fs::write(&path, bytes).unwrap();
    let kept = frosthead::internal::tuning::kept(&folder, &key).ok().flatten();
    std::fs::remove_file(path).unwrap();
    kept
}

/// An ONNX model made elsewhere.
pub fn onnx(bytes: &[u8]) {
    let path = put("foreign/model.onnx", bytes);
    if let Ok(model) = graph::decode(bytes) {
        let again = graph::decode(&graph::encode(&model)).expect("what was read can be written");
        assert!(again == model || graph::encode(&again) == graph::encode(&model));
        let _ = WeightBytes::of(&model);
    }
    for states in [TokenStates::NotWanted, TokenStates::Preferred, TokenStates::Required] {
        let Ok(mut encoder) = ForeignEncoder::open(&path, states) else { continue };
        let _ = (encoder.output(), encoder.states(), encoder.quantises_batches(), encoder.needs());
        encoder.bare().expect("an encoder that was opened");
        for normalize in [false, true] {
            let _ = encoder.with_pooling(Pooling::Mean, normalize);
            let _ = encoder.with_ordered_sums(normalize);
        }
        let file = encoder.external_files().next().map(str::to_owned);
        if let Some(file) = file {
            encoder.move_external(&file, "other");
        }
    }
}

/// A table of separated values or lines. The first byte says how it is read.
pub fn csv(bytes: &[u8]) {
    let Some((&how, bytes)) = bytes.split_first() else { return };
    let format = [Format::Csv, Format::Tsv, Format::Lines, Format::Csv][usize::from(how & 3)];
    let delimiter = [None, Some(";"), Some("|"), Some("\\t")][usize::from(how >> 2 & 3)];
    let quoting = [None, Some("auto"), Some("double"), Some("none")][usize::from(how >> 4 & 3)];
    let encoding = [None, Some("utf-16le"), Some("windows-1252"), Some("shift_jis")][usize::from(how >> 6)];
    let reading = Reading {
        delimiter: delimiter.and_then(|delimiter| delimiter.parse().ok()),
        quoting: quoting.and_then(|quoting| quoting.parse().ok()),
        encoding: encoding.and_then(|encoding| encoding.parse().ok()),
    };
    table(format, reading.fitting(format), bytes);
}

/// A table of JSON; lines when the first byte is even, else an array.
pub fn json(bytes: &[u8]) {
    let Some((&how, bytes)) = bytes.split_first() else { return };
    table(if how & 1 == 0 { Format::Jsonl } else { Format::Json }, Reading::default(), bytes);
}

/// A Parquet file, as a table and as one of features.
pub fn parquet(bytes: &[u8]) {
    let path = put("table", bytes);
    let _ = frosthead::internal::data::feature_metadata(&path);
    let columns = ["label".into(), "domain".into()];
    let _ = frosthead::internal::data::read_labelled_features(
        &path,
        &FeatureColumns { vectors: None, cells: &columns, texts: true },
    );
    let asked = FeatureColumns { vectors: None, cells: &[], texts: false };
    if let Ok(table) = frosthead::internal::data::read_labelled_features(&path, &asked) {
        assert_eq!(table.features.len(), table.rows * table.width);
        assert!(table.features.iter().all(|number| number.is_finite()));
    }
    table(Format::Parquet, Reading::default(), bytes);
}

/// Reads a table in every way that commands do.
fn table(format: Format, reading: Reading, bytes: &[u8]) {
    let path = put("table", bytes);
    let source = Source::new(path.to_str().unwrap(), Some(format)).unwrap().with(reading).unwrap();
    rows(&source, |_| Ok(()));
    rows(&source, |table| {
        table.carry();
        Ok(())
    });
    rows(&source, TableReader::carry_known);
    rows(&source, |table| table.carry_to_features(|name| name != "text", &["embedding"]).map(drop));
}

/// Reads all rows of a table that was prepared so.
fn rows(source: &Source, prepare: impl FnOnce(&mut TableReader) -> frosthead::Result<()>) {
    let Ok(mut table) = TableReader::open(source) else { return };
    let Ok(text) = table.text(&"text".into()) else { return };
    if prepare(&mut table).is_err() {
        return;
    }
    let mut number = 0;
    while let Ok(rows) = table.read(100, 1 << 16) {
        for row in &rows {
            assert!(row.number > number && row.cells.len() > text.first, "a row without its text");
            number = row.number;
        }
        if rows.is_empty() {
            break;
        }
    }
}

/// What comes over a connection of the [server](SERVER).
pub fn http(bytes: &[u8]) {
    let &(address, patience) = SERVER.get().expect("a server");
    let mut stream = TcpStream::connect(address).expect("the server takes connections");
    stream.set_read_timeout(Some(patience)).unwrap();
    // A server that refuses early need not read to the end.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        let reset = error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(reset, "the server neither answers nor ends the connection: {error}");
    }
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&answer));
}
