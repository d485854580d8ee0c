//! Owns what is chosen by trying it on labelled rows: the features of a head, and what each depth of a network
//! costs its tasks.
//!
//! Refuses to look at test rows, and to judge an answer by a head that was fitted on the row.

mod depths;
mod judging;
mod screening;

pub use depths::{DepthFigures, DepthTask, TaskRows, depths, shallowest};
pub use judging::{HeldOut, Judging, Loss, passes};
pub use screening::{Screened, Screening, Seen, options};

use crate::heads::FitOptions;

/// Bytes that a fit may take, where nothing else is said.
pub const FIT_MEMORY: u64 = 4_000_000_000;

/// How heads are fitted where something is tried.
#[derive(Debug, Clone, Copy)]
pub struct Fitting<'f> {
    /// Penalty, weights of classes, seed and threads.
    pub fit: &'f FitOptions,
    /// Bytes a fit may take: choices that would take more are left out.
    pub memory: u64,
}
