//! Owns what heads see in a training step: each distinct vector once, from states that the graph computes or
//! means it is given.
//!
//! Refuses to compute again what lies below the start: the means of those states are inputs of the graph.

use std::collections::BTreeMap;
use std::ops::Range;

use super::asked::TrainingOptions;
use super::choice::FeatureChoice;
use super::inference::no_embedding;
use super::network::Network;
use super::pooling::{Behind, Means, side_by_side};
use super::ports::{self, DROPOUT, batch, mean_of};
use super::transformer::{Encoder, Start, dropped};
use crate::error::{Error, Kind, Result};
use crate::graph::{Builder, Dim, Value, ValueType};

/// The vectors that heads see, while the graph is built.
pub(super) struct Vectors<'o> {
    pub(super) graph: Builder,
    options: &'o TrainingOptions,
    network: Network<'o>,
    means: Means,
    behind: Behind,
    hidden: usize,
    /// The number of the first state that the graph has, and the states from there on.
    first: usize,
    states: Vec<Value>,
    /// Means made so far.
    levels: BTreeMap<usize, Value>,
    /// Vectors made so far, with their width.
    made: Vec<(FeatureChoice, (Value, usize))>,
    /// Levels whose means are inputs.
    pub(super) given: Vec<usize>,
}

impl<'o> Vectors<'o> {
    /// Runs the encoder as far up as any head sees.
    ///
    /// # Errors
    /// There is no head, or all of them see only what lies below the start.
    pub(super) fn new(
        mut encoder: Encoder<'_>,
        network: Network<'o>,
        options: &'o TrainingOptions,
    ) -> Result<Self> {
        let layers = network.config.layers;
        let top = options.heads.iter().map(|head| head.seen.top(layers)).max();
        let top = top.ok_or_else(|| Error::new(Kind::Graph, "a training step needs a head"))?;
        let all = options.heads.iter().any(|head| head.seen != FeatureChoice::Last);
        let mut states = encoder.hidden_states(top, all)?;
        if !all {
            states.drain(..states.len() - 1);
        }
        let sees_embedding = options.heads.iter().any(|head| head.seen == FeatureChoice::Last);
        let dense = if sees_embedding { encoder.dense_values()? } else { None };
        let behind = Behind { dense, normalize: network.normalize };
        let (mask, hidden) = (encoder.attention_mask.clone(), encoder.hidden_size());
        let means = Means::new(&mut encoder.graph, &mask, Dim::Size(hidden), false)?;
        let graph = encoder.graph;
        let first = top + 1 - states.len();
        let (levels, made, given) = (BTreeMap::new(), Vec::new(), Vec::new());
        Ok(Self { graph, options, network, means, behind, hidden, first, states, levels, made, given })
    }

    /// The vector, `[batch, width]`, with numbers dropped where numbers of any layer are; and its width.
    pub(super) fn of(&mut self, seen: FeatureChoice) -> Result<(Value, usize)> {
        if let Some((_, there)) = self.made.iter().find(|(known, _)| *known == seen) {
            return Ok(there.clone());
        }
        let (vector, width, mask) = match seen.levels(self.network.config.layers) {
            None => (self.embedding()?, self.network.config.embedding_size(), format!("{DROPOUT}pooled")),
            Some(levels) => {
                let mask = format!("{DROPOUT}means.{}-{}", levels.start, levels.end.saturating_sub(1));
                (self.side_by_side(&levels)?, levels.len() * self.hidden, mask)
            }
        };
        let vector = if self.options.dropped.is_empty() {
            vector
        } else {
            dropped(&mut self.graph, &vector, &mask, &format!("{}/dropped", vector.name()))?
        };
        self.made.push((seen, (vector.clone(), width)));
        Ok((vector, width))
    }

    fn embedding(&mut self) -> Result<Value> {
        let Network { config, pooling, .. } = self.network;
        let last = self.state(config.layers)?;
        let pooling = pooling.ok_or_else(no_embedding)?;
        self.means.embedding(&mut self.graph, &last, pooling, &self.behind)
    }

    fn side_by_side(&mut self, levels: &Range<usize>) -> Result<Value> {
        let each = levels.clone().map(|level| self.mean(level)).collect::<Result<Vec<_>>>()?;
        if let [only] = &each[..] {
            return Ok(only.clone());
        }
        let name = format!("means/{}-{}", levels.start, levels.end.saturating_sub(1));
        side_by_side(&mut self.graph, &each, self.hidden, &name)
    }

    /// The mean of a hidden state: an input up to the start, because nothing that is trained changes it.
    fn mean(&mut self, level: usize) -> Result<Value> {
        if let Some(there) = self.levels.get(&level) {
            return Ok(there.clone());
        }
        let mean = match self.options.start {
            Start::States(start) if level <= start => {
                self.given.push(level);
                self.graph.input(&mean_of(level), ValueType::float([batch(), self.hidden.into()]))?
            }
            _ => {
                let state = self.state(level)?;
                self.means.mean(&mut self.graph, &state, &format!("pooling/mean.{level}"))?
            }
        };
        self.levels.insert(level, mean.clone());
        Ok(mean)
    }

    fn state(&self, level: usize) -> Result<Value> {
        let state = level.checked_sub(self.first).and_then(|place| self.states.get(place));
        state.cloned().ok_or_else(|| {
            Error::new(Kind::Graph, "the graph has no such hidden state; this is a bug")
                .found(ports::hidden(level))
        })
    }
}
