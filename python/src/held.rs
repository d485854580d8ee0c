//! Owns an opened model in a process: opened where it is used, never carried from one process into another.
//!
//! A fork copies a model's memory without the threads that work on it: what a process has not opened itself
//! it neither asks nor takes apart; it opens the file again. A pickle is a path, options and a fingerprint.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use frosthead::internal::fingerprint::Fingerprint;
use frosthead::{Error, Kind, Result};
use pyo3::prelude::*;

use crate::errors::raised;

/// What can be opened again by its options.
pub trait Reopen: Send + Sync + Sized + 'static {
    /// How it is opened.
    type Options: Send + Sync;

    /// Opens it.
    ///
    /// # Errors
    /// It is missing or damaged, or cannot be run.
    fn open(options: &Self::Options) -> Result<Self>;

    /// Names what it computes.
    ///
    /// # Errors
    /// It cannot be read.
    fn fingerprint(&self) -> Result<Fingerprint>;
}

/// Something that this process has opened, or another one before it forked.
pub struct Opened<T> {
    process: u32,
    model: ManuallyDrop<T>,
}

impl<T> Opened<T> {
    fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }
}

impl<T> Deref for Opened<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.model
    }
}

impl<T> Drop for Opened<T> {
    fn drop(&mut self) {
        if self.is_ours() {
            // SAFETY: it is dropped here and nowhere else, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.model) };
        }
        // Another process's threads, which its end would wait for, are not here: its memory is left alone.
    }
}

/// A model with all that is needed to open it again.
pub struct Held<T: Reopen> {
    options: T::Options,
    fingerprint: String,
    /// Locked for a moment, and never without the interpreter: at a fork nobody holds it.
    opened: Mutex<Arc<Opened<T>>>,
}

impl<T: Reopen> Held<T> {
    /// Opens a model; with a fingerprint, only that one.
    ///
    /// # Errors
    /// As [`Reopen::open`], or it is another model.
    pub fn open(py: Python<'_>, options: T::Options, wanted: Option<String>) -> PyResult<Self> {
        let opened = py.detach(|| open_checked::<T>(&options, wanted.as_deref()));
        let (opened, fingerprint) = opened.map_err(|error| raised(py, &error))?;
        Ok(Self { options, fingerprint, opened: Mutex::new(Arc::new(opened)) })
    }

    /// How it was opened.
    pub fn options(&self) -> &T::Options {
        &self.options
    }

    /// Its fingerprint.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The model, opened anew when this process is a fork of the one that opened it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn get(&self, py: Python<'_>) -> PyResult<Arc<Opened<T>>> {
        let lock = || self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = Arc::clone(&lock());
        if opened.is_ours() {
            return Ok(opened);
        }
        let again = py.detach(|| open_checked::<T>(&self.options, Some(&self.fingerprint)));
        let again = Arc::new(again.map_err(|error| raised(py, &error))?.0);
        *lock() = Arc::clone(&again);
        Ok(again)
    }
}

fn open_checked<T: Reopen>(options: &T::Options, wanted: Option<&str>) -> Result<(Opened<T>, String)> {
    let model = ManuallyDrop::new(T::open(options)?);
    let opened = Opened { process: std::process::id(), model };
    let found = opened.fingerprint()?.to_string();
    match wanted {
        Some(wanted) if wanted != found => Err(Error::new(
            Kind::Model,
            "this is not the model that was asked for",
        )
        .found(format!("fingerprint {found}"))
        .expected(wanted)
        .help(
            "open it by its path alone, or put the file back that was there when its fingerprint was taken",
        )),
        _ => Ok((opened, found)),
    }
}
