//! Owns what people see: messages, warnings, errors, progress, numbers made readable. All of it goes to
//! standard error, no line of it wider than the terminal.
//!
//! Refuses to print results.

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::heartbeat::Heartbeat;
use super::screen::{colours, folded, width_of};
use frosthead::internal::data::Source;
use frosthead::internal::embed::{Progress, TextNotes};
use frosthead::internal::error::{Error, quoted};
use frosthead::internal::quantities::duration;
pub(crate) use frosthead::internal::quantities::{bytes, grouped};
use frosthead::internal::store::Damage;
use frosthead::internal::tokens::{LongTexts, Truncation, WindowOptions};

/// Standard error, and how much the user wants to read there.
#[derive(Debug)]
pub(crate) struct Terminal {
    quiet: bool,
    verbose: bool,
    colour: bool,
    /// Whether it was said that the feature store cannot be written.
    unwritable_said: AtomicBool,
}

impl Terminal {
    pub(crate) fn new(quiet: bool, verbose: bool) -> Self {
        let colour = colours(&std::io::stderr());
        Self { quiet, verbose, colour, unwritable_said: AtomicBool::new(false) }
    }

    #[cfg(feature = "train")]
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    #[cfg(feature = "serve")]
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Something worth knowing.
    pub(crate) fn say(&self, message: impl AsRef<str>) {
        if !self.quiet {
            line(message.as_ref());
        }
    }

    /// Something only a curious user wants to know.
    pub(crate) fn detail(&self, message: impl AsRef<str>) {
        if self.verbose {
            line(message.as_ref());
        }
    }

    /// Something that may be wrong.
    pub(crate) fn warn(&self, message: impl AsRef<str>) {
        if !self.quiet {
            line(&format!("{} {}", self.paint("warning:", "33"), message.as_ref()));
        }
    }

    /// The error that ended the command: what and where, its causes, what to do.
    pub(crate) fn error(&self, error: &Error) {
        line(&format!("{} {error}", self.paint("error:", "31")));
        for cause in chain(error).skip(1) {
            line(&format!("  because: {cause}"));
        }
        let remedy = chain(error).filter_map(|cause| cause.downcast_ref::<Error>()).find_map(Error::remedy);
        if let Some(remedy) = remedy {
            line(&format!("  {} {remedy}", self.paint("help:", "36")));
        }
    }

    /// Parts of the store that were set aside.
    pub(crate) fn damage(&self, damaged: &[Damage]) {
        for damage in damaged {
            self.warn(format!(
                "{}: stored features are damaged ({}); they are computed again",
                damage.path.display(),
                damage.reason
            ));
        }
    }

    /// Says once that what is computed is not kept, if it is not.
    pub(crate) fn unwritable(&self, root: &Path, why: Option<&Error>) {
        let Some(why) = why else { return };
        if self.unwritable_said.swap(true, Ordering::Relaxed) {
            return;
        }
        let cause = chain(why).last().map(ToString::to_string).unwrap_or_default();
        self.warn(format!(
            "{}: the feature store cannot be written ({cause}): what is stored there is used, what is missing is computed and not kept",
            root.display()
        ));
    }

    /// What was odd about a table's texts.
    pub(crate) fn notes(&self, notes: &TextNotes, long: LongTexts, max_length: usize) {
        if notes.empty + notes.nul > 0 {
            self.warn(format!(
                "{} empty texts and {} texts with a NUL byte were embedded like any other (--strict refuses them)",
                grouped(notes.empty),
                grouped(notes.nul)
            ));
        }
        if notes.half_empty > 0 {
            self.warn(format!(
                "{} pairs with one empty text were embedded like any other (--strict refuses them)",
                grouped(notes.half_empty)
            ));
        }
        match long {
            LongTexts::Truncate => self.truncation(&notes.truncation, notes.rows, max_length),
            LongTexts::Windows(options) => self.windows(notes, options),
        }
    }

    /// How long texts were read; said even when none was.
    fn windows(&self, notes: &TextNotes, options: WindowOptions) {
        let TextNotes { rows, truncation, windowed, .. } = notes;
        self.say(format!(
            "{} of {} texts were read in {} ({} in all)",
            grouped(windowed.texts),
            grouped(*rows),
            LongTexts::Windows(options),
            grouped(windowed.windows)
        ));
        if let Some(most) = options.most {
            self.say(format!(
                "{} texts were cut behind {most} windows ({}{} tokens lost)",
                grouped(truncation.texts),
                if truncation.at_least { "at least " } else { "" },
                grouped(truncation.tokens_lost)
            ));
        }
    }

    /// What was cut off at the maximum length; said even when nothing was.
    pub(crate) fn truncation(&self, truncation: &Truncation, texts: u64, max_length: usize) {
        self.say(format!(
            "{} of {} texts were cut at {max_length} tokens ({}{} tokens lost)",
            grouped(truncation.texts),
            grouped(texts),
            if truncation.at_least { "at least " } else { "" },
            grouped(truncation.tokens_lost)
        ));
    }

    /// Progress over the rows of a table: a bar on a terminal, a line every ten seconds elsewhere.
    pub(crate) fn progress(&self, rows: Option<u64>) -> TableProgress {
        let on_terminal = std::io::stderr().is_terminal();
        let bar = (on_terminal && !self.quiet).then(|| {
            let bar = rows.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
            let template = if rows.is_some() {
                "{bar:30} {pos}/{len} rows  {msg}  {eta} left"
            } else {
                "{spinner} {pos} rows  {msg}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        TableProgress { bar, lines: !self.quiet && !on_terminal, rows, began: None, said: Instant::now() }
    }

    /// A sign of life for work that may take long without anything to say.
    pub(crate) fn heartbeat(&self) -> Heartbeat {
        Heartbeat::new(self.quiet)
    }

    /// The same, for one piece of work, until it is dropped.
    pub(crate) fn working(&self, what: impl Into<String>) -> Heartbeat {
        let heartbeat = self.heartbeat();
        heartbeat.doing(what);
        heartbeat
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.colour { format!("\x1b[1;{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Progress over the rows of a table.
pub(crate) struct TableProgress {
    bar: Option<ProgressBar>,
    lines: bool,
    rows: Option<u64>,
    /// When the first rows were shown, and how many there were: what is done before them is no measure.
    began: Option<(Instant, u64)>,
    said: Instant,
}

/// How often a plain line is printed.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// In less time a speed is chance.
const ENOUGH_TIME: Duration = Duration::from_secs(1);

impl TableProgress {
    /// Shows how far the work has come.
    pub(crate) fn show(&mut self, progress: &Progress) {
        let rows = progress.rows();
        let (began, first) = *self.began.get_or_insert((Instant::now(), rows));
        let rate = rate(rows - first.min(rows), began.elapsed());
        if let Some(bar) = &self.bar {
            bar.set_message(rate.map_or_else(String::new, |rate| format!("{rate:.0} rows/s")));
            bar.set_position(rows);
        } else if self.lines && self.said.elapsed() >= LINE_EVERY {
            self.said = Instant::now();
            line(&progress_line(rows, self.rows, rate));
        }
    }
}

/// Rows a second, once they say something.
fn rate(rows: u64, passed: Duration) -> Option<f64> {
    (rows > 0 && passed >= ENOUGH_TIME).then(|| rows as f64 / passed.as_secs_f64())
}

fn progress_line(rows: u64, all: Option<u64>, rate: Option<f64>) -> String {
    let of = all.map_or_else(String::new, |all| format!(" of {}", grouped(all)));
    let speed = rate.map_or_else(String::new, |rate| {
        let digits = usize::from(rate < 10.0);
        let left = all.map_or_else(String::new, |all| {
            format!(", {} left", duration(all.saturating_sub(rows) as f64 / rate))
        });
        format!(", {rate:.digits$} rows/s{left}")
    });
    format!("{}{of} rows{speed}", grouped(rows))
}

impl Drop for TableProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Terminal {
    /// Warns of keys that the output has no columns for.
    pub(crate) fn left_out(&self, names: &BTreeSet<String>) {
        if !names.is_empty() {
            let names: Vec<String> = names.iter().take(5).map(|name| quoted(name)).collect();
            self.warn(format!(
                "keys that the first row has not are not in the output: {}; give a file, or a first row with every key",
                names.join(", ")
            ));
        }
    }
}

/// Rows in a file, for progress and the space check; `None` when it cannot be known without the work itself.
pub(crate) fn count_rows(source: &Source) -> Option<u64> {
    // A pipe can be read but once.
    if source.path.is_none() || !source.is_regular_file() {
        return None;
    }
    let mut reader = frosthead::internal::data::TableReader::open(source).ok()?;
    let mut rows = 0;
    loop {
        match reader.read(4096, 4 << 20) {
            Ok(batch) if batch.is_empty() => return Some(rows),
            Ok(batch) => rows += batch.len() as u64,
            // The real pass will say what is wrong, with its place.
            Err(_) => return None,
        }
    }
}

/// An error and its causes.
fn chain(error: &Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |cause| cause.source())
}

/// Whether an error is a reader that went away (`frosthead … | head`), which ends a command quietly.
pub(crate) fn is_closed_pipe(error: &Error) -> bool {
    chain(error)
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Prints a line to standard error; nobody listening there is no reason to stop.
fn line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", folded(text, width_of(&std::io::stderr())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_said_once_it_is_known() {
        assert_eq!(rate(0, Duration::from_secs(60)), None);
        assert_eq!(rate(5, Duration::from_millis(10)), None);
        assert_eq!(rate(30, Duration::from_secs(60)), Some(0.5));
        assert_eq!(progress_line(30, Some(3030), Some(0.5)), "30 of 3,030 rows, 0.5 rows/s, 1 h 40 min left");
        assert_eq!(
            progress_line(2000, Some(3000), Some(250.0)),
            "2,000 of 3,000 rows, 250 rows/s, 4.0 s left"
        );
        assert_eq!(progress_line(30, Some(3030), None), "30 of 3,030 rows");
        assert_eq!(progress_line(2000, None, Some(250.0)), "2,000 rows, 250 rows/s");
    }

    #[test]
    fn a_closed_pipe_is_found_below_other_errors() {
        let pipe = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(is_closed_pipe(&Error::io("write", "-", pipe)));
        let other = std::io::Error::from(std::io::ErrorKind::NotFound);
        assert!(!is_closed_pipe(&Error::io("write", "-", other)));
    }
}
