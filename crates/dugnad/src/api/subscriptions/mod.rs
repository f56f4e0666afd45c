//! FHIR Subscriptions: hospitals are told of what is written of their own, by requests to an endpoint and by a stream.
//!
//! What a Subscription means is decided by the kernel. Here are who is told ([`runner`], and [`task`] for each), what a version asks for
//! ([`judging`]), what is said and put on the record ([`telling`]), over which connection ([`sending`], [`stream`]), how far each is
//! ([`state`]), and the backport's operations.

mod judging;
mod operations;
mod runner;
mod sending;
mod state;
mod stream;
mod task;
mod telling;

pub use runner::run;
pub use state::FILE;

use super::auth::Hospital;
use super::routes::{Caller, Doc, Parameter, Routes};
use super::{ApiError, App, Pace, outgoing};
use crate::access::Principal;
use crate::limits::{MAX_STREAMS, NOTIFICATIONS_RUNNING, RETRY_AFTER_S, SUBSCRIPTION_LOOKS};
use axum::http::Method;
use dugnad_kernel::database::{Database, Outcome, Page};
use dugnad_kernel::ids::{Commit, HolderId};
use dugnad_kernel::search::query::Search;
use dugnad_kernel::subscription::Status;
use state::{Key, State, Written};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

const FHIR: &str = "application/fhir+json";
const STATUS: &str = "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-status";
const EVENTS: &str = "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-events";

/// What the server knows of Subscriptions.
pub struct Subscriptions {
    state: Result<State, ApiError>,
    /// Those that nobody works on, and that are to be looked at.
    written: Mutex<BTreeSet<Key>>,
    wake: Notify,
    /// Those that somebody works on.
    slots: Mutex<BTreeMap<Key, Arc<Slot>>>,
    looks: Arc<Semaphore>,
    published: watch::Sender<Commit>,
    closing: watch::Sender<bool>,
    agent: ureq::Agent,
    places: Arc<Semaphore>,
    of_holder: Mutex<HashMap<String, Arc<Semaphore>>>,
    streams: Arc<Semaphore>,
    /// Notifications that were taken.
    delivered: AtomicU64,
    /// Attempts that were not.
    failed: AtomicU64,
}

/// A Subscription that somebody works on.
#[derive(Default)]
pub struct Slot {
    poked: AtomicBool,
    wake: Notify,
    told: Mutex<Option<Commit>>,
}

impl Slot {
    /// It was written: whoever works on it looks at it anew, before anything else is sent.
    fn poke(&self) {
        self.poked.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    fn is_poked(&self) -> bool {
        self.poked.load(Ordering::Acquire)
    }

    fn take_poke(&self) {
        self.poked.store(false, Ordering::Release);
    }

    async fn poked(&self) {
        while !self.is_poked() {
            self.wake.notified().await;
        }
    }

    /// Up to which commit its endpoint was told, to be shown; `None`: nobody is to be told.
    fn set_told(&self, told: Option<Commit>) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }
}

/// The ids of a holder's Subscriptions. Blocks.
fn of_holder(app: &App, holder: HolderId) -> Result<Vec<String>, ApiError> {
    let mut ids = Vec::new();
    let mut page = Page { at: None, after: None, count: 1_000 };
    loop {
        let found = app.database().search(holder, &Search::all("Subscription"), page)?;
        ids.extend(found.hits.into_iter().map(|hit| hit.id));
        page = Page { at: Some(found.commit), after: found.next, ..page };
        if page.after.is_none() {
            return Ok(ids);
        }
    }
}

impl Subscriptions {
    /// Those of the database in `dir`.
    pub fn new(dir: &Path, database: &Database, pace: &Pace) -> Self {
        Self {
            state: State::open(dir, &database.timeline().to_string()),
            written: Mutex::default(),
            wake: Notify::new(),
            slots: Mutex::default(),
            looks: Arc::new(Semaphore::new(SUBSCRIPTION_LOOKS)),
            published: watch::Sender::new(database.snapshot().commit()),
            closing: watch::Sender::new(false),
            agent: outgoing::agent(pace.time),
            places: Arc::new(Semaphore::new(NOTIFICATIONS_RUNNING)),
            of_holder: Mutex::default(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    fn state(&self) -> Result<&State, ApiError> {
        self.state.as_ref().map_err(Clone::clone)
    }

    fn commits(&self) -> watch::Receiver<Commit> {
        self.published.subscribe()
    }

    /// A place among those who look what there is to be told. How many wait is bounded by the tasks and the streams.
    async fn enter_looks(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let place = Arc::clone(&self.looks).acquire_owned().await;
        place.map_err(|_| ApiError::busy("the server is stopping", RETRY_AFTER_S))
    }

    /// What was written, by whom: of Subscriptions it is remembered who asks for them, and since when. What the server writes itself is
    /// not. When this returns, nothing is sent any more for what stood there before.
    pub fn written(&self, who: &Principal, outcome: &Outcome) {
        let Some(hospital) = Hospital::of(who) else { return };
        let entries = outcome.entries.iter().filter(|entry| entry.resource_type == "Subscription" && entry.version > 0);
        let written = entries.map(|entry| {
            let key = Key { holder: hospital.holder.clone(), id: entry.id.clone() };
            Written { key, version: entry.version, gone: entry.status == 204 }
        });
        let written: Vec<Written> = written.collect();
        if written.is_empty() {
            return;
        }
        // Not known whose it is, it becomes one in error, which says to write it again.
        if let Err(error) = self.state().and_then(|state| state.written(&hospital.who.user, outcome.commit, &written)) {
            tracing::error!(%error, "who asks for a Subscription could not be written");
        }
        self.poke(written.into_iter().map(|written| written.key));
    }

    /// Somebody of this hospital was erased: a Subscription that names them is not there any more.
    pub fn look_again(&self, holder: &str) {
        match self.state().and_then(|state| state.keys(Some(holder))) {
            Ok(keys) => self.poke(keys),
            Err(error) => tracing::error!(%error, "the Subscriptions could not be looked at after an erasure"),
        }
    }

    /// Has these looked at: by whoever works on them, or by somebody new.
    fn poke(&self, keys: impl IntoIterator<Item = Key>) {
        let slots = self.slots();
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            match slots.get(&key) {
                Some(slot) => slot.poke(),
                None => _ = written.insert(key),
            }
        }
        self.wake.notify_one();
    }

    async fn poked(&self) {
        self.wake.notified().await;
    }

    fn take_poked(&self) -> BTreeSet<Key> {
        std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody begins to work on one; none if somebody does already, who then looks at it anew.
    fn begin(&self, key: &Key) -> Option<Arc<Slot>> {
        let mut slots = self.slots();
        if let Some(slot) = slots.get(key) {
            slot.poke();
            return None;
        }
        let slot = Arc::<Slot>::default();
        slots.insert(key.clone(), Arc::clone(&slot));
        Some(slot)
    }

    /// Nobody works on it any more; whether it was written meanwhile.
    fn end(&self, key: &Key) -> bool {
        self.slots().remove(key).is_some_and(|slot| slot.is_poked())
    }

    /// For `/metrics`: how many there are in each state, and how far the slowest is behind `newest`. No name is in it.
    pub fn gauges(&self, newest: Commit) -> Vec<(&'static str, &'static str, String, u64)> {
        let counted = self.state().and_then(State::by_status).unwrap_or_default();
        let of = |status: Status| counted.iter().find(|(code, _)| code == status.code()).map_or(0, |(_, count)| *count);
        let told = |slot: &Arc<Slot>| *slot.told.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = self.slots().values().filter_map(told).map(|told| newest.0.saturating_sub(told.0)).max().unwrap_or(0);
        let count = ("dugnad_subscriptions", "Subscriptions by status.");
        let lag = ("dugnad_subscription_lag_commits", "How many commits the slowest endpoint is behind.");
        let labels = |status: Status| format!("{{status=\"{}\"}}", status.code());
        let mut gauges: Vec<_> = Status::ALL.into_iter().map(|status| (count.0, count.1, labels(status), of(status))).collect();
        gauges.push((lag.0, lag.1, labels(Status::Active), behind));
        let total = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (delivered, failed) = (total(&self.delivered), total(&self.failed));
        gauges.push((
            "dugnad_notifications_delivered",
            "Notifications that endpoints have taken since the start.",
            String::new(),
            delivered,
        ));
        gauges.push(("dugnad_notifications_failed", "Attempts that they have not since the start.", String::new(), failed));
        gauges
    }
}

impl App {
    /// Ends the streams of events: the server stops.
    pub(super) fn end_streams(&self) {
        self.subscriptions().closing.send_replace(true);
    }
}

/// Adds the routes.
pub fn add(routes: Routes) -> Routes {
    const ID: Parameter = Parameter { place: "query", name: "id", description: "Of this Subscription; several are allowed. None: all." };
    const BY_STATUS: Parameter = Parameter { place: "query", name: "status", description: "Of those with this status." };
    const EVENT_PARAMETERS: &[Parameter] = &[
        Parameter { place: "query", name: "eventsSinceNumber", description: "From this number on." },
        Parameter { place: "query", name: "eventsUntilNumber", description: "Up to this number." },
        Parameter { place: "query", name: "content", description: "`empty`, `id-only` or `full-resource`; else as the Subscription says." },
    ];
    const LAST: &[Parameter] = &[Parameter {
        place: "header",
        name: "Last-Event-ID",
        description: "The id of the last event that was received: the stream goes on after it.",
    }];
    let status = Doc {
        caller: Caller::Hospital,
        answer: &[FHIR],
        statuses: &[(200, "A Bundle of SubscriptionStatus (Parameters)"), (404, "Not there, or not yours")],
        operation: Some(("status", STATUS)),
        ..Doc::new("FHIR", "subscriptionStatus", "The status of a Subscription")
    };
    let of_type = Doc { id: "subscriptionStatuses", summary: "The status of Subscriptions", parameters: &[ID, BY_STATUS], ..status };
    let events = Doc {
        description: "The last thousand events are kept by number. Those about a person who was erased are left out.",
        parameters: EVENT_PARAMETERS,
        statuses: &[(200, "A notification Bundle"), (400, "A parameter is wrong"), (404, "Not there, or not yours")],
        operation: Some(("events", EVENTS)),
        ..Doc { id: "subscriptionEvents", summary: "The last events of a Subscription", ..status }
    };
    let stream = Doc {
        description: "Server-sent events: each is a notification as the endpoint of the Subscription would get it. Without Last-Event-ID it begins with the Subscription.",
        parameters: LAST,
        answer: &["text/event-stream"],
        statuses: &[
            (200, "The events, as they happen"),
            (404, "Not there, or not yours"),
            (409, "It is not active"),
            (503, "Too many streams"),
        ],
        operation: None,
        ..Doc { id: "subscriptionStream", summary: "The events of a Subscription as a stream", ..status }
    };
    let post = |doc: Doc, id: &'static str| Doc { id, body: Some(FHIR), ..doc };
    routes
        .add(Method::GET, "/fhir/Subscription/$status", of_type, operations::statuses)
        .add(Method::POST, "/fhir/Subscription/$status", post(of_type, "subscriptionStatusesPost"), operations::statuses)
        .add(Method::GET, "/fhir/Subscription/{id}/$status", status, operations::status)
        .add(Method::POST, "/fhir/Subscription/{id}/$status", post(status, "subscriptionStatusPost"), operations::status)
        .add(Method::GET, "/fhir/Subscription/{id}/$events", events, operations::events)
        .add(Method::POST, "/fhir/Subscription/{id}/$events", post(events, "subscriptionEventsPost"), operations::events)
        .add(Method::GET, "/fhir/Subscription/{id}/$events-stream", stream, stream::stream)
}
