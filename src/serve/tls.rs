//! Owns TLS: certificate and key from PEM files.
//!
//! Refuses a chain and a key that do not belong together.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::error::{Error, Kind, Result};

/// Reads a certificate chain and its private key.
///
/// # Errors
/// A file cannot be read, is no PEM of what it must hold, or the two do not belong together.
pub(super) fn acceptor(chain: &Path, key: &Path) -> Result<TlsAcceptor> {
    let wrong = |what: &str, path: &Path, expected: &str| {
        Error::new(Kind::Usage, format!("this is not {what}")).at(path).expected(expected)
    };
    let read = |path| std::fs::read(path).map_err(|source| Error::io("read", path, source));
    let not_a_chain = || wrong("a certificate chain", chain, "PEM, `BEGIN CERTIFICATE`");
    let certificates = CertificateDer::pem_slice_iter(&read(chain)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| not_a_chain().because(source))?;
    if certificates.is_empty() {
        return Err(not_a_chain());
    }
    let private = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|source| wrong("a private key", key, "PEM, `BEGIN PRIVATE KEY`").because(source))?;
    let config = || -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certificates, private)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    };
    let config = config().map_err(|source| {
        wrong("the key of that certificate", key, &format!("the key of {}", chain.display())).because(source)
    })?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
