//! Owns connections: accepting them, TLS, what a client may take its time for, and their end.
//!
//! Refuses more connections than the limit (503, at once), headers that are too large, too many or too slow,
//! and clients that do not take their answer.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::reply::Refusal;
use super::routes::handle;
use super::server::Server;
use super::stream::{HEADER_BYTES, HEADERS, Stream};

/// After an error of the system (no file descriptors left) the next try waits so long.
const BREATH: Duration = Duration::from_millis(100);

/// How many connections beyond the limit are told so at once, each within this time.
const TURNED_AWAY: usize = 1024;
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// Accepts connections until `end`, then lets those that are open finish, within the grace.
pub(super) async fn listen(
    server: &Arc<Server>,
    listener: TcpListener,
    end: impl Future<Output = ()>,
) -> bool {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(server.options.limits.connections));
    let beyond = Arc::new(Semaphore::new(TURNED_AWAY));
    let mut end = std::pin::pin!(end);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => break,
        };
        match accepted {
            Ok((stream, peer)) => match Arc::clone(&room).try_acquire_owned() {
                Ok(place) => {
                    let (server, watcher) = (Arc::clone(server), graceful.watcher());
                    tokio::spawn(async move {
                        let _place = place;
                        connection(server, stream, peer, watcher).await;
                    });
                }
                Err(_) => turn_away(server, stream, peer, &beyond),
            },
            Err(error) => {
                server.log.error("cannot accept", &[("error", error.to_string().into())]);
                tokio::time::sleep(BREATH).await;
            }
        }
    }
    drop(listener);
    tokio::time::timeout(server.options.limits.grace, graceful.shutdown()).await.is_ok()
}

/// Says why, and is not held up by it; beyond so many that are told, a connection just ends.
fn turn_away(server: &Arc<Server>, stream: TcpStream, peer: SocketAddr, beyond: &Arc<Semaphore>) {
    server.refused("too_many_connections", peer);
    let Ok(place) = Arc::clone(beyond).try_acquire_owned() else { return };
    let server = Arc::clone(server);
    tokio::spawn(async move {
        let _place = place;
        // A client that does not take so few bytes in time is not owed them.
        let _ = match server.tls.get() {
            None => tokio::time::timeout(TOLD_WITHIN, say_full(server, stream, peer)).await,
            Some(acceptor) => {
                let tell = async { say_full(server, acceptor.accept(stream).await?, peer).await };
                tokio::time::timeout(TOLD_WITHIN, tell).await
            }
        };
    });
}

async fn say_full<S>(server: Arc<Server>, stream: S, peer: SocketAddr) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let refusal = Refusal::too_many_connections(server.options.limits.connections);
    let bytes = refusal.bytes(&server.model.get().fingerprint);
    let mut stream = Stream::new(stream, server, peer);
    stream.answers_early();
    stream.write_all(&bytes).await?;
    stream.shutdown().await
}

async fn connection(server: Arc<Server>, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
    let _open = server.counters.connected();
    let patience = server.options.limits.read_timeout;
    // Without, small answers wait for the client's acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    // tcp(7): the connection ends when what was sent is not taken for so long.
    let milliseconds = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream.as_fd(), milliseconds);
    match server.tls.get() {
        None => speak(server, stream, peer, watcher).await,
        Some(acceptor) => match tokio::time::timeout(patience, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => speak(server, stream, peer, watcher).await,
            Ok(Err(_)) | Err(_) => {
                server.refused("tls_failed", peer);
            }
        },
    }
}

async fn speak<S>(server: Arc<Server>, stream: S, peer: SocketAddr, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (shared, served) = (Arc::clone(&server), AtomicBool::new(false));
    let service = service_fn(|request| {
        served.store(true, Ordering::Relaxed);
        handle(Arc::clone(&shared), peer, request)
    });
    let stream = Stream::new(stream, Arc::clone(&server), peer);
    let refused = stream.refused();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(server.options.limits.read_timeout)
        .max_header_size(HEADER_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let Err(error) = watcher.watch(connection).await else { return };
    // What was not answered, because the client was too slow, or was gone.
    let code = match () {
        // Counted when it was answered: the client may have been read for a while since.
        () if refused.load(Ordering::Relaxed) => return,
        // A connection that is kept open and not used ends so: nobody was refused.
        () if error.is_timeout() && served.load(Ordering::Relaxed) => return,
        () if error.is_timeout() => "header_timeout",
        () if error.is_parse_too_large() => "headers_too_large",
        () if error.is_parse() => "bad_http",
        () => return,
    };
    server.refused(code, peer);
}
