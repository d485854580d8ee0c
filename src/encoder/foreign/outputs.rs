//! Owns the choice among the outputs of a graph made elsewhere: token states, or vectors that the graph has
//! pooled itself.
//!
//! Refuses a classifier's answers, what is not 32-bit floats, and to guess between outputs that are alike.

use super::{describe, element, fixed_dims};
use crate::error::{Error, Kind, Result};
use crate::graph::DataType;
use crate::graph::proto::{GraphProto, ValueInfoProto};

/// Names exporters give to the output that matters, best first.
const KNOWN: [&str; 8] = [
    "sentence_embedding",
    "last_hidden_state",
    "token_embeddings",
    "embedding",
    "embeddings",
    "sentence_embeddings",
    "text_embeds",
    "pooler_output",
];
/// What the name of a classifier's answer has in it.
const ANSWERS: [&str; 5] = ["logit", "prob", "score", "label", "classif"];
/// Of an output by an unknown name: nobody's embedding has fewer numbers than this, classifiers' answers
/// mostly do.
const LEAST_WIDTH: usize = 16;
const EXPORT: &str = "export the encoder without its classification head (`optimum-cli export onnx --task feature-extraction`), or import \
     its directory with model.safetensors";

/// The output that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignOutput {
    /// Its name in the file.
    pub name: String,
    /// Whether it is one vector per text already, `[batch, width]`; else token states, `[batch, sequence,
    /// width]`.
    pub pooled: bool,
    /// Its last dimension.
    pub width: usize,
}

/// What an output is by its declaration.
struct Candidate<'g> {
    value: &'g ValueInfoProto,
    pooled: bool,
}

impl Candidate<'_> {
    fn rank_in(&self, names: &[&str]) -> Option<usize> {
        names.iter().position(|name| *name == self.value.name())
    }

    fn width(&self) -> Option<usize> {
        fixed_dims(self.value)?.last().copied().flatten().filter(|size| *size > 0)
    }

    /// Whether it looks like what a head says of a text or a token.
    fn is_answer(&self) -> bool {
        let name = self.value.name().to_lowercase();
        let unknown = self.rank_in(&KNOWN).is_none();
        unknown
            && (ANSWERS.iter().any(|part| name.contains(part))
                || self.width().is_some_and(|width| width < LEAST_WIDTH))
    }
}

/// Whether an output of token states is wanted where there is also one that the graph has pooled itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenStates {
    /// No: nobody says how they would be pooled.
    #[default]
    NotWanted,
    /// The model's own files say how they are pooled.
    Preferred,
    /// Somebody has said how they shall be pooled: nothing else will do.
    Required,
}

/// The output to use, and one of token states that is there as well.
pub(super) fn choose(graph: &GraphProto, states: TokenStates) -> Result<(ForeignOutput, Option<String>)> {
    let float = |value: &&ValueInfoProto| element(value) == Some(DataType::Float as i32);
    let candidates = graph.output.iter().filter(float).filter_map(|value| {
        let rank = fixed_dims(value)?.len();
        matches!(rank, 2 | 3).then_some(Candidate { value, pooled: rank == 2 })
    });
    let (answers, usable): (Vec<_>, Vec<_>) = candidates.partition(Candidate::is_answer);
    if usable.is_empty() {
        return Err(unusable(graph, &answers));
    }
    let of_states = usable.iter().filter(|candidate| !candidate.pooled).collect::<Vec<_>>();
    let narrow = match states {
        TokenStates::NotWanted => false,
        TokenStates::Preferred => !of_states.is_empty(),
        TokenStates::Required => true,
    };
    let fitting = if narrow { of_states.clone() } else { usable.iter().collect() };
    if fitting.is_empty() {
        return Err(Error::new(
            Kind::Usage,
            "--pooling changes nothing: the graph's output is pooled already",
        )
        .found(all(graph))
        .expected("an output of token states, [batch, sequence, hidden]")
        .help("leave --pooling away, or export the encoder's last_hidden_state"));
    }
    let chosen = best(&fitting).ok_or_else(|| {
        Error::new(Kind::Model, "the graph has several outputs that could be the encoder's")
            .found(all(graph))
            .expected("one, or one by a name that exporters use: last_hidden_state, sentence_embedding")
            .help("export the encoder again with its last hidden states as the only output")
    })?;
    let width = chosen.width().ok_or_else(|| {
        Error::new(Kind::Model, "the graph does not say how long its vectors are")
            .tensor(chosen.value.name())
            .found(describe(chosen.value))
            .expected("a fixed last dimension")
            .help("export the model again with a fixed hidden size")
    })?;
    let beside =
        best(&of_states).filter(|_| chosen.pooled).map(|candidate| candidate.value.name().to_owned());
    Ok((ForeignOutput { name: chosen.value.name().to_owned(), pooled: chosen.pooled, width }, beside))
}

/// The one with the best known name, else the only one.
fn best<'c, 'g>(fitting: &[&'c Candidate<'g>]) -> Option<&'c Candidate<'g>> {
    let known = fitting.iter().filter_map(|candidate| Some((candidate.rank_in(&KNOWN)?, *candidate)));
    known.min_by_key(|(rank, _)| *rank).map(|(_, candidate)| candidate).or_else(|| only(fitting))
}

/// The only output of token states, or the only output.
fn only<'c, 'g>(fitting: &[&'c Candidate<'g>]) -> Option<&'c Candidate<'g>> {
    let states: Vec<_> = fitting.iter().copied().filter(|candidate| !candidate.pooled).collect();
    match (states.as_slice(), fitting) {
        ([candidate], _) | ([], [candidate]) => Some(candidate),
        _ => None,
    }
}

fn unusable(graph: &GraphProto, answers: &[Candidate<'_>]) -> Error {
    const EXPECTED: &str = "f32 token states [batch, sequence, hidden], or f32 embeddings [batch, hidden], with their shape declared";
    if answers.is_empty() {
        return Error::new(Kind::Model, "the graph has no output of token states or embeddings")
            .found(all(graph))
            .expected(EXPECTED)
            .help("export the encoder in fp32 with its output last_hidden_state, or import its directory with model.safetensors");
    }
    Error::new(Kind::Model, "the graph is a classifier: it gives answers, not embeddings")
        .found(all(graph))
        .expected(EXPECTED)
        .help(EXPORT)
}

fn all(graph: &GraphProto) -> String {
    if graph.output.is_empty() {
        return "no output".to_owned();
    }
    graph.output.iter().map(describe).collect::<Vec<_>>().join(", ")
}
