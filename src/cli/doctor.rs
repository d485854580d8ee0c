//! Owns `frosthead doctor`: what this machine offers, what the runtime makes of it, and how a model's
//! vocabulary fits texts.

use frosthead::internal::error::Result;
use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::Outcome;
use super::given::{Given, Idle, group, names};
use super::options::{
    MemoryArguments, RuntimeArguments, TableArguments, TrustArguments, TuningArguments, describe_plan,
};
use super::printing::{named, print_result};
use super::terminal::{Terminal, bytes, grouped};
use frosthead::internal::backbone::{Backbone, EMBEDDING_GRAPH};
use frosthead::internal::classifier::{Classifier, OpenOptions};
use frosthead::internal::data::TableReader;
use frosthead::internal::inspect::doctor::{Machine, Opened, Tuning, nodes_per_provider, open_model};
use frosthead::internal::inspect::fit::{Counted, ENOUGH_WORDS, Fit, Worse};
use frosthead::internal::quantities::{counted, date, percent, with_error};
use frosthead::internal::tuning::{Gain, Kept};

/// Check this machine: ONNX Runtime, processor and memory; with a model also its self-test, with --on whether
/// its vocabulary fits your texts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frosthead doctor
  frosthead doctor x.frost
  frosthead doctor x.frost --on new.csv
  frosthead doctor --backbone models/all-MiniLM-L6-v2 --device cuda --json")]
pub(crate) struct Arguments {
    /// A bundle (or run) to open: its self-test is run, and the time and memory are shown. --trust,
    /// --skip-self-test and --memory are for it.
    model: Option<PathBuf>,
    /// A backbone directory: how many nodes of its graph run on which provider (CPU or CUDA).
    #[arg(long, value_name = "DIR")]
    backbone: Option<PathBuf>,
    /// A table of texts (CSV, TSV, JSONL, Parquet or text; `-` is standard input) to try the model's tokenizer
    /// on: pieces per word, unknown pieces and long texts, beside those of the texts it was built with.
    #[arg(long, value_name = "DATA")]
    on: Option<String>,
    /// Print JSON to standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    table: TableArguments,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    runtime: RuntimeArguments,
    #[command(flatten)]
    memory: MemoryArguments,
    #[command(flatten)]
    tuning: TuningArguments,
}

#[derive(Debug, Serialize)]
struct Report {
    frosthead: &'static str,
    onnxruntime: String,
    library: PathBuf,
    providers: Vec<String>,
    device: String,
    threads: usize,
    #[serde(flatten)]
    machine: Machine,
    /// Provider → number of nodes, when a backbone was given.
    nodes_per_provider: Option<BTreeMap<String, usize>>,
    /// Whether that backbone was tuned here.
    tuning: Option<Tuning>,
    /// What opening a model took, when one was given.
    model: Option<Opened>,
    /// How its vocabulary fits the texts of a table, when one was given.
    texts: Option<Fit>,
}

pub(crate) fn run(arguments: &Arguments, given: &Given, terminal: &Terminal) -> Result<Outcome> {
    refuse_idle(arguments, given)?;
    let runtime = arguments.runtime.load(terminal)?;
    let folder = arguments.tuning.folder();
    let (nodes_per_provider, tuning) = match &arguments.backbone {
        Some(directory) => {
            let backbone = Backbone::open(directory)?;
            let applied = arguments.tuning.apply(&backbone, &runtime);
            let nodes = nodes_per_provider(&runtime, &backbone.graph(EMBEDDING_GRAPH))?;
            (Some(nodes), Some(Tuning::of(&applied, folder.as_deref())))
        }
        None => (None, None),
    };
    let options = OpenOptions {
        runtime: arguments.runtime.options(),
        trust: arguments.trust.trust.clone(),
        skip_self_test: arguments.trust.skip_self_test,
        memory: arguments.memory.limit(),
        tuning: folder,
        ..OpenOptions::default()
    };
    let opened = arguments.model.as_deref().map(|path| open_model(path, &options)).transpose()?;
    let (model, classifier) = opened.unzip();
    let texts = classifier.as_ref().zip(arguments.on.as_deref());
    let texts = texts.map(|(classifier, data)| fit(arguments, classifier, data, terminal)).transpose()?;
    let report = Report {
        frosthead: env!("CARGO_PKG_VERSION"),
        onnxruntime: runtime.version().to_owned(),
        library: runtime.library().to_path_buf(),
        providers: runtime.providers(),
        device: runtime.device().to_string(),
        threads: runtime.threads(),
        machine: Machine::read(),
        nodes_per_provider,
        tuning,
        model,
        texts,
    };
    print_result(arguments.json, &report, || named(14, &lines(&report, arguments.tuning.are_ignored())))?;
    Ok(Outcome::Done)
}

/// Reads the texts of a table with a model's tokenizer.
fn fit(arguments: &Arguments, classifier: &Classifier, data: &str, terminal: &Terminal) -> Result<Fit> {
    let _working = terminal.working("reading the texts");
    let column = arguments.table.text_of(classifier.model())?;
    let mut table = TableReader::open(&arguments.table.source(data)?)?;
    let text = table.text(&column)?;
    table.header().doubt(&column.first).into_iter().for_each(|doubt| terminal.warn(doubt));
    Fit::of(classifier, &mut table, text)
}

/// Refuses options of what is not looked at.
fn refuse_idle(arguments: &Arguments, given: &Given) -> Result<()> {
    let Arguments { model, backbone, .. } = arguments;
    let no_model = |options| Idle {
        when: model.is_none(),
        options,
        why: "no bundle is opened",
        instead: "name one: `frosthead doctor x.frost`",
    };
    let nothing = Idle {
        when: model.is_none() && backbone.is_none(),
        options: group::<TuningArguments>(),
        why: "no network is looked at",
        instead: "name one: `frosthead doctor x.frost`, or --backbone DIR",
    };
    let no_table = Idle {
        when: arguments.on.is_none(),
        options: group::<TableArguments>(),
        why: "no texts are read",
        instead: "say --on DATA",
    };
    let (trust, memory) = (group::<TrustArguments>(), group::<MemoryArguments>());
    let on = [names(&["on"]), group::<TableArguments>()].concat();
    given.refuse([
        no_model(on),
        no_table,
        no_model(trust),
        no_model(memory),
        nothing,
        TrustArguments::idle(model.as_deref()),
    ])
}

fn lines(report: &Report, ignored: bool) -> Vec<(&'static str, String)> {
    let machine = &report.machine;
    let mut lines = vec![
        ("frosthead", report.frosthead.to_owned()),
        ("ONNX Runtime", format!("{} at {}", report.onnxruntime, report.library.display())),
        ("providers", report.providers.join(", ")),
        ("device", format!("{}, {} threads", report.device, report.threads)),
        ("processor", machine.processor.clone()),
        ("features", machine.features.join(" ")),
        ("cores allowed", machine.cores_allowed.to_string()),
        (
            "memory",
            format!(
                "{} in all, {} available{}",
                bytes(machine.memory_total),
                bytes(machine.memory_available),
                machine
                    .memory_limit
                    .map_or_else(String::new, |limit| format!(", limited to {}", bytes(limit)))
            ),
        ),
    ];
    if let Some(nodes) = &report.nodes_per_provider {
        let nodes = nodes.iter().map(|(provider, count)| format!("{provider}: {count}"));
        lines.push(("nodes", nodes.collect::<Vec<_>>().join(", ")));
    }
    lines.extend(report.tuning.iter().flat_map(|tuning| of_tuning(tuning, ignored)));
    lines.extend(report.model.iter().flat_map(|model| of_model(model, ignored)));
    lines.extend(report.texts.iter().flat_map(of_texts));
    lines
}

/// How a vocabulary fits texts, and whether that is worse than it was.
fn of_texts(fit: &Fit) -> Vec<(&'static str, String)> {
    let now = &fit.now;
    let mut lines = vec![("texts", format!("{} in {}: {}", grouped(now.used.texts), fit.table, now.used))];
    if let Some(built) = &fit.built {
        lines.push((
            "",
            format!("{}, of {} when it was built", built.used, counted(built.used.texts, "text")),
        ));
    }
    lines.push(("", judged(fit)));
    let long = if fit.long == "truncate" {
        "their end is cut off".to_owned()
    } else {
        format!("read in {}", fit.long)
    };
    lines.push(("long texts", format!("{} of more than {} tokens: {long}", grouped(fit.longer), fit.limit)));
    lines
}

/// Whether texts fit worse than those that a bundle was built with, in a sentence.
fn judged(fit: &Fit) -> String {
    let (Some(built), now) = (&fit.built, &fit.now) else {
        return "nothing to compare them with: a bundle knows how its vocabulary fitted its own texts only where \
                making it read them (`frosthead bundle --precision auto`, --depth or --vocabulary)"
            .to_owned();
    };
    let Some(worse) = &fit.worse else {
        return format!("too few words to compare: it takes {ENOUGH_WORDS}");
    };
    let said = |worse: &Worse| match worse {
        Worse::MorePieces => {
            let number = |of: &Counted| format!("{:.2}", of.pieces_per_word);
            format!("{} pieces a word instead of {}", number(now), number(built))
        }
        Worse::MoreUnknown => {
            let share = |of: &Counted| percent(of.unknown_share);
            format!("{} unknown pieces instead of {}", share(now), share(built))
        }
    };
    match worse.iter().map(said).collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "the vocabulary fits these texts as it fitted those".to_owned(),
        all => format!(
            "the vocabulary fits these texts worse: {all}. Another language, or another domain? \
             `frosthead eval` on labelled rows of them says what it costs"
        ),
    }
}

/// Whether a network was tuned, with what result, and what else there is of it.
fn of_tuning(tuning: &Tuning, ignored: bool) -> Vec<(&'static str, String)> {
    let what = match (&tuning.kept, &tuning.problem) {
        (Some(kept), _) => describe_kept(kept),
        (None, Some(problem)) => format!("cannot be used: {problem}"),
        (None, None) if ignored => "left aside (--no-tuning)".to_owned(),
        (None, None) if cfg!(feature = "train") => {
            "none: `frosthead tune` finds what is fastest here".to_owned()
        }
        (None, None) => "none: the full program's `frosthead tune` finds what is fastest here".to_owned(),
    };
    let mut lines = vec![("runs with", tuning.setting.to_string()), ("tuning", what)];
    lines.extend(tuning.elsewhere.iter().map(|other| ("", format!("not used, as it is for {other}"))));
    lines
}

fn of_model(model: &Opened, ignored: bool) -> Vec<(&'static str, String)> {
    let milliseconds = |seconds: f64| format!("{:.0} ms", 1e3 * seconds);
    let test = model.self_test.map_or_else(
        || "none".to_owned(),
        |test| {
            format!(
                "{} sentences in {}, largest difference {:.1e} (at most {:.1e})",
                test.sentences,
                milliseconds(test.seconds),
                test.largest_difference,
                test.tolerance
            )
        },
    );
    let mut lines = vec![
        (
            "model",
            model.kernel.as_ref().map_or_else(
                || model.precision.clone(),
                |kernel| format!("{}, the one variant for all processors; here by {kernel}", model.precision),
            ),
        ),
        ("self-test", test),
        (
            "opened in",
            format!(
                "{}, first prediction after that in {}",
                milliseconds(model.open_seconds),
                milliseconds(model.first_prediction_seconds)
            ),
        ),
        ("peak memory", bytes(model.peak_rss_bytes)),
    ];
    lines.extend(of_tuning(&model.tuning, ignored));
    lines.extend(model.memory.as_ref().map(|plan| ("memory plan", describe_plan(plan))));
    lines
}

/// A ratio of speeds, for people.
pub(super) fn times(gain: &Gain) -> String {
    format!("{} ×", with_error(gain.ratio, Some(gain.standard_error), 3))
}

/// What is kept of a tuning, for people.
pub(super) fn describe_kept(kept: &Kept) -> String {
    let what = match &kept.gain {
        Some(gain) => format!("{} the speed of the default", times(gain)),
        None => "the default, as nothing was faster beyond noise".to_owned(),
    };
    let texts = if kept.own_texts { "own" } else { "made-up" };
    let rate = kept.texts_per_second;
    format!("{what}; {} on {}, {rate:.0} of {texts} texts/s", kept.model, date(kept.tuned))
}
