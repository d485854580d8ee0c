//! Owns `frosthead cache`: what is stored, whether it is sound, and making room.

use frosthead::internal::error::Result;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::Outcome;
use super::given::{Given, Idle, names};
use super::printing::{print_json, print_result};
use super::terminal::{Terminal, bytes, grouped};
use frosthead::internal::store::{self, Entry, PruneOptions, default_root};

/// Look after the feature store.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What is stored, the last used first.
    #[command(after_help = "Example:
  frosthead cache list --json")]
    List(Common),
    /// Check every stored part against its checksum; exits with 1 when one is damaged.
    #[command(after_help = "Example:
  frosthead cache verify")]
    Verify(Common),
    /// Remove stored features.
    #[command(after_help = "Examples:
  frosthead cache prune --older-than 30
  frosthead cache prune --max-bytes 2000000000")]
    Prune(PruneArguments),
}

#[derive(Debug, Args)]
struct Common {
    /// The feature store [default: $FROSTHEAD_CACHE, else the user's cache directory].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Print JSON to standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct PruneArguments {
    #[command(flatten)]
    common: Common,
    /// Remove what was not used for so many days.
    #[arg(long, value_name = "DAYS")]
    older_than: Option<u32>,
    /// Remove the least recently used until at most so many bytes are left.
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u64>,
    /// Remove parts that were set aside as damaged.
    #[arg(long)]
    damaged: bool,
    /// Remove everything.
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(arguments: &Arguments, given: &Given, terminal: &Terminal) -> Result<Outcome> {
    match &arguments.what {
        What::List(common) => list(common),
        What::Verify(common) => verify(common, terminal),
        What::Prune(arguments) => prune(arguments, given, terminal),
    }
}

fn list(common: &Common) -> Result<Outcome> {
    let entries = store::list(&default_root(common.cache.as_deref())?)?;
    print_result(common.json, &entries, || {
        let line = |key: &str, texts: &str, size: &str, parts: &str, row: &str| {
            format!("{key:<14}  {texts:>10}  {size:>10}  {parts:>6}  {row}\n")
        };
        let of_entry = |entry: &Entry| {
            let row = entry.fields.get("row").map_or("", String::as_str);
            let (texts, size) = (grouped(entry.rows), bytes(entry.bytes));
            line(&entry.fingerprint.short(), &texts, &size, &entry.parts.to_string(), row)
        };
        let heading = line("key", "texts", "size", "parts", "row");
        std::iter::once(heading).chain(entries.iter().map(of_entry)).collect()
    })?;
    Ok(Outcome::Done)
}

fn verify(common: &Common, terminal: &Terminal) -> Result<Outcome> {
    let checking = terminal.working("checking the stored parts");
    let report = store::verify(&default_root(common.cache.as_deref())?)?;
    drop(checking);
    let damaged = report.iter().filter_map(|part| part.reason.as_ref().map(|reason| (&part.path, reason)));
    let count = damaged.clone().count();
    print_result(common.json, &report, || {
        let line = |(path, reason): (&PathBuf, &String)| format!("damaged: {}: {reason}\n", path.display());
        let sound = format!("{} parts are sound, {count} are damaged\n", report.len() - count);
        damaged.map(line).chain([sound]).collect()
    })?;
    if count == 0 {
        return Ok(Outcome::Done);
    }
    terminal.say("damaged parts are computed again when they are needed; `frosthead cache prune --damaged` removes them");
    Ok(Outcome::CriterionMissed)
}

fn prune(arguments: &PruneArguments, given: &Given, terminal: &Terminal) -> Result<Outcome> {
    given.refuse([Idle {
        when: arguments.all,
        options: names(&["older-than", "max-bytes", "damaged"]),
        why: "--all removes everything",
        instead: "leave --all away",
    }])?;
    let options = PruneOptions {
        older_than: arguments.older_than.map(|days| Duration::from_secs(u64::from(days) * 86_400)),
        max_bytes: arguments.max_bytes,
        damaged: arguments.damaged,
        all: arguments.all,
    };
    let removed = store::prune(&default_root(arguments.common.cache.as_deref())?, &options)?;
    if arguments.common.json {
        print_json(&removed)?;
    }
    let freed = removed.iter().map(|removed| removed.bytes).sum();
    terminal.say(format!("{} files removed, {} freed", grouped(removed.len() as u64), bytes(freed)));
    Ok(Outcome::Done)
}
