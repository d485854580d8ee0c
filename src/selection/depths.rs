//! Owns what each depth of a network costs its tasks: per depth and task the best features up to it, found on
//! training rows, and what heads on them say of rows that they were not fitted on, against the deepest.
//!
//! Refuses depths whose states are not stored, and test rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Fitting;
use super::judging::{HeldOut, Judging, Loss, passes};
use super::screening::{Screened, Screening, options};
use crate::dataset::Dataset;
use crate::embed::Embedder;
use crate::encoder::FeatureChoice;
use crate::error::{Error, Kind, Result};
use crate::heads::{Answers, FitOptions};
use crate::task::Truth;

/// A task with its rows.
pub struct TaskRows<'t> {
    pub answers: Answers<'t>,
    /// Training rows, on which features and penalties are chosen.
    pub train: Truth,
    /// Training and validation rows whose label the head knows: those that are held out in turns.
    pub known: Truth,
}

/// What a depth costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DepthFigures {
    /// Layers that are run.
    pub depth: usize,
    pub tasks: BTreeMap<String, DepthTask>,
}

/// What a depth costs one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DepthTask {
    /// The best features up to this depth, as they are called in the network that is cut there …
    pub features: FeatureChoice,
    /// … their number, whether words stand beside them …
    pub width: usize,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub words: bool,
    /// … and the penalty of a head on them.
    pub alpha: f64,
    /// Score and macro-F1 on the rows that were held out; none without such rows.
    pub score: Option<f64>,
    pub macro_f1: Option<f64>,
    /// What is lost against the deepest of the depths; in `bundle`, against the run's own heads.
    #[serde(flatten)]
    pub loss: Loss,
}

impl DepthTask {
    /// What heads on the features that were chosen answered, and lose.
    #[must_use]
    pub fn new(screened: &Screened, held: &HeldOut, loss: Loss) -> Self {
        Self {
            features: screened.choice,
            width: screened.columns.len(),
            words: screened.words.as_ref().is_some_and(|words| words.used.is_some()),
            alpha: screened.alpha,
            score: held.score,
            macro_f1: held.macro_f1,
            loss,
        }
    }
}

/// What each of these depths, 0 … L, costs each task; from shallow to deep. `show` sees what is being done.
///
/// # Errors
/// The network is not that deep or cannot be looked into, its states are not stored, or a fit fails.
pub fn depths(
    embedder: &Embedder,
    rows: &mut Dataset,
    tasks: &[TaskRows<'_>],
    asked: &[usize],
    fitting: Fitting<'_>,
    show: &mut dyn FnMut(&str),
) -> Result<Vec<DepthFigures>> {
    check(embedder, asked)?;
    let mut depths = asked.to_vec();
    depths.sort_unstable();
    depths.dedup();
    let mut figures: Vec<DepthFigures> =
        depths.iter().map(|&depth| DepthFigures { depth, tasks: BTreeMap::new() }).collect();
    for task in tasks {
        let mut deepest = None;
        // The deepest first: the others are compared with it.
        for found in figures.iter_mut().rev() {
            let screened = screen(embedder, rows, task, (found.depth, fitting), show)?;
            show(&format!("{}: judging depth {} on held-out rows", task.answers.task, found.depth));
            rows.load(embedder, screened.columns.clone())?;
            let figure = judge(rows, task, &screened, fitting.fit, &mut deepest)?;
            found.tasks.insert(task.answers.task.to_owned(), figure);
        }
    }
    Ok(figures)
}

/// The shallowest depth that loses no more than `max_drop` points of any task's score or macro-F1 against the
/// deepest; `figures` go from shallow to deep. Where nothing can be measured, the deepest; none of none.
#[must_use]
pub fn shallowest(figures: &[DepthFigures], max_drop: f64) -> Option<usize> {
    let deepest = figures.last()?.depth;
    let losses = |found: &DepthFigures| passes(found.tasks.values().map(|task| &task.loss), max_drop, false);
    Some(figures.iter().find(|found| losses(found)).map_or(deepest, |found| found.depth))
}

fn check(embedder: &Embedder, asked: &[usize]) -> Result<()> {
    let backbone = embedder.backbone();
    let wrong = |what: &str| Error::new(Kind::Usage, what).at(backbone.directory());
    let Some(layers) = backbone.layers() else {
        return Err(wrong("this backbone has no depths to choose from")
            .found("an imported .onnx file or a bundle of 8-bit weights: its layers are not known")
            .help("import the model from its Hugging Face directory (model.safetensors)"));
    };
    match asked.iter().max() {
        Some(most) if *most > layers => Err(wrong("the network is not that deep")
            .found(format!("depth {most}"))
            .expected(format!("depths from 0 to {layers}"))),
        Some(_) => Ok(()),
        None => Err(wrong("no depth is asked for").expected(format!("depths from 0 to {layers}"))),
    }
}

/// What a task's head sees at a depth, at best.
fn screen(
    embedder: &Embedder,
    rows: &mut Dataset,
    task: &TaskRows<'_>,
    (depth, fitting): (usize, Fitting<'_>),
    show: &mut dyn FnMut(&str),
) -> Result<Screened> {
    let options = options(embedder, Some(depth))?;
    let (answers, truth) = (task.answers, &task.train);
    Screening { embedder, rows, answers, truth, fitting }
        .among(&options, &mut |what| show(&format!("depth {depth}, {what}")))
}

/// Judges a depth of a task; `deepest` is its deepest depth, or becomes it.
fn judge<'t>(
    rows: &Dataset,
    task: &'t TaskRows<'_>,
    screened: &Screened,
    fit: &FitOptions,
    deepest: &mut Option<(Judging<'t>, HeldOut)>,
) -> Result<DepthTask> {
    let features = rows.view(&screened.columns);
    let fit = screened.settled(fit);
    if let Some((judging, before)) = deepest {
        let held = judging.fitted(features, &fit)?;
        return Ok(DepthTask::new(screened, &held, held.loss(before)));
    }
    let judging = Judging::by_folds(task.answers, &task.known, features, fit.seed);
    let held = judging.fitted(features, &fit)?;
    let found = DepthTask::new(screened, &held, held.loss(&held));
    *deepest = Some((judging, held));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(losses: &[(usize, [Option<f64>; 2])]) -> Vec<DepthFigures> {
        let task = |drop: Option<f64>| DepthTask {
            features: FeatureChoice::All,
            width: 1,
            words: false,
            alpha: 1.0,
            score: None,
            macro_f1: None,
            loss: Loss { rows: 9, accuracy_drop: drop, standard_error: None, macro_f1_drop: drop },
        };
        let of = |(depth, [a, b]): &(usize, [Option<f64>; 2])| DepthFigures {
            depth: *depth,
            tasks: BTreeMap::from([("a".to_owned(), task(*a)), ("b".to_owned(), task(*b))]),
        };
        losses.iter().map(of).collect()
    }

    #[test]
    fn the_shallowest_depth_is_good_enough_for_every_task() {
        let found = figures(&[
            (0, [Some(0.1), Some(2.0)]),
            (2, [Some(0.4), Some(-1.0)]),
            (3, [Some(0.6), Some(0.0)]),
            (6, [Some(0.0), Some(0.0)]),
        ]);
        assert_eq!([0.0, 0.4, 2.0].map(|most| shallowest(&found, most)), [Some(6), Some(2), Some(0)]);
        assert_eq!(shallowest(&[], 1.0), None);
    }

    #[test]
    fn where_nothing_can_be_measured_nothing_is_left_away() {
        let found = figures(&[(0, [Some(0.1), None]), (6, [Some(0.0), None])]);
        assert_eq!(shallowest(&found, 50.0), Some(6));
    }
}
