//! Owns which tensor of a checkpoint is which of ours, and what of a checkpoint is not the encoder's.
//!
//! Publishers put the encoder into something larger, whose name then stands in front of every tensor
//! (`bert.`, `0.auto_model.`, `module.bert.`): the prefix is what stands in front of the word embeddings,
//! which every encoder has once (or of the positions, where a head has the words: they are often the same
//! numbers). How the rest of a name is spelled is the family's.
//!
//! Refuses tensors that nobody knows, several encoders in one file, and another family's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::family::{Family, Named, Published, of_prefix};
use super::layout::{Expected, expected_of_encoder};
use super::shards::Checkpoint;
use super::tensors::{POSITIONS, WORDS};
use crate::error::{Error, Kind, Result};

/// A checkpoint's names.
pub(super) struct Names<'c> {
    /// Our name → the file's.
    pub(super) ours: BTreeMap<String, &'c str>,
    /// What is left out knowingly, without what stands in front.
    left_out: BTreeSet<&'c str>,
    /// What nobody knows.
    unknown: Vec<&'c str>,
}

impl Published {
    /// What of its checkpoint is not taken, because the encoder's output does not depend on it: the names of
    /// its parts, as the checkpoint has them.
    ///
    /// # Errors
    /// The source is no checkpoint of this encoder.
    pub fn left_out(&self, source: &Path) -> Result<Vec<String>> {
        /// What most encoders bring along and hardly anybody uses, and what is no number of the network's.
        const UNSAID: [&str; 2] = ["pooler", "embeddings"];
        let checkpoint = Checkpoint::open(source)?;
        let names = Names::of(&checkpoint, self, &expected_of_encoder(&self.config))?;
        let mut parts: BTreeMap<&str, usize> = BTreeMap::new();
        for name in names.left_out {
            let part = name.split('.').next().unwrap_or(name);
            if !UNSAID.contains(&part) {
                *parts.entry(part).or_default() += 1;
            }
        }
        let said =
            |(part, count)| format!("{part} ({count} {})", if count == 1 { "tensor" } else { "tensors" });
        Ok(parts.into_iter().map(said).collect())
    }
}

impl<'c> Names<'c> {
    /// Finds what is `wanted` in a checkpoint.
    ///
    /// # Errors
    /// It holds several encoders, another family's, or a tensor twice.
    pub(super) fn of(checkpoint: &'c Checkpoint, published: &Published, wanted: &[Expected]) -> Result<Self> {
        let family = published.family;
        let prefix = prefix(checkpoint, family)?;
        check_family(checkpoint, family, prefix)?;
        let left_out = |name: &str| (family.tensor)(name) == Named::LeftOut;
        let wanted_name = |name: &str| match (family.tensor)(name) {
            Named::Ours(ours) => wanted.iter().any(|tensor| tensor.name == ours).then_some(ours),
            Named::LeftOut | Named::Unknown => None,
        };
        let mut names = Self { ours: BTreeMap::new(), left_out: BTreeSet::new(), unknown: Vec::new() };
        for name in checkpoint.names() {
            let inside = name.strip_prefix(prefix);
            let outside = above(prefix).filter_map(|outer| name.strip_prefix(outer));
            if let Some(rest) = inside.into_iter().chain(outside).find(|rest| left_out(rest)) {
                names.left_out.insert(rest);
                if published.tied && rest == family.tied {
                    names.ours.entry(WORDS.to_owned()).or_insert(name);
                }
                continue;
            }
            let ours = match inside {
                Some(inside) => wanted_name(inside),
                // Outside the encoder, a tensor by the name of one of the encoder's is another of the same.
                None => endings(name).find_map(wanted_name),
            };
            let Some(ours) = ours else {
                names.unknown.push(name);
                continue;
            };
            let is_head = |other: &str| other.ends_with(family.tied);
            if let Some(other) = names.ours.insert(ours, name).filter(|other| !is_head(other)) {
                return Err(Error::new(Kind::Model, "one tensor is there under two names")
                    .at(checkpoint.path())
                    .found(format!("{other:?} and {name:?}"))
                    .help("export the encoder again"));
            }
        }
        Ok(names)
    }

    /// Refuses a checkpoint that lacks tensors; those that nobody knows are named with them.
    pub(super) fn check_missing(&self, family: &Family, wanted: &[Expected], source: &Path) -> Result<()> {
        let there = |tensor: &&Expected| {
            self.ours.contains_key(&tensor.name) || family.zeros.contains(&tensor.name.as_str())
        };
        let missing: Vec<&Expected> = wanted.iter().filter(|tensor| !there(tensor)).collect();
        let Some(first) = missing.first() else { return Ok(()) };
        let help = "check that config.json and the weights belong to the same model";
        let what = match missing[..] {
            [only] => format!("the tensor {:?} is missing", only.name),
            _ => format!(
                "{} tensors are missing: {}",
                missing.len(),
                listed(missing.iter().map(|it| &*it.name))
            ),
        };
        let found = match self.unknown[..] {
            [] => "nothing by that name".to_owned(),
            _ => format!("instead {}, which nobody knows", listed(self.unknown.iter().copied())),
        };
        let expected = match missing[..] {
            [_] => format!("shape {:?}", first.shape),
            _ => format!("the {} tensors of a {} encoder", wanted.len() - family.zeros.len(), family.name),
        };
        Err(Error::new(Kind::Model, what).at(source).found(found).expected(expected).help(help))
    }

    /// Refuses tensors that nobody knows.
    pub(super) fn check_unknown(&self, family: &Family, layers: usize, source: &Path) -> Result<()> {
        let what = match self.unknown[..] {
            [] => return Ok(()),
            [only] => format!("the tensor {only:?} is not known"),
            _ => format!(
                "{} tensors are not known: {}",
                self.unknown.len(),
                listed(self.unknown.iter().copied())
            ),
        };
        let family = family.name;
        Err(Error::new(Kind::Model, what)
            .at(source)
            .expected(format!("the tensors of a {family} encoder with {layers} layers"))
            .help(format!(
                "check that config.json and the weights belong to the same model, and that it is a plain {family}"
            )))
    }
}

fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

/// What stands in front of every name of the encoder, with a dot at its end if it is not empty.
fn prefix<'c>(checkpoint: &'c Checkpoint, family: &Family) -> Result<&'c str> {
    for table in [WORDS, POSITIONS] {
        let sought = Named::Ours(table.to_owned());
        let found = checkpoint.names().filter_map(|name| {
            let ending = endings(name).find(|ending| (family.tensor)(ending) == sought)?;
            Some((name, &name[..name.len() - ending.len()]))
        });
        let found: Vec<(&str, &str)> = found.collect();
        match found[..] {
            [] => {}
            [(_, only)] => return Ok(only),
            _ => {
                return Err(Error::new(Kind::Model, "the checkpoint holds several encoders")
                    .at(checkpoint.path())
                    .found(
                        found.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(" and "),
                    )
                    .expected("one")
                    .help("save the encoder that you want alone, as a model of its own"));
            }
        }
    }
    Ok("")
}

/// Refuses weights whose prefix is another family's: many of its names are the same, its numbers mean
/// something else.
fn check_family(checkpoint: &Checkpoint, family: &Family, prefix: &str) -> Result<()> {
    let last = prefix.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    match of_prefix(last).filter(|other| other.name != family.name) {
        None => Ok(()),
        Some(other) => {
            Err(Error::new(Kind::Model, "the configuration and the weights are not of one family")
                .at(checkpoint.path())
                .found(format!("weights of a {} encoder ({prefix}…)", other.name))
                .expected(format!("{}, as config.json says", family.name))
                .help("take both files from the model's own directory"))
        }
    }
}

/// A name, and what is left of it behind each dot.
fn endings(name: &str) -> impl Iterator<Item = &str> {
    std::iter::once(name).chain(name.match_indices('.').map(|(at, _)| &name[at + 1..]))
}

/// The prefixes of what an encoder with this prefix lies in, the outermost first: of `0.auto_model.`, nothing
/// and `0.`.
fn above(prefix: &str) -> impl Iterator<Item = &str> {
    let inner = prefix.match_indices('.').map(|(at, _)| &prefix[..=at]).filter(move |outer| *outer != prefix);
    std::iter::once("").chain(inner)
}
