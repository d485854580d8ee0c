//! Owns what a tokenizer's own template puts around and between two texts, and which token types it gives them.
//!
//! Refuses a template that is not understood, or that cannot be filled.

use std::ops::Range;

use serde_json::Value;

use super::encoded::Lost;
use super::model::Inner;

/// Stand for the two texts in a template.
const PLACES: [u32; 2] = [u32::MAX, u32::MAX - 1];

/// What a tokenizer puts around two texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PairTemplate {
    pub before: Vec<u32>,
    pub between: Vec<u32>,
    pub after: Vec<u32>,
    /// How many of all these, each text counted as one, have token type 0, from the first on; none when the
    /// others do not all have token type 1.
    pub zeros: Option<usize>,
}

/// Two texts, ready to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EncodedPair {
    /// Special tokens included.
    pub ids: Vec<u32>,
    /// How many of them have token type 0; the others have 1.
    pub zeros: usize,
    /// Where those of each text lie.
    pub halves: [Range<usize>; 2],
    pub lost: Lost,
}

/// The ids of a text's start, as many as will ever be needed, and a lower bound on how many the rest has;
/// none where that is nothing.
pub(super) struct Start {
    pub ids: Vec<u32>,
    pub rest: Option<u64>,
}

impl PairTemplate {
    /// The template of a tokenizer with this post-processor, or why it has none.
    pub fn of(inner: &Inner, post_processor: &Value) -> std::result::Result<Self, String> {
        check_special_tokens(post_processor)?;
        let place = |number: usize| {
            let text = tokenizers::Token::new(PLACES[number], String::new(), (0, 0));
            tokenizers::Encoding::from_tokens(vec![text], u32::from(number > 0))
        };
        let made = inner.post_process(place(0), Some(place(1)), true).map_err(|fault| fault.to_string())?;
        let (ids, types) = (made.get_ids(), made.get_type_ids());
        let places = PLACES.map(|place| ids.iter().filter(|id| **id == place).count());
        let [Some(first), Some(second)] = PLACES.map(|place| ids.iter().position(|id| *id == place)) else {
            return Err("its post-processor leaves one of two texts away".to_owned());
        };
        if places != [1, 1] || first > second {
            return Err(
                "its post-processor does not put the first text before the second, each once".to_owned()
            );
        }
        if second == first + 1 {
            return Err("its post-processor puts nothing between two texts".to_owned());
        }
        for (id, name) in ids.iter().zip(made.get_tokens()).filter(|(id, _)| !PLACES.contains(*id)) {
            if inner.token_to_id(name) != Some(*id) {
                return Err(format!("its post-processor's token {name:?} is not the vocabulary's {id}"));
            }
        }
        let zeros = types.iter().take_while(|kind| **kind == 0).count();
        Ok(Self {
            before: ids[..first].to_vec(),
            between: ids[first + 1..second].to_vec(),
            after: ids[second + 1..].to_vec(),
            zeros: Some(zeros).filter(|zeros| types[*zeros..].iter().all(|kind| *kind == 1)),
        })
    }

    /// How many ids it adds.
    pub fn special_tokens(&self) -> usize {
        self.before.len() + self.between.len() + self.after.len()
    }

    /// Whether token types are 0 up to some place, and 1 behind it.
    pub fn has_simple_types(&self) -> bool {
        self.zeros.is_some()
    }

    /// The texts' ids with all that belongs around them.
    pub fn filled(&self, [first, second]: [&[u32]; 2], lost: Lost) -> EncodedPair {
        let Self { before, between, after, zeros } = self;
        let ids = [before, first, between, second, after].concat();
        let (start, gap) = (before.len(), between.len());
        let (end, next) = (start + first.len(), start + first.len() + gap);
        let zeros = zeros.map_or(ids.len(), |zeros| match zeros {
            _ if zeros <= start => zeros,
            _ if zeros <= start + 1 + gap => zeros - 1 + first.len(),
            _ => zeros - 2 + first.len() + second.len(),
        });
        EncodedPair { ids, zeros, halves: [start..end, next..next + second.len()], lost }
    }
}

/// Refuses a template for two texts that cannot be filled: the library panics on what is missing.
fn check_special_tokens(part: &Value) -> std::result::Result<(), String> {
    for piece in part["pair"].as_array().into_iter().flatten() {
        let missing = |name: &&str| part["special_tokens"].get(name).is_none();
        if let Some(name) = piece["SpecialToken"]["id"].as_str().filter(missing) {
            return Err(format!(
                "its template puts {name:?} around two texts, which is not among its special_tokens"
            ));
        }
    }
    part["processors"].as_array().into_iter().flatten().try_for_each(check_special_tokens)
}
