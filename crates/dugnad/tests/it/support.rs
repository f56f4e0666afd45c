//! A database in a temporary folder with the server over it, and requests to it.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use dugnad::access::{Role, TokenRequest};
use dugnad::api::{self, App, Network, Settings};
use dugnad::cli::local::Local;
use dugnad::query::StatisticsSettings;
use dugnad::web;
use dugnad_kernel::clock::{Clock, SystemClock};
use jiff::ToSpan;
use serde_json::Value;
use std::sync::Arc;
use tower::ServiceExt;

pub struct Server {
    pub local: Local,
    pub router: Router,
    /// Removed with the server.
    dir: tempfile::TempDir,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }

    /// Asserts the status, showing the body where it is another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        self
    }
}

impl Server {
    pub fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let local = Local::open(dir.path(), None).unwrap();
        let app = local.app(Settings::default());
        let router = api::router(app.clone(), web::served(&app));
        Self { local, router, dir }
    }

    /// A server whose time is `clock`, with daily epochs; sessions from loopback addresses are inside the secure processing environment.
    pub fn open_at(clock: Arc<dyn Clock>) -> Self {
        Self::open_with(tempfile::tempdir().unwrap(), clock, None)
    }

    /// A server with these settings over a folder, and its state.
    pub fn open_set(dir: tempfile::TempDir, settings: Settings) -> (Self, App) {
        Self::open_set_at(dir, settings, Arc::new(SystemClock))
    }

    /// The same, whose time is `clock`.
    pub fn open_set_at(dir: tempfile::TempDir, settings: Settings, clock: Arc<dyn Clock>) -> (Self, App) {
        let local = Local::open_with(dir.path(), None, clock, None).unwrap();
        let app = local.app(settings);
        let router = api::router(app.clone(), web::served(&app));
        (Self { local, router, dir }, app)
    }

    /// The same over a folder, with these settings for its statistics.
    pub fn open_with(dir: tempfile::TempDir, clock: Arc<dyn Clock>, statistics: Option<StatisticsSettings>) -> Self {
        let local = Local::open_with(dir.path(), None, clock, statistics).unwrap();
        let settings = Settings { inside_spe: Network::loopback(), ..Settings::default() };
        let app = local.app(settings);
        let router = api::router(app.clone(), web::served(&app));
        Self { local, router, dir }
    }

    /// The same server after a restart.
    pub fn restarted(self, clock: Arc<dyn Clock>) -> Self {
        Self::open_with(self.close(), clock, None)
    }

    pub fn token(&self, role: Role, user: &str, holder: Option<&str>) -> String {
        let request = TokenRequest { user: user.to_owned(), role, holder: holder.map(str::to_owned), subject: None, valid_for: 1.hour() };
        self.local.tokens.issue(&request).unwrap()
    }

    pub fn hospital(&self, name: &str) -> Hospital<'_> {
        Hospital { server: self, token: self.token(Role::Hospital, name, Some(name)) }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Closes it, and keeps its folder.
    pub fn close(self) -> tempfile::TempDir {
        let Self { local, router, dir } = self;
        local.audit.close();
        local.database.close();
        drop((local, router));
        dir
    }

    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }
}

/// A hospital that speaks to the server.
pub struct Hospital<'s> {
    pub server: &'s Server,
    pub token: String,
}

impl Hospital<'_> {
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("Authorization", format!("Bearer {}", self.token));
        if !headers.iter().any(|(name, _)| *name == "Content-Type") {
            request = request.header("Content-Type", "application/fhir+json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.server.send(request.body(body.into()).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Body::empty()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, &[], body.to_string()).await
    }

    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.send("POST", path, headers, body.to_string()).await
    }
}
