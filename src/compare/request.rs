//! Owns what a comparison is asked for, and what it says of itself while it goes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::curve::Share;
use super::depths::Depths;
use super::limit::{Clock, TimeLimit};
use super::scenario::Scenario;
use crate::backbone::Backbone;
use crate::embed::Embedder;
use crate::encoder::FeatureChoice;
use crate::error::{Error, Kind, Result};
use crate::finetune::LayerOptions;
use crate::fingerprint::{Fields, Fingerprint};
use crate::plan::FreezePlan;
use crate::precision::PrecisionChoice;
use crate::quantize::Precision;
use crate::report::{BesidePoint, DialPoint, Estimate, ScenarioReport};
use crate::train::{
    FeatureRequest, Freezing, FrozenHead, Learning, RowsRequest, StatesRequest, TrainEvent, TrainRequest,
    heads_hash, shared_inputs,
};

/// What is hashed where nobody says how long texts are read.
const NOT_SAID: &str = "None None None None";

/// What the dial's bundles are in, where nobody says: the dial is about what is deployed.
const PRECISION: PrecisionChoice = PrecisionChoice::Fixed(Precision::Int8);

/// What to compare.
#[derive(Clone)]
pub struct CompareRequest {
    /// What all scenarios are asked for, into the comparison's directory. Features are each scenario's own,
    /// and so is what it freezes: `freezing` says what scenario 3 freezes beside the head, and describes
    /// labels.
    pub train: TrainRequest,
    /// Backbone directories …
    pub backbones: Vec<Arc<Backbone>>,
    /// … of which only so many layers are run, where not all are.
    pub depth: Option<usize>,
    /// Depths to compare as they are deployed, beside the scenarios: the dial …
    pub depths: Option<Depths>,
    /// … in this precision: `int8` (or another one) whatever it costs, which is said; `auto` by the gate …
    pub precision: PrecisionChoice,
    /// … with what other programs came to beside it.
    pub beside: Option<Vec<BesidePoint>>,
    /// Ways of freezing.
    pub scenarios: Vec<Scenario>,
    /// Where the frozen head of scenario 3 comes from.
    pub frozen_head: FrozenHead,
    /// What does not fit by the estimate is not begun, what is running then ends with its best so far.
    pub time_limit: Option<TimeLimit>,
    /// What the limit is measured with.
    pub clock: Clock,
    /// Shares of the training rows in rising order.
    pub learning_curve: Vec<Share>,
    /// How heads on a frozen backbone read long texts, as it was asked for, if it was.
    pub long_texts: Option<String>,
}

/// What happens during a comparison, as it happens.
#[derive(Debug)]
pub enum CompareEvent<'e> {
    /// Said before anything is computed.
    Estimates(&'e [BackboneEstimate]),
    /// A scenario begins.
    Begins { backbone: &'e str, scenario: &'e Scenario, frozen: &'e str },
    /// A training goes on, or features are computed.
    Train(&'e TrainEvent<'e>),
    /// A scenario ended, or was skipped.
    Ended { backbone: &'e str, scenario: &'e ScenarioReport },
    /// A run of the dial was put into a bundle …
    Bundled { backbone: &'e str, point: &'e DialPoint },
    /// … or something of the dial was not done, and why.
    LeftOut { backbone: &'e str, what: &'e str, why: &'e str },
}

/// What is to be done with one backbone, and what it may take at most.
#[derive(Clone, Debug, PartialEq)]
pub struct BackboneEstimate {
    pub backbone: String,
    pub texts_per_second: f64,
    /// Computing the features of texts that are not in the store.
    pub features_texts: u64,
    pub features_seconds: f64,
    pub scenarios: Vec<(Scenario, Estimate)>,
}

/// Shows what happens.
pub type Show<'s> = dyn FnMut(&CompareEvent<'_>) + 's;
/// Opens a backbone's place in the feature store, with windows of long texts where they may be used: heads on
/// a frozen backbone see them, layers are trained on the start of a text.
pub type Open<'o> = dyn FnMut(&Arc<Backbone>, bool) -> Result<Embedder> + 'o;

/// Says what is being done.
pub(super) fn working(show: &mut Show<'_>, what: &str) {
    show(&CompareEvent::Train(&TrainEvent::Work(what)));
}

impl CompareRequest {
    /// All scenarios with these backbones, into the directory `out`.
    #[must_use]
    pub fn new(rows: RowsRequest, backbones: Vec<Arc<Backbone>>, out: impl Into<PathBuf>) -> Self {
        Self {
            scenarios: Scenario::all(&rows.tasks.names()),
            train: TrainRequest::new(rows, out),
            backbones,
            depth: None,
            depths: None,
            precision: PRECISION,
            beside: None,
            frozen_head: FrozenHead::default(),
            time_limit: None,
            clock: Clock::default(),
            learning_curve: Vec::new(),
            long_texts: None,
        }
    }

    /// Hash of the rows and options that all scenarios share. Backbones and scenarios may be added to a
    /// comparison.
    ///
    /// # Errors
    /// A table or an earlier run cannot be read.
    pub(super) fn inputs(&self) -> Result<Fingerprint> {
        let frozen_head = match &self.frozen_head {
            FrozenHead::Run(run) => heads_hash(run)?.to_string(),
            other => format!("{other:?}"),
        };
        let inputs = Fields::new("frosthead compare 2")
            .field("shared", shared_inputs(&self.train)?.0)
            .field("freeze", self.train.freezing.freeze().join("\0"))
            .field("long texts", self.long_texts.as_deref().unwrap_or(NOT_SAID))
            .field("frozen head", frozen_head);
        let inputs = match self.depth {
            Some(depth) => inputs.field("depth", depth.to_string()),
            None => inputs,
        };
        Ok(match self.precision {
            PRECISION => inputs,
            other => inputs.field("precision", other.to_string()),
        }
        .finish())
    }

    /// The same with the defaults of all options that none of these scenarios has a use for: what a
    /// comparison of these alone is made from.
    pub(super) fn of_use_to(&self, scenarios: &[Scenario]) -> Self {
        let any = |of: fn(&Scenario) -> bool| scenarios.iter().any(of);
        let mut request = self.clone();
        let train = &mut request.train;
        let described = train.freezing.label_text.take().filter(|_| any(|one| *one == Scenario::Frozen));
        if !any(|one| matches!(one, Scenario::FrozenHead(..))) {
            (train.freezing, request.frozen_head) = (Freezing::default(), FrozenHead::default());
        }
        train.freezing.label_text = described;
        if !any(|one| matches!(one, Scenario::FrozenHead(..) | Scenario::Top(..))) {
            train.layers = LayerOptions::default();
            train.rows.tasks = train.rows.tasks.clone().with_equal_shares();
        }
        if !any(|one| *one != Scenario::Frozen) {
            let (ours, default) = (&mut train.learning, Learning::default());
            (ours.fit.alpha, ours.fit.class_weight) = (default.fit.alpha, default.fit.class_weight);
            ours.fit_memory = default.fit_memory;
        }
        if !any(Scenario::reads_windows) {
            request.long_texts = None;
        }
        if !any(|one| matches!(one, Scenario::Depth(_))) {
            request.precision = PRECISION;
        }
        request
    }

    /// The training that a scenario is, into its directory in `folder`: an ordinary request.
    ///
    /// # Errors
    /// Its plan contradicts itself.
    pub(super) fn of(&self, scenario: &Scenario, folder: &Path) -> Result<TrainRequest> {
        let fitted = folder.join(Scenario::fitted(scenario.features()).folder());
        let init_heads = match (scenario, &self.frozen_head) {
            // What scenario 2 fitted already.
            (Scenario::FrozenHead(..), FrozenHead::Fitted) => FrozenHead::Run(fitted),
            (Scenario::FrozenHead(..), asked) => asked.clone(),
            _ => FrozenHead::Fitted,
        };
        // As `train` would be asked for it: it refuses options that it has no use for.
        let mut request = self.of_use_to(std::slice::from_ref(scenario)).train;
        let label_text = request.freezing.label_text.take();
        request.freezing = scenario.freezing(self.train.freezing.freeze())?;
        (request.freezing.init_heads, request.freezing.label_text) = (init_heads, label_text);
        request.learning.see(self.features(scenario));
        request.output.path = folder.join(scenario.folder());
        Ok(request)
    }

    /// What a scenario's heads see: where no sentence embedding is computed, what stands for it.
    #[must_use]
    pub fn features(&self, scenario: &Scenario) -> FeatureRequest {
        let features = scenario.features();
        match (features.states, self.depth) {
            (StatesRequest::Choice(FeatureChoice::Last), Some(depth)) => {
                let states = StatesRequest::Choice(FeatureChoice::highest(depth));
                FeatureRequest { states, ..features }
            }
            _ => features,
        }
    }

    /// The stages that a scenario trains itself: gradual unfreezing goes on from the one before it, when that
    /// is asked for.
    pub(super) fn stages_to_train<'p>(
        &self,
        scenario: &Scenario,
        plans: &'p [FreezePlan],
    ) -> &'p [FreezePlan] {
        let Scenario::Top(layers, features) = scenario else { return plans };
        let asked = |lower: &usize| self.scenarios.contains(&Scenario::Top(*lower, *features));
        let lower = (1..*layers).rev().find(asked);
        &plans[lower.map_or(0, |lower| lower + 1)..]
    }

    /// Refuses what no comparison can do.
    ///
    /// # Errors
    /// More than layers is frozen beside scenario 3's head, depths are asked for twice, or the learning curve
    /// has no place.
    pub(super) fn check(&self) -> Result<()> {
        for value in self.train.freezing.freeze() {
            if !value.starts_with("backbone:") {
                return Err(Error::new(
                    Kind::Usage,
                    "a comparison freezes only layers beside scenario 3's head",
                )
                .found(format!("--freeze {value}"))
                .expected("backbone:embeddings or backbone:0-3")
                .help("choose what is frozen by --scenarios"));
            }
        }
        if self.depth.is_some() && self.depths.is_some() {
            return Err(Error::new(Kind::Usage, "depths of a network that is cut already are not compared")
                .found("a depth, and depths to compare")
                .help("give one of --depth and --depths"));
        }
        if !self.learning_curve.is_sorted_by(|a, b| a < b) {
            return Err(Error::new(
                Kind::Usage,
                "--learning-curve goes from fewer to more rows, each share once",
            ));
        }
        if !self.learning_curve.is_empty() && !self.scenarios.contains(&Scenario::Heads) {
            return Err(Error::new(
                Kind::Usage,
                "the learning curve is that of scenario 2, which is not compared",
            )
            .help("add 2 to --scenarios"));
        }
        Ok(())
    }
}
