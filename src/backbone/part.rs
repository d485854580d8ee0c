//! Owns leaving parts of a backbone away: layers above a depth, and word pieces with their rows of the table.
//!
//! Refuses to change what remains: it gives the same bits.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Backbone, Manifest, Storage};
use crate::encoder::{self, Config};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fields, Fingerprint};
use crate::tokens::Tokenizer;

/// The whole that a network is a part of, where layers or word pieces of it were left away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartOf {
    /// Layers of the whole.
    pub layers: usize,
    /// Word pieces of the whole.
    pub vocabulary_size: usize,
}

impl PartOf {
    fn whole(config: &Config) -> Self {
        Self { layers: config.layers, vocabulary_size: config.vocabulary_size }
    }

    /// Whether a network of these dimensions is less than this.
    #[must_use]
    pub fn is_more_than(self, part: &Config) -> bool {
        let part = Self::whole(part);
        self.layers >= part.layers && self.vocabulary_size >= part.vocabulary_size && self != part
    }
}

/// The word pieces that a backbone was left with.
#[derive(Clone)]
pub(super) struct Pieces {
    /// Their ids before, in the order of those now.
    ids: Vec<u32>,
    /// The bytes of the `tokenizer.json` that knows these only.
    tokenizer: Vec<u8>,
}

impl Pieces {
    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }

    pub(super) fn tokenizer(&self) -> &[u8] {
        &self.tokenizer
    }

    /// Says which they are.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let fields = Fields::new("frosthead word pieces 1").field("tokenizer", &self.tokenizer);
        self.ids.iter().fold(fields, |fields, id| fields.field("id", id.to_le_bytes())).finish()
    }
}

impl Backbone {
    /// The same backbone, of which only this many layers are run: the states up to there are what it has to
    /// give, and no sentence embedding, unless that is all of it. Its identity stays: what it gives is the
    /// same, to the bit.
    ///
    /// # Errors
    /// It has no such layers, its layers are not known, or training changed a layer above.
    pub fn to_depth(mut self, depth: usize) -> Result<Self> {
        let wrong = |what: &str| {
            Error::new(Kind::Usage, what.to_owned()).at(&self.path).found(format!("depth {depth}"))
        };
        let Some(layers) = self.layers() else {
            return Err(wrong("this backbone has no layers to leave away")
                .expected("a backbone whose layers are known")
                .help(
                    "import the model from its Hugging Face directory (model.safetensors) to choose a depth",
                ));
        };
        if depth < layers && !self.is_cut_anywhere() {
            return Err(wrong("this backbone's graph is as it is: no layer can be left away")
                .expected(format!("depth {layers}"))
                .help("choose the depth when the bundle is made: frosthead bundle RUN --depth N"));
        }
        if depth > layers {
            return Err(wrong("the network is not that deep").expected(format!("a depth from 0 to {layers}")));
        }
        if depth == layers {
            return Ok(self);
        }
        if let Some(above) = self.changed().and_then(|changed| {
            changed.keys().find(|name| encoder::layer_of(name).is_some_and(|layer| layer >= depth))
        }) {
            return Err(wrong("a layer above this depth was trained")
                .tensor(above.as_str())
                .expected("a depth that keeps what was trained"));
        }
        if let Some(config) = &mut self.config {
            config.layers = depth;
            // It belongs to the sentence embedding.
            config.dense = None;
            self.weights = self.weights.map(|weights| weights.of_part(config));
        }
        Ok(self)
    }

    /// The dimensions of what is run of it; none when it cannot be looked into.
    #[must_use]
    pub fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// Layers that are run, where not all of the backbone's are.
    #[must_use]
    pub fn depth(&self) -> Option<usize> {
        let layers = self.config.as_ref()?.layers;
        (!self.has_embedding()).then_some(layers)
    }

    /// What it is the lower part of, where layers are left away.
    #[must_use]
    pub fn part_of(&self) -> Option<PartOf> {
        let before = match &self.storage {
            Storage::Directory => None,
            Storage::Packed(packed) => packed.part_of,
        };
        let (whole, part) = (self.manifest.encoder()?, self.config.as_ref()?);
        before.or_else(|| (whole != part).then(|| PartOf::whole(whole)))
    }

    /// The manifest of what is run of it.
    #[must_use]
    pub fn deployed_manifest(&self) -> Manifest {
        match &self.config {
            Some(config) if self.manifest.encoder() != Some(config) => {
                self.manifest.with_encoder(config.clone())
            }
            _ => self.manifest.clone(),
        }
    }

    /// Whether graphs of any depth can be built of it; another graph gives what it gives.
    #[must_use]
    pub fn is_cut_anywhere(&self) -> bool {
        self.weights.is_some()
    }

    /// Whether it has a sentence embedding to give: it comes out of the last layer.
    #[must_use]
    pub fn has_embedding(&self) -> bool {
        let layers = self.config.as_ref().map(|config| config.layers);
        self.part_of().is_none_or(|whole| layers == Some(whole.layers))
    }

    /// The ids that its word pieces had before, where it was left with some of them.
    #[must_use]
    pub fn pieces(&self) -> Option<&[u32]> {
        self.pieces.as_ref().map(Pieces::ids)
    }

    /// The same backbone with some of its word pieces only: `tokenizer` are the bytes of a `tokenizer.json`
    /// that knows these, and `ids` their ids before, in the order of those now. What a text gives whose
    /// pieces are all there is the same, to the bit; other texts have other pieces, so its identity is
    /// another one.
    ///
    /// # Errors
    /// Its word table is not known, an id is not there, the padding is missing, or the tokenizer is none.
    pub fn with_pieces(mut self, tokenizer: Vec<u8>, ids: Vec<u32>) -> Result<Self> {
        let wrong = |what: &str| Error::new(Kind::Tokenizer, what.to_owned()).at(&self.path);
        let Some(config) = self.config.as_mut().filter(|_| self.weights.is_some()) else {
            return Err(wrong("this backbone's word pieces cannot be left away: its table is not known")
                .expected("a backbone imported from model.safetensors"));
        };
        if let Some(unknown) = ids.iter().find(|id| **id as usize >= config.vocabulary_size) {
            return Err(wrong("there is no such word piece")
                .found(format!("id {unknown}"))
                .expected(format!("less than {}", config.vocabulary_size)));
        }
        let now = |before: u32| {
            let place = ids.binary_search(&before).ok().and_then(|place| u32::try_from(place).ok());
            place.ok_or_else(|| wrong("the padding was left away").found(format!("no piece of id {before}")))
        };
        let padding = &mut self.manifest.preparation.pad_token_id;
        (config.pad_token_id, *padding) = (now(config.pad_token_id)?, now(*padding)?);
        config.vocabulary_size = ids.len();
        self.tokenizer = Arc::new(Tokenizer::from_bytes(&tokenizer, &self.path)?);
        if self.reads_pairs() {
            self.tokenizer.check_pairs(self.is_typed())?;
        }
        self.pieces = Some(Pieces { ids, tokenizer });
        Ok(self)
    }
}
