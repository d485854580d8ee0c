//! Made-up depths, and what must be said and drawn of them.

use super::*;
use crate::report::dial::{sentence, shallowest};

/// A point whose tasks gained so much over the full depth, each with its error, in points.
fn point(scenario: &str, depth: usize, changes: &[(&str, f64, f64)]) -> DialPoint {
    let task = |(task, change, error): &(&str, f64, f64)| {
        let held = HeldOutFigures {
            rows: 900,
            accuracy: Some(0.9 + change / 100.0),
            macro_f1: Some(0.8),
            change: Some(change / 100.0),
            change_standard_error: Some(error / 100.0),
        };
        let told = DialTask {
            features: format!("layers:{depth}"),
            without_words: None,
            held_out: Some(held),
            lost: Some(0.2),
            test_accuracy: Some(0.85 + change / 100.0),
            test_rows: 200,
        };
        ((*task).to_owned(), told)
    };
    DialPoint {
        scenario: scenario.into(),
        depth,
        shipped: Some(depth),
        bundle: format!("small/{scenario}.frost"),
        bytes: 11_700_000 + 1_800_000 * depth as u64,
        precision: "int8".into(),
        tasks: changes.iter().map(task).collect(),
        speed: Some(Speed {
            texts_per_second: 9_000.0 / (depth as f64 + 1.0),
            ms_per_text: 0.3 + depth as f64,
        }),
    }
}

fn dialled(points: Vec<DialPoint>) -> Report {
    let mut report = report(vec![scenario("2", 0.8, 900, 1.0), scenario("depth-6", 0.8, 900, 2.0)]);
    report.backbones[0].dial = points;
    report
}

fn three(zero: f64, three: f64) -> Vec<DialPoint> {
    vec![
        point("depth-0", 0, &[("mood", zero, 0.5)]),
        point("depth-3", 3, &[("mood", three, 0.4)]),
        point("depth-6", 6, &[("mood", 0.0, 0.1)]),
        point("2", 6, &[("mood", -2.5, 0.5)]),
    ]
}

#[track_caller]
fn chooses(points: Vec<DialPoint>, depth: Option<usize>, part: &str) {
    let report = dialled(points);
    let backbone = &report.backbones[0];
    assert_eq!(shallowest(backbone).map(|point| point.depth), depth);
    let said = recommend(&report).reasons;
    assert_eq!(said.first().is_some_and(|reason| reason.contains(part)), depth.is_some(), "{said:?}");
}

#[test]
fn the_shallowest_depth_that_costs_no_more_than_noise_is_said_with_its_size_and_speed() {
    chooses(
        three(-3.0, -0.7),
        Some(3),
        "Depth 3 of 6 of small is the shallowest that costs no more than noise: mood -0.7 ± 0.4 points on rows \
         held out, against all layers. Its bundle in int8: 17.1 MB, 2,250 texts/s, 3.3 ms a text, against 22.5 MB, \
         1,286 texts/s, 6.3 ms a text.",
    );
    chooses(three(-0.9, -2.0), Some(0), "Depth 0 of 6");
    // A gain beyond noise is no cost.
    chooses(three(-3.0, 4.0), Some(3), "mood +4.0 ± 0.4 points");
    chooses(three(-3.0, -2.0), Some(6), "every shallower one that was compared costs a task more than noise");
}

#[test]
fn a_depth_must_be_good_enough_for_every_task_and_measured() {
    let with = |other: f64| {
        let mut points = three(-3.0, 0.5);
        for (point, change) in points.iter_mut().zip([-9.0, other, 0.0, 0.0]) {
            let more = super::dial::point("", 0, &[("topic", change, 0.5)]).tasks;
            point.tasks.extend(more);
        }
        points
    };
    chooses(with(-0.5), Some(3), "mood +0.5 ± 0.4 points and topic -0.5 ± 0.5 points");
    chooses(with(-5.0), Some(6), "every shallower");
    let mut unmeasured = three(0.0, 0.0);
    for point in &mut unmeasured {
        point.tasks.values_mut().for_each(|task| task.held_out = None);
        assert!(!point.is_whole());
    }
    chooses(unmeasured, None, "");
    let mut untimed = dialled(three(0.0, 0.0));
    untimed.backbones[0].dial.iter_mut().for_each(|point| point.speed = None);
    assert_eq!(sentence(&untimed.backbones[0]), None);
    assert!(page(&untimed).contains("<td>?</td>"));
}

fn beside(name: &str) -> BesidePoint {
    BesidePoint {
        name: name.into(),
        task: "mood".into(),
        accuracy: 0.731,
        test_rows: 222,
        bytes: 3_210_000,
        texts_per_second: 7_777.0,
        ms_per_text: 0.12,
        processor: "another <one>".into(),
    }
}

/// The pictures of the dial: caption and everything in it.
fn pictures(page: &str) -> Vec<&str> {
    page.split("<figure>").filter(|figure| figure.contains("by depth")).collect()
}

#[test]
fn the_page_shows_the_dial_as_a_table_and_as_pictures() {
    let mut report = dialled(three(-3.0, -0.7));
    let page = super::page(&report);
    for part in [
        "<h2>Depths</h2>",
        "<td>0</td><td>int8</td><td>11.7 MB</td><td>9,000</td><td>0.30</td><td>layers:0</td><td>0.870</td>\
         <td>-3.0 <span class=\"error\">± 0.5</span></td><td>0.2</td><td>0.820</td>",
        "<td>usual recipe</td><td>int8</td><td>22.5 MB</td>",
    ] {
        assert!(page.contains(part), "{part:?} is not in the page");
    }
    let table = &page[page.find("<h2>Scenarios</h2>").unwrap()..];
    assert!(
        !table[..table.find("</table>").unwrap()].contains("depth-6"),
        "depths have a table of their own"
    );
    let drawn = pictures(&page);
    assert_eq!(drawn.len(), 2);
    for (picture, tick) in drawn.iter().zip(["5,000", "20.0 MB"]) {
        let line = picture.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(line.split(' ').count(), 3, "a line over the depths: {line}");
        for part in [tick, "<rect ", "usual recipe", ">3</text>", "class=\"whisker"] {
            assert!(picture.contains(part), "{part:?} is not in {picture}");
        }
    }
    // A row for heads without words, where some see words.
    assert!(!page.contains("without words"));
    let told = report.backbones[0].dial[1].tasks.get_mut("mood").unwrap();
    told.without_words = Some(HeldOutFigures { accuracy: Some(0.77), ..told.held_out.clone().unwrap() });
    let without = "<td>3, without words</td><td>–</td><td>–</td><td>–</td><td>–</td><td>–</td><td>0.770</td>";
    assert_eq!(super::page(&report).matches(without).count(), 1);
    // What others came to is of test rows: beside ours of test rows, and in no other picture.
    report.beside = vec![beside("a <b> tree")];
    let page = super::page(&report);
    assert!(page.contains("<td>a &lt;b&gt; tree</td><td>–</td><td>3.2 MB</td><td>7,777</td><td>0.12</td>"));
    assert!(page.contains("on 222 test rows on another &lt;one&gt;") && page.contains("<td>0.731</td>"));
    assert!(!page.contains("a <b> tree") && !page.contains("<one>"));
    let with: Vec<bool> = pictures(&page).iter().map(|picture| picture.contains("<path ")).collect();
    assert_eq!(with, [false, false, true, true]);
    assert!(pictures(&page)[2].contains("accuracy on test rows") && pictures(&page)[2].contains("tree"));
    for element in ["table", "div", "figure", "svg", "tr", "td", "th", "p", "span"] {
        let open =
            page.matches(&format!("<{element}>")).count() + page.matches(&format!("<{element} ")).count();
        assert_eq!(open, page.matches(&format!("</{element}>")).count(), "<{element}> is not closed");
    }
}

#[test]
fn a_report_of_before_there_were_depths_opens_and_one_with_them_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let old = full();
    old.save(directory.path()).unwrap();
    let text = std::fs::read_to_string(directory.path().join(REPORT)).unwrap();
    assert!(!text.contains("\"dial\"") && !text.contains("\"beside\""));
    assert_eq!(Report::open(directory.path()).unwrap().unwrap().backbones[0].dial, []);
    assert!(!page(&old).contains("<h2>Depths</h2>"));
    let mut new = dialled(three(-3.0, -0.7));
    new.beside = vec![beside("other")];
    new.save(directory.path()).unwrap();
    let read = Report::open(directory.path()).unwrap().unwrap();
    assert_eq!((&read.backbones[0].dial, &read.beside), (&new.backbones[0].dial, &new.beside));
}
