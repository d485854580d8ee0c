//! Owns comparing scenarios and backbones on one split and seed: an estimate first, then run by run, then one
//! report.
//!
//! Refuses to train in any way that `train` does not: every scenario is an ordinary run.

mod curve;
mod depths;
mod dial;
mod estimate;
mod job;
mod judged;
mod limit;
mod request;
mod scenario;
mod timing;

use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::classifier::run::{ROWS, Recipe};
use crate::error::{Error, Kind, Result};
use crate::files::is_temporary;
use crate::fingerprint::Fingerprint;
use crate::report::{BackboneReport, FORMAT, Outcome, PAGE, REPORT, Report, ScenarioReport};
use crate::runtime::processor;
pub use curve::Share;
pub use depths::Depths;
use estimate::Survey;
use job::{Job, scores};
use limit::Deadline;
pub use limit::{Clock, TimeLimit};
pub use request::{BackboneEstimate, CompareEvent, CompareRequest, Open, Show};
pub use scenario::Scenario;

/// The outcome of [`compare`].
#[derive(Debug)]
pub struct Compared {
    pub report: Report,
    /// Everything was there already.
    pub up_to_date: bool,
}

/// Runs what is missing of a comparison and writes its report after every scenario.
///
/// # Errors
/// A backbone or the rows are unusable, the output holds another comparison, or a training fails. What was
/// finished is kept.
pub fn compare(request: &CompareRequest, open: &mut Open<'_>, show: &mut Show<'_>) -> Result<Compared> {
    request.check()?;
    let deadline = Deadline::new(request.time_limit, &request.clock);
    let output = &request.train.output.path;
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
        planned.sort_by_key(|plan| matches!(plan.scenario, Scenario::FrozenHead(..)));
        if !planned.is_empty() {
            // What is cut off later is taken out of whole rows: these first, also of windows.
            let windows = planned.iter().any(|plan| matches!(plan.scenario, Scenario::Depth(_)));
            for windows in [Some(false), windows.then_some(true)].into_iter().flatten() {
                let mut embedder = open(&job.backbone, windows)?;
                let all = survey.as_ref().map_or(0, Survey::all);
                let missing = all.saturating_sub(embedder.stored());
                let seconds = estimate::to_f64(missing) / job.found.texts_per_second;
                job.features(seconds, &deadline, &mut embedder, show)?;
            }
        }
        for plan in &planned {
            job.scenario(plan, &deadline, open, show)?;
            save(&mut report, place, &job.found, output)?;
        }
        if let Some(survey) = &survey {
            let mut keep = |found: &BackboneReport| save(&mut report, place, found, output);
            job.dial(survey, &deadline, open, show, &mut keep)?;
        }
        if job.curve(open)? {
            up_to_date = false;
            save(&mut report, place, &job.found, output)?;
        }
        report.backbones[place].clone_from(&job.found);
    }
    if let Some(beside) = request.beside.as_ref().filter(|beside| **beside != report.beside) {
        report.beside.clone_from(beside);
        up_to_date = false;
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
    let (output, inputs) = (&request.train.output.path, request.inputs()?);
    let new = || {
        let rows = &request.train.rows;
        let data = rows.data.path().map_or_else(|| "-".to_owned(), |path| path.display().to_string());
        let threads = request.train.learning.fit.threads;
        Report {
            format: FORMAT,
            frosthead: env!("CARGO_PKG_VERSION").to_owned(),
            inputs,
            data,
            tasks: rows.tasks.names(),
            seed: rows.split.seed,
            machine: format!("{}, {threads} threads", processor().model),
            backbones: Vec::new(),
            beside: Vec::new(),
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
    // What is added may have use for options that what is there had not.
    let same = |there: &Report| -> Result<bool> {
        Ok(there.inputs == inputs
            || there.inputs == request.of_use_to(&Scenario::of_report(there)).inputs()?)
    };
    if !request.train.output.overwrite && same(&there)? {
        return with_scores(Report { inputs, ..there }, output);
    }
    if !request.train.output.overwrite {
        return Err(exists().found("a comparison of other rows or with other options"));
    }
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::io("remove", path, source)
    };
    for folder in
        there.backbones.iter().map(|backbone| output.join(&backbone.folder)).filter(|folder| folder.exists())
    {
        std::fs::remove_dir_all(&folder).map_err(failed(&folder))?;
    }
    for path in [PAGE, REPORT].map(|name| output.join(name)).into_iter().filter(|path| path.exists()) {
        std::fs::remove_file(&path).map_err(failed(&path))?;
    }
    Ok(new())
}

/// The report with what its runs say of every validation row.
fn with_scores(mut report: Report, output: &Path) -> Result<Report> {
    for scenario in report.backbones.iter_mut().flat_map(|backbone| &mut backbone.scenarios) {
        if let Outcome::Done(done) = &mut scenario.outcome {
            done.scores = scores(&output.join(&done.run))?;
        }
    }
    Ok(report)
}

/// Whether nothing lies there but what a killed process left of a file it was writing.
fn is_empty(output: &Path) -> Result<bool> {
    let left = |entry: std::io::Result<DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(is_temporary))
    };
    match std::fs::read_dir(output) {
        Ok(mut entries) => Ok(entries.all(left)),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(Error::io("read", output, source)),
    }
}

/// A job for every backbone: those asked for, each with its place in the report.
fn jobs<'j>(request: &'j CompareRequest, report: &mut Report) -> Result<Vec<Job<'j>>> {
    let mut jobs = Vec::new();
    let mut earlier = std::mem::take(&mut report.backbones);
    let mut folders: BTreeSet<String> = earlier.iter().map(|backbone| backbone.folder.clone()).collect();
    let mut seen = BTreeSet::new();
    for backbone in &request.backbones {
        let fingerprint = backbone.fingerprint();
        if !seen.insert(fingerprint) {
            return Err(Error::new(Kind::Usage, "a backbone was given twice").at(backbone.directory()));
        }
        let known = earlier.iter().position(|before| before.fingerprint == fingerprint.to_string());
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
    if !jobs.iter().any(Job::has_work) {
        return Ok(None);
    }
    let survey = Survey::read(&request.train.rows)?;
    let mut estimates = Vec::new();
    for job in jobs.iter_mut().filter(|job| job.has_work()) {
        let embedder = open(&job.backbone, false)?;
        job.estimate(&survey, &embedder)?;
        let missing = survey.all().saturating_sub(embedder.stored());
        estimates.push(BackboneEstimate {
            backbone: job.found.name.clone(),
            texts_per_second: job.found.texts_per_second,
            features_texts: missing,
            features_seconds: estimate::to_f64(missing) / job.found.texts_per_second,
            scenarios: job.estimates(&survey)?,
        });
    }
    show(&CompareEvent::Estimates(&estimates));
    Ok(Some(survey))
}

/// All runs must have the same rows in the same parts: otherwise nothing can be compared.
fn check_split(output: &Path, report: &Report) -> Result<()> {
    let mut first: Option<(PathBuf, Fingerprint)> = None;
    let runs =
        report.backbones.iter().flat_map(|backbone| &backbone.scenarios).filter_map(ScenarioReport::done);
    for run in runs.map(|done| output.join(&done.run)) {
        let (files, _) = Recipe::open_with_files(&run)?;
        let (path, hash) = (run.join(ROWS), Fingerprint::of_bytes(&files.read(ROWS)?));
        match &first {
            None => first = Some((path, hash)),
            Some((_, same)) if *same == hash => {}
            Some((other, same)) => {
                return Err(Error::new(Kind::Run, "two runs of the comparison were not split alike")
                    .at(path)
                    .found(hash.told_from(same))
                    .expected(format!("{} as in {}", same.told_from(&hash), other.display()))
                    .help("remove the run that was put there, or compare into another --out"));
            }
        }
    }
    Ok(())
}
