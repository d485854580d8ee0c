//! Owns the model that is being served: the opened bundle, how its texts are read, and its name in every
//! answer.
//!
//! A request keeps the model it began with: another one that takes its place does not touch it.

use std::time::Instant;

use hyper::header::HeaderValue;
use serde::Serialize;

use super::log::{Log, fields_of};
use super::{Long, ServeOptions};
use crate::backbone::Source;
use crate::bundle::{Bundle, SelfTest};
use crate::classifier::{Classifier, Model as Opened, OpenOptions};
use crate::embed::{Reader, Reading};
use crate::error::{Error, Kind, Result};
use crate::heads::Head;
use crate::recognize::{Thing, Wanted};
use crate::task::TaskKind;
use crate::text::Text;
use crate::tokens::{LongTexts, Tokens, WindowOptions};

/// An opened bundle.
pub(super) struct Model {
    pub classifier: Classifier,
    /// The bundle's fingerprint.
    pub fingerprint: HeaderValue,
    /// What the model says of itself.
    pub card: Card,
    /// When its file was written, in seconds since 1970.
    pub written: i64,
    truncating: Reader,
    windowed: Option<Reader>,
    long: Long,
    most_tokens: usize,
}

/// Why a text cannot be read.
pub(super) enum Unreadable {
    /// It has more tokens than are read.
    TooLong { most: usize, option: &'static str },
    /// The tokenizer failed.
    Failed(Error),
}

impl Model {
    /// Opens a bundle and runs its self-test.
    ///
    /// # Errors
    /// It is no bundle, is damaged, is not signed, fails its test, or its texts cannot be read in windows and
    /// shall be.
    pub(super) fn open(options: &ServeOptions) -> Result<Self> {
        let path = &options.bundle;
        let thing = Thing::of(path);
        if thing != Thing::Bundle {
            return Err(thing.instead_of(Wanted::Bundle, Some(path)));
        }
        let start = Instant::now();
        let opening = OpenOptions {
            runtime: options.runtime.clone(),
            trust: options.trust.clone(),
            tuning: options.tuning.clone(),
            copy_to: Some(options.copy_to.clone()),
            ..OpenOptions::default()
        };
        let classifier = Classifier::open_with(path, &opening)?;
        let Opened::Bundle(bundle) = classifier.model() else {
            return Err(Error::new(Kind::Usage, "only a bundle is served").at(path));
        };
        let bundled = bundle.long();
        let long = options.long.unwrap_or(match bundled {
            LongTexts::Truncate => Long::Truncate,
            LongTexts::Windows(_) => Long::Windows,
        });
        let windows = match bundled {
            LongTexts::Windows(windows) => windows,
            LongTexts::Truncate => WindowOptions::within(classifier.positions()),
        };
        let windowed = (long == Long::Windows)
            .then(|| classifier.reader(Some(LongTexts::Windows(windows))).map_err(|error| error.at(path)));
        let card = Card::new(&classifier, bundle, long, start.elapsed().as_secs_f64());
        Ok(Self {
            truncating: classifier.reader(Some(LongTexts::Truncate))?,
            windowed: windowed.transpose()?,
            fingerprint: HeaderValue::try_from(&card.fingerprint)
                .map_err(|source| Error::new(Kind::Bundle, "a fingerprint is no header").because(source))?,
            card,
            written: classifier.copy().map_or(0, |copy| copy.written),
            long,
            most_tokens: options.limits.tokens,
            classifier,
        })
    }

    /// Says that the network runs as it was tuned, or why not although there is a tuning.
    pub(super) fn say_tuning(&self, log: &Log) {
        let applied = self.classifier.tuning();
        if let Some(problem) = &applied.problem {
            log.warn("the tuning is not used", &fields_of(problem));
        }
        if applied.kept.is_some() {
            let (threads, buckets) = (applied.runtime.threads(), applied.batching.spacing.to_string());
            log.info("tuned", &[("threads", threads.into()), ("buckets", buckets.into())]);
        }
    }

    /// Warns of a private copy in memory.
    pub(super) fn say_copy(&self, log: &Log) {
        let Some(copy) = self.classifier.copy().filter(|copy| copy.in_memory) else { return };
        let fields = [("folder", copy.folder.display().to_string().into()), ("bytes", copy.bytes.into())];
        log.warn("the private copy of the bundle takes memory: say --copy-to a folder on a disk", &fields);
    }

    /// The tasks.
    pub(super) fn heads(&self) -> &[Head] {
        self.classifier.heads()
    }

    /// Which head answers a task.
    pub(super) fn head(&self, task: &str) -> Option<usize> {
        self.heads().iter().position(|head| head.task == task)
    }

    /// Reads a text as the server does, or as the request wants it.
    ///
    /// # Errors
    /// It is too long, or the tokenizer fails.
    pub(super) fn read(&self, text: Text<'_>, long: Option<Long>) -> Result<Reading, Unreadable> {
        let long = long.unwrap_or(self.long);
        let (reader, most, option) = match (&self.windowed, long) {
            (Some(windowed), Long::Windows) => (windowed, self.most_tokens, "--max-tokens"),
            _ => (&self.truncating, self.classifier.max_length(), "--long refuse"),
        };
        let reading = reader.read(text, most).map_err(Unreadable::Failed)?;
        let refused = long == Long::Refuse && (reading.lost.tokens > 0 || reading.lost.at_least);
        if refused || reading.tokens() > most {
            return Err(Unreadable::TooLong { most, option });
        }
        Ok(reading)
    }

    /// Whether it reads pairs of texts.
    pub(super) fn reads_pairs(&self) -> bool {
        self.truncating.reads_pairs()
    }

    /// What happens to long texts.
    pub(super) fn long(&self) -> Long {
        self.long
    }

    /// Tokens of the longest text that is read as a whole.
    pub(super) fn longest_text(&self) -> usize {
        if self.windowed.is_some() { self.most_tokens } else { self.classifier.max_length() }
    }

    /// The length a piece is padded to.
    pub(super) fn padded(&self, tokens: usize) -> usize {
        // Pieces of either reader are whole windows or whole texts; the finer buckets of the longer reader
        // hold both.
        self.truncating.padded(tokens)
    }

    /// Runs pieces as one batch.
    ///
    /// # Errors
    /// Running fails.
    pub(super) fn rows(&self, pieces: &[&Tokens], length: usize) -> Result<Vec<Result<Vec<f32>>>> {
        self.classifier.rows(pieces, length)
    }
}

/// What a model says of itself.
#[derive(Serialize)]
pub(super) struct Card {
    pub fingerprint: String,
    file: String,
    frosthead: String,
    pub precision: String,
    pub backbone: String,
    source: Source,
    /// Of a sentence embedding; null where the bundle has none.
    dimensions: Option<usize>,
    max_tokens: usize,
    /// Whether it reads pairs of texts.
    pairs: bool,
    long_texts: &'static str,
    tasks: Vec<CardTask>,
    pub self_test: Option<SelfTest>,
    seconds_to_open: f64,
}

#[derive(Serialize)]
struct CardTask {
    task: String,
    #[serde(skip_serializing_if = "TaskKind::is_default")]
    kind: TaskKind,
    labels: Vec<String>,
}

impl Card {
    fn new(classifier: &Classifier, bundle: &Bundle, long: Long, seconds_to_open: f64) -> Self {
        let manifest = bundle.manifest();
        let task =
            |head: &Head| CardTask { task: head.task.clone(), kind: head.kind, labels: head.labels.clone() };
        Self {
            fingerprint: bundle.fingerprint().to_string(),
            file: bundle
                .path()
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            frosthead: manifest.frosthead.clone(),
            precision: manifest.precision.clone(),
            backbone: manifest.backbone.name.clone(),
            source: manifest.backbone.source.clone(),
            dimensions: Some(classifier.dimensions()).filter(|dimensions| *dimensions > 0),
            max_tokens: classifier.max_length(),
            pairs: classifier.reads_pairs(),
            long_texts: match long {
                Long::Truncate => "truncate",
                Long::Windows => "windows",
                Long::Refuse => "refuse",
            },
            tasks: classifier.heads().iter().map(task).collect(),
            self_test: classifier.self_test(),
            seconds_to_open,
        }
    }
}
