//! Owns saying what a backbone, a run or a bundle is, in one screen.
//!
//! Refuses to change or run anything it describes (except `doctor`, which loads a graph to see where its
//! nodes run).

pub mod doctor;
pub mod fit;

use std::path::Path;

use serde::Serialize;

use crate::backbone::{Backbone, Manifest};
use crate::bundle::{self, Bundle, Kept, PublicKey};
use crate::classifier::run::Recipe;
use crate::classifier::{Run, refuse_unsigned};
use crate::error::Result;
use crate::heads::{Believed, Head, Words};
use crate::metrics::Interval;
use crate::recognize::{Thing, Wanted};
use crate::task::TaskKind;

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
    pub calibration: Vec<Believed>,
    /// Validation rows whose features it carries.
    pub validation_rows: usize,
    /// Everything that is in it.
    pub kept: Vec<Kept>,
}

/// One head of a run.
#[derive(Debug, Serialize)]
pub struct HeadDescription {
    pub task: String,
    #[serde(skip_serializing_if = "TaskKind::is_default")]
    pub kind: TaskKind,
    pub labels: Vec<String>,
    /// Per label, from which probability on it is answered, where that is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<f32>,
    /// How far a number may be off, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    pub features: usize,
    pub parameters: usize,
    /// Of its words, if it looks at them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<WordsDescription>,
}

/// What a head's words are.
#[derive(Debug, Serialize)]
pub struct WordsDescription {
    /// Pieces with weights, and places of pairs with weights.
    pub pieces: usize,
    pub pairs: usize,
    /// Per label, the pieces that speak for it most, with what each adds to its logits against the mean of
    /// all labels. Pairs are known by a hash: which they were cannot be told.
    pub strongest: Vec<(String, Vec<(String, f32)>)>,
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
            heads: described(bundle.heads(), &|| bundle.own_backbone()),
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
            let run = Run { files, recipe, heads, directory: path.to_path_buf() };
            // Where its backbone is gone, words have no names.
            let heads = described(&run.heads, &|| run.backbone(None));
            Ok(Description::Run { recipe: Box::new(run.recipe), heads })
        }
        thing => Err(thing.instead_of(Wanted::Made, Some(path))),
    }
}

/// Pieces that are shown of a label.
const SHOWN_PIECES: usize = 8;

/// The heads; a backbone is opened only where a head looks at words.
fn described(heads: &[Head], backbone: &dyn Fn() -> Result<Backbone>) -> Vec<HeadDescription> {
    let looks = heads.iter().any(|head| head.words.is_some());
    let backbone = looks.then(|| backbone().ok()).flatten();
    let name = |piece: u32| backbone.as_ref()?.tokenizer().piece(piece);
    heads.iter().map(|head| HeadDescription::of(head, &name)).collect()
}

impl WordsDescription {
    /// What the words of a head are; `name` says what a piece is called, if that is known.
    fn of(words: &Words, labels: &[String], name: &dyn Fn(u32) -> Option<String>) -> Self {
        let (places, weights) = words.weights();
        let rows: Vec<(u32, &[f64])> = places.into_iter().zip(weights.chunks_exact(labels.len())).collect();
        let is_piece = |place: u32| (place as usize) < words.grams.pieces;
        let pieces = rows.iter().filter(|(place, _)| is_piece(*place)).count();
        let strongest = labels.iter().enumerate().map(|(class, label)| {
            // A single number is not compared with others.
            let mean =
                |row: &[f64]| if row.len() > 1 { row.iter().sum::<f64>() / row.len() as f64 } else { 0.0 };
            let above = |row: &[f64]| (row[class] - mean(row)) as f32;
            let mut found: Vec<(u32, f32)> = rows
                .iter()
                .filter(|(place, _)| is_piece(*place))
                .map(|(place, row)| (*place, above(row)))
                .collect();
            found.sort_by(|a, b| b.1.total_cmp(&a.1));
            let named = found.into_iter().filter_map(|(piece, above)| Some((name(piece)?, above)));
            (label.clone(), named.take(SHOWN_PIECES).collect())
        });
        Self { pieces, pairs: rows.len() - pieces, strongest: strongest.collect() }
    }
}

impl HeadDescription {
    fn of(head: &Head, name: &dyn Fn(u32) -> Option<String>) -> Self {
        Self {
            words: head.words.as_ref().map(|words| WordsDescription::of(words, &head.labels, name)),
            parameters: head.weights.len() + head.bias.len(),
            task: head.task.clone(),
            kind: head.kind,
            thresholds: head.believed.thresholds.clone(),
            interval: head.believed.interval,
            labels: head.labels.clone(),
            features: head.features,
        }
    }
}
