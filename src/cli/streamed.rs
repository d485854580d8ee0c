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

/// The model, and what was noticed on the way.
struct Loaded<'l> {
    open: &'l dyn Fn(Load) -> Result<ManuallyDrop<Classifier>>,
    load: Load,
    classifier: ManuallyDrop<Classifier>,
    notes: TextNotes,
}

impl Loaded<'_> {
    /// Loads the model once more, for many texts, when so many come at a time.
    fn make_ready_for(&mut self, texts: usize) -> Result<()> {
        if self.load == Load::Few && Load::of_texts(texts) == Load::Many {
            self.count();
            let many = (self.open)(Load::Many)?;
            drop(ManuallyDrop::into_inner(std::mem::replace(&mut self.classifier, many)));
            self.load = Load::Many;
        }
        Ok(())
    }

    /// Adds what the model counted.
    fn count(&mut self) {
        let work = self.classifier.work();
        self.notes.truncation += work.truncation;
        self.notes.windowed += work.windowed;
    }
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
    /// Labels a stream as it comes; `open` gives the model, loaded for few texts or for many.
    pub(super) fn run(
        &self,
        source: &Source,
        open: &dyn Fn(Load) -> Result<ManuallyDrop<Classifier>>,
        terminal: &Terminal,
    ) -> Result<Outcome> {
        let input = ArrowInput::open(source)?;
        let mut loaded =
            Loaded { open, load: Load::Few, classifier: open(Load::Few)?, notes: TextNotes::default() };
        let mut progress = terminal.progress(None);
        write_to(self.out, self.overwrite, |out| self.label(&mut loaded, input, out, &mut progress))?;
        drop(progress);
        loaded.count();
        terminal.notes(&loaded.notes, loaded.classifier.model().long(), loaded.classifier.max_length());
        Ok(Outcome::Done)
    }

    fn label(
        &self,
        loaded: &mut Loaded<'_>,
        mut input: ArrowInput,
        out: &mut dyn Write,
        progress: &mut TableProgress,
    ) -> Result<()> {
        let heads = loaded.classifier.heads();
        let fields: Vec<AnswerField> =
            heads.iter().flat_map(|head| head.answer_fields(self.all_probabilities)).collect();
        // Whoever reads knows the columns before the first rows come.
        let mut output = ArrowOutput::create(out, &input, &self.text, &fields)?;
        while let Some(rows) = input.next_rows()? {
            loaded.make_ready_for(rows.count())?;
            let answers = self.answer(&loaded.classifier, &rows, &mut loaded.notes);
            let answers = answers.map_err(|error| error.or_at(input.name()))?;
            let columns = answers.iter().flat_map(|answers| answers.columns(self.all_probabilities));
            output.write(&rows, columns.collect())?;
            progress.show(&Progress::of_rows(loaded.notes.rows));
        }
        output.finish()
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
