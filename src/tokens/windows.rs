//! Owns reading a text of any length: what happens beyond the model's limit, and cutting a text into windows
//! of token ids.
//!
//! A long text is tokenised in pieces (see `long_text` for why their ids are those of the whole), a piece
//! ahead of the window that is due, so that memory does not grow with the text.
//!
//! Refuses windows of a tokenizer whose texts cannot be cut in pieces, and strides that would skip tokens.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::encoded::Lost;
use super::piece_use::PieceUse;
use super::tokenizer::Tokenizer;
use crate::error::{Error, Kind, Result};

/// Bytes of a piece, at least: encoding it takes some 10 ms.
const PIECE_BYTES: usize = 16 * 1024;

/// What happens to a text that is longer than the model's limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LongTexts {
    /// Its end is cut off.
    #[default]
    Truncate,
    /// It is read in windows; its features are their mean, each counting as many times as it has tokens.
    Windows(WindowOptions),
}

/// How a text is cut into windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowOptions {
    /// Tokens in a window, special tokens included.
    pub window: usize,
    /// Tokens from the start of a window to that of the next; by default all its own, so that none is read
    /// twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// Windows of a text, at most; the rest is cut off. By default any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<usize>,
}

impl Default for WindowOptions {
    /// Windows of 128 tokens: the length that sentence encoders were mostly trained on; other lengths were
    /// not measured.
    fn default() -> Self {
        Self { window: 128, stride: None, most: None }
    }
}

impl WindowOptions {
    /// The default windows of a model that reads so many tokens at once.
    #[must_use]
    pub fn within(positions: usize) -> Self {
        let default = Self::default();
        Self { window: default.window.min(positions), ..default }
    }
}

impl fmt::Display for LongTexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Windows(WindowOptions { window, stride, most }) = self else {
            return f.write_str("truncate");
        };
        write!(f, "windows of {window} tokens")?;
        if let Some(stride) = stride {
            write!(f, " every {stride}")?;
        }
        most.map_or(Ok(()), |most| write!(f, ", at most {most}"))
    }
}

/// Windows of one tokenizer, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    options: WindowOptions,
    /// Ids of the prefix, which stands at the start of every window.
    prefix: Vec<u32>,
}

impl Windows {
    /// Checks the options against a tokenizer, the prefix of every text, and the most tokens a model can read
    /// at once.
    ///
    /// # Errors
    /// The tokenizer's texts cannot be cut in pieces, a window leaves no room for text or is longer than the
    /// model can read, the stride would skip tokens or never move, or there are to be no windows at all.
    pub fn new(
        tokenizer: &Tokenizer,
        prefix: &str,
        positions: usize,
        options: WindowOptions,
    ) -> Result<Self> {
        tokenizer.check_pieces()?;
        let prefix = if prefix.is_empty() { Vec::new() } else { tokenizer.piece_ids(prefix)? };
        let taken = tokenizer.special_tokens() + prefix.len();
        let WindowOptions { window, stride, most } = options;
        let wrong = |what: &str, found: String| Error::new(Kind::Usage, what.to_owned()).found(found);
        if window <= taken {
            return Err(wrong("the window leaves no room for text", format!("--window {window}"))
                .expected(format!("more than the {taken} tokens that special tokens and the prefix take")));
        }
        if window > positions {
            return Err(wrong("the window is longer than the model can read", format!("--window {window}"))
                .expected(format!("at most {positions} tokens")));
        }
        let room = window - taken;
        if let Some(stride) = stride.filter(|stride| *stride == 0 || *stride > room) {
            let what = if stride == 0 { "windows must move on" } else { "the stride would skip tokens" };
            return Err(wrong(what, format!("--stride {stride}"))
                .expected(format!("1 to {room}: a window of {window} tokens holds {room} of the text")));
        }
        if most == Some(0) {
            return Err(wrong("a text needs a window", "--max-windows 0".to_owned()).expected("at least 1"));
        }
        Ok(Self { options, prefix })
    }

    /// The options.
    #[must_use]
    pub fn options(&self) -> &WindowOptions {
        &self.options
    }

    /// The windows of a text that begins with the prefix; `spans` asks for their places in it.
    #[must_use]
    pub fn of<'t>(&'t self, tokenizer: &'t Tokenizer, text: &'t str, spans: bool) -> TextWindows<'t> {
        // Shortening endless words moves what is behind them.
        let text = if spans { Cow::Borrowed(text) } else { tokenizer.shortened(text) };
        TextWindows {
            windows: self,
            tokenizer,
            text,
            place: 0,
            ids: Vec::new(),
            spans: spans.then(Vec::new),
            prefix: &[],
            given: 0,
            ended: false,
            counted: PieceUse::default(),
            piece_bytes: PIECE_BYTES,
        }
    }
}

/// One window of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Special tokens and prefix included.
    pub ids: Vec<u32>,
    /// Whether the text begins with it.
    pub first: bool,
    /// Its bytes in the text, when they were asked for.
    pub span: Option<Range<usize>>,
    /// What the text lost behind it, when it is the last.
    pub last: Option<Lost>,
}

/// The windows of one text, one after the other.
pub struct TextWindows<'t> {
    windows: &'t Windows,
    tokenizer: &'t Tokenizer,
    text: Cow<'t, str>,
    /// Where the part that is not tokenised yet begins.
    place: usize,
    /// Ids from the start of the next window on, without the prefix.
    ids: Vec<u32>,
    /// Their bytes, when they were asked for.
    spans: Option<Vec<(usize, usize)>>,
    /// The ids that are put in front of every window.
    prefix: &'t [u32],
    given: usize,
    ended: bool,
    /// The pieces of what is tokenised, each once, whatever windows it is in.
    counted: PieceUse,
    piece_bytes: usize,
}

impl TextWindows<'_> {
    /// The next window; a text without a token has one.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn next_window(&mut self) -> Result<Option<Window>> {
        if self.ended {
            return Ok(None);
        }
        if self.given == 0 {
            self.begin()?;
        }
        let WindowOptions { window, stride, most } = self.windows.options;
        let room = window - self.tokenizer.special_tokens() - self.prefix.len();
        self.fill(room + 1)?;
        let count = self.ids.len().min(room);
        let (before, after) = self.tokenizer.special_ids();
        let ids = [before, self.prefix, &self.ids[..count], after].concat();
        let span = self.spans.as_ref().map(|spans| {
            let start = spans.first().map_or(0, |span| span.0);
            start..spans[..count].last().map_or(start, |span| span.1)
        });
        self.given += 1;
        let complete = self.ids.len() <= room;
        self.ended = complete || Some(self.given) == most;
        let last = self.ended.then(|| Lost {
            tokens: (self.ids.len() - count) as u64 + self.tokenizer.words_at_least(&self.text[self.place..]),
            at_least: self.place < self.text.len(),
        });
        let step = stride.unwrap_or(room).min(self.ids.len());
        self.ids.drain(..step);
        self.spans.iter_mut().for_each(|spans| drop(spans.drain(..step)));
        Ok(Some(Window { ids, first: self.given == 1, span, last }))
    }

    /// How the text, its prefix included, was cut into pieces; for a text of which nothing was lost, behind
    /// its last window.
    #[must_use]
    pub fn piece_use(&self) -> PieceUse {
        self.counted.of_counted(&self.text)
    }

    /// Takes the prefix off the text's ids, where it can be told apart, so that every window can have it.
    fn begin(&mut self) -> Result<()> {
        let prefix = &self.windows.prefix;
        self.fill(prefix.len() + 1)?;
        if self.ids.starts_with(prefix) {
            self.prefix = prefix;
            self.ids.drain(..prefix.len());
            self.spans.iter_mut().for_each(|spans| drop(spans.drain(..prefix.len())));
        }
        Ok(())
    }

    /// Tokenises pieces until there are so many ids, or no text is left.
    fn fill(&mut self, wanted: usize) -> Result<()> {
        while self.ids.len() < wanted && self.place < self.text.len() {
            let before = self.ids.len();
            let rest = &self.text[self.place..];
            let end = if rest.len() <= self.piece_bytes {
                rest.len()
            } else {
                self.tokenizer.safe_end(rest, self.piece_bytes).unwrap_or(rest.len())
            };
            match &mut self.spans {
                None => self.ids.extend(self.tokenizer.piece_ids(&rest[..end])?),
                Some(spans) => {
                    let (ids, piece_spans) = self.tokenizer.piece_spans(&rest[..end])?;
                    self.ids.extend(ids);
                    spans.extend(
                        piece_spans.into_iter().map(|(from, to)| (from + self.place, to + self.place)),
                    );
                }
            }
            self.counted.add_pieces(&self.ids[before..], self.tokenizer.unknown_id());
            self.place += end;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::tokens::long_text::tests::{Draw, byte_level, random_text, unigram};
    use crate::tokens::tokenizer::tests::word_piece;

    fn windows(tokenizer: &Tokenizer, window: usize, stride: Option<usize>, most: Option<usize>) -> Windows {
        Windows::new(tokenizer, "", 512, WindowOptions { window, stride, most }).unwrap()
    }

    /// All windows of a text that is tokenised in pieces of so many bytes.
    pub fn all_windows(
        windows: &Windows,
        tokenizer: &Tokenizer,
        text: &str,
        piece_bytes: usize,
        spans: bool,
    ) -> Vec<Window> {
        let mut pieces = windows.of(tokenizer, text, spans);
        pieces.piece_bytes = piece_bytes;
        let mut all = Vec::new();
        while let Some(window) = pieces.next_window().unwrap() {
            all.push(window);
        }
        all
    }

    #[test]
    fn a_thousand_random_texts_give_the_ids_of_the_whole_in_windows() {
        for (tokenizer, seed) in [(word_piece(), 3), (unigram(), 4), (byte_level(), 7)] {
            let (before, after) = tokenizer.special_ids();
            let mut draw = Draw(seed);
            let mut cut = 0;
            for _ in 0..1000 {
                let length = 200 + draw.below(6000);
                let text = random_text(&mut draw, length);
                let window = 3 + draw.below(60);
                let stride = 1 + draw.below(window - 2);
                let windows = windows(&tokenizer, window, Some(stride), None);
                let found = all_windows(&windows, &tokenizer, &text, 1 + draw.below(500), false);
                let whole = tokenizer.whole_ids(&text);
                for (number, made) in found.iter().enumerate() {
                    let start = number * stride;
                    let expected = &whole[start..(start + window - 2).min(whole.len())];
                    assert_eq!(made.ids, [before, expected, after].concat(), "window {number} of {text:?}");
                    assert_eq!((made.first, made.last.is_some()), (number == 0, number + 1 == found.len()));
                }
                // The last window ends with the text, and the one before it does not.
                let reached = (found.len() - 1) * stride + window - 2;
                assert!(reached >= whole.len() && (found.len() == 1 || reached - stride < whole.len()));
                cut += usize::from(found.len() > 1 && text.len() > 1000);
            }
            assert!(cut > 700, "only {cut} texts were cut: the test tests nothing");
        }
    }

    #[test]
    fn pieces_are_counted_once_whatever_the_windows() {
        for (tokenizer, seed) in [(word_piece(), 5), (unigram(), 6), (byte_level(), 8)] {
            let mut draw = Draw(seed);
            let mut unknown = 0;
            for _ in 0..50 {
                let length = draw.below(3000);
                let text = format!("{} 𒀀 one", random_text(&mut draw, length));
                let whole = tokenizer.piece_uses(1, &[&text]).unwrap()[0];
                let windows = Windows::new(
                    &tokenizer,
                    ["", "one "][draw.below(2)],
                    512,
                    WindowOptions { window: 9, stride: Some(1 + draw.below(3)), most: None },
                );
                let windows = windows.unwrap();
                let mut pieces = windows.of(&tokenizer, &text, false);
                pieces.piece_bytes = 1 + draw.below(500);
                while pieces.next_window().unwrap().is_some() {}
                assert_eq!(pieces.piece_use(), whole, "{text:?}");
                unknown += whole.unknown;
            }
            assert!(unknown >= 50 || tokenizer.unknown_id().is_none(), "{unknown}");
        }
    }

    #[test]
    fn a_text_of_one_window_is_that_of_the_plain_encoding() {
        for tokenizer in [word_piece(), unigram(), byte_level()] {
            for text in ["", " ", "The battery died.", "don't [SEP] stop"] {
                let found = all_windows(&windows(&tokenizer, 64, None, None), &tokenizer, text, 9, false);
                let [window] = &found[..] else { panic!("{found:?}") };
                assert_eq!(window.ids, tokenizer.encode(&[text], 64).unwrap().ids(0), "{text:?}");
                assert_eq!(window.last, Some(Lost::default()));
            }
        }
    }

    #[test]
    fn windows_say_where_they_lie_in_the_text() {
        let tokenizer = word_piece();
        let text = "Ünder the brïdge, unbelievable things happen. ".repeat(40);
        let found = all_windows(&windows(&tokenizer, 12, None, None), &tokenizer, &text, 100, true);
        let mut end = 0;
        for window in &found {
            let span = window.span.clone().unwrap();
            assert!(span.start >= end && text[end..span.start].trim().is_empty(), "{span:?} after {end}");
            assert!(
                window.ids.len() <= 12
                    && text.is_char_boundary(span.start)
                    && text.is_char_boundary(span.end)
            );
            end = span.end;
        }
        assert_eq!(end, text.trim_end().len());
        let alone = &text[found[1].span.clone().unwrap()];
        assert_eq!(tokenizer.encode(&[alone], 64).unwrap().ids(0), found[1].ids);
    }

    #[test]
    fn the_prefix_stands_in_front_of_every_window() {
        let tokenizer = word_piece();
        let options = WindowOptions { window: 8, stride: None, most: None };
        let windows = Windows::new(&tokenizer, "query: ", 512, options).unwrap();
        let found = all_windows(&windows, &tokenizer, &format!("query: {}", "word ".repeat(9)), 100, false);
        let prefix = tokenizer.whole_ids("query:");
        assert_eq!(prefix.len(), 2);
        assert_eq!(found.iter().map(|window| window.ids.len()).collect::<Vec<_>>(), [8, 8, 5]);
        assert!(found.iter().all(|window| window.ids[1..3] == prefix));
    }

    #[test]
    fn what_lies_behind_the_last_allowed_window_is_counted() {
        let tokenizer = word_piece();
        let windows = windows(&tokenizer, 12, None, Some(2));
        let lost = |words: usize| {
            let found = all_windows(&windows, &tokenizer, &"word ".repeat(words), PIECE_BYTES, false);
            (found.len(), found.last().unwrap().last.unwrap())
        };
        assert_eq!(lost(20), (2, Lost::default()));
        assert_eq!(lost(25), (2, Lost { tokens: 5, at_least: false }));
        let (count, most) = lost(100_000);
        assert!(count == 2 && most.at_least && (99_000..=99_980).contains(&most.tokens), "{most:?}");
    }

    #[test]
    fn ten_million_tokens_are_read_a_piece_at_a_time() {
        let tokenizer = word_piece();
        let text = "many words follow one another here, and no end is in sight: ".repeat(700_000);
        let windows = windows(&tokenizer, 128, None, None);
        let mut pieces = windows.of(&tokenizer, &text, false);
        let (mut tokens, mut most) = (0, 0);
        // Tokenising all of it would take a minute in an unoptimised build; what is held must not grow
        // meanwhile.
        while let Some(window) = pieces.next_window().unwrap() {
            tokens += window.ids.len() - 2;
            most = most.max(pieces.ids.capacity());
            if tokens > 200_000 {
                break;
            }
        }
        assert!(most < 20_000, "{most} ids were held");
    }

    #[test]
    fn impossible_windows_are_refused() {
        let tokenizer = word_piece();
        let refused = |options: WindowOptions, parts: &[&str]| {
            let error = Windows::new(&tokenizer, "", 512, options).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        };
        let window = |window| WindowOptions { window, ..WindowOptions::default() };
        refused(window(2), &["no room", "--window 2", "2 tokens"]);
        refused(window(513), &["longer than the model", "--window 513", "512"]);
        refused(
            WindowOptions { stride: Some(127), ..window(128) },
            &["skip tokens", "--stride 127", "1 to 126"],
        );
        refused(WindowOptions { stride: Some(0), ..window(128) }, &["move on", "--stride 0"]);
        refused(WindowOptions { most: Some(0), ..window(128) }, &["--max-windows 0"]);
    }

    #[test]
    fn a_tokenizer_that_looks_across_spaces_is_refused() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(".downloads/all-MiniLM-L6-v2/tokenizer.json");
        let mut file: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        file["pre_tokenizer"] = serde_json::json!({"type": "Punctuation", "behavior": "Isolated"});
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokenizer.json");
        std::fs::write(&path, file.to_string()).unwrap();
        let tokenizer = Tokenizer::open(&path).unwrap();
        let error = Windows::new(&tokenizer, "", 512, WindowOptions::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Tokenizer);
        assert!(
            error.to_string().contains("cannot be read in windows")
                && error.remedy().unwrap().contains("truncate")
        );
    }
}
