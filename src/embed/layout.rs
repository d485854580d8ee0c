//! Owns what a row of the feature store holds and where in it.
//!
//! Refuses to know how the numbers are made.

use std::ops::Range;
use std::str::FromStr;

use crate::backbone::Backbone;
use crate::encoder::{Outputs, ports};
use crate::error::{Error, Kind, Result};

/// Which mean-pooled states are stored beside the sentence embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoredLayers {
    /// None: the smallest store, good for `last` features only.
    Last,
    /// The embeddings' output and every layer's: any later choice of layers costs no inference.
    #[default]
    All,
}

impl FromStr for StoredLayers {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "last" => Ok(Self::Last),
            "all" => Ok(Self::All),
            _ => Err(Error::new(Kind::Usage, "there is no such choice of stored layers")
                .found(format!("{text:?}"))
                .expected("last or all")),
        }
    }
}

impl StoredLayers {
    /// How many mean-pooled states that is, in a network of so many layers; none when it cannot be looked
    /// into.
    #[must_use]
    pub fn means(self, layers: Option<usize>) -> usize {
        match (self, layers) {
            (Self::All, Some(layers)) => layers + 1,
            _ => 0,
        }
    }
}

/// The places in a stored row of f32: `[state 0 … state S-1, sentence embedding, tokens, tokens lost]`, where
/// state 0 is the mean-pooled output of the embeddings and state k + 1 that of layer k.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowLayout {
    states: usize,
    hidden_size: usize,
}

impl RowLayout {
    /// A row with `states` mean-pooled states (0, or layers + 1) of `hidden_size` numbers each.
    #[must_use]
    pub fn new(states: usize, hidden_size: usize) -> Self {
        Self { states, hidden_size }
    }

    /// What a row of this backbone holds for a choice of stored layers.
    #[must_use]
    pub fn of(backbone: &Backbone, stored: StoredLayers) -> Self {
        Self::new(stored.means(backbone.layers()), backbone.manifest().hidden_size)
    }

    /// What a graph gives for such a row.
    #[must_use]
    pub fn outputs(&self) -> Outputs {
        Outputs::Vectors { means: self.states }
    }

    /// Numbers in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        (self.states + 1) * self.hidden_size + 2
    }

    /// Where the mean-pooled states lie.
    #[must_use]
    pub fn states(&self) -> Range<usize> {
        0..self.states * self.hidden_size
    }

    /// Where these mean-pooled states lie: 0 is that of the embeddings, k + 1 that of layer k.
    #[must_use]
    pub fn means(&self, levels: Range<usize>) -> Range<usize> {
        levels.start * self.hidden_size..levels.end * self.hidden_size
    }

    /// Where the sentence embedding lies.
    #[must_use]
    pub fn embedding(&self) -> Range<usize> {
        let first = self.states * self.hidden_size;
        first..first + self.hidden_size
    }

    /// Where it is written how many tokens the text was cut to, and how many it lost (two numbers; the second
    /// is negative when it is a lower bound). Counts beyond 2²⁴ are rounded as f32 are.
    #[must_use]
    pub fn token_counts(&self) -> Range<usize> {
        self.width() - 2..self.width()
    }
}

/// The outputs of a graph that make up a row: their names and widths, side by side; two token counts follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowParts(Vec<(String, usize)>);

impl RowParts {
    /// These outputs, in this order; those without numbers are left out.
    #[must_use]
    pub fn new(outputs: impl IntoIterator<Item = (String, usize)>) -> Self {
        Self(outputs.into_iter().filter(|(_, width)| *width > 0).collect())
    }

    /// Those of a stored row.
    #[must_use]
    pub fn of(layout: &RowLayout) -> Self {
        let outputs =
            [(ports::LAYER_MEANS, layout.states().len()), (ports::EMBEDDING, layout.embedding().len())];
        Self::new(outputs.map(|(name, width)| (name.to_owned(), width)))
    }

    /// Names and widths.
    #[must_use]
    pub fn outputs(&self) -> &[(String, usize)] {
        &self.0
    }

    /// Where an output lies in the row.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<Range<usize>> {
        let index = self.0.iter().position(|(output, _)| output == name)?;
        let start = self.0[..index].iter().map(|(_, width)| width).sum();
        Some(start..start + self.0[index].1)
    }

    /// Numbers in a row, the token counts included.
    #[must_use]
    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, width)| width).sum::<usize>() + 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_row_is_made_of_the_graphs_outputs() {
        for states in [0, 7] {
            let layout = RowLayout::new(states, 384);
            let parts = RowParts::of(&layout);
            assert_eq!(parts.width(), layout.width());
            assert_eq!(parts.place(ports::EMBEDDING), Some(layout.embedding()));
            assert_eq!(parts.place(ports::LAYER_MEANS), (states > 0).then(|| layout.states()));
        }
    }

    #[test]
    fn the_parts_of_a_row_fill_it_without_overlap() {
        for states in [0, 7] {
            let layout = RowLayout::new(states, 384);
            assert_eq!(layout.states().start, 0);
            assert_eq!(layout.states().end, layout.embedding().start);
            assert_eq!(layout.embedding().len(), 384);
            assert_eq!(layout.embedding().end, layout.token_counts().start);
            assert_eq!(layout.token_counts().end, layout.width());
        }
        assert_eq!(RowLayout::new(7, 384).width(), 8 * 384 + 2);
    }

    #[test]
    fn an_unknown_choice_of_layers_is_named() {
        assert_eq!("all".parse::<StoredLayers>().unwrap(), StoredLayers::All);
        assert!("some".parse::<StoredLayers>().unwrap_err().to_string().contains("some"));
    }
}
