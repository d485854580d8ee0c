//! Owns the catalogue of encoders to choose from, `models/catalog.toml`, which is part of the program.
//!
//! Refuses to download: it only says where a name leads and what the files must be.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Error, Kind, Result};

const CATALOG: &str = include_str!("../../models/catalog.toml");

/// The catalogue: names and what is known of them.
#[derive(Debug, Deserialize)]
pub struct Catalog {
    /// When and against what the entries were checked.
    pub checked: String,
    backbone: Vec<CatalogEntry>,
}

/// One encoder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogEntry {
    /// The name to give to `frosthead import`.
    pub name: String,
    /// Its id on the hub.
    pub hub: String,
    /// What people call an encoder of its family.
    pub family: String,
    /// Its licence, as its page on the hub says.
    pub licence: String,
    /// What it was made for, as its card says: a language, or how many.
    pub languages: String,
    /// Size of its weight file on the hub, in MB: heads that are left out count, and 16 bits count as 16.
    pub megabytes: u32,
    /// Numbers of an embedding.
    pub dimensions: u32,
    /// Most tokens of a text, as its own files say: what `import` takes.
    pub longest: u32,
    /// When to take it.
    #[serde(rename = "use")]
    pub purpose: String,
    /// What was measured with it here.
    #[serde(default)]
    pub measured: Option<String>,
    /// File name → SHA-256 (hexadecimal) of the files that were tested.
    #[serde(default)]
    pub sha256: BTreeMap<String, String>,
}

impl Catalog {
    /// The catalogue this program was built with.
    ///
    /// # Errors
    /// Never in a released program: a test reads it.
    pub fn built_in() -> Result<Self> {
        toml::from_str(CATALOG).map_err(|source| {
            Error::new(Kind::Model, "the built-in catalogue cannot be read")
                .at("models/catalog.toml")
                .because(source)
        })
    }

    /// All entries.
    #[must_use]
    pub fn entries(&self) -> &[CatalogEntry] {
        &self.backbone
    }

    /// The entry of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&CatalogEntry> {
        self.backbone.iter().find(|entry| entry.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_catalogue_is_complete() {
        let catalog = Catalog::built_in().unwrap();
        let entry = catalog.find("all-MiniLM-L6-v2").unwrap();
        assert_eq!(entry.hub, "sentence-transformers/all-MiniLM-L6-v2");
        assert_eq!(entry.sha256["model.safetensors"].len(), 64);
        assert!(catalog.find("no-such-model").is_none());
        assert!(catalog.entries().len() >= 12);
        assert!(catalog.checked.starts_with("20") && !catalog.checked.contains('\n'), "{}", catalog.checked);
        let families = ["BERT", "RoBERTa", "XLM-R", "CamemBERT", "DistilBERT", "MPNet"];
        for family in families {
            assert!(catalog.entries().iter().any(|entry| entry.family == family), "{family}");
        }
        for entry in &catalog.backbone {
            let known = families.contains(&entry.family.as_str());
            assert!(known && entry.megabytes * entry.dimensions * entry.longest > 0, "{}", entry.name);
            assert!(![&entry.licence, &entry.languages, &entry.purpose].iter().any(|word| word.is_empty()));
            assert!(entry.sha256.values().all(|hash| hash.len() == 64), "{}", entry.name);
            assert!(entry.hub.contains('/'), "{}", entry.name);
        }
    }
}
