//! Owns fitting a head: on what it sees of the network, and, where that is asked for, with words beside it.

use super::beside::put_beside;
use super::dense::fit_dense;
use super::head::{Answers, Head};
use super::minimize::minimize_bytes;
use super::options::{Alpha, Examples, FitOptions, FitReport};
use crate::error::Result;

/// Fits the head of one task on labelled rows, whatever its kind (`loss.rs`).
///
/// # Errors
/// Fewer than two classes, a class without rows, or features that do not fit or are not finite.
pub fn fit(answers: Answers<'_>, examples: &Examples<'_>, options: &FitOptions) -> Result<(Head, FitReport)> {
    let (mut head, mut report) = fit_dense(answers, examples, options)?;
    if options.words.wanted.applies(examples.features.words().is_some()) {
        let options = FitOptions { alpha: Alpha::Fixed(report.alpha), ..options.clone() };
        report.words = put_beside(&mut head, examples, &options)?;
    }
    Ok((head, report))
}

/// Bytes that fitting a head takes at its peak, beside the features themselves.
#[must_use]
pub fn fit_bytes(rows: usize, width: usize, classes: usize) -> u64 {
    minimize_bytes(rows, width, classes)
}

#[cfg(test)]
mod tests;
