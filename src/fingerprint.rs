//! Owns stable content hashes (BLAKE3) of texts, files and parameters.
//!
//! Refuses to decide what goes into a key: callers name every field. Hashes are the same on every machine and
//! version.

use std::fmt;
use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// Digits that are shown of a hash.
const SHOWN: usize = 12;

/// A 256-bit content hash, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The hash of a file's bytes, read in pieces (memory does not grow with the file).
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|source| Error::io("read", path, source))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file).map_err(|source| Error::io("read", path, source))?;
        Ok(Self(*hasher.finalize().as_bytes()))
    }

    /// The hash of some bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The first 12 hexadecimal digits: enough to name a directory or to show to a person.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..SHOWN].to_owned()
    }
}

impl Fingerprint {
    /// As [`Self::short`], but with as many more digits as it takes to tell it from another, and some beyond.
    #[must_use]
    pub fn told_from(&self, other: &Self) -> String {
        let (digits, other) = (self.to_string(), other.to_string());
        let same = digits.bytes().zip(other.bytes()).take_while(|(digit, other)| digit == other).count();
        let shown = if same < SHOWN { SHOWN } else { digits.len().min(same + SHOWN) };
        digits[..shown].to_owned()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        parse_hex(&text).map(Self).ok_or_else(|| {
            Error::new(Kind::Usage, "not a fingerprint")
                .found(format!("{text:?}"))
                .expected("64 hexadecimal digits")
        })
    }
}

/// The identity of a text: the first 128 bits of the BLAKE3 hash of its UTF-8 bytes.
///
/// 128 bits make an accidental collision among 10⁹ texts less likely than 10⁻²⁰ (birthday bound n²/2¹²⁹).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TextKey(pub [u8; 16]);

impl TextKey {
    /// The key of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self::of_bytes(text.as_bytes())
    }

    /// The key of two texts that are read together: a hash in a domain of its own (BLAKE3's key derivation),
    /// so that it is no text's, whatever that consists of; the length of the first stands in front.
    #[must_use]
    pub fn of_pair(first: &str, second: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("frosthead text pair 1");
        hasher.update(&(first.len() as u64).to_le_bytes());
        hasher.update(first.as_bytes()).update(second.as_bytes());
        Self::of_hash(&hasher.finalize())
    }

    /// The key of something that stands for a text (such as a feature vector made elsewhere).
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::of_hash(&blake3::hash(bytes))
    }

    fn of_hash(hash: &blake3::Hash) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&hash.as_bytes()[..16]);
        Self(key)
    }

    /// Reads 32 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex(text).map(Self)
    }
}

impl fmt::Display for TextKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// Hashes named fields so that no two different sets of fields give the same bytes: every name and value goes
/// in with its length in front.
#[derive(Debug, Clone)]
pub struct Fields(blake3::Hasher);

impl Fields {
    /// Starts a hash in a `domain` ("frosthead feature key 1"), so that keys of different kinds never meet.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        Self(blake3::Hasher::new()).field("domain", domain)
    }

    /// Adds one named value.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        for bytes in [name.as_bytes(), value.as_ref()] {
            self.0.update(&(bytes.len() as u64).to_le_bytes());
            self.0.update(bytes);
        }
        self
    }

    /// The fingerprint of everything added.
    #[must_use]
    pub fn finish(&self) -> Fingerprint {
        Fingerprint(*self.0.finalize().as_bytes())
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hashes_that_differ_look_different() {
        let hash = Fingerprint([0xab; 32]);
        let of = |place: usize| {
            let mut other = hash;
            other.0[place] ^= 0x01;
            (hash.told_from(&other), other.told_from(&hash))
        };
        assert_eq!(of(0), ("abababababab".to_owned(), "aaabababababab"[..12].to_owned()));
        for place in 0..32 {
            let (one, other) = of(place);
            assert!(one != other && one.len() == other.len() && one.len() >= 12, "{place}: {one} {other}");
        }
        assert_eq!(of(31).0.len(), 64);
        assert_eq!(hash.told_from(&hash), hash.to_string());
    }

    #[test]
    fn hashes_do_not_change_between_versions() {
        // The published BLAKE3 test vector of the empty input.
        assert_eq!(
            Fingerprint::of_bytes(b"").to_string(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
        assert_eq!(TextKey::of("").to_string(), "af1349b9f5f9a1a6a0404dea36dcc949");
    }

    #[test]
    fn fields_cannot_be_confused_by_moving_a_boundary() {
        let one = Fields::new("d").field("a", "bc").field("d", "").finish();
        let two = Fields::new("d").field("ab", "c").field("d", "").finish();
        assert_ne!(one, two);
        assert_eq!(one, Fields::new("d").field("a", "bc").field("d", "").finish());
    }

    #[test]
    fn hexadecimal_round_trips_and_rejects_rubbish() {
        let fingerprint = Fingerprint::of_bytes(b"x");
        assert_eq!(Fingerprint::try_from(fingerprint.to_string()).unwrap(), fingerprint);
        assert!(Fingerprint::try_from("zz".to_owned()).is_err());
        assert!(TextKey::parse("+f1349b9f5f9a1a6a0404dea36dcc949").is_none());
        assert_eq!(TextKey::parse(&TextKey::of("x").to_string()), Some(TextKey::of("x")));
    }
}
