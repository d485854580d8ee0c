//! Owns what the routes that compute have in common: understanding a body, having its texts read and
//! computed.
//!
//! Refuses what is no JSON (400), is JSON of another shape (422), exceeds a limit (422), finds no room (429)
//! or no time (504). A field that may be left away may also be null. No answer holds a number that JSON has
//! no name for.

mod info;
mod openai;
mod predict;
mod tei;

use std::sync::Arc;

use hyper::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

pub(super) use info::{models, named_model, tei_info};
pub(super) use openai::embeddings;
pub(super) use predict::predict;
pub(super) use tei::{embed as tei_embed, predict as tei_predict};

use super::Long;
use super::log::fields_of;
use super::model::{Model, Unreadable};
use super::queue::{Arriving, Failed};
use super::reply::Refusal;
use super::server::Server;
use crate::document;
use crate::embed::Reading;
use crate::error::Kind;
use crate::text::{AsText, OwnedText};
use crate::tokens::{Lost, PieceUse};

/// One text, or several.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text or an array of texts")]
pub(super) enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    fn into_texts(self) -> Vec<OwnedText> {
        match self {
            Self::One(text) => texts(vec![text]),
            Self::Many(many) => texts(many),
        }
    }
}

/// Texts that are read one by one.
fn texts(texts: Vec<String>) -> Vec<OwnedText> {
    texts.into_iter().map(|first| OwnedText { first, second: None }).collect()
}

/// Texts that are read two by two.
fn pairs(pairs: Vec<[String; 2]>) -> Vec<OwnedText> {
    pairs.into_iter().map(|[first, second]| OwnedText { first, second: Some(second) }).collect()
}

/// Refuses texts of another kind than the model reads.
fn check_kind(model: &Model, texts: &[OwnedText]) -> Result<(), Refusal> {
    let pairs = model.reads_pairs();
    let Some(other) = texts.iter().position(|text| text.second.is_some() != pairs) else { return Ok(()) };
    let message = if pairs {
        "the model reads pairs of texts: send arrays of two texts each, as `pairs` to /v1/predict or as `inputs` to /predict"
    } else {
        "the model reads texts one by one, not pairs: send `texts` to /v1/predict, or [[\"one\"], [\"two\"]] to /predict"
    };
    Err(Refusal::invalid(message).text(other))
}

/// Refuses a model that reads pairs where a request has no place for them.
fn check_no_pairs(model: &Model) -> Result<(), Refusal> {
    if !model.reads_pairs() {
        return Ok(());
    }
    let message = "the model reads pairs of texts, and this route has no place for them: send them to /v1/predict or /predict";
    Err(Refusal::invalid(message))
}

/// Computed texts.
pub(super) struct Computed {
    /// Per text.
    pub rows: Vec<Vec<f32>>,
    pub tokens: Vec<usize>,
    pub lost: Vec<Lost>,
}

/// Understands a body.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        // Once more, for where and what in plain words.
        Category::Data => match document::json::<T>(body, Kind::Usage, "the body does not fit") {
            Ok(_) => Refusal::invalid(error.to_string()),
            Err(plain) => Refusal::invalid(plain.to_string()),
        },
        Category::Syntax | Category::Eof | Category::Io => {
            Refusal::new(StatusCode::BAD_REQUEST, "invalid_json", format!("the body is not JSON: {error}"))
        }
    })
}

/// Refuses to give embeddings that the model does not have, and other numbers of dimensions than it has.
fn check_dimensions(model: &Model, wanted: Option<usize>) -> Result<(), Refusal> {
    let dimensions = model.classifier.dimensions();
    if dimensions == 0 {
        let message = "the model has no sentence embedding: layers that no head sees were left out of its bundle; \
                       bundle with --keep-embedding to have it";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "no_embedding", message));
    }
    match wanted.filter(|wanted| *wanted != dimensions) {
        Some(wanted) => Err(Refusal::invalid(format!(
            "the model's embeddings have {dimensions} dimensions, not {wanted}"
        ))),
        None => Ok(()),
    }
}

/// Reads texts and has them computed, within the limits and the time.
async fn compute(
    server: &Arc<Server>,
    model: &Arc<Model>,
    texts: Vec<OwnedText>,
    long: Option<Long>,
) -> Result<Computed, Refusal> {
    let limits = &server.options.limits;
    let (count, most) = (texts.len(), limits.texts);
    if count == 0 {
        return Err(Refusal::invalid("there are no texts: send at least one"));
    }
    if count > most {
        let message = format!("{count} texts, at most {most} are taken in a request");
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "too_many_texts", message)
            .limit("--max-texts", most));
    }
    check_kind(model, &texts)?;
    let full =
        |option, value| Refusal::busy("queue_full", "too many texts are waiting already", (option, value));
    let _room = server.texts.enter(count).ok_or_else(|| full("--queue-texts", limits.queue_texts))?;
    let late = || {
        let message = format!("not answered within {} s", limits.timeout.as_secs_f64());
        Refusal::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message)
    };
    let work = async {
        let (readings, arriving) = read(server, model, texts, long).await?;
        let tokens: Vec<usize> = readings.iter().map(Reading::tokens).collect();
        let lost = readings.iter().map(|reading| reading.lost).collect();
        let all: usize = tokens.iter().sum();
        let mut whole = PieceUse::default();
        readings.iter().filter_map(|reading| reading.used).for_each(|used| whole += used);
        let room = server.tokens.enter(all).ok_or_else(|| full("--queue-tokens", limits.queue_tokens))?;
        let rows = server.queue.submit(model, readings);
        drop(arriving);
        let rows = rows.await;
        drop(room);
        let rows = rows.unwrap_or(Err(Failed { text: None })).map_err(failed)?;
        server.counters.texts(count, all, whole);
        Ok(Computed { rows, tokens, lost })
    };
    tokio::time::timeout(limits.timeout, work).await.map_err(|_| late())?
}

/// What a client is told of a network that failed.
fn failed(Failed { text }: Failed) -> Refusal {
    let refusal = |message| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", message);
    match text {
        Some(text) => refusal("the network gives numbers that are not finite for this text").text(text),
        None => refusal("the network failed: see the log"),
    }
}

/// Reads texts beside the thread of the requests.
async fn read(
    server: &Arc<Server>,
    model: &Arc<Model>,
    texts: Vec<OwnedText>,
    long: Option<Long>,
) -> Result<(Vec<Reading>, Arriving), Refusal> {
    let arriving = server.queue.arriving();
    let (model, server) = (Arc::clone(model), Arc::clone(server));
    let work = move || {
        let readings = texts.iter().enumerate().map(|(index, text)| {
            model.read(text.as_text(), long).map_err(|unreadable| match unreadable {
                Unreadable::TooLong { most, option } => {
                    let message = format!("the text has more than {most} tokens");
                    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "text_too_long", message)
                        .limit(option, most)
                        .text(index)
                }
                Unreadable::Failed(error) => {
                    server.log.error("the tokenizer failed", &fields_of(&error));
                    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the tokenizer failed")
                        .text(index)
                }
            })
        });
        readings.collect::<Result<Vec<_>, Refusal>>().map(|readings| (readings, arriving))
    };
    let ended = |_| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "reading the texts failed");
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}
