//! Certificates, and TLS over streams that are opened here.

use std::fmt;

use crate::backend::BackendError;

#[cfg(feature = "tls")]
pub(crate) use connecting::connect;

/// Certificates, in PEM.
#[derive(Clone, Default)]
pub(crate) struct Tls {
    /// The authorities to trust, instead of the system's.
    pub(crate) root: Option<Vec<u8>>,
    /// Our own certificate and its key.
    pub(crate) client: Option<(Vec<u8>, Vec<u8>)>,
}

/// The key is nobody's business.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// The certificates of connections, if they have TLS: `asked` for by the address, where
/// `how` is said to who gives certificates for an address without.
pub(crate) fn settle(
    asked: Option<Tls>,
    given: Option<Tls>,
    how: &str,
) -> Result<Option<Tls>, BackendError> {
    match (asked, given) {
        (Some(_), _) if cfg!(not(feature = "tls")) => {
            Err(BackendError::other("TLS needs the feature `tls` of dogpile"))
        }
        (Some(asked), given) => Ok(Some(given.unwrap_or(asked))),
        (None, Some(_)) => Err(BackendError::other(format!(
            "TLS certificates are given, but the connection has no TLS: {how}"
        ))),
        (None, None) => Ok(None),
    }
}

#[cfg(feature = "tls")]
mod connecting {
    use std::io;
    use std::sync::Arc;

    use rustls::crypto::CryptoProvider;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;

    use super::Tls;

    /// TLS with the server `host` over `stream`.
    pub(crate) async fn connect(
        tls: &Tls,
        host: &str,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let config = configure(tls).map_err(io::Error::other)?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    type Wrong = Box<dyn std::error::Error + Send + Sync>;

    fn configure(tls: &Tls) -> Result<ClientConfig, Wrong> {
        let config = ClientConfig::builder_with_provider(provider());
        let config = config.with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(trusted(tls)?);
        Ok(match &tls.client {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key)?;
                config.with_client_auth_cert(certificates(certificate)?, key)?
            }
        })
    }

    /// The application's cryptography, if it has chosen one for the process; ring's otherwise,
    /// for these connections only.
    fn provider() -> Arc<CryptoProvider> {
        let own = || Arc::new(rustls::crypto::ring::default_provider());
        CryptoProvider::get_default().cloned().unwrap_or_else(own)
    }

    fn trusted(tls: &Tls) -> Result<RootCertStore, Wrong> {
        let mut roots = RootCertStore::empty();
        match &tls.root {
            Some(pem) => {
                for certificate in certificates(pem)? {
                    roots.add(certificate)?;
                }
            }
            None => {
                // Some of a system's certificates may be odd.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        Ok(roots)
    }

    fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Wrong> {
        Ok(CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?)
    }
}
