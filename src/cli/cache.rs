//! Owns `frosthead cache`: what is stored and whose it is, whether it is sound, and making room.

use frosthead::internal::error::Result;
use std::cmp::Reverse;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::Outcome;
use super::given::{Given, Idle, names};
use super::printing::{Columns, print_json, print_result, table};
use super::terminal::{Terminal, bytes, grouped};
use frosthead::internal::quantities::counted;
use frosthead::internal::store::{self, Compacted, Entry, Merged, PruneOptions, default_root};

/// List, check and clean the feature store, where computed features are kept.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List what is stored for which backbone, last used first.
    #[command(after_help = "Example:
  frosthead cache list --json")]
    List(Common),
    /// Check every stored file against its checksum. Exit code 1: one is damaged.
    #[command(after_help = "Example:
  frosthead cache verify")]
    Verify(Common),
    /// Join small files, and drop rows that several processes stored twice.
    #[command(after_help = "Example:
  frosthead cache compact")]
    Compact(Common),
    /// Copy the rows of other caches into this one, for example those of a cluster's machines. A cache from
    /// another kind of processor or another version of ONNX Runtime is refused.
    #[command(after_help = "Example:
  frosthead cache merge node-1/cache node-2/cache")]
    Merge(MergeArguments),
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
struct MergeArguments {
    /// The other caches. They are not changed.
    #[arg(required = true, value_name = "DIR")]
    sources: Vec<PathBuf>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct PruneArguments {
    #[command(flatten)]
    common: Common,
    /// Remove what was not used for this many days.
    #[arg(long, value_name = "DAYS")]
    older_than: Option<u32>,
    /// Remove the least recently used until at most this many bytes are left.
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u64>,
    /// Remove damaged files, and those that were set aside as damaged.
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
        What::Compact(common) => compact(common, terminal),
        What::Merge(arguments) => merge(arguments, terminal),
        What::Prune(arguments) => prune(arguments, given, terminal),
    }
}

fn list(common: &Common) -> Result<Outcome> {
    let mut entries = store::list(&default_root(common.cache.as_deref())?)?;
    entries.sort_by_key(|entry| (Reverse(entry.last_used), entry.fingerprint));
    print_result(common.json, &entries, || {
        let titles =
            ["key", "texts", "size", "parts", "last used", "features", "backbone"].map(str::to_owned);
        let lines: Vec<_> = std::iter::once(titles).chain(entries.iter().map(described)).collect();
        table(Columns { numbers: (1, 4), ..Columns::keyed(1) }, &lines)
    })?;
    Ok(Outcome::Done)
}

/// An entry as people read it, column by column.
fn described(entry: &Entry) -> [String; 7] {
    let field = |name: &str| entry.fields.get(name).map(String::as_str);
    let features = match (&entry.trouble, field("row")) {
        (Some(trouble), _) => format!("unknown: key.json is damaged ({trouble})"),
        (None, Some("token states")) => format!("token states, {}", field("cut").unwrap_or("cut unknown")),
        (None, row) => row.unwrap_or("unknown").to_owned(),
    };
    let long = field("long texts").filter(|long| *long != "truncate");
    let features = long.map_or(features.clone(), |long| format!("{features}, {long}"));
    let backbone = entry.backbone.as_ref().map_or_else(
        || "unknown: stored by an earlier version, or key.json is damaged".to_owned(),
        |owner| format!("{} ({}) {}", owner.name, owner.fingerprint.short(), owner.path),
    );
    [
        entry.fingerprint.short(),
        grouped(entry.rows),
        bytes(entry.bytes),
        grouped(entry.parts as u64),
        ago(entry.last_used.elapsed().unwrap_or_default()),
        features,
        backbone,
    ]
}

/// How long ago something was, in the largest unit that gives at least 1.
fn ago(passed: Duration) -> String {
    let seconds = passed.as_secs();
    let units = [("day", 86_400), ("hour", 3_600), ("minute", 60)];
    let found = units.into_iter().find(|(_, unit)| seconds >= *unit);
    found.map_or("just now".to_owned(), |(name, unit)| format!("{} ago", counted(seconds / unit, name)))
}

fn compact(common: &Common, terminal: &Terminal) -> Result<Outcome> {
    let working = terminal.working("compacting the stored parts");
    let stores = store::compact(&default_root(common.cache.as_deref())?)?;
    drop(working);
    if common.json {
        print_json(&stores)?;
    }
    let sum = |of: fn(&Compacted) -> u64| stores.iter().map(of).sum::<u64>();
    let freed = sum(|store| store.bytes_before).saturating_sub(sum(|store| store.bytes));
    terminal.say(format!(
        "{} stored more than once, {} merged into {}, {} freed",
        counted(sum(|store| store.doubled), "row"),
        counted(sum(|store| store.parts_before as u64), "part"),
        grouped(sum(|store| store.parts as u64)),
        bytes(freed)
    ));
    Ok(Outcome::Done)
}

fn merge(arguments: &MergeArguments, terminal: &Terminal) -> Result<Outcome> {
    let working = terminal.working("merging the caches");
    let merged = store::merge(&default_root(arguments.common.cache.as_deref())?, &arguments.sources)?;
    drop(working);
    if arguments.common.json {
        print_json(&merged)?;
    }
    let sum = |of: fn(&Merged) -> u64| merged.iter().map(of).sum::<u64>();
    terminal.say(format!(
        "{} in {} taken in, {} of them there already",
        counted(sum(|merged| merged.rows), "row"),
        counted(sum(|merged| merged.parts as u64), "part"),
        grouped(sum(|merged| merged.doubled))
    ));
    let damaged: Vec<&PathBuf> = merged.iter().flat_map(|merged| &merged.damaged).collect();
    for path in &damaged {
        terminal.warn(format!("{}: damaged, and not taken in", path.display()));
    }
    Ok(if damaged.is_empty() { Outcome::Done } else { Outcome::CriterionMissed })
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
    terminal.say("what is damaged is set aside and computed again when it is needed; `frosthead cache prune --damaged` removes it");
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
