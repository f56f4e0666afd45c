//! Clients over HTTP, several at once, each with a connection of its own.

use super::Latency;
use crate::cli::CliError;
use crate::cli::client::{self, Client};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use ureq::http::Method;

/// What a client asks.
pub(super) struct Request {
    pub(super) method: Method,
    /// From the server's root on.
    pub(super) path: String,
    /// A resource.
    pub(super) body: Option<Vec<u8>>,
}

impl Request {
    pub(super) fn get(path: String) -> Self {
        Self { method: Method::GET, path, body: None }
    }
}

/// Sends request 0, 1, 2 and so on for `time`, each client its next one as soon as it has its answer. The latencies of the answers,
/// and how many a second.
pub(super) fn drive(
    (url, token): (&str, &str),
    clients: usize,
    time: Duration,
    request: impl Fn(usize) -> Request + Sync,
) -> Result<(Latency, f64), CliError> {
    let (all, next, start) = (Mutex::new(Latency::default()), AtomicUsize::new(0), Instant::now());
    let work = || -> Result<(), CliError> {
        let client = Client::new(url, Some(token.to_owned()))?;
        let mut latency = Latency::default();
        while start.elapsed() < time {
            let Request { method, path, body } = request(next.fetch_add(1, Ordering::Relaxed));
            let began = Instant::now();
            let mut answer = client.send(method.clone(), &path, &[("Content-Type", "application/fhir+json")], body.as_deref())?;
            let text = client::text(&mut answer);
            latency.record(began.elapsed());
            if !answer.status().is_success() {
                let why = client::explain(answer.status().as_u16(), &text).remove(0).1;
                return Err(CliError::Failed(format!("{method} {path} was refused: {why}")));
            }
        }
        all.lock().unwrap_or_else(PoisonError::into_inner).add(&latency);
        Ok(())
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(work)).collect();
        clients.into_iter().try_for_each(|c| c.join().unwrap_or_else(|_| Err(CliError::Failed("a client panicked".to_owned()))))
    })?;
    let latency = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    let rate = latency.count() as f64 / start.elapsed().as_secs_f64();
    Ok((latency, rate))
}
