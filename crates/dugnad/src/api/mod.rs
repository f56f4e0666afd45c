//! HTTP: FHIR REST, SQL under a permit, the audit log, and what operators need.
//!
//! Every route is added once, in the file of its part, together with its description ([`routes::Routes`]); `/openapi.json`
//! and FHIR's CapabilityStatement are made from those descriptions and so cannot promise what is not there. Errors become
//! HTTP in [`error`] only. HTML is not made here: `web` hands in its pages as a router.

mod answer;
mod applications;
mod audit;
mod audit_event;
pub mod auth;
mod batch;
pub(crate) mod body;
mod bulk;
mod capability;
mod desk;
pub(crate) mod erasures;
pub mod error;
mod exports;
mod fhir;
mod frozen;
pub mod headers;
mod imports;
pub mod interaction;
mod metrics;
pub(crate) mod mine;
mod openapi;
mod ops;
mod opt_outs;
mod organisations;
mod outgoing;
mod parameters;
pub(crate) mod people;
mod permits;
pub(crate) mod persons;
mod queries;
pub(crate) mod register;
pub(crate) mod releases;
mod routes;
mod scopes;
mod search;
mod serve;
mod settings;
mod smart;
mod sql;
mod statistics;
mod subscriptions;
mod terminology;
mod timeline;
mod tls;
mod unblindings;
mod validate;
mod views;
pub mod work;

pub use error::ApiError;
pub use exports::sweep as sweep_exports;
pub use outgoing::Prefix;
pub use releases::sweep as sweep_releases;
pub use serve::{Peer, serve, serve_with};
pub use settings::{Network, Pace, Settings, SettingsError};
pub use subscriptions::{FILE as SUBSCRIPTIONS, run as tell_subscribers};
pub use tls::{Tls, TlsError, TlsFiles};

use crate::access::{KeySets, PageKey, Provider, Tokens};
use crate::limits::{self, MIN_GZIP_BYTES};
use crate::query::QueryService;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use dugnad_kernel::audit::Log;
use dugnad_kernel::clock::Clock;
use dugnad_kernel::database::Database;
use dugnad_kernel::fhir::issue::IssueType;
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tower::ServiceBuilder;
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate, SizeAbove};
use tower_http::decompression::RequestDecompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;

/// What the server consists of.
pub struct Parts {
    /// The database.
    pub database: Database,
    /// Answers questions under permits.
    pub query: QueryService,
    /// The audit log.
    pub audit: Arc<Log>,
    /// Who is known.
    pub tokens: Arc<Tokens>,
    /// Makes links to the pages of a search.
    pub page_key: PageKey,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What the operator chose.
    pub settings: Settings,
    /// Signs releases.
    pub release_key: SigningKey,
    /// The database's folder.
    pub data: PathBuf,
}

/// The server's state. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    parts: Parts,
    bodies: body::BodyBudget,
    writes: work::Gate,
    reads: work::Gate,
    metrics: metrics::Metrics,
    strangers: auth::StrangerBudget,
    logins: auth::Logins,
    exports: exports::Jobs,
    key_sets: KeySets,
    provider: Option<Arc<Provider>>,
    sign_ins: work::Gate,
    grants: work::Gate,
    imports: exports::Jobs,
    subscriptions: subscriptions::Subscriptions,
    desk: Mutex<()>,
    log_failed: AtomicBool,
}

impl App {
    /// The state of a server over `parts`.
    pub fn new(parts: Parts) -> Self {
        let exports = exports::Jobs::new(&parts.data, exports::EXPORTS);
        let imports = exports::Jobs::new(&parts.data, exports::IMPORTS);
        let subscriptions = subscriptions::Subscriptions::new(&parts.data, &parts.database, &parts.settings.pace);
        let provider = parts.settings.oidc.clone().map(|settings| Arc::new(Provider::new(settings)));
        Self(Arc::new(Inner {
            exports,
            imports,
            subscriptions,
            provider,
            parts,
            bodies: body::BodyBudget::default(),
            writes: work::Gate::new(limits::MAX_WRITES_RUNNING, limits::MAX_WRITES_WAITING),
            reads: work::Gate::new(limits::MAX_READS_RUNNING, limits::MAX_READS_WAITING),
            metrics: metrics::Metrics::default(),
            strangers: auth::StrangerBudget::default(),
            desk: Mutex::default(),
            key_sets: KeySets::default(),
            sign_ins: work::Gate::new(limits::MAX_SIGN_INS_RUNNING, limits::MAX_SIGN_INS_WAITING),
            grants: work::Gate::new(limits::MAX_SIGN_INS_RUNNING, limits::MAX_SIGN_INS_WAITING),
            logins: auth::Logins::default(),
            log_failed: AtomicBool::new(false),
        }))
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.0.parts.database
    }

    /// Answers questions under permits.
    pub fn query(&self) -> &QueryService {
        &self.0.parts.query
    }

    /// The audit log.
    pub fn audit(&self) -> &Arc<Log> {
        &self.0.parts.audit
    }

    /// Who is known.
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.0.parts.tokens
    }

    fn page_key(&self) -> &[u8; 32] {
        &self.0.parts.page_key.0
    }

    /// What the operator chose.
    pub fn settings(&self) -> &Settings {
        &self.0.parts.settings
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        self.0.parts.clock.now()
    }

    fn key_sets(&self) -> &KeySets {
        &self.0.key_sets
    }

    fn desk(&self) -> &Mutex<()> {
        &self.0.desk
    }

    fn data(&self) -> &Path {
        &self.0.parts.data
    }

    fn release_key(&self) -> &SigningKey {
        &self.0.parts.release_key
    }

    fn exports(&self) -> &exports::Jobs {
        &self.0.exports
    }

    fn imports(&self) -> &exports::Jobs {
        &self.0.imports
    }

    fn subscriptions(&self) -> &subscriptions::Subscriptions {
        &self.0.subscriptions
    }

    fn metrics(&self) -> &metrics::Metrics {
        &self.0.metrics
    }

    fn bodies(&self) -> &body::BodyBudget {
        &self.0.bodies
    }

    fn writes(&self) -> &work::Gate {
        &self.0.writes
    }

    fn reads(&self) -> &work::Gate {
        &self.0.reads
    }

    fn strangers(&self) -> &auth::StrangerBudget {
        &self.0.strangers
    }

    fn logins(&self) -> &auth::Logins {
        &self.0.logins
    }

    fn log_has_failed(&self) -> bool {
        self.0.log_failed.load(Ordering::Acquire)
    }

    fn mark_log_failed(&self) {
        self.0.log_failed.store(true, Ordering::Release);
    }
}

/// All routes of the API with their descriptions.
fn api_routes() -> routes::Routes {
    let routes = routes::Routes::default();
    let routes = validate::add(subscriptions::add(imports::add(bulk::add(search::add(fhir::add(smart::add(routes)))))));
    let routes = queries::add(sql::add(views::add(terminology::add(routes))));
    let routes = unblindings::add(opt_outs::add(permits::add(routes)));
    let routes = register::add(releases::add(applications::add(organisations::add(statistics::add(routes)))));
    ops::add(erasures::add(audit_event::add(persons::add(audit::add(routes)))))
}

/// The whole server: the API and, beside it, `pages` (the web pages, their state already in them).
pub fn router(app: App, pages: Router) -> Router {
    let timeline = middleware::from_fn_with_state(app.clone(), timeline::settle);
    let api = api_routes().into_router().layer(timeline).with_state(app.clone());
    // Bodies are bounded as they come out. Only FHIR is packed: pages hold secrets beside what others choose, rows flow.
    let api = api
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(SizeAbove::new(MIN_GZIP_BYTES).and(is_fhir)));
    let layers = ServiceBuilder::new()
        .layer(middleware::from_fn_with_state(app.clone(), error::render))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(default_header(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ))
        .layer(default_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(default_header(header::CACHE_CONTROL, "no-store"))
        .layer(default_header(header::REFERRER_POLICY, "no-referrer"))
        .layer(default_header(HeaderName::from_static("cross-origin-resource-policy"), "same-origin"))
        .layer(middleware::from_fn(bound_target));
    // `layer` after the fallbacks, so that they are inside it too. `body::read` bounds bodies by route.
    pages.merge(api).fallback(no_such_route).method_not_allowed_fallback(no_such_method).layer(DefaultBodyLimit::disable()).layer(layers)
}

fn is_fhir(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/fhir+"))
}

/// A header that a handler may set otherwise.
fn default_header(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

async fn bound_target(request: Request, next: Next) -> Response {
    let length = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if length > limits::MAX_URI_BYTES {
        let what = format!("the address is longer than {} bytes; send a query as the body of POST /sql", limits::MAX_URI_BYTES);
        return ApiError::new(StatusCode::URI_TOO_LONG, IssueType::TooCostly, what).into_response();
    }
    next.run(request).await
}

async fn no_such_route() -> ApiError {
    ApiError::not_found("there is nothing at this address; /openapi.json lists what there is, /fhir/metadata the FHIR interactions")
}

async fn no_such_method(request: Request) -> ApiError {
    let what = if request.uri().path().starts_with("/fhir") {
        "this interaction is not supported here; /fhir/metadata lists those that are"
    } else {
        "this address does not take this method; /openapi.json says which it takes"
    };
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, IssueType::NotSupported, what)
}
