//! Owns `frosthead compare`: every scenario on the same rows, one table, one report.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::Outcome;
use super::dial::{self, DialArguments};
use super::given::{Given, Idle, group, names};
use super::learning::LearningArguments;
use super::network::{NetworkArguments, TrainProgress};
use super::options::{LongArguments, RuntimeArguments, StrictArguments, TableArguments, TrustArguments};
use super::printing::{Columns, print_result, table};
use super::stores::{DepthArguments, StoreArguments};
use super::terminal::{Terminal, bytes, grouped};
use super::trainings::{Instead, Training, idle};
use frosthead::internal::backbone::Backbone;
use frosthead::internal::compare::{
    BackboneEstimate, Clock, CompareEvent, CompareRequest, Compared, Scenario, Share, TimeLimit, compare,
};
use frosthead::internal::data::Source;
use frosthead::internal::dataset::Input;
use frosthead::internal::embed::Embedder;
use frosthead::internal::error::Result;
use frosthead::internal::heads::WordsWanted;
use frosthead::internal::quantities::{duration, with_error};
use frosthead::internal::report::{BackboneReport, Done, PAGE, Report, ScenarioReport, in_words, recommend};
use frosthead::internal::runtime::Runtime;
use frosthead::internal::tokens::LongTexts;
use frosthead::internal::train::{FeatureRequest, Freezing, FrozenHead, Output, TrainEvent, TrainRequest};

/// Compare freezing scenarios and backbones on the same rows: one table, one report.
///
/// Scenario 1: everything is frozen (untrained heads, and labels by their descriptions). 2: only the backbone
/// is frozen; heads see its sentence embedding, or the features that `auto` chooses. 3:TASK: the head of that
/// task is frozen, everything else is trained. topN: the N top layers are unfrozen one after the other.
/// `:FEATURES` behind 2, 3 or topN says what the heads see, such as top2:all; without it they see the
/// sentence embedding. Long texts are read in windows in scenario 2 on other features only. Each scenario is
/// written as an ordinary run into OUT/BACKBONE/SCENARIO. What is finished is kept: an interrupted comparison
/// goes on where it was.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frosthead compare data.csv --backbone models/all-MiniLM-L6-v2 --task domain --task sentiment --out runs/compare
  frosthead compare data.csv --backbone models/small --backbone models/large --task topic --scenarios 1,2,top1 \\
      --learning-curve 10%,30%,100% --time-limit 30m --out runs/backbones
  frosthead compare data.csv --backbone models/all-MiniLM-L6-v2 --task domain --depths all --out runs/depths")]
pub(crate) struct Arguments {
    /// A table of labelled texts.
    data: String,
    /// A backbone directory; may be repeated, to compare backbones.
    #[arg(long = "backbone", value_name = "DIR", required = true)]
    backbones: Vec<PathBuf>,
    /// The directory for the runs, report.json and report.html.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The scenarios, separated by commas: `1`, `2` (for `2:last,2:auto`), `2:FEATURES`, `3` (for each task),
    /// `3:TASK`, `top1`, `top2`, …, and with other features than the sentence embedding `3:TASK:FEATURES`,
    /// `topN:FEATURES` [default: 1,2,3,top1,top2].
    #[arg(long, value_name = "WHICH", value_delimiter = ',')]
    scenarios: Vec<String>,
    /// What scenario 3 freezes beside the head: `backbone:embeddings` or `backbone:0-3`; may be repeated.
    #[arg(long, value_name = "WHAT")]
    freeze: Vec<String>,
    /// The frozen head of scenario 3: `fitted` (scenario 2's), `random` (as drawn), or an earlier run's
    /// directory.
    #[arg(long, value_name = "HOW", default_value = "fitted")]
    frozen_head: String,
    /// Start nothing that would end after this time, by the estimate, and end what is running then with its
    /// best so far: 90s, 10m, 1h30m.
    #[arg(long, value_name = "TIME")]
    time_limit: Option<TimeLimit>,
    /// Also train scenario 2 on these shares of the training rows: 10%,30%,100%.
    #[arg(long, value_name = "SHARES", value_delimiter = ',')]
    learning_curve: Vec<Share>,
    /// Print report.json to standard output.
    #[arg(long)]
    json: bool,
    /// Replace a comparison of something else.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    learning: LearningArguments,
    #[command(flatten)]
    network: NetworkArguments,
    #[command(flatten)]
    table: TableArguments,
    #[command(flatten)]
    texts: StrictArguments,
    #[command(flatten)]
    long: LongArguments,
    #[command(flatten)]
    dial: DialArguments,
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
    let asked = arguments.dial.scenarios(&arguments.scenarios);
    let scenarios = Scenario::choose(&asked, &arguments.learning.tasks()?.names())?;
    // A comparison has the same options throughout: those that one of its scenarios has use for.
    let mut all = Report::open(&arguments.out)?.as_ref().map(Scenario::of_report).unwrap_or_default();
    all.extend(scenarios.iter().cloned());
    // Any depth stands for all: what is trained for one of them is trained for the others.
    all.extend(arguments.dial.depths().map(|_| Scenario::Depth(0)));
    refuse_without(arguments, given, &all)?;
    let runtime = arguments.runtime.load(terminal)?;
    let request = request(arguments, scenarios, &runtime)?;
    refuse_idle(given, &request, &all)?;
    arguments.learning.refuse_idle(given, &request.train.rows.tasks)?;
    let mut opener =
        Opener { arguments, terminal, sources: request.train.rows.sources(), runtime, opened: Vec::new() };
    let tasks = request.train.rows.tasks.names();
    let mut shown = Shown { terminal, tasks: &tasks, progress: None, classes_said: false };
    let compared =
        compare(&request, &mut |backbone, windows| opener.open(backbone, windows), &mut |event| {
            shown.show(event);
        })?;
    // What is shown while it goes is over.
    drop(shown);
    let Compared { report, up_to_date } = &compared;
    print_result(arguments.json, report, || described(report))?;
    let recommendation = recommend(report);
    terminal.say(&recommendation.summary);
    recommendation.reasons.iter().for_each(|reason| terminal.say(format!("  {reason}")));
    let done = if *up_to_date { "up to date" } else { "written" };
    terminal.say(format!("{}: {done}", arguments.out.join(PAGE).display()));
    Ok(Outcome::Done)
}

fn request(arguments: &Arguments, scenarios: Vec<Scenario>, opened: &Runtime) -> Result<CompareRequest> {
    let Arguments { learning, network, table, texts, runtime, .. } = arguments;
    let input = |data: &str| -> Result<Input> {
        let source = table.source_of(data, &arguments.data)?;
        Ok(Input::Texts { source, columns: table.text()? })
    };
    let mut freezing = Freezing::new(arguments.freeze.clone(), Vec::new())?;
    freezing.label_text = network.label_text(table)?;
    let pairs = table.text()?.are_pairs();
    let open = |path: &PathBuf| {
        let backbone = arguments.depth.cut(arguments.trust.open_backbone(path, opened)?)?;
        backbone.reading(pairs).map(Arc::new)
    };
    Ok(CompareRequest {
        train: TrainRequest {
            rows: learning.rows(&arguments.data, network.tasks(learning.tasks()?)?, &input, texts.strict)?,
            learning: learning.learning(FeatureRequest::default(), runtime)?,
            freezing,
            layers: network.layers(),
            max_drop: None,
            output: Output { path: arguments.out.clone(), overwrite: arguments.overwrite },
        },
        scenarios,
        backbones: arguments.backbones.iter().map(open).collect::<Result<_>>()?,
        depth: arguments.depth.depth,
        depths: arguments.dial.depths().cloned(),
        precision: arguments.dial.precision(opened)?,
        beside: arguments.dial.beside(&learning.tasks()?.names())?,
        frozen_head: FrozenHead::of(&arguments.frozen_head),
        time_limit: arguments.time_limit,
        clock: Clock::default(),
        learning_curve: arguments.learning_curve.clone(),
        long_texts: arguments.long.asked(),
    })
}

/// Refuses, before anything is opened, options of scenarios that are not compared.
fn refuse_without(arguments: &Arguments, given: &Given, scenarios: &[Scenario]) -> Result<()> {
    let frozen_head = |scenario: &Scenario| matches!(scenario, Scenario::FrozenHead(..));
    given.refuse([
        Idle {
            when: !scenarios.iter().any(frozen_head),
            options: names(&["freeze", "frozen-head"]),
            why: "scenario 3 is not compared",
            instead: INSTEAD.deeper,
        },
        Idle {
            when: !scenarios.iter().any(Scenario::reads_windows),
            options: group::<LongArguments>(),
            why: "only heads on other features than the sentence embedding read long texts in windows",
            instead: INSTEAD.chosen,
        },
        arguments.long.idle(),
        arguments.dial.idle(scenarios),
        TrustArguments::idle(arguments.backbones.iter().map(PathBuf::as_path)),
    ])
}

const INSTEAD: Instead = Instead {
    layers: "add top1 to --scenarios",
    deeper: "add 3 to --scenarios",
    states: "add top1 to --scenarios",
    frozen: "add 1 to --scenarios",
    chosen: "add 2:auto to --scenarios",
};

/// Refuses options that have no effect on any scenario that a backbone allows.
fn refuse_idle(given: &Given, request: &CompareRequest, scenarios: &[Scenario]) -> Result<()> {
    let CompareRequest { train, backbones, frozen_head, .. } = request;
    let tasks = train.rows.tasks.names();
    let training = |(scenario, backbone): (&Scenario, &Arc<Backbone>)| {
        // What is impossible on a backbone is reported, and nothing is trained.
        let freeze = train.freezing.freeze();
        let stages = scenario.plans((&tasks, backbone.layers()), freeze, train.layers.train).ok()?;
        Some(Training {
            stages,
            depth: backbone.layers().unwrap_or(0),
            head_init: train.layers.head_init,
            frozen_head,
            chooses: request.features(scenario).chooses(),
            words: request.features(scenario).words != WordsWanted::No,
        })
    };
    let pairs =
        scenarios.iter().flat_map(|scenario| backbones.iter().map(move |backbone| (scenario, backbone)));
    let trainings: Vec<Training<'_>> = pairs.filter_map(training).collect();
    let store = StoreArguments::idle(backbones.iter().map(|backbone| &**backbone));
    given.refuse(idle(&trainings, &INSTEAD).into_iter().chain([store]))
}

/// Opens a backbone's store, and says what it needs the first time.
struct Opener<'o> {
    arguments: &'o Arguments,
    terminal: &'o Terminal,
    sources: Vec<&'o Source>,
    runtime: Arc<Runtime>,
    opened: Vec<PathBuf>,
}

impl Opener<'_> {
    fn open(&mut self, backbone: &Arc<Backbone>, windows: bool) -> Result<Embedder> {
        let directory = backbone.directory().to_path_buf();
        let quiet = Terminal::new(true, false);
        let again = self.opened.contains(&directory);
        let terminal = if again { &quiet } else { self.terminal };
        let text = self.arguments.table.text()?;
        let long = match windows {
            true => self.arguments.long.resolve_for(backbone, &self.sources, &text)?,
            false => LongTexts::Truncate,
        };
        let (embedder, _) = self.arguments.store.open(
            Arc::clone(backbone),
            Arc::clone(&self.runtime),
            long,
            &self.sources,
            terminal,
        )?;
        if !again {
            self.opened.push(directory);
        }
        Ok(embedder)
    }
}

/// What a user sees of a comparison as it goes.
struct Shown<'s> {
    terminal: &'s Terminal,
    tasks: &'s [String],
    progress: Option<TrainProgress<'s>>,
    classes_said: bool,
}

impl Shown<'_> {
    fn show(&mut self, event: &CompareEvent<'_>) {
        match event {
            CompareEvent::Estimates(estimates) => self.estimates(estimates),
            CompareEvent::Begins { backbone, scenario, frozen } => {
                self.progress = None;
                let words = in_words(&scenario.to_string());
                self.terminal.say(format!("\n{backbone}, scenario {scenario}: {words} (frozen: {frozen})"));
            }
            // The rows of all scenarios are the same.
            CompareEvent::Train(TrainEvent::Classes(_))
                if std::mem::replace(&mut self.classes_said, true) => {}
            CompareEvent::Train(event) => {
                let (terminal, tasks) = (self.terminal, self.tasks);
                let progress = self
                    .progress
                    .get_or_insert_with(|| TrainProgress::new(terminal, None, tasks).without_interrupts());
                // An interrupt ends the process at once: there is no break to look for.
                let _continues = progress.show(event);
            }
            CompareEvent::Ended { backbone, scenario } => {
                self.progress = None;
                self.ended(backbone, scenario);
            }
            CompareEvent::Bundled { point, .. } => {
                self.progress = None;
                self.terminal.say(dial::bundled(point));
            }
            CompareEvent::LeftOut { backbone, what, why } => {
                self.progress = None;
                self.terminal.warn(format!("{backbone}: {what} was left out: {why}"));
            }
        }
    }

    fn estimates(&self, estimates: &[BackboneEstimate]) {
        self.terminal.say(
            "estimates, from a frozen pass measured on a sample; a training step is taken as three such passes above the cut, \
             and no epoch is saved by stopping early (Ctrl-C at any time: the same command goes on where it was):",
        );
        for costs in estimates {
            self.terminal.say(format!(
                "  {}: {:.0} texts/s; features of {} texts: {}",
                costs.backbone,
                costs.texts_per_second,
                grouped(costs.features_texts),
                duration(costs.features_seconds)
            ));
            for (scenario, estimate) in &costs.scenarios {
                let name = scenario.to_string();
                let (time, disk) = (duration(estimate.seconds), bytes(estimate.bytes));
                let words = in_words(&name);
                self.terminal.say(format!("  {name:<12}  {time:>12}  {disk:>9}  {words}"));
            }
        }
    }

    fn ended(&self, backbone: &str, scenario: &ScenarioReport) {
        let name = &scenario.scenario;
        match &scenario.outcome {
            frosthead::internal::report::Outcome::Skipped(why) => {
                self.terminal.warn(format!("{backbone}, scenario {name} was skipped: {why}"));
            }
            frosthead::internal::report::Outcome::Done(done) => {
                if done.time_limit.is_some() {
                    self.terminal.warn(format!(
                        "{backbone}, scenario {name} was ended by --time-limit; its best so far is kept"
                    ));
                }
                if let Some(seconds) = done.seconds {
                    self.terminal.say(format!(
                        "{name}: {} (estimated {})",
                        duration(seconds),
                        duration(scenario.estimate.seconds)
                    ));
                }
            }
        }
    }
}

/// The table: a row per backbone and scenario, what is reached before what it costs; the recommended one is
/// marked.
fn described(report: &Report) -> String {
    let several = report.backbones.len() > 1;
    let mut rows = vec![header(report, several)];
    let advised = recommend(report).run;
    let mut best = None;
    for backbone in &report.backbones {
        // Depths have a table of their own.
        for scenario in backbone.scenarios.iter().filter(|scenario| !scenario.is_depth()) {
            let is_best = scenario.done().is_some_and(|done| advised.as_ref() == Some(&done.run));
            if is_best {
                best = Some(rows.len());
            }
            let mut cells = row(scenario, &report.tasks, is_best);
            if several {
                cells.insert(0, backbone.name.clone());
            }
            rows.push(cells);
        }
    }
    let keys = if several { 2 } else { 1 };
    let columns = Columns { keys, numbers: (keys + 1, usize::MAX), best };
    let marked = best.map_or("", |_| "*: recommended\n");
    let about = report.backbones.iter().map(about).collect::<String>();
    format!("{}{marked}{about}{}", table(columns, &rows), dial::described(report))
}

fn header(report: &Report, several: bool) -> Vec<String> {
    let start = several.then_some("backbone").into_iter().chain(["scenario", "what it is"]);
    let mut header: Vec<String> = start.map(str::to_owned).collect();
    for task in &report.tasks {
        header.push(format!("{task} {}", report.score_name(task)));
        header.push(format!("{task} macro-F1"));
    }
    header.extend(["trained", "share", "states", "training", "memory", "disk"].map(str::to_owned));
    header
}

fn row(scenario: &ScenarioReport, tasks: &[String], is_best: bool) -> Vec<String> {
    let mark = if is_best { " *" } else { "" };
    let mut cells = vec![format!("{}{mark}", scenario.scenario)];
    let Some(done) = scenario.done() else {
        cells.extend([in_words(&scenario.scenario), "not run".to_owned()]);
        return cells;
    };
    let stopped = if done.time_limit.is_some() { " (ended by the time limit)" } else { "" };
    cells.push(format!("{}{stopped}", in_words(&scenario.scenario)));
    for task in tasks {
        match done.metrics.tasks.get(task) {
            Some(found) => {
                cells.push(figure(found.score(), found.score_error()));
                cells.push(figure(found.macro_f1, found.macro_f1_standard_error));
            }
            None => cells.extend(["?".to_owned(), "?".to_owned()]),
        }
    }
    let share = scenario.all_parameters.map_or_else(
        || "?".to_owned(),
        |all| format!("{:.2} %", 100.0 * scenario.trained_parameters as f64 / all as f64),
    );
    cells.extend([
        grouped(scenario.trained_parameters),
        share,
        duration(done.states_seconds),
        duration(done.training_seconds),
        done.peak_memory.map_or_else(|| "?".to_owned(), bytes),
        disk(done),
    ]);
    cells
}

/// A figure with its standard error, if it has one; a dash where nothing was measured.
fn figure(value: Option<f64>, error: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| with_error(value, error, 3))
}

fn disk(done: &Done) -> String {
    bytes(done.run_bytes + done.states_bytes.unwrap_or(0))
}

fn about(backbone: &BackboneReport) -> String {
    let mut text = format!(
        "\n{}: {}, {:.0} texts/s; features of {} texts computed in {}\n",
        backbone.name,
        bytes(backbone.bytes),
        backbone.texts_per_second,
        grouped(backbone.features_texts),
        duration(backbone.features_seconds)
    );
    for scenario in &backbone.scenarios {
        for (task, untrained) in scenario.done().iter().flat_map(|done| &done.metrics.untrained) {
            text += &format!(
                "scenario 1, {task}: untrained heads {}; the table shows labels by their descriptions\n",
                figure(untrained.score(), untrained.score_error())
            );
        }
    }
    for point in &backbone.learning_curve {
        let tasks = point
            .tasks
            .iter()
            .map(|(task, score)| format!("{task} {}", figure(score.accuracy, score.accuracy_standard_error)));
        let tasks = tasks.collect::<Vec<_>>().join(", ");
        let tasks = if tasks.is_empty() { "too few labels to tell apart".to_owned() } else { tasks };
        text += &format!("scenario 2 on {} training rows: {tasks}\n", grouped(point.rows));
    }
    text
}
