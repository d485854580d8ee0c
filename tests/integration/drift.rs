//! How texts fit a model's vocabulary: what `doctor --on` counts of a table, beside what the bundle says of
//! the texts that it was built with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use frosthead::RuntimeOptions;
use frosthead::internal::bundle::{Bundle, BundleRequest, Origin, Variant, piece_detail, write_bundle};
use frosthead::internal::runtime::Runtime;
use frosthead::internal::tokens::PieceUse;
use serde_json::{Value, json};

use crate::harness::{directory, frosthead, frosthead_reading, root, text};
use crate::tiny::tiny;

/// A table like the tiny bundle's, with texts that are strange to it: letters that are not in the vocabulary,
/// and words that are long.
fn strange(rows: usize) -> String {
    let texts = [
        "Батарея разрядилась за час.",
        "Ἡ ὀθόνη ἐστὶ λαμπρά.",
        "ბატარეა ერთ საათში დაჯდა.",
        "Aufladegerätherstellerhaftung und Bildschirmhelligkeitsregelung",
    ];
    let line = |row: usize| format!("{},x,y\n", texts[row % texts.len()]);
    format!("review,domain,sentiment\n{}", (0..rows).map(line).collect::<String>())
}

/// The tiny bundle, that says so of its texts.
fn saying(used: PieceUse, path: &Path) {
    let library = Some(root().join(".downloads/onnxruntime"));
    let runtime = Runtime::load(&RuntimeOptions { library, ..RuntimeOptions::default() }).unwrap();
    let bundle = Bundle::open(&tiny().bundle, None).unwrap();
    let mut variant = Variant::of_bundle(&bundle, bundle.seen_heads()).unwrap();
    variant.details.extend([piece_detail(used)]);
    let request = BundleRequest {
        backbone: &Arc::new(bundle.backbone().unwrap()),
        variant,
        long: bundle.long(),
        text: bundle.manifest().text_columns(),
        texts: &[],
        validation: None,
        origin: Some(&Origin { bundle: &bundle, tasks: [].into() }),
        sign: None,
        overwrite: false,
    };
    write_bundle(path, &request, &runtime).unwrap();
}

/// What `doctor --on` says, for machines and for people.
fn doctor(model: &Path, on: &[&str]) -> (Value, String) {
    let arguments = [&["doctor", text(model), "--on"], on].concat();
    let told = frosthead(&arguments).success().stdout;
    (frosthead(&[&arguments[..], &["--json"]].concat()).success().json()["texts"].take(), told)
}

fn used(texts: &Value) -> PieceUse {
    let number = |name: &str| texts[name].as_u64().unwrap();
    PieceUse {
        texts: number("texts"),
        words: number("words"),
        pieces: number("pieces"),
        unknown: number("unknown"),
    }
}

/// The tiny bundle that says how the texts of its table are cut, and a table of strange texts.
fn made(place: &Path) -> (PathBuf, PathBuf, PieceUse) {
    let (bundle, table) = (place.join("saying.frost"), place.join("strange.csv"));
    let (texts, told) = doctor(&tiny().bundle, &[text(&tiny().table)]);
    assert_eq!((&texts["built"], &texts["worse"]), (&Value::Null, &Value::Null));
    assert!(told.contains("nothing to compare them with"), "{told}");
    saying(used(&texts), &bundle);
    std::fs::write(&table, strange(300)).unwrap();
    (bundle, table, used(&texts))
}

#[test]
fn texts_are_compared_with_those_that_a_bundle_was_built_with() {
    let place = directory();
    let (bundle, table, built) = made(place.path());
    assert_eq!(built.texts, 120);
    assert!(built.words > 1000 && built.pieces > built.words && built.unknown > 0, "{built:?}");
    let inspected = frosthead(&["inspect", text(&bundle)]).success().stdout;
    assert!(
        inspected.contains(&format!("words         {built}, of 120 texts when it was built\n")),
        "{inspected}"
    );

    let (same, told) = doctor(&bundle, &[text(&tiny().table)]);
    assert_eq!((used(&same), used(&same["built"]), &same["worse"]), (built, built, &json!([])));
    assert!(told.contains(&format!("\ntexts           120 in {}: {built}\n", text(&tiny().table))), "{told}");
    assert!(told.contains(&format!("  {built}, of 120 texts when it was built\n")), "{told}");
    assert!(told.contains("the vocabulary fits these texts as it fitted those\n"), "{told}");

    let (other, told) = doctor(&bundle, &[text(&table)]);
    let counted = used(&other);
    assert_eq!((counted.texts, used(&other["built"])), (300, built));
    assert_eq!(other["worse"], json!(["more-pieces", "more-unknown"]), "{other}");
    assert_eq!(other["unknown_share"].as_f64().unwrap(), counted.unknown as f64 / counted.pieces as f64);
    assert_eq!(other["pieces_per_word"].as_f64().unwrap(), counted.pieces as f64 / counted.words as f64);
    let parts = [
        format!("{:.2} pieces a word instead of {:.2}, ", counted.pieces_per_word(), built.pieces_per_word()),
        format!(
            "{:.2} % unknown pieces instead of {:.2} %.",
            100.0 * counted.unknown_share(),
            100.0 * built.unknown_share()
        ),
        "the vocabulary fits these texts worse: ".to_owned(),
        "`frosthead eval`".to_owned(),
    ];
    parts.iter().for_each(|part| assert!(told.contains(part), "{part:?} is not in {told}"));
}

#[test]
fn little_text_is_not_compared() {
    let place = directory();
    let (bundle, table, _) = made(place.path());
    std::fs::write(&table, strange(3)).unwrap();
    let (texts, told) = doctor(&bundle, &[text(&table)]);
    assert_eq!((&texts["texts"], &texts["worse"]), (&json!(3), &Value::Null));
    assert!(texts["built"].is_object() && told.contains("too few words to compare: it takes 200"), "{told}");
}

#[test]
fn texts_are_read_to_their_end_from_any_table() {
    let place = directory();
    let table = place.path().join("long.csv");
    let long = vec!["word"; 5000].join(" ");
    std::fs::write(&table, format!("other,review\nx,{long}\ny,word\nz,\n")).unwrap();
    let bundle = &tiny().bundle;
    let (texts, told) = doctor(bundle, &[text(&table)]);
    assert_eq!((&texts["texts"], &texts["words"]), (&json!(3), &json!(5001)));
    // A word's pieces are the same wherever it stands.
    let (one, _) = doctor(bundle, &[text(&table), "--text", "other"]);
    assert_eq!((&one["texts"], &one["words"]), (&json!(3), &json!(3)), "--text says where the texts are");
    let pieces = texts["pieces"].as_u64().unwrap();
    assert_eq!(pieces % 5001, 0, "{texts}");
    assert_eq!((&texts["limit"], &texts["longer"]), (&json!(48), &json!(1)));
    assert!(
        told.contains("long texts      1 of more than 48 tokens: read in windows of 48 tokens\n"),
        "{told}"
    );

    // Lines, and rows, from standard input.
    let arguments = ["doctor", text(bundle), "--json", "--on", "-"];
    let lines = frosthead_reading(format!("{long}\nword\n\n").as_bytes(), &arguments).success().json();
    assert_eq!((used(&lines["texts"]).pieces, &lines["texts"]["table"]), (pieces, &json!("standard input")));
    let rows = [&arguments[..], &["--format", "jsonl"]].concat();
    let rows =
        frosthead_reading(b"{\"review\": \"word word\"}\n{\"review\": null}\n", &rows).success().json();
    assert_eq!((&rows["texts"]["texts"], &rows["texts"]["words"]), (&json!(2), &json!(2)));
    frosthead(&["doctor", text(bundle), "--on", text(&table), "--text", "absent"])
        .fails_with(&["absent", text(&table)]);
}

#[test]
fn a_prefix_counts_with_the_text_and_a_run_is_read_as_its_bundle() {
    let place = directory();
    let (backbone, run) = (place.path().join("model"), place.path().join("run"));
    let import = ["import", text(&tiny().checkpoint), "--prefix", "query: ", "--out", text(&backbone)];
    frosthead(&import).success();
    let train = ["train", text(&tiny().table), "--text", "review", "--backbone", text(&backbone)];
    frosthead(&[&train[..], &["--task", "domain", "--long", "truncate", "--out", text(&run)]].concat())
        .success();
    let (with, told) = doctor(&run, &[text(&tiny().table)]);
    let (without, _) = doctor(&tiny().bundle, &[text(&tiny().table)]);
    let (with_prefix, plain) = (used(&with), used(&without));
    assert_eq!(with_prefix.words, plain.words + 120, "a word in front of each text");
    let more = with_prefix.pieces - plain.pieces;
    assert!(more >= 120 && more.is_multiple_of(120), "{more}");
    assert!(with["longer"].as_u64() >= without["longer"].as_u64(), "{with} {without}");
    assert!(told.contains("of more than 48 tokens: their end is cut off\n"), "{told}");
}
