//! Owns `POST /v1/predict`: texts → every task's label.

use std::collections::BTreeMap;
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
    texts: Vec<String>,
    /// Which tasks; all of them when not said.
    tasks: Option<Vec<String>>,
    /// Every label's probability.
    #[serde(default)]
    probabilities: bool,
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
    let least = request.abstain_below.or(server.options.abstain_below);
    let tasks = tasks(model, request.tasks.as_deref())?;
    let computed = compute(server, model, request.texts, None).await?;
    let results =
        computed.rows.iter().zip(&computed.tokens).zip(&computed.lost).map(|((row, &tokens), lost)| {
            let predictions = model.classifier.predictions(row);
            let of_task = |&task: &usize| {
                let head = &model.heads()[task];
                (head.task.as_str(), of_task(head, &predictions[task], least, request.probabilities))
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
    names.iter().map(|name| task(model, name)).collect()
}

/// The head of a task.
pub(super) fn task(model: &Model, name: &str) -> Result<usize, Refusal> {
    model.head(name).ok_or_else(|| {
        let known: Vec<&str> = model.heads().iter().map(|head| head.task.as_str()).collect();
        Refusal::invalid(format!("there is no task {name:?}, expected one of {}", known.join(", ")))
    })
}

fn of_task<'m>(head: &'m Head, own: &TaskPrediction, least: Option<f32>, all: bool) -> OfTask<'m> {
    let probability = own.probabilities[own.label];
    let abstained = least.is_some_and(|least| probability < least);
    let labels = head.labels.iter().map(String::as_str);
    OfTask {
        label: (!abstained).then(|| head.labels[own.label].as_str()),
        probability,
        abstained,
        probabilities: all.then(|| labels.zip(own.probabilities.iter().copied()).collect()),
    }
}
