//! Owns how the library's errors become Python's: the same words, with their kind and their remedy beside
//! them.

use frosthead::{Error, Kind};
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(
    frosthead,
    FrostheadError,
    PyException,
    "What went wrong, where, what was found, what was expected, and what to do.\n\n\
     `kind` says what it is about (`table`, `model`, `runtime`, `bundle`, `usage`, ...); `remedy` what to do, if that is known."
);

/// An error of the library as Python's.
pub fn raised(py: Python<'_>, error: &Error) -> PyErr {
    let raised = FrostheadError::new_err(words(error));
    let value = raised.value(py);
    let kind = format!("{:?}", error.kind()).to_lowercase();
    match value.setattr("kind", kind).and_then(|()| value.setattr("remedy", remedy(error))) {
        Ok(()) => raised,
        Err(other) => other,
    }
}

/// What the program would print of an error, without its `error:`.
pub fn words(error: &Error) -> String {
    let causes = chain(error).skip(1).map(|cause| format!("\n  because: {cause}"));
    let help = remedy(error).map(|remedy| format!("\n  help: {remedy}"));
    std::iter::once(error.to_string()).chain(causes).chain(help).collect()
}

/// The first remedy that is known.
fn remedy(error: &Error) -> Option<String> {
    let own = chain(error).filter_map(|cause| cause.downcast_ref::<Error>());
    own.filter_map(Error::remedy).map(str::to_owned).next()
}

/// A request that contradicts itself.
pub fn usage(message: &str) -> Error {
    Error::new(Kind::Usage, message)
}

/// An error, and what caused it.
fn chain(error: &Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source())
}
