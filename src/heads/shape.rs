//! Owns what the logits of a head are: how many a row has, and what they answer.

use crate::task::TaskKind;

/// What a head's logits are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub kind: TaskKind,
    /// Logits of a row.
    pub classes: usize,
}

#[cfg(test)]
impl Shape {
    /// That of one label of so many.
    #[must_use]
    pub fn one_of(classes: usize) -> Self {
        Self { kind: TaskKind::OneOf, classes }
    }
}
