//! Connections: bounded in number, their handshakes and heads in size and time; and a stop that lets requests finish.

use super::tls::Tls;
use super::{App, router};
use crate::limits::{
    HEAD_TIMEOUT, MAX_CONNECTIONS, MAX_HEAD_BYTES, MAX_HEADERS, RECORD_OTHERS_EVERY, RENEW_STATISTICS_EVERY, SHUTDOWN_GRACE,
};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

/// Who is at the other end of the connection; an extension of every request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Serves the API and `pages` on `listener` until `shutdown` completes; then takes no more connections, lets requests
/// finish for [`SHUTDOWN_GRACE`], and returns. The database stays open: closing it is the caller's part.
pub async fn serve(app: App, pages: Router, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) -> io::Result<()> {
    serve_with(app, pages, listener, None, shutdown).await
}

/// The same, over TLS if there is a certificate, which is kept current. The bounds are the same.
pub async fn serve_with(
    app: App,
    pages: Router,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let recording = tokio::spawn(record_others(app.clone()));
    let watching = tls.clone().map(|tls| tokio::spawn(tls.watch()));
    let telling = tokio::spawn(super::tell_subscribers(app.clone()));
    let told = app.clone();
    let renewing = tokio::spawn(renew_statistics(app.clone()));
    let service = router(app, pages);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (stop, stopped) = watch::channel(());
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let place = Arc::clone(&places).acquire_owned();
        let (place, accepted) = tokio::select! {
            () = &mut shutdown => break,
            next = async { (place.await, listener.accept().await) } => next,
        };
        match accepted {
            Ok((stream, address)) => {
                let (service, mut stopped, tls) = (service.clone(), stopped.clone(), tls.clone());
                tokio::spawn(async move {
                    let _: io::Result<()> = stream.set_nodelay(true); // an optimisation only
                    match tls {
                        None => connection(service, stream, Peer(address), &mut stopped).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => connection(service, stream, Peer(address), &mut stopped).await,
                            Err(error) => tracing::debug!(%error, "a handshake failed"),
                        },
                    }
                    drop(place);
                });
            }
            // No file descriptors left, or the peer gave up: neither is a reason to stop serving.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    recording.abort();
    if let Some(watching) = watching {
        watching.abort();
    }
    telling.abort();
    told.end_streams();
    renewing.abort();
    drop(listener);
    drop(stopped);
    let _: Result<(), _> = stop.send(()); // fails if no connection is left to be told
    if tokio::time::timeout(SHUTDOWN_GRACE, stop.closed()).await.is_err() {
        tracing::warn!("some requests were still running when the server stopped");
    }
    Ok(())
}

/// Puts on the record what other processes do beside the server.
async fn record_others(app: App) {
    loop {
        if let Err(error) = app.record_others().await {
            tracing::error!(?error, "what other processes did could not be recorded");
        }
        tokio::time::sleep(RECORD_OTHERS_EVERY).await;
    }
}

/// Reads the rows of statistics when an epoch has begun.
async fn renew_statistics(app: App) {
    loop {
        tokio::time::sleep(RENEW_STATISTICS_EVERY).await;
        if let Err(error) = app.query().renew_statistics().await {
            tracing::error!(kind = error.kind(), "the rows of statistics could not be read for a new epoch");
        }
    }
}

async fn connection(service: Router, stream: impl AsyncRead + AsyncWrite + Unpin, peer: Peer, stopped: &mut watch::Receiver<()>) {
    let service = service.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        request
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD_BYTES);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
