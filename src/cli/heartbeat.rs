//! Owns the sign of life of work that takes long: a spinner on a terminal, elsewhere a line after five
//! seconds and then every ten.
//!
//! Refuses to say anything of what is done sooner, and anything at all when the user wants quiet.

use std::io::IsTerminal as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long work may take before the first line …
const FIRST_AFTER: Duration = Duration::from_secs(5);
/// … and how often another one is printed.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// How often a spinner turns.
const TURN_EVERY: Duration = Duration::from_millis(125);

/// Shows that work goes on, from a thread of its own.
pub(crate) struct Heartbeat {
    work: Arc<Shared>,
    spins: bool,
    spinner: Mutex<Option<ProgressBar>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What is done, since when, and when the next line is due.
    doing: Option<(String, Instant, Instant)>,
    over: bool,
}

impl Heartbeat {
    pub(super) fn new(quiet: bool) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let heartbeat =
            Self { work: Arc::default(), spins: on_terminal && !quiet, spinner: Mutex::default() };
        if !quiet && !on_terminal {
            let work = Arc::clone(&heartbeat.work);
            // Without a thread there are no lines, and the work goes on all the same.
            let _silent = std::thread::Builder::new()
                .name("heartbeat".to_owned())
                .spawn(move || work.print(&mut std::io::stderr()));
        }
        heartbeat
    }

    /// What is being done; time counts from the first call since [`Self::rest`].
    pub(crate) fn doing(&self, what: impl Into<String>) {
        let what = what.into();
        if self.spins {
            let mut spinner = self.spinner.lock().unwrap_or_else(PoisonError::into_inner);
            spinner.get_or_insert_with(new_spinner).set_message(what);
            return;
        }
        let mut state = self.work.locked();
        let now = Instant::now();
        let (since, due) =
            state.doing.take().map_or((now, now + FIRST_AFTER), |(_, since, due)| (since, due));
        state.doing = Some((what, since, due));
        drop(state);
        self.work.changed.notify_all();
    }

    /// Nothing that takes long is being done, or what is done shows itself.
    pub(crate) fn rest(&self) {
        let spinner = self.spinner.lock().unwrap_or_else(PoisonError::into_inner).take();
        spinner.into_iter().for_each(|spinner| spinner.finish_and_clear());
        self.work.locked().doing = None;
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.rest();
        self.work.locked().over = true;
        self.work.changed.notify_all();
    }
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints the lines when they are due, until it is over.
    fn print(&self, out: &mut dyn std::io::Write) {
        let mut state = self.locked();
        while !state.over {
            let now = Instant::now();
            let left = state.doing.as_ref().map(|(.., due)| due.saturating_duration_since(now));
            match (&mut state.doing, left) {
                (Some((what, since, due)), Some(Duration::ZERO)) => {
                    // Nobody listening there is no reason to stop.
                    let _ = writeln!(out, "{what}, {:.0} s so far", since.elapsed().as_secs_f64());
                    *due = now + LINE_EVERY;
                }
                (_, Some(left)) => {
                    state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                (_, None) => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

fn new_spinner() -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    spinner.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(TURN_EVERY);
    spinner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_printed_when_it_is_due_and_none_at_rest() {
        let shared = Shared::default();
        let now = Instant::now();
        shared.locked().doing = Some(("fitting".to_owned(), now, now));
        let mut out = Vec::new();
        std::thread::scope(|scope| {
            let printing = scope.spawn(|| shared.print(&mut out));
            // The next line is due ten seconds after the first.
            while shared.locked().doing.as_ref().is_some_and(|(.., due)| *due == now) {
                std::thread::yield_now();
            }
            let mut state = shared.locked();
            (state.doing, state.over) = (None, true);
            drop(state);
            shared.changed.notify_all();
            printing.join().unwrap();
        });
        assert_eq!(String::from_utf8(out).unwrap(), "fitting, 0 s so far\n");
    }

    #[test]
    fn time_counts_from_the_first_call() {
        let heartbeat = Heartbeat { work: Arc::default(), spins: false, spinner: Mutex::default() };
        heartbeat.doing("one");
        let first = heartbeat.work.locked().doing.as_ref().unwrap().1;
        heartbeat.doing("two");
        let (what, since, due) = heartbeat.work.locked().doing.clone().unwrap();
        assert_eq!((what.as_str(), since, due), ("two", first, first + FIRST_AFTER));
        heartbeat.rest();
        assert!(heartbeat.work.locked().doing.is_none());
    }
}
