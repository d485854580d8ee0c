//! Owns what every integration test needs: the real binary, the real backbone (imported once), small real
//! tables, and running a command with everything it printed kept.
//!
//! Refuses to skip: without the downloads that `./scripts/test.sh` makes, tests fail and say so.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use frosthead::internal::data::{FeatureColumns, FeatureTable, read_labelled_features};

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Hugging Face directory of the real encoder.
pub fn checkpoint() -> PathBuf {
    let path = root().join(".downloads/all-MiniLM-L6-v2");
    assert!(path.join("model.safetensors").is_file(), "{} is missing: run ./scripts/test.sh", path.display());
    path
}

/// A directory for all tests of this process, removed at its end; what a killed one left is removed as well.
fn shared() -> &'static Path {
    static SHARED: OnceLock<PathBuf> = OnceLock::new();
    extern "C" fn clean() {
        if let Some(path) = SHARED.get() {
            let _ = std::fs::remove_dir_all(path);
        }
    }
    SHARED.get_or_init(|| {
        let all = root().join("target/tmp");
        std::fs::create_dir_all(&all).unwrap();
        for left in std::fs::read_dir(&all).unwrap().map(|entry| entry.unwrap().path()) {
            let process =
                left.file_name().unwrap().to_str().and_then(|name| name.strip_prefix("integration-"));
            if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
                let _ = std::fs::remove_dir_all(left);
            }
        }
        let path = all.join(format!("integration-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        // SAFETY: `clean` takes nothing, returns nothing, does not unwind, and touches no thread's own data.
        assert_eq!(unsafe { libc::atexit(clean) }, 0);
        path
    })
}

/// The real backbone, imported once per test process: for golden values, accuracy, int8 and memory, and one
/// smoke test of each area.
pub fn real() -> &'static str {
    static REAL: OnceLock<String> = OnceLock::new();
    REAL.get_or_init(|| {
        let out = shared().join("all-MiniLM-L6-v2");
        frosthead(&["import", text(&checkpoint()), "--out", text(&out)]).success();
        text(&out).to_owned()
    })
}

/// A backbone of the real one's shape but for its widths (`tiny::NUMBERS` for 384), with layers drawn by lot,
/// imported once per test process: for everything that does not depend on how well a network has learned.
/// A text costs it a hundredth of what it costs the real one.
pub fn tiny() -> &'static str {
    static TINY: OnceLock<String> = OnceLock::new();
    TINY.get_or_init(|| {
        let out = shared().join("tiny");
        frosthead(&["import", text(tiny_checkpoint()), "--out", text(&out)]).success();
        text(&out).to_owned()
    })
}

/// What the tiny backbone is imported from.
pub fn tiny_checkpoint() -> &'static Path {
    static DRAWN: OnceLock<PathBuf> = OnceLock::new();
    DRAWN.get_or_init(|| {
        let place = shared().join("drawn");
        crate::tiny::write_drawn(&checkpoint(), &place);
        place
    })
}

/// Makes a run one of an earlier version, which had no hashes of its files: it may be edited.
pub fn without_hashes(run: &Path) {
    std::fs::remove_file(run.join("checksums.json")).unwrap();
    let recipe = std::fs::read_to_string(run.join("recipe.toml")).unwrap();
    assert!(recipe.contains("format = 5"), "{recipe}");
    std::fs::write(run.join("recipe.toml"), recipe.replace("format = 5", "format = 4")).unwrap();
}

/// What most tests run on.
pub fn backbone() -> &'static str {
    tiny()
}

/// The first rows of every domain of the demo data: `text,domain,sentiment`, `rows` in all, written to a file
/// once.
pub fn demo(rows: usize) -> PathBuf {
    let path = shared().join(format!("demo-{rows}.csv"));
    if !path.exists() {
        let all = std::fs::read(root().join("data/demo.csv"))
            .expect("data/demo.csv is missing: run ./scripts/test.sh");
        let mut reader = csv::Reader::from_reader(all.as_slice());
        let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(reader.headers().unwrap()).unwrap();
        // Every n-th row: all domains and sentiments, short and long texts.
        for record in records.iter().step_by(records.len() / rows).take(rows) {
            writer.write_record(record).unwrap();
        }
        let temporary = path.with_extension(format!("{:?}.tmp", std::thread::current().id()));
        std::fs::write(&temporary, writer.into_inner().unwrap()).unwrap();
        std::fs::rename(temporary, &path).unwrap();
    }
    path
}

/// A path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A finished command.
pub struct Finished {
    pub command: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    fn new(command: String, output: Output) -> Self {
        Self {
            command,
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Asserts exit code 0.
    #[track_caller]
    pub fn success(self) -> Self {
        self.exits(0)
    }

    /// Asserts an exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "`{}` should exit with {code}\nstdout: {}\nstderr: {}",
            self.command,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Asserts an error (exit code 2) whose message holds every one of `parts`.
    #[track_caller]
    pub fn fails_with(self, parts: &[&str]) -> Self {
        let finished = self.exits(2);
        for part in parts {
            assert!(
                finished.stderr.contains(part),
                "`{}` should say {part:?}, but says:\n{}",
                finished.command,
                finished.stderr
            );
        }
        assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
        finished
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// Standard output as JSON lines.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The binary with a store of its own kind: tests share one cache unless they name another.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_frosthead"));
    command
        .args(arguments)
        .env("FROSTHEAD_CACHE", shared().join("cache"))
        // Nobody tunes for the tests but a test that names another place.
        .env("FROSTHEAD_CONFIG", shared().join("config"))
        .env_remove("FROSTHEAD_KILL_AT")
        // What is said is looked for in one piece; how wide it is has tests of its own.
        .env("COLUMNS", "10000")
        .stdin(Stdio::null())
        .current_dir(root());
    command
}

/// Runs the binary.
pub fn frosthead(arguments: &[&str]) -> Finished {
    finish(command(arguments), arguments)
}

/// Runs a prepared command.
pub fn finish(mut command: Command, arguments: &[&str]) -> Finished {
    Finished::new(format!("frosthead {}", arguments.join(" ")), command.output().unwrap())
}

/// Starts the binary with its input, output and messages in our hands.
pub fn started(arguments: &[&str]) -> Child {
    let mut command = command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs a line of a shell, as somebody types it into a terminal in that directory.
pub fn shell(line: &str, directory: &Path, variables: &[(&str, &str)]) {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(directory).envs(variables.iter().copied());
    let output = shell.output().unwrap();
    assert!(output.status.success(), "`{line}`: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs the binary with something on its standard input.
pub fn frosthead_reading(input: &[u8], arguments: &[&str]) -> Finished {
    let mut child = started(arguments);
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A command that fails early closes its end: that is its right.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Finished::new(format!("… | frosthead {}", arguments.join(" ")), output)
}

/// A temporary directory inside the build folder (so that renames stay on one file system).
pub fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(shared()).unwrap()
}

/// The vectors in a Parquet of features, of the column `embedding` unless another is named.
pub fn features(path: &Path, column: Option<&str>) -> FeatureTable {
    read_labelled_features(path, &FeatureColumns { vectors: column, ..FeatureColumns::default() }).unwrap()
}

/// Whether a line has these cells one after the other, however wide their columns are.
pub fn has_cells(said: &str, cells: &str) -> bool {
    let squeezed = |line: &str| format!(" {} ", line.split_whitespace().collect::<Vec<_>>().join(" "));
    said.lines().any(|line| squeezed(line).contains(&squeezed(cells)))
}
