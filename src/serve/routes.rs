//! Owns what is asked of which path, by whom, and reading bodies.
//!
//! Refuses, in this order and before anything of a body is read: who has no key, what is not there, the wrong method, what is no
//! JSON, what is too large.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::admission::Entered;
use super::api;
use super::counters;
use super::model::Model;
use super::reply::{self, Answer, MODEL, Refusal};
use super::server::Server;
use crate::bundle::SelfTest;

/// What the server says it does.
const OPENAPI: &str = include_str!("openapi.json");
/// For people.
const PAGE: &str = include_str!("page.html");
/// The page runs its own script, and nothing else; nobody may frame it.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Bytes of a refused body that are read and dropped, so that a client that writes first can read why.
const DRAINED_BYTES: usize = 8 << 20;
const DRAINED_WITHIN: Duration = Duration::from_secs(2);

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Predict,
    Embeddings,
    TeiPredict,
    TeiEmbed,
    Model,
    Alive,
    Ready,
    Metrics,
    OpenApi,
    Page,
}

const ROUTES: [(&str, Route); 10] = [
    ("/v1/predict", Route::Predict),
    ("/v1/embeddings", Route::Embeddings),
    ("/predict", Route::TeiPredict),
    ("/embed", Route::TeiEmbed),
    ("/v1/model", Route::Model),
    ("/healthz", Route::Alive),
    ("/readyz", Route::Ready),
    ("/metrics", Route::Metrics),
    ("/openapi.json", Route::OpenApi),
    ("/", Route::Page),
];

impl Route {
    fn is_open(self) -> bool {
        matches!(self, Self::Alive | Self::Ready)
    }

    fn takes_a_body(self) -> bool {
        matches!(self, Self::Predict | Self::Embeddings | Self::TeiPredict | Self::TeiEmbed)
    }
}

/// What `/readyz` says.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    self_test: Option<SelfTest>,
}

/// Says that a client went away, unless its request was answered.
struct Pending<'s> {
    server: &'s Server,
    answered: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.server.counters.refused("client_gone");
        }
    }
}

/// Answers a request.
pub(super) async fn handle(
    server: Arc<Server>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let start = Instant::now();
    let mut pending = Pending { server: &server, answered: false };
    let model = server.model.get();
    let (head, mut body) = request.into_parts();
    let known = ROUTES.iter().find(|(path, _)| *path == head.uri.path());
    let name = known.map_or("other", |(path, _)| path);
    let outcome = match admitted(&server, known.map(|(_, route)| *route), &head.method, &head.headers) {
        Ok(route) => answer(&server, &model, route, &head.headers, &mut body).await,
        Err(refusal) => Err(refusal),
    };
    let mut answer = match outcome {
        Ok(answer) => answer,
        Err(refusal) => {
            drain(&mut body).await;
            server.counters.refused(refusal.code);
            let fields = [
                ("route", name.into()),
                ("status", refusal.status.as_u16().into()),
                ("peer", peer.ip().to_string().into()),
            ];
            server.log.refusal(refusal.code, &fields);
            refusal.answer()
        }
    };
    answer.headers_mut().insert(MODEL, model.fingerprint.clone());
    pending.answered = true;
    server.counters.answered(name, answer.status().as_u16(), start.elapsed());
    if server.options.log_requests {
        let milliseconds = (start.elapsed().as_secs_f64() * 1e6).round() / 1e3;
        let fields = [
            ("route", name.into()),
            ("status", answer.status().as_u16().into()),
            ("peer", peer.ip().to_string().into()),
            ("milliseconds", milliseconds.into()),
        ];
        server.log.info("answered", &fields);
    }
    Ok(answer)
}

/// The route, if this request may have it.
fn admitted(
    server: &Server,
    route: Option<Route>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Route, Refusal> {
    let open = route.is_some_and(Route::is_open);
    if !open && server.keys().is_some_and(|keys| !keys.admit(headers)) {
        return Err(Refusal::unauthorized(method == Method::POST));
    }
    let Some(route) = route else {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is no such route: see /openapi.json",
        ));
    };
    let posts = route.takes_a_body();
    let fits = if posts { method == Method::POST } else { method == Method::GET || method == Method::HEAD };
    if fits { Ok(route) } else { Err(Refusal::wrong_method(posts)) }
}

async fn answer(
    server: &Arc<Server>,
    model: &Arc<Model>,
    route: Route,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Result<Answer, Refusal> {
    if route.takes_a_body() {
        return compute(server, model, route, headers, body).await;
    }
    Ok(match route {
        Route::Model => reply::json(StatusCode::OK, &model.card),
        Route::Ready if server.is_draining() => {
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "draining",
                "the server is about to end",
            ));
        }
        Route::Ready => {
            reply::json(StatusCode::OK, &Readiness { ready: true, self_test: model.card.self_test })
        }
        Route::Metrics => {
            let shown = server.counters.show(server.texts.taken(), server.tokens.taken());
            reply::answer(StatusCode::OK, counters::CONTENT_TYPE, shown)
        }
        Route::OpenApi => reply::answer(StatusCode::OK, "application/json", OPENAPI),
        Route::Page => {
            let mut page = reply::answer(StatusCode::OK, "text/html; charset=utf-8", PAGE);
            page.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
            page
        }
        _ => reply::json(StatusCode::OK, &json!({"alive": true})),
    })
}

async fn compute(
    server: &Arc<Server>,
    model: &Arc<Model>,
    route: Route,
    headers: &HeaderMap,
    body: &mut Incoming,
) -> Result<Answer, Refusal> {
    require_json(headers)?;
    // The room for the bytes is held until the answer: it bounds what all requests in flight hold.
    let limits = &server.options.limits;
    let read = tokio::time::timeout(limits.read_timeout, read(server, body)).await;
    let slow = |_| {
        let message = format!("the body did not arrive within {} s", limits.read_timeout.as_secs_f64());
        Refusal::new(StatusCode::REQUEST_TIMEOUT, "read_timeout", message)
    };
    let (bytes, _room) = read.map_err(slow)??;
    match route {
        Route::Predict => api::predict(server, model, &bytes).await,
        Route::Embeddings => api::embeddings(server, model, &bytes).await,
        Route::TeiPredict => api::tei_predict(server, model, &bytes).await,
        _ => api::tei_embed(server, model, &bytes).await,
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let wrong =
        |message| Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = value.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        return wrong("send JSON: Content-Type: application/json");
    }
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return wrong("send the body as it is, without Content-Encoding");
    }
    Ok(())
}

/// Reads a body within the limits of one and of all.
async fn read(server: &Server, body: &mut Incoming) -> Result<(Vec<u8>, Vec<Entered>), Refusal> {
    let most = server.options.limits.body;
    let too_large = || {
        let message = format!("the body has more than {most} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message).limit("--max-body", most)
    };
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let (mut bytes, mut rooms) = (Vec::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let broken = |_| {
            Refusal::new(StatusCode::BAD_REQUEST, "broken_body", "the body ended too early or is malformed")
        };
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if bytes.len() + data.len() > most {
            return Err(too_large());
        }
        let full = || Refusal::busy("bodies_full", "too many bodies are being read", ("--max-body", most));
        rooms.push(server.bodies.enter(data.len()).ok_or_else(full)?);
        bytes.extend_from_slice(&data);
    }
    Ok((bytes, rooms))
}

/// Reads what is left of a body that is not wanted, up to a limit.
async fn drain(body: &mut Incoming) {
    let read = async {
        let mut bytes = 0;
        while bytes < DRAINED_BYTES {
            let Some(Ok(frame)) = body.frame().await else { break };
            bytes += frame.data_ref().map_or(0, hyper::body::Bytes::len);
        }
    };
    // A client that is slow on top of that may miss the answer.
    let _ = tokio::time::timeout(DRAINED_WITHIN, read).await;
}
