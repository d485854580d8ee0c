//! The compact form is the same tokenizer, and every way its bytes can lie is noticed.

use std::path::Path;

use serde_json::{Value, json};
use tokenizers::Model as _;
use tokenizers::models::unigram;

use super::*;
use crate::tokens::Tokenizer;
use crate::tokens::long_text::tests::Draw;

fn fixture() -> (Vec<u8>, Tokenizer) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tokenizer_unigram/tokenizer.json");
    (std::fs::read(&path).unwrap(), Tokenizer::open(&path).unwrap())
}

fn compact(bytes: &[u8]) -> Tokenizer {
    Tokenizer::from_compact(bytes, Path::new("x.frost")).unwrap()
}

/// A small Unigram tokenizer: pieces in no order, one a start of another, one of another script.
fn small() -> Value {
    json!({"version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{"id": 0, "content": "<unk>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}],
        "normalizer": null, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
            "split": true}, "post_processor": null, "decoder": null,
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": [["<unk>", 0.0], ["b", -2.0],
            ["ab", -1.5], ["a", -2.0], ["é", -3.0], ["▁", -1.0], ["▁a", -2.5]]}})
}

#[test]
fn the_compact_form_is_read_as_the_file_is() {
    let (file, whole) = fixture();
    let bytes = whole.compact_form(&file, 0).unwrap().unwrap();
    assert_eq!(bytes, whole.compact_form(&file, 0).unwrap().unwrap());
    let compact = compact(&bytes);
    assert_eq!(compact.special_ids(), whole.special_ids());
    assert_eq!(compact.vocabulary_size(), whole.vocabulary_size());
    assert_eq!((compact.unknown_id(), compact.pad_token_id()), (whole.unknown_id(), whole.pad_token_id()));
    assert_eq!(compact.keeps_case(), whole.keeps_case());
    assert_eq!(compact.pipeline(), whole.pipeline());
    assert_eq!(compact.template_of_pairs(), whole.template_of_pairs());
    assert_eq!(compact.inner().get_vocab(true), whole.inner().get_vocab(true));
    for id in 0..whole.vocabulary_size() as u32 + 2 {
        assert_eq!(compact.piece(id), whole.piece(id));
    }
    let text = "The battery died after two days — naïve, café 中文 🙂 <unk> </s>  x";
    assert_eq!(compact.inner().encode(text, true).unwrap(), whole.inner().encode(text, true).unwrap());
}

#[test]
fn large_unigram_vocabularies_alone_have_one() {
    let (file, whole) = fixture();
    let pieces = whole.inner().get_model().get_vocab_size();
    assert!(whole.compact_form(&file, pieces).is_some());
    assert!(whole.compact_form(&file, pieces + 1).is_none());
    let word_piece = crate::tokens::tokenizer::tests::word_piece();
    assert!(word_piece.compact_form(b"{}", 0).is_none());
    let mut twice = small();
    twice["model"]["vocab"].as_array_mut().unwrap().push(json!(["ab", -9.0]));
    let file = twice.to_string().into_bytes();
    let tokenizer = Tokenizer::from_bytes(&file, Path::new("x")).unwrap();
    let why = tokenizer.compact_form(&file, 0).unwrap().unwrap_err();
    assert!(why.contains("\"ab\" stands in its vocabulary twice"), "{why}");
}

/// A vocabulary over few characters, so that words can be cut in many ways, with scores that tie.
fn vocabulary(draw: &mut Draw) -> Vec<(String, f64)> {
    const CHARACTERS: [&str; 6] = ["a", "b", "c", "é", "天", "▁"];
    let mut pieces: Vec<(String, f64)> = Vec::new();
    for _ in 0..1 + draw.below(24) {
        let length = draw.below(5);
        let piece: String = (0..length).map(|_| CHARACTERS[draw.below(CHARACTERS.len())]).collect();
        // Sums of these tie without being rounded; some are above 0.
        let score = (draw.below(40) as f64 - 32.0) / 4.0;
        pieces.push((piece, score));
    }
    if draw.below(3) == 0 {
        let bytes = if draw.below(2) == 0 { 0..256 } else { 0x60..0xf8 };
        pieces.extend(bytes.map(|byte| (format!("<0x{byte:02X}>"), -(draw.below(5) as f64))));
    }
    let mut seen = std::collections::BTreeSet::new();
    pieces.retain(|(piece, _)| seen.insert(piece.clone()));
    pieces
}

fn table(pieces: &[(String, f64)]) -> Table {
    let mut sorted: Vec<(&str, f64, u32)> =
        pieces.iter().zip(0..).map(|((piece, score), id)| (piece.as_str(), *score, id)).collect();
    sorted.sort_unstable_by_key(|(piece, ..)| *piece);
    let mut table = Table { text: String::new(), ends: vec![], ids: vec![], scores: vec![] };
    for (piece, score, id) in sorted {
        table.text.push_str(piece);
        table.ends.push(table.text.len() as u32);
        table.ids.push(id);
        table.scores.push(score);
    }
    table
}

#[test]
fn words_are_cut_as_the_library_cuts_them() {
    let mut draw = Draw(31);
    let (mut tied, mut failed, mut in_bytes) = (0, 0, 0);
    for _ in 0..3000 {
        let pieces = vocabulary(&mut draw);
        let unknown = (draw.below(6) > 0).then(|| draw.below(pieces.len()));
        let byte_fallback = draw.below(2) == 0;
        let theirs = unigram::Unigram::from(pieces.clone(), unknown, byte_fallback).unwrap();
        let ours = Unigram::new(table(&pieces), unknown.map(|id| id as u32), byte_fallback).unwrap();
        for _ in 0..20 {
            let parts = (0..draw.below(12)).map(|_| match draw.below(8) {
                0 => ["x", "🙂", "ß", "<0x61>"][draw.below(4)].to_owned(),
                1 => pieces[draw.below(pieces.len())].0.clone(),
                _ => ["a", "b", "c", "é", "天", "▁"][draw.below(6)].to_owned(),
            });
            let word: String = parts.collect();
            match (theirs.tokenize(&word), ours.tokenize(&word)) {
                (Ok(theirs), Ok(ours)) => {
                    assert_eq!(ours, theirs, "{word:?} by {pieces:?}, unknown {unknown:?}");
                    tied += usize::from(ours.len() > 2);
                    in_bytes += usize::from(ours.iter().any(|token| token.value.starts_with("<0x")));
                }
                (Err(theirs), Err(ours)) => {
                    assert_eq!(ours.to_string(), theirs.to_string());
                    failed += 1;
                }
                (theirs, ours) => panic!("{theirs:?} and {ours:?}: {word:?} by {pieces:?}"),
            }
        }
        for (piece, _) in &pieces {
            assert_eq!(ours.id(piece), theirs.token_to_id(piece));
            assert_eq!(ours.id(&format!("{piece}z")), theirs.token_to_id(&format!("{piece}z")));
        }
    }
    assert!(tied > 10_000 && failed > 1000 && in_bytes > 1000, "{tied} {failed} {in_bytes}");
}

#[test]
fn the_same_way_is_taken_when_sums_are_equal() {
    let pieces = [("ab", -2.0), ("a", -1.0), ("b", -1.0), ("ba", -2.0), ("aba", -3.0)];
    let pieces: Vec<(String, f64)> = pieces.map(|(piece, score)| (piece.to_owned(), score)).to_vec();
    let theirs = unigram::Unigram::from(pieces.clone(), Some(1), false).unwrap();
    let ours = Unigram::new(table(&pieces), Some(1), false).unwrap();
    for word in ["ab", "aba", "abab", "babaab", "aabbaabb"] {
        assert_eq!(ours.tokenize(word).unwrap(), theirs.tokenize(word).unwrap());
    }
}

/// The tensors of a compact form: a name, a type, a shape, and bytes.
type Tensor = (&'static str, Dtype, Vec<usize>, Vec<u8>);

/// A compact form with something changed.
fn changed(change: impl FnOnce(&mut Vec<Tensor>)) -> Vec<u8> {
    let file = small().to_string().into_bytes();
    let whole = Tokenizer::from_bytes(&file, Path::new("x")).unwrap();
    let bytes = whole.compact_form(&file, 0).unwrap().unwrap();
    let read = Tensors::read(&bytes, Kind::Tokenizer).unwrap();
    let mut tensors = Vec::new();
    for name in [PARTS, TEXT, ENDS, IDS, SCORES] {
        let tensor = read.any(name).unwrap();
        tensors.push((name, tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec()));
    }
    change(&mut tensors);
    let mut file = TensorFile::default();
    tensors.into_iter().for_each(|(name, dtype, shape, bytes)| file.add(name, dtype, &shape, bytes));
    file.to_bytes()
}

/// The same with one tensor's bytes changed.
fn with(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    changed(|tensors| {
        let (_, dtype, shape, bytes) = tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap();
        change(bytes);
        *shape = vec![bytes.len() / (dtype.bitsize() / 8)];
    })
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[track_caller]
fn refused(bytes: &[u8], parts: &[&str]) {
    let read = Tokenizer::from_compact(bytes, Path::new("x.frost"));
    let Err(error) = read else { panic!("the tokenizer was read") };
    let text = error.to_string();
    assert_eq!(error.kind(), Kind::Tokenizer, "{text}");
    for part in parts.iter().chain(&["x.frost"]) {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn an_unchanged_form_is_read() {
    let tokenizer = compact(&changed(|_| {}));
    assert_eq!(tokenizer.piece_ids("ab ax").unwrap(), [5, 2, 6, 0]);
    // In the order of bytes.
    let table = Compact::read(&changed(|_| {})).unwrap().table;
    assert_eq!((table.text.as_str(), table.ids), ("<unk>aabbé▁▁a", vec![0, 3, 2, 1, 4, 5, 6]));
}

#[test]
fn bytes_that_are_no_such_file_are_refused() {
    let whole = changed(|_| {});
    for end in [0, 7, 8, 60, whole.len() - 1] {
        refused(&whole[..end], &["not a whole safetensors file"]);
    }
    refused(&[&whole[..], b"x"].concat(), &["not a whole safetensors file"]);
    refused(
        &changed(|tensors| drop(tensors.pop())),
        &["what it must be", "the tensors ends, ids, parts, text"],
    );
    let one_more = |tensors: &mut Vec<Tensor>| tensors.push(("more", Dtype::U8, vec![1], vec![0]));
    refused(&changed(one_more), &["what it must be", "more"]);
    let halved = |tensors: &mut Vec<Tensor>| (tensors[4].1, tensors[4].2) = (Dtype::F32, vec![14]);
    refused(&changed(halved), &["scores", "wrong type", "F64"]);
}

#[test]
fn pieces_that_lie_elsewhere_or_in_no_order_are_refused() {
    let ends = |ends: &[u32]| with(ENDS, |bytes| *bytes = numbers(ends));
    assert!(Tokenizer::from_compact(&ends(&[5, 6, 8, 9, 11, 14, 18]), Path::new("x")).is_ok());
    refused(&ends(&[5, 6, 8, 9, 11, 14, 19]), &["\"ends\"", "19 behind 14", "of 18 bytes"]);
    refused(&ends(&[5, 6, 8, 9, 11, 14, u32::MAX]), &["\"ends\"", "4294967295"]);
    refused(&ends(&[5, 6, 8, 7, 11, 14, 18]), &["\"ends\"", "7 behind 8"]);
    refused(&ends(&[5, 6, 8, 10, 11, 14, 18]), &["\"ends\"", "10 behind 8"]);
    refused(&ends(&[5, 6, 8, 9, 11, 14, 17]), &["\"ends\"", "17 of 18 bytes"]);
    refused(&ends(&[5, 6, 8, 9, 11, 18]), &["\"ids\"", "7 for 6 pieces"]);
    refused(&ends(&[]), &["\"ids\"", "7 for 0 pieces"]);
    // A piece twice, and pieces that are not sorted.
    refused(&ends(&[5, 6, 7, 9, 11, 14, 18]), &["\"text\"", "\"a\" behind \"a\""]);
    refused(
        &with(TEXT, |bytes| bytes[5] = b'z'),
        &["\"text\"", "\"ab\" behind \"z\"", "order of their bytes"],
    );
    refused(&with(TEXT, |bytes| bytes[9] = 0xff), &["\"text\"", "no UTF-8 at byte 9"]);
}

#[test]
fn ids_and_scores_that_cannot_be_are_refused() {
    let ids = |ids: &[u32]| with(IDS, |bytes| *bytes = numbers(ids));
    refused(&ids(&[0, 3, 2, 1, 4, 5, 7]), &["\"ids\"", "7 at place 6", "once"]);
    refused(&ids(&[0, 3, 2, 1, 4, 5, 5]), &["\"ids\"", "5 at place 6"]);
    refused(&ids(&[0, 3, 2, 1, 4, 5]), &["\"ids\"", "6 for 7 pieces"]);
    for score in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let lie = with(SCORES, |bytes| bytes[16..24].copy_from_slice(&score.to_le_bytes()));
        refused(&lie, &["\"scores\"", "at place 2"]);
    }
    refused(&with(SCORES, |bytes| bytes.truncate(48)), &["\"scores\"", "6 for 7 pieces"]);
    let parts = |change: &dyn Fn(&mut Value)| {
        with(PARTS, |bytes| {
            let mut parts: Value = serde_json::from_slice(bytes).unwrap();
            change(&mut parts);
            *bytes = parts.to_string().into_bytes();
        })
    };
    refused(&parts(&|parts| parts["model"]["unk_id"] = 7.into()), &["\"parts\"", "found 7"]);
    refused(&parts(&|parts| parts["model"]["type"] = "BPE".into()), &["\"parts\"", "not Unigram"]);
    refused(&parts(&|parts| parts["normalizer"] = json!({"type": "no such"})), &["\"parts\""]);
    refused(&parts(&|parts| parts["surprise"] = 1.into()), &["\"parts\"", "surprise"]);
    refused(&parts(&|parts| parts["added_tokens"][0]["content"] = 1.into()), &["\"parts\""]);
    let damaged = json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"});
    refused(&parts(&|parts| parts["normalizer"] = damaged.clone()), &[]);
    refused(&with(PARTS, |bytes| bytes.truncate(20)), &[]);
}
