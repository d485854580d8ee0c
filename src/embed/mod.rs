//! Owns texts → features: what is missing in the store is computed in one pass, stored, and read back; tables
//! are streamed.
//!
//! Refuses to hold a corpus in memory, to compute a text twice, and to let a row of the output be any other
//! than that of the input.

#[cfg(feature = "train")]
mod cut;
mod embedder;
mod extractor;
mod features;
#[cfg(feature = "train")]
mod file;
mod ids;
mod layout;
mod memory;
mod options;
mod reader;
mod stored_rows;
#[cfg(all(feature = "parquet", feature = "train"))]
mod stream;
mod table;
mod windowed;
mod words;

#[cfg(feature = "train")]
pub use cut::{CutRows, CutTokens, StatesNeed, StatesPlace, StatesProgress};
pub use embedder::{Embedder, Progress};
pub use extractor::{Extractor, WindowSpan, Work};
pub use features::{FeatureRows, covering};
#[cfg(feature = "train")]
pub use file::{EmbedRequest, Embedded, embed_file};
pub use ids::{check_columns, piece_uses};
pub use layout::{RowLayout, RowParts};
pub use memory::{LIMITED_WINDOW_BYTES, MemoryPlan, check_loadable, threads_within};
pub use options::EmbedOptions;
pub use reader::{Reader, Reading, row_of_text};
#[cfg(all(feature = "parquet", feature = "train"))]
pub use stream::{LoadNetwork, StreamRequest, embed_stream};
pub use table::{MadeWith, TextNotes, any_longer, visit_rows};
pub use words::words_of_fewer_pieces;
