//! Owns signatures: minisign's, over the whole file, in `x.frost.minisig` beside it, as its own tools write
//! and verify them.
//!
//! Refuses a bundle, or an update of one, whose signature is missing, is of another key, or is of other bytes.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Kind, Result};
#[cfg(feature = "train")]
use crate::files;
use crate::files::in_pieces;

/// Far more than a signature ever has.
const LARGEST: u64 = 64 * 1024;

/// A minisign public key: whose bundles may be loaded.
#[derive(Clone)]
pub struct PublicKey(minisign_verify::PublicKey);

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublicKey")
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    /// The key itself (`RW…`), or the path of a `.pub` file.
    fn from_str(text: &str) -> Result<Self> {
        let key = minisign_verify::PublicKey::from_base64(text)
            .or_else(|_| minisign_verify::PublicKey::from_file(text))
            .map_err(|source| {
                Error::new(Kind::Usage, "this is not a public key")
                    .found(format!("{text:?}"))
                    .expected("a minisign public key (RW…), or the path of its .pub file")
                    .because(source)
            })?;
        Ok(Self(key))
    }
}

/// Where the signature of a bundle, or of an update, lies.
#[must_use]
pub fn signature_path(bundle: &Path) -> PathBuf {
    let mut name = OsString::from(bundle);
    name.push(".minisig");
    name.into()
}

/// What is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signed {
    Bundle,
    Update,
}

impl Signed {
    fn name(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::Update => "update",
        }
    }

    fn wrong(self, path: &Path, what: &str) -> Error {
        let name = self.name();
        Error::new(Kind::Bundle, format!("the {name} {what}")).at(path).help(format!(
            "load only {name}s of somebody you trust: have it signed (`frosthead bundle --sign`), or give that signer's key"
        ))
    }

    /// Proves that the bytes of the file at `path`, which `content` reads, were signed with the key.
    ///
    /// # Errors
    /// They were not.
    pub fn verify(self, path: &Path, content: impl Read, key: &PublicKey) -> Result<()> {
        let beside = signature_path(path);
        let size = std::fs::metadata(&beside).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => {
                self.wrong(path, "is not signed").expected(format!("its signature in {}", beside.display()))
            }
            _ => Error::io("read", &beside, source),
        })?;
        if size.len() > LARGEST {
            return Err(self
                .wrong(path, "has a signature that is damaged")
                .found(format!("{} bytes", size.len())));
        }
        let text = std::fs::read(&beside).map_err(|source| Error::io("read", &beside, source))?;
        let text = String::from_utf8_lossy(&text);
        self.verify_by(&text, path, content, key)
    }

    /// The same by the text of a signature.
    ///
    /// # Errors
    /// They were not signed with the key.
    pub fn verify_by(self, text: &str, path: &Path, content: impl Read, key: &PublicKey) -> Result<()> {
        let signature = minisign_verify::Signature::decode(text)
            .map_err(|source| self.wrong(path, "has a signature that is damaged").because(source))?;
        let unsigned = |source| self.wrong(path, "was not signed with this key").because(source);
        let mut verifier = key.0.verify_stream(&signature).map_err(unsigned)?;
        in_pieces(content, path, &mut |piece| {
            verifier.update(piece);
            Ok(())
        })?;
        verifier.finalize().map_err(unsigned)
    }
}

/// Signs a file: the bytes of its `.minisig` file. A key with a password asks for it on the terminal.
///
/// # Errors
/// The key cannot be read.
#[cfg(feature = "train")]
fn sign(what: Signed, path: &Path, key: &Path) -> Result<Vec<u8>> {
    let unusable = |source| {
        Error::new(Kind::Usage, "the secret key cannot be used")
            .at(key)
            .expected("a minisign secret key, as `minisign -G` makes it")
            .because(source)
    };
    let text =
        std::fs::read_to_string(key).map_err(|source| Error::io("read the secret key", key, source))?;
    let boxed = || minisign::SecretKeyBox::from_string(&text).map_err(unusable);
    let secret = match boxed()?.into_unencrypted_secret_key() {
        Ok(secret) => secret,
        Err(_) => boxed()?.into_secret_key(None).map_err(unusable)?,
    };
    let file = std::fs::File::open(path).map_err(|source| Error::io("read", path, source))?;
    // A comment of its own, because the default says when it was made and with what file name.
    let what = what.name();
    let (about, comment) = (format!("frosthead {what}"), format!("signature of a frosthead {what}"));
    let signature = minisign::sign(None, &secret, file, Some(about.as_str()), Some(comment.as_str()))
        .map_err(unusable)?;
    Ok(signature.into_string().into_bytes())
}

/// Puts the signature of what was just written beside it, where there is a key; otherwise an old one goes
/// away, unless what was there already was written.
///
/// # Errors
/// The key cannot be used, or writing fails.
#[cfg(feature = "train")]
pub(super) fn put_beside(what: Signed, path: &Path, key: Option<&Path>, up_to_date: bool) -> Result<()> {
    let beside = signature_path(path);
    match key {
        Some(key) => files::write(&beside, &sign(what, path, key)?),
        None if !up_to_date && beside.exists() => {
            std::fs::remove_file(&beside).map_err(|source| Error::io("remove", &beside, source))
        }
        None => Ok(()),
    }
}
