//! Owns saying what a backbone or a run is, in one screen.
//!
//! Refuses to change or run anything it describes (except `doctor`, which loads a graph to see where its nodes run).

pub mod doctor;

use std::path::Path;

use serde::Serialize;

use crate::backbone::{Backbone, MANIFEST, Manifest};
use crate::classifier::Run;
use crate::classifier::run::{RECIPE, Recipe};
use crate::error::{Error, Kind, Result};

/// What lies at a path.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Description {
    /// A backbone directory, all its hashes checked.
    Backbone { fingerprint: String, bytes: u64, manifest: Box<Manifest> },
    /// A run directory.
    Run { recipe: Box<Recipe>, heads: Vec<HeadDescription> },
}

/// One head of a run.
#[derive(Debug, Serialize)]
pub struct HeadDescription {
    pub task: String,
    pub labels: Vec<String>,
    pub features: usize,
    pub parameters: usize,
}

/// Describes a backbone directory or a run directory.
///
/// # Errors
/// It is neither, or it is damaged.
pub fn describe(path: &Path) -> Result<Description> {
    if path.join(MANIFEST).is_file() {
        let backbone = Backbone::open(path)?;
        let files = backbone.manifest().files.keys();
        let bytes =
            files.filter_map(|name| std::fs::metadata(path.join(name)).ok()).map(|file| file.len()).sum();
        return Ok(Description::Backbone {
            fingerprint: backbone.manifest().fingerprint().to_string(),
            bytes,
            manifest: Box::new(backbone.manifest().clone()),
        });
    }
    if path.join(RECIPE).is_file() {
        let Run { recipe, heads, .. } = Run::open(path)?;
        let heads = heads
            .into_iter()
            .map(|head| HeadDescription {
                parameters: head.weights.len() + head.bias.len(),
                task: head.task,
                labels: head.labels,
                features: head.features,
            })
            .collect();
        return Ok(Description::Run { recipe: Box::new(recipe), heads });
    }
    let what = if path.exists() { "this is neither a backbone nor a run" } else { "there is nothing here" };
    Err(Error::new(Kind::Usage, what)
        .at(path)
        .expected("a directory made by `frosthead import` or `frosthead train`")
        .help("check the path"))
}
