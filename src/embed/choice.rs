//! Owns which of a row's numbers a head sees: the sentence embedding, or the mean-pooled states of some
//! layers.
//!
//! Refuses a layer that does not exist, and to look into a backbone whose layers are not known.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::layout::{RowLayout, StoredLayers};
use crate::backbone::Backbone;
use crate::encoder::Seen;
use crate::error::{Error, Kind, Result};

/// What a head sees of a text. Every choice is a view of the same stored row, so trying another costs no
/// inference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum FeatureChoice {
    /// The sentence embedding, as the checkpoint defines it.
    #[default]
    Last,
    /// The mean-pooled, un-normalised states of these layers, side by side; layers are numbered as in the
    /// checkpoint.
    Layers {
        /// The lowest layer.
        first: usize,
        /// The highest layer.
        last: usize,
    },
    /// Those of the embeddings and of every layer.
    All,
}

impl FeatureChoice {
    /// The places in a stored row, which has the states of the embeddings and of every layer, or none.
    ///
    /// # Errors
    /// There is no such layer, or the row holds the sentence embedding only.
    pub fn columns(self, layout: &RowLayout) -> Result<Range<usize>> {
        let layers = (layout.states().len() / layout.embedding().len()).checked_sub(1);
        match (self, layers) {
            (Self::Last, _) => Ok(layout.embedding()),
            (_, None) => Err(Error::new(Kind::Usage, "the layers' states are not stored")
                .found(format!("--features {self}, and rows that hold the sentence embedding only"))
                .expected("--store-layers all, which is the default")
                .help("leave --store-layers last away, or say --features last")),
            (Self::Layers { last, .. }, Some(layers)) if last >= layers => {
                Err(Error::new(Kind::Usage, "there is no such layer")
                    .found(format!("--features {self}"))
                    .expected(format!("layers from 0 to {}", layers.saturating_sub(1))))
            }
            (_, Some(layers)) => Ok(match self.seen(layers) {
                Seen::Embedding => layout.embedding(),
                Seen::Means(levels) => layout.means(levels),
            }),
        }
    }

    /// What it is made of in a network of so many layers.
    #[must_use]
    pub fn seen(self, layers: usize) -> Seen {
        match self {
            Self::Last => Seen::Embedding,
            // State 0 is that of the embeddings.
            Self::Layers { first, last } => Seen::Means(first + 1..last + 2),
            Self::All => Seen::Means(0..layers + 1),
        }
    }

    /// What `auto` tries for a network of so many layers, fewest numbers first: the sentence embedding, each
    /// upper layer, the upper half together, everything.
    #[must_use]
    pub fn candidates(layers: usize) -> Vec<Self> {
        let mut candidates = vec![Self::Last];
        let upper = layers / 2..layers;
        candidates.extend(upper.clone().map(|layer| Self::Layers { first: layer, last: layer }));
        if upper.len() > 1 {
            candidates.push(Self::Layers { first: upper.start, last: upper.end - 1 });
        }
        candidates.push(Self::All);
        candidates
    }
}

impl StoredLayers {
    /// The fewest that hold what heads see.
    #[must_use]
    pub fn holding(choices: impl IntoIterator<Item = FeatureChoice>) -> Self {
        let last = choices.into_iter().all(|choice| choice == FeatureChoice::Last);
        if last { Self::Last } else { Self::All }
    }
}

impl FromStr for FeatureChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::new(Kind::Usage, "there is no such choice of features")
                .found(format!("{text:?}"))
                .expected("last, layers:A-B (such as layers:2-5 or layers:3) or all")
        };
        match text {
            "last" => return Ok(Self::Last),
            "all" => return Ok(Self::All),
            _ => {}
        }
        let layers = text.strip_prefix("layers:").ok_or_else(wrong)?;
        let (first, last) = layers.split_once('-').unwrap_or((layers, layers));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self::Layers { first, last }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for FeatureChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last => f.write_str("last"),
            Self::Layers { first, last } if first == last => write!(f, "layers:{first}"),
            Self::Layers { first, last } => write!(f, "layers:{first}-{last}"),
            Self::All => f.write_str("all"),
        }
    }
}

impl TryFrom<String> for FeatureChoice {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<FeatureChoice> for String {
    fn from(choice: FeatureChoice) -> Self {
        choice.to_string()
    }
}

/// Refuses the layers of a backbone that cannot be looked into.
///
/// # Errors
/// The backbone is an imported `.onnx` file, and the choice is not its embedding.
pub fn check_choice(backbone: &Backbone, choice: FeatureChoice) -> Result<()> {
    if choice == FeatureChoice::Last || backbone.layers().is_some() {
        return Ok(());
    }
    Err(Error::new(Kind::Usage, "this backbone has no layers to choose from")
        .at(backbone.directory())
        .found(format!("--features {choice}, and an imported .onnx file or a bundle of 8-bit weights: its layers are not known"))
        .expected("--features last")
        .help("import the model from its Hugging Face directory (model.safetensors) to use its layers"))
}

/// The shortest run of places that holds all of these; empty for none.
#[must_use]
pub fn covering(columns: &[Range<usize>]) -> Range<usize> {
    let first = columns.iter().map(|range| range.start).min().unwrap_or(0);
    first..columns.iter().map(|range| range.end).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_parsed_and_printed_alike() {
        for text in ["last", "layers:2-5", "layers:3", "all"] {
            assert_eq!(text.parse::<FeatureChoice>().unwrap().to_string(), text);
        }
        for text in
            ["", "first", "layers", "layers:", "layers:5-2", "layers:a", "layers:1-", "layers:-1", "auto"]
        {
            let error = text.parse::<FeatureChoice>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("layers:2-5"), "{error}");
        }
    }

    #[test]
    fn layers_are_numbered_as_in_the_checkpoint() {
        let layout = RowLayout::new(7, 10);
        let columns = |text: &str| text.parse::<FeatureChoice>().unwrap().columns(&layout);
        assert_eq!(columns("last").unwrap(), 70..80);
        assert_eq!(columns("layers:0").unwrap(), 10..20);
        assert_eq!(columns("layers:2-5").unwrap(), 30..70);
        assert_eq!(columns("all").unwrap(), 0..70);
        let error = columns("layers:4-6").unwrap_err().to_string();
        assert!(error.contains("layers:4-6") && error.contains("0 to 5"), "{error}");
        let last_only = RowLayout::new(0, 10);
        assert_eq!(FeatureChoice::Last.columns(&last_only).unwrap(), 0..10);
        assert!(FeatureChoice::All.columns(&last_only).unwrap_err().to_string().contains("--store-layers"));
    }

    #[test]
    fn candidates_go_from_few_to_many_numbers() {
        let layout = RowLayout::new(7, 10);
        let widths: Vec<usize> = FeatureChoice::candidates(6)
            .iter()
            .map(|choice| choice.columns(&layout).unwrap().len())
            .collect();
        assert_eq!(widths, [10, 10, 10, 10, 30, 70]);
        assert_eq!(FeatureChoice::candidates(1).len(), 3);
    }

    #[test]
    fn a_run_of_places_covers_every_choice() {
        assert_eq!(covering(&[70..80, 10..20]), 10..80);
        assert_eq!(covering(&[]), 0..0);
    }
}
