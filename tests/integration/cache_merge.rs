//! `cache merge`: what other caches hold is taken in and used, unlike rows are refused.

use crate::harness::{backbone, demo, directory, frosthead, text};

#[test]
fn features_made_elsewhere_are_used_at_home() {
    let directory = directory();
    let place = |name: &str| directory.path().join(name);
    let (one, two, home) = (place("one"), place("two"), place("home"));
    let embed = |cache: &std::path::Path, rows: usize, out: &str| {
        let out = directory.path().join(out);
        let finished = frosthead(&[
            "embed",
            text(&demo(rows)),
            "--backbone",
            backbone(),
            "--cache",
            text(cache),
            "--out",
            text(&out),
        ]);
        (finished.success().stderr, std::fs::read(out).unwrap())
    };
    let (_, bytes) = embed(&one, 30, "one.parquet");
    embed(&two, 40, "two.parquet");
    let merge = ["cache", "merge", text(&one), text(&two), "--cache", text(&home)];
    let merged = frosthead(&[&merge[..], &["--json"]].concat()).success();
    assert!(merged.stderr.contains("taken in"), "{}", merged.stderr);
    let list = frosthead(&["cache", "list", "--cache", text(&home), "--json"]).success().json();
    let processors = list[0]["processors"].as_array().unwrap();
    assert_eq!(processors.len(), 1);
    assert!(processors[0].as_str().unwrap().starts_with(std::env::consts::ARCH), "{processors:?}");
    // Nothing is computed at home, and what is written is the same.
    let (said, at_home) = embed(&home, 30, "home.parquet");
    assert!(said.contains("0 texts computed"), "{said}");
    assert_eq!(at_home, bytes);
    // Another kind of processor, as its key says.
    let key =
        std::fs::read_dir(one.join("features")).unwrap().next().unwrap().unwrap().path().join("key.json");
    let good = std::fs::read_to_string(&key).unwrap();
    std::fs::write(&key, good.replace("\"processors\": [", "\"processors\": [\"neon\",")).unwrap();
    frosthead(&merge).fails_with(&["it is not known what was stored here", "key.json"]);
    frosthead(&["cache", "merge", text(&home), "--cache", text(&home)]).fails_with(&["with itself"]);
    frosthead(&["cache", "merge", text(&place("nowhere"))]).fails_with(&["nowhere", "read the cache"]);
}
