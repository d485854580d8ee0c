//! Owns reading a text of any length: what happens beyond the model's limit, and cutting a text into windows of token ids.
//!
//! A long text is tokenised in pieces (see `long_text` for why their ids are those of the whole), a piece ahead of the window
//! that is due, so that memory does not grow with the text.
//!
//! Refuses windows of a tokenizer whose texts cannot be cut in pieces, and strides that would skip tokens.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::tokenizer::{Lost, Tokenizer};
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
    /// Tokens from the start of a window to that of the next; by default all its own, so that none is read twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// Windows of a text, at most; the rest is cut off. By default any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<usize>,
}

impl Default for WindowOptions {
    /// Windows of 128 tokens (`docs/LOG.md` has the comparison with others).
    fn default() -> Self {
        Self { window: 128, stride: None, most: None }
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
    /// Checks the options against a tokenizer, the prefix of every text, and the most tokens a model can read at once.
    ///
    /// # Errors
    /// The tokenizer's texts cannot be cut in pieces, a window leaves no room for text or is longer than the model can read, the
    /// stride would skip tokens or never move, or there are to be no windows at all.
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
            let start = spans.first().map_or(0, |own| own.0);
            start..spans[..count].last().map_or(start, |own| own.1)
        });
        self.given += 1;
        let complete = self.ids.len() <= room;
        self.ended = complete || Some(self.given) == most;
        let last = self.ended.then(|| Lost {
            tokens: (self.ids.len() - count) as u64 + words_at_least(&self.text[self.place..]),
            at_least: self.place < self.text.len(),
        });
        let step = stride.unwrap_or(room).min(self.ids.len());
        self.ids.drain(..step);
        self.spans.iter_mut().for_each(|spans| drop(spans.drain(..step)));
        Ok(Some(Window { ids, first: self.given == 1, span, last }))
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
            let rest = &self.text[self.place..];
            let end = if rest.len() <= self.piece_bytes {
                rest.len()
            } else {
                self.tokenizer.safe_end(rest, self.piece_bytes).unwrap_or(rest.len())
            };
            match &mut self.spans {
                None => self.ids.extend(self.tokenizer.piece_ids(&rest[..end])?),
                Some(spans) => {
                    let (ids, own) = self.tokenizer.piece_spans(&rest[..end])?;
                    self.ids.extend(ids);
                    spans.extend(own.into_iter().map(|(from, to)| (from + self.place, to + self.place)));
                }
            }
            self.place += end;
        }
        Ok(())
    }
}

/// A lower bound on the number of tokens in a text that is not tokenised: words after a space.
pub(super) fn words_at_least(text: &str) -> u64 {
    let starts = |pair: &&[u8]| pair[0] == b' ' && pair[1].is_ascii_alphanumeric();
    text.as_bytes().windows(2).filter(starts).count() as u64
}
