//! Owns Parquet files of features: `text_hash`, the carried columns, and lists of f32: `embedding`, and `features` if asked for.
//!
//! Refuses a vector that is null, of another length, or not finite, and shows a file under its name only when it is whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{Float32Builder, ListBuilder, StringBuilder};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use tempfile::NamedTempFile;

use super::output::parent;
use super::parquet_table::{broken, builder, is_list, text_columns};
use super::table::{FeatureTable, empty_table, open_file};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::TextKey;

const TEXT_HASH: &str = "text_hash";
/// The column of sentence embeddings.
pub const EMBEDDING: &str = "embedding";
/// The column of other features, if there is one.
pub const FEATURES: &str = "features";
/// Rows in a row group: 8 MB of 384 numbers each take 5,461 rows.
const ROW_GROUP: usize = 4096;
/// Bytes of vectors in a row group.
const ROW_GROUP_BYTES: usize = 8 << 20;

/// Writes a Parquet of features row by row.
pub struct FeatureWriter {
    path: PathBuf,
    writer: ArrowWriter<NamedTempFile>,
    schema: SchemaRef,
    /// Numbers in a row, in all vectors together.
    width: usize,
    keys: StringBuilder,
    cells: Vec<StringBuilder>,
    vectors: Vec<ListBuilder<Float32Builder>>,
    buffered: usize,
}

impl FeatureWriter {
    /// Starts a file with these carried columns and these columns of vectors: their names and lengths.
    ///
    /// # Errors
    /// The place cannot be written, or a column's name is taken.
    pub fn create(
        path: &Path,
        columns: &[String],
        vectors: &[(&str, usize)],
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let own = |column: &str| column == TEXT_HASH || vectors.iter().any(|(name, _)| *name == column);
        if let Some(taken) = columns.iter().find(|column| own(column)) {
            return Err(Error::new(Kind::Table, "a column has a name that the output uses itself")
                .column(taken)
                .help("rename the column"));
        }
        let mut fields = vec![Field::new(TEXT_HASH, DataType::Utf8, false)];
        fields.extend(columns.iter().map(|column| Field::new(column, DataType::Utf8, true)));
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let list = || DataType::List(Arc::clone(&item));
        fields.extend(vectors.iter().map(|(name, _)| Field::new(*name, list(), false)));
        let schema = Arc::new(Schema::new(fields));
        let temporary = tempfile::Builder::new()
            .prefix(".frosthead-")
            .tempfile_in(parent(path)?)
            .map_err(|source| Error::io("write", path, source))?;
        // Floats neither repeat nor compress: a dictionary, statistics and a codec would only take time.
        let mut properties = WriterProperties::builder()
            .set_created_by("frosthead".to_owned())
            .set_max_row_group_row_count(Some(ROW_GROUP))
            .set_key_value_metadata(Some(pairs(metadata)));
        for (name, _) in vectors {
            let numbers = ColumnPath::new(vec![(*name).into(), "list".into(), "item".into()]);
            properties = properties
                .set_column_dictionary_enabled(numbers.clone(), false)
                .set_column_statistics_enabled(numbers, EnabledStatistics::None);
        }
        let writer = ArrowWriter::try_new(temporary, Arc::clone(&schema), Some(properties.build()))
            .map_err(|source| unwritable(path, source))?;
        Ok(Self {
            path: path.to_path_buf(),
            writer,
            schema,
            width: vectors.iter().map(|(_, width)| width).sum(),
            keys: StringBuilder::new(),
            cells: columns.iter().map(|_| StringBuilder::new()).collect(),
            vectors: vectors
                .iter()
                .map(|_| ListBuilder::new(Float32Builder::new()).with_field(Arc::clone(&item)))
                .collect(),
            buffered: 0,
        })
    }

    /// Adds a row: a cell per carried column, and the vectors.
    ///
    /// # Errors
    /// A row group was due and could not be written.
    pub fn write(&mut self, key: TextKey, cells: &[Option<String>], vectors: &[&[f32]]) -> Result<()> {
        debug_assert_eq!((cells.len(), vectors.len()), (self.cells.len(), self.vectors.len()));
        debug_assert_eq!(vectors.iter().map(|vector| vector.len()).sum::<usize>(), self.width);
        self.keys.append_value(key.to_string());
        for (builder, cell) in self.cells.iter_mut().zip(cells) {
            builder.append_option(cell.as_deref());
        }
        for (builder, vector) in self.vectors.iter_mut().zip(vectors) {
            builder.values().append_slice(vector);
            builder.append(true);
        }
        self.buffered += 1;
        if self.buffered >= ROW_GROUP.min((ROW_GROUP_BYTES / (4 * self.width.max(1))).max(1)) {
            self.write_group()?;
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<()> {
        if self.buffered == 0 {
            return Ok(());
        }
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(self.keys.finish())];
        arrays.extend(self.cells.iter_mut().map(|cells| Arc::new(cells.finish()) as ArrayRef));
        arrays.extend(self.vectors.iter_mut().map(|vectors| Arc::new(vectors.finish()) as ArrayRef));
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map_err(|source| unwritable(&self.path, source))?;
        self.buffered = 0;
        self.writer.write(&batch).map_err(|source| unwritable(&self.path, source))?;
        self.writer.flush().map_err(|source| unwritable(&self.path, source))
    }

    /// Writes the rest, more metadata, and gives the file its name.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self, metadata: &BTreeMap<String, String>) -> Result<()> {
        self.write_group()?;
        pairs(metadata).into_iter().for_each(|pair| self.writer.append_key_value_metadata(pair));
        let path = self.path;
        let temporary = self.writer.into_inner().map_err(|source| unwritable(&path, source))?;
        let failed = |source| Error::io("write", &path, source);
        make_readable(temporary.path()).map_err(failed)?;
        temporary.as_file().sync_all().map_err(failed)?;
        temporary.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

/// Temporary files are private; a result is as public as the user's other files.
fn make_readable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

fn pairs(metadata: &BTreeMap<String, String>) -> Vec<KeyValue> {
    metadata.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect()
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
    Ok(metadata_of(builder(path, open_file(path)?)?.metadata().file_metadata().key_value_metadata()))
}

fn metadata_of(pairs: Option<&Vec<KeyValue>>) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .flatten()
        .filter(|pair| pair.key != "ARROW:schema")
        .filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?)))
        .collect()
}

/// Reads a Parquet of features made by [`FeatureWriter`] or elsewhere. `column` names the vectors' column; by default
/// `embedding`, or the only column of number lists.
///
/// # Errors
/// The file is unreadable, has no such column, or a vector is null, of another length, or not finite.
pub fn read_features(path: &Path, column: Option<&str>) -> Result<FeatureTable> {
    let builder = builder(path, open_file(path)?)?;
    let metadata = metadata_of(builder.metadata().file_metadata().key_value_metadata());
    let schema = Arc::clone(builder.schema());
    let vectors = vector_column(&schema, column).map_err(|error| error.at(path))?;
    let places: Vec<usize> =
        (0..schema.fields().len()).filter(|&place| !is_list(schema.field(place).data_type())).collect();
    let mut table = FeatureTable {
        columns: places.iter().map(|&place| schema.field(place).name().clone()).collect(),
        column: schema.field(vectors).name().clone(),
        metadata,
        ..FeatureTable::default()
    };
    for batch in builder.build().map_err(|source| broken(path, source))? {
        let batch = batch.map_err(|source| broken(path, source))?;
        let mut cells = text_columns(&batch, &places).map_err(|error| error.at(path))?;
        append_vectors(&mut table, batch.column(vectors)).map_err(|error| error.at(path))?;
        for row in 0..batch.num_rows() {
            table.rows.push(cells.iter_mut().map(|column| column[row].take()).collect());
        }
    }
    if table.rows.is_empty() {
        return Err(empty_table().at(path));
    }
    table.keys = text_keys(&table).map_err(|error| error.at(path))?;
    Ok(table)
}

fn vector_column(schema: &Schema, column: Option<&str>) -> Result<usize> {
    let lists: Vec<usize> =
        (0..schema.fields().len()).filter(|&place| is_list(schema.field(place).data_type())).collect();
    let names: Vec<&str> = lists.iter().map(|&place| schema.field(place).name().as_str()).collect();
    let wanted = column.or(names.contains(&EMBEDDING).then_some(EMBEDDING));
    let place = match wanted {
        Some(name) => names.iter().position(|own| *own == name),
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

fn append_vectors(table: &mut FeatureTable, array: &ArrayRef) -> Result<()> {
    let first = table.rows.len() as u64 + 1;
    for row in 0..array.len() {
        let wrong = |what: &str| Error::new(Kind::Table, what.to_owned()).row(first + row as u64);
        if array.is_null(row) {
            return Err(wrong("the feature vector is missing").help("leave the row out, or embed it again"));
        }
        let vector = match array.data_type() {
            DataType::List(_) => array.as_list::<i32>().value(row),
            DataType::LargeList(_) => array.as_list::<i64>().value(row),
            _ => array.as_fixed_size_list().value(row),
        };
        let before = table.features.len();
        match vector.data_type() {
            DataType::Float32 => table.features.extend(vector.as_primitive::<Float32Type>().values().iter()),
            DataType::Float64 => {
                #[expect(clippy::cast_possible_truncation, reason = "features are single precision")]
                let single = |number: &f64| *number as f32;
                table.features.extend(vector.as_primitive::<Float64Type>().values().iter().map(single));
            }
            other => {
                return Err(wrong("the feature vector does not hold numbers with a fraction")
                    .found(other.to_string())
                    .expected("Float32 or Float64"));
            }
        }
        let width = table.features.len() - before;
        if table.width == 0 {
            table.width = width;
        }
        if width != table.width || width == 0 {
            return Err(wrong("the feature vector has another length than those before")
                .found(width.to_string())
                .expected(table.width.max(1).to_string()));
        }
        let finite = table.features[before..].iter().all(|number| number.is_finite());
        if vector.null_count() > 0 || !finite {
            return Err(wrong("the feature vector holds numbers that are missing or not finite"));
        }
    }
    Ok(())
}

/// The keys of the rows' texts, when the file has them.
fn text_keys(table: &FeatureTable) -> Result<Option<Vec<TextKey>>> {
    let Some(place) = table.columns.iter().position(|column| column == TEXT_HASH) else { return Ok(None) };
    let keys = table.rows.iter().enumerate().map(|(row, cells)| {
        cells[place].as_deref().and_then(TextKey::parse).ok_or_else(|| {
            Error::new(Kind::Table, "this is not a text's hash")
                .row(row as u64 + 1)
                .column(TEXT_HASH)
                .found(format!("{:?}", cells[place].as_deref().unwrap_or("null")))
                .expected("32 hexadecimal digits, as `frosthead embed` writes them")
        })
    });
    keys.collect::<Result<_>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, rows: usize) {
        let metadata = BTreeMap::from([("made by".to_owned(), "a test".to_owned())]);
        let mut writer =
            FeatureWriter::create(path, &["label".to_owned()], &[(EMBEDDING, 3)], &metadata).unwrap();
        for row in 0..rows {
            let cell = (row % 3 != 0).then(|| format!("label {row}"));
            writer.write(TextKey::of(&row.to_string()), &[cell], &[&[row as f32, 0.5, -1.0]]).unwrap();
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
        let table = read_features(&one, None).unwrap();
        assert_eq!((table.width, table.rows.len()), (3, rows));
        assert_eq!(table.columns, ["text_hash", "label"]);
        assert_eq!(table.features[3 * (rows - 1)..], [(rows - 1) as f32, 0.5, -1.0]);
        assert_eq!(table.rows[3][1], None);
        assert_eq!(table.rows[4][1].as_deref(), Some("label 4"));
        assert_eq!(table.keys.unwrap()[7], TextKey::of("7"));
        assert_eq!(feature_metadata(&one).unwrap()["made by"], "a test");
        assert_eq!(table.metadata["rows"], rows.to_string());
    }

    #[test]
    fn an_unfinished_file_never_appears() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.parquet");
        let writer = FeatureWriter::create(&path, &[], &[(EMBEDDING, 3)], &BTreeMap::new()).unwrap();
        drop(writer);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn names_the_output_uses_itself_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.parquet");
        let error =
            FeatureWriter::create(&path, &["embedding".to_owned()], &[(EMBEDDING, 3)], &BTreeMap::new())
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
            let error = read_features(&path, None).unwrap_err();
            assert_eq!(error.kind(), Kind::Table);
            assert!(error.to_string().contains("a.parquet"), "{error}");
        }
    }

    #[test]
    fn a_file_made_elsewhere_is_read_and_its_faults_are_named() {
        let path =
            |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/foreign_parquet").join(name);
        let table = read_features(&path("good.parquet"), None).unwrap();
        assert_eq!((table.width, table.rows.len()), (4, 6));
        assert_eq!(table.rows[1], [Some("5".to_owned()), Some("b".to_owned()), None]);
        assert!(table.keys.is_none());
        assert_eq!(table.features[..4], [0.0, 0.25, 0.5, 0.75]);
        let refused = |name: &str, parts: &[&str]| {
            let error = read_features(&path(name), None).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        };
        refused("ragged.parquet", &["row 3", "found 3", "expected 4"]);
        refused("missing.parquet", &["row 2", "missing"]);
        refused("not_finite.parquet", &["row 2", "not finite"]);
        refused("two_lists.parquet", &["no feature column", "first, second"]);
        refused("no_lists.parquet", &["no column of number lists"]);
        assert_eq!(read_features(&path("two_lists.parquet"), Some("second")).unwrap().width, 2);
    }
}
