//! Owns recipe → run: split the rows, fit one head per task on frozen features, measure on held-out rows, write the run.
//!
//! Refuses to touch the backbone, and to overwrite a run made from something else.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::backbone::Backbone;
use crate::classifier::run::{
    BackboneRecipe, DataRecipe, FIT, FORMAT, FeaturesRecipe, HEADS, HeadsRecipe, METRICS, RECIPE, ROWS,
    Recipe, SplitRecipe, SplitRows,
};
use crate::classifier::{TaskRows, measure};
use crate::data::{LabelSet, Part, SplitOptions, replace_directory, split};
use crate::dataset::{Columns, Dataset, Input};
use crate::embed::{Embedder, Progress, TextNotes};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::Fields;
use crate::heads::{self, Examples, FitOptions, FitReport, Head};
use crate::metrics::TaskMetrics;

/// What to train, on what, and where to put it.
#[derive(Debug, Clone)]
pub struct TrainRequest {
    pub data: Input,
    /// Validation rows of their own; otherwise a fraction of the training rows.
    pub valid: Option<Input>,
    /// Test rows of their own; otherwise a fraction of all rows.
    pub test: Option<Input>,
    /// Label columns; one head each.
    pub tasks: Vec<String>,
    pub split: SplitOptions,
    pub fit: FitOptions,
    /// Empty texts and NUL bytes are errors.
    pub strict: bool,
    pub output: PathBuf,
    pub overwrite: bool,
}

/// How many rows went where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    pub rows: u64,
    pub train: u64,
    pub valid: u64,
    pub test: u64,
    /// Training rows left out because their text is among the test or validation rows of another file.
    pub left_out: u64,
}

/// `metrics.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunMetrics {
    /// On the test rows.
    pub tasks: BTreeMap<String, TaskMetrics>,
    /// On the validation rows.
    pub valid: BTreeMap<String, TaskMetrics>,
    pub sizes: Sizes,
    /// Rows without a label, per task.
    pub unlabelled: BTreeMap<String, u64>,
    /// What was odd about the texts.
    pub texts: TextNotes,
    pub seed: u64,
}

/// The outcome of [`train`].
#[derive(Debug)]
pub enum Trained {
    /// The run had been made from the same inputs before.
    UpToDate(Box<RunMetrics>),
    /// The run was written.
    Written(Box<TrainSummary>),
}

impl Trained {
    /// The run's figures.
    #[must_use]
    pub fn metrics(&self) -> &RunMetrics {
        match self {
            Self::UpToDate(metrics) => metrics,
            Self::Written(summary) => &summary.metrics,
        }
    }
}

/// What [`train`] did.
#[derive(Debug)]
pub struct TrainSummary {
    pub metrics: RunMetrics,
    pub fits: Vec<FitReport>,
}

/// Trains a run. `embedder` is needed when any input is a table of texts.
///
/// # Errors
/// The inputs are malformed, cannot be split or fitted, or the run cannot be written.
pub fn train(
    request: &TrainRequest,
    mut embedder: Option<&mut Embedder>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Trained> {
    let mut recipe = recipe(request, embedder.as_deref().map(|embedder| &**embedder.backbone()))?;
    if let Some(metrics) = up_to_date(request, &recipe)? {
        return Ok(Trained::UpToDate(Box::new(metrics)));
    }
    let mut load = |input: &Input| load(input, request, embedder.as_deref_mut(), progress);
    let mut rows = load(&request.data)?;
    let labels = label_sets(request, &rows)?;
    let mut load_other = |input: &Input| {
        let rows = load(input)?;
        check_labels(request, input, &rows, &labels)?;
        Ok(rows)
    };
    let valid = request.valid.as_ref().map(&mut load_other).transpose()?;
    let test = request.test.as_ref().map(&mut load_other).transpose()?;
    let parts = divide(request, &mut rows, &labels, valid, test)?;
    recipe.features.width = rows.width;
    if recipe.backbone.is_none() {
        recipe.backbone = rows.made_with.clone().map(|(name, fingerprint)| BackboneRecipe {
            name,
            fingerprint,
            directory: None,
        });
    }
    let (heads, fits) = fit_heads(request, &rows, &labels, &parts)?;
    let metrics = RunMetrics {
        tasks: measure_part(request, &rows, &heads, &parts, Part::Test)?,
        valid: measure_part(request, &rows, &heads, &parts, Part::Valid)?,
        sizes: sizes(&parts),
        unlabelled: request
            .tasks
            .iter()
            .zip(&rows.cells)
            .map(|(task, cells)| (task.clone(), cells.iter().filter(|cell| cell.is_none()).count() as u64))
            .collect(),
        texts: rows.notes,
        seed: request.split.seed,
    };
    let seen =
        SplitRows::new(rows.keys.iter().zip(&parts).filter_map(|(key, part)| part.map(|part| (*key, part))));
    write(request, &recipe, &heads, &fits, &metrics, &seen)?;
    Ok(Trained::Written(Box::new(TrainSummary { metrics, fits })))
}

/// The recipe of a request, without the feature width, which only the data tell.
fn recipe(request: &TrainRequest, backbone: Option<&Backbone>) -> Result<Recipe> {
    let path = |input: &Input| input.path().map_or_else(|| "-".to_owned(), |path| path.display().to_string());
    let data = request.data.fingerprint()?;
    let text = match &request.data {
        Input::Texts { column, .. } => Some(column.clone()),
        Input::Features { .. } => None,
    };
    let backbone = backbone.filter(|_| text.is_some()).map(|backbone| BackboneRecipe {
        name: backbone.manifest().name.clone(),
        fingerprint: backbone.manifest().fingerprint(),
        directory: Some(
            backbone.directory().canonicalize().unwrap_or_else(|_| backbone.directory().to_path_buf()),
        ),
    });
    let mut inputs = Fields::new("frosthead train 1")
        .field("input", format!("{:?}", request.data))
        .field("data", data.0)
        .field("tasks", request.tasks.join("\0"))
        .field("split", format!("{:?}", request.split))
        .field("fit", format!("{:?} {:?}", request.fit.alpha, request.fit.class_weight));
    for (name, input) in [("valid", &request.valid), ("test", &request.test)] {
        if let Some(input) = input {
            inputs = inputs.field(name, input.fingerprint()?.0);
        }
    }
    if let Some(backbone) = &backbone {
        inputs = inputs.field("backbone", backbone.fingerprint.0);
    }
    Ok(Recipe {
        format: FORMAT,
        frosthead: env!("CARGO_PKG_VERSION").to_owned(),
        tasks: request.tasks.clone(),
        seed: request.split.seed,
        inputs: inputs.finish(),
        data: DataRecipe {
            path: path(&request.data),
            fingerprint: data,
            text: text.clone(),
            valid: request.valid.as_ref().map(path),
            test: request.test.as_ref().map(path),
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
            kind: if text.is_some() { "last".to_owned() } else { "column".to_owned() },
            width: 0,
        },
        backbone,
    })
}

/// The metrics of a run that is there already and was made from the same inputs.
fn up_to_date(request: &TrainRequest, recipe: &Recipe) -> Result<Option<RunMetrics>> {
    if !request.output.exists() || request.overwrite {
        return Ok(None);
    }
    let path = request.output.join(METRICS);
    let same = Recipe::open(&request.output).is_ok_and(|there| there.inputs == recipe.inputs);
    let metrics = std::fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str(&text).ok());
    match metrics {
        Some(metrics) if same => Ok(Some(metrics)),
        _ => Err(Error::new(Kind::Exists, "the output exists and was made from something else")
            .at(&request.output)
            .help("choose another --out, or say --overwrite")),
    }
}

fn load(
    input: &Input,
    request: &TrainRequest,
    embedder: Option<&mut Embedder>,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Dataset> {
    let columns = Columns { kept: &request.tasks, texts: false };
    match (input, embedder) {
        (Input::Texts { source, column }, Some(embedder)) => {
            Dataset::from_texts(embedder, source, column, columns, request.strict, progress)
        }
        (Input::Features { path, column }, _) => Dataset::from_features(path, column.as_deref(), columns),
        (Input::Texts { .. }, None) => Err(Error::new(Kind::Usage, "a table of texts needs a backbone")
            .help("say --backbone models/NAME, or give a Parquet of features")),
    }
    .map_err(|error| match input.path() {
        Some(path) => error.at(path),
        None => error,
    })
}

fn label_sets(request: &TrainRequest, rows: &Dataset) -> Result<Vec<LabelSet>> {
    request
        .tasks
        .iter()
        .zip(&rows.cells)
        .map(|(task, cells)| LabelSet::from_values(task, cells.iter().map(Option::as_deref)))
        .collect::<Result<_>>()
        .map_err(|error| match request.data.path() {
            Some(path) => error.at(path),
            None => error,
        })
}

/// Refuses a validation or test file with a label that training never saw, while its rows still have their own numbers.
fn check_labels(request: &TrainRequest, input: &Input, rows: &Dataset, labels: &[LabelSet]) -> Result<()> {
    for ((task, labels), cells) in request.tasks.iter().zip(labels).zip(&rows.cells) {
        TaskRows::new(task, labels.names(), cells, 0..cells.len()).map_err(|error| match input.path() {
            Some(path) => error.at(path),
            None => error,
        })?;
    }
    Ok(())
}

/// Gives every row its part and appends the rows of other files. `None`: the row is left out, because its text is in a test
/// or validation file.
fn divide(
    request: &TrainRequest,
    rows: &mut Dataset,
    labels: &[LabelSet],
    valid: Option<Dataset>,
    test: Option<Dataset>,
) -> Result<Vec<Option<Part>>> {
    let encoded: Vec<Vec<Option<u32>>> = labels
        .iter()
        .zip(&rows.cells)
        .map(|(labels, cells)| {
            cells.iter().map(|cell| cell.as_deref().and_then(|cell| labels.index(cell))).collect()
        })
        .collect();
    let mut options = request.split.clone();
    options.test_fraction = if test.is_some() { 0.0 } else { options.test_fraction };
    options.valid_fraction = if valid.is_some() { 0.0 } else { options.valid_fraction };
    let mut parts: Vec<Option<Part>> = split(&rows.keys, &encoded, &options)?.into_iter().map(Some).collect();
    // Test first: a text in both files belongs to the test.
    for (other, part) in [(test, Part::Test), (valid, Part::Valid)] {
        let Some(other) = other else { continue };
        check_width(rows, &other)?;
        let taken: std::collections::HashSet<_> = other.keys.iter().copied().collect();
        for (key, own) in rows.keys.iter().zip(&mut parts) {
            if taken.contains(key) && *own != Some(Part::Test) {
                *own = None;
            }
        }
        let tested: std::collections::HashSet<_> = rows
            .keys
            .iter()
            .zip(&parts)
            .filter(|(_, own)| **own == Some(Part::Test))
            .map(|(key, _)| *key)
            .collect();
        parts.extend(
            other
                .keys
                .iter()
                .map(|key| Some(part).filter(|part| *part == Part::Test || !tested.contains(key))),
        );
        rows.keys.extend(other.keys);
        rows.features.extend(other.features);
        for (own, cells) in rows.cells.iter_mut().zip(other.cells) {
            own.extend(cells);
        }
    }
    Ok(parts)
}

fn check_width(rows: &Dataset, other: &Dataset) -> Result<()> {
    if rows.width == other.width {
        return Ok(());
    }
    Err(Error::new(Kind::Table, "the files hold features of different lengths")
        .found(other.width.to_string())
        .expected(rows.width.to_string())
        .help("make both with the same backbone"))
}

fn task_rows(
    task: &str,
    names: &[String],
    cells: &[Option<String>],
    parts: &[Option<Part>],
    part: Part,
) -> Result<TaskRows> {
    TaskRows::new(task, names, cells, (0..parts.len()).filter(|&row| parts[row] == Some(part)))
}

/// Fits one head per task, several at a time when there are threads for it; the result does not depend on how many.
fn fit_heads(
    request: &TrainRequest,
    rows: &Dataset,
    labels: &[LabelSet],
    parts: &[Option<Part>],
) -> Result<(Vec<Head>, Vec<FitReport>)> {
    let tasks: Vec<(&String, &LabelSet, &Vec<Option<String>>)> = request
        .tasks
        .iter()
        .zip(labels)
        .zip(&rows.cells)
        .map(|((task, labels), cells)| (task, labels, cells))
        .collect();
    let at_once = request.fit.threads.clamp(1, tasks.len().max(1));
    let options = FitOptions { threads: request.fit.threads / at_once, ..request.fit.clone() };
    let fit_one = |&(task, labels, cells): &(&String, &LabelSet, &Vec<Option<String>>)| {
        let chosen = task_rows(task, labels.names(), cells, parts, Part::Train)?;
        let TaskRows { rows: chosen, labels: classes } = &chosen;
        let examples =
            Examples { features: &rows.features, width: rows.width, rows: chosen, labels: classes };
        heads::fit(task, labels.names(), &examples, &options)
    };
    let mut fitted = Vec::new();
    for group in tasks.chunks(at_once) {
        std::thread::scope(|scope| {
            let running: Vec<_> = group.iter().map(|task| scope.spawn(|| fit_one(task))).collect();
            for thread in running {
                fitted.push(thread.join().expect("a fit returns its errors: a panic in it is a bug"));
            }
        });
    }
    let fitted = fitted.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(fitted.into_iter().unzip())
}

fn measure_part(
    request: &TrainRequest,
    rows: &Dataset,
    heads: &[Head],
    parts: &[Option<Part>],
    part: Part,
) -> Result<BTreeMap<String, TaskMetrics>> {
    request
        .tasks
        .iter()
        .zip(heads)
        .zip(&rows.cells)
        .map(|((task, head), cells)| {
            let chosen = task_rows(task, &head.labels, cells, parts, part)?;
            Ok((task.clone(), measure(head, &rows.features, &chosen)))
        })
        .collect()
}

fn sizes(parts: &[Option<Part>]) -> Sizes {
    let count = |part| parts.iter().filter(|own| **own == part).count() as u64;
    Sizes {
        rows: parts.len() as u64,
        train: count(Some(Part::Train)),
        valid: count(Some(Part::Valid)),
        test: count(Some(Part::Test)),
        left_out: count(None),
    }
}

fn write(
    request: &TrainRequest,
    recipe: &Recipe,
    heads: &[Head],
    fits: &[FitReport],
    metrics: &RunMetrics,
    rows: &SplitRows,
) -> Result<()> {
    replace_directory(&request.output, request.overwrite, |directory| {
        let put = |name: &str, bytes: &[u8]| {
            let path = directory.join(name);
            std::fs::write(&path, bytes).map_err(|source| Error::io("write", path, source))
        };
        heads::save(&directory.join(HEADS), heads)?;
        put(FIT, json(fits)?.as_bytes())?;
        put(METRICS, json(metrics)?.as_bytes())?;
        put(ROWS, &rows.to_bytes()?)?;
        put(RECIPE, recipe.to_toml()?.as_bytes())
    })
}

fn json(value: &(impl Serialize + ?Sized)) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|source| Error::new(Kind::Run, "the results cannot be written as JSON").because(source))
}
