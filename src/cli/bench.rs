//! Owns `frosthead bench`: measurements on this machine, as lines for people or JSON for machines.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::Outcome;
use super::given::{Given, Idle, group};
use super::options::{MemoryArguments, RuntimeArguments, TableArguments, TrustArguments, TuningArguments};
use super::printing::{named, print_result};
use super::stores::{StoreArguments, parse_budget, parse_stored};
use super::terminal::{Terminal, bytes, grouped};
use frosthead::internal::backbone::Backbone;
use frosthead::internal::bench::{
    Contestant, EmbedBench, EmbedComparison, LatencyBench, ServeBench, ServeBenchOptions, bench_against,
    bench_embed, bench_latency, bench_serve,
};
use frosthead::internal::classifier::{Classifier, OpenOptions};
use frosthead::internal::data::{Source, TableReader, TextColumns};
use frosthead::internal::embed::{EmbedOptions, RowLayout};
use frosthead::internal::encoder::FeatureChoice;
use frosthead::internal::error::Result;
use frosthead::internal::metrics::Latency;
use frosthead::internal::runtime::Load;
use frosthead::internal::text::{OwnedText, as_texts};

/// Measure how fast this machine is.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Embed(EmbedArguments),
    Latency(LatencyArguments),
    Serve(ServeArguments),
}

/// Measure texts per second of feature extraction, beside the most that the processor can do.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  frosthead bench embed data.csv --backbone models/all-MiniLM-L6-v2 --limit 3000 --json
  frosthead bench embed data.csv --backbone int8.frost --against fp32.frost --rounds 5")]
struct EmbedArguments {
    /// A table of texts.
    data: String,
    /// The backbone directory, or a run or bundle for its backbone.
    #[arg(long, value_name = "DIR")]
    backbone: PathBuf,
    /// A second one to compare with: the two run in turns, and the ratio of their speeds is shown.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// Use the first N rows only.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Counted passes; the median is reported.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// The graph to measure: `all` gives the states of every layer, `last` only the sentence embedding.
    #[arg(long, value_name = "WHICH", default_value = "all", value_parser = parse_stored)]
    store_layers: FeatureChoice,
    /// Tokens in a batch, padding included [default: as tuned, else 256; 1024 on a GPU].
    #[arg(long, value_name = "N", value_parser = parse_budget)]
    token_budget: Option<usize>,
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
    tuning: TuningArguments,
}

/// Of the names of figures.
const WIDTH: usize = 20;

/// Measure the milliseconds that a single text takes: the median and the slowest.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  frosthead bench latency data.csv --model x.frost --threads 1 --json")]
struct LatencyArguments {
    /// A table of texts.
    data: String,
    /// The run directory or bundle.
    #[arg(long, value_name = "RUN")]
    model: PathBuf,
    /// Use the first N rows only.
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: usize,
    /// Counted passes over the texts.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
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

/// Measure what clients of a running server see: texts per second and milliseconds, one text a request.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frosthead bench serve data.csv --clients 64 --seconds 20
  frosthead bench serve data.csv --rate 2000 --clients 3000 --seconds 60 --check x.frost --json")]
struct ServeArguments {
    /// A table of texts.
    data: String,
    /// The server's address.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    server: SocketAddr,
    /// The API key, if the server wants one.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Connections. Each sends its next request when it has an answer; with --rate this is the most requests
    /// that wait at once.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    /// Requests a second, sent whether or not earlier ones were answered; a request's time counts from when it
    /// was due.
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// How long to measure.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    seconds: u16,
    /// Compare every answer with what this bundle answers here (the runtime options are for it). Repeat it for
    /// a server whose bundle is replaced meanwhile.
    #[arg(long, value_name = "BUNDLE")]
    check: Vec<PathBuf>,
    /// Use the first N rows only.
    #[arg(long, value_name = "N", default_value_t = 3000)]
    limit: usize,
    /// Print JSON to standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    table: TableArguments,
    #[command(flatten)]
    runtime: RuntimeArguments,
}

fn rate(text: &str) -> std::result::Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "expected requests a second, above 0".to_owned())
}

pub(crate) fn run(arguments: &Arguments, given: &Given, terminal: &Terminal) -> Result<Outcome> {
    match &arguments.what {
        What::Embed(arguments) => embed(arguments, given, terminal),
        What::Latency(arguments) => latency(arguments, given, terminal),
        What::Serve(arguments) => serve(arguments, given),
    }
}

/// The first texts of a table.
pub(super) fn first_texts(source: &Source, text: &TextColumns, limit: usize) -> Result<Vec<OwnedText>> {
    let mut reader = TableReader::open(source)?;
    let places = reader.text(text)?;
    let mut texts: Vec<OwnedText> = Vec::new();
    loop {
        let rows = reader.read(8192.min(limit - texts.len()).max(1), 8 << 20)?;
        if rows.is_empty() || texts.len() >= limit {
            break;
        }
        texts.extend(rows.iter().map(|row| places.of(row).owned()));
    }
    texts.truncate(limit);
    Ok(texts)
}

fn latency(arguments: &LatencyArguments, given: &Given, terminal: &Terminal) -> Result<Outcome> {
    given.refuse([TrustArguments::idle([&*arguments.model])])?;
    let source = arguments.table.source(&arguments.data)?;
    let options = OpenOptions {
        runtime: arguments.runtime.options(),
        trust: arguments.trust.trust.clone(),
        skip_self_test: arguments.trust.skip_self_test,
        memory: arguments.memory.limit(),
        tuning: arguments.tuning.folder(),
        ..OpenOptions::default()
    };
    let classifier = Classifier::open_with(&arguments.model, &options)?;
    arguments.tuning.show(classifier.tuning(), terminal);
    let texts = first_texts(&source, &arguments.table.text_of(classifier.model())?, arguments.limit)?;
    let figures = bench_latency(&classifier, &texts, usize::from(arguments.rounds))?;
    print_result(arguments.json, &figures, || named(WIDTH, &latency_lines(&figures)))?;
    Ok(Outcome::Done)
}

fn latency_lines(figures: &LatencyBench) -> Vec<(&'static str, String)> {
    let Latency { calls, mean, p50, p95, p99, max } = figures.milliseconds;
    let texts = format!(
        "{} of {:.1} tokens, {} calls",
        grouped(figures.texts as u64),
        figures.tokens,
        grouped(calls as u64)
    );
    let milliseconds = |value: f64| format!("{value:.1} ms");
    vec![
        ("texts", texts),
        ("mean", milliseconds(mean)),
        ("median", milliseconds(p50)),
        ("95 of 100 within", milliseconds(p95)),
        ("99 of 100 within", milliseconds(p99)),
        ("slowest", milliseconds(max)),
        ("peak memory", bytes(figures.peak_rss_bytes)),
    ]
}

/// Exit code 1 when an answer was wrong or missing.
fn serve(arguments: &ServeArguments, given: &Given) -> Result<Outcome> {
    given.refuse([Idle {
        when: arguments.check.is_empty(),
        options: group::<RuntimeArguments>(),
        why: "no network runs here, only in the server",
        instead: "say --check BUNDLE",
    }])?;
    let texts =
        first_texts(&arguments.table.source(&arguments.data)?, &arguments.table.text()?, arguments.limit)?;
    let texts = as_texts(&texts);
    let open = OpenOptions { runtime: arguments.runtime.options(), ..OpenOptions::default() };
    let models = arguments.check.iter().map(|path| Classifier::open_with(path, &open));
    let models = models.collect::<Result<Vec<_>>>()?;
    let options = ServeBenchOptions {
        address: arguments.server,
        key: arguments.key.clone(),
        clients: usize::from(arguments.clients),
        rate: arguments.rate,
        duration: Duration::from_secs(arguments.seconds.into()),
    };
    let figures = bench_serve(&texts, &models, &options)?;
    print_result(arguments.json, &figures, || named(WIDTH, &serve_lines(&figures)))?;
    let sound = figures.wrong == 0 && !figures.statuses.contains_key("none");
    Ok(if sound { Outcome::Done } else { Outcome::CriterionMissed })
}

fn serve_lines(figures: &ServeBench) -> Vec<(&'static str, String)> {
    let times = |latency: &Option<Latency>| {
        latency.map_or_else(
            || "none".to_owned(),
            |Latency { calls, p50, p95, p99, max, .. }| {
                let calls = grouped(calls as u64);
                format!(
                    "{calls}: median {p50:.1} ms, 95 % {p95:.1} ms, 99 % {p99:.1} ms, slowest {max:.1} ms"
                )
            },
        )
    };
    let pairs = |counts: &BTreeMap<String, usize>| {
        let pairs = counts.iter().map(|(name, times)| format!("{name}: {}", grouped(*times as u64)));
        pairs.collect::<Vec<_>>().join(", ")
    };
    let mut lines = vec![
        ("requests", format!("{} in {:.1} s", grouped(figures.requests as u64), figures.seconds)),
        ("statuses", pairs(&figures.statuses)),
        ("texts/s", format!("{:.0}", figures.texts_per_second)),
        ("accepted", times(&figures.accepted)),
        ("refused", times(&figures.refused)),
        ("models", pairs(&figures.models)),
        ("own processor time", format!("{:.2} s", figures.cpu_seconds)),
    ];
    if figures.rate.is_some() {
        lines.push(("latest start", format!("{:.1} ms behind its schedule", figures.latest_start)));
    }
    if figures.checked + figures.wrong > 0 {
        lines.push((
            "checked",
            format!("{} answers, {} wrong", grouped(figures.checked as u64), figures.wrong),
        ));
    }
    lines
}

fn embed(arguments: &EmbedArguments, given: &Given, terminal: &Terminal) -> Result<Outcome> {
    let paths = [Some(&arguments.backbone), arguments.against.as_ref()];
    given.refuse([TrustArguments::idle(paths.into_iter().flatten().map(PathBuf::as_path))])?;
    let text = arguments.table.text()?;
    let texts =
        first_texts(&arguments.table.source(&arguments.data)?, &text, arguments.limit.unwrap_or(usize::MAX))?;
    let runtime = arguments.runtime.load(terminal)?;
    let open = |path: &PathBuf| {
        arguments.trust.open_backbone(path, &runtime)?.reading(text.are_pairs()).map(Arc::new)
    };
    let backbone = open(&arguments.backbone)?;
    let against = arguments.against.as_ref().map(open).transpose()?;
    let all = || std::iter::once(&backbone).chain(&against);
    // Without layers in one, none are measured in the other.
    all().try_for_each(|backbone| given.refuse([StoreArguments::idle([&**backbone])]))?;
    let stored = stored_by_all(arguments.store_layers, all());
    let contestant = |backbone: Arc<Backbone>| {
        let applied =
            arguments.tuning.apply_with(Load::Many, arguments.token_budget, &backbone, &runtime, terminal);
        let (batching, load) = (applied.batching, Load::Many);
        let reading = EmbedOptions { stored, batching, load, ..EmbedOptions::default() };
        Contestant { backbone, runtime: applied.runtime, reading }
    };
    let rounds = usize::from(arguments.rounds);
    match against {
        Some(against) => {
            let figures = bench_against([contestant(backbone), contestant(against)], &texts, rounds)?;
            print_result(arguments.json, &figures, || {
                let lines = [embed_lines(&figures.own), against_lines(&figures, arguments)].concat();
                named(WIDTH, &lines)
            })?;
        }
        None => {
            let figures = bench_embed(contestant(backbone), &texts, rounds)?;
            print_result(arguments.json, &figures, || named(WIDTH, &embed_lines(&figures)))?;
        }
    }
    Ok(Outcome::Done)
}

/// What networks are asked for so that they do the same: their layers' states only if all of them have such
/// outputs.
fn stored_by_all<'b>(wanted: FeatureChoice, all: impl Iterator<Item = &'b Arc<Backbone>>) -> FeatureChoice {
    let mut layouts = all.map(|backbone| RowLayout::of(backbone, wanted));
    if layouts.all(|layout| !layout.levels().is_empty()) { wanted } else { FeatureChoice::Last }
}

fn against_lines(figures: &EmbedComparison, arguments: &EmbedArguments) -> Vec<(&'static str, String)> {
    let (least, most) = figures
        .ratios
        .iter()
        .fold((f64::INFINITY, 0.0_f64), |(least, most), &ratio| (least.min(ratio), most.max(ratio)));
    let other = arguments.against.as_deref().map_or_else(String::new, |path| path.display().to_string());
    vec![
        ("against", other),
        ("its texts/s", format!("{:.0}", figures.against.texts_per_second)),
        (
            "times as fast",
            format!("{:.2} ({least:.2} to {most:.2}, {} pairs)", figures.ratio, figures.ratios.len()),
        ),
    ]
}

fn embed_lines(figures: &EmbedBench) -> Vec<(&'static str, String)> {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    vec![
        ("texts", format!("{} ({} tokens)", grouped(figures.texts), grouped(figures.tokens))),
        ("texts/s", format!("{:.0}", figures.texts_per_second)),
        ("tokens/s", format!("{:.0}", figures.tokens_per_second)),
        ("padding", percent(figures.padding_share)),
        ("side by side", side_by_side(figures)),
        ("shapes", figures.shapes.to_string()),
        ("inside ONNX Runtime", percent(figures.runtime_share)),
        ("GFLOP/s", figures.gflops.map_or_else(|| "unknown".to_owned(), |gflops| format!("{gflops:.0}"))),
        ("machine's GEMM peak", format!("{:.0} GFLOP/s", figures.gemm_peak_gflops)),
        ("share of that peak", figures.share_of_peak.map_or_else(|| "unknown".to_owned(), percent)),
        ("peak memory", bytes(figures.peak_rss_bytes)),
    ]
}

/// `2 sessions, 2 threads in all`.
fn side_by_side(figures: &EmbedBench) -> String {
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let EmbedBench { sessions, threads, .. } = *figures;
    format!("{}, {} in all", plural(sessions, "session"), plural(threads, "thread"))
}
