//! Owns what all requests share: options, the model of the moment, the keys, the gates, the queue, the
//! counters, the log.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;

use super::ServeOptions;
use super::admission::Gate;
use super::counters::Counters;
use super::keys::Keys;
use super::log::Log;
use super::model::Model;
use super::queue::Queue;
use super::tls;
use crate::error::Result;

/// How many bodies of the largest size are read at once.
const BODIES: usize = 64;

/// What is exchanged while the server runs: as it is at the moment.
pub(super) struct Current<T>(RwLock<T>);

impl<T: Clone> Current<T> {
    fn new(value: T) -> Self {
        Self(RwLock::new(value))
    }

    pub(super) fn get(&self) -> T {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

/// A server, as its requests see it.
pub(super) struct Server {
    pub options: ServeOptions,
    pub model: Current<Arc<Model>>,
    pub queue: Arc<Queue>,
    pub counters: Arc<Counters>,
    pub log: Arc<Log>,
    /// Texts that are not answered yet, their tokens, and bytes of bodies.
    pub texts: Arc<Gate>,
    pub tokens: Arc<Gate>,
    pub bodies: Arc<Gate>,
    /// Who may ask; none: everybody.
    pub keys: Current<Option<Arc<Keys>>>,
    pub tls: Current<Option<TlsAcceptor>>,
    draining: AtomicBool,
}

impl Server {
    /// Opens everything that the options name.
    ///
    /// # Errors
    /// The bundle, the keys or the certificate are not what they must be.
    pub(super) fn open(options: ServeOptions, log: Arc<Log>) -> Result<Self> {
        let keys = options.api_keys.as_deref().map(Keys::open).transpose()?;
        let tls = options.tls.as_ref().map(|(chain, key)| tls::acceptor(chain, key)).transpose()?;
        let model = Model::open(&options)?;
        model.say_tuning(&log);
        model.say_copy(&log);
        let counters = Arc::new(Counters::new());
        let limits = &options.limits;
        let queue = Queue::new(limits.token_budget, limits.max_wait, Arc::clone(&counters), Arc::clone(&log));
        Ok(Self {
            model: Current::new(Arc::new(model)),
            queue: Arc::new(queue),
            texts: Gate::new(limits.queue_texts),
            tokens: Gate::new(limits.queue_tokens),
            bodies: Gate::new(limits.body.saturating_mul(BODIES)),
            keys: Current::new(keys.map(Arc::new)),
            tls: Current::new(tls),
            draining: AtomicBool::new(false),
            counters,
            log,
            options,
        })
    }

    /// Counts and logs a client that gets nothing but a refusal.
    pub(super) fn refused(&self, code: &'static str, peer: SocketAddr) {
        self.counters.refused(code);
        self.log.refusal(code, &[("peer", peer.ip().to_string().into())]);
    }

    /// Whether the server is about to end.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}
