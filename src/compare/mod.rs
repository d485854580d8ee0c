//! Owns comparing scenarios and backbones on one split and seed: an estimate first, then run by run, then one
//! report.
//!
//! Refuses to train in any way that `train` does not: every scenario is an ordinary run.

mod curve;
mod estimate;
mod job;
mod limit;
mod scenario;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backbone::Backbone;
use crate::classifier::run::ROWS;
use crate::embed::Embedder;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fields, Fingerprint};
use crate::heads::{Alpha, FitOptions};
use crate::plan::FreezePlan;
use crate::report::{BackboneReport, Estimate, FORMAT, PAGE, REPORT, Report, ScenarioReport};
use crate::runtime::processor;
use crate::tokens::LongTexts;
use crate::train::{self, FeatureRequest, TrainEvent, TrainRequest};
pub use curve::Share;
use estimate::Survey;
use job::Job;
use limit::Deadline;
pub use limit::TimeLimit;
pub use scenario::{FrozenHead, Scenario};

/// What to compare.
#[derive(Clone)]
pub struct CompareRequest {
    /// What all scenarios have in common. `output` is the comparison's directory; `freeze` is what scenario 3
    /// freezes beside the head.
    pub shared: TrainRequest,
    /// Backbone directories.
    pub backbones: Vec<Arc<Backbone>>,
    pub scenarios: Vec<Scenario>,
    pub frozen_head: FrozenHead,
    /// What does not fit by the estimate is not begun, what is running then ends with its best so far.
    pub time_limit: Option<TimeLimit>,
    /// Shares of the training rows in rising order.
    pub learning_curve: Vec<Share>,
    /// The penalty beside `auto` features.
    pub auto_alpha: Alpha,
    /// How heads on a frozen backbone read long texts, as it was asked for.
    pub long_texts: String,
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

/// The outcome of [`compare`].
#[derive(Debug)]
pub struct Compared {
    pub report: Report,
    /// Everything was there already.
    pub up_to_date: bool,
}

impl CompareRequest {
    /// Hash of the rows and options that all scenarios share. Backbones and scenarios may be added to a
    /// comparison.
    fn inputs(&self) -> Result<Fingerprint> {
        let shared = TrainRequest { freeze: vec!["all".to_owned()], ..self.shared.clone() };
        let frozen_head = match &self.frozen_head {
            FrozenHead::Run(run) => {
                Fingerprint::of_file(run.join(crate::classifier::run::HEADS))?.to_string()
            }
            other => format!("{other:?}"),
        };
        Ok(Fields::new("frosthead compare 1")
            .field("shared", train::inputs(&shared, (None, LongTexts::Truncate))?.0)
            .field("freeze", self.shared.freeze.join("\0"))
            .field("auto alpha", self.auto_alpha.to_string())
            .field("long texts", &self.long_texts)
            .field("frozen head", frozen_head)
            .finish())
    }

    /// The training that a scenario is, into its directory in `folder`.
    fn of(&self, scenario: &Scenario, folder: &Path) -> TrainRequest {
        let fitted = Scenario::fitted(scenario.features());
        let (output, heads) = (folder.join(scenario.folder()), folder.join(fitted.folder()));
        let mut request = scenario.request(&self.shared, output, &self.frozen_head, heads);
        if request.features == FeatureRequest::Auto {
            request.fit.alpha = self.auto_alpha;
        }
        request
    }

    /// The stages that a scenario trains itself: gradual unfreezing goes on from the one before it, when that
    /// is asked for.
    fn stages_to_train<'p>(&self, scenario: &Scenario, plans: &'p [FreezePlan]) -> &'p [FreezePlan] {
        let Scenario::Top(layers, features) = scenario else { return plans };
        let asked = |lower: &usize| self.scenarios.contains(&Scenario::Top(*lower, *features));
        let lower = (1..*layers).rev().find(asked);
        &plans[lower.map_or(0, |lower| lower + 1)..]
    }

    fn check(&self) -> Result<()> {
        for value in &self.shared.freeze {
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

/// Runs what is missing of a comparison and writes its report after every scenario.
///
/// # Errors
/// A backbone or the rows are unusable, the output holds another comparison, or a training fails. What was finished is kept.
pub fn compare(request: &CompareRequest, open: &mut Open<'_>, show: &mut Show<'_>) -> Result<Compared> {
    request.check()?;
    let deadline = Deadline::new(request.time_limit);
    let output = &request.shared.output;
    let mut report = begin(request)?;
    let mut jobs = jobs(request, &mut report)?;
    let survey = estimate(&mut jobs, request, open, show)?;
    let mut up_to_date = survey.is_none();
    if survey.is_some() {
        std::fs::create_dir_all(output)
            .map_err(|source| Error::io("create the directory", output, source))?;
        report.save(output)?;
    }
    for (place, job) in jobs.iter_mut().enumerate() {
        let mut planned = std::mem::take(&mut job.planned);
        // Cheap ones first: whole backbones are trained last.
        planned.sort_by_key(|own| matches!(own.scenario, Scenario::FrozenHead(..)));
        if !planned.is_empty() {
            let mut embedder = open(&job.backbone, false)?;
            let missing = survey.as_ref().map_or(0, |survey| survey.all().saturating_sub(embedder.stored()));
            let seconds = estimate::to_f64(missing) / job.found.texts_per_second;
            job.features(seconds, &deadline, &mut embedder, show)?;
        }
        for own in &planned {
            job.scenario(own, &deadline, open, show)?;
            save(&mut report, place, &job.found, output)?;
        }
        if job.curve(open)? {
            up_to_date = false;
            save(&mut report, place, &job.found, output)?;
        }
        report.backbones[place].clone_from(&job.found);
    }
    check_split(output, &report)?;
    report.save(output)?;
    Ok(Compared { report, up_to_date })
}

fn save(report: &mut Report, place: usize, found: &BackboneReport, output: &Path) -> Result<()> {
    report.backbones[place].clone_from(found);
    report.save(output)
}

/// The report of an earlier call that was made from the same, or a new one.
fn begin(request: &CompareRequest) -> Result<Report> {
    let (output, inputs) = (&request.shared.output, request.inputs()?);
    let new = || {
        let shared = &request.shared;
        let data = shared.data.path().map_or_else(|| "-".to_owned(), |path| path.display().to_string());
        let FitOptions { threads, .. } = shared.fit;
        Report {
            format: FORMAT,
            frosthead: env!("CARGO_PKG_VERSION").to_owned(),
            inputs,
            data,
            tasks: shared.tasks.clone(),
            seed: shared.split.seed,
            machine: format!("{}, {threads} threads", processor().model),
            backbones: Vec::new(),
        }
    };
    let exists = || {
        Error::new(Kind::Exists, "the output exists and is not this comparison")
            .at(output)
            .help("choose another --out; --overwrite replaces another comparison, nothing else")
    };
    let there = match Report::open(output)? {
        Some(there) => there,
        None if is_empty(output)? => return Ok(new()),
        None => return Err(exists().found("files that no comparison wrote")),
    };
    if there.inputs == inputs && !request.shared.overwrite {
        return Ok(there);
    }
    if !request.shared.overwrite {
        return Err(exists().found("a comparison of other rows or with other options"));
    }
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::io("remove", path, source)
    };
    for folder in there.backbones.iter().map(|own| output.join(&own.folder)).filter(|folder| folder.exists())
    {
        std::fs::remove_dir_all(&folder).map_err(failed(&folder))?;
    }
    for path in [PAGE, REPORT].map(|name| output.join(name)).into_iter().filter(|path| path.exists()) {
        std::fs::remove_file(&path).map_err(failed(&path))?;
    }
    Ok(new())
}

fn is_empty(output: &Path) -> Result<bool> {
    match std::fs::read_dir(output) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(Error::io("read", output, source)),
    }
}

/// A job for every backbone: those asked for, each with its place in the report.
fn jobs<'j>(request: &'j CompareRequest, report: &mut Report) -> Result<Vec<Job<'j>>> {
    let mut jobs = Vec::new();
    let mut earlier = std::mem::take(&mut report.backbones);
    let mut folders: BTreeSet<String> = earlier.iter().map(|own| own.folder.clone()).collect();
    let mut seen = BTreeSet::new();
    for backbone in &request.backbones {
        let fingerprint = backbone.fingerprint();
        if !seen.insert(fingerprint) {
            return Err(Error::new(Kind::Usage, "a backbone was given twice").at(backbone.directory()));
        }
        let known = earlier.iter().position(|own| own.fingerprint == fingerprint.to_string());
        let found = known.map_or_else(
            || {
                let mut folder = scenario::folder(&backbone.manifest().name);
                if !folders.insert(folder.clone()) {
                    folder = format!("{folder}-{}", fingerprint.short());
                }
                BackboneReport { folder, ..BackboneReport::default() }
            },
            |place| earlier.remove(place),
        );
        let mut job = Job::new(request, Arc::clone(backbone), found)?;
        job.plan()?;
        report.backbones.push(job.found.clone());
        jobs.push(job);
    }
    // Backbones of earlier calls stay in the table.
    report.backbones.append(&mut earlier);
    Ok(jobs)
}

/// Estimates what is to be done and says it; none when there is nothing to do.
fn estimate(
    jobs: &mut [Job<'_>],
    request: &CompareRequest,
    open: &mut Open<'_>,
    show: &mut Show<'_>,
) -> Result<Option<Survey>> {
    if jobs.iter().all(|job| job.planned.is_empty()) {
        return Ok(None);
    }
    let survey = Survey::read(&request.shared)?;
    let mut estimates = Vec::new();
    for job in jobs.iter_mut().filter(|job| !job.planned.is_empty()) {
        let embedder = open(&job.backbone, false)?;
        job.estimate(&survey, &embedder)?;
        let missing = survey.all().saturating_sub(embedder.stored());
        estimates.push(BackboneEstimate {
            backbone: job.found.name.clone(),
            texts_per_second: job.found.texts_per_second,
            features_texts: missing,
            features_seconds: estimate::to_f64(missing) / job.found.texts_per_second,
            scenarios: job.planned.iter().map(|own| (own.scenario.clone(), own.estimate)).collect(),
        });
    }
    show(&CompareEvent::Estimates(&estimates));
    Ok(Some(survey))
}

/// All runs must have the same rows in the same parts: otherwise nothing can be compared.
fn check_split(output: &Path, report: &Report) -> Result<()> {
    let mut first: Option<(PathBuf, Fingerprint)> = None;
    let runs = report.backbones.iter().flat_map(|own| &own.scenarios).filter_map(ScenarioReport::done);
    for path in runs.map(|done| output.join(&done.run).join(ROWS)) {
        let own = Fingerprint::of_file(&path)?;
        match &first {
            None => first = Some((path, own)),
            Some((_, same)) if *same == own => {}
            Some((other, same)) => {
                return Err(Error::new(Kind::Run, "two runs of the comparison were not split alike")
                    .at(path)
                    .found(own.told_from(same))
                    .expected(format!("{} as in {}", same.told_from(&own), other.display()))
                    .help("remove the run that was put there, or compare into another --out"));
            }
        }
    }
    Ok(())
}
