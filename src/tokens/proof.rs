//! Owns making a tokenizer's compact form, and proving it: what it makes of words and texts is what the
//! `tokenizer.json` does, ids, offsets, words and all.
//!
//! Both have the same normalizer, pre-tokenizer, added tokens and template, made by the library of the same
//! words; what differs is the model. So the models are tried on every piece of the vocabulary and on what is
//! near it, and both tokenizers on texts: all pieces as running text, texts that are drawn to be hard, and
//! those that the caller has.
//!
//! Refuses a form that differs in anything.

use std::ops::Range;

use tokenizers::Model as _;

use super::Tokenizer;
use super::long_text::LONG_TEXT_BYTES;
use super::tokenizer::turns;
use crate::error::quoted;
use crate::parallel::in_parallel;
use crate::text::{AsText, as_texts};

/// Pieces that make a running text together.
const TOGETHER: usize = 12;
/// Hard texts that are drawn.
const DRAWN: usize = 4_000;
/// Parts that such a text has at most.
const MOST_PARTS: usize = 40;
/// Bytes of an unbroken word.
const LONG_WORD: usize = 3_000;

/// What texts are hard by: scripts, kinds of white space, marks that join or stand alone, what normalizers
/// replace, and what no vocabulary has.
const HARD: [&str; 47] = [
    "the",
    "The",
    "naïve",
    "ÉCOLE",
    "straße",
    "ångström",
    "Привет",
    "мир",
    "Ελλάδα",
    "שלום",
    "مرحبا",
    "नमस्ते",
    "ক্ষ",
    "สวัสดี",
    "こんにちは",
    "カタカナ",
    "漢字",
    "中文字符",
    "한국어",
    "አማርኛ",
    "ქართული",
    "🙂",
    "👩‍👩‍👧",
    "🇩🇪",
    "👍🏽",
    " ",
    "  ",
    "\t",
    "\n",
    "\u{a0}",
    "\u{3000}",
    "\u{200b}",
    "\u{fe0f}",
    "e\u{301}",
    "\u{301}",
    "ﬁ",
    "Ⅷ",
    "①",
    "½",
    "…",
    "\u{0}",
    "\u{10ffff}",
    "\u{e000}",
    "<0x0A>",
    "▁",
    "1234567890",
    "https://a.b/c?d=e",
];

/// What became of the compact form of a tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompactForm {
    /// There is no reason for one: another kind of model, or a small vocabulary.
    Needless,
    /// Its bytes.
    Proven(Vec<u8>),
    /// There would be, but it would not be the same, or cannot be made; why.
    Refused(String),
}

impl CompactForm {
    /// That of a tokenizer that was read of these bytes of a `tokenizer.json`, from so many pieces on; tried
    /// on these texts, too.
    #[must_use]
    pub fn of(file: &[u8], whole: &Tokenizer, fewest: usize, threads: usize, texts: &[impl AsText]) -> Self {
        let bytes = match whole.compact_form(file, fewest) {
            None => return Self::Needless,
            Some(Err(why)) => return Self::Refused(why),
            Some(Ok(bytes)) => bytes,
        };
        let read = Tokenizer::from_compact(&bytes, whole.path());
        let halves: Vec<&str> = as_texts(texts).into_iter().flat_map(|text| text.halves()).collect();
        let difference = match &read {
            Ok(compact) => Both { whole, compact }.difference(threads, &halves),
            Err(error) => Some(error.to_string()),
        };
        difference.map_or(Self::Proven(bytes), Self::Refused)
    }
}

/// A tokenizer and its compact form.
struct Both<'t> {
    whole: &'t Tokenizer,
    compact: &'t Tokenizer,
}

impl Both<'_> {
    /// What the compact form does otherwise, if anything.
    fn difference(&self, threads: usize, texts: &[&str]) -> Option<String> {
        let count = self.whole.inner().get_model().get_vocab_size();
        let piece = |id: usize| self.whole.piece(u32::try_from(id).ok()?);
        let pieces: Vec<String> = (0..count).filter_map(piece).collect();
        if pieces.len() != count || self.compact.inner().get_model().get_vocab_size() != count {
            return Some(format!("it has not all of {count} pieces"));
        }
        let running = pieces.chunks(TOGETHER).map(|pieces| pieces.concat().replace('▁', " "));
        let mut made: Vec<String> = running.collect();
        made.extend(hard_texts(&pieces));
        let tried: Vec<&str> = made.iter().map(String::as_str).chain(texts.iter().copied()).collect();
        let of_pieces = |mut range: Range<usize>| range.find_map(|id| self.of_piece(&pieces, id));
        let of_texts = |mut range: Range<usize>| range.find_map(|text| self.of_text(tried[text]));
        in_parallel(threads, turns(count), &of_pieces)
            .into_iter()
            .chain(in_parallel(threads, turns(tried.len()), &of_texts))
            .flatten()
            .next()
    }

    /// The difference in a piece, or in what its model makes of words near it.
    fn of_piece(&self, pieces: &[String], id: usize) -> Option<String> {
        let (whole, compact) = (self.whole.inner().get_model(), self.compact.inner().get_model());
        let (piece, next) = (&pieces[id], &pieces[(id + 1) % pieces.len()]);
        let number = u32::try_from(id).unwrap_or(u32::MAX);
        if compact.id_to_token(number).as_ref() != Some(piece)
            || compact.token_to_id(piece) != whole.token_to_id(piece)
        {
            return Some(format!("the piece {} has another id than {id}", quoted(piece)));
        }
        let shorter = piece.char_indices().next_back().map_or("", |(last, _)| &piece[..last]);
        let words = [piece.clone(), format!("{piece}{next}"), format!("{shorter}\u{10ffff}{next}")];
        words.into_iter().find_map(|word| {
            let same = match (whole.tokenize(&word), compact.tokenize(&word)) {
                (Ok(whole), Ok(compact)) => whole == compact,
                (whole, compact) => whole.is_err() && compact.is_err(),
            };
            (!same).then(|| format!("the word {} is cut otherwise", quoted(&word)))
        })
    }

    /// The difference in a text, or in the start of a long one.
    fn of_text(&self, text: &str) -> Option<String> {
        let text = &text[..text.floor_char_boundary(LONG_TEXT_BYTES)];
        let same = match (self.whole.inner().encode(text, true), self.compact.inner().encode(text, true)) {
            (Ok(whole), Ok(compact)) => whole == compact,
            (whole, compact) => whole.is_err() && compact.is_err(),
        };
        // A text is not shown: it may be the user's.
        (!same).then(|| format!("a text of {} characters is cut otherwise", text.chars().count()))
    }
}

/// The same texts for the same pieces, whenever they are drawn.
fn hard_texts(pieces: &[String]) -> Vec<String> {
    // PCG's multiplier and increment.
    let mut state = 20_261_129_u64;
    let mut below = |most: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % most.max(1)
    };
    let mut texts: Vec<String> = HARD.iter().map(|hard| (*hard).to_owned()).collect();
    texts.extend(HARD.iter().map(|hard| hard.repeat(LONG_WORD / hard.len())));
    for _ in 0..DRAWN {
        let parts = 1 + below(MOST_PARTS);
        let text = (0..parts).map(|_| match below(8) {
            0..3 => HARD[below(HARD.len())].to_owned(),
            3 => " ".to_owned(),
            // A start of a piece, which need not be one.
            4 => pieces[below(pieces.len())].chars().take(1 + below(4)).collect(),
            5 => char::from_u32(below(0x2_0000) as u32).map(String::from).unwrap_or_default(),
            _ => pieces[below(pieces.len())].replace('▁', " "),
        });
        texts.push(text.collect());
    }
    texts
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;

    fn fixture() -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tokenizer_unigram/tokenizer.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn opened(file: &Value) -> (Vec<u8>, Tokenizer) {
        let bytes = file.to_string().into_bytes();
        let tokenizer = Tokenizer::from_bytes(&bytes, Path::new("x")).unwrap();
        (bytes, tokenizer)
    }

    /// What is found when the compact form is that of another file.
    fn found(change: impl FnOnce(&mut Value), texts: &[&str]) -> Option<String> {
        let (_, whole) = opened(&fixture());
        let mut other = fixture();
        change(&mut other);
        let (file, tokenizer) = opened(&other);
        let bytes = tokenizer.compact_form(&file, 0).unwrap().unwrap();
        let compact = Tokenizer::from_compact(&bytes, Path::new("x")).unwrap();
        Both { whole: &whole, compact: &compact }.difference(2, texts)
    }

    #[test]
    fn a_compact_form_that_is_the_same_is_proven() {
        let (file, tokenizer) = opened(&fixture());
        let form = CompactForm::of(&file, &tokenizer, 0, 2, &["The battery died after two days."]);
        let CompactForm::Proven(bytes) = form else { panic!("{form:?}") };
        assert_eq!(Some(Ok(bytes)), tokenizer.compact_form(&file, 0));
        assert_eq!(CompactForm::of(&file, &tokenizer, usize::MAX, 2, &[""; 0]), CompactForm::Needless);
    }

    #[test]
    fn any_difference_is_found() {
        assert_eq!(found(|_| {}, &["some text"]), None);
        let pieces = |file: &Value| file["model"]["vocab"].as_array().unwrap().len();
        let last = pieces(&fixture()) - 1;
        // One id for another, one score, one piece less, another unknown id, another template, another
        // normalizer.
        let swapped = found(|file| file["model"]["vocab"].as_array_mut().unwrap().swap(last, last - 1), &[]);
        assert!(swapped.unwrap().contains("another id"));
        let scored = found(|file| file["model"]["vocab"][last][1] = json!(-0.5), &[]);
        assert!(scored.unwrap().contains("cut otherwise"));
        let fewer = found(|file| drop(file["model"]["vocab"].as_array_mut().unwrap().pop()), &[]);
        assert!(fewer.unwrap().contains("not all of"));
        assert!(found(|file| file["model"]["unk_id"] = 4.into(), &[]).is_some());
        assert!(found(|file| file["post_processor"] = Value::Null, &[]).is_some());
        assert!(found(|file| file["normalizer"] = Value::Null, &[]).is_some());
    }

    #[test]
    fn texts_of_the_caller_are_tried_and_not_shown() {
        let told = |texts: &[&str]| {
            found(
                |file| {
                    file["added_tokens"]
                        .as_array_mut()
                        .unwrap()
                        .push(json!({"id": 9999, "content": "qzx", "single_word": true,
                "lstrip": false, "rstrip": false, "normalized": false, "special": true}));
                },
                texts,
            )
        };
        assert_eq!(told(&["no such word"]), None);
        let told = told(&["a qzx word"]).unwrap();
        assert!(told.contains("10 characters") && !told.contains("qzx"), "{told}");
    }
}
