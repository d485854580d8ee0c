//! Owns reading pairs of texts with a backbone: whether it does, and whether its graphs are fed token types.
//!
//! Refuses a tokenizer without a template for pairs, and another kind of texts than a graph is made for.

use super::{Backbone, EMBEDDING_GRAPH, Storage};
use crate::encoder;
use crate::error::{Error, Kind, Result};
use crate::graph;

/// How pairs are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pairs {
    /// Token types are an input of its graphs: the network has more than one.
    typed: bool,
}

impl Backbone {
    /// The same backbone for pairs of texts, or for texts. What it is stays: a pair has another key than any
    /// text, and so features of its own.
    ///
    /// # Errors
    /// Its tokenizer has no template for pairs, or its graph is as it is and made for the other kind.
    pub fn reading(mut self, pairs: bool) -> Result<Self> {
        if pairs == self.reads_pairs() {
            return Ok(self);
        }
        let (typed, fixed) = match (&self.config, &self.weights, &self.storage) {
            (Some(config), Some(_), _) => (config.token_types > 1, false),
            (Some(config), None, Storage::Packed(packed)) => {
                (packed.typed, config.token_types > 1 && packed.typed != pairs)
            }
            (None, _, Storage::Packed(packed)) => {
                (packed.typed || makes_types(&packed.bytes)?, packed.typed && !pairs)
            }
            (_, None, Storage::Directory) | (None, Some(_), Storage::Directory) => {
                let path = self.graph(EMBEDDING_GRAPH);
                let bytes = std::fs::read(&path).map_err(|source| Error::io("read", path, source))?;
                (makes_types(&bytes)?, false)
            }
        };
        if fixed {
            let [found, expected] = if pairs { ["texts", "pairs"] } else { ["pairs", "texts"] };
            return Err(Error::new(Kind::Usage, "the graph of this bundle reads another kind of texts")
                .at(&self.path)
                .found(found)
                .expected(expected)
                .help("use the backbone that it was made from, or a bundle of --precision fp32"));
        }
        if pairs {
            self.tokenizer.check_pairs(typed).map_err(|error| error.at(&self.path))?;
        }
        self.pairs = pairs.then_some(Pairs { typed });
        Ok(self)
    }

    /// Whether what it reads are pairs of texts.
    #[must_use]
    pub fn reads_pairs(&self) -> bool {
        self.pairs.is_some()
    }

    /// Whether token types are an input of its graphs.
    #[must_use]
    pub fn is_typed(&self) -> bool {
        self.pairs.is_some_and(|pairs| pairs.typed)
    }

    /// A graph made elsewhere, with token types as an input where they are one.
    pub(super) fn with_types(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        if !self.is_typed() || self.config.is_some() {
            return Ok(bytes);
        }
        let mut model = graph::decode(&bytes)?;
        encoder::take_types(&mut model);
        Ok(graph::encode(&model))
    }
}

/// Whether a graph made elsewhere can be given token types.
fn makes_types(bytes: &[u8]) -> Result<bool> {
    Ok(encoder::take_types(&mut graph::decode(bytes)?))
}
