//! Owns what is said of a task's classes before anything is learned: how many rows they have, and what looks
//! like a mistake in the table; and of labels that only look like learned ones, when a run is measured.
//!
//! Refuses to print without bound: of many classes, groups and texts it names a few.

use std::collections::BTreeMap;

use super::terminal::{Terminal, grouped};
use frosthead::internal::data::{Classes, LabelledRow, look_alike};
use frosthead::internal::error::quoted_exactly;
use frosthead::internal::metrics::TaskMetrics;
use frosthead::internal::quantities::counted;

/// Classes that are all named; of more, the most frequent and the rarest ones.
const ALL_NAMED: usize = 12;
const ENDS: usize = 5;
/// Characters of a label that are shown.
const LABEL: usize = 60;

/// What there is to know of every task's classes.
pub(crate) fn say_classes(terminal: &Terminal, tasks: &BTreeMap<String, Classes>) {
    for (task, classes) in tasks {
        say_counts(terminal, task, classes);
        say_single(terminal, task, classes);
        if !classes.untrained.is_empty() {
            terminal.warn(format!(
                "{task}: {} cannot be learned: every text of it is among the test or validation rows",
                listed(&classes.untrained)
            ));
        }
        say_alike(terminal, task, classes);
        say_contradictions(terminal, task, classes);
    }
}

fn say_counts(terminal: &Terminal, task: &str, classes: &Classes) {
    // A number has none.
    if classes.rows.is_empty() {
        return;
    }
    let mut counts: Vec<(&String, u64)> = classes.rows.iter().map(|(label, rows)| (label, *rows)).collect();
    counts.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
    let named = |counts: &[(&String, u64)]| {
        let one = |(label, rows): &(&String, u64)| format!("{} {}", quoted(label), grouped(*rows));
        counts.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let all = grouped(counts.len() as u64);
    terminal.say(if counts.len() <= ALL_NAMED {
        format!("{task}: {all} classes by rows: {}", named(&counts))
    } else {
        let rarest: Vec<(&String, u64)> = counts.iter().rev().take(ENDS).copied().collect();
        format!(
            "{task}: {all} classes by rows; most frequent: {}; rarest: {}",
            named(&counts[..ENDS]),
            named(&rarest)
        )
    });
}

fn say_single(terminal: &Terminal, task: &str, classes: &Classes) {
    let (single, count) = (&classes.single, classes.single.len());
    match (count, classes.kept_out) {
        (0, _) => {}
        (_, 0) => terminal.say(format!(
            "{task}: {} with a single row: {}; learned from and never tested (--rare drop keeps such rows out)",
            if count == 1 { "1 class".to_owned() } else { format!("{} classes", grouped(count as u64)) },
            listed(single)
        )),
        (_, rows) => terminal.say(format!(
            "{task}: {} kept out of this task, of classes with a single one (--rare drop): {}",
            if rows == 1 { "1 row was".to_owned() } else { format!("{} rows were", grouped(rows)) },
            listed(single)
        )),
    }
}

fn say_alike(terminal: &Terminal, task: &str, classes: &Classes) {
    if classes.alike.is_empty() {
        return;
    }
    let label = |label: &String| {
        format!("{} ({})", quoted(label), grouped(classes.rows.get(label).copied().unwrap_or(0)))
    };
    let group = |labels: &Vec<String>| {
        let mut shown: Vec<String> = labels.iter().take(ENDS).map(label).collect();
        if labels.len() > ENDS {
            shown.push(format!("{} more", labels.len() - ENDS));
        }
        shown.join(" and ")
    };
    let mut groups: Vec<String> = classes.alike.iter().take(ENDS).map(group).collect();
    if classes.alike.len() > ENDS {
        groups.push(format!("{} more groups", grouped((classes.alike.len() - ENDS) as u64)));
    }
    terminal.warn(format!(
        "{task}: labels that differ only by white space, case or Unicode form are classes of their own: {}",
        groups.join("; ")
    ));
}

/// Labels that training never saw, each with the one it knows that differs in nothing people see at once.
pub(crate) fn say_unseen_alike(terminal: &Terminal, tasks: &BTreeMap<String, TaskMetrics>) {
    for (task, metrics) in tasks {
        let unseen = metrics.per_label.iter().filter(|label| label.unseen);
        let mut pairs: Vec<String> = unseen
            .filter_map(|label| {
                let known = metrics.labels.iter().find(|known| look_alike(known, &label.label))?;
                let rows = counted(label.rows, "row");
                Some(format!("{} ({rows}) and {}", quoted(&label.label), quoted(known)))
            })
            .collect();
        if pairs.is_empty() {
            continue;
        }
        if pairs.len() > ENDS {
            let more = pairs.split_off(ENDS).len();
            pairs.push(format!("{more} more"));
        }
        terminal.warn(format!(
            "{task}: labels that training never saw differ from ones it knows only by white space, case or Unicode form: {}",
            pairs.join("; ")
        ));
    }
}

fn say_contradictions(terminal: &Terminal, task: &str, classes: &Classes) {
    let found = &classes.contradictions;
    if found.is_empty() {
        return;
    }
    let row = |labelled: &LabelledRow| match &labelled.file {
        Some(file) => format!("row {} of {file} {}", grouped(labelled.row), quoted(&labelled.label)),
        None => format!("row {} {}", grouped(labelled.row), quoted(&labelled.label)),
    };
    let example = |rows: &Vec<LabelledRow>| rows.iter().map(row).collect::<Vec<_>>().join(" and ");
    let examples = found.examples.iter().map(example).collect::<Vec<_>>().join("; ");
    let more = if found.texts > found.examples.len() as u64 { "; …" } else { "" };
    terminal.warn(format!(
        "{task}: {} with contradicting labels ({}): {examples}{more}",
        if found.texts == 1 {
            "1 text stands more than once,".to_owned()
        } else {
            format!("{} texts stand more than once,", grouped(found.texts))
        },
        counted(found.rows, "row")
    ));
}

/// The first few labels, and how many more there are.
fn listed(labels: &[String]) -> String {
    let mut shown: Vec<String> = labels.iter().take(ENDS).map(|label| quoted(label)).collect();
    if labels.len() > ENDS {
        shown.push(format!("{} more", grouped((labels.len() - ENDS) as u64)));
    }
    shown.join(", ")
}

/// A label in quotation marks, so that white space and combining characters are seen; a long one cut.
fn quoted(label: &str) -> String {
    if label.chars().count() <= LABEL {
        return quoted_exactly(label);
    }
    format!("{}…", quoted_exactly(&label.chars().take(LABEL).collect::<String>()))
}
