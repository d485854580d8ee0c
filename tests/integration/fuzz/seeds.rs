//! Owns what fuzzing starts from: for every target valid inputs, small, and some that are refused late. Made of
//! the tiny network and `tests/data`, so that nothing is kept but what makes them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use frosthead::internal::bundle::{UpdateRequest, write_update};
use frosthead::internal::encoder::{head_bias, head_weight};
use frosthead::internal::fingerprint::{Fingerprint, TextKey};
use frosthead::internal::graph::{self, Builder, Operation, ValueType};
use frosthead::internal::store::{StatePrecision, Store, StoreKey, TokenStates};
use frosthead::internal::tokens::{Batching, Tokenizer};
use frosthead::internal::tuning::{Kept, Key, Setting};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

use super::repair::{MARK, archive, resealed, sections};
use crate::harness::{checkpoint, directory, frosthead, root, text};
use crate::tiny::tiny;

/// The seeds of a target.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "bundle" => bundles(),
        "update" => updates(),
        "safetensors" => safetensors(),
        "store" => store(),
        "tokenizer" => tokenizers(),
        "config" => configs(),
        "onnx" => onnx(),
        "csv" => csv(),
        "json" => json_tables(),
        "parquet" => parquet(),
        "http" => requests(),
        _ => panic!("no target is called {target}"),
    }
}

/// A file of `tests/data`.
fn data(name: &str) -> Vec<u8> {
    std::fs::read(root().join("tests/data").join(name)).unwrap()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A bundle with validation rows.
fn tiny_bundle() -> Vec<u8> {
    let directory = directory();
    let out = directory.path().join("x.frost");
    frosthead(&["bundle", text(&tiny().run), "--out", text(&out), "--keep-validation"]).success();
    read(&out)
}

/// A bundle whose heads look at words, with validation rows.
fn bundle_with_words() -> Vec<u8> {
    let (directory, tiny) = (directory(), tiny());
    let (run, out) = (directory.path().join("run"), directory.path().join("x.frost"));
    let train = ["train", text(&tiny.table), "--text", "review", "--backbone", text(&tiny.backbone)];
    let more = ["--task", "domain", "--task", "sentiment", "--features", "last+words", "--out", text(&run)];
    frosthead(&[&train[..], &more].concat()).success();
    frosthead(&["bundle", text(&run), "--out", text(&out), "--keep-validation"]).success();
    read(&out)
}

fn bundles() -> Vec<Vec<u8>> {
    let (whole, words) = (tiny_bundle(), bundle_with_words());
    // Of the one with words the numbers are zeros: its table of pairs alone is larger than an input may be.
    let mut seeds = vec![in_sections(&words).pop().unwrap(), with_compact_tokenizer(&in_sections(&whole)[0])];
    seeds.extend(in_sections(&whole));
    seeds.push(whole);
    seeds
}

/// An update that gives a label another name, in sections, and its file.
fn updates() -> Vec<Vec<u8>> {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let old = archive(&sections(&in_sections(&tiny_bundle())[0]));
    let mut new = old.clone();
    let label = new.windows(7).position(|window| window == b"neutral").unwrap();
    new[label] = b'N';
    let (from, to, update) = (path("old.frost"), path("new.frost"), path("x.frostup"));
    std::fs::write(&from, &old).unwrap();
    std::fs::write(&to, resealed(&new)).unwrap();
    let request = UpdateRequest { old: &from, new: &to, sign: None, overwrite: false };
    write_update(&update, &request).unwrap();
    let file = read(&update);
    let length = u32::from_le_bytes(file[8..12].try_into().unwrap()) as usize;
    let body = zstd::decode_all(&file[12 + length..file.len() - 32]).unwrap();
    vec![join(&[("old", &old), ("header", &file[12..12 + length]), ("body", &body)]), file]
}

/// The compact form of a tokenizer.
fn compact(file: &[u8]) -> Vec<u8> {
    let tokenizer = Tokenizer::from_bytes(file, Path::new("tokenizer.json")).unwrap();
    tokenizer.compact_form(file, 0).unwrap().unwrap()
}

/// A bundle in sections with another tokenizer, and its compact form.
fn with_compact_tokenizer(bundle: &[u8]) -> Vec<u8> {
    let file = data("tokenizer_unigram/tokenizer.json");
    let mut sections = sections(bundle);
    for (name, bytes) in &mut sections {
        match name.as_str() {
            "manifest.json" => {
                let mut manifest: Value = serde_json::from_slice(bytes).unwrap();
                manifest["format"] = 7.into();
                manifest["tokenizer"] = json!({"truncation": "null", "padding": "null"});
                *bytes = serde_json::to_vec_pretty(&manifest).unwrap();
            }
            "tokenizer.json" => bytes.clone_from(&file),
            _ => {}
        }
    }
    sections.insert(4, ("tokenizer.safetensors".to_owned(), compact(&file)));
    let sections: Vec<(&str, &[u8])> =
        sections.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    join(&sections)
}

/// The entries of a bundle with zeros for its numbers, and with a graph that is nearly nothing.
fn in_sections(bundle: &[u8]) -> Vec<Vec<u8>> {
    let directory = directory();
    let path = directory.path().join("x.frost");
    std::fs::write(&path, bundle).unwrap();
    let python = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])";
    let unpacked = directory.path().join("unpacked");
    let status =
        std::process::Command::new("python3").args(["-c", python, text(&path), text(&unpacked)]).status();
    assert!(status.unwrap().success());
    let entry = |name: &str| read(&unpacked.join(name));
    let zeros = zeros(&entry("model.onnx"), &entry("model.onnx.data")).into_bytes();
    let golden: Vec<Value> = serde_json::from_slice(&entry("golden.json")).unwrap();
    let golden = serde_json::to_vec_pretty(&golden[..1]).unwrap();
    let small = ["manifest.json", "labels.json", "calibration.json", "tokenizer.json"]
        .map(|name| (name, entry(name)));
    let with = |data: Vec<u8>, graph: Vec<u8>, validation: Option<Vec<u8>>| {
        let mut sections = small.to_vec();
        sections.extend([("model.onnx.data", data), ("model.onnx", graph), ("golden.json", golden.clone())]);
        sections.extend(validation.map(|bytes| ("validation.safetensors", bytes)));
        let sections: Vec<(&str, &[u8])> = sections.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
        join(&sections)
    };
    let heads =
        simple_graph(&serde_json::from_slice(&entry("manifest.json")).unwrap(), &entry("labels.json"));
    vec![
        with(b"zeros 64".to_vec(), heads, None),
        with(zeros, entry("model.onnx"), Some(entry("validation.safetensors"))),
    ]
}

/// Zeros for a bundle's numbers; but words have scales, and these are above 0.
fn zeros(model: &[u8], data: &[u8]) -> String {
    let mut text = format!("zeros {}", data.len());
    for tensor in graph::decode(model).unwrap().graph.unwrap().initializer {
        let place = |key: &str| {
            let entry = tensor.external_data.iter().find(|entry| entry.key.as_deref() == Some(key))?;
            entry.value.as_deref()?.parse::<usize>().ok()
        };
        if let (true, Some(start), Some(length)) =
            (tensor.name().ends_with(".scales"), place("offset"), place("length"))
        {
            let digits: String =
                data[start..start + length].iter().map(|byte| format!("{byte:02x}")).collect();
            text += &format!("\n{start} {digits}");
        }
    }
    text
}

/// A graph that has the heads of a bundle, and little else.
fn simple_graph(manifest: &Value, labels: &[u8]) -> Vec<u8> {
    let labels: BTreeMap<String, Vec<String>> = serde_json::from_slice(labels).unwrap();
    let mut graph = Builder::new("simple");
    let ids = graph.input("input_ids", ValueType::int64(["batch".into(), "sequence".into()])).unwrap();
    let table = graph.floats("table", &[4, 2], &[0.5; 8]).unwrap();
    let rows = ValueType::float(["batch".into(), "sequence".into(), 2.into()]);
    let rows = graph.add(Operation::new("Gather", &[&table, &ids]), "embedding", rows).unwrap();
    graph.output(&rows).unwrap();
    for task in manifest["tasks"].as_array().unwrap() {
        let (name, width) = (task["task"].as_str().unwrap(), task["width"].as_u64().unwrap() as usize);
        let classes = labels[name].len();
        graph.floats(&head_weight(name), &[classes, width], &vec![0.5; classes * width]).unwrap();
        graph.floats(&head_bias(name), &[classes], &vec![0.5; classes]).unwrap();
    }
    graph::encode(&graph.finish().unwrap())
}

fn safetensors() -> Vec<Vec<u8>> {
    let imported = tiny().backbone.join("model.safetensors");
    let files = ["bert_tiny_f16.safetensors", "bert_tiny_bf16.safetensors"].map(data);
    [&files[..], &[read(&tiny().run.join("heads.safetensors")), read(&imported), ranges()]].concat()
}

/// Ranges of two products of one channel, as a bundle carries them.
fn ranges() -> Vec<u8> {
    let tensor = |layer: u8| {
        let view = TensorView::new(Dtype::F16, vec![3, 1], &[0; 6]).unwrap();
        (format!("layer.{layer}.output"), view)
    };
    safetensors::serialize([0, 1].map(tensor), None).unwrap()
}

fn store() -> Vec<Vec<u8>> {
    let directory = directory();
    let fields = BTreeMap::from([("weights".to_owned(), "w".to_owned())]);
    let key = StoreKey { fields, owner: None, processor: None };
    let rows: Vec<f32> = (0_u8..9).map(f32::from).collect();
    let mut store = Store::open(directory.path(), &key, 3).unwrap();
    for (name, row) in ["a", "b", "c"].iter().zip(rows.chunks_exact(3)) {
        store.append(TextKey::of(name), row).unwrap();
    }
    store.flush().unwrap();
    let mut seeds = vec![read(&store.path().join("key.json"))];
    for precision in [StatePrecision::F16, StatePrecision::F32] {
        let mut states = TokenStates::open(directory.path(), &key, 3, precision).unwrap();
        states.append(TextKey::of(&precision.to_string()), &rows).unwrap();
        states.append(TextKey::of("b"), &rows[..3]).unwrap();
        states.flush().unwrap();
    }
    for part in std::fs::read_dir(store.path().join("parts")).unwrap() {
        seeds.push(read(&part.unwrap().path()));
    }
    seeds
}

fn tokenizers() -> Vec<Vec<u8>> {
    let unigram: Value = serde_json::from_slice(&data("tokenizer_unigram/tokenizer.json")).unwrap();
    let wrapped = |normalizer: Value, pre_tokenizer: Value, post_processor: Value, model: Value| {
        let mut whole = unigram.clone();
        whole["normalizer"] = normalizer;
        whole["pre_tokenizer"] = pre_tokenizer;
        whole["post_processor"] = post_processor;
        whole["model"] = model;
        whole["added_tokens"] = json!([
            {"id": 0, "content": "[UNK]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
            {"id": 1, "content": "[CLS]", "single_word": true, "lstrip": true, "rstrip": true, "normalized": true, "special": true},
            {"id": 2, "content": "[SEP]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}]);
        whole.to_string().into_bytes()
    };
    let special =
        json!({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "b": 4, "ab": 5, "##c": 6, "Ġa": 7, "Ġ": 8});
    let word_piece = json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": special});
    let bpe = json!({"type": "BPE", "dropout": 0.5, "unk_token": "[UNK]", "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
        "vocab": special, "merges": ["a b", ["Ġ", "a"]]});
    let word_level = json!({"type": "WordLevel", "vocab": special, "unk_token": "[UNK]"});
    let bert = json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
        "strip_accents": null, "lowercase": true});
    let cleaned = json!({"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"},
        {"type": "StripAccents"}, {"type": "Strip", "strip_left": true, "strip_right": true},
        {"type": "Prepend", "prepend": "a"}, {"type": "Replace", "pattern": {"String": "b"}, "content": "ab"}]});
    let template = unigram["post_processor"].clone();
    vec![
        data("tokenizer_unigram/tokenizer.json"),
        compact(&data("tokenizer_unigram/tokenizer.json")),
        wrapped(
            bert,
            json!({"type": "BertPreTokenizer"}),
            json!({"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]}),
            word_piece,
        ),
        wrapped(
            Value::Null,
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
            json!({"type": "RobertaProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1], "trim_offsets": true, "add_prefix_space": true}),
            bpe,
        ),
        wrapped(
            cleaned,
            json!({"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "Digits", "individual_digits": true},
            {"type": "Punctuation", "behavior": "Isolated"}, {"type": "Split", "pattern": {"Regex": "a+"}, "behavior": "Removed", "invert": false}]}),
            template,
            word_level,
        ),
    ]
}

fn configs() -> Vec<Vec<u8>> {
    let tiny = tiny();
    let real = checkpoint();
    let key = Key {
        processor: "some".to_owned(),
        cores: 2,
        device: "cpu".to_owned(),
        onnxruntime: "1.32.0".to_owned(),
        network: Fingerprint::of_bytes(b"x"),
    };
    let tuning = Kept::new(key, "tiny", Setting::new(2, Batching::default()), None).on(false, 100.0);
    let index = json!({"metadata": {"total_size": 8}, "weight_map": {"embeddings.word_embeddings.weight": "model.safetensors"}});
    let card = "---\nlicense: apache-2.0\nlanguage: en\n---\n# A model\n";
    let config = read(&tiny.checkpoint.join("config.json"));
    let model = [
        ("config.json", config.clone()),
        ("modules.json", read(&real.join("modules.json"))),
        ("1_Pooling/config.json", read(&real.join("1_Pooling/config.json"))),
        ("sentence_bert_config.json", read(&real.join("sentence_bert_config.json"))),
        ("tokenizer_config.json", read(&real.join("tokenizer_config.json"))),
        ("config_sentence_transformers.json", read(&real.join("config_sentence_transformers.json"))),
        ("README.md", card.as_bytes().to_vec()),
    ];
    let run = ["recipe.toml", "heads.safetensors", "rows.safetensors"]
        .map(|name| (name, read(&tiny.run.join(name))));
    let manifest = [("backbone.json", read(&tiny.backbone.join("backbone.json")))];
    let tuning = [("tuning.json", serde_json::to_vec(&tuning).unwrap())];
    let shards = [("config.json", config), ("model.safetensors.index.json", index.to_string().into_bytes())];
    [&model[..], &run, &manifest, &tuning, &shards]
        .map(|files| join(&files.iter().map(|(name, bytes)| (*name, &bytes[..])).collect::<Vec<_>>()))
        .to_vec()
}

fn onnx() -> Vec<Vec<u8>> {
    [
        "foreign_onnx/encoder_external.onnx",
        "onnx_every_field.onnx",
        "runtime_gather.onnx",
        "runtime_matmul.onnx",
        "foreign_onnx/encoder.onnx",
    ]
    .map(data)
    .to_vec()
}

const TABLE: &str =
    "text,label,n\nGreat phone,good,1\n\"a, \"\"b\"\"\nc\",bad,\n,good,-0.5\n\"x\"y,bad,1e9\n";

/// Bytes behind the byte that says how they are read.
fn told(how: u8, bytes: &[u8]) -> Vec<u8> {
    [&[how], bytes].concat()
}

fn csv() -> Vec<Vec<u8>> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(TABLE.as_bytes()).unwrap();
    let utf16 = |table: &str| table.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    vec![
        told(0, TABLE.as_bytes()),
        told(1, TABLE.replace(',', "\t").as_bytes()),
        told(2, b"Great phone\r\nwould buy again\r\n\r\n"),
        told(4, TABLE.replace(',', ";").as_bytes()),
        told(0x30, TABLE.as_bytes()),
        told(0, "\u{feff}sep=;\ntext;label\n\u{fc}n\u{ef};good\n".as_bytes()),
        told(0, &utf16("\u{feff}text,label\nGreat,good\n")),
        told(0x40, &utf16("text,label\nGreat,good\n")),
        told(0x80, b"text,label\nna\xefve,good\n"),
        told(0xc0, b"text,label\n\x83e\x83X\x83g,good\n"),
        told(0, &gzip.finish().unwrap()),
        told(0, &zstd::encode_all(TABLE.as_bytes(), 1).unwrap()),
    ]
}

fn json_tables() -> Vec<Vec<u8>> {
    let lines = concat!(
        "{\"text\": \"Great phone\", \"label\": \"good\", \"n\": 1}\n",
        "{\"text\": \"\\u00fc\\ud83d\\ude00\", \"label\": null, \"n\": 1.5e3, \"more\": [1, {\"a\": true}]}\n",
        "\n{\"label\": false, \"text\": \"\", \"text_2\": {}}\n"
    );
    let array = format!("[{}]", lines.trim().replace("}\n", "},").replace(",\n", ","));
    vec![
        told(0, lines.as_bytes()),
        told(1, array.as_bytes()),
        told(1, b"{\"rows\": []}"),
        told(0, b"[1, 2]\n"),
    ]
}

fn parquet() -> Vec<Vec<u8>> {
    let directory = directory();
    let (table, out) = (directory.path().join("a.csv"), directory.path().join("a.parquet"));
    std::fs::write(&table, "text,label,n\nGreat phone,good,1\nBad phone,bad,2\n").unwrap();
    let backbone = text(&tiny().backbone);
    frosthead(&["embed", text(&table), "--backbone", backbone, "--out", text(&out)]).success();
    let of_data = [
        "foreign_parquet/good.parquet",
        "foreign_parquet/two_lists.parquet",
        "foreign_parquet/ragged.parquet",
        "foreign_parquet/missing.parquet",
        "odd_parquet/null_column_small.parquet",
        "odd_parquet/null_column.parquet",
    ];
    [&[read(&out)][..], &of_data.map(data)].concat()
}

fn requests() -> Vec<Vec<u8>> {
    let post = |route: &str, body: &Value| {
        let body = body.to_string();
        format!("POST {route} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .into_bytes()
    };
    let texts = json!(["Great phone", "", "a b c"]);
    let chunked = "POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
        d\r\n{\"inputs\": \"a\r\n2\r\n\"}\r\n0\r\n\r\n";
    let mut seeds = vec![
        post("/v1/predict", &json!({"texts": texts, "top_k": 2})),
        post("/v1/embeddings", &json!({"model": "x", "input": texts, "encoding_format": "base64"})),
        post("/v1/embeddings", &json!({"input": [1, 2, 3], "dimensions": 4})),
        post("/predict", &json!({"inputs": texts, "raw_scores": true, "truncate": true})),
        post("/embed", &json!({"inputs": "a", "normalize": false, "truncation_direction": "Right"})),
        chunked.as_bytes().to_vec(),
    ];
    for route in [
        "/v1/model",
        "/v1/models",
        "/v1/models/x",
        "/info",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/",
    ] {
        let request =
            format!("GET {route} HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nAuthorization: Bearer x\r\n\r\n");
        seeds.push(request.into_bytes());
    }
    seeds.push([&b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"[..], &seeds[0]].concat());
    seeds
}

/// An input of these sections.
fn join(sections: &[(&str, &[u8])]) -> Vec<u8> {
    sections.iter().flat_map(|(name, bytes)| [MARK, name.as_bytes(), b"\n", bytes].concat()).collect()
}
