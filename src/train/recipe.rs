//! Owns what a run's recipe says of a request, the hash of everything a run depends on, and whether a run is
//! already there.
//!
//! The hash is that of the recipe itself, and of what a recipe names but does not hold: a new option is in it
//! when it is in the recipe.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::outcome::RunMetrics;
use super::request::{FrozenHead, Learning, RowsRequest, TrainRequest};
use crate::backbone::Backbone;
use crate::classifier::run::{
    BackboneRecipe, ChosenDepth, DataRecipe, FORMAT, FeaturesRecipe, HEADS, METRICS, Recipe, Run,
    SplitRecipe, TableRecipe, TrainingRecipe, WITHOUT_HASHES,
};
use crate::data::{Format, Reading, Source};
use crate::dataset::Input;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fields, Fingerprint};
use crate::plan::{FreezePlan, Scenario};
use crate::recognize::{Thing, Wanted};
use crate::task::TaskKind;
use crate::tokens::LongTexts;

/// The recipe of a request, without each task's features, which only the data tell.
pub(super) fn recipe(
    request: &TrainRequest,
    (backbone, long): (Option<&Backbone>, LongTexts),
    chosen: Option<ChosenDepth>,
    plans: &[FreezePlan],
) -> Result<Recipe> {
    let TrainRequest { rows, learning, freezing, .. } = request;
    let data = data(rows)?;
    let opened = backbone.filter(|_| data.text.is_some());
    let backbone = opened.map(|backbone| BackboneRecipe {
        name: backbone.manifest().name.clone(),
        fingerprint: backbone.fingerprint_before(),
        depth: backbone.depth(),
        chosen,
        directory: Some(
            backbone.directory().canonicalize().unwrap_or_else(|_| backbone.directory().to_path_buf()),
        ),
    });
    let earlier = freezing.init_heads != FrozenHead::Fitted
        || opened.is_some_and(|backbone| backbone.changed().is_some());
    let frozen = plans.last().filter(|plan| plan.scenario() != Scenario::Heads || earlier);
    let mut recipe = Recipe {
        format: FORMAT,
        frosthead: env!("CARGO_PKG_VERSION").to_owned(),
        tasks: rows.tasks.names(),
        seed: rows.split.seed,
        inputs: Fingerprint::of_bytes(&[]),
        kinds: kinds(rows),
        split: split(rows),
        heads: learning.fit.clone(),
        features: features(learning, long, data.text.is_some()),
        data,
        backbone,
        training: frozen.map(|plan| training(request, plan)),
    };
    let inputs = described(&recipe)?;
    let inputs = match (&recipe.training, opened) {
        (Some(_), Some(backbone)) => beside(request, inputs)?.field("backbone", backbone.fingerprint().0),
        (Some(_), None) => beside(request, inputs)?,
        (None, _) => inputs,
    };
    recipe.inputs = inputs.finish();
    Ok(recipe)
}

/// Hash of the rows and options that several runs share.
///
/// # Errors
/// An input cannot be read.
pub fn shared_inputs(request: &TrainRequest) -> Result<Fingerprint> {
    let TrainRequest { rows, learning, freezing, layers, .. } = request;
    let data = data(rows)?;
    let features = features(learning, LongTexts::Truncate, data.text.is_some());
    let mut inputs = Fields::new("frosthead shared inputs 1")
        .field("tasks", rows.tasks.names().join("\0"))
        .field("shares", line(&shares(rows))?)
        .field("data", line(&data)?)
        .field("seed", rows.split.seed.to_le_bytes())
        .field("split", line(&split(rows))?)
        .field("heads", line(&learning.fit)?)
        .field("features", line(&features)?)
        .field("layers", line(layers)?);
    let kinds = kinds(rows);
    if !kinds.is_empty() {
        inputs = inputs.field("kinds", line(&kinds)?);
    }
    Ok(labels(freezing.label_text.as_ref(), inputs)?.finish())
}

/// The kinds of tasks that are not of the usual one.
fn kinds(rows: &RowsRequest) -> BTreeMap<String, TaskKind> {
    let unusual = rows.tasks.iter().filter(|task| !task.kind.is_default());
    unusual.map(|task| (task.name.clone(), task.kind)).collect()
}

/// What a recipe says that a run depends on.
fn described(recipe: &Recipe) -> Result<Fields> {
    let mut recipe = recipe.clone();
    // Another version, or the same backbone in another place, gives the same run.
    recipe.frosthead.clear();
    // Format 5 has the same recipe, and hashes of the files beside it.
    recipe.format = WITHOUT_HASHES;
    if let Some(backbone) = &mut recipe.backbone {
        backbone.directory = None;
    }
    Ok(Fields::new("frosthead train 5").field("recipe", line(&recipe)?))
}

/// Adds what the recipe of a training names, but does not hold.
fn beside(request: &TrainRequest, mut inputs: Fields) -> Result<Fields> {
    if let Some(run) = request.freezing.init_heads.run() {
        match Thing::of(run) {
            Thing::Run => {}
            thing => return Err(thing.instead_of(Wanted::Run, Some(run))),
        }
        inputs = inputs.field("init heads", heads_hash(run)?.0);
    }
    labels(request.freezing.label_text.as_ref(), inputs)
}

/// Hash of a run's heads.
///
/// # Errors
/// It is no run, or was changed.
pub fn heads_hash(run: &Path) -> Result<Fingerprint> {
    let (files, _) = Recipe::open_with_files(run)?;
    Ok(Fingerprint::of_bytes(&files.read(HEADS)?))
}

/// Adds the table that describes labels.
fn labels(label_text: Option<&Source>, mut inputs: Fields) -> Result<Fields> {
    if let Some(source) = label_text {
        if let Some(path) = &source.path {
            inputs = inputs.field("label text", Fingerprint::of_file(path)?.0);
        }
        inputs = inputs.field("reading", line(&source.reading())?);
    }
    Ok(inputs)
}

/// A value as it is hashed.
fn line(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|source| Error::new(Kind::Run, "the options cannot be hashed").because(source))
}

fn data(rows: &RowsRequest) -> Result<DataRecipe> {
    let (text, second_text, features_column) = match &rows.data {
        Input::Texts { columns, .. } => (Some(columns.first.clone()), columns.second.clone(), None),
        Input::Features { column, .. } => (None, None, column.clone()),
    };
    Ok(DataRecipe {
        text,
        second_text,
        features_column,
        by_vector: None,
        table: table(&rows.data)?,
        valid: rows.valid.as_ref().map(table).transpose()?,
        test: rows.test.as_ref().map(table).transpose()?,
        rare: rows.rare,
        separator: rows.tasks.separator().map(str::to_owned),
    })
}

/// What it takes to read an input again.
fn table(input: &Input) -> Result<TableRecipe> {
    let (format, reading) = match input {
        Input::Texts { source, .. } => (source.format, source.reading()),
        Input::Features { .. } => (Format::Parquet, Reading::default()),
    };
    // `bundle` reads it again, from whatever directory.
    let path = input.file()?;
    let path = std::path::absolute(path).map_err(|source| Error::io("find", path, source))?;
    let path = path.display().to_string();
    Ok(TableRecipe { path, fingerprint: input.fingerprint()?, format, reading })
}

fn split(rows: &RowsRequest) -> SplitRecipe {
    SplitRecipe { test_fraction: rows.split.test_fraction, valid_fraction: rows.split.valid_fraction }
}

fn features(learning: &Learning, long: LongTexts, texts: bool) -> FeaturesRecipe {
    FeaturesRecipe {
        long,
        asked: if texts { learning.features.to_string() } else { "column".to_owned() },
        fit_memory: Some(learning.fit_memory),
        tasks: BTreeMap::new(),
    }
}

/// What each task's loss counts.
fn shares(rows: &RowsRequest) -> Vec<f32> {
    rows.tasks.iter().map(|task| task.share).collect()
}

/// How the network is trained, for a plan that is more than heads on a frozen backbone.
fn training(request: &TrainRequest, plan: &FreezePlan) -> TrainingRecipe {
    let TrainRequest { rows, freezing, layers, .. } = request;
    TrainingRecipe {
        freeze: freezing.freeze().to_vec(),
        unfreeze: freezing.unfreeze().to_vec(),
        frozen: plan.to_string(),
        init_heads: (freezing.init_heads != FrozenHead::Fitted).then(|| freezing.init_heads.to_string()),
        options: layers.clone(),
        shares: shares(rows),
        changed: None,
        // The real one is put in when the heads are written.
        heads: Fingerprint::of_bytes(&[]),
        interrupted: false,
    }
}

/// The metrics of a run that is there already and was made from the same inputs; none when there is work to
/// do, as when it was interrupted.
///
/// # Errors
/// It was made from something else, or one of its files was changed.
pub(super) fn up_to_date(request: &TrainRequest, recipe: &Recipe) -> Result<Option<RunMetrics>> {
    let output = &request.output;
    if !output.path.exists() || output.overwrite {
        return Ok(None);
    }
    if Thing::of(&output.path) == Thing::Run {
        let run = Run::open(&output.path)?;
        if run.recipe.inputs == recipe.inputs {
            if run.recipe.training.as_ref().is_some_and(|training| training.interrupted) {
                return Ok(None);
            }
            run.files.check_all()?;
            return run.json(METRICS).map(Some);
        }
    }
    Err(Error::new(Kind::Exists, "the output exists and was made from something else")
        .at(&output.path)
        .help("choose another --out, or say --overwrite"))
}
