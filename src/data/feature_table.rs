//! Owns what is read of a Parquet of features, whether this build can read one or not.

use std::collections::BTreeMap;

use super::cell::Cell;
use super::kept::KeptColumn;
use crate::fingerprint::TextKey;

/// What to read of a Parquet of features.
#[derive(Debug, Clone, Copy, Default)]
pub struct FeatureColumns<'c> {
    /// The column of vectors; by default `embedding`, or the only column of number lists.
    pub vectors: Option<&'c str>,
    /// Columns whose cells are wanted.
    pub cells: &'c [KeptColumn],
    /// Read the column `text` too, if there is one.
    pub texts: bool,
}

/// A Parquet of features in memory.
#[derive(Debug, Default)]
pub struct FeatureTable {
    pub rows: usize,
    /// `cells[column][row]`, in the order of [`FeatureColumns::cells`].
    pub cells: Vec<Vec<Cell>>,
    /// The texts, when they were asked for and are there.
    pub texts: Option<Vec<String>>,
    /// `[rows, width]`, row-major.
    pub features: Vec<f32>,
    pub width: usize,
    /// The column they are from.
    pub column: String,
    /// From the column `text_hash`, when there is one.
    pub keys: Option<Vec<TextKey>>,
    /// The file's own key-value metadata.
    pub metadata: BTreeMap<String, String>,
}
