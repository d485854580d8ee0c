//! Owns the networks that a run may be deployed on: its own, and that network cut at lesser depths, where
//! what the heads see is chosen again on the run's training rows.
//!
//! Refuses depths that the run's backbone has not, and heads that are not fitted again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::gate::{Judged, Reference};
use super::request::{DepthChoice, PrecisionRequest};
use crate::backbone::Backbone;
use crate::classifier::Run;
use crate::data::Part;
use crate::dataset::Dataset;
use crate::embed::RowLayout;
use crate::encoder::FeatureChoice;
use crate::error::{Error, Kind, Result};
use crate::heads::FitOptions;
use crate::selection::{DepthFigures, DepthTask, FIT_MEMORY, Fitting, Loss, Screened, Screening, options};

/// A network, and heads on it.
pub(super) struct Cut {
    /// As much of the run's backbone as is run.
    pub backbone: Arc<Backbone>,
    /// What each head sees.
    pub sees: Vec<FeatureChoice>,
    /// How each head is fitted; none for one that stays as it is.
    pub fits: Vec<Option<FitOptions>>,
    /// What each task loses by a smaller vocabulary, if there is one.
    pub lost: Option<BTreeMap<String, Loss>>,
}

/// The depths to try, from shallow to deep; none stands for the run's own network and features.
///
/// # Errors
/// The run cannot be cut there, or a head of it was not fitted.
pub(super) fn depths(request: &PrecisionRequest<'_>, judged: &[Judged<'_>]) -> Result<Vec<Option<usize>>> {
    let Some(asked) = request.depth else { return Ok(vec![None]) };
    let (run, backbone) = (request.run, request.backbone);
    let wrong = |what: &str| {
        Error::new(Kind::Usage, what.to_owned()).at(&run.directory).found(format!("--depth {asked}"))
    };
    if let Some(head) = judged.iter().find(|judged| judged.fit.is_none()).map(|judged| judged.head) {
        return Err(wrong("at another depth heads are fitted again, and this one was not fitted")
            .task(&head.task)
            .help("leave --depth away, or train the run's heads"));
    }
    // Whatever says that it has no layers to leave away.
    Backbone::clone(backbone).to_depth(backbone.layers().map_or(0, |layers| layers.saturating_sub(1)))?;
    let layers = backbone.layers().unwrap_or(0);
    match asked {
        DepthChoice::Fixed(depth) if depth > layers => {
            Err(wrong("the run's network is not that deep").expected(format!("a depth from 0 to {layers}")))
        }
        DepthChoice::Fixed(depth) => Ok(vec![Some(depth)]),
        DepthChoice::Auto => Ok((0..top(run, layers)).map(Some).chain([None]).collect()),
    }
}

/// The highest state that a head of the run sees.
fn top(run: &Run, layers: usize) -> usize {
    let choices = run.heads.iter().filter_map(|head| run.choice(&head.task));
    choices.map(|choice| choice.top(layers)).max().unwrap_or(layers)
}

impl Cut {
    /// The run's own network, up to the highest state that a head sees where depths are compared.
    ///
    /// # Errors
    /// It cannot be cut there.
    pub fn own(request: &PrecisionRequest<'_>, judged: &[Judged<'_>]) -> Result<Self> {
        let (run, mut backbone) = (request.run, Arc::clone(request.backbone));
        if let (Some(_), Some(layers)) = (request.depth, backbone.layers()) {
            backbone = Arc::new(Backbone::clone(&backbone).to_depth(top(run, layers))?);
        }
        let sees = run.heads.iter().map(|head| run.choice(&head.task).unwrap_or_default()).collect();
        let fits = judged.iter().map(|judged| judged.fit.clone()).collect();
        Ok(Self { backbone, sees, fits, lost: None })
    }

    /// The run's network cut to `depth`, or less where no head sees the highest states; and what each task
    /// loses there in fp32, by the features that are stored.
    ///
    /// # Errors
    /// It cannot be cut there, its states are not stored, or a fit fails.
    pub fn at(
        request: &PrecisionRequest<'_>,
        references: &[Reference<'_>],
        depth: usize,
        show: &mut dyn FnMut(&str),
    ) -> Result<(Self, DepthFigures)> {
        // Before the work.
        Backbone::clone(request.backbone).to_depth(depth)?;
        let mut figures = DepthFigures { depth, tasks: BTreeMap::new() };
        let (mut sees, mut fits) = (Vec::new(), Vec::new());
        for reference in references {
            let screened = screen(request, reference.judged, depth, show)?;
            let task = &reference.judged.head.task;
            show(&format!("{task}: judging depth {depth} on held-out rows"));
            let fit = screened.settled(&fit_options(request));
            let rows = request.embedder.read_rows(&request.rows.keys, screened.columns.clone())?;
            let held = reference.judging.fitted(rows.view(&screened.columns), &fit)?;
            let figure = DepthTask::new(&screened, &held, held.loss(&reference.before));
            figures.tasks.insert(task.clone(), figure);
            sees.push(screened.choice);
            fits.push(Some(fit));
        }
        let top = sees.iter().map(|choice| choice.top(depth)).max().unwrap_or(depth);
        let backbone = Arc::new(Backbone::clone(request.backbone).to_depth(top)?);
        Ok((Self { backbone, sees, fits, lost: None }, figures))
    }

    /// What a row holds that the bundle's graph gives.
    pub fn stored(&self) -> FeatureChoice {
        let last = self.sees.iter().all(|choice| *choice == FeatureChoice::Last);
        if last { FeatureChoice::Last } else { FeatureChoice::All }
    }

    /// Where each head's features lie in a row.
    ///
    /// # Errors
    /// The row does not hold them.
    pub fn columns(&self, layout: &RowLayout) -> Result<Vec<std::ops::Range<usize>>> {
        self.sees.iter().map(|choice| layout.columns(*choice)).collect()
    }
}

/// How the run's heads were asked to be fitted.
fn fit_options(request: &PrecisionRequest<'_>) -> FitOptions {
    let recipe = &request.run.recipe;
    FitOptions { seed: recipe.seed, threads: request.threads, ..recipe.heads.clone() }
}

/// What a task's head sees at a depth, at best.
fn screen(
    request: &PrecisionRequest<'_>,
    judged: &Judged<'_>,
    depth: usize,
    show: &mut dyn FnMut(&str),
) -> Result<Screened> {
    let (run, embedder, rows) = (request.run, request.embedder, request.rows);
    let answers = judged.head.answers();
    let truth = rows.of_task(run, judged.task, &[Part::Train]).known(answers.labels.len());
    let fit = fit_options(request);
    let fitting = Fitting { fit: &fit, memory: run.recipe.features.fit_memory.unwrap_or(FIT_MEMORY) };
    let mut keys = Dataset { keys: rows.keys.clone(), ..Dataset::default() };
    Screening { embedder, rows: &mut keys, answers, truth: &truth, fitting }
        .among(&options(embedder, Some(depth))?, &mut |what| show(&format!("depth {depth}, {what}")))
}
