//! Owns which model cuts words into pieces: one of the library's, or ours over a sorted table.
//!
//! Refuses to train one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::unigram::UnigramTrainer;
use tokenizers::{
    DecoderWrapper, Model, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Token,
    TokenizerImpl,
};

use super::unigram::Unigram;

/// The library's tokenizer with a model of ours, or of its own.
pub(super) type Inner =
    TokenizerImpl<PieceModel, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// What cuts words into pieces.
#[derive(Debug, Clone)]
pub(super) enum PieceModel {
    Library(ModelWrapper),
    Sorted(Unigram),
}

/// The model of a `tokenizer.json` is one of the library's.
impl<'de> Deserialize<'de> for PieceModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ModelWrapper::deserialize(deserializer).map(Self::Library)
    }
}

impl Model for PieceModel {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        match self {
            Self::Library(model) => model.tokenize(word),
            Self::Sorted(model) => model.tokenize(word),
        }
    }

    fn token_to_id(&self, piece: &str) -> Option<u32> {
        match self {
            Self::Library(model) => model.token_to_id(piece),
            Self::Sorted(model) => model.id(piece),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        match self {
            Self::Library(model) => model.id_to_token(id),
            Self::Sorted(model) => model.piece(id).map(str::to_owned),
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match self {
            Self::Library(model) => model.get_vocab(),
            Self::Sorted(model) => model.pieces().map(|(piece, id)| (piece.to_owned(), id)).collect(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Self::Library(model) => model.get_vocab_size(),
            Self::Sorted(model) => model.len(),
        }
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        match self {
            Self::Library(model) => model.save(folder, prefix),
            Self::Sorted(_) => Err("a sorted table of pieces is kept in a bundle only".into()),
        }
    }

    fn get_trainer(&self) -> TrainerWrapper {
        match self {
            Self::Library(model) => model.get_trainer(),
            Self::Sorted(_) => UnigramTrainer::default().into(),
        }
    }
}
