//! Owns run → bundle: which network, which heads, and what each sees.
//!
//! Refuses a run that cannot read texts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::run::Run;
use crate::backbone::Backbone;
use crate::bundle::{BundleRequest, SeenHead, Validation, Variant, Written, write_bundle};
use crate::error::{Error, Kind, Result};
use crate::heads::Head;
use crate::runtime::Runtime;

/// How a run is bundled.
#[derive(Debug, Clone, Default)]
pub struct BundleOptions {
    /// Where the backbone lies, when it is not where the run says.
    pub backbone: Option<PathBuf>,
    /// A minisign secret key to sign the bundle with.
    pub sign: Option<PathBuf>,
    /// Replace another file.
    pub overwrite: bool,
    /// Keep layers that no head sees, and with them the sentence embedding.
    pub keep_embedding: bool,
    /// Layers that are run, where a lesser depth than the run's was chosen: `variant` has heads for it.
    pub depth: Option<usize>,
    /// The network and its heads in another precision than the run's own.
    pub variant: Option<Variant>,
    /// Validation rows to carry along, as the heads see them in that precision.
    pub validation: Option<Validation>,
}

/// A run's heads with what they see. A head on features made elsewhere has no choice, and its run no
/// backbone.
fn seen(run: &Run) -> Vec<SeenHead> {
    let seen =
        |head: &Head| SeenHead { head: head.clone(), sees: run.choice(&head.task).unwrap_or_default() };
    run.heads.iter().map(seen).collect()
}

impl Run {
    /// The backbone as it is deployed: without the layers that no head sees, unless its sentence embedding is
    /// to be kept.
    ///
    /// # Errors
    /// As [`Self::backbone`]; or it was trained at a depth, and has no sentence embedding to keep.
    pub fn deployed_backbone(&self, elsewhere: Option<&Path>, keep_embedding: bool) -> Result<Backbone> {
        let backbone = self.backbone(elsewhere)?;
        if keep_embedding && let Some(depth) = backbone.depth() {
            return Err(Error::new(Kind::Usage, "there is no sentence embedding to keep")
                .at(&self.directory)
                .found(format!("--keep-embedding, and a run at depth {depth}"))
                .expected("a run of the whole network")
                .help("leave --keep-embedding away, or train without --depth"));
        }
        match backbone.layers() {
            Some(layers) if !keep_embedding && backbone.is_cut_anywhere() => {
                let tops = self.heads.iter().filter_map(|head| self.choice(&head.task));
                backbone.to_depth(tops.map(|choice| choice.top(layers)).max().unwrap_or(layers))
            }
            _ => Ok(backbone),
        }
    }
}

/// Writes a run and its backbone into one file. The run's features were made from texts, or it has no
/// backbone to bundle.
///
/// # Errors
/// The run or its backbone is missing or damaged, another file is there, or running or writing fails.
pub fn bundle_run(run: &Path, out: &Path, options: &BundleOptions, runtime: &Runtime) -> Result<Written> {
    let run = Run::open(run)?;
    let elsewhere = options.backbone.as_deref();
    let backbone = Arc::new(match options.depth {
        Some(depth) => run.backbone(elsewhere)?.to_depth(depth)?,
        None => run.deployed_backbone(elsewhere, options.keep_embedding)?,
    });
    let request = BundleRequest {
        backbone: &backbone,
        variant: match &options.variant {
            Some(variant) => variant.clone(),
            None => Variant::fp32(&backbone, seen(&run))?,
        },
        long: run.recipe.features.long,
        text: run.recipe.data.text.clone(),
        validation: options.validation.as_ref(),
        origin: None,
        sign: options.sign.clone(),
        overwrite: options.overwrite,
    };
    write_bundle(out, &request, runtime)
}
