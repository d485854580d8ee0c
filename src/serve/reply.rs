//! Owns what answers look like: JSON bodies, and one shape for every refusal, `{"error": {"code": …,
//! "message": …}}`, whose codes do not change.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

/// An answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// Names the model of an answer.
pub(super) const MODEL: &str = "x-frosthead-model";

/// Why a request is not answered.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    /// For programs; stable.
    pub code: &'static str,
    /// For people.
    message: String,
    /// The limit that was exceeded: the option that sets it, and its value.
    limit: Option<(&'static str, usize)>,
    /// Which of the request's texts it is about.
    text: Option<usize>,
    headers: &'static [(&'static str, &'static str)],
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), limit: None, text: None, headers: &[] }
    }

    /// A request that is JSON, but not what the route takes.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", message)
    }

    /// `posts`: the request is a POST.
    pub(super) fn unauthorized(posts: bool) -> Self {
        // Two headers: browsers understand one scheme a line.
        const SCHEMES: &[(&str, &str)] = &[
            ("www-authenticate", r#"Bearer realm="frosthead""#),
            ("www-authenticate", r#"Basic realm="frosthead""#),
        ];
        let message = "send a valid API key: Authorization: Bearer KEY";
        // Whoever opens a page is asked for a password; the script of an open page gets its answer, and shows
        // it.
        let schemes = if posts { &SCHEMES[..1] } else { SCHEMES };
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message).with(schemes)
    }

    /// `posts`: the route takes POST, else GET and HEAD.
    pub(super) fn wrong_method(posts: bool) -> Self {
        let allowed: &[_] = if posts { &[("allow", "POST")] } else { &[("allow", "GET, HEAD")] };
        let message = format!("this route takes {}", allowed[0].1);
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message).with(allowed)
    }

    /// There is no room for more work now.
    pub(super) fn busy(code: &'static str, what: &str, limit: (&'static str, usize)) -> Self {
        let message = format!("{what}: try again in a second");
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, message)
            .limit(limit.0, limit.1)
            .with(&[("retry-after", "1")])
    }

    /// A connection more than there may be.
    pub(super) fn too_many_connections(most: usize) -> Self {
        let message = "too many connections: try again in a second";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", message)
            .limit("--max-connections", most)
            .with(&[("retry-after", "1")])
    }

    /// Names the limit.
    pub(super) fn limit(mut self, option: &'static str, value: usize) -> Self {
        self.limit = Some((option, value));
        self
    }

    /// Names the text, counted from 0.
    pub(super) fn text(mut self, index: usize) -> Self {
        self.text = Some(index);
        self
    }

    fn with(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.headers = headers;
        self
    }

    /// The answer.
    pub(super) fn answer(self) -> Answer {
        let mut answer = json(self.status, &self.body());
        for &(name, value) in self.headers {
            answer.headers_mut().append(name, HeaderValue::from_static(value));
        }
        answer
    }

    /// The whole answer as it is sent, where no request is there to be answered: the connection ends after
    /// it.
    pub(super) fn bytes(&self, model: &HeaderValue) -> Vec<u8> {
        let body = self.body().to_string();
        let model = [(MODEL, model.to_str().unwrap_or_default())];
        let headers = self.headers.iter().chain(&model).map(|(name, value)| format!("{name}: {value}\r\n"));
        let head = format!(
            "HTTP/1.1 {}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{}\r\n",
            self.status,
            body.len(),
            headers.collect::<String>()
        );
        (head + &body).into_bytes()
    }

    fn body(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some((option, value)) = self.limit {
            error["limit"] = json!({"option": option, "value": value});
        }
        if let Some(text) = self.text {
            error["text"] = text.into();
        }
        json!({ "error": error })
    }
}

/// A JSON answer.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => answer(status, "application/json", bytes),
        // Ours are plain structures: maps with text keys and numbers.
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
    }
}

/// An answer of any type.
pub(super) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
