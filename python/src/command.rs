//! Owns the program as a function of its arguments.

use std::ffi::OsString;
use std::io::Write as _;

use pyo3::prelude::*;

use crate::cli;

/// Runs the program with these arguments, and gives its exit code.
#[pyfunction]
pub fn run_command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| {
        let code = cli::main(std::iter::once("frosthead".into()).chain(arguments));
        // The interpreter's end does not write out what Rust still holds.
        let _closed = std::io::stdout().flush();
        code
    })
}
