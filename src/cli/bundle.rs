//! Owns `frosthead bundle`: a run into one file.

use std::path::PathBuf;

use clap::Args;

use super::Outcome;
use super::options::RuntimeArguments;
use super::terminal::{Terminal, bytes};
use crate::bundle::{Written, signature_path};
use crate::classifier::{BundleOptions, bundle_run};

/// Put a run and its backbone into one file that needs nothing else.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frosthead bundle runs/first --out first.frost
  frosthead bundle runs/first --out first.frost --sign ~/.minisign/minisign.key --overwrite")]
pub(crate) struct Arguments {
    /// The run directory.
    run: PathBuf,
    /// The bundle to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Sign it with this minisign secret key; the signature goes into FILE.minisig.
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// Replace an existing --out.
    #[arg(long)]
    overwrite: bool,
    /// Where the backbone lies, when it is not where the run says.
    #[arg(long, value_name = "DIR")]
    backbone: Option<PathBuf>,
    #[command(flatten)]
    runtime: RuntimeArguments,
}

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Outcome> {
    let runtime = arguments.runtime.load(terminal)?;
    let options = BundleOptions {
        backbone: arguments.backbone.clone(),
        sign: arguments.sign.clone(),
        overwrite: arguments.overwrite,
    };
    let out = &arguments.out;
    let written = bundle_run(&arguments.run, out, &options, &runtime)?;
    let size = std::fs::metadata(out).map_or(0, |file| file.len());
    match written {
        Written::UpToDate => terminal.say(format!("{}: up to date ({})", out.display(), bytes(size))),
        Written::New => terminal.say(format!("{}: written ({})", out.display(), bytes(size))),
    }
    if arguments.sign.is_some() {
        terminal.say(format!("{}: its signature", signature_path(out).display()));
    }
    Ok(Outcome::Done)
}
