//! Owns `POST /v1/embeddings`, in the shape of OpenAI's: existing clients work.
//!
//! Whatever model a client asks for, the one that is there answers, and says which it is. Refuses token ids
//! (they would be another tokenizer's), models that read pairs, and other numbers of dimensions than the model has.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Texts, check_dimensions, check_no_pairs, compute, parse};
use crate::serve::model::Model;
use crate::serve::reply::{Answer, Refusal, json};
use crate::serve::server::Server;
use crate::tensors::bytes_of;

/// Fields that are not named here are ignored: clients send what other servers know.
#[derive(Deserialize)]
struct Request {
    input: Texts,
    encoding_format: Option<Encoding>,
    dimensions: Option<usize>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    Base64,
}

#[derive(Serialize)]
struct Reply<'m> {
    object: &'static str,
    data: Vec<Embedding<'m>>,
    model: &'m str,
    usage: Usage,
}

#[derive(Serialize)]
struct Embedding<'m> {
    object: &'static str,
    index: usize,
    embedding: Numbers<'m>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Numbers<'m> {
    Float(&'m [f32]),
    /// Little-endian f32, one after another.
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// Answers a body.
pub(crate) async fn embeddings(
    server: &Arc<Server>,
    model: &Arc<Model>,
    body: &[u8],
) -> Result<Answer, Refusal> {
    let request: Request = parse(body)?;
    check_no_pairs(model)?;
    check_dimensions(model, request.dimensions)?;
    let computed = compute(server, model, request.input.into_texts(), None).await?;
    let encode = |numbers: &[f32]| STANDARD.encode(bytes_of(numbers));
    let data = computed.rows.iter().enumerate().map(|(index, row)| {
        let numbers = model.classifier.embedding(row);
        let embedding = match request.encoding_format.unwrap_or_default() {
            Encoding::Float => Numbers::Float(numbers),
            Encoding::Base64 => Numbers::Base64(encode(numbers)),
        };
        Embedding { object: "embedding", index, embedding }
    });
    let tokens = computed.tokens.iter().sum();
    let reply = Reply {
        object: "list",
        data: data.collect(),
        model: model.fingerprint.to_str().unwrap_or_default(),
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
    };
    Ok(json(StatusCode::OK, &reply))
}
