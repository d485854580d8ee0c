//! Owns reading Parquet row by row: every column that is not a list, as text.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::error::{Error, Kind, Result};

/// Rows decoded at a time.
const BATCH: usize = 1024;

/// The rows of a Parquet file.
pub(super) struct ParquetRows {
    path: PathBuf,
    columns: Vec<String>,
    /// Places of `columns` in the file's schema.
    places: Vec<usize>,
    reader: ParquetRecordBatchReader,
    batch: Vec<Vec<Option<String>>>,
    next: usize,
    rows: usize,
}

impl ParquetRows {
    /// Opens a file.
    pub fn open(path: &Path, file: File) -> Result<Self> {
        let builder = builder(path, file)?;
        let (mut columns, mut places) = (Vec::new(), Vec::new());
        for (place, field) in builder.schema().fields().iter().enumerate() {
            if !is_list(field.data_type()) {
                columns.push(field.name().clone());
                places.push(place);
            }
        }
        let reader = builder.with_batch_size(BATCH).build().map_err(|source| broken(path, source))?;
        Ok(Self { path: path.to_path_buf(), columns, places, reader, batch: Vec::new(), next: 0, rows: 0 })
    }

    /// Names of the columns that are not lists.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The next row's cells; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Vec<Option<String>>>> {
        while self.next == self.rows {
            let Some(batch) = self.reader.next() else { return Ok(None) };
            let batch = batch.map_err(|source| broken(&self.path, source))?;
            self.batch = text_columns(&batch, &self.places)?;
            (self.next, self.rows) = (0, batch.num_rows());
        }
        let row = self.batch.iter_mut().map(|column| column[self.next].take()).collect();
        self.next += 1;
        Ok(Some(row))
    }
}

/// The chosen columns of a batch as text.
pub(super) fn text_columns(batch: &RecordBatch, places: &[usize]) -> Result<Vec<Vec<Option<String>>>> {
    places
        .iter()
        .map(|&place| {
            text(batch.column(place)).ok_or_else(|| {
                Error::new(Kind::Table, "the column's type is not supported")
                    .column(batch.schema().field(place).name())
                    .found(batch.column(place).data_type().to_string())
                    .expected("text, numbers, true and false, or dates")
                    .help("write the column as text, or leave it out")
            })
        })
        .collect()
}

fn text(array: &ArrayRef) -> Option<Vec<Option<String>>> {
    match array.data_type() {
        DataType::Utf8 => Some(array.as_string::<i32>().iter().map(|v| v.map(str::to_owned)).collect()),
        DataType::LargeUtf8 => Some(array.as_string::<i64>().iter().map(|v| v.map(str::to_owned)).collect()),
        DataType::Utf8View => Some(array.as_string_view().iter().map(|v| v.map(str::to_owned)).collect()),
        DataType::Boolean => Some(array.as_boolean().iter().map(|v| v.map(|v| v.to_string())).collect()),
        DataType::Int8 => Some(numbers::<Int8Type>(array)),
        DataType::Int16 => Some(numbers::<Int16Type>(array)),
        DataType::Int32 => Some(numbers::<Int32Type>(array)),
        DataType::Int64 => Some(numbers::<Int64Type>(array)),
        DataType::UInt8 => Some(numbers::<UInt8Type>(array)),
        DataType::UInt16 => Some(numbers::<UInt16Type>(array)),
        DataType::UInt32 => Some(numbers::<UInt32Type>(array)),
        DataType::UInt64 => Some(numbers::<UInt64Type>(array)),
        DataType::Float32 => Some(numbers::<Float32Type>(array)),
        DataType::Float64 => Some(numbers::<Float64Type>(array)),
        DataType::Date32 => {
            let dates = array.as_primitive::<Date32Type>();
            Some((0..dates.len()).map(|row| dates.value_as_date(row).map(|date| date.to_string())).collect())
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let values = text(dictionary.values())?;
            let keys = dictionary.normalized_keys();
            Some(
                (0..array.len())
                    .map(|row| values[keys[row]].clone().filter(|_| array.is_valid(row)))
                    .collect(),
            )
        }
        DataType::Null => Some(vec![None; array.len()]),
        _ => None,
    }
}

fn numbers<T: ArrowPrimitiveType>(array: &ArrayRef) -> Vec<Option<String>>
where
    T::Native: ToString,
{
    array.as_primitive::<T>().iter().map(|value| value.map(|value| value.to_string())).collect()
}

/// Whether a column holds vectors.
pub(super) fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
}

/// Starts reading a file.
pub(super) fn builder(path: &Path, file: File) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    if file.metadata().is_ok_and(|file| file.len() == 0) {
        return Err(super::table::empty_table().at(path));
    }
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|source| broken(path, source))
}

pub(super) fn broken(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::Table, "this is not a whole Parquet file").at(path).because(source)
}
