//! Owns `key.json`: what the rows of a folder are and whose, for people, `cache list` and `cache verify`.
//!
//! Refuses what does not belong to its folder: the folder's name is the hash of the fields. Whoever opens a
//! store knows what the file must say, so one that says something else is set aside and written again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::StoreKey;
use super::fault::{Fault, Identity};
use crate::document;
use crate::error::Kind;
use crate::fingerprint::{Fields, Fingerprint};

/// What stands for a kind of processor that nobody noted.
pub(super) const UNKNOWN: &str = "unknown";
/// The version of `key.json`.
const FORMAT: u32 = 1;

/// The backbone that rows were computed with: the last one that opened them, since the same backbone may lie
/// in several places. No part of the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// What it is called.
    pub name: String,
    /// Where it lay, for people.
    pub path: String,
    /// Its fingerprint, as `inspect` and a run's recipe show it.
    pub fingerprint: Fingerprint,
}

/// The contents of `key.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct KeyFile {
    format: u32,
    pub fingerprint: Fingerprint,
    pub width: u32,
    pub fields: BTreeMap<String, String>,
    /// Files of earlier versions do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<Owner>,
    /// The kinds of processors that computed the rows: none before the first is written, and in files of
    /// earlier versions.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub processors: BTreeSet<String>,
    /// Of everything else, where there is a backbone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<Fingerprint>,
}

impl KeyFile {
    pub fn new(identity: &Identity, key: &StoreKey) -> Self {
        let Identity { fingerprint, width } = *identity;
        let (fields, backbone) = (key.fields.clone(), key.owner.clone());
        let (processors, checksum) = (BTreeSet::new(), None);
        let file = Self { format: FORMAT, fingerprint, width, fields, backbone, processors, checksum };
        file.sealed()
    }

    fn sealed(self) -> Self {
        Self { checksum: self.checksum_of_all(), ..self }
    }

    /// The same of rows that these kinds of processors computed.
    pub fn computed_by(self, processors: BTreeSet<String>) -> Self {
        Self { processors, ..self }.sealed()
    }

    fn checksum_of_all(&self) -> Option<Fingerprint> {
        let Owner { name, path, fingerprint } = self.backbone.as_ref()?;
        let fields = Fields::new("frosthead key file 1").field("key", self.fingerprint.0);
        let fields = fields.field("width", self.width.to_le_bytes()).field("name", name);
        let fields = fields.field("path", path).field("fingerprint", fingerprint.0);
        let noted = self.processors.iter();
        Some(noted.fold(fields, |fields, processor| fields.field("processor", processor)).finish())
    }

    /// Reads the file of a folder, and checks that it is the folder's.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let bytes = std::fs::read(path).map_err(|source| match source.kind() {
            ErrorKind::IsADirectory => Fault::Damaged("a directory lies in its place".to_owned()),
            _ => Fault::from_io(&source),
        })?;
        let what = "the description of the stored features is damaged";
        let file: Self = document::versioned_json(&bytes, &(FORMAT..=FORMAT), Kind::Store, what)
            .map_err(|error| Fault::Damaged(error.to_string()))?;
        let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        let hashed = StoreKey { fields: file.fields.clone(), ..StoreKey::default() }.fingerprint();
        if folder != Some(&file.fingerprint.to_string()) {
            return Err(Fault::Damaged(format!(
                "it describes other features than its folder is named for: fingerprint {}",
                file.fingerprint
            )));
        }
        if hashed != file.fingerprint || file.checksum != file.checksum_of_all() {
            return Err(Fault::Damaged("its values are not those that its hash was made of".to_owned()));
        }
        Ok(file)
    }

    /// Whether it says the same of the rows; whose they are may differ.
    pub fn describes_as(&self, other: &Self) -> bool {
        (self.fingerprint, self.width) == (other.fingerprint, other.width) && self.fields == other.fields
    }

    /// Whether the last who opened the rows is another one, or was not known.
    pub fn has_other_owner(&self, other: &Self) -> bool {
        other.backbone.is_some() && self.backbone != other.backbone
    }

    pub fn identity(&self) -> Identity {
        Identity { fingerprint: self.fingerprint, width: self.width }
    }
}
