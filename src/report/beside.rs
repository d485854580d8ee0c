//! Owns points that are drawn beside the dial: what other programs came to, measured elsewhere, in a JSON
//! file.
//!
//! Refuses tasks that were not compared, and figures that cannot be.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::document;
use crate::error::{Error, Kind, Result};
use crate::files;

/// What another program came to for one task, on test rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BesidePoint {
    /// What was measured.
    pub name: String,
    pub task: String,
    /// A share of the test rows …
    pub accuracy: f64,
    /// … of which there were so many.
    pub test_rows: u64,
    /// Of what would be deployed.
    pub bytes: u64,
    /// Texts in batches, end to end.
    pub texts_per_second: f64,
    /// Milliseconds of a single text.
    pub ms_per_text: f64,
    /// What it was timed on.
    pub processor: String,
}

/// Reads a list of points for these tasks.
///
/// # Errors
/// The file cannot be read, is no such list, has another task, a point twice, or a figure that cannot be.
pub fn read_beside(path: &Path, tasks: &[String]) -> Result<Vec<BesidePoint>> {
    let what = "this is not a list of points to draw beside the depths";
    let text = files::read(path)?.ok_or_else(|| {
        Error::new(Kind::Usage, "there is no such file")
            .at(path)
            .found("--beside with a file that is missing")
    })?;
    let points: Vec<BesidePoint> = document::json(&text, Kind::Usage, what).map_err(|error| {
        error.at(path).help(
            "each point has name, task, accuracy, test_rows, bytes, texts_per_second, ms_per_text and processor",
        )
    })?;
    let mut seen = BTreeSet::new();
    for (place, point) in points.iter().enumerate() {
        check(point, tasks).map_err(|error| error.at(path).field(format!("[{place}]")))?;
        if !seen.insert((&point.name, &point.task)) {
            return Err(Error::new(Kind::Usage, "a point is there twice")
                .at(path)
                .found(format!("{}, task {}", point.name, point.task))
                .expected("one point for each name and task"));
        }
    }
    Ok(points)
}

fn check(point: &BesidePoint, tasks: &[String]) -> Result<()> {
    if !tasks.contains(&point.task) {
        return Err(Error::new(Kind::Usage, "there is no such task in this comparison")
            .found(point.task.clone())
            .expected(format!("one of {}", tasks.join(", "))));
    }
    let wrong = |field: &str, found: String, expected: &str| {
        Err(Error::new(Kind::Usage, "a figure cannot be")
            .found(format!("{field} {found}"))
            .expected(expected.to_owned()))
    };
    if !(0.0..=1.0).contains(&point.accuracy) {
        return wrong("accuracy", point.accuracy.to_string(), "a share from 0 to 1");
    }
    for (field, value) in [("texts_per_second", point.texts_per_second), ("ms_per_text", point.ms_per_text)] {
        if !(value > 0.0 && value.is_finite()) {
            return wrong(field, value.to_string(), "a number above 0");
        }
    }
    for (field, value) in [("test_rows", point.test_rows), ("bytes", point.bytes)] {
        if value == 0 {
            return wrong(field, "0".to_owned(), "a number above 0");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINT: &str = r#"{"name": "static", "task": "mood", "accuracy": 0.8, "test_rows": 90, "bytes": 7,
        "texts_per_second": 9000, "ms_per_text": 0.2, "processor": "one"}"#;

    fn read(text: &str) -> Result<Vec<BesidePoint>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("beside.json");
        std::fs::write(&path, text).unwrap();
        read_beside(&path, &["mood".to_owned()])
    }

    #[test]
    fn points_are_read() {
        let points = read(&format!("[{POINT}]")).unwrap();
        assert_eq!((points.len(), points[0].bytes, points[0].name.as_str()), (1, 7, "static"));
        assert_eq!(read("[]").unwrap(), []);
    }

    #[test]
    fn what_cannot_be_drawn_is_refused_with_its_place() {
        let with = |from: &str, to: &str| format!("[{}]", POINT.replace(from, to));
        for (text, parts) in [
            (with("mood", "topic"), vec!["no such task", "topic", "mood", "[0]"]),
            (with("0.8", "80"), vec!["accuracy 80", "share from 0 to 1"]),
            (with("9000", "0"), vec!["texts_per_second 0", "above 0"]),
            (with("\"bytes\": 7", "\"bytes\": 0"), vec!["bytes 0"]),
            (with("\"bytes\": 7,", ""), vec!["bytes", "each point has name"]),
            (with("\"one\"", "1"), vec!["processor"]),
            (format!("[{POINT}, {POINT}]"), vec!["twice", "static", "mood"]),
            ("{}".to_owned(), vec!["not a list of points"]),
            ("[".to_owned(), vec!["no JSON"]),
        ] {
            let error = read(&text).unwrap_err();
            let said = format!("{error} {}", error.remedy().unwrap_or_default());
            for part in parts {
                assert!(said.contains(part), "{part:?} is not in {said}");
            }
        }
        let missing = read_beside(Path::new("/never/there.json"), &[]).unwrap_err().to_string();
        assert!(missing.contains("no such file"), "{missing}");
    }
}
