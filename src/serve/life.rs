//! Owns the life of a server: starting everything, signals, and ending it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::ServeOptions;
use super::http::listen;
use super::log::Log;
use super::server::Server;
use super::watch::watch;
use crate::error::{Error, Kind, Result};
use crate::runtime::allow_open_files;

/// Threads that read texts beside the thread of the requests.
pub(super) const READERS: usize = 2;

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(options: ServeOptions) -> Result<()> {
    check(&options)?;
    allow_open_files();
    let log = Arc::new(Log::new(options.log));
    let outcome = serve(options, &log);
    log.close();
    outcome
}

/// What contradicts itself.
fn check(options: &ServeOptions) -> Result<()> {
    let limits = &options.limits;
    if limits.texts > limits.queue_texts {
        return Err(Error::new(Kind::Usage, "a request may have more texts than may wait at all")
            .found(format!("--max-texts {} and --queue-texts {}", limits.texts, limits.queue_texts))
            .expected("a queue that holds the largest request"));
    }
    Ok(())
}

fn serve(options: ServeOptions, log: &Arc<Log>) -> Result<()> {
    let system = |what: &'static str| {
        move |source: std::io::Error| Error::new(Kind::Io, format!("cannot {what}")).because(source)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(READERS)
        .build()
        .map_err(system("start the runtime of the requests"))?;
    let server = Arc::new(Server::open(options, Arc::clone(log))?);
    let (ended, network_ended) = oneshot::channel();
    let network = server.queue.start(ended)?;
    let (asks, asked) = channel();
    let watched = Arc::clone(&server);
    let watcher = std::thread::Builder::new()
        .name("watcher".to_owned())
        .spawn(move || watch(&watched, &asked))
        .map_err(system("start the thread that watches files"))?;
    let served = runtime.block_on(requests(&server, asks, network_ended));
    // Requests that were cut off leave their readers behind; those are not waited for.
    runtime.shutdown_background();
    server.queue.close();
    join(network);
    join(watcher);
    served
}

/// A thread that panicked has said so.
fn join(thread: JoinHandle<()>) {
    let _ = thread.join();
}

async fn requests(
    server: &Arc<Server>,
    asks: Sender<()>,
    network_ended: oneshot::Receiver<()>,
) -> Result<()> {
    let limits = &server.options.limits;
    let system = |source: std::io::Error| Error::new(Kind::Io, "cannot listen to signals").because(source);
    let mut end = signal(SignalKind::terminate()).map_err(system)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    let mut reload = signal(SignalKind::hangup()).map_err(system)?;
    let bind = server.options.bind;
    let listener = TcpListener::bind(bind).await.map_err(|source| cannot_bind(bind, source))?;
    let address = listener.local_addr().map_err(|source| cannot_bind(bind, source))?;
    tokio::spawn(async move {
        while reload.recv().await.is_some() {
            if asks.send(()).is_err() {
                break;
            }
        }
    });
    announce(server, address);
    let mut broken = false;
    let ended = async {
        tokio::select! {
            _ = end.recv() => {}
            _ = interrupt.recv() => {}
            _ = network_ended => broken = true,
        }
        server.drain();
        server.log.info("ending", &[("grace_seconds", limits.grace.as_secs_f64().into())]);
    };
    let whole = listen(server, listener, ended).await;
    if broken {
        return Err(Error::new(Kind::Runtime, "the thread of the network ended: this is a bug"));
    }
    match whole {
        true => server.log.info("ended", &[]),
        false => server
            .log
            .warn("ended with requests cut off", &[("grace_seconds", limits.grace.as_secs_f64().into())]),
    }
    Ok(())
}

fn cannot_bind(address: SocketAddr, source: std::io::Error) -> Error {
    Error::new(Kind::Io, "cannot listen")
        .found(format!("--bind {address}"))
        .help("choose another address or port, or stop what listens there")
        .because(source)
}

/// Says what is served where, and warns of what is probably not meant.
fn announce(server: &Server, address: SocketAddr) {
    let keys = server.keys.get();
    let scheme = if server.options.tls.is_some() { "https" } else { "http" };
    let model = server.model.get();
    let card = &model.card;
    let copy = model.classifier.copy();
    let fields = [
        ("address", format!("{scheme}://{address}").into()),
        ("bundle", server.options.bundle.display().to_string().into()),
        ("fingerprint", card.fingerprint.as_str().into()),
        ("precision", card.precision.as_str().into()),
        ("keys", keys.as_ref().map_or(0, |keys| keys.count()).into()),
        ("copy_in", copy.map(|copy| copy.folder.display().to_string()).into()),
        ("copy_bytes", copy.map(|copy| copy.bytes).into()),
        ("copy_shares_blocks", copy.map(|copy| copy.shared).into()),
    ];
    server.log.info("serving", &fields);
    if !address.ip().is_loopback() {
        if keys.is_none() {
            let text = "ANYBODY WHO REACHES THIS ADDRESS MAY ASK: give --api-keys FILE, or bind to 127.0.0.1";
            server.log.warn(text, &[("address", address.to_string().into())]);
        }
        if keys.is_some() && server.options.tls.is_none() {
            let text =
                "keys and texts travel unencrypted: give --tls-cert and --tls-key, or put a proxy in front";
            server.log.warn(text, &[("address", address.to_string().into())]);
        }
    }
}
