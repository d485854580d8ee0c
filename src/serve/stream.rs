//! Owns the bytes to a client, for two reasons. hyper answers by itself what is not HTTP (400) or has too
//! large headers (431), with nothing but a status, and has no setting for it: such an answer is replaced by
//! one that is like all others. And a connection that is closed while its client still sends is reset, which
//! takes back an answer that the client has not read yet: what comes is read and dropped for a while first.
//!
//! Passes everything else on as it is.

use std::io::{IoSlice, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::reply::{MODEL, Refusal};
use super::server::Server;

/// Bytes of a request's headers, and how many there may be.
pub(super) const HEADER_BYTES: usize = 16 * 1024;
pub(super) const HEADERS: usize = 64;

/// How much of what a client sends behind its answer is read and dropped, and for how long.
pub(super) const DRAINED_BYTES: usize = 8 << 20;
pub(super) const DRAINED_WITHIN: Duration = Duration::from_secs(2);
/// Bytes that are dropped at a time.
const PIECE: usize = 8 * 1024;

/// A client's stream.
pub(super) struct Stream<S> {
    inner: S,
    server: Arc<Server>,
    peer: SocketAddr,
    /// What is sent instead of the bytes that hyper wants to send now, and how much of it has been.
    instead: Option<(Vec<u8>, usize)>,
    end: End,
    refused: Arc<AtomicBool>,
}

/// How far the end of a connection is.
enum End {
    /// It goes on; whether the client may be sending when it ends.
    Open { sending: bool },
    /// What the client sends is dropped, so many bytes yet.
    Draining { until: Pin<Box<Sleep>>, left: usize },
}

impl<S> Stream<S> {
    pub(super) fn new(inner: S, server: Arc<Server>, peer: SocketAddr) -> Self {
        let (end, refused) = (End::Open { sending: false }, Arc::default());
        Self { inner, server, peer, instead: None, end, refused }
    }

    /// Becomes true when an answer of hyper's is replaced: that refusal has been counted.
    pub(super) fn refused(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.refused)
    }

    /// An answer is sent that does not wait for the request.
    pub(super) fn answers_early(&mut self) {
        self.end = End::Open { sending: true };
    }
}

/// Where in these bytes an answer of hyper's own begins, and its code: it is the last that is sent on a
/// connection, and has no body and not the header that all of ours have. (No body of ours ends with an empty
/// line.)
fn bare_answer(bytes: &[u8]) -> Option<(usize, &'static str)> {
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let codes = [(&b"HTTP/1.1 400 "[..], "bad_http"), (b"HTTP/1.1 431 ", "headers_too_large")];
    let (start, code) = codes.iter().find_map(|(line, code)| {
        let start = bytes.windows(line.len()).rposition(|window| window == *line)?;
        Some((start, *code))
    })?;
    let ours = bytes[start..].windows(MODEL.len()).any(|window| window == MODEL.as_bytes());
    (!ours).then_some((start, code))
}

/// The answer that takes its place.
fn refusal(code: &'static str) -> Refusal {
    if code == "bad_http" {
        return Refusal::new(StatusCode::BAD_REQUEST, code, "this is not an HTTP/1.1 request");
    }
    let message =
        format!("the headers have more than {HEADER_BYTES} bytes, or there are more than {HEADERS}");
    Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, code, message)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let Self { inner, server, peer, instead, end, refused } = &mut *self;
        if instead.is_none()
            && let Some((start, code)) = bare_answer(bytes)
        {
            let ours = refusal(code).bytes(&server.model.get().fingerprint);
            *instead = Some(([&bytes[..start], &ours].concat(), 0));
            *end = End::Open { sending: true };
            refused.store(true, Ordering::Relaxed);
            server.refused(code, *peer);
        }
        let Some((other, sent)) = instead else { return Pin::new(inner).poll_write(context, bytes) };
        while *sent < other.len() {
            *sent += match ready!(Pin::new(&mut *inner).poll_write(context, &other[*sent..]))? {
                0 => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                many => many,
            };
        }
        *instead = None;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let last = slices.iter().rfind(|slice| !slice.is_empty());
        if self.instead.is_none() && last.is_none_or(|slice| bare_answer(slice).is_none()) {
            return Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        }
        let bytes: Vec<&[u8]> = slices.iter().map(|slice| &**slice).collect();
        self.poll_write(context, &bytes.concat())
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    /// After the last byte: reads on while the client sends.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { inner, end, .. } = &mut *self;
        let mut sending = true;
        if let End::Open { sending: known } = end {
            ready!(Pin::new(&mut *inner).poll_shutdown(context))?;
            sending = *known;
            *end = End::Draining { until: Box::pin(sleep(DRAINED_WITHIN)), left: DRAINED_BYTES };
        }
        let End::Draining { until, left } = end else { return Poll::Ready(Ok(())) };
        let mut piece = [0; PIECE];
        while *left > 0 && until.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut piece);
            match Pin::new(&mut *inner).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    sending = true;
                    *left = left.saturating_sub(buffer.filled().len());
                }
                // Nothing is there, and nobody is expected to send.
                Poll::Pending if sending => return Poll::Pending,
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_without_a_model_is_bare() {
        let bare =
            "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(bare_answer(bare.as_bytes()), Some((0, "headers_too_large")));
        // Behind the end of another answer.
        let ours = "HTTP/1.1 400 Bad Request\r\nx-frosthead-model: 98c4\r\ncontent-length: 2\r\n\r\n{}";
        let both =
            format!("{ours}{}", bare.replace("431 Request Header Fields Too Large", "400 Bad Request"));
        assert_eq!(bare_answer(both.as_bytes()), Some((ours.len(), "bad_http")));
        // Ours, with a body and without; part of a body; what asks for one.
        let head = "HTTP/1.1 400 Bad Request\r\nx-frosthead-model: 98c4\r\ncontent-length: 9\r\n\r\n";
        for other in [ours, head, "{\"HTTP/1.1 400 \": 1}", "HTTP/1.1 100 Continue\r\n\r\n", ""] {
            assert_eq!(bare_answer(other.as_bytes()), None, "{other}");
        }
    }
}
