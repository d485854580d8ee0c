//! Owns what `-h` shows of a command: the options that matter first, each in a few words. `--help` and the man
//! pages show all of them, whole.
//!
//! Refuses to hide what a command cannot do without: arguments without a name are always shown.

use clap::builder::StyledStr;
use clap::{Arg, Command};

/// Per command, the options that `-h` shows.
const SHOWN: [(&str, &[&str]); 11] = [
    (
        "train",
        &[
            "backbone", "out", "task", "any-of", "number", "text", "features", "depth", "freeze", "unfreeze",
            "train", "test", "final", "html",
        ],
    ),
    (
        "compare",
        &["backbone", "out", "task", "any-of", "number", "text", "scenarios", "depths", "time-limit"],
    ),
    ("eval", &["model", "rows", "by", "errors", "coverage", "report", "html", "json", "text"]),
    ("predict", &["model", "out", "output-format", "all-probabilities", "abstain-below", "explain", "text"]),
    ("serve", &["bind", "api-keys", "tls-cert", "tls-key", "long", "log", "threads"]),
    ("bundle", &["out", "precision", "depth", "vocabulary", "table-bits", "max-drop", "sign", "update-of"]),
    ("refit", &["out", "task", "any-of", "number", "features", "max-drift", "text"]),
    ("embed", &["backbone", "out", "features", "text", "long", "threads"]),
    ("import", &["out", "pooling", "max-length", "prompt"]),
    ("doctor", &["backbone", "on", "memory", "json"]),
    ("tune", &["backbone", "model", "seconds", "threads"]),
];

/// The same command, whose `-h` is short.
pub(super) fn with_short_help(command: Command) -> Command {
    command.mut_subcommands(|command| {
        let shown = SHOWN.iter().find(|(name, _)| *name == command.get_name()).map(|(_, shown)| *shown);
        command.mut_args(|argument| shortened(argument, shown))
    })
}

/// An option that `-h` describes in few words, or not at all.
fn shortened(argument: Arg, shown: Option<&[&str]>) -> Arg {
    let hidden = match (argument.get_long(), shown) {
        (Some(name), Some(shown)) => !["help", "quiet", "verbose"].contains(&name) && !shown.contains(&name),
        _ => false,
    };
    let whole = argument.get_long_help().or(argument.get_help()).map(ToString::to_string);
    let Some(whole) = whole else { return argument.hide_short_help(hidden) };
    let few = StyledStr::from(in_few_words(&whole).to_owned());
    argument.help(few).long_help(whole).hide_short_help(hidden)
}

/// The beginning of a description, to the end of its first clause.
fn in_few_words(whole: &str) -> &str {
    let end = [". ", ": ", "; ", " [default", " ("].iter().filter_map(|stop| whole.find(stop)).min();
    whole[..end.unwrap_or(whole.len())].trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Arguments;

    /// Lines of a terminal, and a few to scroll.
    const SCREEN: usize = 44;

    #[test]
    fn the_short_help_fits_a_screen_and_the_long_one_has_every_option() {
        let mut command = with_short_help(Arguments::command().term_width(100));
        command.build();
        for (name, shown) in SHOWN {
            // The edge build has fewer commands.
            let whole = cfg!(all(feature = "train", feature = "serve"));
            let command = match command.find_subcommand_mut(name) {
                None if whole => panic!("there is no command {name}"),
                None => continue,
                Some(command) => command,
            };
            let (short, long) = (command.render_help().to_string(), command.render_long_help().to_string());
            let lines = short.lines().count();
            assert!(lines <= SCREEN, "{name}: {lines} lines\n{short}");
            let seen = command.get_arguments().filter(|argument| !argument.is_hide_set());
            for option in seen.filter_map(Arg::get_long) {
                assert!(long.contains(&format!("--{option}")), "{name}: --{option} is not in --help");
            }
            for option in shown {
                assert!(short.contains(&format!("--{option}")), "{name}: --{option} is not in -h");
            }
        }
    }

    #[test]
    fn a_few_words_are_the_first_clause() {
        for (whole, few) in [
            ("What the heads see: `last`, or more [default: last]", "What the heads see"),
            ("Seed of every draw", "Seed of every draw"),
            ("Longest gradient; 0 for any.", "Longest gradient"),
            ("Passes over the rows, at most.", "Passes over the rows, at most"),
        ] {
            assert_eq!(in_few_words(whole), few);
        }
    }
}
