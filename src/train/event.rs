//! Owns what a training says of itself while it goes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use crate::data::Classes;
use crate::embed::{Progress, StatesProgress};
use crate::encoder::FeatureChoice;
use crate::finetune::StageProgress;
use crate::heads::Candidate;
use crate::selection::DepthFigures;

/// What happens during a training, as it happens.
#[derive(Debug)]
pub enum TrainEvent<'e> {
    /// Rows are read and their features computed.
    Rows(&'e Progress),
    /// All rows are read and divided: what there is to know of each task's classes.
    Classes(&'e BTreeMap<String, Classes>),
    /// So many test rows were trained on by a run whose heads or layers are taken over.
    SeenBefore { rows: u64, run: &'e Path },
    /// Work without results of its own that may take long, and how far it is, in words.
    Work(&'e str),
    /// `auto` has settled what a task's head sees.
    Chosen(&'e Chosen<'e>),
    /// A depth was chosen.
    Depth { figures: &'e [DepthFigures], chosen: usize },
    /// Token states at a cut are computed.
    States(StatesProgress),
    /// A stage begins.
    Stage { frozen: &'e str, trained_parameters: u64, all_parameters: u64 },
    /// A stage goes on.
    Progress(&'e StageProgress<'e>),
}

/// Shows what happens; a break ends training with the best so far.
pub type Show<'s> = dyn FnMut(&TrainEvent<'_>) -> ControlFlow<()> + 's;

/// What `auto` settled for a task.
#[derive(Debug)]
pub struct Chosen<'c> {
    pub task: &'c str,
    pub choice: FeatureChoice,
    /// Numbers the head sees of a text.
    pub width: usize,
    /// What the figures of those that were tried are: the score of the task's kind.
    pub score: &'static str,
    pub tried: &'c [Candidate],
    /// Those that were compared once more on all training rows, if any.
    pub run_off: &'c [Candidate],
    pub seconds: f64,
    /// Bytes that trying and fitting take at their peak, the features included.
    pub memory: u64,
}
