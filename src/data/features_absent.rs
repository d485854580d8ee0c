//! Owns saying that this build does not read or write Parquet.

use std::collections::BTreeMap;
use std::path::Path;

use super::feature_table::{FeatureColumns, FeatureTable};
use super::row::Row;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::TextKey;

/// The column of the texts' hashes.
pub const TEXT_HASH: &str = "text_hash";
/// The column of sentence embeddings.
pub const EMBEDDING: &str = "embedding";
/// The column of other features, if there is one.
pub const FEATURES: &str = "features";

/// Cannot be made in this build.
pub enum FeatureWriter {}

/// A column that no writer of this build carries along.
pub enum CarriedColumn {}

impl FeatureWriter {
    /// # Errors
    /// Always.
    pub fn create(
        path: &Path,
        _: Vec<CarriedColumn>,
        _: &[(&str, usize)],
        _: &BTreeMap<String, String>,
    ) -> Result<Self> {
        Err(absent(path))
    }

    /// # Errors
    /// Never: there is no writer.
    pub fn write(&mut self, _: TextKey, _: &Row, _: &[&[f32]]) -> Result<()> {
        match *self {}
    }

    /// # Errors
    /// Never: there is no writer.
    pub fn finish(self, _: &BTreeMap<String, String>) -> Result<()> {
        match self {}
    }
}

/// # Errors
/// Always.
pub fn read_labelled_features(path: &Path, _: &FeatureColumns<'_>) -> Result<FeatureTable> {
    Err(absent(path))
}

/// # Errors
/// Always.
pub fn feature_metadata(path: &Path) -> Result<BTreeMap<String, String>> {
    Err(absent(path))
}

fn absent(path: &Path) -> Error {
    Error::new(Kind::Usage, "this build of frosthead does not read or write Parquet").at(path)
}
