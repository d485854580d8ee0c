//! Every way a bundle can lie: a small bundle is made with one thing wrong, and must be refused before it is
//! used.

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;
use std::path::PathBuf;

use safetensors::tensor::{Dtype, TensorView};

use super::archive_writer::ArchiveWriter;
use super::assemble::{DeployedHead, append_heads, lay_out};
use super::contents::Golden;
use super::contents::{FORMAT, Refit};
use super::layout::{Entry, end_record};
use super::tokenizer::Original;
use super::*;
use crate::backbone::{self, Preparation, Source};
use crate::document;
use crate::embed::FeatureRows;
use crate::encoder::{FeatureChoice, Pooling};
use crate::graph::proto::{DataLocation, StringStringEntryProto, TensorProto};
use crate::graph::{Builder, Operation, ValueType};
use crate::heads::{Believed, LARGEST_CODE, Words};
use crate::task::{Target, TaskKind};
use crate::tokens::{Grams, PieceUse, Tokenizer};

/// A bundle in parts, honest until a test changes one.
struct Parts {
    manifest: Manifest,
    model: ModelProto,
    data: Vec<u8>,
    golden: Vec<Golden>,
    compact: Option<Vec<u8>>,
    validation: Option<Vec<u8>>,
    ranges: Option<Vec<u8>>,
    /// Entries by name that take the place of those made from the above.
    other: Vec<(&'static str, Vec<u8>)>,
    /// Entries that do not belong there.
    more: Vec<(&'static str, Vec<u8>)>,
    without: Option<&'static str>,
}

/// A tokenizer of four pieces.
const TOKENIZER: &str = r#"{"truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
    "pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true},
    "post_processor":null,"decoder":null,"model":{"type":"Unigram","unk_id":0,"byte_fallback":false,
    "vocab":[["<unk>",0.0],["▁",-1.0],["b",-2.5],["a",-2.0]]}}"#;

/// The compact form of one.
fn compact(file: &str) -> Vec<u8> {
    let tokenizer = Tokenizer::from_bytes(file.as_bytes(), Path::new("x")).unwrap();
    tokenizer.compact_form(file.as_bytes(), 0).unwrap().unwrap()
}

fn head() -> Head {
    Head {
        task: "mood".into(),
        kind: TaskKind::OneOf,
        labels: vec!["bad".into(), "good".into()],
        features: 8,
        weights: (0..16).map(|number| number as f32 / 7.0).collect(),
        bias: vec![0.5, -0.5],
        believed: Believed::with_temperature(vec![2.0]),
        words: None,
    }
}

/// Three validation rows, the second without a label.
fn carried() -> Validation {
    let features: Vec<f32> = (0..24).map(|number| number as f32 / 3.0).collect();
    let task = ValidationTask {
        task: "mood".into(),
        kind: TaskKind::OneOf,
        labels: head().labels,
        truth: vec![Some(Target::Label(1)), None, Some(Target::Label(0))],
        columns: 0..8,
        words: None,
    };
    Validation::new(&FeatureRows::new(0..8, features), &[0, 1, 2], vec![task])
}

/// "Embeddings" that are rows of a table of 64 × 8 numbers.
fn model() -> ModelProto {
    let mut graph = Builder::new("backbone");
    let ids = graph.input("input_ids", ValueType::int64(["batch".into(), "sequence".into()])).unwrap();
    graph.input("attention_mask", ValueType::int64(["batch".into(), "sequence".into()])).unwrap();
    let numbers: Vec<f32> = (0..512).map(|number| number as f32).collect();
    let table = graph.floats("table", &[64, 8], &numbers).unwrap();
    let rows = Operation::new("Gather", &[&table, &ids]);
    let rows = graph.add(rows, "embedding", ValueType::float(["batch".into(), 8.into()])).unwrap();
    graph.output(&rows).unwrap();
    graph.finish().unwrap()
}

impl Parts {
    fn honest() -> Self {
        Self::of(&head())
    }

    /// The same with a head that looks at words.
    fn with_words() -> Self {
        let grams = Grams { pieces: 64, pairs: 7, ids: None };
        let words = Words::new(&grams, &[3, 9, 66], &[0.5, -0.5, 1.0, 0.25, -1.0, 0.75], 2, LARGEST_CODE);
        let mut parts = Self::of(&Head { words: Some(words), ..head() });
        parts.manifest.tasks[0].words = Some(WordsManifest { places: grams, rows: 3, renumbered: false });
        Self { validation: None, ..parts }
    }

    fn of(head: &Head) -> Self {
        let mut model = model();
        let deployed = DeployedHead { head, columns: 0..8 };
        append_heads(&mut model, &[deployed], 8, 0).unwrap();
        let mut data = Vec::new();
        lay_out(&mut model, Path::new("."), &mut data).unwrap();
        let inputs = Fingerprint::of_bytes(b"");
        let manifest = Manifest {
            format: FORMAT,
            text: None,
            second_text: None,
            frosthead: "0.1.0".into(),
            precision: "fp32".into(),
            details: BTreeMap::new(),
            tasks: vec![TaskManifest {
                task: "mood".into(),
                kind: TaskKind::OneOf,
                features: FeatureChoice::Last,
                width: 8,
                words: None,
            }],
            long: LongTexts::Truncate,
            tolerance: 1e-4,
            part_of: None,
            backbone: backbone::Manifest {
                format: 1,
                name: "table".into(),
                architecture: crate::encoder::Architecture::opaque(),
                hidden_size: 8,
                preparation: Preparation {
                    pooling: Some(Pooling::Mean),
                    normalize: false,
                    max_length: 16,
                    prefix: String::new(),
                    pad_token_id: 0,
                },
                source: Source { origin: "a test".into(), family: None, output: None, licence: None, inputs },
                files: BTreeMap::new(),
            },
            changed: None,
            refits: Vec::new(),
            tokenizer: Original { truncation: "null".into(), padding: "null".into() },
        };
        let golden = vec![Golden {
            text: "one".into(),
            second: None,
            embedding: vec![0.0; 8],
            logits: vec![vec![0.0; 2]],
        }];
        let (compact, validation) = (Some(compact(TOKENIZER)), Some(carried().to_bytes()));
        let ranges = Some(b"what `quantize` reads".to_vec());
        let (other, more, without) = (Vec::new(), Vec::new(), None);
        Self { manifest, model, data, golden, compact, validation, ranges, other, more, without }
    }

    fn entries(&self) -> Vec<(&'static str, Vec<u8>)> {
        let labels = BTreeMap::from([("mood", head().labels)]);
        let calibration = BTreeMap::from([("mood", Believed::with_temperature(vec![2.0]))]);
        let mut entries = vec![
            (entries::MANIFEST, document::pretty(&self.manifest).into_bytes()),
            (entries::LABELS, document::pretty(&labels).into_bytes()),
            (entries::CALIBRATION, document::pretty(&calibration).into_bytes()),
            (entries::TOKENIZER, TOKENIZER.as_bytes().to_vec()),
            (entries::DATA, self.data.clone()),
            (entries::GRAPH, graph::encode(&self.model)),
            (entries::GOLDEN, document::pretty(&self.golden).into_bytes()),
        ];
        entries.extend(self.compact.iter().map(|bytes| (entries::COMPACT, bytes.clone())));
        entries.extend(self.validation.iter().map(|bytes| (entries::VALIDATION, bytes.clone())));
        entries.extend(self.ranges.iter().map(|bytes| (entries::RANGES, bytes.clone())));
        for (name, bytes) in &self.other {
            entries.iter_mut().find(|(entry, _)| entry == name).unwrap().1.clone_from(bytes);
        }
        let hashes: BTreeMap<&str, Fingerprint> =
            entries.iter().map(|(name, bytes)| (*name, Fingerprint::of_bytes(bytes))).collect();
        entries.push((entries::CHECKSUMS, document::pretty(&hashes).into_bytes()));
        entries.extend(self.more.iter().cloned());
        entries.retain(|(name, _)| Some(*name) != self.without);
        entries
    }

    fn archive(&self) -> Vec<u8> {
        archive(&self.entries())
    }
}

/// A bundle whose head has this bias.
pub(super) fn archive_of(bias: f32) -> Vec<u8> {
    Parts::of(&Head { bias: vec![bias, -bias], ..head() }).archive()
}

fn archive(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer
            .add(name, |out| {
                out.write_all(bytes).unwrap();
                Ok(())
            })
            .unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The entries of an archive, and the archive again with changed records but the bytes where they were.
fn with_records(bytes: &[u8], change: impl Fn(&mut Vec<Entry>)) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.frost");
    std::fs::write(&path, bytes).unwrap();
    let mut entries = Archive::open(&path).unwrap().entries().to_vec();
    let end = entries.last().unwrap().end();
    change(&mut entries);
    let records: Vec<u8> = entries.iter().flat_map(Entry::central_record).collect();
    let mut changed = bytes[..end as usize].to_vec();
    changed.extend(&records);
    changed.extend(end_record(entries.len(), end, records.len() as u64));
    changed
}

fn open(bytes: &[u8]) -> Result<Bundle> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.frost");
    std::fs::write(&path, bytes).unwrap();
    Bundle::open(&path, None)
}

#[track_caller]
fn refused(bytes: &[u8], parts: &[&str]) {
    let Err(error) = open(bytes) else { panic!("the bundle was opened") };
    let text = format!("{error} {}", error.remedy().unwrap_or_default());
    assert_eq!(error.kind(), Kind::Bundle, "{text}");
    for part in parts.iter().chain(&["x.frost"]) {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn what_has_a_name_that_a_head_needs_is_renamed() {
    let head = head();
    let mut graph = Builder::new("table");
    let ids = graph.input("input_ids", ValueType::int64(["batch".into(), "sequence".into()])).unwrap();
    let table = graph.floats("heads.mood.weight", &[64, 8], &[1.0; 512]).unwrap();
    let shape = || ValueType::float(["batch".into(), 8.into()]);
    let rows = graph.add(Operation::new("Gather", &[&table, &ids]), "logits_mood", shape()).unwrap();
    let rows = graph.add(Operation::new("Identity", &[&rows]), "embedding", shape()).unwrap();
    graph.output(&rows).unwrap();
    let mut model = graph.finish().unwrap();
    append_heads(&mut model, &[DeployedHead { head: &head, columns: 0..8 }], 8, 0).unwrap();
    let graph = model.graph.unwrap();
    let outputs: Vec<&str> = graph.output.iter().map(|output| output.name()).collect();
    assert_eq!(outputs, ["embedding", "logits_mood", "probabilities_mood"]);
    assert_eq!(graph.node[0].input[0], "foreign/heads.mood.weight");
    assert_eq!(
        (graph.node[0].output[0].as_str(), graph.node[1].input[0].as_str()),
        ("foreign/logits_mood", "foreign/logits_mood")
    );
    let weights = graph.initializer.iter().filter(|tensor| tensor.name() == "heads.mood.weight");
    assert_eq!(weights.map(|tensor| tensor.dims.clone()).collect::<Vec<_>>(), [[2, 8]]);
}

#[test]
fn an_honest_bundle_opens_with_its_heads() {
    let bundle = open(&Parts::honest().archive()).unwrap();
    assert_eq!(bundle.heads(), [head()]);
    assert_eq!(bundle.heads()[0].believed.temperature, [2.0]);
    assert_eq!(bundle.kept().len(), entries::ENTRIES.len());
    assert!(bundle.kept().iter().all(|kept| !kept.what.is_empty()));
}

#[test]
fn every_entry_is_aligned() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.frost");
    std::fs::write(&path, Parts::honest().archive()).unwrap();
    let archive = Archive::open(&path).unwrap();
    assert!(archive.entries().iter().all(|entry| entry.start() % 64 == 0));
    assert_eq!(archive.entry(entries::DATA).unwrap().start() % 4096, 0);
}

#[test]
fn a_bundle_that_ends_early_is_refused() {
    let bytes = Parts::honest().archive();
    for length in [bytes.len() - 1, bytes.len() - 100, bytes.len() / 2, 100] {
        refused(&bytes[..length], &["truncated"]);
    }
    for length in [0, 3, 21, 22] {
        refused(&bytes[..length], &["not a bundle"]);
    }
}

#[test]
fn a_bundle_with_something_behind_it_is_refused() {
    refused(&[Parts::honest().archive(), vec![0]].concat(), &["something was added"]);
}

#[test]
fn any_other_file_is_refused() {
    refused(&[b"text,label\n".repeat(50), b"\n".to_vec()].concat(), &["not a bundle"]);
}

#[test]
fn every_altered_byte_is_noticed() {
    let bytes = Parts::honest().archive();
    for place in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[place] ^= 0x20;
        assert!(open(&altered).is_err(), "byte {place} may be altered");
    }
}

#[test]
fn a_compressed_entry_is_refused() {
    let bytes = Parts::honest().archive();
    let mut zipped = with_records(&bytes, |_| {});
    let place = zipped.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    zipped[place + 10] = 8;
    refused(&zipped, &["compressed", "zipped anew", "checksums.json"]);
}

#[test]
fn an_encrypted_entry_is_refused() {
    let mut bytes = Parts::honest().archive();
    let place = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    bytes[place + 8] = 1;
    refused(&bytes, &["encrypted"]);
}

#[test]
fn a_name_that_leads_out_of_the_archive_is_refused() {
    for name in ["../../etc/cron.d/x", "/etc/passwd", "a/b", "..", "a\\b", "c:x"] {
        let mut parts = Parts::honest();
        parts.more.push((name, Vec::new()));
        refused(&parts.archive(), &["leads out", &format!("{name:?}")]);
    }
}

#[test]
fn an_entry_that_is_there_twice_is_refused() {
    let mut parts = Parts::honest();
    parts.more.push((entries::LABELS, b"{}".to_vec()));
    refused(&parts.archive(), &["twice", "labels.json"]);
}

#[test]
fn an_entry_nobody_knows_is_refused() {
    let mut parts = Parts::honest();
    parts.more.push(("run.sh", b"rm -rf /".to_vec()));
    refused(&parts.archive(), &["does not belong", "run.sh"]);
}

#[test]
fn a_missing_entry_is_named() {
    for (name, ..) in entries::ENTRIES.iter().filter(|(name, ..)| !entries::OPTIONAL.contains(name)) {
        let parts = Parts { without: Some(name), ..Parts::honest() };
        refused(&parts.archive(), &["missing", name]);
    }
}

#[test]
fn a_huge_declared_size_is_refused_before_anything_is_read() {
    let bytes = Parts::honest().archive();
    let claimed = |name: &'static str, length: u64| {
        with_records(&bytes, |entries| {
            entries.iter_mut().find(|entry| entry.name == name).unwrap().length = length;
        })
    };
    refused(&claimed(entries::TOKENIZER, 1 << 30), &["larger than it can honestly be", "1073741824 bytes"]);
    refused(&claimed(entries::VALIDATION, 1 << 30), &["larger than it can honestly be", "validation"]);
    refused(&claimed(entries::DATA, u64::from(u32::MAX)), &["longer than the bundle", "model.onnx.data"]);
}

#[test]
fn entries_that_overlap_are_refused() {
    let bytes = Parts::honest().archive();
    let overlapping = with_records(&bytes, |entries| {
        let first = entries[0].clone();
        entries[1].header = first.header;
    });
    refused(&overlapping, &["overlap", "labels.json"]);
}

#[test]
fn bytes_between_the_entries_are_refused() {
    let bytes = Parts::honest().archive();
    refused(&with_records(&bytes, |entries| drop(entries.remove(2))), &["bytes between the entries"]);
    refused(&with_records(&bytes, |entries| drop(entries.pop())), &["between the entries and the directory"]);
}

#[test]
fn a_directory_that_disagrees_with_the_local_headers_is_refused() {
    let bytes = Parts::honest().archive();
    let renamed = with_records(&bytes, |entries| entries[1].name = "lab_ls.json".into());
    refused(&renamed, &["disagree", "lab_ls.json"]);
    refused(&with_records(&bytes, |entries| entries[0].crc ^= 1), &["disagree", "manifest.json"]);
}

#[test]
fn a_misaligned_entry_is_refused() {
    let mut bytes = Parts::honest().archive();
    // The length of the padding in the first local header.
    bytes[28] -= 1;
    refused(&bytes, &["not aligned", "manifest.json"]);
}

#[test]
fn words_come_back_as_they_were_and_no_lie_about_them_is_believed() {
    let words = open(&Parts::with_words().archive()).unwrap().heads()[0].words.clone().unwrap();
    let (places, weights) = words.weights();
    assert_eq!((places, words.rows(), words.grams.pairs), (vec![3, 9, 66], 3, 7));
    assert!((weights[0] - 0.5).abs() < 1e-5 && (weights[5] - 0.75).abs() < 1e-5, "{weights:?}");
    let lie = |change: &dyn Fn(&mut Parts)| {
        let mut parts = Parts::with_words();
        change(&mut parts);
        refused(&parts.archive(), &["words"]);
    };
    fn said(parts: &mut Parts) -> &mut WordsManifest {
        parts.manifest.tasks[0].words.as_mut().unwrap()
    }
    lie(&|parts| said(parts).rows = 2);
    lie(&|parts| said(parts).rows = usize::MAX);
    lie(&|parts| said(parts).places.pairs = 0);
    lie(&|parts| said(parts).places.pairs = 1 << 40);
    lie(&|parts| (said(parts).places.pieces, said(parts).places.pairs) = (usize::MAX, 7));
    lie(&|parts| said(parts).places.pieces = 63);
    lie(&|parts| said(parts).renumbered = true);
    let tensor = |parts: &mut Parts, what: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let name = format!("heads.mood.words.{what}");
        let graph = parts.model.graph.as_mut().unwrap();
        let found = graph.initializer.iter_mut().find(|tensor| tensor.name() == name).unwrap();
        change(found.raw_data.as_mut().unwrap());
    };
    // A row that is not there, a weight beyond any sum, a scale that is no number.
    lie(&|parts| tensor(parts, "index", &|bytes| bytes[0] = 9));
    lie(&|parts| tensor(parts, "codes", &|bytes| bytes[11] = 0x7f));
    lie(&|parts| tensor(parts, "codes", &|bytes| bytes[0] = 1));
    lie(&|parts| tensor(parts, "scales", &|bytes| bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes())));
    lie(&|parts| tensor(parts, "scales", &|bytes| bytes.truncate(4)));
}

#[test]
fn a_newer_format_is_named_before_anything_else() {
    let mut parts = Parts::honest();
    parts.manifest.format = FORMAT + 1;
    parts.more.push(("new-thing.bin", Vec::new()));
    let known = format!("format 1 to {FORMAT}");
    refused(&parts.archive(), &[&format!("format {}", FORMAT + 1), &known, "version of frosthead"]);
    parts.manifest.format = 0;
    refused(&parts.archive(), &["format 0"]);
}

#[test]
fn a_bundle_of_format_1_opens() {
    let mut parts = Parts { compact: None, validation: None, ranges: None, ..Parts::honest() };
    parts.manifest.format = 1;
    let bundle = open(&parts.archive()).unwrap();
    assert_eq!((bundle.validation().unwrap(), bundle.manifest().refits.len()), (None, 0));
}

/// The ids that a bundle gives to a text: as it predicts, and as it is worked with.
fn ids(bundle: &Bundle, text: &str) -> [Vec<u32>; 2] {
    [bundle.own_backbone().unwrap(), bundle.backbone().unwrap()]
        .map(|backbone| backbone.tokenizer().encode(&[text], 16).unwrap().ids(0).to_vec())
}

#[test]
fn a_compact_tokenizer_is_read_instead_of_the_other_and_need_not_be_there() {
    let with = Parts::honest();
    let without = Parts { compact: None, ..Parts::honest() };
    let [with, without] = [&with, &without].map(|parts| {
        let (directory, bytes) = (tempfile::tempdir().unwrap(), parts.archive());
        let path = directory.path().join("x.frost");
        std::fs::write(&path, bytes).unwrap();
        (Bundle::open(&path, None).unwrap(), directory)
    });
    let expected = [1, 3, 2, 1, 0, 3];
    assert_eq!(ids(&with.0, "ab xa"), [expected, expected]);
    assert_eq!(ids(&without.0, "ab xa"), [expected, expected]);
    // Its backbone is the same one, and can be packed again; what predicts has nothing to be packed.
    let (own, whole) = (with.0.own_backbone().unwrap(), with.0.backbone().unwrap());
    assert_eq!(whole.fingerprint(), without.0.backbone().unwrap().fingerprint());
    assert_eq!(whole.tokenizer_bytes().unwrap(), TOKENIZER.as_bytes());
    assert!(own.tokenizer_bytes().unwrap_err().to_string().contains("without its tokenizer.json"));
    assert_ne!(own.fingerprint(), without.0.own_backbone().unwrap().fingerprint());
}

#[test]
fn a_compact_tokenizer_that_lies_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.frost");
    let opened = |compact: Vec<u8>| {
        std::fs::write(&path, Parts { compact: Some(compact), ..Parts::honest() }.archive()).unwrap();
        Bundle::open(&path, None).unwrap()
    };
    let told = |error: Error| format!("{error} {}", error.remedy().unwrap_or_default());
    let whole = compact(TOKENIZER);
    for damaged in [b"".to_vec(), b"{}".to_vec(), whole[..whole.len() - 1].to_vec()] {
        let bundle = opened(damaged);
        let error = told(bundle.own_backbone().err().unwrap());
        for part in
            ["x.frost", "tokenizer.safetensors", "not a whole safetensors file", "copy the bundle again"]
        {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(told(bundle.backbone().err().unwrap()).contains("not that of the tokenizer.json"));
    }
    // It is a tokenizer, but not this bundle's: nothing that it would say gets into the feature store.
    let other = compact(&TOKENIZER.replace("-2.0", "-2.25"));
    let error = told(opened(other).backbone().err().unwrap());
    assert!(
        error.contains("not that of the tokenizer.json beside it") && error.contains("x.frost"),
        "{error}"
    );
    // Formats before have none.
    let mut parts = Parts { ranges: None, ..Parts::honest() };
    parts.manifest.format = 5;
    refused(&parts.archive(), &["do not fit", "manifest.json"]);
}

#[test]
fn unknown_fields_of_the_manifest_are_refused() {
    let mut parts = Parts::honest();
    let mut manifest = serde_json::to_value(&parts.manifest).unwrap();
    manifest["run_this"] = "x".into();
    parts.other.push((entries::MANIFEST, document::pretty(&manifest).into_bytes()));
    refused(&parts.archive(), &["manifest.json"]);
}

#[test]
fn how_texts_were_cut_is_read_back_and_is_what_can_be() {
    let with = |detail: serde_json::Value| {
        let mut parts = Parts::honest();
        parts.manifest.details.insert("pieces".to_owned(), detail);
        parts.archive()
    };
    assert_eq!(open(&Parts::honest().archive()).unwrap().manifest().piece_use(), None);
    let used = PieceUse { texts: 3, words: 7, pieces: 11, unknown: 2 };
    let (name, detail) = piece_detail(used);
    assert_eq!(name, "pieces");
    let bundle = open(&with(detail.clone())).unwrap();
    assert_eq!(bundle.manifest().piece_use(), Some(used));
    let changed = |name: &str, value: serde_json::Value| {
        let mut detail = detail.clone();
        detail[name] = value;
        detail
    };
    for lie in [
        serde_json::json!("1.3 pieces a word"),
        serde_json::Value::Null,
        serde_json::json!([3, 7, 11, 2]),
        changed("words", (-7).into()),
        changed("texts", "3".into()),
        changed("more", 1.into()),
        changed("unknown", 12.into()),
    ] {
        refused(&with(lie), &["do not fit", "manifest.json"]);
    }
}

#[test]
fn small_entries_that_do_not_fit_one_another_are_refused() {
    let other = |name: &'static str, json: &str| {
        let mut parts = Parts::honest();
        parts.other.push((name, json.as_bytes().to_vec()));
        parts.archive()
    };
    for labels in ["{}", "{\"mood\":[\"bad\"]}", "{\"mood\":[\"a\",\"b\"],\"other\":[\"a\",\"b\"]}"] {
        refused(&other(entries::LABELS, labels), &["do not fit", "labels.json"]);
    }
    refused(&other(entries::LABELS, "{\"mood\":[\"a\",\"b\",\"c\"]}"), &["golden.json"]);
    for temperature in ["0", "-1", "1e99"] {
        let calibration = format!("{{\"mood\":{{\"temperature\":{temperature}}}}}");
        refused(&other(entries::CALIBRATION, &calibration), &["calibration.json"]);
    }
    refused(&other(entries::GOLDEN, "[]"), &["golden.json"]);
    let mut parts = Parts::honest();
    let tasks = BTreeMap::from([("weather".to_owned(), 7)]);
    parts.manifest.refits.push(Refit { from: Fingerprint::of_bytes(b""), tasks });
    refused(&parts.archive(), &["do not fit", "manifest.json"]);
    let mut parts = Parts::honest();
    parts.manifest.tasks[0].width = 7;
    refused(&parts.archive(), &["heads do not fit", "heads.mood.weight"]);
}

/// A bundle whose table says this of where it lies.
fn pointing(location: &str, offset: &str, length: &str) -> Vec<u8> {
    let mut parts = Parts::honest();
    let graph = parts.model.graph.as_mut().unwrap();
    let table = graph.initializer.iter_mut().find(|tensor| tensor.name() == "table").unwrap();
    table.external_data = external(location, offset, length);
    parts.archive()
}

fn external(location: &str, offset: &str, length: &str) -> Vec<StringStringEntryProto> {
    [("location", location), ("offset", offset), ("length", length)]
        .map(|(key, value)| StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) })
        .into()
}

#[test]
fn weights_in_any_other_file_are_refused() {
    let honest = pointing("model.onnx.data", "0", "2048");
    assert!(open(&honest).is_ok());
    for location in
        ["/etc/passwd", "../x", "x.frost", "manifest.json", "", "*/_ORT_MEM_ADDR_/*", "./model.onnx.data"]
    {
        refused(&pointing(location, "0", "2048"), &["table", location]);
    }
}

#[test]
fn weights_outside_the_data_entry_are_refused() {
    for (offset, length) in [
        ("64", "2048"),
        ("18446744073709551615", "2048"),
        ("4096", "2048"),
        ("-1", "2048"),
        ("0x0", "2048"),
        ("0", "2047"),
        ("0", "0"),
        ("0", ""),
    ] {
        refused(&pointing("model.onnx.data", offset, length), &["table"]);
    }
}

#[test]
fn weights_that_say_twice_where_they_lie_are_refused() {
    let mut parts = Parts::honest();
    let graph = parts.model.graph.as_mut().unwrap();
    let table = graph.initializer.iter_mut().find(|tensor| tensor.name() == "table").unwrap();
    table.external_data.extend(external("/etc/passwd", "0", "2048").into_iter().take(1));
    refused(&parts.archive(), &["properly", "/etc/passwd"]);
}

#[test]
fn weights_hidden_in_a_nodes_attributes_are_refused() {
    let hidden = TensorProto {
        name: Some("hidden".into()),
        data_location: Some(DataLocation::External as i32),
        external_data: external("/etc/passwd", "0", "16"),
        ..TensorProto::default()
    };
    let mut inner = model().graph.unwrap();
    inner.initializer.push(hidden.clone());
    let attributes = [
        crate::graph::proto::AttributeProto { t: Some(hidden), ..Default::default() },
        crate::graph::proto::AttributeProto { g: Some(inner), ..Default::default() },
    ];
    for attribute in attributes {
        let mut parts = Parts::honest();
        parts.model.graph.as_mut().unwrap().node[0].attribute.push(attribute);
        refused(&parts.archive(), &["outside the bundle", "hidden"]);
    }
}

#[test]
fn a_graph_that_is_none_is_refused() {
    let mut parts = Parts::honest();
    parts.other.push((entries::GRAPH, b"not a graph".to_vec()));
    assert!(open(&parts.archive()).err().unwrap().to_string().contains("not an ONNX model"));
}

#[test]
fn the_backbone_alone_has_no_heads() {
    let alone = network::without_heads(&Parts::honest().model).graph.unwrap();
    assert_eq!(alone.output.iter().map(|output| output.name()).collect::<Vec<_>>(), ["embedding"]);
    assert_eq!(alone.node.len(), 1);
    assert_eq!(alone.initializer.iter().map(TensorProto::name).collect::<Vec<_>>(), ["table"]);
}

#[test]
fn the_same_parts_give_the_same_bytes() {
    assert_eq!(Parts::honest().archive(), Parts::honest().archive());
}

#[test]
fn a_bundle_is_opened_while_its_weights_are_hashed_but_given_out_only_when_they_are_right() {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("x.frost");
    let mut bytes = Parts::honest().archive();
    std::fs::write(&path, &bytes).unwrap();
    let (_, worked) = Bundle::open_while(&path, None, |bundle| Ok(bundle.heads().len())).unwrap();
    assert_eq!(worked, 1);
    let start = Archive::open(&path).unwrap().entry(entries::DATA).unwrap().start() as usize;
    bytes[start] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let mut called = false;
    let refused = Bundle::open_while(&path, None, |_| {
        called = true;
        Ok(())
    });
    assert!(called && refused.is_err());
}

#[test]
fn validation_rows_come_back_as_they_were_and_need_not_be_there() {
    // Only this one is in a file that stays.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.frost");
    std::fs::write(&path, Parts::honest().archive()).unwrap();
    let found = Bundle::open(&path, None).unwrap().validation().unwrap().unwrap();
    assert_eq!(found, carried());
    assert_eq!(
        (found.rows(), &found.tasks()[0].truth),
        (2, &[1, 0].map(|label| Some(Target::Label(label))).to_vec())
    );
    assert_eq!(found.view(&found.tasks()[0]).row(1)[0], 16.0 / 3.0);
    assert!(found.task("weather").is_none());
    std::fs::write(&path, Parts { validation: None, ..Parts::honest() }.archive()).unwrap();
    assert_eq!(Bundle::open(&path, None).unwrap().validation().unwrap(), None);
    // Hashed, but not there; there, but not hashed.
    refused(&Parts { without: Some(entries::VALIDATION), ..Parts::honest() }.archive(), &["checksums"]);
    let mut parts = Parts { validation: None, ..Parts::honest() };
    parts.more.push((entries::VALIDATION, carried().to_bytes()));
    refused(&parts.archive(), &["checksums"]);
}

#[test]
fn ranges_come_back_and_need_not_be_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.frost");
    for ranges in [Parts::honest().ranges, None] {
        std::fs::write(&path, Parts { ranges: ranges.clone(), ..Parts::honest() }.archive()).unwrap();
        assert_eq!(Bundle::open(&path, None).unwrap().ranges().unwrap(), ranges);
    }
    // Formats before have none.
    let mut parts = Parts::honest();
    parts.manifest.format = 7;
    refused(&parts.archive(), &["do not fit", "manifest.json"]);
    parts.ranges = None;
    open(&parts.archive()).unwrap();
}

#[test]
fn what_words_say_of_validation_rows_must_be_there_and_whole() {
    let parts = Parts::with_words();
    let heads = [open(&parts.archive()).unwrap().heads()[0].clone()];
    let read = |words: Option<Tensor>| {
        let mut all = tensors().to_vec();
        all.extend(words);
        Validation::from_bytes(&validation_entry(MOOD, &[], &all), &parts.manifest, &heads)
    };
    let said: Vec<u8> = [0.5_f32, -1.0, 2.0, 0.0].iter().flat_map(|number| number.to_le_bytes()).collect();
    let words = |kind: Dtype, shape: &[usize], bytes: &[u8]| {
        Some(("words.mood", kind, shape.to_vec(), bytes.to_vec()))
    };
    let found = read(words(Dtype::F32, &[2, 2], &said)).unwrap();
    let side = found.task("mood").unwrap();
    let mut logits = [0.0; 2];
    heads[0].logits(found.view(side).row(1), &mut logits);
    let without = logits;
    heads[0].logits_of(found.view(side), 1, &mut logits);
    assert_eq!(logits, [without[0] + 2.0, without[1]]);
    let infinite = [&said[..12], &f32::INFINITY.to_le_bytes()].concat();
    for (tensor, part) in [
        (None, "missing"),
        (words(Dtype::I32, &[2, 2], &said), "F32 [2, 2]"),
        (words(Dtype::F32, &[1, 4], &said), "F32 [2, 2]"),
        (words(Dtype::F32, &[2, 1], &said[..8]), "F32 [2, 2]"),
        (words(Dtype::F32, &[2, 2], &infinite), "not a finite number"),
    ] {
        let error = read(tensor).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("words.mood"), "{error}");
    }
    // Of a head without words they say nothing.
    let mut all = tensors().to_vec();
    all.extend(words(Dtype::F32, &[2, 2], &said));
    lying(validation_entry(MOOD, &[], &all), &["not as frosthead writes them"]);
}

#[test]
fn the_bytes_of_validation_rows_do_not_change() {
    let bytes = carried().to_bytes();
    assert_eq!(crate::fingerprint::Fingerprint::of_bytes(&bytes).short(), "aafea6f62501");
}

type Tensor = (&'static str, Dtype, Vec<usize>, Vec<u8>);

/// Honest tensors of the validation rows.
fn tensors() -> [Tensor; 2] {
    let features = (0..16_u8).flat_map(|number| f32::from(number).to_le_bytes()).collect();
    let labels = [1_i32, -1].iter().flat_map(|label| label.to_le_bytes()).collect();
    [("features", Dtype::F32, vec![2, 8], features), ("labels.mood", Dtype::I32, vec![2], labels)]
}

const MOOD: &str = r#"[{"task":"mood","labels":["bad","good"]}]"#;

fn validation_entry(tasks: &str, more: &[(&str, &str)], tensors: &[Tensor]) -> Vec<u8> {
    let views = tensors
        .iter()
        .map(|(name, kind, shape, bytes)| (*name, TensorView::new(*kind, shape.clone(), bytes).unwrap()));
    let mut metadata: HashMap<String, String> =
        more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    metadata.insert("tasks".into(), tasks.into());
    safetensors::serialize(views, Some(metadata)).unwrap()
}

#[track_caller]
fn lying(bytes: Vec<u8>, parts: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.frost");
    std::fs::write(&path, Parts { validation: Some(bytes), ..Parts::honest() }.archive()).unwrap();
    let error = Bundle::open(&path, None).unwrap().validation().unwrap_err();
    assert_eq!(error.kind(), Kind::Bundle);
    let text = error.to_string();
    for part in parts.iter().chain(&["x.frost"]) {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn validation_rows_that_are_no_such_file_are_refused() {
    assert!(
        Validation::from_bytes(&validation_entry(MOOD, &[], &tensors()), &Parts::honest().manifest, &[])
            .is_ok()
    );
    lying(b"not safetensors".to_vec(), &["validation.safetensors", "not what it must be"]);
    lying(Vec::new(), &["validation.safetensors"]);
    let views = tensors();
    let views = views
        .iter()
        .map(|(name, kind, shape, bytes)| (*name, TensorView::new(*kind, shape.clone(), bytes).unwrap()));
    lying(safetensors::serialize(views, None).unwrap(), &["whose they are"]);
    for tasks in ["", "{}", r#"[{"task":"mood","labels":["bad","good"],"run":"x"}]"#] {
        lying(validation_entry(tasks, &[], &tensors()), &["not what it must be"]);
    }
}

#[test]
fn validation_rows_of_other_tasks_or_labels_are_refused() {
    for (tasks, part) in [
        ("[]", "no task"),
        (r#"[{"task":"weather","labels":["bad","good"]}]"#, "\"weather\""),
        (&format!("[{0},{0}]", &MOOD[1..MOOD.len() - 1]), "twice"),
        (r#"[{"task":"mood","labels":["bad"]}]"#, "the labels \"bad\" of"),
        (r#"[{"task":"mood","labels":["good","bad"]}]"#, "\"good\", \"bad\" of"),
        (r#"[{"task":"mood","labels":["bad","bad"]}]"#, "\"bad\", \"bad\" of"),
    ] {
        lying(validation_entry(tasks, &[], &tensors()), &["do not fit the bundle", part]);
    }
    // Heads that see layers, of a backbone that has none.
    let mut manifest = Parts::honest().manifest;
    manifest.tasks[0].features = FeatureChoice::All;
    let error = Validation::from_bytes(&validation_entry(MOOD, &[], &tensors()), &manifest, &[]).unwrap_err();
    assert!(error.to_string().contains("other features"), "{error}");
}

#[test]
fn validation_features_that_no_head_sees_are_refused() {
    let [(_, kind, shape, bytes), labels] = tensors();
    let with = |kind: Dtype, shape: Vec<usize>, bytes: Vec<u8>| {
        validation_entry(MOOD, &[], &[("features", kind, shape, bytes), labels.clone()])
    };
    lying(validation_entry(MOOD, &[], std::slice::from_ref(&labels)), &["features are missing"]);
    lying(with(Dtype::I32, shape.clone(), bytes.clone()), &["I32 [2, 8]", "F32 [rows, 8]"]);
    lying(with(kind, vec![4, 4], bytes.clone()), &["F32 [4, 4]"]);
    lying(with(kind, vec![16], bytes.clone()), &["F32 [16]"]);
    lying(with(kind, vec![0, 8], Vec::new()), &["F32 [0, 8]"]);
    for number in [f32::NAN, f32::INFINITY] {
        let mut bytes = bytes.clone();
        bytes[4..8].copy_from_slice(&number.to_le_bytes());
        lying(with(kind, shape.clone(), bytes), &["not a finite number"]);
    }
}

#[test]
fn validation_labels_that_nobody_gave_are_refused() {
    let [features, (_, kind, shape, bytes)] = tensors();
    let with = |kind: Dtype, shape: Vec<usize>, bytes: Vec<u8>| {
        validation_entry(MOOD, &[], &[features.clone(), ("labels.mood", kind, shape, bytes)])
    };
    lying(
        validation_entry(MOOD, &[], std::slice::from_ref(&features)),
        &["labels are missing", "labels.mood"],
    );
    lying(with(Dtype::U32, shape.clone(), bytes.clone()), &["U32 [2]", "I32 [2]"]);
    lying(with(kind, vec![1], bytes[..4].to_vec()), &["I32 [1]"]);
    for label in [2_i32, -2, i32::MIN, i32::MAX] {
        let bytes = [label.to_le_bytes(), 0_i32.to_le_bytes()].concat();
        lying(with(kind, shape.clone(), bytes), &["no such label", &label.to_string(), "-1 to 1"]);
    }
}

#[test]
fn validation_rows_that_say_more_than_they_must_are_refused() {
    let not_ours = &["not as frosthead writes them"];
    lying(validation_entry(MOOD, &[("text", "what the user wrote")], &tensors()), not_ours);
    let [features, labels] = tensors();
    let more = ("more", Dtype::U8, vec![1], vec![0]);
    lying(validation_entry(MOOD, &[], &[features, labels, more]), not_ours);
    lying(validation_entry(&MOOD.replace(',', ", "), &[], &tensors()), not_ours);
}

#[test]
fn the_hash_of_a_backbone_is_that_of_its_graph_and_numbers_alone() {
    let hash = |parts: &Parts| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.frost");
        std::fs::write(&path, parts.archive()).unwrap();
        Bundle::open(&path, None).unwrap().backbone_fingerprint().unwrap()
    };
    let honest = hash(&Parts::honest());
    // Elsewhere in the file, with other entries, and with another head.
    let mut parts = Parts { validation: None, ..Parts::honest() };
    parts.manifest.precision = "a longer name of the precision".repeat(10);
    assert_eq!(hash(&parts), honest);
    let graph = parts.model.graph.as_mut().unwrap();
    let bias = graph.initializer.iter_mut().find(|tensor| tensor.name() == "heads.mood.bias").unwrap();
    bias.raw_data.as_mut().unwrap()[0] ^= 1;
    assert_eq!(hash(&parts), honest);
    // One bit of the table.
    parts.data[0] ^= 1;
    assert_ne!(hash(&parts), honest);
    let mut parts = Parts::honest();
    parts.model.graph.as_mut().unwrap().node[0].op_type = Some("GatherND".into());
    assert_ne!(hash(&parts), honest);
}
