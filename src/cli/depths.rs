//! Owns what `train` and `bundle` share of choosing a depth: points that may be lost, and what each depth costs.

use super::printing::{Columns, table};
use super::terminal::{Terminal, grouped};
use frosthead::internal::quantities::error_text;
use frosthead::internal::selection::{DepthFigures, DepthTask};

/// Points that may be lost; below 0: that must be won.
pub(crate) fn parse_points(text: &str) -> std::result::Result<f64, String> {
    let points = text.parse().ok().filter(|points: &f64| points.is_finite());
    points.ok_or_else(|| "expected a number of points, such as 0.5".to_owned())
}

/// Shows what each depth costs against the deepest, and which one was chosen.
pub(crate) fn say_depths(terminal: &Terminal, figures: &[DepthFigures], chosen: usize) {
    let deepest = figures.last().map_or(0, |found| found.depth);
    terminal.say(depth_table(figures, &format!("depth {deepest}")).trim_end());
    terminal.say(format!("chosen: depth {chosen}"));
}

/// One line per depth and task, from shallow to deep; `against`: what something is lost against.
pub(crate) fn depth_table(figures: &[DepthFigures], against: &str) -> String {
    let headings = ["depth", "task", "features", "numbers", "score", "macro-F1", "score lost", "F1 lost"];
    let mut lines = vec![headings.map(str::to_owned)];
    let rows = figures.iter().flat_map(|found| found.tasks.iter().map(|task| (found.depth, task)));
    lines.extend(rows.map(|(depth, (task, figure))| line(depth, task, figure)));
    let columns = Columns { numbers: (3, usize::MAX), ..Columns::keyed(2) };
    format!(
        "{}lost: points against {against}, on held-out folds of the training and validation rows\n",
        table(columns, &lines)
    )
}

fn line(depth: usize, task: &str, figure: &DepthTask) -> [String; 8] {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let error = error_text(figure.loss.standard_error, 2).map(|error| format!(" ± {error:>5}"));
    [
        format!("{depth:>5}"),
        task.to_owned(),
        figure.features.to_string(),
        grouped(figure.width as u64),
        number(figure.score, 4),
        number(figure.macro_f1, 4),
        format!("{}{}", number(figure.loss.accuracy_drop, 2), error.unwrap_or_default()),
        number(figure.loss.macro_f1_drop, 2),
    ]
}
