//! Owns one training from rows to the written run: heads, stages, measurements, proof.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::described::described_heads;
use super::earlier::Earlier;
use super::features::TaskView;
use super::fits::{InitialHeads, initial_heads, untrained};
use super::measured::{calibrated_metrics, measure_part, metrics};
use super::network::{Rows, StageReport, Trainer};
use super::proof::{TensorProof, hashes, prove};
use super::rows::{Table, task_rows};
use super::seen::SeenRows;
use super::{Drift, RunMetrics, Show, TrainEvent, TrainRequest, TrainSummary, Trained};
use crate::backbone::Backbone;
use crate::classifier::run::{
    CHANGED, FIT, HEADS, METRICS, PROOF, RECIPE, ROWS, Recipe, Run, SplitRows, TRAINING, changed_bytes,
};
use crate::data::Part;
use crate::document;
use crate::embed::Embedder;
use crate::encoder::{ChangedTensors, Start, head_bias, head_weight};
use crate::error::{Error, Result};
use crate::files::replace_directory;
use crate::finetune::StageTask;
use crate::fingerprint::Fingerprint;
use crate::heads::{self, ClassWeight, FitReport, Head};
use crate::plan::{FreezePlan, Scenario};

/// A request with its plans and rows.
pub(super) struct Job<'j> {
    pub request: &'j TrainRequest,
    pub stages: Vec<FreezePlan>,
    /// What stands for the first stages, when they are trained already.
    pub earlier: Option<Earlier>,
    pub table: Table,
    /// What each task's head sees.
    pub views: Vec<TaskView>,
    pub recipe: Recipe,
}

/// What training came to, before it is written.
struct Outcome {
    heads: Vec<Head>,
    /// Frozen heads as they were, trained ones as nobody had trained them: what the proof starts from.
    before: Vec<Head>,
    changed: ChangedTensors,
    fits: Vec<FitReport>,
    stages: Vec<StageReport>,
    metrics: RunMetrics,
}

impl Job<'_> {
    /// Trains, measures and writes the run.
    ///
    /// # Errors
    /// Fitting, training, measuring or writing fails.
    pub fn run(mut self, embedder: Option<&mut Embedder>, show: &mut Show<'_>) -> Result<Trained> {
        let backbone = embedder.as_deref().map(|embedder| Arc::clone(embedder.backbone()));
        let frozen = self.stages.last().is_some_and(|plan| plan.scenario() == Scenario::Frozen);
        let mut outcome =
            if frozen { self.baseline(embedder)? } else { self.train(embedder.as_deref(), show)? };
        if outcome.changed.is_empty() {
            // A run says of its backbone all that differs from the imported one, also what an earlier run
            // changed.
            outcome.changed = backbone.as_deref().and_then(Backbone::changed).cloned().unwrap_or_default();
        }
        self.write(outcome, backbone.as_deref())
    }

    /// Scenario 1: nothing is trained. The heads are the labels' descriptions; seeded ones are measured
    /// beside them.
    fn baseline(&mut self, embedder: Option<&mut Embedder>) -> Result<Outcome> {
        let (request, table) = (self.request, &self.table);
        let before = untrained(request, &table.labels, &self.views);
        let heads = described_heads(request, &table.labels, &self.views, embedder)?;
        let mut metrics = metrics(request, table, &self.views, &heads);
        metrics.untrained = measure_part(request, table, &self.views, &before, Part::Test);
        Ok(Outcome {
            before: heads.clone(),
            heads,
            changed: ChangedTensors::new(),
            fits: Vec::new(),
            stages: Vec::new(),
            metrics,
        })
    }

    /// Scenarios 2 and 3, and gradual unfreezing.
    fn train(&mut self, embedder: Option<&Embedder>, show: &mut Show<'_>) -> Result<Outcome> {
        let request = self.request;
        let _uninterrupted = show(&TrainEvent::Work("fitting the heads, and measuring them"));
        let InitialHeads { mut heads, fits } =
            initial_heads(request, &self.stages[0], &self.table, &self.views)?;
        let mut before = untrained(request, &self.table.labels, &self.views);
        let frozen = self.stages[0].frozen_heads();
        for (drawn, head) in before.iter_mut().zip(&heads).filter(|(_, head)| frozen.contains(&head.task)) {
            drawn.clone_from(head);
        }
        let network = self.stages.iter().any(|plan| plan.scenario() == Scenario::Network);
        let Some(embedder) = embedder.filter(|_| network) else {
            let metrics = calibrated_metrics(request, &self.table, &self.views, &mut heads);
            return Ok(Outcome {
                heads,
                before,
                changed: ChangedTensors::new(),
                fits,
                stages: Vec::new(),
                metrics,
            });
        };
        let still = measure_part(request, &self.table, &self.views, &heads, Part::Test);
        let mut trained = self.train_stages(embedder, heads, show)?;
        for (&row, features) in trained.rows.iter().zip(trained.features.chunks_exact(self.table.rows.width))
        {
            let first = row * self.table.rows.width;
            self.table.rows.features[first..first + features.len()].copy_from_slice(features);
        }
        let mut metrics = calibrated_metrics(request, &self.table, &self.views, &mut trained.heads);
        metrics.drift = frozen
            .iter()
            .map(|task| {
                let drift = Drift { before: still[task].accuracy, after: metrics.tasks[task].accuracy };
                (task.clone(), drift)
            })
            .collect();
        let TrainedNetwork { heads, changed, stages, .. } = trained;
        Ok(Outcome { heads, before, changed, fits, stages, metrics })
    }

    fn train_stages(
        &self,
        embedder: &Embedder,
        heads: Vec<Head>,
        show: &mut Show<'_>,
    ) -> Result<TrainedNetwork> {
        let texts: Vec<&str> = self.table.rows.texts.iter().map(String::as_str).collect();
        let layers = embedder.backbone().manifest().layers().unwrap_or(0);
        let seen = SeenRows { rows: &self.table.rows, views: &self.views, layout: embedder.layout(), layers };
        let rows = self.stage_rows(&texts, seen);
        let place = (self.scratch(), self.recipe.inputs);
        let mut trainer = Trainer::new(embedder, &self.request.network, rows, heads, place)?;
        let (mut stages, mut last) = (Vec::new(), None);
        let mut done = 0;
        if let Some(earlier) = &self.earlier {
            (trainer.changed, trainer.heads) = (earlier.changed.clone(), earlier.heads.clone());
            stages.clone_from(&earlier.reports);
            done = earlier.stages;
        }
        for (number, plan) in self.stages.iter().enumerate().skip(done) {
            if let Some((cut, report)) = trainer.stage(number, plan, show)? {
                let interrupted = report.interrupted;
                stages.push(report);
                last = Some((cut, plan.cut().unwrap_or(Start::Ids)));
                if interrupted {
                    break;
                }
            }
        }
        let parts = &self.table.parts;
        let rows: Vec<usize> =
            (0..parts.len()).filter(|&row| matches!(parts[row], Some(Part::Test | Part::Valid))).collect();
        let features = match &last {
            Some((cut, start)) => trainer.features(cut, *start, &rows)?,
            None => Vec::new(),
        };
        Ok(TrainedNetwork { heads: trainer.heads, changed: trainer.changed, stages, rows, features })
    }

    fn stage_rows<'r>(&'r self, texts: &'r [&'r str], seen: SeenRows<'r>) -> Rows<'r> {
        let Table { rows, labels, parts, .. } = &self.table;
        let mut tasks = Vec::with_capacity(labels.len());
        let mut valid = Vec::with_capacity(labels.len());
        for (labels, cells) in labels.iter().zip(&rows.cells) {
            let train = task_rows(labels.names(), cells, parts, Part::Train);
            let mut of_row = vec![None; rows.rows()];
            train.rows.iter().zip(&train.labels).for_each(|(&row, label)| of_row[row] = Some(*label));
            let classes = labels.names().len();
            let class_weights = class_weights(&train.labels, classes, self.request.fit.class_weight);
            tasks.push(StageTask { classes, labels: of_row, class_weights });
            valid.push(task_rows(labels.names(), cells, parts, Part::Valid));
        }
        let train = (0..parts.len())
            .filter(|&row| {
                parts[row] == Some(Part::Train) && tasks.iter().any(|task| task.labels[row].is_some())
            })
            .collect();
        Rows { texts, keys: &rows.keys, seen, tasks, train, valid }
    }

    /// Checkpoints lie beside the run, under a hidden name, until it is written.
    fn scratch(&self) -> PathBuf {
        let name =
            self.request.output.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
        self.request.output.with_file_name(format!(".{name}.training"))
    }

    fn write(self, outcome: Outcome, backbone: Option<&Backbone>) -> Result<Trained> {
        let Outcome { heads, before, changed, fits, stages, metrics } = outcome;
        let table = &self.table;
        let placed = table.rows.keys.iter().zip(&table.parts);
        let seen = SplitRows::new(placed.filter_map(|(key, part)| part.map(|part| (*key, part))));
        let backbone = backbone.filter(|backbone| backbone.network().is_ok());
        let initial = backbone.map(|backbone| hashes(backbone, backbone.changed(), &before)).transpose()?;
        let mut proof = Vec::new();
        let (request, plans, mut recipe) = (self.request, &self.stages, self.recipe.clone());
        let interrupted = stages.iter().any(|stage| stage.interrupted);
        // A run that was interrupted makes way for the one that goes on from it.
        let same = Recipe::open(&request.output).is_ok_and(|there| there.inputs == recipe.inputs);
        replace_directory(&request.output, request.overwrite || same, |directory| {
            let put = |name: &str, bytes: &[u8]| {
                let path = directory.join(name);
                std::fs::write(&path, bytes).map_err(|source| Error::io("write", path, source))
            };
            heads::save(&directory.join(HEADS), &heads)?;
            if let (Some(training), Some(backbone)) = (&mut recipe.training, backbone) {
                training.heads = Fingerprint::of_file(directory.join(HEADS))?;
                training.interrupted = interrupted;
                if !changed.is_empty() {
                    let weights = backbone.network()?.weights;
                    let bytes = changed_bytes(&changed, &|name| weights.shape(name).map(<[usize]>::to_vec))?;
                    put(CHANGED, &bytes)?;
                    training.changed = Some(Fingerprint::of_bytes(&bytes));
                }
            }
            put(FIT, document::pretty(&fits).as_bytes())?;
            put(METRICS, document::pretty(&metrics).as_bytes())?;
            put(ROWS, &seen.to_bytes())?;
            put(RECIPE, recipe.to_toml()?.as_bytes())?;
            if !stages.is_empty() {
                put(TRAINING, document::pretty(&stages).as_bytes())?;
            }
            if let (Some(initial), Some(backbone)) = (&initial, backbone) {
                proof = prove_written(directory, backbone, initial, plans, &stages)?;
                put(PROOF, document::pretty(&proof).as_bytes())?;
            }
            Ok(())
        })?;
        if !interrupted {
            // Only now are the checkpoints of no use any more; should they stay, they are ignored.
            let _leftover = std::fs::remove_dir_all(self.scratch());
        }
        Ok(Trained::Written(Box::new(TrainSummary { metrics, fits, stages, proof })))
    }
}

/// What the stages came to.
struct TrainedNetwork {
    heads: Vec<Head>,
    changed: ChangedTensors,
    stages: Vec<StageReport>,
    /// Validation and test rows, and their features by the trained network.
    rows: Vec<usize>,
    features: Vec<f32>,
}

/// Opens what was just written as `predict` would, and compares every tensor.
fn prove_written(
    directory: &Path,
    backbone: &Backbone,
    before: &BTreeMap<String, Fingerprint>,
    plans: &[FreezePlan],
    stages: &[StageReport],
) -> Result<Vec<TensorProof>> {
    let run = Run::open(directory)?;
    let written = run.backbone(Some(backbone.directory()))?;
    let after = hashes(&written, written.changed(), &run.heads)?;
    let weights = backbone.network()?.weights;
    let mut trained = BTreeSet::new();
    let mut gradients: BTreeMap<String, f32> = BTreeMap::new();
    for plan in plans {
        trained.extend(plan.tensors(weights));
        trained.extend(plan.heads.iter().flat_map(|task| [head_weight(task), head_bias(task)]));
    }
    for (name, largest) in stages.iter().flat_map(|stage| &stage.largest_gradients) {
        let own = gradients.entry(name.clone()).or_default();
        *own = own.max(*largest);
    }
    prove(before, &after, &trained, &gradients)
}

/// What a row of each class counts: 1, or for `balanced` rows / (classes · rows of the class).
#[expect(clippy::cast_precision_loss, reason = "numbers of rows")]
fn class_weights(labels: &[u32], classes: usize, weight: ClassWeight) -> Vec<f32> {
    if weight == ClassWeight::None {
        return vec![1.0; classes];
    }
    let of = |class: usize| labels.iter().filter(|label| **label as usize == class).count().max(1);
    (0..classes).map(|class| labels.len() as f32 / (classes * of(class)) as f32).collect()
}
