//! Owns what the inputs and outputs of graphs are called, and the tensors of heads.
//!
//! Refuses any other spelling of them: graphs lie in bundles, where other programs run them by these names.

use crate::graph::Dim;

/// Token ids, i64 `[batch, sequence]`.
pub const INPUT_IDS: &str = "input_ids";
/// 1 for a real token, 0 for padding, which stands at the end: i64 `[batch, sequence]`.
pub const ATTENTION_MASK: &str = "attention_mask";
/// 0, or 1 in a pair's second text, i64 `[batch, sequence]`: an input of graphs that read pairs, where the
/// network has token types.
pub const TOKEN_TYPES: &str = "token_type_ids";
/// The token states that a graph starts from, f32 `[batch, sequence, hidden]`.
pub const STATES: &str = "states";
/// The sentence embedding, f32 `[batch, hidden]`.
pub const EMBEDDING: &str = "embedding";
/// Means of hidden states over real tokens, side by side: f32 `[batch, means · hidden]`.
pub const LAYER_MEANS: &str = "layer_means";
/// What the names of inputs begin with that drop numbers of a training step.
pub(super) const DROPOUT: &str = "dropout.";
/// What everything begins with that belongs to heads behind a graph.
pub(super) const OF_HEADS: [&str; 4] = ["logits_", "probabilities_", "heads.", "heads/"];

/// The number of texts, as a dimension.
pub(super) fn batch() -> Dim {
    "batch".into()
}

/// A hidden state, f32 `[batch, sequence, hidden]`: 0 is what the embeddings give, k + 1 what layer k gives.
#[must_use]
pub fn hidden(level: usize) -> String {
    format!("hidden.{level}")
}

/// The input that holds the mean of a hidden state at or below the start, `[batch, hidden]`.
#[must_use]
pub fn mean_of(level: usize) -> String {
    format!("means.{level}")
}

/// A head's weights, `[classes, width]`.
#[must_use]
pub fn head_weight(task: &str) -> String {
    format!("heads.{task}.weight")
}

/// A head's biases, `[classes]`.
#[must_use]
pub fn head_bias(task: &str) -> String {
    format!("heads.{task}.bias")
}

/// A task's logits in a deployed graph, f32 `[batch, classes]`.
#[must_use]
pub fn logits(task: &str) -> String {
    format!("logits_{task}")
}

/// What the words of a task's head add to its logits, f32 `[batch, classes]`.
#[must_use]
pub fn words(task: &str) -> String {
    format!("words_{task}")
}

/// A task's probabilities in a deployed graph, f32 `[batch, classes]`.
#[must_use]
pub fn probabilities(task: &str) -> String {
    format!("probabilities_{task}")
}

/// The input that says which class each row has and what it counts: its share of the batch at the class, 0
/// elsewhere.
#[must_use]
pub fn targets(task: &str) -> String {
    format!("targets.{task}")
}

/// The input with what is added to a task's logits of every row: those of its head's words.
#[must_use]
pub fn beside(task: &str) -> String {
    format!("beside.{task}")
}

/// The output with a task's loss: the sum of the rows' cross entropies times what they count.
#[must_use]
pub fn loss(task: &str) -> String {
    format!("loss.{task}")
}
