//! Owns how a model's vocabulary fits the texts of a table, beside how it fitted those that its bundle was
//! built with, and from where on that is worse.
//!
//! Refuses to say what that costs: labelled rows can (`evaluate`).

use serde::Serialize;

use crate::classifier::{Classifier, Model};
use crate::data::{TableReader, TextPlaces};
use crate::embed::LIMITED_WINDOW_BYTES;
use crate::error::Result;
use crate::text::Text;
use crate::tokens::PieceUse;

/// Rows read at a time.
const WINDOW_ROWS: usize = 1024;
/// Words, at least, from which something can be said.
pub const ENOUGH_WORDS: u64 = 200;
/// Pieces a word are more when they are so many times as many …
const MORE_PIECES: f64 = 1.15;
/// … and unknown pieces are more when their share is more than so many times as large …
const MORE_UNKNOWN: f64 = 2.0;
/// … and larger by more than this …
const UNKNOWN_BEYOND: f64 = 0.001;
/// … and they are so many at least: fewer may be one odd text.
const ENOUGH_UNKNOWN: u64 = 10;

/// What is worse than it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Worse {
    /// Words are cut into more pieces.
    MorePieces,
    /// More of the pieces are unknown.
    MoreUnknown,
}

/// How texts were cut, with what is to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Counted {
    #[serde(flatten)]
    pub used: PieceUse,
    pub pieces_per_word: f64,
    /// 0 to 1, of the pieces.
    pub unknown_share: f64,
}

/// How a vocabulary fits the texts of a table.
#[derive(Debug, Clone, Serialize)]
pub struct Fit {
    /// The table.
    pub table: String,
    #[serde(flatten)]
    pub now: Counted,
    /// Tokens of a text that are read at once.
    pub limit: usize,
    /// What happens to longer texts.
    pub long: String,
    /// Longer texts.
    pub longer: u64,
    /// The texts that the bundle was built with; none where that is not known.
    pub built: Option<Counted>,
    /// What is worse than it was then; none where that is not known, or there are too few words.
    pub worse: Option<Vec<Worse>>,
}

impl Counted {
    fn of(used: PieceUse) -> Self {
        Self { used, pieces_per_word: used.pieces_per_word(), unknown_share: used.unknown_share() }
    }
}

impl Fit {
    /// Reads the texts, or pairs, of a table to their end, however long they are, as the model does: with
    /// its prefix.
    ///
    /// # Errors
    /// A row is malformed, or the tokenizer fails on a text.
    pub fn of(classifier: &Classifier, table: &mut TableReader, text: TextPlaces) -> Result<Self> {
        let reader = classifier.reader(None)?;
        let threads = classifier.tuning().runtime.threads();
        let (mut used, mut longer) = (PieceUse::default(), 0);
        loop {
            let rows = table.read(WINDOW_ROWS, LIMITED_WINDOW_BYTES)?;
            if rows.is_empty() {
                break;
            }
            let texts: Vec<Text<'_>> = rows.iter().map(|row| text.of(row)).collect();
            let uses = reader.piece_uses(&texts, threads).map_err(|error| {
                let error = if error.is_of_a_text() { error.at(table.header().table()) } else { error };
                error.row_of_text(|text| rows.get(text).map(|row| row.number))
            })?;
            for text in uses {
                longer += u64::from(reader.is_longer(&text));
                used += text;
            }
        }
        let built = match classifier.model() {
            Model::Bundle(bundle) => bundle.manifest().piece_use(),
            Model::Run(_) => None,
        };
        Ok(Self {
            table: table.header().table().to_owned(),
            now: Counted::of(used),
            limit: reader.limit(),
            long: classifier.model().long().to_string(),
            longer,
            built: built.map(Counted::of),
            worse: built.and_then(|built| worse(&built, &used)),
        })
    }
}

/// What is worse now than when a bundle was built; none where there are too few words to say so.
fn worse(built: &PieceUse, now: &PieceUse) -> Option<Vec<Worse>> {
    if built.words.min(now.words) < ENOUGH_WORDS {
        return None;
    }
    let more_pieces = now.pieces_per_word() > MORE_PIECES * built.pieces_per_word();
    let (share, before) = (now.unknown_share(), built.unknown_share());
    let more_unknown =
        now.unknown >= ENOUGH_UNKNOWN && share > MORE_UNKNOWN * before && share > before + UNKNOWN_BEYOND;
    let found = [(more_pieces, Worse::MorePieces), (more_unknown, Worse::MoreUnknown)];
    Some(found.into_iter().filter(|(is_so, _)| *is_so).map(|(_, what)| what).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(words: u64, pieces: u64, unknown: u64) -> PieceUse {
        PieceUse { texts: 1, words, pieces, unknown }
    }

    #[test]
    fn more_pieces_and_more_unknown_ones_are_each_found_from_their_bounds_on() {
        let built = used(10_000, 13_000, 13);
        let found = |words, pieces, unknown| worse(&built, &used(words, pieces, unknown)).unwrap();
        assert_eq!(found(10_000, 13_000, 13), []);
        assert_eq!(found(10_000, 14_949, 0), [], "not 15 % more");
        assert_eq!(found(10_000, 14_951, 0), [Worse::MorePieces]);
        assert_eq!(found(10_000, 10_000, 0), [], "fewer are no harm");
        assert_eq!(found(10_000, 13_000, 26), [], "twice as many, but 0.1 points more only");
        assert_eq!(found(10_000, 13_000, 27), [Worse::MoreUnknown]);
        assert_eq!(found(10_000, 20_000, 200), [Worse::MorePieces, Worse::MoreUnknown]);
        let often = used(10_000, 10_000, 500);
        assert_eq!(worse(&often, &used(10_000, 10_000, 900)), Some(vec![]), "less than twice as many");
        assert_eq!(worse(&often, &used(10_000, 10_000, 1001)), Some(vec![Worse::MoreUnknown]));
    }

    #[test]
    fn little_text_says_nothing() {
        let built = used(10_000, 13_000, 13);
        assert_eq!(worse(&built, &used(199, 900, 100)), None);
        assert_eq!(worse(&used(199, 230, 0), &built), None);
        assert_eq!(worse(&built, &used(200, 260, 9)), Some(vec![]), "one odd text");
        assert_eq!(worse(&built, &used(200, 260, 10)), Some(vec![Worse::MoreUnknown]));
        assert_eq!(worse(&PieceUse::default(), &PieceUse::default()), None);
    }
}
