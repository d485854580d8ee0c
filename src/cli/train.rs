//! Owns `frosthead train`: labelled rows → a run, and the table of what it reached.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::classes::say_classes;
use super::depths::parse_points;
use super::fitted::{rows_in_words, say_calibration, say_fits, say_frozen, say_rows, say_training};
use super::given::{Given, Idle, names};
use super::learning::LearningArguments;
use super::network::{FreezeArguments, NetworkArguments, TrainProgress};
use super::options::{LongArguments, RuntimeArguments, StrictArguments, TableArguments, TrustArguments};
use super::pages::write_page;
use super::printing::print_result;
use super::stores::{DepthArguments, StoreArguments, idle_on_features};
use super::terminal::{Terminal, grouped};
use super::train_result::{Asked, described};
use super::trainings::{Instead, Training, idle};
use super::{Outcome, measured};
use frosthead::internal::backbone::Backbone;
use frosthead::internal::data::Format;
use frosthead::internal::dataset::Input;
use frosthead::internal::encoder::FeatureChoice;
use frosthead::internal::error::{Error, Kind, Result};
use frosthead::internal::heads::WordsWanted;
use frosthead::internal::quantities::counted;
use frosthead::internal::recognize::Thing;
use frosthead::internal::report::Measured;
use frosthead::internal::train::{
    Drift, FeatureRequest, Freezing, FrozenHead, Output, RunMetrics, StatesRequest, TrainRequest, Trained,
    train,
};

/// Train what the freeze plan leaves free (by default one head per task on a frozen backbone), measure it,
/// and write a run.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frosthead train data.csv --backbone models/all-MiniLM-L6-v2 --task domain --task sentiment --out runs/first
  frosthead train features.parquet --task domain --class-weight balanced --out runs/second
  frosthead train data.csv --backbone models/all-MiniLM-L6-v2 --task domain --task sentiment --unfreeze 0,1,2 --out runs/third")]
pub(crate) struct Arguments {
    /// A table of labelled texts; without --backbone, a Parquet of features.
    data: String,
    /// The backbone directory, or an earlier run to continue from its trained backbone; without it DATA holds
    /// features.
    #[arg(long, value_name = "DIR")]
    backbone: Option<PathBuf>,
    /// Where fitting heads of a bundle anew went.
    #[arg(long, value_name = "BUNDLE", hide = true, value_parser = now_refit)]
    from: Option<String>,
    /// The run directory to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What the heads see: `last` (the sentence embedding), `layers:A-B` or `all` (the mean states of these
    /// layers, side by side), or `auto`: for each task the smallest features within one standard error of the
    /// best, on training rows [default: last; with --depth or --max-drop auto, or the highest layer where
    /// layers are trained]. `+words` behind a choice adds the word pieces of a text and their pairs; `auto`
    /// adds them where they help on held-out training rows, `auto-words` never does. `words` is words alone.
    #[arg(long, value_name = "WHICH")]
    features: Option<FeatureRequest>,
    /// Run the fewest layers of a frozen backbone that are enough: the smallest depth (at most --depth) at
    /// which no task loses more points of accuracy or macro-F1 than this, on rows its heads have not seen.
    #[arg(long, value_name = "POINTS", value_parser = parse_points)]
    max_drop: Option<f64>,
    /// The feature column of a Parquet [default: `embedding`, or the only column of number lists].
    #[arg(long, value_name = "COLUMN", conflicts_with = "backbone")]
    features_column: Option<String>,
    /// After measuring, fit the heads again on all rows, test rows included; the figures shown are those of
    /// the fit before.
    #[arg(long = "final")]
    final_fit: bool,
    /// Exit with 1 when any task's macro-F1 on the test rows is lower.
    #[arg(long, value_name = "F1")]
    min_f1: Option<f64>,
    /// Print metrics.json to standard output.
    #[arg(long)]
    json: bool,
    /// Write a page with the test figures: calibration, classes, confusions.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Replace a run that was made from something else.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    learning: LearningArguments,
    #[command(flatten)]
    freeze: FreezeArguments,
    #[command(flatten)]
    network: NetworkArguments,
    #[command(flatten)]
    table: TableArguments,
    #[command(flatten)]
    texts: StrictArguments,
    #[command(flatten)]
    long: LongArguments,
    #[command(flatten)]
    depth: DepthArguments,
    #[command(flatten)]
    store: StoreArguments,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    runtime: RuntimeArguments,
}

pub(crate) fn run(arguments: &Arguments, given: &Given, terminal: &Terminal) -> Result<Outcome> {
    let request = request(arguments)?;
    arguments.learning.refuse_idle(given, &request.rows.tasks)?;
    let tasks = request.rows.tasks.names();
    let trained = match &arguments.backbone {
        None => {
            refuse_idle(given, &request, None)?;
            let mut progress = TrainProgress::new(terminal, None, &tasks);
            train(&request, None, &mut |event| progress.show(event))?
        }
        Some(directory) => {
            given.refuse([TrustArguments::idle([&**directory]), arguments.long.idle()])?;
            train_on_texts((arguments, given), (&request, &tasks), directory, terminal)?
        }
    };
    let metrics = trained.metrics();
    if let Trained::UpToDate(_) = trained {
        say_classes(terminal, &metrics.classes);
    }
    say_rows(terminal, metrics);
    print_result(arguments.json, metrics, || described(metrics, asked(arguments, &request)))?;
    measured::say_unmeasured(terminal, &metrics.tasks, "no test row");
    if let Some(path) = &arguments.html {
        let page = Measured {
            title: format!("Run {}", arguments.out.display()),
            about: format!("{}, {}.", arguments.data, rows_in_words(metrics)),
            rows: "test rows".to_owned(),
            tasks: &metrics.tasks,
        };
        write_page(path, &page, terminal)?;
    }
    if let Trained::Written(summary) = &trained {
        say_fits(terminal, &summary.fits, metrics);
        say_training(terminal, summary);
    }
    say_calibration(terminal, metrics, arguments.learning.interval);
    for (task, rows) in &metrics.final_rows {
        terminal.say(format!(
            "{task}: fitted once more on all {}; the figures are of the fit before",
            counted(*rows, "labelled row")
        ));
    }
    let up_to_date = if matches!(trained, Trained::UpToDate(_)) { "up to date" } else { "written" };
    terminal.say(format!("{}: {up_to_date}", arguments.out.display()));
    say_frozen(terminal, metrics);
    if arguments.freeze.max_drift.is_some_and(|most| drifted(terminal, metrics, most)) {
        return Ok(Outcome::CriterionMissed);
    }
    Ok(measured::criterion(&metrics.tasks, arguments.min_f1, terminal))
}

/// What of the request leaves something else to try.
fn asked<'a>(arguments: &'a Arguments, request: &TrainRequest) -> Asked<'a> {
    let FreezeArguments { freeze, unfreeze, .. } = &arguments.freeze;
    let on_texts = arguments.backbone.is_some();
    let only_heads = unfreeze.is_empty() && freeze.iter().all(|what| what == "backbone");
    let last = request.learning.features.states == FeatureRequest::default().states;
    Asked {
        data: &arguments.data,
        out: &arguments.out,
        last_layer_only: on_texts && only_heads && last,
        only_heads: on_texts && only_heads,
    }
}

/// Whether a frozen head lost more than so many points of accuracy, or may have.
fn drifted(terminal: &Terminal, metrics: &RunMetrics, most: f64) -> bool {
    let points = |drift: &Drift| Some(100.0 * (drift.before? - drift.after?));
    let lost: Option<Vec<f64>> = metrics.drift.values().map(points).collect();
    let Some(lost) = lost else {
        terminal.warn("nothing to measure a frozen head's loss on: --max-drift is not met");
        return true;
    };
    let lost = lost.into_iter().fold(0.0, f64::max);
    if lost > most {
        terminal.warn(format!("a frozen head lost {lost:.2} points of accuracy: more than --max-drift"));
    }
    lost > most
}

/// Trains on texts: their features come from the backbone, through the store.
fn train_on_texts(
    (arguments, given): (&Arguments, &Given),
    (request, tasks): (&TrainRequest, &[String]),
    directory: &Path,
    terminal: &Terminal,
) -> Result<Trained> {
    let runtime = arguments.runtime.load(terminal)?;
    let text = arguments.table.text()?;
    let backbone = arguments.trust.open_backbone(directory, &runtime)?;
    let mut backbone = Arc::new(arguments.depth.cut(backbone)?.reading(text.are_pairs())?);
    if request.learning.features.states == StatesRequest::Choice(FeatureChoice::Nothing)
        && backbone.is_cut_anywhere()
    {
        // Words alone need no layer.
        backbone = Arc::new(Backbone::clone(&backbone).to_depth(0)?);
    }
    refuse_idle(given, request, Some(&backbone))?;
    given.refuse([StoreArguments::idle([&*backbone])])?;
    let max_length = backbone.manifest().preparation.max_length;
    let sources = request.rows.sources();
    // Layers are trained on the start of a text, and the last layer is all that peers see of one: windows
    // only when asked for.
    let truncated = request.learning.features.states == FeatureRequest::default().states
        || request.freezing.trains_layers(&request.rows.tasks, &backbone)?;
    let long = if truncated {
        arguments.long.resolve(&backbone, || false)?
    } else {
        arguments.long.resolve_for(&backbone, &sources, &text)?
    };
    let store = match request.learning.features.states {
        StatesRequest::Choice(choice) => arguments.store.clone().for_features(choice),
        StatesRequest::Auto => arguments.store.clone(),
    };
    let (mut embedder, rows) = store.open(backbone, runtime, long, &sources, terminal)?;
    let mut progress = TrainProgress::new(terminal, rows, tasks);
    let trained = train(request, Some(&mut embedder), &mut |event| progress.show(event))?;
    drop(progress);
    let work = embedder.work();
    terminal.detail(format!(
        "{} texts computed, {} from the store",
        grouped(work.texts),
        grouped(embedder.reused())
    ));
    terminal.notes(&trained.metrics().texts, long, max_length);
    Ok(trained)
}

const INSTEAD: Instead = Instead {
    layers: "train some: --unfreeze 1",
    deeper: "train more: --unfreeze 2",
    states: "freeze them: --freeze backbone:embeddings",
    frozen: "say --freeze all",
    chosen: "say --features auto",
};

/// Refuses options that have no effect on this training; without a backbone it is one on features.
fn refuse_idle(given: &Given, request: &TrainRequest, backbone: Option<&Backbone>) -> Result<()> {
    let TrainRequest { freezing, learning, layers, .. } = request;
    let of_features = |option: &str, instead| Idle {
        when: backbone.is_none(),
        options: names(&[option]),
        why: "the table holds features, and heads see them as they are",
        instead,
    };
    let features = of_features("features", "choose their column with --features-column");
    let depth = of_features("depth", "give texts and --backbone");
    let drop = of_features("max-drop", "give texts and --backbone");
    given.refuse([idle_on_features(backbone.is_none()), features, depth, drop])?;
    let training = Training {
        stages: request.plans(backbone)?,
        depth: backbone.and_then(Backbone::layers).unwrap_or(0),
        head_init: layers.head_init,
        frozen_head: &freezing.init_heads,
        chooses: learning.features.chooses(),
        words: learning.features.words != WordsWanted::No && backbone.is_some(),
    };
    let moves = training.network().next().is_some();
    let frozen_head = !training.first().frozen_heads().is_empty();
    let line = |when, options: &[&str], why, instead| Idle { when, options: names(options), why, instead };
    let freeze = "freeze one: --freeze head:TASK";
    let drift = [
        line(!moves, &["max-drift"], "the backbone does not move", INSTEAD.layers),
        line(!frozen_head, &["max-drift"], "no head is frozen", freeze),
        line(
            !frozen_head && freezing.init_heads == FrozenHead::Fitted,
            &["init-heads"],
            "no head is frozen",
            freeze,
        ),
    ];
    given.refuse(idle(&[training], &INSTEAD).into_iter().chain(drift))
}

/// What heads see where nothing was asked for.
fn default_features(arguments: &Arguments) -> FeatureRequest {
    let FreezeArguments { freeze, unfreeze, .. } = &arguments.freeze;
    let only_heads =
        unfreeze.iter().all(|layers| *layers == 0) && freeze.iter().all(|what| what == "backbone");
    match arguments.depth.depth {
        _ if arguments.max_drop.is_some() => FeatureRequest::AUTO,
        None => FeatureRequest::default(),
        Some(_) if only_heads => FeatureRequest::AUTO,
        Some(depth) => FeatureRequest::of(FeatureChoice::highest(depth)),
    }
}

fn request(arguments: &Arguments) -> Result<TrainRequest> {
    let input = |data: &str| -> Result<Input> {
        let table = &arguments.table;
        let source = table.source_of(data, &arguments.data)?;
        if arguments.backbone.is_some() {
            return Ok(Input::Texts { source, columns: arguments.table.text()? });
        }
        match (source.format, source.path) {
            (Format::Parquet, Some(path)) => {
                Ok(Input::Features { path, column: arguments.features_column.clone() })
            }
            _ => Err(Error::new(Kind::Usage, "a table of texts needs a backbone")
                .at(data)
                .help("say --backbone models/NAME, or give a Parquet of features made by `frosthead embed`")),
        }
    };
    let Arguments { learning, freeze, network, table, texts, features, .. } = arguments;
    let FreezeArguments { freeze, unfreeze, init_heads, .. } = freeze;
    let mut freezing = Freezing::new(freeze.clone(), unfreeze.clone())?;
    (freezing.init_heads, freezing.label_text) = (FrozenHead::of(init_heads), network.label_text(table)?);
    freezing.trained_by = arguments.backbone.clone().filter(|path| Thing::of(path) == Thing::Run);
    let rows = learning.rows(&arguments.data, network.tasks(learning.tasks()?)?, &input, texts.strict)?;
    let features = features.unwrap_or_else(|| default_features(arguments));
    let mut learning = learning.learning(features, &arguments.runtime)?;
    learning.fit.final_fit = arguments.final_fit;
    Ok(TrainRequest {
        rows,
        learning,
        freezing,
        layers: network.layers(),
        max_drop: arguments.max_drop,
        output: Output { path: arguments.out.clone(), overwrite: arguments.overwrite },
    })
}

/// `train --from` of earlier versions is a command of its own.
fn now_refit(bundle: &str) -> std::result::Result<String, String> {
    Err(format!(
        "train --from is now frosthead refit: `frosthead refit {bundle} DATA --task TASK --out y.frost`"
    ))
}
