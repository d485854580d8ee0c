//! Owns which options of learning count, by what is trained: `train` asks for one training, `compare` for one
//! per scenario and backbone.
//!
//! Refuses to decide what is trained: that is the freeze plan's to say.

use super::given::{Idle, group, names};
use super::network::NetworkArguments;
use frosthead::internal::classifier::Run;
use frosthead::internal::encoder::Start;
use frosthead::internal::finetune::HeadInit;
use frosthead::internal::plan::{FreezePlan, Scenario};
use frosthead::internal::train::FrozenHead;

/// A training that a command asks for.
pub(crate) struct Training<'t> {
    /// What is frozen in each stage, at least one.
    pub stages: Vec<FreezePlan>,
    /// Layers of the backbone; 0 when it cannot be looked into.
    pub depth: usize,
    /// How trained heads begin …
    pub head_init: HeadInit,
    /// … and where frozen ones come from.
    pub frozen_head: &'t FrozenHead,
    /// Whether what the heads see is chosen …
    pub chooses: bool,
    /// … and whether they may look at words.
    pub words: bool,
}

/// What of the options is worth saying instead: the two commands ask for the same in different ways.
pub(crate) struct Instead {
    /// How layers are trained.
    pub layers: &'static str,
    /// How more than the top layer is.
    pub deeper: &'static str,
    /// How training begins with token states.
    pub states: &'static str,
    /// How everything is frozen.
    pub frozen: &'static str,
    /// How what heads see is chosen.
    pub chosen: &'static str,
}

/// What has no effect on the trainings of a command.
pub(crate) fn idle(trainings: &[Training<'_>], instead: &Instead) -> Vec<Idle> {
    let any = |of: &dyn Fn(&Training<'_>) -> bool| trainings.iter().any(of);
    let stage = |of: &dyn Fn(&Training<'_>, &FreezePlan) -> bool| {
        any(&|training| training.network().any(|plan| of(training, plan)))
    };
    let line =
        |when: bool, options: &[&str], why, instead| Idle { when, options: names(options), why, instead };
    let (begins, frozen) = (any(&|training| training.heads_begin()), Scenario::Frozen);
    vec![
        Idle {
            when: !stage(&|_, _| true),
            options: group::<NetworkArguments>().into_iter().filter(|name| name != LABEL_TEXT).collect(),
            why: "no layer of the backbone is trained",
            instead: instead.layers,
        },
        line(
            !any(&|training| training.first().scenario() == frozen),
            &[LABEL_TEXT],
            "labels are described only where everything is frozen",
            instead.frozen,
        ),
        line(
            !stage(&|_, plan| !plan.heads.is_empty()),
            &["head-rate", "head-init"],
            "every head is frozen",
            "",
        ),
        line(!begins, &["head-init"], "the first stage trains heads alone, which fits them", ""),
        line(
            !stage(&|_, plan| plan.trains_matrices()),
            &["weight-decay"],
            "no matrix is trained, and nothing else decays",
            "",
        ),
        line(
            !stage(&|training, plan| {
                plan.embeddings || plan.layers.iter().any(|layer| layer + 1 < training.depth)
            }),
            &["layer-decay"],
            "the top layer alone is trained",
            instead.deeper,
        ),
        line(
            !stage(&|_, plan| matches!(plan.cut(), Some(Start::States(_)))),
            &["states"],
            "the embeddings are trained, so no token states are kept",
            instead.states,
        ),
        line(
            !trainings.is_empty() && !any(&|training| training.first().scenario() != frozen),
            &["alpha", "class-weight", "fit-memory", "init-heads", "precision-at", "recall-at", "interval"],
            "everything is frozen, so no head is fitted or taken over",
            "freeze less",
        ),
    ]
    .into_iter()
    .chain(idle_fits(trainings, instead))
    .collect()
}

/// What has no effect on the fits of heads.
fn idle_fits(trainings: &[Training<'_>], instead: &Instead) -> Vec<Idle> {
    let any = |of: &dyn Fn(&Training<'_>) -> bool| trainings.iter().any(of);
    let line =
        |when: bool, options: &[&str], why, instead| Idle { when, options: names(options), why, instead };
    let fitted = trainings.iter().map(Training::fitted).max().unwrap_or(0);
    vec![
        line(fitted == 0, &["alpha", "fit-memory"], "no head is fitted", ""),
        line(
            fitted < 2 && !any(&|training| training.chooses && training.fitted() > 0),
            &["fit-memory"],
            "a single head is fitted, and what it sees is not chosen",
            instead.chosen,
        ),
        line(
            !any(&|training| training.words && training.fitted() > 0),
            &["words-at-least"],
            "no head that is fitted looks at words",
            instead.chosen,
        ),
    ]
}

const LABEL_TEXT: &str = "label-text";

impl Training<'_> {
    pub(crate) fn first(&self) -> &FreezePlan {
        &self.stages[0]
    }

    /// The stages that train layers.
    pub(crate) fn network(&self) -> impl Iterator<Item = &FreezePlan> {
        self.stages.iter().filter(|plan| plan.scenario() == Scenario::Network)
    }

    /// Whether trained heads begin in one way or another.
    fn heads_begin(&self) -> bool {
        self.first().scenario() == Scenario::Network && !self.first().heads.is_empty()
    }

    /// How many heads are fitted before layers are trained, if any are.
    fn fitted(&self) -> usize {
        let (plan, frozen) = (self.first(), self.first().frozen_heads());
        let trained = match plan.scenario() {
            Scenario::Frozen => return 0,
            Scenario::Network if self.head_init == HeadInit::Random => 0,
            _ => plan.heads.len(),
        };
        trained
            + match self.frozen_head {
                FrozenHead::Fitted => frozen.len(),
                FrozenHead::Random => 0,
                // A head that the run has not is fitted; whether it is a run is said where it is opened.
                FrozenHead::Run(run) => Run::open(run).map_or(0, |run| {
                    frozen.iter().filter(|task| run.heads.iter().all(|head| head.task != **task)).count()
                }),
            }
    }
}
