//! What every command does with the files it writes: they appear whole, a killed process leaves nothing for
//! long, and the user's umask says who may read them.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{command, directory, finish, frosthead, text};
use crate::tiny::tiny;

/// Everything in a directory, by name.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Names of what is being written.
fn temporary(directory: &Path) -> Vec<String> {
    names(directory).into_iter().filter(|name| name.starts_with(".frosthead-") && name.len() > 24).collect()
}

/// The arguments of commands that write `out` each in another way, with the name of the file or directory.
fn commands(out: &Path) -> Vec<(Vec<String>, &'static str)> {
    let made = tiny();
    let path = |name: &str| out.join(name).to_str().unwrap().to_owned();
    let of = |arguments: &[&str], name: &'static str| {
        let mut all: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        all.extend(["--out".to_owned(), path(name)]);
        (all, name)
    };
    let (table, backbone) = (text(&made.table), text(&made.backbone));
    vec![
        of(&["import", text(&made.checkpoint)], "backbone"),
        of(
            &["embed", table, "--text", "review", "--long", "windows", "--backbone", backbone],
            "features.parquet",
        ),
        of(
            &[
                "train",
                table,
                "--text",
                "review",
                "--long",
                "windows",
                "--backbone",
                backbone,
                "--task",
                "domain",
                "--overwrite",
            ],
            "run",
        ),
        of(&["bundle", text(&made.run)], "x.frost"),
        of(&["predict", table, "--text", "review", "--model", text(&made.bundle)], "labels.csv"),
    ]
}

fn as_strs(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[cfg(feature = "fault-injection")]
#[test]
fn what_a_killed_command_left_is_gone_after_the_next() {
    let out = directory();
    // Neither bears one of our names.
    let strangers = [".frosthead-notes.tmp", "notes.txt"];
    strangers.iter().for_each(|name| std::fs::write(out.path().join(name), "mine").unwrap());
    let mut expected: Vec<String> = strangers.iter().map(|name| (*name).to_owned()).collect();
    for (arguments, name) in commands(out.path()) {
        let arguments = as_strs(&arguments);
        let kill = |point: &str| {
            let mut child = command(&arguments);
            child.env("FROSTHEAD_KILL_AT", format!("{point}:1"));
            let status = child.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            assert_eq!(status.signal(), Some(9), "{name}: {point} was never reached");
            assert_eq!(temporary(out.path()).len(), 1, "{name}: {:?}", names(out.path()));
        };
        let directory = ["backbone", "run"].contains(&name);
        kill(if directory { "directory-before-rename" } else { "file-before-rename" });
        assert!(!out.path().join(name).exists(), "{name} is there before it is finished");
        // Twice: what the first left goes away with the second.
        kill(if directory { "directory-before-rename" } else { "file-before-rename" });
        finish(command(&arguments), &arguments).success();
        expected.push(name.to_owned());
        expected.sort();
        assert_eq!(names(out.path()), expected);
        if name == "run" {
            // The new one is there already, the old one still.
            kill("directory-after-rename");
            assert!(out.path().join("run/recipe.toml").exists());
            finish(command(&arguments), &arguments).success();
            assert_eq!(names(out.path()), expected);
        }
    }
}

#[test]
fn nothing_is_taken_from_a_command_that_still_runs() {
    let (made, out) = (tiny(), directory());
    let path = |name: &str| out.path().join(name).to_str().unwrap().to_owned();
    let (slow, fast) = (path("slow.csv"), path("fast.csv"));
    let predict = ["predict", "-", "--model", text(&made.bundle), "--out", &slow];
    let mut child = command(&predict).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut rows = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut rows, b"one text\n").unwrap();
    let start = Instant::now();
    while temporary(out.path()).is_empty() {
        assert_eq!(child.try_wait().unwrap(), None, "the command ended early");
        assert!(start.elapsed() < Duration::from_secs(60), "the command never began to write");
        std::thread::sleep(Duration::from_millis(20));
    }
    frosthead(&[
        "predict",
        text(&made.table),
        "--text",
        "review",
        "--model",
        text(&made.bundle),
        "--out",
        &fast,
    ])
    .success();
    assert_eq!(temporary(out.path()).len(), 1);
    drop(rows);
    assert!(child.wait().unwrap().success());
    assert_eq!(names(out.path()), ["fast.csv", "slow.csv"]);
}

#[test]
fn the_umask_says_who_may_read_what_was_written() {
    let made = tiny();
    for (umask, file, folder) in [("027", 0o640, 0o750), ("002", 0o664, 0o775)] {
        let out = directory();
        let cache = out.path().join("cache");
        let trained = [
            "train",
            text(&made.table),
            "--text",
            "review",
            "--backbone",
            text(&made.backbone),
            "--task",
            "domain",
            "--unfreeze",
            "1",
            "--epochs",
            "1",
            "--out",
        ];
        let mut all = commands(out.path());
        let tensors = out.path().join("trained").to_str().unwrap().to_owned();
        all.push((trained.map(str::to_owned).into_iter().chain([tensors]).collect(), "trained"));
        for (arguments, name) in all {
            let prepared = command(&as_strs(&arguments));
            let mut child = Command::new("sh");
            child.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]).arg(prepared.get_program());
            child.args(&arguments).envs(prepared.get_envs().filter_map(|(key, value)| Some((key, value?))));
            child.env("FROSTHEAD_CACHE", &cache);
            finish(child, &as_strs(&arguments)).success();
            assert!(out.path().join(name).exists());
        }
        let mut folders = vec![out.path().to_path_buf()];
        let mut files = 0;
        while let Some(place) = folders.pop() {
            for entry in std::fs::read_dir(&place).unwrap() {
                let path = entry.unwrap().path();
                let metadata = path.metadata().unwrap();
                let expected = if metadata.is_dir() { folder } else { file };
                assert_eq!(
                    metadata.permissions().mode() & 0o777,
                    expected,
                    "{:o} of {}",
                    metadata.mode(),
                    path.display()
                );
                if metadata.is_dir() { folders.push(path) } else { files += 1 }
            }
        }
        assert!(files > 20, "{files} files");
    }
}
