//! Owns what arguments several calls share: paths, and how the network is run.

use std::path::{Path, PathBuf};

use frosthead::{Result, RuntimeOptions};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::raised;

/// How the network is run, as it was asked for.
#[derive(Clone)]
pub struct Running {
    pub threads: Option<usize>,
    pub device: String,
    pub onnxruntime: Option<PathBuf>,
    /// The library of the package `onnxruntime`, where nothing else was said.
    package: Option<PathBuf>,
}

impl Running {
    /// The package is looked for, not imported.
    ///
    /// # Errors
    /// The interpreter's search for it fails.
    pub fn new(
        py: Python<'_>,
        threads: Option<usize>,
        device: &str,
        onnxruntime: Option<PathBuf>,
    ) -> PyResult<Self> {
        let package = if onnxruntime.is_none() { package_library(py)? } else { None };
        Ok(Self { threads, device: device.to_owned(), onnxruntime, package })
    }

    /// The same for the library.
    ///
    /// # Errors
    /// There is no such device.
    pub fn options(&self) -> Result<RuntimeOptions> {
        Ok(RuntimeOptions {
            library: self.onnxruntime.clone().or_else(|| self.package.clone()),
            device: self.device.parse()?,
            threads: self.threads,
        })
    }

    /// As keyword arguments.
    ///
    /// # Errors
    /// The interpreter has no memory left.
    pub fn keywords(&self, keywords: &Bound<'_, PyDict>) -> PyResult<()> {
        keywords.set_item("threads", self.threads)?;
        keywords.set_item("device", &self.device)?;
        keywords.set_item("onnxruntime", self.onnxruntime.as_ref())
    }
}

/// Where the package `onnxruntime` keeps its library, unless the environment names one.
fn package_library(py: Python<'_>) -> PyResult<Option<PathBuf>> {
    py.import("frosthead._onnxruntime")?.call_method0("folder")?.extract()
}

/// A path that means the same after the process has changed its directory.
///
/// # Errors
/// The current directory is gone.
pub fn absolute(py: Python<'_>, path: &Path) -> PyResult<PathBuf> {
    std::path::absolute(path)
        .map_err(|source| raised(py, &frosthead::Error::io("find the current directory", path, source)))
}
