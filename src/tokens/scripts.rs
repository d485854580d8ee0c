//! The real tokenizer of multilingual-e5-small on a thousand texts in ten scripts of writing: the ids that
//! Python's `tokenizers` gives (`scripts/golden/make_script_ids.py`), whole and in windows.

use std::path::Path;

use super::long_text::tests::Draw;
use super::windows::tests::all_windows;
use super::{Tokenizer, WindowOptions, Windows};

#[test]
fn a_thousand_texts_in_ten_scripts_have_the_ids_of_python_whole_and_in_windows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join(".downloads/multilingual-e5-small/tokenizer.json");
    assert!(path.is_file(), "{} is missing: run ./scripts/test.sh", path.display());
    let tokenizer = Tokenizer::open(&path).unwrap();
    let golden = std::fs::read(root.join("tests/data/script_ids.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_slice(&golden).unwrap();
    let texts: Vec<String> = serde_json::from_value(golden["texts"].clone()).unwrap();
    let expected: Vec<Vec<u32>> = serde_json::from_value(golden["ids"].clone()).unwrap();
    assert_eq!(texts.len(), 1000);
    let (before, after) = tokenizer.special_ids();
    let (mut draw, mut several) = (Draw(21), 0);
    for (text, expected) in texts.iter().zip(&expected) {
        assert_eq!(tokenizer.encode(&[text], usize::MAX).unwrap().ids(0), expected, "{text:?}");
        let inside = &expected[before.len()..expected.len() - after.len()];
        let window = 5 + draw.below(60);
        let (room, options) = (window - 2, WindowOptions { window, stride: None, most: None });
        let windows = Windows::new(&tokenizer, "", 512, options).unwrap();
        let found = all_windows(&windows, &tokenizer, text, 1 + draw.below(200), false);
        several += usize::from(found.len() > 1);
        for (number, made) in found.iter().enumerate() {
            let part = &inside[number * room..inside.len().min((number + 1) * room)];
            assert_eq!(made.ids, [before, part, after].concat(), "window {number} of {text:?}");
        }
        assert!(found.len() * room >= inside.len());
    }
    assert!(several > 300, "only {several} texts have several windows");
}
