//! Certificates and keys from PEM files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate chain and its key, or a whole rustls configuration of your own.
///
/// ```no_run
/// use nexios::{App, Serve, Tls};
/// # fn main() -> Result<(), nexios::StartError> {
/// App::new().run(Serve::tcp("0.0.0.0:443").tls(Tls::files("cert.pem", "key.pem")))
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Tls(Source);

#[derive(Clone, Debug)]
enum Source {
    Files { certificates: PathBuf, key: PathBuf },
    Config(Arc<ServerConfig>),
}

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file that is missing, unreadable or not PEM.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        error: rustls::pki_types::pem::Error,
    },
    /// A file without a certificate.
    #[error("{path} holds no certificate", path = .0.display())]
    NoCertificate(PathBuf),
    /// A key that needs a passphrase.
    #[error("{path} is encrypted, and a passphrase cannot be given: decrypt it by `openssl pkey -in {path} -out key.pem`", path = .0.display())]
    EncryptedKey(PathBuf),
    /// The key does not fit the certificate, or is of a kind that cannot be used.
    #[error("the certificate and key cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
}

impl Tls {
    /// A PEM file with the certificate chain, the server's own first, and one with its key.
    pub fn files(certificates: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Tls(Source::Files { certificates: certificates.into(), key: key.into() })
    }

    /// A configuration of your own: client certificates, several names, reloading.
    pub fn config(config: Arc<ServerConfig>) -> Self {
        Tls(Source::Config(config))
    }

    /// What a listener needs.
    ///
    /// # Errors
    /// [`TlsError`]
    #[doc(hidden)]
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        match &self.0 {
            Source::Config(config) => Ok(config.clone()),
            Source::Files { certificates, key } => from_files(certificates, key),
        }
    }
}

fn from_files(certificates: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |error| TlsError::File { path, error }
    };
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(file(certificates))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(certificates.to_owned()));
    }
    let private_key = private_key(key)?;
    // Named here, so that no process-wide default has to be set.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private_key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let file = |error| TlsError::File { path: path.to_owned(), error };
    let pem = std::fs::read(path).map_err(|error| file(rustls::pki_types::pem::Error::Io(error)))?;
    match PrivateKeyDer::from_pem_slice(&pem) {
        // Also where the reader stumbles over what is encrypted: the reason is worth more than that.
        Ok(_) | Err(_) if is_encrypted(&pem) => Err(TlsError::EncryptedKey(path.to_owned())),
        read => read.map_err(file),
    }
}

/// Returns whether the first key of a PEM file is encrypted, in the form of PKCS #8 or in that of OpenSSL.
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    let mut lines = text.lines().map(str::trim).skip_while(|line| !is_key(line));
    let first = lines.next().unwrap_or_default();
    first.contains("ENCRYPTED")
        || lines.next().is_some_and(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED"))
}

fn is_key(line: &str) -> bool {
    line.starts_with("-----BEGIN ") && line.ends_with("PRIVATE KEY-----")
}
