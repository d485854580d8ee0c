//! Owns answering over HTTP: one process that serves a bundle for months.
//!
//! The way of a request: `http` takes the connection (`stream`: its bytes), `routes` checks who asks and
//! reads the body, `api` understands it and has its texts read, `admission` lets it in or not, `queue` packs
//! the pieces of all requests into batches (`pool`) for the one thread that runs the network, `reply` shapes
//! the answer. `watch` exchanges the model, the keys and the certificate.
//!
//! Refuses to let a request wait without bound, to hold work that nobody waits for, and to write texts
//! anywhere.

mod admission;
mod api;
mod counters;
mod http;
mod keys;
mod life;
mod log;
mod model;
mod pool;
mod queue;
mod reply;
mod routes;
mod server;
mod stream;
mod tls;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::bundle::{PublicKey, copy_places};
use crate::error::Result;
use crate::runtime::RuntimeOptions;
use crate::tokens::TOKEN_BUDGET;
pub use log::LogFormat;

/// What to serve, to whom, and how much of it.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The bundle.
    pub bundle: PathBuf,
    /// Library, device and threads.
    pub runtime: RuntimeOptions,
    /// Load nothing but a bundle that was signed with this key.
    pub trust: Option<PublicKey>,
    /// Where tunings are kept, whose threads and buckets are used; how large a batch gets is a limit of its
    /// own, as a text that comes alone waits for it.
    pub tuning: Option<PathBuf>,
    /// The folders that are tried for the private copy of the bundle (`bundle::copy_places`).
    pub copy_to: Vec<PathBuf>,
    /// Where to listen.
    pub bind: SocketAddr,
    /// One API key a line; without, everybody may ask.
    pub api_keys: Option<PathBuf>,
    /// PEM files of the certificate chain and its private key; without, HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// What happens to long texts.
    pub long: Option<Long>,
    /// Say that a task is uncertain where its most probable label's probability is lower.
    pub abstain_below: Option<f32>,
    /// How much is taken on.
    pub limits: Limits,
    /// How lines of the log look.
    pub log: LogFormat,
    /// Log every request, not only those that are refused.
    pub log_requests: bool,
}

impl ServeOptions {
    /// A bundle for everybody who can reach this address, within the limits by default, from a private copy
    /// in a folder for temporary files.
    #[must_use]
    pub fn new(bundle: impl Into<PathBuf>, bind: SocketAddr) -> Self {
        Self {
            bundle: bundle.into(),
            runtime: RuntimeOptions::default(),
            trust: None,
            tuning: None,
            copy_to: copy_places(None),
            bind,
            api_keys: None,
            tls: None,
            long: None,
            abstain_below: None,
            limits: Limits::default(),
            log: LogFormat::default(),
            log_requests: false,
        }
    }
}

/// How a text beyond the model's limit is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Long {
    /// Its end is cut off.
    Truncate,
    /// It is read in windows.
    Windows,
    /// It is refused.
    Refuse,
}

/// How much is taken on.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A request that was read is answered within this time, or given up.
    pub timeout: Duration,
    /// What is in flight at a SIGTERM is finished within this time, or cut off.
    pub grace: Duration,
    /// Headers, a body, and a TLS handshake arrive within this time each; so long a connection may be idle,
    /// and an answer stuck.
    pub read_timeout: Duration,
    /// A batch with room left waits so long for requests that are being read already.
    pub max_wait: Duration,
    /// Bytes of a body.
    pub body: usize,
    /// Texts of a request.
    pub texts: usize,
    /// Tokens of a text that is read in windows.
    pub tokens: usize,
    /// Texts of all requests that are not answered yet.
    pub queue_texts: usize,
    /// Their tokens.
    pub queue_tokens: usize,
    /// Open connections.
    pub connections: usize,
    /// Tokens of a batch, padding included.
    pub token_budget: usize,
}

impl Default for Limits {
    /// A full queue is a second's or two's work for two cores, far below the timeout: who is let in is
    /// answered. There may be more connections than texts waiting, so that whoever finds no room is told so
    /// as a request (429).
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            grace: Duration::from_secs(20),
            read_timeout: Duration::from_secs(30),
            max_wait: Duration::from_millis(2),
            body: 1 << 20,
            texts: 1024,
            tokens: 8192,
            queue_texts: 2048,
            queue_tokens: 32_768,
            connections: 4096,
            token_budget: TOKEN_BUDGET,
        }
    }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// The bundle cannot be opened or fails its self-test, a file of keys or certificates is not what it must be,
/// or the address cannot be had.
pub fn serve(options: ServeOptions) -> Result<()> {
    life::run(options)
}
