//! Owns what every kind of part has in common: whose it is, and why a file cannot be used as one.

use std::io::ErrorKind;

use crate::fingerprint::Fingerprint;

/// What every part of one key folder has in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub fingerprint: Fingerprint,
    pub width: u32,
}

/// Why a file cannot be used as a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is gone: another process set it aside.
    Vanished,
    /// The system did not let it be read; it may still be good.
    Unreadable(String),
    /// A newer frosthead wrote it; it may be good.
    Newer(String),
    /// It is not what a part must be.
    Damaged(String),
}

impl Fault {
    /// What to tell a person.
    pub fn reason(&self) -> &str {
        match self {
            Self::Vanished => "the file is gone",
            Self::Unreadable(reason) | Self::Newer(reason) | Self::Damaged(reason) => reason,
        }
    }

    pub fn from_io(source: &std::io::Error) -> Self {
        match source.kind() {
            ErrorKind::NotFound => Self::Vanished,
            ErrorKind::UnexpectedEof => Self::Damaged("it became shorter while it was read".to_owned()),
            _ => Self::Unreadable(format!("it cannot be read: {source}")),
        }
    }
}
