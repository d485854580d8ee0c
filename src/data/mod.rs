//! Owns tables in and out: CSV, TSV, JSON, lines, Parquet, Arrow, their encodings and compression; labels and
//! classes; splits; atomic output files and directories.
//!
//! Refuses to guess: a row that does not fit is an error with its file, row and what was expected, never
//! skipped. The only user of the csv, arrow and parquet crates.

mod answers;
#[cfg(feature = "parquet")]
mod arrow_cell;
#[cfg(feature = "parquet")]
mod arrow_stream;
#[cfg(feature = "parquet")]
mod arrow_texts;
#[cfg(feature = "parquet")]
mod carried_type;
mod cell;
mod cells;
#[cfg(feature = "train")]
mod classes;
mod column_use;
mod compression;
mod delimited;
mod encoding;
pub(crate) mod feature_table;
#[cfg(feature = "parquet")]
mod features;
#[cfg(not(feature = "parquet"))]
mod features_absent;
mod format;
#[cfg(feature = "parquet")]
mod guard;
mod header;
mod joined;
mod json;
mod json_object;
mod kept;
mod label_list;
mod label_name;
mod labels;
mod lines;
#[cfg(feature = "parquet")]
mod parquet_table;
mod part;
mod reading;
mod records;
mod row;
mod source;
mod spellings;
#[cfg(feature = "train")]
mod split;
mod stream;
mod table;

#[cfg(feature = "train")]
pub use classes::{Classes, Contradictions, LabelledRow, look_alike};
#[cfg(not(feature = "parquet"))]
use features_absent as features;

pub use answers::{AnswerColumn, AnswerField, AnswerKind};
#[cfg(feature = "parquet")]
pub use arrow_stream::{ArrowInput, ArrowOutput, ArrowRows};
#[cfg(feature = "parquet")]
pub use arrow_texts::{answered, answered_schema, of_arrow, texts_of, texts_of_rows};
pub use cell::Cell;
pub use feature_table::FeatureColumns;
pub use features::{EMBEDDING, FEATURES, FeatureWriter, TEXT_HASH, feature_metadata, read_labelled_features};
pub use format::Format;
pub use header::{TextColumns, TextPlaces};
pub use kept::{CellForm, KeptColumn};
pub use label_list::{SEPARATOR, labels_in};
pub use label_name::{LabelNames, label_of_text};
pub use labels::{LabelSet, Rare};
pub use part::Part;
pub use reading::{Delimiter, Quoting, Reading, TextEncoding};
pub use records::{CARRIED, RecordFormat, RecordValue, RecordWriter};
pub use row::Row;
pub use source::Source;
pub use spellings::Spellings;
#[cfg(feature = "train")]
pub use split::{SplitOptions, split};
pub use stream::{Room, RowStream};
pub use table::TableReader;
