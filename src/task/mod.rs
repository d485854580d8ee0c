//! Owns what a task is: what is asked of one, its truth, and its *kind*: what logits mean, what they lose,
//! how they are measured, and what a deployed graph ends with.
//!
//! Nothing else spells a kind out. Refuses to know features, heads or files.

#[cfg(feature = "train")]
mod asked;
mod kind;
mod one_of;
mod truth;

#[cfg(feature = "train")]
pub use asked::{TaskRequest, Tasks};
pub use kind::TaskKind;
pub use truth::Truth;
