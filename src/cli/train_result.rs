//! Owns what `train` shows of its result: scores beside what costs no training, the worst classes, and what to
//! try next, by what was found.
//!
//! Refuses to advise what was not measured, and to name more than one thing.

use std::collections::BTreeMap;
use std::path::Path;

use super::measured::{Baselines, table_beside};
use super::per_class::{taken_for, worst_first};
use super::terminal::grouped;
use frosthead::internal::metrics::TaskMetrics;
use frosthead::internal::quantities::{counted, error_text};
use frosthead::internal::recognize::shell_word;
use frosthead::internal::train::RunMetrics;

/// Classes that are named as the worst.
const WORST: usize = 3;
/// A score beats another beyond noise from so many standard errors on.
const BEYOND_NOISE: f64 = 2.0;
/// A class with fewer labelled rows is learned from little.
const FEW_ROWS: u64 = 50;
/// Rows that a class must have among the measured ones for its F1 to say something.
const MEASURED_ROWS: u64 = 5;
/// A class is behind the others when its F1 is so far below the mean of all.
const BEHIND: f64 = 0.15;
/// Two classes are confused when so large a share of the wrong rows, and so many, are between them.
const CONFUSED_SHARE: f64 = 0.4;
const CONFUSED_ROWS: u64 = 10;
/// A score that leaves little to gain.
const GOOD: f64 = 0.97;

/// What was asked for, as far as something else can be tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub data: &'a str,
    pub out: &'a Path,
    /// The heads see the last layer only, and there is a backbone to look at more of.
    pub last_layer_only: bool,
    /// Only heads are trained, and there is a backbone whose layers could be.
    pub only_heads: bool,
}

/// The tables, the worst classes, and what to try next.
pub(super) fn described(metrics: &RunMetrics, asked: Asked<'_>) -> String {
    let baselines = baselines(metrics);
    let mut text = table_beside(&metrics.tasks, Some(&baselines));
    if metrics.tasks.values().any(|found| found.number.is_none()) {
        text += "majority: the most frequent label, always";
        if baselines.values().any(|found| found.described.is_some()) {
            text += "; descriptions: labels by the embeddings of their names, without training";
        }
        text += "\n";
    }
    text += &metrics.tasks.iter().filter_map(|(task, found)| worst(task, found)).collect::<String>();
    if let Some(next) = next(metrics, &baselines, asked) {
        text += &format!("next: {next}\n");
    }
    text
}

/// Per task, the scores that cost no training, on the test rows.
fn baselines(metrics: &RunMetrics) -> BTreeMap<String, Baselines> {
    let of_task = |(task, found): (&String, &TaskMetrics)| {
        let described = metrics.described.get(task).and_then(|described| described.score);
        let baselines = Baselines { majority: majority(metrics, task, found), described };
        (task.clone(), baselines)
    };
    metrics.tasks.iter().map(of_task).collect()
}

/// The score of always answering the label that most rows have; none of numbers, and where that is not known.
fn majority(metrics: &RunMetrics, task: &str, found: &TaskMetrics) -> Option<f64> {
    let counts = &metrics.classes.get(task)?.rows;
    let (label, _) = counts.iter().max_by_key(|(_, rows)| **rows)?;
    let right = found.per_label.iter().find(|other| other.label == *label)?.rows;
    match found.rows {
        0 => None,
        rows if found.several.is_some() => {
            let true_labels: u64 = found.per_label.iter().map(|label| label.rows).sum();
            Some(2.0 * right as f64 / (rows + true_labels) as f64)
        }
        rows => Some(right as f64 / rows as f64),
    }
}

/// The classes with the lowest F1, and what they are taken for.
fn worst(task: &str, found: &TaskMetrics) -> Option<String> {
    let measured = |place: &usize| found.per_label[*place].rows > 0 && !found.per_label[*place].unseen;
    let places: Vec<usize> = worst_first(found).into_iter().filter(measured).collect();
    if places.len() < 2 {
        return None;
    }
    // Where all are right none is the worst.
    let wrong = |place: &&usize| found.per_label[**place].f1.is_none_or(|f1| f1 < 1.0);
    if !places.iter().any(|place| wrong(&place)) {
        return None;
    }
    let named = places.iter().filter(wrong).take(WORST).map(|&place| {
        let label = &found.per_label[place];
        let other = taken_for(found, place)
            .map_or_else(String::new, |(other, rows)| format!(", {} taken for {other}", grouped(rows)));
        let f1 = label.f1.unwrap_or_default();
        format!("{} {f1:.3} ({}{other})", label.label, counted(label.rows, "row"))
    });
    let what = if found.several.is_some() { "labels" } else { "classes" };
    let named = named.collect::<Vec<_>>().join("; ");
    Some(format!("{task}: worst of {} {what} by F1: {named}\n", grouped(places.len() as u64)))
}

/// One thing to try, for the task with the most to gain, by what was found of it.
fn next(metrics: &RunMetrics, baselines: &BTreeMap<String, Baselines>, asked: Asked<'_>) -> Option<String> {
    let scored = metrics.tasks.iter().filter_map(|(task, found)| Some((task, found, found.score()?)));
    let (task, found, score) = scored.min_by(|a, b| a.2.total_cmp(&b.2))?;
    let out = asked.out.display().to_string();
    let (data, out) = (shell_word(asked.data), shell_word(&out));
    let look = format!("`frosthead eval {data} --model {out} --rows test --errors errors.csv`");
    if let Some(said) = no_better(task, found, score, baselines.get(task).copied().unwrap_or_default()) {
        return Some(format!("{said}: do its labels follow from the text? {look} lists the wrong rows"));
    }
    if score >= GOOD {
        return Some(format!(
            "no task is below {score:.3}: `frosthead bundle {out} --out model.frost` makes one file of it"
        ));
    }
    let learned = metrics.classes.get(task).map(|classes| &classes.rows);
    if let Some((label, rows, f1)) = learned.and_then(|rows| behind(found, rows)) {
        return Some(format!(
            "label more rows of {label} ({task}): {} gave it an F1 of {f1:.3}",
            counted(rows, "row")
        ));
    }
    if let Some((one, other, rows, wrong)) = confused(found) {
        return Some(format!(
            "{} of the {} wrong rows of {task} are between {one} and {other}: {look} lists them",
            grouped(rows),
            grouped(wrong)
        ));
    }
    let name = found.score_name();
    if asked.last_layer_only {
        return Some(format!(
            "--features auto ({task} has {name} {score:.3}; its head sees the last layer only, other layers often say more)"
        ));
    }
    asked.only_heads.then(|| {
        format!(
            "`frosthead compare {data} … --scenarios 2,top1` ({task} has {name} {score:.3} with only its head trained: see what training a layer gains)"
        )
    })
}

/// Says that a task does no better than what costs no training, if so.
fn no_better(task: &str, found: &TaskMetrics, score: f64, beside: Baselines) -> Option<String> {
    let error = found.score_error().unwrap_or(0.0);
    // Of a number the mean costs nothing, and has an R² of 0.
    let nothing = found.number.is_some().then_some(("answering their mean", 0.0));
    let majority = beside.majority.map(|majority| ("always answering the most frequent label", majority));
    let described = beside.described.map(|described| ("labels by their descriptions", described));
    let best = [nothing, majority, described].into_iter().flatten().max_by(|a, b| a.1.total_cmp(&b.1));
    let (what, other) = best.filter(|(_, other)| score - other <= BEYOND_NOISE * error)?;
    let error = error_text(Some(error), 3).map_or_else(String::new, |error| format!(" ± {error}"));
    Some(format!("{task} does no better than {what} ({score:.3}{error} against {other:.3})"))
}

/// A class that is behind the others and was learned from few rows: how many, and its F1.
fn behind<'f>(found: &'f TaskMetrics, learned: &BTreeMap<String, u64>) -> Option<(&'f str, u64, f64)> {
    let mean = found.macro_f1?;
    worst_first(found).into_iter().find_map(|place| {
        let label = &found.per_label[place];
        let (f1, rows) = (label.f1?, *learned.get(&label.label)?);
        let few = rows < FEW_ROWS && label.rows >= MEASURED_ROWS;
        (few && f1 < mean - BEHIND).then_some((label.label.as_str(), rows, f1))
    })
}

/// The two classes between which most wrong rows are, how many, and how many are wrong; none where the wrong
/// rows are spread, or there are no others.
fn confused(found: &TaskMetrics) -> Option<(&str, &str, u64, u64)> {
    let known = found.labels.len();
    if known < 3 || found.several.is_some() {
        return None;
    }
    let wrong = |one: usize, other: usize| found.confusion[one][other];
    let all: u64 = (0..known)
        .flat_map(|one| (0..known).map(move |other| (one, other)))
        .filter(|(one, other)| one != other)
        .map(|(one, other)| wrong(one, other))
        .sum();
    let pairs = (0..known).flat_map(|one| (one + 1..known).map(move |other| (one, other)));
    let (one, other) = pairs.max_by_key(|&(one, other)| wrong(one, other) + wrong(other, one))?;
    let rows = wrong(one, other) + wrong(other, one);
    let many = rows >= CONFUSED_ROWS && rows as f64 >= CONFUSED_SHARE * all as f64;
    many.then(|| (found.labels[one].as_str(), found.labels[other].as_str(), rows, all))
}

#[cfg(test)]
mod tests {
    use frosthead::internal::data::Classes;
    use frosthead::internal::metrics::{LabelMetrics, NumberMetrics};
    use frosthead::internal::train::Described;

    use super::*;

    /// What a task came to whose rows were predicted like this, `[true][predicted]`.
    fn found(confusion: [[u64; 3]; 3]) -> TaskMetrics {
        let label = |place: usize| {
            let rows: u64 = confusion[place].iter().sum();
            let said: u64 = confusion.iter().map(|row| row[place]).sum();
            let right = confusion[place][place] as f64;
            let [precision, recall] = [said, rows].map(|count| Some(right / count as f64));
            let f1 = Some(2.0 * right / (rows + said) as f64);
            let label = ["calm", "glad", "sad"][place].to_owned();
            LabelMetrics {
                label,
                unseen: false,
                rows,
                precision,
                recall,
                f1,
                average_precision: None,
                threshold: None,
            }
        };
        let per_label = [0, 1, 2].map(label).to_vec();
        let rows: u64 = per_label.iter().map(|label| label.rows).sum();
        let accuracy = (0..3).map(|place| confusion[place][place]).sum::<u64>() as f64 / rows as f64;
        TaskMetrics {
            rows,
            accuracy: Some(accuracy),
            accuracy_standard_error: Some((accuracy * (1.0 - accuracy) / rows as f64).sqrt()),
            macro_f1: Some(per_label.iter().filter_map(|label| label.f1).sum::<f64>() / 3.0),
            labels: per_label.iter().map(|label| label.label.clone()).collect(),
            confusion: confusion.map(|row| row.to_vec()).to_vec(),
            per_label,
            ..TaskMetrics::default()
        }
    }

    /// A run of one task, whose classes have so many rows to learn from.
    fn run(found: TaskMetrics, learned: [u64; 3], described: Option<f64>) -> RunMetrics {
        let rows = ["calm", "glad", "sad"].map(str::to_owned).into_iter().zip(learned).collect();
        let described = described.map(|score| Described { score: Some(score), standard_error: None });
        let task = || "mood".to_owned();
        RunMetrics {
            tasks: BTreeMap::from([(task(), found)]),
            valid: BTreeMap::new(),
            sizes: frosthead::internal::train::Sizes::default(),
            unlabelled: BTreeMap::new(),
            classes: BTreeMap::from([(task(), Classes { rows, ..Classes::default() })]),
            texts: frosthead::internal::embed::TextNotes::default(),
            seed: 13,
            calibration: BTreeMap::new(),
            final_rows: BTreeMap::new(),
            untrained: BTreeMap::new(),
            described: described.map(|described| (task(), described)).into_iter().collect(),
            drift: BTreeMap::new(),
        }
    }

    /// What is advised of a run of heads on the last layer.
    fn advice(metrics: &RunMetrics) -> Option<String> {
        advice_where(metrics, true, true)
    }

    fn advice_where(metrics: &RunMetrics, last_layer_only: bool, only_heads: bool) -> Option<String> {
        let asked = Asked { data: "my data.csv", out: Path::new("runs/first"), last_layer_only, only_heads };
        next(metrics, &baselines(metrics), asked)
    }

    #[track_caller]
    fn says(metrics: &RunMetrics, parts: &[&str]) {
        let said = advice(metrics).unwrap();
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }

    const MANY: [u64; 3] = [500; 3];
    /// Right in 80 of 100 rows of each class, the others spread.
    const FAIR: [[u64; 3]; 3] = [[80, 10, 10], [10, 80, 10], [10, 10, 80]];

    #[test]
    fn a_score_that_costs_no_training_is_the_first_thing_to_say() {
        let none = [[40, 0, 0], [31, 1, 0], [30, 0, 2]];
        let parts = [
            "mood does no better than always answering the most frequent label (0.413 ± 0.048 against 0.385)",
        ];
        says(&run(found(none), [501, 500, 500], None), &parts);
        let parts =
            ["no better than labels by their descriptions (0.800 ± 0.023 against 0.790)", "'my data.csv'"];
        says(&run(found(FAIR), MANY, Some(0.79)), &parts);
        assert!(!advice(&run(found(FAIR), MANY, Some(0.5))).unwrap().contains("no better"));
    }

    #[test]
    fn numbers_are_compared_with_their_mean() {
        let of = |r_squared| {
            let number = NumberMetrics {
                r_squared: Some(r_squared),
                r_squared_standard_error: Some(0.05),
                ..NumberMetrics::default()
            };
            run(TaskMetrics { rows: 100, number: Some(number), ..TaskMetrics::default() }, MANY, None)
        };
        says(&of(0.08), &["mood does no better than answering their mean (0.080 ± 0.050 against 0.000)"]);
        says(&of(0.5), &["--features auto (mood has R² 0.500"]);
    }

    #[test]
    fn a_task_that_is_good_enough_is_to_be_shipped() {
        let good = [[99, 1, 0], [0, 98, 2], [0, 0, 100]];
        says(
            &run(found(good), MANY, None),
            &["no task is below 0.990", "`frosthead bundle runs/first --out"],
        );
    }

    #[test]
    fn a_class_of_few_rows_that_is_behind_wants_more() {
        let behind = [[80, 10, 10], [10, 80, 10], [12, 12, 10]];
        says(
            &run(found(behind), [500, 500, 49], None),
            &["label more rows of sad (mood): 49 rows gave it an F1"],
        );
        assert!(!advice(&run(found(behind), [500, 500, 50], None)).unwrap().contains("label more"));
    }

    #[test]
    fn classes_that_are_taken_for_each_other_are_named() {
        let confused = [[70, 30, 2], [25, 75, 3], [3, 2, 95]];
        says(
            &run(found(confused), MANY, None),
            &["55 of the 65 wrong rows of mood are between calm and glad"],
        );
        assert!(!advice(&run(found(FAIR), MANY, None)).unwrap().contains("between"));
    }

    #[test]
    fn what_was_not_tried_is_next_and_nothing_where_all_was() {
        let fair = run(found(FAIR), MANY, None);
        says(&fair, &["--features auto (mood has accuracy 0.800; its head sees the last layer only"]);
        let layers = advice_where(&fair, false, true).unwrap();
        assert!(layers.contains("`frosthead compare 'my data.csv' … --scenarios 2,top1`"), "{layers}");
        assert_eq!(advice_where(&fair, false, false), None);
    }

    #[test]
    fn the_task_with_the_most_to_gain_is_spoken_of() {
        let mut both = run(found(FAIR), MANY, None);
        let good = found([[99, 1, 0], [0, 98, 2], [0, 0, 100]]);
        both.tasks.insert("kind".to_owned(), good);
        says(&both, &["mood has accuracy 0.800"]);
    }
}
