//! Made-up reports, and what must be said of them.

mod dial;

use super::recommend::Advice;
use super::*;
use crate::embed::TextNotes;
use crate::finetune::Validation;
use crate::metrics::{TaskMetrics, classification};
use crate::train::Drift;
use crate::train::outcome::Sizes;

/// A task of two labels with so many of its rows right.
fn task(accuracy: f64, rows: u64) -> TaskMetrics {
    let labels = ["<yes> & \"no\"", "maybe"].map(str::to_owned);
    let right = (accuracy * rows as f64).round() as u64;
    let truth: Vec<u32> = (0..rows).map(|row| u32::from(row % 2 == 1)).collect();
    let predicted = |row: u64| (u64::from(truth[row as usize]) + u64::from(row >= right)) % 2;
    let probabilities: Vec<f32> =
        (0..rows).flat_map(|row| if predicted(row) == 0 { [0.9, 0.1] } else { [0.1, 0.9] }).collect();
    classification(&labels, &[], &truth, &probabilities)
}

/// A finished scenario with one task: accuracy on validation rows (and, 3 points lower, on test rows), and
/// its seconds.
fn scenario(name: &str, accuracy: f64, rows: u64, seconds: f64) -> ScenarioReport {
    let trains = name.starts_with("top") || name.starts_with('3');
    let epoch = |number, accuracy| Epoch {
        number,
        losses: vec![1.0 - accuracy],
        validation: Validation { score: accuracy, scores: vec![Some(accuracy)] },
        seconds: 1.0,
        ..Epoch::default()
    };
    let stage = StageCurve {
        frozen: "embeddings".into(),
        epochs: vec![epoch(0, 0.5), epoch(1, accuracy)],
        best: 1,
        stopped: None,
    };
    let metrics = RunMetrics {
        tasks: [("mood".to_owned(), task(accuracy - 0.03, rows))].into(),
        valid: [("mood".to_owned(), task(accuracy, rows))].into(),
        sizes: Sizes { rows: 3 * rows, train: rows, valid: rows, test: rows, left_out: 0 },
        unlabelled: BTreeMap::new(),
        classes: BTreeMap::new(),
        texts: TextNotes::default(),
        seed: 13,
        calibration: BTreeMap::new(),
        final_rows: BTreeMap::new(),
        untrained: BTreeMap::new(),
        described: BTreeMap::new(),
        drift: BTreeMap::new(),
    };
    let done = Done {
        run: format!("small/{name}"),
        time_limit: None,
        states_seconds: 0.0,
        training_seconds: seconds,
        seconds: Some(seconds + 1.0),
        peak_memory: Some(123_456_789),
        run_bytes: 7_654_321,
        states_bytes: trains.then_some(2_000_000),
        metrics,
        scores: BTreeMap::new(),
        stages: if trains { vec![stage] } else { Vec::new() },
    };
    ScenarioReport {
        scenario: name.into(),
        frozen: format!("what {name} freezes"),
        trained_parameters: 1_234,
        all_parameters: Some(123_400),
        estimate: Estimate { seconds, bytes: 1 },
        outcome: Outcome::Done(Box::new(done)),
    }
}

fn report(scenarios: Vec<ScenarioReport>) -> Report {
    Report {
        format: FORMAT,
        frosthead: "0.1.0".into(),
        inputs: Fingerprint::of_bytes(b"inputs"),
        data: "data/<b>.csv".into(),
        tasks: vec!["mood".into()],
        seed: 13,
        machine: "a machine, 2 threads".into(),
        beside: Vec::new(),
        backbones: vec![BackboneReport {
            name: "small".into(),
            folder: "small".into(),
            bytes: 90_000_000,
            parameters: Some(22_000_000),
            layers: Some(6),
            hidden: 384,
            texts_per_second: 300.0,
            scenarios,
            ..BackboneReport::default()
        }],
    }
}

fn done(scenario: &mut ScenarioReport) -> &mut Done {
    let Outcome::Done(done) = &mut scenario.outcome else { panic!("it was skipped") };
    done
}

#[track_caller]
fn advises(scenarios: Vec<ScenarioReport>, advice: Advice, scenario: Option<&str>, part: &str) {
    let found = recommend(&report(scenarios));
    assert_eq!((found.advice, found.scenario.as_deref()), (advice, scenario), "{found:?}");
    assert!(found.summary.contains(part), "{found:?}");
}

#[test]
fn different_reports_are_given_different_advice() {
    let heads = |rows| scenario("2", 0.80, rows, 1.0);
    advises(vec![], Advice::NothingToCompare, None, "scenario 2 first");
    advises(vec![scenario("top1", 0.9, 2000, 9.0)], Advice::NothingToCompare, None, "scenario 2 first");
    advises(vec![heads(2000)], Advice::StartHere, Some("2"), "Start from scenario 2");
    let top2 = |accuracy, rows, seconds| vec![heads(rows), scenario("top2", accuracy, rows, seconds)];
    advises(top2(0.85, 2000, 300.0), Advice::Unfreeze, Some("top2"), "+5.0 ± 1.2 points");
    // The same gain on 40 rows is no gain.
    advises(top2(0.85, 40, 300.0), Advice::NoDifference, Some("2"), "nothing else is better beyond noise");
    advises(top2(0.75, 2000, 300.0), Advice::Worse, Some("2"), "was worse");
    // A real gain of a point: for a minute, but not for three hours.
    advises(top2(0.81, 100_000, 60.0), Advice::Unfreeze, Some("top2"), "59 s more");
    advises(top2(0.81, 100_000, 10_800.0), Advice::NotWorth, Some("2"), "not worth 2 h 59 min");
}

#[test]
fn runs_on_the_same_rows_are_compared_row_by_row() {
    // Two points on 400 rows: as if they were other rows that shows nothing, row by row it does.
    let with = |scores: bool| {
        let mut scenarios = vec![scenario("2", 0.80, 400, 1.0), scenario("top1", 0.82, 400, 10.0)];
        for (place, right) in [(0, 320), (1, 328)].into_iter().filter(|_| scores) {
            let rows = (0..400).map(|row| f64::from(u8::from(row < right))).collect();
            done(&mut scenarios[place]).scores.insert("mood".into(), rows);
        }
        scenarios
    };
    advises(with(false), Advice::NoDifference, Some("2"), "nothing else is better beyond noise");
    advises(with(true), Advice::Unfreeze, Some("top1"), "+2.0 ± 0.7 points");
}

#[test]
fn of_equally_good_scenarios_the_cheapest_is_advised_and_a_better_one_is_preferred() {
    let with = |top1: f64| {
        let others = [scenario("top1", top1, 2000, 100.0), scenario("3:mood", 0.881, 2000, 900.0)];
        [vec![scenario("2", 0.80, 2000, 1.0), scenario("top2", 0.88, 2000, 300.0)], others.into()].concat()
    };
    advises(with(0.875), Advice::Unfreeze, Some("top1"), "top1");
    advises(with(0.84), Advice::Unfreeze, Some("top2"), "top2");
}

#[test]
fn other_features_of_the_frozen_backbone_are_advised_unless_training_it_gains_more() {
    let with = |top1: f64| {
        let heads = [scenario("2", 0.80, 2000, 1.0), scenario("2:auto", 0.86, 2000, 20.0)];
        [heads.into(), vec![scenario("top1", top1, 2000, 100.0)]].concat()
    };
    advises(with(0.865), Advice::Features, Some("2:auto"), "Use scenario 2:auto");
    advises(with(0.89), Advice::Unfreeze, Some("top1"), "top1");
}

#[test]
fn test_rows_choose_nothing() {
    let mut scenarios = vec![scenario("2", 0.80, 2000, 1.0), scenario("top1", 0.80, 2000, 100.0)];
    done(&mut scenarios[1]).metrics.tasks.insert("mood".into(), task(0.99, 2000));
    advises(scenarios, Advice::NoDifference, Some("2"), "nothing else is better beyond noise");
}

#[track_caller]
fn says(report: &Report, part: &str) {
    let found = recommend(report);
    assert!(found.reasons.iter().any(|reason| reason.contains(part)), "{part:?} is not in {found:?}");
}

#[test]
fn what_freezing_did_to_a_head_is_said() {
    for (after, part) in [
        (0.70, "it lost"),
        (0.90, "learned to serve it"),
        (0.805, "cannot tell: these rows show nothing below"),
    ] {
        let mut frozen = scenario("3:mood", 0.8, 2000, 100.0);
        done(&mut frozen)
            .metrics
            .drift
            .insert("mood".into(), Drift { before: Some(0.8), after: Some(after), standard_error: None });
        let report = report(vec![scenario("2", 0.8, 2000, 1.0), frozen]);
        says(&report, &format!("Freezing head mood (scenario 3:mood): accuracy 0.800 → {after:.3}"));
        says(&report, part);
    }
}

#[test]
fn the_worth_of_labels_the_curve_and_what_was_left_out_are_said() {
    let point = |rows, accuracy| CurvePoint {
        share: 0.5,
        rows,
        tasks: [(
            "mood".to_owned(),
            Score { accuracy: Some(accuracy), accuracy_standard_error: Some(0.01), ..Score::default() },
        )]
        .into(),
    };
    let mut made = report(vec![scenario("1", 0.6, 2000, 0.0), scenario("2", 0.8, 2000, 1.0)]);
    says(&made, "Labels matter: scenario 2 gains +20.0");
    made.backbones[0].learning_curve = vec![point(500, 0.7), point(1000, 0.8)];
    says(&made, "More labels would help: mood +10.0 ± 1.4 points from 500 to 1000 training rows");
    made.backbones[0].learning_curve = vec![point(500, 0.79), point(1000, 0.8)];
    says(
        &made,
        "does not show from 500 to 1000 training rows: mood +1.0 ± 1.4 points (cannot tell: these rows show nothing below 2.8 points)",
    );
    // Row by row the same gain shows.
    let mut paired = point(1000, 0.8);
    let score = paired.tasks.get_mut("mood").unwrap();
    (score.gain, score.gain_standard_error) = (Some(0.01), Some(0.003));
    made.backbones[0].learning_curve = vec![point(500, 0.79), paired];
    says(&made, "More labels would help: mood +1.0 ± 0.3 points");
    let skipped = Outcome::Skipped("it takes too long".into());
    made.backbones[0].scenarios.push(ScenarioReport { outcome: skipped, ..scenario("top2", 0.8, 10, 1.0) });
    says(&made, "Scenario top2 was not run: it takes too long");
    made.backbones[0].scenarios[0] = scenario("1", 0.8, 2000, 0.0);
    says(&made, "Labels do not help beyond noise yet");
    let mut stopped = scenario("top1", 0.8, 2000, 1.0);
    done(&mut stopped).time_limit = Some(60.0);
    made.backbones[0].scenarios.push(stopped);
    says(&made, "the time limit ended it early");
}

#[test]
fn the_better_backbone_is_advised_and_of_equal_ones_the_faster() {
    for (accuracy, speed, expected, part) in [
        (0.90, 30.0, "large", "against small: +10.0"),
        (0.805, 30.0, "small", "points), at 300 against 30"),
        // A little faster is nothing.
        (0.805, 290.0, "large", "points), at 290 against 300"),
    ] {
        let mut made = report(vec![scenario("2", 0.8, 2000, 1.0)]);
        let large = BackboneReport {
            name: "large".into(),
            folder: "large".into(),
            texts_per_second: speed,
            scenarios: vec![scenario("2", accuracy, 2000, 1.0)],
            ..made.backbones[0].clone()
        };
        made.backbones.push(large);
        assert_eq!(recommend(&made).backbone.as_deref(), Some(expected));
        says(&made, part);
    }
}

/// A report with something in every section.
fn full() -> Report {
    let mut untrained = scenario("1", 0.5, 100, 0.0);
    done(&mut untrained).metrics.untrained.insert("mood".into(), task(0.31, 100));
    let skipped = Outcome::Skipped("the <limit>".into());
    let mut report = report(vec![
        untrained,
        scenario("2", 0.80, 100, 1.0),
        scenario("3:mood", 0.81, 100, 77.0),
        scenario("top1", 0.83, 100, 20.0),
        ScenarioReport { outcome: skipped, ..scenario("top2", 0.8, 10, 1.0) },
    ]);
    let point = |rows, accuracy| CurvePoint {
        share: 0.5,
        rows,
        tasks: [("mood".to_owned(), Score { accuracy: Some(accuracy), ..Score::default() })].into(),
    };
    report.backbones[0].learning_curve = vec![point(41, 0.7), point(97, 0.8)];
    report
}

#[test]
fn the_page_works_offline_and_on_a_phone() {
    let page = page(&full());
    for outside in ["http:", "https:", "src=", "href=", "url(", "<script", "@import", "<iframe", "<link"] {
        assert!(!page.contains(outside), "{outside} is in the page");
    }
    assert!(page.contains("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"));
    assert!(page.contains("prefers-color-scheme: dark"));
    let tables = page.matches("<table>").count();
    assert!(tables >= 6 && page.matches("tabindex=\"0\" aria-label=").count() == tables);
    for element in ["table", "div", "figure", "svg", "details", "ul", "li", "tr", "td", "th", "p", "span"] {
        let open =
            page.matches(&format!("<{element}>")).count() + page.matches(&format!("<{element} ")).count();
        assert_eq!(open, page.matches(&format!("</{element}>")).count(), "<{element}> is not closed");
    }
}

#[test]
fn the_page_escapes_what_users_wrote() {
    let mut report = full();
    report.tasks[0] = "<img onerror=x>".into();
    for scenario in &mut report.backbones[0].scenarios {
        if let Outcome::Done(done) = &mut scenario.outcome {
            let metrics = &mut done.metrics;
            for tasks in [&mut metrics.tasks, &mut metrics.valid, &mut metrics.untrained] {
                if let Some(mood) = tasks.remove("mood") {
                    tasks.insert("<img onerror=x>".into(), mood);
                }
            }
        }
    }
    report.backbones[0].name = "a\"><b>".into();
    let page = page(&report);
    for raw in ["<img", "<yes>", "\"><b>", "the <limit>", "<b>.csv"] {
        assert!(!page.contains(raw), "{raw} is in the page as it was written");
    }
    assert!(page.contains("&lt;yes&gt; &amp; &quot;no&quot;") && page.contains("&lt;img onerror=x&gt;"));
}

#[test]
fn the_page_has_every_figure() {
    let report = full();
    let page = page(&report);
    for part in [
        recommend(&report).summary.as_str(),
        "0.770 <span",
        "1,234 (1.00 %)",
        "1 min 17 s",
        "123.5 MB",
        "9.7 MB",
        "not run: the &lt;limit&gt;",
        "what 3:mood freezes",
        "mood: accuracy on test rows, against time",
        "mood: accuracy on validation rows, by epoch",
        "mood: loss on training rows, by epoch",
        "mood: accuracy of scenario 2 on test rows, by training rows",
        ">41</text>",
        ">97</text>",
        "0.310 <span class=\"error\">± 0.046</span> with heads as drawn",
    ] {
        assert!(page.contains(part), "{part:?} is not in the page");
    }
    // A confusion matrix for each scenario that was run, and the calibration of the recommended one in numbers.
    assert_eq!(page.matches("<details").count(), 5);
    let confusion = &report.backbones[0].scenarios[1].done().unwrap().metrics.tasks["mood"].confusion;
    for count in confusion.iter().flatten() {
        assert!(page.contains(&format!("\">{count}</td>")), "{count} is not in a confusion matrix");
    }
}

#[test]
fn a_report_comes_back_and_another_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(Report::open(directory.path()).unwrap(), None);
    let mut report = full();
    report.save(directory.path()).unwrap();
    let read = Report::open(directory.path()).unwrap().unwrap();
    assert_eq!(recommend(&read), recommend(&report), "the advice is a function of report.json");
    assert_eq!(std::fs::read_to_string(directory.path().join(PAGE)).unwrap(), page(&report));
    report.format = 99;
    report.save(directory.path()).unwrap();
    let error = Report::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains("format 99") && error.contains("format 1"), "{error}");
    std::fs::write(directory.path().join(REPORT), "{}").unwrap();
    assert!(Report::open(directory.path()).is_err());
}
