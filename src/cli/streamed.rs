//! Owns `embed` and `predict` on streams of Arrow: one comes in, the same with more columns goes out, batch
//! by batch.

use std::io::{BufWriter, Write};
use std::mem::ManuallyDrop;
use std::path::Path;

use frosthead::internal::classifier::{Classifier, TaskAnswers};
use frosthead::internal::data::{AnswerField, ArrowInput, ArrowOutput, ArrowRows, Source, TextColumns};
use frosthead::internal::embed::{Progress, TextNotes};
use frosthead::internal::error::{Error, Kind, Result};
use frosthead::internal::files::write_atomically;
use frosthead::internal::runtime::Load;

use super::Outcome;
use super::terminal::{TableProgress, Terminal};

/// Where a stream is written when it is not to a file.
pub(super) const STANDARD_OUTPUT: &str = "-";

/// Writes to a file, which appears when everything is done, or to standard output.
pub(super) fn write_to<T>(
    out: Option<&Path>,
    overwrite: bool,
    write: impl FnOnce(&mut dyn Write) -> Result<T>,
) -> Result<T> {
    let Some(path) = out.filter(|path| *path != Path::new(STANDARD_OUTPUT)) else {
        return write(&mut BufWriter::new(std::io::stdout().lock()));
    };
    if path.exists() && !overwrite {
        return Err(Error::new(Kind::Exists, "the output exists")
            .at(path)
            .help("choose another --out, or say --overwrite"));
    }
    let mut written = None;
    write_atomically(path, |out| {
        written = Some(write(out)?);
        Ok(())
    })?;
    Ok(written.expect("what was written is there: its absence is a bug"))
}

/// How a stream is labelled.
pub(super) struct Labelling<'l> {
    pub text: TextColumns,
    pub all_probabilities: bool,
    pub strict: bool,
    /// None: standard output.
    pub out: Option<&'l Path>,
    pub overwrite: bool,
}

impl Labelling<'_> {
    /// Labels a stream as it comes; `open` gives the model, loaded for as many texts as its first rows are.
    pub(super) fn run(
        &self,
        source: &Source,
        open: impl FnOnce(Load) -> Result<ManuallyDrop<Classifier>>,
        terminal: &Terminal,
    ) -> Result<Outcome> {
        let mut input = ArrowInput::open(source)?;
        let first = input.next_rows()?;
        let classifier = open(Load::of_texts(first.as_ref().map_or(0, ArrowRows::count)))?;
        let mut progress = terminal.progress(None);
        let mut notes = write_to(self.out, self.overwrite, |out| {
            self.label(&classifier, (first, input), out, &mut progress)
        })?;
        drop(progress);
        let work = classifier.work();
        (notes.truncation, notes.windowed) = (work.truncation, work.windowed);
        terminal.notes(&notes, classifier.model().long(), classifier.max_length());
        Ok(Outcome::Done)
    }

    fn label(
        &self,
        classifier: &Classifier,
        (first, mut input): (Option<ArrowRows>, ArrowInput),
        out: &mut dyn Write,
        progress: &mut TableProgress,
    ) -> Result<TextNotes> {
        let heads = classifier.heads();
        let fields: Vec<AnswerField> =
            heads.iter().flat_map(|head| head.answer_fields(self.all_probabilities)).collect();
        let mut output = ArrowOutput::create(out, &input, &self.text, &fields)?;
        let mut notes = TextNotes::default();
        let mut next = first;
        while let Some(rows) = next {
            let answers = self.answer(classifier, &rows, &mut notes);
            let answers = answers.map_err(|error| error.or_at(input.name()))?;
            let columns = answers.iter().flat_map(|answers| answers.columns(self.all_probabilities));
            output.write(&rows, columns.collect())?;
            progress.show(&Progress::of_rows(notes.rows));
            next = input.next_rows()?;
        }
        output.finish()?;
        Ok(notes)
    }

    fn answer<'c>(
        &self,
        classifier: &'c Classifier,
        rows: &ArrowRows,
        notes: &mut TextNotes,
    ) -> Result<Vec<TaskAnswers<'c>>> {
        let texts = rows.texts(&self.text)?;
        for (row, text) in texts.iter().enumerate() {
            notes.add(rows.number(row), *text, self.strict)?;
        }
        let none = classifier.heads().iter().map(|head| TaskAnswers::none(head, texts.len()));
        let mut answers: Vec<TaskAnswers<'_>> = none.collect();
        let answered = classifier.predict_each(&texts, &mut |text, predictions| {
            answers.iter_mut().zip(predictions).for_each(|(answers, said)| answers.put(text, said));
            Ok(())
        });
        answered.map_err(|error| error.row_of_text(|text| Some(rows.number(text))))?;
        Ok(answers)
    }
}
