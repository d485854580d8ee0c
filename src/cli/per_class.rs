//! Owns what `eval --report` shows of a task: its classes, the worst first, and which are taken for which; of
//! several labels each; of a number how far answers are off.
//!
//! Refuses to print without bound: of many classes it shows the worst, and counts the others.

use super::printing::{Columns, table};
use super::screen::cut;
use super::terminal::grouped;
use frosthead::internal::metrics::{LabelMetrics, TaskMetrics};
use frosthead::internal::quantities::{counted, fixed};

/// Classes of a table …
const LISTED: usize = 20;
/// … and of a matrix, which is as wide as it is high.
const CROSSED: usize = 10;
/// Columns of a heading in a matrix.
const HEADING: usize = 14;
/// Shares of the rows whose answers are no further off.
const SHARES: [f64; 6] = [0.25, 0.5, 0.75, 0.9, 0.95, 1.0];

/// The report of a task; `off` is by how much each of its numbers is off, where it answers numbers.
pub(super) fn report(task: &str, metrics: &TaskMetrics, off: &[f64]) -> String {
    if metrics.rows == 0 {
        return format!("\n{task}: nothing to measure\n");
    }
    if metrics.number.is_some() {
        return format!("\n{task}: how far answers are off, over the rows\n{}", residuals(off));
    }
    let matrix = if metrics.several.is_some() { String::new() } else { matrix(task, metrics) };
    format!("\n{task}: {}\n{}{matrix}", heading(metrics), classes(metrics))
}

fn heading(metrics: &TaskMetrics) -> String {
    let (count, what) =
        (metrics.per_label.len(), if metrics.several.is_some() { "labels" } else { "classes" });
    match count.checked_sub(LISTED) {
        None | Some(0) => format!("{} {what}, the worst first", grouped(count as u64)),
        Some(more) => {
            format!(
                "the {LISTED} worst of {} {what} ({} more are better)",
                grouped(count as u64),
                grouped(more as u64)
            )
        }
    }
}

/// Places of the labels, the worst first: those without an F1 last, of equals the most frequent.
pub(super) fn worst_first(metrics: &TaskMetrics) -> Vec<usize> {
    let labels = &metrics.per_label;
    let mut places: Vec<usize> = (0..labels.len()).collect();
    let f1 = |place: usize| labels[place].f1.unwrap_or(f64::INFINITY);
    places.sort_by(|&a, &b| f1(a).total_cmp(&f1(b)).then(labels[b].rows.cmp(&labels[a].rows)));
    places
}

/// What the rows of a class are most often taken for, and how many are.
pub(super) fn taken_for(metrics: &TaskMetrics, place: usize) -> Option<(&str, u64)> {
    let others = metrics.confusion.get(place)?.iter().enumerate().filter(|(other, _)| *other != place);
    let (other, rows) = others.max_by_key(|(other, rows)| (**rows, std::cmp::Reverse(*other)))?;
    (*rows > 0).then(|| (metrics.labels[other].as_str(), *rows))
}

/// A line for each class.
fn classes(metrics: &TaskMetrics) -> String {
    let several = metrics.several.is_some();
    let mut headings = vec!["label", "rows", "F1", "precision", "recall"];
    headings.extend(if several { &["avg. prec.", "from"][..] } else { &["most often taken for"] });
    let mut lines = vec![headings.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for place in worst_first(metrics).into_iter().take(LISTED) {
        let LabelMetrics { label, rows, precision, recall, f1, average_precision, threshold, .. } =
            &metrics.per_label[place];
        let mut cells = vec![label.clone(), grouped(*rows), figure(*f1), figure(*precision), figure(*recall)];
        if several {
            cells.extend([figure(*average_precision), figure(*threshold)]);
        } else {
            let other = taken_for(metrics, place);
            cells
                .push(other.map_or_else(String::new, |(other, rows)| format!("{other} ({})", grouped(rows))));
        }
        lines.push(cells);
    }
    let numbers = if several { usize::MAX } else { 5 };
    table(Columns { numbers: (1, numbers), ..Columns::keyed(1) }, &lines)
}

/// Rows by what is true and what is answered; of many classes the worst, and the others together.
fn matrix(task: &str, metrics: &TaskMetrics) -> String {
    let known = metrics.labels.len();
    let mut shown = worst_first(metrics);
    shown.retain(|place| *place < known);
    shown.truncate(CROSSED);
    shown.sort_unstable();
    let all = shown.len() == known;
    let others = (0..known).filter(|place| !shown.contains(place)).collect::<Vec<_>>();
    let mut headings = vec!["true \\ answered".to_owned()];
    headings.extend(shown.iter().map(|place| cut(&metrics.labels[*place], HEADING).into_owned()));
    headings.extend((!all).then(|| "others".to_owned()));
    let mut lines = vec![headings];
    for place in shown.iter().copied().chain(known..metrics.confusion.len()).take(2 * CROSSED) {
        let row = &metrics.confusion[place];
        let mut cells = vec![metrics.per_label[place].label.clone()];
        cells.extend(shown.iter().map(|other| grouped(row[*other])));
        cells.extend((!all).then(|| grouped(others.iter().map(|other| row[*other]).sum())));
        lines.push(cells);
    }
    let what =
        if all { "rows by class".to_owned() } else { format!("rows of the {} worst classes", shown.len()) };
    format!("\n{task}: {what}, and what they are taken for\n{}", table(Columns::keyed(1), &lines))
}

/// How many rows are no further off than so far, and to which side they lean.
fn residuals(off: &[f64]) -> String {
    let mut far: Vec<f64> = off.iter().map(|off| off.abs()).collect();
    far.sort_by(f64::total_cmp);
    let mut lines = vec![["of the rows", "off by no more than"].map(str::to_owned)];
    lines.extend(SHARES.map(|share| {
        let place = (share * far.len() as f64).ceil() as usize;
        let off = far.get(place.saturating_sub(1)).copied().unwrap_or_default();
        [format!("{:.0} %", 100.0 * share), fixed(off, 4)]
    }));
    let mean = off.iter().sum::<f64>() / off.len().max(1) as f64;
    let above = off.iter().filter(|off| **off > 0.0).count() as u64;
    format!(
        "{}on average {} {}; {} of {} answered too high\n",
        table(Columns { numbers: (0, usize::MAX), ..Columns::keyed(1) }, &lines),
        fixed(mean.abs(), 4),
        if mean < 0.0 { "too low" } else { "too high" },
        grouped(above),
        counted(off.len() as u64, "row")
    )
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

#[cfg(test)]
mod tests {
    use frosthead::internal::metrics::{NumberMetrics, classification};

    use super::*;

    /// So many classes of three rows; every row of the first two is taken for the class behind it, one of each
    /// other class is right.
    fn many(classes: usize) -> TaskMetrics {
        let labels: Vec<String> = (0..classes).map(|class| format!("class {class}")).collect();
        let truth: Vec<u32> = (0..classes as u32).flat_map(|class| [class; 3]).collect();
        let answer = |row: usize| {
            let class = row / 3;
            if class < 2 || !row.is_multiple_of(3) { (class + 1) % classes } else { class }
        };
        let probabilities: Vec<f32> = (0..truth.len())
            .flat_map(|row| (0..classes).map(move |class| if class == answer(row) { 1.0 } else { 0.0 }))
            .collect();
        classification(&labels, &[], &truth, &probabilities)
    }

    #[test]
    fn few_classes_are_all_shown() {
        let found = report("task", &many(3), &[]);
        assert!(found.contains("task: 3 classes, the worst first"), "{found}");
        assert!(found.contains("class 0     3  0.000"), "{found}");
        assert!(found.contains("class 2     3  0.286      0.250   0.333  class 0 (2)"), "{found}");
        assert!(found.contains("class 2                2        0        1"), "{found}");
        assert!(!found.contains("others"), "{found}");
    }

    #[test]
    fn of_many_classes_the_worst_are_shown_and_the_others_counted() {
        let found = report("task", &many(150), &[]);
        assert!(found.contains("the 20 worst of 150 classes (130 more are better)"), "{found}");
        assert!(found.contains("rows of the 10 worst classes") && found.contains("others"), "{found}");
        assert!(found.lines().count() < 60, "{found}");
        assert_eq!(worst_first(&many(150))[..2], [0, 1]);
        assert_eq!(taken_for(&many(150), 0), Some(("class 1", 3)));
    }

    #[test]
    fn numbers_have_quantiles_and_a_side() {
        let metrics =
            TaskMetrics { rows: 4, number: Some(NumberMetrics::default()), ..TaskMetrics::default() };
        let found = report("size", &metrics, &[1.0, -2.0, 3.0, 4.0]);
        assert!(
            found.contains("25 %               1.0000") && found.contains("100 %               4.0000"),
            "{found}"
        );
        assert!(found.contains("on average 1.5000 too high; 3 of 4 rows answered too high"), "{found}");
        assert!(report("size", &TaskMetrics::default(), &[]).contains("nothing to measure"));
    }
}
