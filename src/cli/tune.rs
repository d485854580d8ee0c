//! Owns `frosthead tune`: the fastest threads and batches for a network on this machine, shown and kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::Outcome;
use super::bench::first_texts;
use super::doctor::times;
use super::given::{Given, Idle, group};
use super::options::{RuntimeArguments, TableArguments, TrustArguments};
use super::printing::{Columns, print_result, table};
use super::terminal::{Terminal, grouped};
use frosthead::internal::backbone::Backbone;
use frosthead::internal::classifier::Model;
use frosthead::internal::data::TextColumns;
use frosthead::internal::encoder::FeatureChoice;
use frosthead::internal::error::{Error, Kind, Result};
use frosthead::internal::quantities::duration;
use frosthead::internal::runtime::{Runtime, allowed_cores, load_average};
use frosthead::internal::tokens::LongTexts;
use frosthead::internal::tuning::{
    Grid, Kept, Key, Networks, NetworksOptions, Samples, Search, Trial, check_device, folder, keep,
    made_up_texts, search,
};

/// Texts that samples are taken from: as many as are sorted into batches together.
const TEXTS: usize = 8192;
/// The share of the cores that others may take before a warning.
const BUSY: f64 = 0.25;

/// Find the fastest number of threads and size of batches for a network here, and keep them for all commands.
///
/// The setting is kept for networks of this size and precision, on this processor, number of cores and version
/// of ONNX Runtime. --threads, --token-budget and --no-tuning override it. No result changes, only the speed.
/// With --threads here, only the size of batches is searched.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frosthead tune data.csv --backbone models/all-MiniLM-L6-v2
  frosthead tune reviews.jsonl --text review --model x.frost --seconds 120
  frosthead tune --backbone models/all-MiniLM-L6-v2 --full-sweep")]
pub(crate) struct Arguments {
    /// A table of texts like yours. Without it, texts of usual lengths are made up.
    data: Option<String>,
    /// The backbone directory, or a run or bundle for its backbone.
    #[arg(long, value_name = "DIR", required_unless_present = "model", conflicts_with = "model")]
    backbone: Option<PathBuf>,
    /// A run directory or bundle; its texts are read as it reads them.
    #[arg(long, value_name = "RUN")]
    model: Option<PathBuf>,
    /// About how long to search; a large network takes longer.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..))]
    seconds: u16,
    /// Measure every setting as well, and show how far from the best one the search ended.
    #[arg(long)]
    full_sweep: bool,
    /// Print JSON to standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    table: TableArguments,
    #[command(flatten)]
    trust: TrustArguments,
    #[command(flatten)]
    runtime: RuntimeArguments,
}

#[derive(Serialize)]
struct Report<'r> {
    #[serde(flatten)]
    found: &'r Search,
    own_texts: bool,
    file: &'r Path,
}

pub(crate) fn run(arguments: &Arguments, given: &Given, terminal: &Terminal) -> Result<Outcome> {
    let made_up = Idle {
        when: arguments.data.is_none(),
        options: group::<TableArguments>(),
        why: "no table is read, the texts are made up",
        instead: "give a table of texts",
    };
    let named = [&arguments.backbone, &arguments.model].into_iter().flatten();
    given.refuse([made_up, TrustArguments::idle(named.map(PathBuf::as_path))])?;
    check_device(arguments.runtime.options().device)?;
    let folder = folder().ok_or_else(|| {
        Error::new(Kind::Usage, "no place to keep a tuning is known")
            .found("neither FROSTHEAD_CONFIG, XDG_CONFIG_HOME nor HOME")
            .help("set FROSTHEAD_CONFIG to a directory")
    })?;
    let runtime = arguments.runtime.load(terminal)?;
    let grid = Grid::of(&runtime)?;
    warn_of_load(load_average(), allowed_cores(), terminal);
    let (backbone, options, text) = network(arguments, &runtime)?;
    let texts = match &arguments.data {
        Some(data) => first_texts(&arguments.table.source(data)?, &text, TEXTS)?,
        None => made_up_texts(TEXTS, backbone.reads_pairs()),
    };
    let samples = Samples::of(&backbone, &texts)?;
    let mut networks = Networks::new(&backbone, &runtime, options, &samples);
    let (plan, seconds) = networks.plan(&grid, arguments.seconds.into(), arguments.full_sweep)?;
    terminal.say(format!(
        "timed on {} of {} {}; about {}",
        grouped(samples.first(plan.samples).map(Vec::len).sum::<usize>() as u64),
        grouped(texts.len() as u64),
        if arguments.data.is_some() { "texts" } else { "made-up texts (a table of your own tunes better)" },
        duration(seconds)
    ));
    let found = search(&grid, plan, &mut networks, &mut |what| terminal.say(what))?;
    let key = Key::of(&backbone, &runtime);
    let gain = found.gain.filter(|_| found.kept != found.default);
    let rate = found.trials.iter().find(|trial| trial.setting == found.kept);
    let kept = Kept::new(key, &backbone.manifest().name, found.kept, gain)
        .on(arguments.data.is_some(), rate.map_or(0.0, |trial| trial.texts_per_second));
    let file = keep(&folder, &kept)?;
    let report = Report { found: &found, own_texts: arguments.data.is_some(), file: &file };
    print_result(arguments.json, &report, || described(&found))?;
    terminal.say(format!("{}: written, in {}", file.display(), duration(found.seconds)));
    Ok(Outcome::Done)
}

/// Says that other work runs: with cores that are taken, fewer threads are the fastest.
fn warn_of_load(load: Option<f64>, cores: usize, terminal: &Terminal) {
    let busy = load.filter(|load| *load > BUSY * cores as f64);
    if let Some(load) = busy {
        terminal.warn(format!(
            "other work runs on this machine (load average {load:.1}, {cores} cores): what is fastest now may not be when it is \
             quiet; tune it again then"
        ));
    }
}

/// The network to tune, how its texts are read, and the columns they are in.
fn network(
    arguments: &Arguments,
    runtime: &Runtime,
) -> Result<(Arc<Backbone>, NetworksOptions, TextColumns)> {
    let Arguments { backbone, model, trust, table, .. } = arguments;
    if let Some(path) = backbone {
        let options = NetworksOptions { stored: FeatureChoice::All, long: LongTexts::Truncate };
        let text = table.text()?;
        let backbone = trust.open_backbone(path, runtime)?.reading(text.are_pairs())?;
        return Ok((Arc::new(backbone), options, text));
    }
    let path = model.as_deref().unwrap_or(Path::new(""));
    let model = Model::open(path, trust.trust.as_ref())?;
    let stored = match &model {
        Model::Run(run) => run.stored(),
        Model::Bundle(bundle) => {
            if !trust.skip_self_test {
                bundle.self_test(&mut bundle.extractor(runtime)?)?;
            }
            bundle.stored()
        }
    };
    let options = NetworksOptions { stored, long: model.long() };
    Ok((Arc::new(model.backbone(None)?), options, table.text_of(&model)?))
}

/// What was tried, and what came of it.
fn described(found: &Search) -> String {
    let headings = ["threads", "tokens a batch", "buckets", "texts/s", "× default", "passes", "which"];
    let mut lines = vec![headings.map(str::to_owned).to_vec()];
    lines.extend(found.trials.iter().map(|trial| line(trial, found)));
    let mut text = table(Columns { numbers: (0, 6), ..Columns::keyed(1) }, &lines);
    if let Some(sweep) = &found.sweep {
        let all = sweep.settings;
        text += &match &sweep.pick_against_best {
            None => format!("the search's pick is the best of all {all}\n"),
            Some(gain) => {
                format!("the search's pick is {} as fast as the best of all {all}\n", times(gain))
            }
        };
    }
    text += &match &found.gain {
        Some(gain) if found.kept != found.default => {
            format!("kept: {}, {} the speed of the default\n", found.kept, times(gain))
        }
        Some(gain) => format!(
            "kept: the default ({}), as nothing is faster beyond noise (beside it, the search's pick is {} its speed)\n",
            found.kept,
            times(gain)
        ),
        None => format!("kept: the default ({}), as it is the fastest\n", found.kept),
    };
    text
}

fn line(trial: &Trial, found: &Search) -> Vec<String> {
    let Trial { setting, texts_per_second, speed, passes, .. } = trial;
    let marks = [
        ("default", Some(found.default)),
        ("search's pick", Some(found.pick)),
        ("sweep's best", found.sweep.as_ref().map(|sweep| sweep.best)),
    ];
    let marks: Vec<&str> =
        marks.iter().filter(|(_, place)| *place == Some(*setting)).map(|(mark, _)| *mark).collect();
    vec![
        setting.threads.to_string(),
        grouped(setting.token_budget as u64),
        setting.buckets.to_string(),
        format!("{texts_per_second:.0}"),
        format!("{speed:.3}"),
        passes.to_string(),
        marks.join(", "),
    ]
}
