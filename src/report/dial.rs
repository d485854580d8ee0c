//! Owns the dial: what each depth of a frozen backbone costs and gives, as it is deployed, and the sentence
//! about it.
//!
//! Refuses to choose by test rows: depths are judged on rows that were held out in turns.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::gain::Gain;
use super::text::and;
use super::{BackboneReport, ScenarioReport};
use crate::quantities::{bytes, grouped};

/// How the scenario of a depth is called, before the number.
const DEPTH: &str = "depth-";

/// A run as it is deployed: one of a depth, or that of the usual recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DialPoint {
    /// `depth-3`; `2` is the usual recipe, on the last layer of the whole network.
    pub scenario: String,
    /// Layers that may be run …
    pub depth: usize,
    /// … and that are in the bundle: none above the highest that a head sees; none where they are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipped: Option<usize>,
    /// The bundle's file, below the directory of the comparison …
    pub bundle: String,
    /// … its size …
    pub bytes: u64,
    /// … and its precision, perhaps with exceptions.
    pub precision: String,
    pub tasks: BTreeMap<String, DialTask>,
    /// None until all bundles were timed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<Speed>,
}

/// A task of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DialTask {
    /// What the head sees.
    pub features: String,
    /// In fp32, on training and validation rows that were held out in turns; none until it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<HeldOutFigures>,
    /// The same of heads that see no words, where its head sees some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_words: Option<HeldOutFigures>,
    /// What the bundle's precision loses against fp32 on such rows, in points of accuracy: 0 in fp32; none
    /// where nothing could be measured.
    pub lost: Option<f64>,
    /// The bundle's accuracy on the test rows; none without any.
    pub test_accuracy: Option<f64>,
    pub test_rows: u64,
}

/// Figures on rows that were held out: all training and validation rows, each judged by a head that was not
/// fitted on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOutFigures {
    pub rows: u64,
    pub accuracy: Option<f64>,
    pub macro_f1: Option<f64>,
    /// Accuracy gained over the full depth, row by row, as a share; with its standard error.
    pub change: Option<f64>,
    pub change_standard_error: Option<f64>,
}

/// How fast a bundle is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speed {
    /// Texts in batches, tokenising included.
    pub texts_per_second: f64,
    /// Milliseconds of a single text, at the median.
    pub ms_per_text: f64,
}

/// The depth of a scenario's name, if it is of one.
#[must_use]
pub fn depth_of(scenario: &str) -> Option<usize> {
    scenario.strip_prefix(DEPTH)?.parse().ok()
}

/// The name of a depth's scenario.
#[must_use]
pub fn depth_name(depth: usize) -> String {
    format!("{DEPTH}{depth}")
}

impl ScenarioReport {
    /// Whether it is a depth of the dial.
    #[must_use]
    pub fn is_depth(&self) -> bool {
        depth_of(&self.scenario).is_some()
    }
}

impl DialPoint {
    /// Whether it is the usual recipe.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        depth_of(&self.scenario).is_none()
    }

    /// Whether all of it was measured.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.speed.is_some() && self.tasks.values().all(|task| task.held_out.is_some())
    }
}

impl BackboneReport {
    /// The depths of the dial, from shallow to deep, without the usual recipe.
    #[must_use]
    pub fn depths(&self) -> impl DoubleEndedIterator<Item = &DialPoint> {
        self.dial.iter().filter(|point| !point.is_usual())
    }
}

impl DialTask {
    /// What it gained over the full depth, where that was measured.
    pub(super) fn change(&self) -> Option<Gain> {
        let held = self.held_out.as_ref()?;
        Some(Gain { value: held.change?, error: held.change_standard_error? })
    }
}

/// The shallowest depth that costs no task more than noise; none where that was not measured.
pub(super) fn shallowest(backbone: &BackboneReport) -> Option<&DialPoint> {
    let fine =
        |task: &DialTask| task.change().is_some_and(|change| change.value >= 0.0 || !change.beyond_noise());
    backbone.depths().find(|point| point.tasks.values().all(fine))
}

/// The sentence about a backbone's depths.
pub(super) fn sentence(backbone: &BackboneReport) -> Option<String> {
    let (best, full) = (shallowest(backbone)?, backbone.depths().last()?);
    let start = format!("Depth {} of {} of {}", best.depth, full.depth, backbone.name);
    let deployed = format!("Its bundle in {}: {}", best.precision, figures(best)?);
    if best.depth == full.depth {
        return Some(format!(
            "{start}: every shallower one that was compared costs a task more than noise on rows held out. {deployed}."
        ));
    }
    let change = |(task, found): (&String, &DialTask)| Some(format!("{task} {}", found.change()?.text()));
    let changes: Vec<String> = best.tasks.iter().filter_map(change).collect();
    Some(format!(
        "{start} is the shallowest that costs no more than noise: {} on rows held out, against all layers. {deployed}, against {}.",
        and(&changes),
        figures(full)?
    ))
}

/// Size and speed of a bundle.
fn figures(point: &DialPoint) -> Option<String> {
    let Speed { texts_per_second, ms_per_text } = point.speed?;
    let rate = grouped(texts_per_second.round() as u64);
    Some(format!("{}, {rate} texts/s, {ms_per_text:.1} ms a text", bytes(point.bytes)))
}
