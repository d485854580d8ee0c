//! Owns the Python module `frosthead._frosthead`: the library's types and functions as Python's, and the
//! program as a function.
//!
//! Refuses to compute anything: a call reads its arguments, lets the interpreter go, and asks the library.

// The command line is the program's own, compiled in: `pip install frosthead` brings the command, too.
#[path = "../../src/cli/mod.rs"]
mod cli;

mod arguments;
mod arrow;
mod classifier;
mod command;
mod embedder;
mod errors;
mod held;
mod interrupts;
mod tables;
mod texts;
mod training;

use pyo3::prelude::*;

/// The names that Python sees; `frosthead/__init__.py` says which are for everybody.
#[pymodule]
mod _frosthead {
    #[pymodule_export]
    use super::arrow::ArrowStream;
    #[pymodule_export]
    use super::classifier::Classifier;
    #[pymodule_export]
    use super::command::run_command;
    #[pymodule_export]
    use super::embedder::Embedder;
    #[pymodule_export]
    use super::errors::FrostheadError;
    #[pymodule_export]
    use super::training::{bundle, evaluate, import_backbone, train};

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
