//! Owns streams of Arrow's IPC format: batches in, and the same batches with answers beside their rows out.
//!
//! Refuses to hold more than a batch. Damaged streams are errors, whatever the library thinks of them.

use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, SchemaRef};

use super::answers::{AnswerColumn, AnswerField};
use super::arrow_texts::{answered, answered_schema, texts_of_rows};
use super::format::Format;
use super::guard::guarded;
use super::header::TextColumns;
use super::row::open_file;
use super::source::Source;
use crate::error::{Error, Kind, Result};
use crate::text::Text;

/// Rows that are answered at a time, at most.
const WINDOW_ROWS: usize = 8192;

/// A stream of batches.
pub struct ArrowInput {
    name: PathBuf,
    reader: StreamReader<Box<dyn Read>>,
    /// What was read and not handed on.
    rest: Option<RecordBatch>,
    /// Rows that were handed on.
    before: u64,
}

/// Some rows of a stream.
pub struct ArrowRows {
    batch: RecordBatch,
    before: u64,
}

impl ArrowInput {
    /// Opens a stream, and reads what its columns are.
    ///
    /// # Errors
    /// The source is no stream of Arrow, or cannot be read.
    pub fn open(source: &Source) -> Result<Self> {
        let name = PathBuf::from(source.name());
        if source.format != Format::Arrow {
            return Err(Error::new(Kind::Usage, "a stream of Arrow answers a stream of Arrow")
                .at(&name)
                .found(format!("the format {}", source.format))
                .help("say --format arrow, or write another format"));
        }
        let input: Box<dyn Read> = match &source.path {
            Some(path) => Box::new(open_file(path)?),
            None => Box::new(std::io::stdin()),
        };
        let input: Box<dyn Read> = Box::new(BufReader::with_capacity(1 << 16, input));
        let reader = guarded(&name, || {
            StreamReader::try_new(input, None).map_err(|source| {
                Error::new(Kind::Table, "this is no stream of Arrow")
                    .at(&name)
                    .because(source)
                    .help("write it in the IPC streaming format (pyarrow.ipc.new_stream), not as an IPC file")
            })
        })?;
        Ok(Self { name, reader, rest: None, before: 0 })
    }

    /// What to call it in a message.
    #[must_use]
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// The next rows: a batch, or a part of a large one. None at the end.
    ///
    /// # Errors
    /// The stream is damaged.
    pub fn next_rows(&mut self) -> Result<Option<ArrowRows>> {
        let batch = loop {
            let batch = match self.rest.take() {
                Some(batch) => batch,
                None => match self.read()? {
                    Some(batch) => batch,
                    None => return Ok(None),
                },
            };
            if batch.num_rows() > 0 {
                break batch;
            }
        };
        let rows = batch.num_rows().min(WINDOW_ROWS);
        let rest = batch.num_rows() - rows;
        self.rest = (rest > 0).then(|| batch.slice(rows, rest));
        let rows = ArrowRows { batch: batch.slice(0, rows), before: self.before };
        self.before += rows.batch.num_rows() as u64;
        Ok(Some(rows))
    }

    fn read(&mut self) -> Result<Option<RecordBatch>> {
        let Self { name, reader, before, .. } = self;
        guarded(name, || {
            reader.next().transpose().map_err(|source| {
                Error::new(Kind::Table, "the stream of Arrow is damaged, or was cut off")
                    .at(&*name)
                    .found(format!("what cannot be read behind row {before}"))
                    .because(source)
            })
        })
    }
}

impl ArrowRows {
    /// The texts, or the pairs.
    ///
    /// # Errors
    /// One is missing.
    pub fn texts(&self, columns: &TextColumns) -> Result<Vec<Text<'_>>> {
        texts_of_rows(&self.batch, self.before, columns)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.batch.num_rows()
    }

    /// The number of a row of these in the stream, from 1.
    #[must_use]
    pub fn number(&self, row: usize) -> u64 {
        self.before + row as u64 + 1
    }
}

/// A stream with answers, being written.
pub struct ArrowOutput<W: Write> {
    writer: StreamWriter<W>,
    schema: SchemaRef,
}

impl<W: Write> ArrowOutput<W> {
    /// Begins a stream with the columns of another and answers behind them.
    ///
    /// # Errors
    /// As [`answered_schema`], or it cannot be written.
    pub fn create(out: W, input: &ArrowInput, text: &TextColumns, answers: &[AnswerField]) -> Result<Self> {
        let schema = answered_schema(&input.reader.schema(), text, answers);
        let schema = schema.map_err(|error| error.at(&input.name))?;
        let mut output = Self { writer: StreamWriter::try_new(out, &schema).map_err(unwritten)?, schema };
        output.flush()?;
        Ok(output)
    }

    /// Writes rows with their answers, and hands them on.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&mut self, rows: &ArrowRows, answers: Vec<AnswerColumn<'_>>) -> Result<()> {
        let batch = answered(&rows.batch, &self.schema, answers)?;
        self.writer.write(&batch).map_err(unwritten)?;
        self.flush()
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self) -> Result<()> {
        self.writer.finish().map_err(unwritten)?;
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        self.writer.get_mut().flush().map_err(|source| unwritten(source.into()))
    }
}

/// The error keeps its cause: a reader that went away is told from a full disk.
fn unwritten(error: ArrowError) -> Error {
    let source = match error {
        ArrowError::IoError(_, source) => source,
        other => std::io::Error::other(other),
    };
    Error::io("write the stream of Arrow", "the output", source)
}
