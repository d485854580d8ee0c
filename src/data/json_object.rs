//! Owns one JSON object as it is written: its keys in their order, each value's own text, and keys that stand
//! twice in it, however deep.
//!
//! Refuses to understand a value before somebody asks for it: a number may have more digits than any type.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object's keys and values in their order, each value as it is written.
pub(super) struct Entries<'o>(pub Vec<(String, &'o RawValue)>);

impl Entries<'_> {
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// The first key that stands twice in one object, this one or one inside it, and where.
    pub fn twice(&self) -> Option<Twice> {
        let mut met = HashSet::with_capacity(self.0.len());
        if let Some((key, _)) = self.0.iter().find(|(key, _)| !met.insert(key.as_str())) {
            return Some(Twice { key: key.clone(), path: Vec::new() });
        }
        self.0.iter().find_map(|(key, value)| Some(twice_inside(value.get())?.below(key.clone())))
    }
}

/// A key that stands twice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Twice {
    pub key: String,
    /// The way from the row to the object that has it, innermost first.
    path: Vec<String>,
}

impl Twice {
    fn below(mut self, step: String) -> Self {
        self.path.push(step);
        self
    }

    /// The column that it lies in: it is the key itself, where that is one of the row's own.
    pub fn column(&self) -> &str {
        self.path.last().unwrap_or(&self.key)
    }

    /// The object that has it, from the row: `meta.list[2]`; none for the row itself.
    pub fn place(&self) -> Option<String> {
        let mut steps = self.path.iter().rev();
        let first = steps.next()?.clone();
        Some(steps.fold(first, |place, step| match step.starts_with('[') {
            true => place + step,
            false => place + "." + step,
        }))
    }
}

/// The same in a value that may be an object, or a list that holds some. What cannot be taken apart (a key
/// of half a character) has none.
fn twice_inside(value: &str) -> Option<Twice> {
    match value.as_bytes().first() {
        Some(b'{') => serde_json::from_str::<Entries<'_>>(value).ok()?.twice(),
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(value).ok()?;
            let mut items = items.iter().enumerate();
            items.find_map(|(place, item)| Some(twice_inside(item.get())?.below(format!("[{place}]"))))
        }
        _ => None,
    }
}

impl<'o> Deserialize<'o> for Entries<'o> {
    fn deserialize<D: Deserializer<'o>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Object;
        impl<'o> Visitor<'o> for Object {
            type Value = Entries<'o>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'o>>(self, mut map: M) -> std::result::Result<Entries<'o>, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_twice_is_found_however_deep() {
        let twice = |object: &str| {
            let twice = serde_json::from_str::<Entries<'_>>(object).unwrap().twice()?;
            Some((twice.column().to_owned(), twice.place(), twice.key))
        };
        let found = |column: &str, place: Option<&str>, key: &str| {
            Some((column.to_owned(), place.map(str::to_owned), key.to_owned()))
        };
        assert_eq!(twice(r#"{"a": 1, "b": 2, "a": 3}"#), found("a", None, "a"));
        assert_eq!(twice(r#"{"a": 1, "m": {"x": 1, "\u0078": 2}}"#), found("m", Some("m"), "x"));
        assert_eq!(
            twice(r#"{"m": {"l": [0, [1, {"x": {}, "y": 2, "x": 1e400}]]}}"#),
            found("m", Some("m.l[1][1]"), "x")
        );
        for once in [
            r#"{"a": {"x": 1}, "b": {"x": 1, "a": [{"x": 1}, {"x": 1}]}}"#,
            r#"{"a": "{\"x\": 1, \"x\": 2}", "b": {"x": 1, "X": 1e400}}"#,
        ] {
            assert_eq!(twice(once), None, "{once}");
        }
    }
}
