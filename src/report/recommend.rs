//! Owns the recommendation: a pure function of the report.
//!
//! Refuses to choose by test rows: gains are measured on validation rows, row by row, and what lies within
//! the noise is not called a difference, nor none.

use serde::Serialize;

use super::dial;
use super::gain::Gain;
use super::names::in_words;
use super::text::{and, share};
use super::{BackboneReport, Done, Report, ScenarioReport};
use crate::metrics::{TaskMetrics, difference};
use crate::quantities::duration;

/// What training a part of the backbone must gain at least, as a share …
const LEAST_GAIN: f64 = 0.005;
/// … and beside that for every hour it takes longer than scenario 2.
const GAIN_PER_HOUR: f64 = 0.005;
/// How much faster a backbone must be to be preferred to one that is as good.
const FASTER: f64 = 1.2;
/// Scenario 2: where everybody starts; and the beginning of its name on other features.
const HEADS: &str = "2";
const FEATURES: &str = "2:";

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Advice {
    /// Scenario 2 was not run: there is nothing to start from.
    NothingToCompare,
    /// Only heads were trained: use them, and compare with more if they are not good enough.
    StartHere,
    /// Nothing differs from scenario 2 beyond noise: stay with it.
    NoDifference,
    /// Everything else was worse: stay with scenario 2.
    Worse,
    /// Something is better beyond noise, but not by enough for what it costs: stay with scenario 2.
    NotWorth,
    /// Keep the backbone frozen, and give the heads other features of it.
    Features,
    /// Train a part of the backbone.
    Unfreeze,
}

/// A recommendation with its reasons.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    pub advice: Advice,
    /// The backbone to use.
    pub backbone: Option<String>,
    /// The scenario to use.
    pub scenario: Option<String>,
    /// Its run directory, below that of the comparison.
    pub run: Option<String>,
    /// One sentence.
    pub summary: String,
    pub reasons: Vec<String>,
}

impl Gain {
    /// What the second run gained over the first, on the same validation rows: the mean of the tasks. None
    /// without validation rows.
    fn between(before: &Done, after: &Done) -> Option<Self> {
        let of_task = |(task, now): (&String, &TaskMetrics)| {
            let then = before.metrics.valid.get(task)?;
            let paired = before.scores.get(task).zip(after.scores.get(task));
            if let Some(found) = paired.and_then(|(then, now)| difference(then, now)) {
                return Some(Self { value: found.value, error: found.standard_error });
            }
            // A run of before rows were compared one by one: as if the rows were not the same.
            let [now, then] =
                [now, then].map(|task| Some((task.score()?, error_of(task.score()?, task.rows))));
            let ((now, error), (then, other)) = now.zip(then)?;
            Some(Self { value: now - then, error: error.hypot(other) })
        };
        let tasks: Vec<Self> = after.metrics.valid.iter().filter_map(of_task).collect();
        let count = tasks.len() as f64;
        (!tasks.is_empty()).then(|| Self {
            value: tasks.iter().map(|task| task.value).sum::<f64>() / count,
            error: tasks.iter().map(|task| task.error.powi(2)).sum::<f64>().sqrt() / count,
        })
    }
}

/// The standard error of a score, with one more right and one more wrong row, so that it is never 0 by luck.
fn error_of(score: f64, rows: u64) -> f64 {
    let rows = rows as f64;
    let likely = (score * rows + 1.0) / (rows + 2.0);
    (likely * (1.0 - likely) / (rows + 2.0)).sqrt()
}

/// A scenario that might be better than scenario 2: other features, or a trained part of the backbone.
struct Candidate<'r> {
    scenario: &'r ScenarioReport,
    done: &'r Done,
    gain: Gain,
    /// Seconds more than scenario 2.
    cost: f64,
}

/// What the report advises: start from scenario 2; leave it only for a gain on validation rows that is beyond
/// noise and worth what it costs.
#[must_use]
pub fn recommend(report: &Report) -> Recommendation {
    let mut reasons: Vec<String> = report.backbones.iter().filter_map(dial::sentence).collect();
    let Some((backbone, base)) = best_backbone(report, &mut reasons) else {
        return Recommendation {
            advice: Advice::NothingToCompare,
            backbone: None,
            scenario: None,
            run: None,
            summary: "Run scenario 2 first: everything is measured against it.".to_owned(),
            reasons,
        };
    };
    let candidates = candidates(backbone, base);
    let (advice, chosen) = choose(&candidates);
    let (scenario, run) = chosen
        .map_or((HEADS, &base.run), |candidate| (candidate.scenario.scenario.as_str(), &candidate.done.run));
    let summary = summary(advice, chosen, &candidates);
    reasons.extend(candidates.iter().map(|candidate| against_heads(candidate)));
    reasons.extend(chosen.and_then(|candidate| on_test(candidate, base)));
    reasons.extend(frozen_heads(backbone));
    reasons.extend(without_training(backbone, base));
    reasons.extend(more_labels(backbone));
    reasons.extend(left_out(backbone));
    Recommendation {
        advice,
        backbone: Some(backbone.name.clone()),
        scenario: Some(scenario.to_owned()),
        run: Some(run.clone()),
        summary,
        reasons,
    }
}

fn find<'r>(backbone: &'r BackboneReport, scenario: &str) -> Option<&'r Done> {
    backbone.scenarios.iter().find(|entry| entry.scenario == scenario)?.done()
}

/// The backbone whose scenario 2 is best on validation rows, or a clearly faster one within noise.
fn best_backbone<'r>(
    report: &'r Report,
    reasons: &mut Vec<String>,
) -> Option<(&'r BackboneReport, &'r Done)> {
    let score = |done: &Done| {
        let scores: Vec<f64> = done.metrics.valid.values().filter_map(TaskMetrics::score).collect();
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
    };
    let measured = report.backbones.iter().filter_map(|backbone| {
        let done = find(backbone, HEADS)?;
        Some((backbone, done, score(done)?))
    });
    let mut measured: Vec<(&BackboneReport, &Done, f64)> = measured.collect();
    measured.sort_by(|a, b| b.2.total_cmp(&a.2));
    let &(best_backbone, best, _) = measured.first()?;
    let as_good = |done: &Done| Gain::between(best, done).is_some_and(|gain| !gain.beyond_noise());
    let faster = measured
        .iter()
        .filter(|(_, done, _)| as_good(done))
        .filter(|(backbone, _, _)| backbone.texts_per_second > FASTER * best_backbone.texts_per_second)
        .max_by(|a, b| a.0.texts_per_second.total_cmp(&b.0.texts_per_second));
    let &(backbone, done, _) = faster.or(measured.first())?;
    for (other, theirs, _) in measured.iter().filter(|(other, _, _)| other.folder != backbone.folder) {
        let Some(gain) = Gain::between(theirs, done) else { continue };
        let noise = if gain.beyond_noise() { String::new() } else { format!(" ({})", gain.cannot_tell()) };
        reasons.push(format!(
            "Backbone {} against {}: {} with frozen features{noise}, at {:.0} against {:.0} texts/s.",
            backbone.name,
            other.name,
            gain.text(),
            backbone.texts_per_second,
            other.texts_per_second
        ));
    }
    Some((backbone, done))
}

fn cost(done: &Done) -> f64 {
    done.states_seconds + done.training_seconds
}

fn candidates<'r>(backbone: &'r BackboneReport, base: &Done) -> Vec<Candidate<'r>> {
    backbone
        .scenarios
        .iter()
        .filter(|scenario| scenario.trains_backbone() || scenario.scenario.starts_with(FEATURES))
        .filter_map(|scenario| {
            let done = scenario.done()?;
            let gain = Gain::between(base, done)?;
            Some(Candidate { scenario, done, gain, cost: (cost(done) - cost(base)).max(0.0) })
        })
        .collect()
}

/// The cheapest of those that are as good as the best (within one standard error), if it gains enough.
fn choose<'c, 'r>(candidates: &'c [Candidate<'r>]) -> (Advice, Option<&'c Candidate<'r>>) {
    let best = candidates.iter().max_by(|a, b| a.gain.value.total_cmp(&b.gain.value));
    let Some(best) = best else { return (Advice::StartHere, None) };
    if !best.gain.beyond_noise() {
        return (Advice::NoDifference, None);
    }
    if best.gain.value < 0.0 {
        return (Advice::Worse, None);
    }
    let worth = |candidate: &&Candidate<'_>| {
        candidate.gain.beyond_noise()
            && candidate.gain.value >= LEAST_GAIN + GAIN_PER_HOUR * candidate.cost / 3600.0
    };
    let equal = |candidate: &&Candidate<'_>| best.gain.value - candidate.gain.value <= candidate.gain.error;
    let cheapest =
        |chosen: Vec<&'c Candidate<'r>>| chosen.into_iter().min_by(|a, b| a.cost.total_cmp(&b.cost));
    let affordable: Vec<&Candidate<'_>> = candidates.iter().filter(worth).collect();
    let good = cheapest(affordable.iter().copied().filter(equal).collect());
    let most = affordable.into_iter().max_by(|a, b| a.gain.value.total_cmp(&b.gain.value));
    match good.or(most) {
        Some(candidate) if candidate.scenario.trains_backbone() => (Advice::Unfreeze, Some(candidate)),
        Some(candidate) => (Advice::Features, Some(candidate)),
        None => (Advice::NotWorth, None),
    }
}

fn summary(advice: Advice, chosen: Option<&Candidate<'_>>, candidates: &[Candidate<'_>]) -> String {
    let best = candidates.iter().max_by(|a, b| a.gain.value.total_cmp(&b.gain.value));
    match (advice, chosen.or(best)) {
        (Advice::Features | Advice::Unfreeze, Some(candidate)) => format!(
            "Use scenario {} ({}; frozen: {}): {} on validation rows over scenario 2, for {} more of computing.",
            candidate.scenario.scenario,
            in_words(&candidate.scenario.scenario),
            candidate.scenario.frozen,
            candidate.gain.text(),
            duration(candidate.cost)
        ),
        (Advice::NotWorth, Some(candidate)) => format!(
            "Stay with scenario 2: scenario {} ({}) gains {} on validation rows, which is not worth {} more of computing.",
            candidate.scenario.scenario,
            in_words(&candidate.scenario.scenario),
            candidate.gain.text(),
            duration(candidate.cost)
        ),
        (Advice::NoDifference, Some(candidate)) => format!(
            "Stay with scenario 2 ({}): nothing else is better beyond noise. The best of it, scenario {} ({}), has {} on validation \
             rows, which show nothing below {:.1} points.",
            in_words(HEADS),
            candidate.scenario.scenario,
            in_words(&candidate.scenario.scenario),
            candidate.gain.text(),
            candidate.gain.least()
        ),
        (Advice::Worse, _) => {
            "Stay with scenario 2: everything else was worse on validation rows.".to_owned()
        }
        _ => "Start from scenario 2; compare it with top1 and top2 if it is good but not good enough."
            .to_owned(),
    }
}

fn against_heads(candidate: &Candidate<'_>) -> String {
    let gain = candidate.gain;
    let noise = if gain.beyond_noise() { "beyond noise".to_owned() } else { gain.cannot_tell() };
    let stopped = if candidate.done.time_limit.is_some() {
        "; the time limit ended it early, it might gain more"
    } else {
        ""
    };
    format!(
        "Scenario {} against scenario 2: {} on validation rows ({noise}), {} more of computing{stopped}.",
        candidate.scenario.scenario,
        candidate.gain.text(),
        duration(candidate.cost)
    )
}

fn on_test(candidate: &Candidate<'_>, base: &Done) -> Option<String> {
    let change = |(task, now): (&String, &TaskMetrics)| {
        let before = base.metrics.tasks.get(task)?;
        Some(format!("{task} {} → {}", share(before.score()?), share(now.score()?)))
    };
    let changes: Vec<String> = candidate.done.metrics.tasks.iter().filter_map(change).collect();
    (!changes.is_empty()).then(|| format!("On the test rows, which chose nothing: {}.", and(&changes)))
}

/// What freezing a head did to it while the backbone below it moved.
fn frozen_heads(backbone: &BackboneReport) -> Vec<String> {
    let mut reasons = Vec::new();
    for scenario in &backbone.scenarios {
        let Some(done) = scenario.done() else { continue };
        for (task, drift) in &done.metrics.drift {
            let rows = done.metrics.tasks.get(task).map_or(0, |task| task.rows);
            let Some((before, after)) = drift.before.zip(drift.after) else { continue };
            let apart = error_of(after, rows).hypot(error_of(before, rows));
            let change = Gain { value: after - before, error: drift.standard_error.unwrap_or(apart) };
            let what = match change.value {
                _ if !change.beyond_noise() => change.cannot_tell(),
                ..0.0 => "it lost what the moving backbone took from under it".to_owned(),
                _ => "the backbone learned to serve it".to_owned(),
            };
            reasons.push(format!(
                "Freezing head {task} (scenario {}): {} {} → {} on test rows, {}: {what}.",
                scenario.scenario,
                done.metrics.tasks.get(task).map_or("score", TaskMetrics::score_name),
                share(before),
                share(after),
                change.text()
            ));
        }
    }
    reasons
}

fn without_training(backbone: &BackboneReport, base: &Done) -> Option<String> {
    let gain = Gain::between(find(backbone, "1")?, base)?;
    Some(if gain.beyond_noise() && gain.value > 0.0 {
        format!("Labels matter: scenario 2 gains {} over label descriptions without training.", gain.text())
    } else {
        format!(
            "Labels do not help beyond noise yet: scenario 2 against label descriptions without training is {}.",
            gain.text()
        )
    })
}

fn more_labels(backbone: &BackboneReport) -> Option<String> {
    let [.., before, last] = backbone.learning_curve.as_slice() else { return None };
    let gain = |task: &String, score: &super::Score| {
        let then = before.tasks.get(task)?;
        let value = score.gain.or(Some(score.accuracy? - then.accuracy?))?;
        let apart = || Some(score.accuracy_standard_error?.hypot(then.accuracy_standard_error?));
        let error = score.gain_standard_error.or_else(apart).unwrap_or(1.0);
        Some(Gain { value, error })
    };
    let gains: Vec<(&String, Gain)> =
        last.tasks.iter().filter_map(|(task, score)| Some((task, gain(task, score)?))).collect();
    let named = |wanted: &dyn Fn(&Gain) -> bool, text: &dyn Fn(&Gain) -> String| -> Vec<String> {
        let chosen = gains.iter().filter(|(_, gain)| wanted(gain));
        chosen.map(|(task, gain)| format!("{task} {}", text(gain))).collect()
    };
    let rising = named(&|gain| gain.beyond_noise() && gain.value > 0.0, &|gain| gain.text());
    let other = named(&|gain| !gain.beyond_noise() || gain.value <= 0.0, &|gain| {
        let what = if gain.beyond_noise() { "got worse".to_owned() } else { gain.cannot_tell() };
        format!("{} ({what})", gain.text())
    });
    let from_to = format!("from {} to {} training rows", before.rows, last.rows);
    match (rising.is_empty(), other.is_empty()) {
        (true, true) => None,
        (false, true) => Some(format!("More labels would help: {} {from_to}.", and(&rising))),
        (false, false) => {
            Some(format!("More labels would help: {} {from_to}; {}.", and(&rising), other.join("; ")))
        }
        (true, false) => Some(format!(
            "Whether more labels like these would help does not show {from_to}: {}.",
            other.join("; ")
        )),
    }
}

fn left_out(backbone: &BackboneReport) -> Vec<String> {
    let skipped = |scenario: &ScenarioReport| match &scenario.outcome {
        super::Outcome::Skipped(why) => Some(format!("Scenario {} was not run: {why}.", scenario.scenario)),
        super::Outcome::Done(_) => None,
    };
    backbone.scenarios.iter().filter_map(skipped).collect()
}
