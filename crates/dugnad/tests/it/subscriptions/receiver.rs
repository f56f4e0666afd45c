//! An endpoint that hospitals have told the server of.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A notification that came.
#[derive(Clone, Debug)]
pub struct Got {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
    /// What it was answered with.
    pub answered: u16,
}

#[derive(Default)]
struct Behaviour {
    got: Vec<Got>,
    /// The next answers; then `then`.
    next: VecDeque<u16>,
    then: u16,
}

/// An HTTP server that keeps what it gets and answers as it is told. A status of 0: it never answers.
pub struct Receiver {
    pub url: String,
    state: Arc<Mutex<Behaviour>>,
    changed: watch::Receiver<usize>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Behaviour>>, watch::Sender<usize>);

async fn take(State(shared): State<Shared>, uri: Uri, headers: HeaderMap, body: Bytes) -> (StatusCode, [(&'static str, &'static str); 1]) {
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    let answered = {
        let mut state = shared.0.lock().unwrap();
        let answered = state.next.pop_front().unwrap_or(state.then);
        state.got.push(Got { path: uri.path().to_owned(), headers, body, answered });
        let count = state.got.len();
        shared.1.send_replace(count);
        answered
    };
    if answered == 0 {
        std::future::pending::<()>().await;
    }
    (StatusCode::from_u16(answered).unwrap(), [("Location", "http://127.0.0.1:9/elsewhere")])
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(Behaviour { then: 200, ..Behaviour::default() }));
        let (send, changed) = watch::channel(0);
        let router = Router::new().fallback(take).layer(DefaultBodyLimit::disable()).with_state(Shared(Arc::clone(&state), send));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, state, changed, task }
    }

    /// Answers with these first, then with `then`.
    pub fn answers(&self, first: &[u16], then: u16) {
        let mut state = self.state.lock().unwrap();
        (state.next, state.then) = (first.iter().copied().collect(), then);
    }

    /// What came, and was taken.
    pub fn taken(&self) -> Vec<Got> {
        self.all().into_iter().filter(|got| got.answered == 200).collect()
    }

    pub fn all(&self) -> Vec<Got> {
        self.state.lock().unwrap().got.clone()
    }

    /// Waits until `enough` of what came.
    pub async fn until(&self, what: &str, enough: impl Fn(&[Got]) -> bool) -> Vec<Got> {
        let mut changed = self.changed.clone();
        let wait = async {
            loop {
                changed.borrow_and_update();
                let got = self.all();
                if enough(&got) {
                    return got;
                }
                changed.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
        waited.unwrap_or_else(|_| {
            panic!("{what}: only {:?} came", self.all().iter().map(|got| (&got.path, got.answered)).collect::<Vec<_>>())
        })
    }

    /// Waits until so many were taken.
    pub async fn until_taken(&self, count: usize) -> Vec<Got> {
        self.until(&format!("{count} notifications"), |got| got.iter().filter(|got| got.answered == 200).count() >= count).await;
        self.taken()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}
