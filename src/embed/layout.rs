//! Owns what a row of the feature store holds, and where in it a choice of features lies.
//!
//! Refuses a layer that does not exist or is not stored, and to know how the numbers are made.

use std::ops::Range;

use crate::backbone::Backbone;
use crate::encoder::{FeatureChoice, Outputs, ports};
use crate::error::{Error, Kind, Result};

/// The places in a stored row of f32: `[state 0 … state S-1, sentence embedding, tokens, tokens lost]`, where
/// state 0 is the mean-pooled output of the embeddings and state k + 1 that of layer k. Without the sentence
/// embedding nothing above state S-1 is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowLayout {
    /// Of the network; none when it cannot be looked into.
    layers: Option<usize>,
    /// S: none, or those of the embeddings and of the lowest layers, mostly all.
    states: usize,
    /// Numbers of the sentence embedding; 0 where it is not there.
    embedding: usize,
    hidden_size: usize,
}

impl RowLayout {
    /// A row that holds what `stored` sees, in a network of so many layers (none: it cannot be looked into),
    /// which may have a sentence embedding of so many numbers to give: `last` and `all` hold it, some layers
    /// need none.
    #[must_use]
    pub fn new(layers: Option<usize>, embedding: usize, hidden_size: usize, stored: FeatureChoice) -> Self {
        let states = layers.and_then(|layers| stored.levels(layers)).map_or(0, |levels| levels.end);
        // For heads that see nothing of it, the least that a network gives.
        let states = if stored == FeatureChoice::Nothing { layers.map_or(0, |_| 1) } else { states };
        let some_layers =
            states > 0 && matches!(stored, FeatureChoice::Layers { .. } | FeatureChoice::Nothing);
        Self { layers, states, embedding: if some_layers { 0 } else { embedding }, hidden_size }
    }

    /// Such a row of a backbone; of one whose graph is as it is, with all that it gives.
    #[must_use]
    pub fn of(backbone: &Backbone, stored: FeatureChoice) -> Self {
        let some_layers = matches!(stored, FeatureChoice::Layers { .. } | FeatureChoice::Nothing);
        let stored = if some_layers && !backbone.is_cut_anywhere() { FeatureChoice::All } else { stored };
        let manifest = backbone.manifest();
        let embedding = if backbone.has_embedding() { manifest.embedding_size() } else { 0 };
        Self::new(backbone.layers(), embedding, manifest.hidden_size, stored)
    }

    /// The row that holds everything there is of the backbone that this one is, or is a part of; none where
    /// what is left away is not there.
    #[must_use]
    pub fn whole(backbone: &Backbone) -> Option<Self> {
        let manifest = backbone.manifest();
        let (layers, hidden) = (manifest.layers()?, manifest.hidden_size);
        let whole = backbone.part_of().is_none_or(|whole| whole.layers == layers);
        (whole && backbone.layers().is_some())
            .then(|| Self::new(Some(layers), manifest.embedding_size(), hidden, FeatureChoice::All))
    }

    /// The row as far as a network cut to `depth` gives it: its states lie at the same places; there is no
    /// sentence embedding. At full depth it is the row itself.
    #[must_use]
    pub fn to_depth(self, depth: usize) -> Self {
        if self.layers.is_none_or(|layers| layers <= depth) {
            return self;
        }
        Self { layers: Some(depth), states: self.states.min(depth + 1), embedding: 0, ..self }
    }

    /// What a graph gives for such a row.
    #[must_use]
    pub fn outputs(&self) -> Outputs {
        Outputs::Vectors { means: self.states, embedding: self.embedding > 0 }
    }

    /// What is in it, as the key of stored rows says it.
    #[must_use]
    pub fn described(&self) -> String {
        let embedding = if self.embedding > 0 { "embedding, " } else { "" };
        format!("{} states, {embedding}token counts", self.states)
    }

    /// Where a place of this row lies in a row that holds all of it, and more.
    #[must_use]
    pub fn within(&self, wider: &Self, place: usize) -> usize {
        if place < self.means(self.levels()).end {
            place
        } else if self.embedding().contains(&place) {
            wider.embedding().start + place - self.embedding().start
        } else {
            wider.token_counts().start + place - self.token_counts().start
        }
    }

    /// Numbers in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.token_counts().end
    }

    /// The levels of the hidden states whose means are stored.
    #[must_use]
    pub fn levels(&self) -> Range<usize> {
        0..self.states
    }

    /// Where the means of the hidden states of these levels lie; they are stored.
    #[must_use]
    pub fn means(&self, levels: Range<usize>) -> Range<usize> {
        levels.start * self.hidden_size..levels.end * self.hidden_size
    }

    /// Where the sentence embedding lies; an empty range where there is none.
    #[must_use]
    pub fn embedding(&self) -> Range<usize> {
        let first = self.means(self.levels()).end;
        first..first + self.embedding
    }

    /// Where it is written how many tokens the text was cut to, and how many it lost (two numbers; the second
    /// is negative when it is a lower bound). Counts beyond 2²⁴ are rounded as f32 are.
    #[must_use]
    pub fn token_counts(&self) -> Range<usize> {
        let first = self.embedding().end;
        first..first + 2
    }

    /// Where a choice of features lies.
    ///
    /// # Errors
    /// There is no such layer, or its states are not stored; or there is no sentence embedding.
    pub fn columns(&self, choice: FeatureChoice) -> Result<Range<usize>> {
        let Some(seen) = choice.levels(self.layers.unwrap_or(0)) else {
            return if self.embedding > 0 { Ok(self.embedding()) } else { Err(self.no_embedding(choice)) };
        };
        match self.layers {
            Some(layers) if seen.end > layers + 1 => Err(Error::new(Kind::Usage, "there is no such layer")
                .found(format!("--features {choice}"))
                .expected(format!("layers from 0 to {}", layers.saturating_sub(1)))),
            _ if seen.end > self.states => Err(Error::new(Kind::Usage, "the layers' states are not stored")
                .found(format!("--features {choice}, and rows that hold the sentence embedding only"))
                .expected("--store-layers all, which is the default")
                .help("leave --store-layers last away, or say --features last")),
            _ => Ok(self.means(seen)),
        }
    }

    /// Where a vector lies that says what the text is like: the sentence embedding, or else the mean of the
    /// highest state.
    #[must_use]
    pub fn summary(&self) -> Range<usize> {
        match self.embedding() {
            embedding if embedding.is_empty() => self.means(self.states.saturating_sub(1)..self.states),
            embedding => embedding,
        }
    }

    fn no_embedding(&self, choice: FeatureChoice) -> Error {
        let top = self.states.saturating_sub(1);
        Error::new(
            Kind::Usage,
            "there is no sentence embedding: it comes out of the last layer, which is not run",
        )
        .found(format!("--features {choice}, at depth {top}"))
        .expected(match top {
            0 => "all, or auto".to_owned(),
            _ => format!("layers:A-B up to layer {}, all or auto", top - 1),
        })
        .help("leave --depth away to have it; a bundle keeps it with --keep-embedding")
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
        let means = layout.means(layout.levels());
        let outputs = [(ports::LAYER_MEANS, means.len()), (ports::EMBEDDING, layout.embedding().len())];
        Self::new(outputs.map(|(name, width)| (name.to_owned(), width)))
    }

    /// The same with more outputs behind them.
    #[must_use]
    pub fn and(self, outputs: impl IntoIterator<Item = (String, usize)>) -> Self {
        Self::new(self.0.into_iter().chain(outputs))
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

    /// Rows of a network of six layers: without states, with some, with all.
    fn layouts(hidden_size: usize) -> [RowLayout; 3] {
        let some = FeatureChoice::Layers { first: 0, last: 2 };
        [(FeatureChoice::Last, 0), (some, 4), (FeatureChoice::All, 7)].map(|(stored, states)| {
            let layout = RowLayout::new(Some(6), hidden_size, hidden_size, stored);
            assert_eq!(layout.levels(), 0..states);
            layout
        })
    }

    #[test]
    fn a_stored_row_is_made_of_the_graphs_outputs() {
        for layout in layouts(384) {
            let (parts, means) = (RowParts::of(&layout), layout.means(layout.levels()));
            assert_eq!(parts.width(), layout.width());
            let embedding = layout.embedding();
            assert_eq!(parts.place(ports::EMBEDDING), (!embedding.is_empty()).then_some(embedding));
            assert_eq!(parts.place(ports::LAYER_MEANS), (!means.is_empty()).then_some(means));
        }
    }

    #[test]
    fn the_parts_of_a_row_fill_it_without_overlap() {
        for layout in layouts(384) {
            let means = layout.means(layout.levels());
            assert_eq!((means.start, means.end), (0, layout.embedding().start));
            assert_eq!(layout.embedding().end, layout.token_counts().start);
            assert_eq!(layout.token_counts().end, layout.width());
        }
        assert_eq!(layouts(384).map(|layout| layout.width()), [386, 4 * 384 + 2, 8 * 384 + 2]);
    }

    #[test]
    fn features_lie_where_their_states_do() {
        let [last, some, all] = layouts(10);
        let columns = |layout: &RowLayout, text: &str| layout.columns(text.parse().unwrap());
        assert_eq!(columns(&all, "last").unwrap(), 70..80);
        assert_eq!(columns(&all, "layers:0").unwrap(), 10..20);
        assert_eq!(columns(&all, "layers:2-5").unwrap(), 30..70);
        assert_eq!(columns(&all, "all").unwrap(), 0..70);
        assert_eq!(columns(&some, "layers:1-2").unwrap(), 20..40);
        assert_eq!(columns(&last, "last").unwrap(), 0..10);
        let refused = |layout: &RowLayout, text: &str, what: &str| {
            let error = columns(layout, text).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains(what), "{error}");
        };
        refused(&all, "layers:4-6", "0 to 5");
        refused(&some, "layers:4-6", "0 to 5");
        refused(&some, "layers:2-3", "--store-layers");
        refused(&last, "all", "--store-layers");
        refused(&some, "last", "no sentence embedding");
        refused(&RowLayout::new(Some(0), 0, 10, FeatureChoice::All), "last", "depth 0");
        refused(&RowLayout::new(None, 10, 10, FeatureChoice::All), "layers:0", "--store-layers");
    }

    #[test]
    fn the_states_of_a_depth_lie_where_they_do_in_the_whole_row() {
        let [last, some, all] = layouts(10);
        let columns = |layout: RowLayout, text: &str| layout.columns(text.parse().unwrap());
        assert_eq!(columns(all.to_depth(3), "layers:0-2").unwrap(), 10..40);
        assert_eq!(columns(all.to_depth(3), "all").unwrap(), 0..40);
        assert_eq!(columns(all.to_depth(0), "all").unwrap(), 0..10);
        assert_eq!(columns(some.to_depth(3), "all").unwrap(), 0..40);
        assert!(columns(all.to_depth(3), "last").is_err() && columns(all.to_depth(3), "layers:3").is_err());
        assert!(columns(last.to_depth(3), "all").is_err() && columns(some.to_depth(5), "all").is_err());
        assert_eq!((all.to_depth(6), all.to_depth(9)), (all, all));
    }

    #[test]
    fn a_lesser_row_lies_in_a_wider_one() {
        let [last, some, all] = layouts(10);
        let within = |lesser: &RowLayout| {
            (0..lesser.width()).map(|place| lesser.within(&all, place)).collect::<Vec<_>>()
        };
        assert_eq!(within(&last), (70..82).collect::<Vec<_>>());
        assert_eq!(within(&some), (0..40).chain(80..82).collect::<Vec<_>>());
        assert_eq!(within(&all), (0..82).collect::<Vec<_>>());
    }
}
