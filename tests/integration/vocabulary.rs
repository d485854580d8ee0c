//! Bundles that keep some word pieces only: the same answers for texts of these, and what others lose is told
//! and gated.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Finished, backbone, demo, directory, frosthead, frosthead_reading, text};

const TASKS: [&str; 4] = ["--task", "domain", "--task", "sentiment"];

fn train(out: &Path, more: &[&str]) -> PathBuf {
    let data = demo(1200);
    let arguments = ["train", text(&data), "--backbone", backbone(), "--out", text(out)];
    frosthead(&[&arguments[..], &TASKS, more].concat()).success();
    data
}

fn bundle(run: &Path, out: &Path, more: &[&str]) -> Finished {
    let arguments = ["bundle", text(run), "--overwrite", "--out", text(out), "--max-drop", "100"];
    frosthead(&[&arguments[..], more].concat())
}

fn predicted(model: &Path, texts: &str) -> Vec<Value> {
    let arguments = ["predict", "-", "--format", "lines", "--model", text(model), "--all-probabilities"];
    frosthead_reading(texts.as_bytes(), &arguments).success().json_lines()
}

fn inspected(bundle: &Path) -> Value {
    frosthead(&["inspect", text(bundle), "--json"]).success().json()["manifest"].clone()
}

fn words(bundle: &Path) -> u64 {
    inspected(bundle)["backbone"]["architecture"]["config"]["vocabulary_size"].as_u64().unwrap()
}

/// Texts of the table, one a line.
fn texts(data: &Path, most: usize) -> String {
    let mut reader = csv::Reader::from_path(data).unwrap();
    let texts = reader.records().map(|record| record.unwrap()[0].replace(['\n', '\r'], " "));
    texts.take(most).collect::<Vec<_>>().join("\n")
}

#[test]
fn texts_of_kept_pieces_get_the_same_answers_to_the_bit() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    let data = train(&path("run"), &["--features", "layers:0-2"]);
    // Exact numbers, and numbers of one byte: the scales of a table are each row's own.
    for precision in ["fp32", "w8"] {
        let (whole, used) = (path("whole.frost"), path("used.frost"));
        let plain = ["--precision", precision];
        let plain = if precision == "fp32" { &[][..] } else { &plain[..] };
        let arguments =
            ["bundle", text(&path("run")), "--overwrite", "--out", text(&whole)].map(str::to_owned);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        frosthead(&[&arguments[..], plain].concat()).success();
        let told = bundle(&path("run"), &used, &["--vocabulary", "used", "--precision", precision]).success();
        for part in [
            "vocabulary: ",
            " of 30,522 pieces; ",
            "% of ",
            "validation texts have the same pieces",
            "points on them",
        ] {
            assert!(told.stdout.contains(part), "{part}: {}", told.stdout);
        }
        let (all, some) = (std::fs::metadata(&whole).unwrap().len(), std::fs::metadata(&used).unwrap().len());
        assert!(words(&used) < 12_000 && some < all, "{} words, {some} of {all} bytes", words(&used));
        // Test rows are texts that the vocabulary was not made of: some are cut otherwise, and most are not.
        let texts = texts(&data, 400);
        let same =
            predicted(&whole, &texts).iter().zip(&predicted(&used, &texts)).filter(|(a, b)| a == b).count();
        assert!((200..400).contains(&same), "{precision}: {same} of 400");
    }
    let manifest = inspected(&path("used.frost"));
    assert_eq!(manifest["part_of"]["vocabulary_size"], 30_522);
    let told = frosthead(&["inspect", text(&path("used.frost"))]).success().stdout;
    assert!(told.contains("of 30,522 words") && told.contains("pieces a word"), "{told}");
    // It is a model like any other: refitted, evaluated, served under a limit.
    let refit = ["refit", text(&path("used.frost")), text(&data), "--out", text(&path("refit.frost"))]
        .map(str::to_owned);
    let refit: Vec<&str> = refit.iter().map(String::as_str).collect();
    frosthead(&[&refit[..], &TASKS].concat()).success();
    assert_eq!(words(&path("refit.frost")), words(&path("used.frost")));
    frosthead(&["eval", text(&data), "--model", text(&path("used.frost")), "--rows", "all"]).success();
    frosthead(&["doctor", text(&path("used.frost")), "--on", text(&data)]).success();
}

#[test]
fn fewer_pieces_are_a_smaller_file_and_their_loss_goes_through_the_gate() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name);
    train(&path("run"), &["--depth", "1"]);
    let (used, few) = (path("used.frost"), path("few.frost"));
    bundle(&path("run"), &used, &["--vocabulary", "used"]).success();
    bundle(&path("run"), &few, &["--keep", "300"]).success();
    assert!(words(&few) + 1000 < words(&used), "{} {}", words(&few), words(&used));
    let report = std::fs::read(path("run/precision.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let coverage = &report["vocabulary"]["coverage"];
    assert!(coverage["same"].as_u64() < coverage["before"]["texts"].as_u64(), "{report}");
    assert!(coverage["after"]["pieces"].as_u64() > coverage["before"]["pieces"].as_u64(), "{report}");
    let lost = report["variants"][0]["tasks"]["domain"]["vocabulary"]["accuracy_drop"].as_f64().unwrap();
    assert!(lost > 1.0, "300 pieces lose {lost} points");
    // In 8 bits, with a small table, at a lesser depth: one gate.
    bundle(
        &path("run"),
        &path("least.frost"),
        &["--keep", "300", "--precision", "int8", "--table-bits", "4", "--depth", "0"],
    )
    .success();
    assert!(predicted(&path("least.frost"), "lol best day ever").len() == 1);
    let strict =
        ["bundle", text(&path("run")), "--out", text(&path("no.frost")), "--keep", "300"].map(str::to_owned);
    let strict: Vec<&str> = strict.iter().map(String::as_str).collect();
    let refused = frosthead(&[&strict[..], &["--max-drop", "0.5"]].concat()).exits(1);
    assert!(refused.stderr.contains("no variant"), "{}", refused.stderr);
    assert!(!path("no.frost").exists());
    // The frequent ones of a list, and what is wrong with lists.
    let list = path("list.txt");
    let pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "great", "battery"];
    std::fs::write(&list, pieces.join("\n")).unwrap();
    bundle(&path("run"), &path("listed.frost"), &["--vocabulary", text(&list)]).success();
    assert!(words(&path("listed.frost")) < words(&few));
    bundle(&path("run"), &path("listed.frost"), &["--vocabulary", text(&list), "--keep", "2"]).success();
    std::fs::write(&list, "the\nfilm\n").unwrap();
    bundle(&path("run"), &path("no.frost"), &["--vocabulary", text(&list)])
        .fails_with(&["special tokens", "[UNK]"]);
    std::fs::write(&list, "[PAD]\nno such piece\n").unwrap();
    bundle(&path("run"), &path("no.frost"), &["--vocabulary", text(&list)]).fails_with(&[
        "does not have",
        "no such piece",
        "list.txt",
    ]);
    bundle(&path("run"), &path("no.frost"), &["--vocabulary", "nowhere.txt"]).fails_with(&["nowhere.txt"]);
}
