//! Owns two texts that are read together by a tokenizer's template, and how much of each is kept within a limit.
//!
//! Refuses to make up a template: one text behind the other without a sign between them is no pair.

use super::encoded::Lost;
use super::pair_template::{EncodedPair, PairTemplate, Start};
use super::tokenizer::Tokenizer;
use crate::error::{Error, Kind, Result};
use crate::text::Text;

/// How many tokens of two texts are kept where there is room for so many in all: the longer one loses until
/// both are alike. Of an odd number the longer one has more, of two alike the second.
fn longest_first([first, second]: [usize; 2], room: usize) -> [usize; 2] {
    if first + second <= room {
        return [first, second];
    }
    if first > second {
        let kept = second.min(room / 2);
        [room - kept, kept]
    } else {
        let kept = first.min(room / 2);
        [kept, room - kept]
    }
}

impl Tokenizer {
    /// The template for pairs.
    fn pair_template(&self) -> Result<&PairTemplate> {
        self.template_of_pairs().map_err(|why| {
            Error::new(Kind::Tokenizer, "this tokenizer has no template for pairs of texts")
                .at(self.path())
                .found(why)
                .expected("a post-processor that says what stands around and between two texts")
                .help("take a checkpoint whose tokenizer.json has one (BERT's, RoBERTa's and MPNet's do), or join both texts in one column and say --text with that")
        })
    }

    /// Refuses a tokenizer that has no template for pairs; `typed`, also one whose token types are not 0 up
    /// to a place and 1 behind it.
    ///
    /// # Errors
    /// It is such a tokenizer.
    pub fn check_pairs(&self, typed: bool) -> Result<()> {
        if self.pair_template()?.has_simple_types() || !typed {
            return Ok(());
        }
        Err(Error::new(Kind::Tokenizer, "this tokenizer's token types of two texts are not understood")
            .at(self.path())
            .found("types that go back, or beyond 1")
            .expected("token type 0 up to some token, and 1 behind it, as BERT has it"))
    }

    /// Both texts of a pair, within `max_length` ids, special tokens included.
    ///
    /// # Errors
    /// There is no template for pairs, `max_length` leaves no room, or the tokenizer fails on a text.
    pub(super) fn encode_pair(&self, pair: [&str; 2], max_length: usize) -> Result<EncodedPair> {
        let template = self.pair_template()?;
        let taken = template.special_tokens();
        let Some(room) = max_length.checked_sub(taken).filter(|room| *room > 0) else {
            return Err(Error::new(Kind::Usage, "the maximum length leaves no room for two texts")
                .found(max_length.to_string())
                .expected(format!("more than the {taken} special tokens")));
        };
        let starts = [self.start(pair[0], max_length)?, self.start(pair[1], max_length)?];
        let cut = starts.iter().any(|start| start.rest.is_some());
        let mut lengths = [0, 1].map(|half| starts[half].ids.len());
        // Of an odd room one has a token more, and which that is the library tells by what it has counted.
        if room % 2 == 1 && lengths.iter().all(|length| *length >= max_length) {
            lengths = [self.counted_length(pair[0], max_length)?, self.counted_length(pair[1], max_length)?];
        }
        let kept = longest_first(lengths, room);
        let lost = |half: usize| {
            let Start { ids, rest } = &starts[half];
            (ids.len() - kept[half]) as u64 + rest.unwrap_or(0)
        };
        let lost = Lost { tokens: lost(0) + lost(1), at_least: cut };
        Ok(template.filled([0, 1].map(|half| &starts[half].ids[..kept[half]]), lost))
    }

    /// How long the library takes a text to be that has at least `most` tokens: it stops behind the word in
    /// which they are reached. What an added token stands for is no word to stop behind.
    fn counted_length(&self, text: &str, most: usize) -> Result<usize> {
        let text = self.shortened(text);
        let mut wanted = most.saturating_mul(16);
        loop {
            let end = self.safe_end(&text, wanted);
            let start = &text[..end.unwrap_or(text.len())];
            let (ids, words) = self.ids_and_words(start)?;
            if let Some(end) = end.filter(|_| ids.len() < most) {
                wanted = 2 * end;
                continue;
            }
            let added = self.inner().get_added_tokens_decoder();
            let of_word = |id: &u32| Some(*id) == self.unknown_id() || !added.contains_key(id);
            let reached = (most.saturating_sub(1)..ids.len()).find(|at| of_word(&ids[*at]));
            let Some(reached) = reached else { return Ok(ids.len()) };
            let behind = words[reached..].iter().position(|word| *word != words[reached]);
            return Ok(behind.map_or(ids.len(), |behind| reached + behind));
        }
    }

    /// How many ids the template adds to a text, or to two.
    #[must_use]
    pub fn special_tokens_of(&self, pairs: bool) -> usize {
        match self.template_of_pairs() {
            Ok(template) if pairs => template.special_tokens(),
            _ => self.special_tokens(),
        }
    }

    /// The ids of the whole of a text, or of both, of any length, without special tokens.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub(super) fn all_ids_of(&self, text: Text<'_>) -> Result<Vec<u32>> {
        let ids: Vec<Vec<u32>> = text.halves().map(|half| self.all_ids(half)).collect::<Result<_>>()?;
        Ok(ids.concat())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::tokens::long_text::tests::{Draw, byte_level, random_text};
    use crate::tokens::tokenizer::tests::word_piece;
    use std::path::Path;
    use tokenizers::utils::truncation::{
        TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings,
    };

    #[test]
    fn as_much_of_each_text_is_kept_as_the_library_keeps() {
        let of = |length: usize| {
            let token = |id: usize| tokenizers::Token::new(u32::try_from(id).unwrap(), String::new(), (0, 0));
            tokenizers::Encoding::from_tokens((0..length).map(token).collect(), 0)
        };
        for room in 1..14 {
            let params = TruncationParams {
                direction: TruncationDirection::Right,
                max_length: room,
                strategy: TruncationStrategy::LongestFirst,
                stride: 0,
            };
            for first in 0..20 {
                for second in 0..20 {
                    let (one, other) = truncate_encodings(of(first), Some(of(second)), &params).unwrap();
                    let theirs = [one.get_ids().len(), other.unwrap().get_ids().len()];
                    assert_eq!(longest_first([first, second], room), theirs, "{first} {second} in {room}");
                }
            }
        }
    }

    /// A pair's ids and types as the library gives them.
    fn of_library(tokenizer: &Tokenizer, pair: [&str; 2], max_length: usize) -> (Vec<u32>, Vec<u32>) {
        let mut inner = tokenizer.inner().clone();
        let params = TruncationParams { max_length, ..TruncationParams::default() };
        inner.with_truncation(Some(params)).unwrap();
        let encoding = inner.encode((pair[0], pair[1]), true).unwrap();
        (encoding.get_ids().to_vec(), encoding.get_type_ids().to_vec())
    }

    #[test]
    fn random_pairs_have_the_ids_and_types_of_the_library_whatever_their_lengths() {
        let mut cut = 0;
        for (tokenizer, seed) in [(word_piece(), 11), (byte_level(), 12)] {
            let mut draw = Draw(seed);
            for _ in 0..200 {
                let lengths = [0, 1].map(|_| draw.below(300) * [1, 1, 1, 100][draw.below(4)]);
                let texts = lengths.map(|length| random_text(&mut draw, length));
                let pair = [texts[0].as_str(), texts[1].as_str()];
                let max_length = 5 + draw.below(60);
                let ours = tokenizer.encode_pair(pair, max_length).unwrap();
                let (ids, types) = of_library(&tokenizer, pair, max_length);
                assert_eq!(ours.ids, ids, "{max_length} {pair:?}");
                let zeros = types.iter().take_while(|kind| **kind == 0).count();
                assert_eq!(ours.zeros, zeros);
                assert!(types[zeros..].iter().all(|kind| *kind == 1));
                cut += usize::from(ours.lost.at_least);
            }
        }
        assert!(cut > 20, "only {cut} pairs were cut before they were tokenised: the test tests less");
    }

    #[test]
    fn halves_lie_where_they_say_and_what_is_lost_is_counted() {
        let tokenizer = word_piece();
        let encoded = tokenizer.encode_pair(["one two three", ""], 5).unwrap();
        assert_eq!((encoded.ids.len(), &encoded.halves), (5, &[1..3, 4..4]));
        assert_eq!((encoded.ids[0], encoded.ids[3], encoded.ids[4]), (101, 102, 102));
        assert_eq!((encoded.zeros, encoded.lost), (4, Lost { tokens: 1, at_least: false }));
        let all = tokenizer.all_ids_of(Text::pair("one two", "three")).unwrap();
        assert_eq!(all, tokenizer.all_ids("one two three").unwrap());
        assert_eq!((tokenizer.special_tokens_of(false), tokenizer.special_tokens_of(true)), (2, 3));
        let error = tokenizer.encode_pair(["a", "b"], 3).unwrap_err().to_string();
        assert!(error.contains("no room for two texts") && error.contains('3'), "{error}");
        // RoBERTa has two tokens between, and one type.
        let encoded = byte_level().encode_pair(["one", "two"], 64).unwrap();
        assert_eq!(encoded.zeros, encoded.ids.len());
        assert_eq!(encoded.halves[1].start, encoded.halves[0].end + 2);
        assert_eq!(byte_level().special_tokens_of(true), 4);
    }

    /// A tokenizer with this post-processor.
    fn with(post_processor: &Value) -> Tokenizer {
        let whole = include_str!("../../tests/data/foreign_onnx/tokenizer.json");
        let mut whole: Value = serde_json::from_str(whole).unwrap();
        whole["post_processor"] = post_processor.clone();
        Tokenizer::from_bytes(whole.to_string().as_bytes(), Path::new("tokenizer.json")).unwrap()
    }

    fn template(pair: &Value) -> Value {
        let token = serde_json::json!({"</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}});
        let text = serde_json::json!([{"Sequence": {"id": "A", "type_id": 0}}]);
        serde_json::json!({"type": "TemplateProcessing", "single": text, "pair": pair, "special_tokens": token})
    }

    #[test]
    fn a_tokenizer_without_a_template_for_pairs_says_so_and_reads_texts() {
        let text = |id: &str, kind: u32| serde_json::json!({"Sequence": {"id": id, "type_id": kind}});
        let token =
            |name: &str, kind: u32| serde_json::json!({"SpecialToken": {"id": name, "type_id": kind}});
        let one_by_one = serde_json::json!([text("A", 0), text("B", 1)]);
        let turned = serde_json::json!([text("B", 0), token("</s>", 0), text("A", 1)]);
        let unknown = serde_json::json!([text("A", 0), token("[END]", 0), text("B", 1)]);
        for (post_processor, why) in [
            (Value::Null, "nothing between"),
            (template(&serde_json::json!([])), "leaves one of two texts away"),
            (template(&serde_json::json!([text("A", 0)])), "leaves one"),
            (template(&one_by_one), "nothing between"),
            (template(&turned), "the first text before the second"),
            (template(&unknown), "[END]"),
        ] {
            let tokenizer = with(&post_processor);
            assert!(!tokenizer.encode(&["a"], 16).unwrap().is_empty());
            let error = tokenizer.encode(&[("a", "b")], 16).unwrap_err().to_string();
            assert!(error.contains("no template for pairs") && error.contains(why), "{error}");
            assert_eq!(tokenizer.check_pairs(true).unwrap_err().kind(), Kind::Tokenizer);
        }
    }

    #[test]
    fn token_types_are_those_of_the_template_wherever_they_change() {
        let text = |id: &str, kind: u32| serde_json::json!({"Sequence": {"id": id, "type_id": kind}});
        let token = |kind: u32| serde_json::json!({"SpecialToken": {"id": "</s>", "type_id": kind}});
        let of = |kinds: [u32; 5]| {
            let [before, first, between, second, after] = kinds;
            let pair = [token(before), text("A", first), token(between), text("B", second), token(after)];
            with(&template(&serde_json::json!(pair)))
        };
        let words = "the battery died";
        let half = of([0; 5]).all_ids(words).unwrap().len();
        assert!(half > 1);
        for (kinds, zeros) in [
            ([0, 0, 0, 1, 1], 1 + half + 1),
            ([0, 0, 1, 1, 1], 1 + half),
            ([0, 1, 1, 1, 1], 1),
            ([1, 1, 1, 1, 1], 0),
            ([0, 0, 0, 0, 1], 1 + half + 1 + half),
            ([0, 0, 0, 0, 0], 1 + half + 1 + half + 1),
        ] {
            let tokenizer = of(kinds);
            let found = tokenizer.encode_pair([words, words], 64).unwrap();
            assert_eq!((found.zeros, found.ids.len()), (zeros, 2 * half + 3), "{kinds:?}");
            let (ids, types) = of_library(&tokenizer, [words; 2], 64);
            assert_eq!((found.ids, types.iter().take_while(|kind| **kind == 0).count()), (ids, zeros));
            tokenizer.check_pairs(true).unwrap();
        }
        for kinds in [[0, 0, 1, 0, 0], [0, 0, 0, 1, 2]] {
            let tokenizer = of(kinds);
            tokenizer.check_pairs(false).unwrap();
            let error = tokenizer.check_pairs(true).unwrap_err().to_string();
            assert!(error.contains("token types"), "{error}");
        }
    }

    #[test]
    fn two_long_texts_are_cut_before_they_are_tokenised_with_the_ids_of_the_whole() {
        let tokenizer = word_piece();
        let [short, long] = [5_000, 5_001].map(|words| "the battery died. ".repeat(words));
        for pair in [[short.as_str(), long.as_str()], [&long, &short], [&long, &long], [&long, "short"]] {
            for max_length in [128, 129] {
                let ours = tokenizer.encode_pair(pair, max_length).unwrap();
                assert_eq!(ours.ids, of_library(&tokenizer, pair, max_length).0);
                assert!(ours.lost.at_least && ours.lost.tokens > 4_000, "{:?}", ours.lost);
            }
        }
    }
}
