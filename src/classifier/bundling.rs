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
use crate::text::OwnedText;

/// A part of a run's backbone, in some precision, and the heads on it.
#[derive(Clone)]
pub struct Deployed {
    /// What is left of the backbone.
    pub backbone: Arc<Backbone>,
    /// Its network and its heads.
    pub variant: Variant,
}

/// How a run is bundled.
#[derive(Clone, Default)]
pub struct BundleOptions {
    /// Where the backbone lies, when it is not where the run says.
    pub backbone: Option<PathBuf>,
    /// A minisign secret key to sign the bundle with.
    pub sign: Option<PathBuf>,
    /// Replace another file.
    pub overwrite: bool,
    /// Keep layers that no head sees, and with them the sentence embedding.
    pub keep_embedding: bool,
    /// What is deployed instead of the run's own network and heads.
    pub deployed: Option<Deployed>,
    /// Texts that a compact tokenizer is tried on, beside those that always are.
    pub texts: Vec<OwnedText>,
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
        let layers = backbone.layers().filter(|_| backbone.is_cut_anywhere()).unwrap_or(0);
        let tops = self.heads.iter().filter_map(|head| self.choice(&head.task));
        let top = tops.map(|choice| choice.top(layers)).max().unwrap_or(layers);
        match (keep_embedding, top < layers) {
            (false, true) => backbone.to_depth(top),
            (false, false) | (true, true) => Ok(backbone),
            (true, false) => Err(Error::new(Kind::Usage, "--keep-embedding has no effect here")
                .at(&self.directory)
                .found("a head that sees the highest layer, so that all layers are kept anyway")
                .help("leave --keep-embedding away")),
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
    let Deployed { backbone, variant } = match &options.deployed {
        Some(deployed) => deployed.clone(),
        None => {
            let backbone = run.deployed_backbone(options.backbone.as_deref(), options.keep_embedding)?;
            let variant = Variant::fp32(&backbone, seen(&run))?;
            Deployed { backbone: Arc::new(backbone), variant }
        }
    };
    let request = BundleRequest {
        backbone: &backbone,
        variant,
        long: run.recipe.features.long,
        text: run.recipe.data.text_columns(),
        texts: &options.texts,
        validation: options.validation.as_ref(),
        origin: None,
        sign: options.sign.clone(),
        overwrite: options.overwrite,
    };
    write_bundle(out, &request, runtime)
}
