//! Owns the four kinds of models: which pieces they cannot do without, what pieces are made of, and their
//! part of the file with fewer of them.
//!
//! Refuses to tokenise: that is the library's work.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use tokenizers::models::ModelWrapper;

use crate::tokens::model::{Inner, PieceModel};

/// A model's pieces, and what is known of them.
pub(super) struct Model {
    /// Every piece with its id, as the file has them; in Unigram a text may stand there twice.
    pieces: Vec<(String, u32)>,
    /// In Unigram the piece of the lowest score.
    lowest: Option<u32>,
    /// Whether an unknown character is written in bytes.
    bytes: bool,
    /// What a piece begins with that goes on with a word …
    prefix: String,
    /// … and what one ends with that ends it.
    suffix: String,
    /// What a piece does not stay without: in BPE the two parents of each merge that makes it, in Unigram the
    /// last piece of the same text.
    parents: BTreeMap<u32, Vec<u32>>,
    /// Pieces that are never chosen.
    strays: BTreeSet<u32>,
}

impl Model {
    /// Reads the part of a file that the library has read.
    pub(super) fn of(file: &Value, inner: &Inner) -> Self {
        let text = |name: &str| file[name].as_str().unwrap_or_default().to_owned();
        let mut model = Self {
            pieces: pieces(&file["vocab"]),
            lowest: lowest(&file["vocab"]),
            bytes: file["byte_fallback"].as_bool() == Some(true),
            prefix: text("continuing_subword_prefix"),
            suffix: text("end_of_word_suffix"),
            parents: BTreeMap::new(),
            strays: BTreeSet::new(),
        };
        match inner.get_model() {
            PieceModel::Library(ModelWrapper::BPE(_)) => model.parents = model.parents(&file["merges"]),
            PieceModel::Library(ModelWrapper::WordPiece(_)) => model.strays = model.find_strays(),
            PieceModel::Library(ModelWrapper::Unigram(_)) | PieceModel::Sorted(_) => {
                model.parents = model.last_of_same();
            }
            PieceModel::Library(ModelWrapper::WordLevel(_)) => {}
        }
        model
    }

    /// The pieces that stay whatever is chosen: those of a single character, or byte where unknown characters
    /// are written in bytes, and in Unigram the one of the lowest score.
    pub(super) fn basics(&self) -> impl Iterator<Item = u32> {
        let single = self.pieces.iter().filter(|(piece, _)| self.is_single(piece));
        single.map(|(_, id)| *id).chain(self.lowest)
    }

    fn is_single(&self, piece: &str) -> bool {
        let inside = |piece: &str| piece.chars().nth(1).is_none();
        let word = piece.strip_suffix(&self.suffix).unwrap_or(piece);
        inside(piece)
            || inside(word)
            || inside(word.strip_prefix(&self.prefix).unwrap_or(word))
            || self.bytes && is_byte(piece)
    }

    /// Pieces of WordPiece that are never kept for being used: with a character that, within a word, is no
    /// piece by itself. The whole vocabulary gives a word up in front of that character; a smaller one could
    /// come to this piece, and reach across.
    pub(super) fn strays(&self) -> &BTreeSet<u32> {
        &self.strays
    }

    fn find_strays(&self) -> BTreeSet<u32> {
        let within =
            self.pieces.iter().filter_map(|(piece, id)| Some((piece.strip_prefix(&self.prefix)?, *id)));
        let within: Vec<(&str, u32)> = within.collect();
        let alone: BTreeSet<char> = within
            .iter()
            .filter(|(piece, _)| piece.chars().nth(1).is_none())
            .filter_map(|(piece, _)| piece.chars().next())
            .collect();
        let strays = within
            .into_iter()
            .filter(|(piece, _)| piece.chars().skip(1).any(|character| !alone.contains(&character)));
        strays.map(|(_, id)| id).collect()
    }

    /// Adds what these pieces do not stay without, and what those do not.
    pub(super) fn add_parents(&self, kept: &mut BTreeSet<u32>) {
        let mut due: Vec<u32> = kept.iter().copied().collect();
        while let Some(piece) = due.pop() {
            let parents = self.parents.get(&piece).into_iter().flatten();
            due.extend(parents.filter(|parent| kept.insert(**parent)));
        }
    }

    fn parents(&self, merges: &Value) -> BTreeMap<u32, Vec<u32>> {
        let ids: HashMap<&str, u32> = self.pieces.iter().map(|(piece, id)| (piece.as_str(), *id)).collect();
        let mut parents: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for merge in merges.as_array().into_iter().flatten() {
            let Some((first, second)) = parts(merge) else { continue };
            let of = |piece: &str| ids.get(piece).copied();
            if let Some(made) = of(&self.made(first, second)) {
                parents.entry(made).or_default().extend([first, second].into_iter().filter_map(of));
            }
        }
        parents
    }

    /// In Unigram, of pieces of the same text the last. That is the one that the library takes; without it,
    /// the one before would have its turn.
    fn last_of_same(&self) -> BTreeMap<u32, Vec<u32>> {
        let ids: HashMap<&str, u32> = self.pieces.iter().map(|(piece, id)| (piece.as_str(), *id)).collect();
        let last = self.pieces.iter().map(|(piece, id)| (*id, ids[piece.as_str()]));
        last.filter(|(id, last)| id != last).map(|(id, last)| (id, vec![last])).collect()
    }

    /// What two pieces become when they are joined: the second loses what says that it goes on with a word.
    fn made(&self, first: &str, second: &str) -> String {
        format!("{first}{}", second.get(self.prefix.len()..).unwrap_or_default())
    }

    /// Leaves pieces out of the part of the file that [`Self::of`] has read: those that have no new id. Their
    /// order stays, and that of the merges.
    pub(super) fn prune(&self, file: &mut Value, new_id: &dyn Fn(u32) -> Option<u32>) {
        if let Some(merges) = file.get_mut("merges").and_then(Value::as_array_mut) {
            let kept = self.pieces.iter().filter(|(_, id)| new_id(*id).is_some());
            let kept: BTreeSet<&str> = kept.map(|(piece, _)| piece.as_str()).collect();
            merges.retain(|merge| {
                parts(merge).is_none_or(|(first, second)| kept.contains(self.made(first, second).as_str()))
            });
        }
        match file.get_mut("vocab") {
            Some(Value::Object(pieces)) => pieces.retain(|_, id| {
                let new = as_id(id).and_then(new_id);
                *id = new.into();
                new.is_some()
            }),
            Some(Value::Array(pieces)) => {
                let mut place = 0..;
                pieces.retain(|_| place.next().and_then(new_id).is_some());
            }
            _ => {}
        }
    }
}

fn as_id(id: &Value) -> Option<u32> {
    id.as_u64().and_then(|id| id.try_into().ok())
}

/// Every piece of a vocabulary with its id: a table of ids by texts, or a list of texts with scores.
fn pieces(vocabulary: &Value) -> Vec<(String, u32)> {
    match vocabulary {
        Value::Object(ids) => {
            ids.iter().filter_map(|(piece, id)| Some((piece.clone(), as_id(id)?))).collect()
        }
        Value::Array(scored) => {
            let texts = scored.iter().map(|piece| piece[0].as_str().unwrap_or_default().to_owned());
            texts.zip(0..).collect()
        }
        _ => Vec::new(),
    }
}

/// The piece of the lowest score, in a list of texts with scores.
fn lowest(vocabulary: &Value) -> Option<u32> {
    let scores = vocabulary.as_array()?.iter().map(|piece| piece[1].as_f64().unwrap_or_default());
    scores.zip(0..).min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, id)| id)
}

/// The two pieces of a merge, which stand in a list, or with a space between.
fn parts(merge: &Value) -> Option<(&str, &str)> {
    match merge {
        Value::String(both) => both.split_once(' '),
        _ => Some((merge[0].as_str()?, merge[1].as_str()?)),
    }
}

/// Whether a piece stands for a byte: `<0x0A>`.
fn is_byte(piece: &str) -> bool {
    let digits = piece.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}
