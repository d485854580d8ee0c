//! Owns writing a bundle: the heads go behind the backbone's graph, the weights into one entry, and what the
//! finished network says of the golden sentences beside them.
//!
//! The same run gives the same bytes. Refuses to leave half a file behind.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive_writer::{ArchiveWriter, unwritable};
use super::assemble::{DeployedHead, append_heads, lay_out};
use super::contents::{Golden, Manifest, Refit, TaskManifest, WordsManifest, format_for};
use super::entries::{
    CALIBRATION, CHECKSUMS, COMPACT, DATA, GOLDEN, GRAPH, LABELS, MANIFEST, RANGES, TOKENIZER, VALIDATION,
    limit,
};
use super::network::{bind, row_parts, without_heads};
use super::self_test::{golden, sentences};
use super::signature::{Signed, put_beside};
use super::{Bundle, Validation, tokenizer};
use crate::backbone::Backbone;
use crate::data::TextColumns;
use crate::document;
use crate::embed::{EmbedOptions, Extractor, RowLayout, RowParts};
use crate::encoder::FeatureChoice;
use crate::error::{Error, Kind, Result};
use crate::files;
use crate::fingerprint::Fingerprint;
use crate::graph::{self, ModelProto};
use crate::heads::{Believed, Head};
use crate::runtime::{Runtime, Sessions};
use crate::text::{OwnedText, as_texts};
use crate::tokens::{CompactForm, FEWEST_PIECES, LongTexts};

/// How far a network that multiplies floats (fp32, w8) may be off on another processor, as a share of a golden
/// vector's largest number: far more than another order of sums does (2e-6 was seen), far less than a wrong
/// operator.
pub const FLOAT_TOLERANCE: f32 = 1e-4;

/// A head and what it sees of a text.
#[derive(Debug, Clone)]
pub struct SeenHead {
    pub head: Head,
    pub sees: FeatureChoice,
}

/// A network in one precision, without its heads.
#[derive(Debug, Clone)]
pub struct Variant {
    /// Its name, such as `fp32`.
    pub precision: String,
    /// What else there is to say of it, for the manifest.
    pub details: BTreeMap<String, serde_json::Value>,
    /// Inputs `input_ids` and `attention_mask`, and `token_type_ids` where it reads pairs and the network has
    /// token types; outputs `embedding` `[batch, hidden]`, where no layer was
    /// left away, and, where a head sees layers, `layer_means` `[batch, (layers + 1) · hidden]`. Tensors may
    /// be in the model or in files in `folder`.
    pub model: ModelProto,
    /// Where the model's external data lies.
    pub folder: PathBuf,
    /// The heads, fitted on this network's features, in the order of the tasks.
    pub heads: Vec<SeenHead>,
    /// See [`Manifest::tolerance`].
    pub tolerance: f32,
    /// The ranges that its 8-bit steps come from, in the form in which they are kept.
    pub ranges: Option<Vec<u8>>,
}

impl Variant {
    /// The network as it was trained.
    ///
    /// # Errors
    /// Its graph cannot be built.
    pub fn fp32(backbone: &Backbone, heads: Vec<SeenHead>) -> Result<Self> {
        let layout = row_layout(backbone, &heads);
        if backbone.config().is_some() {
            // A bundle in another precision has no 32-bit weights to go back to.
            backbone.network()?;
        }
        Ok(Self {
            precision: "fp32".to_owned(),
            details: BTreeMap::new(),
            model: graph::decode(&backbone.inference_graph(layout.outputs())?)?,
            folder: backbone.weights_folder().to_path_buf(),
            heads,
            tolerance: FLOAT_TOLERANCE,
            ranges: None,
        })
    }

    /// The network of a bundle as it is there, with other heads.
    ///
    /// # Errors
    /// The file cannot be read, or was changed.
    pub fn of_bundle(bundle: &Bundle, heads: Vec<SeenHead>) -> Result<Self> {
        let manifest = bundle.manifest();
        Ok(Self {
            precision: manifest.precision.clone(),
            details: manifest.details.clone(),
            model: without_heads(&bundle.graph),
            folder: bundle.place.parent().unwrap_or(Path::new("/")).to_path_buf(),
            heads,
            tolerance: manifest.tolerance,
            ranges: bundle.ranges()?,
        })
    }
}

/// The bundle that another one is made from, with heads of its own.
pub struct Origin<'r> {
    pub bundle: &'r Bundle,
    /// The tasks whose heads were fitted, and on how many rows; the others' are the bundle's.
    pub tasks: BTreeMap<String, u64>,
}

/// What goes into a bundle.
pub struct BundleRequest<'r> {
    pub backbone: &'r Arc<Backbone>,
    pub variant: Variant,
    pub long: LongTexts,
    /// The column that the texts were in which it was trained on, or both of pairs, if they are known.
    pub text: Option<TextColumns>,
    /// Texts that a compact tokenizer is tried on, beside those that always are.
    pub texts: &'r [OwnedText],
    /// Validation rows to carry along.
    pub validation: Option<&'r Validation>,
    /// The bundle whose backbone, unchanged, this is; none when it is made of a run.
    pub origin: Option<&'r Origin<'r>>,
    /// A minisign secret key to sign the bundle with.
    pub sign: Option<PathBuf>,
    pub overwrite: bool,
}

/// The outcome of [`write_bundle`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The same bundle was there already.
    pub up_to_date: bool,
    /// Why a large vocabulary is not there in a compact form, if it is not.
    pub not_compact: Option<String>,
}

/// Writes a bundle, and its signature beside it; an old signature goes away.
///
/// # Errors
/// Another file is there and may not be replaced, the parts do not fit, or running or writing fails.
pub fn write_bundle(path: &Path, request: &BundleRequest<'_>, runtime: &Runtime) -> Result<Written> {
    let mut outcome = Written { up_to_date: false, not_compact: None };
    // The same run gives the same bytes, so a bundle that is there is compared with the one that would be.
    let there = path.exists().then(|| Fingerprint::of_file(path)).transpose()?;
    let written = files::replace_file(path, |file, temporary| {
        outcome.not_compact = write_archive(file, temporary, request, runtime)?;
        request.backbone.held().check_places()?;
        let bundle = Bundle::open(temporary, None)?;
        request.origin.map_or(Ok(()), |origin| check_backbone(origin.bundle, &bundle))?;
        match there {
            Some(there) if there == Fingerprint::of_file(temporary)? => outcome.up_to_date = true,
            Some(_) if !request.overwrite => {
                return Err(Error::new(Kind::Exists, "the output exists and was made from something else")
                    .at(path)
                    .help("choose another --out, or say --overwrite"));
            }
            _ => {}
        }
        Ok(())
    });
    written?;
    put_beside(Signed::Bundle, path, request.sign.as_deref(), outcome.up_to_date)?;
    Ok(outcome)
}

/// Refuses a bundle whose backbone is not that of the one it was made from.
fn check_backbone(origin: &Bundle, written: &Bundle) -> Result<()> {
    let (before, after) = (origin.backbone_fingerprint()?, written.backbone_fingerprint()?);
    if before == after {
        return Ok(());
    }
    Err(Error::new(Kind::Bundle, "the backbone was changed while its bundle was read")
        .at(origin.path())
        .found(format!("hash {}", after.told_from(&before)))
        .expected(before.told_from(&after))
        .help("let nothing write to the bundle, and run the command again"))
}

/// What a graph for these heads gives: the backbone is no deeper than one of them sees, or shall be whole.
fn row_layout(backbone: &Backbone, heads: &[SeenHead]) -> RowLayout {
    let layers = heads.iter().any(|head| head.sees != FeatureChoice::Last);
    RowLayout::of(backbone, if layers { FeatureChoice::All } else { FeatureChoice::Last })
}

/// The parts of a request, brought together.
struct Assembly<'r> {
    request: &'r BundleRequest<'r>,
    manifest: Manifest,
    tokenizer: Vec<u8>,
    compact: CompactForm,
    parts: RowParts,
}

impl<'r> Assembly<'r> {
    fn new(request: &'r BundleRequest<'r>, threads: usize) -> Result<Self> {
        let BundleRequest { backbone, variant, .. } = request;
        let max_length = backbone.manifest().preparation.max_length;
        let own = backbone.tokenizer_bytes()?;
        let (tokenizer, original) =
            tokenizer::deployed(&own, max_length).map_err(|error| error.at(backbone.directory()))?;
        let compact = CompactForm::of(&own, backbone.tokenizer(), FEWEST_PIECES, threads, request.texts);
        let tasks = variant.heads.iter().map(|SeenHead { head, sees }| TaskManifest {
            task: head.task.clone(),
            kind: head.kind,
            features: *sees,
            width: head.features,
            words: head.words.as_ref().map(|words| WordsManifest {
                places: words.grams.clone(),
                rows: words.rows(),
                renumbered: words.grams.ids.is_some(),
            }),
        });
        let (text, second_text) = match &request.text {
            Some(columns) => (Some(columns.first.clone()), columns.second.clone()),
            None => (None, None),
        };
        let text = text.filter(|name| name != TextColumns::DEFAULT);
        let mut manifest = Manifest {
            format: format_for(
                [text.as_deref(), second_text.as_deref()],
                backbone.part_of(),
                variant.heads.iter().map(|seen| &seen.head),
                [matches!(compact, CompactForm::Proven(_)), variant.ranges.is_some()],
            ),
            frosthead: env!("CARGO_PKG_VERSION").to_owned(),
            precision: variant.precision.clone(),
            details: variant.details.clone(),
            tasks: tasks.collect(),
            long: request.long,
            text,
            second_text,
            tolerance: variant.tolerance,
            backbone: backbone.deployed_manifest(),
            part_of: backbone.part_of(),
            changed: backbone.ever_changed(),
            refits: Vec::new(),
            tokenizer: original,
        };
        if let Some(Origin { bundle, tasks }) = request.origin {
            manifest.refits.clone_from(&bundle.manifest().refits);
            manifest.refits.push(Refit { from: bundle.fingerprint(), tasks: tasks.clone() });
        }
        let parts = row_parts(manifest.embedding_size(), variant.heads.iter().map(|seen| &seen.head));
        Ok(Self { request, manifest, tokenizer, compact, parts })
    }

    /// The graph with its heads; its weights still lie where they lay.
    fn model(&self) -> Result<ModelProto> {
        let BundleRequest { backbone, variant, .. } = self.request;
        let layout = row_layout(backbone, &variant.heads);
        let deployed =
            |seen: &'r SeenHead| Ok(DeployedHead { head: &seen.head, columns: layout.columns(seen.sees)? });
        let heads = variant.heads.iter().map(deployed);
        let mut model = variant.model.clone();
        let (hidden, means) = (layout.embedding().len(), layout.means(layout.levels()).len());
        append_heads(&mut model, &heads.collect::<Result<Vec<_>>>()?, hidden, means)?;
        Ok(model)
    }

    fn labels(&self) -> BTreeMap<&str, &[String]> {
        let heads = self.request.variant.heads.iter();
        heads.map(|SeenHead { head, .. }| (head.task.as_str(), head.labels.as_slice())).collect()
    }

    fn calibration(&self) -> BTreeMap<&str, &Believed> {
        let heads = self.request.variant.heads.iter();
        heads.map(|SeenHead { head, .. }| (head.task.as_str(), &head.believed)).collect()
    }

    /// What the network in the unfinished file says of the golden sentences; its weights begin at `start`.
    fn golden(&self, model: ModelProto, file: &Path, start: u64, runtime: &Runtime) -> Result<Vec<Golden>> {
        let mut model = model;
        let (folder, name) = (file.parent().unwrap_or(Path::new(".")), file.file_name().unwrap_or_default());
        bind(&mut model, u64::from(u32::MAX), &name.to_string_lossy(), start)?;
        let session = runtime.session_from_memory(&graph::encode(&model), folder)?;
        let options = EmbedOptions { long: self.request.long, ..EmbedOptions::default() };
        let backbone = Arc::clone(self.request.backbone);
        let sessions = Sessions::one(session);
        let mut extractor = Extractor::with_sessions(backbone, sessions, self.parts.clone(), &options)?;
        let tasks: Vec<String> = self.manifest.tasks.iter().map(|task| task.task.clone()).collect();
        match self.request.origin {
            Some(origin) => origin.golden(&mut extractor, &tasks),
            None => golden(&mut extractor, &tasks, &sentences(self.manifest.reads_pairs())),
        }
    }
}

impl Bundle {
    /// The heads with what they see.
    #[must_use]
    pub fn seen_heads(&self) -> Vec<SeenHead> {
        let seen = |head: &Head| {
            let task = self.manifest().tasks.iter().find(|task| task.task == head.task);
            SeenHead { head: head.clone(), sees: task.map(|task| task.features).unwrap_or_default() }
        };
        self.heads.iter().map(seen).collect()
    }
}

impl Origin<'_> {
    /// What the network says of the bundle's golden sentences. Of what was not fitted anew the bundle's own
    /// numbers stay, so that they are compared, for ever, with those of the machine that the backbone comes
    /// from.
    fn golden(&self, extractor: &mut Extractor, tasks: &[String]) -> Result<Vec<Golden>> {
        let kept = &self.bundle.contents.golden;
        let mut found = golden(extractor, tasks, &as_texts(kept))?;
        for (found, kept) in found.iter_mut().zip(kept) {
            found.embedding.clone_from(&kept.embedding);
            for (head, logits) in self.bundle.heads.iter().zip(&kept.logits) {
                let place = tasks.iter().position(|task| *task == head.task);
                if let Some(place) = place.filter(|_| !self.tasks.contains_key(&head.task)) {
                    found.logits[place].clone_from(logits);
                }
            }
        }
        Ok(found)
    }
}

/// The entry of the validation rows.
fn validation_bytes(validation: &Validation) -> Result<Vec<u8>> {
    let (bytes, most) = (validation.to_bytes(), limit(VALIDATION));
    if bytes.len() as u64 <= most {
        return Ok(bytes);
    }
    Err(Error::new(Kind::Usage, "the validation rows are too many for a bundle")
        .found(format!("{} bytes of features", bytes.len()))
        .expected(format!("at most {most}"))
        .help("leave --keep-validation away, or train the run with a smaller --valid-fraction"))
}

/// Writes the archive into an empty file, whose name is `path` for now; why it has no compact tokenizer where
/// it should have one.
fn write_archive(
    file: &mut File,
    path: &Path,
    request: &BundleRequest<'_>,
    runtime: &Runtime,
) -> Result<Option<String>> {
    let assembly = Assembly::new(request, runtime.threads())?;
    let mut archive = ArchiveWriter::new(BufWriter::new(file));
    let mut checksums = BTreeMap::new();
    let small = [
        (MANIFEST, document::pretty(&assembly.manifest).into_bytes()),
        (LABELS, document::pretty(&assembly.labels()).into_bytes()),
        (CALIBRATION, document::pretty(&assembly.calibration()).into_bytes()),
        (TOKENIZER, assembly.tokenizer.clone()),
    ];
    for (name, bytes) in &small {
        checksums.insert(*name, archive.add(name, put(bytes))?);
    }
    if let CompactForm::Proven(bytes) = &assembly.compact {
        checksums.insert(COMPACT, archive.add(COMPACT, put(bytes))?);
    }
    let mut model = assembly.model()?;
    let data = archive.add(DATA, |out| lay_out(&mut model, &request.variant.folder, out))?;
    checksums.insert(DATA, data);
    checksums.insert(GRAPH, archive.add(GRAPH, put(&graph::encode(&model)))?);
    archive.flush()?;
    let start = archive.start(DATA).unwrap_or(0);
    let golden = document::pretty(&assembly.golden(model, path, start, runtime)?);
    checksums.insert(GOLDEN, archive.add(GOLDEN, put(golden.as_bytes()))?);
    if let Some(validation) = request.validation {
        let bytes = validation_bytes(validation)?;
        checksums.insert(VALIDATION, archive.add(VALIDATION, put(&bytes))?);
    }
    if let Some(ranges) = &request.variant.ranges {
        checksums.insert(RANGES, archive.add(RANGES, put(ranges))?);
    }
    archive.add(CHECKSUMS, put(document::pretty(&checksums).as_bytes()))?;
    archive.finish()?;
    Ok(match assembly.compact {
        CompactForm::Refused(why) => Some(why),
        CompactForm::Needless | CompactForm::Proven(_) => None,
    })
}

fn put(bytes: &[u8]) -> impl FnOnce(&mut dyn Write) -> Result<()> + '_ {
    |out| out.write_all(bytes).map_err(unwritable)
}
