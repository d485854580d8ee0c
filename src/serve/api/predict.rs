//! Owns `POST /v1/predict`: texts, or pairs of texts → every task's label.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::{compute, parse};
use crate::classifier::TaskPrediction;
use crate::heads::Head;
use crate::serve::model::Model;
use crate::serve::reply::{Answer, Refusal, json};
use crate::serve::server::Server;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    texts: Option<Vec<String>>,
    /// In place of texts, for a model that reads pairs.
    pairs: Option<Vec<[String; 2]>>,
    /// Which tasks; all of them when not said.
    tasks: Option<Vec<String>>,
    /// Every label's probability.
    probabilities: Option<bool>,
    /// So many of the most probable labels.
    top_k: Option<NonZeroUsize>,
    /// Say that a task is uncertain where its most probable label's probability is lower.
    abstain_below: Option<f32>,
}

#[derive(Serialize)]
struct Reply<'m> {
    model: &'m str,
    results: Vec<OfText<'m>>,
}

#[derive(Serialize)]
struct OfText<'m> {
    /// Tokens that were read.
    tokens: usize,
    /// Whether the text was cut.
    truncated: bool,
    tasks: BTreeMap<&'m str, OfTask<'m>>,
}

#[derive(Serialize)]
struct OfTask<'m> {
    /// None when the task abstains.
    label: Option<&'m str>,
    /// Of the most probable label.
    probability: f32,
    abstained: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    probabilities: Option<BTreeMap<&'m str, f32>>,
    /// The most probable labels, in that order.
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<Vec<Ranked<'m>>>,
}

#[derive(Serialize)]
struct Ranked<'m> {
    label: &'m str,
    probability: f32,
}

/// What a request wants to know of a task.
struct Wanted {
    least: Option<f32>,
    probabilities: bool,
    top_k: Option<NonZeroUsize>,
}

/// Answers a body.
pub(crate) async fn predict(
    server: &Arc<Server>,
    model: &Arc<Model>,
    body: &[u8],
) -> Result<Answer, Refusal> {
    let request: Request = parse(body)?;
    if let Some(least) = request.abstain_below.filter(|least| !(0.0..=1.0).contains(least)) {
        return Err(Refusal::invalid(format!(
            "abstain_below is {least}, expected a probability, from 0 to 1"
        )));
    }
    let wanted = Wanted {
        least: request.abstain_below.or(server.options.abstain_below),
        probabilities: request.probabilities.unwrap_or_default(),
        top_k: request.top_k,
    };
    let tasks = tasks(model, request.tasks.as_deref())?;
    let texts = match (request.texts, request.pairs) {
        (Some(texts), None) => super::texts(texts),
        (None, Some(pairs)) => super::pairs(pairs),
        (Some(_), Some(_)) => return Err(Refusal::invalid("`texts` and `pairs` exclude each other")),
        (None, None) if model.reads_pairs() => return Err(Refusal::invalid("missing field `pairs`")),
        (None, None) => return Err(Refusal::invalid("missing field `texts`")),
    };
    let computed = compute(server, model, texts, None).await?;
    let results =
        computed.rows.iter().zip(&computed.tokens).zip(&computed.lost).map(|((row, &tokens), lost)| {
            let predictions = model.classifier.predictions(row);
            let of_task = |&task: &usize| {
                let head = &model.heads()[task];
                (head.task.as_str(), of_task(head, &predictions[task], &wanted))
            };
            OfText {
                tokens,
                truncated: lost.tokens > 0 || lost.at_least,
                tasks: tasks.iter().map(of_task).collect(),
            }
        });
    let reply = Reply { model: model.fingerprint.to_str().unwrap_or_default(), results: results.collect() };
    Ok(json(StatusCode::OK, &reply))
}

/// Which heads are asked.
fn tasks(model: &Model, names: Option<&[String]>) -> Result<Vec<usize>, Refusal> {
    let Some(names) = names else { return Ok((0..model.heads().len()).collect()) };
    if names.is_empty() {
        return Err(Refusal::invalid("there are no tasks: name at least one, or leave tasks away for all"));
    }
    names.iter().map(|name| task(model, name)).collect()
}

/// The head of a task.
pub(super) fn task(model: &Model, name: &str) -> Result<usize, Refusal> {
    model.head(name).ok_or_else(|| {
        let known: Vec<&str> = model.heads().iter().map(|head| head.task.as_str()).collect();
        Refusal::invalid(format!("there is no task {name:?}, expected one of {}", known.join(", ")))
    })
}

fn of_task<'m>(head: &'m Head, prediction: &TaskPrediction, wanted: &Wanted) -> OfTask<'m> {
    let probability = prediction.probabilities[prediction.label];
    let abstained = wanted.least.is_some_and(|least| probability < least);
    let named = || head.labels.iter().map(String::as_str).zip(prediction.probabilities.iter().copied());
    let top = |most: NonZeroUsize| {
        let mut all: Vec<Ranked> =
            named().map(|(label, probability)| Ranked { label, probability }).collect();
        // Equals stay in the order of the labels, so that the first is the task's answer.
        all.sort_by(|one, other| other.probability.total_cmp(&one.probability));
        all.truncate(most.get());
        all
    };
    OfTask {
        label: (!abstained).then(|| head.labels[prediction.label].as_str()),
        probability,
        abstained,
        probabilities: wanted.probabilities.then(|| named().collect()),
        top: wanted.top_k.map(top),
    }
}
