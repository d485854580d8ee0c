//! Owns who may ask: the API keys, and comparing a request's key with them in constant time.
//!
//! Keeps hashes only. Refuses a file without keys: whoever asks for keys does not want a server without.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use crate::error::{Error, Kind, Result};

/// Marks a line that holds the SHA-256 of a key, in hexadecimal digits.
const HASHED: &str = "sha256:";

/// Whether a file ends where a line does; not when it cannot be read.
pub(super) fn ends_with_a_line(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|bytes| bytes.ends_with(b"\n"))
}

/// The keys, hashed.
pub(super) struct Keys(Vec<[u8; 32]>);

impl Keys {
    /// Reads one key a line, plain or `sha256:` and its hash; empty lines and those that start with `#` are
    /// none.
    ///
    /// # Errors
    /// The file cannot be read, has no key, or a hash is none.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::io("read the API keys", path, source))?;
        Self::parse(&text).map_err(|error| error.at(path))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut keys = Vec::new();
        for (row, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            keys.push(match line.strip_prefix(HASHED) {
                // The line itself is not shown: it may be a key that starts like a hash.
                Some(digits) => hash_of_digits(digits).ok_or_else(|| {
                    Error::new(Kind::Usage, "this is not a hashed API key")
                        .row(row)
                        .expected(format!("{HASHED} and 64 hexadecimal digits"))
                        .help("`echo sha256:$(printf %s KEY | sha256sum | cut -c 1-64)` prints such a line")
                })?,
                None => Sha256::digest(line).into(),
            });
        }
        if keys.is_empty() {
            return Err(Error::new(Kind::Usage, "there is no API key in the file")
                .expected("one key a line")
                .help("write a key into it, or leave --api-keys away"));
        }
        Ok(Self(keys))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether a request carries one of the keys: as a bearer token, or, as browsers send it, as the password
    /// of basic authentication.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, rest)) = header.and_then(|header| header.split_once(' ')) else { return false };
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.holds(rest.as_bytes());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return false;
        }
        let Ok(pair) = STANDARD.decode(rest) else { return false };
        let password = pair.iter().position(|byte| *byte == b':').map(|colon| &pair[colon + 1..]);
        password.is_some_and(|password| self.holds(password))
    }

    /// Takes as long whichever key it is, or none.
    fn holds(&self, key: &[u8]) -> bool {
        let hash: [u8; 32] = Sha256::digest(key).into();
        self.0.iter().fold(Choice::from(0), |found, other| found | hash.ct_eq(other)).into()
    }
}

fn hash_of_digits(digits: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(header: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, header.parse().unwrap())])
    }

    #[test]
    fn plain_and_hashed_keys_admit_and_others_do_not() {
        // printf %s secret | sha256sum
        let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        let keys = Keys::parse(&format!("# ours\n\nplain key\nsha256:{hash}\n")).unwrap();
        assert_eq!(keys.count(), 2);
        for header in ["Bearer plain key", "bearer secret", "Basic dXNlcjpzZWNyZXQ="] {
            assert!(keys.admit(&asks(header)), "{header}");
        }
        let hashed = format!("Bearer sha256:{hash}");
        for header in
            ["Bearer wrong", "Bearer ", "secret", "Basic c2VjcmV0", "Basic !", "Digest secret", &hashed]
        {
            assert!(!keys.admit(&asks(header)), "{header}");
        }
        assert!(!keys.admit(&HeaderMap::new()));
    }

    #[test]
    fn a_file_without_keys_or_with_a_broken_hash_is_refused_and_not_shown() {
        assert!(Keys::parse("# none\n").err().unwrap().to_string().contains("no API key"));
        let error = Keys::parse("a\nsha256:12secret").err().unwrap().to_string();
        assert!(error.contains("row 2") && !error.contains("12secret"), "{error}");
    }
}
