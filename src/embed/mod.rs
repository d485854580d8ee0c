//! Owns texts → features: what is missing in the store is computed in one pass, stored, and read back; tables are streamed.
//!
//! Refuses to hold a corpus in memory, to compute a text twice, and to let a row of the output be any other than that of the
//! input.

mod cut;
mod embedder;
mod extractor;
mod layout;
mod table;

pub use cut::{CutRows, CutTokens, StatesNeed, StatesPlace, StatesProgress};
pub use embedder::{EmbedOptions, Embedder, Progress};
pub use extractor::{Extractor, TOKEN_BUDGET, Work};
pub use layout::{RowLayout, StoredLayers};
pub use table::{EmbedRequest, EmbedSummary, Embedded, TextNotes, Visit, embed_file, visit_rows};
