//! Owns Parquet files of features: `text_hash`, the carried columns, and lists of f32: `embedding`, and
//! `features` if asked for. Columns that came from Parquet are carried as they are, type and all.
//!
//! Refuses a vector that is null, of another length, or not finite, and shows a file under its name only when
//! it is whole.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{Float32Builder, ListBuilder, StringBuilder};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, LargeBinaryArray, LargeStringArray, NullArray, RecordBatch, StringArray,
};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::arrow_cell;
use super::carried_type::CarriedType;
use super::cell::Cell;
use super::column_use::{Columns, Use};
use super::compression::seekable;
use super::feature_table::{FeatureColumns, FeatureTable};
use super::guard::guarded;
use super::parquet_table::{ParquetFile, ParquetRows};
use super::row::{Row, empty_table};
use crate::error::{Error, Kind, Result, quoted};
use crate::files::Unfinished;
use crate::fingerprint::TextKey;

/// The column of the texts' hashes.
pub const TEXT_HASH: &str = "text_hash";
/// The column of sentence embeddings.
pub const EMBEDDING: &str = "embedding";
/// The column of other features, if there is one.
pub const FEATURES: &str = "features";
/// Rows in a row group: 8 MB of 384 numbers each take 5,461 rows.
const ROW_GROUP: usize = 4096;
/// Bytes of vectors in a row group; and of carried values that are written at a time.
const ROW_GROUP_BYTES: usize = 8 << 20;
/// Bytes that a row group may take in memory before it is written: carried texts may be long.
const GROUP_MEMORY: usize = 32 << 20;
/// The column of texts that `--keep-text` and others write.
const TEXT: &str = "text";

/// A column that is carried along, and where its values come from.
pub struct CarriedColumn {
    name: String,
    from: CarriedFrom,
}

/// Where a carried column's values come from.
enum CarriedFrom {
    /// Cells of the rows, at this place; written as this type.
    Cells(usize, CarriedType),
    /// Columns of the batches that the rows come from; written as they are.
    Arrays(Option<usize>, FieldRef),
}

impl CarriedColumn {
    /// A column of cells at this place of every row, written as the type that all of them have.
    pub(super) fn of_type(name: String, place: usize, kind: CarriedType) -> Self {
        Self { name, from: CarriedFrom::Cells(place, kind) }
    }

    /// A column of the batches that the rows come from, at this place, or nowhere if it is nothing but nulls.
    pub(super) fn of_arrays(name: String, place: Option<usize>, field: &FieldRef) -> Self {
        let field = match place {
            Some(_) => Arc::clone(field),
            None => Arc::new(Field::clone(field).with_data_type(DataType::Null).with_nullable(true)),
        };
        Self { name, from: CarriedFrom::Arrays(place, field) }
    }

    fn field(&self) -> Field {
        match &self.from {
            CarriedFrom::Cells(_, kind) => Field::new(&self.name, kind.data_type(), true),
            CarriedFrom::Arrays(_, field) => Field::clone(field).with_name(&self.name),
        }
    }
}

/// Writes a Parquet of features row by row.
pub struct FeatureWriter {
    path: PathBuf,
    writer: ArrowWriter<Unfinished>,
    schema: SchemaRef,
    /// Numbers in a row, in all vectors together.
    width: usize,
    keys: StringBuilder,
    carried: Vec<(CarriedColumn, StringBuilder)>,
    vectors: Vec<ListBuilder<Float32Builder>>,
    /// Rows of a batch that follow one another, for the columns that are carried as arrays.
    piece: Option<(Arc<RecordBatch>, Range<usize>)>,
    /// Rows that are not written yet, and bytes of what they carry.
    buffered: usize,
    bytes: usize,
    /// Rows of the row group that are written.
    grouped: usize,
}

impl FeatureWriter {
    /// Starts a file with these carried columns and these columns of vectors: their names and lengths.
    ///
    /// # Errors
    /// The place cannot be written, or a column's name is taken.
    pub fn create(
        path: &Path,
        columns: Vec<CarriedColumn>,
        vectors: &[(&str, usize)],
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let ours = |column: &str| column == TEXT_HASH || vectors.iter().any(|(name, _)| *name == column);
        if let Some(taken) = columns.iter().find(|column| ours(&column.name)) {
            return Err(Error::new(Kind::Table, "a column has a name that the output uses itself")
                .column(&taken.name)
                .help("rename the column"));
        }
        let mut fields = vec![Field::new(TEXT_HASH, DataType::Utf8, false)];
        fields.extend(columns.iter().map(CarriedColumn::field));
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let list = || DataType::List(Arc::clone(&item));
        fields.extend(vectors.iter().map(|(name, _)| Field::new(*name, list(), false)));
        let schema = Arc::new(Schema::new(fields));
        let properties = properties(vectors, metadata);
        let writer = ArrowWriter::try_new(Unfinished::new(path)?, Arc::clone(&schema), Some(properties))
            .map_err(|source| unwritable(path, source))?;
        Ok(Self {
            path: path.to_path_buf(),
            writer,
            schema,
            width: vectors.iter().map(|(_, width)| width).sum(),
            keys: StringBuilder::new(),
            carried: columns.into_iter().map(|column| (column, StringBuilder::new())).collect(),
            vectors: vectors
                .iter()
                .map(|_| ListBuilder::new(Float32Builder::new()).with_field(Arc::clone(&item)))
                .collect(),
            piece: None,
            buffered: 0,
            bytes: 0,
            grouped: 0,
        })
    }

    /// Adds a row: its carried columns, and the vectors.
    ///
    /// # Errors
    /// Rows were due to be written and could not be.
    pub fn write(&mut self, key: TextKey, row: &Row, vectors: &[&[f32]]) -> Result<()> {
        debug_assert_eq!(vectors.iter().map(|vector| vector.len()).sum::<usize>(), self.width);
        if let Some(origin) = &row.origin {
            self.extend_piece(&origin.batch, origin.row)?;
        }
        self.keys.append_value(key.to_string());
        for (column, cells) in &mut self.carried {
            self.bytes += match (&column.from, &row.origin) {
                (CarriedFrom::Cells(place, _), _) => {
                    let cell = &row.cells[*place];
                    cells.append_option(cell.as_str());
                    cell.size()
                }
                (CarriedFrom::Arrays(Some(place), _), Some(origin)) => {
                    arrow_cell::size(origin.batch.column(*place), origin.row)
                }
                (CarriedFrom::Arrays(..), _) => 0,
            };
        }
        for (builder, vector) in self.vectors.iter_mut().zip(vectors) {
            builder.values().append_slice(vector);
            builder.append(true);
        }
        self.buffered += 1;
        let group = ROW_GROUP.min((ROW_GROUP_BYTES / (4 * self.width.max(1))).max(1));
        if self.bytes >= ROW_GROUP_BYTES || self.grouped + self.buffered >= group {
            self.write_piece()?;
        }
        if self.grouped >= group || self.writer.memory_size() >= GROUP_MEMORY {
            self.write_group()?;
        }
        Ok(())
    }

    /// Makes a row of a batch the next of the piece, or begins another with it.
    fn extend_piece(&mut self, batch: &Arc<RecordBatch>, row: usize) -> Result<()> {
        match &mut self.piece {
            Some((current, rows)) if Arc::ptr_eq(current, batch) && rows.end == row => rows.end += 1,
            _ => {
                self.write_piece()?;
                self.piece = Some((Arc::clone(batch), row..row + 1));
            }
        }
        Ok(())
    }

    /// Hands what is buffered to the Parquet library.
    fn write_piece(&mut self) -> Result<()> {
        let piece = self.piece.take();
        if self.buffered == 0 {
            return Ok(());
        }
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(self.keys.finish())];
        for (column, cells) in &mut self.carried {
            arrays.push(match (&column.from, &piece) {
                (CarriedFrom::Cells(_, kind), _) => {
                    kind.array(cells.finish()).ok_or_else(|| changed(&column.name))?
                }
                (CarriedFrom::Arrays(Some(place), field), Some((batch, rows))) => {
                    restored(&batch.column(*place).slice(rows.start, rows.len()), field.data_type())
                }
                (CarriedFrom::Arrays(..), _) => Arc::new(NullArray::new(self.buffered)),
            });
        }
        arrays.extend(self.vectors.iter_mut().map(|vectors| Arc::new(vectors.finish()) as ArrayRef));
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map_err(|source| unwritable(&self.path, source))?;
        self.grouped += self.buffered;
        (self.buffered, self.bytes) = (0, 0);
        self.writer.write(&batch).map_err(|source| unwritable(&self.path, source))
    }

    fn write_group(&mut self) -> Result<()> {
        self.write_piece()?;
        self.grouped = 0;
        self.writer.flush().map_err(|source| unwritable(&self.path, source))
    }

    /// Writes the rest, more metadata, and gives the file its name.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self, metadata: &BTreeMap<String, String>) -> Result<()> {
        self.write_group()?;
        pairs(metadata).into_iter().for_each(|pair| self.writer.append_key_value_metadata(pair));
        self.writer.into_inner().map_err(|source| unwritable(&self.path, source))?.finish()
    }
}

fn properties(vectors: &[(&str, usize)], metadata: &BTreeMap<String, String>) -> WriterProperties {
    // Floats neither repeat nor compress: a dictionary, statistics and a codec would only take time. Long
    // texts may repeat.
    let mut properties = WriterProperties::builder()
        .set_created_by("frosthead".to_owned())
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_dictionary_page_size_limit(GROUP_MEMORY / 2)
        .set_key_value_metadata(Some(pairs(metadata)));
    for (name, _) in vectors {
        let numbers = ColumnPath::new(vec![(*name).into(), "list".into(), "item".into()]);
        properties = properties
            .set_column_dictionary_enabled(numbers.clone(), false)
            .set_column_statistics_enabled(numbers, EnabledStatistics::None);
    }
    properties.build()
}

/// An array as its column's type: texts and bytes were read as views.
fn restored(array: &ArrayRef, kind: &DataType) -> ArrayRef {
    match (array.data_type(), kind) {
        (DataType::Utf8View, DataType::Utf8) => {
            Arc::new(array.as_string_view().iter().collect::<StringArray>())
        }
        (DataType::Utf8View, DataType::LargeUtf8) => {
            Arc::new(array.as_string_view().iter().collect::<LargeStringArray>())
        }
        (DataType::BinaryView, DataType::Binary) => {
            Arc::new(array.as_binary_view().iter().collect::<BinaryArray>())
        }
        (DataType::BinaryView, DataType::LargeBinary) => {
            Arc::new(array.as_binary_view().iter().collect::<LargeBinaryArray>())
        }
        _ => Arc::clone(array),
    }
}

fn pairs(metadata: &BTreeMap<String, String>) -> Vec<KeyValue> {
    metadata.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect()
}

/// The error of a value that was of another type when the table was read before.
fn changed(column: &str) -> Error {
    Error::new(Kind::Table, "the table was changed while it was read")
        .column(column)
        .help("run the command again, when nothing writes to the table")
}

fn unwritable(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let source = source.into();
    // A full disk hides inside Parquet's own error.
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&*source);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Error::io("write", path, io.kind().into());
        }
        cause = error.source();
    }
    Error::new(Kind::Io, "cannot write the Parquet file").at(path).because(source)
}

/// The key-value metadata of a Parquet file.
///
/// # Errors
/// It is not a Parquet file.
pub fn feature_metadata(path: &Path) -> Result<BTreeMap<String, String>> {
    Ok(ParquetFile::open(path, seekable(path)?)?.metadata())
}

/// Reads a Parquet of features made by [`FeatureWriter`] or elsewhere: its vectors, and the columns that are
/// asked for.
///
/// # Errors
/// The file is unreadable, lacks a column, or a vector is null, of another length, or not finite.
pub fn read_labelled_features(path: &Path, asked: &FeatureColumns<'_>) -> Result<FeatureTable> {
    let (names, mut rows) = ParquetRows::open(path, seekable(path)?)?;
    let vectors = vector_column(rows.file().schema(), asked.vectors).map_err(|error| error.at(path))?;
    let mut columns = Columns::new(names);
    let mut ask = |name: &str, lists: bool| {
        let place = columns.want(name, Use::Asked).map_err(|error| error.at(path))?;
        rows.check_text(place, lists)?;
        Ok(place)
    };
    let cells = asked.cells.iter().map(|kept| ask(&kept.name, kept.takes_lists()));
    let cells = cells.collect::<Result<Vec<_>>>()?;
    let there = |name: &str| rows.file().schema().column_with_name(name).is_some();
    let hash = there(TEXT_HASH).then(|| ask(TEXT_HASH, false)).transpose()?;
    let text = (asked.texts && there(TEXT)).then(|| ask(TEXT, false)).transpose()?;
    columns.carry(vectors);
    rows.keep_arrays();
    let vector_place = rows.places_in_batch(&columns)[vectors];
    let mut table = FeatureTable {
        cells: vec![Vec::new(); cells.len()],
        column: rows.file().schema().field(vectors).name().clone(),
        metadata: rows.file().metadata(),
        keys: hash.map(|_| Vec::new()),
        texts: text.map(|_| Vec::new()),
        ..FeatureTable::default()
    };
    loop {
        let wrong = |error: Error| error.at(path).row(table.rows as u64 + 1);
        let Some(values) = rows.next(&columns).map_err(wrong)? else { break };
        if let (Some(origin), Some(place)) = (&values.origin, vector_place) {
            guarded(path, || {
                append_vector(&mut table.features, &mut table.width, origin.batch.column(place), origin.row)
            })
            .map_err(wrong)?;
        }
        if let (Some(keys), Some(place)) = (&mut table.keys, hash) {
            keys.push(text_key(&values.cells[place]).map_err(wrong)?);
        }
        if let (Some(texts), Some(place)) = (&mut table.texts, text) {
            texts.push(values.cells[place].as_str().unwrap_or_default().to_owned());
        }
        table.cells.iter_mut().zip(&cells).for_each(|(kept, &place)| kept.push(values.cells[place].clone()));
        table.rows += 1;
    }
    if table.rows == 0 { Err(empty_table().at(path)) } else { Ok(table) }
}

fn vector_column(schema: &Schema, column: Option<&str>) -> Result<usize> {
    let lists: Vec<usize> =
        (0..schema.fields().len()).filter(|&place| is_vector(schema.field(place).data_type())).collect();
    let names: Vec<&str> = lists.iter().map(|&place| schema.field(place).name().as_str()).collect();
    let wanted = column.or(names.contains(&EMBEDDING).then_some(EMBEDDING));
    let place = match wanted {
        Some(wanted) => names.iter().position(|name| *name == wanted),
        None if names.len() == 1 => Some(0),
        None => None,
    };
    place.map(|place| lists[place]).ok_or_else(|| {
        let found = if names.is_empty() { "no column of number lists".to_owned() } else { names.join(", ") };
        Error::new(Kind::Table, "the file has no feature column")
            .found(found)
            .expected(
                wanted
                    .map_or_else(|| format!("`{EMBEDDING}`, or one list column"), |name| format!("{name:?}")),
            )
            .help("make features with `frosthead embed`, or name their column with --features-column")
    })
}

/// Whether a column holds lists of numbers.
fn is_vector(kind: &DataType) -> bool {
    match kind {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type().is_numeric()
        }
        _ => false,
    }
}

/// Appends a row's vector to the features.
fn append_vector(features: &mut Vec<f32>, width: &mut usize, array: &ArrayRef, row: usize) -> Result<()> {
    let wrong = |what: &str| Error::new(Kind::Table, what.to_owned());
    if array.is_null(row) {
        return Err(wrong("the feature vector is missing").help("leave the row out, or embed it again"));
    }
    let vector = match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        _ => array.as_fixed_size_list().value(row),
    };
    let before = features.len();
    match vector.data_type() {
        DataType::Float16 => {
            features
                .extend(vector.as_primitive::<Float16Type>().values().iter().map(|number| number.to_f32()));
        }
        DataType::Float32 => features.extend(vector.as_primitive::<Float32Type>().values().iter()),
        DataType::Float64 => {
            let single = |number: &f64| *number as f32;
            features.extend(vector.as_primitive::<Float64Type>().values().iter().map(single));
        }
        other => {
            return Err(wrong("the feature vector does not hold numbers with a fraction")
                .found(other.to_string())
                .expected("Float16, Float32 or Float64"));
        }
    }
    let length = features.len() - before;
    if *width == 0 {
        *width = length;
    }
    if length != *width || length == 0 {
        return Err(wrong("the feature vector has another length than those before")
            .found(length.to_string())
            .expected((*width).max(1).to_string()));
    }
    let finite = features[before..].iter().all(|number| number.is_finite());
    if vector.null_count() > 0 || !finite {
        return Err(wrong("the feature vector holds numbers that are missing or not finite"));
    }
    Ok(())
}

/// The key of a row's text.
fn text_key(cell: &Cell) -> Result<TextKey> {
    cell.as_str().and_then(TextKey::parse).ok_or_else(|| {
        Error::new(Kind::Table, "this is not a text's hash")
            .column(TEXT_HASH)
            .found(quoted(cell.as_str().unwrap_or("null")))
            .expected("32 hexadecimal digits, as `frosthead embed` writes them")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::KeptColumn;

    fn write(path: &Path, rows: usize) {
        let metadata = BTreeMap::from([("made by".to_owned(), "a test".to_owned())]);
        let mut writer = FeatureWriter::create(
            path,
            vec![CarriedColumn::of_type("label".to_owned(), 0, CarriedType::TEXT)],
            &[(EMBEDDING, 3)],
            &metadata,
        )
        .unwrap();
        for row in 0..rows {
            let cell = if row % 3 == 0 { Cell::Null } else { Cell::Text(format!("label {row}")) };
            let cells = Row::new(row as u64 + 1, vec![cell]);
            writer.write(TextKey::of(&row.to_string()), &cells, &[&[row as f32, 0.5, -1.0]]).unwrap();
        }
        writer.finish(&BTreeMap::from([("rows".to_owned(), rows.to_string())])).unwrap();
    }

    #[test]
    fn features_round_trip_over_row_groups_with_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("1.parquet"), directory.path().join("2.parquet"));
        let rows = ROW_GROUP + 100;
        write(&one, rows);
        write(&two, rows);
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
        let asked = FeatureColumns { cells: &["label".into()], ..FeatureColumns::default() };
        let table = read_labelled_features(&one, &asked).unwrap();
        assert_eq!((table.width, table.rows), (3, rows));
        assert_eq!(table.features[3 * (rows - 1)..], [(rows - 1) as f32, 0.5, -1.0]);
        assert_eq!(table.cells[0][3], Cell::Null);
        assert_eq!(table.cells[0][4].as_str(), Some("label 4"));
        assert_eq!(table.keys.unwrap()[7], TextKey::of("7"));
        assert_eq!(feature_metadata(&one).unwrap()["made by"], "a test");
        assert_eq!(table.metadata["rows"], rows.to_string());
    }

    #[test]
    fn an_unfinished_file_never_appears() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.parquet");
        let writer = FeatureWriter::create(&path, Vec::new(), &[(EMBEDDING, 3)], &BTreeMap::new()).unwrap();
        drop(writer);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn names_the_output_uses_itself_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.parquet");
        let error = FeatureWriter::create(
            &path,
            vec![CarriedColumn::of_type("embedding".to_owned(), 0, CarriedType::TEXT)],
            &[(EMBEDDING, 3)],
            &BTreeMap::new(),
        )
        .err()
        .unwrap();
        assert!(error.to_string().contains("embedding"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.parquet");
        write(&path, 10);
        let bytes = std::fs::read(&path).unwrap();
        for damaged in [&bytes[..bytes.len() - 3], b"", b"text,label\n"] {
            std::fs::write(&path, damaged).unwrap();
            let error = read_labelled_features(&path, &FeatureColumns::default()).unwrap_err();
            assert_eq!(error.kind(), Kind::Table);
            assert!(error.to_string().contains("a.parquet"), "{error}");
        }
    }

    #[test]
    fn a_file_made_elsewhere_is_read_and_its_faults_are_named() {
        let path =
            |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/foreign_parquet").join(name);
        let read = |name: &str, vectors: Option<&str>, cells: &[&str]| {
            let cells: Vec<KeptColumn> = cells.iter().map(|name| (*name).into()).collect();
            read_labelled_features(&path(name), &FeatureColumns { vectors, cells: &cells, texts: false })
        };
        let columns: Vec<String> = {
            let (names, _) =
                ParquetRows::open(&path("good.parquet"), seekable(&path("good.parquet")).unwrap()).unwrap();
            names
        };
        let cells: Vec<&str> = columns.iter().map(String::as_str).filter(|name| *name != "vector").collect();
        let table = read("good.parquet", None, &cells).unwrap();
        assert_eq!((table.width, table.rows), (4, 6));
        assert_eq!(
            table.cells.iter().map(|column| column[1].as_str()).collect::<Vec<_>>(),
            [Some("5"), Some("b"), None]
        );
        assert!(table.keys.is_none());
        assert_eq!(table.features[..4], [0.0, 0.25, 0.5, 0.75]);
        let refused = |name: &str, parts: &[&str]| {
            let error = read(name, None, &[]).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        };
        refused("ragged.parquet", &["row 3", "found 3", "expected 4"]);
        refused("missing.parquet", &["row 2", "missing"]);
        refused("not_finite.parquet", &["row 2", "not finite"]);
        refused("two_lists.parquet", &["no feature column", "first, second"]);
        refused("no_lists.parquet", &["no column of number lists"]);
        assert_eq!(read("two_lists.parquet", Some("second"), &[]).unwrap().width, 2);
    }
}
