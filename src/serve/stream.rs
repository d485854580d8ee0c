//! Owns the bytes to a client, for one reason: hyper answers by itself what is not HTTP (400) or has too large headers (431), with
//! nothing but a status, and has no setting for it. Such an answer is replaced by one that is like all others.
//!
//! Passes everything else on as it is.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::reply::{MODEL, Refusal};
use super::server::Server;

/// Bytes of a request's headers, and how many there may be.
pub(super) const HEADER_BYTES: usize = 16 * 1024;
pub(super) const HEADERS: usize = 64;

/// A client's stream.
pub(super) struct Stream<S> {
    inner: S,
    server: Arc<Server>,
    /// What is sent instead of the bytes that hyper wants to send now, and how much of it has been.
    instead: Option<(Vec<u8>, usize)>,
}

impl<S> Stream<S> {
    pub(super) fn new(inner: S, server: Arc<Server>) -> Self {
        Self { inner, server, instead: None }
    }
}

/// Where in these bytes an answer of hyper's own begins, and its code: it is the last that is sent on a connection, and has no body and
/// not the header that all of ours have. (No body of ours ends with an empty line.)
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let Self { inner, server, instead } = &mut *self;
        if instead.is_none()
            && let Some((start, code)) = bare_answer(bytes)
        {
            let ours = refusal(code).bytes(&server.model.get().fingerprint);
            *instead = Some(([&bytes[..start], &ours].concat(), 0));
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

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
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
