//! Owns what may be seen of a text, as it is written and in hidden states: the sentence embedding, or the
//! mean-pooled states of some layers.
//!
//! Refuses to know where in a row that lies, and whether a network has such layers: see `embed`.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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
    /// Nothing of the network: for heads that look at words alone.
    Nothing,
}

/// What nothing is called in files.
const NOTHING: &str = "nothing";

impl FeatureChoice {
    /// The levels of the hidden states whose means it is, side by side, in a network of so many layers: state
    /// 0 is what the embeddings give, k + 1 what layer k gives. None: the sentence embedding.
    #[must_use]
    pub fn levels(self, layers: usize) -> Option<Range<usize>> {
        match self {
            Self::Last => None,
            Self::Layers { first, last } => Some(first + 1..last + 2),
            Self::All => Some(0..layers + 1),
            Self::Nothing => Some(0..0),
        }
    }

    /// The level of the highest hidden state that is seen: nothing above it is needed.
    #[must_use]
    pub fn top(self, layers: usize) -> usize {
        self.levels(layers).map_or(layers, |levels| levels.end.saturating_sub(1))
    }

    /// A choice whose rows and graphs hold what all of these see, and nothing above the highest of it: layers
    /// from 0 on where only layers are seen.
    #[must_use]
    pub fn holding(choices: impl IntoIterator<Item = Self>) -> Self {
        let both = |held: Self, choice: Self| match (held, choice) {
            (Self::Nothing, other) | (other, Self::Nothing) => other,
            (Self::Last, Self::Last) => Self::Last,
            (Self::Layers { last: held, .. }, Self::Layers { last, .. }) => {
                Self::Layers { first: 0, last: held.max(last) }
            }
            _ => Self::All,
        };
        match choices.into_iter().reduce(both) {
            Some(Self::Layers { last, .. }) => Self::Layers { first: 0, last },
            held => held.unwrap_or_default(),
        }
    }

    /// What stands for the sentence embedding where only so many layers are run: the mean of the highest
    /// state.
    #[must_use]
    pub fn highest(depth: usize) -> Self {
        depth.checked_sub(1).map_or(Self::All, |layer| Self::Layers { first: layer, last: layer })
    }

    /// What `auto` tries for a network of so many layers, fewest numbers first: the sentence embedding, if
    /// there is one, each upper layer, the upper half together, everything.
    #[must_use]
    pub fn candidates(layers: usize, embedding: bool) -> Vec<Self> {
        let mut candidates = if embedding { vec![Self::Last] } else { Vec::new() };
        let upper = layers / 2..layers;
        candidates.extend(upper.clone().map(|layer| Self::Layers { first: layer, last: layer }));
        if upper.len() > 1 {
            candidates.push(Self::Layers { first: upper.start, last: upper.end - 1 });
        }
        candidates.push(Self::All);
        candidates
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
            Self::Nothing => f.write_str(NOTHING),
        }
    }
}

impl TryFrom<String> for FeatureChoice {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        // Nobody asks for it by this name.
        if text == NOTHING { Ok(Self::Nothing) } else { text.parse() }
    }
}

impl From<FeatureChoice> for String {
    fn from(choice: FeatureChoice) -> Self {
        choice.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_parsed_and_printed_alike() {
        for text in ["last", "layers:2-5", "layers:3", "all"] {
            assert_eq!(text.parse::<FeatureChoice>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "first",
            "layers",
            "layers:",
            "layers:5-2",
            "layers:a",
            "layers:1-",
            "layers:-1",
            "auto",
            "nothing",
        ] {
            let error = text.parse::<FeatureChoice>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")) && error.contains("layers:2-5"), "{error}");
        }
    }

    #[test]
    fn layers_are_numbered_as_in_the_checkpoint() {
        let seen = |text: &str| {
            let choice = FeatureChoice::try_from(text.to_owned()).unwrap();
            (choice.levels(6), choice.top(6))
        };
        assert_eq!(seen("last"), (None, 6));
        assert_eq!(seen("layers:0"), (Some(1..2), 1));
        assert_eq!(seen("layers:2-5"), (Some(3..7), 6));
        assert_eq!(seen("layers:2-3"), (Some(3..5), 4));
        assert_eq!(seen("all"), (Some(0..7), 6));
        assert_eq!(seen("nothing"), (Some(0..0), 0));
    }

    #[test]
    fn candidates_go_from_few_to_many_numbers() {
        let states = |choice: FeatureChoice| choice.levels(6).map_or(1, |levels| levels.len());
        let widths: Vec<usize> = FeatureChoice::candidates(6, true).into_iter().map(states).collect();
        assert_eq!(widths, [1, 1, 1, 1, 3, 7]);
        assert_eq!(FeatureChoice::candidates(1, true).len(), 3);
        assert_eq!(
            [0, 1, 6].map(|depth| FeatureChoice::highest(depth).to_string()),
            ["all", "layers:0", "layers:5"]
        );
        let named = |layers: usize| {
            FeatureChoice::candidates(layers, false).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(named(3), ["layers:1", "layers:2", "layers:1-2", "all"]);
        assert_eq!(
            (named(1), named(0)),
            (vec!["layers:0".to_owned(), "all".to_owned()], vec!["all".to_owned()])
        );
    }

    #[test]
    fn what_is_held_reaches_as_high_as_what_is_seen() {
        let held = |choices: &[&str]| {
            let choices = choices.iter().map(|choice| FeatureChoice::try_from((*choice).to_owned()).unwrap());
            FeatureChoice::holding(choices).to_string()
        };
        assert_eq!(held(&["last", "last"]), "last");
        assert_eq!(held(&["last", "layers:2"]), "all");
        assert_eq!(held(&["layers:2", "all"]), "all");
        assert_eq!(held(&["layers:2"]), "layers:0-2");
        assert_eq!(held(&["layers:3", "layers:1-2"]), "layers:0-3");
        assert_eq!(held(&[]), "last");
        assert_eq!(held(&["nothing", "layers:2"]), "layers:0-2");
        assert_eq!((held(&["last", "nothing"]), held(&["nothing"])), ("last".into(), "nothing".into()));
    }
}
