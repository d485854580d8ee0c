//! What becomes of damaged files of runs and of the feature store: what comes out is the same, or an error
//! says which file it is; a store that nobody may write is used.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Finished, command, directory, finish, frosthead, text, without_hashes};
use crate::tiny::tiny;

/// All files below a directory, sorted.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Their bytes.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(directory).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Places of bytes in a file, drawn by lot, always the same; the first and the last among them.
fn places(length: usize, count: usize) -> Vec<usize> {
    let mut state = 13_u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % length.max(1)
    };
    let drawn = (2..count).map(|_| draw());
    [0, length.saturating_sub(1)].into_iter().chain(drawn).filter(|place| *place < length).collect()
}

/// Runs `change` on a file with one byte of it flipped, for some bytes.
fn with_flips(path: &Path, count: usize, mut change: impl FnMut(usize)) {
    let good = std::fs::read(path).unwrap();
    for place in places(good.len(), count) {
        let mut bytes = good.clone();
        bytes[place] ^= 1 << (place % 7);
        std::fs::write(path, bytes).unwrap();
        change(place);
    }
    std::fs::write(path, good).unwrap();
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// A run whose layers were trained: it has every file that a run can have.
fn train(out: &Path, cache: &Path) -> Finished {
    let made = tiny();
    frosthead(&[
        "train",
        text(&made.table),
        "--text",
        "review",
        "--backbone",
        text(&made.backbone),
        "--task",
        "domain",
        "--unfreeze",
        "0,1",
        "--epochs",
        "1",
        "--rare",
        "drop",
        "--cache",
        text(cache),
        "--out",
        text(out),
    ])
}

fn evaluate(run: &Path, cache: &Path) -> Finished {
    let table = &tiny().table;
    let data = ["eval", text(table), "--text", "review", "--model"];
    frosthead(&[&data[..], &[text(run), "--json", "--cache", text(cache)]].concat())
}

/// Asserts that a command said the same as before, or refuses and names the file.
#[track_caller]
fn same_or_named(finished: Finished, good: &str, file: &Path, place: usize) -> bool {
    if finished.code == Some(0) {
        assert_eq!(finished.stdout, good, "`{}`: byte {place} of {}", finished.command, file.display());
        return false;
    }
    finished.fails_with(&[name(file), "help:", "again"]);
    true
}

#[test]
fn a_flipped_byte_in_any_file_of_a_run_changes_nothing_in_silence() {
    let (out, made) = (directory(), tiny());
    let (run, cache) = (out.path().join("run"), out.path().join("cache"));
    train(&run, &cache).success();
    let good = evaluate(&run, &cache).success().stdout;
    let predict = || {
        let data = ["predict", text(&made.table), "--text", "review", "--model", text(&run)];
        frosthead(&data)
    };
    let predicted = predict().success().stdout;
    let names: Vec<String> = files(&run).iter().map(|path| name(path).to_owned()).collect();
    let all = [
        "backbone.safetensors",
        "checksums.json",
        "fit.json",
        "heads.safetensors",
        "metrics.json",
        "proof.json",
        "recipe.toml",
        "rows.safetensors",
        "scores.json",
        "training.json",
    ];
    assert_eq!(names, all);
    for file in files(&run) {
        let mut noticed = 0;
        with_flips(&file, 5, |place| {
            noticed += usize::from(same_or_named(evaluate(&run, &cache), &good, &file, place));
            same_or_named(predict(), &predicted, &file, place);
            // Whoever looks at the run, or would make it anew, sees all of it.
            frosthead(&["inspect", text(&run)]).fails_with(&[name(&file)]);
        });
        let of_eval = ["checksums", "recipe", "heads", "rows", "backbone", "metrics"];
        if of_eval.iter().any(|stem| name(&file).starts_with(stem)) {
            assert_eq!(noticed, 5, "{}", file.display());
        }
    }
    assert_eq!(evaluate(&run, &cache).success().stdout, good);
}

#[test]
fn a_run_that_was_changed_is_not_up_to_date_and_says_how_to_make_it_anew() {
    let out = directory();
    let (run, cache) = (out.path().join("run"), out.path().join("cache"));
    train(&run, &cache).success();
    assert!(train(&run, &cache).success().stderr.contains("up to date"));
    for file in files(&run) {
        with_flips(&file, 2, |_| {
            train(&run, &cache).fails_with(&[name(&file), "--overwrite"]);
        });
    }
    let gone = run.join("metrics.json");
    std::fs::remove_file(&gone).unwrap();
    train(&run, &cache).fails_with(&["metrics.json", "--overwrite"]);
    evaluate(&run, &cache).fails_with(&["metrics.json"]);
}

#[test]
fn the_run_of_an_earlier_version_is_opened_and_one_that_lost_its_hashes_is_not() {
    let out = directory();
    let (run, cache) = (out.path().join("run"), out.path().join("cache"));
    train(&run, &cache).success();
    let good = evaluate(&run, &cache).success().stdout;
    let list = std::fs::read(run.join("checksums.json")).unwrap();
    std::fs::remove_file(run.join("checksums.json")).unwrap();
    evaluate(&run, &cache).fails_with(&["checksums.json", "missing", "train the run again"]);
    std::fs::write(run.join("checksums.json"), list).unwrap();
    without_hashes(&run);
    assert_eq!(evaluate(&run, &cache).success().stdout, good);
    assert!(train(&run, &cache).success().stderr.contains("up to date"), "it depends on the same");
    // What such a run has hashes of is checked.
    for file in ["heads.safetensors", "backbone.safetensors"] {
        with_flips(&run.join(file), 3, |_| {
            evaluate(&run, &cache).fails_with(&[file, "the run was changed", "train the run again"]);
        });
    }
}

#[test]
fn a_flipped_byte_in_any_file_of_the_store_changes_nothing_and_is_reported() {
    let out = directory();
    let path = |name: &str| out.path().join(name);
    let cache = path("cache");
    train(&path("good"), &cache).success();
    let good: Vec<_> = ["heads.safetensors", "backbone.safetensors", "rows.safetensors"]
        .iter()
        .map(|file| (*file, std::fs::read(path("good").join(file)).unwrap()))
        .collect();
    let verify = || frosthead(&["cache", "verify", "--cache", text(&cache)]);
    verify().success();
    let filled = contents(&cache);
    for (file, before) in filled.iter().filter(|(file, _)| name(file) != "lock") {
        for place in places(before.len(), 3) {
            std::fs::remove_dir_all(&cache).unwrap();
            for (path, bytes) in &filled {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
            let mut bytes = before.clone();
            bytes[place] ^= 1 << (place % 7);
            std::fs::write(file, &bytes).unwrap();
            let said = verify().exits(1).stdout;
            assert!(said.contains(text(file)), "byte {place} of {}: {said}", file.display());
            let run = path("run");
            let said = train(&run, &cache).success().stderr;
            assert!(said.contains(text(file)), "byte {place} of {}: {said}", file.display());
            for (file, bytes) in &good {
                assert_eq!(&std::fs::read(run.join(file)).unwrap(), bytes, "{file}");
            }
            std::fs::remove_dir_all(run).unwrap();
            frosthead(&["cache", "prune", "--damaged", "--cache", text(&cache)]).success();
            verify().success();
        }
    }
}

/// Takes from a command what lets root write where nobody may.
fn without_privileges(command: &mut Command) -> &mut Command {
    const NO_ROOT: libc::c_ulong = 1;
    let drop = || {
        // SAFETY: these calls have no memory of ours to do with.
        let failed = unsafe { libc::geteuid() == 0 && libc::prctl(libc::PR_SET_SECUREBITS, NO_ROOT) != 0 };
        if failed { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: the closure only makes system calls.
    unsafe { command.pre_exec(drop) }
}

/// Gives everything below a directory, and itself, these permissions, and more to who may enter a directory.
fn permit(directory: &Path, mode: u32) {
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(directory, mode | 0o111);
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { permit(&path, mode) } else { set(&path, mode) }
    }
}

/// The arguments of an `embed` of the tiny table, or of another.
fn embed<'a>(table: &'a Path, cache: &'a Path, out: &'a Path) -> Vec<&'a str> {
    let backbone = text(&tiny().backbone);
    let data = ["embed", text(table), "--text", "review", "--backbone", backbone];
    [&data[..], &["--cache", text(cache), "--out", text(out)]].concat()
}

#[test]
fn a_filled_store_that_nobody_may_write_is_used_and_what_is_missing_is_computed() {
    let out = directory();
    let path = |name: &str| out.path().join(name);
    let (cache, made) = (path("cache"), tiny());
    let (first, second, more) = (path("1.parquet"), path("2.parquet"), path("more.csv"));
    frosthead(&embed(&made.table, &cache, &first)).success();
    train(&path("run"), &cache).success();
    let table = std::fs::read_to_string(&made.table).unwrap();
    std::fs::write(&more, table + "one more text that nobody has seen,books,positive\n").unwrap();
    let all = path("all");
    frosthead(&embed(&more, &all, &path("more.parquet"))).success();
    // Of everything; of directories only; and without a lock.
    for (round, mode) in [0o444, 0o644, 0o444].into_iter().enumerate() {
        if round == 2 {
            files(&cache).iter().filter(|file| name(file) == "lock").for_each(|lock| {
                std::fs::remove_file(lock).unwrap();
            });
        }
        permit(&cache, mode);
        if mode == 0o644 {
            permit_directories(&cache, 0o555);
        }
        let before = contents(&cache);
        let run = |arguments: &[&str]| {
            let mut command = command(arguments);
            without_privileges(&mut command);
            finish(command, arguments).success()
        };
        let said = run(&embed(&made.table, &cache, &second)).stderr;
        assert_eq!(said.matches("cannot be written").count(), 1, "{said}");
        assert!(said.contains("Permission denied"), "{said}");
        assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
        let said = run(&embed(&more, &cache, &path("again.parquet"))).stderr;
        assert_eq!(said.matches("cannot be written").count(), 1, "{said}");
        assert_eq!(
            std::fs::read(path("more.parquet")).unwrap(),
            std::fs::read(path("again.parquet")).unwrap()
        );
        // Token states too; and the same run comes out.
        let (data, backbone) = (text(&made.table), text(&made.backbone));
        let trained = path(&format!("trained-{round}"));
        let task = ["--task", "domain", "--unfreeze", "0,1", "--epochs", "1", "--rare", "drop"];
        let place = ["--cache", text(&cache), "--out", text(&trained)];
        let base = ["train", data, "--text", "review", "--backbone", backbone];
        let said = run(&[&base[..], &task, &place].concat()).stderr;
        assert_eq!(said.matches("cannot be written").count(), 1, "{said}");
        for file in ["heads.safetensors", "backbone.safetensors"] {
            let [one, other] =
                [path("run"), trained.clone()].map(|run| std::fs::read(run.join(file)).unwrap());
            assert!(one == other, "{file}");
        }
        run(&["cache", "list", "--cache", text(&cache)]);
        run(&["cache", "verify", "--cache", text(&cache)]);
        permit(&cache, 0o644);
        assert!(contents(&cache) == before, "something was written");
    }
}

/// The same of directories only.
fn permit_directories(directory: &Path, mode: u32) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            permit_directories(&path, mode);
        }
    }
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_list_of_the_store_says_whose_features_they_are() {
    let (out, made) = (directory(), tiny());
    let cache = out.path().join("cache");
    train(&out.path().join("run"), &cache).success();
    let list = |more: &[&str]| frosthead(&[&["cache", "list", "--cache", text(&cache)], more].concat());
    let fingerprint = frosthead(&["inspect", text(&made.backbone)]).success().stdout;
    let fingerprint = fingerprint.lines().find_map(|line| line.strip_prefix("fingerprint")).unwrap().trim();
    let entries = list(&["--json"]).success().json();
    let entries = entries.as_array().unwrap();
    assert_eq!(entries.len(), 2, "features and token states");
    for entry in entries {
        assert_eq!(entry["backbone"]["name"], "tiny");
        assert_eq!(entry["backbone"]["fingerprint"], fingerprint);
        assert_eq!(entry["backbone"]["path"], text(&made.backbone.canonicalize().unwrap()));
        assert!(entry["rows"].as_u64().unwrap() > 50 && entry["bytes"].as_u64().unwrap() > 1000, "{entry}");
    }
    let said = list(&[]).success().stdout;
    for part in ["tiny (", &fingerprint[..12], "token states, hidden.", "3 states, embedding", "just now"] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
}

#[test]
fn what_two_processes_stored_twice_is_made_one() {
    let (out, made) = (directory(), tiny());
    let cache = out.path().join("cache");
    frosthead(&embed(&made.table, &cache, &out.path().join("1.parquet"))).success();
    // The same rows in parts of other sizes: another process computed them, too, without seeing these.
    let elsewhere = out.path().join("elsewhere");
    let half = out.path().join("half.csv");
    let table = std::fs::read_to_string(&made.table).unwrap();
    std::fs::write(&half, table.lines().take(40).map(|line| format!("{line}\n")).collect::<String>())
        .unwrap();
    frosthead(&embed(&half, &elsewhere, &out.path().join("2.parquet"))).success();
    for part in files(&elsewhere).into_iter().filter(|file| name(file).ends_with(".part")) {
        let inside = part.strip_prefix(&elsewhere).unwrap();
        std::fs::copy(&part, cache.join(inside)).unwrap();
    }
    let rows = || {
        let list = frosthead(&["cache", "list", "--json", "--cache", text(&cache)]).success().json();
        (list[0]["rows"].as_u64().unwrap(), list[0]["parts"].as_u64().unwrap())
    };
    let (before, parts) = rows();
    assert_eq!(parts, 2);
    let done = frosthead(&["cache", "compact", "--json", "--cache", text(&cache)]).success().json();
    let doubled = done[0]["doubled"].as_u64().unwrap();
    assert!(doubled > 30, "{done}");
    assert_eq!(rows(), (before - doubled, 1));
    let said = frosthead(&["cache", "compact", "--cache", text(&cache)]).success().stderr;
    assert!(said.contains("0 rows stored more than once"), "{said}");
    let out_again = out.path().join("3.parquet");
    frosthead(&embed(&made.table, &cache, &out_again)).success();
    assert_eq!(std::fs::read(out.path().join("1.parquet")).unwrap(), std::fs::read(out_again).unwrap());
    assert_eq!(rows(), (before - doubled, 1), "something was computed again");
}

#[cfg(feature = "fault-injection")]
#[test]
fn a_training_of_layers_that_is_killed_anywhere_leaves_nothing_after_the_next() {
    use std::os::unix::process::ExitStatusExt as _;

    let (out, made) = (directory(), tiny());
    let cache = out.path().join("cache");
    let run = out.path().join("runs/a");
    std::fs::create_dir(out.path().join("runs")).unwrap();
    train(&out.path().join("good"), &cache).success();
    let good = |name: &str| std::fs::read(out.path().join("good").join(name)).unwrap();
    let (data, backbone) = (text(&made.table), text(&made.backbone));
    let arguments = [
        &["train", data, "--text", "review", "--backbone", backbone, "--task", "domain", "--unfreeze", "0,1"]
            [..],
        &["--epochs", "1", "--rare", "drop", "--cache", text(&cache), "--out", text(&run)],
    ]
    .concat();
    let points =
        ["file-before-write:1", "file-half-written:1", "file-before-rename:1", "file-after-rename:1"];
    for point in points.into_iter().chain(["directory-before-rename:1", "directory-after-rename:1"]) {
        let mut killed = command(&arguments);
        killed.env("FROSTHEAD_KILL_AT", point).stdout(std::process::Stdio::null());
        assert_eq!(killed.output().unwrap().status.signal(), Some(9), "{point} was never reached");
        train(&run, &cache).success();
        let left: Vec<_> = std::fs::read_dir(run.parent().unwrap()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{point}: {left:?}");
        for file in ["heads.safetensors", "backbone.safetensors", "rows.safetensors"] {
            assert!(std::fs::read(run.join(file)).unwrap() == good(file), "{point}: {file}");
        }
        std::fs::remove_dir_all(&run).unwrap();
    }
}
