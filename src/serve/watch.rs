//! Owns exchanging what is served while it is served: the bundle, the API keys, the certificate, when their files change or at a
//! SIGHUP.
//!
//! And memory that clients left behind goes back to the system from here, since nothing else in a server has a clock.
//!
//! The new one is opened beside the old one and takes its place only when it is right; otherwise the old one stays, and the log says why.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::keys::Keys;
use super::log::fields_of;
use super::model::Model;
use super::server::Server;
use super::tls;
use crate::bundle::signature_path;
use crate::error::Result;
use crate::runtime::give_back_memory;

/// How often files are looked at: a change is taken up when it has been the same for two looks, so that a file that is being
/// copied is left to become whole.
const EVERY: Duration = Duration::from_millis(250);
/// After so many looks, memory that was freed is given back: 5 s.
const LOOKS: u64 = 20;

/// What a file's metadata say about its content.
type Look = Option<(u64, u64, u64, i64, i64)>;

/// A file, as it was when it was last taken up, and as it was seen last.
struct Watched<'p> {
    paths: Vec<&'p Path>,
    taken: Vec<Look>,
    seen: Vec<Look>,
}

impl<'p> Watched<'p> {
    fn new(paths: Vec<&'p Path>) -> Self {
        let taken = looks(&paths);
        Self { seen: taken.clone(), taken, paths }
    }

    /// Whether it is time to take the files up again; `now`: in any case.
    fn is_due(&mut self, now: bool) -> bool {
        let looks = looks(&self.paths);
        let settled = looks == self.seen && looks != self.taken;
        self.seen.clone_from(&looks);
        if settled || now {
            self.taken = looks;
        }
        (settled || now) && !self.paths.is_empty()
    }
}

fn looks(paths: &[&Path]) -> Vec<Look> {
    let look = |path: &&Path| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
    };
    paths.iter().map(look).collect()
}

/// Watches until the other end of `asked` is gone; each message there is a SIGHUP.
pub(super) fn watch(server: &Arc<Server>, asked: &Receiver<()>) {
    let options = &server.options;
    // A signature that comes after its bundle makes it one that may be served.
    let signature = options.trust.as_ref().map(|_| signature_path(&options.bundle));
    let mut bundle =
        Watched::new(std::iter::once(options.bundle.as_path()).chain(signature.as_deref()).collect());
    let mut keys = Watched::new(options.api_keys.iter().map(AsRef::as_ref).collect());
    let mut chain =
        Watched::new(options.tls.iter().flat_map(|(chain, key)| [chain.as_path(), key.as_path()]).collect());
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
            tell(server, "API keys", &keys.paths, exchange_keys(server));
        }
        if chain.is_due(now) {
            tell(server, "certificate", &chain.paths, exchange_tls(server));
        }
        if bundle.is_due(now) {
            let outcome = exchange_model(server);
            server.counters.loaded(outcome.is_ok());
            tell(server, "bundle", &bundle.paths, outcome);
        }
    }
}

fn exchange_keys(server: &Server) -> Result<String> {
    let Some(path) = &server.options.api_keys else { return Ok(String::new()) };
    let keys = Keys::open(path)?;
    let said = format!("{} keys", keys.count());
    server.set_keys(keys);
    Ok(said)
}

fn exchange_tls(server: &Server) -> Result<String> {
    let Some((chain, key)) = &server.options.tls else { return Ok(String::new()) };
    server.set_tls(tls::acceptor(chain, key)?);
    Ok("for new connections".to_owned())
}

fn exchange_model(server: &Server) -> Result<String> {
    let model = Model::open(&server.options)?;
    model.say_tuning(&server.log);
    let said = model.card.fingerprint.clone();
    server.model.set(model);
    Ok(said)
}

fn tell(server: &Server, what: &str, paths: &[&Path], outcome: Result<String>) {
    let path = paths.first().map(|path| path.display().to_string());
    match outcome {
        Ok(now) => {
            server.log.info(&format!("new {what}"), &[("path", path.into()), ("now", now.into())]);
        }
        Err(error) => {
            server
                .log
                .error(&format!("the old {what} stays: the new one cannot be used"), &fields_of(&error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_taken_up_once_when_it_has_settled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, "a").unwrap();
        let mut watched = Watched::new(vec![&path]);
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
}
