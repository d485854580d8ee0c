//! Owns Arrow in and out by the PyCapsule interface: columns of texts, and a table with answers beside its
//! rows.
//!
//! Refuses to hold a table in memory: what is answered goes on batch by batch. Columns are carried as they
//! are.

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow_array::ffi_stream::{ArrayStreamReader, FFI_ArrowArrayStream};
use arrow_array::{
    Array as _, ArrayReader as _, ArrayRef, RecordBatch, RecordBatchIterator, RecordBatchReader, make_array,
};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema, SchemaRef};
use frosthead::internal::data::{
    AnswerColumn, AnswerField, TextColumns, answered, answered_schema, of_arrow, texts_of_rows,
};
use frosthead::{Error, Kind, Result, Text};
use pyo3::exceptions::PyTypeError;
use pyo3::ffi::PyErr_SetInterrupt;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::errors::{raised, words};
use crate::interrupts::{Interrupts, without_interpreter};

/// Rows that are answered at a time, at most: what a batch of the program is, too.
pub const WINDOW_ROWS: usize = 8192;

const STREAM: &std::ffi::CStr = c"arrow_array_stream";
const SCHEMA: &std::ffi::CStr = c"arrow_schema";
const ARRAY: &std::ffi::CStr = c"arrow_array";

type Arrays = Box<dyn Iterator<Item = std::result::Result<ArrayRef, ArrowError>> + Send>;

/// Whether a value speaks the PyCapsule interface.
///
/// # Errors
/// Asking it fails.
pub fn is_arrow(given: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(given.hasattr("__arrow_c_stream__")? || given.hasattr("__arrow_c_array__")?)
}

/// What a value gives: its type, and its arrays one after the other.
fn arrays(given: &Bound<'_, PyAny>) -> PyResult<(FieldRef, Arrays)> {
    let py = given.py();
    let failed = |error: ArrowError| raised(py, &of_arrow(error));
    if given.hasattr("__arrow_c_stream__")? {
        let capsule = given.call_method0("__arrow_c_stream__")?.cast_into::<PyCapsule>()?;
        let stream = capsule.pointer_checked(Some(STREAM))?.cast::<FFI_ArrowArrayStream>();
        // SAFETY: a capsule of this name holds a stream of this layout, which is taken out of it here: the
        // capsule's destructor finds it released. An empty one is an error below.
        let reader = unsafe { ArrayStreamReader::from_raw(stream.as_ptr()) }.map_err(failed)?;
        return Ok((Arc::clone(reader.field()), Box::new(reader)));
    }
    let capsules = given.call_method0("__arrow_c_array__")?.cast_into::<PyTuple>()?;
    let (schema, array) = capsules.extract::<(Bound<'_, PyCapsule>, Bound<'_, PyCapsule>)>()?;
    let schema = schema.pointer_checked(Some(SCHEMA))?.cast::<FFI_ArrowSchema>();
    let array = array.pointer_checked(Some(ARRAY))?.cast::<FFI_ArrowArray>();
    // SAFETY: capsules of these names hold a schema, which is only looked at while its capsule is alive, and
    // an array of that schema, which is taken out of its capsule.
    let (schema, array) = unsafe { (schema.as_ref(), FFI_ArrowArray::from_raw(array.as_ptr())) };
    let field = Arc::new(Field::try_from(schema).map_err(failed)?);
    // SAFETY: as above, the array is of this schema.
    let data = unsafe { from_ffi(array, schema) }.map_err(failed)?;
    Ok((field, Box::new(std::iter::once(Ok(make_array(data))))))
}

/// A table as its batches.
///
/// # Errors
/// It is no table, or says nothing of itself.
pub fn batches(given: &Bound<'_, PyAny>) -> PyResult<impl RecordBatchReader + Send + use<>> {
    let (field, arrays) = arrays(given)?;
    let schema = schema_of(&field).map_err(|error| raised(given.py(), &error))?;
    let own = Arc::clone(&schema);
    let batches = arrays
        .map(move |array| RecordBatch::try_new(Arc::clone(&own), array?.as_struct().columns().to_vec()));
    Ok(RecordBatchIterator::new(batches, schema))
}

/// The columns of a table.
fn schema_of(field: &Field) -> Result<SchemaRef> {
    match field.data_type() {
        DataType::Struct(own) => {
            Ok(Arc::new(Schema::new_with_metadata(own.clone(), field.metadata().clone())))
        }
        other => Err(Error::new(Kind::Table, "a column stands where a table must")
            .found(other.to_string())
            .expected("a table")
            .help("encode and predict take columns")),
    }
}

/// All arrays of a column of texts.
///
/// # Errors
/// It is no column, or cannot be read.
pub fn columns(given: &Bound<'_, PyAny>) -> PyResult<Vec<ArrayRef>> {
    let py = given.py();
    let (field, arrays) = arrays(given)?;
    if let DataType::Struct(fields) = field.data_type() {
        let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        let error = Error::new(Kind::Table, "a table stands where a column of texts must")
            .found(format!("columns {}", names.join(", ")))
            .expected("one column of texts")
            .help("give the column, as in table[\"text\"]; encode_arrow and predict_arrow take whole tables");
        return Err(raised(py, &error));
    }
    without_interpreter(py, |_| arrays.collect::<std::result::Result<_, _>>().map_err(of_arrow))
}

/// What is done with the columns that were computed for the rows of a batch.
pub type Give<'g> = dyn FnOnce(Vec<AnswerColumn<'_>>) -> Result<RecordBatch> + 'g;

/// What answers texts: it gives the columns that stand beside them.
pub type Answer = dyn Fn(&[Text<'_>], &mut Interrupts, Box<Give<'_>>) -> Result<RecordBatch> + Send + Sync;

/// Gives what answers in this process.
pub type Open = dyn Fn(Python<'_>) -> PyResult<Box<Answer>> + Send + Sync;

/// What is done with a table.
pub struct Work {
    /// The text column, or both of pairs.
    pub text: TextColumns,
    /// What the answers are called, and what they are.
    pub fields: Vec<AnswerField>,
    pub answer: Box<Open>,
}

/// A table with answers beside its rows, computed batch by batch when somebody reads it; every reading begins
/// anew, if its source can be read anew.
#[pyclass(frozen, module = "frosthead")]
pub struct ArrowStream {
    source: Py<PyAny>,
    work: Arc<Work>,
}

impl ArrowStream {
    /// Pairs a table with what is to be done.
    ///
    /// # Errors
    /// It is no table of Arrow.
    pub fn new(source: &Bound<'_, PyAny>, work: Work) -> PyResult<Self> {
        if !is_arrow(source)? {
            return Err(PyTypeError::new_err(format!(
                "expected a table that has __arrow_c_stream__ (of pyarrow, Polars, DuckDB, pandas), found {}",
                source.get_type()
            )));
        }
        Ok(Self { source: source.clone().unbind(), work: Arc::new(work) })
    }
}

#[pymethods]
impl ArrowStream {
    /// The table as a stream of Arrow's C interface.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // A producer may ignore the wish for other types.
        drop(requested_schema);
        let (field, arrays) = arrays(self.source.bind(py))?;
        let schema = schema_of(&field)
            .and_then(|schema| answered_schema(&schema, &self.work.text, &self.work.fields))
            .map_err(|error| raised(py, &error))?;
        let answer = (self.work.answer)(py)?;
        let answering = Answering { schema, work: Arc::clone(&self.work), answer, before: 0 };
        let rows = Rows { arrays, batch: None, answering };
        PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(rows)), STREAM)
    }
}

/// The rows of a table with their answers.
struct Rows {
    arrays: Arrays,
    /// What was read and not answered yet.
    batch: Option<ArrayRef>,
    answering: Answering,
}

/// What answers them.
struct Answering {
    schema: SchemaRef,
    work: Arc<Work>,
    answer: Box<Answer>,
    /// Rows that are answered.
    before: u64,
}

impl Rows {
    /// The next rows that are not answered yet.
    fn read(&mut self) -> std::result::Result<Option<ArrayRef>, ArrowError> {
        let batch = match self.batch.take() {
            Some(batch) => batch,
            None => match self.arrays.find(|array| !array.as_ref().is_ok_and(|array| array.is_empty())) {
                Some(batch) => batch?,
                None => return Ok(None),
            },
        };
        let rest = batch.len().saturating_sub(WINDOW_ROWS);
        self.batch = (rest > 0).then(|| batch.slice(WINDOW_ROWS, rest));
        Ok(Some(batch.slice(0, batch.len().min(WINDOW_ROWS))))
    }
}

impl Answering {
    /// Some rows with their answers.
    fn answered(&self, rows: &ArrayRef, interrupts: &mut Interrupts) -> Result<RecordBatch> {
        let rows = RecordBatch::from(rows.as_struct());
        let texts = texts_of_rows(&rows, self.before, &self.work.text)?;
        let give = |columns: Vec<AnswerColumn<'_>>| answered(&rows, &self.schema, columns);
        (self.answer)(&texts, interrupts, Box::new(give))
            .map_err(|error| error.row_of_text(|text| Some(self.before + text as u64 + 1)))
    }

    /// The same for whoever reads, who may hold the interpreter or not; no exception passes Arrow's C
    /// interface.
    fn handed_on(&mut self, rows: &ArrayRef) -> std::result::Result<RecordBatch, ArrowError> {
        let own = &*self;
        let answered = Python::attach(|py| {
            without_interpreter(py, |interrupts| {
                let answered = own.answered(rows, interrupts);
                Ok(answered.map_err(|error| (words(&error), interrupts.were_heard())))
            })
        });
        match answered {
            Ok(Ok(batch)) => {
                self.before += batch.num_rows() as u64;
                Ok(batch)
            }
            Ok(Err((words, interrupted))) => {
                if interrupted {
                    // It was heard here: the interpreter is to hear it once more, as soon as it goes on.
                    // SAFETY: it may be called at any time.
                    unsafe { PyErr_SetInterrupt() };
                }
                Err(ArrowError::ExternalError(words.into()))
            }
            Err(error) => Err(ArrowError::ExternalError(error.to_string().into())),
        }
    }
}

impl Iterator for Rows {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.read().transpose()?;
        Some(rows.and_then(|rows| self.answering.handed_on(&rows)))
    }
}

impl RecordBatchReader for Rows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.answering.schema)
    }
}
