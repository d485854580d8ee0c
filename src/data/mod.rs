//! Owns tables in and out: CSV, TSV, JSONL, lines, Parquet; label sets; splits; atomic output files and directories.
//!
//! Refuses to guess: a row that does not fit is an error with its file, row and what was expected, never skipped. The only
//! user of the csv, arrow and parquet crates.

mod delimited;
#[cfg(feature = "parquet")]
mod features;
#[cfg(not(feature = "parquet"))]
mod features_absent;
mod format;
mod header;
mod json_lines;
mod labels;
mod lines;
mod output;
#[cfg(feature = "parquet")]
mod parquet_table;
mod records;
mod split;
mod stream;
mod table;

#[cfg(feature = "parquet")]
pub use features::{EMBEDDING, FEATURES, FeatureWriter, feature_metadata, read_features};
#[cfg(not(feature = "parquet"))]
pub use features_absent::{EMBEDDING, FEATURES, FeatureWriter, feature_metadata, read_features};
pub use format::{Format, Source};
pub use header::{Header, TextColumn};
pub use labels::LabelSet;
pub use output::{replace_directory, replace_file, write_atomically};
pub use records::{RecordFormat, RecordValue, RecordWriter};
pub use split::{Part, SplitOptions, split};
pub use stream::{Room, RowStream};
pub use table::{FeatureTable, Row, TableReader};
