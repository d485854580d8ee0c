//! Owns one backbone of a comparison: its features, then scenario by scenario, each written as an ordinary
//! run.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::curve::learning_curve;
use super::estimate::{Costs, Survey, to_f64};
use super::limit::Deadline;
use super::request::{CompareEvent, CompareRequest, Open, Show};
use super::scenario::Scenario;
use crate::backbone::Backbone;
use crate::classifier::Run;
use crate::classifier::run::{FIT, METRICS, Recipe, SCORES};
use crate::dataset::{Columns, Dataset};
use crate::embed::Embedder;
use crate::encoder::FeatureChoice;
use crate::error::{Error, Kind, Result};
use crate::heads::FitReport;
use crate::metrics::TaskMetrics;
use crate::plan::FreezePlan;
use crate::report::{BackboneReport, Done, Estimate, Outcome, ScenarioReport, StageCurve};
use crate::runtime::{peak_rss_bytes, reset_peak_rss};
use crate::train::{TrainEvent, TrainRequest, Trained, stage_reports, train};

/// A scenario that is to be run.
pub(super) struct Planned {
    pub scenario: Scenario,
    /// Its plans, or why it is impossible with this backbone.
    pub plans: std::result::Result<Vec<FreezePlan>, String>,
    pub estimate: Estimate,
    /// Its run is there, but is to be made anew: a time limit ended it early.
    pub replaces: bool,
}

/// A backbone with what is to be done.
pub(super) struct Job<'j> {
    pub request: &'j CompareRequest,
    pub backbone: Arc<Backbone>,
    /// The backbone's directory in the output.
    pub folder: PathBuf,
    pub planned: Vec<Planned>,
    pub found: BackboneReport,
    /// What estimates are multiplied with: what the last training took, against what was estimated.
    pub correction: f64,
    /// Why nothing can be run.
    pub refused: Option<String>,
    /// What it costs, once that was measured.
    pub costs: Option<Costs>,
}

impl<'j> Job<'j> {
    /// Opens a backbone; `found` is what an earlier call reported of it.
    ///
    /// # Errors
    /// The backbone is missing or damaged.
    pub fn new(request: &'j CompareRequest, backbone: Arc<Backbone>, found: BackboneReport) -> Result<Self> {
        let manifest = backbone.manifest();
        let weights = backbone.weights_path();
        // An imported graph carries its weights itself.
        let largest = || manifest.files.keys().map(|name| size(&backbone.directory().join(name))).max();
        let bytes = if weights.is_file() { size(&weights) } else { largest().unwrap_or(0) };
        let found = BackboneReport {
            name: manifest.name.clone(),
            fingerprint: backbone.fingerprint().to_string(),
            bytes,
            parameters: parameters(&backbone),
            layers: backbone.layers(),
            hidden: manifest.embedding_size(),
            ..found
        };
        let folder = request.train.output.path.join(&found.folder);
        let (planned, refused, costs) = (Vec::new(), None, None);
        Ok(Self { request, backbone, folder, planned, found, correction: 1.0, refused, costs })
    }

    /// Decides what is to be done: what was asked for and is not kept from an earlier call.
    ///
    /// # Errors
    /// A run that should be kept is damaged, or the backbone has no such depths.
    pub fn plan(&mut self) -> Result<()> {
        let CompareRequest { train, scenarios, depths, frozen_head, .. } = self.request;
        let (tasks, freeze) = (train.rows.tasks.names(), train.freezing.freeze());
        let mut chosen = scenarios.clone();
        if let Some(depths) = depths {
            chosen.extend(depths.of(&self.backbone)?.into_iter().map(Scenario::Depth));
        }
        chosen.extend(scenarios.iter().filter_map(|scenario| scenario.needs(frozen_head)));
        chosen.sort();
        chosen.dedup();
        let mut again = BTreeSet::new();
        for scenario in chosen {
            // What went on from a run that is made anew is made anew, too.
            let top = matches!(scenario, Scenario::Top(..));
            let follows = top && again.contains(&scenario.features());
            let depth = self.backbone.layers();
            let plans = match scenario.plans((&tasks, depth), freeze, train.layers.train) {
                // What the user froze is not there: nobody wants the rest without it.
                Err(error) if depth.is_some() && matches!(scenario, Scenario::FrozenHead(..)) => {
                    return Err(error);
                }
                _ if matches!(scenario, Scenario::Frozen) && self.backbone.reads_pairs() => {
                    Err("a label's description is one text, and pairs are read".to_owned())
                }
                plans => plans.map_err(|error| error.to_string()),
            };
            let impossible = plans.as_ref().err().map(|why| Outcome::Skipped(why.clone()));
            let entry = self.entry(&scenario);
            let known = impossible.is_some() && entry.map(|entry| &entry.outcome) == impossible.as_ref();
            if known || (!follows && self.kept(&scenario)?) {
                continue;
            }
            let replaces = self.entry(&scenario).is_some_and(|entry| entry.done().is_some());
            if replaces && top {
                again.insert(scenario.features());
            }
            self.planned.push(Planned { scenario, plans, estimate: Estimate::default(), replaces });
        }
        Ok(())
    }

    /// The backbone as far as a scenario runs it.
    ///
    /// # Errors
    /// It is not that deep.
    pub fn backbone_of(&self, scenario: &Scenario) -> Result<Arc<Backbone>> {
        match scenario {
            Scenario::Depth(depth) => Ok(Arc::new(Backbone::clone(&self.backbone).to_depth(*depth)?)),
            _ => Ok(Arc::clone(&self.backbone)),
        }
    }

    fn entry(&self, scenario: &Scenario) -> Option<&ScenarioReport> {
        let name = scenario.to_string();
        self.found.scenarios.iter().find(|entry| entry.scenario == name)
    }

    /// Whether a scenario was finished by an earlier call; its figures are then read again.
    fn kept(&mut self, scenario: &Scenario) -> Result<bool> {
        let (name, limit) = (scenario.to_string(), self.request.time_limit);
        let folder = self.folder.join(scenario.folder());
        let Some(entry) = self.found.scenarios.iter_mut().find(|entry| entry.scenario == name) else {
            return Ok(false);
        };
        let Outcome::Done(done) = &mut entry.outcome else { return Ok(false) };
        let longer = |earlier: f64| limit.is_none_or(|limit| limit.0.as_secs_f64() > earlier);
        if done.time_limit.is_some_and(longer) || !folder.exists() {
            return Ok(false);
        }
        let run = Run::open(&folder)?;
        done.metrics = run.json(METRICS)?;
        Ok(true)
    }

    /// Measures the backbone and estimates what is to be done.
    ///
    /// # Errors
    /// The network cannot be run, or states that depths need are not stored.
    pub fn estimate(&mut self, survey: &Survey, embedder: &Embedder) -> Result<()> {
        if self.planned.iter().any(|plan| matches!(plan.scenario, Scenario::Depth(_))) {
            embedder.columns(FeatureChoice::All)?;
        }
        let costs = Costs::measure(embedder, survey)?;
        self.found.texts_per_second = costs.texts_per_second;
        self.costs = Some(costs);
        for place in 0..self.planned.len() {
            let Planned { scenario, plans: Ok(plans), .. } = &self.planned[place] else { continue };
            let stages = self.request.stages_to_train(scenario, plans);
            let (request, backbone) = (self.request.of(scenario, &self.folder)?, self.backbone_of(scenario)?);
            let mut estimate = costs.estimate(&request, survey, &backbone, stages)?;
            if self.is_dialled(scenario) {
                let more = self.dial_estimate(scenario, survey)?;
                (estimate.seconds, estimate.bytes) =
                    (estimate.seconds + more.seconds, estimate.bytes + more.bytes);
            }
            self.planned[place].estimate = estimate;
        }
        Ok(())
    }

    /// Computes what is missing of the features, timed; `seconds` is the estimate.
    ///
    /// # Errors
    /// A table is malformed, or computing or storing fails.
    pub fn features(
        &mut self,
        seconds: f64,
        deadline: &Deadline,
        embedder: &mut Embedder,
        show: &mut Show<'_>,
    ) -> Result<()> {
        self.refused =
            self.refused.take().or_else(|| deadline.refuses(seconds).map(|why| format!("features: {why}")));
        if self.refused.is_some() {
            return Ok(());
        }
        let rows = &self.request.train.rows;
        let (before, start) = (embedder.work().texts, Instant::now());
        for input in rows.inputs() {
            let progress = &mut |progress: &_| show(&CompareEvent::Train(&TrainEvent::Rows(progress)));
            Dataset::read(input, Columns::default(), rows.strict, Some(embedder), progress)?;
        }
        let computed = embedder.work().texts - before;
        if computed > 0 {
            self.found.features_texts += computed;
            self.found.features_seconds += start.elapsed().as_secs_f64();
        }
        Ok(())
    }

    /// Runs one scenario, or says why not, and puts it into the report.
    ///
    /// # Errors
    /// Training fails, or the run cannot be written.
    pub fn scenario(
        &mut self,
        planned: &Planned,
        deadline: &Deadline,
        open: &mut Open<'_>,
        show: &mut Show<'_>,
    ) -> Result<()> {
        let Planned { scenario, plans, estimate, .. } = planned;
        let training = plans.as_ref().is_ok_and(|plans| plans.iter().any(|plan| plan.cut().is_some()));
        let expected = estimate.seconds * if training { self.correction } else { 1.0 };
        let plan = plans.as_ref().map(|plans| plans.last());
        let frozen = plan
            .as_ref()
            .map_or_else(|_| String::new(), |plan| plan.map_or_else(String::new, ToString::to_string));
        let refused = self.refused.clone().or_else(|| deadline.refuses(expected));
        let outcome = match (plans.as_ref().err().cloned().or(refused), self.entry(scenario)) {
            // Better the best so far of an earlier call than nothing.
            (Some(_), Some(there)) if there.done().is_some() => return Ok(()),
            (Some(why), _) => Outcome::Skipped(why),
            (None, _) => {
                show(&CompareEvent::Begins { backbone: &self.found.name, scenario, frozen: &frozen });
                match self.run(planned, deadline, open, show) {
                    // Only the rows say what `auto` chooses, and with that whether the trained layers are
                    // seen.
                    Err(error) if error.kind() == Kind::Training => Outcome::Skipped(error.to_string()),
                    done => Outcome::Done(Box::new(done?)),
                }
            }
        };
        if let (true, Outcome::Done(done)) = (training, &outcome) {
            let took = done.seconds.filter(|_| done.time_limit.is_none() && estimate.seconds > 0.0);
            self.correction = took.map_or(self.correction, |took| (took / estimate.seconds).clamp(0.2, 5.0));
        }
        let (trained_parameters, all_parameters) = self.parameters(scenario, plans, &outcome)?;
        let (scenario, estimate) = (scenario.to_string(), *estimate);
        let entry =
            ScenarioReport { scenario, frozen, trained_parameters, all_parameters, estimate, outcome };
        show(&CompareEvent::Ended { backbone: &self.found.name, scenario: &entry });
        self.put(entry);
        Ok(())
    }

    /// Puts a scenario into the report, in its place.
    fn put(&mut self, entry: ScenarioReport) {
        let scenarios = &mut self.found.scenarios;
        scenarios.retain(|other| other.scenario != entry.scenario);
        scenarios.push(entry);
        let tasks = self.request.train.rows.tasks.names();
        scenarios.sort_by_key(|other| Scenario::named(&other.scenario, &tasks));
    }

    fn run(
        &mut self,
        planned: &Planned,
        deadline: &Deadline,
        open: &mut Open<'_>,
        show: &mut Show<'_>,
    ) -> Result<Done> {
        let scenario = &planned.scenario;
        let mut request = self.request.of(scenario, &self.folder)?;
        request.freezing.earlier = self.earlier(scenario);
        request.output.overwrite = planned.replaces && request.output.path.exists();
        if request.output.overwrite {
            self.forget_above(scenario)?;
        }
        let mut embedder = open(&self.backbone_of(scenario)?, scenario.reads_windows())?;
        let memory = reset_peak_rss().is_ok();
        let (start, mut ended) = (Instant::now(), false);
        let trained = train(&request, Some(&mut embedder), &mut |event| {
            show(&CompareEvent::Train(event));
            ended |= deadline.passed() && matches!(event, TrainEvent::Progress(_));
            if ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let written = matches!(trained, Trained::Written(_));
        let mut done = self.read(&request)?;
        done.seconds = written.then(|| start.elapsed().as_secs_f64());
        done.peak_memory = (written && memory).then(peak_rss_bytes);
        let epochs = request.layers.epochs;
        // Epoch 0 is the state before training.
        let early = done.stages.last().is_some_and(|stage| stage.epochs.len() as u64 <= epochs);
        done.time_limit =
            self.request.time_limit.filter(|_| ended && early).map(|limit| limit.0.as_secs_f64());
        Ok(done)
    }

    /// Removes what went on from a run that is made anew: its recipe would say that it is up to date.
    fn forget_above(&mut self, scenario: &Scenario) -> Result<()> {
        let Scenario::Top(layers, features) = scenario else { return Ok(()) };
        let above =
            (*layers + 1..=self.found.layers.unwrap_or(0)).map(|depth| Scenario::Top(depth, *features));
        let above: Vec<(String, PathBuf)> =
            above.map(|higher| (higher.to_string(), self.folder.join(higher.folder()))).collect();
        for (name, folder) in above {
            self.found.scenarios.retain(|entry| entry.scenario != name);
            if folder.exists() {
                std::fs::remove_dir_all(&folder).map_err(|source| Error::io("remove", &folder, source))?;
            }
        }
        Ok(())
    }

    /// The finished run that gradual unfreezing goes on from: that with the most layers below its own.
    fn earlier(&self, scenario: &Scenario) -> Option<PathBuf> {
        let Scenario::Top(layers, features) = scenario else { return None };
        (1..*layers).rev().map(|lower| Scenario::Top(lower, *features)).find_map(|lower| {
            let done = self.entry(&lower)?.done();
            done.filter(|done| done.time_limit.is_none()).map(|_| self.folder.join(lower.folder()))
        })
    }

    /// What a written run says.
    fn read(&self, request: &TrainRequest) -> Result<Done> {
        let directory = &request.output.path;
        let written = Run::open(directory)?;
        let stages = stage_reports(&written)?;
        let fits: Vec<FitReport> = written.json(FIT)?;
        // A stage that went on from a checkpoint did its first epochs in an earlier call.
        let trained = stages
            .iter()
            .map(|stage| stage.training_seconds.max(total(stage.epochs.iter().map(|epoch| epoch.seconds))));
        // Fits run side by side as far as there are threads for them.
        let at_once = to_f64(request.learning.fit.threads.clamp(1, fits.len().max(1)) as u64);
        let run = directory.strip_prefix(&self.request.train.output.path).unwrap_or(directory);
        Ok(Done {
            run: run.display().to_string(),
            time_limit: None,
            states_seconds: total(stages.iter().map(|stage| stage.states_seconds)),
            training_seconds: total(trained.chain(fits.iter().map(|fit| fit.seconds / at_once))),
            seconds: None,
            peak_memory: None,
            run_bytes: directory_size(directory)?,
            states_bytes: stages.last().and_then(|stage| stage.states_bytes),
            metrics: written.json(METRICS)?,
            scores: scores(directory)?,
            stages: stages
                .into_iter()
                .map(|stage| StageCurve {
                    frozen: stage.frozen,
                    epochs: stage.epochs,
                    best: stage.best,
                    stopped: stage.stopped,
                })
                .collect(),
        })
    }

    /// Trained parameters, and all there are.
    fn parameters(
        &self,
        scenario: &Scenario,
        plans: &std::result::Result<Vec<FreezePlan>, String>,
        outcome: &Outcome,
    ) -> Result<(u64, Option<u64>)> {
        let Outcome::Done(done) = outcome else { return Ok((0, None)) };
        let seen = Recipe::open(&self.request.train.output.path.join(&done.run))?.features.tasks;
        let head = |(task, metrics): (&String, &TaskMetrics)| {
            let width = seen.get(task).map_or(self.found.hidden, |view| view.width);
            (metrics.labels.len() * (width + 1)) as u64
        };
        let heads: u64 = done.metrics.tasks.iter().map(head).sum();
        let backbone = self.backbone_of(scenario)?;
        let all = parameters(&backbone).map(|count| count + heads);
        let Some(plan) = plans.as_ref().ok().and_then(|plans| plans.last()) else { return Ok((0, all)) };
        let mut trained =
            done.metrics.tasks.iter().filter(|(task, _)| plan.heads.contains(*task)).map(head).sum();
        if plan.cut().is_some() {
            let weights = self.backbone.network()?.weights;
            trained += weights.parameters(plan.tensors(weights));
        }
        Ok((trained, all))
    }

    /// The learning curve of scenario 2, when it was asked for and is not there yet.
    ///
    /// # Errors
    /// The rows cannot be read, or a fit fails.
    pub fn curve(&mut self, open: &mut Open<'_>) -> Result<bool> {
        let shares = &self.request.learning_curve;
        let there = self.found.learning_curve.iter().map(|point| point.share);
        let run = self.folder.join(Scenario::Heads.folder());
        if shares.is_empty() || there.eq(shares.iter().map(|share| share.value())) || !run.exists() {
            return Ok(false);
        }
        let mut embedder = open(&self.backbone, false)?;
        self.found.learning_curve = learning_curve(
            shares,
            (&self.request.train.rows, &self.request.train.learning),
            &Run::open(&run)?,
            &mut embedder,
        )?;
        Ok(true)
    }
}

/// Parameters of a backbone; none when it cannot be looked into.
fn parameters(backbone: &Backbone) -> Option<u64> {
    let weights = backbone.network().ok()?.weights;
    Some(weights.parameters(weights.names()))
}

/// A sum that is 0 for nothing (the standard library's is −0).
fn total(seconds: impl Iterator<Item = f64>) -> f64 {
    seconds.fold(0.0, |sum, term| sum + term)
}

/// What each validation row adds to the score of its task; nothing of a run of before this was kept.
pub(super) fn scores(run: &Path) -> Result<BTreeMap<String, Vec<f64>>> {
    if run.join(SCORES).exists() { Run::open(run)?.json(SCORES) } else { Ok(BTreeMap::new()) }
}

pub(super) fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// Bytes of the files in a directory.
fn directory_size(directory: &Path) -> Result<u64> {
    let files = std::fs::read_dir(directory).map_err(|source| Error::io("read", directory, source))?;
    Ok(files.flatten().map(|file| size(&file.path())).sum())
}
