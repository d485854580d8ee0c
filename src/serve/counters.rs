//! Owns what is counted, for Prometheus: requests, refusals, texts, tokens, how texts fit the vocabulary,
//! batches, times, the queue, memory.
//!
//! Refuses labels that grow with what clients send: routes and codes are ours.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::runtime::rss_bytes;
use crate::tokens::PieceUse;

/// What `/metrics` gives.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From a text on a fast machine to the longest timeouts, some 1.8 times apart.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.0018, 0.0032, 0.0056, 0.01, 0.018, 0.032, 0.056, 0.1, 0.18, 0.32, 1.0, 3.2, 10.0, 32.0];
const TEXTS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
const TOKENS: [f64; 9] = [8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// All that is counted.
pub(super) struct Counters {
    registry: Registry,
    requests: Family<Answered, Counter>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
    refusals: Family<Code, Counter>,
    texts: Counter,
    tokens: Counter,
    fit: FitCounters,
    batch_texts: Histogram,
    batch_tokens: Histogram,
    batch_seconds: Histogram,
    queue_seconds: Histogram,
    loads: Family<Outcome, Counter>,
    connections: Gauge,
    queue_texts: Gauge,
    queue_tokens: Gauge,
    memory: Gauge,
}

/// How texts fit the vocabulary.
struct FitCounters {
    texts: Counter,
    words: Counter,
    pieces: Counter,
    unknown: Counter,
}

impl FitCounters {
    fn new(all: &mut Registry) -> Self {
        let mut counter = |name, help| counted(all, name, help, Counter::default());
        Self {
            texts: counter("whole_texts", "Answered texts of which nothing was cut off"),
            words: counter("words", "Their words, which is what stands between white space"),
            pieces: counter("pieces", "Their pieces, each once, without special tokens"),
            unknown: counter("unknown_pieces", "Those that stand for what the vocabulary has not"),
        }
    }

    fn add(&self, used: PieceUse) {
        self.texts.inc_by(used.texts);
        self.words.inc_by(used.words);
        self.pieces.inc_by(used.pieces);
        self.unknown.inc_by(used.unknown);
    }
}

impl Counters {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("frosthead");
        let all = &mut registry;
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        let seconds = Family::new_with_constructor(seconds);
        Self {
            requests: counted(all, "requests", "Answered requests", Family::default()),
            seconds: counted(all, "request_seconds", "From a request's headers to its answer", seconds),
            refusals: counted(all, "refusals", "Refused requests by code", Family::default()),
            texts: counted(all, "texts", "Texts that were answered", Counter::default()),
            tokens: counted(all, "tokens", "Their tokens", Counter::default()),
            fit: FitCounters::new(all),
            batch_texts: counted(all, "batch_texts", "Texts or windows of a batch", Histogram::new(TEXTS)),
            batch_tokens: counted(
                all,
                "batch_tokens",
                "Tokens of a batch, padding included",
                Histogram::new(TOKENS),
            ),
            batch_seconds: counted(
                all,
                "batch_seconds",
                "Time of a batch in the network",
                Histogram::new(SECONDS),
            ),
            queue_seconds: counted(
                all,
                "queue_seconds",
                "From a request that was read to its last batch",
                Histogram::new(SECONDS),
            ),
            loads: counted(
                all,
                "model_loads",
                "Models that took the place of another, or could not",
                Family::default(),
            ),
            connections: counted(all, "connections", "Open connections", Gauge::default()),
            queue_texts: counted(all, "queue_texts", "Texts that are not answered yet", Gauge::default()),
            queue_tokens: counted(all, "queue_tokens", "Their tokens", Gauge::default()),
            memory: counted(all, "resident_memory_bytes", "The process's memory", Gauge::default()),
            registry,
        }
    }

    /// An answered request.
    pub(super) fn answered(&self, route: &'static str, status: u16, took: Duration) {
        self.requests.get_or_create(&Answered { route, status }).inc();
        self.seconds.get_or_create(&Route { route }).observe(took.as_secs_f64());
    }

    /// A refused one.
    pub(super) fn refused(&self, code: &'static str) {
        self.refusals.get_or_create(&Code { code }).inc();
    }

    /// Texts that were answered, and how those of them that were read whole were cut into pieces.
    pub(super) fn texts(&self, texts: usize, tokens: usize, whole: PieceUse) {
        self.texts.inc_by(texts as u64);
        self.tokens.inc_by(tokens as u64);
        self.fit.add(whole);
    }

    /// A batch that was run.
    pub(super) fn batch(&self, texts: usize, tokens: usize, took: Duration) {
        self.batch_texts.observe(texts as f64);
        self.batch_tokens.observe(tokens as f64);
        self.batch_seconds.observe(took.as_secs_f64());
    }

    /// How long a request waited until its last batch began.
    pub(super) fn waited(&self, time: Duration) {
        self.queue_seconds.observe(time.as_secs_f64());
    }

    /// Another model was to take the place of the one that is served.
    pub(super) fn loaded(&self, well: bool) {
        let outcome = if well { "switched" } else { "refused" };
        self.loads.get_or_create(&Outcome { outcome }).inc();
    }

    /// A connection was opened; closed when what is returned is dropped.
    pub(super) fn connected(&self) -> Connected {
        self.connections.inc();
        Connected(self.connections.clone())
    }

    /// Everything, as text.
    pub(super) fn show(&self, queue_texts: usize, queue_tokens: usize) -> String {
        let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.queue_texts.set(number(queue_texts));
        self.queue_tokens.set(number(queue_tokens));
        self.memory.set(i64::try_from(rss_bytes()).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// A number that is shown with the others, in the order in which they are made.
fn counted<M: Metric + Clone>(all: &mut Registry, name: &str, help: &str, metric: M) -> M {
    all.register(name, help, metric.clone());
    metric
}

/// An open connection.
pub(super) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}
