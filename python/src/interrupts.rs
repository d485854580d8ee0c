//! Owns Ctrl-C: a call that computes asks the interpreter now and then whether somebody wants it to stop.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use frosthead::{Error, Result};
use pyo3::prelude::*;

use crate::errors::{raised, usage};

/// How long an interrupt may wait to be noticed; asking takes the interpreter from other threads.
const PATIENCE: Duration = Duration::from_millis(50);

/// What unwinds after an interrupt.
struct Interrupted;

/// What was heard of interrupts during a call.
pub struct Interrupts {
    asked: Instant,
    heard: Option<PyErr>,
}

impl Interrupts {
    fn new() -> Self {
        Self { asked: Instant::now(), heard: None }
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// There was an interrupt, or another signal whose handler raised something.
    pub fn check(&mut self) -> Result<()> {
        if self.asked.elapsed() < PATIENCE {
            return Ok(());
        }
        self.asked = Instant::now();
        Python::attach(|py| py.check_signals()).map_err(|heard| {
            self.heard = Some(heard);
            usage("interrupted")
        })
    }
}

impl Interrupts {
    /// Ends the work from within a callback that cannot end it by what it returns: the stack is unwound up to
    /// [`without_interpreter`], and what was begun is left as after a failure.
    pub fn check_or_unwind(&mut self) {
        if self.check().is_err() {
            resume_unwind(Box::new(Interrupted));
        }
    }

    /// Whether there was one.
    pub fn were_heard(&self) -> bool {
        self.heard.is_some()
    }
}

/// Does `work` while other Python threads run; what a signal's handler raises meanwhile ends it.
///
/// # Errors
/// `work` fails, or there was an interrupt.
pub fn without_interpreter<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut Interrupts) -> Result<T> + Send,
) -> PyResult<T> {
    let mut interrupts = Interrupts::new();
    let result = py.detach(|| catch_unwind(AssertUnwindSafe(|| work(&mut interrupts))));
    let result: Result<T, Error> = result.unwrap_or_else(|unwound| {
        if unwound.is::<Interrupted>() { Err(usage("interrupted")) } else { resume_unwind(unwound) }
    });
    result.map_err(|error| interrupts.heard.take().unwrap_or_else(|| raised(py, &error)))
}
