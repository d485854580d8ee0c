//! The library's page: which names it shows, that programs need no others, and what is left out of a build
//! that does not train.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::harness::{demo, directory, finish, root, text, tiny_checkpoint};

/// How many names a program may have to look through, and lines of `lib.rs` before the modules.
const NAMES: std::ops::RangeInclusive<usize> = 30..=42;
const PAGE_LINES: usize = 70;

/// What nothing but training (with importing, embedding to a file, and tuning) needs.
const TRAINING: [(&str, &str); 14] = [
    ("lib.rs", "compare plan precision report train"),
    ("backbone/mod.rs", "catalog decided import layout length onnx sentence_transformers source trial"),
    ("bundle/mod.rs", "write"),
    ("classifier/mod.rs", "bundling"),
    ("cli/mod.rs", "bundle compare embed import refit train tune"),
    ("data/mod.rs", "classes split"),
    ("embed/mod.rs", "cut file"),
    ("encoder/mod.rs", "asked checkpoint family foreign shards training vectors"),
    ("finetune/mod.rs", "adamw checkpoint dropout epoch sampler schedule sharing stage step"),
    ("graph/mod.rs", "gradient names"),
    ("heads/mod.rs", "cross_validation curvature descent fit minimize objective run_off standardize"),
    (
        "quantize/mod.rs",
        "agreement build calibration code continued data_file network nibbles numbers sensitivity",
    ),
    ("task/mod.rs", "asked"),
    ("tuning/mod.rs", "networks samples search"),
];

fn source(below: &str) -> String {
    std::fs::read_to_string(root().join("src").join(below)).unwrap()
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// The names that `pub use` gives programs; what is hidden is not for them.
fn shown(page: &str) -> BTreeSet<String> {
    let code: Vec<&str> = page.lines().filter(|line| !line.starts_with("//")).collect();
    let mut names = BTreeSet::new();
    for item in code.join("\n").split(';').filter(|item| !item.contains("doc(hidden)")) {
        let Some((_, tree)) = item.split_once("pub use ") else { continue };
        let words: Vec<&str> =
            tree.split(|letter| !is_of_name(letter)).filter(|word| !word.is_empty()).collect();
        let module = |word: &str| tree.contains(&format!("{word}::"));
        // A function may be called as its module is: then both are in the tree.
        let own = |word: &&str| !module(word) || words.iter().filter(|other| *other == word).count() > 1;
        names.extend(words.iter().filter(|word| own(word)).map(|word| (*word).to_owned()));
    }
    names
}

/// The names that the page's table explains.
fn explained(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter(|line| line.starts_with("//! | "));
    let names = rows.flat_map(|row| row.split("[`").skip(1));
    names.map(|rest| rest.chars().take_while(|letter| is_of_name(*letter)).collect()).collect()
}

/// Modules with a gate above them.
fn gated(content: &str) -> BTreeSet<&str> {
    let lines: Vec<&str> = content.lines().filter(|line| *line != "#[doc(hidden)]").collect();
    let of_training = lines.windows(2).filter(|pair| pair[0] == "#[cfg(feature = \"train\")]");
    of_training.filter_map(|pair| pair[1].split_once("mod ")?.1.strip_suffix(';')).collect()
}

#[test]
fn the_page_shows_the_names_that_a_program_needs_and_no_module() {
    let page = source("lib.rs");
    let names = shown(&page);
    assert!(NAMES.contains(&names.len()), "{} names: {names:?}", names.len());
    assert_eq!(names, explained(&page), "the table and what is public differ");
    for name in ["Classifier", "Error", "Result", "bundle_run", "compare", "embed_file", "import", "train"] {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
    let before_modules = page.lines().take_while(|line| !line.starts_with("mod ")).count();
    assert!(before_modules <= PAGE_LINES, "{before_modules} lines before the first module");
    let public: Vec<&str> = page.lines().filter(|line| line.starts_with("pub mod ")).collect();
    assert_eq!(public, ["pub mod internal;"], "what is not on the page is private");
    assert!(page.contains("#[doc(hidden)]\npub mod internal;"));
}

#[test]
fn names_are_found_however_they_are_written() {
    let page = "//! | x | [`A`], [`b()`] |\npub use a::A;\n#[cfg(x)]\npub use {\n    b::{B, b},\n    c::c,\n};\n\
                #[doc(hidden)]\npub use d::D;\nmod e;\n";
    assert_eq!(shown(page).into_iter().collect::<Vec<_>>(), ["A", "B", "b", "c"]);
    assert_eq!(explained(page).into_iter().collect::<Vec<_>>(), ["A", "b"]);
    let content =
        "#[cfg(feature = \"train\")]\nmod a;\nmod b;\n#[cfg(feature = \"train\")]\npub(crate) mod c;\n";
    assert_eq!(gated(content).into_iter().collect::<Vec<_>>(), ["a", "c"]);
}

#[test]
fn a_build_that_does_not_train_leaves_out_what_only_training_needs() {
    for (file, modules) in TRAINING {
        let content = source(file);
        let gated = gated(&content);
        for module in modules.split(' ') {
            assert!(gated.contains(module), "src/{file}: `mod {module}` is not behind the feature `train`");
        }
    }
}

#[test]
fn the_examples_name_no_module() {
    let entries = std::fs::read_dir(root().join("examples")).unwrap();
    let examples: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    assert!(examples.len() >= 2, "{examples:?}");
    let names = shown(&source("lib.rs"));
    for path in examples {
        let code = std::fs::read_to_string(&path).unwrap();
        for (_, rest) in
            code.match_indices("frosthead::").map(|(place, found)| code.split_at(place + found.len()))
        {
            let tree = rest.split_once(';').unwrap().0;
            assert!(!tree.contains("::"), "{}: {tree}", path.display());
            for word in tree.split(|letter| !is_of_name(letter)).filter(|word| !word.is_empty()) {
                assert!(names.contains(word), "{}: {word} is not on the library's page", path.display());
            }
        }
    }
}

#[test]
fn the_example_goes_from_an_encoder_to_one_file() {
    let (directory, data) = (directory(), demo(300));
    let example = Path::new(env!("CARGO_BIN_EXE_frosthead")).parent().unwrap().join("examples/train");
    let mut command = std::process::Command::new(example);
    let out = directory.path().join("out");
    command.args([text(tiny_checkpoint()), text(&data), "text", "domain", text(&out)]);
    command.env("ORT_DYLIB_PATH", root().join(".downloads/onnxruntime")).current_dir(directory.path());
    let output = finish(command, &["(the example)"]).success();
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(
        lines[0].starts_with("domain: accuracy 0.") && lines[0].ends_with("on 60 test rows"),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("300 rows: 216 were trained on, 24 used for validation, 60"), "{lines:?}");
    assert!(lines[2].ends_with("model.frost: 1 task"), "{lines:?}");
    assert!(out.join("features.parquet").is_file());
}
