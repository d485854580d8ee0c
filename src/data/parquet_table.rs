//! Owns reading Parquet row by row: only the columns that are wanted, in batches bounded in bytes.
//!
//! Texts are read as views of the file's own pages, so that a text that stands in every row is in memory
//! once. Refuses a list, a struct or a map where a text is asked for; carried through, they are welcome.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, FieldRef, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type as Physical;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};

use super::arrow_cell;
use super::column_use::{Columns, Use};
use super::guard::guarded;
use super::row::{Origin, Values};
use crate::error::{Error, Kind, Result};

/// Rows decoded at a time, and their bytes, at most and about.
const BATCH_ROWS: usize = 1024;
const BATCH_BYTES: u64 = 4 << 20;

/// A Parquet file, opened.
pub(super) struct ParquetFile {
    path: PathBuf,
    file: File,
    metadata: ArrowReaderMetadata,
}

impl ParquetFile {
    /// Reads the file's table of contents.
    ///
    /// # Errors
    /// It is empty, or no whole Parquet file.
    pub fn open(path: &Path, file: File) -> Result<Self> {
        if file.metadata().is_ok_and(|file| file.len() == 0) {
            return Err(super::row::empty_table().at(path));
        }
        let metadata = guarded(path, || {
            let load = |options| ArrowReaderMetadata::load(&file, options);
            let options = ArrowReaderOptions::new();
            // Other programs know types that Arrow does not (whole numbers of 128 bits): then the columns are
            // what Parquet calls them.
            load(options.clone())
                .or_else(|_| load(options.with_skip_arrow_metadata(true)))
                .map_err(|source| broken(path, source))
        })?;
        Ok(Self { path: path.to_path_buf(), file, metadata })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The columns as the file's writer knew them.
    pub fn schema(&self) -> &Schema {
        self.metadata.schema()
    }

    /// The key-value metadata, without Arrow's own.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let pairs = self.metadata.metadata().file_metadata().key_value_metadata();
        pairs
            .into_iter()
            .flatten()
            .filter(|pair| pair.key != "ARROW:schema")
            .filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?)))
            .collect()
    }

    /// Reads these columns (places in the schema, rising), as these fields.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn read(&self, places: &[usize], as_field: impl Fn(&FieldRef) -> FieldRef) -> Result<Batches> {
        let Self { path, file, metadata } = self;
        guarded(path, || {
            let fields: Vec<FieldRef> = self.schema().fields().iter().map(&as_field).collect();
            let schema = Arc::new(Schema::new(fields));
            let options = ArrowReaderOptions::new().with_schema(schema);
            let contents = Arc::clone(metadata.metadata());
            let rows = batch_rows(contents.row_groups(), places);
            let metadata =
                ArrowReaderMetadata::try_new(contents, options).map_err(|source| broken(path, source))?;
            let file = file.try_clone().map_err(|source| Error::io("read", path, source))?;
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
            let mask = ProjectionMask::roots(builder.parquet_schema(), places.iter().copied());
            let reader = builder.with_projection(mask).with_batch_size(rows).build();
            Ok(Batches { path: path.clone(), reader: reader.map_err(|source| broken(path, source))? })
        })
    }
}

/// The batches of a file.
pub(super) struct Batches {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
}

impl Batches {
    /// The next batch; `None` at the end.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Self { path, reader } = self;
        guarded(path, || reader.next().transpose().map_err(|source| broken(path, source)))
    }
}

/// How many rows to decode at a time, so that they take about [`BATCH_BYTES`].
fn batch_rows(groups: &[RowGroupMetaData], places: &[usize]) -> usize {
    let of_group = |group: &RowGroupMetaData| {
        let schema = group.schema_descr();
        let wanted = group
            .columns()
            .iter()
            .enumerate()
            .filter(|(leaf, _)| places.contains(&schema.get_column_root_idx(*leaf)));
        let bytes = wanted.map(|(_, chunk)| decoded_bytes(chunk)).fold(0, u64::saturating_add);
        let row = bytes / u64::try_from(group.num_rows()).unwrap_or(0).max(1);
        BATCH_BYTES / row.max(1)
    };
    let rows = groups.iter().map(of_group).min().unwrap_or(1);
    usize::try_from(rows).unwrap_or(BATCH_ROWS).clamp(1, BATCH_ROWS)
}

/// About how many bytes a column of a row group has in memory: its pages, and its values (texts as views of
/// the pages).
fn decoded_bytes(chunk: &ColumnChunkMetaData) -> u64 {
    let width = match chunk.column_type() {
        Physical::BOOLEAN => 1,
        Physical::INT32 | Physical::FLOAT => 4,
        Physical::INT64 | Physical::DOUBLE => 8,
        Physical::INT96 => 12,
        Physical::BYTE_ARRAY => 16,
        Physical::FIXED_LEN_BYTE_ARRAY => u64::try_from(chunk.column_descr().type_length()).unwrap_or(16),
    };
    let known = |count: i64| u64::try_from(count).unwrap_or(0);
    // Texts inside lists and structs are not read as views: what they come to is written in newer files.
    let nested = chunk.column_descr().path().parts().len() > 1;
    let texts = chunk.unencoded_byte_array_data_bytes().filter(|_| nested).map_or(0, known);
    known(chunk.uncompressed_size())
        .saturating_add(known(chunk.num_values()).saturating_mul(width))
        .saturating_add(texts)
}

/// Whether a column holds lists.
fn is_list(kind: &DataType) -> bool {
    matches!(kind, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
}

/// The rows of a Parquet file.
pub(super) struct ParquetRows {
    file: ParquetFile,
    /// Carried columns stay arrays: rows say where they come from.
    as_arrays: bool,
    batches: Option<Batches>,
    /// Per column, where it lies in a batch.
    read: Vec<Option<usize>>,
    batch: Option<Arc<RecordBatch>>,
    next: usize,
}

impl ParquetRows {
    /// Opens a file: the names of its columns.
    pub fn open(path: &Path, file: File) -> Result<(Vec<String>, Self)> {
        let file = ParquetFile::open(path, file)?;
        let columns = file.schema().fields().iter().map(|field| field.name().clone()).collect();
        Ok((columns, Self { file, as_arrays: false, batches: None, read: Vec::new(), batch: None, next: 0 }))
    }

    pub fn file(&self) -> &ParquetFile {
        &self.file
    }

    /// Carried columns are not needed as cells: rows say which row of which batch they are.
    pub fn keep_arrays(&mut self) {
        self.as_arrays = true;
    }

    /// A column's field, and where it lies in a batch (nowhere, if it holds nothing but nulls).
    pub fn field(&self, place: usize) -> &FieldRef {
        &self.file.schema().fields()[place]
    }

    /// Where carried columns lie in a batch; those of nothing but nulls are not read.
    pub fn places_in_batch(&self, columns: &Columns) -> Vec<Option<usize>> {
        let mut next = 0;
        let place = |(place, wanted): (usize, &Use)| {
            let read = *wanted != Use::Ignored && !is_nothing(self.field(place).data_type());
            read.then(|| {
                next += 1;
                next - 1
            })
        };
        columns.uses().iter().enumerate().map(place).collect()
    }

    /// Refuses a column that has no texts, or, where these are welcome, no lists of them.
    ///
    /// # Errors
    /// It holds lists, structs or maps.
    pub fn check_text(&self, place: usize, lists: bool) -> Result<()> {
        let field = self.field(place);
        let kind = describe(field.data_type());
        if !field.data_type().is_nested() || lists && is_list(field.data_type()) {
            return Ok(());
        }
        Err(Error::new(Kind::Table, format!("the column is {kind}"))
            .at(self.file.path())
            .column(field.name())
            .expected("texts, numbers, true and false, or dates")
            .help("choose another column, or write this one as text"))
    }

    /// The next row's values; `None` at the end.
    pub fn next(&mut self, columns: &Columns) -> Result<Option<Values>> {
        let batch = loop {
            match &self.batch {
                Some(batch) if self.next < batch.num_rows() => break Arc::clone(batch),
                _ => {}
            }
            let Some(batch) = self.next_batch(columns)? else { return Ok(None) };
            (self.batch, self.next) = (Some(Arc::new(batch)), 0);
        };
        let row = self.next;
        let mut values = Values::new(columns.names().len());
        guarded(self.file.path(), || {
            for (place, wanted) in columns.uses().iter().enumerate() {
                let Some(array) = self.read[place].map(|place| batch.column(place)) else { continue };
                values.cells[place] = match wanted {
                    Use::Carried if !self.as_arrays => arrow_cell::cell(array, row),
                    Use::Asked => arrow_cell::text(array, row)
                        .map_err(|byte| no_text(byte).column(&columns.names()[place]))?,
                    Use::Carried | Use::Ignored => continue,
                };
            }
            Ok(())
        })?;
        self.next += 1;
        if self.as_arrays {
            values.origin = Some(Origin { batch, row });
        }
        Ok(Some(values))
    }

    fn next_batch(&mut self, columns: &Columns) -> Result<Option<RecordBatch>> {
        if self.batches.is_none() {
            self.read = self.places_in_batch(columns);
            let places: Vec<usize> =
                (0..self.read.len()).filter(|&place| self.read[place].is_some()).collect();
            self.batches = Some(self.file.read(&places, |field| viewed(field, self.as_arrays))?);
        }
        match &mut self.batches {
            Some(batches) => batches.next(),
            None => Ok(None),
        }
    }
}

/// How a column is read: texts and bytes as views. A dictionary is read as one only where it is to be written
/// as one again.
fn viewed(field: &FieldRef, keep_dictionaries: bool) -> FieldRef {
    let view = |kind: &DataType| match kind {
        DataType::Utf8 | DataType::LargeUtf8 => Some(DataType::Utf8View),
        DataType::Binary | DataType::LargeBinary => Some(DataType::BinaryView),
        _ => None,
    };
    let read = match field.data_type() {
        DataType::Dictionary(_, value) if !keep_dictionaries => view(value),
        other => view(other),
    };
    match read {
        Some(kind) => Arc::new(Field::clone(field).with_data_type(kind)),
        None => Arc::clone(field),
    }
}

/// Whether a column can hold nothing but nulls. The library panics on some of them; they need not be read.
fn is_nothing(kind: &DataType) -> bool {
    match kind {
        DataType::Null => true,
        DataType::Dictionary(_, values) => is_nothing(values),
        _ => false,
    }
}

/// The error of bytes where a text is asked for: Parquet does not say which encoding they are in.
fn no_text(byte: usize) -> Error {
    Error::new(Kind::Table, "the column holds bytes that are no text in UTF-8")
        .found(format!("other bytes from byte {byte} on"))
        .help(
            "write the column as strings in the program that made the file (in pandas: \
             df[COLUMN] = df[COLUMN].str.decode(ENCODING))",
        )
}

/// `a list of strings`: a type, for people.
pub(super) fn describe(kind: &DataType) -> String {
    match kind {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("a list of {}", describe_many(item.data_type()))
        }
        DataType::Struct(_) => "a struct".to_owned(),
        DataType::Map(..) => "a map".to_owned(),
        other => format!("of the type {other}"),
    }
}

fn describe_many(kind: &DataType) -> String {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "strings".to_owned(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("lists of {}", describe_many(item.data_type()))
        }
        DataType::Struct(_) => "structs".to_owned(),
        DataType::Map(..) => "maps".to_owned(),
        DataType::Boolean => "booleans".to_owned(),
        DataType::Dictionary(_, value) => describe_many(value),
        kind if kind.is_numeric() => "numbers".to_owned(),
        other => format!("{other} values"),
    }
}

pub(super) fn broken(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::Table, "this is not a whole Parquet file").at(path).because(source)
}

#[cfg(test)]
mod tests {
    use arrow_array::types::{
        Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    };
    use arrow_array::{Array as _, ArrayRef, DictionaryArray, Int64Array, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
    use parquet::file::properties::WriterProperties;

    use super::super::row::Row;
    use super::super::source::Source;
    use super::super::table::TableReader;
    use super::*;

    fn write(path: &Path, columns: Vec<(&str, ArrayRef)>, properties: WriterProperties) {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    fn texts() -> ArrayRef {
        Arc::new((0..40).map(|row| format!("text {}", row % 7)).map(Some).collect::<StringArray>())
    }

    /// All rows of a file; all columns carried, and `text` asked for.
    fn read(path: &Path) -> Result<Vec<Row>> {
        let mut reader = TableReader::open(&Source::new(path.to_str().unwrap(), None).unwrap())?;
        reader.column("text")?;
        reader.carry();
        let mut rows = Vec::new();
        loop {
            let read = reader.read(16, 1 << 20)?;
            if read.is_empty() {
                return Ok(rows);
            }
            rows.extend(read);
        }
    }

    #[test]
    fn every_codec_is_read() {
        let directory = tempfile::tempdir().unwrap();
        for codec in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(GzipLevel::default()),
            Compression::BROTLI(BrotliLevel::default()),
            Compression::LZ4,
            Compression::LZ4_RAW,
            Compression::ZSTD(ZstdLevel::default()),
        ] {
            let path = directory.path().join("a.parquet");
            write(&path, vec![("text", texts())], WriterProperties::builder().set_compression(codec).build());
            let rows = read(&path).unwrap_or_else(|error| panic!("{codec}: {error:?}"));
            assert_eq!(rows.len(), 40, "{codec}");
            assert_eq!(rows[8].cells[0].as_str(), Some("text 1"), "{codec}");
        }
    }

    #[test]
    fn a_dictionary_of_any_key_is_read_and_nulls_are_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.parquet");
        let labels = || {
            ["x", "y", "", "x"]
                .into_iter()
                .map(|label| Some(label).filter(|label| !label.is_empty()))
                .cycle()
                .take(40)
        };
        macro_rules! of {
            ($($key:ty),*) => { vec![$(Arc::new(labels().collect::<DictionaryArray<$key>>()) as ArrayRef),*] };
        }
        let arrays =
            of!(Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type);
        for array in arrays {
            let kind = array.data_type().clone();
            let nothing = array.slice(2, 1);
            write(&path, vec![("text", texts()), ("label", array)], WriterProperties::default());
            let rows = read(&path).unwrap_or_else(|error| panic!("{kind}: {error:?}"));
            let cells: Vec<Option<&str>> = rows[..4].iter().map(|row| row.cells[1].as_str()).collect();
            assert_eq!(cells, [Some("x"), Some("y"), None, Some("x")], "{kind}");
            write(
                &path,
                vec![("text", texts().slice(0, 1)), ("label", nothing)],
                WriterProperties::default(),
            );
            assert_eq!(read(&path).unwrap()[0].cells[1], super::super::cell::Cell::Null, "{kind}");
        }
    }

    #[test]
    fn batches_are_bounded_in_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.parquet");
        let rows_of = |columns: Vec<(&str, ArrayRef)>| {
            write(&path, columns, WriterProperties::default());
            let file = ParquetFile::open(&path, File::open(&path).unwrap()).unwrap();
            batch_rows(file.metadata.metadata().row_groups(), &[0])
        };
        let long = (0..40).map(|row| Some(format!("{row}").repeat(1 << 19))).collect::<StringArray>();
        assert!(rows_of(vec![("text", Arc::new(long))]) <= 8);
        assert_eq!(rows_of(vec![("text", texts())]), BATCH_ROWS);
        // A text that repeats is there once: its rows are views of it.
        let same = std::iter::repeat_n(Some("x".repeat(1 << 20)), 40).collect::<StringArray>();
        let properties = WriterProperties::builder().set_dictionary_page_size_limit(8 << 20).build();
        write(&path, vec![("text", Arc::new(same))], properties);
        let file = ParquetFile::open(&path, File::open(&path).unwrap()).unwrap();
        let batch = file.read(&[0], |field| viewed(field, false)).unwrap().next().unwrap().unwrap();
        assert_eq!(batch.num_rows(), 40);
        assert!(batch.get_array_memory_size() < 4 << 20, "{}", batch.get_array_memory_size());
    }

    #[test]
    fn a_damaged_file_is_an_error_and_never_a_panic() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.parquet");
        let labels = (0..40).map(|row| Some(row % 3).filter(|label| *label > 0)).collect::<Int64Array>();
        let columns = vec![("text", texts()), ("label", Arc::new(labels) as ArrayRef)];
        write(&path, columns, WriterProperties::builder().set_compression(Compression::SNAPPY).build());
        let whole = std::fs::read(&path).unwrap();
        let mut refused = 0;
        for place in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[place] ^= flip;
                std::fs::write(&path, &damaged).unwrap();
                if let Err(error) = read(&path) {
                    refused += 1;
                    assert!(error.to_string().contains("a.parquet"), "{error}");
                }
            }
        }
        assert!(refused > whole.len() / 4, "{refused} of {}", whole.len());
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(read(&path).is_err(), "cut to {length} of {}", whole.len());
        }
    }
}
