//! Owns what added tokens forbid. They are looked for in the whole text before anything else is done with it,
//! so a place where the rest of the pipeline splits is no safe place to cut when one of them could reach
//! across it.
//!
//! Refuses to look at what a file calls them: what counts is what the library searches for, which is the
//! normalizer's work where a token says so (an ideograph is searched for with the spaces that
//! `BertNormalizer` puts around it).

use std::collections::BTreeMap;

use tokenizers::{NormalizedString, Normalizer as _};

use super::model::Inner;

/// All added tokens, as they are searched for.
pub(super) struct AddedTokens(Vec<Pattern>);

struct Pattern {
    content: String,
    /// Searched for in what the normalizer makes of the text.
    normalized: bool,
    text: String,
    /// Only between characters that are no part of a word.
    single_word: bool,
    /// Takes the white space on its left with it.
    left: bool,
    /// Takes the white space on either side with it.
    strips: bool,
}

impl AddedTokens {
    /// Reads them off a tokenizer; none when its normalizer fails on one of them.
    pub(super) fn of(inner: &Inner) -> Option<Self> {
        let patterns = inner.get_added_tokens_decoder().into_values().map(|token| {
            let mut text = NormalizedString::from(token.content.as_str());
            if let (true, Some(normalizer)) = (token.normalized, inner.get_normalizer()) {
                normalizer.normalize(&mut text).ok()?;
            }
            let strips = token.lstrip || token.rstrip;
            let (text, single_word) = (text.get().to_owned(), token.single_word);
            let normalized = token.normalized;
            Some(Pattern {
                content: token.content,
                normalized,
                text,
                single_word,
                left: token.lstrip,
                strips,
            })
        });
        patterns.collect::<Option<_>>().map(Self)
    }

    /// What is wrong with a token on which the library would panic: nothing is left of it, so that it is
    /// found between any two bytes, or it is white space and takes white space with it that another has taken
    /// already.
    pub(super) fn fault(&self) -> Option<String> {
        self.0.iter().find_map(|Pattern { content, text, left, .. }| {
            if text.is_empty() {
                return Some(format!("the normalizer leaves nothing of the added token {content:?}"));
            }
            let blank = *left && text.chars().all(char::is_whitespace);
            blank.then(|| {
                format!("the added token {content:?} is white space, and strips white space (lstrip)")
            })
        })
    }

    /// Two tokens that are searched for as the same text. Which of them is found is drawn by lot whenever the
    /// tokenizer is read: the library keeps them in a table of random order.
    pub(super) fn same(&self) -> Option<(&str, &str)> {
        let mut seen = BTreeMap::new();
        let mut tokens: Vec<&Pattern> = self.0.iter().collect();
        tokens.sort_by(|a, b| a.content.cmp(&b.content));
        tokens.into_iter().find_map(|token| {
            let before = seen.insert((token.normalized, token.text.as_str()), token.content.as_str());
            before.map(|before| (before, token.content.as_str()))
        })
    }

    /// Whether none can take part in a space between two ASCII letters or digits.
    ///
    /// A search that finds nothing across the space finds the same on both sides of it as in the whole. A
    /// word ends there either way (`single_word`). Stripping reaches the space only from a letter or digit
    /// beside it.
    pub(super) fn stay_within_words(&self) -> bool {
        self.0.iter().all(|token| {
            let strips_here = token.strips && token.has_edge(char::is_alphanumeric);
            !token.holds_space_between_words() && !strips_here
        })
    }

    /// Whether none can reach from one ideograph to the next, as they stand in the text or with spaces around
    /// each, and none asks whether there is a next.
    pub(super) fn stay_within_ideographs(&self) -> bool {
        self.0.iter().all(|token| {
            let pairs = || token.text.chars().zip(token.text.chars().skip(1));
            let reaches = pairs()
                .any(|(a, b)| is_ideograph(a) && is_ideograph(b) || a.is_whitespace() && b.is_whitespace());
            let asks = token.single_word && token.has_edge(is_ideograph);
            let strips = token.strips && token.has_edge(|c| c.is_whitespace() || is_ideograph(c));
            !reaches && !asks && !strips
        })
    }

    /// Whether none can be found inside a run of ASCII letters and digits longer than this, or take a part of
    /// one.
    pub(super) fn stay_out_of_runs(&self, longer_than: usize) -> bool {
        self.0
            .iter()
            .all(|token| token.text.len() <= longer_than && !token.has_edge(|c| c.is_ascii_alphanumeric()))
    }

    /// Whether one can begin where a word does.
    pub(super) fn begin_words(&self) -> bool {
        self.0.iter().any(|token| token.text.starts_with(char::is_alphanumeric))
    }
}

impl Pattern {
    fn has_edge(&self, of: impl Fn(char) -> bool) -> bool {
        [self.text.chars().next(), self.text.chars().next_back()].into_iter().flatten().any(of)
    }

    /// Whether a space in it can be one between two ASCII letters or digits, or one that begins a word. Marks
    /// behind a letter may have been joined to it.
    fn holds_space_between_words(&self) -> bool {
        let joined = |c: char| c.is_ascii_alphanumeric() || ('\u{C0}'..='\u{1EFF}').contains(&c);
        self.text.match_indices(' ').any(|(at, _)| {
            let before = self.text[..at].chars().next_back();
            let behind = self.text[at + 1..].chars().next();
            behind.map_or(before.is_none_or(|c| c.is_ascii_alphanumeric()), joined)
        })
    }
}

/// Whether a character is an ideograph of the main CJK block.
pub(super) fn is_ideograph(c: char) -> bool {
    ('\u{4E00}'..='\u{9FFF}').contains(&c)
}
