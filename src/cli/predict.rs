//! Owns `frosthead predict`: texts in, one record per row out, streaming.

use std::io::{BufWriter, Write};
use std::mem::ManuallyDrop;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Outcome;
use super::options::{MemoryArguments, RuntimeArguments, TableArguments, TrustArguments, TuningArguments};
use super::terminal::Terminal;
use crate::classifier::{Classifier, OpenOptions, TaskPrediction, WindowLogits};
use crate::data::{RecordFormat, RecordValue, RecordWriter, Row, TableReader, write_atomically};
use crate::embed::{LIMITED_WINDOW_BYTES, TextNotes};
use crate::error::{Error, Kind, Result};
use crate::heads::Head;
use crate::runtime::Load;
use crate::tokens::LongTexts;

/// Rows predicted at a time: enough to sort into full batches, few enough to answer soon.
const WINDOW_ROWS: usize = 1024;
const WINDOW_BYTES: usize = 8 << 20;

/// Label texts with a trained model.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  echo 'Great phone, would buy again!' | frosthead predict - --model runs/first
  frosthead predict new.csv --model runs/first --out labelled.csv --output-format csv --top-k 2
  frosthead predict new.csv --model runs/first --abstain-below 0.6")]
pub(crate) struct Arguments {
    /// CSV, TSV, JSONL, Parquet or text file; `-` is standard input, one text a line unless --format says otherwise.
    data: String,
    /// The run directory or bundle.
    #[arg(long, value_name = "RUN")]
    model: PathBuf,
    /// Write here instead of to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// jsonl or csv.
    #[arg(long, value_name = "FORMAT", default_value = "jsonl")]
    output_format: RecordFormat,
    /// Every label's probability.
    #[arg(long, conflicts_with = "top_k")]
    all_probabilities: bool,
    /// The K most probable labels.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    top_k: Option<u16>,
    /// Say that a task is uncertain, instead of a label, where the most probable label's probability is lower.
    #[arg(long, value_name = "P", value_parser = probability)]
    abstain_below: Option<f32>,
    /// `windows`: which windows of a text spoke for its labels: their bytes in the text, tokens and logits (of the labels that are
    /// shown).
    #[arg(long, value_name = "WHAT")]
    explain: Option<Explain>,
    /// Replace an existing --out.
    #[arg(long)]
    overwrite: bool,
    /// Where the backbone lies, when it is not where the run says.
    #[arg(long, value_name = "DIR")]
    backbone: Option<PathBuf>,
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

/// A number from 0 to 1.
pub(crate) fn probability(text: &str) -> std::result::Result<f32, String> {
    match text.parse() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err("expected a probability, from 0 to 1".into()),
    }
}

/// What `--explain` explains a prediction by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Explain {
    Windows,
}

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let source = arguments.table.source(&arguments.data)?;
    if let Some(path) = arguments.out.as_ref().filter(|path| path.exists() && !arguments.overwrite) {
        return Err(Error::new(Kind::Exists, "the output exists")
            .at(path)
            .help("choose another --out, or say --overwrite")
            .into());
    }
    let mut reader = TableReader::open(&source)?;
    let text = reader.column(&arguments.table.text)?;
    match arguments.output_format {
        RecordFormat::Jsonl => reader.carry(),
        RecordFormat::Csv => reader.carry_known()?,
    }
    // How the network is loaded depends on how many texts there are.
    let bytes = if arguments.memory.limit().is_some() { LIMITED_WINDOW_BYTES } else { WINDOW_BYTES };
    let window = Window { first: reader.read(WINDOW_ROWS, bytes)?, bytes };
    let options = OpenOptions {
        runtime: arguments.runtime.options(),
        backbone: arguments.backbone.clone(),
        trust: arguments.trust.trust.clone(),
        skip_self_test: arguments.trust.skip_self_test,
        load: Load::of_texts(window.first.len()),
        memory: arguments.memory.limit(),
        tuning: arguments.tuning.folder(),
        copy_to: None,
    };
    // The process ends with this command, and takes the network with it faster than it could be taken apart.
    let classifier = ManuallyDrop::new(Classifier::open_with(&arguments.model, &options)?);
    arguments.tuning.show(classifier.tuning(), terminal);
    MemoryArguments::show(classifier.memory().as_ref(), terminal);
    if arguments.explain.is_some() && classifier.model().long() == LongTexts::Truncate {
        return Err(Error::new(Kind::Usage, "this run does not read texts in windows")
            .at(&arguments.model)
            .found("--explain windows, and a run trained with --long truncate")
            .help("train it with --long windows")
            .into());
    }
    let mut job = Job { arguments, classifier: &classifier, text, notes: TextNotes::default() };
    match &arguments.out {
        Some(path) => write_atomically(path, |out| job.run(&mut reader, window, out))?,
        None => job.run(&mut reader, window, &mut BufWriter::new(std::io::stdout().lock()))?,
    }
    let mut notes = job.notes;
    let work = classifier.work();
    (notes.truncation, notes.windowed) = (work.truncation, work.windowed);
    terminal.notes(&notes, classifier.model().long(), classifier.max_length());
    terminal.left_out(reader.left_out());
    Ok(Outcome::Done)
}

/// Rows that are read at a time.
struct Window {
    /// Those that were read to begin with.
    first: Vec<Row>,
    /// Bytes of their texts, at most.
    bytes: usize,
}

/// One pass of `predict`.
struct Job<'j> {
    arguments: &'j Arguments,
    classifier: &'j Classifier,
    text: usize,
    notes: TextNotes,
}

impl Job<'_> {
    fn run(&mut self, reader: &mut TableReader, window: Window, out: &mut dyn Write) -> Result<()> {
        let columns = self.columns(reader.columns());
        let mut records = RecordWriter::new(out, self.arguments.output_format, &columns)?;
        let Window { first: mut rows, bytes } = window;
        while !rows.is_empty() {
            let texts: Vec<&str> =
                rows.iter().map(|row| row.cells[self.text].as_str().unwrap_or("")).collect();
            for (row, text) in rows.iter().zip(&texts) {
                self.notes.add(row, text, self.arguments.table.strict)?;
            }
            let predictions = self.classifier.predict(&texts);
            let predictions = predictions
                .map_err(|error| error.row_of_text(|text| rows.get(text).map(|row| row.number)))?;
            for ((row, text), predictions) in rows.iter().zip(&texts).zip(&predictions) {
                let windows = self.arguments.explain.map(|_| self.classifier.explain(text)).transpose()?;
                records.write_with(&self.record(row, predictions, windows.as_deref()), &row.others)?;
            }
            records.flush()?;
            rows = reader.read(WINDOW_ROWS, bytes)?;
        }
        records.finish()
    }

    /// Names of the output's columns: the row number, the input's own columns, then per task what was predicted.
    fn columns(&self, input: &[String]) -> Vec<String> {
        let mut columns = vec!["row".to_owned()];
        columns.extend(input.iter().map(|column| match column.as_str() {
            "row" => "input_row".to_owned(),
            _ => column.clone(),
        }));
        for head in self.classifier.heads() {
            columns.push(format!("{}_predicted", head.task));
            columns.push(format!("{}_probability", head.task));
            if self.arguments.abstain_below.is_some() {
                columns.push(format!("{}_uncertain", head.task));
            }
            if self.arguments.all_probabilities {
                columns.extend(head.labels.iter().map(|label| format!("{}_probability_{label}", head.task)));
            }
            for rank in 2..=self.ranks(head) {
                columns.push(format!("{}_predicted_{rank}", head.task));
                columns.push(format!("{}_probability_{rank}", head.task));
            }
            if self.arguments.explain.is_some() {
                columns.push(format!("{}_logits", head.task));
                columns.push(format!("{}_windows", head.task));
            }
        }
        columns
    }

    fn ranks(&self, head: &Head) -> usize {
        self.arguments.top_k.map_or(1, |ranks| usize::from(ranks).min(head.labels.len()))
    }

    fn record<'r>(
        &'r self,
        row: &'r Row,
        predictions: &[TaskPrediction],
        windows: Option<&[Vec<WindowLogits>]>,
    ) -> Vec<RecordValue<'r>> {
        let mut record = vec![RecordValue::Integer(row.number)];
        record.extend(row.cells.iter().map(RecordValue::Cell));
        for (task, (head, prediction)) in self.classifier.heads().iter().zip(predictions).enumerate() {
            let mut ranked: Vec<usize> = (0..head.labels.len()).collect();
            ranked.sort_by(|&a, &b| prediction.probabilities[b].total_cmp(&prediction.probabilities[a]));
            let probability = prediction.probabilities[prediction.label];
            let uncertain = self.arguments.abstain_below.map(|least| probability < least);
            record.push(match uncertain {
                Some(true) => RecordValue::Null,
                _ => RecordValue::Text(&head.labels[prediction.label]),
            });
            record.push(RecordValue::Number(shortest(probability)));
            record.extend(uncertain.map(|uncertain| RecordValue::Json(uncertain.into())));
            let mut push = |label: usize| {
                record.push(RecordValue::Text(&head.labels[label]));
                record.push(RecordValue::Number(shortest(prediction.probabilities[label])));
            };
            ranked.iter().take(self.ranks(head)).skip(1).for_each(|&label| push(label));
            if self.arguments.all_probabilities {
                record.extend(prediction.probabilities.iter().map(|p| RecordValue::Number(shortest(*p))));
            }
            if let Some(windows) = windows {
                let shown =
                    if self.arguments.all_probabilities { head.labels.len() } else { self.ranks(head) };
                record.extend(explained(head, prediction, &ranked[..shown], &windows[task]));
            }
        }
        record
    }
}

/// The logits of the shown labels: the text's, and each window's with its place.
fn explained<'r>(
    head: &Head,
    prediction: &TaskPrediction,
    shown: &[usize],
    windows: &[WindowLogits],
) -> [RecordValue<'r>; 2] {
    let named = |logits: &[f32]| -> serde_json::Value {
        let pairs = shown.iter().map(|&label| (head.labels[label].clone(), shortest(logits[label]).into()));
        serde_json::Value::Object(pairs.collect())
    };
    let windows = windows.iter().map(|(span, logits)| {
        let (start, end) = (span.bytes.start, span.bytes.end);
        serde_json::json!({"start": start, "end": end, "tokens": span.tokens, "logits": named(logits)})
    });
    [RecordValue::Json(named(&prediction.logits)), RecordValue::Json(windows.collect())]
}

/// The f64 whose shortest decimal form is the f32's: 0.97 stays 0.97 in the output.
fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}
