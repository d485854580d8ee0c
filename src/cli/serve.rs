//! Owns `frosthead serve`: a bundle over HTTP.

use frosthead::internal::error::Result;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Outcome;
use super::given::{Given, Idle, names};
use super::options::{RuntimeArguments, TuningArguments};
use super::predict::probability;
use super::terminal::Terminal;
use frosthead::internal::bundle::{PublicKey, copy_places};
use frosthead::internal::serve::{Limits, LogFormat, Long, ServeOptions, serve};
use frosthead::internal::tokens::TOKEN_BUDGET;

/// Serve a bundle over HTTP.
///
/// SIGTERM finishes what is in flight and ends; SIGHUP, or another file in the bundle's place, exchanges the
/// bundle without dropping a request. The server works on a private copy: the old bundle answers until the
/// new one is whole and found to be right.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  frosthead serve x.frost
  frosthead serve x.frost --bind 0.0.0.0:8443 --api-keys keys.txt --tls-cert chain.pem --tls-key key.pem --log json
  curl localhost:8080/v1/predict -H 'Content-Type: application/json' -d '{\"texts\": [\"Great phone!\"]}'")]
pub(crate) struct Arguments {
    /// The bundle.
    bundle: PathBuf,
    /// Where to listen.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    bind: SocketAddr,
    /// One API key a line, plain or `sha256:` and its hash; read again when the file changes.
    #[arg(long, value_name = "FILE")]
    api_keys: Option<PathBuf>,
    /// The certificate chain for HTTPS, PEM; read again when the file changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Load only a bundle that is signed with this minisign public key (RW…, or its .pub file).
    #[arg(long, value_name = "PUBKEY")]
    trust: Option<PublicKey>,
    /// The folder for the server's private copy of the bundle, which is as large as the bundle; on a tmpfs it
    /// takes memory [default: the first of $TMPDIR, /var/tmp and /tmp that has room].
    #[arg(long, value_name = "DIR")]
    copy_to: Option<PathBuf>,
    /// What to do with texts beyond the model's limit: cut off their end, read them in windows, or refuse
    /// them [default: as the bundle was trained].
    #[arg(long, value_name = "HOW")]
    long: Option<LongChoice>,
    /// Answer "uncertain" where the most probable label has a lower probability than this, in tasks of one
    /// label.
    #[arg(long, value_name = "P", value_parser = probability)]
    abstain_below: Option<f32>,
    /// `text` or `json`, one line for each event, on standard error; -v logs every request.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log: LogFormat,
    #[command(flatten)]
    limits: LimitArguments,
    #[command(flatten)]
    runtime: RuntimeArguments,
    #[command(flatten)]
    tuning: TuningArguments,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
struct LimitArguments {
    /// Seconds until a request that was read is given up (504).
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    timeout: Duration,
    /// Seconds that requests in progress have left after a SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = seconds)]
    grace: Duration,
    /// Seconds for headers, for a body, and for TLS; also how long a connection may be idle, or an answer
    /// stuck.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    read_timeout: Duration,
    /// Milliseconds that a batch with room left waits for requests that are just being read.
    #[arg(long, value_name = "MS", default_value_t = 2)]
    max_wait: u64,
    /// Most bytes of a body (413).
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().body, value_parser = positive)]
    max_body: usize,
    /// Most texts in a request (422).
    #[arg(long, value_name = "N", default_value_t = Limits::default().texts, value_parser = positive)]
    max_texts: usize,
    /// Most tokens of a text that is read in windows (422); no limit with --long truncate or refuse.
    #[arg(long, value_name = "N", default_value_t = Limits::default().tokens, value_parser = positive)]
    max_tokens: usize,
    /// Most texts that wait for an answer, of all requests together (429).
    #[arg(long, value_name = "N", default_value_t = Limits::default().queue_texts, value_parser = positive)]
    queue_texts: usize,
    /// Most tokens of those texts (429).
    #[arg(long, value_name = "N", default_value_t = Limits::default().queue_tokens, value_parser = positive)]
    queue_tokens: usize,
    /// Most open connections (503).
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections, value_parser = positive)]
    max_connections: usize,
    /// Tokens in a batch, padding included.
    #[arg(long, value_name = "N", default_value_t = TOKEN_BUDGET, value_parser = positive)]
    token_budget: usize,
}

/// The values of `--long`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LongChoice {
    Truncate,
    Windows,
    Refuse,
}

/// A time above 0.
fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse().ok().filter(|number| *number > 0.0);
    let duration = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    duration.ok_or_else(|| "expected seconds, above 0".to_owned())
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "expected a whole number above 0".to_owned())
}

pub(crate) fn run(arguments: &Arguments, given: &Given, terminal: &Terminal) -> Result<Outcome> {
    given.refuse([Idle {
        when: matches!(arguments.long, Some(LongChoice::Truncate | LongChoice::Refuse)),
        options: names(&["max-tokens"]),
        why: "no text is read in windows",
        instead: "say --long windows",
    }])?;
    let limits = &arguments.limits;
    let limits = Limits {
        timeout: limits.timeout,
        grace: limits.grace,
        read_timeout: limits.read_timeout,
        max_wait: Duration::from_millis(limits.max_wait),
        body: limits.max_body,
        texts: limits.max_texts,
        tokens: limits.max_tokens,
        queue_texts: limits.queue_texts,
        queue_tokens: limits.queue_tokens,
        connections: limits.max_connections,
        token_budget: limits.token_budget,
    };
    serve(ServeOptions {
        bundle: arguments.bundle.clone(),
        runtime: arguments.runtime.options(),
        trust: arguments.trust.clone(),
        tuning: arguments.tuning.folder(),
        copy_to: copy_places(arguments.copy_to.as_deref()),
        bind: arguments.bind,
        api_keys: arguments.api_keys.clone(),
        tls: arguments.tls_cert.clone().zip(arguments.tls_key.clone()),
        long: arguments.long.map(|long| match long {
            LongChoice::Truncate => Long::Truncate,
            LongChoice::Windows => Long::Windows,
            LongChoice::Refuse => Long::Refuse,
        }),
        abstain_below: arguments.abstain_below,
        limits,
        log: arguments.log,
        log_requests: terminal.is_verbose(),
    })?;
    Ok(Outcome::Done)
}
