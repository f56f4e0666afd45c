//! HTTPS by certificate files. Those in `tls/` are good for a hundred years, and for `localhost` only.

use crate::support::Server;
use dugnad::api::{self, Settings, Tls, TlsFiles};
use dugnad::web;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tls").join(name)
}

/// Puts a pair of files into a folder.
fn put(dir: &Path, name: &str) -> TlsFiles {
    let files = TlsFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
    fs::write(&files.cert, fs::read(kept(&format!("{name}.pem"))).unwrap()).unwrap();
    fs::write(&files.key, fs::read(kept(&format!("{name}.key.pem"))).unwrap()).unwrap();
    owner_only(&files.key);
    files
}

fn owner_only(path: &Path) {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// A connection of somebody who trusts that certificate, and no other.
async fn connect(address: SocketAddr, trusted: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(kept(&format!("{trusted}.pem"))).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// Asks for `/healthz` on a connection that stays open; the head of the answer.
async fn ask(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let mut bytes = vec![0; 4096];
    let mut read = 0;
    while !bytes[..read].ends_with(b"\"}") {
        match stream.read(&mut bytes[read..]).await? {
            0 => break,
            more => read += more,
        }
    }
    Ok(String::from_utf8_lossy(&bytes[..read]).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_under_running_connections() {
    let (server, dir) = (Server::open(), tempfile::tempdir().unwrap());
    let files = put(dir.path(), "first");
    let tls = Arc::new(Tls::open(&files).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = server.local.app(Settings { tls: Some(files.clone()), ..Settings::default() });
    let (stop, stopped) = oneshot::channel::<()>();
    let pages = web::served(&app);
    let running = tokio::spawn(api::serve_with(app, pages, listener, Some(Arc::clone(&tls)), async { _ = stopped.await }));
    let mut old = connect(address, "first").await.unwrap();
    assert!(ask(&mut old).await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(connect(address, "second").await.is_err());
    // Plain HTTP and garbage are no handshake, and cost a connection only.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    // The certificate first, the key later: what does not fit together changes nothing.
    fs::write(&files.cert, fs::read(kept("second.pem")).unwrap()).unwrap();
    tls.refresh(false);
    let mut still = connect(address, "first").await.unwrap();
    assert!(ask(&mut still).await.unwrap().starts_with("HTTP/1.1 200"));
    put(dir.path(), "second");
    tls.refresh(false);
    let mut new = connect(address, "second").await.unwrap();
    assert!(ask(&mut new).await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(connect(address, "first").await.is_err());
    assert!(ask(&mut old).await.unwrap().starts_with("HTTP/1.1 200"), "a connection that was there goes on");
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(30), running).await.unwrap().unwrap().unwrap();
}

#[test]
fn what_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let files = put(dir.path(), "first");
    let error = |files: &TlsFiles| Tls::open(files).err().map(|e| e.to_string()).unwrap_or_default();
    assert_eq!(error(&files), "");
    let absent = TlsFiles { cert: dir.path().join("none.pem"), ..files.clone() };
    assert!(error(&absent).contains("none.pem"), "{}", error(&absent));
    let swapped = TlsFiles { cert: files.key.clone(), key: files.key.clone() };
    assert!(error(&swapped).contains("there is no certificate"), "{}", error(&swapped));
    let other = TlsFiles { key: dir.path().join("other.pem"), ..files.clone() };
    fs::write(&other.key, fs::read(kept("second.key.pem")).unwrap()).unwrap();
    owner_only(&other.key);
    assert!(error(&other).contains("other.pem: it is not the key of the first certificate"), "{}", error(&other));
    fs::write(&other.key, "-----BEGIN PRIVATE KEY-----\n").unwrap();
    assert!(error(&other).contains("there is no private key"), "{}", error(&other));
    #[cfg(unix)]
    {
        fs::set_permissions(&files.key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert!(error(&files).contains("everybody on this machine"), "{}", error(&files));
    }
}
