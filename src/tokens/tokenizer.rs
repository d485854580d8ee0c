//! Owns the wrapper of the `tokenizers` crate: a `tokenizer.json`, or its compact form, and texts and pairs →
//! token ids.

use std::borrow::Cow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use tokenizers::models::ModelWrapper;
use tokenizers::{Model as _, NormalizedString, Normalizer as _, TruncationDirection};

use super::added::AddedTokens;
use super::compact::{self, Compact};
use super::description::Description;
use super::diagnosis::{refused, wrong_part};
use super::encoded::{Encoded, Lost, Tokens};
use super::long_text::{LONG_RUN, LONG_TEXT_BYTES, Pipeline};
use super::model::{Inner, PieceModel};
use super::pair_template::{PairTemplate, Start};
use super::piece_use::PieceUse;
use crate::error::{Error, Kind, Result};
use crate::parallel::in_parallel;
use crate::text::{AsText, Text, as_texts};

/// Texts that a thread takes at a time: some milliseconds of work.
const TEXTS_A_TURN: usize = 64;

/// Where each id lies in its text: first byte, and the one behind the last.
pub(super) type Spans = Vec<(usize, usize)>;

/// Characters of a text that an error shows.
const SHOWN: usize = 40;

/// A tokenizer, with its file's truncation and padding switched off, and what would draw lots (BPE dropout).
pub struct Tokenizer {
    path: PathBuf,
    inner: Inner,
    /// Ids that the template puts before and after a text.
    special_ids: (Vec<u32>, Vec<u32>),
    /// What it puts around and between two texts, or why it has no template for them.
    pairs: std::result::Result<PairTemplate, String>,
    /// The id that stands for what is not in the vocabulary.
    unknown_id: Option<u32>,
    pipeline: Pipeline,
    /// Texts up to this many bytes are encoded whole.
    long_text: usize,
}

/// From where on a text is long; only tests have reason to lower it.
#[derive(Debug, Clone, Copy)]
pub(super) struct LongText {
    /// Texts of more bytes are cut before they are tokenised, where that is safe.
    pub(super) bytes: usize,
    /// Runs of more letters and digits are shortened, where that is safe.
    pub(super) run: usize,
}

impl Default for LongText {
    fn default() -> Self {
        Self { bytes: LONG_TEXT_BYTES, run: LONG_RUN }
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// The file is missing, or is not a tokenizer.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| Error::io("read the tokenizer", path, source))?;
        Self::from_bytes(&bytes, path)
    }

    /// Takes the bytes of a `tokenizer.json`; `path` is named in errors.
    ///
    /// # Errors
    /// They are not a tokenizer.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        Self::with_long_text(bytes, path, LongText::default())
    }

    /// Takes the bytes of a compact form; `path` is named in errors.
    ///
    /// # Errors
    /// They are none.
    pub fn from_compact(bytes: &[u8], path: &Path) -> Result<Self> {
        let read = || {
            let compact = Compact::read(bytes)?;
            let description = Description::read(compact.parts)?;
            Self::of(&description, compact.put_together()?, LongText::default())
        };
        read().map(|tokenizer| Self { path: path.to_path_buf(), ..tokenizer }).map_err(|error| error.at(path))
    }

    pub(super) fn with_long_text(bytes: &[u8], path: &Path, long: LongText) -> Result<Self> {
        let read = || {
            let description = Description::read(bytes)?;
            let inner = serde_json::from_slice(bytes).map_err(|_| wrong_part(bytes))?;
            Self::of(&description, inner, long)
        };
        let read = read().map(|tokenizer| Self { path: path.to_path_buf(), ..tokenizer });
        read.map_err(|error| {
            error.at(path).help(
                "take it from the model's own directory; slow tokenizers (vocab.txt alone) must be converted",
            )
        })
    }

    /// The tokenizer of a file that says this of itself.
    fn of(description: &Description, mut inner: Inner, long: LongText) -> Result<Self> {
        inner.with_truncation(None).map_err(refused)?;
        inner.with_padding(None);
        switch_dropout_off(&mut inner);
        let added = AddedTokens::of(&inner);
        if let Some(fault) = added.as_ref().and_then(AddedTokens::fault) {
            return Err(refused(fault));
        }
        let pipeline = Pipeline::of(description, &inner, added.as_ref(), long.run);
        let special_ids = special_ids(&inner).map_err(refused)?;
        let pairs = PairTemplate::of(&inner, &description.post_processor);
        let unknown_id = description.unknown_id(&inner);
        let (path, long_text) = (PathBuf::new(), long.bytes);
        Ok(Self { path, pipeline, inner, special_ids, pairs, unknown_id, long_text })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn template_of_pairs(&self) -> std::result::Result<&PairTemplate, &str> {
        self.pairs.as_ref().map_err(String::as_str)
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// The compact form of a Unigram tokenizer with at least so many pieces, which was read of these bytes of a
    /// `tokenizer.json`, or why it has none; nothing of any other.
    #[must_use]
    pub fn compact_form(&self, file: &[u8], fewest: usize) -> Option<std::result::Result<Vec<u8>, String>> {
        let table = compact::table_of(&self.inner, fewest)?;
        Some(table.and_then(|table| compact::written(file, &table).map_err(|why| why.to_string())))
    }

    /// Largest token id + 1, added tokens included.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        let added = self.inner.get_added_tokens_decoder().into_keys().max();
        let largest = match self.inner.get_model() {
            PieceModel::Sorted(model) => {
                u32::try_from(model.len()).ok().and_then(|pieces| pieces.checked_sub(1))
            }
            PieceModel::Library(model) => model.get_vocab().into_values().max(),
        };
        largest.max(added).map_or(0, |id| id as usize + 1)
    }

    /// What an id stands for.
    #[must_use]
    pub fn piece(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// How many ids the template adds to a text.
    #[must_use]
    pub fn special_tokens(&self) -> usize {
        self.special_ids.0.len() + self.special_ids.1.len()
    }

    /// The ids that the template puts before and after a text.
    #[must_use]
    pub fn special_ids(&self) -> (&[u32], &[u32]) {
        (&self.special_ids.0, &self.special_ids.1)
    }

    /// The id that stands for what the vocabulary has no piece for, if there is one.
    #[must_use]
    pub fn unknown_id(&self) -> Option<u32> {
        self.unknown_id
    }

    /// Whether "A" and "a" are different to it.
    #[must_use]
    pub fn keeps_case(&self) -> bool {
        let mut text = NormalizedString::from("A");
        match self.inner.get_normalizer() {
            Some(normalizer) => normalizer.normalize(&mut text).is_err() || text.get().contains('A'),
            None => true,
        }
    }

    /// The id of the padding token, by its usual names.
    #[must_use]
    pub fn pad_token_id(&self) -> Option<u32> {
        self.padding_ids().next()
    }

    /// The ids of all tokens that are called as padding usually is: MPNet's has two.
    pub fn padding_ids(&self) -> impl Iterator<Item = u32> {
        ["[PAD]", "<pad>"].iter().filter_map(|token| self.inner.token_to_id(token))
    }

    /// Token ids of the texts or pairs, special tokens included, each cut to `max_length` ids with its special
    /// tokens kept.
    ///
    /// # Errors
    /// The tokenizer fails on a text, has no template for a pair, or `max_length` leaves no room beside the
    /// special tokens.
    pub fn encode(&self, texts: &[impl AsText], max_length: usize) -> Result<Encoded> {
        self.encode_texts(&as_texts(texts), max_length)
    }

    fn encode_texts(&self, texts: &[Text<'_>], max_length: usize) -> Result<Encoded> {
        let mut encoded = Encoded::default();
        for (index, text) in texts.iter().enumerate() {
            match text.second {
                None => {
                    let room = self.room(max_length)?;
                    let (ids, lost) = self.encode_one(text.first, room).map_err(|error| error.text(index))?;
                    encoded.push(ids.get_ids(), lost);
                }
                Some(second) => {
                    let pair = self.encode_pair([text.first, second], max_length);
                    let pair = pair.map_err(|error| error.text(index))?;
                    encoded.push_typed(&pair.ids, pair.zeros, pair.lost);
                }
            }
        }
        Ok(encoded)
    }

    /// Ids of a text that there is room for.
    fn room(&self, max_length: usize) -> Result<usize> {
        max_length.checked_sub(self.special_tokens()).filter(|room| *room > 0).ok_or_else(|| {
            Error::new(Kind::Usage, "the maximum length leaves no room for text")
                .found(max_length.to_string())
                .expected(format!("more than the {} special tokens", self.special_tokens()))
        })
    }

    /// The same on several threads, whose number changes nothing.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_on(&self, threads: usize, texts: &[impl AsText], max_length: usize) -> Result<Encoded> {
        let texts = as_texts(texts);
        if threads <= 1 || texts.len() <= TEXTS_A_TURN {
            return self.encode_texts(&texts, max_length);
        }
        let turn = |turn: Range<usize>| {
            let first = turn.start;
            self.encode_texts(&texts[turn], max_length).map_err(|error| error.map_text(|text| first + text))
        };
        let mut encoded = Encoded::default();
        for part in in_parallel(threads, turns(texts.len()), &turn) {
            encoded.append(&part?);
        }
        Ok(encoded)
    }

    fn encode_one(&self, text: &str, room: usize) -> Result<(tokenizers::Encoding, Lost)> {
        let (mut encoding, rest) = self.encode_start(text, room)?;
        let lost = Lost {
            tokens: encoding.get_ids().len().saturating_sub(room) as u64 + rest.unwrap_or(0),
            at_least: rest.is_some(),
        };
        encoding.truncate(room, 0, TruncationDirection::Right);
        let encoding =
            self.inner.post_process(encoding, None, true).map_err(|source| self.failed(text, source))?;
        Ok((encoding, lost))
    }

    /// The encoding of a text, or of so much of a long one that it has `room` ids, and a lower bound on the
    /// number of tokens in the rest.
    fn encode_start(&self, text: &str, room: usize) -> Result<(tokenizers::Encoding, Option<u64>)> {
        let long = text.len() > self.long_text;
        let text = if long { self.pipeline.shorten_words(text) } else { Cow::Borrowed(text) };
        let start = if long { self.certain_start(&text, room)? } else { None };
        match start {
            Some((start, rest)) => Ok((start, Some(rest))),
            None => Ok((self.without_specials(&text)?, None)),
        }
    }

    /// [`Self::encode_start`], its ids alone.
    pub(super) fn start(&self, text: &str, room: usize) -> Result<Start> {
        let (encoding, rest) = self.encode_start(text, room)?;
        Ok(Start { ids: encoding.get_ids().to_vec(), rest })
    }

    /// The encoding of a start of `text` that is certain to give the first `room` ids of the whole, and a
    /// lower bound on the number of tokens in the rest; `None` when the whole text must be encoded.
    fn certain_start(&self, text: &str, room: usize) -> Result<Option<(tokenizers::Encoding, u64)>> {
        let mut wanted = room.saturating_mul(16);
        while let Some(end) = self.pipeline.safe_end(text, wanted) {
            let encoding = self.without_specials(&text[..end])?;
            if encoding.get_ids().len() >= room {
                return Ok(Some((encoding, self.words_at_least(&text[end..]))));
            }
            wanted = end * 2;
        }
        Ok(None)
    }

    #[cfg(test)]
    pub(super) fn pipeline(&self) -> Pipeline {
        self.pipeline
    }

    #[cfg(test)]
    pub(super) fn whole_ids(&self, text: &str) -> Vec<u32> {
        self.without_specials(text).unwrap().get_ids().to_vec()
    }

    #[cfg(test)]
    pub(super) fn certain_ids(&self, text: &str, room: usize) -> Option<(Vec<u32>, u64)> {
        let text = self.pipeline.shorten_words(text);
        let (encoding, rest) = self.certain_start(&text, room).unwrap()?;
        Some((encoding.get_ids()[..room].to_vec(), rest))
    }

    /// Refuses a tokenizer whose long texts cannot be tokenised in pieces with the ids of the whole.
    ///
    /// # Errors
    /// It is such a tokenizer.
    pub fn check_pieces(&self) -> Result<()> {
        if self.pipeline.cuts_into_pieces() {
            return Ok(());
        }
        Err(Error::new(Kind::Tokenizer, "this tokenizer's texts cannot be read in windows")
            .at(&self.path)
            .found("a pipeline that may look across the white space between two words")
            .expected("WordPiece as BERT has it, Unigram with Metaspace, or byte-level BPE as RoBERTa has it")
            .help("say --long truncate"))
    }

    /// Where a piece of a text may end, at or after `wanted` bytes.
    pub(super) fn safe_end(&self, text: &str, wanted: usize) -> Option<usize> {
        self.pipeline.safe_end(text, wanted)
    }

    /// A lower bound on the tokens of a text.
    pub(super) fn words_at_least(&self, text: &str) -> u64 {
        self.pipeline.words_at_least(text)
    }

    /// A text with endless words shortened, which changes no id.
    pub(super) fn shortened<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if text.len() > self.long_text { self.pipeline.shorten_words(text) } else { Cow::Borrowed(text) }
    }

    /// The ids of a text or a piece of one, without special tokens.
    pub(super) fn piece_ids(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.without_specials(text)?.get_ids().to_vec())
    }

    /// The ids of a whole text of any length, without special tokens.
    pub(super) fn all_ids(&self, text: &str) -> Result<Vec<u32>> {
        let text = self.shortened(text);
        let (mut ids, mut rest) = (Vec::new(), &*text);
        while self.pipeline.cuts_into_pieces()
            && let Some(end) = self.safe_end(rest, LONG_TEXT_BYTES)
        {
            ids.extend(self.piece_ids(&rest[..end])?);
            rest = &rest[end..];
        }
        ids.extend(self.piece_ids(rest)?);
        Ok(ids)
    }

    /// [`Self::all_ids`] of many texts, on several threads, whose number changes nothing.
    ///
    /// # Errors
    /// The tokenizer fails on a text.
    pub(super) fn all_ids_on(&self, threads: usize, texts: &[Text<'_>]) -> Result<Vec<Vec<u32>>> {
        let turn = |turn: Range<usize>| -> Result<Vec<Vec<u32>>> {
            let ids = |index: usize| self.all_ids_of(texts[index]).map_err(|error| error.text(index));
            turn.map(ids).collect()
        };
        let parts = in_parallel(threads, turns(texts.len()), &turn);
        Ok(parts.into_iter().collect::<Result<Vec<_>>>()?.concat())
    }

    /// How each of these whole texts is cut into pieces, found on several threads, whose number changes
    /// nothing.
    ///
    /// # Errors
    /// The tokenizer fails on a text.
    pub fn piece_uses(&self, threads: usize, texts: &[impl AsText]) -> Result<Vec<PieceUse>> {
        let ids = self.all_ids_on(threads, &as_texts(texts))?;
        Ok(texts.iter().zip(&ids).map(|(text, ids)| PieceUse::of(text, ids, self.unknown_id)).collect())
    }

    /// A text or a pair within `max_length` ids, and how it was cut into pieces; none where some of it was cut
    /// off.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn read(&self, text: Text<'_>, max_length: usize) -> Result<(Tokens, Lost, Option<PieceUse>)> {
        let (tokens, own, lost) = match text.second {
            None => {
                let (encoding, lost) = self.encode_one(text.first, self.room(max_length)?)?;
                let (ids, (before, after)) = (encoding.get_ids(), self.special_ids());
                let own = ids[before.len()..ids.len() - after.len()].to_vec();
                (Tokens::of_one(ids.to_vec()), own, lost)
            }
            Some(second) => {
                let pair = self.encode_pair([text.first, second], max_length)?;
                let own = pair.halves.map(|half| &pair.ids[half]).concat();
                (Tokens { ids: pair.ids, zeros: pair.zeros }, own, pair.lost)
            }
        };
        let used = (lost == Lost::default()).then(|| PieceUse::of(text, &own, self.unknown_id));
        Ok((tokens, lost, used))
    }

    /// [`Self::piece_ids`] with each id's bytes in the text.
    pub(super) fn piece_spans(&self, text: &str) -> Result<(Vec<u32>, Spans)> {
        let encoding = self.inner.encode(text, false).map_err(|source| self.failed(text, source))?;
        Ok((encoding.get_ids().to_vec(), encoding.get_offsets().to_vec()))
    }

    /// The ids of a text, without special tokens, and which of its words each is a part of.
    pub(super) fn ids_and_words(&self, text: &str) -> Result<(Vec<u32>, Vec<Option<u32>>)> {
        let encoding = self.inner.encode(text, false).map_err(|source| self.failed(text, source))?;
        Ok((encoding.get_ids().to_vec(), encoding.get_word_ids().to_vec()))
    }

    fn without_specials(&self, text: &str) -> Result<tokenizers::Encoding> {
        self.inner.encode_fast(text, false).map_err(|source| self.failed(text, source))
    }

    fn failed(&self, text: &str, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
        let start: String = text.chars().take(SHOWN).collect();
        let dots = if start.len() < text.len() { " …" } else { "" };
        Error::new(Kind::Tokenizer, "the tokenizer failed on a text")
            .at(&self.path)
            .found(format!("{start:?}{dots}"))
            .expected("token ids for any text")
            .help("import the model again with a tokenizer.json that has a token for what is unknown")
            .because(source)
    }
}

/// So many texts in parts, each of which a thread takes at a time.
pub(super) fn turns(texts: usize) -> Vec<Range<usize>> {
    let first = (0..texts).step_by(TEXTS_A_TURN);
    first.map(|first| first..(first + TEXTS_A_TURN).min(texts)).collect()
}

/// BPE dropout leaves merges out at random, which is for training alone.
fn switch_dropout_off(inner: &mut Inner) {
    if let PieceModel::Library(ModelWrapper::BPE(model)) = inner.get_model()
        && model.dropout.is_some()
    {
        let mut model = model.clone();
        model.dropout = None;
        inner.with_model(PieceModel::Library(model.into()));
    }
}

/// A single made-up token with all that the template puts around it.
pub(super) fn template_of_one_token(inner: &Inner) -> tokenizers::Result<tokenizers::Encoding> {
    let text = tokenizers::Token::new(u32::MAX, String::new(), (0, 0));
    inner.post_process(tokenizers::Encoding::from_tokens(vec![text], 0), None, true)
}

/// What the template puts before and after a text.
fn special_ids(inner: &Inner) -> tokenizers::Result<(Vec<u32>, Vec<u32>)> {
    let ids = template_of_one_token(inner)?.get_ids().to_vec();
    let place = ids.iter().position(|id| *id == u32::MAX).unwrap_or(0);
    Ok((ids[..place].to_vec(), ids.get(place + 1..).unwrap_or_default().to_vec()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::tokens::Truncation;

    /// The real WordPiece tokenizer of all-MiniLM-L6-v2.
    pub fn word_piece() -> Tokenizer {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".downloads/all-MiniLM-L6-v2/tokenizer.json");
        assert!(path.is_file(), "{} is missing: run ./scripts/test.sh", path.display());
        Tokenizer::open(&path).unwrap()
    }

    #[test]
    fn ids_equal_those_of_transformers() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/data/golden/golden.json")).unwrap();
        let texts: Vec<&str> =
            golden["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        let encoded = word_piece().encode(&texts, 256).unwrap();
        assert_eq!(texts.len(), 31);
        for (index, ids) in golden["token_ids"].as_array().unwrap().iter().enumerate() {
            let ids: Vec<u64> = ids.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
            let ours: Vec<u64> = encoded.ids(index).iter().map(|id| u64::from(*id)).collect();
            assert_eq!(ours, ids, "text {index}: {:?}", texts[index]);
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let tokenizer = word_piece();
        let texts: Vec<String> = (0..3 * TEXTS_A_TURN + 5)
            .map(|text| format!("text {text} {}", "word ".repeat(text % 40)))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for count in [0, 1, TEXTS_A_TURN, TEXTS_A_TURN + 1, texts.len()] {
            let one = tokenizer.encode(&texts[..count], 20).unwrap();
            for threads in [0, 1, 2, 7] {
                let several = tokenizer.encode_on(threads, &texts[..count], 20).unwrap();
                assert_eq!(several, one);
            }
        }
        assert!(tokenizer.encode_on(2, &texts, 2).is_err());
    }

    #[test]
    fn a_unigram_tokenizer_gives_the_ids_of_python() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tokenizer_unigram");
        let tokenizer = Tokenizer::open(&folder.join("tokenizer.json")).unwrap();
        let golden = std::fs::read_to_string(folder.join("ids.json")).unwrap();
        let golden: serde_json::Value = serde_json::from_str(&golden).unwrap();
        let texts: Vec<&str> =
            golden["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
        let encoded = tokenizer.encode(&texts, 512).unwrap();
        for (text, ids) in golden["ids"].as_array().unwrap().iter().enumerate() {
            assert_eq!(serde_json::json!(encoded.ids(text)), *ids, "{:?}", texts[text]);
        }
        assert_eq!(tokenizer.pad_token_id(), Some(1));
        assert!(tokenizer.keeps_case());
    }

    #[test]
    fn what_is_cut_off_is_counted_exactly() {
        let tokenizer = word_piece();
        let encoded = tokenizer.encode(&["one two three", "word ".repeat(300).as_str(), ""], 256).unwrap();
        assert_eq!(encoded.lengths().collect::<Vec<_>>(), [5, 256, 2]);
        assert_eq!(encoded.lost(1), Lost { tokens: 300 - 254, at_least: false });
        assert_eq!(encoded.truncation(), Truncation { texts: 1, tokens_lost: 46, at_least: false });
        assert_eq!(*encoded.ids(1).last().unwrap(), 102, "the separator is kept");
    }

    #[test]
    fn a_length_without_room_is_refused() {
        let error = word_piece().encode(&["a"], 2).unwrap_err();
        assert!(error.to_string().contains("no room"), "{error}");
    }

    #[test]
    fn facts_about_the_tokenizer() {
        let tokenizer = word_piece();
        assert_eq!(tokenizer.vocabulary_size(), 30522);
        assert_eq!(tokenizer.special_tokens(), 2);
        assert_eq!(tokenizer.pad_token_id(), Some(0));
        assert!(!tokenizer.keeps_case());
    }

    #[test]
    fn a_template_that_cannot_be_filled_is_refused() {
        let whole = include_str!("../../tests/data/foreign_onnx/tokenizer.json");
        let whole: serde_json::Value = serde_json::from_str(whole).unwrap();
        let said = |post_processor: &serde_json::Value| {
            let mut changed = whole.clone();
            changed["post_processor"] = post_processor.clone();
            let read = Tokenizer::from_bytes(changed.to_string().as_bytes(), Path::new("tokenizer.json"));
            read.err().map(|error| format!("{error}: {}", std::error::Error::source(&error).unwrap()))
        };
        let text = serde_json::json!({"Sequence": {"id": "A", "type_id": 0}});
        let template = |piece: serde_json::Value| {
            let token = serde_json::json!({"[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}});
            serde_json::json!({"type": "TemplateProcessing", "single": [text, piece], "pair": [], "special_tokens": token})
        };
        let with = |name: &str| template(serde_json::json!({"SpecialToken": {"id": name, "type_id": 0}}));
        assert_eq!(said(&with("[SEP]")), None);
        assert!(said(&with("[END]")).unwrap().contains("[END]"));
        let several = serde_json::json!({"type": "Sequence", "processors": [with("[SEP]"), with("[END]")]});
        assert!(said(&several).unwrap().contains("[END]"));
        let second = template(serde_json::json!({"Sequence": {"id": "B", "type_id": 0}}));
        assert!(said(&second).unwrap().contains("a second one"));
    }

    #[test]
    fn a_file_that_is_no_tokenizer_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokenizer.json");
        assert_eq!(Tokenizer::open(&path).err().unwrap().kind(), Kind::Io);
        for content in ["", "not json", "{}", "{\"model\": {\"type\": \"Alien\"}}"] {
            std::fs::write(&path, content).unwrap();
            let error = Tokenizer::open(&path).err().unwrap();
            assert_eq!(error.kind(), Kind::Tokenizer, "{content}");
            assert!(error.to_string().contains("tokenizer.json"), "{error}");
        }
    }
}
