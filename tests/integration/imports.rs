//! Imports other than a plain directory: foreign ONNX files, a hub; and what the standard graph and Parquet
//! are for others.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::harness::{backbone, checkpoint, command, demo, directory, finish, frosthead, root, text};
use crate::tiny::NUMBERS;

fn fixture(name: &str) -> String {
    text(&root().join("tests/data/foreign_onnx").join(name)).to_owned()
}

/// Embeds the fixture's texts with a backbone and compares them with transformers' values.
fn reaches_golden(model: &Path) {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../data/foreign_onnx/golden.json")).unwrap();
    let directory = directory();
    let lines: String = golden["texts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| format!("{}\n", serde_json::json!({"text": text})))
        .collect();
    let data = directory.path().join("texts.jsonl");
    std::fs::write(&data, lines).unwrap();
    let out = directory.path().join("out.parquet");
    frosthead(&["embed", text(&data), "--backbone", text(model), "--out", text(&out)]).success();
    let table = crate::harness::features(&out, None);
    assert_eq!(table.width, 24);
    let expected = golden["embeddings"].as_array().unwrap();
    for (ours, theirs) in table.features.chunks_exact(24).zip(expected) {
        for (ours, theirs) in ours.iter().zip(theirs.as_array().unwrap()) {
            // Two fp32 implementations of one layer: some 1e-7 apart.
            assert!((f64::from(*ours) - theirs.as_f64().unwrap()).abs() < 1e-5);
        }
    }
}

#[test]
fn a_foreign_graph_is_imported_with_pooling_appended() {
    let directory = directory();
    for name in ["encoder.onnx", "encoder_external.onnx"] {
        let out = directory.path().join(name.replace('.', "-"));
        let arguments =
            ["import", &fixture(name), "--out", text(&out), "--normalize", "true", "--max-length", "40"];
        let finished = frosthead(&arguments).success();
        assert!(
            finished.stderr.contains("ONNX graph, 24 dimensions, mean pooling, normalised"),
            "{}",
            finished.stderr
        );
        reaches_golden(&out);
        assert!(frosthead(&arguments).success().stderr.contains("up to date"));
    }
}

#[test]
fn a_prefix_that_leaves_no_room_for_a_text_is_refused() {
    let directory = directory();
    let source = directory.path().join("checkpoint");
    crate::tiny::write_checkpoint(&source);
    let out = directory.path().join("backbone");
    let prefix = "a ".repeat(200);
    let import = |prefix: &str| {
        frosthead(&["import", text(&source), "--out", text(&out), "--prefix", prefix, "--max-length", "20"])
    };
    import(&prefix).fails_with(&["no room for text", "found 20", "the prefix take", "--max-length"]);
    assert!(!out.exists());
    import("a ").success();
}

#[test]
fn a_foreign_graph_without_tokenizer_or_of_another_kind_is_refused() {
    let directory = directory();
    let alone = directory.path().join("deep/encoder.onnx");
    std::fs::create_dir(alone.parent().unwrap()).unwrap();
    std::fs::copy(fixture("encoder.onnx"), &alone).unwrap();
    let out = text(&directory.path().join("model")).to_owned();
    frosthead(&["import", text(&alone), "--out", &out])
        .fails_with(&["no tokenizer beside it", "--tokenizer"]);
    frosthead(&[
        "import",
        text(&alone),
        "--out",
        &out,
        "--tokenizer",
        &fixture("tokenizer.json"),
        "--max-length",
        "40",
    ])
    .success();
    std::fs::write(&alone, b"not an onnx file").unwrap();
    let arguments =
        ["import", text(&alone), "--out", &out, "--tokenizer", &fixture("tokenizer.json"), "--overwrite"];
    frosthead(&arguments).fails_with(&["encoder.onnx", "not an ONNX model"]);
    frosthead(&["import", "Cargo.toml", "--out", &out]).fails_with(&["Cargo.toml", ".onnx"]);
}

#[test]
fn the_standard_graph_runs_as_it_lies_and_agrees_with_the_fused_one() {
    let runtime = frosthead::Runtime::load(&frosthead::RuntimeOptions::default()).unwrap();
    let ids: Vec<i64> = vec![101, 2307, 3042, 102, 101, 7592, 102, 0];
    let mask: Vec<i64> = vec![1, 1, 1, 1, 1, 1, 1, 0];
    let run = |graph: &str| {
        let mut session = runtime.session(&Path::new(backbone()).join(graph)).unwrap();
        let input = |name, values| frosthead::internal::runtime::Input {
            name,
            shape: &[2, 4],
            values: frosthead::internal::runtime::Values::I64(values),
        };
        let mut tensors =
            session.run(&[input("input_ids", &ids), input("attention_mask", &mask)], &["embedding"]).unwrap();
        tensors.remove(0)
    };
    let (fused, standard) = (run("embedding.onnx"), run("embedding.standard.onnx"));
    assert_eq!(fused.shape, [2, NUMBERS]);
    assert!(fused.data.iter().zip(&standard.data).all(|(a, b)| (a - b).abs() <= 1e-6));
    let layers = run("layers.onnx");
    assert!(fused.data == layers.data, "the graph with every layer gives another embedding");
}

/// A hub with one model, on a port of its own: enough of the protocol for one download.
struct Hub {
    endpoint: String,
    /// What was asked for: `METHOD PATH`, and whether the token came with it.
    requests: Arc<Mutex<Vec<(String, bool)>>>,
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

impl Hub {
    fn serve(files: HashMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &files, &seen);
            }
        });
        Self { endpoint, requests }
    }
}

fn answer(mut stream: TcpStream, files: &HashMap<String, Vec<u8>>, seen: &Mutex<Vec<(String, bool)>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let headers: Vec<String> =
        lines.take_while(|line| !line.is_empty()).map(|line| line.to_lowercase()).collect();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let token = headers.iter().any(|header| header == "authorization: bearer secret");
    seen.lock().unwrap().push((path.clone(), token));
    let (status, more, body) = if path.starts_with("/api/models/tiny/model") {
        let siblings: Vec<_> = files.keys().map(|name| serde_json::json!({"rfilename": name})).collect();
        let info = serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string();
        ("200 OK", String::new(), info.into_bytes())
    } else if let Some(content) = path.split("/resolve/main/").nth(1).and_then(|name| files.get(name)) {
        let range = headers.iter().find_map(|header| header.strip_prefix("range: bytes="));
        let (first, last) = range.and_then(|range| range.split_once('-')).unwrap_or(("0", ""));
        let first: usize = first.parse().unwrap();
        let last = last.parse().unwrap_or(content.len() - 1).min(content.len() - 1);
        let etag = frosthead::internal::fingerprint::Fingerprint::of_bytes(content).short();
        let more = format!(
            "ETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes {first}-{last}/{}\r\n",
            content.len()
        );
        ("206 Partial Content", more, content[first..=last].to_vec())
    } else {
        ("404 Not Found", String::new(), b"no".to_vec())
    };
    let head =
        format!("HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

#[test]
fn a_hub_id_is_downloaded_with_the_token_and_imported() {
    let real = |name: &str| std::fs::read(checkpoint().join(name)).unwrap();
    // The real files: the hub's side is what is made up here, not the model.
    let mut files: HashMap<String, Vec<u8>> =
        ["config.json", "tokenizer.json", "model.safetensors", "modules.json", "1_Pooling/config.json"]
            .map(|name| (name.to_owned(), real(name)))
            .into();
    files.insert("unwanted.bin".to_owned(), vec![0; 10]);
    let hub = Hub::serve(files);
    let directory = directory();
    let out = directory.path().join("model");
    let import = |id: &str| {
        let arguments = ["import", id, "--out", text(&out)];
        let mut import = command(&arguments);
        import
            .env("HF_ENDPOINT", &hub.endpoint)
            .env("HF_HOME", directory.path().join("hf"))
            .env("HF_TOKEN", "secret");
        finish(import, &arguments)
    };
    let finished = import("tiny/model").success();
    assert!(finished.stderr.contains("downloading"), "{}", finished.stderr);
    let manifest = frosthead(&["inspect", text(&out), "--json"]).success().json();
    assert_eq!(manifest["manifest"]["source"]["origin"], format!("tiny/model@{COMMIT}"));
    assert!(directory.path().join("hf/hub/models--tiny--model").is_dir(), "HF_HOME is ignored");
    let requests = hub.requests.lock().unwrap();
    assert!(requests.iter().all(|(_, token)| *token), "HF_TOKEN is ignored: {requests:?}");
    assert!(
        requests.iter().all(|(path, _)| !path.contains("unwanted")),
        "a file nobody reads was downloaded"
    );
    drop(requests);
    let missing = import("tiny/other").fails_with(&["tiny/other", "HF_ENDPOINT"]);
    assert!(missing.stderr.contains("because:"), "{}", missing.stderr);
}

#[test]
fn a_hubs_layouts_are_downloaded_as_far_as_an_import_reads_them() {
    // Weights in parts, in a folder of their own.
    let tiny = std::fs::read_to_string(root().join("tests/data/bert_tiny.json")).unwrap();
    let config = serde_json::from_str::<serde_json::Value>(&tiny).unwrap()["config"].clone();
    let weights = std::fs::read(root().join("tests/data/bert_tiny_f16.safetensors")).unwrap();
    let names = safetensors::SafeTensors::deserialize(&weights).unwrap();
    let map: HashMap<&str, &str> =
        names.names().into_iter().map(|name| (name, "model-00001-of-00001.safetensors")).collect();
    let index = serde_json::json!({"weight_map": map}).to_string();
    let tokenizer = std::fs::read(root().join("tests/data/tokenizer_unigram/tokenizer.json")).unwrap();
    let modules = r#"[{"path": "0_T", "type": "x.Transformer"}, {"path": "1_P", "type": "x.Pooling"}]"#;
    let mut files: HashMap<String, Vec<u8>> = [
        ("modules.json", modules.as_bytes().to_vec()),
        ("1_P/config.json", br#"{"pooling_mode": "cls"}"#.to_vec()),
        ("0_T/config.json", config.to_string().into_bytes()),
        ("0_T/tokenizer.json", tokenizer.clone()),
        ("0_T/tokenizer_config.json", br#"{"model_max_length": 9}"#.to_vec()),
        ("0_T/model.safetensors.index.json", index.into_bytes()),
        ("0_T/model-00001-of-00001.safetensors", weights),
        ("0_T/pytorch_model.bin", vec![0; 10]),
        ("onnx/model.onnx", vec![0; 10]),
    ]
    .map(|(name, content)| (name.to_owned(), content))
    .into();
    let import = |files: HashMap<String, Vec<u8>>| {
        let hub = Hub::serve(files);
        let directory = directory();
        let out = directory.path().join("model");
        let arguments = ["import", "tiny/model", "--out", text(&out)];
        let mut import = command(&arguments);
        import.env("HF_ENDPOINT", &hub.endpoint).env("HF_HOME", directory.path().join("hf"));
        let finished = finish(import, &arguments);
        let asked: Vec<String> = hub.requests.lock().unwrap().iter().map(|(path, _)| path.clone()).collect();
        (finished, asked)
    };
    let (finished, asked) = import(files.clone());
    let said = finished.success().stderr;
    assert!(said.contains("cls pooling, at most 9 tokens (0_T/tokenizer_config.json"), "{said}");
    assert!(asked.iter().any(|path| path.ends_with("0_T/model-00001-of-00001.safetensors")), "{asked:?}");
    assert!(!asked.iter().any(|path| path.contains("pytorch_model") || path.contains("onnx/")), "{asked:?}");
    // Only a graph, and then nothing that is read.
    let graph = std::fs::read(root().join("tests/data/foreign_onnx/encoder.onnx")).unwrap();
    let only: HashMap<String, Vec<u8>> = [
        ("config.json", br#"{"model_type": "bert", "max_position_embeddings": 40}"#.to_vec()),
        ("tokenizer.json", tokenizer),
        ("onnx/model.onnx", graph),
        ("onnx/model_int8.onnx", vec![0; 10]),
    ]
    .map(|(name, content)| (name.to_owned(), content))
    .into();
    let (finished, asked) = import(only);
    let finished = finished.success();
    assert!(finished.stderr.contains("at most 40 tokens (config.json"), "{}", finished.stderr);
    assert!(!asked.iter().any(|path| path.contains("int8")), "{asked:?}");
    files.retain(|name, _| !name.contains("safetensors") && !name.contains("onnx"));
    import(files).0.fails_with(&["tiny/model", "PyTorch weights", "save_pretrained"]);
}

#[test]
fn other_tools_read_the_parquet() {
    let python = root().join(".downloads/venv/bin/python");
    assert!(python.is_file(), "{} is missing: run ./scripts/test.sh", python.display());
    let directory = directory();
    let out = directory.path().join("features.parquet");
    let data = demo(300);
    frosthead(&["embed", text(&data), "--backbone", backbone(), "--out", text(&out), "--keep-text"])
        .success();
    let script = "
import sys, csv, math, pyarrow.parquet as pq
table = pq.read_table(sys.argv[1])
assert table.column_names == ['text_hash', 'text', 'domain', 'sentiment', 'embedding'], table.column_names
assert str(table.schema.field('embedding').type).startswith('list<') and 'float' in str(table.schema.field('embedding').type)
rows = list(csv.DictReader(open(sys.argv[2], newline='', encoding='utf-8')))
assert [row['text'] for row in rows] == table['text'].to_pylist()
assert [row['domain'] for row in rows] == table['domain'].to_pylist()
for vector in table['embedding'].to_pylist():
    assert len(vector) == 48 and abs(math.sqrt(sum(x * x for x in vector)) - 1) < 1e-5
print('rows', table.num_rows)
";
    let output =
        std::process::Command::new(python).args(["-c", script, text(&out), text(&data)]).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.contains("rows 300"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
