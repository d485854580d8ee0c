//! `tune`: what it finds is kept and used by every command that reads many texts, options win over it, and no
//! result changes.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use frosthead::internal::tokens::{Batching, Spacing};
use frosthead::internal::tuning::{self, Kept, Key, Setting};
use frosthead::{Backbone, Runtime, RuntimeOptions};

use crate::bundle::plain;
use crate::harness::{Finished, backbone, command, demo, directory, finish, root, text};

/// The commands of somebody whose configuration lies there.
fn configured(config: &Path, arguments: &[&str]) -> Finished {
    let mut command = command(arguments);
    command.env("FROSTHEAD_CONFIG", config);
    finish(command, arguments)
}

/// The key of the test backbone on this machine.
fn key() -> Key {
    let library = Some(root().join(".downloads/onnxruntime"));
    let runtime = Runtime::load(&RuntimeOptions { library, ..RuntimeOptions::default() }).unwrap();
    Key::of(&Backbone::open(Path::new(backbone())).unwrap(), &runtime)
}

/// Far from the default in everything.
const SLOW: Setting = Setting { threads: 1, token_budget: 256, buckets: Spacing::Coarse };

fn plant(config: &Path, key: Key) -> PathBuf {
    let kept = Kept::new(key, "planted", SLOW, None).on(true, 123.0);
    tuning::keep(&config.join("tuning"), &kept).unwrap()
}

/// Some texts, one a line.
fn lines(directory: &Path, count: usize) -> PathBuf {
    let path = directory.join("lines.txt");
    let lines: String = (0..count).map(|line| format!("line {}\n", "word ".repeat(line % 9))).collect();
    std::fs::write(&path, lines).unwrap();
    path
}

#[test]
fn what_is_found_is_shown_and_kept_and_found_again() {
    let directory = directory();
    let (config, data) = (directory.path().join("config"), lines(directory.path(), 8));
    let tune = |more: &[&str]| {
        let base = ["tune", text(&data), "--backbone", backbone(), "--seconds", "1"];
        configured(&config, &[&base[..], more].concat()).success()
    };
    let finished = tune(&["--json"]);
    assert!(finished.stderr.contains("8 of 8 texts"), "{}", finished.stderr);
    let found = finished.json();
    let trials = found["trials"].as_array().unwrap();
    let of = |setting: &serde_json::Value| trials.iter().find(|trial| trial["setting"] == *setting).unwrap();
    let default = of(&found["default"]);
    assert_eq!(default["setting"]["token_budget"], 256);
    assert_eq!(default["speed"].as_f64(), Some(1.0));
    let texts = default["texts"].as_u64().unwrap();
    assert!(texts > 0 && texts.is_multiple_of(8), "{texts}");
    let budgets: std::collections::BTreeSet<u64> =
        trials.iter().map(|trial| trial["setting"]["token_budget"].as_u64().unwrap()).collect();
    assert_eq!(budgets.into_iter().collect::<Vec<_>>(), [128, 256, 512, 1024, 2048]);
    let speeds: std::collections::HashSet<String> =
        trials.iter().map(|trial| trial["texts_per_second"].to_string()).collect();
    assert_eq!(speeds.len(), trials.len(), "speeds are measured");
    let file = PathBuf::from(found["file"].as_str().unwrap());
    assert!(file.starts_with(config.join("tuning")));
    let kept = tuning::kept(&config.join("tuning"), &key()).unwrap().unwrap();
    assert_eq!(serde_json::to_value(kept.setting).unwrap(), found["kept"]);
    assert!(kept.own_texts && kept.model == "tiny", "{kept:?}");
    assert!(
        (kept.texts_per_second / of(&found["kept"])["texts_per_second"].as_f64().unwrap() - 1.0).abs() < 1e-9
    );
    // Again, with all that can be asked for: it takes the old one's place.
    std::fs::write(&file, "{").unwrap();
    let finished = tune(&["--threads", "1", "--full-sweep"]);
    let rows: Vec<&str> = finished.stdout.lines().filter(|line| line.starts_with("      1")).collect();
    assert_eq!(rows.len(), 15, "{}", finished.stdout);
    assert!(finished.stdout.contains("the search's pick is") && finished.stdout.contains("best of all 15"));
    assert!(finished.stdout.contains("\nkept: "), "{}", finished.stdout);
    assert_eq!(tuning::kept(&config.join("tuning"), &key()).unwrap().unwrap().setting.threads, 1);
    assert_eq!(std::fs::read_dir(config.join("tuning")).unwrap().count(), 1);
}

#[test]
fn a_tuning_is_used_and_options_win_over_it_and_no_bit_changes() {
    let directory = directory();
    let (config, data) = (directory.path().join("config"), demo(60));
    plant(&config, key());
    let bench = ["bench", "embed", text(&data), "--backbone", backbone(), "--rounds", "1", "--limit", "4"];
    let figures = configured(&config, &[&bench[..], &["--json", "--token-budget", "300"]].concat()).success();
    let figures = figures.json();
    assert_eq!((&figures["threads"], &figures["token_budget"]), (&1.into(), &300.into()));
    assert_eq!(figures["sessions"], 1, "side by side no more than there are threads");
    assert_eq!(figures["buckets"].as_array().unwrap().len(), 27);
    let embed = |name: &str, more: &[&str]| {
        let (out, cache) = (directory.path().join(format!("{name}.parquet")), directory.path().join(name));
        let base = ["embed", text(&data), "--backbone", backbone(), "-v", "--features", "all"];
        let places = ["--out", text(&out), "--cache", text(&cache)];
        let finished = configured(&config, &[&base[..], &places, more].concat()).success();
        (finished.stderr, std::fs::read(&out).unwrap())
    };
    let (told, tuned) = embed("tuned", &[]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let date = frosthead::internal::quantities::date(now.as_secs());
    let setting = format!("1 thread, 256 tokens a batch, coarse buckets (tuned {date})");
    assert!(told.contains(&setting), "{told}");
    let (told, plain) = embed("plain", &["--no-tuning"]);
    let cores = frosthead::internal::runtime::allowed_cores();
    let default = Setting {
        token_budget: frosthead::internal::tokens::OWN_TOKEN_BUDGET,
        ..Setting::new(cores, Batching::default())
    };
    assert!(told.contains(&format!("{default} (--no-tuning)")), "{told}");
    let (told, given) = embed("given", &["--threads", "2", "--token-budget", "300"]);
    assert!(told.contains("2 threads, 300 tokens a batch, coarse buckets (tuned"), "{told}");
    assert!(given == plain);
    assert!(tuned == plain, "a tuning changed what was computed");
}

#[test]
fn a_run_and_a_bundle_share_the_tuning_of_their_backbone_and_a_limit_of_memory_comes_first() {
    let directory = directory();
    let (config, data) = (directory.path().join("config"), demo(60));
    plant(&config, key());
    for model in [&plain().run, &plain().bundle] {
        let predict = |more: &[&str]| {
            let base = ["predict", text(&data), "--model", text(model), "-v"];
            configured(&config, &[&base[..], more].concat()).success()
        };
        let (tuned, untuned) = (predict(&[]), predict(&["--no-tuning"]));
        assert!(
            tuned.stderr.contains("1 thread, 256 tokens a batch, coarse buckets (tuned"),
            "{}",
            tuned.stderr
        );
        assert!(untuned.stderr.contains("512 tokens a batch, standard buckets"), "{}", untuned.stderr);
        assert!(tuned.stdout == untuned.stdout, "a tuning changed what was predicted");
        let more = predict(&["--threads", "2"]);
        assert!(more.stderr.contains("2 threads, 256 tokens a batch"), "{}", more.stderr);
    }
    let doctor = |more: &[&str]| {
        let base = ["doctor", text(&plain().bundle), "--memory", "400M", "--json"];
        configured(&config, &[&base[..], more].concat()).success().json()["model"].clone()
    };
    let tuned = doctor(&[]);
    assert_eq!(
        (&tuned["memory"]["token_budget"], &tuned["tuning"]["setting"]["threads"]),
        (&256.into(), &1.into())
    );
    assert_eq!(doctor(&["--no-tuning"])["memory"]["token_budget"], 512);
    // More than the memory allows is not done.
    let large = Setting { token_budget: 1 << 16, ..SLOW };
    tuning::keep(&config.join("tuning"), &Kept::new(key(), "planted", large, None)).unwrap();
    let limited = doctor(&[]);
    let budget = limited["memory"]["token_budget"].as_u64().unwrap();
    assert!((512..1 << 16).contains(&budget), "{limited}");
    assert_eq!(limited["tuning"]["setting"]["token_budget"], budget);
    #[cfg(feature = "serve")]
    {
        let mut server = crate::serve::Server::configured(&config, &plain().bundle);
        let tuned = server.said().iter().find(|event| event["event"] == "tuned").unwrap().clone();
        assert_eq!((&tuned["threads"], &tuned["buckets"]), (&1.into(), &"coarse".into()));
    }
    let lines = lines(directory.path(), 4);
    let tune = ["tune", text(&lines), "--model", text(&plain().bundle), "--seconds", "1"];
    configured(&config, &tune).success();
    let kept = tuning::kept(&config.join("tuning"), &key()).unwrap().unwrap();
    assert!(kept.setting != large && kept.model != "planted", "{kept:?}");
}

#[test]
fn many_texts_are_predicted_side_by_side_with_the_same_bytes() {
    let directory = directory();
    let config = directory.path().join("config");
    let data = demo(300);
    let predict = |more: &[&str]| {
        let base = ["predict", text(&data), "--model", text(&plain().bundle), "-v"];
        configured(&config, &[&base[..], more].concat()).success()
    };
    // A limit of memory is planned for one session, which has other batches.
    let (many, few) = (predict(&[]), predict(&["--memory", "400M"]));
    assert!(many.stderr.contains("256 tokens a batch, standard buckets (not tuned)"), "{}", many.stderr);
    assert!(few.stderr.contains("512 tokens a batch, standard buckets (not tuned)"), "{}", few.stderr);
    assert!(many.stdout == few.stdout, "sessions side by side changed what was predicted");
}

#[test]
fn a_tuning_that_cannot_be_used_is_told_and_the_defaults_are_used() {
    let directory = directory();
    let (config, data) = (directory.path().join("config"), lines(directory.path(), 2));
    let doctor = || configured(&config, &["doctor", "--backbone", backbone()]).success().stdout;
    assert!(doctor().contains("tuning          none: `frosthead tune`"), "{}", doctor());
    let older = Key { onnxruntime: "1.31.0".to_owned(), ..key() };
    plant(&config, older);
    let told = doctor();
    assert!(told.contains("256 tokens a batch, standard buckets\n"), "{told}");
    assert!(
        told.contains("tuning          none") && told.contains("it is for ONNX Runtime 1.31.0 (here 1."),
        "{told}"
    );
    let file = plant(&config, key());
    let told = doctor();
    assert!(told.contains("runs with       1 thread, 256 tokens a batch, coarse buckets"), "{told}");
    assert!(told.contains("nothing was faster beyond noise; planted on 20"), "{told}");
    assert!(told.contains("123 of own texts/s"), "{told}");
    let aside = configured(&config, &["doctor", "--backbone", backbone(), "--no-tuning"]).success().stdout;
    assert!(aside.contains("left aside (--no-tuning)") && aside.contains("256 tokens"), "{aside}");
    std::fs::write(&file, "{\"format\": 7}").unwrap();
    assert!(doctor().contains("cannot be used: "), "{}", doctor());
    let out = directory.path().join("out.parquet");
    let embed = ["embed", text(&data), "--backbone", backbone(), "-v", "--out", text(&out)];
    let told = configured(&config, &embed).success().stderr;
    for part in ["warning: ", text(&file), "format 7", "frosthead tune", "256 tokens a batch", "(not tuned)"]
    {
        assert!(told.contains(part), "{part:?} is not in {told}");
    }
}

#[test]
fn what_cannot_be_tuned_is_refused() {
    let directory = directory();
    let (config, empty) = (directory.path().join("config"), directory.path().join("empty.txt"));
    std::fs::write(&empty, "").unwrap();
    let tune = |arguments: &[&str]| configured(&config, &[&["tune"], arguments].concat());
    tune(&[]).fails_with(&["--backbone"]);
    tune(&["--backbone", backbone(), "--model", "x"]).fails_with(&["--model"]);
    tune(&["--backbone", backbone(), "--threads", "9999"]).fails_with(&["--threads 9999", "at most"]);
    tune(&["--backbone", backbone(), "--device", "cuda"]).fails_with(&[
        "tuned for processors only",
        "--device cuda:0",
        "bench embed",
    ]);
    tune(&[text(&empty), "--backbone", backbone()]).fails_with(&["the table is empty"]);
    tune(&[text(&demo(60)), "--backbone", backbone(), "--text", "words"]).fails_with(&["words", "domain"]);
    std::fs::write(&config, "a file").unwrap();
    let data = lines(directory.path(), 2);
    tune(&[text(&data), "--backbone", backbone(), "--seconds", "1"]).fails_with(&["config"]);
    assert!(config.is_file());
}
