//! Owns `POST /predict` and `POST /embed`, in the shapes of text-embeddings-inference: existing clients work.
//!
//! A model with several tasks answers with the one that `task` names, else with its first. Two texts in one
//! array are a pair. Refuses pairs where the model reads texts, texts where it reads pairs, and what would be
//! another number than was asked for: texts cut at their beginning, prompts and dimensions that the model does
//! not have.

use std::num::NonZeroUsize;
use std::sync::Arc;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::predict::task;
use super::{Texts, check_dimensions, check_no_pairs, compute, parse};
use crate::serve::Long;
use crate::serve::model::Model;
use crate::serve::reply::{Answer, Refusal, json};
use crate::serve::server::Server;
use crate::text::OwnedText;

/// Fields that are not named here are ignored: clients send what other servers know.
#[derive(Deserialize)]
struct PredictRequest {
    inputs: PredictInputs,
    /// Logits instead of probabilities.
    raw_scores: Option<bool>,
    truncate: Option<bool>,
    truncation_direction: Option<Direction>,
    task: Option<String>,
    /// So many of the best labels; all when not said.
    top_k: Option<NonZeroUsize>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a text or two in an array, or an array of arrays of one text each, or of two"
)]
enum PredictInputs {
    Single(Texts),
    Batch(Vec<[String; 1]>),
    Pairs(Vec<[String; 2]>),
}

impl PredictInputs {
    /// The texts or pairs, and whether it is one that was not put into an array of many.
    fn into_texts(self, pairs: bool) -> Result<(Vec<OwnedText>, bool), Refusal> {
        match self {
            Self::Batch(texts) => Ok((super::texts(texts.into_iter().flatten().collect()), false)),
            Self::Pairs(pairs) => Ok((super::pairs(pairs), false)),
            Self::Single(Texts::Many(two)) if pairs => match <[String; 2]>::try_from(two) {
                Ok(pair) => Ok((super::pairs(vec![pair]), true)),
                Err(other) => Ok((super::texts(other), true)),
            },
            Self::Single(Texts::Many(several)) if several.len() > 1 => Err(Refusal::invalid(
                "several texts in one array are a pair, and this model reads texts one by one: send [[\"one\"], [\"two\"]]",
            )),
            Self::Single(texts) => Ok((texts.into_texts(), true)),
        }
    }
}

#[derive(Deserialize)]
struct EmbedRequest {
    inputs: Texts,
    /// To length 1, or as the model gives them; by default as the model gives them.
    normalize: Option<bool>,
    truncate: Option<bool>,
    truncation_direction: Option<Direction>,
    prompt_name: Option<String>,
    dimensions: Option<usize>,
}

/// Which end of a long text goes.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
enum Direction {
    #[serde(alias = "left")]
    Left,
    #[serde(alias = "right")]
    Right,
}

#[derive(Serialize)]
struct Score<'m> {
    score: f32,
    label: &'m str,
}

/// What a client says of long texts: cut them, or refuse them; otherwise what the server does.
fn long(truncate: Option<bool>, direction: Option<Direction>) -> Result<Option<Long>, Refusal> {
    if direction == Some(Direction::Left) {
        return Err(Refusal::invalid("long texts are cut at their end: leave truncation_direction away"));
    }
    Ok(truncate.map(|truncate| if truncate { Long::Truncate } else { Long::Refuse }))
}

/// Answers a body of `/predict`.
pub(crate) async fn predict(
    server: &Arc<Server>,
    model: &Arc<Model>,
    body: &[u8],
) -> Result<Answer, Refusal> {
    let request: PredictRequest = parse(body)?;
    let task = request.task.as_deref().map_or(Ok(0), |name| task(model, name))?;
    let (texts, single) = request.inputs.into_texts(model.reads_pairs())?;
    let long = long(request.truncate, request.truncation_direction)?;
    let computed = compute(server, model, texts, long).await?;
    let labels = &model.heads()[task].labels;
    let mut answers = computed.rows.iter().map(|row| {
        let prediction = model.classifier.predictions(row).swap_remove(task);
        let scores =
            if request.raw_scores.unwrap_or_default() { prediction.logits } else { prediction.probabilities };
        let mut scores: Vec<Score> =
            scores.into_iter().zip(labels).map(|(score, label)| Score { score, label }).collect();
        scores.sort_by(|one, other| other.score.total_cmp(&one.score));
        scores.truncate(request.top_k.map_or(usize::MAX, NonZeroUsize::get));
        scores
    });
    Ok(if single {
        json(StatusCode::OK, &answers.next())
    } else {
        json(StatusCode::OK, &answers.collect::<Vec<_>>())
    })
}

/// Answers a body of `/embed`.
pub(crate) async fn embed(server: &Arc<Server>, model: &Arc<Model>, body: &[u8]) -> Result<Answer, Refusal> {
    let request: EmbedRequest = parse(body)?;
    check_no_pairs(model)?;
    check_dimensions(model, request.dimensions)?;
    if let Some(name) = request.prompt_name {
        return Err(Refusal::invalid(format!("the model has no prompt {name:?}: leave prompt_name away")));
    }
    let long = long(request.truncate, request.truncation_direction)?;
    let computed = compute(server, model, request.inputs.into_texts(), long).await?;
    let embeddings = computed.rows.iter().map(|row| {
        let mut embedding = model.classifier.embedding(row).to_vec();
        if request.normalize.unwrap_or_default() {
            let length = embedding.iter().map(|number| number * number).sum::<f32>().sqrt();
            let length = length.clamp(f32::MIN_POSITIVE, f32::MAX);
            embedding.iter_mut().for_each(|number| *number /= length);
        }
        embedding
    });
    Ok(json(StatusCode::OK, &embeddings.collect::<Vec<_>>()))
}
