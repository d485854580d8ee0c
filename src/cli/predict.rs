//! Owns `frosthead predict`: texts in, one record per row out, streaming; a stream of Arrow in, one out.

use std::io::{BufWriter, IsTerminal as _};
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Outcome;
use super::explained::{Explain, Why, explained, shortest};
use super::given::{Given, Idle, names};
use super::options::{
    MemoryArguments, RuntimeArguments, StrictArguments, TableArguments, TrustArguments, TuningArguments,
};
#[cfg(feature = "parquet")]
use super::streamed::Labelling;
use super::terminal::{TableProgress, Terminal};
use frosthead::internal::classifier::{
    Classifier, Model, OpenOptions, TaskPrediction, by_probability, refuse_unsigned,
};
use frosthead::internal::data::{
    CARRIED, Format, RecordFormat, RecordValue, RecordWriter, Room, Row, RowStream, Source, TableReader,
    TextColumns, TextPlaces,
};
use frosthead::internal::embed::{LIMITED_WINDOW_BYTES, Progress, TextNotes};
use frosthead::internal::error::{Error, Kind, Result};
use frosthead::internal::files::write_atomically;
use frosthead::internal::heads::Head;
use frosthead::internal::runtime::Load;
use frosthead::internal::task::TaskKind;
use frosthead::internal::text::Text;
use frosthead::internal::tokens::LongTexts;

/// Rows predicted at a time: enough to sort into full batches, few enough to answer soon.
const WINDOW_ROWS: usize = 1024;
const WINDOW_BYTES: usize = 8 << 20;
/// How long the rows that follow the first one of a pipe are waited for, to see whether they are many.
const PATIENCE: Duration = Duration::from_millis(50);

/// Label texts with a trained model.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  echo 'Great phone, would buy again!' | frosthead predict - --model runs/first
  frosthead predict new.csv --model runs/first --out labelled.csv --top-k 2
  tail -f app.log | frosthead predict - --model first.frost
  producer | frosthead predict - --format arrow --model first.frost | consumer
  frosthead predict new.csv --model runs/first --abstain-below 0.6")]
pub(crate) struct Arguments {
    /// CSV, TSV, JSONL, Parquet or text file, or a stream of Arrow (--format arrow), which is answered by
    /// another; `-` is standard input, one text a line unless --format says otherwise.
    data: String,
    /// The run directory or bundle.
    #[arg(long, value_name = "RUN")]
    model: PathBuf,
    /// Write to this file instead of standard output (.jsonl, .csv or .tsv); it appears when everything is
    /// done.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// jsonl, csv or tsv [default: by the extension of --out, else jsonl].
    #[arg(long, value_name = "FORMAT")]
    output_format: Option<RecordFormat>,
    /// Show the probability of every label.
    #[arg(long, conflicts_with = "top_k")]
    all_probabilities: bool,
    /// Show the K most probable labels.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    top_k: Option<u16>,
    /// Answer "uncertain" where the most probable label has a lower probability than this, in tasks of one
    /// label. Thresholds that the model was trained with apply too; tasks of several labels have only those.
    #[arg(long, value_name = "P", value_parser = probability)]
    abstain_below: Option<f32>,
    /// `windows`: which windows of a long text spoke for its labels: their bytes in the text, tokens and
    /// logits. `words`: what each word piece, and each pair of neighbours, adds to the logits of these
    /// labels, the strongest first.
    #[arg(long, value_name = "WHAT")]
    explain: Option<Explain>,
    /// Replace an existing --out FILE.
    #[arg(long)]
    overwrite: bool,
    /// Where the backbone is now, if it was moved.
    #[arg(long, value_name = "DIR")]
    backbone: Option<PathBuf>,
    #[command(flatten)]
    table: TableArguments,
    #[command(flatten)]
    texts: StrictArguments,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    runtime: RuntimeArguments,
    #[command(flatten)]
    memory: MemoryArguments,
    #[command(flatten)]
    tuning: TuningArguments,
}

impl Arguments {
    /// Labels that are shown of a head.
    fn ranks(&self, head: &Head) -> usize {
        self.top_k.map_or(1, |ranks| usize::from(ranks).min(head.labels.len()))
    }

    /// Whether a head may leave its answer away.
    fn abstains(&self, head: &Head) -> bool {
        head.kind == TaskKind::OneOf && (self.abstain_below.is_some() || !head.believed.thresholds.is_empty())
    }

    /// Which ranks have columns of their own: the first label is the answer, unless several can be.
    fn own_ranks(&self, head: &Head) -> Range<usize> {
        match (head.kind, self.top_k) {
            (TaskKind::OneOf, _) => 1..self.ranks(head),
            (TaskKind::AnyOf, Some(_)) => 0..self.ranks(head),
            _ => 0..0,
        }
    }

    /// Names of the columns of a task's answer.
    fn columns_of(&self, head: &Head) -> Vec<String> {
        let task = &head.task;
        let mut columns = vec![format!("{task}_predicted")];
        if !head.kind.has_labels() {
            let bounds = head.believed.interval.map(|_| ["low", "high"].map(|end| format!("{task}_{end}")));
            columns.extend(bounds.into_iter().flatten());
            return columns;
        }
        columns.push(format!("{task}_probability"));
        if self.abstains(head) {
            columns.push(format!("{task}_uncertain"));
        }
        if self.all_probabilities {
            columns.extend(head.labels.iter().map(|label| format!("{task}_probability_{label}")));
        }
        for rank in self.own_ranks(head) {
            columns.push(format!("{task}_predicted_{}", rank + 1));
            columns.push(format!("{task}_probability_{}", rank + 1));
        }
        columns
    }

    /// The values of these columns; `ranked` are all labels, the most probable first.
    fn values_of<'h>(
        &self,
        head: &'h Head,
        prediction: &TaskPrediction,
        ranked: &[usize],
    ) -> Vec<RecordValue<'h>> {
        let number = |number: f32| RecordValue::Number(shortest(number));
        let probability = |label: usize| shortest(prediction.probabilities[label]);
        let mut values = match head.kind {
            TaskKind::Number => {
                let bounds = prediction.interval.into_iter().flatten();
                return std::iter::once(prediction.probabilities[0]).chain(bounds).map(number).collect();
            }
            TaskKind::OneOf => {
                let certain = self
                    .abstain_below
                    .is_none_or(|least| prediction.probabilities[prediction.label] >= least);
                let answer = prediction.labels.first().filter(|_| certain);
                let named = answer.map_or(RecordValue::Null, |label| RecordValue::Text(&head.labels[*label]));
                let mut values = vec![named, RecordValue::Number(probability(prediction.label))];
                if self.abstains(head) {
                    values.push(RecordValue::Json(answer.is_none().into()));
                }
                values
            }
            TaskKind::AnyOf => {
                // Their own thresholds have decided.
                let answered = prediction.labels.iter();
                let names = answered.clone().map(|label| head.labels[*label].as_str()).collect();
                let probabilities = answered.map(|label| probability(*label)).collect::<Vec<_>>();
                vec![RecordValue::List(names), RecordValue::Json(probabilities.into())]
            }
        };
        if self.all_probabilities {
            values.extend(prediction.probabilities.iter().map(|p| number(*p)));
        }
        for rank in self.own_ranks(head) {
            values.push(RecordValue::Text(&head.labels[ranked[rank]]));
            values.push(RecordValue::Number(probability(ranked[rank])));
        }
        values
    }
}

/// A number from 0 to 1.
pub(crate) fn probability(text: &str) -> std::result::Result<f32, String> {
    match text.parse() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err("expected a probability, from 0 to 1".into()),
    }
}

pub(crate) fn run(arguments: &Arguments, given: &Given, terminal: &Terminal) -> Result<Outcome> {
    let no_file = Idle {
        when: arguments.out.is_none(),
        options: names(&["overwrite"]),
        why: "the answers go to standard output",
        instead: "say --out FILE",
    };
    given.refuse([no_file, TrustArguments::idle([&*arguments.model])])?;
    let source = arguments.table.source(&arguments.data)?;
    if source.format == Format::Arrow {
        return predict_arrow(arguments, given, &source, terminal);
    }
    let format = output_format(arguments, terminal)?;
    let (mut rows, text) = open_rows(arguments, &source, format, terminal)?;
    let header = rows.header().clone();
    // How the network is loaded depends on how many texts there are.
    let classifier = open_model(arguments, Load::of_texts(rows.settle(PATIENCE)), terminal)?;
    check_explain(arguments, &classifier)?;
    given.refuse([Idle {
        when: !classifier.heads().iter().any(|head| head.kind == TaskKind::OneOf),
        options: names(&["abstain-below"]),
        why: "no task has one label as its answer, and thresholds of several labels are found in training",
        instead: "promise it in training: --precision-at 0.9",
    }])?;
    let (columns, renamed) = output_columns(arguments, classifier.heads(), header.columns());
    if !renamed.is_empty() {
        terminal.say(format!(
            "predict has columns of its own called like some of the table's, which become {}",
            renamed.join(", ")
        ));
    }
    let mut job = Job {
        arguments,
        classifier: &classifier,
        text,
        notes: TextNotes::default(),
        progress: (arguments.out.is_some() || !std::io::stdout().is_terminal())
            .then(|| terminal.progress(None)),
    };
    match &arguments.out {
        Some(path) => {
            write_atomically(path, |out| job.run(&mut rows, RecordWriter::new(out, format, &columns)?))?;
        }
        None => {
            let mut out = BufWriter::new(std::io::stdout().lock());
            job.run(&mut rows, RecordWriter::new(&mut out, format, &columns)?)?;
        }
    }
    let mut notes = job.notes;
    drop(job.progress);
    let work = classifier.work();
    (notes.truncation, notes.windowed) = (work.truncation, work.windowed);
    terminal.notes(&notes, classifier.model().long(), classifier.max_length());
    terminal.left_out(&rows.left_out());
    Ok(Outcome::Done)
}

/// Opens the model. The process ends with this command, and takes the network with it faster than it could be
/// taken apart.
fn open_model(arguments: &Arguments, load: Load, terminal: &Terminal) -> Result<ManuallyDrop<Classifier>> {
    let options = OpenOptions {
        runtime: arguments.runtime.options(),
        backbone: arguments.backbone.clone(),
        trust: arguments.trust.trust.clone(),
        skip_self_test: arguments.trust.skip_self_test,
        load,
        memory: arguments.memory.limit(),
        tuning: arguments.tuning.folder(),
        copy_to: None,
    };
    let classifier = ManuallyDrop::new(Classifier::open_with(&arguments.model, &options)?);
    arguments.tuning.show(classifier.tuning(), terminal);
    MemoryArguments::show(classifier.memory().as_ref(), terminal);
    Ok(classifier)
}

/// Labels a stream of Arrow.
#[cfg(feature = "parquet")]
fn predict_arrow(
    arguments: &Arguments,
    given: &Given,
    source: &Source,
    terminal: &Terminal,
) -> Result<Outcome> {
    let line = |options: &[&str], why, instead| Idle { when: true, options: names(options), why, instead };
    given.refuse([
        line(&["output-format"], "a stream of Arrow is answered with another", "give another --format"),
        line(
            &["top-k", "abstain-below", "explain"],
            "a stream of Arrow has the same columns in every row",
            "say --all-probabilities",
        ),
        line(&["memory"], "the batches of a stream of Arrow are as large as whoever wrote it made them", ""),
    ])?;
    let labelling = Labelling {
        text: arguments.table.text_or(text_columns(arguments)?, &arguments.model)?,
        all_probabilities: arguments.all_probabilities,
        strict: arguments.texts.strict,
        out: arguments.out.as_deref(),
        overwrite: arguments.overwrite,
    };
    labelling.run(source, &|load| open_model(arguments, load, terminal), terminal)
}

/// This build has no Arrow.
#[cfg(not(feature = "parquet"))]
fn predict_arrow(_: &Arguments, _: &Given, source: &Source, _: &Terminal) -> Result<Outcome> {
    Err(Error::new(Kind::Usage, "this build of frosthead does not read Arrow").at(source.name()))
}

/// Opens the table and begins to read it; gives the place of the texts, too.
fn open_rows(
    arguments: &Arguments,
    source: &Source,
    format: RecordFormat,
    terminal: &Terminal,
) -> Result<(RowStream, TextPlaces)> {
    let bytes = if arguments.memory.limit().is_some() { LIMITED_WINDOW_BYTES / 2 } else { WINDOW_BYTES };
    let column = arguments.table.text_or(text_columns(arguments)?, &arguments.model)?;
    let name = column.first.clone();
    let prepare = move |reader: &mut TableReader| {
        let text = reader.text(&column)?;
        match format {
            RecordFormat::Jsonl => reader.carry(),
            RecordFormat::Csv | RecordFormat::Tsv => reader.carry_known()?,
        }
        Ok(text)
    };
    let (rows, text) = RowStream::open(source, Room { rows: WINDOW_ROWS, bytes }, prepare)?;
    rows.header().doubt(&name).into_iter().for_each(|doubt| terminal.warn(doubt));
    Ok((rows, text))
}

/// The text column that the model was trained with, or both of pairs, if they are known.
fn text_columns(arguments: &Arguments) -> Result<Option<TextColumns>> {
    refuse_unsigned(&arguments.model, arguments.trust.trust.as_ref())?;
    Model::peek_text_columns(&arguments.model)
}

/// How the output is written: as --output-format says, else the extension of --out, which must not be there
/// yet.
fn output_format(arguments: &Arguments, terminal: &Terminal) -> Result<RecordFormat> {
    let Some(path) = &arguments.out else { return Ok(arguments.output_format.unwrap_or_default()) };
    if path.is_dir() {
        return Err(Error::new(Kind::Usage, "the output is a directory")
            .at(path)
            .expected("the name of a file to write"));
    }
    if path.exists() && !arguments.overwrite {
        return Err(Error::new(Kind::Exists, "the output exists")
            .at(path)
            .help("choose another --out, or say --overwrite"));
    }
    RecordFormat::refuse_compressed(path)?;
    let by_name = RecordFormat::of_path(path);
    let Some(asked) = arguments.output_format else {
        return by_name.map_err(|error| {
            error.help("give the output such a name, or say --output-format jsonl, csv or tsv")
        });
    };
    if by_name.is_ok_and(|by_name| by_name != asked) {
        terminal.warn(format!(
            "{} will hold {asked}, as --output-format says, not what its extension says",
            path.display()
        ));
    }
    Ok(asked)
}

/// Refuses to explain by windows what is not read in windows, and by words what does not look at them.
fn check_explain(arguments: &Arguments, classifier: &Classifier) -> Result<()> {
    match arguments.explain {
        Some(Explain::Windows) if classifier.model().long() == LongTexts::Truncate => {}
        Some(Explain::Words) => {
            let nothing = Text { first: "", second: classifier.reads_pairs().then_some("") };
            return classifier.explain_words(nothing).map(drop);
        }
        _ => return Ok(()),
    }
    Err(Error::new(Kind::Usage, "this model does not read texts in windows")
        .at(&arguments.model)
        .found("--explain windows, and a model trained with --long truncate")
        .help("train it with --long windows"))
}

/// Names of the output's columns: the row number, the input's own columns, then per task what was predicted;
/// and which of the input's had to be renamed.
fn output_columns(arguments: &Arguments, heads: &[Head], input: &[String]) -> (Vec<String>, Vec<String>) {
    let mut columns = vec!["row".to_owned()];
    for head in heads {
        columns.extend(arguments.columns_of(head));
        if let Some(explain) = arguments.explain {
            columns.push(format!("{}_logits", head.task));
            columns.push(format!("{}_{}", head.task, explain.column()));
        }
    }
    let mut carried: Vec<String> = Vec::with_capacity(input.len());
    let mut renamed = Vec::new();
    for column in input {
        let mut name = column.clone();
        while columns.contains(&name) || carried.contains(&name) || (name != *column && input.contains(&name))
        {
            name.insert_str(0, CARRIED);
        }
        if name != *column {
            renamed.push(name.clone());
        }
        carried.push(name);
    }
    columns.splice(1..1, carried);
    (columns, renamed)
}

/// One pass of `predict`.
struct Job<'j> {
    arguments: &'j Arguments,
    classifier: &'j Classifier,
    text: TextPlaces,
    notes: TextNotes,
    /// Where it does not get between the answers.
    progress: Option<TableProgress>,
}

impl Job<'_> {
    /// Answers all rows, as many at a time as there are.
    fn run(&mut self, stream: &mut RowStream, mut records: RecordWriter<'_>) -> Result<()> {
        loop {
            let rows = stream.next_rows()?;
            if rows.is_empty() {
                return records.finish();
            }
            let strict = self.arguments.texts.strict;
            let refused = rows.iter().enumerate().find_map(|(place, row)| {
                self.notes.add(row.number, self.text.of(row), strict).err().map(|error| (place, error))
            });
            // What stands before a row that is refused is answered.
            let accepted = refused.as_ref().map_or(rows.len(), |(place, _)| *place);
            let table = stream.header().table();
            self.answer(table, &rows[..accepted], &mut records)?;
            if let Some((_, error)) = refused {
                return Err(error.at(table));
            }
        }
    }

    fn answer(&mut self, table: &str, rows: &[Row], records: &mut RecordWriter<'_>) -> Result<()> {
        let texts: Vec<Text<'_>> = rows.iter().map(|row| self.text.of(row)).collect();
        let predictions = self.classifier.predict(&texts);
        let predictions = predictions.map_err(|error| {
            let error = if error.is_of_a_text() { error.at(table) } else { error };
            error.row_of_text(|text| rows.get(text).map(|row| row.number))
        })?;
        for ((row, text), predictions) in rows.iter().zip(&texts).zip(&predictions) {
            let why = self.arguments.explain.map(|by| self.why(by, *text)).transpose()?;
            records.write_with(&self.record(row, predictions, why.as_ref()), &row.others)?;
        }
        if let Some(progress) = &mut self.progress {
            progress.show(&Progress::of_rows(self.notes.rows));
        }
        records.flush()
    }

    /// What speaks for the labels of a text. Who reads pairs reads no windows.
    fn why(&self, by: Explain, text: Text<'_>) -> Result<Why> {
        Ok(match by {
            Explain::Windows => Why::Windows(self.classifier.explain(text.first)?),
            Explain::Words => Why::Words(self.classifier.explain_words(text)?),
        })
    }

    fn record<'r>(
        &'r self,
        row: &'r Row,
        predictions: &[TaskPrediction],
        why: Option<&Why>,
    ) -> Vec<RecordValue<'r>> {
        let mut record = vec![RecordValue::Integer(row.number)];
        record.extend(row.cells.iter().map(RecordValue::Cell));
        for (task, (head, prediction)) in self.classifier.heads().iter().zip(predictions).enumerate() {
            let ranked = by_probability(&prediction.probabilities);
            record.extend(self.arguments.values_of(head, prediction, &ranked));
            if let Some(why) = why {
                let shown = if self.arguments.all_probabilities {
                    head.labels.len()
                } else {
                    self.arguments.ranks(head)
                };
                record.extend(explained(head, prediction, &ranked[..shown], (why, task)));
            }
        }
        record
    }
}
