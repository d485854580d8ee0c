//! Owns what a network reads at once: a text, or two texts that are read together; and its identity.
//!
//! Refuses to let a pair pass for a text: neither is ever the other's key, and who reads one kind says so.

use std::borrow::Cow;

use crate::fingerprint::TextKey;

/// A text, or a pair of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<'t> {
    /// The text, or the first of two.
    pub first: &'t str,
    /// The second of two.
    pub second: Option<&'t str>,
}

/// The same, kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnedText {
    /// The text, or the first of two.
    pub first: String,
    /// The second of two.
    pub second: Option<String>,
}

/// What can be read as a text: a string; or as a pair: a tuple or an array of two.
pub trait AsText {
    /// The text, or the pair.
    fn as_text(&self) -> Text<'_>;
}

impl<'t> Text<'t> {
    /// One text.
    #[must_use]
    pub fn one(text: &'t str) -> Self {
        Self { first: text, second: None }
    }

    /// Two texts that are read together.
    #[must_use]
    pub fn pair(first: &'t str, second: &'t str) -> Self {
        Self { first, second: Some(second) }
    }

    /// Whether there are two.
    #[must_use]
    pub fn is_pair(self) -> bool {
        self.second.is_some()
    }

    /// The one, or both.
    pub fn halves(self) -> impl Iterator<Item = &'t str> {
        std::iter::once(self.first).chain(self.second)
    }

    /// Its identity. A text's is the hash of its bytes. Of a pair it is a hash of another kind, in which no
    /// byte of one half can be taken for one of the other.
    #[must_use]
    pub fn key(self) -> TextKey {
        match self.second {
            None => TextKey::of(self.first),
            Some(second) => TextKey::of_pair(self.first, second),
        }
    }

    /// The same, kept.
    #[must_use]
    pub fn owned(self) -> OwnedText {
        OwnedText { first: self.first.to_owned(), second: self.second.map(str::to_owned) }
    }

    /// The text with this in front, where there is something: a pair begins with its first half.
    #[must_use]
    pub fn first_behind(self, prefix: &str) -> Cow<'t, str> {
        if prefix.is_empty() {
            Cow::Borrowed(self.first)
        } else {
            Cow::Owned(format!("{prefix}{}", self.first))
        }
    }
}

impl AsText for Text<'_> {
    fn as_text(&self) -> Text<'_> {
        *self
    }
}

impl AsText for OwnedText {
    fn as_text(&self) -> Text<'_> {
        Text { first: &self.first, second: self.second.as_deref() }
    }
}

impl AsText for str {
    fn as_text(&self) -> Text<'_> {
        Text::one(self)
    }
}

impl AsText for String {
    fn as_text(&self) -> Text<'_> {
        Text::one(self)
    }
}

impl<A: AsRef<str>, B: AsRef<str>> AsText for (A, B) {
    fn as_text(&self) -> Text<'_> {
        Text::pair(self.0.as_ref(), self.1.as_ref())
    }
}

impl<A: AsRef<str>> AsText for [A; 2] {
    fn as_text(&self) -> Text<'_> {
        Text::pair(self[0].as_ref(), self[1].as_ref())
    }
}

impl<T: AsText + ?Sized> AsText for &T {
    fn as_text(&self) -> Text<'_> {
        (**self).as_text()
    }
}

/// All of them as what they are.
#[must_use]
pub fn as_texts<T: AsText>(texts: &[T]) -> Vec<Text<'_>> {
    texts.iter().map(AsText::as_text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn strings_are_texts_and_two_of_them_a_pair() {
        let owned = "a".to_owned();
        assert_eq!(as_texts(&["a", owned.as_str()]), [Text::one("a"); 2]);
        assert_eq!(as_texts(&[&owned, &owned]), [Text::one("a"); 2]);
        assert_eq!(as_texts(&[("a", &owned)]), [Text::pair("a", "a")]);
        assert_eq!(["a", "b"].as_text(), Text::pair("a", "b"));
        assert_eq!(Text::pair("a", "b").owned().as_text(), Text::pair("a", "b"));
        assert_eq!(Text::pair("a", "b").halves().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            (Text::pair("a", "b").first_behind(""), Text::one("b").first_behind("a ")),
            ("a".into(), "a b".into())
        );
    }

    #[test]
    fn a_text_keeps_its_key_and_no_pair_has_one_like_it() {
        assert_eq!(Text::one("").key().to_string(), "af1349b9f5f9a1a6a0404dea36dcc949");
        assert_eq!(Text::one("a text").key(), TextKey::of("a text"));
        let halves = ["", "a", "b", "ab", "\0", "a\0b", "\u{1}\0\0\0\0\0\0\0a", "frosthead text pair 1"];
        let mut keys: HashSet<TextKey> = halves.iter().map(|text| TextKey::of(text)).collect();
        assert_eq!(keys.len(), halves.len());
        for first in halves {
            for second in halves {
                assert!(keys.insert(Text::pair(first, second).key()), "{first:?} {second:?}");
            }
        }
        // What is hashed of a pair, as a text of its own.
        let bytes = [&1_u64.to_le_bytes()[..], b"ab"].concat();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_ne!(TextKey::of(text), Text::pair("a", "b").key());
    }
}
