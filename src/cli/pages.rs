//! Owns the pages that commands write beside what they print.

use std::path::Path;

use super::terminal::Terminal;
use frosthead::internal::error::Result;
use frosthead::internal::files;
use frosthead::internal::report::{Measured, run_page};

/// Writes the page of what was measured.
///
/// # Errors
/// It cannot be written.
pub(super) fn write_page(path: &Path, measured: &Measured<'_>, terminal: &Terminal) -> Result<()> {
    files::write(path, run_page(measured).as_bytes())?;
    terminal.say(format!("{}: written", path.display()));
    Ok(())
}
