//! Owns reading a list of pieces that somebody wrote: one a line, as in a `vocab.txt`.
//!
//! Refuses pieces that the tokenizer does not have, and a list without its special tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Vocabulary;
use crate::error::{Error, Kind, Result, quoted};

/// Pieces that an error names.
const NAMED: usize = 5;

impl Vocabulary {
    /// The ids of the pieces in a file, one a line; empty lines are passed over. Pieces that must stay need
    /// not be there ([`Self::required`]), but special tokens: who leaves them out has not thought of them.
    ///
    /// # Errors
    /// The file cannot be read or is not UTF-8, a line is no piece of this tokenizer, or special tokens are
    /// missing.
    pub fn listed(&self, path: &Path) -> Result<BTreeSet<u32>> {
        let bytes =
            std::fs::read(path).map_err(|source| Error::io("read the list of pieces", path, source))?;
        let text = String::from_utf8(bytes).map_err(|source| {
            Error::new(Kind::Usage, "the list of pieces is not text")
                .at(path)
                .found("bytes that are not UTF-8")
                .expected("one piece a line")
                .because(source)
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let inner = self.tokenizer().inner();
        let (mut listed, mut strangers) = (BTreeSet::new(), BTreeMap::new());
        for (line, piece) in (1..).zip(text.lines()).filter(|(_, piece)| !piece.is_empty()) {
            match inner.token_to_id(piece) {
                Some(id) => listed.extend([id]),
                None => _ = strangers.insert(line, piece),
            }
        }
        if let Some(line) = strangers.keys().next() {
            return Err(Error::new(Kind::Usage, "the list names pieces that the tokenizer does not have")
                .at(path)
                .row(*line)
                .found(names(strangers.values().copied()))
                .expected("pieces as the tokenizer spells them, one a line")
                .help("copy them out of the backbone's tokenizer.json"));
        }
        let missing: Vec<String> =
            (self.special.difference(&listed)).filter_map(|id| inner.id_to_token(*id)).collect();
        if missing.is_empty() {
            return Ok(listed);
        }
        Err(Error::new(Kind::Usage, "the list leaves out special tokens")
            .at(path)
            .found(format!("a list without {}", names(missing.iter().map(String::as_str))))
            .expected("all special tokens among the pieces")
            .help("add them to the file, one a line"))
    }
}

/// Some of these in quotation marks, and how many more there are.
fn names<'a>(pieces: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = pieces.len().saturating_sub(NAMED);
    let named: Vec<String> = pieces.take(NAMED).map(quoted).collect();
    let named = named.join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}
