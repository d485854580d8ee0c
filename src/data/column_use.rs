//! Owns the columns of a table: their names, which are one each, and what each is wanted for.
//!
//! Refuses to choose between two columns of the name that was asked for; two that nobody asks for are told
//! apart by a number.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, Kind, Result, quoted};

/// What a column is wanted for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    /// For nothing: it need not be readable.
    #[default]
    Ignored,
    /// To be carried through, whatever it holds.
    Carried,
    /// Its values are asked for, as text.
    Asked,
}

/// The columns of a table.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// One name each.
    names: Vec<String>,
    /// Parallel to `names`.
    uses: Vec<Use>,
    places: HashMap<String, usize>,
    /// Names that stand twice in the table.
    twice: Vec<String>,
}

impl Columns {
    /// Columns that nobody wants yet. The second of a name gets another: `name_2`.
    pub fn new(names: Vec<String>) -> Self {
        let mut taken: HashSet<String> = names.iter().cloned().collect();
        let mut columns = Self::default();
        for name in names {
            if columns.places.contains_key(&name) {
                let other = free_name(&name, &taken);
                taken.insert(other.clone());
                columns.twice.push(name);
                columns.push(other);
            } else {
                columns.push(name);
            }
        }
        columns
    }

    /// Adds a column with a name of its own; gives its place.
    pub fn push(&mut self, name: String) -> usize {
        self.places.insert(name.clone(), self.names.len());
        self.names.push(name);
        self.uses.push(Use::Ignored);
        self.names.len() - 1
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn uses(&self) -> &[Use] {
        &self.uses
    }

    /// The place of a column, if there is one of that name.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// Wants a column's values.
    ///
    /// # Errors
    /// There is none of that name, or two.
    pub fn want(&mut self, name: &str, wanted: Use) -> Result<usize> {
        if self.twice.iter().any(|twice| twice == name) {
            return Err(Error::new(Kind::Table, "two columns have the same name")
                .found(quoted(name))
                .help("rename one of them"));
        }
        let Some(place) = self.place(name) else {
            let plain = |name: &str| name.trim().to_lowercase();
            let similar = self.names.iter().find(|other| plain(other) == plain(name));
            return Err(Error::new(Kind::Table, "there is no such column")
                .found(quoted(name))
                .expected(format!("one of {}", self.names.join(", ")))
                .help(similar.map_or_else(
                    || "check the name; --text names the text column, --task a label column".to_owned(),
                    |other| format!("say {}, white space and case as in the table", quoted(other)),
                )));
        };
        self.uses[place] = self.uses[place].max(wanted);
        Ok(place)
    }

    /// Wants a column carried through.
    pub fn carry(&mut self, place: usize) {
        self.uses[place] = self.uses[place].max(Use::Carried);
    }

    /// Wants all columns carried through.
    pub fn carry_all(&mut self) {
        (0..self.uses.len()).for_each(|place| self.carry(place));
    }
}

/// `name_2`, or what comes next that nobody has.
pub(super) fn free_name(name: &str, taken: &HashSet<String>) -> String {
    (2_u64..)
        .map(|number| format!("{name}_{number}"))
        .find(|other| !taken.contains(other))
        .expect("there are more numbers than columns: an end is a bug")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_columns_of_one_name_are_told_apart_unless_one_is_asked_for() {
        let names = ["a", "text", "a", "", "", "a_2"].map(str::to_owned);
        let mut columns = Columns::new(names.to_vec());
        assert_eq!(columns.names(), ["a", "text", "a_3", "", "_2", "a_2"]);
        assert_eq!(columns.want("text", Use::Asked).unwrap(), 1);
        columns.carry_all();
        assert_eq!(columns.uses()[..3], [Use::Carried, Use::Asked, Use::Carried]);
        assert_eq!(columns.want("a_2", Use::Carried).unwrap(), 5);
        assert_eq!(columns.uses()[5], Use::Carried);
        let error = columns.want("a", Use::Asked).unwrap_err().to_string();
        assert!(error.contains("same name") && error.contains("\"a\""), "{error}");
        let error = columns.want("b", Use::Asked).unwrap_err().to_string();
        assert!(error.contains("no such column") && error.contains("a, text"), "{error}");
    }
}
