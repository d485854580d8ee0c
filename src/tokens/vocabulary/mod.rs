//! Owns leaving pieces out of a tokenizer: which must stay, and the `tokenizer.json` of what is kept.
//!
//! **What is promised:** a text all of whose pieces are kept has the same pieces as before, and so the same
//! numbers from a network whose table has the same rows. Nothing before the model (added tokens, normalizer,
//! pre-tokenizer) and nothing behind it (the template) is changed, so what is left to show is that a model
//! cuts such a word as before. With V the pieces of the whole, K those that are kept:
//!
//! * **WordPiece** takes the longest piece, step by step. Every step's piece is kept, and what was not in V
//!   is not in K, so each step takes the same. A word that is given up (`[UNK]`) is given up at a place j
//!   where no piece goes on; K could only succeed with a piece that reaches across j, which then has a
//!   character that is no piece by itself within a word. Such pieces are not kept (`Model::strays`): no
//!   trainer makes them.
//! * **Unigram** takes the best sum of scores. K's ways through a word are some of V's, with the same sums,
//!   and V's best is among them; of equal sums the first wins, and it stays the first. What is unknown costs
//!   ten less than the lowest score, so the piece with that score stays.
//! * **BPE** joins the pair of the lowest rank, again and again. With every piece its parents are kept, and
//!   theirs (of each merge that makes it), and all merges whose result is kept. Then every merge that took
//!   part in making the pieces of a text is there, in the same order of ranks, and any other never took part.
//! * **WordLevel** looks words up.
//!
//! All pieces of a single character stay too, so that a word of known characters does not become unknown.
//!
//! Refuses to change a tokenizer in any other way, and to say which rows are worth their room: the choice
//! comes from outside.

mod counts;
mod coverage;
mod ids;
mod listed;
mod model;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::diagnosis::wrong_part;
use super::tokenizer::Tokenizer;
use crate::error::{Error, Kind, Result, quoted};
use model::Model;

pub use counts::PieceCounts;
pub use coverage::Coverage;

/// A tokenizer whose vocabulary can be made smaller.
pub struct Vocabulary {
    path: PathBuf,
    file: Value,
    tokenizer: Tokenizer,
    model: Model,
    /// Ids that the file names outside its model, the unknown token, and the padding by its usual names.
    special: BTreeSet<u32>,
}

/// A tokenizer of fewer pieces.
pub struct Pruned {
    /// Its `tokenizer.json`.
    pub bytes: Vec<u8>,
    /// The old id of every new one, rising: the rows of the word table that are left.
    pub rows: Vec<u32>,
    /// The same, opened.
    pub tokenizer: Tokenizer,
}

impl Pruned {
    /// The new id of an old one; none of a piece that was dropped.
    #[must_use]
    pub fn new_id(&self, old: u32) -> Option<u32> {
        new_id(&self.rows, old)
    }
}

fn new_id(rows: &[u32], old: u32) -> Option<u32> {
    rows.binary_search(&old).ok().and_then(|place| place.try_into().ok())
}

impl Vocabulary {
    /// Reads the bytes of a `tokenizer.json`; `path` is named in errors.
    ///
    /// # Errors
    /// They are no tokenizer, or one of an unknown kind, or it names an id that no token has.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        let tokenizer = Tokenizer::from_bytes(bytes, path)?;
        let mut file: Value = serde_json::from_slice(bytes).map_err(|_| wrong_part(bytes).at(path))?;
        let inner = tokenizer.inner();
        let mut special: BTreeSet<u32> = inner.get_added_tokens_decoder().into_keys().collect();
        special.extend(tokenizer.unknown_id());
        special.extend(tokenizer.pad_token_id());
        ids::each(&mut file, &mut |part, id| {
            let named = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let named = named.filter(|named| inner.id_to_token(*named).is_some());
            special.extend([named.ok_or_else(|| {
                Error::new(Kind::Tokenizer, "the tokenizer names an id that none of its tokens has")
                    .at(path)
                    .field(part)
                    .found(id.to_string())
                    .expected("the id of a piece or of an added token")
            })?]);
            Ok(())
        })?;
        let model = Model::of(&file["model"], inner);
        Ok(Self { path: path.to_path_buf(), file, tokenizer, model, special })
    }

    /// The tokenizer as it is.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The ids that stay whatever is chosen, but for those that a choice brings with it: special tokens, the
    /// unknown token, pieces of a single character or byte, in Unigram the piece of the lowest score.
    #[must_use]
    pub fn required(&self) -> BTreeSet<u32> {
        let mut required = self.special.clone();
        required.extend(self.model.basics());
        required
    }

    /// A tokenizer of the pieces `chosen`, of those that are required, and of those that they are made of
    /// (BPE); without those of `chosen` that cannot be kept (the module's words on WordPiece). New ids are
    /// given in the order of the old ones.
    ///
    /// # Errors
    /// An id of `chosen` is no piece's, or the tokenizer's ids are such that the library gives other ones
    /// whenever some are missing (several tokens of one id).
    pub fn prune(&self, chosen: &BTreeSet<u32>) -> Result<Pruned> {
        let rows = self.complete(chosen)?;
        let renumber = |old: u32| new_id(&rows, old);
        let mut file = self.file.clone();
        self.model.prune(&mut file["model"], &renumber);
        ids::each(&mut file, &mut |_, id| {
            let old = id.as_u64().and_then(|id| u32::try_from(id).ok());
            *id = old.and_then(renumber).ok_or_else(|| self.unfit("a special token was dropped"))?.into();
            Ok(())
        })?;
        let added = file.get_mut("added_tokens").and_then(Value::as_array_mut);
        for token in added.into_iter().flatten() {
            // The library goes by the text, and gives an id of its own where the file's is another one.
            let old = token["content"].as_str().and_then(|text| self.tokenizer.inner().token_to_id(text));
            if let Some(new) = old.and_then(renumber) {
                token["id"] = new.into();
            }
        }
        let bytes = file.to_string().into_bytes();
        let tokenizer = Tokenizer::from_bytes(&bytes, &self.path)?;
        self.check(&tokenizer, &rows)?;
        Ok(Pruned { bytes, rows, tokenizer })
    }

    /// The ids that are kept when these are chosen, rising.
    fn complete(&self, chosen: &BTreeSet<u32>) -> Result<Vec<u32>> {
        let inner = self.tokenizer.inner();
        if let Some(stranger) = chosen.iter().find(|id| inner.id_to_token(**id).is_none()) {
            return Err(Error::new(Kind::Usage, "there is no such piece to be kept")
                .at(&self.path)
                .found(format!("the id {stranger}"))
                .expected(format!("ids below {}", self.tokenizer.vocabulary_size())));
        }
        let mut kept: BTreeSet<u32> = chosen - self.model.strays();
        kept.extend(self.required());
        self.model.add_parents(&mut kept);
        Ok(kept.into_iter().collect())
    }

    /// Whether every token that is kept has its new id in the new tokenizer, and no other token is there.
    fn check(&self, new: &Tokenizer, rows: &[u32]) -> Result<()> {
        for (token, old) in self.tokenizer.inner().get_vocab(true) {
            if new.inner().token_to_id(&token) != new_id(rows, old) {
                return Err(self.unfit(&format!("{} has another id than its place", quoted(&token))));
            }
        }
        let moved = |ids: &[u32]| ids.iter().map(|id| new_id(rows, *id)).collect::<Option<Vec<_>>>();
        let (before, after) = self.tokenizer.special_ids();
        let (new_before, new_after) = new.special_ids();
        if moved(before).as_deref() != Some(new_before) || moved(after).as_deref() != Some(new_after) {
            return Err(self.unfit("the template puts other tokens around a text"));
        }
        Ok(())
    }

    fn unfit(&self, found: &str) -> Error {
        Error::new(Kind::Tokenizer, "this tokenizer's ids cannot be given anew")
            .at(&self.path)
            .found(found)
            .expected("every token to have an id of its own, added tokens behind the vocabulary or in it")
            .help("keep the whole vocabulary")
    }
}
