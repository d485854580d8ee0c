//! Owns what a task is: what is asked of one, its truth, and its *kind*: what logits mean, what they lose,
//! how they are measured, and what a deployed graph ends with.
//!
//! Nothing else spells a kind out, but for the fit of a head (`heads/loss.rs`), whose numbers are of either
//! precision. Refuses to know features, heads or files.

mod any_of;
#[cfg(feature = "train")]
mod asked;
mod kind;
mod number;
mod one_of;
mod target;
mod truth;

#[cfg(feature = "train")]
pub use asked::{TaskRequest, Tasks, labels_of};
pub use kind::TaskKind;
pub use target::{Target, strata};
pub use truth::Truth;
