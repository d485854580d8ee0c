//! Owns the dial of a backbone: its depths' runs, and that of the usual recipe, as bundles, judged on rows
//! held out, and timed.
//!
//! Refuses to time anything but the written bundles, and to judge depths by test rows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::estimate::{Survey, to_f64};
use super::job::{Job, size};
use super::limit::Deadline;
use super::request::{CompareEvent, Open, Show, working};
use super::scenario::Scenario;
use super::timing::speeds;
use crate::backbone::Backbone;
use crate::classifier::run::METRICS;
use crate::classifier::{BundleOptions, Deployed, Run, bundle_run};
use crate::embed::Embedder;
use crate::error::Result;
use crate::heads::Head;
use crate::metrics::TaskMetrics;
use crate::precision::{Chosen, PrecisionChoice, PrecisionRequest, RunRows, VariantReport, choose};
use crate::quantize::Precision;
use crate::report::{BackboneReport, DialPoint, DialTask, Estimate};
use crate::train::RunMetrics;

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
        if !self.lacks() {
            return Ok(());
        }
        let full = self.found.depths().any(|point| Some(point.depth) == self.found.layers);
        if !full || deadline.passed() {
            let what = "judging and timing the depths";
            let why = if full { "nothing is left of --time-limit" } else { "the full depth is not there" };
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
            let Some((variant, found)) = self.choose(&run, &deployed, &mut embedder, show)? else {
                let why = "nothing can be measured of a task, so only fp32 passes: say --precision fp32";
                return Ok(Err(why.to_owned()));
            };
            for (task, cost) in variant.tasks {
                if let Some(told) = point.tasks.get_mut(&task) {
                    (told.lost, told.test_accuracy) = (cost.loss.accuracy_drop, cost.test_accuracy);
                }
            }
            point.precision = variant.name;
            let (backbone, variant) = (Arc::clone(&found.backbone), found.variant.clone());
            options.deployed = Some(Deployed { backbone, variant });
            chosen = Some(found);
        }
        let written = bundle_run(&run.directory, &out, &options, embedder.runtime())?;
        if let Some(why) = &written.not_compact {
            let (backbone, what) = (&self.found.name, "the compact form of its large vocabulary");
            show(&CompareEvent::LeftOut { backbone, what, why });
        }
        drop(chosen);
        point.bytes = size(&out);
        Ok(Ok(point))
    }

    /// The network of a run in the precision that was asked for, its heads fitted again.
    fn choose(
        &self,
        run: &Run,
        deployed: &Arc<Backbone>,
        embedder: &mut Embedder,
        show: &mut Show<'_>,
    ) -> Result<Option<(VariantReport, Chosen)>> {
        let rows = RunRows::read(run, embedder, &mut |_| ())?;
        let choice = self.request.precision;
        let request = PrecisionRequest {
            run,
            backbone: deployed,
            embedder,
            runtime: embedder.runtime(),
            rows: &rows,
            choice,
            depth: None,
            table: None,
            ranges: None,
            vocabulary: None,
            max_drop: if choice == PrecisionChoice::Auto { MAX_DROP } else { f64::INFINITY },
            threads: self.request.train.learning.fit.threads,
        };
        let folder = run.directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (report, chosen) = choose(&request, &mut |what| working(show, &format!("{folder}: {what}")))?;
        let name = report.chosen.as_ref();
        Ok(report.variants.into_iter().find(|variant| name == Some(&variant.name)).zip(chosen))
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

/// The tasks of a run that is deployed as it is.
fn exact_tasks(run: &Run) -> Result<BTreeMap<String, DialTask>> {
    let metrics: RunMetrics = run.json(METRICS)?;
    let task = |head: &Head| {
        let tested = metrics.tasks.get(&head.task);
        let told = DialTask {
            features: run.sees(head),
            held_out: None,
            without_words: None,
            lost: Some(0.0),
            test_accuracy: tested.and_then(TaskMetrics::score),
            test_rows: tested.map_or(0, |tested| tested.rows),
        };
        (head.task.clone(), told)
    };
    Ok(run.heads.iter().map(task).collect())
}
