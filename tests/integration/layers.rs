//! The architecture, held by a test: which module may use which, which file of a module which, who owns which
//! crate, how large files and functions may be, what no binding is called.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The layers, bottom up: a module uses only modules of rows above its own (and itself).
const LAYERS: [&[&str]; 15] = [
    &["error"],
    &["document", "files", "fingerprint", "named", "parallel", "quantities", "recognize", "tensors"],
    &["held", "text"],
    &["data", "tokens", "metrics", "graph"],
    &["task"],
    &["encoder", "runtime", "store", "heads"],
    &["backbone"],
    &["embed", "plan"],
    &["bundle", "dataset", "finetune", "quantize", "tuning"],
    &["classifier", "selection"],
    &["evaluate", "precision", "train"],
    &["bench", "inspect", "report", "serve"],
    &["compare"],
    &["cli"],
    &["main", "lib", "internal"],
];

/// A crate and the only module that may name it.
const OWNERS: [(&str, &str); 28] = [
    ("ort", "runtime"),
    ("object", "runtime"),
    ("csv", "data"),
    ("arrow_array", "data"),
    ("arrow_ipc", "data"),
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
    ("clap_complete", "cli"),
    ("clap_mangen", "cli"),
    ("terminal_size", "cli"),
    ("unicode_width", "cli"),
];

/// What only `encoder` spells: the names of its tensors, the kinds of networks to be matched on, and what the
/// inputs and outputs of graphs are called.
const NAMES: [&str; 13] = [
    "encoder.layer.",
    "embeddings.word",
    "embeddings.position",
    "embeddings.token",
    "LayerNorm.",
    "attention.self",
    "Architecture::[A-Z]",
    "\"input_ids\"",
    "\"attention_mask\"",
    "\"token_type_ids\"",
    "\"layer_means\"",
    "\"hidden.",
    "\"logits_",
];

/// Words of a mechanism that is built once, and the only modules that may say them.
const MECHANISMS: [(&str, &[&str]); 7] = [
    ("NamedTempFile", &["files"]),
    (".persist(", &["files"]),
    (".sync_all()", &["files"]),
    // The store puts damaged parts aside.
    ("fs::rename(", &["files", "store"]),
    ("SafeTensors", &["tensors"]),
    ("TensorView", &["tensors"]),
    ("serde_json::to_string_pretty(", &["document"]),
];

/// Modules whose `mod.rs` tells the story, so that none of their files takes anything from it.
const STORIES: [&str; 7] = ["compare", "evaluate", "finetune", "heads", "precision", "task", "train"];

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
    let Some(height) = layer(&module) else {
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
        let allowed = used == module || module == "lib" || layer(used).is_none_or(|used| used < height);
        if !allowed {
            fault(format!("uses `{used}`, which is not in a layer below its own"));
        }
    }
    for (name, owner) in OWNERS {
        if module != owner && source.code().any(|line| names_crate(line, name)) {
            fault(format!("names the crate `{name}`, which belongs to `{owner}`"));
        }
    }
    for (word, owners) in MECHANISMS {
        if !owners.contains(&module.as_str()) && source.code().any(|line| line.contains(word)) {
            fault(format!("says `{word}`, which is the work of `{}`", owners[0]));
        }
    }
    if module != "cli" && source.code().any(|line| names_crate(line, "clap")) {
        fault("names the crate `clap`, which belongs to `cli`".to_owned());
    }
    for line in source.code().filter(|line| module != "encoder" && NAMES.iter().any(|name| names(line, name)))
    {
        fault(format!("spells what belongs to `encoder`: {}", line.trim()));
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

/// Whether a line has a text in it; `[A-Z]` at its end stands for any capital.
fn names(line: &str, text: &str) -> bool {
    let Some(start) = text.strip_suffix("[A-Z]") else { return line.contains(text) };
    line.match_indices(start).any(|(place, _)| line[place + start.len()..].starts_with(char::is_uppercase))
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

fn is_of_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// The parameters of every closure in some code: what stands between its bars. A bar behind an operand is an
/// operator.
fn closure_parameters(code: &str) -> Vec<&str> {
    let (mut found, mut rest, mut behind_closure) = (Vec::new(), code, false);
    while let Some((left, right)) = rest.split_once('|') {
        let left = left.trim_end();
        let word = left.rsplit(|letter| !is_of_word(letter)).next().unwrap_or_default();
        let opens = left.ends_with(['(', '[', '{', ',', '=', '>', ':', '&', ';'])
            || ["move", "mut", "return", "else", "in"].contains(&word)
            || (left.is_empty() && behind_closure);
        let closed = right.split_once('|').filter(|_| opens);
        found.extend(closed.map(|(parameters, _)| parameters));
        (rest, behind_closure) = (closed.map_or(right, |(_, behind)| behind), closed.is_some());
    }
    found
}

/// Whether code has a closure with a parameter called `own`: it says whose a thing is, not what it is.
fn has_nameless(code: &str) -> bool {
    let mut words =
        closure_parameters(code).into_iter().flat_map(|list| list.split(|letter| !is_of_word(letter)));
    words.any(|word| word == "own")
}

/// Whether a file, its tests with it, has a closure whose parameter says nothing.
fn is_nameless(content: &str) -> bool {
    let lines: Vec<&str> = content.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    has_nameless(&lines.join("\n"))
}

/// The path of a module, below the crate: `["data", "table"]` is `data/table.rs`.
type ModulePath = Vec<String>;

/// What a file names of others.
#[derive(Default)]
struct Names {
    path: PathBuf,
    /// What each `use` at the start of a line names, and whether for others (`pub use`) alone.
    uses: Vec<(bool, Vec<String>)>,
    /// Every other path in its code.
    inline: BTreeSet<Vec<String>>,
    /// All its words outside `use`.
    words: BTreeSet<String>,
}

impl Names {
    fn of(source: &Source) -> Self {
        let mut names = Self { path: source.path.clone(), ..Self::default() };
        let mut lines = source.code();
        while let Some(line) = lines.next() {
            let public = line.starts_with("pub");
            let start = line.strip_prefix("use ").or_else(|| {
                line.strip_prefix("pub").and_then(|rest| rest.split_once("use ")).map(|(_, rest)| rest)
            });
            let Some(start) = start.filter(|_| !line.contains('"')) else {
                names.read(line);
                continue;
            };
            let mut tree = start.to_owned();
            while !tree.contains(';') {
                tree += lines.next().expect("a `use` ends");
            }
            let paths = expand(tree.trim_end_matches(';'));
            names.uses.extend(paths.into_iter().map(|path| (public, path)));
        }
        names
    }

    fn read(&mut self, line: &str) {
        for token in line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':') {
            let path: Vec<String> = token.split("::").map(|word| word.trim_matches(':').to_owned()).collect();
            self.words.extend(path.iter().cloned());
            if path.len() > 1 {
                self.inline.insert(path);
            }
        }
    }
}

/// The paths that a `use` names: `a::{b, c::d}` are `a::b` and `a::c::d`.
fn expand(tree: &str) -> Vec<Vec<String>> {
    let (before, inside) = match tree.split_once('{') {
        Some((before, inside)) => (before, inside.rsplit_once('}').expect("braces are closed").0),
        None => {
            let path = tree.split(" as ").next().unwrap();
            let words = path.split("::").map(|word| word.trim().to_owned());
            return vec![words.filter(|word| word != "self").collect()];
        }
    };
    let start: Vec<String> =
        before.split("::").map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect();
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in inside.chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        if letter == ',' && depth == 0 {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(letter);
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expand(part.trim())).map(|path| [&start[..], &path[..]].concat()).collect()
}

/// All files, and what they name of one another.
struct House(BTreeMap<ModulePath, Names>);

impl House {
    fn new(sources: &[Source]) -> Self {
        let place = |source: &Source| {
            let path = source.path.with_extension("");
            let words = path.components().map(|word| word.as_os_str().to_str().unwrap().to_owned());
            words.filter(|word| word != "mod").collect()
        };
        Self(sources.iter().map(|source| (place(source), Names::of(source))).collect())
    }

    /// A path in a file, from the crate on; none where it leads out of it.
    fn absolute(&self, file: &[String], path: &[String]) -> Option<Vec<String>> {
        let ups = path.iter().take_while(|word| *word == "super").count();
        match path[0].as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([file, &path[1..]].concat()),
            "super" if ups <= file.len() => Some([&file[..file.len() - ups], &path[ups..]].concat()),
            first => {
                let child = [file, &[first.to_owned()]].concat();
                self.0.contains_key(&child).then(|| [file, path].concat())
            }
        }
    }

    /// The file that has what a path from the crate on names: through what modules pass on.
    fn owner(&self, path: &[String], left: usize) -> Option<ModulePath> {
        let deepest = (1..=path.len()).rev().find(|&length| self.0.contains_key(&path[..length]))?;
        let (file, rest) = path.split_at(deepest);
        let passed = rest.first().and_then(|item| {
            let (_, from) = self.0[file].uses.iter().find(|(_, from)| from.last() == Some(item))?;
            self.absolute(file, from)
        });
        passed.filter(|_| left > 0).and_then(|path| self.owner(&path, left - 1)).or(Some(file.to_vec()))
    }

    /// The files of its own module that a file takes something from. What it passes on and does not use itself
    /// is not taken; what its parent has belongs to the family, unless the parent is the module's story.
    fn taken(&self, file: &[String]) -> BTreeSet<ModulePath> {
        let names = &self.0[file];
        let used =
            names.uses.iter().filter(|(public, path)| !public || names.words.contains(path.last().unwrap()));
        let paths = used.map(|(_, path)| path).chain(&names.inline);
        let owners = paths.filter_map(|path| self.owner(&self.absolute(file, path)?, 8));
        let family = |owner: &ModulePath| file.starts_with(owner) && !STORIES.contains(&owner[0].as_str());
        let other = |owner: &ModulePath| owner[..] != *file && owner[0] == file[0] && !family(owner);
        owners.filter(other).collect()
    }

    fn name(&self, file: &[String]) -> String {
        self.0[file].path.display().to_string()
    }

    /// Every arrow of a circle.
    fn circles(&self) -> Vec<String> {
        let mut arrows: BTreeMap<ModulePath, BTreeSet<ModulePath>> = BTreeMap::new();
        for file in self.0.keys() {
            arrows.insert(file.clone(), self.taken(file));
        }
        let mut faults = Vec::new();
        for (from, taken) in &arrows {
            for to in taken.iter().filter(|to| reaches(&arrows, to, from)) {
                faults.push(format!("{} takes from {}, which takes from it", self.name(from), self.name(to)));
            }
        }
        faults
    }
}

/// Whether arrows lead from one file to another.
fn reaches(arrows: &BTreeMap<ModulePath, BTreeSet<ModulePath>>, from: &ModulePath, to: &ModulePath) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(file) = next.pop() {
        if file == to {
            return true;
        }
        if seen.insert(file) {
            next.extend(&arrows[file]);
        }
    }
    false
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

/// All sources but tests in files of their own, which may use anything.
fn all_sources() -> Vec<Source> {
    let root = crate::harness::root().join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    assert!(paths.len() > 50, "the sources were not found");
    let below = paths.iter().map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap());
    let product = below.filter(|below| !below.ends_with("tests.rs") && !below.contains("/tests/"));
    product.map(|below| Source::new(below, &std::fs::read_to_string(root.join(below)).unwrap())).collect()
}

#[test]
fn the_sources_keep_to_the_architecture() {
    let all: Vec<String> = all_sources().iter().flat_map(faults).collect();
    assert!(all.is_empty(), "{}", all.join("\n"));
    let root = crate::harness::root().join("src");
    for module in LAYERS.concat() {
        assert!(
            root.join(module).is_dir() || root.join(format!("{module}.rs")).is_file(),
            "{module} is gone"
        );
    }
}

#[test]
fn the_library_lists_its_modules_from_the_bottom_up() {
    let root = std::fs::read_to_string(crate::harness::root().join("src/lib.rs")).unwrap();
    let listed: Vec<&str> =
        root.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).collect();
    let heights: Vec<usize> = listed.iter().map(|module| layer(module).unwrap()).collect();
    assert!(heights.is_sorted(), "{listed:?}");
    let all: usize = LAYERS.iter().map(|row| row.len()).sum();
    // The command line is the program's.
    assert_eq!(listed.len() + ["cli"].len() + LAYERS.last().unwrap().len(), all, "{listed:?}");
}

#[test]
fn the_files_of_a_module_form_no_circle() {
    let faults = House::new(&all_sources()).circles();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn circles_are_seen_however_they_are_written() {
    let circles = |files: &[(&str, &str)]| {
        let sources: Vec<Source> = files.iter().map(|(path, content)| Source::new(path, content)).collect();
        House::new(&sources).circles()
    };
    let low = ("a/low.rs", "pub struct Low;\n");
    let story = ("a/mod.rs", "mod high;\nmod low;\npub use high::High;\nuse low::Low;\n");
    for high in [
        "use super::low::Low;\n",
        "use super::{low::{self, Low}, x};\n",
        "use crate::a::low;\n",
        "fn f() { super::low::f() }\n",
        // Through the parent, which has it from there.
        "use super::Low;\n",
        // What the parent itself has.
        "use super::Story;\n",
    ] {
        let files = [story, low, ("a/high.rs", high)];
        assert!(circles(&files).is_empty(), "{high}");
        let files = [story, ("a/high.rs", high), ("a/low.rs", "use super::{\n    high::High,\n};\n")];
        let found = circles(&files);
        assert_eq!(found.len(), if high.contains("Story") { 0 } else { 2 }, "{high}: {found:?}");
    }
    // The story stands above all.
    let files =
        [("train/mod.rs", "use high::High;\nstruct Story;\n"), ("train/high.rs", "use super::Story;\n")];
    assert_eq!(circles(&files).len(), 2);
    // Files of other modules are not the business of this rule.
    assert_eq!(circles(&[low, ("b/mod.rs", "use crate::a::low::Low;\n")]), [""; 0]);
}

#[test]
fn parameters_of_closures_say_what_they_are() {
    let mut paths = Vec::new();
    for folder in ["src", "tests/integration", "benches", "examples", "python/src"] {
        sources(&crate::harness::root().join(folder), &mut paths);
    }
    assert!(paths.len() > 50, "the sources were not found");
    // This file holds the examples below.
    paths.retain(|path| !path.ends_with("tests/integration/layers.rs"));
    paths.retain(|path| is_nameless(&std::fs::read_to_string(path).unwrap()));
    assert!(paths.is_empty(), "closures whose parameter is called `own`; name what it is: {paths:?}");
}

#[test]
fn a_closure_is_seen_however_it_is_written() {
    for code in [
        "rows.any(|NAME| NAME == x)",
        "rows.any(|&NAME| NAME == x)",
        "rows.map(|(place, NAME): (usize, &f64)| place)",
        "let f = |NAME: &Head| NAME.bias;",
        "let f = move |NAME| NAME;",
        "let (a, b) = (c | d, e || f); rows.map(|NAME| NAME)",
        "rows.map_or_else(|| x, |NAME| NAME)",
        "rows.map(\n    |\n        sum,\n        NAME,\n    | sum)",
        "for_each(&mut |NAME| NAME)",
        "Some(a) => |NAME| NAME,",
        "let f = || |NAME: &Head| NAME.bias;",
    ] {
        let code = &code.replace("NAME", "own");
        assert!(has_nameless(code), "{code}");
    }
    for code in [
        "rows.any(|row| row.own == \"a text of its own\")",
        "matches!(x, (Some(NAME), _) | (_, Some(NAME)))",
        "a || NAME || b",
        "let all = flags | NAME | more;",
        "rows.map_or_else(|| \"the graph's own\", |pooling| pooling)",
        "rows.map(|own_texts| own_texts)",
    ] {
        let code = &code.replace("NAME", "own");
        assert!(!has_nameless(code), "{code}: {:?}", closure_parameters(code));
    }
    let any = "rows.any(|NAME| NAME == x)".replace("NAME", "own");
    assert!(is_nameless(&format!("#[cfg(test)]\nmod tests {{ fn f() {{ {any} }} }}\n")));
    assert!(!is_nameless(&format!("// {any}\n")));
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
    faulty("train/mod.rs", "//! x\nfn f() { std::fs::rename(a, b); }\n", "the work of `files`");
    let long = format!("//! x\nfn endless() {{\n{}}}\n", "    x();\n".repeat(FUNCTION_LINES));
    faulty("embed/mod.rs", &long, "`endless` has 62 lines");
    faulty("embed/mod.rs", "//! x\n#[allow(dead_code)]\nfn f() {}\n", "without a reason");
    faulty("plan/mod.rs", "//! x\nlet name = \"encoder.layer.3.output.dense\";\n", "belongs to `encoder`");
    faulty(
        "cli/inspect.rs",
        "//! x\nif let Architecture::Encoder { config } = own {}\n",
        "belongs to `encoder`",
    );
    faulty("embed/cut.rs", "//! x\nlet name = format!(\"hidden.{level}\");\n", "belongs to `encoder`");
    assert!(faults(&Source::new("backbone/x.rs", "//! x\nlet own = Architecture::opaque();\n")).is_empty());
    // What stands behind the tests' marker does not count.
    assert!(
        faults(&Source::new("store/mod.rs", "//! x\n#[cfg(test)]\nmod tests { use crate::cli::x; }\n"))
            .is_empty()
    );
}
