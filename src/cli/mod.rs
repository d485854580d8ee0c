//! Owns the command line: arguments, printing, exit codes. Everything else is the library's.
//!
//! Refuses to compute anything: a command reads its options, calls the library, and says what happened.
//! Results go to standard output or files, messages and progress to standard error.

mod bench;
#[cfg(feature = "train")]
mod bundle;
mod cache;
#[cfg(feature = "train")]
mod classes;
#[cfg(feature = "train")]
mod compare;
mod cut_off;
#[cfg(feature = "train")]
mod depths;
#[cfg(feature = "train")]
mod dial;
mod doctor;
#[cfg(feature = "train")]
mod embed;
mod eval;
mod explained;
#[cfg(feature = "train")]
mod fitted;
mod given;
mod heartbeat;
#[cfg(feature = "train")]
mod import;
mod inspect;
#[cfg(feature = "train")]
mod learning;
#[cfg(feature = "manual")]
mod manual;
mod measured;
#[cfg(feature = "train")]
mod network;
mod options;
#[cfg(feature = "train")]
mod pages;
mod per_class;
mod predict;
mod printing;
#[cfg(feature = "train")]
mod refit;
mod screen;
#[cfg(feature = "serve")]
mod serve;
mod short_help;
mod stores;
#[cfg(feature = "parquet")]
mod streamed;
mod terminal;
#[cfg(feature = "train")]
mod train;
#[cfg(feature = "train")]
mod train_result;
#[cfg(feature = "train")]
mod trainings;
#[cfg(feature = "train")]
mod tune;
mod update;

use frosthead::internal::error::Result;
use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use given::Given;
use short_help::with_short_help;
pub(crate) use terminal::Terminal;

/// What to do first.
const FIRST: &str = "\
Begin here:
  frosthead import all-MiniLM-L6-v2 --out models/all-MiniLM-L6-v2
  frosthead train data.csv --backbone models/all-MiniLM-L6-v2 --task domain --out runs/first
  frosthead predict texts.csv --model runs/first
  frosthead bundle runs/first --out first.frost

`frosthead import` lists encoders; `frosthead COMMAND -h` shows the options that matter, `--help` all of them.";

/// Behind every command's own options.
const LAST: usize = 900;

/// Freeze the backbone, train the heads, ship one file: small multi-task text classifiers on ONNX Runtime.
#[derive(Debug, Parser)]
#[command(name = "frosthead", version, about, max_term_width = 110, infer_subcommands = false)]
#[command(after_help = FIRST)]
struct Arguments {
    /// Say less: errors only.
    #[arg(short, long, global = true, display_order = LAST)]
    quiet: bool,
    /// Say more.
    #[arg(short, long, global = true, display_order = LAST, conflicts_with = "quiet")]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "train")]
    Import(import::Arguments),
    #[cfg(feature = "train")]
    Embed(embed::Arguments),
    #[cfg(feature = "train")]
    Train(Box<train::Arguments>),
    #[cfg(feature = "train")]
    Compare(Box<compare::Arguments>),
    Eval(eval::Arguments),
    Predict(predict::Arguments),
    #[cfg(feature = "serve")]
    Serve(Box<serve::Arguments>),
    #[cfg(feature = "train")]
    Bundle(bundle::Arguments),
    #[cfg(feature = "train")]
    Refit(Box<refit::Arguments>),
    Update(update::Arguments),
    Inspect(inspect::Arguments),
    Doctor(doctor::Arguments),
    Cache(cache::Arguments),
    Bench(bench::Arguments),
    #[cfg(feature = "train")]
    Tune(tune::Arguments),
    #[cfg(feature = "manual")]
    Manual(manual::Arguments),
}

/// What a command that ran has to say to the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Everything asked for was done.
    Done,
    /// It ran, but a criterion the user set was not met.
    CriterionMissed,
}

/// Parses the arguments (the program's name first), runs the command, prints its error, and gives the exit
/// code: 0 done, 1 a criterion was not met, 2 error.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let mut command = with_short_help(with_negative_numbers(Arguments::command()));
    let parsed = command
        .try_get_matches_from_mut(arguments)
        .and_then(|matches| Ok((Arguments::from_arg_matches(&matches)?, Given::of(&command, &matches))));
    let (arguments, given) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            let failed = error.use_stderr();
            // A closed pipe while printing help is no failure.
            let _ = error.print();
            return if failed { 2 } else { 0 };
        }
    };
    let terminal = Terminal::new(arguments.quiet, arguments.verbose);
    cut_off::prepare();
    match run(&arguments.command, &given, &terminal) {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::CriterionMissed) => 1,
        Err(error) if terminal::is_closed_pipe(&error) => 0,
        Err(error) => {
            terminal.error(&error);
            2
        }
    }
}

/// Takes `--alpha -1` as what it is, so that the option itself says what it expects.
fn with_negative_numbers(command: clap::Command) -> clap::Command {
    let takes_value =
        |argument: &clap::Arg| !argument.is_positional() && argument.get_action().takes_values();
    command
        .mut_args(|argument| match takes_value(&argument) {
            true => argument.allow_negative_numbers(true),
            false => argument,
        })
        .mut_subcommands(with_negative_numbers)
}

fn run(command: &Command, given: &Given, terminal: &Terminal) -> Result<Outcome> {
    match command {
        #[cfg(feature = "train")]
        Command::Import(arguments) => import::run(arguments, terminal),
        #[cfg(feature = "train")]
        Command::Embed(arguments) => embed::run(arguments, given, terminal),
        #[cfg(feature = "train")]
        Command::Train(arguments) => train::run(arguments, given, terminal),
        #[cfg(feature = "train")]
        Command::Compare(arguments) => compare::run(arguments, given, terminal),
        Command::Eval(arguments) => eval::run(arguments, given, terminal),
        Command::Predict(arguments) => predict::run(arguments, given, terminal),
        #[cfg(feature = "serve")]
        Command::Serve(arguments) => serve::run(arguments, given, terminal),
        #[cfg(feature = "train")]
        Command::Bundle(arguments) => bundle::run(arguments, given, terminal),
        #[cfg(feature = "train")]
        Command::Refit(arguments) => refit::run(arguments, given, terminal),
        Command::Update(arguments) => update::run(arguments, terminal),
        Command::Inspect(arguments) => inspect::run(arguments, terminal),
        Command::Doctor(arguments) => doctor::run(arguments, given, terminal),
        Command::Cache(arguments) => cache::run(arguments, given, terminal),
        Command::Bench(arguments) => bench::run(arguments, given, terminal),
        #[cfg(feature = "train")]
        Command::Tune(arguments) => tune::run(arguments, given, terminal),
        #[cfg(feature = "manual")]
        Command::Manual(arguments) => manual::run(arguments, Arguments::command(), terminal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for command in Arguments::command().get_subcommands().filter(|command| !command.has_subcommands()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("frosthead "), "{} has no example", command.get_name());
        }
    }
}
