//! Owns the dial of a backbone: its depths' runs, and that of the usual recipe, as bundles, judged on rows held
//! out, and timed.
//!
//! Refuses to time anything but the written bundles, and to judge depths by test rows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::estimate::{Survey, to_f64};
use super::job::{Job, size};
use super::limit::Deadline;
use super::request::{CompareEvent, Open, Show};
use super::scenario::Scenario;
use super::timing::speeds;
use crate::classifier::run::{FIT, METRICS};
use crate::classifier::{BundleOptions, Run, bundle_run};
use crate::data::{Classes, Part, Rare};
use crate::dataset::{Columns, Dataset};
use crate::embed::Embedder;
use crate::error::{Error, Kind, Result};
use crate::heads::{Alpha, FitOptions, FitReport, Head};
use crate::metrics::TaskMetrics;
use crate::precision::{PrecisionChoice, PrecisionRequest, RunRows, choose};
use crate::quantize::Precision;
use crate::report::{BackboneReport, DialPoint, DialTask, Estimate, HeldOutFigures, depth_of};
use crate::selection::{HeldOut, Judging};
use crate::task::Truth;
use crate::train::{RowsRequest, RunMetrics, TrainEvent};

/// What `auto` may cost a task, in points: as `bundle` asks where nobody says.
const MAX_DROP: f64 = 0.3;
/// Networks that `auto` builds and runs.
const TRIED: f64 = 4.0;

/// Keeps what was found so far.
type Keep<'k> = dyn FnMut(&BackboneReport) -> Result<()> + 'k;

impl Job<'_> {
    /// Whether anything is to be done.
    pub fn has_work(&self) -> bool {
        !self.planned.is_empty() || self.lacks()
    }

    /// Whether a scenario's run belongs to the dial.
    pub fn is_dialled(&self, scenario: &Scenario) -> bool {
        self.request.depths.is_some() && matches!(scenario, Scenario::Depth(_) | Scenario::Heads)
    }

    /// What there is to do, with what it may take.
    pub fn estimates(&self, survey: &Survey) -> Result<Vec<(Scenario, Estimate)>> {
        let planned = self.planned.iter().map(|plan| Ok((plan.scenario.clone(), plan.estimate)));
        let unplanned = |scenario: &Scenario| self.planned.iter().all(|plan| plan.scenario != *scenario);
        let bundled = self.unbundled().into_iter().filter(unplanned);
        planned
            .chain(bundled.map(|scenario| self.dial_estimate(&scenario, survey).map(|cost| (scenario, cost))))
            .collect()
    }

    /// What the bundle of a run may take, with judging it.
    pub fn dial_estimate(&self, scenario: &Scenario, survey: &Survey) -> Result<Estimate> {
        let Some(costs) = self.costs else { return Ok(Estimate::default()) };
        let backbone = self.backbone_of(scenario)?;
        let layers = |count: Option<usize>| to_f64(count.unwrap_or(1).max(1) as u64);
        let share = layers(backbone.layers()) / layers(self.backbone.layers());
        let (passes, parts) = match self.request.precision {
            PrecisionChoice::Fixed(Precision::Fp32) => (0.0, 1),
            PrecisionChoice::Fixed(_) => (1.0, 4),
            PrecisionChoice::Auto => (TRIED, 4),
        };
        let parameters =
            backbone.network().map_or(0, |network| network.weights.parameters(network.weights.names()));
        let weights = 4 * parameters / parts;
        Ok(costs.bundle(survey, &self.request.train.rows, &backbone, (share, passes, weights)))
    }

    /// The runs of the dial that are there, the depths from shallow to deep.
    fn dialled(&self) -> Vec<Scenario> {
        let tasks = self.request.train.rows.tasks.names();
        let done = self.found.scenarios.iter().filter(|entry| entry.done().is_some());
        let named = done.filter_map(|entry| Scenario::named(&entry.scenario, &tasks));
        let mut dialled: Vec<Scenario> = named.filter(|scenario| self.is_dialled(scenario)).collect();
        // The usual recipe last.
        dialled.sort_by_key(|scenario| (*scenario == Scenario::Heads, scenario.clone()));
        dialled
    }

    /// Those without a bundle.
    fn unbundled(&self) -> Vec<Scenario> {
        let there = |scenario: &Scenario| {
            let name = scenario.to_string();
            let point = self.found.dial.iter().find(|point| point.scenario == name);
            point.is_some_and(|point| size(&self.output().join(&point.bundle)) == point.bytes)
        };
        self.dialled().into_iter().filter(|scenario| !there(scenario)).collect()
    }

    fn lacks(&self) -> bool {
        let whole = self.found.dial.iter().all(DialPoint::is_whole);
        self.request.depths.is_some() && (!whole || !self.unbundled().is_empty())
    }

    fn output(&self) -> &PathBuf {
        &self.request.train.output.path
    }

    /// Does what is missing of the dial, and keeps it step by step.
    ///
    /// # Errors
    /// A run or the backbone is missing or damaged, or building, running, fitting or writing fails.
    pub fn dial(
        &mut self,
        survey: &Survey,
        deadline: &Deadline,
        open: &mut Open<'_>,
        show: &mut Show<'_>,
        keep: &mut Keep<'_>,
    ) -> Result<()> {
        for scenario in self.unbundled() {
            let name = scenario.to_string();
            let seconds = self.dial_estimate(&scenario, survey)?.seconds;
            let point = match deadline.refuses(seconds) {
                Some(why) => Err(why),
                None => self.bundle(&scenario, open, show)?,
            };
            match point {
                Ok(point) => {
                    show(&CompareEvent::Bundled { backbone: &self.found.name, point: &point });
                    self.put_point(point);
                    keep(&self.found)?;
                }
                Err(why) => {
                    let what = format!("the bundle of {name}");
                    show(&CompareEvent::LeftOut { backbone: &self.found.name, what: &what, why: &why });
                }
            }
        }
        if !self.lacks() || self.found.depths().next().is_none() {
            return Ok(());
        }
        if deadline.passed() {
            let (what, why) = ("judging and timing the depths", "nothing is left of --time-limit");
            show(&CompareEvent::LeftOut { backbone: &self.found.name, what, why });
            return Ok(());
        }
        self.judge(open, show)?;
        keep(&self.found)?;
        self.time(survey, open, show)?;
        keep(&self.found)
    }

    /// Puts a point into the dial, in its place. What was measured against others is measured again.
    fn put_point(&mut self, point: DialPoint) {
        let dial = &mut self.found.dial;
        dial.retain(|other| other.scenario != point.scenario);
        dial.push(point);
        dial.sort_by_key(|point| (point.is_usual(), point.depth));
        for point in dial {
            point.speed = None;
            point.tasks.values_mut().for_each(|task| task.held_out = None);
        }
    }

    /// Writes the bundle of a run; or says why there is none.
    fn bundle(
        &self,
        scenario: &Scenario,
        open: &mut Open<'_>,
        show: &mut Show<'_>,
    ) -> Result<std::result::Result<DialPoint, String>> {
        let run = Run::open(&self.folder.join(scenario.folder()))?;
        let elsewhere = Some(self.backbone.directory().to_path_buf());
        let deployed = Arc::new(run.deployed_backbone(elsewhere.as_deref(), false)?);
        let mut embedder = open(&deployed, scenario.reads_windows())?;
        let out = self.folder.join(format!("{}.frost", scenario.folder()));
        let mut options = BundleOptions { backbone: elsewhere, ..BundleOptions::default() };
        let mut point = DialPoint {
            scenario: scenario.to_string(),
            depth: self.backbone_of(scenario)?.layers().unwrap_or(0),
            shipped: deployed.layers(),
            bundle: out.strip_prefix(self.output()).unwrap_or(&out).display().to_string(),
            bytes: 0,
            precision: Precision::Fp32.to_string(),
            tasks: exact_tasks(&run)?,
            speed: None,
        };
        // Its weights lie in a folder that must stay until the bundle is written.
        let mut chosen = None;
        if self.request.precision != PrecisionChoice::Fixed(Precision::Fp32) {
            let rows = RunRows::read(&run, &mut embedder, &mut |_| ())?;
            let request = PrecisionRequest {
                run: &run,
                backbone: &deployed,
                runtime: embedder.runtime(),
                rows: &rows,
                choice: self.request.precision,
                max_drop: if self.request.precision == PrecisionChoice::Auto {
                    MAX_DROP
                } else {
                    f64::INFINITY
                },
                threads: self.request.train.learning.fit.threads,
            };
            let (report, found) =
                choose(&request, &mut |what| working(show, &format!("{scenario}: {what}")))?;
            let named =
                report.variants.into_iter().find(|variant| report.chosen.as_ref() == Some(&variant.name));
            let Some((variant, found)) = named.zip(found) else {
                return Ok(Err(
                    "no precision passes where nothing can be measured: say --precision fp32".to_owned()
                ));
            };
            for (task, cost) in variant.tasks {
                if let Some(told) = point.tasks.get_mut(&task) {
                    (told.lost, told.test_accuracy) = (cost.loss.accuracy_drop, cost.test_accuracy);
                }
            }
            point.precision = variant.name;
            options.variant = Some(found.variant.clone());
            chosen = Some(found);
        }
        bundle_run(&run.directory, &out, &options, embedder.runtime())?;
        drop(chosen);
        point.bytes = size(&out);
        Ok(Ok(point))
    }

    /// Judges all points on rows held out, against the full depth.
    fn judge(&mut self, open: &mut Open<'_>, show: &mut Show<'_>) -> Result<()> {
        let mut runs = self.runs()?;
        // The full depth first: the others are compared with it.
        let full = runs.iter().rposition(|run| run.depth.is_some()).unwrap_or(0);
        runs[..=full].rotate_right(1);
        let request = &self.request.train.rows;
        // The usual recipe reads the start of a long text, the depths may read it in windows.
        let mut read: [Option<(Embedder, Rows)>; 2] = [None, None];
        for run in &runs {
            let place = usize::from(run.depth.is_none());
            if read[place].is_none() {
                let mut embedder = open(&self.backbone, run.depth.is_some())?;
                let rows = Rows::read(request, &run.run, &mut embedder)?;
                read[place] = Some((embedder, rows));
            }
        }
        for task in 0..runs[0].run.heads.len() {
            let figures = self.judge_task(&runs, task, &mut read, show)?;
            for (run, figures) in runs.iter().zip(figures) {
                let point = self.found.dial.iter_mut().find(|point| point.scenario == run.name);
                let told = point.and_then(|point| point.tasks.get_mut(&runs[0].run.heads[task].task));
                told.into_iter().for_each(|told| told.held_out = Some(figures.clone()));
            }
        }
        Ok(())
    }

    /// A task's figures for all runs, of which the first is the full depth.
    fn judge_task(
        &self,
        runs: &[Dialled],
        task: usize,
        read: &mut [Option<(Embedder, Rows)>; 2],
        show: &mut Show<'_>,
    ) -> Result<Vec<HeldOutFigures>> {
        let head = &runs[0].run.heads[task];
        let known = read[0].as_ref().map(|(_, rows)| rows.known(task, head)).unwrap_or_default();
        let (mut figures, mut first) = (Vec::with_capacity(runs.len()), None);
        for run in runs {
            working(show, &format!("{}: {} is judged on rows held out", head.task, run.name));
            let Some((embedder, rows)) = &mut read[usize::from(run.depth.is_none())] else { continue };
            let choice = run.run.choice(&head.task).unwrap_or_default();
            let columns = embedder.columns_at(choice, run.depth)?;
            rows.all.load(embedder, columns.clone())?;
            let (features, fit) = (rows.all.view(&columns), run.fit(&head.task, self)?);
            if let Some((judging, before)) = &first {
                let held = Judging::fitted(judging, features, &fit)?;
                figures.push(told(&held, before));
            } else {
                let judging = Judging::by_folds(head.answers(), &known, features, fit.seed);
                let held = judging.fitted(features, &fit)?;
                figures.push(told(&held, &held));
                first = Some((judging, held));
            }
        }
        Ok(figures)
    }

    /// The runs of the points.
    fn runs(&self) -> Result<Vec<Dialled>> {
        let run = |point: &DialPoint| {
            let depth = depth_of(&point.scenario);
            let folder = depth.map_or(Scenario::Heads, Scenario::Depth).folder();
            let run = Run::open(&self.folder.join(folder))?;
            Ok(Dialled { name: point.scenario.clone(), depth, fits: run.json(FIT)?, run })
        };
        self.found.dial.iter().map(run).collect()
    }

    /// Times all bundles in turns.
    fn time(&mut self, survey: &Survey, open: &mut Open<'_>, show: &mut Show<'_>) -> Result<()> {
        working(show, "all bundles are timed in turns");
        let embedder = open(&self.backbone, true)?;
        let bundles: Vec<PathBuf> =
            self.found.dial.iter().map(|point| self.output().join(&point.bundle)).collect();
        let found = speeds(&bundles, &survey.texts(), &embedder)?;
        for (point, speed) in self.found.dial.iter_mut().zip(found) {
            point.speed = Some(speed);
        }
        Ok(())
    }
}

/// A run of the dial.
struct Dialled {
    name: String,
    /// None: the usual recipe.
    depth: Option<usize>,
    run: Run,
    fits: Vec<FitReport>,
}

impl Dialled {
    /// How its head was fitted.
    fn fit(&self, task: &str, job: &Job<'_>) -> Result<FitOptions> {
        let fit = self.fits.iter().find(|fit| fit.task == task).ok_or_else(|| {
            Error::new(Kind::Run, "a run does not say how its head was fitted")
                .at(&self.run.directory)
                .task(task)
        })?;
        Ok(FitOptions {
            alpha: Alpha::Fixed(fit.alpha),
            seed: self.run.recipe.seed,
            threads: job.request.train.learning.fit.threads,
            ..self.run.recipe.heads.clone()
        })
    }
}

/// The rows of all tables.
struct Rows {
    all: Dataset,
    parts: Vec<Option<Part>>,
}

impl Rows {
    /// Reads them; `run` says which part each is.
    fn read(request: &RowsRequest, run: &Run, embedder: &mut Embedder) -> Result<Self> {
        let names = request.tasks.names();
        let columns = Columns { kept: &names, texts: false };
        let mut all: Option<Dataset> = None;
        for input in request.inputs() {
            let mut read = Dataset::read(input, columns, request.strict, Some(embedder), &mut |_| ())?;
            match &mut all {
                Some(all) => {
                    all.keys.append(&mut read.keys);
                    all.cells.iter_mut().zip(&mut read.cells).for_each(|(all, more)| all.append(more));
                }
                None => {
                    if request.rare == Rare::Drop {
                        let keys = &read.keys;
                        read.cells
                            .iter_mut()
                            .for_each(|cells| Classes::count(keys, cells).keep_out_single(cells));
                    }
                    all = Some(read);
                }
            }
        }
        let (all, seen) = (all.unwrap_or_default(), run.rows()?);
        let parts = all.keys.iter().map(|key| seen.part(key)).collect();
        Ok(Self { all, parts })
    }

    /// Training and validation rows whose label a head knows.
    fn known(&self, task: usize, head: &Head) -> Truth {
        let rows =
            (0..self.parts.len()).filter(|&row| matches!(self.parts[row], Some(Part::Train | Part::Valid)));
        Truth::new(&head.labels, &self.all.cells[task], rows).known(head.labels.len())
    }
}

/// The tasks of a run that is deployed as it is.
fn exact_tasks(run: &Run) -> Result<BTreeMap<String, DialTask>> {
    let metrics: RunMetrics = run.json(METRICS)?;
    let task = |head: &Head| {
        let tested = metrics.tasks.get(&head.task);
        let told = DialTask {
            features: run.choice(&head.task).unwrap_or_default().to_string(),
            held_out: None,
            lost: Some(0.0),
            test_accuracy: tested.and_then(TaskMetrics::score),
            test_rows: tested.map_or(0, |tested| tested.rows),
        };
        (head.task.clone(), told)
    };
    Ok(run.heads.iter().map(task).collect())
}

/// What answers to rows held out came to, against others.
fn told(held: &HeldOut, before: &HeldOut) -> HeldOutFigures {
    let loss = held.loss(before);
    HeldOutFigures {
        rows: held.rows(),
        accuracy: held.score,
        macro_f1: held.macro_f1,
        // A drop of 0 is no change of −0.
        change: loss.accuracy_drop.map(|drop| 0.0 - drop / 100.0),
        change_standard_error: loss.standard_error.map(|error| error / 100.0),
    }
}

fn working(show: &mut Show<'_>, what: &str) {
    show(&CompareEvent::Train(&TrainEvent::Work(what)));
}
