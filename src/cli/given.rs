//! Owns which options stand on the command line, and refusing those that have no effect on this call.
//!
//! Refuses to know any option: when one has no effect is said beside it, in tables of [`Idle`]. An option
//! that is given with its default value is given, too.

use std::collections::BTreeSet;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command};

use frosthead::internal::error::{Error, Kind, Result};

/// The long names of the options on the command line.
#[derive(Debug)]
pub(crate) struct Given(BTreeSet<String>);

/// Options that have no effect where something holds.
pub(crate) struct Idle {
    /// Whether it holds.
    pub when: bool,
    pub options: Vec<String>,
    /// What holds, as a sentence without its full stop.
    pub why: &'static str,
    /// What would give them an effect, such as `say --out FILE`; nothing where nothing does.
    pub instead: &'static str,
}

/// These options, by their long names.
pub(crate) fn names(options: &[&str]) -> Vec<String> {
    options.iter().map(|&name| name.to_owned()).collect()
}

/// All options of a group.
pub(crate) fn group<A: Args>() -> Vec<String> {
    let command = A::augment_args(Command::new("group"));
    command.get_arguments().filter_map(|argument| argument.get_long().map(str::to_owned)).collect()
}

impl Given {
    /// What was given of a parsed command's options, and of its subcommand's.
    pub(crate) fn of(command: &Command, matches: &ArgMatches) -> Self {
        let (mut given, mut level) = (BTreeSet::new(), Some((command, matches)));
        while let Some((command, matches)) = level {
            let here = command.get_arguments().filter(|argument| {
                matches.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine)
            });
            given.extend(here.filter_map(|argument| argument.get_long().map(str::to_owned)));
            level = matches
                .subcommand()
                .and_then(|(name, below)| command.find_subcommand(name).map(|command| (command, below)));
        }
        Self(given)
    }

    /// Refuses options that have no effect: those of the first line that holds.
    ///
    /// # Errors
    /// There are such.
    pub(crate) fn refuse(&self, table: impl IntoIterator<Item = Idle>) -> Result<()> {
        for Idle { options, why, instead, .. } in table.into_iter().filter(|line| line.when) {
            let idle: Vec<String> = options
                .iter()
                .filter(|name| self.0.contains(*name))
                .map(|name| format!("--{name}"))
                .collect();
            let (has, it) = if idle.len() == 1 { ("has", "it") } else { ("have", "them") };
            let named = match &idle[..] {
                [] => continue,
                [one] => one.clone(),
                [first @ .., last] => format!("{} and {last}", first.join(", ")),
            };
            let other = if instead.is_empty() { String::new() } else { format!(", or {instead}") };
            return Err(Error::new(Kind::Usage, format!("{named} {has} no effect: {why}"))
                .help(format!("leave {it} away{other}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(line: &str) -> Given {
        let option = |name: &'static str| clap::Arg::new(name).long(name);
        let inner = Command::new("inner").arg(option("deep").default_value("1")).arg(option("other"));
        let mut command = Command::new("outer")
            .arg(option("loud").action(clap::ArgAction::SetTrue).global(true))
            .subcommand(inner);
        let matches = command.try_get_matches_from_mut(line.split(' ')).unwrap();
        Given::of(&command, &matches)
    }

    #[test]
    fn what_stands_on_the_command_line_is_given_defaults_are_not() {
        let of = |line: &str| Vec::from_iter(given(line).0);
        assert_eq!(of("outer inner"), [""; 0]);
        assert_eq!(of("outer inner --deep 1"), ["deep"]);
        assert_eq!(of("outer --loud inner --other x --deep 2"), ["deep", "loud", "other"]);
    }

    #[test]
    fn options_without_effect_are_named_with_the_reason_and_what_to_do() {
        let table = |when: bool| {
            let idle = |options: &[&str], why, instead| Idle { when, options: names(options), why, instead };
            [
                idle(&["absent"], "never said", ""),
                idle(&["deep", "absent", "other"], "it is shallow", "say --dig"),
                idle(&["other"], "not reached", ""),
            ]
        };
        given("outer inner --deep 1").refuse(table(false)).unwrap();
        given("outer --loud inner").refuse(table(true)).unwrap();
        let both = given("outer inner --other x --deep 1").refuse(table(true)).unwrap_err();
        assert_eq!(both.to_string(), "--deep and --other have no effect: it is shallow");
        assert_eq!(both.remedy(), Some("leave them away, or say --dig"));
        let one = given("outer inner --deep 1").refuse(table(true)).unwrap_err();
        assert_eq!(one.to_string(), "--deep has no effect: it is shallow");
        assert_eq!((one.kind(), one.remedy()), (Kind::Usage, Some("leave it away, or say --dig")));
    }
}
