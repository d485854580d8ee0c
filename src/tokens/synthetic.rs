//! Owns the trial of cutting: made-up tokenizers of every kind, and texts of what is likely to be cut
//! wrongly. What a tokenizer gives for a text that is long to it must be what it gives for the whole.

use std::path::Path;

use serde_json::{Value, json};

use super::added::AddedTokens;
use super::long_text::tests::Draw;
use super::tokenizer::LongText;
use super::windows::tests::all_windows;
use super::{Tokenizer, WindowOptions, Windows};

/// Words a vocabulary has, and texts are made of.
const WORDS: [&str; 14] =
    ["a", "b", "x", "1", "9", "ab", "abc", "covid", "the", "天", "气", "很", "é", "don"];
const ADDED: [&str; 36] = [
    "covid19",
    "x",
    "ab",
    "[X]",
    "<m>",
    "天气",
    "气",
    "气很",
    "a b",
    " ",
    "  ",
    "a天",
    "天a",
    "¨",
    "x¨y",
    "é",
    "e\u{301}",
    "-",
    "##",
    "\n",
    "a-",
    "-a",
    "🙂",
    "\u{301}",
    "A",
    "ﬁ",
    "1",
    "a1b2",
    "天 气",
    " x",
    "x ",
    "- ",
    "a\u{a0}b",
    "ab\u{3000}",
    "[X",
    "很\u{200b}",
];
const PIECES: [&str; 44] = [
    "a",
    "b",
    "x",
    "1",
    "9",
    "ab",
    "abc",
    "covid",
    "covid19",
    "the",
    "the ",
    "x ",
    "ab ",
    "a b",
    " ",
    " ",
    " ",
    "  ",
    "\n",
    "\t",
    "天",
    "气",
    "很",
    "天气很好",
    "好",
    "a天",
    "é",
    "e\u{301}",
    "\u{301}",
    "-",
    "- ",
    ".",
    "'t",
    "🙂",
    "🙂\u{200d}🔥",
    "ﬁ",
    "¨",
    "\u{a0}",
    "\u{3000}",
    "\u{200b}",
    "[X]",
    "<m>",
    "Ab",
    "한",
];

fn pick<'s>(draw: &mut Draw, from: &[&'s str]) -> &'s str {
    from[draw.below(from.len())]
}

fn coin(draw: &mut Draw) -> bool {
    draw.below(2) == 0
}

fn normalizer(draw: &mut Draw, depth: usize) -> Value {
    match draw.below(16) {
        0..5 => {
            json!({"type": "BertNormalizer", "clean_text": coin(draw), "handle_chinese_chars": draw.below(4) > 0,
            "strip_accents": (draw.below(3) > 0).then(|| coin(draw)), "lowercase": coin(draw)})
        }
        5 => json!({"type": "NFC"}),
        6 => json!({"type": "NFKC"}),
        7 => json!({"type": "NFKD"}),
        8 => json!({"type": "Lowercase"}),
        9 => json!({"type": "Strip", "strip_left": coin(draw), "strip_right": coin(draw)}),
        10 => {
            let pattern = pick(draw, &["a", " ", "x", "-", "b"]);
            json!({"type": "Replace", "pattern": {"String": pattern}, "content": pick(draw, &["", " ", "b", "▁"])})
        }
        11 => {
            json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": pick(draw, &[" ", "▁", "x"])})
        }
        12 => json!({"type": "StripAccents"}),
        13 => json!({"type": pick(draw, &["Nmt", "ByteLevel"])}),
        _ if depth > 0 => {
            let steps: Vec<Value> = (0..1 + draw.below(3)).map(|_| normalizer(draw, 0)).collect();
            json!({"type": "Sequence", "normalizers": steps})
        }
        14 => json!({"type": "Prepend", "prepend": "▁"}),
        _ => json!({"type": "NFD"}),
    }
}

fn pre_tokenizer(draw: &mut Draw, depth: usize) -> Value {
    match draw.below(16) {
        0..4 => json!({"type": "BertPreTokenizer"}),
        4 => json!({"type": "Whitespace"}),
        5 | 6 => json!({"type": "WhitespaceSplit"}),
        7..10 => json!({"type": "Metaspace", "replacement": "▁", "split": draw.below(5) > 0,
            "prepend_scheme": pick(draw, &["always", "first", "never"])}),
        10 => {
            json!({"type": "ByteLevel", "add_prefix_space": coin(draw), "trim_offsets": true, "use_regex": coin(draw)})
        }
        11 => {
            json!({"type": "Punctuation", "behavior": pick(draw, &["Isolated", "MergedWithNext", "Contiguous"])})
        }
        12 => json!({"type": "Digits", "individual_digits": coin(draw)}),
        13 => json!({"type": "Split", "pattern": {"String": pick(draw, &[" ", "a", "-"])}, "invert": false,
            "behavior": pick(draw, &["Isolated", "Removed", "MergedWithNext", "MergedWithPrevious"])}),
        _ if depth > 0 => {
            let steps: Vec<Value> = (0..1 + draw.below(2)).map(|_| pre_tokenizer(draw, 0)).collect();
            json!({"type": "Sequence", "pretokenizers": steps})
        }
        _ => json!({"type": "BertPreTokenizer"}),
    }
}

fn model(draw: &mut Draw) -> Value {
    let letters = ('a'..='z').chain('0'..='9').chain("天气很éÄ-.'[]<>▁ ".chars()).map(String::from);
    let base = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].into_iter().chain(WORDS).map(str::to_owned);
    let mut vocabulary: Vec<String> = base.chain(letters).collect();
    let mut more: Vec<String> = WORDS.iter().map(|word| format!("▁{word}")).collect();
    more.extend(('a'..='k').map(|letter| format!("##{letter}")));
    vocabulary.extend(more);
    let mut seen = std::collections::BTreeSet::new();
    vocabulary.retain(|word| seen.insert(word.clone()));
    let ids: serde_json::Map<String, Value> =
        vocabulary.iter().enumerate().map(|(id, word)| (word.clone(), id.into())).collect();
    match draw.below(8) {
        0..4 => json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 3 + draw.below(12), "vocab": ids}),
        4..7 => {
            let scores: Vec<Value> =
                vocabulary.iter().enumerate().map(|(id, word)| json!([word, -(id as f64) / 7.0])).collect();
            json!({"type": "Unigram", "unk_id": 1, "vocab": scores, "byte_fallback": false})
        }
        _ => json!({"type": "BPE", "unk_token": "[UNK]", "fuse_unk": coin(draw), "vocab": ids,
            "merges": [["a", "b"], ["ab", "c"]], "dropout": 0.5}),
    }
}

/// A `tokenizer.json` of any parts; the library may refuse it (two tokens that become the same).
fn tokenizer_json(draw: &mut Draw) -> Value {
    let model = model(draw);
    let added: Vec<Value> = (0..draw.below(4))
        .map(|id| {
            json!({"id": 200 + id, "content": pick(draw, &ADDED), "single_word": draw.below(4) == 0,
                "lstrip": draw.below(4) == 0, "rstrip": draw.below(4) == 0, "normalized": coin(draw), "special": coin(draw)})
        })
        .collect();
    let normalizer = if draw.below(8) == 0 { Value::Null } else { normalizer(draw, 1) };
    let pre_tokenizer = if draw.below(20) == 0 { Value::Null } else { pre_tokenizer(draw, 1) };
    json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": null, "model": model})
}

fn text(draw: &mut Draw, added: &[&str]) -> String {
    let bytes = 20 + draw.below(500);
    let mut text = String::new();
    while text.len() < bytes {
        match draw.below(14) {
            0 => text.push_str(&pick(draw, &["a", "covid19", "ab1", "9"]).repeat(draw.below(30))),
            1 => text.push_str(&"天气很好".repeat(draw.below(8))),
            // Words with a space between: where cuts are made.
            2..6 => {
                for _ in 0..draw.below(5) {
                    text.push_str(pick(draw, &["the ", "a1b2 ", "x ", "covid ", "b ", "ab "]));
                }
            }
            6..9 if !added.is_empty() => text.push_str(&pick(draw, added).repeat(1 + draw.below(3))),
            _ => text.push_str(pick(draw, &PIECES)),
        }
    }
    text
}

#[test]
fn made_up_tokenizers_give_long_texts_the_ids_of_the_whole() {
    let mut draw = Draw(2026);
    let path = Path::new("made-up");
    let (mut made, mut cut, mut in_pieces) = (0, 0, 0);
    for _ in 0..1200 {
        let file = tokenizer_json(&mut draw);
        let bytes = file.to_string().into_bytes();
        let long = LongText { bytes: 24, run: 16 };
        let Ok(tokenizer) = Tokenizer::with_long_text(&bytes, path, long) else { continue };
        // Which of two equal tokens is found is drawn anew for each of the two tokenizers.
        if AddedTokens::of(tokenizer.inner()).unwrap().same().is_some() {
            continue;
        }
        let never = LongText { bytes: usize::MAX, ..long };
        let whole = Tokenizer::with_long_text(&bytes, path, never).unwrap();
        made += 1;
        let added: Vec<&str> =
            file["added_tokens"].as_array().unwrap().iter().map(|t| t["content"].as_str().unwrap()).collect();
        for _ in 0..6 {
            let text = text(&mut draw, &added);
            let length = 1 + draw.below(12);
            let (ours, theirs) = (tokenizer.encode(&[&text], length), whole.encode(&[&text], length));
            let (Ok(ours), Ok(theirs)) = (ours, theirs) else { continue };
            assert_eq!(ours.ids(0), theirs.ids(0), "{length} ids of {text:?}: {file}");
            let (lost, all) = (ours.lost(0), theirs.lost(0));
            assert!(
                lost.tokens == all.tokens || lost.at_least && lost.tokens < all.tokens,
                "{text:?}: {file}"
            );
            cut += usize::from(lost.at_least);
            in_pieces += usize::from(windows_are_of_the_whole(&mut draw, &tokenizer, &whole, &text, &file));
        }
    }
    assert!(made > 800 && cut > 800 && in_pieces > 800, "{made} made, {cut} cut, {in_pieces} in pieces");
}

/// Compares all windows of a text; whether there were several.
fn windows_are_of_the_whole(
    draw: &mut Draw,
    tokenizer: &Tokenizer,
    whole: &Tokenizer,
    text: &str,
    file: &Value,
) -> bool {
    let window = 1 + draw.below(12);
    let Ok(windows) = Windows::new(tokenizer, "", 512, WindowOptions { window, ..WindowOptions::default() })
    else {
        return false;
    };
    let found = all_windows(&windows, tokenizer, text, 1 + draw.below(60), coin(draw));
    let ids: Vec<u32> = found.iter().flat_map(|window| window.ids.clone()).collect();
    assert_eq!(ids, whole.whole_ids(text), "windows of {window} ids of {text:?}: {file}");
    found.len() > 1
}
