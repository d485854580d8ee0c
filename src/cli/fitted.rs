//! Owns what commands that fit heads say of it: rows, fits, training, calibration and what was promised.

use super::measured::truth_of;
use super::terminal::{Terminal, grouped};
use frosthead::internal::heads::{FitReport, SettledWords, Weighing, WordsReport};
use frosthead::internal::metrics::{Calibration, Interval, LabelLimit, TaskMetrics};
use frosthead::internal::quantities::{self, counted, fixed};
use frosthead::internal::train::{RunMetrics, TrainSummary};

/// Labels that are named whose promise is not kept.
const LOST_NAMED: usize = 5;

/// How the fit of each head went: in the words of who minimises, for who wants to know them.
pub(super) fn say_fits(terminal: &Terminal, fits: &[FitReport], metrics: &RunMetrics) {
    for fit in fits {
        let FitReport {
            task,
            width,
            rows,
            alpha,
            loss,
            gradient_norm,
            tolerance,
            converged,
            seconds,
            words,
            ..
        } = fit;
        terminal.detail(format!(
            "{task}: fitted on {} of {} numbers in {seconds:.1} s, alpha {alpha}, loss {loss:.2}, gradient {gradient_norm:.2e} ({} {tolerance:.1e})",
            counted(*rows, "row"),
            grouped(*width as u64),
            if *converged { "within" } else { "NOT within" }
        ));
        let score = metrics.tasks.get(task).map_or("score", TaskMetrics::score_name);
        words.iter().for_each(|words| say_words(terminal, (task, score), words));
        if !converged {
            terminal.warn(format!(
                "{task}: the fit stopped before the tolerance was met; a larger --alpha makes it easier"
            ));
        }
    }
}

/// What was found of a head's words.
fn say_words(terminal: &Terminal, (task, score): (&str, &str), words: &WordsReport) {
    let WordsReport { used, places, rows, gain, standard_error, accuracy_without, accuracy, .. } = words;
    let found = format!(
        "cross entropy {:+.4} ± {standard_error:.4}, {score} {accuracy_without:.4} → {accuracy:.4} on {} out of their folds",
        0.0 - gain,
        counted(*rows, "training row")
    );
    match used {
        Some(SettledWords { weighing, alpha, counts: [features, own] }) => terminal.detail(format!(
            "{task}: words beside that: {} pieces and pairs{}, alpha {alpha}, mixed {features:.2} to {own:.2}; {found}",
            grouped(*places as u64),
            if *weighing == Weighing::Rare { ", rare ones weighed more" } else { "" }
        )),
        None => terminal.say(format!("{task}: words beside that would not help: {found}")),
    }
    if !words.converged {
        terminal.warn(format!("{task}: the fit of the words stopped before the tolerance was met"));
    }
}

/// How the training of layers went, and what it left alone.
pub(super) fn say_training(terminal: &Terminal, summary: &TrainSummary) {
    for stage in &summary.stages {
        let best = &stage.epochs[usize::try_from(stage.best).unwrap_or(0)];
        terminal.say(format!(
            "frozen {}: best after epoch {}, validation score {:.4}{}",
            stage.frozen,
            stage.best,
            best.validation.score,
            stage.stopped.as_ref().map_or_else(String::new, |why| format!("; ended early: {why}"))
        ));
    }
    if !summary.proof.is_empty() {
        let frozen = summary.proof.iter().filter(|tensor| !tensor.trained).count();
        let moved = summary.proof.iter().filter(|tensor| tensor.moved()).count();
        terminal.say(format!(
            "proof: {frozen} tensors are frozen and unchanged; of {} trained ones {moved} moved (proof.json)",
            summary.proof.len() - frozen
        ));
    }
}

/// How many rows went where.
pub(super) fn rows_in_words(metrics: &RunMetrics) -> String {
    let sizes = &metrics.sizes;
    format!(
        "{}: {} train, {} validation, {} test{}",
        counted(sizes.rows, "row"),
        grouped(sizes.train),
        grouped(sizes.valid),
        grouped(sizes.test),
        if sizes.left_out > 0 {
            format!(", {} left out (their text is in another part)", sizes.left_out)
        } else {
            String::new()
        }
    )
}

/// The same, and rows that a task has no truth of.
pub(super) fn say_rows(terminal: &Terminal, metrics: &RunMetrics) {
    terminal.say(rows_in_words(metrics));
    for (task, rows) in metrics.unlabelled.iter().filter(|(_, rows)| **rows > 0) {
        let truth = metrics.tasks.get(task).map_or("label", truth_of);
        terminal.say(format!(
            "{task}: {} without a {truth} {} left out of this task",
            counted(*rows, "row"),
            if *rows == 1 { "was" } else { "were" }
        ));
    }
}

/// What calibration did.
pub(super) fn say_calibration(terminal: &Terminal, metrics: &RunMetrics, level: f64) {
    for (task, calibration) in &metrics.calibration {
        let Calibration { temperature, rows, out_of_fold, ece_before, ece_after, .. } = *calibration;
        let valid = (rows > 0).then(|| counted(rows, "validation row"));
        let training =
            (out_of_fold > 0).then(|| format!("{} held out of a fit", counted(out_of_fold, "training row")));
        let used: Vec<String> = valid.into_iter().chain(training).collect();
        let used = used.join(" and ");
        say_limits(terminal, task, calibration);
        if metrics.tasks.get(task).is_some_and(|found| found.number.is_some()) {
            if calibration.interval.is_none() {
                terminal.warn(format!(
                    "{task}: {} are too few for an interval of {}, which needs {}: none is answered",
                    counted(calibration.rows + calibration.out_of_fold, "row"),
                    quantities::level(level),
                    Interval::least_rows(level)
                ));
            }
            continue;
        }
        let said = if temperature == 1.0 {
            let before = ece_before
                .map_or_else(String::new, |before| format!("; calibration error on test rows {before:.3}"));
            format!("not changed: no temperature found on {used} helps on rows it was not found on{before}")
        } else {
            let errors = ece_before.zip(ece_after).map_or_else(String::new, |(before, after)| {
                format!("; calibration error on test rows {before:.3} before, {after:.3} after")
            });
            format!("calibrated on {used}, temperature {temperature:.2}{errors}")
        };
        terminal.detail(format!("{task}: {said}"));
    }
    for (task, valid) in metrics.valid.iter().filter(|(task, _)| !metrics.calibration.contains_key(*task)) {
        if valid.rows
            == valid.per_label.iter().filter(|label| label.unseen).map(|label| label.rows).sum::<u64>()
        {
            terminal.say(format!(
                "{task}: no validation row has a label that training saw: nothing was calibrated"
            ));
        }
    }
}

/// From where on labels are answered, and how far numbers may be off.
fn say_limits(terminal: &Terminal, task: &str, calibration: &Calibration) {
    let Calibration { rows, out_of_fold, limits, interval, .. } = calibration;
    let used = counted(rows + out_of_fold, "row");
    if let Some(Interval { level, width, .. }) = interval {
        terminal.say(format!(
            "{task}: {} of {used} that its head was not fitted on are no further off than {}",
            quantities::level(f64::from(*level)),
            fixed(f64::from(*width), 4)
        ));
    }
    let kept = limits.iter().filter(|limit| limit.most.is_none()).filter_map(|limit| limit.threshold);
    let (least, most) =
        kept.clone().fold((1.0, 0.0), |(least, most), at| (f64::min(least, at), f64::max(most, at)));
    let count = kept.count();
    if count > 0 {
        terminal.say(format!(
            "{task}: {} answered from a probability of {least:.2} to {most:.2} on, found on {used} that its head was not fitted on",
            counted(count as u64, "label")
        ));
    }
    let lost: Vec<&LabelLimit> = limits.iter().filter(|limit| limit.most.is_some()).collect();
    if !lost.is_empty() {
        let named: Vec<String> = lost
            .iter()
            .take(LOST_NAMED)
            .map(|limit| {
                let most = limit.most.unwrap_or_default();
                format!("{:?} {most:.2} ({})", limit.label, counted(limit.rows, "row"))
            })
            .collect();
        let more = if lost.len() > LOST_NAMED {
            format!(" and {} more", lost.len() - LOST_NAMED)
        } else {
            String::new()
        };
        let what = if lost[0].threshold.is_none() { "never answered" } else { "always answered" };
        terminal.warn(format!(
            "{task}: rows are too few for what was asked of {}, which can be promised no more than: {}{more}; such a label is {what}",
            counted(lost.len() as u64, "label"),
            named.join(", ")
        ));
    }
}

/// What became of frozen heads, and of heads that nobody has trained.
pub(super) fn say_frozen(terminal: &Terminal, metrics: &RunMetrics) {
    for (task, drift) in &metrics.drift {
        let Some((before, after)) = drift.before.zip(drift.after) else { continue };
        let points = 100.0 * (after - before);
        terminal.say(format!(
            "{task} (frozen): {} {before:.4} before, {after:.4} after the backbone moved ({points:+.2} points)",
            metrics.tasks.get(task).map_or("accuracy", |found| found.score_name())
        ));
    }
    if !metrics.untrained.is_empty() {
        for (task, untrained) in &metrics.untrained {
            let Some(score) = untrained.score() else { continue };
            terminal.say(format!(
                "{task}: untrained heads {score:.4}; the table shows labels as their own descriptions"
            ));
        }
    }
}
