//! Owns what `train` and `bundle` share of choosing a depth: points that may be lost, and what each depth costs.

use super::terminal::grouped;
use frosthead::internal::quantities::error_text;
use frosthead::internal::selection::{DepthFigures, DepthTask};

/// Points that may be lost; below 0: that must be won.
pub(crate) fn parse_points(text: &str) -> std::result::Result<f64, String> {
    let points = text.parse().ok().filter(|points: &f64| points.is_finite());
    points.ok_or_else(|| "expected a number of points, such as 0.5".to_owned())
}

/// One line per depth and task, from shallow to deep; `against`: what something is lost against.
pub(crate) fn depth_table(figures: &[DepthFigures], against: &str) -> String {
    let rows = || figures.iter().flat_map(|found| found.tasks.iter().map(|task| (found.depth, task)));
    let widest = |lengths: &mut dyn Iterator<Item = usize>, heading: &str| {
        lengths.max().unwrap_or(0).max(heading.len())
    };
    let task_width = widest(&mut rows().map(|(_, (task, _))| task.chars().count()), "task");
    let features = |figure: &DepthTask| figure.features.to_string();
    let width = widest(&mut rows().map(|(_, (_, figure))| features(figure).len()), "features");
    let mut text = format!(
        "{:>5}  {:<task_width$}  {:<width$}  {:>7}  {:>6}  {:>8}  {:>15}  {:>7}\n",
        "depth", "task", "features", "numbers", "score", "macro-F1", "score lost", "F1 lost"
    );
    for (depth, (task, figure)) in rows() {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
        };
        let error = error_text(figure.loss.standard_error, 2).map(|error| format!(" ± {error:>5}"));
        text += &format!(
            "{depth:>5}  {task:<task_width$}  {:<width$}  {:>7}  {:>6}  {:>8}  {:>7}{:<8}  {:>7}\n",
            features(figure),
            grouped(figure.width as u64),
            number(figure.score, 4),
            number(figure.macro_f1, 4),
            number(figure.loss.accuracy_drop, 2),
            error.unwrap_or_default(),
            number(figure.loss.macro_f1_drop, 2),
        );
    }
    text +=
        &format!("lost: points against {against}, on held-out folds of the training and validation rows\n");
    text
}
