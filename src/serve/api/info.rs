//! Owns what other servers' clients ask about the model: `GET /v1/models` in OpenAI's shape, `GET /info` in
//! that of text-embeddings-inference.
//!
//! Says only what is true here: what has no counterpart is null.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde::Serialize;

use crate::serve::Long;
use crate::serve::life::READERS;
use crate::serve::model::Model;
use crate::serve::reply::{Answer, Refusal, json};
use crate::serve::server::Server;

/// The one model, in a list.
#[derive(Serialize)]
pub(crate) struct Models<'m> {
    object: &'static str,
    data: [OfModel<'m>; 1],
}

#[derive(Serialize)]
struct OfModel<'m> {
    /// What every answer calls the model.
    id: &'m str,
    object: &'static str,
    /// When its file was written, in seconds since 1970.
    created: i64,
    owned_by: &'static str,
}

/// What is served.
pub(crate) fn models(model: &Model) -> Models<'_> {
    Models { object: "list", data: [of_model(model)] }
}

fn of_model(model: &Model) -> OfModel<'_> {
    OfModel { id: &model.card.fingerprint, object: "model", created: model.written, owned_by: "frosthead" }
}

/// Answers `GET /v1/models/{id}`.
///
/// # Errors
/// Another model is served.
pub(crate) fn named_model(model: &Model, id: &str) -> Result<Answer, Refusal> {
    if id == model.card.fingerprint {
        return Ok(json(StatusCode::OK, &of_model(model)));
    }
    let message = "there is no such model: see /v1/models";
    Err(Refusal::new(StatusCode::NOT_FOUND, "model_not_found", message))
}

/// What text-embeddings-inference says of itself.
#[derive(Serialize)]
pub(crate) struct Info<'m> {
    model_id: &'m str,
    model_sha: &'m str,
    model_dtype: &'static str,
    model_type: ModelType<'m>,
    /// Requests of one text that may wait at once.
    max_concurrent_requests: usize,
    max_input_length: usize,
    max_batch_tokens: usize,
    max_batch_requests: Option<usize>,
    max_client_batch_size: usize,
    auto_truncate: bool,
    tokenization_workers: usize,
    version: &'static str,
    sha: Option<&'static str>,
    docker_label: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ModelType<'m> {
    Classifier { id2label: BTreeMap<usize, &'m str>, label2id: BTreeMap<&'m str, usize> },
}

/// Answers `GET /info`: the labels are those of the first task, which `/predict` answers with.
pub(crate) fn tei_info<'m>(server: &Server, model: &'m Model) -> Info<'m> {
    let limits = &server.options.limits;
    let labels = || model.heads().iter().take(1).flat_map(|head| head.labels.iter().map(String::as_str));
    Info {
        model_id: &model.card.backbone,
        model_sha: &model.card.fingerprint,
        model_dtype: if model.card.precision == "int8" { "int8" } else { "float32" },
        model_type: ModelType::Classifier {
            id2label: labels().enumerate().collect(),
            label2id: labels().zip(0..).collect(),
        },
        max_concurrent_requests: limits.queue_texts,
        max_input_length: model.longest_text(),
        max_batch_tokens: limits.token_budget,
        max_batch_requests: None,
        max_client_batch_size: limits.texts,
        auto_truncate: model.long() == Long::Truncate,
        tokenization_workers: READERS,
        version: env!("CARGO_PKG_VERSION"),
        sha: None,
        docker_label: None,
    }
}
