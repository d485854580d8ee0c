//! Owns the catalogue of tested backbones, `models/catalog.toml`, which is part of the program.
//!
//! Refuses to download: it only says where a name leads and what the files must be.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{Error, Kind, Result};

const CATALOG: &str = include_str!("../../models/catalog.toml");

/// The catalogue: names and what is known of them.
#[derive(Debug, Deserialize)]
pub struct Catalog {
    backbone: Vec<CatalogEntry>,
}

/// One tested backbone.
#[derive(Debug, Clone, Deserialize)]
pub struct CatalogEntry {
    /// The name to give to `frosthead import`.
    pub name: String,
    /// Its id on the hub.
    pub hub: String,
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
        let told: toml::Table = CATALOG.parse().unwrap();
        for entry in told["backbone"].as_array().unwrap() {
            assert!(entry["licence"].as_str().is_some_and(|licence| !licence.is_empty()), "{entry}");
        }
        for entry in &catalog.backbone {
            assert!(entry.sha256.values().all(|hash| hash.len() == 64), "{}", entry.name);
            assert!(entry.hub.contains('/'), "{}", entry.name);
        }
    }
}
