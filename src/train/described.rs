//! Owns the baseline that needs no training: a head whose weights are the embeddings of its labels'
//! descriptions.

use std::collections::HashMap;

use super::task::Task;
use crate::data::{Part, Source, TableReader};
use crate::embed::Embedder;
use crate::error::{Error, Kind, Result, quoted};
use crate::fingerprint::TextKey;
use crate::heads::Head;
use crate::task::{Target, TaskKind};

/// Logits are cosines times this: probabilities that are neither flat nor certain. CLIP trains this factor to
/// 100 (Radford et al. 2021); sentence encoders are trained with 20 (Reimers & Gurevych's
/// `MultipleNegativesRankingLoss`). It changes no label.
const SCALE: f32 = 20.0;
const ROWS_AT_ONCE: usize = 4096;
const BYTES_AT_ONCE: usize = 4 << 20;

/// From this cosine on a label of several is answered.
const NEAR: f32 = 0.3;

/// A head per task, from `--label-text` or the labels' own names; of a number, which has neither, one that
/// answers the mean of the training rows.
///
/// # Errors
/// There is no backbone to embed descriptions with, the table of descriptions is malformed or lacks a label,
/// or embedding fails.
pub(super) fn described_heads(
    label_text: Option<&Source>,
    (tasks, parts): (&[Task], &[Option<Part>]),
    embedder: Option<&mut Embedder>,
) -> Result<Vec<Head>> {
    let Some(embedder) = embedder else {
        return Err(Error::new(Kind::Usage, "a baseline without training embeds the labels' descriptions")
            .found("a table of features, and no backbone")
            .help("say --backbone models/NAME and give a table of texts"));
    };
    if embedder.backbone().reads_pairs() {
        return Err(Error::new(
            Kind::Usage,
            "a label's description is one text, and this backbone reads pairs",
        )
        .found("a baseline without training")
        .help("train the heads: leave --freeze all and scenario 1 away"));
    }
    let described = label_text.map(read).transpose()?;
    let mut heads = Vec::with_capacity(tasks.len());
    for task in tasks {
        let place = &task.sees.columns;
        if !task.kind.has_labels() {
            heads.push(mean_head(task, parts));
            continue;
        }
        let texts = task
            .labels
            .names()
            .iter()
            .map(|label| match &described {
                None => Ok(readable(label)),
                Some(described) => {
                    described.get(&(task.name.clone(), label.clone())).cloned().ok_or_else(|| {
                        Error::new(Kind::Table, "a label has no description")
                            .column(&task.name)
                            .found(quoted(label))
                            .expected("a row `task,label,text` for every label in --label-text")
                    })
                }
            })
            .collect::<Result<Vec<String>>>()?;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let keys: Vec<TextKey> = texts.iter().map(|text| TextKey::of(text)).collect();
        embedder.ensure(&texts, &keys, &mut |_| ())?;
        let mut weights = vec![0.0; texts.len() * place.len()];
        for (key, weights) in keys.iter().zip(weights.chunks_exact_mut(place.len())) {
            embedder.read(key, place.start, weights)?;
            let length = weights.iter().map(|weight| weight * weight).sum::<f32>().sqrt().max(1e-12);
            weights.iter_mut().for_each(|weight| *weight *= SCALE / length);
        }
        let bias = if task.kind == TaskKind::AnyOf { 0.0 - SCALE * NEAR } else { 0.0 };
        heads.push(Head::new(task.answers(), place.len(), weights, vec![bias; texts.len()]));
    }
    Ok(heads)
}

/// The head of a number that nothing is known of but the training rows' mean.
fn mean_head(task: &Task, parts: &[Option<Part>]) -> Head {
    let numbers: Vec<f64> = task.truth(parts, Part::Train).targets.iter().map(Target::number).collect();
    let mean = numbers.iter().sum::<f64>() / numbers.len().max(1) as f64;
    let width = task.sees.columns.len();
    Head::new(task.answers(), width, vec![0.0; width], vec![mean as f32])
}

/// `product_review` → `product review`.
fn readable(label: &str) -> String {
    label.replace(['_', '-'], " ")
}

/// Descriptions by task and label.
fn read(source: &Source) -> Result<HashMap<(String, String), String>> {
    let mut reader = TableReader::open(source)?;
    let [task, label, text] = [reader.column("task")?, reader.column("label")?, reader.column("text")?];
    let mut described = HashMap::new();
    loop {
        let rows = reader.read(ROWS_AT_ONCE, BYTES_AT_ONCE)?;
        if rows.is_empty() {
            return Ok(described);
        }
        for row in rows {
            let cell = |column: usize| row.cells[column].as_str().unwrap_or_default().to_owned();
            let label = row.cells[label].label().unwrap_or_default().into_owned();
            described.insert((cell(task), label), cell(text));
        }
    }
}
