//! Owns `POST /v1/predict`: texts, or pairs of texts → every task's label, labels or number.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use super::{compute, parse};
use crate::classifier::{TaskPrediction, by_probability};
use crate::heads::Head;
use crate::serve::Long;
use crate::serve::log::fields_of;
use crate::serve::model::Model;
use crate::serve::reply::{Answer, Refusal, json};
use crate::serve::server::Server;
use crate::task::TaskKind;
use crate::tokens::LongTexts;

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
    /// Say that a task of one label is uncertain where its most probable label's probability is lower.
    abstain_below: Option<f32>,
    /// Of a single text that the bundle reads in windows: what each of them says.
    windows: Option<bool>,
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
    /// Absent where they were not asked for, or the text was not read so.
    #[serde(skip_serializing_if = "Option::is_none")]
    windows: Option<Vec<OfWindow<'m>>>,
}

/// What a part of a text says by itself.
#[derive(Serialize)]
struct OfWindow<'m> {
    /// Its bytes in the text.
    start: usize,
    end: usize,
    /// Logits of every label, task by task; of a number the number.
    tasks: BTreeMap<&'m str, BTreeMap<&'m str, f32>>,
}

/// What a task says: by its kind a label, labels, or a number.
#[derive(Serialize)]
#[serde(untagged)]
enum OfTask<'m> {
    One(OfLabel<'m>),
    Several(OfLabels<'m>),
    Number(OfNumber),
}

#[derive(Serialize)]
struct OfLabel<'m> {
    /// None when the task abstains.
    label: Option<&'m str>,
    /// Of the most probable label.
    probability: f32,
    abstained: bool,
    #[serde(flatten)]
    all: OfAll<'m>,
}

#[derive(Serialize)]
struct OfLabels<'m> {
    /// The labels that are answered, the most probable first; perhaps none.
    labels: Vec<Ranked<'m>>,
    #[serde(flatten)]
    all: OfAll<'m>,
}

#[derive(Serialize)]
struct OfNumber {
    number: f32,
    /// Between which numbers the truth lies, as often as was promised.
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<Interval>,
}

#[derive(Serialize)]
struct Interval {
    low: f32,
    high: f32,
    level: f32,
}

/// What is said of all labels, where that is wanted.
#[derive(Serialize)]
struct OfAll<'m> {
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
    let windowed = request.windows.unwrap_or_default();
    if windowed && texts.len() != 1 {
        return Err(Refusal::invalid("`windows` says something of one text: send a single one"));
    }
    let explained = texts.first().filter(|_| windowed).map(|text| text.first.clone());
    let computed = compute(server, model, texts, None).await?;
    let mut windows = match explained {
        Some(text) => windows(server, model, text, &tasks).await?,
        None => None,
    };
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
                windows: windows.take(),
            }
        });
    let reply = Reply { model: model.fingerprint.to_str().unwrap_or_default(), results: results.collect() };
    Ok(json(StatusCode::OK, &reply))
}

/// What the windows of a text say, one by one; nothing where the bundle does not read texts so.
async fn windows<'m>(
    server: &Server,
    model: &'m Arc<Model>,
    text: String,
    tasks: &[usize],
) -> Result<Option<Vec<OfWindow<'m>>>, Refusal> {
    if model.long() != Long::Windows || model.classifier.model().long() == LongTexts::Truncate {
        return Ok(None);
    }
    let own = Arc::clone(model);
    let failed = || Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "explaining the text failed");
    let work = move || own.classifier.explain(&text);
    let found = tokio::task::spawn_blocking(work).await.map_err(|_| failed())?.map_err(|error| {
        server.log.error("explaining a text failed", &fields_of(&error));
        failed()
    })?;
    let count = found.first().map_or(0, Vec::len);
    let window = |place: usize| {
        let of_task = |&task: &usize| {
            let head = &model.heads()[task];
            let labelled = head.kind.has_labels();
            let name = |label: &'m String| if labelled { label.as_str() } else { "number" };
            let logits = found[task][place].1.iter().copied();
            (head.task.as_str(), head.labels.iter().map(name).zip(logits).collect())
        };
        let span = &found[0][place].0.bytes;
        OfWindow { start: span.start, end: span.end, tasks: tasks.iter().map(of_task).collect() }
    };
    Ok(Some((0..count).map(window).collect()))
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
    let probability = |label: usize| prediction.probabilities[label];
    let ranked = |label: usize| Ranked { label: &head.labels[label], probability: probability(label) };
    let certain = |label: &&usize| wanted.least.is_none_or(|least| probability(**label) >= least);
    let named = || head.labels.iter().map(String::as_str).zip(prediction.probabilities.iter().copied());
    // Equals stay in the order of the labels, so that the first is the task's answer.
    let top = |most: NonZeroUsize| {
        by_probability(&prediction.probabilities).into_iter().take(most.get()).map(ranked).collect()
    };
    let all = || OfAll {
        probabilities: wanted.probabilities.then(|| named().collect()),
        top: wanted.top_k.map(top),
    };
    match head.kind {
        TaskKind::OneOf => {
            let answer = prediction.labels.first().filter(certain);
            OfTask::One(OfLabel {
                label: answer.map(|label| head.labels[*label].as_str()),
                probability: probability(prediction.label),
                abstained: answer.is_none(),
                all: all(),
            })
        }
        TaskKind::AnyOf => {
            // Their own thresholds have decided.
            let answered = prediction.labels.iter();
            OfTask::Several(OfLabels { labels: answered.map(|label| ranked(*label)).collect(), all: all() })
        }
        TaskKind::Number => {
            let promised = prediction.interval.zip(head.believed.interval);
            let interval = promised.map(|([low, high], found)| Interval { low, high, level: found.level });
            OfTask::Number(OfNumber { number: prediction.probabilities[0], interval })
        }
    }
}
