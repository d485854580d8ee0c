//! Owns the learning curve: scenario 2 fitted on nested, stratified, seeded parts of the training rows,
//! measured on the same test rows. A part that has a single label of a task says nothing of it.
//!
//! Refuses to touch validation or test rows, and to train the backbone: that would cost a comparison for
//! every point.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::estimate::to_f64;
use crate::classifier::run::SplitRows;
use crate::classifier::{Run, measure, row_scores};
use crate::data::{Part, Rare};
use crate::dataset::{Columns, Dataset, Input, keep_out_single};
use crate::embed::{Embedder, covering};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fields, TextKey};
use crate::heads::{self, Answers, Examples, Units};
use crate::metrics::{Limits, difference};
use crate::report::{CurvePoint, Score};
use crate::task::{Truth, labels_of};
use crate::train::{Learning, RowsRequest};

/// A share of the training rows, read from `30%`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// The share, above 0 and at most 1.
    #[must_use]
    pub fn value(self) -> f64 {
        self.0
    }
}

impl FromStr for Share {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
        percent
            .filter(|percent| *percent > 0.0 && *percent <= 100.0)
            .map(|percent| Self(percent / 100.0))
            .ok_or_else(|| {
                Error::new(Kind::Usage, "this is no share of the training rows")
                    .found(format!("{text:?}"))
                    .expected("a number above 0 and at most 100 with a percent sign: 10%")
            })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", 100.0 * self.0)
    }
}

/// The rows of all tables, and which texts scenario 2 was fitted on.
struct Rows {
    data: Dataset,
    test: Option<Dataset>,
    parts: SplitRows,
}

impl Rows {
    fn read(request: &RowsRequest, run: &Run, embedder: &mut Embedder) -> Result<Self> {
        let kept = request.tasks.columns();
        let columns = Columns { kept: &kept, texts: false };
        let mut load = |input: &Input| {
            let mut rows = Dataset::read(input, columns, request.strict, Some(embedder), &mut |_| ())?;
            let columns = run.columns(&embedder.layout())?;
            rows.load(embedder, covering(&columns))?;
            Ok(rows)
        };
        let mut data = load(&request.data)?;
        let test = request.test.as_ref().map(&mut load).transpose()?;
        if request.rare == Rare::Drop {
            keep_out_single(&mut data, &kept);
        }
        Ok(Self { data, test, parts: run.rows()? })
    }

    fn of_part(&self, rows: &Dataset, part: Part) -> Vec<usize> {
        (0..rows.rows()).filter(|&row| self.parts.part(&rows.keys[row]) == Some(part)).collect()
    }
}

/// The points of the curve, for shares in rising order.
///
/// # Errors
/// The rows cannot be read, or a fit fails.
pub(super) fn learning_curve(
    shares: &[Share],
    (request, learning): (&RowsRequest, &Learning),
    run: &Run,
    embedder: &mut Embedder,
) -> Result<Vec<CurvePoint>> {
    let (rows, columns) = (Rows::read(request, run, embedder)?, run.columns(&embedder.layout())?);
    let trained = rows.of_part(&rows.data, Part::Train);
    let order = nested_order(&trained, &rows.data, request.split.seed);
    let tested = rows.test.as_ref().unwrap_or(&rows.data);
    let test = rows.of_part(tested, Part::Test);
    let mut points = Vec::with_capacity(shares.len());
    let mut before: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for share in shares {
        let texts: BTreeSet<TextKey> = order[..count(order.len(), *share)].iter().copied().collect();
        let chosen: Vec<usize> =
            trained.iter().copied().filter(|&row| texts.contains(&rows.data.keys[row])).collect();
        let mut tasks = BTreeMap::new();
        for (place, task) in request.tasks.iter().enumerate() {
            let cells = &rows.data.cells[place];
            // A label that none of these rows has cannot be learned from them: its test rows are wrong.
            let labels =
                labels_of((&task.name, task.kind), chosen.iter().filter_map(|&row| cells[row].as_deref()));
            if labels.names().len() < task.kind.least_labels() {
                continue;
            }
            let training = Truth::new(task.kind, labels.names(), cells, chosen.iter().copied());
            if Units::of(task.kind, &training.targets, &task.name).is_err() {
                // All numbers of so few rows are the same.
                continue;
            }
            let examples = Examples {
                features: rows.data.view(&columns[place]),
                rows: &training.rows,
                targets: &training.targets,
            };
            let (name, limits) = (task.name.as_str(), Limits::default());
            let answers = Answers { task: name, kind: task.kind, labels: labels.names(), limits };
            let (head, _) = heads::fit(answers, &examples, &learning.fit)?;
            let seen = tested.view(&columns[place]);
            let truth = Truth::new(task.kind, labels.names(), &tested.cells[place], test.iter().copied());
            let found = measure(&head, seen, &truth);
            let right = row_scores(&head, seen, &truth);
            let gain = before.get(&task.name).and_then(|before| difference(before, &right));
            before.insert(task.name.clone(), right);
            let score = Score {
                gain: gain.map(|gain| gain.value),
                gain_standard_error: gain.map(|gain| gain.standard_error),
                accuracy: found.score(),
                accuracy_standard_error: found.score_error(),
                macro_f1: found.macro_f1,
                macro_f1_standard_error: found.macro_f1_standard_error,
            };
            tasks.insert(task.name.clone(), score);
        }
        points.push(CurvePoint { share: share.value(), rows: chosen.len() as u64, tasks });
    }
    Ok(points)
}

/// How many of `all` texts a share is, rounded up.
fn count(all: usize, share: Share) -> usize {
    ((to_f64(all as u64) * share.value()).ceil() as usize).min(all)
}

/// A text with its place in the draw.
type Drawn = ([u8; 32], TextKey);

/// The texts of some rows so that every beginning has each combination of labels in its share, and every
/// label of every task comes first once. Seeded, and independent of the order of the rows.
fn nested_order(rows: &[usize], data: &Dataset, seed: u64) -> Vec<TextKey> {
    let mut strata: BTreeMap<Vec<Option<&str>>, BTreeSet<Drawn>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for &row in rows {
        let key = data.keys[row];
        if seen.insert(key) {
            let labels = data.cells.iter().map(|cells| cells[row].as_deref()).collect();
            let drawn = Fields::new("frosthead learning curve 1")
                .field("seed", seed.to_le_bytes())
                .field("text", key.0)
                .finish();
            strata.entry(labels).or_default().insert((drawn.0, key));
        }
    }
    let mut placed = Vec::new();
    let mut met: BTreeSet<(usize, &str)> = BTreeSet::new();
    for (labels, texts) in &strata {
        let named = labels.iter().enumerate().filter_map(|(task, label)| label.map(|label| (task, label)));
        let new = named.filter(|label| met.insert(*label)).count() > 0;
        let size = to_f64(texts.len() as u64);
        for (place, (drawn, key)) in texts.iter().enumerate() {
            // The first text of a label that nothing had before goes to the very front.
            let rank = if new && place == 0 { 0.0 } else { (to_f64(place as u64) + 0.5) / size };
            placed.push((rank, *drawn, *key));
        }
    }
    placed.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
    placed.into_iter().map(|(_, _, key)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages() {
        for (text, value) in [("10%", 0.1), ("100%", 1.0), ("0.5%", 0.005)] {
            assert!((text.parse::<Share>().unwrap().value() - value).abs() < 1e-12);
        }
        for text in ["10", "0%", "101%", "-1%", "nan%", "%", "x%"] {
            let error = text.parse::<Share>().unwrap_err().to_string();
            assert!(error.contains("10%") && error.contains(text), "{error}");
        }
    }

    fn dataset(rows: usize) -> Dataset {
        let cell = |row: usize, of: &[&str]| Some(of[row % of.len()].to_owned());
        Dataset {
            keys: (0..rows).map(|row| TextKey::of(&row.to_string())).collect(),
            cells: vec![
                (0..rows).map(|row| cell(row, &["a", "a", "a", "b"])).collect(),
                // One rare label, and rows without any.
                (0..rows)
                    .map(|row| if row == 77 { Some("rare".into()) } else { cell(row / 4, &["x", ""]) })
                    .collect(),
            ],
            ..Dataset::default()
        }
    }

    #[test]
    fn every_beginning_is_stratified_and_has_every_label() {
        let data = dataset(400);
        let rows: Vec<usize> = (0..400).collect();
        let order = nested_order(&rows, &data, 13);
        assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 400);
        let row = |key: &TextKey| data.keys.iter().position(|other| other == key).unwrap();
        for beginning in [10, 40, 120] {
            let chosen: Vec<usize> = order[..beginning].iter().map(row).collect();
            assert!(chosen.contains(&77), "the only text of a label comes first");
            let b = chosen.iter().filter(|&&row| data.cells[0][row].as_deref() == Some("b")).count();
            assert!((b as f64 - beginning as f64 / 4.0).abs() <= 2.0, "{b} of {beginning}");
        }
        let reversed: Vec<usize> = rows.iter().rev().copied().collect();
        assert_eq!(order, nested_order(&reversed, &data, 13), "the order of the rows matters");
        assert_ne!(order, nested_order(&rows, &data, 14), "the seed does not matter");
        let some: Vec<usize> = (0..200).collect();
        assert!(nested_order(&some, &data, 13).iter().all(|key| row(key) < 200));
    }

    #[test]
    fn counts_round_up_and_end_at_all() {
        assert_eq!([0.001, 0.1, 0.101, 1.0].map(|share| count(100, Share(share))), [1, 10, 11, 100]);
    }
}
