//! Owns `frosthead manual`: man pages and shell completions, made of what the commands say of themselves.

use std::path::{Path, PathBuf};

use clap::{Args, Command, ValueEnum as _};
use clap_complete::Shell;

use super::Outcome;
use super::terminal::Terminal;
use frosthead::internal::error::{Error, Result};

/// Write man pages and shell completions into a folder.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  frosthead manual ~/.local/share/frosthead
  man -l ~/.local/share/frosthead/man/frosthead-serve.1
  source ~/.local/share/frosthead/completions/frosthead.bash")]
pub(crate) struct Arguments {
    /// Gets `man/` and `completions/`; files of these names that are there already are replaced.
    folder: PathBuf,
}

pub(crate) fn run(arguments: &Arguments, mut command: Command, terminal: &Terminal) -> Result<Outcome> {
    let (pages, completions) = (folder(&arguments.folder, "man")?, folder(&arguments.folder, "completions")?);
    let unwritten = |path: &Path| {
        let path = path.to_path_buf();
        move |source: std::io::Error| Error::io("write into", path, source)
    };
    // Before the completions, which add `help` and its subcommands to the command: those need no pages.
    clap_mangen::generate_to(command.clone(), &pages).map_err(unwritten(&pages))?;
    for shell in Shell::value_variants() {
        clap_complete::generate_to(*shell, &mut command, "frosthead", &completions)
            .map_err(unwritten(&completions))?;
    }
    terminal.say(format!("{}: man pages and completions are written", arguments.folder.display()));
    Ok(Outcome::Done)
}

fn folder(parent: &Path, name: &str) -> Result<PathBuf> {
    let path = parent.join(name);
    std::fs::create_dir_all(&path).map_err(|source| Error::io("create the directory", &path, source))?;
    Ok(path)
}
