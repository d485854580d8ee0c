//! Owns how the page shows the dial: a table of the depths, and what each answers against how fast and how
//! large it is, beside the usual recipe and what other programs came to.
//!
//! Refuses to put figures of different rows into one picture: other programs' are of test rows, and stand
//! beside ours of test rows.

use super::charts::{Chart, Drawn, Point, Scale, Series};
use super::text::{escape, figure, points, scrolled, share};
use super::{BackboneReport, BesidePoint, DialPoint, DialTask, HeldOutFigures, Report};
use crate::quantities::{bytes, error_text, grouped};

/// The section; nothing where no depths were compared.
pub(super) fn section(report: &Report) -> String {
    let dialled: Vec<&BackboneReport> =
        report.backbones.iter().filter(|backbone| backbone.depths().next().is_some()).collect();
    if dialled.is_empty() {
        return String::new();
    }
    let rows: String = dialled.iter().flat_map(|backbone| rows(report, backbone)).collect();
    let beside: String = report.beside.iter().map(|point| row_beside(report, point)).collect();
    let figures: String = report.tasks.iter().map(|task| pictures(report, &dialled, task)).collect();
    format!(
        "<h2>Depths</h2>\n{}\n{}<div class=\"charts\">{figures}</div>\n",
        scrolled(
            "depths, as they are deployed",
            &format!("<table><thead>{}</thead><tbody>{rows}{beside}</tbody></table>", head(report))
        ),
        notes(report)
    )
}

fn head(report: &Report) -> String {
    let task = |task: &String| {
        let columns = ["sees", "accuracy", "against all layers", "precision loses", "on test rows"];
        let cells = columns.map(|name| format!("<th scope=\"col\">{name}</th>")).concat();
        (format!("<th colspan=\"{}\">{}</th>", columns.len(), escape(task)), cells)
    };
    let (names, columns): (String, String) = report.tasks.iter().map(task).unzip();
    format!(
        "<tr><td></td><th colspan=\"4\">bundle</th>{names}</tr>\
         <tr><th scope=\"col\">depth</th><th scope=\"col\">precision</th><th scope=\"col\">size</th>\
         <th scope=\"col\">texts/s</th><th scope=\"col\">ms a text</th>{columns}</tr>"
    )
}

/// What a point is called.
fn name(report: &Report, backbone: &BackboneReport, point: &DialPoint) -> String {
    let own = if point.is_usual() { "usual recipe".to_owned() } else { point.depth.to_string() };
    if report.backbones.len() > 1 { format!("{} {own}", backbone.name) } else { own }
}

fn rows(report: &Report, backbone: &BackboneReport) -> Vec<String> {
    let row = |point: &DialPoint| {
        let speed = |of: &dyn Fn(&super::Speed) -> String| point.speed.as_ref().map_or("?".to_owned(), of);
        let own = [
            name(report, backbone, point),
            point.precision.clone(),
            bytes(point.bytes),
            speed(&|speed| grouped(speed.texts_per_second.round() as u64)),
            speed(&|speed| format!("{:.2}", speed.ms_per_text)),
        ];
        let own = own.map(|cell| format!("<td>{}</td>", escape(&cell))).concat();
        let tasks: String = report.tasks.iter().map(|task| cells(point.tasks.get(task))).collect();
        format!("<tr>{own}{tasks}</tr>{}", without_words(report, backbone, point))
    };
    backbone.dial.iter().map(row).collect()
}

/// What heads come to that see no words; nothing where no head of the point sees some.
fn without_words(report: &Report, backbone: &BackboneReport, point: &DialPoint) -> String {
    if point.tasks.values().all(|task| task.without_words.is_none()) {
        return String::new();
    }
    let cells = |task: &String| {
        let Some(held) = point.tasks.get(task).and_then(|task| task.without_words.as_ref()) else {
            return "<td>–</td>".repeat(5);
        };
        let [accuracy, change] = held_out(Some(held));
        format!("<td>–</td><td>{accuracy}</td><td>{change}</td><td>–</td><td>–</td>")
    };
    let name = escape(&format!("{}, without words", name(report, backbone, point)));
    let tasks: String = report.tasks.iter().map(cells).collect();
    format!("<tr class=\"soft\"><td>{name}</td>{}{tasks}</tr>", "<td>–</td>".repeat(4))
}

/// Accuracy on rows held out, and what it is against all layers.
fn held_out(held: Option<&HeldOutFigures>) -> [String; 2] {
    let change = held.and_then(|held| held.change).map_or_else(
        || "–".to_owned(),
        |change| {
            let error = held.and_then(|held| held.change_standard_error).map(|error| 100.0 * error);
            let error = error_text(error, 1).map(|error| format!(" <span class=\"error\">± {error}</span>"));
            points(change) + &error.unwrap_or_default()
        },
    );
    [figure(held.and_then(|held| held.accuracy), None), change]
}

/// A task's part of a row.
fn cells(task: Option<&DialTask>) -> String {
    let Some(task) = task else { return "<td>?</td>".repeat(5) };
    let [accuracy, change] = held_out(task.held_out.as_ref());
    [
        escape(&task.features),
        accuracy,
        change,
        task.lost.map_or_else(|| "–".to_owned(), |lost| format!("{lost:.1}")),
        figure(task.test_accuracy, None),
    ]
    .map(|cell| format!("<td>{cell}</td>"))
    .concat()
}

fn row_beside(report: &Report, point: &BesidePoint) -> String {
    let own = [
        point.name.clone(),
        "–".to_owned(),
        bytes(point.bytes),
        grouped(point.texts_per_second.round() as u64),
        format!("{:.2}", point.ms_per_text),
    ];
    let own = own.map(|cell| format!("<td>{}</td>", escape(&cell))).concat();
    let cells = |task: &String| {
        let test = if *task == point.task { share(point.accuracy) } else { "–".to_owned() };
        "<td>–</td>".repeat(4) + &format!("<td>{test}</td>")
    };
    format!("<tr>{own}{}</tr>", report.tasks.iter().map(cells).collect::<String>())
}

fn notes(report: &Report) -> String {
    let mut text = "<p class=\"soft\">Accuracy: in fp32, on training and validation rows that were held out in turns: each is \
         judged by a head that was not fitted on it. Against all layers: points, ± one standard error, row by row. Precision loses: \
         points lost in the bundle against fp32, on such rows. Texts/s and ms: timed on the written bundles, all in turns, the \
         median of the rounds. Usual recipe: the sentence embedding of the whole network.</p>\n"
        .to_owned();
    let mut measured: Vec<String> = report
        .beside
        .iter()
        .map(|point| {
            format!("{} on {} test rows on {}", point.name, grouped(point.test_rows), point.processor)
        })
        .collect();
    measured.dedup();
    if !measured.is_empty() {
        text += &format!(
            "<p class=\"soft\">Measured elsewhere, on test rows: compare them with the test rows here, and their speed only where \
             the processor is the same. {}.</p>\n",
            escape(&measured.join("; "))
        );
    }
    text
}

/// The pictures of a task.
fn pictures(report: &Report, dialled: &[&BackboneReport], task: &str) -> String {
    let held = |point: &DialPoint| {
        let found = point.tasks.get(task)?.held_out.as_ref()?;
        Some((found.accuracy?, found.change_standard_error.unwrap_or(0.0)))
    };
    let tested = |point: &DialPoint| Some((point.tasks.get(task)?.test_accuracy?, 0.0));
    let (rate, size) = ("texts/s of the bundle", "size of the bundle");
    let picture = |caption: String, axis, of: &dyn Fn(&DialPoint) -> Option<(f64, f64)>, beside: bool| {
        let (x, scale) = if axis == Axis::Rate { (rate, Scale::Rate) } else { (size, Scale::Bytes) };
        let mut series = ours(report, dialled, axis, of);
        if beside {
            series.extend(theirs(report, task, axis));
        }
        Chart { caption: &caption, x, series: &series, scale }.figure()
    };
    let mut figures = picture(
        format!("{task}: accuracy on rows held out, by depth, against speed"),
        Axis::Rate,
        &held,
        false,
    ) + &picture(
        format!("{task}: accuracy on rows held out, by depth, against size"),
        Axis::Size,
        &held,
        false,
    );
    if report.beside.iter().any(|point| point.task == task) {
        for (axis, what) in [(Axis::Rate, "speed"), (Axis::Size, "size")] {
            let caption = format!("{task}: accuracy on test rows, by depth and of others, against {what}");
            figures += &picture(caption, axis, &tested, true);
        }
    }
    figures
}

/// What lies across.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Axis {
    Rate,
    Size,
}

/// A line over the depths of each backbone, and its usual recipe.
fn ours(
    report: &Report,
    dialled: &[&BackboneReport],
    axis: Axis,
    of: &dyn Fn(&DialPoint) -> Option<(f64, f64)>,
) -> Vec<Series> {
    let place = |point: &DialPoint| match axis {
        Axis::Rate => point.speed.map(|speed| speed.texts_per_second),
        Axis::Size => Some(point.bytes as f64),
    };
    let drawn = |point: &DialPoint, label: String| {
        let (y, error) = of(point)?;
        Some(Point { x: place(point)?, y, error, label })
    };
    let mut series = Vec::new();
    for backbone in dialled {
        let line = backbone.depths().filter_map(|point| drawn(point, point.depth.to_string())).collect();
        let named = |what: &str| {
            if report.backbones.len() > 1 { format!("{}: {what}", backbone.name) } else { what.to_owned() }
        };
        series.push(Series { name: named("depths"), drawn: Drawn::Line, points: line });
        let usual = backbone.dial.iter().filter(|point| point.is_usual());
        let usual: Vec<Point> = usual.filter_map(|point| drawn(point, String::new())).collect();
        if !usual.is_empty() {
            series.push(Series { name: named("usual recipe"), drawn: Drawn::Squares, points: usual });
        }
    }
    series
}

/// What other programs came to.
fn theirs(report: &Report, task: &str, axis: Axis) -> Vec<Series> {
    let of_task = report.beside.iter().filter(|point| point.task == task);
    let series = |point: &BesidePoint| {
        let x = if axis == Axis::Rate { point.texts_per_second } else { point.bytes as f64 };
        let points = vec![Point { x, y: point.accuracy, error: 0.0, label: String::new() }];
        Series { name: point.name.clone(), drawn: Drawn::Diamonds, points }
    };
    of_task.map(series).collect()
}
