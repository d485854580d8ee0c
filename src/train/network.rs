//! Owns training a part of the network on labelled rows: stage by stage from the best of the last, validated
//! by the graph that will be deployed.
//!
//! Refuses to touch what the plan freezes; `proof` shows that it did not.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::TrainEvent;
use super::seen::SeenRows;
use crate::backbone::Backbone;
use crate::classifier::{TaskRows, measure};
use crate::embed::{CutRows, Embedder, StatesPlace};
use crate::encoder::{
    ChangedTensors, GraphOptions, Network, Seen, Start, TrainingGraph, TrainingHead, TrainingOptions,
    head_bias, head_weight, inference_graph, layer_of, ports, training_graph,
};
use crate::error::{Error, Kind, Result};
use crate::finetune::{Epoch, Parameter, Stage, StageOptions, StageOutcome, StageTask, Step, Validation};
use crate::fingerprint::{Fields, Fingerprint, TextKey};
use crate::heads::Head;
use crate::plan::{FreezePlan, Scenario};
use crate::runtime::Runtime;
use crate::store::StatePrecision;

/// How a part of the network is trained, beside the stage's own options.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkOptions {
    pub stage: StageOptions,
    /// Learning rate of the heads, as a multiple of the top layer's.
    pub head_rate: f32,
    /// Learning rate of a layer, as a multiple of that of the layer above.
    pub layer_decay: f32,
    /// How token states at the cut are kept.
    pub states: StatePrecision,
    /// What each task's loss counts, in the order of the tasks.
    pub shares: Vec<f32>,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            stage: StageOptions::default(),
            head_rate: 5.0,
            layer_decay: 0.9,
            states: StatePrecision::default(),
            shares: Vec::new(),
        }
    }
}

/// What one stage came to, as `training.json` has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageReport {
    /// What was frozen, for people.
    pub frozen: String,
    pub trained_parameters: u64,
    pub all_parameters: u64,
    /// Before training, then epoch by epoch.
    pub epochs: Vec<Epoch>,
    /// The epoch whose weights were kept.
    pub best: u64,
    /// Why training ended early, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Whether somebody asked it to end: the same command goes on from the last whole epoch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// Seconds for the frozen part below the cut (nothing when its states were stored).
    pub states_seconds: f64,
    /// The lower cut whose stored, rounded states those at the cut were computed from, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub states_from: Option<String>,
    /// Bytes of the stored token states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub states_bytes: Option<u64>,
    pub training_seconds: f64,
    /// Largest gradient seen, per trained parameter.
    pub largest_gradients: BTreeMap<String, f32>,
}

/// Labelled rows of all parts, as training sees them.
pub(super) struct Rows<'r> {
    pub texts: &'r [&'r str],
    pub keys: &'r [TextKey],
    /// What the heads see of them.
    pub seen: SeenRows<'r>,
    pub tasks: Vec<StageTask>,
    /// Rows to train on.
    pub train: Vec<usize>,
    /// Per task, the labelled validation rows.
    pub valid: Vec<TaskRows>,
}

/// A network while it is trained: the backbone, what was changed of it, the heads.
pub(super) struct Trainer<'t> {
    backbone: &'t Backbone,
    runtime: &'t Runtime,
    place: StatesPlace<'t>,
    /// As the backbone has it.
    network: Network<'t>,
    options: &'t NetworkOptions,
    rows: Rows<'t>,
    /// Where checkpoints are kept while the run is not written, and the hash of everything the run depends
    /// on.
    scratch: PathBuf,
    inputs: Fingerprint,
    pub changed: ChangedTensors,
    pub heads: Vec<Head>,
}

impl<'t> Trainer<'t> {
    pub fn new(
        embedder: &'t Embedder,
        options: &'t NetworkOptions,
        rows: Rows<'t>,
        heads: Vec<Head>,
        (scratch, inputs): (PathBuf, Fingerprint),
    ) -> Result<Self> {
        if rows.valid.iter().zip(&heads).all(|(task, head)| task.known(head.labels.len()).rows.is_empty()) {
            return Err(Error::new(Kind::Usage, "training a part of the network needs validation rows")
                .found("no validation row with a label that is trained")
                .help(
                    "they tell which epoch was the best: give more rows, --valid-fraction or --valid FILE",
                ));
        }
        let backbone: &Backbone = embedder.backbone();
        let network = backbone.network()?;
        let (root, batching) = (embedder.root(), embedder.batching());
        let place = StatesPlace { root, precision: options.states, batching };
        let runtime = embedder.runtime();
        let changed = network.changed.cloned().unwrap_or_default();
        Ok(Self { backbone, runtime, place, network, options, rows, scratch, inputs, changed, heads })
    }

    /// The rows at a plan's cut.
    pub fn cut(
        &self,
        plan: &FreezePlan,
        show: &mut dyn FnMut(&TrainEvent<'_>) -> ControlFlow<()>,
    ) -> Result<CutRows> {
        match plan.cut() {
            Some(Start::States(level)) => {
                let rows = (self.rows.texts, self.rows.keys);
                CutRows::states(self.backbone, self.runtime, self.place, level, rows, &mut |progress| {
                    let _uninterrupted = show(&TrainEvent::States(progress));
                })
            }
            _ => CutRows::ids(self.backbone, self.rows.texts, self.place.batching),
        }
    }

    /// Trains one stage; nothing for a plan that only trains heads, which are fitted already.
    pub fn stage(
        &mut self,
        number: usize,
        plan: &FreezePlan,
        show: &mut dyn FnMut(&TrainEvent<'_>) -> ControlFlow<()>,
    ) -> Result<Option<(CutRows, StageReport)>> {
        if plan.scenario() != Scenario::Network {
            return Ok(None);
        }
        let start = Instant::now();
        let cut = self.cut(plan, show)?;
        let states_seconds = start.elapsed().as_secs_f64();
        let graph = self.graph(plan)?;
        let parameters = self.parameters(&graph)?;
        let trained_parameters = parameters.iter().map(|own| own.values.len() as u64).sum();
        let (frozen, states_from) = (plan.to_string(), self.states_from(&cut));
        let all_parameters = self.all_parameters();
        let _uninterrupted = show(&TrainEvent::Stage { frozen: &frozen, trained_parameters, all_parameters });
        let heads = self.heads.iter().map(|head| (head.task.clone(), head.labels.len())).collect();
        let hidden = self.network.config.hidden_size;
        let means = graph.given.iter().map(|&level| self.rows.seen.means(level)).collect();
        let session = self.backbone.session_of(self.runtime, &graph.bytes)?;
        let mut step = Step::new(session, graph, heads, hidden);
        let (checkpoint, inputs) = self.checkpoint(number, &frozen, states_from.as_deref());
        let start = Instant::now();
        let stage = Stage {
            step: &mut step,
            rows: &cut,
            train: &self.rows.train,
            tasks: &self.rows.tasks,
            means,
            options: &self.options.stage,
            checkpoint: (&checkpoint, inputs),
        };
        let begin = plan.cut().unwrap_or(Start::Ids);
        let outcome = stage.train(
            parameters,
            &mut |parameters| self.validate(parameters, &cut, begin),
            &mut |progress| show(&TrainEvent::Progress(progress)),
        )?;
        let training_seconds = start.elapsed().as_secs_f64();
        (self.changed, self.heads) = self.with(&outcome.parameters);
        let report = StageReport {
            frozen,
            trained_parameters,
            all_parameters,
            best: outcome.best,
            states_seconds,
            states_from,
            states_bytes: cut.stored_bytes(),
            training_seconds,
            largest_gradients: largest_gradients(&outcome),
            epochs: outcome.history,
            stopped: outcome.stopped,
            interrupted: outcome.interrupted,
        };
        Ok(Some((cut, report)))
    }

    /// Where a stage's checkpoint is kept, and the hash of everything it depends on.
    fn checkpoint(&self, number: usize, frozen: &str, states_from: Option<&str>) -> (PathBuf, Fingerprint) {
        let seen: Vec<Seen> = (0..self.heads.len()).map(|head| self.rows.seen.seen(head)).collect();
        let inputs = Fields::new("frosthead stage 2")
            .field("run", self.inputs.0)
            .field("stage", number.to_le_bytes())
            .field("features", format!("{seen:?}"))
            .field("states from", states_from.unwrap_or("token ids"))
            .field("frozen", frozen);
        (self.scratch.join(format!("stage-{number}.safetensors")), inputs.finish())
    }

    /// What the heads see of some rows by the network as it is now, as [`SeenRows::features`].
    pub fn features(&self, cut: &CutRows, start: Start, chosen: &[usize]) -> Result<Vec<f32>> {
        self.features_with(&self.changed, cut, start, chosen)
    }

    fn features_with(
        &self,
        changed: &ChangedTensors,
        cut: &CutRows,
        start: Start,
        chosen: &[usize],
    ) -> Result<Vec<f32>> {
        let network = Network { changed: Some(changed), ..self.network };
        let options = GraphOptions { outputs: self.rows.seen.outputs(), start, ..GraphOptions::default() };
        let graph = inference_graph(&network, &options)?;
        let mut sessions = self.backbone.sessions_of(self.runtime, &graph)?;
        self.rows.seen.features(&mut sessions, (cut, start), chosen)
    }

    fn states_from(&self, cut: &CutRows) -> Option<String> {
        cut.rounded_at().map(|level| format!("{} as {}", ports::hidden(level), self.options.states))
    }

    fn all_parameters(&self) -> u64 {
        let weights = self.network.weights;
        let heads: usize = self.heads.iter().map(|head| head.weights.len() + head.bias.len()).sum();
        weights.parameters(weights.names()) + heads as u64
    }

    fn graph(&self, plan: &FreezePlan) -> Result<TrainingGraph> {
        let heads = self.heads.iter().zip(&self.options.shares).enumerate();
        let heads = heads.map(|(place, (head, share))| TrainingHead {
            task: head.task.clone(),
            classes: head.labels.len(),
            seen: self.rows.seen.seen(place),
            share: *share,
            frozen: (!plan.heads.contains(&head.task)).then(|| (head.weights.clone(), head.bias.clone())),
        });
        let dropped = if self.options.stage.dropout > 0.0 { plan.layers.clone() } else { BTreeSet::new() };
        let options = TrainingOptions {
            start: plan.cut().unwrap_or(Start::Ids),
            tensors: plan.tensors(self.network.weights),
            heads: heads.collect(),
            dropped,
        };
        training_graph(&self.now(), &options)
    }

    /// The trained parameters with their present values and learning rates.
    fn parameters(&self, graph: &TrainingGraph) -> Result<Vec<Parameter>> {
        let network = self.now();
        let in_head = |name: &str| {
            self.heads.iter().find_map(|head| {
                let found = [(head_weight(&head.task), &head.weights), (head_bias(&head.task), &head.bias)];
                found.into_iter().find(|(own, _)| own == name).map(|(_, values)| values.clone())
            })
        };
        let parameters = graph.parameters.iter().map(|own| {
            let (values, rate) = match in_head(&own.name) {
                Some(values) => (values, self.options.head_rate),
                None => (network.read(&own.name)?, self.rate(&own.name)),
            };
            Ok(Parameter::new(own.name.clone(), own.shape.clone(), values, rate))
        });
        parameters.collect()
    }

    /// The network as it is now.
    fn now(&self) -> Network<'_> {
        Network { changed: Some(&self.changed), ..self.network }
    }

    /// A tensor's learning rate: `decay` to the power of its distance from the top layer (Howard & Ruder
    /// 2018).
    fn rate(&self, tensor: &str) -> f32 {
        let below = layer_of(tensor)
            .map_or(self.network.config.layers, |layer| self.network.config.layers - 1 - layer);
        self.options.layer_decay.powi(i32::try_from(below).unwrap_or(i32::MAX))
    }

    /// The changed tensors and heads with these parameters.
    fn with(&self, parameters: &[Parameter]) -> (ChangedTensors, Vec<Head>) {
        let (mut changed, mut heads) = (self.changed.clone(), self.heads.clone());
        for own in parameters {
            let head = heads.iter_mut().find_map(|head| {
                if own.name == head_weight(&head.task) {
                    return Some(&mut head.weights);
                }
                (own.name == head_bias(&head.task)).then_some(&mut head.bias)
            });
            match head {
                Some(values) => values.clone_from(&own.values),
                None => {
                    changed.insert(own.name.clone(), own.values.clone());
                }
            }
        }
        (changed, heads)
    }

    /// Accuracy per task on its labelled validation rows, through the graph that would be deployed; the score
    /// is the mean of the tasks that have such rows.
    fn validate(&self, parameters: &[Parameter], cut: &CutRows, start: Start) -> Result<Validation> {
        let (changed, heads) = self.with(parameters);
        let rows: BTreeSet<usize> =
            self.rows.valid.iter().flat_map(|task| task.rows.iter().copied()).collect();
        let rows: Vec<usize> = rows.into_iter().collect();
        let features = self.features_with(&changed, cut, start, &rows)?;
        let mut accuracy = Vec::with_capacity(heads.len());
        for (number, (head, task)) in heads.iter().zip(&self.rows.valid).enumerate() {
            let place =
                |row: &usize| rows.binary_search(row).expect("every row was asked for; this is a bug");
            let own = TaskRows { rows: task.rows.iter().map(place).collect(), ..task.clone() };
            accuracy.push(measure(head, self.rows.seen.view(&features, number), &own).accuracy);
        }
        #[expect(clippy::cast_precision_loss, reason = "a number of tasks")]
        let score = accuracy.iter().flatten().sum::<f64>() / accuracy.iter().flatten().count().max(1) as f64;
        Ok(Validation { score, accuracy })
    }
}

fn largest_gradients(outcome: &StageOutcome) -> BTreeMap<String, f32> {
    outcome.parameters.iter().map(|own| (own.name.clone(), own.largest_gradient)).collect()
}
