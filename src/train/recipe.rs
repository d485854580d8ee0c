//! Owns what a run's recipe says of a request, and whether a run is already there.

use std::collections::BTreeMap;

use super::{NetworkOptions, RunMetrics, TrainRequest};
use crate::backbone::Backbone;
use crate::classifier::run::{
    BackboneRecipe, DataRecipe, FORMAT, FeaturesRecipe, HEADS, HeadsRecipe, METRICS, Recipe, SplitRecipe,
    TableRecipe, TrainingRecipe,
};
use crate::data::{Format, Reading};
use crate::dataset::Input;
use crate::error::{Error, Kind, Result};
use crate::finetune::StageOptions;
use crate::fingerprint::{Fields, Fingerprint};
use crate::plan::{FreezePlan, Scenario};
use crate::recognize::{Thing, Wanted};
use crate::tokens::LongTexts;

/// The recipe of a request, without each task's features, which only the data tell.
pub(super) fn recipe(
    request: &TrainRequest,
    (backbone, long): (Option<&Backbone>, LongTexts),
    plans: &[FreezePlan],
) -> Result<Recipe> {
    let table = table(&request.data)?;
    let (text, features_column) = match &request.data {
        Input::Texts { column, .. } => (Some(column.clone()), None),
        Input::Features { column, .. } => (None, column.clone()),
    };
    let opened = backbone.filter(|_| text.is_some());
    let backbone = opened.map(|backbone| BackboneRecipe {
        name: backbone.manifest().name.clone(),
        fingerprint: backbone.fingerprint_before(),
        directory: Some(
            backbone.directory().canonicalize().unwrap_or_else(|_| backbone.directory().to_path_buf()),
        ),
    });
    let earlier = request.init_heads.is_some() || opened.is_some_and(|backbone| backbone.changed().is_some());
    let frozen = plans.last().filter(|plan| plan.scenario() != Scenario::Heads || earlier);
    let inputs = inputs(request, (opened, long), frozen.is_some(), table.fingerprint)?;
    Ok(Recipe {
        format: FORMAT,
        frosthead: env!("CARGO_PKG_VERSION").to_owned(),
        tasks: request.tasks.clone(),
        seed: request.split.seed,
        inputs,
        data: DataRecipe {
            text: text.clone(),
            features_column,
            by_vector: None,
            table,
            valid: request.valid.as_ref().map(self::table).transpose()?,
            test: request.test.as_ref().map(self::table).transpose()?,
            rare: request.rare,
        },
        split: SplitRecipe {
            test_fraction: request.split.test_fraction,
            valid_fraction: request.split.valid_fraction,
        },
        heads: HeadsRecipe {
            alpha: request.fit.alpha.to_string(),
            class_weight: request.fit.class_weight.to_string(),
        },
        features: FeaturesRecipe {
            long,
            asked: if text.is_some() { request.features.to_string() } else { "column".to_owned() },
            tasks: BTreeMap::new(),
        },
        backbone,
        training: training(request, frozen),
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

/// Hash of all inputs and options; those of training layers only count where layers are trained.
fn inputs(
    request: &TrainRequest,
    (backbone, long): (Option<&Backbone>, LongTexts),
    network_counts: bool,
    data: Fingerprint,
) -> Result<Fingerprint> {
    let mut inputs = Fields::new("frosthead train 3")
        .field("input", format!("{:?}", request.data))
        .field("data", data.0)
        .field("tasks", request.tasks.join("\0"))
        .field("split", format!("{:?}", request.split))
        .field("features", format!("{} {}", request.features, request.fit_memory))
        .field("long texts", long.to_string())
        .field("fit", format!("{:?} {:?}", request.fit.alpha, request.fit.class_weight));
    let network = &request.network;
    if network_counts {
        // Threads change the time, never the result.
        let stage = StageOptions { threads: 0, ..network.stage.clone() };
        inputs = inputs
            .field("freeze", request.freeze.join("\0"))
            .field("unfreeze", format!("{:?}", request.unfreeze))
            .field("network", format!("{:?}", NetworkOptions { stage, ..network.clone() }))
            .field("head init", request.head_init.to_string());
        if let Some(run) = &request.init_heads {
            match Thing::of(run) {
                Thing::Run => {}
                thing => return Err(thing.instead_of(Wanted::Run, Some(run))),
            }
            inputs = inputs.field("init heads", Fingerprint::of_file(run.join(HEADS))?.0);
        }
        if let Some(source) = &request.label_text {
            if let Some(path) = &source.path {
                inputs = inputs.field("label text", Fingerprint::of_file(path)?.0);
            }
            inputs = reading(inputs, source.reading());
        }
    }
    if !request.rare.is_default() {
        inputs = inputs.field("rare", request.rare.to_string());
    }
    for (name, input) in [("valid", &request.valid), ("test", &request.test)] {
        if let Some(input) = input {
            inputs = inputs.field(name, input.fingerprint()?.0);
            if let Input::Texts { source, .. } = input {
                inputs = reading(inputs, source.reading());
            }
        }
    }
    if let Some(backbone) = backbone {
        inputs = inputs.field("backbone", backbone.fingerprint().0);
    }
    Ok(inputs.finish())
}

/// Adds how the table before is read, where that was asked for.
fn reading(inputs: Fields, reading: Reading) -> Fields {
    if reading.is_default() { inputs } else { inputs.field("reading", reading.to_string()) }
}

/// How the network is trained, for a plan that is more than heads on a frozen backbone.
fn training(request: &TrainRequest, plan: Option<&FreezePlan>) -> Option<TrainingRecipe> {
    let NetworkOptions { stage, head_rate, layer_decay, states, shares } = &request.network;
    Some(TrainingRecipe {
        freeze: request.freeze.clone(),
        unfreeze: request.unfreeze.clone(),
        frozen: plan?.to_string(),
        head_init: request.head_init.to_string(),
        init_heads: request.init_heads.as_ref().map(|path| path.display().to_string()),
        epochs: stage.epochs,
        learning_rate: stage.learning_rate,
        head_rate: *head_rate,
        layer_decay: *layer_decay,
        warm_up: stage.warm_up,
        weight_decay: stage.adam.weight_decay,
        clip: stage.adam.clip,
        dropout: stage.dropout,
        patience: stage.patience,
        token_budget: stage.token_budget,
        states: states.to_string(),
        shares: shares.clone(),
        changed: None,
        // The real one is put in when the heads are written.
        heads: Fingerprint::of_bytes(&[]),
        interrupted: false,
    })
}

/// The metrics of a run that is there already and was made from the same inputs; none when there is work to
/// do, as when it was interrupted.
pub(super) fn up_to_date(request: &TrainRequest, recipe: &Recipe) -> Result<Option<RunMetrics>> {
    if !request.output.exists() || request.overwrite {
        return Ok(None);
    }
    let path = request.output.join(METRICS);
    let there = Recipe::open(&request.output).ok().filter(|there| there.inputs == recipe.inputs);
    let same = there.is_some();
    if there.and_then(|there| there.training).is_some_and(|training| training.interrupted) {
        return Ok(None);
    }
    let metrics = std::fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str(&text).ok());
    match metrics {
        Some(metrics) if same => Ok(Some(metrics)),
        _ => Err(Error::new(Kind::Exists, "the output exists and was made from something else")
            .at(&request.output)
            .help("choose another --out, or say --overwrite")),
    }
}
