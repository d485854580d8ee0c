//! No option does nothing: for every option of every command it is said here why it always has an effect, or
//! on which call it would have none, and that call is made and refused. The options are those that `--help`
//! shows, so that a new one must be said, too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::foreign::first_token;
use crate::harness::{demo, directory, frosthead, root, text};
use crate::tiny::tiny;

/// What is known of some options of a command.
enum Effect {
    /// Why there is no call on which one does nothing.
    Always(&'static str),
    /// A call, in which `?` stands for the option with a value, and what its refusal says; `?` there is the
    /// option's name.
    Refused(&'static str, &'static [&'static str]),
}
use Effect::{Always, Refused};

/// Command, options, effect.
type Row = (&'static str, &'static str, Effect);

const PUBLIC_KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

/// A value of an option that takes one.
fn value(option: &str) -> &'static str {
    match option {
        "states" => "f16",
        "train" => "biases",
        "precision" => "int8",
        "task-weight" => "domain=1",
        "alpha" => "100",
        "head-init" | "init-heads" | "frozen-head" => "fitted",
        "freeze" => "backbone:0",
        "label-text" => "labels.csv",
        "text" => "review",
        "format" => "csv",
        "delimiter" => ";",
        "quoting" | "class-weight" => "none",
        "encoding" => "utf-8",
        "onnxruntime" => "libonnxruntime.so",
        "device" => "cpu",
        "long" => "truncate",
        "store-layers" => "all",
        "features" => "last",
        "cache" | "backbone" | "model" | "out" | "tls-cert" | "tls-key" | "out-of-scope" => "some",
        "features-column" => "embedding",
        "trust" => PUBLIC_KEY,
        "memory" => "400M",
        "explain" => "windows",
        "table-bits" => "4",
        "learning-curve" => "10%,100%",
        "pooling" => "mean",
        "prefix" | "prompt" => "query",
        "test-fraction" | "valid-fraction" | "layer-decay" | "warm-up" | "dropout" | "weight-decay" => "0.2",
        "separator" => "|",
        "precision-at" | "recall-at" | "interval" => "0.8",
        "rare" => "drop",
        _ => "3",
    }
}

const LAYERS: &str = "train head-init epochs learning-rate head-rate layer-decay warm-up weight-decay clip dropout \
                      patience train-tokens states task-weight";
const READING: &str = "delimiter quoting encoding";
const TABLE: &str = "format text delimiter quoting encoding";
const WINDOWS: &str = "window stride max-windows";
const NO_EFFECT: &str = "? has no effect";
const OF_FORMAT: [&str; 2] = ["the option has no effect on a table in this format", "?"];
const UNSIGNED: [&str; 1] = ["only a bundle can be signed"];
const NO_BUNDLE: [&str; 2] = [NO_EFFECT, "only a bundle has a self-test"];
const NO_LAYERS: [&str; 2] = [NO_EFFECT, "its sentence embedding only"];
const ON_FEATURES: [&str; 2] = [NO_EFFECT, "the table holds features"];
const CUT_OFF: [&str; 2] = [NO_EFFECT, "--long truncate cuts texts off"];
const TWICE: [&str; 2] = ["?", "cannot be used with"];

const NETWORK: &str = "says what runs the network, and a network runs on every such call";
const POLICY: &str = "allows or forbids what may happen on any call";
const OUTPUT: &str = "says where the result goes, or what is printed of it";
const WHAT: &str = "says what is worked on";
const READ: &str = "another value reads another table, or is an error";
const ROWS: &str = "says which rows are learned from and measured, in every training";

fn import() -> Vec<Row> {
    vec![
        ("import", "out", Always(OUTPUT)),
        ("import", "normalize max-length tokenizer", Always("is part of the backbone that is made")),
        ("import", "overwrite", Always(POLICY)),
        ("import", "onnxruntime", Always("every import is run before it is kept")),
        ("import", "pooling", Refused("POOLED --out OUT ?", &["? changes nothing"])),
        ("import", "prefix", Refused("POOLED --out OUT --prompt query ?", &TWICE)),
        ("import", "prompt", Refused("POOLED --out OUT --prefix query ?", &TWICE)),
    ]
}

fn embed() -> Vec<Row> {
    vec![
        ("embed", "backbone features depth long", Always("is part of what is computed")),
        ("embed", "out keep-text", Always(OUTPUT)),
        ("embed", "overwrite strict", Always(POLICY)),
        ("embed", "format text", Always(READ)),
        ("embed", "cache", Always("every text goes through the store")),
        ("embed", "onnxruntime device threads token-budget no-tuning", Always(NETWORK)),
        ("embed", READING, Refused("FEATURES --backbone BACKBONE --out OUT ?", &OF_FORMAT)),
        ("embed", WINDOWS, Refused("TEXTS --backbone BACKBONE --out OUT --long truncate ?", &CUT_OFF)),
        ("embed", "store-layers", Refused("TEXTS --backbone OPAQUE --out OUT ?", &NO_LAYERS)),
        ("embed", "trust", Refused("TEXTS --backbone BACKBONE --out OUT ?", &UNSIGNED)),
        ("embed", "skip-self-test", Refused("TEXTS --backbone BACKBONE --out OUT ?", &NO_BUNDLE)),
    ]
}

fn train() -> Vec<Row> {
    let features = "FEATURES --task domain --out OUT ?";
    let one = "TEXTS --backbone BACKBONE --task domain --out OUT ?";
    vec![
        ("train", "backbone task freeze unfreeze", Always(WHAT)),
        ("train", "test valid", Always(ROWS)),
        ("train", "seed", Always("every training splits or draws, and a run is known by its seed")),
        ("train", "threads", Always("heads are fitted on so many, too")),
        ("train", "format", Always(READ)),
        ("train", "out json html", Always(OUTPUT)),
        ("train", "overwrite min-f1", Always(POLICY)),
        (
            "train",
            "text strict onnxruntime device long window stride max-windows store-layers cache token-budget \
             no-tuning trust skip-self-test",
            Refused(features, &ON_FEATURES),
        ),
        ("train", "max-drop", Refused(features, &[NO_EFFECT, "as they are", "--backbone"])),
        ("train", "features", Refused(features, &[NO_EFFECT, "as they are", "--features-column"])),
        ("train", "depth", Refused(features, &[NO_EFFECT, "as they are", "--backbone"])),
        ("train", READING, Refused(features, &OF_FORMAT)),
        ("train", "features-column", Refused(one, &TWICE)),
        ("train", "test-fraction", Refused("FEATURES --task domain --test FEATURES --out OUT ?", &TWICE)),
        ("train", "valid-fraction", Refused("FEATURES --task domain --valid FEATURES --out OUT ?", &TWICE)),
        (
            "train",
            WINDOWS,
            Refused("TEXTS --backbone BACKBONE --task domain --long truncate --out OUT ?", &CUT_OFF),
        ),
        ("train", "store-layers", Refused("TEXTS --backbone OPAQUE --task domain --out OUT ?", &NO_LAYERS)),
        ("train", "trust", Refused(one, &UNSIGNED)),
        ("train", "skip-self-test", Refused(one, &NO_BUNDLE)),
    ]
}

/// Of kinds of tasks; the same in all commands that learn.
fn kinds() -> Vec<Row> {
    const SEVERAL: &[&str] = &[NO_EFFECT, "no task has several labels", "--any-of COLUMN"];
    const NUMBER: &[&str] = &[NO_EFFECT, "no task is a number", "--number COLUMN"];
    const LABELS: &[&str] = &[NO_EFFECT, "no task has labels"];
    let one = "TEXTS --backbone BACKBONE --task domain --out OUT ?";
    let number = "TEXTS --backbone BACKBONE --number domain --out OUT ?";
    let (one_of_bundle, number_of_bundle) =
        ("BUNDLE REVIEWS --task domain --out OUT ?", "BUNDLE REVIEWS --number domain --out OUT ?");
    let calls =
        [("train", one, number), ("compare", one, number), ("refit", one_of_bundle, number_of_bundle)];
    let of = |(command, one, number): (&'static str, &'static str, &'static str)| {
        vec![
            (command, "any-of number", Always(WHAT)),
            (command, "separator recall-at", Refused(one, SEVERAL)),
            (command, "interval", Refused(one, NUMBER)),
            (command, "precision-at rare class-weight", Refused(number, LABELS)),
        ]
    };
    calls.into_iter().flat_map(of).collect()
}

/// Of training layers.
fn train_layers() -> Vec<Row> {
    let on = "TEXTS --backbone BACKBONE --task domain --task sentiment --out OUT ?";
    vec![
        ("train", LAYERS, Refused(on, &[NO_EFFECT, "no layer of the backbone is trained"])),
        (
            "train",
            LAYERS,
            Refused("FEATURES --task domain --freeze backbone --out OUT ?", &[NO_EFFECT, "no layer"]),
        ),
        ("train", "label-text", Refused(on, &[NO_EFFECT, "only where everything is frozen", "--freeze all"])),
        (
            "train",
            "head-rate head-init",
            Refused(
                "TEXTS --backbone BACKBONE --task domain --freeze backbone:0 --freeze head:domain --out OUT ?",
                &[NO_EFFECT, "every head is frozen"],
            ),
        ),
        (
            "train",
            "head-init",
            Refused(
                "TEXTS --backbone BACKBONE --task domain --unfreeze 0,1 --out OUT ?",
                &[NO_EFFECT, "the first stage trains heads alone"],
            ),
        ),
        (
            "train",
            "weight-decay",
            Refused(
                "TEXTS --backbone BACKBONE --task domain --freeze backbone:0 --freeze head:domain --train biases \
                 --out OUT ?",
                &[NO_EFFECT, "no matrix is trained"],
            ),
        ),
        (
            "train",
            "layer-decay",
            Refused(
                "TEXTS --backbone BACKBONE --task domain --freeze backbone:0 --out OUT ?",
                &[NO_EFFECT, "the top layer alone", "--unfreeze 2"],
            ),
        ),
        (
            "train",
            "states",
            Refused(
                "TEXTS --backbone BACKBONE --task domain --task sentiment --freeze head:domain --out OUT ?",
                &[NO_EFFECT, "the embeddings are trained", "--freeze backbone:embeddings"],
            ),
        ),
    ]
}

/// Of the heads that are fitted or taken over.
fn train_heads() -> Vec<Row> {
    let on = "TEXTS --backbone BACKBONE --task domain --task sentiment --out OUT ?";
    let one = "TEXTS --backbone BACKBONE --task domain --out OUT ?";
    vec![
        (
            "train",
            "alpha class-weight fit-memory init-heads",
            Refused(
                "TEXTS --backbone BACKBONE --task domain --freeze all --out OUT ?",
                &[NO_EFFECT, "everything is frozen"],
            ),
        ),
        (
            "train",
            "alpha fit-memory",
            Refused(
                "TEXTS --backbone BACKBONE --task domain --freeze backbone:0 --head-init random --out OUT ?",
                &[NO_EFFECT, "no head is fitted"],
            ),
        ),
        ("train", "fit-memory", Refused(one, &[NO_EFFECT, "a single head is fitted", "--features auto"])),
        ("train", "init-heads", Refused(on, &[NO_EFFECT, "no head is frozen", "--freeze head:TASK"])),
        ("train", "words-at-least", Refused(on, &[NO_EFFECT, "looks at words", "--features auto"])),
        ("train", "max-drift", Refused(on, &[NO_EFFECT, "the backbone does not move", "--unfreeze 1"])),
        (
            "train",
            "max-drift",
            Refused(
                "TEXTS --backbone BACKBONE --task domain --freeze backbone:0 --out OUT ?",
                &[NO_EFFECT, "no head is frozen", "--freeze head:TASK"],
            ),
        ),
        (
            "train",
            "final",
            Refused(
                "TEXTS --backbone BACKBONE --task domain --freeze all --out OUT ?",
                &["only heads on a frozen backbone are fitted once more", "?"],
            ),
        ),
    ]
}

fn compare() -> Vec<Row> {
    let one = "TEXTS --backbone BACKBONE --task domain --scenarios 2:last --out OUT ?";
    let frozen = "TEXTS --backbone BACKBONE --task domain --task sentiment --scenarios 1 --out OUT ?";
    vec![
        ("compare", "backbone task scenarios depth", Always(WHAT)),
        ("compare", "test valid", Always(ROWS)),
        ("compare", "seed", Always("every training splits or draws, and a comparison is known by its seed")),
        ("compare", "format text", Always(READ)),
        ("compare", "out json", Always(OUTPUT)),
        ("compare", "overwrite strict time-limit", Always(POLICY)),
        ("compare", "cache", Always("every text goes through the store")),
        ("compare", "onnxruntime device threads token-budget no-tuning", Always(NETWORK)),
        ("compare", "precision beside", Refused(one, &[NO_EFFECT, "no depths are compared", "--depths all"])),
        (
            "compare",
            "depths",
            Refused("TEXTS --backbone BACKBONE --task domain --depth 1 --out OUT ?", &TWICE),
        ),
        ("compare", "learning-curve", Refused(frozen, &["the learning curve is that of scenario 2"])),
        (
            "compare",
            WINDOWS,
            Refused(
                "TEXTS --backbone BACKBONE --task domain --scenarios 2 --long truncate --out OUT ?",
                &CUT_OFF,
            ),
        ),
        (
            "compare",
            READING,
            Refused("FEATURES --backbone BACKBONE --task domain --scenarios 2 --out OUT ?", &OF_FORMAT),
        ),
        (
            "compare",
            "test-fraction",
            Refused("TEXTS --backbone BACKBONE --task domain --test TEXTS --out OUT ?", &TWICE),
        ),
        (
            "compare",
            "valid-fraction",
            Refused("TEXTS --backbone BACKBONE --task domain --valid TEXTS --out OUT ?", &TWICE),
        ),
        (
            "compare",
            "store-layers",
            Refused("TEXTS --backbone OPAQUE --task domain --scenarios 2:last --out OUT ?", &NO_LAYERS),
        ),
        ("compare", "trust", Refused(one, &UNSIGNED)),
        ("compare", "skip-self-test", Refused(one, &NO_BUNDLE)),
    ]
}

/// Of what is trained.
fn compare_trainings() -> Vec<Row> {
    let heads = "TEXTS --backbone BACKBONE --task domain --task sentiment --scenarios 1,2:last --out OUT ?";
    let one = "TEXTS --backbone BACKBONE --task domain --scenarios 2:last --out OUT ?";
    let frozen = "TEXTS --backbone BACKBONE --task domain --task sentiment --scenarios 1 --out OUT ?";
    let head = "TEXTS --backbone BACKBONE --task domain --scenarios 3 --out OUT ?";
    let top = "TEXTS --backbone BACKBONE --task domain --scenarios top1 --out OUT ?";
    vec![
        (
            "compare",
            LAYERS,
            Refused(heads, &[NO_EFFECT, "no layer of the backbone is trained", "--scenarios"]),
        ),
        ("compare", "freeze frozen-head", Refused(heads, &[NO_EFFECT, "scenario 3 is not compared"])),
        ("compare", "long window stride max-windows", Refused(heads, &[NO_EFFECT, "in windows", "2:auto"])),
        ("compare", "label-text", Refused(one, &[NO_EFFECT, "everything is frozen", "add 1 to --scenarios"])),
        ("compare", "head-rate head-init", Refused(head, &[NO_EFFECT, "every head is frozen"])),
        ("compare", "head-init", Refused(top, &[NO_EFFECT, "the first stage trains heads alone"])),
        ("compare", "layer-decay", Refused(top, &[NO_EFFECT, "the top layer alone", "add 3"])),
        ("compare", "states", Refused(head, &[NO_EFFECT, "the embeddings are trained", "add top1"])),
        ("compare", "alpha class-weight fit-memory", Refused(frozen, &[NO_EFFECT, "everything is frozen"])),
        (
            "compare",
            "alpha fit-memory",
            Refused(
                "TEXTS --backbone BACKBONE --task domain --scenarios 3 --frozen-head random --out OUT ?",
                &[NO_EFFECT, "no head is fitted"],
            ),
        ),
        ("compare", "fit-memory", Refused(one, &[NO_EFFECT, "a single head is fitted", "2:auto"])),
        ("compare", "words-at-least", Refused(one, &[NO_EFFECT, "looks at words", "2:auto"])),
    ]
}

fn eval() -> Vec<Row> {
    vec![
        ("eval", "model task rows by", Always(WHAT)),
        ("eval", "errors coverage report html json", Always(OUTPUT)),
        ("eval", "min-f1", Always(POLICY)),
        ("eval", "format", Always(READ)),
        (
            "eval",
            "text strict onnxruntime device threads store-layers cache token-budget no-tuning backbone",
            Refused("FEATURES --model FEATURES_RUN ?", &ON_FEATURES),
        ),
        (
            "eval",
            "backbone",
            Refused("REVIEWS --model BUNDLE ?", &["a bundle has a backbone of its own", "?"]),
        ),
        ("eval", READING, Refused("FEATURES --model FEATURES_RUN ?", &OF_FORMAT)),
        (
            "eval",
            "separator",
            Refused("REVIEWS --model BUNDLE ?", &[NO_EFFECT, "no task that is measured has several labels"]),
        ),
        ("eval", "out-of-scope", Refused("REVIEWS --model BUNDLE ?", &["--coverage"])),
        ("eval", "store-layers", Refused("TEXTS --model OPAQUE_RUN ?", &NO_LAYERS)),
        ("eval", "trust", Refused("REVIEWS --model RUN ?", &UNSIGNED)),
        ("eval", "skip-self-test", Refused("REVIEWS --model RUN ?", &NO_BUNDLE)),
    ]
}

fn predict() -> Vec<Row> {
    vec![
        ("predict", "model", Always(WHAT)),
        ("predict", "out output-format abstain-below", Always(OUTPUT)),
        ("predict", "format text", Always(READ)),
        ("predict", "strict", Always(POLICY)),
        ("predict", "onnxruntime device threads no-tuning", Always(NETWORK)),
        (
            "predict",
            "overwrite",
            Refused("REVIEWS --model BUNDLE ?", &[NO_EFFECT, "standard output", "--out FILE"]),
        ),
        ("predict", "top-k", Refused("REVIEWS --model BUNDLE --all-probabilities ?", &TWICE)),
        ("predict", "all-probabilities", Refused("REVIEWS --model BUNDLE --top-k 2 ?", &TWICE)),
        (
            "predict",
            "explain",
            Refused("TEXTS --model OPAQUE_RUN ?", &["does not read texts in windows", "? windows"]),
        ),
        (
            "predict",
            "backbone",
            Refused("REVIEWS --model BUNDLE ?", &["a bundle has a backbone of its own", "?"]),
        ),
        ("predict", "memory", Refused("REVIEWS --model RUN ?", &["memory is planned for bundles only"])),
        ("predict", READING, Refused("FEATURES --model BUNDLE ?", &OF_FORMAT)),
        ("predict", "trust", Refused("REVIEWS --model RUN ?", &UNSIGNED)),
        ("predict", "skip-self-test", Refused("REVIEWS --model RUN ?", &NO_BUNDLE)),
    ]
}

fn serve() -> Vec<Row> {
    vec![
        ("serve", "bind api-keys copy-to log", Always("every server listens, lets in, copies and logs")),
        ("serve", "trust", Always("only a bundle is served")),
        ("serve", "long abstain-below", Always("says how texts are read and answered")),
        ("serve", "timeout grace read-timeout max-wait max-body max-texts", Always(POLICY)),
        ("serve", "queue-texts queue-tokens max-connections", Always(POLICY)),
        ("serve", "onnxruntime device threads token-budget no-tuning", Always(NETWORK)),
        (
            "serve",
            "max-tokens",
            Refused("BUNDLE --long refuse ?", &[NO_EFFECT, "in windows", "--long windows"]),
        ),
        ("serve", "max-tokens", Refused("BUNDLE --long truncate ?", &[NO_EFFECT, "in windows"])),
        ("serve", "tls-cert", Refused("BUNDLE ?", &["--tls-key <FILE>"])),
        ("serve", "tls-key", Refused("BUNDLE ?", &["--tls-cert <FILE>"])),
    ]
}

fn bundle() -> Vec<Row> {
    vec![
        ("bundle", "depth", Always("what the heads see is chosen again, at any depth")),
        ("bundle", "out precision keep-validation sign", Always("is part of the file that is made")),
        ("bundle", "update-of", Always("another file is made")),
        ("bundle", "vocabulary keep", Always("says which word pieces are in the file")),
        ("bundle", "backbone", Always("another backbone than the run's is refused")),
        ("bundle", "overwrite", Always(POLICY)),
        ("bundle", "keep-embedding", Refused("RUN --out OUT ?", &[NO_EFFECT, "sees the highest layer"])),
        ("bundle", "onnxruntime device threads", Always("every bundle says its golden sentences")),
        (
            "bundle",
            "max-drop table-bits",
            Refused("RUN --out OUT ?", &[NO_EFFECT, "loses nothing", "--precision auto"]),
        ),
        (
            "bundle",
            "store-layers cache token-budget no-tuning",
            Refused("RUN --out OUT ?", &[NO_EFFECT, "no features are needed", "--keep-validation"]),
        ),
        ("bundle", "store-layers", Refused("OPAQUE_RUN --out OUT --keep-validation ?", &NO_LAYERS)),
    ]
}

fn update() -> Vec<Row> {
    vec![
        ("update", "out", Always(OUTPUT)),
        ("update", "trust", Always(POLICY)),
        ("update", "overwrite", Refused("BUNDLE BUNDLE ?", &["--out <FILE>"])),
    ]
}

fn refit() -> Vec<Row> {
    let known = "BUNDLE REVIEWS --task domain --out OUT ?";
    vec![
        ("refit", "task", Always(WHAT)),
        ("refit", "test valid", Always(ROWS)),
        ("refit", "seed", Always("every fit splits its rows into folds")),
        ("refit", "alpha", Always("every call fits a head")),
        ("refit", "format text", Always(READ)),
        ("refit", "out sign json", Always(OUTPUT)),
        ("refit", "overwrite strict min-f1", Always(POLICY)),
        ("refit", "trust skip-self-test", Always("only bundles are taken")),
        ("refit", "cache", Always("every text goes through the store")),
        ("refit", "onnxruntime device threads token-budget no-tuning", Always(NETWORK)),
        (
            "refit",
            "features fit-memory",
            Refused(known, &[NO_EFFECT, "no task is added", "sees what it saw"]),
        ),
        (
            "refit",
            "fit-memory",
            Refused("BUNDLE REVIEWS --task topic --out OUT ?", &[NO_EFFECT, "not chosen", "--features auto"]),
        ),
        ("refit", "words-at-least", Refused(known, &[NO_EFFECT, "looks at words", "+words"])),
        ("refit", "max-drift", Refused(known, &["no validation rows to see a loss on", "?"])),
        (
            "refit",
            "max-drift",
            Refused("KEPT REVIEWS --task topic --out OUT ?", &[NO_EFFECT, "has a head in the bundle"]),
        ),
        ("refit", READING, Refused("BUNDLE FEATURES --task domain --out OUT ?", &OF_FORMAT)),
        (
            "refit",
            "test-fraction",
            Refused("BUNDLE REVIEWS --task domain --test REVIEWS --out OUT ?", &TWICE),
        ),
        (
            "refit",
            "valid-fraction",
            Refused("BUNDLE REVIEWS --task domain --valid REVIEWS --out OUT ?", &TWICE),
        ),
    ]
}

fn looking() -> Vec<Row> {
    let no_model: &[&str] = &[NO_EFFECT, "no bundle is opened", "frosthead doctor x.frost"];
    let everything: &[&str] = &[NO_EFFECT, "--all removes everything"];
    vec![
        ("inspect", "json", Always(OUTPUT)),
        ("inspect", "privacy", Refused("RUN ?", &["? lists what a bundle keeps", "bundle the run first"])),
        ("inspect", "trust", Refused("RUN ?", &UNSIGNED)),
        ("doctor", "backbone", Always(WHAT)),
        ("doctor", "json", Always(OUTPUT)),
        ("doctor", "onnxruntime device threads", Always("the runtime is looked at on every call")),
        ("doctor", "on memory trust skip-self-test", Refused("?", no_model)),
        ("doctor", TABLE, Refused("? --on TEXTS", &["--on and ? have no effect", "no bundle is opened"])),
        ("doctor", TABLE, Refused("BUNDLE ?", &[NO_EFFECT, "no texts are read", "say --on DATA"])),
        ("doctor", READING, Refused("BUNDLE --on FEATURES ?", &OF_FORMAT)),
        ("doctor", "memory", Refused("RUN ?", &["memory is planned for bundles only"])),
        ("doctor", "no-tuning", Refused("?", &[NO_EFFECT, "no network is looked at", "--backbone DIR"])),
        ("doctor", "trust", Refused("RUN ?", &UNSIGNED)),
        ("doctor", "skip-self-test", Refused("RUN ?", &NO_BUNDLE)),
        ("cache list", "cache", Always(WHAT)),
        ("cache list", "json", Always(OUTPUT)),
        ("cache verify", "cache", Always(WHAT)),
        ("cache verify", "json", Always(OUTPUT)),
        ("cache compact", "cache", Always(WHAT)),
        ("cache compact", "json", Always(OUTPUT)),
        ("cache merge", "cache", Always(WHAT)),
        ("cache merge", "json", Always(OUTPUT)),
        ("cache prune", "cache", Always(WHAT)),
        ("cache prune", "json", Always(OUTPUT)),
        ("cache prune", "all", Always("removes everything that is there")),
        ("cache prune", "older-than max-bytes damaged", Refused("--cache OUT --all ?", everything)),
    ]
}

fn measuring() -> Vec<Row> {
    let embed = "TEXTS --backbone BACKBONE ?";
    let made_up = "--backbone BACKBONE ?";
    vec![
        ("bench embed", "backbone against limit rounds", Always(WHAT)),
        ("bench embed", "json", Always(OUTPUT)),
        ("bench embed", "format text", Always(READ)),
        ("bench embed", "onnxruntime device threads token-budget no-tuning", Always(NETWORK)),
        ("bench embed", READING, Refused("FEATURES --backbone BACKBONE ?", &OF_FORMAT)),
        ("bench embed", "store-layers", Refused("TEXTS --backbone BACKBONE --against OPAQUE ?", &NO_LAYERS)),
        ("bench embed", "trust", Refused(embed, &UNSIGNED)),
        ("bench embed", "skip-self-test", Refused(embed, &NO_BUNDLE)),
        ("bench latency", "model limit rounds", Always(WHAT)),
        ("bench latency", "json", Always(OUTPUT)),
        ("bench latency", "format text", Always(READ)),
        ("bench latency", "onnxruntime device threads no-tuning", Always(NETWORK)),
        ("bench latency", READING, Refused("FEATURES --model BUNDLE ?", &OF_FORMAT)),
        (
            "bench latency",
            "memory",
            Refused("REVIEWS --model RUN ?", &["memory is planned for bundles only"]),
        ),
        ("bench latency", "trust", Refused("REVIEWS --model RUN ?", &UNSIGNED)),
        ("bench latency", "skip-self-test", Refused("REVIEWS --model RUN ?", &NO_BUNDLE)),
        ("bench serve", "server key clients rate seconds limit", Always("is how every server is asked")),
        ("bench serve", "check", Always(WHAT)),
        ("bench serve", "json", Always(OUTPUT)),
        ("bench serve", "format text", Always(READ)),
        ("bench serve", READING, Refused("FEATURES ?", &OF_FORMAT)),
        (
            "bench serve",
            "onnxruntime device threads",
            Refused("TEXTS ?", &[NO_EFFECT, "only in the server", "--check BUNDLE"]),
        ),
        ("tune", "seconds full-sweep", Always("is how every search goes")),
        ("tune", "json", Always(OUTPUT)),
        ("tune", "onnxruntime device threads", Always(NETWORK)),
        (
            "tune",
            "format text delimiter quoting encoding",
            Refused(made_up, &[NO_EFFECT, "the texts are made up"]),
        ),
        ("tune", READING, Refused("FEATURES --backbone BACKBONE ?", &OF_FORMAT)),
        ("tune", "backbone", Refused("--model RUN ?", &TWICE)),
        ("tune", "model", Refused(made_up, &TWICE)),
        ("tune", "trust", Refused(made_up, &UNSIGNED)),
        ("tune", "skip-self-test", Refused(made_up, &NO_BUNDLE)),
    ]
}

fn rows() -> Vec<Row> {
    let parts = [
        import(),
        embed(),
        train(),
        train_layers(),
        train_heads(),
        compare(),
        compare_trainings(),
        eval(),
        predict(),
        serve(),
        bundle(),
        update(),
        refit(),
        kinds(),
    ];
    parts.into_iter().flatten().chain(looking()).chain(measuring()).collect()
}

/// Of everybody: said of all commands here.
const GLOBAL: [&str; 4] = ["help", "version", "quiet", "verbose"];

/// The long names of a command's options as its help shows them, with whether they take a value; below it the
/// names of its own commands.
fn shown(command: &[&str]) -> (BTreeMap<String, bool>, Vec<String>) {
    let help = frosthead(&[command, &["--help"]].concat()).success().stdout;
    let (mut options, mut commands, mut in_commands) = (BTreeMap::new(), Vec::new(), false);
    // Options stand in the examples behind them, too.
    for line in help.lines().take_while(|line| !line.starts_with("Example")) {
        let indent = line.len() - line.trim_start().len();
        if indent == 0 {
            in_commands = line == "Commands:";
        }
        // What is further to the right is the help of an option.
        if indent == 2 && in_commands {
            commands.extend(line.split_whitespace().next().map(str::to_owned));
        } else if matches!(indent, 2 | 6)
            && let Some(option) =
                line.trim_start().split("--").nth(1).filter(|_| line.trim_start().starts_with('-'))
        {
            let name: String = option
                .chars()
                .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '-')
                .collect();
            let takes = option[name.len()..].starts_with(" <");
            if !GLOBAL.contains(&name.as_str()) {
                options.insert(name, takes);
            }
        }
    }
    commands.retain(|name| name != "help");
    (options, commands)
}

/// Every option of every command, with whether it takes a value.
fn all_options() -> BTreeMap<(String, String), bool> {
    let mut all = BTreeMap::new();
    let mut commands: Vec<Vec<String>> = vec![Vec::new()];
    while let Some(command) = commands.pop() {
        let (options, below) = shown(&command.iter().map(String::as_str).collect::<Vec<_>>());
        let name = command.join(" ");
        all.extend(options.into_iter().map(|(option, takes)| ((name.clone(), option), takes)));
        commands.extend(below.into_iter().map(|next| [&command[..], &[next]].concat()));
    }
    all
}

#[test]
fn of_every_option_it_is_said_why_it_always_has_an_effect_or_when_it_has_none() {
    let shown: BTreeSet<(String, String)> = all_options().into_keys().collect();
    for known in
        [("train", "epochs"), ("cache prune", "older-than"), ("bench serve", "check"), ("serve", "bind")]
    {
        assert!(
            shown.contains(&(known.0.to_owned(), known.1.to_owned())),
            "help is not understood: {shown:?}"
        );
    }
    let (mut always, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for (command, options, effect) in rows() {
        for option in options.split_whitespace() {
            let option = (command.to_owned(), option.to_owned());
            match effect {
                Always(why) => {
                    assert!(!why.is_empty());
                    assert!(always.insert(option.clone()), "{option:?} is said twice");
                }
                Refused(..) => drop(refused.insert(option)),
            }
        }
    }
    let said: BTreeSet<_> = always.union(&refused).cloned().collect();
    let both: Vec<_> = always.intersection(&refused).collect();
    assert!(both.is_empty(), "options that always have an effect and are refused: {both:?}");
    let missing: Vec<_> = shown.difference(&said).collect();
    assert!(
        missing.is_empty(),
        "say in this file what these options do nothing on, or why there is no such call: {missing:?}"
    );
    let gone: Vec<_> = said.difference(&shown).collect();
    assert!(gone.is_empty(), "there are no such options any more: {gone:?}");
}

/// What the words of a call stand for.
struct Things {
    place: PathBuf,
    words: BTreeMap<&'static str, PathBuf>,
}

impl Things {
    fn new(place: &Path) -> Self {
        let at = |name: &str| place.join(name);
        let (texts, backbone, opaque) = (demo(120), &tiny().backbone, at("opaque"));
        let (features, run, opaque_run, kept) =
            (at("features.parquet"), at("features-run"), at("opaque-run"), at("kept.frost"));
        let graph = root().join("tests/data/foreign_onnx/encoder.onnx");
        let pooled = crate::foreign::place(&first_token(false)).keep();
        frosthead(&["embed", text(&texts), "--backbone", text(backbone), "--out", text(&features)]).success();
        frosthead(&["train", text(&features), "--task", "domain", "--out", text(&run)]).success();
        frosthead(&["import", text(&graph), "--out", text(&opaque)]).success();
        let train = ["train", text(&texts), "--backbone", text(&opaque), "--task", "domain"];
        frosthead(&[&train[..], &["--out", text(&opaque_run)]].concat()).success();
        frosthead(&["bundle", text(&tiny().run), "--keep-validation", "--out", text(&kept)]).success();
        let words = [
            ("TEXTS", texts),
            ("REVIEWS", tiny().table.clone()),
            ("BACKBONE", backbone.clone()),
            ("OPAQUE", opaque),
            ("RUN", tiny().run.clone()),
            ("FEATURES_RUN", run),
            ("OPAQUE_RUN", opaque_run),
            ("BUNDLE", tiny().bundle.clone()),
            ("KEPT", kept),
            ("FEATURES", features),
            ("POOLED", pooled.join("model.onnx")),
            ("OUT", at("never")),
        ];
        Self { place: place.to_path_buf(), words: words.into() }
    }

    /// Makes a call with an option, which is refused.
    fn refuses(&self, command: &str, call: &str, (option, takes): (&str, bool), parts: &[&str]) {
        let named = format!("--{option}");
        let mut arguments: Vec<&str> = command.split(' ').collect();
        for word in call.split(' ') {
            match (word, self.words.get(word)) {
                ("?", _) => {
                    arguments.push(&named);
                    arguments.extend(takes.then(|| value(option)));
                }
                (_, Some(path)) => arguments.push(text(path)),
                (_, None) => arguments.push(word),
            }
        }
        let parts: Vec<String> = parts.iter().map(|part| part.replace('?', &named)).collect();
        frosthead(&arguments).fails_with(&parts.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!self.place.join("never").exists(), "`frosthead {}` left an output", arguments.join(" "));
    }
}

#[test]
fn an_option_without_effect_is_refused_with_the_reason() {
    let place = directory();
    let (things, options) = (Things::new(place.path()), all_options());
    for (command, named, effect) in rows() {
        let Refused(call, parts) = effect else { continue };
        for option in named.split_whitespace() {
            // The other test says of an option that is not there.
            let takes = options.get(&(command.to_owned(), option.to_owned())).copied().unwrap_or(false);
            things.refuses(command, call, (option, takes), parts);
        }
    }
}

#[test]
fn several_options_without_effect_are_named_together() {
    let data = demo(120);
    let train =
        ["train", text(&data), "--backbone", text(&tiny().backbone), "--task", "domain", "--out", "never"];
    let finished = frosthead(&[&train[..], &["--epochs", "3", "--clip", "1"]].concat());
    finished.fails_with(&[
        "error: --epochs and --clip have no effect: no layer of the backbone is trained\n",
        "help: leave them away, or train some: --unfreeze 1\n",
    ]);
}
