//! Owns labelled tables as Python has them: a path, columns of strings by their names, or a table of Arrow.
//! What is in memory is written to a file for the length of a call, since training reads its table more than
//! once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchReader, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use frosthead::internal::data::{TextColumns, of_arrow};
use frosthead::{Error, Input, Kind, Result, Source};
use parquet::arrow::ArrowWriter;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyDict;
use tempfile::NamedTempFile;

use crate::arrow;
use crate::errors::raised;

/// A table in a file.
pub struct Table {
    path: PathBuf,
    /// The file, where it is ours: it goes when this does.
    _ours: Option<NamedTempFile>,
}

impl Table {
    /// Takes what a caller gave.
    ///
    /// # Errors
    /// It is no table, or cannot be written.
    pub fn of(given: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = given.py();
        if let Ok(columns) = given.cast::<PyDict>() {
            let batch = batch_of(columns)?;
            return Self::written(py, batch.schema(), std::iter::once(Ok(batch)));
        }
        if arrow::is_arrow(given)? {
            let reader = arrow::batches(given)?;
            return Self::written(py, reader.schema(), reader.map(|batch| batch.map_err(of_arrow)));
        }
        let path = given.extract::<PathBuf>().map_err(|_| {
            PyTypeError::new_err(format!(
                "expected a table: a path, a dict of columns, or one that has __arrow_c_stream__; found {}",
                given.get_type()
            ))
        })?;
        Ok(Self { path, _ours: None })
    }

    fn written(
        py: Python<'_>,
        schema: SchemaRef,
        batches: impl Iterator<Item = Result<RecordBatch>> + Send,
    ) -> PyResult<Self> {
        py.detach(|| {
            let failed =
                |source: std::io::Error| Error::io("write the table to a file", std::env::temp_dir(), source);
            let file = tempfile::Builder::new()
                .prefix("frosthead-")
                .suffix(".parquet")
                .tempfile()
                .map_err(failed)?;
            let parquet =
                |error| Error::new(Kind::Table, "the table cannot be written to a file").because(error);
            let mut writer =
                ArrowWriter::try_new(file.reopen().map_err(failed)?, schema, None).map_err(parquet)?;
            for batch in batches {
                writer.write(&batch?).map_err(parquet)?;
            }
            writer.close().map_err(parquet)?;
            Ok(Self { path: file.path().to_path_buf(), _ours: Some(file) })
        })
        .map_err(|error| raised(py, &error))
    }

    /// As a table of texts.
    ///
    /// # Errors
    /// Its format is not known.
    pub fn texts(&self, columns: &TextColumns) -> Result<Input> {
        Ok(Input::Texts { source: Source::file(&self.path)?, columns: columns.clone() })
    }

    /// As a Parquet of features.
    pub fn features(&self) -> Input {
        Input::Features { path: self.path.clone(), column: None }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Columns of strings, `None` where there is none.
fn batch_of(columns: &Bound<'_, PyDict>) -> PyResult<RecordBatch> {
    let (mut fields, mut arrays) = (Vec::new(), Vec::<ArrayRef>::new());
    for (name, values) in columns {
        let name: String = name.extract()?;
        let mut cells: Vec<Option<PyBackedStr>> = Vec::new();
        for value in values.try_iter()? {
            let (value, place) = (value?, cells.len());
            let cell = value.extract::<Option<PyBackedStr>>();
            cells.push(cell.map_err(|_| {
                let message = format!("{name}[{place}]: found {}, expected str or None", value.get_type());
                PyTypeError::new_err(message)
            })?);
        }
        fields.push(Field::new(name, DataType::Utf8, true));
        arrays.push(Arc::new(StringArray::from_iter(cells.iter().map(Option::as_deref))));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map_err(|error| raised(columns.py(), &of_arrow(error)))
}
