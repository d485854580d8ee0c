//! Owns what networks are timed with: a few runs of texts of like length, from all over a table, so that
//! little time shows what batches of the whole table cost.
//!
//! Refuses a table without texts. A sample of texts of all lengths would be no measure: padding grows when
//! texts are few.

use crate::backbone::Backbone;
use crate::error::{Error, Kind, Result};
use crate::text::{AsText, OwnedText, Text, as_texts};

/// Tokens in a sample: a batch of the best size for each of sixteen threads, or two of the largest that is
/// tried on a processor.
const SAMPLE_TOKENS: usize = 4096;
/// Where samples are taken, as a share of all tokens, shortest texts first: any first few of them are spread
/// well.
const PLACES: [f64; 7] = [0.5, 0.25, 0.75, 0.125, 0.625, 0.375, 0.875];
/// Tokens of a made-up text: at least, and beyond that on average; roughly the lengths that sentences have.
const SHORTEST: f64 = 3.0;
const MEAN_REST: f64 = 22.0;
/// Words that are one token in any vocabulary.
const WORDS: [&str; 8] = ["the", "of", "and", "in", "was", "time", "not", "good"];

/// Runs of texts of like length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Samples {
    samples: Vec<Vec<OwnedText>>,
    /// Of all texts.
    tokens: usize,
}

impl Samples {
    /// Samples of texts as a backbone reads them; just one, of all of them, where they are few.
    ///
    /// # Errors
    /// There are no texts, or tokenising fails.
    pub fn of(backbone: &Backbone, texts: &[impl AsText]) -> Result<Self> {
        let texts = as_texts(texts);
        let encoded = backbone.tokenizer().encode(&texts, backbone.manifest().preparation.max_length)?;
        let mut sized: Vec<(usize, Text<'_>)> = encoded.lengths().zip(texts.iter().copied()).collect();
        sized.sort_by_key(|(length, _)| *length);
        if sized.is_empty() {
            return Err(
                Error::new(Kind::Table, "there are no texts to tune with").expected("at least one row")
            );
        }
        Ok(Self::of_sorted(&sized))
    }

    /// The same of texts with their tokens, shortest first.
    fn of_sorted(texts: &[(usize, Text<'_>)]) -> Self {
        let owned = |texts: &[(usize, Text<'_>)]| texts.iter().map(|(_, text)| text.owned()).collect();
        let total: usize = texts.iter().map(|(tokens, _)| tokens).sum();
        if total < 2 * SAMPLE_TOKENS {
            return Self { samples: vec![owned(texts)], tokens: total };
        }
        let samples = PLACES.iter().take(total / SAMPLE_TOKENS).map(|place| {
            let middle = share(total, *place);
            let (from, to) = (middle.saturating_sub(SAMPLE_TOKENS / 2), middle + SAMPLE_TOKENS / 2);
            let mut before = 0;
            let inside = texts.iter().filter(|(tokens, _)| {
                let start = before;
                before += tokens;
                (from..to).contains(&start)
            });
            inside.map(|(_, text)| text.owned()).collect()
        });
        Self { samples: samples.collect(), tokens: total }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.samples.len()
    }

    /// How often a small one is run to be worth as much time as a full one.
    #[must_use]
    pub fn most_repeats(&self) -> usize {
        (SAMPLE_TOKENS / self.tokens.max(1)).max(1)
    }

    /// The first few.
    pub fn first(&self, samples: usize) -> impl Iterator<Item = &Vec<OwnedText>> {
        self.samples.iter().take(samples)
    }
}

/// Texts of no meaning, of roughly the lengths that sentences have, or pairs of two such; the same ones every
/// time.
#[must_use]
pub fn made_up_texts(count: usize, pairs: bool) -> Vec<OwnedText> {
    let mut texts = made_up_sentences(if pairs { 2 * count } else { count }).into_iter();
    let made = std::iter::from_fn(|| {
        let first = texts.next()?;
        Some(OwnedText { first, second: if pairs { texts.next() } else { None } })
    });
    made.collect()
}

fn made_up_sentences(count: usize) -> Vec<String> {
    let mut bits = 1_u64;
    let mut next = || {
        // Knuth's MMIX generator; its upper bits are the random ones.
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bits >> 33
    };
    let texts = (0..count).map(|_| {
        let uniform = (next() as f64 + 1.0) / f64::from(1_u32 << 31);
        let words = (SHORTEST - uniform.ln() * MEAN_REST) as usize;
        let words = (0..words).map(|_| WORDS[usize::try_from(next()).unwrap_or(0) % WORDS.len()]);
        words.collect::<Vec<_>>().join(" ")
    });
    texts.collect()
}

fn share(total: usize, share: f64) -> usize {
    (total as f64 * share) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_of_like_length_and_from_everywhere() {
        let all: Vec<(usize, String)> =
            (0..3000).map(|text| (2 + text / 40, format!("{}", 2 + text / 40))).collect();
        let sized: Vec<(usize, Text<'_>)> =
            all.iter().map(|(tokens, text)| (*tokens, Text::one(text))).collect();
        let samples = Samples::of_sorted(&sized);
        assert_eq!((samples.count(), samples.most_repeats()), (7, 1));
        let mut middles = Vec::new();
        for sample in samples.first(7) {
            let lengths: Vec<usize> = sample.iter().map(|text| text.first.parse().unwrap()).collect();
            let tokens: usize = lengths.iter().sum();
            assert!(tokens.abs_diff(SAMPLE_TOKENS) < 100, "{tokens}");
            assert!(lengths[lengths.len() - 1] - lengths[0] < 12, "{lengths:?}");
            middles.push(lengths[lengths.len() / 2]);
        }
        assert!(middles[1] < middles[0] && middles[0] < middles[2], "{middles:?}");
        assert_eq!(samples.first(2).count(), 2);
    }

    #[test]
    fn few_texts_are_one_sample() {
        let samples = Samples::of_sorted(&[(3, Text::one("a")), (400, Text::pair("b", "c"))]);
        let all: Vec<Text<'_>> = samples.first(9).flatten().map(AsText::as_text).collect();
        assert_eq!(all, [Text::one("a"), Text::pair("b", "c")]);
        assert_eq!((samples.count(), samples.most_repeats()), (1, 10));
    }

    #[test]
    fn made_up_texts_are_as_long_as_sentences() {
        let texts = made_up_texts(2000, false);
        assert_eq!(texts, made_up_texts(2000, false));
        let pairs = made_up_texts(1000, true);
        let halves = pairs.iter().flat_map(|pair| pair.as_text().halves());
        assert!(pairs.len() == 1000 && halves.eq(texts.iter().map(|text| text.first.as_str())));
        let mut words: Vec<usize> = texts.iter().map(|text| text.first.split(' ').count()).collect();
        words.sort_unstable();
        let mean = words.iter().sum::<usize>() / words.len();
        assert!((22..28).contains(&mean) && words[0] >= 3 && words[1999] > 100, "{mean} {words:?}");
    }
}
