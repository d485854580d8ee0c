//! Owns training a part of the network on labelled rows: stage by stage from the best of the last, validated
//! by the graph that will be deployed.
//!
//! Refuses to touch what the plan freezes; `proof` shows that it did not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::event::{Show, TrainEvent};
use super::measured::{Features, TrainedRows, chosen_by};
use super::outcome::StageReport;
use super::rows::Table;
use super::seen::SeenRows;
use crate::backbone::Backbone;
use crate::classifier::measure;
use crate::data::Part;
use crate::embed::{CutRows, Embedder, StatesPlace};
use crate::encoder::{
    ChangedTensors, GraphOptions, Network, Start, TrainedTensors, TrainingGraph, TrainingHead,
    TrainingOptions, head_bias, head_weight, inference_graph, layer_of, ports, training_graph,
};
use crate::error::{Error, Kind, Result};
use crate::finetune::{LayerOptions, Parameter, Stage, StageOutcome, StageTask, Step, Validation};
use crate::fingerprint::{Fields, Fingerprint};
use crate::heads::{self, Examples, FitOptions, Head, Units, class_weights};
use crate::plan::{FreezePlan, Scenario};
use crate::runtime::Runtime;
use crate::task::Truth;
use crate::text::OwnedText;

/// Learning rate of biases that are trained without their matrices, as a multiple of a matrix's: they are few,
/// and at the rate of matrices they hardly move in a few epochs.
const BIASES_ALONE: f32 = 10.0;

/// How a network is trained, beside its plan.
#[derive(Clone, Copy)]
pub(super) struct Training<'t> {
    pub options: &'t LayerOptions,
    /// How heads were fitted.
    pub fit: &'t FitOptions,
    /// Where checkpoints are kept while the run is not written, and the hash of everything the run depends
    /// on.
    pub scratch: &'t Path,
    pub inputs: Fingerprint,
}

/// A network while it is trained: the backbone, what was changed of it, the heads.
pub(super) struct Trainer<'t> {
    backbone: &'t Backbone,
    runtime: &'t Runtime,
    place: StatesPlace<'t>,
    /// As the backbone has it.
    network: Network<'t>,
    training: Training<'t>,
    table: &'t Table,
    texts: &'t [OwnedText],
    /// What the heads see of the rows.
    seen: SeenRows<'t>,
    /// The units of each head's task, in which it is trained.
    units: Vec<Units>,
    pub changed: ChangedTensors,
    pub heads: Vec<Head>,
}

impl<'t> Trainer<'t> {
    pub fn new(
        embedder: &'t Embedder,
        training: Training<'t>,
        table: &'t Table,
        heads: Vec<Head>,
    ) -> Result<Self> {
        let backbone: &Backbone = embedder.backbone();
        let network = backbone.network()?;
        let (root, batching) = (embedder.root(), embedder.batching());
        let place = StatesPlace { root, precision: training.options.states, batching };
        let units = |head: &Head| {
            let truth = table.task(head).truth(&table.parts, Part::Train);
            Units::of(head.kind, &truth.targets, &head.task)
        };
        let trainer = Self {
            units: heads.iter().map(units).collect::<Result<_>>()?,
            backbone,
            runtime: embedder.runtime(),
            place,
            network,
            training,
            table,
            texts: &table.rows.texts,
            seen: SeenRows { table, layout: embedder.layout() },
            changed: network.changed.cloned().unwrap_or_default(),
            heads,
        };
        let known = |head: &Head| trainer.valid(head).known(head.labels.len());
        if trainer.heads.iter().all(|head| known(head).rows.is_empty()) {
            return Err(Error::new(Kind::Usage, "training a part of the network needs validation rows")
                .found("no validation row with a label that is trained")
                .help(
                    "they tell which epoch was the best: give more rows, --valid-fraction or --valid FILE",
                ));
        }
        Ok(trainer)
    }

    /// The labelled validation rows of a head's task that tell which epoch was the best.
    fn valid(&self, head: &Head) -> Truth {
        let truth = self.table.task(head).truth(&self.table.parts, Part::Valid);
        chosen_by(head.kind, &truth)
    }

    /// The rows at a plan's cut.
    pub fn cut(&self, plan: &FreezePlan, show: &mut Show<'_>) -> Result<CutRows> {
        match plan.cut() {
            Some(Start::States(level)) => {
                let rows = (self.texts, &self.table.rows.keys[..]);
                CutRows::states(self.backbone, self.runtime, self.place, level, rows, &mut |progress| {
                    let _uninterrupted = show(&TrainEvent::States(progress));
                })
            }
            _ => CutRows::ids(self.backbone, self.texts, self.place.batching),
        }
    }

    /// Trains one stage; nothing for a plan that only trains heads, which are fitted already.
    pub fn stage(
        &mut self,
        number: usize,
        plan: &FreezePlan,
        show: &mut Show<'_>,
    ) -> Result<Option<(CutRows, StageReport)>> {
        if plan.scenario() != Scenario::Network {
            return Ok(None);
        }
        let start = Instant::now();
        let cut = self.cut(plan, show)?;
        let states_seconds = start.elapsed().as_secs_f64();
        let graph = self.graph(plan)?;
        let parameters = self.parameters(&graph)?;
        let trained_parameters = parameters.iter().map(|parameter| parameter.values.len() as u64).sum();
        let (frozen, states_from) = (plan.to_string(), self.states_from(&cut));
        let all_parameters = self.all_parameters();
        let _uninterrupted = show(&TrainEvent::Stage { frozen: &frozen, trained_parameters, all_parameters });
        let means = graph.given.iter().map(|&level| self.seen.means(level)).collect();
        let mut step = self.step(graph)?;
        let (checkpoint, inputs) = self.checkpoint(number, &frozen, states_from.as_deref());
        let (tasks, train) = self.stage_tasks()?;
        let start = Instant::now();
        let stage = Stage {
            step: &mut step,
            rows: &cut,
            train: &train,
            tasks: &tasks,
            means,
            options: self.training.options,
            seed: self.table.seed,
            threads: self.training.fit.threads,
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

    /// A training graph, loaded.
    fn step(&self, graph: TrainingGraph) -> Result<Step> {
        let target = |head: &Head| (head.task.clone(), head.kind.target_width(head.labels.len()));
        let targets = self.heads.iter().map(target).collect();
        let session = self.backbone.session_of(self.runtime, &graph.bytes)?;
        Ok(Step::new(session, graph, targets, self.network.config.hidden_size))
    }

    /// Where a stage's checkpoint is kept, and the hash of everything it depends on.
    fn checkpoint(&self, number: usize, frozen: &str, states_from: Option<&str>) -> (PathBuf, Fingerprint) {
        let seen: Vec<String> = self.table.tasks.iter().map(|task| task.choice().to_string()).collect();
        let inputs = Fields::new("frosthead stage 3")
            .field("run", self.training.inputs.0)
            .field("stage", number.to_le_bytes())
            .field("features", seen.join(", "))
            .field("states from", states_from.unwrap_or("token ids"))
            .field("frozen", frozen);
        (self.training.scratch.join(format!("stage-{number}.safetensors")), inputs.finish())
    }

    /// What the heads see of some rows by the network as it is now, as [`SeenRows::features`].
    pub fn features(&self, cut: &CutRows, start: Start, rows: Vec<usize>) -> Result<TrainedRows> {
        self.features_with(&self.changed, cut, start, rows)
    }

    fn features_with(
        &self,
        changed: &ChangedTensors,
        cut: &CutRows,
        start: Start,
        rows: Vec<usize>,
    ) -> Result<TrainedRows> {
        let network = Network { changed: Some(changed), ..self.network };
        let options = GraphOptions { outputs: self.seen.outputs(), start, ..GraphOptions::default() };
        let graph = inference_graph(&network, &options)?;
        let mut sessions = self.backbone.sessions_of(self.runtime, &graph)?;
        self.seen.features(&mut sessions, (cut, start), rows)
    }

    fn states_from(&self, cut: &CutRows) -> Option<String> {
        cut.rounded_at().map(|level| format!("{} as {}", ports::hidden(level), self.place.precision))
    }

    fn all_parameters(&self) -> u64 {
        let weights = self.network.weights;
        let heads: usize = self.heads.iter().map(|head| head.weights.len() + head.bias.len()).sum();
        weights.parameters(weights.names()) + heads as u64
    }

    fn graph(&self, plan: &FreezePlan) -> Result<TrainingGraph> {
        let training_head = |(head, units): (&Head, &Units)| {
            let (task, scaled) = (self.table.task(head), units.head(head));
            TrainingHead {
                task: head.task.clone(),
                kind: head.kind,
                classes: head.labels.len(),
                seen: task.choice(),
                share: task.share,
                frozen: (!plan.heads.contains(&head.task)).then_some((scaled.weights, scaled.bias)),
                beside: head.words.is_some(),
            }
        };
        let dropped = if self.training.options.dropout > 0.0 { plan.layers.clone() } else { BTreeSet::new() };
        let options = TrainingOptions {
            start: plan.cut().unwrap_or(Start::Ids),
            tensors: plan.tensors(self.network.weights),
            heads: self.heads.iter().zip(&self.units).map(training_head).collect(),
            dropped,
        };
        training_graph(&self.now(), &options)
    }

    /// The trained parameters with their present values and learning rates.
    fn parameters(&self, graph: &TrainingGraph) -> Result<Vec<Parameter>> {
        let network = self.now();
        let in_head = |name: &str| {
            self.heads.iter().zip(&self.units).find_map(|(head, units)| {
                let Head { task, weights, bias, .. } = units.head(head);
                let found = [(head_weight(&task), weights), (head_bias(&task), bias)];
                found.into_iter().find(|(parameter, _)| parameter == name).map(|(_, values)| values)
            })
        };
        let parameters = graph.parameters.iter().map(|parameter| {
            let (values, rate) = match in_head(&parameter.name) {
                Some(values) => (values, self.training.options.head_rate),
                None => (network.read(&parameter.name)?, self.rate(&parameter.name)),
            };
            Ok(Parameter::new(parameter.name.clone(), parameter.shape.clone(), values, rate))
        });
        parameters.collect()
    }

    /// The network as it is now.
    fn now(&self) -> Network<'_> {
        Network { changed: Some(&self.changed), ..self.network }
    }

    /// A tensor's learning rate: `decay` to the power of its distance from the top layer (Howard & Ruder
    /// 2018), and higher for biases alone.
    fn rate(&self, tensor: &str) -> f32 {
        let LayerOptions { layer_decay, train, .. } = *self.training.options;
        let layers = self.network.config.layers;
        let below = layer_of(tensor).map_or(layers, |layer| layers - 1 - layer);
        let factor = if train == TrainedTensors::Biases { BIASES_ALONE } else { 1.0 };
        factor * layer_decay.powi(i32::try_from(below).unwrap_or(i32::MAX))
    }

    /// The changed tensors and heads with these parameters.
    fn with(&self, parameters: &[Parameter]) -> (ChangedTensors, Vec<Head>) {
        let (mut changed, mut heads) = (self.changed.clone(), self.heads.clone());
        for parameter in parameters {
            let head = heads.iter_mut().zip(&self.units).find_map(|(head, units)| {
                if parameter.name == head_weight(&head.task) {
                    let mut values = parameter.values.clone();
                    units.own_weights(&mut values, &mut []);
                    return Some((&mut head.weights, values));
                }
                (parameter.name == head_bias(&head.task)).then(|| {
                    let mut values = parameter.values.clone();
                    units.own_logits(&mut values);
                    (&mut head.bias, values)
                })
            });
            match head {
                Some((own, values)) => *own = values,
                None => {
                    changed.insert(parameter.name.clone(), parameter.values.clone());
                }
            }
        }
        (changed, heads)
    }

    /// The score of every task on its labelled validation rows, through the graph that would be deployed; the
    /// network's is the mean of the tasks that have such rows.
    fn validate(&self, parameters: &[Parameter], cut: &CutRows, start: Start) -> Result<Validation> {
        let (changed, heads) = self.with(parameters);
        let rows: BTreeSet<usize> = heads.iter().flat_map(|head| self.valid(head).rows).collect();
        let trained = self.features_with(&changed, cut, start, rows.into_iter().collect())?;
        let features = Features { stored: &self.table.rows, trained: Some(&trained) };
        let score = |head: &Head| {
            let (seen, truth) = features.of(self.table.task(head), &self.valid(head));
            measure(head, seen, &truth).score()
        };
        let scores: Vec<Option<f64>> = heads.iter().map(score).collect();
        let mean = scores.iter().flatten().sum::<f64>() / scores.iter().flatten().count().max(1) as f64;
        Ok(Validation { score: mean, scores })
    }

    /// The targets of every task, and the rows that have one: those to train on.
    fn stage_tasks(&self) -> Result<(Vec<StageTask>, Vec<usize>)> {
        let mut tasks = Vec::with_capacity(self.heads.len());
        let mut train = BTreeSet::new();
        for (head, units) in self.heads.iter().zip(&self.units) {
            let truth = self.table.task(head).truth(&self.table.parts, Part::Train);
            let truth = Truth { targets: units.targets(&truth.targets), ..truth };
            let classes = head.labels.len();
            let shape = head.answers().shape();
            let weights = class_weights(&truth.targets, shape, self.training.fit.class_weight);
            train.extend(truth.rows.iter().copied());
            let beside = self.beside(head, &truth)?;
            let task = StageTask::new(head.kind, classes, self.table.rows.rows(), truth, weights);
            tasks.push(task.with_beside(beside));
        }
        Ok((tasks, train.into_iter().collect()))
    }

    /// What a head's words say of every training row, `[rows, classes]`: words that were fitted without it,
    /// as a head knows its own rows' words by heart, and layers would have nothing left to learn from them.
    fn beside(&self, head: &Head, truth: &Truth) -> Result<Vec<f32>> {
        let Some(words) = &head.words else { return Ok(Vec::new()) };
        let (classes, task) = (head.labels.len(), self.table.task(head));
        let examples = Examples {
            features: self.table.rows.view(&task.sees.columns),
            rows: &truth.rows,
            targets: &truth.targets,
        };
        let said = heads::words_out_of_fold((words, head.kind), &examples, self.training.fit)?;
        let mut all = vec![0.0; self.table.rows.rows() * classes];
        for (&row, said) in truth.rows.iter().zip(said.chunks_exact(classes)) {
            all[row * classes..][..classes].copy_from_slice(said);
        }
        Ok(all)
    }
}

fn largest_gradients(outcome: &StageOutcome) -> BTreeMap<String, f32> {
    outcome.parameters.iter().map(|parameter| (parameter.name.clone(), parameter.largest_gradient)).collect()
}
