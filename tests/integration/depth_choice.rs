//! The shallowest depth that is good enough: `train --max-drop`, `bundle --depth`, what each depth costs, and
//! what cannot be.

use std::path::{Path, PathBuf};

use crate::harness::{backbone, demo, directory, frosthead, has_cells, real, text};

const TASKS: [&str; 4] = ["--task", "domain", "--task", "sentiment"];

/// `train` on some rows of the demo data.
fn train<'a>(data: &'a Path, backbone: &'a str, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let arguments = ["train", text(data), "--backbone", backbone, "--out", text(out)];
    [&arguments[..], &TASKS, more].concat()
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn read(run: &Path, file: &str) -> Vec<u8> {
    std::fs::read(run.join(file)).unwrap()
}

#[test]
fn a_run_is_trained_at_the_shallowest_depth_that_is_good_enough() {
    let (place, data) = (directory(), demo(300));
    let path = |name: &str| place.path().join(name);
    let (chosen, given, deep) = (path("run"), path("given"), path("deep"));
    let made = frosthead(&train(&data, backbone(), &chosen, &["--max-drop", "100"])).success();
    assert!(made.stderr.contains("chosen: depth 0"), "{}", made.stderr);
    let recipe = String::from_utf8(read(&chosen, "recipe.toml")).unwrap();
    assert!(recipe.contains("depth = 0") && recipe.contains("max_drop = 100"), "{recipe}");
    let depths = json(&chosen.join("depths.json"));
    let depths = depths.as_array().unwrap();
    assert_eq!(depths.len(), 7);
    for (depth, found) in depths.iter().enumerate() {
        assert_eq!(found["depth"], depth);
        for task in ["domain", "sentiment"] {
            let figure = &found["tasks"][task];
            let of = |name: &str| figure[name].as_f64().unwrap();
            // Four of five rows, each judged by a head that has not seen it: far from 1 on so few.
            assert!(of("rows") > 200.0 && of("score") < 0.95 && of("standard_error") > 0.0, "{figure}");
            let line = format!("{:.4} {:.4} {:.2}", of("score"), of("macro_f1"), of("accuracy_drop"));
            let printed = made.stderr.lines().any(|row| row.contains(task) && has_cells(row, &line));
            assert!(printed, "{line}\n{}", made.stderr);
        }
        assert!(depth < 6 || found["tasks"]["domain"]["accuracy_drop"] == 0.0);
    }
    // The heads are those of a run at that depth.
    frosthead(&train(&data, backbone(), &given, &["--depth", "0"])).success();
    assert_eq!(read(&chosen, "heads.safetensors"), read(&given, "heads.safetensors"));
    // The same again has nothing to do; anything else is another run.
    let again = frosthead(&train(&data, backbone(), &chosen, &["--max-drop", "100"])).success();
    assert!(again.stderr.contains("up to date") && !again.stderr.contains("chosen:"), "{}", again.stderr);
    for more in [&["--max-drop", "99"][..], &["--max-drop", "100", "--depth", "3"], &["--depth", "0"]] {
        frosthead(&train(&data, backbone(), &chosen, more)).fails_with(&["made from something else"]);
    }
    // More must be won than can be: nothing is left away; --depth is the deepest that is tried.
    let made = frosthead(&train(&data, backbone(), &deep, &["--max-drop=-100", "--depth", "2"])).success();
    assert!(made.stderr.contains("chosen: depth 2"), "{}", made.stderr);
    assert_eq!(json(&deep.join("depths.json")).as_array().unwrap().len(), 3);
}

#[test]
fn a_depth_is_chosen_for_fitted_heads_alone() {
    let (place, data) = (directory(), demo(120));
    let out = place.path().join("run");
    for (more, parts) in [
        (&["--unfreeze", "1"][..], &["nothing but heads", "--depth N --unfreeze 1"][..]),
        (&["--freeze", "backbone:0-3"], &["nothing but heads", "frozen backbone"]),
        (&["--freeze", "head:domain"], &["nothing but heads"]),
        (&["--features", "last"], &["--features last", "--features auto"]),
    ] {
        let arguments = train(&data, backbone(), &out, &[&["--max-drop", "1"], more].concat());
        frosthead(&arguments).fails_with(&[&["--max-drop 1"], parts].concat());
    }
    frosthead(&train(&data, backbone(), &out, &["--max-drop", "some"])).fails_with(&["a number of points"]);
    assert!(!out.exists());
}

/// A run on the small backbone, and the folder it lies in.
fn run(more: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let (place, data) = (directory(), demo(300));
    let run = place.path().join("run");
    frosthead(&train(&data, backbone(), &run, more)).success();
    (place, run)
}

#[test]
fn a_bundle_at_a_depth_is_that_of_a_run_trained_there() {
    let (place, run) = run(&[]);
    let path = |name: &str| place.path().join(name);
    let (shallow, bundle, same) = (path("shallow"), path("chosen.frost"), path("trained.frost"));
    let arguments = ["bundle", text(&run), "--out", text(&bundle), "--depth", "auto", "--max-drop", "100"];
    let made = frosthead(&arguments).success();
    assert!(made.stderr.contains("chosen: fp32 at depth 0"), "{}", made.stderr);
    let report = json(&run.join("precision.json"));
    assert_eq!((&report["asked_depth"], &report["variants"][0]["depth"]), (&"auto".into(), &0.into()));
    assert_eq!(report["variants"].as_array().unwrap().len(), 1);
    assert_eq!(report["variants"][0]["features"]["domain"], "all");
    assert_eq!(report["depths"].as_array().unwrap().len(), 1);
    let there = ["--depth", "0", "--features", "auto-words"];
    frosthead(&train(&demo(300), backbone(), &shallow, &there)).success();
    frosthead(&["bundle", text(&shallow), "--out", text(&same)]).success();
    let predicted = |bundle: &Path| {
        frosthead(&["predict", text(&demo(120)), "--text", "text", "--model", text(bundle)]).success().stdout
    };
    assert_eq!(predicted(&bundle), predicted(&same));
    let size = |bundle: &Path| std::fs::metadata(bundle).unwrap().len();
    assert!(size(&bundle).abs_diff(size(&same)) < 1000, "{} {}", size(&bundle), size(&same));
}

#[test]
fn depth_and_precision_are_chosen_together() {
    let (place, run) = run(&["--valid-fraction", "0.2"]);
    let path = |name: &str| place.path().join(name);
    let (whole, bundle) = (path("whole.frost"), path("bundle.frost"));
    let make = |out: &Path, more: &[&str]| {
        frosthead(&[&["bundle", text(&run), "--out", text(out), "--overwrite"], more].concat())
    };
    make(&whole, &["--precision", "int8", "--max-drop", "100"]).success();
    // A given depth: every step is measured there.
    let fixed = ["--precision", "auto", "--depth", "2", "--max-drop", "100", "--keep-validation"];
    let made = make(&bundle, &fixed).success();
    let report = json(&run.join("precision.json"));
    assert_eq!((&report["asked"], &report["asked_depth"]), (&"auto".into(), &"2".into()));
    let variants = report["variants"].as_array().unwrap();
    assert!(variants.len() >= 3 && variants.iter().all(|variant| variant["depth"].as_u64().unwrap() <= 2));
    assert_eq!(report["chosen"], variants[0]["name"]);
    assert!(variants[0]["name"].as_str().unwrap().starts_with("int8"), "{report}");
    let exact = variants.last().unwrap();
    // In fp32 the written network gives what is stored of the run's own.
    assert_eq!(
        exact["tasks"]["domain"]["accuracy_drop"],
        report["depths"][0]["tasks"]["domain"]["accuracy_drop"]
    );
    assert!(exact["cosine"]["smallest"].as_f64().unwrap() > 0.999_999, "{report}");
    assert!(made.stdout.contains("layers:") || made.stdout.contains("all"), "{}", made.stdout);
    assert!(made.stderr.contains("validation rows are kept"), "{}", made.stderr);
    let size = |bundle: &Path| std::fs::metadata(bundle).unwrap().len();
    assert!(size(&bundle) < size(&whole));
    let data = demo(120);
    let predict = ["predict", text(&data), "--text", "text", "--model", text(&bundle)];
    frosthead(&predict).success();
    // Nothing passes but what is the run's own; and nothing at all in 8 bits.
    let own = make(&bundle, &["--depth", "auto", "--max-drop=-0.0"]).success();
    assert!(own.stderr.contains("chosen: fp32 at depth"), "{}", own.stderr);
    let bundled = std::fs::read(&bundle).unwrap();
    make(&bundle, &["--precision", "int8", "--depth", "auto", "--max-drop=-100"]).exits(1);
    assert_eq!(std::fs::read(&bundle).unwrap(), bundled);
}

#[test]
fn a_bundle_has_no_depth_that_its_run_has_not() {
    let (place, run) = run(&["--depth", "2"]);
    let out = place.path().join("x.frost");
    let bundle = |run: &Path, more: &[&str], parts: &[&str]| {
        frosthead(&[&["bundle", text(run), "--out", text(&out)], more].concat()).fails_with(parts);
        assert!(!out.exists());
    };
    bundle(&run, &["--depth", "3"], &["not that deep", "--depth 3", "from 0 to 2"]);
    bundle(&run, &["--depth", "some"], &["a number of layers, or auto"]);
    bundle(&run, &["--depth", "1", "--keep-embedding"], &["--keep-embedding beside --depth 1"]);
    let described = place.path().join("described");
    frosthead(&train(&demo(300), backbone(), &described, &["--freeze", "all"])).success();
    bundle(&described, &["--depth", "1"], &["was not fitted", "domain"]);
    let trained = place.path().join("trained");
    let layers = ["--unfreeze", "1", "--epochs", "1"];
    frosthead(&train(&demo(120), backbone(), &trained, &layers)).success();
    bundle(&trained, &["--depth", "3"], &["a layer above this depth was trained"]);
    let (features, on_features) = (place.path().join("features.parquet"), place.path().join("on_features"));
    let data = demo(120);
    let embed = ["embed", text(&data), "--backbone", backbone(), "--out", text(&features)];
    frosthead(&embed).success();
    frosthead(&["train", text(&features), "--task", "domain", "--out", text(&on_features)]).success();
    bundle(&on_features, &["--depth", "1"], &["features"]);
}

#[test]
fn a_part_of_the_real_network_is_as_good_and_smaller() {
    let (place, data) = (directory(), demo(600));
    let (run, bundle) = (place.path().join("run"), place.path().join("part.frost"));
    frosthead(&train(&data, real(), &run, &["--alpha", "1000"])).success();
    let more = ["--precision", "int8", "--depth", "auto", "--max-drop", "2", "--out", text(&bundle)];
    frosthead(&[&["bundle", text(&run)], &more[..]].concat()).success();
    let report = json(&run.join("precision.json"));
    let chosen = report["variants"].as_array().unwrap().last().unwrap();
    assert!(chosen["passes"] == true && chosen["depth"].as_u64().unwrap() < 6, "{report}");
    // All six layers in int8: 23.7 MB, of which each layer is 1.8.
    let size = std::fs::metadata(&bundle).unwrap().len();
    assert!(size < 22_300_000, "{size}");
}
