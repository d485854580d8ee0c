//! Owns reading JSON and TOML that people may have edited, and saying in plain words what does not fit: which
//! field, what was found, what was expected. The version comes first: everything else may be different in
//! another one. Also owns how JSON for people is written.
//!
//! Refuses to show a reader's own words ("invalid type: string, expected f32").

use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// Reads JSON; `what` says what is wrong if it is not what it must be.
///
/// # Errors
/// It is no JSON, or a field is missing, unknown or of another type.
pub fn json<T: DeserializeOwned>(bytes: &[u8], kind: Kind, what: &str) -> Result<T> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut reader);
    let value = read.map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        if error.is_data() {
            return described(Error::new(kind, what), &path, &without_place(&error.to_string()));
        }
        broken_json(kind, what, bytes, &error)
    })?;
    reader.end().map(|()| value).map_err(|error| broken_json(kind, what, bytes, &error))
}

/// Reads TOML, as [`json`] does JSON.
///
/// # Errors
/// As [`json`].
pub fn toml<T: DeserializeOwned>(text: &str, kind: Kind, what: &str) -> Result<T> {
    let broken = |error: &toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Error::new(kind, what).found(format!("no TOML in line {line} ({})", error.message().trim()))
    };
    let reader = toml::de::Deserializer::parse(text).map_err(|error| broken(&error))?;
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let path = error.path().to_string();
        described(Error::new(kind, what), &path, error.inner().message())
    })
}

/// The field that says a document's version.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// Checks the field `format` of some JSON, and nothing else of it.
///
/// # Errors
/// As [`json`], or it has another format than these.
pub fn check_json(bytes: &[u8], formats: &RangeInclusive<u32>, kind: Kind, what: &str) -> Result<()> {
    json(bytes, kind, what).and_then(|Version { format }| check_format(format, formats, kind))
}

/// Reads JSON as [`json`] does, its field `format` first.
///
/// # Errors
/// As [`check_json`] and [`json`].
pub fn versioned_json<T: DeserializeOwned>(
    bytes: &[u8],
    formats: &RangeInclusive<u32>,
    kind: Kind,
    what: &str,
) -> Result<T> {
    check_json(bytes, formats, kind, what)?;
    json(bytes, kind, what)
}

/// Reads TOML as [`versioned_json`] does JSON.
///
/// # Errors
/// As [`versioned_json`].
pub fn versioned_toml<T: DeserializeOwned>(
    text: &str,
    formats: &RangeInclusive<u32>,
    kind: Kind,
    what: &str,
) -> Result<T> {
    let Version { format } = toml(text, kind, what)?;
    check_format(format, formats, kind)?;
    toml(text, kind, what)
}

fn check_format(format: u32, formats: &RangeInclusive<u32>, kind: Kind) -> Result<()> {
    if formats.contains(&format) {
        return Ok(());
    }
    let (oldest, newest) = (formats.start(), formats.end());
    let known =
        if oldest == newest { format!("format {newest}") } else { format!("format {oldest} to {newest}") };
    Err(Error::new(kind, "it has a format that this version of frosthead does not read")
        .found(format!("format {format}"))
        .expected(known))
}

/// JSON for people: indented, with a line feed at its end; the same value gives the same bytes.
///
/// # Panics
/// The value has no JSON, which is a bug.
#[must_use]
pub fn pretty(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string_pretty(value).expect("our own types have a JSON form; this is a bug") + "\n"
}

/// The same in one line.
///
/// # Panics
/// The value has no JSON, which is a bug.
#[must_use]
pub fn line(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("our own types have a JSON form; this is a bug") + "\n"
}

fn broken_json(kind: Kind, what: &str, bytes: &[u8], error: &serde_json::Error) -> Error {
    let why = if error.is_eof() { "it ends too early".to_owned() } else { without_place(&error.to_string()) };
    let (line, column) = (error.line(), error.column());
    if let Some(number) = odd_number(bytes, error) {
        return Error::new(kind, what)
            .found(format!("{number} in line {line}"))
            .expected("a number that JSON has, or null");
    }
    Error::new(kind, what).found(format!("no JSON in line {line}, column {column} ({why})")).expected("JSON")
}

/// The number at which reading ended, which JSON does not have, though Python writes it; or which is too
/// large.
fn odd_number(bytes: &[u8], error: &serde_json::Error) -> Option<&'static str> {
    if error.to_string().starts_with("number out of range") {
        return Some("a number that is too large");
    }
    let line = bytes.split(|byte| *byte == b'\n').nth(error.line().checked_sub(1)?)?;
    let near = &line[error.column().saturating_sub(2).min(line.len())..];
    let is_near = |odd: &&str| near.windows(odd.len()).take(2).any(|window| window == odd.as_bytes());
    ["NaN", "Infinity", "-Infinity"].into_iter().find(is_near)
}

/// What does not fit, in plain words: `message` is serde's, about the value at `path`.
#[must_use]
pub fn described(error: Error, path: &str, message: &str) -> Error {
    let message = message.trim().trim_end_matches('.');
    let quoted = |name: &str| name.trim_matches('`').to_owned();
    if let Some(rest) = message.strip_prefix("missing field ") {
        return error.field(joined(path, &quoted(rest))).found("nothing").expected("this field");
    }
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let (name, known) = rest.split_once(", ").unwrap_or((rest, ""));
        // The path names the unknown field already where the reader knew it.
        let inside = path.strip_suffix(&quoted(name)).map_or(path, |path| path.trim_end_matches('.'));
        return error
            .field(joined(inside, &quoted(name)))
            .found("a field that is not known here")
            .expected(known_names(known));
    }
    if let Some(rest) = message.strip_prefix("duplicate field ") {
        return error.field(joined(path, &quoted(rest))).found("the field twice").expected("it once");
    }
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        let (name, known) = rest.split_once(", ").unwrap_or((rest, ""));
        return placed(error, path).found(format!("{:?}", quoted(name))).expected(known_names(known));
    }
    if let Some((count, expected)) =
        message.strip_prefix("invalid length ").and_then(|rest| rest.rsplit_once(", expected "))
    {
        return placed(error, path).found(format!("a list of {count} values")).expected(plain_type(expected));
    }
    let typed = ["invalid type: ", "invalid value: "];
    if let Some((found, expected)) = typed
        .iter()
        .find_map(|start| message.strip_prefix(start))
        .and_then(|rest| rest.rsplit_once(", expected "))
    {
        return placed(error, path).found(found_value(found)).expected(plain_type(expected));
    }
    match message.strip_prefix("expected ") {
        Some(expected) => placed(error, path).expected(expected),
        None => placed(error, path).found(message),
    }
}

fn placed(error: Error, path: &str) -> Error {
    if path.is_empty() || path == "." || path == "?" { error } else { error.field(path) }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() || path == "." || path == "?" { name.to_owned() } else { format!("{path}.{name}") }
}

/// `one of `a`, `b`` without the signs of code.
fn known_names(known: &str) -> String {
    if known.is_empty() || known.starts_with("there are no") {
        "no more fields".to_owned()
    } else {
        known.trim_start_matches("expected ").replace('`', "")
    }
}

/// Serde's word for a value that was found.
fn found_value(found: &str) -> String {
    let (what, value) = found.split_once(' ').unwrap_or((found, ""));
    match what {
        "null" | "unit" => "nothing (null)".to_owned(),
        "map" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        "string" => format!("the text {value}"),
        "boolean" => value.trim_matches('`').to_owned(),
        "integer" | "float" | "floating" => value.trim_start_matches("point ").trim_matches('`').to_owned(),
        _ => found.replace('`', ""),
    }
}

/// Serde's, or Rust's, word for a type that was expected.
fn plain_type(expected: &str) -> String {
    let expected = expected.trim();
    let plain = match expected {
        "f32" | "f64" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" | "u128" => "a whole number, 0 or more",
        "a nonzero u8" | "a nonzero u16" | "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => {
            "a whole number, 1 or more"
        }
        "i8" | "i16" | "i32" | "i64" | "isize" | "i128" => "a whole number",
        "bool" | "a boolean" => "true or false",
        "a string" | "string or map" | "str" => "a text in quotes",
        "a sequence" => "a list: [ … ]",
        "a map" => "an object: { … }",
        "path string" => "a path in quotes",
        _ if expected.starts_with("struct ") || expected.starts_with("internally tagged enum") => {
            "an object: { … }"
        }
        _ if expected.starts_with("a tuple")
            || expected.starts_with("an array")
            || expected.starts_with("tuple struct") =>
        {
            "a list: [ … ]"
        }
        _ if expected.starts_with("enum ") => "the name of a choice",
        _ => return expected.replace('`', ""),
    };
    plain.to_owned()
}

/// A message without its " at line 3 column 5".
fn without_place(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(message, _)| message).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Whole {
        rate: f32,
        rows: u64,
        names: Vec<String>,
        parts: BTreeMap<String, Part>,
        #[serde(default)]
        how: How,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Part {
        on: bool,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum How {
        #[default]
        Fast,
        Slow,
    }

    #[test]
    fn numbers_come_back_to_the_bit() {
        let mut bits = 20_261_128_u64;
        for _ in 0..10_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Between 1 and 2: any digits.
            let number = f64::from_bits(0x3ff0_0000_0000_0000 | bits >> 12);
            let back: f64 = json(pretty(&number).as_bytes(), Kind::Run, "a number").unwrap();
            assert_eq!(back.to_bits(), number.to_bits(), "{number}");
        }
    }

    #[test]
    fn a_field_that_does_not_fit_is_named_in_plain_words() {
        let with = |field: &str| format!(r#"{{"rate": 1, "rows": 2, "names": [], "parts": {{}}, {field}}}"#);
        let whole = |rate: &str, rows: &str, names: &str, parts: &str| {
            format!(r#"{{"rate": {rate}, "rows": {rows}, "names": {names}, "parts": {parts}}}"#)
        };
        for (text, expected) in [
            (
                whole(r#""x""#, "2", "[]", "{}"),
                r#"field "rate": it is wrong: found the text "x", expected a number"#,
            ),
            (
                whole("1", "-2", "[]", "{}"),
                r#"field "rows": it is wrong: found -2, expected a whole number, 0 or more"#,
            ),
            (
                whole("1", "2.5", "[]", "{}"),
                r#"field "rows": it is wrong: found 2.5, expected a whole number, 0 or more"#,
            ),
            (
                whole("1", "2", r#""a""#, "{}"),
                r#"field "names": it is wrong: found the text "a", expected a list: [ … ]"#,
            ),
            (
                whole("1", "2", "[null]", "{}"),
                r#"field "names[0]": it is wrong: found nothing (null), expected a text in quotes"#,
            ),
            (
                whole("1", "2", "[]", r#"{"a": {"on": 1}}"#),
                r#"field "parts.a.on": it is wrong: found 1, expected true or false"#,
            ),
            (
                whole("1", "2", "[]", r#"{"a": {}}"#),
                r#"field "parts.a.on": it is wrong: found nothing, expected this field"#,
            ),
            (
                whole("1", "2", "[]", r#"{"a": []}"#),
                r#"field "parts.a": it is wrong: found a list of 0 values, expected an object"#,
            ),
            (
                with(r#""new": 1"#),
                r#"field "new": it is wrong: found a field that is not known here, expected one of rate"#,
            ),
            (with(r#""rate": 1"#), r#"field "rate": it is wrong: found the field twice"#),
            (with(r#""how": "odd""#), r#"field "how": it is wrong: found "odd", expected fast or slow"#),
            ("{\"rate\": 1,\n nonsense".to_owned(), "it is wrong: found no JSON in line 2, column 2"),
            (whole("NaN", "2", "[]", "{}"), "found NaN in line 1"),
            (whole("Infinity", "2", "[]", "{}"), "found Infinity in line 1"),
            (whole("-Infinity", "2", "[]", "{}"), "Infinity in line 1"),
            (whole("1e400", "2", "[]", "{}"), "found a number that is too large in line 1"),
            ("{\"rate\": 1".to_owned(), "it ends too early"),
            (whole("1", "2", "[]", "{}") + "}", "found no JSON in line 1"),
        ] {
            let error = json::<Whole>(text.as_bytes(), Kind::Usage, "it is wrong").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        json::<Whole>(with(r#""how": "slow""#).as_bytes(), Kind::Usage, "it is wrong").unwrap();
    }

    #[test]
    fn the_version_is_looked_at_before_anything_else() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Versioned {
            format: u32,
        }
        let read = |text: &str, formats| {
            versioned_json::<Versioned>(text.as_bytes(), &formats, Kind::Run, "it is wrong")
        };
        for (text, formats, expected) in [
            (r#"{"format": 3, "other": 1}"#, 1..=2, "does not read: found format 3, expected format 1 to 2"),
            (r#"{"format": 0, "other": 1}"#, 1..=1, "does not read: found format 0, expected format 1"),
            (r#"{"other": 1}"#, 1..=1, r#"field "format": it is wrong: found nothing"#),
            (r#"{"format": 1, "other": 1}"#, 1..=1, r#"field "other": it is wrong"#),
        ] {
            let told = read(text, formats).unwrap_err().to_string();
            assert!(told.contains(expected), "{told}");
        }
        assert_eq!(read(r#"{"format": 2}"#, 1..=2).unwrap().format, 2);
        let error = versioned_toml::<Versioned>("format = 9\nx = 1", &(1..=1), Kind::Run, "x").unwrap_err();
        assert!(error.to_string().contains("found format 9"), "{error}");
        assert_eq!(pretty(&[1]), "[\n  1\n]\n");
    }

    #[test]
    fn so_it_is_in_toml() {
        let text = "rate = 'x'\nrows = 2\nnames = []\nparts = {}\n";
        for (text, expected) in [
            (text.to_owned(), r#"field "rate": it is wrong: found the text "x", expected a number"#),
            (text.replace("'x'", "1.5").replace("= 2", "= -2"), r#"field "rows": it is wrong: found -2"#),
            (text.replace("'x'", "1.5") + "new = 1\n", r#"field "new": it is wrong"#),
            (text.replace("rate = 'x'\n", ""), r#"field "rate": it is wrong: found nothing"#),
            (text.replace("'x'", "1.5") + "oh no\n", "no TOML in line 5"),
        ] {
            let error = toml::<Whole>(&text, Kind::Usage, "it is wrong").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
