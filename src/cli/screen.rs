//! Owns what a screen can show: how wide it is, whether it has colours, and prose folded to its width.
//!
//! Refuses to print.

use std::borrow::Cow;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use unicode_width::UnicodeWidthStr as _;

/// Columns of a line where there is neither a terminal nor `COLUMNS`.
const WIDTH: usize = 100;
/// No terminal is so narrow that nothing could be said.
const LEAST_WIDTH: usize = 40;

/// Columns of a line of this stream: its terminal's, else what `COLUMNS` says (as of `--help`), else 100.
pub(super) fn width_of(stream: &impl AsFd) -> usize {
    let terminal = terminal_size::terminal_size_of(stream).map(|(width, _)| usize::from(width.0));
    let said = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal.or_else(said).unwrap_or(WIDTH).max(LEAST_WIDTH)
}

/// Whether what is printed to this stream has colours: on a terminal, unless `NO_COLOR` is set.
pub(super) fn colours(stream: &impl IsTerminal) -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !plain
}

/// A text of at most so many columns; of a longer one the start, and a sign that there was more.
pub(super) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if text.width() <= most {
        return Cow::Borrowed(text);
    }
    let mut kept = String::new();
    for character in text.chars() {
        let more = format!("{kept}{character}");
        if more.width() + 1 > most {
            break;
        }
        kept = more;
    }
    Cow::Owned(kept + "…")
}

/// A text whose lines are no wider than that: longer ones go on in the next, two places further to the right.
pub(super) fn folded(text: &str, width: usize) -> Cow<'_, str> {
    if text.lines().all(|line| seen_width(line) <= width) {
        return Cow::Borrowed(text);
    }
    let fold = |line: &str| {
        let indent = line.len() - line.trim_start_matches(' ').len();
        if seen_width(line) <= width || indent > width / 2 {
            return line.to_owned();
        }
        let (first, rest) = (" ".repeat(indent), " ".repeat(indent + 2));
        let parts = parts(line[indent..].trim_end(), width - indent - 2);
        format!("{first}{}", parts.join(&format!("\n{rest}")))
    };
    let mut folded = text.lines().map(fold).collect::<Vec<_>>().join("\n");
    if text.ends_with('\n') {
        folded.push('\n');
    }
    Cow::Owned(folded)
}

/// A text in parts of at most so many columns, cut where there is a space; a single word is never cut, and a
/// command in backquotes only where it has no room of its own.
pub(super) fn parts(text: &str, width: usize) -> Vec<String> {
    let mut parts: Vec<String> = vec![String::new()];
    for word in words(text, width) {
        let last = parts.last_mut().expect("there is a first part: an empty list is a bug");
        if last.is_empty() {
            last.push_str(word);
        } else if seen_width(last) + 1 + seen_width(word) <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            parts.push(word.to_owned());
        }
    }
    parts
}

/// The words of a text; what stands in backquotes is one, if that has room on a line.
fn words(text: &str, width: usize) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = rest.find(' ').unwrap_or(rest.len());
        if let Some(open) = rest[..end].find('`')
            && let Some(close) = rest[open + 1..].find('`')
        {
            let closed = open + close + 2;
            let behind = rest[closed..].find(' ').map_or(rest.len(), |space| closed + space);
            if behind > end && seen_width(&rest[..behind]) <= width {
                end = behind;
            }
        }
        words.push(&rest[..end]);
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    words
}

/// Columns that are seen of a text, the codes of colours aside.
fn seen_width(text: &str) -> usize {
    let mut seen = 0;
    let mut rest = text;
    while let Some(start) = rest.find('\x1b') {
        seen += rest[..start].width();
        rest = rest[start..].split_once('m').map_or("", |(_, behind)| behind);
    }
    seen + rest.width()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_folded_at_spaces() {
        assert_eq!(folded("one two three\nfour\n", 9), "one two\n  three\nfour\n");
        assert_eq!(folded("  one two three", 11), "  one two\n    three");
        // A path has no better place, a command is kept whole where it can be.
        assert_eq!(folded("see /a/very/long/path now", 12), "see\n  /a/very/long/path\n  now");
        assert_eq!(folded("then say `a b c` to it", 17), "then say\n  `a b c` to it");
        assert_eq!(folded("say `a b c d e f g h`", 12), "say `a b c\n  d e f g h`");
        assert_eq!(seen_width("\x1b[1;33mwarning:\x1b[0m no"), 11);
    }

    #[test]
    fn a_text_without_room_is_cut() {
        assert_eq!(cut("größer", 6), "größer");
        assert_eq!(cut("雪雪雪", 4), "雪…");
    }
}
