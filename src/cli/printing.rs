//! Owns what goes to standard output: a result as text for people or as JSON for machines; tables whose columns
//! stack, and prose that is folded, where they are wider than the terminal.

use std::io::Write as _;

use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use super::screen::{colours, cut, folded, parts, width_of};
use frosthead::internal::document;
use frosthead::internal::error::{Error, Result};

/// Text on standard output, no line of it wider than the terminal.
pub(crate) fn print(text: &str) -> Result<()> {
    print_whole(&folded(text, width()))
}

/// JSON on standard output.
pub(crate) fn print_json(value: &impl Serialize) -> Result<()> {
    print_whole(&document::pretty(value))
}

/// A result on standard output: as JSON, or as text.
pub(crate) fn print_result(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
    if json { print_json(value) } else { print(&text()) }
}

fn print_whole(text: &str) -> Result<()> {
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    written.map_err(|source| Error::io("write", "standard output", source))
}

/// Columns of standard output.
pub(crate) fn width() -> usize {
    width_of(&std::io::stdout())
}

/// A line for each name and its value, which begin at the same place, also where a value takes several lines.
pub(crate) fn named(width: usize, lines: &[(&str, String)]) -> String {
    named_within(self::width(), width, lines)
}

fn named_within(all: usize, width: usize, lines: &[(&str, String)]) -> String {
    let line = |(name, value): &(&str, String)| {
        let parts = parts(value, all.saturating_sub(width + 2));
        let lines = parts.iter().enumerate().map(|(place, part)| {
            let line = format!("{:<width$}  {part}", if place == 0 { name } else { "" });
            format!("{}\n", line.trim_end())
        });
        lines.collect::<String>()
    };
    lines.iter().map(line).collect()
}

/// How the cells of a table stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns {
    /// The first columns, which say what a line is of: they stand again before those that have no room.
    pub keys: usize,
    /// From which column on to before which they end at the same place, as numbers do; the others begin there.
    pub numbers: (usize, usize),
    /// The line that is shown as the best, if one is; the caller marks it by a word or a sign as well.
    pub best: Option<usize>,
}

impl Columns {
    /// With these first columns saying what a line is of, and numbers in the others.
    pub(crate) fn keyed(keys: usize) -> Self {
        Self { keys, numbers: (keys, usize::MAX), best: None }
    }

    /// Whether the cells of a column end at the same place.
    fn is_number(&self, place: usize) -> bool {
        (self.numbers.0..self.numbers.1).contains(&place)
    }
}

/// Lines of cells below their headings, which are the first line; each column as wide as its widest cell.
/// Columns that have no room stand below the others, behind the keys once more.
pub(crate) fn table<L: AsRef<[String]>>(columns: Columns, lines: &[L]) -> String {
    let lines: Vec<&[String]> = lines.iter().map(AsRef::as_ref).collect();
    table_within(width(), columns, &lines, colours(&std::io::stdout()))
}

/// What stands between columns.
const GAP: usize = 2;
/// A cell is never cut to less.
const LEAST: usize = 8;

fn table_within(all: usize, columns: Columns, lines: &[&[String]], colours: bool) -> String {
    let count = lines.iter().map(|line| line.len()).max().unwrap_or(0);
    let natural =
        |place: usize| lines.iter().filter_map(|line| line.get(place)).map(|cell| cell.width()).max();
    let mut widths: Vec<usize> = (0..count).map(|place| natural(place).unwrap_or(0)).collect();
    let keys = columns.keys.min(count);
    // The keys leave room for some other column.
    let others = widths[keys..].iter().copied().max().map_or(0, |widest| widest.min(all / 3) + GAP);
    shrink(&mut widths[..keys], all.saturating_sub(others));
    let key_room = widths[..keys].iter().map(|width| width + GAP).sum::<usize>();
    let room = all.saturating_sub(key_room).max(LEAST);
    widths[keys..].iter_mut().for_each(|width| *width = (*width).min(room));
    let blocks = blocks(&widths, keys, room);
    let block = |(number, places): (usize, &Vec<usize>)| {
        // A short line has nothing to say in the blocks behind.
        let kept = |line: &[String]| number == 0 || places[keys..].iter().any(|place| *place < line.len());
        let shown = lines.iter().enumerate().filter(|(_, line)| kept(line));
        let line = |(at, line): (usize, &&[String])| {
            painted(&aligned(line, places, &widths, columns), at, columns, colours)
        };
        shown.map(line).collect()
    };
    blocks.iter().enumerate().map(block).collect::<Vec<String>>().join("\n")
}

/// Which columns stand side by side: the keys, and as many of the others as there is room for.
fn blocks(widths: &[usize], keys: usize, room: usize) -> Vec<Vec<usize>> {
    let mut blocks: Vec<Vec<usize>> = vec![(0..keys).collect()];
    let mut taken = 0;
    for (place, width) in widths.iter().enumerate().skip(keys) {
        let wanted = if taken == 0 { *width } else { taken + GAP + width };
        if wanted > room && taken > 0 {
            blocks.push((0..keys).collect());
            taken = *width;
        } else {
            taken = wanted;
        }
        blocks.last_mut().expect("there is a first block: an empty list is a bug").push(place);
    }
    blocks
}

/// Makes columns narrower, the widest first, until they have room.
fn shrink(widths: &mut [usize], room: usize) {
    while widths.iter().map(|width| width + GAP).sum::<usize>() > room {
        let Some(widest) = widths.iter_mut().max() else { return };
        if *widest <= LEAST {
            return;
        }
        *widest -= 1;
    }
}

/// The cells of a line below each other's columns; prose that has no room goes on in lines of its own.
fn aligned(line: &[String], places: &[usize], widths: &[usize], columns: Columns) -> String {
    let there = places.iter().filter(|place| **place < line.len());
    let cells = there.map(|&place| match (&line[place], widths[place]) {
        (cell, width) if cell.width() > width && !columns.is_number(place) => (place, parts(cell, width)),
        (cell, _) => (place, vec![cell.clone()]),
    });
    let cells: Vec<(usize, Vec<String>)> = cells.collect();
    let height = cells.iter().map(|(_, parts)| parts.len()).max().unwrap_or(0);
    let row = |at: usize| {
        let cells = cells.iter().map(|(place, parts)| {
            let width = widths[*place];
            let cell = cut(parts.get(at).map_or("", String::as_str), width);
            let fill = " ".repeat(width - cell.width());
            if columns.is_number(*place) { format!("{fill}{cell}") } else { format!("{cell}{fill}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    (0..height).map(row).collect::<Vec<_>>().join("\n")
}

/// A line of a table on a terminal: headings and the best line stand out.
fn painted(line: &str, at: usize, columns: Columns, colours: bool) -> String {
    match colours {
        true if at == 0 => format!("\x1b[1m{line}\x1b[0m\n"),
        true if columns.best == Some(at) => format!("\x1b[1;32m{line}\x1b[0m\n"),
        _ => format!("{line}\n"),
    }
}

/// The first names, as many as are wanted, and how many more there are.
pub(crate) fn first_of<T>(all: &[T], most: usize, name: impl Fn(&T) -> String) -> String {
    let mut named: Vec<String> = all.iter().take(most).map(name).collect();
    if all.len() > most {
        named.push(format!("{} more", all.len() - most));
    }
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&[&str]]) -> Vec<Vec<String>> {
        lines.iter().map(|line| line.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    fn shown(all: usize, columns: Columns, lines: &[Vec<String>]) -> String {
        let lines: Vec<&[String]> = lines.iter().map(Vec::as_slice).collect();
        table_within(all, columns, &lines, false)
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = lines(&[&["name", "rows", "F1"], &["größer", "7", "0.5"], &["none"]]);
        assert_eq!(shown(80, Columns::keyed(1), &rows), "name    rows   F1\ngrößer     7  0.5\nnone\n");
        assert_eq!(shown(80, Columns::keyed(1), &[]), "");
        // A character of two columns takes two.
        let wide = lines(&[&["name", "rows"], &["雪", "7"]]);
        assert_eq!(shown(80, Columns::keyed(1), &wide), "name  rows\n雪       7\n");
    }

    #[test]
    fn columns_without_room_stand_below_behind_the_keys() {
        let rows = lines(&[&["key", "first", "second", "third"], &["a", "1", "2", "3"], &["not run"]]);
        let expected = "key      first\na            1\nnot run\n\nkey      second\na             2\n\nkey      third\na            3\n";
        assert_eq!(shown(15, Columns::keyed(1), &rows), expected);
        let together = shown(23, Columns::keyed(1), &rows);
        assert_eq!(
            together,
            "key      first  second\na            1       2\nnot run\n\nkey      third\na            3\n"
        );
        let all = shown(30, Columns::keyed(1), &rows);
        assert_eq!(all, "key      first  second  third\na            1       2      3\nnot run\n");
    }

    #[test]
    fn a_cell_without_room_is_cut() {
        let rows = lines(&[&["label", "rows"], &["a label of very many words", "7"]]);
        assert_eq!(
            shown(20, Columns::keyed(1), &rows),
            "label         rows\na label of       7\nvery many\nwords\n"
        );
    }

    #[test]
    fn the_best_line_and_headings_stand_out_where_there_are_colours() {
        let rows = lines(&[&["name"], &["one"], &["two *"]]);
        let rows: Vec<&[String]> = rows.iter().map(Vec::as_slice).collect();
        let best = Columns { best: Some(2), ..Columns::keyed(1) };
        let painted = "\x1b[1mname\x1b[0m\none\n\x1b[1;32mtwo *\x1b[0m\n";
        assert_eq!(table_within(80, best, &rows, true), painted);
        assert_eq!(table_within(80, best, &rows, false), "name\none\ntwo *\n");
    }

    #[test]
    fn of_many_names_the_first_are_said_and_the_others_counted() {
        assert_eq!(first_of(&[1, 2, 3], 2, |one| one.to_string()), "1, 2, 1 more");
        assert_eq!(first_of(&[1, 2], 2, |one| one.to_string()), "1, 2");
    }

    #[test]
    fn values_begin_at_the_same_place() {
        let lines = [("texts", "3".into()), ("", "4".into()), ("long", "one two three".into())];
        let expected = "texts   3\n        4\nlong    one two\n        three\n";
        assert_eq!(named_within(16, 6, &lines), expected);
    }
}
