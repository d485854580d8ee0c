//! Owns texts → token ids → batches: the `tokenizer.json` wrapper and a compact form of large ones, pairs of
//! texts, the pieces that texts use and a vocabulary of no more, long texts, length buckets, token-budget
//! batches.
//!
//! Refuses to pad or to cut on its own account: what a tokenizer file says about truncation and padding is
//! ignored, because the model's own length rules; padding happens where a batch is fed.

mod added;
mod batches;
mod check;
mod compact;
mod description;
mod diagnosis;
mod encoded;
mod grams;
mod long_text;
mod model;
mod pair;
mod pair_template;
mod piece_use;
#[cfg(feature = "train")]
mod proof;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod synthetic;
mod tokenizer;
mod unigram;
#[cfg(feature = "train")]
mod vocabulary;
mod windows;

pub use batches::{Batch, Batching, Buckets, OWN_TOKEN_BUDGET, Spacing, TOKEN_BUDGET, batches};
pub use compact::FEWEST_PIECES;
pub use encoded::{Encoded, Lost, Tokens, Truncation};
pub use grams::{Grams, MOST_PAIR_PLACES, PAIR_FACTORS, PAIR_PLACES};
pub use piece_use::PieceUse;
#[cfg(feature = "train")]
pub use proof::CompactForm;
pub use tokenizer::Tokenizer;
#[cfg(feature = "train")]
pub use vocabulary::{Coverage, PieceCounts, Pruned, Vocabulary};
pub use windows::{LongTexts, Window, WindowOptions, Windows};
