//! Owns that a panic of the Arrow and Parquet libraries is an error: a damaged file must not end the process.
//!
//! Refuses to hide panics elsewhere: only what runs inside [`guarded`] is caught, and only its message is
//! kept from the terminal.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::sync::Once;

use crate::error::{Error, Kind, Result};

thread_local! {
    /// Whether this thread's panics are caught and told as errors.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a piece of reading; a panic in it is an error that names the file. What `read` works on must not be
/// used after that.
///
/// # Errors
/// `read` fails or panics.
pub(super) fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    quieten();
    let before = GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(read));
    GUARDED.set(before);
    outcome.unwrap_or_else(|panic| {
        Err(Error::new(Kind::Table, "the table is damaged, or of a kind that the library cannot read")
            .at(path)
            .found(message(&*panic))
            .help("write it again, with another program or without the column that is at fault"))
    })
}

/// Panics of guarded threads are not printed from now on; all others are, as before.
fn quieten() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                before(info);
            }
        }));
    });
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("an unexpected state").lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_that_names_the_file() {
        let path = Path::new("a.parquet");
        let error = guarded(path, || -> Result<()> { panic!("out of {}", "range") }).unwrap_err().to_string();
        assert!(error.contains("a.parquet") && error.contains("out of range"), "{error}");
        assert_eq!(guarded(path, || Ok(1)).unwrap(), 1);
        assert!(!GUARDED.get());
    }
}
