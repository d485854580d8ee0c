//! Owns which depths are compared.
//!
//! Refuses depths that a network does not have, and networks whose layers are not known.

use std::fmt;
use std::str::FromStr;

use crate::backbone::Backbone;
use crate::error::{Error, Kind, Result, quoted};

/// Depths to compare, read from `0,2,4` or `all`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Depths {
    /// Every one that a network has.
    All,
    /// These, and the full depth, which everything is measured against.
    These(Vec<usize>),
}

impl FromStr for Depths {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "all" {
            return Ok(Self::All);
        }
        let wrong = |what: &str| {
            Error::new(Kind::Usage, what.to_owned())
                .found(quoted(text))
                .expected("numbers of layers such as 0,2,4, each once, or all")
        };
        let depths = text.split(',').map(|depth| depth.trim().parse());
        let depths: Vec<usize> =
            depths.collect::<std::result::Result<_, _>>().map_err(|_| wrong("these are no depths"))?;
        let mut sorted = depths.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() < depths.len() {
            return Err(wrong("a depth is asked for twice"));
        }
        Ok(Self::These(sorted))
    }
}

impl fmt::Display for Depths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::These(depths) => {
                f.write_str(&depths.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl Depths {
    /// The depths of a backbone, from shallow to deep, its full one among them.
    ///
    /// # Errors
    /// It is not that deep, or its layers are not known.
    pub fn of(&self, backbone: &Backbone) -> Result<Vec<usize>> {
        let layers = backbone.layers().unwrap_or(0);
        let mut depths = match self {
            Self::All => (0..=layers).collect(),
            Self::These(depths) => depths.clone(),
        };
        if !depths.contains(&layers) {
            depths.push(layers);
        }
        // The shallowest says that nothing can be left away, the deepest that it is beyond the network.
        for depth in [depths.first(), depths.iter().max()].into_iter().flatten() {
            backbone.clone().to_depth(*depth)?;
        }
        Ok(depths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths_are_read_in_any_order() {
        assert_eq!("4,0, 2".parse::<Depths>().unwrap(), Depths::These(vec![0, 2, 4]));
        for text in ["all", "0", "0,2,4"] {
            assert_eq!(text.parse::<Depths>().unwrap().to_string(), text);
        }
        for (text, part) in [
            ("", "these are no depths"),
            ("2,", "these are no depths"),
            ("two", "these are no depths"),
            ("-1", "these are no depths"),
            ("2,3,2", "asked for twice"),
        ] {
            let error = text.parse::<Depths>().unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("0,2,4"), "{error}");
        }
    }
}
