//! Owns signatures: minisign's, over the whole file, in `x.frost.minisig` beside it, as its own tools write
//! and verify them.
//!
//! Refuses a bundle whose signature is missing, is of another key, or is of other bytes.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Kind, Result};
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

/// Where a bundle's signature lies.
#[must_use]
pub fn signature_path(bundle: &Path) -> PathBuf {
    let mut name = OsString::from(bundle);
    name.push(".minisig");
    name.into()
}

/// Proves that the bytes of `bundle`, which `content` reads, were signed with the key.
///
/// # Errors
/// They were not.
pub(super) fn verify(bundle: &Path, content: impl Read, key: &PublicKey) -> Result<()> {
    let path = signature_path(bundle);
    let wrong = |what: &str| {
        Error::new(Kind::Bundle, what).at(bundle).help(
            "load only bundles of somebody you trust: have it signed (`frosthead bundle --sign`), or give that signer's key",
        )
    };
    let size = std::fs::metadata(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => {
            wrong("the bundle is not signed").expected(format!("its signature in {}", path.display()))
        }
        _ => Error::io("read", &path, source),
    })?;
    if size.len() > LARGEST {
        return Err(wrong("the bundle's signature is damaged").found(format!("{} bytes", size.len())));
    }
    let signature = minisign_verify::Signature::from_file(&path)
        .map_err(|source| wrong("the bundle's signature is damaged").because(source))?;
    let unsigned = |source| wrong("the bundle was not signed with this key").because(source);
    let mut verifier = key.0.verify_stream(&signature).map_err(unsigned)?;
    in_pieces(content, bundle, &mut |piece| {
        verifier.update(piece);
        Ok(())
    })?;
    verifier.finalize().map_err(unsigned)
}

/// Signs a bundle: the bytes of its `.minisig` file. A key with a password asks for it on the terminal.
///
/// # Errors
/// The key cannot be read.
#[cfg(feature = "train")]
pub(super) fn sign(bundle: &Path, key: &Path) -> Result<Vec<u8>> {
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
    let file = std::fs::File::open(bundle).map_err(|source| Error::io("read", bundle, source))?;
    // A comment of its own, because the default says when it was made and with what file name.
    let comment = Some("frosthead bundle");
    let signature = minisign::sign(None, &secret, file, comment, Some("signature of a frosthead bundle"))
        .map_err(unusable)?;
    Ok(signature.into_string().into_bytes())
}
