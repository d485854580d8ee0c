//! Owns how the points of the dial are judged: each row by heads that were not fitted on it, against the full
//! depth, row by row, on what the runs' own heads see.
//!
//! Refuses to choose anything: features and penalties are the runs'.

use super::job::Job;
use super::request::{Open, Show, working};
use super::scenario::Scenario;
use crate::classifier::Run;
use crate::classifier::run::FIT;
use crate::data::{Part, Rare};
use crate::dataset::{Columns, Dataset, keep_out_single};
use crate::embed::Embedder;
use crate::error::{Error, Kind, Result};
use crate::heads::{FitOptions, FitReport, Head, WordsOptions};
use crate::report::{DialPoint, HeldOutFigures, depth_of};
use crate::selection::{HeldOut, Judging};
use crate::task::Truth;
use crate::train::RowsRequest;

impl Job<'_> {
    /// Judges all points on rows held out, against the full depth, which is there.
    ///
    /// # Errors
    /// A run or the rows cannot be read, or a fit fails.
    pub fn judge(&mut self, open: &mut Open<'_>, show: &mut Show<'_>) -> Result<()> {
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
                if runs.iter().any(|run| run.run.heads.iter().any(|head| head.words.is_some())) {
                    embedder.look_at_words(embedder.own_grams())?;
                }
                let rows = Rows::read(request, &run.run, &mut embedder)?;
                read[place] = Some((embedder, rows));
            }
        }
        for task in 0..runs[0].run.heads.len() {
            let figures = self.judge_task(&runs, task, &mut read, show)?;
            for (run, figures) in runs.iter().zip(figures) {
                let point = self.found.dial.iter_mut().find(|point| point.scenario == run.name);
                let told = point.and_then(|point| point.tasks.get_mut(&runs[0].run.heads[task].task));
                told.into_iter().for_each(|told| (told.held_out, told.without_words) = figures.clone());
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
    ) -> Result<Vec<WithAndWithout>> {
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
            if first.is_none() {
                let judging = Judging::by_folds(head.answers(), &known, features, fit.seed);
                let held = judging.fitted(features, &fit)?;
                first = Some((judging, held));
            }
            let Some((judging, before)) = &first else { continue };
            let held = judging.fitted(features, &fit)?;
            let without = FitOptions { words: WordsOptions::default(), ..fit.clone() };
            let without = (without != fit).then(|| judging.fitted(features, &without)).transpose()?;
            figures.push((Some(told(&held, before)), without.map(|without| told(&without, before))));
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
}

/// Figures of a task's head, and of one without words where it has some.
type WithAndWithout = (Option<HeldOutFigures>, Option<HeldOutFigures>);

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
            seed: self.run.recipe.seed,
            threads: job.request.train.learning.fit.threads,
            ..fit.settled(&self.run.recipe.heads)
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
        let kept = request.tasks.columns();
        let columns = Columns { kept: &kept, texts: false };
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
                        keep_out_single(&mut read, &kept);
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
        Truth::new(head.kind, &head.labels, &self.all.cells[task], rows).known(head.labels.len())
    }
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
