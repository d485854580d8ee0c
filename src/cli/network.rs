//! Owns the options of training a part of the network, and showing how it goes.

use std::io::IsTerminal as _;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::classes::say_classes;
use super::depths::say_depths;
use super::heartbeat::Heartbeat;
use super::options::TableArguments;
use super::terminal::{TableProgress, Terminal, bytes, grouped};
use frosthead::internal::data::Source;
use frosthead::internal::embed::StatesProgress;
use frosthead::internal::error::Result;
use frosthead::internal::finetune::{LayerOptions, OptionHelp, StageProgress};
use frosthead::internal::heads::Candidate;
use frosthead::internal::quantities::{counted, with_error};
use frosthead::internal::task::Tasks;
use frosthead::internal::train::{Chosen, TrainEvent};

/// What is frozen.
#[derive(Debug, Args)]
#[command(next_help_heading = "Freezing")]
pub(crate) struct FreezeArguments {
    /// What stays as it is: `all`, `backbone` (the default), `backbone:embeddings`, `backbone:0-3` or
    /// `head:TASK`; may be repeated.
    #[arg(long, value_name = "WHAT")]
    pub(crate) freeze: Vec<String>,
    /// Unfreeze the top layers stage by stage: `0,1,2` trains the heads, then one layer with them, then two.
    #[arg(long, value_name = "COUNTS", value_delimiter = ',')]
    pub(crate) unfreeze: Vec<usize>,
    /// Where frozen heads come from: `fitted` on the frozen backbone, first; the directory of an earlier run
    /// (with `--head-init random` trained heads begin there too); or `random`, as they are drawn.
    #[arg(long, value_name = "HOW", default_value = "fitted")]
    pub(crate) init_heads: String,
    /// Exit with 1 when a frozen head loses more points of accuracy than this because the backbone moved.
    #[arg(long, value_name = "POINTS")]
    pub(crate) max_drift: Option<f64>,
}

/// How what is not frozen is trained.
#[derive(Debug, Args)]
#[command(next_help_heading = "Training layers")]
pub(crate) struct NetworkArguments {
    /// A table `task,label,text` that describes the labels, for tasks that are not trained at all [default:
    /// their names].
    #[arg(long, value_name = "FILE", help_heading = "Freezing")]
    label_text: Option<String>,
    #[command(flatten)]
    layers: LayerArguments,
    /// How much a task's loss counts beside the others', as `TASK=NUMBER` [default: 1].
    #[arg(long, value_name = "TASK=N")]
    task_weight: Vec<String>,
}

impl NetworkArguments {
    /// The tasks with what their losses count.
    pub(crate) fn tasks(&self, tasks: Tasks) -> Result<Tasks> {
        tasks.with_shares(&self.task_weight)
    }

    /// How layers are trained.
    pub(crate) fn layers(&self) -> LayerOptions {
        self.layers.0.clone()
    }

    /// The table that describes labels, read as the others are.
    pub(crate) fn label_text(&self, table: &TableArguments) -> Result<Option<Source>> {
        self.label_text.as_deref().map(|path| table.fitted(Source::new(path, None)?)).transpose()
    }
}

/// The options of training layers, as the library declares them.
#[derive(Debug)]
struct LayerArguments(LayerOptions);

impl Args for LayerArguments {
    fn augment_args(command: Command) -> Command {
        LayerOptions::all().into_iter().fold(command, |command, option| {
            let OptionHelp { name, value, help, default } = option;
            let parser = move |text: &str| LayerOptions::default().set(name, text).map(|()| text.to_owned());
            let argument = Arg::new(name).long(name.replace('_', "-")).value_name(value);
            let argument = argument.help(help.trim_end_matches('.').to_owned());
            command.arg(argument.default_value(default).value_parser(parser))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LayerArguments {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let mut options = LayerOptions::default();
        for OptionHelp { name, .. } in LayerOptions::all() {
            if let Some(text) = matches.get_one::<String>(name) {
                options
                    .set(name, text)
                    .map_err(|error| clap::Error::raw(clap::error::ErrorKind::ValueValidation, error))?;
            }
        }
        Ok(Self(options))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What each choice of features reached with its penalty: `last .912 ± .005 (alpha 100), all .934 (alpha
/// 300)`; the errors are those of the difference to the best of all, which has none.
fn best_of_each(tried: &[Candidate]) -> String {
    let line = |best: usize| {
        let Candidate { features, alpha, accuracy, standard_error, .. } = &tried[best];
        format!("{features} {} (alpha {alpha})", with_error(*accuracy, Some(*standard_error), 3))
    };
    Candidate::best_of_each(tried).into_iter().map(line).collect::<Vec<_>>().join(", ")
}

/// Shows a training as it goes, and asks it to end after an interrupt.
pub(crate) struct TrainProgress<'t> {
    terminal: &'t Terminal,
    rows: TableProgress,
    heartbeat: Heartbeat,
    bar: Option<ProgressBar>,
    tasks: &'t [String],
    said: Instant,
    stop: Arc<AtomicBool>,
    catches: bool,
}

impl<'t> TrainProgress<'t> {
    pub(crate) fn new(terminal: &'t Terminal, rows: Option<u64>, tasks: &'t [String]) -> Self {
        Self {
            terminal,
            rows: terminal.progress(rows),
            heartbeat: terminal.heartbeat(),
            bar: None,
            tasks,
            said: Instant::now(),
            stop: Arc::new(AtomicBool::new(false)),
            catches: true,
        }
    }

    /// An interrupt ends the process at once, with the checkpoints that are there, instead of ending training
    /// with the best.
    pub(crate) fn without_interrupts(self) -> Self {
        Self { catches: false, ..self }
    }

    pub(crate) fn show(&mut self, event: &TrainEvent<'_>) -> ControlFlow<()> {
        if !matches!(event, TrainEvent::Work(_)) {
            self.heartbeat.rest();
        }
        match event {
            TrainEvent::Work(what) => self.heartbeat.doing(*what),
            TrainEvent::Rows(progress) => self.rows.show(progress),
            TrainEvent::SeenBefore { rows, run } => self.terminal.warn(format!(
                "{}: {} here were trained on there: figures on them are partly what is remembered",
                run.display(),
                counted(*rows, "test row")
            )),
            TrainEvent::Classes(classes) => say_classes(self.terminal, classes),
            TrainEvent::States(StatesProgress::Damaged(damage)) => {
                self.terminal.damage(std::slice::from_ref(damage));
            }
            TrainEvent::Chosen(chosen) => self.chosen(chosen),
            TrainEvent::Depth { figures, chosen } => say_depths(self.terminal, figures, *chosen),
            TrainEvent::States(StatesProgress::Need(need)) => self.terminal.say(format!(
                "token states of {} texts ({} tokens) are computed once{}: {}, {} free",
                grouped(need.texts),
                grouped(need.tokens),
                need.from.map_or(String::new(), |level| format!(", from those stored below layer {level}")),
                bytes(need.bytes),
                bytes(need.free)
            )),
            TrainEvent::States(StatesProgress::Done { texts, of }) => {
                if self.due() {
                    self.terminal.say(format!("token states: {} of {} texts", grouped(*texts), grouped(*of)));
                }
            }
            TrainEvent::Stage { frozen, trained_parameters, all_parameters } => {
                if self.catches {
                    self.catch_interrupts();
                }
                let share = 100.0 * *trained_parameters as f64 / *all_parameters as f64;
                self.terminal.say(format!(
                    "frozen: {frozen}; training {} of {} parameters ({share:.1} %)",
                    grouped(*trained_parameters),
                    grouped(*all_parameters)
                ));
            }
            TrainEvent::Progress(progress) => self.stage(progress),
        }
        if self.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// What `auto` chose; what it tried, and what that took, for who wants to know.
    fn chosen(&self, chosen: &Chosen<'_>) {
        let Chosen { task, choice, width, score, tried, run_off, seconds, memory } = chosen;
        self.terminal.say(format!("{task}: chose {choice} ({} numbers)", grouped(*width as u64)));
        self.terminal.detail(format!(
            "{task}: in {seconds:.1} s, at most {} of memory; held-out {score} of {}",
            bytes(*memory),
            best_of_each(tried)
        ));
        if !run_off.is_empty() {
            self.terminal.detail(format!("{task}: run-off on all training rows: {}", best_of_each(run_off)));
        }
    }

    /// From the first stage on an interrupt (Ctrl-C) keeps the best so far; a second one ends the process.
    fn catch_interrupts(&self) {
        let stop = Arc::clone(&self.stop);
        // Fails when a handler is there already: that of an earlier stage, which does the same.
        let _there = ctrlc::set_handler(move || {
            if stop.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        });
    }

    fn stage(&mut self, progress: &StageProgress<'_>) {
        let StageProgress { epoch, epochs, batch, batches, losses, tokens, seconds, ended, resumed } =
            progress;
        if *resumed > 0 && *epoch == resumed + 1 && *batch == 1 {
            self.terminal.say(format!("going on after epoch {resumed}, from its checkpoint"));
        }
        let each = |values: &[f64], scale: f64, digits: usize| {
            let named = self.tasks.iter().zip(values);
            named
                .map(|(task, value)| format!("{task} {:.digits$}", scale * value))
                .collect::<Vec<_>>()
                .join(", ")
        };
        if let Some(epoch) = ended {
            self.bar = None;
            self.terminal.say(format!(
                "epoch {}/{epochs}: validation {}; {:.1} s",
                epoch.number,
                validated(self.tasks, &epoch.validation.scores),
                epoch.seconds
            ));
            self.terminal.detail(format!(
                "  loss {}; {} tokens/s, {:.0} % in ONNX Runtime",
                each(&epoch.losses, 1.0, 4),
                rate(epoch.tokens, epoch.seconds),
                100.0 * epoch.runtime_seconds / epoch.seconds.max(1e-9)
            ));
            return;
        }
        let left = seconds * (batches - batch) as f64 / (*batch).max(1) as f64;
        let message = format!(
            "epoch {epoch}/{epochs}: loss {}; {} tokens/s, {left:.0} s left",
            each(losses, 1.0, 3),
            rate(*tokens, *seconds)
        );
        if std::io::stderr().is_terminal() && !self.terminal.is_quiet() {
            let bar = self.bar.get_or_insert_with(|| training_bar(*batches as u64));
            bar.set_message(message);
            bar.set_position(*batch as u64);
        } else if self.due() {
            self.terminal.say(message);
        }
    }

    /// Whether another plain line is due.
    fn due(&mut self) -> bool {
        let due = self.said.elapsed() >= Duration::from_secs(10);
        if due {
            self.said = Instant::now();
        }
        due
    }
}

/// Scores in percent; a dash for a task without validation rows.
fn validated(tasks: &[String], scores: &[Option<f64>]) -> String {
    let one = |(task, value): (&String, &Option<f64>)| {
        let value = value.map_or_else(|| "-".to_owned(), |value| format!("{:.2}", 100.0 * value));
        format!("{task} {value}")
    };
    tasks.iter().zip(scores).map(one).collect::<Vec<_>>().join(", ")
}

fn training_bar(batches: u64) -> ProgressBar {
    let bar = ProgressBar::new(batches);
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} batches  {msg}") {
        bar.set_style(style);
    }
    bar
}

fn rate(tokens: u64, seconds: f64) -> String {
    grouped((tokens as f64 / seconds.max(1e-9)) as u64)
}
