//! Pairs of texts, all the way: embedded as transformers embeds them, trained, bundled, served, fitted anew,
//! compared; and what is refused.

use std::path::{Path, PathBuf};

use frosthead::internal::backbone::Backbone;
use frosthead::internal::fingerprint::TextKey;
use frosthead::internal::runtime::{Input as Fed, Runtime, RuntimeOptions, Values};
use frosthead::internal::text::Text;
use frosthead::internal::tokens::Tokenizer;
use frosthead::{Classifier, Input};
use serde_json::{Value, json};

use crate::harness::{Finished, demo, directory, features, frosthead, frosthead_reading, root, text};
use crate::network::proof;
use crate::serve::Server;

const COLUMNS: [&str; 4] = ["--text", "premise", "--text", "hypothesis"];
const ROWS: usize = 240;

/// A family's backbone and a table of pairs: the domain is that of the first text, the sentiment that of the
/// second.
struct Made {
    place: tempfile::TempDir,
    data: PathBuf,
    backbone: PathBuf,
}

impl Made {
    fn new(family: &str, more: &[&str]) -> Self {
        let place = directory();
        let (data, backbone) = (place.path().join("pairs.csv"), place.path().join("backbone"));
        let mut reader = csv::Reader::from_path(demo(ROWS)).unwrap();
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        let mut writer = csv::Writer::from_path(&data).unwrap();
        writer.write_record(["premise", "hypothesis", "domain", "sentiment"]).unwrap();
        for place in 0..rows.len() {
            let (one, other) = (&rows[place], &rows[(place * 7 + 3) % rows.len()]);
            writer.write_record([&one[0], &other[0], &one[1], &other[2]]).unwrap();
        }
        writer.flush().unwrap();
        let checkpoint = root().join("tests/data/families").join(family);
        frosthead(&[&["import", text(&checkpoint), "--out", text(&backbone)], more].concat()).success();
        Self { place, data, backbone }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn train(&self, run: &str, more: &[&str]) -> Finished {
        let out = self.path(run);
        let base = ["train", text(&self.data), "--backbone", text(&self.backbone), "--out", text(&out)];
        let tasks = ["--task", "domain"];
        frosthead(&[&base[..], &tasks, &COLUMNS, more].concat())
    }

    fn bundle(&self, run: &str, bundle: &str, more: &[&str]) -> PathBuf {
        let (run, out) = (self.path(run), self.path(bundle));
        frosthead(&[&["bundle", text(&run), "--out", text(&out)], more].concat()).success();
        out
    }

    /// A table of these pairs.
    fn pairs(&self, name: &str, pairs: &[[&str; 2]]) -> PathBuf {
        let path = self.path(name);
        let lines = pairs.iter().map(|[premise, hypothesis]| {
            format!("{}\n", json!({"premise": premise, "hypothesis": hypothesis}))
        });
        std::fs::write(&path, lines.collect::<String>()).unwrap();
        path
    }
}

const PAIRS: [[&str; 2]; 5] = [
    ["The battery died after two days.", "lol best day ever"],
    ["lol best day ever", "The battery died after two days."],
    ["A dull, lifeless film.", ""],
    ["ok", "ok"],
    ["The committee will meet on Tuesday to discuss the proposal.", "A dull, lifeless film."],
];

fn predicted(model: &Path, data: &Path, more: &[&str]) -> Vec<Value> {
    let arguments = ["predict", text(data), "--model", text(model), "--all-probabilities"];
    frosthead(&[&arguments[..], more].concat()).success().json_lines()
}

fn largest_difference(ours: &[Value], theirs: &[Value]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let numbers = ours.iter().zip(theirs).flat_map(|(one, other)| {
        let pairs = one.as_object().unwrap().iter();
        pairs.filter_map(|(name, value)| Some((value.as_f64()? - other[name].as_f64()?).abs()))
    });
    numbers.fold(0.0, f64::max)
}

#[test]
fn the_program_embeds_pairs_as_transformers_does() {
    let golden = std::fs::read(root().join("tests/data/pairs_golden.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let pairs: Vec<[String; 2]> = serde_json::from_value(golden["pairs"].clone()).unwrap();
    for family in ["bert", "roberta", "mpnet"] {
        let of = &golden["families"][family];
        let made = Made::new(family, &["--max-length", &of["max_length"].to_string()]);
        let both: Vec<[&str; 2]> = pairs.iter().map(|pair| [pair[0].as_str(), pair[1].as_str()]).collect();
        let (table, out, cache) =
            (made.pairs("pairs.jsonl", &both), made.path("pairs.parquet"), made.path("cache"));
        let base = ["embed", text(&table), "--backbone", text(&made.backbone), "--cache", text(&cache)];
        let embed = |out: &Path, more: &[&str]| {
            frosthead(&[&base[..], &["--out", text(out)], more].concat()).success()
        };
        let said = embed(&out, &COLUMNS).stderr;
        assert!(said.contains("(50 texts computed, 0 from the store)"), "{said}");
        let blank = |text: &String| text.trim().is_empty();
        let halves = pairs.iter().filter(|[one, other]| blank(one) != blank(other)).count();
        assert!(halves > 3 && said.contains(&format!("{halves} pairs with one empty text")), "{said}");
        let table = features(&out, None);
        let expected: Vec<Vec<f32>> = serde_json::from_value(of["embedding"].clone()).unwrap();
        assert_eq!((table.width, table.features.len()), (32, 50 * 32));
        for (place, (ours, theirs)) in table.features.iter().zip(expected.iter().flatten()).enumerate() {
            assert!((ours - theirs).abs() <= 1e-5, "{family} {}: {ours} {theirs}", place / 32);
        }
        // They are known by keys of their own: neither text is stored with them, nor is the turned pair.
        let keys: Vec<TextKey> = pairs.iter().map(|[one, other]| Text::pair(one, other).key()).collect();
        assert_eq!(table.keys.unwrap(), keys);
        let said = embed(&made.path("again.parquet"), &COLUMNS).stderr;
        assert!(said.contains("(0 texts computed, 50 from the store)"), "{said}");
        let said = embed(&made.path("turned.parquet"), &["--text", "hypothesis", "--text", "premise"]).stderr;
        assert!(said.contains("computed, ") && !said.contains("(0 texts computed"), "{said}");
        let said = embed(&made.path("single.parquet"), &["--text", "premise"]).stderr;
        assert!(!said.contains("(0 texts computed"), "{said}");
    }
}

#[test]
fn pairs_are_trained_bundled_and_predicted_in_every_family() {
    for family in ["bert", "roberta", "mpnet", "distilbert"] {
        let made = Made::new(family, &[]);
        made.train("run", &["--features", "auto+words", "--task", "sentiment"]).success();
        let table = made.pairs("some.jsonl", &PAIRS);
        let run = predicted(&made.path("run"), &table, &[]);
        let bundle = made.bundle("run", "fp32.frost", &[]);
        let fp32 = predicted(&bundle, &table, &[]);
        assert!(largest_difference(&run, &fp32) < 1e-5, "{family}: {run:?} {fp32:?}");
        assert!(
            largest_difference(&fp32[..1], &fp32[1..2]) > 1e-4,
            "{family}: the order of a pair says nothing"
        );
        for precision in ["w8", "int8"] {
            let more = ["--precision", precision, "--max-drop", "100"];
            let bundle = made.bundle("run", &format!("{precision}.frost"), &more);
            let coded = predicted(&bundle, &table, &[]);
            assert!(largest_difference(&coded, &fp32) < 0.3, "{family} {precision}: {coded:?} {fp32:?}");
            // One pair, one answer.
            for (place, pair) in PAIRS.iter().enumerate() {
                let mut alone = predicted(&bundle, &made.pairs("one.jsonl", &[*pair]), &[]).remove(0);
                alone["row"] = coded[place]["row"].clone();
                assert_eq!(alone, coded[place], "{family} {precision}");
            }
        }
        let evaluated = |model: &Path| {
            let arguments = ["eval", text(&made.data), "--model", text(model), "--rows", "all", "--json"];
            frosthead(&arguments).success().json()["tasks"]["domain"]["accuracy"].clone()
        };
        assert_eq!(evaluated(&made.path("run")), evaluated(&bundle));
        let used = made.bundle("run", "used.frost", &["--vocabulary", "used", "--max-drop", "100"]);
        let lines = predicted(&used, &made.data, &[]);
        assert_eq!(lines.len(), ROWS);
        let same = lines.iter().zip(predicted(&bundle, &made.data, &[])).filter(|(a, b)| **a == *b).count();
        assert!(same * 10 >= ROWS * 9, "{family}: {same}");
    }
}

#[test]
fn words_of_both_texts_are_seen() {
    let made = Made::new("bert", &[]);
    made.train("run", &["--features", "words", "--task", "sentiment"]).success();
    let bundle = made.bundle("run", "words.frost", &[]);
    let table = made.pairs("some.jsonl", &[["battery film", ""], ["", "battery film"], ["battery", "film"]]);
    let why = predicted(&bundle, &table, &["--explain", "words"]);
    let pieces = |row: usize| -> Vec<Vec<String>> {
        let words = why[row]["domain_words"].as_array().unwrap().iter();
        words.map(|word| serde_json::from_value(word["pieces"].clone()).unwrap()).collect()
    };
    let of_texts = |row: usize| {
        let mut ones: Vec<String> =
            pieces(row).into_iter().filter(|word| word.len() == 1).flatten().collect();
        ones.retain(|piece| !piece.starts_with('['));
        ones.sort();
        ones
    };
    assert!(!of_texts(0).is_empty());
    assert_eq!((of_texts(0), of_texts(0)), (of_texts(1), of_texts(2)));
    assert!(
        largest_difference(&predicted(&made.path("run"), &table, &[]), &predicted(&bundle, &table, &[]))
            < 1e-5
    );
}

#[test]
fn layers_are_trained_on_pairs_and_the_token_types_with_them() {
    let made = Made::new("bert", &[]);
    made.train("top", &["--freeze", "backbone:0-0", "--epochs", "1", "--head-init", "random"]).success();
    let table = made.pairs("some.jsonl", &PAIRS);
    let bundle = made.bundle("top", "top.frost", &[]);
    let (run, bundle) = (predicted(&made.path("top"), &table, &[]), predicted(&bundle, &table, &[]));
    assert!(largest_difference(&run, &bundle) < 1e-5, "{run:?} {bundle:?}");
    let plan = ["--task", "sentiment", "--freeze", "head:sentiment", "--epochs", "1"];
    let random = ["--head-init", "random", "--init-heads", "random"];
    made.train("whole", &[&plan[..], &random].concat()).success();
    let types = proof(&made.path("whole"))["embeddings.token_type_embeddings.weight"];
    assert_eq!([types[0], types[2]], [true; 2], "trained, and with a gradient");
    made.bundle("whole", "whole.frost", &[]);
    // A later training goes on from a run of pairs, with texts, too.
    let (out, backbone) = (made.path("texts"), made.path("top"));
    frosthead(&[
        "train",
        text(&demo(ROWS)),
        "--backbone",
        text(&backbone),
        "--task",
        "domain",
        "--out",
        text(&out),
    ])
    .success();
}

#[test]
fn a_bundle_says_that_it_reads_pairs_and_everything_reads_them_by_it() {
    let made = Made::new("bert", &[]);
    made.train("run", &["--features", "all"]).success();
    let bundle =
        made.bundle("run", "pairs.frost", &["--keep-validation", "--precision", "int8", "--max-drop", "100"]);
    let manifest = frosthead(&["inspect", text(&bundle), "--json"]).success().json()["manifest"].clone();
    assert_eq!(
        [&manifest["format"], &manifest["text"], &manifest["second_text"]],
        [&json!(8), &json!("premise"), &json!("hypothesis")]
    );
    for model in [&bundle, &made.path("run")] {
        let said = frosthead(&["inspect", text(model)]).success().stdout;
        assert!(said.contains("pairs of texts, from the columns \"premise\" and \"hypothesis\""), "{said}");
    }
    let doctor = frosthead(&["doctor", text(&bundle), "--on", text(&made.data), "--json"]).success().json();
    assert_eq!(doctor["texts"]["texts"], ROWS, "{doctor}");
    let anew = made.path("anew.frost");
    let refit = ["refit", text(&bundle), text(&made.data), "--task", "domain", "--task", "sentiment"];
    frosthead(&[&refit[..], &["--out", text(&anew)]].concat()).success();
    let table = made.pairs("some.jsonl", &PAIRS);
    assert!(predicted(&anew, &table, &[])[0].get("sentiment_predicted").is_some());
    let latency =
        ["bench", "latency", text(&made.data), "--model", text(&bundle), "--limit", "2", "--rounds", "1"];
    frosthead(&latency).success();
    let limited = predicted(&bundle, &table, &["--memory", "400M"]);
    assert_eq!(limited, predicted(&bundle, &table, &[]));
    // The library.
    let classifier = Classifier::open(&bundle).unwrap();
    assert!(classifier.reads_pairs());
    let found = classifier.predict(&PAIRS).unwrap();
    let said = predicted(&bundle, &table, &[]);
    for (found, said) in found.iter().zip(&said) {
        let label = &classifier.heads()[0].labels[found[0].label];
        assert_eq!(said["domain_predicted"], label.as_str());
    }
    let refused = classifier.predict(&["one text"]).unwrap_err().to_string();
    assert!(refused.contains("reads pairs of texts") && refused.contains("found one text"), "{refused}");
    let backbone = Backbone::open(&made.backbone).unwrap();
    assert!(!backbone.reads_pairs() && backbone.reading(true).unwrap().reads_pairs());
    assert!(Input::pairs(&made.data, ["premise", "hypothesis"]).is_ok());
}

#[test]
fn pairs_are_served_where_there_is_a_place_for_them() {
    let made = Made::new("bert", &[]);
    made.train("run", &[]).success();
    let bundle = made.bundle("run", "pairs.frost", &[]);
    let expected = predicted(&bundle, &made.pairs("some.jsonl", &PAIRS), &[]);
    let server = Server::of(&bundle, &[]);
    assert_eq!(server.get("/v1/model").json()["pairs"], true);
    let reply = server.post("/v1/predict", &json!({"pairs": PAIRS, "probabilities": true}));
    assert_eq!(reply.status, 200, "{reply:?}");
    let compatible = server.post("/predict", &json!({"inputs": PAIRS})).json();
    let single = server.post("/predict", &json!({"inputs": PAIRS[0]})).json();
    for (place, expected) in expected.iter().enumerate() {
        let found = &reply.json()["results"][place]["tasks"]["domain"];
        assert_eq!(found["label"], expected["domain_predicted"]);
        for (label, probability) in found["probabilities"].as_object().unwrap() {
            let expected = expected[format!("domain_probability_{label}")].as_f64().unwrap();
            assert!((probability.as_f64().unwrap() - expected).abs() < 1e-5);
        }
        assert_eq!(compatible[place][0]["label"], expected["domain_predicted"]);
    }
    assert_eq!(single, compatible[0]);
    let pairs = "reads pairs of texts";
    for (path, body, why) in [
        ("/v1/predict", json!({"texts": ["a"]}), pairs),
        ("/v1/predict", json!({}), "missing field `pairs`"),
        ("/v1/predict", json!({"texts": ["a"], "pairs": [["a", "b"]]}), "exclude each other"),
        ("/v1/predict", json!({"pairs": [["a"]]}), ""),
        ("/predict", json!({"inputs": "a"}), pairs),
        ("/predict", json!({"inputs": [["a"], ["b"]]}), pairs),
        ("/predict", json!({"inputs": ["a", "b", "c"]}), pairs),
        ("/embed", json!({"inputs": ["a"]}), "no place for them"),
        ("/v1/embeddings", json!({"input": ["a", "b"]}), "no place for them"),
    ] {
        let error = server.post(path, &body).refused(422, "invalid_request");
        assert!(error["message"].as_str().unwrap().contains(why), "{path} {body}: {error}");
    }
    let checked = ["bench", "serve", text(&made.data), "--server", &server.address.to_string(), "--check"];
    let load = ["--seconds", "1", "--clients", "2", "--limit", "20", "--json"];
    let figures = frosthead(&[&checked[..], &[text(&bundle)], &load, &COLUMNS].concat()).success().json();
    assert!(figures["checked"].as_u64().unwrap() > 0 && figures["wrong"] == 0, "{figures}");
    // A model that reads texts has no use for pairs.
    let texts = Server::plain(&[]);
    for (path, body) in [
        ("/v1/predict", json!({"pairs": [["a", "b"]]})),
        ("/predict", json!({"inputs": [["a", "b"]]})),
        ("/predict", json!({"inputs": ["a", "b"]})),
    ] {
        let error = texts.post(path, &body).refused(422, "invalid_request");
        assert!(error["message"].as_str().unwrap().contains("one by one"), "{error}");
    }
}

#[test]
fn scenarios_are_compared_on_pairs() {
    let made = Made::new("bert", &[]);
    let (out, cache) = (made.path("compare"), made.path("cache"));
    let base = ["compare", text(&made.data), "--backbone", text(&made.backbone), "--task", "domain"];
    let more =
        ["--scenarios", "1,2,2:all,top1", "--epochs", "1", "--cache", text(&cache), "--out", text(&out)];
    let compared = frosthead(&[&base[..], &more, &COLUMNS].concat()).success();
    assert!(compared.stderr.contains("a label's description is one text"), "{}", compared.stderr);
    let report: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    let done = report["backbones"][0]["scenarios"].as_array().unwrap().iter();
    let done = done.filter(|scenario| scenario.to_string().contains("\"metrics\"")).count();
    // 2 is two: as it comes, and with features chosen.
    assert_eq!(done, 4, "{report}");
}

#[test]
fn what_pairs_cannot_be_is_refused() {
    let made = Made::new("bert", &[]);
    let windows = ["--long", "windows", "--features", "all"];
    made.train("run", &windows).fails_with(&["pairs of texts cannot be read in windows", "--long truncate"]);
    made.train("run", &["--text", "domain"]).fails_with(&["no more than two texts", "--text hypothesis"]);
    let base = ["train", text(&made.data), "--backbone", text(&made.backbone), "--task", "domain"];
    let train = |more: &[&str]| {
        let out = made.path("refused");
        frosthead(&[&base[..], &["--out", text(&out)], more].concat())
    };
    train(&["--text", "premise", "--text", "premise"]).fails_with(&["two different columns"]);
    train(&["--text", "premise", "--text", "other"]).fails_with(&["no such column", "\"other\""]);
    train(&[&COLUMNS[..], &["--freeze", "all"]].concat())
        .fails_with(&["a label's description is one text", "reads pairs"]);
    made.train("run", &[]).success();
    let run = made.path("run");
    let model = ["--model", text(&run)];
    let predict =
        |data: &Path, more: &[&str]| frosthead(&[&["predict", text(data)], &model[..], more].concat());
    predict(&made.data, &["--text", "premise"]).fails_with(&["reads pairs of texts", "--text COLUMN twice"]);
    let other = made.path("other.csv");
    std::fs::write(&other, "premise,domain\na,tweet\n").unwrap();
    predict(&other, &[]).fails_with(&["\"hypothesis\", a text column that", "--text COLUMN --text COLUMN"]);
    let lines = ["predict", "-", "--model", text(&run)];
    frosthead_reading(b"a\nb\n", &lines).fails_with(&["one text in a row, not a pair", "--format csv"]);
    let csv = frosthead_reading(b"premise,hypothesis\na,b\n", &[&lines[..], &["--format", "csv"]].concat());
    assert_eq!(csv.success().json_lines().len(), 1);
    // An empty half is data, counted and said; --strict refuses it.
    let halves = made.pairs("halves.jsonl", &[["a", ""], ["", "b"], ["", ""], ["a", "b"]]);
    let said = predict(&halves, &[]).success();
    assert_eq!(said.json_lines().len(), 4);
    for part in ["1 empty texts", "2 pairs with one empty text"] {
        assert!(said.stderr.contains(part), "{}", said.stderr);
    }
    predict(&halves, &["--strict"]).fails_with(&["row 1", "a pair with an empty text"]);
    // Texts are read one by one by who was trained so.
    let plain = made.path("plain");
    train(&["--text", "premise", "--overwrite"]).success();
    std::fs::rename(made.path("refused"), &plain).unwrap();
    frosthead(&[&["predict", text(&made.data), "--model", text(&plain)], &COLUMNS[..]].concat())
        .fails_with(&["reads texts one by one", "--text premise --text hypothesis"]);
}

/// Heads that are trained on features of pairs read pairs, too.
#[test]
fn features_of_pairs_say_what_they_are() {
    let made = Made::new("bert", &[]);
    let (parquet, run, bundle) = (made.path("pairs.parquet"), made.path("run"), made.path("x.frost"));
    let embed = ["embed", text(&made.data), "--backbone", text(&made.backbone), "--out", text(&parquet)];
    frosthead(&[&embed[..], &COLUMNS].concat()).success();
    frosthead(&["train", text(&parquet), "--task", "domain", "--out", text(&run)]).success();
    let (table, backbone) = (made.pairs("some.jsonl", &PAIRS), ["--backbone", text(&made.backbone)]);
    let predict = ["predict", text(&table), "--model", text(&run), "--all-probabilities"];
    frosthead(&[&predict[..], &backbone, &["--text", "premise"]].concat())
        .fails_with(&["reads pairs of texts"]);
    let ours = frosthead(&[&predict[..], &backbone, &COLUMNS].concat()).success().json_lines();
    frosthead(&[&["bundle", text(&run), "--out", text(&bundle)], &backbone[..]].concat()).success();
    assert!(largest_difference(&ours, &predicted(&bundle, &table, &COLUMNS)) < 1e-5);
}

#[test]
fn a_tokenizer_without_a_template_for_pairs_is_named() {
    let place = directory();
    let (from, backbone) = (place.path().join("from"), place.path().join("backbone"));
    std::fs::create_dir(&from).unwrap();
    let bert = root().join("tests/data/families/bert");
    for file in ["config.json", "model.safetensors", "tokenizer_config.json"] {
        std::fs::copy(bert.join(file), from.join(file)).unwrap();
    }
    let mut tokenizer: Value =
        serde_json::from_slice(&std::fs::read(bert.join("tokenizer.json")).unwrap()).unwrap();
    tokenizer["post_processor"]["pair"] =
        json!([{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]);
    std::fs::write(from.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    frosthead(&["import", text(&from), "--out", text(&backbone)]).success();
    let (table, out) = (place.path().join("pairs.csv"), place.path().join("out.parquet"));
    std::fs::write(&table, "premise,hypothesis\na,b\n").unwrap();
    let embed = ["embed", text(&table), "--backbone", text(&backbone), "--out", text(&out)];
    frosthead(&[&embed[..], &COLUMNS].concat()).fails_with(&[
        "no template for pairs of texts",
        "nothing between two texts",
        "join both texts in one column",
    ]);
    frosthead(&[&embed[..], &["--text", "premise"]].concat()).success();
}

/// An ONNX file's own token types are fed, in the backbone and in a bundle of it.
#[test]
fn token_types_of_a_graph_made_elsewhere_are_fed() {
    let place = directory();
    let path = |name: &str| place.path().join(name);
    let folder = root().join("tests/data/foreign_onnx");
    let mut tokenizer: Value =
        serde_json::from_slice(&std::fs::read(folder.join("tokenizer.json")).unwrap()).unwrap();
    for part in tokenizer["post_processor"]["pair"].as_array_mut().unwrap().iter_mut().skip(3) {
        part.as_object_mut().unwrap().values_mut().for_each(|part| part["type_id"] = 1.into());
    }
    std::fs::write(path("tokenizer.json"), tokenizer.to_string()).unwrap();
    let (graph, own) = (folder.join("encoder.onnx"), path("tokenizer.json"));
    let (backbone, table, out) = (path("backbone"), path("pairs.csv"), path("out.parquet"));
    let import = ["import", text(&graph), "--tokenizer", text(&own), "--max-length", "40"];
    frosthead(&[&import[..], &["--out", text(&backbone)]].concat()).success();
    let lines: String = (0..40).map(|row| format!("word {row},other {},{}\n", row % 3, row % 2)).collect();
    std::fs::write(&table, format!("premise,hypothesis,domain\n{lines}")).unwrap();
    let embed = ["embed", text(&table), "--backbone", text(&backbone), "--out", text(&out)];
    frosthead(&[&embed[..], &COLUMNS].concat()).success();
    let found = features(&out, None);
    let tokenizer = Tokenizer::open(&path("tokenizer.json")).unwrap();
    let encoded = tokenizer.encode(&[("word 0", "other 0"), ("word 1", "other 1")], 40).unwrap();
    let runtime = Runtime::load(&RuntimeOptions::default()).unwrap();
    let mut session = runtime.session(&graph).unwrap();
    for row in 0..2 {
        let length = encoded.ids(row).len();
        let ids: Vec<i64> = encoded.ids(row).iter().map(|id| i64::from(*id)).collect();
        let mut pooled = |types: Vec<i64>| {
            let (shape, ones) = ([1, length], vec![1; length]);
            let named = [("input_ids", &ids), ("attention_mask", &ones), ("token_type_ids", &types)];
            let fed = named.map(|(name, values)| Fed { name, shape: &shape, values: Values::I64(values) });
            let states = session.run(&fed, &["last_hidden_state"]).unwrap().remove(0).data;
            let width = states.len() / length;
            (0..width).map(|at| states.iter().skip(at).step_by(width).sum::<f32>()).collect::<Vec<f32>>()
        };
        let types: Vec<i64> = (0..length).map(|at| i64::from(at >= encoded.zeros(row))).collect();
        assert!(types.contains(&1));
        let ours = &found.features[row * found.width..][..found.width];
        let (right, wrong) = (cosine(ours, &pooled(types)), cosine(ours, &pooled(vec![0; length])));
        assert!(right > 1.0 - 1e-6 && wrong < 1.0 - 1e-3, "{row}: {right} {wrong}");
    }
    let (run, bundle) = (path("run"), path("x.frost"));
    let train =
        ["train", text(&table), "--backbone", text(&backbone), "--task", "domain", "--out", text(&run)];
    frosthead(&[&train[..], &COLUMNS].concat()).success();
    frosthead(&["bundle", text(&run), "--out", text(&bundle)]).success();
    let (ours, theirs) = (predicted(&run, &table, &[]), predicted(&bundle, &table, &[]));
    assert!(largest_difference(&ours, &theirs) < 1e-5);
}

fn cosine(one: &[f32], other: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(one, other) / (dot(one, one) * dot(other, other)).sqrt()
}
