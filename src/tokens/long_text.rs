//! Owns cutting a long text *before* it is tokenised, at a place that provably leaves the first ids
//! unchanged.
//!
//! `tokenizers` encodes a whole text before it truncates: 10 MB take 8 s and 1.5 GiB. The ids of a start
//! `text[..end]` are the first ids of the whole text when no step of the pipeline looks across `end`. The
//! steps are: added tokens are searched for in the text, what lies between them is normalised, others are
//! searched for in that, the rest is split, and the model sees each piece alone. Two cuts are used:
//!
//! * **At an ASCII space between two ASCII letters or digits**, when the pre-tokenizer splits there
//!   (`BertPreTokenizer`, `WhitespaceSplit`, `Metaspace` with `split`, `ByteLevel` with its expression: in
//!   `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+` a match that has a letter or
//!   digit ends in front of a space, and one begins with it when a letter or digit follows). Normalisers of the kinds in
//!   [`is_local`] work on characters or on grapheme clusters, and neither an ASCII space nor a letter beside
//!   it combines with its neighbours; that this one leaves such a space alone is tried (`keeps_words`).
//! * **Between two CJK ideographs**, when `BertNormalizer` surrounds each with spaces.
//!
//! Neither is used when an added token could reach across such a place (`added`).
//!
//! A text without such a place for megabytes is usually one run of letters and digits. WordPiece turns a word
//! of more than `max_input_chars_per_word` characters into `[UNK]` whatever it is, so a run of ASCII letters
//! and digits longer than [`LONG_RUN`] may be shortened to that length: it is inside one word (nothing splits
//! between two of them), the word stays beyond the limit, and its one id stays `[UNK]`. An added token that
//! could be found in such a run forbids it.
//!
//! Refuses to guess: for any other pipeline, and where there is no such place, the whole text is encoded,
//! slow but right.

use std::borrow::Cow;

use serde_json::Value;
use tokenizers::{NormalizedString, Normalizer as _};

use super::added::{AddedTokens, is_ideograph};
use super::description::Description;
use super::model::Inner;

/// Texts up to this many bytes are encoded whole, which takes some 10 ms and gives an exact count of what was
/// cut off.
pub(super) const LONG_TEXT_BYTES: usize = 16 * 1024;

/// Longest run of ASCII letters and digits that is kept whole.
pub(super) const LONG_RUN: usize = 1000;

/// What is known about a tokenizer's pipeline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pipeline {
    /// Spaces between words split, and nothing looks across them.
    splits_at_spaces: bool,
    /// What follows such a space has the same ids when it stands alone, the space in front.
    continues_after_spaces: bool,
    /// Each CJK ideograph is a word of its own.
    splits_ideographs: bool,
    /// Runs of ASCII letters and digits beyond this length are `[UNK]`, however long they are.
    unknown_beyond: Option<usize>,
}

impl Pipeline {
    /// What follows from what a `tokenizer.json` says about itself, and from what the tokenizer made from it
    /// searches for; anything unknown makes it uncuttable. Runs of letters and digits are kept up to
    /// `long_run`.
    pub(super) fn of(
        file: &Description,
        inner: &Inner,
        added: Option<&AddedTokens>,
        long_run: usize,
    ) -> Self {
        let Some(added) = added.filter(|_| keeps_words(inner)) else {
            return Self::default();
        };
        let Description { normalizer, pre_tokenizer, model, .. } = file;
        let bert = pre_tokenizer["type"] == "BertPreTokenizer"
            && (normalizer.is_null() || normalizer["type"] == "BertNormalizer");
        let word_piece = model.kind == "WordPiece";
        let longest_word = model.max_input_chars_per_word.as_u64();
        let short_words = longest_word.is_some_and(|longest| longest < long_run as u64);
        Self {
            splits_at_spaces: (bert || splits_words(pre_tokenizer) && is_local(normalizer, pre_tokenizer))
                && (word_piece || model.kind == "Unigram" || model.kind == "BPE")
                && added.stay_within_words(),
            continues_after_spaces: (bert || continues(pre_tokenizer, normalizer))
                // The space in front of such a token stands alone, or at an end, where it may be stripped or
                // not.
                && !(strips(normalizer) && added.begin_words()),
            splits_ideographs: bert
                && word_piece
                && normalizer["handle_chinese_chars"].as_bool() == Some(true)
                && added.stay_within_ideographs(),
            unknown_beyond: (bert && word_piece && short_words && added.stay_out_of_runs(long_run))
                .then_some(long_run),
        }
    }

    /// Whether a text can be encoded in pieces cut at [`Self::safe_end`], one after the other.
    pub(super) fn cuts_into_pieces(self) -> bool {
        self.splits_at_spaces && self.continues_after_spaces
    }

    /// The first safe place to cut at or after `wanted` bytes; `None` when there is none.
    pub(super) fn safe_end(self, text: &str, wanted: usize) -> Option<usize> {
        if !self.splits_at_spaces && !self.splits_ideographs {
            return None;
        }
        let bytes = text.as_bytes();
        (wanted.max(1)..bytes.len().saturating_sub(1)).find(|&at| {
            let space = self.splits_at_spaces
                && bytes[at] == b' '
                && bytes[at - 1].is_ascii_alphanumeric()
                && bytes[at + 1].is_ascii_alphanumeric();
            space || self.splits_ideographs && between_ideographs(text, at)
        })
    }

    /// A lower bound on the number of tokens in a text that is not tokenised: words after a space.
    pub(super) fn words_at_least(self, text: &str) -> u64 {
        let starts = |pair: &&[u8]| pair[0] == b' ' && pair[1].is_ascii_alphanumeric();
        if self.splits_at_spaces { text.as_bytes().windows(2).filter(starts).count() as u64 } else { 0 }
    }

    /// The text with endless runs of ASCII letters and digits shortened (see the module's argument).
    pub(super) fn shorten_words(self, text: &str) -> Cow<'_, str> {
        let Some(kept) = self.unknown_beyond else { return Cow::Borrowed(text) };
        let mut shortened: Option<String> = None;
        let (mut run_start, mut kept_from) = (0, 0);
        let bytes = text.as_bytes();
        for at in 0..=bytes.len() {
            if at < bytes.len() && bytes[at].is_ascii_alphanumeric() {
                continue;
            }
            if at - run_start > kept {
                shortened.get_or_insert_default().push_str(&text[kept_from..run_start + kept]);
                kept_from = at;
            }
            run_start = at + 1;
        }
        match shortened {
            Some(mut shortened) => {
                shortened.push_str(&text[kept_from..]);
                Cow::Owned(shortened)
            }
            None => Cow::Borrowed(text),
        }
    }
}

/// Whether `at` lies between two ideographs of the main CJK block.
fn between_ideographs(text: &str, at: usize) -> bool {
    // Ideographs of that block take three bytes in UTF-8.
    let ideograph =
        |piece: Option<&str>| piece.and_then(|piece| piece.chars().next()).is_some_and(is_ideograph);
    at >= 3 && text.is_char_boundary(at) && ideograph(text.get(at - 3..at)) && ideograph(text.get(at..at + 3))
}

/// Whether the normalizer leaves a space between ASCII letters or digits alone, and makes letters or digits
/// of those: what a table of replacements says is not known otherwise.
fn keeps_words(inner: &Inner) -> bool {
    let Some(normalizer) = inner.get_normalizer() else { return true };
    let normalized = |text: &str| {
        let mut text = NormalizedString::from(text);
        normalizer.normalize(&mut text).ok().map(|()| text.get().to_owned())
    };
    let letters =
        (b'0'..=b'9').chain(b'A'..=b'Z').chain(b'a'..=b'z').map(|byte| char::from(byte).to_string());
    let letters: Vec<String> = letters.collect();
    let alone: Option<Vec<String>> = letters.iter().map(|letter| normalized(letter)).collect();
    let is_word = |word: &String| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    alone.is_some_and(|alone| {
        alone.iter().all(is_word) && normalized(&letters.join(" ")) == Some(alone.join(" "))
    })
}

/// Whether a pre-tokenizer splits at spaces (alone, or as a step of a sequence of steps that only split
/// further).
fn splits_words(pre_tokenizer: &Value) -> bool {
    match pre_tokenizer["type"].as_str() {
        Some("WhitespaceSplit" | "BertPreTokenizer") => true,
        // So is its expression.
        Some("ByteLevel") => pre_tokenizer["use_regex"].as_bool() != Some(false),
        // `split` is on unless said otherwise.
        Some("Metaspace") => pre_tokenizer["split"].as_bool() != Some(false),
        Some("Sequence") => {
            let steps = pre_tokenizer["pretokenizers"].as_array().map_or(&[][..], Vec::as_slice);
            !steps.is_empty() && steps.iter().all(splits_words)
        }
        _ => false,
    }
}

/// Whether a normaliser looks at characters or grapheme clusters only. `Replace` is taken in the one form
/// that multilingual models use: runs of spaces become one, or the mark that `Metaspace` splits at.
fn is_local(normalizer: &Value, pre_tokenizer: &Value) -> bool {
    match normalizer["type"].as_str() {
        None => normalizer.is_null(),
        Some(
            "BertNormalizer" | "Precompiled" | "NFC" | "NFD" | "NFKC" | "NFKD" | "Lowercase" | "StripAccents"
            | "Nmt" | "Strip",
        ) => true,
        Some("Replace") => {
            let content = &normalizer["content"];
            let splits =
                content == " " || steps(pre_tokenizer).iter().any(|step| step["replacement"] == *content);
            normalizer["pattern"]["Regex"] == " {2,}" && splits
        }
        Some("Sequence") => normalizer["normalizers"]
            .as_array()
            .is_some_and(|steps| steps.iter().all(|step| is_local(step, pre_tokenizer))),
        Some(_) => false,
    }
}

/// The steps of a pre-tokenizer, one after the other.
fn steps(pre_tokenizer: &Value) -> &[Value] {
    match pre_tokenizer["type"].as_str() {
        Some("Sequence") => pre_tokenizer["pretokenizers"].as_array().map_or(&[], Vec::as_slice),
        _ => std::slice::from_ref(pre_tokenizer),
    }
}

/// Whether a word behind a space is encoded alike at the start of a text that begins with that space.
/// `Metaspace` marks the start of a word by the space before it, or itself (`always`): then the space may be
/// lost on the way (`Strip`, `WhitespaceSplit`). In `ByteLevel` the space is part of the word.
fn continues(pre_tokenizer: &Value, normalizer: &Value) -> bool {
    let steps = steps(pre_tokenizer);
    if strips(normalizer) && steps.iter().any(|step| step["type"].as_str() == Some("ByteLevel")) {
        return false;
    }
    let mut metaspaces = steps.iter().filter(|step| step["type"].as_str() == Some("Metaspace"));
    let marks_itself = |step: &Value| match step["prepend_scheme"].as_str() {
        Some(scheme) => scheme == "always",
        None => step["add_prefix_space"].as_bool() != Some(false),
    };
    metaspaces.all(|step| marks_itself(step) || steps.len() == 1 && !strips(normalizer))
}

/// Whether a normaliser may take white space off a text's start.
fn strips(normalizer: &Value) -> bool {
    match normalizer["type"].as_str() {
        Some("Strip") => true,
        Some("Sequence") => {
            normalizer["normalizers"].as_array().is_some_and(|steps| steps.iter().any(strips))
        }
        _ => false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::tokens::Tokenizer;
    use crate::tokens::tokenizer::tests::word_piece;
    use std::path::Path;
    use std::time::Instant;

    /// The tiny Unigram tokenizer in the form multilingual models have.
    pub fn unigram() -> Tokenizer {
        Tokenizer::open(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tokenizer_unigram/tokenizer.json"),
        )
        .unwrap()
    }

    /// A tiny byte-level BPE in RoBERTa's form.
    pub fn byte_level() -> Tokenizer {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/families/roberta/tokenizer.json");
        Tokenizer::open(&path).unwrap()
    }

    /// A small counter-based generator: reproducible texts without a dependency.
    pub struct Draw(pub u64);

    impl Draw {
        pub fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut bits = self.0;
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            usize::try_from((bits ^ (bits >> 31)) >> 33).unwrap() % bound
        }
    }

    const PIECES: [&str; 30] = [
        "the",
        "battery",
        "Died",
        "x9",
        "unbelievable",
        "don't",
        "[SEP]",
        "[MASK]",
        "<mask>",
        "</s>",
        "…",
        "!!!",
        "é",
        "e\u{301}",
        "\u{200b}",
        "\u{a0}",
        "\u{3000}",
        "\u{2028}",
        "\u{7}",
        "\0",
        "天气",
        "今",
        "🙂",
        "🙂\u{200d}🔥",
        "ﬁ",
        "한국어",
        "العربية",
        "a",
        "-",
        "\u{301}",
    ];

    /// Words, signs, accents, ideographs and white space of all kinds.
    pub fn random_text(draw: &mut Draw, bytes: usize) -> String {
        let mut text = String::new();
        while text.len() < bytes {
            match draw.below(12) {
                0 => text.push_str(&"ab1".repeat(draw.below(900))),
                1 => text.push_str(&"天气很好".repeat(draw.below(60))),
                2 => text.push_str("  "),
                3 => text.push('\n'),
                4..8 => {
                    text.push_str(["the ", "battery ", "unbelievable ", "x9 "][draw.below(4)]);
                }
                _ => {
                    text.push_str(PIECES[draw.below(PIECES.len())]);
                    if draw.below(4) > 0 {
                        text.push(' ');
                    }
                }
            }
        }
        text
    }

    /// First ids of the whole text, encoded without any cutting.
    fn whole(tokenizer: &Tokenizer, text: &str, room: usize) -> Vec<u32> {
        let mut ids = tokenizer.whole_ids(text);
        ids.truncate(room);
        ids
    }

    fn cut_equals_whole(tokenizer: &Tokenizer, seed: u64) -> usize {
        let mut draw = Draw(seed);
        let mut cut = 0;
        for _ in 0..1000 {
            let length = 200 + draw.below(6000);
            let text = random_text(&mut draw, length);
            let room = 1 + draw.below(40);
            let Some((ids, _)) = tokenizer.certain_ids(&text, room) else { continue };
            cut += 1;
            assert_eq!(ids, whole(tokenizer, &text, room), "room {room}, text {text:?}");
        }
        cut
    }

    #[test]
    fn a_thousand_random_texts_give_the_same_ids_cut_and_whole() {
        for (tokenizer, seed) in [(word_piece(), 1), (unigram(), 2), (byte_level(), 3)] {
            let cut = cut_equals_whole(&tokenizer, seed);
            assert!(cut > 500, "only {cut} texts were cut: the test tests nothing");
        }
    }

    #[test]
    fn ten_megabytes_are_cut_fast_and_right() {
        let tokenizer = word_piece();
        let sentence = "The quick brown fox jumps over the lazy dog. ";
        for (text, start) in [
            (sentence.repeat(10_000_000 / sentence.len()), sentence.repeat(200)),
            ("a1".repeat(5_000_000), "a1".repeat(5_000)),
            ("天气很好".repeat(833_334), "天气很好".repeat(500)),
        ] {
            let clock = Instant::now();
            let encoded = tokenizer.encode(&[&text], 256).unwrap();
            // Generous for an unoptimised build on a busy machine: the whole text takes some 8 s optimised.
            assert!(clock.elapsed().as_secs_f64() < 2.0, "{:?}", clock.elapsed());
            assert_eq!(encoded.ids(0), tokenizer.encode(&[&start], 256).unwrap().ids(0));
        }
    }

    #[test]
    fn what_an_early_cut_loses_is_a_lower_bound() {
        let text = "word ".repeat(100_000);
        let encoded = word_piece().encode(&[&text], 256).unwrap();
        let lost = encoded.lost(0);
        assert!(lost.at_least);
        assert!((99_000..=100_000 - 254).contains(&lost.tokens), "{lost:?}");
    }

    /// The pipeline of a tokenizer with these parts and one added token.
    fn pipeline(normalizer: &Value, pre_tokenizer: &Value, model: &str, token: &Value) -> Pipeline {
        let model = match model {
            "WordPiece" => serde_json::json!({"type": model, "unk_token": "u", "vocab": {"u": 0},
                "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}),
            "Unigram" => serde_json::json!({"type": model, "unk_id": 0, "vocab": [["u", 0.0]]}),
            "WordLevel" => serde_json::json!({"type": model, "unk_token": "u", "vocab": {"u": 0}}),
            _ => serde_json::json!({"type": model, "vocab": {"u": 0}, "merges": []}),
        };
        let mut added = serde_json::json!({"id": 1, "content": "[SEP]", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true});
        for (name, value) in token.as_object().unwrap() {
            added[name] = value.clone();
        }
        let file = serde_json::json!({"version": "1.0", "added_tokens": [added], "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer, "model": model});
        Tokenizer::from_bytes(file.to_string().as_bytes(), Path::new("made-up")).unwrap().pipeline()
    }

    #[test]
    fn unknown_pipelines_are_never_cut() {
        let normalizer = serde_json::json!({"type": "BertNormalizer", "handle_chinese_chars": true, "clean_text": true,
            "strip_accents": null, "lowercase": true});
        let bert = serde_json::json!({"type": "BertPreTokenizer"});
        let with = |token: Value| pipeline(&normalizer, &bert, "WordPiece", &token);
        let plain = with(serde_json::json!({}));
        assert!(plain.splits_at_spaces && plain.splits_ideographs && plain.cuts_into_pieces());
        assert_eq!(plain.unknown_beyond, Some(LONG_RUN));
        let none = Pipeline::default();
        let bytes = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
        let unknown = serde_json::json!({"type": "Prepend", "prepend": "x"});
        for (normalizer, pre_tokenizer, model) in
            [(&normalizer, &bytes, "BPE"), (&normalizer, &bert, "WordLevel"), (&unknown, &bert, "WordPiece")]
        {
            let found = pipeline(normalizer, pre_tokenizer, model, &serde_json::json!({}));
            assert_eq!(
                found.safe_end("a b c d e f", 2),
                none.safe_end("a b c d e f", 2),
                "{normalizer} {model}"
            );
        }
        // A token forbids just what it can reach into.
        let allowed = |content: &str, more: &str| {
            let mut token = serde_json::json!({"content": content, "normalized": true});
            if !more.is_empty() {
                token[more] = true.into();
            }
            let found = with(token);
            (found.splits_at_spaces, found.splits_ideographs, found.unknown_beyond.is_some())
        };
        assert_eq!(allowed("covid19", ""), (true, true, false));
        assert_eq!(allowed("\u{6c14}\u{5f88}", ""), (true, false, true));
        assert_eq!(allowed("two words", ""), (false, true, false));
        assert_eq!(allowed("mask", "lstrip"), (false, true, false));
        assert_eq!(allowed("<mask>", "lstrip"), (true, true, true));
        // The space is part of a byte-level word.
        let byte_level = |normalizer: Value| {
            let bytes =
                serde_json::json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true});
            pipeline(&normalizer, &bytes, "BPE", &serde_json::json!({})).cuts_into_pieces()
        };
        assert!(byte_level(Value::Null) && byte_level(serde_json::json!({"type": "NFC"})));
        assert!(!byte_level(serde_json::json!({"type": "Strip", "strip_left": true, "strip_right": true})));
        // Metaspace marks a word itself, or by a space that nothing may take away.
        let unigram = |normalizer: &str, scheme: &str| {
            let normalizer = serde_json::json!({"type": normalizer, "strip_left": true, "strip_right": true});
            let metaspace =
                serde_json::json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme});
            pipeline(&normalizer, &metaspace, "Unigram", &serde_json::json!({}))
        };
        for scheme in ["always", "first", "never"] {
            assert!(unigram("NFKC", scheme).cuts_into_pieces());
            assert_eq!(unigram("Strip", scheme).cuts_into_pieces(), scheme == "always");
        }
    }

    #[test]
    fn a_normalizer_that_changes_spaces_or_letters_forbids_cuts() {
        let split = serde_json::json!({"type": "WhitespaceSplit"});
        for (content, cuts) in [(" ", true), ("x", false)] {
            let fine =
                serde_json::json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": content});
            assert_eq!(pipeline(&fine, &split, "Unigram", &serde_json::json!({})).splits_at_spaces, cuts);
        }
        let joins = serde_json::json!({"type": "Replace", "pattern": {"String": " "}, "content": ""});
        assert!(!pipeline(&joins, &split, "Unigram", &serde_json::json!({})).splits_at_spaces);
    }
}
