//! What users read is written for them: no message shows Rust's debug form of anything but a text or a list
//! of numbers.

use std::path::Path;

/// Names whose debug form is that of a text in quotation marks, or of a list of numbers in brackets, wherever
/// they stand. What is new here is one of these two; everything else gets words, or a `Display` of its own.
const PLAIN: [&str; 31] = [
    "text",
    "name",
    "label",
    "task",
    "column",
    "location",
    "separator",
    "limit.label",
    "symbol",
    "extra",
    "taken",
    "shape",
    "dims",
    "bias_shape",
    "temperature_shape",
    "info.shape",
    "input.shape",
    "wanted.shape",
    "tensor.shape()",
    "entry.name",
    "entry.task",
    "input.name",
    "input.name()",
    "loss.name()",
    "parameter.name()",
    "self.name",
    "self.output().name()",
    "own.label",
    "entry.value()",
    "place.location",
    "preparation.prefix",
];

/// The same in one file, where the name alone does not say so.
const PLAIN_THERE: [(&str, &str); 34] = [
    ("backbone/trial/refusals.rs", "states"),
    ("backbone/trial/refusals.rs", "found"),
    ("backbone/trial/refusals.rs", "expected"),
    ("cli/import.rs", "source"),
    ("encoder/names.rs", "first.shape"),
    ("encoder/names.rs", "only"),
    ("encoder/names.rs", "only.name"),
    ("encoder/names.rs", "other"),
    ("encoder/foreign/external.rs", "model.display().to_string()"),
    ("bundle/network.rs", "DATA"),
    ("bundle/self_test.rs", "worst.1"),
    ("bundle/self_test.rs", "worst.2"),
    ("cli/classes.rs", "label.chars().take(LABEL).collect::<String>()"),
    ("data/column_use.rs", "other"),
    ("data/encoding.rs", "text.trim_end_matches('\\u{fffd}')"),
    ("data/features.rs", "cell.as_str().unwrap_or(\"null\")"),
    ("data/json.rs", "key"),
    ("data/records.rs", "String::from_utf8_lossy(cell).chars().take(60).collect::<String>()"),
    ("finetune/adamw.rs", "parameters[place].name"),
    // A value of a graph is its name.
    ("graph/terms.rs", "&*self.0"),
    ("graph/builder.rs", "first"),
    ("graph/builder.rs", "input"),
    ("graph/builder.rs", "value"),
    ("files/fault.rs", "value"),
    ("store/folder.rs", "value"),
    ("backbone/sentence_transformers.rs", "outside.path"),
    ("encoder/shards.rs", "file"),
    ("bundle/validation.rs", "VALIDATION"),
    ("data/header.rs", "first"),
    ("document.rs", "quoted(name)"),
    ("tokens/added.rs", "content"),
    ("tokens/check.rs", "content"),
    ("tokens/check.rs", "token"),
    ("tokens/tokenizer.rs", "start"),
];

/// Debug forms that nobody reads: they go into a hash, or say that the program is wrong.
const UNREAD: [(&str, &str); 7] = [
    ("backbone/manifest.rs", "pooling"),
    ("cli/options.rs", "long"),
    ("cli/options.rs", "window"),
    ("cli/options.rs", "stride"),
    ("cli/options.rs", "max_windows"),
    ("compare/request.rs", "other"),
    ("heads/view.rs", "columns"),
];

/// The debug forms in a source file: what is shown in them, with the line of each.
fn debug_forms(source: &str) -> Vec<(usize, String)> {
    let code: Vec<char> = without_comments(source).chars().collect();
    let mut found = Vec::new();
    let mut place = 0;
    while place < code.len() {
        if code[place] == '\'' && code.get(place + 1) == Some(&'"') && code.get(place + 2) == Some(&'\'') {
            place += 3;
        } else if code[place] == '"' {
            let end = literal_end(&code, place);
            let literal: String = code[place + 1..end].iter().collect();
            let line = code[..place].iter().filter(|c| **c == '\n').count() + 1;
            let before: String = code[place.saturating_sub(200)..place].iter().collect();
            // A value that goes into a hash.
            let hashed = before.ends_with("format!(")
                && before.lines().last().is_some_and(|line| line.contains("field(\""));
            if literal.contains("?}") && !hashed {
                let arguments = arguments(&code, end + 1);
                found.extend(shown(&literal, &arguments).into_iter().map(|form| (line, form)));
            }
            place = end + 1;
        } else {
            place += 1;
        }
    }
    found
}

fn without_comments(source: &str) -> String {
    let code = source.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
    let plain =
        |line: &str| if line.trim_start().starts_with("//") { String::new() } else { line.to_owned() };
    code.map(plain).collect::<Vec<_>>().join("\n")
}

/// Where the text that begins at `start` ends.
fn literal_end(code: &[char], start: usize) -> usize {
    let mut place = start + 1;
    while place < code.len() && code[place] != '"' {
        place += if code[place] == '\\' { 2 } else { 1 };
    }
    place.min(code.len())
}

/// The arguments behind a format, up to the bracket that closes it.
fn arguments(code: &[char], start: usize) -> Vec<String> {
    let (mut depth, mut place) = (0, start);
    let mut all = vec![String::new()];
    while let Some(&c) = code.get(place) {
        match c {
            '"' => {
                let end = literal_end(code, place);
                all.last_mut().unwrap().extend(&code[place..=end.min(code.len() - 1)]);
                place = end;
            }
            ')' | ']' | '}' if depth == 0 => break,
            ',' if depth == 0 => all.push(String::new()),
            _ => {
                depth += i32::from("([{".contains(c)) - i32::from(")]}".contains(c));
                all.last_mut().unwrap().push(c);
            }
        }
        place += 1;
    }
    // The first is what stands between the format and its first comma: nothing.
    all.iter().skip(1).map(|part| part.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// What a format shows in its debug form.
fn shown(literal: &str, arguments: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = 0;
    for part in literal.replace("{{", "").replace("}}", "").split('{').skip(1) {
        let inside = part.split('}').next().unwrap();
        let (name, form) = inside.split_once(':').unwrap_or((inside, ""));
        let argument = |place: usize| {
            arguments.get(place).cloned().unwrap_or_else(|| "an argument that was not found".to_owned())
        };
        let own = if name.is_empty() {
            next += 1;
            argument(next - 1)
        } else {
            name.parse().map_or_else(|_| name.to_owned(), argument)
        };
        if form.ends_with('?') {
            found.push(own);
        }
    }
    found
}

fn sources(directory: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            false => {}
        }
    }
}

#[test]
fn no_message_shows_a_debug_form() {
    let root = crate::harness::root().join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    let mut faults = Vec::new();
    for path in paths {
        let below = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        if below.ends_with("tests.rs") || below.contains("/tests/") {
            continue;
        }
        for (line, name) in debug_forms(&std::fs::read_to_string(&path).unwrap()) {
            let there = (below.as_str(), name.as_str());
            if !PLAIN.contains(&name.as_str()) && !PLAIN_THERE.contains(&there) && !UNREAD.contains(&there) {
                faults.push(format!("{below}:{line}: the debug form of `{name}`"));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{}\nif it is a text or a list of numbers, add it to PLAIN; if not, write what it is",
        faults.join("\n")
    );
}

#[test]
fn debug_forms_are_found_wherever_they_are() {
    let of = |source: &str| debug_forms(source).into_iter().map(|(_, form)| form).collect::<Vec<_>>();
    assert_eq!(
        of("format!(\"{seen:?} {} {:?} {:#?}\", a, self.seen(b, c), d)"),
        ["seen", "self.seen(b, c)", "d"]
    );
    assert_eq!(of("format!(\n    \"{}: {:?}\",\n    one(\"x, y\"),\n    two\n)"), ["two"]);
    assert_eq!(of("write!(f, \"{{:?}} {name} {width:>5}\")"), Vec::<String>::new());
    assert_eq!(of("// format!(\"{x:?}\")\n'\"'; x.field(\"a\", format!(\"{y:?}\")); say(\"{z:?}\")"), ["z"]);
    assert_eq!(of("format!(\"{0} {1:?}\", a, b.c)"), ["b.c"]);
    assert_eq!(of("#[cfg(test)]\nformat!(\"{x:?}\")"), Vec::<String>::new());
}
