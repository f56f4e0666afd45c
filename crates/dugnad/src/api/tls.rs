//! TLS by certificate files, which are read again when they change: a certificate lives for months, a server longer.

use crate::limits::{HANDSHAKE_TIMEOUT, MAX_TLS_FILE_BYTES, TLS_LOOK_EVERY};
use serde::Deserialize;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

/// Where the certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate, and after it those up to the authority's: PEM.
    pub cert: PathBuf,
    /// The certificate's private key: PEM (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {what}")]
pub struct TlsError {
    path: String,
    what: String,
}

impl TlsError {
    fn new(path: &Path, what: impl std::fmt::Display) -> Self {
        Self { path: path.display().to_string(), what: what.to_string() }
    }
}

/// What shows that a file has changed. None: it cannot be looked at.
type Stamp = Option<(SystemTime, u64)>;

/// The present certificate. Connections keep the one that they began with.
pub struct Tls {
    files: TlsFiles,
    current: RwLock<(TlsAcceptor, [Stamp; 2])>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One cannot be read, holds nothing that is meant, or the two do not belong together.
    pub fn open(files: &TlsFiles) -> Result<Self, TlsError> {
        let stamps = files.stamps();
        Ok(Self { files: files.clone(), current: RwLock::new((files.acceptor()?, stamps)) })
    }

    /// The handshake, bounded in time.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = self.current.read().unwrap_or_else(PoisonError::into_inner).0.clone();
        tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// Reads the files again if they have changed since they were last read with success, or in any case if `asked`. What cannot be
    /// used is said, and the certificate stays: of two files that are replaced, the first is there before the second.
    pub fn refresh(&self, asked: bool) {
        let stamps = self.files.stamps();
        if !asked && stamps == self.current.read().unwrap_or_else(PoisonError::into_inner).1 {
            return;
        }
        match self.files.acceptor() {
            Ok(acceptor) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = (acceptor, stamps);
                tracing::info!("the certificate was read again; new connections have it");
            }
            Err(error) => tracing::error!(%error, "the certificate has changed and cannot be used; the one of before stays"),
        }
    }

    /// Looks after the files: now and then, and at SIGHUP.
    pub(super) async fn watch(self: Arc<Self>) {
        #[cfg(unix)]
        let mut asked = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok();
        loop {
            #[cfg(unix)]
            let hangup = async {
                match &mut asked {
                    Some(signal) => _ = signal.recv().await,
                    None => std::future::pending().await,
                }
            };
            #[cfg(not(unix))]
            let hangup = std::future::pending::<()>();
            let was_asked = tokio::select! { () = tokio::time::sleep(TLS_LOOK_EVERY) => false, () = hangup => true };
            let tls = Arc::clone(&self);
            _ = tokio::task::spawn_blocking(move || tls.refresh(was_asked)).await; // it says itself what is wrong
        }
    }
}

impl TlsFiles {
    fn stamps(&self) -> [Stamp; 2] {
        [&self.cert, &self.key].map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }

    fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let pem = read(&self.cert)?;
        let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let chain = chain.map_err(|e| TlsError::new(&self.cert, format!("it is not PEM: {e}")))?;
        if chain.is_empty() {
            return Err(TlsError::new(&self.cert, "there is no certificate in it; expected PEM with BEGIN CERTIFICATE"));
        }
        if is_open_to_all(&self.key) {
            return Err(TlsError::new(
                &self.key,
                "everybody on this machine may read the key; `chmod o= ` it, and make a new one if they could have",
            ));
        }
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?);
        let key = key.map_err(|e| TlsError::new(&self.key, format!("there is no private key in it, without a password, as PEM: {e}")))?;
        let versions = ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
        let config = versions.and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        let mut config = config.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::new(&self.key, format!("it is not the key of the first certificate in {}", self.cert.display()))
            }
            other => TlsError::new(&self.cert, other),
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| TlsError::new(path, e))?;
    file.take(MAX_TLS_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| TlsError::new(path, e))?;
    if bytes.len() as u64 > MAX_TLS_FILE_BYTES {
        return Err(TlsError::new(path, format!("it is larger than {MAX_TLS_FILE_BYTES} bytes, and so not what is meant")));
    }
    Ok(bytes)
}

/// Whether everybody may read a file. Certificates' keys are often shared with a group of programs that serve with them.
#[cfg(unix)]
fn is_open_to_all(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o007 != 0)
}

#[cfg(not(unix))]
fn is_open_to_all(_path: &Path) -> bool {
    false
}
