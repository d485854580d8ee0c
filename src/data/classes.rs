//! Owns what there is to know of a task's classes before anything is learned: how many rows each has, which
//! have a single one, which look alike, and which texts contradict themselves.
//!
//! Refuses to merge anything, and to keep a text: rows are named by their numbers.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use super::label_list::{kept, labels_in};
use super::labels::{LabelSet, Rare};
use crate::error::{Error, Kind, Result, quoted};
use crate::fingerprint::TextKey;

/// From so many labelled rows on, of which so many in a hundred have a label of their own, a column is not
/// one of classes.
const MANY_ROWS: u64 = 200;
const NEARLY_ALL: u64 = 95;
/// Contradictions that are named.
const EXAMPLES: usize = 3;
/// Labels that are named in an example of a contradiction, and in a message.
const NAMED: usize = 5;

/// The classes of one task in a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classes {
    /// Rows of each class that takes part in the task.
    pub rows: BTreeMap<String, u64>,
    /// Classes whose rows have one text only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub single: Vec<String>,
    /// Rows of theirs that were kept out of the task.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kept_out: u64,
    /// Classes none of whose rows is trained on, because their texts are among the test or validation rows of
    /// another file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untrained: Vec<String>,
    /// Groups of labels that differ only by white space, case or Unicode form; they stay different classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alike: Vec<Vec<String>>,
    /// Texts that stand more than once, with different labels.
    #[serde(default, skip_serializing_if = "Contradictions::is_empty")]
    pub contradictions: Contradictions,
}

/// Texts of a task that stand more than once, with different labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contradictions {
    pub texts: u64,
    /// Labelled rows with these texts.
    pub rows: u64,
    /// The first few texts, each with the first row of every label.
    pub examples: Vec<Vec<LabelledRow>>,
}

/// A row and its label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelledRow {
    /// Its file, when it is not the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// From 1.
    pub row: u64,
    pub label: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Classes {
    /// Counts a task's classes; `keys` are the rows' texts, `cells` their labels, `lists` of them or one each.
    #[must_use]
    pub fn count(lists: bool, keys: &[TextKey], cells: &[Option<String>]) -> Self {
        let mut found: HashMap<Cow<'_, str>, (u64, TextKey, bool)> = HashMap::new();
        for (key, cell) in keys.iter().zip(cells) {
            for label in labels_of(lists, cell.as_deref().filter(|label| !label.is_empty())) {
                let (rows, first, several) = found.entry(label).or_insert((0, *key, false));
                *rows += 1;
                *several |= first != key;
            }
        }
        let mut single: Vec<String> = found
            .iter()
            .filter(|(_, (.., several))| !several)
            .map(|(label, _)| label.clone().into_owned())
            .collect();
        single.sort_unstable();
        let rows = found.into_iter().map(|(label, (rows, ..))| (label.into_owned(), rows)).collect();
        let mut classes = Self { rows, single, ..Self::default() };
        classes.alike = alike(classes.rows.keys());
        classes
    }

    /// The labels of these classes.
    #[must_use]
    pub fn labels(&self) -> LabelSet {
        LabelSet::new(self.rows.keys().map(String::as_str))
    }

    /// Refuses a column from which nothing can be learned: no labels, or fewer than this.
    ///
    /// # Errors
    /// It is such a column.
    pub fn check(&self, task: &str, least: usize) -> Result<()> {
        let expected = if least > 1 { "at least two different labels" } else { "at least one label" };
        let wrong = |what: &str| Error::new(Kind::Table, what).column(task).expected(expected);
        let dropped = match self.kept_out {
            1 => "1 row of a class with a single one was kept out".to_owned(),
            rows => format!("{rows} rows of classes with a single one were kept out"),
        };
        let error = match (self.rows.len(), self.rows.first_key_value()) {
            (0, _) if self.kept_out > 0 => wrong("every class of the task has a single row").found(dropped),
            (0, _) => wrong("the task has no labels"),
            (1, Some((label, rows))) if least > 1 => {
                let all = match rows {
                    1 => format!("{} in the only row", quoted(label)),
                    rows => format!("{} in all {rows} rows", quoted(label)),
                };
                let found = if self.kept_out > 0 { format!("{all}; {dropped}") } else { all };
                wrong("the task's labels are all the same").found(found)
            }
            _ => return Ok(()),
        };
        Err(if self.kept_out > 0 { error.help("--rare train learns from them") } else { error })
    }

    /// Refuses a column in which (nearly) every row has a label of its own, as texts and numbers do.
    ///
    /// # Errors
    /// It is such a column.
    pub fn check_own(&self, task: &str, rare: Rare) -> Result<()> {
        let (labels, rows) = (self.rows.len() as u64, self.rows.values().sum::<u64>());
        let nearly = rare == Rare::Train && rows >= MANY_ROWS && 100 * labels >= NEARLY_ALL * rows;
        if labels < rows && !nearly {
            return Ok(());
        }
        let what = if labels == rows { "every row" } else { "nearly every row" };
        let error = Error::new(Kind::Table, format!("{what} has a label of its own"))
            .column(task)
            .found(format!("{labels} labels in {rows} rows"))
            .expected("a column of classes, not of texts or numbers");
        Err(error.help(if labels == rows {
            "check the column's name; where it is right, give more rows of the same labels, or such rows by --test FILE"
        } else {
            "check the column's name; where it is right, --rare drop keeps the classes with a single row out"
        }))
    }

    /// Whether any of these cells has one of the labels.
    #[must_use]
    pub fn occur_in(&self, cells: &[Option<String>]) -> bool {
        cells.iter().flatten().any(|cell| self.rows.contains_key(cell))
    }

    /// Empties the cells of classes whose rows have one text only; from `lists` such labels are taken out.
    pub fn keep_out_single(&mut self, lists: bool, cells: &mut [Option<String>]) {
        let single: HashSet<&str> = self.single.iter().map(String::as_str).collect();
        for cell in cells {
            if let (true, Some(list)) = (lists, &mut *cell) {
                let left: BTreeSet<String> =
                    labels_in(list).into_iter().filter(|label| !single.contains(label.as_str())).collect();
                *list = kept(&left);
            } else if cell.as_deref().is_some_and(|label| single.contains(label)) {
                *cell = None;
                self.kept_out += 1;
            }
        }
        self.rows.retain(|label, _| !single.contains(label.as_str()));
    }
}

impl Contradictions {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts == 0
    }

    /// Finds them among the labelled rows; `place` gives a row's file, when it is not the first one, and its
    /// number there.
    #[must_use]
    pub fn find(
        keys: &[TextKey],
        cells: &[Option<String>],
        place: &dyn Fn(usize) -> (Option<String>, u64),
    ) -> Self {
        let mut order: Vec<usize> = (0..keys.len()).filter(|&row| cells[row].is_some()).collect();
        order.sort_unstable_by_key(|&row| (keys[row], row));
        let mut groups: Vec<&[usize]> = order
            .chunk_by(|a, b| keys[*a] == keys[*b])
            .filter(|rows| rows.iter().any(|&row| cells[row] != cells[rows[0]]))
            .collect();
        groups.sort_unstable_by_key(|rows| rows[0]);
        let example = |rows: &&[usize]| {
            let mut met = HashSet::new();
            let first = rows.iter().copied().filter(|&row| met.insert(cells[row].as_deref()));
            let named = first.take(NAMED).map(|row| {
                let (file, number) = place(row);
                LabelledRow { file, row: number, label: cells[row].clone().unwrap_or_default() }
            });
            named.collect()
        };
        Self {
            texts: groups.len() as u64,
            rows: groups.iter().map(|rows| rows.len() as u64).sum(),
            examples: groups.iter().take(EXAMPLES).map(example).collect(),
        }
    }
}

/// The labels of a cell.
fn labels_of(lists: bool, cell: Option<&str>) -> Vec<Cow<'_, str>> {
    match cell {
        None => Vec::new(),
        Some(list) if lists => labels_in(list).into_iter().map(Cow::Owned).collect(),
        Some(label) => vec![Cow::Borrowed(label)],
    }
}

/// Groups of labels that are one once white space, case and Unicode form do not count.
fn alike<'l>(labels: impl Iterator<Item = &'l String>) -> Vec<Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for label in labels {
        groups.entry(plain(label)).or_default().push(label.clone());
    }
    groups.into_values().filter(|group| group.len() > 1).collect()
}

/// Whether two labels differ by nothing but white space, case or Unicode form.
#[must_use]
pub fn look_alike(one: &str, other: &str) -> bool {
    plain(one) == plain(other)
}

/// A label in one white space, case and Unicode form. Upper case first: `ß` and `SS` are one then, as in
/// Unicode's case folding.
fn plain(label: &str) -> String {
    let invisible = |c: char| matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' | '\u{ad}');
    let visible: String = label.nfkc().filter(|c| !invisible(*c)).collect();
    let folded: String = visible.to_uppercase().to_lowercase().nfkc().collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(labels: &[&str]) -> Vec<Option<String>> {
        labels.iter().map(|label| Some((*label).to_owned()).filter(|label| !label.is_empty())).collect()
    }

    /// Every row has a text of its own.
    fn of(labels: &[&str]) -> Classes {
        let keys: Vec<TextKey> = (0..labels.len()).map(|row| TextKey::of(&row.to_string())).collect();
        Classes::count(false, &keys, &cells(labels))
    }

    #[track_caller]
    fn refused(result: Result<()>, parts: &[&str]) {
        let error = result.unwrap_err();
        let said = format!("{error} {}", error.remedy().unwrap_or_default());
        for part in parts.iter().chain(&["\"mood\""]) {
            assert!(said.contains(part), "{said:?} should say {part:?}");
        }
    }

    #[test]
    fn classes_are_counted_and_empty_cells_are_none() {
        let classes = of(&["b", "a", "", "b", "lonely"]);
        assert_eq!(
            classes.rows,
            [("a", 1), ("b", 2), ("lonely", 1)].map(|(label, rows)| (label.to_owned(), rows)).into()
        );
        assert_eq!(classes.single, ["a", "lonely"]);
        assert_eq!(classes.labels().names(), ["a", "b", "lonely"]);
        classes.check("mood", 2).unwrap();
        classes.check_own("mood", Rare::Train).unwrap();
        // Two rows with one text are not more than one.
        let keys = ["x", "x", "y", "z"].map(TextKey::of);
        assert_eq!(Classes::count(false, &keys, &cells(&["a", "a", "b", "b"])).single, ["a"]);
    }

    #[test]
    fn a_column_from_which_nothing_can_be_learned_is_refused() {
        refused(of(&["", ""]).check("mood", 2), &["no labels"]);
        refused(of(&["a", "a", ""]).check("mood", 2), &["all the same", "\"a\" in all 2 rows"]);
        refused(
            of(&["a", "b", "c"]).check_own("mood", Rare::Train),
            &["label of its own", "3 labels in 3 rows", "--test FILE"],
        );
        refused(of(&["a", "b", "c"]).check_own("mood", Rare::Drop), &["label of its own"]);
        let nearly: Vec<String> = (0..400).map(|row| (row % 390).to_string()).collect();
        let nearly = of(&nearly.iter().map(String::as_str).collect::<Vec<_>>());
        refused(
            nearly.check_own("mood", Rare::Train),
            &["nearly every row", "390 labels in 400 rows", "--rare drop"],
        );
        nearly.check_own("mood", Rare::Drop).unwrap();
        let tail: Vec<String> = (0..400).map(|row| (row % 200).to_string()).collect();
        of(&tail.iter().map(String::as_str).collect::<Vec<_>>()).check_own("mood", Rare::Train).unwrap();
    }

    #[test]
    fn classes_with_a_single_row_are_kept_out_when_that_is_asked_for() {
        let mut column = cells(&["a", "a", "b", "lonely", "b", "odd"]);
        let mut classes = of(&["a", "a", "b", "lonely", "b", "odd"]);
        classes.keep_out_single(false, &mut column);
        assert_eq!(column, cells(&["a", "a", "b", "", "b", ""]));
        assert_eq!((classes.kept_out, &classes.single[..]), (2, &["lonely".to_owned(), "odd".into()][..]));
        assert_eq!(classes.labels().names(), ["a", "b"]);
        classes.check("mood", 2).unwrap();
        let mut classes = of(&["a", "a", "b"]);
        classes.keep_out_single(false, &mut cells(&["a", "a", "b"]));
        refused(
            classes.check("mood", 2),
            &["all the same", "1 row of a class with a single one", "--rare train"],
        );
    }

    #[test]
    fn labels_that_only_look_different_are_found() {
        let labels = [
            "yes",
            "Yes ",
            "\u{a0}YES",
            "no",
            "caf\u{e9}",
            "cafe\u{301}",
            "stra\u{df}e",
            "STRASSE",
            "\u{fb01}ne",
            "fine",
            "new york",
            "new  york",
            "y\u{200b}es",
            "\u{3c3}\u{3c2}",
            "\u{3a3}\u{3a3}",
            "naïve",
            "naive",
        ];
        let mut classes = of(&labels);
        classes.alike.iter_mut().for_each(|group| group.sort());
        let of = |labels: &[&str]| {
            let mut group: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
            group.sort();
            group
        };
        for group in [
            of(&["yes", "Yes ", "\u{a0}YES", "y\u{200b}es"]),
            of(&["caf\u{e9}", "cafe\u{301}"]),
            of(&["stra\u{df}e", "STRASSE"]),
            of(&["\u{fb01}ne", "fine"]),
            of(&["new york", "new  york"]),
            of(&["\u{3c3}\u{3c2}", "\u{3a3}\u{3a3}"]),
        ] {
            assert!(classes.alike.contains(&group), "{group:?} is not in {:?}", classes.alike);
        }
        assert_eq!(classes.alike.len(), 6, "an accent is a difference: {:?}", classes.alike);
    }

    #[test]
    fn contradicting_texts_are_counted_and_named_by_their_rows() {
        let keys = ["x", "y", "x", "z", "y", "x", "y", "w"].map(TextKey::of);
        let labels = cells(&["a", "a", "b", "c", "a", "a", "", "c"]);
        let place = |row: usize| match row {
            0..4 => (None, row as u64 + 1),
            _ => (Some("test.csv".to_owned()), row as u64 - 3),
        };
        let found = Contradictions::find(&keys, &labels, &place);
        assert_eq!((found.texts, found.rows), (1, 3));
        let row = |row, label: &str| LabelledRow { file: None, row, label: label.to_owned() };
        assert_eq!(found.examples, [[row(1, "a"), row(3, "b")]]);
        let labels = cells(&["a", "a", "a", "c", "b", "a", "", "c"]);
        let found = Contradictions::find(&keys, &labels, &place);
        assert_eq!((found.texts, found.rows), (1, 2));
        assert_eq!(found.examples[0][1], LabelledRow { file: Some("test.csv".into()), ..row(1, "b") });
        assert!(Contradictions::find(&keys, &cells(&["a"; 8]), &place).is_empty());
    }
}
