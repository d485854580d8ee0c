//! Owns what is asked of which path, by whom, and reading bodies.
//!
//! Refuses, in this order and before anything of a body is read: who does not name a host, who has no key,
//! what is not there, the wrong method, what is no JSON, what is too large. Every route has an arm of its
//! own: one without does not compile.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderValue,
};
use hyper::http::uri::Authority;
use hyper::{Method, Request, StatusCode, Version};
use serde::Serialize;
use serde_json::json;

use super::admission::Entered;
use super::api;
use super::counters;
use super::model::Model;
use super::reply::{self, Answer, MODEL, Refusal};
use super::server::Server;
use super::stream::{DRAINED_BYTES, DRAINED_WITHIN};
use crate::bundle::SelfTest;

/// What the server says it does.
const OPENAPI: &str = include_str!("openapi.json");
/// For people.
const PAGE: &str = include_str!("page.html");
/// The page runs its own script, and nothing else; nobody may frame it.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    /// A body is computed.
    Compute(Compute),
    /// Something is shown.
    Show(Show),
}

/// What takes a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compute {
    Predict,
    Embeddings,
    TeiPredict,
    TeiEmbed,
}

/// What takes none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Show {
    Model,
    Models,
    NamedModel,
    TeiInfo,
    Alive,
    Ready,
    Metrics,
    OpenApi,
    Page,
}

/// Paths; a last part in braces stands for any one part.
const ROUTES: [(&str, Route); 14] = [
    ("/v1/predict", Route::Compute(Compute::Predict)),
    ("/v1/embeddings", Route::Compute(Compute::Embeddings)),
    ("/predict", Route::Compute(Compute::TeiPredict)),
    ("/embed", Route::Compute(Compute::TeiEmbed)),
    ("/v1/model", Route::Show(Show::Model)),
    ("/v1/models", Route::Show(Show::Models)),
    ("/v1/models/{model}", Route::Show(Show::NamedModel)),
    ("/info", Route::Show(Show::TeiInfo)),
    ("/healthz", Route::Show(Show::Alive)),
    ("/readyz", Route::Show(Show::Ready)),
    ("/health", Route::Show(Show::Ready)),
    ("/metrics", Route::Show(Show::Metrics)),
    ("/openapi.json", Route::Show(Show::OpenApi)),
    ("/", Route::Show(Show::Page)),
];

impl Route {
    /// The route of a path, and its name.
    fn of(path: &str) -> Option<(&'static str, Self)> {
        let fits = |name: &str| match name.split_once('{') {
            None => name == path,
            Some((start, _)) => {
                path.strip_prefix(start).is_some_and(|part| !part.is_empty() && !part.contains('/'))
            }
        };
        ROUTES.into_iter().find(|(name, _)| fits(name))
    }

    fn is_open(self) -> bool {
        matches!(self, Self::Show(Show::Alive | Show::Ready))
    }

    fn takes_a_body(self) -> bool {
        matches!(self, Self::Compute(_))
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

/// What a client sends, or waits to be asked for (`Expect: 100-continue`).
struct Upload {
    body: Incoming,
    /// Whether any of it was asked for.
    begun: bool,
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
    let (head, body) = request.into_parts();
    let mut body = Upload { body, begun: false };
    let known = Route::of(head.uri.path());
    let name = known.map_or("other", |(path, _)| path);
    let admitted = names_its_host(head.version, &head.headers)
        .and_then(|()| admitted(&server, known.map(|(_, route)| route), &head.method, &head.headers));
    let outcome = match admitted {
        Ok(Route::Compute(route)) => compute(&server, &model, route, &head.headers, &mut body).await,
        Ok(Route::Show(route)) => show(&server, &model, route, head.uri.path()),
        Err(refusal) => Err(refusal),
    };
    let mut answer = match outcome {
        Ok(answer) => answer,
        Err(refusal) => {
            body.drain(&head.headers).await;
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
    if !open && server.keys.get().is_some_and(|keys| !keys.admit(headers)) {
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

/// Refuses what RFC 9112, section 3.2, wants refused: HTTP/1.1 without a host, two hosts, a host that is
/// none. An empty one is the host of who asks for something that has none.
fn names_its_host(version: Version, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    let valid = |host: &HeaderValue| {
        let parsed = || {
            let authority = host.to_str().ok()?.parse::<Authority>().ok()?;
            // Nothing in front of the host, and behind it nothing but a port.
            let behind = authority.as_str().strip_prefix(authority.host())?;
            let digits = behind.strip_prefix(':').unwrap_or(behind);
            Some(
                (behind.is_empty() || behind.starts_with(':'))
                    && digits.bytes().all(|byte| byte.is_ascii_digit()),
            )
        };
        host.is_empty() || parsed() == Some(true)
    };
    let message = match (first, second) {
        (None, _) if version >= Version::HTTP_11 => "the request does not say its host: send the header Host",
        (_, Some(_)) => "the request says its host twice: send the header Host once",
        (Some(host), None) if !valid(host) => "the header Host is not a host, with or without a port",
        _ => return Ok(()),
    };
    Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_host", message))
}

fn show(server: &Server, model: &Model, route: Show, path: &str) -> Result<Answer, Refusal> {
    Ok(match route {
        Show::Model => reply::json(StatusCode::OK, &model.card),
        Show::Models => reply::json(StatusCode::OK, &api::models(model)),
        Show::NamedModel => api::named_model(model, path.rsplit('/').next().unwrap_or_default())?,
        Show::TeiInfo => reply::json(StatusCode::OK, &api::tei_info(server, model)),
        Show::Alive => reply::json(StatusCode::OK, &json!({"alive": true})),
        Show::Ready if server.is_draining() => {
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "draining",
                "the server is about to end",
            ));
        }
        Show::Ready => {
            reply::json(StatusCode::OK, &Readiness { ready: true, self_test: model.card.self_test })
        }
        Show::Metrics => {
            let shown = server.counters.show(server.texts.taken(), server.tokens.taken());
            reply::answer(StatusCode::OK, counters::CONTENT_TYPE, shown)
        }
        Show::OpenApi => reply::answer(StatusCode::OK, "application/json", OPENAPI),
        Show::Page => {
            let mut page = reply::answer(StatusCode::OK, "text/html; charset=utf-8", PAGE);
            page.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
            page
        }
    })
}

async fn compute(
    server: &Arc<Server>,
    model: &Arc<Model>,
    route: Compute,
    headers: &HeaderMap,
    body: &mut Upload,
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
        Compute::Predict => api::predict(server, model, &bytes).await,
        Compute::Embeddings => api::embeddings(server, model, &bytes).await,
        Compute::TeiPredict => api::tei_predict(server, model, &bytes).await,
        Compute::TeiEmbed => api::tei_embed(server, model, &bytes).await,
    }
}

fn require_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let wrong =
        |message| Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
    let mut types = headers.get_all(CONTENT_TYPE).iter().map(|value| value.to_str().unwrap_or_default());
    let mut parts = types.next().unwrap_or_default().split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    if !media.eq_ignore_ascii_case("application/json") || types.next().is_some() {
        return wrong("send JSON: Content-Type: application/json");
    }
    // JSON is UTF-8: bytes of another character set would be read as other letters.
    let set = |part: &str| {
        let (name, set) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| set.trim().trim_matches('"').to_ascii_lowercase())
    };
    if parts.filter_map(set).any(|set| !["utf-8", "utf8", "us-ascii"].contains(&set.as_str())) {
        return wrong("send JSON in UTF-8: Content-Type: application/json");
    }
    if headers.get_all(CONTENT_ENCODING).iter().any(|encoding| encoding != "identity") {
        return wrong("send the body as it is, without Content-Encoding");
    }
    Ok(())
}

/// Reads a body within the limits of one and of all.
async fn read(server: &Server, upload: &mut Upload) -> Result<(Vec<u8>, Vec<Entered>), Refusal> {
    let body = &mut upload.body;
    let most = server.options.limits.body;
    let too_large = || {
        let message = format!("the body has more than {most} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message).limit("--max-body", most)
    };
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    upload.begun = true;
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

impl Upload {
    /// Reads what is left of a body that is not wanted, up to a limit, so that a client that writes first can
    /// read why; not from a client that waits to be asked for it.
    async fn drain(&mut self, headers: &HeaderMap) {
        if headers.contains_key(EXPECT) && !self.begun {
            return;
        }
        let read = async {
            let mut bytes = 0;
            while bytes < DRAINED_BYTES {
                let Some(Ok(frame)) = self.body.frame().await else { break };
                bytes += frame.data_ref().map_or(0, hyper::body::Bytes::len);
            }
        };
        // A client that is slow on top of that may miss the answer.
        let _ = tokio::time::timeout(DRAINED_WITHIN, read).await;
    }
}
