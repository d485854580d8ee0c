//! Owns Unigram over a sorted table of pieces: the same pieces of a word as the library's model gives, from a
//! vocabulary that is not parsed and has neither a tree nor a table of hashes.
//!
//! The library looks for all pieces that a text begins with in a tree of hash tables, which for 250,000
//! pieces takes most of a second to grow, and 330 MB. Here they are found in the sorted table: of
//! all pieces that are not behind the text in the order of bytes, the last one is looked for. Every piece
//! that the text begins with is a start of that one (all that lies between a start of the text and the text
//! begins with it, too), so the others are reached by going from each piece to the longest other one that it
//! begins with.
//!
//! Refuses a table that is not sorted, whose ids are not all of 0 to their number, or whose scores are not
//! numbers. That a whole tokenizer is the same with this model is proven when a bundle is made (`proof`).

use std::cmp::Ordering;
use std::ops::Range;

use tokenizers::Token;
use tokenizers::models::unigram::UnigramError;

use crate::error::quoted;

/// What an unknown character costs more than the piece of the lowest score; the library's number.
const UNKNOWN_COSTS: f64 = 10.0;
/// No piece.
const NONE: u32 = u32::MAX;

/// A table of pieces in the order of their bytes, as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    /// All pieces, one behind the other.
    pub text: String,
    /// Where in it each ends.
    pub ends: Vec<u32>,
    pub ids: Vec<u32>,
    pub scores: Vec<f64>,
}

/// What is wrong with a [`Table`], and with which of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub part: &'static str,
    pub found: String,
    pub expected: &'static str,
}

/// The model.
#[derive(Debug, Clone)]
pub(super) struct Unigram {
    table: Table,
    /// The place of the longest other piece that each piece begins with.
    starts: Vec<u32>,
    /// The place of each id.
    places: Vec<u32>,
    /// The score of an unknown character.
    unknown_score: f64,
    unknown_id: Option<u32>,
    byte_fallback: bool,
}

/// The best way to a place of a text.
#[derive(Clone, Copy)]
struct Best {
    score: f64,
    /// Where its last piece begins; none as long as no way leads there.
    start: Option<usize>,
    id: u32,
}

impl Table {
    fn start(&self, place: usize) -> usize {
        place.checked_sub(1).map_or(0, |before| self.ends[before] as usize)
    }

    fn piece(&self, place: usize) -> &str {
        &self.text[self.start(place)..self.ends[place] as usize]
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    /// Checks that the pieces are what they must be for everything else.
    fn check(&self) -> Result<(), Fault> {
        let fault = |part, found: String, expected| Err(Fault { part, found, expected });
        for (part, length) in [("ids", self.ids.len()), ("scores", self.scores.len())] {
            if length != self.len() {
                return fault(part, format!("{length} for {} pieces", self.len()), "one for each piece");
            }
        }
        let mut end = 0;
        for (place, next) in self.ends.iter().map(|next| *next as usize).enumerate() {
            if next < end || !self.text.is_char_boundary(next) {
                let found = format!("{next} behind {end} at place {place}, of {} bytes", self.text.len());
                return fault("ends", found, "rising ends of characters in the text");
            }
            end = next;
        }
        if end != self.text.len() {
            return fault(
                "ends",
                format!("{end} of {} bytes", self.text.len()),
                "the text's end as the last",
            );
        }
        if let Some(place) = (1..self.len()).find(|place| self.piece(place - 1) >= self.piece(*place)) {
            let [before, piece] = [place - 1, place].map(|place| quoted(self.piece(place)));
            let found = format!("{piece} behind {before}");
            return fault("text", found, "pieces in the order of their bytes, each once");
        }
        match self.scores.iter().position(|score| !score.is_finite()) {
            Some(place) => fault("scores", format!("{} at place {place}", self.scores[place]), "numbers"),
            None => Ok(()),
        }
    }

    /// The place of each id.
    fn places(&self) -> Result<Vec<u32>, Fault> {
        let mut places = vec![NONE; self.len()];
        for (place, id) in (0..).zip(&self.ids) {
            match places.get_mut(*id as usize) {
                Some(free) if *free == NONE => *free = place,
                _ => {
                    let found = format!("{id} at place {place}");
                    return Err(Fault { part: "ids", found, expected: "every id below their number once" });
                }
            }
        }
        Ok(places)
    }

    /// The place of the longest other piece that each piece begins with: one of those that the piece before
    /// it begins with, or that piece.
    fn starts(&self) -> Vec<u32> {
        let mut starts: Vec<u32> = Vec::with_capacity(self.len());
        for place in 0..self.len() {
            let mut start = u32::try_from(place).ok().and_then(|place| place.checked_sub(1)).unwrap_or(NONE);
            while start != NONE && !self.piece(place).starts_with(self.piece(start as usize)) {
                start = starts[start as usize];
            }
            starts.push(start);
        }
        starts
    }
}

impl Unigram {
    /// The model of a table.
    ///
    /// # Errors
    /// The table is not what it must be, or the unknown id is none of its ids.
    pub fn new(table: Table, unknown_id: Option<u32>, byte_fallback: bool) -> Result<Self, Fault> {
        table.check()?;
        let places = table.places()?;
        if let Some(id) = unknown_id.filter(|id| *id as usize >= places.len()) {
            let expected = "the id of a piece for what is unknown";
            return Err(Fault { part: "parts", found: id.to_string(), expected });
        }
        let starts = table.starts();
        let least = table.scores.iter().copied().fold(f64::INFINITY, f64::min);
        let unknown_score = least - UNKNOWN_COSTS;
        Ok(Self { table, starts, places, unknown_score, unknown_id, byte_fallback })
    }

    /// How many pieces there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// All pieces with their ids, in the order of their bytes.
    pub fn pieces(&self) -> impl Iterator<Item = (&str, u32)> {
        (0..self.len()).map(|place| (self.table.piece(place), self.table.ids[place]))
    }

    /// What an id stands for.
    pub fn piece(&self, id: u32) -> Option<&str> {
        let place = *self.places.get(id as usize)?;
        Some(self.table.piece(place as usize))
    }

    /// The id of a piece.
    pub fn id(&self, piece: &str) -> Option<u32> {
        let place = self.last_not_behind(piece.as_bytes())?;
        (self.table.piece(place) == piece).then(|| self.table.ids[place])
    }

    /// The place of the last piece that is not behind a text in the order of bytes.
    fn last_not_behind(&self, text: &[u8]) -> Option<usize> {
        let (mut first, mut behind) = (0, self.len());
        while first < behind {
            let middle = first.midpoint(behind);
            match self.table.piece(middle).as_bytes().cmp(text) {
                Ordering::Greater => behind = middle,
                Ordering::Less | Ordering::Equal => first = middle + 1,
            }
        }
        first.checked_sub(1)
    }

    /// The places of all pieces that a text begins with, the longest first; the empty one is none of them.
    fn beginning(&self, text: &[u8]) -> impl Iterator<Item = usize> {
        let last = self.last_not_behind(text);
        let same = last.map_or(0, |last| {
            let both = self.table.piece(last).bytes().zip(text);
            both.take_while(|(piece, text)| piece == *text).count()
        });
        let shorter = |place: &usize| Some(self.starts[*place]).filter(|s| *s != NONE).map(|s| s as usize);
        let starts = std::iter::successors(last, shorter);
        starts.filter(move |place| (1..=same).contains(&self.table.piece(*place).len()))
    }

    /// Cuts a word into pieces: the way through it with the highest sum of scores, of equal ones the first.
    ///
    /// # Errors
    /// There is an unknown character, and no id for it.
    pub fn tokenize(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        let mut tokens = Vec::new();
        for (range, id) in self.best_way(word)?.into_iter().rev() {
            let (text, place) = (&word[range.clone()], (range.start, range.end));
            // The library looks for what it joined of unknown characters, too.
            match id.or_else(|| self.id(text)) {
                Some(id) => tokens.push(Token::new(id, text.to_owned(), place)),
                None => match self.bytes(text) {
                    Some(bytes) => {
                        tokens.extend(bytes.into_iter().map(|(id, byte)| Token::new(id, byte, place)));
                    }
                    None => {
                        let id = self.unknown_id.ok_or(UnigramError::MissingUnkId)?;
                        tokens.push(Token::new(id, text.to_owned(), place));
                    }
                },
            }
        }
        Ok(tokens)
    }

    /// The best way through a word from its end: where its pieces lie, with their ids; neighbours of the
    /// unknown id are joined, and have none.
    fn best_way(&self, word: &str) -> tokenizers::Result<Vec<(Range<usize>, Option<u32>)>> {
        let mut bests = vec![Best { score: 0.0, start: None, id: 0 }; word.len() + 1];
        let mut step = |start: usize, end: usize, score: f64, id: u32| {
            let score = score + bests[start].score;
            let better = bests[end].start.is_none() || score > bests[end].score;
            if better {
                bests[end] = Best { score, start: Some(start), id };
            }
            better
        };
        for (start, character) in word.char_indices() {
            let next = start + character.len_utf8();
            let mut known = false;
            for place in self.beginning(&word.as_bytes()[start..]) {
                let end = start + self.table.piece(place).len();
                step(start, end, self.table.scores[place], self.table.ids[place]);
                known |= end == next;
            }
            // Without an unknown id, a word is cut only if the best way leads around what is unknown.
            if !known
                && step(start, next, self.unknown_score, self.unknown_id.unwrap_or_default())
                && self.unknown_id.is_none()
            {
                return Err(UnigramError::MissingUnkId.into());
            }
        }
        let (mut way, mut end): (Vec<(Range<usize>, Option<u32>)>, _) = (Vec::new(), word.len());
        while let (1.., Best { start: Some(start), id, .. }) = (end, bests[end]) {
            let is_unknown = Some(id) == self.unknown_id;
            match way.last_mut() {
                Some((range, None)) if is_unknown => range.start = start,
                _ => way.push((start..end, (!is_unknown).then_some(id))),
            }
            end = start;
        }
        Ok(way)
    }

    /// What is unknown in bytes, where the model has pieces for them.
    fn bytes(&self, text: &str) -> Option<Vec<(u32, String)>> {
        let byte = |byte: u8| {
            let piece = format!("<0x{byte:02X}>");
            Some((self.id(&piece)?, piece))
        };
        if self.byte_fallback { text.bytes().map(byte).collect() } else { None }
    }
}
