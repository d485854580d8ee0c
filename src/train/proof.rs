//! Owns the proof that frozen is frozen: every parameter tensor, its hash before training and in the run as
//! `predict` reads it.
//!
//! Refuses to take the trainer's word: "after" comes out of the graph and the heads that the written run
//! opens with.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::outcome::TensorProof;
use crate::backbone::Backbone;
use crate::encoder::{ChangedTensors, GraphOptions, Network, head_bias, head_weight, inference_graph};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::Fingerprint;
use crate::graph::proto::TensorProto;
use crate::graph::{self, External};
use crate::heads::Head;
use crate::tensors::bytes_of;

/// Hash of every parameter tensor by name, as the deployed graph and heads have it.
///
/// # Errors
/// The graph cannot be built, or the weight file cannot be read.
pub fn hashes(
    backbone: &Backbone,
    changed: Option<&ChangedTensors>,
    heads: &[Head],
) -> Result<BTreeMap<String, Fingerprint>> {
    let network = Network { changed, ..backbone.network()? };
    let options = GraphOptions { outputs: network.summary(), ..GraphOptions::default() };
    let model = graph::decode(&inference_graph(&network, &options)?)?;
    let names: BTreeSet<&str> = network.weights.names().collect();
    let path = network.weights.path();
    let file = std::fs::File::open(path).map_err(|source| Error::io("read", path, source))?;
    let mut found = BTreeMap::new();
    for tensor in model.graph.iter().flat_map(|graph| &graph.initializer) {
        let name = tensor.name();
        if !names.contains(name) {
            continue;
        }
        let hash = match &tensor.raw_data {
            Some(bytes) if tensor.external_data.is_empty() => Fingerprint::of_bytes(bytes),
            _ => external(tensor, &file, path)?,
        };
        found.insert(name.to_owned(), hash);
    }
    for head in heads {
        for (name, numbers) in [(head_weight(&head.task), &head.weights), (head_bias(&head.task), &head.bias)]
        {
            found.insert(name, Fingerprint::of_bytes(&bytes_of(numbers)));
        }
    }
    Ok(found)
}

fn external(tensor: &TensorProto, file: &std::fs::File, path: &Path) -> Result<Fingerprint> {
    let place = External::of(tensor).ok_or_else(|| {
        Error::new(Kind::Graph, "a tensor says neither its numbers nor where they are; this is a bug")
    })?;
    let mut bytes = vec![0; usize::try_from(place.length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, place.offset).map_err(|source| Error::io("read", path, source))?;
    Ok(Fingerprint::of_bytes(&bytes))
}

/// Compares before and after.
///
/// # Errors
/// A frozen tensor is not what it was, or a tensor is gone.
pub fn prove(
    before: &BTreeMap<String, Fingerprint>,
    after: &BTreeMap<String, Fingerprint>,
    trained: &BTreeSet<String>,
    gradients: &BTreeMap<String, f32>,
) -> Result<Vec<TensorProof>> {
    before
        .iter()
        .map(|(name, &before)| {
            let trained = trained.contains(name);
            let lost = || Error::new(Kind::Run, "a tensor is not in the written run").found(name.clone());
            let after = *after.get(name).ok_or_else(lost)?;
            if !trained && after != before {
                return Err(Error::new(Kind::Run, "a frozen tensor is not what it was before training")
                    .found(format!("{name}: {}", after.told_from(&before)))
                    .expected(before.told_from(&after))
                    .help("this is a bug, or the disk is damaged: nothing was written"));
            }
            let largest_gradient = gradients.get(name).copied();
            Ok(TensorProof { name: name.clone(), trained, before, after, largest_gradient })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(text: &str) -> Fingerprint {
        Fingerprint::of_bytes(text.as_bytes())
    }

    #[test]
    fn a_frozen_tensor_that_moved_is_an_error_and_a_trained_one_is_not() {
        let before = BTreeMap::from([("a".to_owned(), hash("1")), ("b".to_owned(), hash("2"))]);
        let mut after = before.clone();
        after.insert("b".to_owned(), hash("3"));
        let trained = BTreeSet::from(["b".to_owned()]);
        let gradients = BTreeMap::from([("b".to_owned(), 0.5)]);
        let proof = prove(&before, &after, &trained, &gradients).unwrap();
        assert!(!proof[0].moved() && proof[1].moved() && proof[1].largest_gradient == Some(0.5));
        let error = prove(&before, &after, &BTreeSet::new(), &gradients).unwrap_err().to_string();
        assert!(error.contains("frozen") && error.contains("b:"), "{error}");
        after.remove("a");
        assert!(prove(&before, &after, &trained, &gradients).unwrap_err().to_string().contains("not in"));
    }
}
