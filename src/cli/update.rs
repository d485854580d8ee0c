//! Owns `frosthead update`: the bundle on a device and a small file → the new bundle.

use std::path::PathBuf;

use clap::Args;

use super::Outcome;
use super::terminal::{Terminal, bytes};
use frosthead::internal::bundle::{PublicKey, UpdateOptions, Updated, apply_update, signature_path};
use frosthead::internal::error::Result;

/// Make a new bundle out of one that is there and an update, which `bundle --update-of` makes. It is the new
/// bundle to the bit, or nothing is changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frosthead update model.frost new.frostup --trust minisign.pub
  frosthead update model.frost new.frostup --out new.frost")]
pub(crate) struct Arguments {
    /// The bundle that the update was made of.
    bundle: PathBuf,
    /// The update.
    update: PathBuf,
    /// Where the new bundle goes [default: it takes the old one's place].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Apply nothing but an update signed with this minisign public key (RW…, or its .pub file), of a bundle
    /// that is signed with it, too.
    #[arg(long, value_name = "PUBKEY")]
    trust: Option<PublicKey>,
    /// Replace an existing --out.
    #[arg(long, requires = "out")]
    overwrite: bool,
}

pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Outcome> {
    let Arguments { bundle, update, out, trust, overwrite } = arguments;
    let options = UpdateOptions { out: out.clone(), trust: trust.clone(), overwrite: *overwrite };
    let Updated { path, header, up_to_date } = apply_update(bundle, update, &options)?;
    let what = if up_to_date { "up to date" } else { "updated" };
    terminal.say(format!(
        "{}: {what} ({}, hash {}; before {})",
        path.display(),
        bytes(header.to.bytes),
        header.to.hash.short(),
        header.from.hash.short()
    ));
    if header.signature.is_some() {
        terminal.say(format!("{}: its signature", signature_path(&path).display()));
    }
    Ok(Outcome::Done)
}
