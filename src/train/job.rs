//! Owns one training from rows to the written run: heads, stages, measurements, proof.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::described::described_heads;
use super::earlier::Earlier;
use super::event::{Show, TrainEvent};
use super::fits::{GivenHeads, InitialHeads, fit_once_more, initial_heads, out_of_fold, untrained};
use super::measured::{Features, TrainedRows, calibrated_metrics, measure_part, metrics, scores};
use super::network::{Trainer, Training};
use super::outcome::{Described, Drift, RunMetrics, StageReport, TensorProof, TrainSummary, Trained};
use super::proof::{hashes, prove};
use super::request::TrainRequest;
use super::rows::Table;
use crate::backbone::Backbone;
use crate::classifier::run::{
    CHANGED, DEPTHS, FIT, HEADS, METRICS, PROOF, RECIPE, ROWS, Recipe, Run, SCORES, SplitRows, TRAINING,
    changed_bytes,
};
use crate::classifier::run_files::NewFiles;
use crate::data::Part;
use crate::document;
use crate::embed::Embedder;
use crate::encoder::{ChangedTensors, Start, head_bias, head_weight};
use crate::error::Result;
use crate::files::replace_directory;
use crate::fingerprint::Fingerprint;
use crate::heads::{self, FitReport, Head};
use crate::metrics::{TaskMetrics, difference};
use crate::plan::{FreezePlan, Scenario};
use crate::selection::DepthFigures;

/// A request with its plans and rows.
pub(super) struct Job<'j> {
    pub request: &'j TrainRequest,
    pub stages: Vec<FreezePlan>,
    /// What stands for the first stages, when they are trained already.
    pub earlier: Option<Earlier>,
    /// Heads that are there already.
    pub given: GivenHeads,
    pub table: Table,
    pub recipe: Recipe,
    /// As much of the backbone as is run.
    pub backbone: Option<Arc<Backbone>>,
    /// What each depth costs, where one was chosen.
    pub depths: Vec<DepthFigures>,
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
    /// What every labelled validation row adds to the score of its task.
    scores: BTreeMap<String, Vec<f64>>,
}

impl Job<'_> {
    /// Trains, measures and writes the run.
    ///
    /// # Errors
    /// Fitting, training, measuring or writing fails.
    pub fn run(self, mut embedder: Option<&mut Embedder>, show: &mut Show<'_>) -> Result<Trained> {
        let backbone = self.backbone.clone();
        let frozen = self.stages.last().is_some_and(|plan| plan.scenario() == Scenario::Frozen);
        let mut outcome = if frozen {
            self.baseline(embedder)?
        } else {
            let described = self.described(embedder.as_deref_mut())?;
            let mut outcome = self.train(embedder.as_deref(), show)?;
            outcome.metrics.described = described;
            outcome
        };
        if outcome.changed.is_empty() {
            // A run says of its backbone all that differs from the imported one, also what an earlier run
            // changed.
            outcome.changed = backbone.as_deref().and_then(Backbone::changed).cloned().unwrap_or_default();
        }
        self.write(outcome, backbone.as_deref())
    }

    /// The rows' features as they are stored: those of the frozen network.
    fn stored(&self) -> Features<'_> {
        Features { stored: &self.table.rows, trained: None }
    }

    /// Scenario 1: nothing is trained. The heads are the labels' descriptions; seeded ones are measured
    /// beside them.
    fn baseline(&self, embedder: Option<&mut Embedder>) -> Result<Outcome> {
        let table = &self.table;
        let label_text = self.request.freezing.label_text.as_ref();
        let heads = described_heads(label_text, (&table.tasks, &table.parts), embedder)?;
        let mut metrics = metrics(table, self.stored(), &heads);
        metrics.untrained = measure_part(table, self.stored(), &untrained(table), Part::Test);
        Ok(Outcome {
            scores: scores(table, self.stored(), &heads, Part::Valid),
            before: heads.clone(),
            heads,
            changed: ChangedTensors::new(),
            fits: Vec::new(),
            stages: Vec::new(),
            metrics,
        })
    }

    /// What the labels' names alone come to, where they can be embedded: beside it trained heads are seen.
    fn described(&self, embedder: Option<&mut Embedder>) -> Result<BTreeMap<String, Described>> {
        let table = &self.table;
        let embedder = embedder.filter(|embedder| !embedder.backbone().reads_pairs());
        // Words alone have no embedding.
        let seen = table.tasks.iter().all(|task| !task.sees.columns.is_empty());
        let Some(embedder) = embedder.filter(|_| seen && table.rows.layout.is_some()) else {
            return Ok(BTreeMap::new());
        };
        let heads = described_heads(None, (&table.tasks, &table.parts), Some(embedder))?;
        let of_task = |(task, found): (String, TaskMetrics)| {
            let described = Described { score: found.score(), standard_error: found.score_error() };
            found.number.is_none().then_some((task, described))
        };
        let measured = measure_part(table, self.stored(), &heads, Part::Test);
        Ok(measured.into_iter().filter_map(of_task).collect())
    }

    /// Scenarios 2 and 3, and gradual unfreezing.
    fn train(&self, embedder: Option<&Embedder>, show: &mut Show<'_>) -> Result<Outcome> {
        let _uninterrupted = show(&TrainEvent::Work("fitting the heads, and measuring them"));
        let (table, plan) = (&self.table, &self.stages[0]);
        let InitialHeads { mut heads, fits } = initial_heads(self.request, plan, table, &self.given)?;
        let frozen = plan.frozen_heads();
        let mut before = untrained(table);
        before.retain(|head| !frozen.contains(&head.task));
        before.extend(heads.iter().filter(|head| frozen.contains(&head.task)).cloned());
        let network = self.stages.iter().any(|plan| plan.scenario() == Scenario::Network);
        let Some(embedder) = embedder.filter(|_| network) else {
            let held_out = out_of_fold(&self.request.learning, table, &fits)?;
            let promise = self.request.learning.fit.promise;
            let mut metrics = calibrated_metrics(table, self.stored(), &mut heads, (&held_out, promise));
            let scores = scores(table, self.stored(), &heads, Part::Valid);
            if self.request.learning.fit.final_fit {
                metrics.final_rows =
                    fit_once_more(&self.request.learning, table, (&fits, &frozen), &mut heads)?;
            }
            let (changed, stages) = (ChangedTensors::new(), Vec::new());
            return Ok(Outcome { heads, before, changed, fits, stages, metrics, scores });
        };
        let still = measure_part(table, self.stored(), &heads, Part::Test);
        let still_right = scores(table, self.stored(), &heads, Part::Test);
        let TrainedNetwork { mut heads, changed, stages, rows } = self.train_stages(embedder, heads, show)?;
        let trained = Features { stored: &table.rows, trained: rows.as_ref() };
        // What training layers gives is not made once more without some rows: these heads have no others.
        let promise = self.request.learning.fit.promise;
        let mut metrics = calibrated_metrics(table, trained, &mut heads, (&BTreeMap::new(), promise));
        let now_right = scores(table, trained, &heads, Part::Test);
        let drift = |task: &String| {
            let standard_error = difference(&still_right[task], &now_right[task]);
            let drift = Drift {
                before: still[task].score(),
                after: metrics.tasks[task].score(),
                standard_error: standard_error.map(|found| found.standard_error),
            };
            (task.clone(), drift)
        };
        metrics.drift = frozen.iter().map(drift).collect();
        let scores = scores(table, trained, &heads, Part::Valid);
        Ok(Outcome { heads, before, changed, fits, stages, metrics, scores })
    }

    fn train_stages(
        &self,
        embedder: &Embedder,
        heads: Vec<Head>,
        show: &mut Show<'_>,
    ) -> Result<TrainedNetwork> {
        let scratch = self.request.output.checkpoints();
        let training = Training {
            options: &self.request.layers,
            fit: &self.request.learning.fit,
            scratch: &scratch,
            inputs: self.recipe.inputs,
        };
        let mut trainer = Trainer::new(embedder, training, &self.table, heads)?;
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
        let held = |row: &usize| matches!(parts[*row], Some(Part::Test | Part::Valid));
        let rows = (0..parts.len()).filter(held).collect();
        let rows = last.map(|(cut, start)| trainer.features(&cut, start, rows)).transpose()?;
        Ok(TrainedNetwork { heads: trainer.heads, changed: trainer.changed, stages, rows })
    }

    fn write(self, outcome: Outcome, backbone: Option<&Backbone>) -> Result<Trained> {
        let Outcome { heads, before, changed, fits, stages, metrics, scores } = outcome;
        let table = &self.table;
        let placed = table.rows.keys.iter().zip(&table.parts);
        let now = |part: Part| if metrics.final_rows.is_empty() { part } else { Part::Train };
        let seen = SplitRows::new(placed.filter_map(|(key, part)| part.map(|part| (*key, now(part)))));
        let backbone = backbone.filter(|backbone| backbone.network().is_ok());
        let initial = backbone.map(|backbone| hashes(backbone, backbone.changed(), &before)).transpose()?;
        let mut proof = Vec::new();
        let (output, plans, mut recipe) = (&self.request.output, &self.stages, self.recipe.clone());
        let interrupted = stages.iter().any(|stage| stage.interrupted);
        // A run that was interrupted makes way for the one that goes on from it.
        let same = Recipe::open(&output.path).is_ok_and(|there| there.inputs == recipe.inputs);
        replace_directory(&output.path, output.overwrite || same, |directory| {
            let mut files = NewFiles::new(directory);
            let written = files.put(HEADS, &heads::to_bytes(&heads))?;
            if let (Some(training), Some(backbone)) = (&mut recipe.training, backbone) {
                training.heads = written;
                training.interrupted = interrupted;
                if !changed.is_empty() {
                    let weights = backbone.network()?.weights;
                    let bytes = changed_bytes(&changed, &|name| weights.shape(name).map(<[usize]>::to_vec))?;
                    training.changed = Some(files.put(CHANGED, &bytes)?);
                }
            }
            files.put(FIT, document::pretty(&fits).as_bytes())?;
            files.put(METRICS, document::pretty(&metrics).as_bytes())?;
            files.put(SCORES, document::line(&scores).as_bytes())?;
            files.put(ROWS, &seen.to_bytes())?;
            files.put(RECIPE, recipe.to_toml()?.as_bytes())?;
            if !self.depths.is_empty() {
                files.put(DEPTHS, document::pretty(&self.depths).as_bytes())?;
            }
            if !stages.is_empty() {
                files.put(TRAINING, document::pretty(&stages).as_bytes())?;
            }
            files.seal()?;
            if let (Some(initial), Some(backbone)) = (&initial, backbone) {
                proof = prove_written(directory, backbone, initial, plans, &stages)?;
                files.put(PROOF, document::pretty(&proof).as_bytes())?;
                files.seal()?;
            }
            Ok(())
        })?;
        if !interrupted {
            // Only now are the checkpoints of no use any more.
            self.request.output.forget_checkpoints();
        }
        Ok(Trained::Written(Box::new(TrainSummary { metrics, fits, stages, proof })))
    }
}

/// What the stages came to.
struct TrainedNetwork {
    heads: Vec<Head>,
    changed: ChangedTensors,
    stages: Vec<StageReport>,
    /// Validation and test rows as the trained network gives them; none when no stage trained a layer.
    rows: Option<TrainedRows>,
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
        let known = gradients.entry(name.clone()).or_default();
        *known = known.max(*largest);
    }
    prove(before, &after, &trained, &gradients)
}
