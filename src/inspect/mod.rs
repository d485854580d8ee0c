//! Owns saying what a backbone, a run or a bundle is, in one screen.
//!
//! Refuses to change or run anything it describes (except `doctor`, which loads a graph to see where its
//! nodes run).

pub mod doctor;
pub mod fit;

use std::path::Path;

use serde::Serialize;

use crate::backbone::{Backbone, Manifest};
use crate::bundle::{self, Bundle, Calibration, Kept, PublicKey};
use crate::classifier::run::Recipe;
use crate::classifier::{Run, refuse_unsigned};
use crate::error::Result;
use crate::heads::Head;
use crate::recognize::{Thing, Wanted};

/// What lies at a path.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Description {
    /// A backbone directory, all its hashes checked.
    Backbone { fingerprint: String, bytes: u64, manifest: Box<Manifest> },
    /// A bundle, everything in it checked.
    Bundle(Box<BundleDescription>),
    /// A run directory.
    Run { recipe: Box<Recipe>, heads: Vec<HeadDescription> },
}

/// What a bundle is.
#[derive(Debug, Serialize)]
pub struct BundleDescription {
    /// Names this very bundle; `serve` puts it into every answer.
    pub fingerprint: String,
    pub bytes: u64,
    /// Whether a signature lies beside it.
    pub signature: bool,
    /// Whether that was proven to be the asked-for signer's.
    pub trusted: bool,
    pub manifest: bundle::Manifest,
    pub heads: Vec<HeadDescription>,
    /// Per head.
    pub calibration: Vec<Calibration>,
    /// Validation rows whose features it carries.
    pub validation_rows: usize,
    /// Everything that is in it.
    pub kept: Vec<Kept>,
}

/// One head of a run.
#[derive(Debug, Serialize)]
pub struct HeadDescription {
    pub task: String,
    pub labels: Vec<String>,
    pub features: usize,
    pub parameters: usize,
}

/// Describes a backbone directory, a run directory or a bundle; with a key, only a bundle that was signed
/// with it.
///
/// # Errors
/// It is none of them, it is damaged, or it is not signed.
pub fn describe(path: &Path, key: Option<&PublicKey>) -> Result<Description> {
    if Thing::of(path) == Thing::Bundle {
        let bundle = Bundle::open(path, key)?;
        return Ok(Description::Bundle(Box::new(BundleDescription {
            fingerprint: bundle.fingerprint().to_string(),
            bytes: bundle.bytes(),
            signature: bundle.has_signature(),
            trusted: key.is_some(),
            manifest: bundle.manifest().clone(),
            heads: bundle.heads().iter().map(HeadDescription::of).collect(),
            calibration: bundle.calibration().to_vec(),
            validation_rows: bundle.validation()?.map_or(0, |validation| validation.rows()),
            kept: bundle.kept(),
        })));
    }
    refuse_unsigned(path, key)?;
    match Thing::of(path) {
        Thing::Backbone => {
            let backbone = Backbone::open(path)?;
            let files = backbone.manifest().files.keys();
            let bytes =
                files.filter_map(|name| std::fs::metadata(path.join(name)).ok()).map(|file| file.len()).sum();
            Ok(Description::Backbone {
                fingerprint: backbone.manifest().fingerprint().to_string(),
                bytes,
                manifest: Box::new(backbone.manifest().clone()),
            })
        }
        Thing::Run => {
            let Run { files, recipe, heads, .. } = Run::open(path)?;
            files.check_all()?;
            let heads = heads.iter().map(HeadDescription::of).collect();
            Ok(Description::Run { recipe: Box::new(recipe), heads })
        }
        thing => Err(thing.instead_of(Wanted::Made, Some(path))),
    }
}

impl HeadDescription {
    fn of(head: &Head) -> Self {
        Self {
            parameters: head.weights.len() + head.bias.len(),
            task: head.task.clone(),
            labels: head.labels.clone(),
            features: head.features,
        }
    }
}
