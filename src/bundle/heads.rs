//! Owns reading the heads back out of a bundle's graph.
//!
//! Refuses heads, and words of heads, that are not what the manifest says.

use super::archive::{Archive, lie};
use super::contents::{TaskManifest, WordsManifest};
use super::{network, words};
use crate::encoder::{head_bias, head_weight};
use crate::error::{Error, Result};
use crate::graph::{self, ModelProto};
use crate::heads::{Believed, Head, Words};
use crate::tensors::floats_of;
use crate::tokens::MOST_PAIR_PLACES;

/// The bytes of a tensor of this shape, wherever they lie; none where there is no such tensor.
fn tensor_bytes(
    archive: &Archive,
    graph: &ModelProto,
    name: &str,
    dims: &[usize],
) -> Option<Result<Vec<u8>>> {
    let tensor = network::initializer(graph, name)?;
    let shape = tensor.dims.iter().map(|&size| usize::try_from(size).ok());
    if !shape.eq(dims.iter().map(|&size| Some(size))) {
        return None;
    }
    let Some(range) = network::range(graph, name) else { return tensor.raw_data.clone().map(Ok) };
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
    Some(archive.read_at(range.start, &mut bytes).map(|()| bytes))
}

/// A head as the graph has it.
pub(super) fn read_head(
    archive: &Archive,
    graph: &ModelProto,
    (task, labels): (&TaskManifest, &[String]),
    believed: Believed,
) -> Result<Head> {
    let tensor = |name: &str, dims: &[usize]| -> Result<Vec<f32>> {
        let unfitting =
            || lie("the heads do not fit the manifest").tensor(name).expected(format!("shape {dims:?}"));
        let numbers = floats_of(&tensor_bytes(archive, graph, name, dims).ok_or_else(unfitting)??);
        let expected = dims.iter().try_fold(1_usize, |all, &size| all.checked_mul(size));
        if Some(numbers.len()) == expected { Ok(numbers) } else { Err(unfitting()) }
    };
    let (classes, features) = (labels.len(), task.width);
    let words = task.words.as_ref().map(|words| read_words((archive, graph), &task.task, classes, words));
    Ok(Head {
        weights: if features > 0 {
            tensor(&head_weight(&task.task), &[classes, features])?
        } else {
            Vec::new()
        },
        bias: tensor(&head_bias(&task.task), &[classes])?,
        task: task.task.clone(),
        kind: task.kind,
        labels: labels.to_vec(),
        features,
        believed,
        words: words.transpose()?,
    })
}

fn unfitting(name: &str) -> Error {
    lie("the words of a head do not fit the manifest").tensor(name)
}

/// The numbers of an index or of codes of this shape.
fn whole_numbers<T: TryFrom<i64>>(
    (archive, graph): (&Archive, &ModelProto),
    name: &str,
    shape: &[usize],
) -> Result<Vec<T>> {
    let tensor = network::initializer(graph, name).ok_or_else(|| unfitting(name))?;
    let bytes = tensor_bytes(archive, graph, name, shape).ok_or_else(|| unfitting(name))??;
    words::whole_numbers(graph::element(tensor), &bytes).ok_or_else(|| unfitting(name))
}

/// The words of a head as the graph has them.
fn read_words(
    (archive, graph): (&Archive, &ModelProto),
    task: &str,
    classes: usize,
    manifest: &WordsManifest,
) -> Result<Words> {
    let WordsManifest { places, rows, renumbered } = manifest;
    let mut grams = places.clone();
    if *renumbered {
        grams = grams.with_pieces(&whole_numbers((archive, graph), words::IDS, &[places.pieces])?);
    }
    let in_range = (1..=MOST_PAIR_PLACES).contains(&places.pairs);
    let all = places.pieces.checked_add(places.pairs).filter(|_| in_range);
    let (Some(all), Some(rows)) = (all, rows.checked_add(1)) else { return Err(unfitting(task)) };
    let index = whole_numbers((archive, graph), &words::tensor_name(task, "index"), &[all])?;
    let codes = whole_numbers((archive, graph), &words::tensor_name(task, "codes"), &[rows, classes])?;
    let name = words::tensor_name(task, "scales");
    let scales = tensor_bytes(archive, graph, &name, &[classes]).ok_or_else(|| unfitting(&name))??;
    let words = Words { grams, index, codes, scales: floats_of(&scales), settled: None };
    if words.classes() != classes || words.codes.len() != rows * classes {
        return Err(unfitting(task));
    }
    words.check().map_err(|source| unfitting(task).because(source))?;
    Ok(words)
}
