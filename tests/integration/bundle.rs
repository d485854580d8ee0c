//! One file to the edge: what is in a bundle is its run, any ONNX Runtime can use it, and nothing false is
//! loaded.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use frosthead::internal::bundle::Bundle;
use frosthead::internal::fingerprint::Fingerprint;
use frosthead::{Classifier, OpenOptions, RuntimeOptions};

use crate::fuzz::repair;
use crate::harness::{
    Finished, backbone, command, demo, directory, finish, frosthead, frosthead_reading, real, root, text,
};

/// A trained run and its bundle.
pub struct Made {
    pub run: PathBuf,
    pub bundle: PathBuf,
}

impl Made {
    pub fn new(name: &str, rows: usize, more: &[&str]) -> Self {
        Self::on(backbone(), name, rows, more)
    }

    fn on(backbone: &str, name: &str, rows: usize, more: &[&str]) -> Self {
        let place = directory().keep();
        let (run, bundle) = (place.join(name), place.join(format!("{name}.frost")));
        let data = demo(rows);
        let mut arguments =
            vec!["train", text(&data), "--backbone", backbone, "--task", "domain", "--task", "sentiment"];
        arguments.extend(["--out", text(&run)]);
        arguments.extend(more);
        frosthead(&arguments).success();
        frosthead(&["bundle", text(&run), "--out", text(&bundle)]).success();
        Self { run, bundle }
    }

    fn run(&self) -> &str {
        text(&self.run)
    }

    fn bundle(&self) -> &str {
        text(&self.bundle)
    }
}

/// Two heads on the sentence embedding.
pub fn plain() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| Made::new("plain", 300, &[]))
}

/// The same on the real backbone.
pub fn real_plain() -> &'static Made {
    static MADE: OnceLock<Made> = OnceLock::new();
    MADE.get_or_init(|| Made::on(real(), "real", 300, &[]))
}

/// What the plain bundle's network says of a phrase, asked without a server.
pub fn domain_of(phrase: &str) -> String {
    let bundle = open(&plain().bundle);
    let label = bundle.predict(&[phrase]).unwrap()[0][0].label;
    let heads = bundle.heads();
    heads.iter().find(|head| head.task == "domain").unwrap().labels[label].clone()
}

pub fn open(path: &Path) -> Classifier {
    let library = Some(root().join(".downloads/onnxruntime"));
    let runtime = RuntimeOptions { library, ..RuntimeOptions::default() };
    Classifier::open_with(path, &OpenOptions { runtime, ..OpenOptions::default() }).unwrap()
}

pub fn texts(rows: usize) -> Vec<String> {
    let mut reader = csv::Reader::from_path(demo(rows)).unwrap();
    reader.records().map(|record| record.unwrap()[0].to_owned()).collect()
}

/// Run and bundle say the same of these texts.
fn agree(made: &Made, texts: &[String]) {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (run, bundle) = (open(&made.run), open(&made.bundle));
    assert_eq!(run.heads(), bundle.heads());
    let (run, bundle) = (run.predict(&texts).unwrap(), bundle.predict(&texts).unwrap());
    for (run, bundle) in run.iter().flatten().zip(bundle.iter().flatten()) {
        assert_eq!(run.label, bundle.label);
        let pairs = run.logits.iter().zip(&bundle.logits);
        for (one, other) in pairs.chain(run.probabilities.iter().zip(&bundle.probabilities)) {
            assert!((one - other).abs() < 1e-5, "{one} and {other}");
        }
    }
}

#[test]
fn a_bundle_says_what_its_run_says() {
    let made = plain();
    agree(made, &texts(300));
    let size = std::fs::metadata(&made.bundle).unwrap().len();
    assert!(size < 92_000_000, "{size}");
    let data = demo(300);
    let printed = |model: &str| {
        let finished = frosthead(&["predict", text(&data), "--model", model, "--top-k", "2"]).success();
        assert!(finished.stderr.contains("of 300 texts were cut"), "{}", finished.stderr);
        finished
            .json_lines()
            .iter()
            .map(|line| {
                ["text", "domain_predicted", "sentiment_predicted", "sentiment_predicted_2"]
                    .map(|key| line[key].clone())
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(printed(made.run()), printed(made.bundle()));
}

#[test]
fn heads_on_layers_and_texts_in_windows_are_bundled_too() {
    let made = Made::new("layers", 300, &["--features", "layers:2-5", "--long", "windows", "--window", "24"]);
    let mut texts = texts(300);
    texts.push("The plot drags. The jokes fall flat, and nobody laughed. ".repeat(40));
    agree(&made, &texts);
    let long = texts.last().unwrap().as_bytes();
    let explained = |model: &str| {
        let arguments = ["predict", "-", "--model", model, "--explain", "windows"];
        let finished = frosthead_reading(long, &arguments).success();
        assert!(finished.stderr.contains("in windows of 24 tokens"), "{}", finished.stderr);
        let windows = finished.json_lines()[0]["domain_windows"].as_array().unwrap().clone();
        windows
            .iter()
            .map(|window| ["start", "end", "tokens"].map(|key| window[key].clone()))
            .collect::<Vec<_>>()
    };
    let windows = explained(made.bundle());
    assert!(windows.len() > 10);
    assert_eq!(windows, explained(made.run()));
    let whole = Made::new("all", 300, &["--features", "all"]);
    agree(&whole, &texts[..40]);
}

#[test]
fn trained_layers_are_bundled() {
    let made = Made::new("trained", 300, &["--unfreeze", "1", "--epochs", "1"]);
    agree(&made, &texts(300)[..60]);
    let described = frosthead(&["inspect", made.bundle()]).success();
    assert!(described.stdout.contains("layers of the backbone"), "{}", described.stdout);
    // Its backbone is not the imported one: no feature of that is taken for one of this.
    let cache = directory();
    let data = demo(300);
    let embed = |model: &str, out: &str| {
        let out = cache.path().join(out);
        let arguments =
            ["embed", text(&data), "--backbone", model, "--cache", text(cache.path()), "--out", text(&out)];
        frosthead(&arguments).success()
    };
    embed(backbone(), "one.parquet");
    let bundled = embed(made.bundle(), "two.parquet");
    assert!(bundled.stderr.contains("(300 texts computed, 0 from the store)"), "{}", bundled.stderr);
}

#[test]
fn a_foreign_graph_is_bundled_with_its_weights_wherever_they_were() {
    for name in ["encoder.onnx", "encoder_external.onnx"] {
        let directory = directory();
        let place = |name: &str| directory.path().join(name);
        let (data, model) = (demo(300), place("model"));
        let made = Made { run: place("run"), bundle: place("x.frost") };
        let graph = root().join("tests/data/foreign_onnx").join(name);
        frosthead(&["import", text(&graph), "--max-length", "32", "--out", text(&model)]).success();
        frosthead(&[
            "train",
            text(&data),
            "--backbone",
            text(&model),
            "--task",
            "domain",
            "--out",
            made.run(),
        ])
        .success();
        frosthead(&["bundle", made.run(), "--out", made.bundle(), "--precision", "int8"]).fails_with(&[
            "cannot be put into 8 bits",
            "--precision fp32",
            "imported .onnx",
        ]);
        frosthead(&["bundle", made.run(), "--out", made.bundle()]).success();
        std::fs::remove_dir_all(place("model")).unwrap();
        let predicted = frosthead(&["predict", text(&data), "--model", made.bundle()]).success();
        assert_eq!(predicted.json_lines().len(), 300);
        frosthead(&["import", text(&graph), "--max-length", "32", "--out", text(&model)]).success();
        agree(&made, &texts(300)[..20]);
        let out = place("features.parquet");
        let embedded =
            frosthead(&["embed", text(&data), "--backbone", made.bundle(), "--out", text(&out)]).success();
        assert!(embedded.stderr.contains("300 rows of 24 numbers"), "{}", embedded.stderr);
        frosthead(&[
            "train",
            text(&data),
            "--backbone",
            made.bundle(),
            "--task",
            "domain",
            "--unfreeze",
            "1",
            "--out",
            "x",
        ])
        .fails_with(&["cannot be cut inside", "imported .onnx"]);
    }
}

#[test]
fn the_same_run_gives_the_same_bytes_and_another_one_is_refused() {
    let made = plain();
    let directory = directory();
    let out = directory.path().join("again.frost");
    let bundle =
        |run: &str, more: &[&str]| frosthead(&[&["bundle", run, "--out", text(&out)], more].concat());
    bundle(made.run(), &["--threads", "1"]).success();
    let bytes = std::fs::read(&out).unwrap();
    assert!(bytes == std::fs::read(&made.bundle).unwrap(), "two bundles of one run differ");
    let again = bundle(made.run(), &[]).success();
    assert!(again.stderr.contains("up to date"), "{}", again.stderr);
    let other = Made::new("other", 300, &["--seed", "7"]);
    bundle(other.run(), &[]).fails_with(&["made from something else", "--overwrite"]);
    assert!(bytes == std::fs::read(&out).unwrap(), "a refused bundle was replaced");
    bundle(other.run(), &["--overwrite"]).success();
    assert!(std::fs::read(&out).unwrap() == std::fs::read(&other.bundle).unwrap());
    let left: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["again.frost"]);
}

#[test]
fn any_onnx_runtime_can_use_what_is_inside() {
    let made = real_plain();
    let python = root().join(".downloads/venv/bin/python");
    assert!(python.is_file(), "{} is missing: run ./scripts/test.sh", python.display());
    let directory = directory();
    let sentences = ["lol best day ever", "The committee will vote on the budget on Tuesday."];
    let tokenizer = frosthead::internal::tokens::Tokenizer::open(
        &root().join(".downloads/all-MiniLM-L6-v2/tokenizer.json"),
    );
    let encoded = tokenizer.unwrap().encode(&sentences, 256).unwrap();
    let ids: Vec<&[u32]> = (0..sentences.len()).map(|index| encoded.ids(index)).collect();
    let script = "
import json, sys, zipfile, numpy, onnxruntime
archive = zipfile.ZipFile(sys.argv[1])
assert archive.testzip() is None
archive.extractall(sys.argv[2])
tokenizer = json.load(open(sys.argv[2] + '/tokenizer.json'))
assert tokenizer['truncation']['max_length'] == 256 and tokenizer['padding'] is None
labels = json.load(open(sys.argv[2] + '/labels.json'))
session = onnxruntime.InferenceSession(sys.argv[2] + '/model.onnx')
for ids in json.loads(sys.argv[3]):
    ids = numpy.array([ids], dtype=numpy.int64)
    outputs = [output.name for output in session.get_outputs()]
    found = dict(zip(outputs, session.run(None, {'input_ids': ids, 'attention_mask': numpy.ones_like(ids)})))
    assert found['embedding'].shape == (1, 384)
    assert found['logits_domain'].shape == (1, 4)
    print(json.dumps({f'{task}_probability_{label}': float(found[f'probabilities_{task}'][0][place])
                      for task, names in labels.items() for place, label in enumerate(names)}))
";
    let output = std::process::Command::new(python)
        .args(["-c", script, made.bundle(), text(directory.path()), &serde_json::to_string(&ids).unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let python = String::from_utf8(output.stdout).unwrap();
    let python: Vec<serde_json::Value> =
        python.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let input = sentences.join("\n");
    let arguments = ["predict", "-", "--model", made.bundle(), "--all-probabilities"];
    let answers = frosthead_reading(input.as_bytes(), &arguments).success().json_lines();
    for (answers, python) in answers.iter().zip(&python) {
        let probabilities = python.as_object().unwrap();
        assert_eq!(probabilities.len(), 4 + 3);
        for (name, probability) in probabilities {
            let difference = answers[name].as_f64().unwrap() - probability.as_f64().unwrap();
            assert!(difference.abs() < 1e-5, "{name}: {answers} {python}");
        }
    }
}

#[test]
fn eval_of_a_bundle_equals_that_of_its_run_and_shares_its_features() {
    let made = plain();
    let data = demo(300);
    let eval = |model: &str| {
        frosthead(&["eval", text(&data), "--model", model, "--rows", "all", "--json"]).success()
    };
    let (run, bundle) = (eval(made.run()).json(), eval(made.bundle()).json());
    assert_eq!(run["tasks"], bundle["tasks"]);
    assert!(bundle["rows"]["new"].is_null(), "a bundle knows no rows: {}", bundle["rows"]);
    frosthead(&["eval", text(&data), "--model", made.bundle(), "--task", "other"])
        .fails_with(&["\"other\"", "domain"]);
    frosthead(&["eval", text(&data), "--model", made.bundle(), "--backbone", backbone()])
        .fails_with(&["backbone of its own"]);
    frosthead(&["predict", text(&data), "--model", made.bundle(), "--backbone", backbone()])
        .fails_with(&["backbone of its own"]);
}

#[test]
fn a_bundle_can_stand_for_its_backbone() {
    let made = plain();
    let (directory, data) = (directory(), demo(300));
    let cache = directory.path().join("cache");
    let path = |name: &str| directory.path().join(name);
    let embed = |model: &str, out: &Path| {
        frosthead(&["embed", text(&data), "--backbone", model, "--cache", text(&cache), "--out", text(out)])
            .success()
    };
    let computed = embed(made.bundle(), &path("bundle.parquet"));
    assert!(computed.stderr.contains("(300 texts computed, 0 from the store)"), "{}", computed.stderr);
    // Equal weights, equal tokenizer: the features are those of the imported backbone, to the bit, and shared
    // with it.
    let shared = embed(backbone(), &path("backbone.parquet"));
    assert!(shared.stderr.contains("(0 texts computed, 300 from the store)"), "{}", shared.stderr);
    let features = |name: &str| crate::harness::features(&path(name), None).features;
    assert_eq!(features("bundle.parquet"), features("backbone.parquet"));
    let train = |model: &str, out: &Path, more: &[&str]| {
        let mut arguments =
            vec!["train", text(&data), "--backbone", model, "--task", "domain", "--task", "sentiment"];
        arguments.extend(["--cache", text(&cache), "--out", text(out)]);
        arguments.extend(more);
        frosthead(&arguments).success();
    };
    train(made.bundle(), &path("run"), &[]);
    let heads = |run: &Path| std::fs::read(run.join("heads.safetensors")).unwrap();
    assert_eq!(heads(&path("run")), heads(&made.run));
    // Layers are trained on its weights where they lie, and the run finds them there again.
    let top = ["--unfreeze", "1", "--epochs", "1"];
    train(made.bundle(), &path("of-bundle"), &top);
    train(backbone(), &path("of-backbone"), &top);
    assert_eq!(heads(&path("of-bundle")), heads(&path("of-backbone")));
    frosthead(&["predict", text(&data), "--model", text(&path("of-bundle"))]).success();
    // And a run of it can be bundled.
    let next = Made { run: path("of-bundle"), bundle: path("next.frost") };
    frosthead(&["bundle", next.run(), "--out", next.bundle()]).success();
    agree(&next, &texts(300)[..20]);
    // So is a run of heads on that one, which is another backbone by now, and still says that its layers were
    // trained.
    let heads = Made { run: path("heads"), bundle: path("heads.frost") };
    train(next.bundle(), &heads.run, &[]);
    frosthead(&["bundle", heads.run(), "--out", heads.bundle()]).success();
    agree(&heads, &texts(300)[..20]);
    let changed = |bundle: &str| {
        frosthead(&["inspect", bundle, "--json"]).success().json()["manifest"]["changed"].clone()
    };
    assert!(changed(made.bundle()).is_null() && changed(next.bundle()).is_string());
    assert_eq!(changed(heads.bundle()), changed(next.bundle()));
}

#[test]
fn a_bundle_is_described_and_keeps_nothing_of_the_texts() {
    let made = real_plain();
    let described = frosthead(&["inspect", made.bundle()]).success().stdout;
    for part in [
        "format 2, fp32",
        "90.8 MB",
        "all-MiniLM-L6-v2",
        "apache-2.0",
        "negative, neutral, positive",
        "truncate",
    ] {
        assert!(described.contains(part), "{part:?} is not in {described}");
    }
    assert!(described.lines().count() < 24, "{described}");
    let json = frosthead(&["inspect", made.bundle(), "--json"]).success().json();
    assert_eq!(json["kind"], "bundle");
    assert_eq!(json["manifest"]["backbone"]["source"]["licence"], "apache-2.0");
    assert_eq!(json["bytes"], std::fs::metadata(&made.bundle).unwrap().len());
    let kept = frosthead(&["inspect", made.bundle(), "--privacy"]).success().stdout;
    for name in ["manifest.json", "labels.json", "model.onnx.data", "golden.json", "No text"] {
        assert!(kept.contains(name), "{name:?} is not in {kept}");
    }
    let kept = frosthead(&["inspect", made.bundle(), "--privacy", "--json"]).success().json();
    assert_eq!(kept.as_array().unwrap().len(), 8);
    frosthead(&["inspect", made.run(), "--privacy"]).fails_with(&["--privacy", "bundle the run"]);
    let bytes = std::fs::read(&made.bundle).unwrap();
    let small = [&bytes[..600_000], &bytes[bytes.len() - 100_000..]].concat();
    let holds = |part: &[u8]| small.windows(part.len()).any(|window| window == part);
    assert!(
        holds(b"The meeting was moved to Thursday."),
        "the golden sentences are not where they are looked for"
    );
    for text in texts(300).iter().filter(|text| text.len() > 20) {
        assert!(!holds(&text.as_bytes()[..text.floor_char_boundary(24)]), "{text:?} is in the bundle");
    }
    for path in [text(&demo(300)), made.run(), text(root())] {
        assert!(!holds(path.as_bytes()), "{path:?} is in the bundle");
    }
}

#[test]
fn doctor_tests_a_bundle_and_says_what_it_took() {
    let report = frosthead(&["doctor", plain().bundle(), "--json"]).success().json();
    let model = &report["model"];
    assert_eq!(model["precision"], "fp32");
    assert_eq!(model["self_test"]["sentences"], 3);
    let difference = model["self_test"]["largest_difference"].as_f64().unwrap();
    assert!(difference <= 1e-4, "{model}");
    let seconds = |name: &str| model[name].as_f64().unwrap();
    assert!(seconds("open_seconds") > model["self_test"]["seconds"].as_f64().unwrap());
    assert!((0.00001..5.0).contains(&seconds("first_prediction_seconds")));
    // A bound on what was measured; the weights are mapped, not copied.
    assert!((40e6..130e6).contains(&model["peak_rss_bytes"].as_f64().unwrap()), "{model}");
    let printed = frosthead(&["doctor", plain().bundle()]).success().stdout;
    assert!(printed.contains("self-test") && printed.contains("3 sentences"), "{printed}");
    let skipped = frosthead(&["doctor", plain().bundle(), "--json", "--skip-self-test"]).success().json();
    assert!(skipped["model"]["self_test"].is_null());
    let run = frosthead(&["doctor", plain().run(), "--json"]).success().json();
    assert_eq!(run["model"]["precision"], "run");
}

#[test]
fn latency_is_measured_text_by_text() {
    let data = demo(300);
    let bench = |more: &[&str]| {
        let arguments = ["bench", "latency", text(&data), "--model", plain().bundle(), "--json"];
        frosthead(&[&arguments[..], more].concat()).success().json()
    };
    let figures = bench(&["--limit", "20", "--rounds", "2", "--threads", "1"]);
    assert_eq!(figures["texts"], 20);
    let milliseconds = &figures["milliseconds"];
    assert_eq!(milliseconds["calls"], 40);
    let of = |name: &str| milliseconds[name].as_f64().unwrap();
    assert!(0.1 < of("p50") && of("p50") <= of("p95") && of("p95") <= of("p99") && of("p99") <= of("max"));
    assert!((5.0..100.0).contains(&figures["tokens"].as_f64().unwrap()), "{figures}");
    assert_eq!(bench(&["--limit", "5", "--rounds", "1"])["milliseconds"]["calls"], 5);
    frosthead(&["bench", "latency", text(&data), "--model", plain().bundle(), "--limit", "0"])
        .fails_with(&["no texts"]);
}

/// A key pair of minisign's, without a password: the files of the secret and the public key.
pub fn keys(place: &Path, name: &str) -> (PathBuf, PathBuf) {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let (secret, public) = (place.join(format!("{name}.key")), place.join(format!("{name}.pub")));
    std::fs::write(&secret, pair.sk.to_box(None).unwrap().into_string()).unwrap();
    std::fs::write(&public, pair.pk.to_box().unwrap().into_string()).unwrap();
    (secret, public)
}

#[test]
fn with_a_key_only_what_was_signed_with_it_is_loaded() {
    let made = plain();
    let directory = directory();
    let ((secret, public), (_, other)) = (keys(directory.path(), "own"), keys(directory.path(), "other"));
    let out = directory.path().join("signed.frost");
    let data = demo(300);
    let bundle = |more: &[&str]| frosthead(&[&["bundle", made.run(), "--out", text(&out)], more].concat());
    let predict = |model: &Path, key: &str| {
        frosthead(&["predict", text(&data), "--model", text(model), "--trust", key])
    };
    bundle(&[]).success();
    predict(&out, text(&public)).fails_with(&["not signed", "signed.frost.minisig", "--sign"]);
    bundle(&["--sign", text(&secret)]).success();
    predict(&out, text(&public)).success();
    let key = std::fs::read_to_string(&public).unwrap().lines().nth(1).unwrap().to_owned();
    predict(&out, &key).success();
    predict(&out, text(&other)).fails_with(&["not signed with this key"]);
    predict(&out, "RWnonsense").fails_with(&["not a public key", "RWnonsense"]);
    predict(&made.run, text(&public)).fails_with(&["only a bundle can be signed"]);
    let other = text(&other);
    for arguments in [
        vec!["eval", text(&data), "--model", text(&out)],
        vec!["doctor", text(&out)],
        vec!["inspect", text(&out)],
        vec!["bench", "latency", text(&data), "--model", text(&out)],
        vec!["bench", "embed", text(&data), "--backbone", text(&out)],
        vec!["tune", text(&data), "--backbone", text(&out)],
        vec!["tune", text(&data), "--model", text(&out)],
        vec!["compare", text(&data), "--backbone", text(&out), "--task", "domain", "--out", "never"],
        vec!["embed", text(&data), "--backbone", text(&out), "--out", "never.parquet"],
        vec!["train", text(&data), "--backbone", text(&out), "--task", "domain", "--out", "never"],
    ] {
        frosthead(&[&arguments[..], &["--trust", other]].concat()).fails_with(&["not signed with this key"]);
    }
    let described = frosthead(&["inspect", text(&out), "--trust", text(&public)]).success();
    assert!(described.stdout.contains("by the trusted key"), "{}", described.stdout);
    // A signature belongs to its bytes: another bundle under the same name does not have it.
    let another = Made::new("unsigned", 300, &["--seed", "9"]);
    std::fs::copy(&another.bundle, &out).unwrap();
    predict(&out, text(&public)).fails_with(&["not signed with this key"]);
    frosthead(&["bundle", another.run(), "--out", text(&out), "--sign", text(&public)])
        .fails_with(&["secret key", "own.pub"]);
    // A bundle that is made anew without a key loses its signature.
    bundle(&["--overwrite", "--sign", text(&secret)]).success();
    predict(&out, text(&public)).success();
    frosthead(&["bundle", another.run(), "--out", text(&out), "--overwrite"]).success();
    assert!(!directory.path().join("signed.frost.minisig").exists());
}

#[test]
fn a_device_makes_the_new_bundle_out_of_the_old_one_and_a_small_update() {
    let layers = ["--unfreeze", "2", "--train", "biases", "--epochs", "1", "--learning-rate", "0.003"];
    let (before, after) = (real_plain(), Made::on(real(), "biases", 300, &layers));
    let directory = directory();
    let place = |name: &str| directory.path().join(name);
    let ((secret, public), (_, other)) = (keys(directory.path(), "own"), keys(directory.path(), "other"));
    let (model, update) = (place("model.frost"), place("new.frostup"));
    std::fs::copy(&before.bundle, &model).unwrap();
    let write = |old: &Path, more: &[&str]| {
        let arguments = ["bundle", after.run(), "--update-of", text(old), "--out", text(&update)];
        frosthead(&[&arguments[..], more].concat())
    };
    let written = write(&model, &["--sign", text(&secret)]).success();
    assert!(written.stderr.contains("new.frostup: written"), "{}", written.stderr);
    let size = std::fs::metadata(&update).unwrap().len();
    assert!(size <= 300_000, "{size} bytes for the biases of two layers");
    assert!(write(&model, &["--sign", text(&secret)]).success().stderr.contains("up to date"));
    write(&after.bundle, &["--overwrite"]).fails_with(&["nothing to update"]);
    write(&update, &[]).fails_with(&["not a bundle", "an update of a bundle", "frosthead update OLD.frost"]);

    let apply = |more: &[&str]| frosthead(&[&["update", text(&model), text(&update)], more].concat());
    apply(&["--trust", text(&other)]).fails_with(&["the update was not signed with this key"]);
    assert!(std::fs::read(&model).unwrap() == std::fs::read(&before.bundle).unwrap());
    let applied = apply(&["--trust", text(&public)]).success();
    assert!(applied.stderr.contains("model.frost: updated"), "{}", applied.stderr);
    assert!(
        std::fs::read(&model).unwrap() == std::fs::read(&after.bundle).unwrap(),
        "another bundle came out"
    );
    let data = demo(300);
    frosthead(&["predict", text(&data), "--model", text(&model), "--trust", text(&public)]).success();
    assert!(apply(&["--trust", text(&public)]).success().stderr.contains("up to date"));
    frosthead(&["update", text(&real_plain().bundle), text(&update), "--out", text(&update)])
        .fails_with(&["the output exists"]);
    let left: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 8, "{left:?}");
}

#[test]
fn an_update_in_int8_has_the_steps_of_the_bundle_that_it_is_made_of() {
    let layers = ["--unfreeze", "1", "--train", "biases", "--epochs", "1"];
    // Other rows, too: measured on them, the steps of all layers are other ones.
    let (before, after) = (plain(), Made::new("biases-in-int8", 340, &layers));
    let directory = directory();
    let place = |name: &str| directory.path().join(name);
    let (old, update, new, alone) =
        (place("old.frost"), place("new.frostup"), place("new.frost"), place("alone.frost"));
    let bundle = |run: &str, more: &[&str]| {
        let int8 = ["--precision", "int8", "--max-drop", "100"];
        frosthead(&[&["bundle", run], more, &int8[..]].concat()).success()
    };
    bundle(before.run(), &["--out", text(&old)]);
    bundle(after.run(), &["--out", text(&alone)]);
    let older = place("older.frost");
    std::fs::write(&older, without_ranges(&old)).unwrap();
    let written = bundle(after.run(), &["--update-of", text(&older), "--out", text(&place("large.frostup"))]);
    for said in ["older.frost: it does not say which ranges", "the update is larger"] {
        assert!(written.stderr.contains(said), "{}", written.stderr);
    }
    let written = bundle(after.run(), &["--update-of", text(&old), "--out", text(&update)]);
    assert!(!written.stderr.contains("warning"), "{}", written.stderr);
    frosthead(&["update", text(&old), text(&update), "--out", text(&new)]).success();
    let ranges = |path: &Path| Bundle::open(path, None).unwrap().ranges().unwrap().unwrap();
    assert!(ranges(&new) == ranges(&old) && ranges(&alone) != ranges(&old));
    let described = |path: &Path| frosthead(&["inspect", text(path), "--json"]).success().stdout;
    let as_before = "as in the bundle that this one updates";
    let measured = "calibration texts";
    let says = |path: &Path| [as_before, measured].map(|text| described(path).contains(text));
    assert_eq!((says(&new), says(&alone)), ([true, false], [false, true]));
    // Blocks of weights have no such steps, whatever is updated.
    let (update, blocks) = (place("w8.frostup"), place("w8.frost"));
    let w8 = ["--precision", "w8", "--max-drop", "100", "--update-of", text(&old), "--out", text(&update)];
    frosthead(&[&["bundle", after.run()], &w8[..]].concat()).success();
    frosthead(&["update", text(&old), text(&update), "--out", text(&blocks)]).success();
    assert_eq!(says(&blocks), [false, false]);
    frosthead(&["predict", text(&demo(60)), "--model", text(&new)]).success();
    // What is made of it keeps the ranges, for the next update.
    let later = place("later.frost");
    frosthead(&["refit", text(&new), text(&demo(120)), "--task", "domain", "--out", text(&later)]).success();
    assert!(ranges(&later) == ranges(&old));
}

/// The bundle as a program before format 8 made it.
fn without_ranges(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let python = "import sys, zipfile; print(*zipfile.ZipFile(sys.argv[1]).namelist(), sep='\\n')";
    let names = std::process::Command::new("python3").args(["-c", python, text(path)]).output().unwrap();
    let names = String::from_utf8(names.stdout).unwrap();
    assert!(names.contains("ranges.safetensors"), "{names}");
    let kept = names.lines().filter(|name| !["ranges.safetensors", "checksums.json"].contains(name));
    let entry = |name: &str| {
        let (_, start, _, length) = places(&bytes, name);
        (name.to_owned(), bytes[start..start + length].to_vec())
    };
    repair::archive(&kept.map(entry).collect::<Vec<_>>())
}

/// Where an entry's local header, bytes and central record begin, and its length.
pub fn places(bytes: &[u8], name: &str) -> (usize, usize, usize, usize) {
    let number = |at: usize, size: usize| {
        bytes[at..at + size].iter().rev().fold(0, |all, byte| all << 8 | usize::from(*byte))
    };
    let mut central = number(bytes.len() - 6, 4);
    while &bytes[central + 46..central + 46 + number(central + 28, 2)] != name.as_bytes() {
        central += 46 + number(central + 28, 2);
    }
    let header = number(central + 42, 4);
    let start = header + 30 + number(header + 26, 2) + number(header + 28, 2);
    (header, start, central, number(central + 24, 4))
}

/// Changes an entry's bytes and everything that vouches for them: a forger's work.
pub fn forge(bytes: &mut [u8], name: &str, change: &dyn Fn(&mut [u8])) {
    let (header, start, central, length) = places(bytes, name);
    let before = Fingerprint::of_bytes(&bytes[start..start + length]).to_string();
    change(&mut bytes[start..start + length]);
    let crc = crc32fast::hash(&bytes[start..start + length]).to_le_bytes();
    bytes[header + 14..header + 18].copy_from_slice(&crc);
    bytes[central + 16..central + 20].copy_from_slice(&crc);
    if name != "checksums.json" {
        let after = Fingerprint::of_bytes(&bytes[start..start + length]).to_string();
        forge(bytes, "checksums.json", &|hashes| replace(hashes, before.as_bytes(), after.as_bytes()));
    }
}

fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    let place = bytes.windows(old.len()).position(|window| window == old).unwrap();
    bytes[place..place + old.len()].copy_from_slice(new);
}

#[test]
fn numbers_that_are_not_those_of_its_maker_stop_a_bundle() {
    let directory = directory();
    let path = directory.path().join("x.frost");
    let mut bytes = std::fs::read(&plain().bundle).unwrap();
    // One sign of one golden number is turned; all hashes are made to fit.
    forge(&mut bytes, "golden.json", &|golden| replace(golden, b"      -0.0", b"       0.0"));
    std::fs::write(&path, &bytes).unwrap();
    let data = demo(300);
    let predict = ["predict", text(&data), "--model", text(&path)];
    frosthead(&predict).fails_with(&[
        "other numbers here",
        "embedding",
        "at most 1.0e-4",
        "--skip-self-test",
    ]);
    frosthead(&[&predict[..], &["--skip-self-test"]].concat()).success();
    let out = directory.path().join("x.parquet");
    for arguments in [
        vec!["doctor", text(&path)],
        vec!["eval", text(&data), "--model", text(&path)],
        vec!["embed", text(&data), "--backbone", text(&path), "--out", text(&out)],
    ] {
        frosthead(&arguments).fails_with(&["other numbers here"]);
        frosthead(&[&arguments[..], &["--skip-self-test"]].concat()).success();
    }
}

#[test]
fn weights_that_only_claim_to_be_a_backbones_do_not_enter_its_features() {
    let (directory, data) = (directory(), demo(300));
    let path = directory.path().join("x.frost");
    let cache = directory.path().join("cache");
    let mut bytes = std::fs::read(&plain().bundle).unwrap();
    forge(&mut bytes, "model.onnx.data", &|weights| weights[..4].copy_from_slice(&1.0_f32.to_le_bytes()));
    std::fs::write(&path, &bytes).unwrap();
    let embed = |model: &str, out: &str| {
        let out = directory.path().join(out);
        frosthead(&["embed", text(&data), "--backbone", model, "--cache", text(&cache), "--out", text(&out)])
            .success()
    };
    embed(text(&path), "forged.parquet");
    let honest = embed(backbone(), "honest.parquet");
    assert!(honest.stderr.contains("(300 texts computed, 0 from the store)"), "{}", honest.stderr);
}

/// Runs `predict` with a bundle of these bytes.
fn predict(bytes: &[u8]) -> Finished {
    let directory = directory();
    let path = directory.path().join("x.frost");
    std::fs::write(&path, bytes).unwrap();
    frosthead_reading(b"A text.\n", &["predict", "-", "--model", text(&path)])
}

#[test]
fn a_truncated_altered_or_newer_bundle_is_refused() {
    let bytes = std::fs::read(&plain().bundle).unwrap();
    predict(&bytes[..bytes.len() / 2]).fails_with(&["x.frost", "truncated"]);
    let mut altered = bytes.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    predict(&altered).fails_with(&["x.frost", "model.onnx.data", "changed after it was made"]);
    let mut newer = bytes;
    forge(&mut newer, "manifest.json", &|manifest| replace(manifest, b"\"format\": 2", b"\"format\": 9"));
    predict(&newer).fails_with(&["format 9", "expected format 1 to 8", "version of frosthead"]);
    predict(b"text,label\n").fails_with(&["neither a run directory nor a bundle", "a text file"]);
}

#[test]
fn a_bundle_that_was_zipped_anew_is_refused() {
    let directory = directory();
    let script = "
import sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
for method, out in [(zipfile.ZIP_DEFLATED, sys.argv[2]), (zipfile.ZIP_STORED, sys.argv[3])]:
    with zipfile.ZipFile(out, 'w', method, compresslevel=1) as new:
        for name in archive.namelist():
            new.writestr(name, archive.read(name))
";
    let (compressed, stored) =
        (directory.path().join("compressed.frost"), directory.path().join("stored.frost"));
    let status = std::process::Command::new(root().join(".downloads/venv/bin/python"))
        .args(["-c", script, plain().bundle(), text(&compressed), text(&stored)])
        .status()
        .unwrap();
    assert!(status.success());
    frosthead(&["inspect", text(&compressed)]).fails_with(&["compressed", "zipped anew"]);
    frosthead(&["inspect", text(&stored)]).fails_with(&["not as frosthead writes it"]);
}

#[test]
fn a_run_whose_backbone_is_gone_or_unknown_is_not_bundled() {
    let directory = directory();
    let place = directory.path().join("moved-backbone");
    let data = demo(300);
    let (run, out) = (directory.path().join("run"), directory.path().join("x.frost"));
    frosthead(&["import", text(&crate::harness::checkpoint()), "--out", text(&place)]).success();
    frosthead(&["train", text(&data), "--backbone", text(&place), "--task", "domain", "--out", text(&run)])
        .success();
    std::fs::rename(&place, directory.path().join("elsewhere")).unwrap();
    let bundle = ["bundle", text(&run), "--out", text(&out)];
    frosthead(&bundle).fails_with(&["backbone is gone", "moved-backbone", "--backbone"]);
    let elsewhere = directory.path().join("elsewhere");
    frosthead(&[&bundle[..], &["--backbone", text(&elsewhere)]].concat()).success();
    frosthead(&["bundle", "no/such/run", "--out", text(&out)]).fails_with(&["no such run directory"]);
    frosthead(&["bundle", text(&run), "--out", "no/such/place/x.frost", "--backbone", text(&elsewhere)])
        .fails_with(&["no/such/place"]);
}

#[test]
fn the_example_predicts() {
    let example = PathBuf::from(env!("CARGO_BIN_EXE_frosthead")).parent().unwrap().join("examples/predict");
    let mut command = std::process::Command::new(example);
    let library = root().join(".downloads/onnxruntime");
    command.args([plain().bundle(), "lol best day ever"]).env("ORT_DYLIB_PATH", library).current_dir(root());
    let output = finish(command, &["(the example)"]).success();
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", output.stdout);
    assert!(lines[0].starts_with("lol best day ever\tdomain\ttweet\t0."), "{}", output.stdout);
}

#[test]
fn a_link_to_a_bundle_is_followed() {
    let directory = directory();
    let link = directory.path().join("link.frost");
    std::os::unix::fs::symlink(&plain().bundle, &link).unwrap();
    let arguments = ["doctor", text(&link)];
    finish(command(&arguments), &arguments).success();
}
