//! Owns exchanging what is served while it is served: the bundle, the API keys, the certificate, when their
//! files change or at a SIGHUP.
//!
//! And memory that clients left behind goes back to the system from here, since nothing else in a server has
//! a clock.
//!
//! The new one is opened beside the old one and takes its place only when it is right; otherwise the old one
//! stays, and the log says why, once. Files that are written slowly may rest in between and be tried too
//! early: that costs little, and is tried again.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::keys::{Keys, ends_with_a_line};
use super::log::{Log, fields_of};
use super::model::Model;
use super::server::Server;
use super::tls;
use crate::bundle::signature_path;
use crate::error::Result;
use crate::held::Identity;
use crate::runtime::give_back_memory;

/// How often files are looked at: a change is taken up when it has been the same for two looks, so that a
/// file that is being copied is left to become whole.
const EVERY: Duration = Duration::from_millis(250);
/// After so many looks, memory that was freed is given back: 5 s.
const LOOKS: u64 = 20;
/// So many looks a change has to be the same after one that could not be used, at most: 2 s.
const MOST_PATIENCE: u32 = 8;
/// So many if the file may have been cut within a line: 5 s.
const UNFINISHED: u32 = 20;
/// The same failure is told again after so long.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// Files, as they were when they were last taken up, and as they were seen last.
struct Watched<'p> {
    /// What they are, in the log.
    what: &'static str,
    paths: Vec<&'p Path>,
    taken: Vec<Option<Identity>>,
    seen: Vec<Option<Identity>>,
    /// For how many looks they have been as they are.
    same_for: u32,
    /// For how many they have to be.
    patience: u32,
    /// The failure that was told last, and when.
    told: Option<(String, Instant)>,
}

impl<'p> Watched<'p> {
    fn new(what: &'static str, paths: Vec<&'p Path>) -> Self {
        let taken = looks(&paths);
        Self { what, seen: taken.clone(), taken, paths, same_for: 0, patience: 1, told: None }
    }

    /// Whether it is time to take the files up again; `now`: in any case.
    fn is_due(&mut self, now: bool) -> bool {
        let looks = looks(&self.paths);
        self.same_for = if looks == self.seen { self.same_for.saturating_add(1) } else { 0 };
        self.seen.clone_from(&looks);
        let settled = looks != self.taken && self.same_for >= self.patience;
        let due = (settled || now) && !self.paths.is_empty();
        if due {
            self.taken = looks;
        }
        due
    }

    /// What was taken up is not to be taken as it is: it is looked at again as if it had changed just now.
    fn again(&mut self, patience: u32) {
        self.taken = vec![None; self.paths.len()];
        (self.same_for, self.patience) = (0, patience);
    }

    /// Says what became of taking the files up.
    fn tell(&mut self, log: &Log, outcome: Result<String>) {
        let error = match outcome {
            Ok(now) => {
                (self.patience, self.told) = (1, None);
                let path = self.paths.first().map(|path| path.display().to_string());
                return log
                    .info(&format!("new {}", self.what), &[("path", path.into()), ("now", now.into())]);
            }
            Err(error) => error,
        };
        self.patience = (2 * self.patience).min(MOST_PATIENCE);
        let text = error.to_string();
        if self.told.as_ref().is_some_and(|(told, when)| *told == text && when.elapsed() < TOLD_AGAIN) {
            return;
        }
        log.error(&format!("the old {} stays: the new one cannot be used", self.what), &fields_of(&error));
        self.told = Some((text, Instant::now()));
    }
}

fn looks(paths: &[&Path]) -> Vec<Option<Identity>> {
    paths.iter().map(|path| Identity::at(path).ok()).collect()
}

/// Watches until the other end of `asked` is gone; each message there is a SIGHUP.
pub(super) fn watch(server: &Arc<Server>, asked: &Receiver<()>) {
    let options = &server.options;
    // A signature that comes after its bundle makes it one that may be served.
    let signature = options.trust.as_ref().map(|_| signature_path(&options.bundle));
    let bundle = std::iter::once(options.bundle.as_path()).chain(signature.as_deref()).collect();
    let mut bundle = Watched::new("bundle", bundle);
    let mut keys = Watched::new("API keys", options.api_keys.iter().map(AsRef::as_ref).collect());
    let chain = options.tls.iter().flat_map(|(chain, key)| [chain.as_path(), key.as_path()]).collect();
    let mut chain = Watched::new("certificate", chain);
    for look in 1_u64.. {
        let now = match asked.recv_timeout(EVERY) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if look.is_multiple_of(LOOKS) {
            give_back_memory();
        }
        if keys.is_due(now) {
            exchange_keys(server, &mut keys, now);
        }
        if chain.is_due(now) {
            chain.tell(&server.log, exchange_tls(server));
        }
        if bundle.is_due(now) {
            let outcome = exchange_model(server);
            server.counters.loaded(outcome.is_ok());
            bundle.tell(&server.log, outcome);
        }
    }
}

fn exchange_keys(server: &Server, watched: &mut Watched<'_>, now: bool) {
    let Some(path) = &server.options.api_keys else { return };
    // Half of a key is a key as well: a file that ends within a line is given more time.
    if !now && watched.same_for < UNFINISHED && !ends_with_a_line(path) {
        let patience = UNFINISHED;
        return watched.again(patience);
    }
    let exchanged = Keys::open(path).map(|keys| {
        let said = format!("{} keys", keys.count());
        server.keys.set(Some(Arc::new(keys)));
        said
    });
    watched.tell(&server.log, exchanged);
}

fn exchange_tls(server: &Server) -> Result<String> {
    let Some((chain, key)) = &server.options.tls else { return Ok(String::new()) };
    server.tls.set(Some(tls::acceptor(chain, key)?));
    Ok("for new connections".to_owned())
}

fn exchange_model(server: &Server) -> Result<String> {
    let model = Model::open(&server.options)?;
    model.say_tuning(&server.log);
    model.say_copy(&server.log);
    let said = model.card.fingerprint.clone();
    server.model.set(Arc::new(model));
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::super::log::LogFormat;
    use super::*;
    use crate::error::{Error, Kind};

    #[test]
    fn a_change_is_taken_up_once_when_it_has_settled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, "a").unwrap();
        let mut watched = Watched::new("keys", vec![&path]);
        assert!(!watched.is_due(false));
        std::fs::write(&path, "ab").unwrap();
        assert!(!watched.is_due(false), "it may still be written");
        std::fs::write(&path, "abc").unwrap();
        assert!(!watched.is_due(false), "it was");
        assert!(watched.is_due(false));
        assert!(!watched.is_due(false), "once");
        assert!(watched.is_due(true), "when told to");
        std::fs::remove_file(&path).unwrap();
        assert!(!watched.is_due(false));
        assert!(watched.is_due(false), "a file that is gone is told");
        assert!(!watched.is_due(false));
    }

    #[test]
    fn a_change_that_keeps_length_and_time_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let write = |content: &str| {
            std::fs::write(&path, content).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        };
        write("a");
        let mut watched = Watched::new("keys", vec![&path]);
        std::thread::sleep(Duration::from_millis(20));
        write("b");
        assert!(!watched.is_due(false));
        assert!(watched.is_due(false));
    }

    #[test]
    fn failures_make_patient_and_are_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.frost");
        let mut watched = Watched::new("bundle", vec![&path]);
        let log = Log::new(LogFormat::Text);
        let fail = |watched: &mut Watched<'_>, what: &str| {
            watched.tell(&log, Err(Error::new(Kind::Bundle, what.to_owned())));
            watched.told.as_ref().unwrap().1
        };
        let looks = |watched: &mut Watched<'_>, content: &str| {
            std::fs::write(&path, content).unwrap();
            (1..100).find(|_| watched.is_due(false)).unwrap()
        };
        assert_eq!(looks(&mut watched, "1"), 2);
        let first = fail(&mut watched, "truncated");
        assert_eq!(looks(&mut watched, "12"), 3);
        assert_eq!(fail(&mut watched, "truncated"), first, "not told again");
        assert_eq!(looks(&mut watched, "123"), 5);
        assert!(fail(&mut watched, "not signed") > first, "another failure is told");
        for length in 4..10 {
            assert_eq!(looks(&mut watched, &"1".repeat(length)), 9, "no more than 2 s");
            fail(&mut watched, "not signed");
        }
        watched.tell(&log, Ok("well".to_owned()));
        assert_eq!(looks(&mut watched, "x"), 2);
    }
}
