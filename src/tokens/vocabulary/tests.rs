//! Owns the trial of what `vocabulary` promises: on the real tokenizers of WordPiece, Unigram and BPE with
//! ten thousand texts each, and on made-up ones of every kind with what is likely to go wrong.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{Coverage, PieceCounts, Pruned, Vocabulary};
use crate::error::Kind;
use crate::text::as_texts;
use crate::tokens::long_text::tests::Draw;
use crate::tokens::tokenizer::tests::word_piece;
use crate::tokens::windows::tests::all_windows;
use crate::tokens::{PieceUse, Tokenizer, WindowOptions, Windows};

const TEXTS: usize = 10_000;

// Opened once for all tests: Unigram's has 250,000 pieces.
static WORD_PIECE: LazyLock<Vocabulary> = LazyLock::new(|| downloaded("all-MiniLM-L6-v2"));
static UNIGRAM: LazyLock<Vocabulary> = LazyLock::new(|| downloaded("multilingual-e5-small"));

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// The vocabulary of a tokenizer in `.downloads`.
fn downloaded(name: &str) -> Vocabulary {
    let path = root().join(".downloads").join(name).join("tokenizer.json");
    let bytes = std::fs::read(&path);
    let bytes = bytes.unwrap_or_else(|_| panic!("{} is missing: run ./scripts/test.sh", path.display()));
    Vocabulary::from_bytes(&bytes, &path).unwrap()
}

fn made_up(file: &Value) -> Vocabulary {
    Vocabulary::from_bytes(file.to_string().as_bytes(), Path::new("made-up.json")).unwrap()
}

/// The first column of the demo data.
fn demo() -> Vec<String> {
    let table = std::fs::read_to_string(root().join("data/demo.csv")).expect("run ./scripts/test.sh");
    let (mut texts, mut rest) = (Vec::new(), table.split_once('\n').unwrap().1);
    while !rest.is_empty() {
        let mut text = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            loop {
                let (before, behind) = rest.split_once('"').unwrap();
                text.push_str(before);
                let Some(behind) = behind.strip_prefix('"') else { break rest = behind };
                text.push('"');
                rest = behind;
            }
        } else {
            let (before, behind) = rest.split_at(rest.find(',').unwrap());
            text.push_str(before);
            rest = behind;
        }
        texts.push(text);
        rest = rest.split_once('\n').map_or("", |(_, next)| next);
    }
    // The table goes domain by domain: mixed, each text once.
    let mixed = (0..texts.len()).map(|place| texts[place * 7919 % texts.len()].clone());
    mixed.collect()
}

/// Checks what is promised of every text; how many are promised anything, and have an unknown piece.
fn holds(whole: &Tokenizer, pruned: &Pruned, texts: &[&str], what: &dyn Fn() -> String) -> (usize, usize) {
    let before = whole.all_ids_on(2, &as_texts(texts)).unwrap();
    let after = pruned.tokenizer.all_ids_on(2, &as_texts(texts)).unwrap();
    let (mut promised, mut unknown) = (0, 0);
    for ((text, before), after) in texts.iter().zip(&before).zip(&after) {
        let moved: Option<Vec<u32>> = before.iter().map(|id| pruned.new_id(*id)).collect();
        if let Some(moved) = moved {
            assert_eq!(*after, moved, "{text:?}: {}", what());
            promised += 1;
            unknown += usize::from(before.iter().any(|id| Some(*id) == whole.unknown_id()));
        }
        assert!(after.iter().all(|id| (*id as usize) < pruned.rows.len()), "{text:?}: {}", what());
    }
    (promised, unknown)
}

/// Prunes a real tokenizer to what 10,000 texts use, and to the pieces used most; what is left of the rows.
fn real(vocabulary: &Vocabulary, most: usize) -> [usize; 2] {
    let name = vocabulary.path.display();
    let whole = vocabulary.tokenizer();
    let texts = demo();
    assert_eq!(texts.len(), 23_610);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (seen, held_out) = (&texts[..TEXTS], &texts[TEXTS..][..TEXTS / 2]);
    let mut counts = PieceCounts::default();
    counts.add(whole, 2, seen).unwrap();
    let say = || name.to_string();

    let used = vocabulary.prune(&counts.used()).unwrap();
    assert_eq!(holds(whole, &used, seen, &say).0, TEXTS, "every text of whose pieces all are kept");
    let (promised, _) = holds(whole, &used, held_out, &say);
    let mut coverage = Coverage::default();
    coverage.add(whole, &used, 2, held_out).unwrap();
    assert_eq!(coverage.same, promised as u64, "no other text has the same pieces");
    assert!(promised > held_out.len() / 2 && promised < held_out.len(), "{promised}");
    assert!(coverage.after.pieces_per_word() > coverage.before.pieces_per_word());
    assert_eq!((coverage.before.words, coverage.before.texts), (coverage.after.words, held_out.len() as u64));

    let frequent = vocabulary.prune(&counts.most_frequent(most)).unwrap();
    let (promised, _) = holds(whole, &frequent, seen, &say);
    assert!(promised > TEXTS / 20 && promised < TEXTS / 10 * 9, "{promised}");
    assert!(frequent.rows.len() < used.rows.len());
    for pruned in [&used, &frequent] {
        assert!(pruned.rows.is_sorted() && pruned.tokenizer.vocabulary_size() == pruned.rows.len());
        assert_eq!(pruned.tokenizer.special_tokens(), whole.special_tokens());
        assert!(vocabulary.required().iter().all(|id| pruned.new_id(*id).is_some()));
    }
    [used.rows.len(), frequent.rows.len()]
}

#[test]
fn texts_of_kept_word_pieces_stay_as_they_are() {
    let vocabulary = &*WORD_PIECE;
    let [used, frequent] = real(vocabulary, 8000);
    assert!(used < 20_000 && (8_000..10_500).contains(&frequent), "{used}, {frequent}");
    assert!(vocabulary.model.strays().is_empty());
    assert!(vocabulary.required().len() < 2_050, "{}", vocabulary.required().len());
}

#[test]
fn texts_of_kept_unigram_pieces_stay_as_they_are() {
    let [used, frequent] = real(&UNIGRAM, 4000);
    assert!(used < 30_000 && frequent < 18_000, "{used}, {frequent}");
}

#[test]
fn texts_of_kept_byte_pairs_stay_as_they_are() {
    let vocabulary = downloaded("byte-level-bpe");
    let [used, frequent] = real(&vocabulary, 4000);
    assert!(used < 30_000 && (4_000..6_000).contains(&frequent), "{used}, {frequent}");
    assert_eq!(vocabulary.tokenizer().unknown_id(), None);
}

#[test]
fn long_texts_and_windows_of_a_smaller_vocabulary_are_those_of_the_whole() {
    for vocabulary in [&*WORD_PIECE, &*UNIGRAM] {
        let whole = vocabulary.tokenizer();
        let texts = demo();
        let text = texts[..1500].join(" ");
        assert!(text.len() > 60_000);
        let mut counts = PieceCounts::default();
        counts.add(whole, 1, &[&text]).unwrap();
        let pruned = vocabulary.prune(&counts.used()).unwrap();
        let moved = |ids: &[u32]| ids.iter().map(|id| pruned.new_id(*id).unwrap()).collect::<Vec<_>>();
        let ours = pruned.tokenizer.encode(&[&text, "", &texts[3]], 128).unwrap();
        let theirs = whole.encode(&[&text, "", &texts[3]], 128).unwrap();
        for index in 0..3 {
            assert_eq!(ours.ids(index), moved(theirs.ids(index)));
            assert_eq!(ours.lost(index), theirs.lost(index));
        }
        let windows = |tokenizer: &Tokenizer| {
            let options = WindowOptions { window: 64, ..WindowOptions::default() };
            let windows = Windows::new(tokenizer, "query: ", 512, options).unwrap();
            let windows = all_windows(&windows, tokenizer, &text, 16 * 1024, false);
            windows.into_iter().map(|window| window.ids).collect::<Vec<_>>()
        };
        let (ours, theirs) = (windows(&pruned.tokenizer), windows(whole));
        assert!(theirs.len() > 200);
        assert_eq!(ours, theirs.iter().map(|ids| moved(ids)).collect::<Vec<_>>());
    }
}

/// Pieces of one to four of a few characters, a few of them missing alone.
fn random_pieces(draw: &mut Draw) -> Vec<String> {
    let letters = ["a", "b", "c", "é", "天"];
    let mut pieces: BTreeSet<String> = BTreeSet::new();
    for letter in letters {
        if draw.below(5) > 0 {
            pieces.insert(letter.to_owned());
        }
    }
    for _ in 0..4 + draw.below(24) {
        let length = 1 + draw.below(4);
        pieces.insert((0..length).map(|_| letters[draw.below(letters.len())]).collect());
    }
    let mut pieces: Vec<String> = pieces.into_iter().collect();
    for last in (1..pieces.len()).rev() {
        pieces.swap(last, draw.below(last + 1));
    }
    pieces
}

fn ids<'a>(pieces: impl IntoIterator<Item = &'a String>) -> Value {
    let mut ids = serde_json::Map::new();
    for piece in pieces {
        let id = ids.len();
        ids.entry(piece.clone()).or_insert(id.into());
    }
    ids.into()
}

fn random_word_piece(draw: &mut Draw) -> Value {
    let pieces: Vec<String> = random_pieces(draw)
        .into_iter()
        .flat_map(|piece| match draw.below(4) {
            0 => vec![piece],
            1 => vec![format!("##{piece}")],
            _ => vec![format!("##{piece}"), piece],
        })
        .collect();
    let all: Vec<String> = std::iter::once("[UNK]".to_owned()).chain(pieces).collect();
    json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 6 + draw.below(6), "vocab": ids(&all)})
}

fn random_unigram(draw: &mut Draw) -> Value {
    let fallback = draw.below(3) == 0;
    let mut pieces = random_pieces(draw);
    if fallback {
        pieces.extend((0..=255).map(|byte: u8| format!("<0x{byte:02X}>")));
    }
    if draw.below(4) == 0 {
        pieces.push(pieces[0].clone());
    }
    // Few scores, so that sums are often equal.
    let scored = pieces.into_iter().map(|piece| json!([piece, -(draw.below(6) as f64) * 1.5 - 0.1]));
    let unknown = json!(["<unk>", 0.0]);
    let mut all: Vec<Value> = std::iter::once(unknown).chain(scored).collect();
    let deep = 1 + draw.below(all.len() - 1);
    if draw.below(2) == 0 {
        all[deep][1] = json!(-30.0);
    }
    json!({"type": "Unigram", "unk_id": 0, "byte_fallback": fallback, "vocab": all})
}

fn random_bpe(draw: &mut Draw) -> Value {
    let prefix = ["", "##"][draw.below(2)];
    let fallback = draw.below(3) == 0;
    let letters = ["a", "b", "c", "é"];
    let mut pieces: Vec<String> = vec!["<unk>".to_owned()];
    pieces.extend(letters.iter().map(|letter| (*letter).to_owned()));
    if !prefix.is_empty() {
        pieces.extend(letters.iter().map(|letter| format!("{prefix}{letter}")));
    }
    if fallback {
        pieces.extend((0..=255).map(|byte: u8| format!("<0x{byte:02X}>")));
    }
    let mergeable = |piece: &String| *piece != "<unk>" && !piece.starts_with('<');
    let mut merges: Vec<Value> = Vec::new();
    let legacy = draw.below(2) == 0;
    for _ in 0..4 + draw.below(24) {
        let parts: Vec<String> = pieces.iter().filter(|piece| mergeable(piece)).cloned().collect();
        let first = parts[draw.below(parts.len())].clone();
        let seconds: Vec<&String> = parts.iter().filter(|piece| piece.starts_with(prefix)).collect();
        let second = seconds[draw.below(seconds.len())].clone();
        let made = format!("{first}{}", &second[prefix.len()..]);
        if made.chars().count() > 8 {
            continue;
        }
        if !pieces.contains(&made) {
            pieces.push(made);
        }
        merges.push(if legacy { json!(format!("{first} {second}")) } else { json!([first, second]) });
    }
    json!({"type": "BPE", "dropout": null, "unk_token": "<unk>", "fuse_unk": draw.below(2) == 0,
        "continuing_subword_prefix": (!prefix.is_empty()).then_some(prefix), "end_of_word_suffix": null,
        "byte_fallback": fallback, "ignore_merges": draw.below(3) == 0, "vocab": ids(&pieces),
        "merges": merges})
}

fn random_word_level(draw: &mut Draw) -> Value {
    let all: Vec<String> = std::iter::once("[UNK]".to_owned()).chain(random_pieces(draw)).collect();
    json!({"type": "WordLevel", "unk_token": "[UNK]", "vocab": ids(&all)})
}

fn of_model(model: &Value) -> Value {
    json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": model})
}

/// Prunes made-up vocabularies to random choices; how many texts were promised anything, how many of them
/// with an unknown piece, and how many were not.
fn made_up_vocabularies(seed: u64, model: fn(&mut Draw) -> Value) -> [usize; 3] {
    let mut draw = Draw(seed);
    let mut count = [0; 3];
    for _ in 0..400 {
        let file = of_model(&model(&mut draw));
        let vocabulary = made_up(&file);
        let size = vocabulary.tokenizer().vocabulary_size();
        let texts: Vec<String> = (0..60)
            .map(|_| {
                let length = 1 + draw.below(8);
                let letters = ["a", "b", "c", "é", "天", "a", "b", "c", "a", "b", "x", " "];
                (0..length).map(|_| letters[draw.below(letters.len())]).collect()
            })
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for _ in 0..4 {
            let share = 1 + draw.below(4);
            let chosen: BTreeSet<u32> = (0..size as u32).filter(|_| draw.below(4) < share).collect();
            let pruned = vocabulary.prune(&chosen).unwrap();
            let say = || format!("{:?} kept of {file}", pruned.rows);
            let (promised, unknown) = holds(vocabulary.tokenizer(), &pruned, &texts, &say);
            for (count, more) in count.iter_mut().zip([promised, unknown, texts.len() - promised]) {
                *count += more;
            }
        }
    }
    count
}

#[test]
fn made_up_vocabularies_of_every_kind_keep_what_is_promised() {
    let kinds: [fn(&mut Draw) -> Value; 4] =
        [random_word_piece, random_unigram, random_bpe, random_word_level];
    for (seed, kind) in (1..).zip(kinds) {
        let count = made_up_vocabularies(seed, kind);
        assert!(count.iter().all(|count| *count > 1_000), "kind {seed}: {count:?}");
    }
}

/// A tokenizer in which an id stands wherever one can stand.
fn named_everywhere() -> Value {
    let mut file = of_model(
        &json!({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "note": {"deep": [1, 2]},
        "vocab": {"one": 0, "two": 1, "[UNK]": 2, "three": 3, "[CLS]": 4, "[SEP]": 5, "four": 6, "[PAD]": 7}}),
    );
    let added = |id: usize, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true})
    };
    // The library gives the last id 8, whatever stands there.
    file["added_tokens"] = json!([added(2, "[UNK]"), added(4, "[CLS]"), added(77, "[MASK]")]);
    file["padding"] = json!({"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 7, "pad_type_id": 0, "pad_token": "[PAD]"});
    let token = |id: usize, name: &str| json!({"id": name, "ids": [id], "tokens": [name]});
    let special = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    file["post_processor"] = json!({"type": "Sequence", "processors": [
        {"type": "BertProcessing", "sep": ["[SEP]", 5], "cls": ["[CLS]", 4]},
        {"type": "RobertaProcessing", "sep": ["three", 3], "cls": ["[CLS]", 4], "trim_offsets": true,
            "add_prefix_space": false},
        {"type": "TemplateProcessing", "single": [special("[MASK]"), text], "pair": [], "special_tokens":
            {"[MASK]": token(8, "[MASK]")}}]});
    file
}

#[test]
fn every_id_of_the_file_is_given_anew_and_nothing_else_changes() {
    let file = named_everywhere();
    let vocabulary = made_up(&file);
    assert_eq!(vocabulary.special, BTreeSet::from([2, 3, 4, 5, 7, 8]));
    let pruned = vocabulary.prune(&BTreeSet::from([6])).unwrap();
    assert_eq!(pruned.rows, [2, 3, 4, 5, 6, 7, 8]);
    let mut wanted = file.clone();
    wanted["model"]["vocab"] = json!({"[UNK]": 0, "three": 1, "[CLS]": 2, "[SEP]": 3, "four": 4, "[PAD]": 5});
    for (place, id) in [0, 2, 6].into_iter().enumerate() {
        wanted["added_tokens"][place]["id"] = id.into();
    }
    wanted["padding"]["pad_id"] = 5.into();
    let steps = &mut wanted["post_processor"]["processors"];
    (steps[0]["sep"][1], steps[0]["cls"][1], steps[1]["sep"][1]) = (3.into(), 2.into(), 1.into());
    steps[1]["cls"][1] = 2.into();
    steps[2]["special_tokens"]["[MASK]"]["ids"][0] = 6.into();
    assert_eq!(serde_json::from_slice::<Value>(&pruned.bytes).unwrap(), wanted);
    let encode = |tokenizer: &Tokenizer| tokenizer.encode(&["four"], 16).unwrap().ids(0).to_vec();
    assert_eq!(encode(&pruned.tokenizer), [6, 2, 2, 4, 3, 1]);
    assert_eq!(encode(vocabulary.tokenizer()), [8, 4, 4, 6, 5, 3]);
    assert_eq!((pruned.new_id(6), pruned.new_id(0)), (Some(4), None));
}

#[test]
fn an_unknown_text_costs_as_much_as_before() {
    // "x" is unknown. The whole cuts "xa" "b", for -40, and not "x" "ab", for -51; without its lowest score, "x"
    // would cost -30, and "x" "ab" -31.
    let scored = json!([
        ["<unk>", 0.0],
        ["a", -20.0],
        ["b", -20.0],
        ["xa", -20.0],
        ["ab", -1.0],
        ["lowest", -40.0],
        ["rare", -5.0],
        ["lowest", -9.0]
    ]);
    let of = |scored: &Value| made_up(&of_model(&json!({"type": "Unigram", "unk_id": 0, "vocab": scored})));
    let cut = |tokenizer: &Tokenizer| tokenizer.all_ids("xab").unwrap();
    let vocabulary = of(&scored);
    assert_eq!(cut(vocabulary.tokenizer()), [3, 2]);
    let pruned = vocabulary.prune(&BTreeSet::from([3, 4])).unwrap();
    assert_eq!(pruned.rows, [0, 1, 2, 3, 4, 5, 7], "the lowest, and the piece of its text that is used");
    assert_eq!(cut(&pruned.tokenizer), [3, 2]);
    let without = json!(scored.as_array().unwrap()[..5]);
    assert_eq!(cut(of(&without).tokenizer()), [0, 4], "the lowest score decides");
}

#[test]
fn ids_that_cannot_be_given_anew_are_refused() {
    let fails = |file: &Value, chosen: BTreeSet<u32>| {
        let read = Vocabulary::from_bytes(file.to_string().as_bytes(), Path::new("made-up.json"));
        let error = read.and_then(|vocabulary| vocabulary.prune(&chosen)).err().unwrap();
        (error.kind(), error.to_string())
    };
    let (kind, said) = fails(&of_model(&json!({"type": "Charm", "vocab": {}})), BTreeSet::new());
    assert!(kind == Kind::Tokenizer && said.contains("\"Charm\""), "{said}");
    let (kind, said) = fails(&named_everywhere(), BTreeSet::from([9]));
    assert!(kind == Kind::Usage && said.contains("the id 9") && said.contains("ids below 9"), "{said}");
    let mut file = named_everywhere();
    file["padding"]["pad_id"] = 40.into();
    let (kind, said) = fails(&file, BTreeSet::new());
    assert!(
        kind == Kind::Tokenizer && said.contains("field \"padding\"") && said.contains("found 40"),
        "{said}"
    );
    // A hole in the ids: the library gives the added token the id of a piece.
    let mut file = named_everywhere();
    file["model"]["vocab"]["four"] = 8.into();
    let (kind, said) = fails(&file, BTreeSet::new());
    assert!(kind == Kind::Tokenizer && said.contains("cannot be given anew"), "{said}");
}

#[test]
fn a_list_of_pieces_names_what_is_wrong_with_it() {
    let vocabulary = made_up(&named_everywhere());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pieces.txt");
    let listed = |content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        vocabulary.listed(&path).map_err(|error| (error.kind(), error.to_string()))
    };
    let special = "[UNK]\n[CLS]\r\n[SEP]\n\n[PAD]\nthree\n[MASK]\n";
    let good = format!("\u{feff}{special}two\ntwo");
    assert_eq!(listed(good.as_bytes()).unwrap(), BTreeSet::from([1, 2, 3, 4, 5, 7, 8]));
    let (kind, said) = listed(format!("{special}five\nsix \n").as_bytes()).unwrap_err();
    assert_eq!(kind, Kind::Usage);
    assert!(said.contains("row 8") && said.contains("found \"five\", \"six \","), "{said}");
    let (kind, said) = listed(b"[UNK]\ntwo\n[PAD]\nthree\n[MASK]").unwrap_err();
    assert_eq!(kind, Kind::Usage);
    assert!(said.contains("leaves out special tokens") && said.contains("\"[CLS]\", \"[SEP]\""), "{said}");
    let (_, said) = listed(b"").unwrap_err();
    assert!(said.contains("\"[PAD]\" and 1 more"), "{said}");
    assert_eq!(listed(b"\xff\xfe").unwrap_err().0, Kind::Usage);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(vocabulary.listed(&path).unwrap_err().kind(), Kind::Io);
}

#[test]
fn counts_add_up_whatever_the_threads() {
    let tokenizer = word_piece();
    let texts = ["the the battery", "the phone", "battery", ""].repeat(40);
    let mut one = PieceCounts::default();
    one.add(&tokenizer, 1, &texts).unwrap();
    let mut parts = PieceCounts::default();
    parts.add(&tokenizer, 3, &texts[..90]).unwrap();
    parts.add(&tokenizer, 2, &texts[90..]).unwrap();
    assert_eq!(one, parts);
    let id = |piece: &str| tokenizer.inner().token_to_id(piece).unwrap();
    assert_eq!(one.used(), BTreeSet::from([id("the"), id("battery"), id("phone")]));
    assert_eq!(one.most_frequent(1), BTreeSet::from([id("the")]));
    assert_eq!(one.most_frequent(2), BTreeSet::from([id("the"), id("battery")]));
    assert_eq!(one.most_frequent(0), BTreeSet::new());
}

#[test]
fn coverage_says_what_texts_lose() {
    let vocabulary = &*WORD_PIECE;
    let whole = vocabulary.tokenizer();
    let mut counts = PieceCounts::default();
    counts.add(whole, 1, &["the phone"]).unwrap();
    let pruned = vocabulary.prune(&counts.used()).unwrap();
    let mut coverage = Coverage::default();
    assert_eq!(coverage.same_share(), 1.0);
    coverage.add(whole, &pruned, 1, &["The phone", "the battery"]).unwrap();
    // "battery" in letters: none is unknown.
    let used = |pieces| PieceUse { texts: 2, words: 4, pieces, unknown: 0 };
    assert_eq!(coverage, Coverage { same: 1, before: used(4), after: used(10) });
    assert_eq!(coverage.same_share(), 0.5);
}
