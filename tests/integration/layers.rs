//! The architecture, held by a test: which module may use which, who owns which crate, how large files and
//! functions may be.

use std::path::{Path, PathBuf};

/// The layers, bottom up: a module uses only modules of rows above its own (and itself).
const LAYERS: [&[&str]; 15] = [
    &["error"],
    &["document", "fingerprint", "parallel", "quantities", "recognize"],
    &["held"],
    &["data", "tokens", "metrics", "graph"],
    &["task"],
    &["encoder", "runtime", "store", "heads"],
    &["backbone"],
    &["embed", "plan"],
    &["bundle", "dataset", "finetune", "quantize", "tuning"],
    &["classifier"],
    &["evaluate", "precision", "train"],
    &["bench", "inspect", "report", "serve"],
    &["compare"],
    &["cli"],
    &["main", "lib"],
];

/// A crate and the only module that may name it.
const OWNERS: [(&str, &str); 25] = [
    ("ort", "runtime"),
    ("csv", "data"),
    ("arrow_array", "data"),
    ("arrow_schema", "data"),
    ("parquet", "data"),
    ("argmin", "heads"),
    ("linfa", "heads"),
    ("linfa_logistic", "heads"),
    ("ndarray", "heads"),
    ("tokenizers", "tokens"),
    ("prost", "graph"),
    ("hf_hub", "backbone"),
    ("crc32fast", "bundle"),
    ("minisign", "bundle"),
    ("minisign_verify", "bundle"),
    ("base64", "serve"),
    ("http_body_util", "serve"),
    ("hyper", "serve"),
    ("hyper_util", "serve"),
    ("prometheus_client", "serve"),
    ("tokio", "serve"),
    ("tokio_rustls", "serve"),
    ("anyhow", "cli"),
    ("clap_complete", "cli"),
    ("clap_mangen", "cli"),
];

const MAIN_LINES: usize = 40;
const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 60;

/// A source file without its tests.
struct Source {
    /// Path below `src`.
    path: PathBuf,
    lines: Vec<String>,
}

impl Source {
    fn new(path: &str, content: &str) -> Self {
        let lines =
            content.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).map(str::to_owned).collect();
        Self { path: path.into(), lines }
    }

    fn module(&self) -> String {
        let first = self.path.components().next().unwrap();
        Path::new(&first).file_stem().unwrap().to_str().unwrap().to_owned()
    }

    fn code(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str).filter(|line| !line.trim_start().starts_with("//"))
    }
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// Everything that is wrong with a file.
fn faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    let module = source.module();
    let mut fault = |what: String| faults.push(format!("{}: {what}", source.path.display()));
    let Some(own) = layer(&module) else {
        return vec![format!("{}: the module is not in the table of layers", source.path.display())];
    };
    if !source.lines.first().is_some_and(|line| line.starts_with("//!")) {
        fault("does not open with //!".to_owned());
    }
    let most = if module == "main" { MAIN_LINES } else { FILE_LINES };
    if source.lines.len() > most {
        fault(format!("{} lines before its tests, at most {most} are allowed", source.lines.len()));
    }
    for used in source.code().flat_map(used_modules) {
        let allowed = used == module || module == "lib" || layer(used).is_none_or(|used| used < own);
        if !allowed {
            fault(format!("uses `{used}`, which is not in a layer below its own"));
        }
    }
    for (name, owner) in OWNERS {
        if module != owner && source.code().any(|line| names_crate(line, name)) {
            fault(format!("names the crate `{name}`, which belongs to `{owner}`"));
        }
    }
    if module != "cli" && source.code().any(|line| names_crate(line, "clap")) {
        fault("names the crate `clap`, which belongs to `cli`".to_owned());
    }
    for (name, lines) in long_functions(source) {
        fault(format!("function `{name}` has {lines} lines, at most {FUNCTION_LINES} are allowed"));
    }
    for line in source.code().filter(|line| line.contains("#[allow(")) {
        if !line.contains("reason") {
            fault(format!("a lint is switched off without a reason: {}", line.trim()));
        }
    }
    faults
}

/// Modules named as `crate::MODULE`.
fn used_modules(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("crate::").map(|(place, found)| {
        let rest = &line[place + found.len()..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

/// Whether a line uses a crate by its path (`name::`), not a module of ours that is called alike.
fn names_crate(line: &str, name: &str) -> bool {
    let pattern = format!("{name}::");
    line.match_indices(&pattern).any(|(place, _)| {
        let before = line[..place].chars().next_back();
        !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    })
}

/// Functions that are too long: name and number of lines. A function ends at the line that closes its
/// indentation.
fn long_functions(source: &Source) -> Vec<(String, usize)> {
    let mut long = Vec::new();
    for (start, line) in source.lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        let header = trimmed
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub(super) ")
            .trim_start_matches("pub ");
        let Some(rest) = header.strip_prefix("fn ") else { continue };
        let end =
            source.lines[start..].iter().position(|line| line.trim() == "}" && line.len() == indent + 1);
        let lines = end.map_or(1, |end| end + 1);
        if lines > FUNCTION_LINES {
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            long.push((name.to_owned(), lines));
        }
    }
    long
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_sources_keep_to_the_architecture() {
    let root = crate::harness::root().join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    assert!(paths.len() > 50, "the sources were not found");
    let mut all = Vec::new();
    for path in paths {
        let below = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        // Test modules in files of their own may use anything.
        if below.ends_with("tests.rs") || below.contains("/tests/") {
            continue;
        }
        all.extend(faults(&Source::new(&below, &std::fs::read_to_string(&path).unwrap())));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
    for module in LAYERS.concat() {
        assert!(
            root.join(module).is_dir() || root.join(format!("{module}.rs")).is_file(),
            "{module} is gone"
        );
    }
}

#[track_caller]
fn faulty(path: &str, content: &str, part: &str) {
    let faults = faults(&Source::new(path, content)).join("\n");
    assert!(faults.contains(part), "{part:?} was not found in {faults:?}");
}

#[test]
fn every_rule_can_fail() {
    assert!(
        faults(&Source::new("embed/mod.rs", "//! Fine.\nuse crate::store::Store;\nuse crate::embed::x;\n"))
            .is_empty()
    );
    faulty("store/mod.rs", "//! x\nuse crate::backbone::Backbone;\n", "uses `backbone`");
    faulty("train/mod.rs", "//! x\nuse crate::evaluate::Rows;\n", "uses `evaluate`");
    faulty("alien/mod.rs", "//! x\n", "not in the table");
    faulty("embed/mod.rs", "use std::fs;\n", "//!");
    faulty("embed/mod.rs", &format!("//! x\n{}", "\n".repeat(FILE_LINES)), "lines before its tests");
    faulty("main.rs", &format!("//! x\n{}", "\n".repeat(MAIN_LINES)), "at most 40");
    faulty("embed/mod.rs", "//! x\nuse ort::session::Session;\n", "`ort`");
    faulty("heads/mod.rs", "//! x\nfn f() { csv::Reader::from_path(\"x\"); }\n", "`csv`");
    faulty("train/mod.rs", "//! x\nuse clap::Args;\n", "`clap`");
    let long = format!("//! x\nfn endless() {{\n{}}}\n", "    x();\n".repeat(FUNCTION_LINES));
    faulty("embed/mod.rs", &long, "`endless` has 62 lines");
    faulty("embed/mod.rs", "//! x\n#[allow(dead_code)]\nfn f() {}\n", "without a reason");
    // What stands behind the tests' marker does not count.
    assert!(
        faults(&Source::new("store/mod.rs", "//! x\n#[cfg(test)]\nmod tests { use crate::cli::x; }\n"))
            .is_empty()
    );
}
