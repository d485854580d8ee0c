//! Owns training, measuring and bundling as functions: Python's keywords → the library's requests.
//!
//! What is measured goes on as JSON, as the program prints it: `frosthead/_training.py` makes values of it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use frosthead::internal::classifier::{Deployed, Model, Run, open_trusted_backbone};
use frosthead::internal::data::TextColumns;
use frosthead::internal::dataset::{Columns, Dataset};
use frosthead::internal::embed::{Progress, any_longer, covering};
use frosthead::internal::encoder::FeatureChoice;
use frosthead::internal::evaluate::{Evaluator, keep_out, seen_rows};
use frosthead::internal::metrics::Promise;
use frosthead::internal::precision::{PrecisionRequest, RunRows, choose};
use frosthead::internal::recognize::Thing;
use frosthead::internal::runtime::{Load, allowed_cores};
use frosthead::internal::store::default_root;
use frosthead::internal::task::TaskKind;
use frosthead::internal::tokens::WindowOptions;
use frosthead::internal::train::{FeatureRequest, StatesRequest, TrainEvent};
use frosthead::internal::tuning;
use frosthead::{
    Backbone, BundleOptions, EmbedOptions, Embedder, Freezing, ImportOptions, LongTexts, Result, RowsRequest,
    Runtime, Tasks, TrainRequest,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde::Serialize;

use crate::arguments::Running;
use crate::embedder::TextNames;
use crate::errors::usage;
use crate::interrupts::without_interpreter;
use crate::tables::Table;

/// What every call says of the network and the feature store.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Common {
    cache: Option<PathBuf>,
    threads: Option<usize>,
    device: String,
    onnxruntime: Option<PathBuf>,
}

/// A model's place, loaded and ready to embed.
struct Place {
    runtime: Arc<Runtime>,
    store: PathBuf,
}

impl Common {
    fn running(&self, py: Python<'_>) -> PyResult<Running> {
        Running::new(py, self.threads, &self.device, self.onnxruntime.clone())
    }

    fn place(&self, running: &Running) -> Result<Place> {
        let runtime = Arc::new(Runtime::load(&running.options()?)?);
        Ok(Place { runtime, store: default_root(self.cache.as_deref())? })
    }
}

impl Place {
    /// As the program opens it.
    fn embedder(&self, backbone: Arc<Backbone>, stored: FeatureChoice, long: LongTexts) -> Result<Embedder> {
        let tuned = tuning::apply(tuning::folder().as_deref(), &backbone, &self.runtime, Load::Many);
        let options = EmbedOptions { stored, batching: tuned.batching, long, ..EmbedOptions::default() };
        Embedder::open(backbone, Arc::new(tuned.runtime), &self.store, options)
    }
}

/// What `train` is asked for, but for its tables.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct TrainArguments {
    tasks: Vec<String>,
    any_of: Vec<String>,
    number: Vec<String>,
    separator: Option<String>,
    precision_at: Option<f64>,
    recall_at: Option<f64>,
    interval: Option<f64>,
    out: PathBuf,
    backbone: Option<PathBuf>,
    text: Option<TextNames>,
    features: Option<String>,
    alpha: Option<String>,
    class_weight: Option<String>,
    freeze: Vec<String>,
    unfreeze: Vec<usize>,
    layers: HashMap<String, String>,
    max_drop: Option<f64>,
    test_fraction: Option<f64>,
    valid_fraction: Option<f64>,
    rare: Option<String>,
    seed: Option<u64>,
    #[pyo3(item("final"))]
    final_fit: bool,
    strict: bool,
    long: Option<String>,
    overwrite: bool,
}

/// Its tables.
struct Tables {
    data: Table,
    valid: Option<Table>,
    test: Option<Table>,
}

/// Trains heads, or layers, and gives what `metrics.json` says.
#[pyfunction]
pub fn train(
    py: Python<'_>,
    data: &Bound<'_, PyAny>,
    valid: Option<Bound<'_, PyAny>>,
    test: Option<Bound<'_, PyAny>>,
    arguments: &Bound<'_, PyDict>,
) -> PyResult<String> {
    let table = |given: Option<Bound<'_, PyAny>>| given.map(|given| Table::of(&given)).transpose();
    let tables = Tables { data: Table::of(data)?, valid: table(valid)?, test: table(test)? };
    let common: Common = arguments.extract()?;
    let asked: TrainArguments = arguments.extract()?;
    let running = common.running(py)?;
    without_interpreter(py, |interrupts| {
        let request = request(&asked, &tables, common.threads)?;
        let mut show = |_: &TrainEvent<'_>| {
            interrupts.check_or_unwind();
            std::ops::ControlFlow::Continue(())
        };
        let Some(backbone) = &asked.backbone else {
            return json(frosthead::train(&request, None, &mut show)?.metrics());
        };
        let place = common.place(&running)?;
        let backbone = open_trusted_backbone(backbone, None, Some(&place.runtime))?;
        let backbone = Arc::new(backbone.reading(columns_or_text(&asked.text).are_pairs())?);
        let long = long_texts(&asked, &request, &backbone)?;
        let stored = match request.learning.features.states {
            StatesRequest::Choice(choice @ FeatureChoice::Layers { .. }) => FeatureChoice::holding([choice]),
            _ => FeatureChoice::All,
        };
        let mut embedder = place.embedder(backbone, stored, long)?;
        json(frosthead::train(&request, Some(&mut embedder), &mut show)?.metrics())
    })
}

fn columns_or_text(text: &Option<TextNames>) -> TextColumns {
    text.clone().map_or_else(|| TextColumns::DEFAULT.into(), TextNames::columns)
}

impl TrainArguments {
    /// The tasks, of all kinds.
    fn tasks(&self) -> Result<Tasks> {
        let named = [
            (&self.tasks, TaskKind::OneOf),
            (&self.any_of, TaskKind::AnyOf),
            (&self.number, TaskKind::Number),
        ];
        let of_kind = |(names, kind): (&Vec<String>, TaskKind)| {
            names.iter().map(|name| (name.clone(), kind)).collect::<Vec<_>>()
        };
        let tasks = Tasks::of(&named.map(of_kind).concat())?;
        self.separator.as_deref().map_or(Ok(tasks.clone()), |separator| tasks.with_separator(separator))
    }

    /// What answers are to keep.
    fn promise(&self, usual: Promise) -> Result<Promise> {
        let share = |name: &str, given: Option<f64>| match given {
            Some(share) if !(0.0 < share && share < 1.0) => Err(usage("this is no share")
                .found(format!("{name}={share}"))
                .expected("a number between 0 and 1")),
            given => Ok(given),
        };
        if self.precision_at.is_some() && self.recall_at.is_some() {
            return Err(usage("thresholds keep one promise")
                .found("precision_at and recall_at")
                .expected("one"));
        }
        Ok(Promise {
            precision: share("precision_at", self.precision_at)?,
            recall: share("recall_at", self.recall_at)?,
            interval: share("interval", self.interval)?.unwrap_or(usual.interval),
        })
    }
}

/// As the program makes it of its options.
fn request(asked: &TrainArguments, tables: &Tables, threads: Option<usize>) -> Result<TrainRequest> {
    let input = |table: &Table| match asked.backbone {
        Some(_) => table.texts(&columns_or_text(&asked.text)),
        None => Ok(table.features()),
    };
    let mut rows = RowsRequest::new(input(&tables.data)?, asked.tasks()?);
    rows.valid = tables.valid.as_ref().map(input).transpose()?;
    rows.test = tables.test.as_ref().map(input).transpose()?;
    rows.split.test_fraction = asked.test_fraction.unwrap_or(rows.split.test_fraction);
    rows.split.valid_fraction = asked.valid_fraction.unwrap_or(rows.split.valid_fraction);
    rows.split.seed = asked.seed.unwrap_or(rows.split.seed);
    rows.rare = asked.rare.as_deref().map_or(Ok(rows.rare), str::parse)?;
    rows.strict = asked.strict;
    let seed = rows.split.seed;
    let mut request = TrainRequest::new(rows, &asked.out);
    let features = match &asked.features {
        Some(features) => features.parse()?,
        None if asked.max_drop.is_some() => FeatureRequest::AUTO,
        None => FeatureRequest::default(),
    };
    request.learning.see(features);
    let fit = &mut request.learning.fit;
    fit.alpha = asked.alpha.as_deref().map_or(Ok(fit.alpha), str::parse)?;
    fit.class_weight = asked.class_weight.as_deref().map_or(Ok(fit.class_weight), str::parse)?;
    (fit.seed, fit.final_fit) = (seed, asked.final_fit);
    fit.promise = asked.promise(fit.promise)?;
    fit.threads = threads.unwrap_or_else(allowed_cores);
    request.freezing = Freezing::new(asked.freeze.clone(), asked.unfreeze.clone())?;
    request.freezing.trained_by = asked.backbone.clone().filter(|path| Thing::of(path) == Thing::Run);
    for (name, value) in &asked.layers {
        request.layers.set(name, value)?;
    }
    request.max_drop = asked.max_drop;
    request.output.overwrite = asked.overwrite;
    Ok(request)
}

/// Layers are trained on the start of a text, and the last layer is all that peers see of one: windows only
/// when they are asked for, or when heads see more and a text is longer than the network reads.
fn long_texts(asked: &TrainArguments, request: &TrainRequest, backbone: &Backbone) -> Result<LongTexts> {
    let windows = || LongTexts::Windows(WindowOptions::within(backbone.positions()));
    match asked.long.as_deref() {
        Some("truncate") => return Ok(LongTexts::Truncate),
        Some("windows") => return Ok(windows()),
        Some(other) => {
            let error = usage("texts cannot be read so").found(format!("long={other:?}"));
            return Err(error.expected("truncate or windows"));
        }
        None => {}
    }
    let text = columns_or_text(&asked.text);
    let truncated = request.learning.features.states == FeatureRequest::default().states
        || request.freezing.trains_layers(&request.rows.tasks, backbone)?
        || text.are_pairs()
        || backbone.tokenizer().check_pieces().is_err();
    let sources = request.rows.sources();
    let longer = !truncated && sources.iter().any(|source| any_longer(backbone, source, &text.first));
    Ok(if longer { windows() } else { LongTexts::Truncate })
}

fn json(figures: &impl Serialize) -> Result<String> {
    serde_json::to_string(figures)
        .map_err(|error| usage("the figures cannot be written as JSON").because(error))
}

/// What `evaluate` is asked for, but for its table.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct EvaluateArguments {
    model: PathBuf,
    text: Option<TextNames>,
    tasks: Option<Vec<String>>,
    separator: Option<String>,
    rows: Option<String>,
    backbone: Option<PathBuf>,
    strict: bool,
}

/// Measures a run or a bundle on a labelled table.
#[pyfunction]
pub fn evaluate(py: Python<'_>, data: &Bound<'_, PyAny>, arguments: &Bound<'_, PyDict>) -> PyResult<String> {
    let table = Table::of(data)?;
    let common: Common = arguments.extract()?;
    let asked: EvaluateArguments = arguments.extract()?;
    let running = common.running(py)?;
    without_interpreter(py, |interrupts| {
        let model = Model::open(&asked.model, None)?;
        let heads = || model.heads().iter().map(|head| head.task.clone()).collect();
        let tasks: Vec<String> = asked.tasks.clone().unwrap_or_else(heads);
        let named = model.kept_columns(&tasks, asked.separator.as_deref())?;
        let kept = Columns { kept: &named, texts: false };
        let mut rows = match &model {
            Model::Run(run) if run.recipe.data.text.is_none() => {
                Dataset::read(&table.features(), kept, asked.strict, None, &mut |_| ())?
            }
            _ => {
                let place = common.place(&running)?;
                let text = asked.text.clone().map(TextNames::columns).or_else(|| model.text_columns());
                let text = text.unwrap_or_else(|| TextColumns::DEFAULT.into());
                let backbone = Arc::new(model.backbone(asked.backbone.as_deref())?);
                let mut embedder = place.embedder(backbone, FeatureChoice::All, model.long())?;
                model.look_at_words(&mut embedder)?;
                let mut progress = |_: &Progress| interrupts.check_or_unwind();
                let input = table.texts(&text)?;
                let mut rows = Dataset::read(&input, kept, asked.strict, Some(&mut embedder), &mut progress)?;
                rows.load(&embedder, covering(&model.columns(&embedder.layout())?))?;
                rows
            }
        };
        let seen = seen_rows(&model, &rows)?;
        if let (Model::Run(run), Some(seen)) = (&model, &seen) {
            keep_out(run, seen, &mut rows, &named)?;
        }
        let evaluator = Evaluator::new(&model, &rows, seen.as_ref(), &tasks)?;
        let which = asked.rows.as_deref().map_or_else(|| Ok(evaluator.default_rows()), str::parse)?;
        json(&evaluator.measure(which, None).map_err(|error| error.or_at(table.path()))?)
    })
}

/// What `bundle` is asked for.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct BundleArguments {
    run: PathBuf,
    out: PathBuf,
    precision: String,
    depth: Option<String>,
    max_drop: f64,
    sign: Option<PathBuf>,
    overwrite: bool,
    keep_embedding: bool,
    backbone: Option<PathBuf>,
}

/// Puts a run into one file, and gives what was tried, if something was.
#[pyfunction]
pub fn bundle(py: Python<'_>, arguments: &Bound<'_, PyDict>) -> PyResult<Option<String>> {
    let common: Common = arguments.extract()?;
    let asked: BundleArguments = arguments.extract()?;
    let running = common.running(py)?;
    without_interpreter(py, |interrupts| {
        let place = common.place(&running)?;
        let mut options = BundleOptions {
            backbone: asked.backbone.clone(),
            sign: asked.sign.clone(),
            overwrite: asked.overwrite,
            keep_embedding: asked.keep_embedding,
            ..BundleOptions::default()
        };
        if asked.precision == "fp32" && asked.depth.is_none() {
            frosthead::bundle_run(&asked.run, &asked.out, &options, &place.runtime)?;
            return Ok(None);
        }
        let run = Run::open(&asked.run)?;
        let elsewhere = asked.backbone.as_deref();
        let backbone = Arc::new(match asked.depth {
            Some(_) => run.backbone(elsewhere)?,
            None => run.deployed_backbone(elsewhere, asked.keep_embedding)?,
        });
        let mut embedder =
            place.embedder(Arc::clone(&backbone), FeatureChoice::All, run.recipe.features.long)?;
        let rows = RunRows::read(&run, &mut embedder, &mut |_| interrupts.check_or_unwind())?;
        let request = PrecisionRequest {
            run: &run,
            backbone: &backbone,
            embedder: &embedder,
            runtime: &place.runtime,
            rows: &rows,
            choice: asked.precision.parse()?,
            depth: asked.depth.as_deref().map(str::parse).transpose()?,
            vocabulary: None,
            table: None,
            ranges: None,
            max_drop: asked.max_drop,
            threads: place.runtime.threads(),
        };
        let (report, chosen) = choose(&request, &mut |_| interrupts.check_or_unwind())?;
        let Some(chosen) = chosen else {
            return Err(usage("no variant costs every task at most so many points")
                .found(format!("max_drop={}", asked.max_drop))
                .help("allow more, or say precision=\"fp32\" without a depth"));
        };
        let (backbone, variant) = (Arc::clone(&chosen.backbone), chosen.variant.clone());
        options.deployed = Some(Deployed { backbone, variant });
        frosthead::bundle_run(&asked.run, &asked.out, &options, &place.runtime)?;
        json(&report).map(Some)
    })
}

/// Makes a backbone directory of a published encoder.
#[pyfunction]
pub fn import_backbone(
    py: Python<'_>,
    source: PathBuf,
    out: PathBuf,
    overwrite: bool,
    onnxruntime: Option<PathBuf>,
) -> PyResult<()> {
    let running = Running::new(py, None, "cpu", onnxruntime)?;
    without_interpreter(py, |_| {
        let options = ImportOptions { overwrite, runtime: running.options()?, ..ImportOptions::default() };
        frosthead::import(&source, &out, &options).map(drop)
    })
}
