//! Owns finding what a run was made of, its tables and its backbone: where they lay, or beside the run,
//! wherever both are by now.
//!
//! Refuses a file that is not, to the byte, the one that was read.

use std::path::{Path, PathBuf};

use super::run::TableRecipe;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::Fingerprint;

impl TableRecipe {
    /// Finds the table of a run that lies in `run`: under the path it had, else under the end of that path in
    /// one of the directories that the run lies in (a project that was moved as a whole, or a path that was
    /// relative to it).
    ///
    /// # Errors
    /// It is in none of these places, or is another file by now.
    pub fn find(&self, run: &Path) -> Result<PathBuf> {
        let mut changed = None;
        for place in places(Path::new(&self.path), run).filter(|place| place.is_file()) {
            let found = Fingerprint::of_file(&place)?;
            if found == self.fingerprint {
                return Ok(place);
            }
            changed.get_or_insert((place, found));
        }
        let error = match changed {
            Some((place, found)) => {
                Error::new(Kind::Table, "the table was changed after the run was trained on it")
                    .at(place)
                    .found(found.short())
                    .expected(self.fingerprint.short())
                    .help(
                        "train the run again, or bundle with --precision fp32 and without --keep-validation",
                    )
            }
            None => Error::new(Kind::Table, "the table that the run was trained on is not there any more")
                .at(&self.path)
                .found(format!("no such file, neither there nor beside {}", run.display()))
                .expected(format!("the file with the hash {}", self.fingerprint.short()))
                .help("put it back there, or bundle with --precision fp32 and without --keep-validation"),
        };
        Err(error)
    }
}

/// Where something that a run was made of may lie by now, most likely first: under the path it had, and
/// under every end of that path in every directory that the run lies in.
pub(super) fn places(stored: &Path, run: &Path) -> impl Iterator<Item = PathBuf> {
    let mut places = vec![stored.to_path_buf()];
    let run = run.canonicalize().unwrap_or_else(|_| run.to_path_buf());
    let parts: Vec<_> =
        stored.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect();
    for directory in run.ancestors() {
        places.extend((0..parts.len()).map(|from| directory.join(parts[from..].iter().collect::<PathBuf>())));
    }
    places.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Format, Reading};

    fn recipe(path: &str) -> TableRecipe {
        TableRecipe {
            path: path.to_owned(),
            fingerprint: Fingerprint::of_bytes(b"text\na\n"),
            format: Format::Csv,
            reading: Reading::default(),
        }
    }

    #[test]
    fn a_table_is_found_where_it_was_and_beside_its_run() {
        let directory = tempfile::tempdir().unwrap();
        let project = directory.path().canonicalize().unwrap();
        let run = project.join("runs/first");
        std::fs::create_dir_all(&run).unwrap();
        std::fs::create_dir_all(project.join("data")).unwrap();
        let table = project.join("data/a.csv");
        std::fs::write(&table, "text\na\n").unwrap();
        // Relative to a place that is not known any more; and of a project that has moved.
        for path in [
            table.to_str().unwrap(),
            "data/a.csv",
            "./data/a.csv",
            "../data/a.csv",
            "/old/project/data/a.csv",
        ] {
            assert_eq!(recipe(path).find(&run).unwrap(), table, "{path}");
        }
        let error = recipe("other.csv").find(&run).unwrap_err();
        assert!(
            error.to_string().contains("other.csv") && error.remedy().unwrap().contains("put it back"),
            "{error}"
        );
    }

    #[test]
    fn another_file_of_that_name_is_not_taken_for_the_table() {
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path().join("run");
        std::fs::create_dir_all(&run).unwrap();
        std::fs::write(directory.path().join("a.csv"), "text\nother\n").unwrap();
        let error = recipe("a.csv").find(&run).unwrap_err().to_string();
        assert!(error.contains("changed after the run was trained"), "{error}");
        std::fs::write(run.join("a.csv"), "text\na\n").unwrap();
        assert_eq!(recipe("a.csv").find(&run).unwrap(), run.canonicalize().unwrap().join("a.csv"));
    }
}
