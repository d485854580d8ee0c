//! Owns a network whose word table has some of its rows only.
//!
//! Refuses to choose them: which pieces are kept, and that no text loses by it, is the work of `tokens`.

use super::config::Config;
use super::network::{ChangedTensors, Network};
use super::tensors::WORDS;
use super::weights::check_rows;
use crate::error::{Error, Kind, Result};

impl Network<'_> {
    /// The dimensions and the changed tensors of this network with only these rows of its word table, for
    /// `Network { config: &config, changed: Some(&changed), ..network }`. Rows are named by their old token
    /// ids, rising; a row's place among them is its new id. A text of new ids then has the numbers, to the
    /// bit, that its old ids have in this network.
    ///
    /// Only the rows that are kept are read.
    ///
    /// # Errors
    /// The table does not have such a row, the row of the padding is not among them, or the file cannot be
    /// read.
    pub fn with_words(&self, rows: &[u32]) -> Result<(Config, ChangedTensors)> {
        let padding = rows.iter().position(|row| *row == self.config.pad_token_id).ok_or_else(|| {
            Error::new(Kind::Model, "the row of the padding is not among those that are kept")
                .tensor(WORDS)
                .expected(format!("row {} to stay", self.config.pad_token_id))
        })?;
        let mut changed = self.changed.cloned().unwrap_or_default();
        let words = match changed.get(WORDS) {
            None => self.weights.read_rows(WORDS, rows)?,
            Some(table) => {
                let width = self.config.hidden_size;
                check_rows(rows, table.len() / width).map_err(|error| error.tensor(WORDS))?;
                rows.iter().flat_map(|row| &table[*row as usize * width..][..width]).copied().collect()
            }
        };
        changed.insert(WORDS.to_owned(), words);
        let config =
            Config { vocabulary_size: rows.len(), pad_token_id: padding as u32, ..self.config.clone() };
        Ok((config, changed))
    }
}
