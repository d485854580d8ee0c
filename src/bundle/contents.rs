//! Owns the small entries of a bundle: the manifest, labels, calibration, golden vectors and checksums.
//!
//! Refuses unknown entries and fields, a newer format, and small entries that do not fit one another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::archive::{AGAIN, Archive, lie};
use super::entries::{CALIBRATION, CHECKSUMS, COMPACT, ENTRIES, GOLDEN, LABELS, MANIFEST, OPTIONAL, RANGES};
use crate::backbone::{self, PartOf};
use crate::data::TextColumns;
use crate::document;
use crate::encoder::FeatureChoice;
use crate::error::{Kind, Result};
use crate::fingerprint::Fingerprint;
use crate::heads::Believed;
#[cfg(feature = "train")]
use crate::heads::Head;
use crate::task::TaskKind;
use crate::text::{AsText, Text};
use crate::tokens::{Grams, LongTexts, PieceUse};

/// The newest version of the bundle that this program reads; a bundle is written in the oldest one that can
/// say all there is to say.
pub const FORMAT: u32 = WITH_RANGES;
/// The oldest it reads: format 1 knew neither validation rows nor refits.
const OLDEST: u32 = 1;

/// The version in which a bundle with these heads can be written that knows such text columns, whether the
/// backbone is a part of another one, whether there is a compact tokenizer, and whether there are ranges.
#[cfg(feature = "train")]
pub(super) fn format_for<'h>(
    [text, second]: [Option<&str>; 2],
    part_of: Option<PartOf>,
    heads: impl Iterator<Item = &'h Head>,
    [compact, ranges]: [bool; 2],
) -> u32 {
    /// Knows no text column (it was called `text`, or is not known), and whole networks only.
    const BEFORE: u32 = 2;
    /// Knows no words.
    const WITHOUT_WORDS: u32 = 3;
    let least = match (text.is_some() || part_of.is_some(), second.is_some()) {
        _ if ranges => WITH_RANGES,
        _ if compact => COMPACT_TOKENIZER,
        (_, true) => PAIRS,
        (true, false) => WITHOUT_WORDS,
        (false, false) => BEFORE,
    };
    let of_head = |head: &Head| match (head.kind.is_default() && !head.believed.has_limits(), &head.words) {
        (false, _) => KINDS,
        (true, Some(_)) => WITHOUT_PAIRS,
        (true, None) => BEFORE,
    };
    heads.map(of_head).fold(least, u32::max)
}

/// Knows texts only.
#[cfg(feature = "train")]
const WITHOUT_PAIRS: u32 = 4;
/// The first that knows pairs of texts.
const PAIRS: u32 = 5;
/// The first that knows several kinds of tasks, thresholds and intervals.
#[cfg(feature = "train")]
const KINDS: u32 = 6;
/// The first that knows compact tokenizers.
const COMPACT_TOKENIZER: u32 = 7;
/// The first that carries the ranges its 8-bit steps come from.
const WITH_RANGES: u32 = 8;

/// The detail of a precision that says how many bits a number of the word table has, where it has fewer than
/// the precision's own.
pub const TABLE_BITS: &str = "table bits";

/// The detail that says how the texts that a bundle was built with were cut into pieces.
const PIECES: &str = "pieces";

/// The detail of a manifest that says how the texts that a bundle is built with are cut into pieces, for
/// [`Manifest::piece_use`].
#[must_use]
pub fn piece_detail(used: PieceUse) -> (String, serde_json::Value) {
    let PieceUse { texts, words, pieces, unknown } = used;
    let value = serde_json::json!({"texts": texts, "words": words, "pieces": pieces, "unknown": unknown});
    (PIECES.to_owned(), value)
}

/// What a bundle is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the bundle's format.
    pub format: u32,
    /// The version of frosthead that made it.
    pub frosthead: String,
    /// How the network's numbers are kept and computed.
    pub precision: String,
    /// What else there is to say of that precision.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, serde_json::Value>,
    /// In the order of the heads.
    pub tasks: Vec<TaskManifest>,
    /// What happens to texts beyond the model's limit.
    pub long: LongTexts,
    /// The column that the texts were in which it was trained on, when it was not called `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The column of the second texts, of a bundle that reads pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_text: Option<String>,
    /// How far golden vectors may be off on another machine: the largest difference, as a share of the
    /// vector's largest number.
    pub tolerance: f32,
    /// The backbone: its dimensions, how it prepares texts, source and licence, and the hashes of the files
    /// it was made from.
    pub backbone: backbone::Manifest,
    /// What the backbone is a part of, where layers that no head sees, or word pieces, were left away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<PartOf>,
    /// Hash of the tensors that training changed, if it changed any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Fingerprint>,
    /// What was fitted anew since the bundle was made of a run, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refits: Vec<Refit>,
    /// What the backbone's own `tokenizer.json` said of truncation and padding, in its own words.
    pub tokenizer: super::tokenizer::Original,
}

impl Manifest {
    /// The column of the texts, or both of pairs, where they are known.
    #[must_use]
    pub fn text_columns(&self) -> Option<TextColumns> {
        let first = match &self.second_text {
            None => self.text.as_deref()?,
            Some(_) => self.text.as_deref().unwrap_or(TextColumns::DEFAULT),
        };
        Some(TextColumns::new(first, self.second_text.as_deref()))
    }

    /// Whether it reads pairs of texts.
    #[must_use]
    pub fn reads_pairs(&self) -> bool {
        self.second_text.is_some()
    }

    /// Whether what it says of pairs can be.
    fn pairs_can_be(&self) -> bool {
        !self.reads_pairs() || self.format >= PAIRS && self.long == LongTexts::Truncate
    }

    /// Whether there is a sentence embedding: it comes out of the last layer.
    #[must_use]
    pub fn has_embedding(&self) -> bool {
        self.part_of.is_none_or(|whole| self.backbone.layers() == Some(whole.layers))
    }

    /// Numbers of a sentence embedding; none where layers were left away.
    #[must_use]
    pub fn embedding_size(&self) -> usize {
        if self.has_embedding() { self.backbone.embedding_size() } else { 0 }
    }

    /// How the texts that it was built with were cut into pieces, if it says so.
    #[must_use]
    pub fn piece_use(&self) -> Option<PieceUse> {
        PieceUse::deserialize(self.details.get(PIECES)?).ok()
    }

    /// Whether it says nothing of pieces, or what can be.
    fn pieces_can_be(&self) -> bool {
        let can_be = |used: PieceUse| {
            used.unknown <= used.pieces && self.details.get(PIECES) == Some(&piece_detail(used).1)
        };
        self.piece_use().map_or(!self.details.contains_key(PIECES), can_be)
    }

    /// The precision, and how many bits the word table has where these are not the precision's own.
    #[must_use]
    pub fn full_precision(&self) -> String {
        match self.details.get(TABLE_BITS).and_then(serde_json::Value::as_str) {
            None => self.precision.clone(),
            Some(bits) => format!("{}, {bits}-bit table", self.precision),
        }
    }
}

/// How a bundle was made from another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refit {
    /// Hash of the file it was made from.
    pub from: Fingerprint,
    /// The tasks whose heads were fitted, and on how many rows.
    pub tasks: BTreeMap<String, u64>,
}

/// One task of a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskManifest {
    pub task: String,
    #[serde(default, skip_serializing_if = "TaskKind::is_default")]
    pub kind: TaskKind,
    /// What its head sees.
    pub features: FeatureChoice,
    /// Numbers its head sees.
    pub width: usize,
    /// Whether it looks at words, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<WordsManifest>,
}

/// What a head's words are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordsManifest {
    /// Which places there are.
    pub places: Grams,
    /// Pieces and pairs with weights.
    pub rows: usize,
    /// Whether pairs are hashed by the ids of a larger vocabulary, of which this one is a part.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub renumbered: bool,
}

/// A fixed sentence and what the network said of it where the bundle was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Golden {
    pub text: String,
    /// Of a bundle that reads pairs, the text behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<String>,
    pub embedding: Vec<f32>,
    /// Per task, in the order of the tasks.
    pub logits: Vec<Vec<f32>>,
}

impl AsText for Golden {
    fn as_text(&self) -> Text<'_> {
        Text { first: &self.text, second: self.second.as_deref() }
    }
}

/// The small entries, checked against one another.
#[derive(Debug)]
pub(super) struct Contents {
    pub manifest: Manifest,
    /// Per task.
    pub labels: Vec<Vec<String>>,
    pub calibration: Vec<Believed>,
    pub golden: Vec<Golden>,
    pub checksums: BTreeMap<String, Fingerprint>,
}

fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T> {
    document::json(bytes, Kind::Bundle, &wrong(name)).map_err(|error| error.help(AGAIN))
}

fn wrong(name: &str) -> String {
    format!("the entry {name:?} is not what it must be")
}

impl Contents {
    /// Reads the small entries of an archive, checks their hashes, and that there are exactly the entries
    /// there must be.
    ///
    /// # Errors
    /// They are not what they must be.
    pub fn read(archive: &Archive, path: &Path) -> Result<Self> {
        Self::read_parts(archive).map_err(|error| error.at(path))
    }

    fn read_parts(archive: &Archive) -> Result<Self> {
        let manifest = archive.read(MANIFEST)?;
        check_format(&manifest)?;
        check_entries(archive)?;
        let bytes = archive.read(CHECKSUMS)?;
        let checksums: BTreeMap<String, Fingerprint> = parse(CHECKSUMS, &bytes)?;
        let names: BTreeSet<&str> = archive.entries().iter().map(|entry| entry.name.as_str()).collect();
        let hashed = checksums.keys().map(String::as_str).chain([CHECKSUMS]).collect();
        if names != hashed || document::pretty(&checksums).as_bytes() != bytes {
            return Err(lie("the checksums are not as frosthead writes them").entry(CHECKSUMS));
        }
        let checked = |name: &str| -> Result<Vec<u8>> {
            let bytes = archive.read(name)?;
            check_hash(name, &checksums, Fingerprint::of_bytes(&bytes))?;
            Ok(bytes)
        };
        check_hash(MANIFEST, &checksums, Fingerprint::of_bytes(&manifest))?;
        let manifest: Manifest = parse(MANIFEST, &manifest)?;
        let mut labels: BTreeMap<String, Vec<String>> = parse(LABELS, &checked(LABELS)?)?;
        let mut calibration: BTreeMap<String, Believed> = parse(CALIBRATION, &checked(CALIBRATION)?)?;
        let golden: Vec<Golden> = parse(GOLDEN, &checked(GOLDEN)?)?;
        let tasks = || manifest.tasks.iter();
        let unfitting = |name: &str| lie("the entries of the bundle do not fit one another").entry(name);
        let labels: Vec<Vec<String>> = tasks()
            .map(|task| labels.remove(&task.task).filter(|labels| labels.len() >= task.kind.least_labels()))
            .collect::<Option<_>>()
            .filter(|_| labels.is_empty())
            .ok_or_else(|| unfitting(LABELS))?;
        let calibration: Vec<Believed> = tasks()
            .zip(&labels)
            .map(|(task, labels)| {
                calibration.remove(&task.task).filter(|found| found.fits(task.kind, labels.len()))
            })
            .collect::<Option<_>>()
            .filter(|_| calibration.is_empty())
            .ok_or_else(|| unfitting(CALIBRATION))?;
        let first_with = [(COMPACT, COMPACT_TOKENIZER), (RANGES, WITH_RANGES)];
        if first_with.iter().any(|(name, format)| names.contains(name) && manifest.format < *format) {
            return Err(unfitting(MANIFEST));
        }
        let less = |whole: PartOf| manifest.backbone.encoder().is_some_and(|part| whole.is_more_than(part));
        if !manifest.part_of.is_none_or(less) || !manifest.pieces_can_be() || !manifest.pairs_can_be() {
            return Err(unfitting(MANIFEST));
        }
        let contents = Self { manifest, labels, calibration, golden, checksums };
        if contents.manifest.tasks.is_empty() || !contents.golden_fits() {
            return Err(unfitting(GOLDEN));
        }
        let refitted =
            contents.manifest.refits.iter().flat_map(|refit| refit.tasks.keys()).collect::<Vec<_>>();
        if refitted.iter().any(|task| contents.manifest.tasks.iter().all(|known| known.task != **task)) {
            return Err(unfitting(MANIFEST));
        }
        Ok(contents)
    }

    fn golden_fits(&self) -> bool {
        let sizes: Vec<usize> = self.labels.iter().map(Vec::len).collect();
        let fits = |golden: &Golden| {
            golden.embedding.len() == self.manifest.embedding_size()
                && golden.second.is_some() == self.manifest.reads_pairs()
                && golden.logits.iter().map(Vec::len).eq(sizes.iter().copied())
        };
        !self.golden.is_empty() && self.golden.iter().all(fits) && self.manifest.tolerance.is_finite()
    }
}

/// What a bundle says it is, before anything else of it was looked at.
pub(super) fn read_manifest(archive: &Archive) -> Result<Manifest> {
    let bytes = archive.read(MANIFEST)?;
    check_format(&bytes)?;
    parse(MANIFEST, &bytes)
}

/// Refuses bytes that are not those the bundle was made with.
pub(super) fn check_hash(
    name: &str,
    checksums: &BTreeMap<String, Fingerprint>,
    found: Fingerprint,
) -> Result<()> {
    match checksums.get(name) {
        Some(expected) if *expected == found => Ok(()),
        expected => Err(lie("the bundle was damaged or changed after it was made")
            .entry(name)
            .found(format!(
                "hash {}",
                expected.map_or_else(|| found.short(), |listed| found.told_from(listed))
            ))
            .expected(expected.map_or_else(|| "a hash".to_owned(), |listed| listed.told_from(&found)))),
    }
}

/// The format comes first: everything else may be different in another one.
fn check_format(manifest: &[u8]) -> Result<()> {
    document::check_json(manifest, &(OLDEST..=FORMAT), Kind::Bundle, &wrong(MANIFEST))
        .map_err(|error| error.help(format!("use the version of frosthead that made it, or {AGAIN}")))
}

fn check_entries(archive: &Archive) -> Result<()> {
    let known = |name: &str| ENTRIES.iter().any(|(entry, ..)| *entry == name);
    if let Some(entry) = archive.entries().iter().find(|entry| !known(&entry.name)) {
        return Err(lie("there is an entry that does not belong here").found(format!("{:?}", entry.name)));
    }
    let mut required = ENTRIES.iter().filter(|(name, ..)| !OPTIONAL.contains(name));
    required.try_for_each(|(name, ..)| archive.entry(name).map(drop))
}
