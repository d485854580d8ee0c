//! Owns the dial of `compare`: its options, and its table on the terminal.

use std::path::PathBuf;

use clap::Args;

use super::given::{Idle, names};
use super::printing::{Columns, table};
use super::terminal::{bytes, grouped};
use frosthead::internal::compare::{Depths, Scenario};
use frosthead::internal::error::Result;
use frosthead::internal::precision::PrecisionChoice;
use frosthead::internal::quantities::with_error;
use frosthead::internal::report::{
    BackboneReport, BesidePoint, DialPoint, DialTask, HeldOutFigures, Report, ScenarioReport, Speed,
    read_beside,
};
use frosthead::internal::runtime::Runtime;

/// Depths of a frozen backbone, as they are deployed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Depths")]
pub(super) struct DialArguments {
    /// Compare the lowest N layers alone with the whole network: `0,2,4` or `all`; the full depth is always
    /// among them. For each: the best features up to there, a run, a bundle (OUT/BACKBONE/depth-N.frost),
    /// accuracy on rows held out, size and speed of the bundle. Of the scenarios only `2:last`, the usual
    /// recipe, is run beside them unless --scenarios says more.
    #[arg(long, value_name = "DEPTHS", conflicts_with = "depth")]
    depths: Option<Depths>,
    /// What the depths' bundles are in: `fp32`, `w8`, `int8`, whatever that costs (it is shown), or `auto`:
    /// the first that costs no task more than 0.3 points.
    #[arg(long, value_name = "PRECISION", default_value = "int8")]
    precision: PrecisionChoice,
    /// Draw what other programs came to beside the depths: a JSON list of {name, task, accuracy, test_rows,
    /// bytes, texts_per_second, ms_per_text, processor}, as scripts/bench.sh writes it.
    #[arg(long, value_name = "FILE")]
    beside: Option<PathBuf>,
}

impl DialArguments {
    pub(super) fn depths(&self) -> Option<&Depths> {
        self.depths.as_ref()
    }

    /// What the bundles are in.
    ///
    /// # Errors
    /// The device does not compute so.
    pub(super) fn precision(&self, runtime: &Runtime) -> Result<PrecisionChoice> {
        if let (Some(_), PrecisionChoice::Fixed(precision)) = (&self.depths, self.precision) {
            precision.check_device(runtime.device())?;
        }
        Ok(self.precision)
    }

    /// What others came to.
    ///
    /// # Errors
    /// The file is missing, malformed, or has other tasks.
    pub(super) fn beside(&self, tasks: &[String]) -> Result<Option<Vec<BesidePoint>>> {
        self.beside.as_deref().map(|path| read_beside(path, tasks)).transpose()
    }

    /// The values of `--scenarios`: with depths, the usual recipe where nothing else is said.
    pub(super) fn scenarios(&self, asked: &[String]) -> Vec<String> {
        if asked.is_empty() && self.depths.is_some() { vec!["2:last".to_owned()] } else { asked.to_vec() }
    }

    /// What has no effect where neither this call nor what it adds to (`scenarios`) compares depths.
    pub(super) fn idle(&self, scenarios: &[Scenario]) -> Idle {
        let depth = |scenario: &Scenario| matches!(scenario, Scenario::Depth(_));
        Idle {
            when: self.depths.is_none() && !scenarios.iter().any(depth),
            options: names(&["precision", "beside"]),
            why: "no depths are compared",
            instead: "say --depths all",
        }
    }
}

/// What there is to say of a bundle.
pub(super) fn bundled(point: &DialPoint) -> String {
    format!("{}: {} in {}", point.bundle, bytes(point.bytes), point.precision)
}

/// The dial: a row for each task and depth, and what others came to.
pub(super) fn described(report: &Report) -> String {
    let dialled = || report.backbones.iter().filter(|backbone| backbone.depths().next().is_some());
    if dialled().next().is_none() {
        return String::new();
    }
    let score = score_name(report);
    let mut rows = vec![HEADER.map(|name| if name == SCORE { score.0 } else { name }.to_owned()).to_vec()];
    for task in &report.tasks {
        for backbone in dialled() {
            rows.extend(backbone.dial.iter().flat_map(|point| both(backbone, point, task)));
        }
        rows.extend(report.beside.iter().filter(|point| point.task == *task).map(beside));
    }
    let skipped: String =
        dialled().flat_map(|backbone| backbone.scenarios.iter().filter_map(left_out)).collect();
    let table = table(Columns { numbers: (4, HEADER.len()), ..Columns::keyed(3) }, &rows);
    format!("\n{table}{skipped}{}{}, {NOTES}", score.1, score.0)
}

/// What the column of scores is called, and where tasks have different ones, which each has.
fn score_name(report: &Report) -> (&'static str, String) {
    let of = |task: &String| format!("{} of {task}", report.score_name(task));
    if report.tasks.iter().all(|task| report.score_name(task) == SCORE) {
        return (SCORE, String::new());
    }
    let named: Vec<String> = report.tasks.iter().map(of).collect();
    ("score", format!("score: {}\n", named.join(", ")))
}

/// What the score of tasks of one label is called.
const SCORE: &str = "accuracy";
const HEADER: [&str; 12] = [
    "task",
    "backbone",
    "depth",
    "sees",
    SCORE,
    "against full",
    "macro-F1",
    "precision loses",
    "test rows",
    "bundle",
    "texts/s",
    "ms/text",
];
const NOTES: &str = "macro-F1: on rows held out in turns, in fp32; against full: points against the full depth, row by row; \
    test rows: the same of the bundle; bundles were timed in turns\n";

fn row(backbone: &BackboneReport, point: &DialPoint, task: &str) -> Vec<String> {
    let depth = if point.is_usual() { "usual recipe".to_owned() } else { point.depth.to_string() };
    let mut cells = vec![task.to_owned(), backbone.name.clone(), depth];
    cells.extend(figures(point.tasks.get(task)));
    cells.push(bytes(point.bytes));
    cells.extend(speed(point.speed));
    cells
}

/// The row of a depth, and one without words where its head sees some.
fn both(backbone: &BackboneReport, point: &DialPoint, task: &str) -> Vec<Vec<String>> {
    let mut rows = vec![row(backbone, point, task)];
    if let Some(without) = point.tasks.get(task).and_then(|task| task.without_words.as_ref()) {
        let mut cells = rows[0][..3].to_vec();
        let [accuracy, change, macro_f1] = held_out(Some(without));
        cells.extend(["without words".to_owned(), accuracy, change, macro_f1]);
        cells.resize(HEADER.len(), "-".to_owned());
        rows.push(cells);
    }
    rows
}

fn unknown() -> String {
    "-".to_owned()
}

fn share(value: Option<f64>) -> String {
    value.map_or_else(unknown, |value| format!("{value:.3}"))
}

/// Accuracy, its distance to the full depth, and macro-F1.
fn held_out(held: Option<&HeldOutFigures>) -> [String; 3] {
    let change = held.and_then(|held| {
        let error = held.change_standard_error.map(|error| 100.0 * error);
        Some(with_error(100.0 * held.change?, error, 1))
    });
    [
        share(held.and_then(|held| held.accuracy)),
        change.unwrap_or_else(unknown),
        share(held.and_then(|held| held.macro_f1)),
    ]
}

fn figures(task: Option<&DialTask>) -> [String; 6] {
    let Some(task) = task else { return std::array::from_fn(|_| unknown()) };
    let [accuracy, change, macro_f1] = held_out(task.held_out.as_ref());
    let lost = task.lost.map_or_else(unknown, |lost| format!("{lost:.1}"));
    [task.features.clone(), accuracy, change, macro_f1, lost, share(task.test_accuracy)]
}

fn beside(point: &BesidePoint) -> Vec<String> {
    let test = format!("{:.3}", point.accuracy);
    let BesidePoint { task, name, bytes: size, texts_per_second, ms_per_text, .. } = point;
    let measured = Speed { texts_per_second: *texts_per_second, ms_per_text: *ms_per_text };
    let start = [task.clone(), name.clone()].into_iter().chain((0..6).map(|_| "-".to_owned()));
    start.chain([test, bytes(*size)]).chain(speed(Some(measured))).collect()
}

fn speed(speed: Option<Speed>) -> [String; 2] {
    let Some(Speed { texts_per_second, ms_per_text }) = speed else {
        return ["?".to_owned(), "?".to_owned()];
    };
    [grouped(texts_per_second.round() as u64), format!("{ms_per_text:.2}")]
}

fn left_out(scenario: &ScenarioReport) -> Option<String> {
    use frosthead::internal::report::Outcome;
    match &scenario.outcome {
        Outcome::Skipped(why) if scenario.is_depth() => {
            Some(format!("{}: not run: {why}\n", scenario.scenario))
        }
        _ => None,
    }
}
