//! Owns what reads texts for a run: the backbone's graph, and, for heads that look at words, what these add behind it.
//!
//! Refuses runs with words where training is not built in: their bundles are read everywhere.

use std::sync::Arc;

use super::Run;
use crate::backbone::Backbone;
#[cfg(feature = "train")]
use crate::bundle::append_words;
use crate::embed::{EmbedOptions, Extractor};
#[cfg(feature = "train")]
use crate::embed::{RowLayout, RowParts};
#[cfg(feature = "train")]
use crate::encoder::ports;
use crate::error::Result;
#[cfg(not(feature = "train"))]
use crate::error::{Error, Kind};
#[cfg(feature = "train")]
use crate::graph;
#[cfg(feature = "train")]
use crate::heads::{Head, Words};
use crate::runtime::Runtime;

/// What reads texts for a run: rows of its features, and of what its heads' words add to their logits.
pub(super) fn extractor_of_run(
    run: &Run,
    backbone: Arc<Backbone>,
    runtime: &Runtime,
    reading: &EmbedOptions,
) -> Result<Extractor> {
    if run.heads.iter().all(|head| head.words.is_none()) {
        return Extractor::new(backbone, runtime, reading);
    }
    #[cfg(not(feature = "train"))]
    return Err(Error::new(Kind::Run, "this build reads texts for runs without words only")
        .at(&run.directory)
        .help("bundle the run: frosthead bundle RUN --out x.frost"));
    #[cfg(feature = "train")]
    with_words(run, backbone, runtime, reading)
}

/// The same for heads of which some look at words.
#[cfg(feature = "train")]
fn with_words(
    run: &Run,
    backbone: Arc<Backbone>,
    runtime: &Runtime,
    reading: &EmbedOptions,
) -> Result<Extractor> {
    let layout = RowLayout::of(&backbone, reading.stored);
    let mut model = graph::decode(&backbone.inference_graph(layout.outputs())?)?;
    append_words(&mut model, &run.heads)?;
    let sessions = backbone.sessions_of(runtime, &graph::encode(&model))?;
    let of_words = |head: &Head| (ports::words(&head.task), head.words.as_ref().map_or(0, Words::classes));
    let parts = RowParts::of(&layout).and(run.heads.iter().map(of_words));
    Extractor::with_sessions(backbone, sessions, parts, reading)
}
