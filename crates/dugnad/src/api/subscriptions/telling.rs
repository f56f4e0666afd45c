//! What is told of events: read anew for each time that it is told, and on the record as any read is.

use super::state::Key;
use crate::access::Principal;
use crate::api::work::{Access, Read};
use crate::api::{ApiError, App};
use crate::limits::{EVENTS_LOOKED_UP, MAX_NOTIFICATION_BYTES};
use bumpalo::Bump;
use dugnad_kernel::database::{Followed, Following};
use dugnad_kernel::fhir::issue::{Issue, IssueType};
use dugnad_kernel::fhir::json;
use dugnad_kernel::ids::HolderId;
use dugnad_kernel::search::execute::Cursor;
use dugnad_kernel::subscription::notification::{Event, Kind, Sender};
use dugnad_kernel::subscription::{Content, Form, Status, Subscription};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A Subscription as a version of it says.
#[derive(Clone)]
pub struct Told {
    pub key: Key,
    pub version: u64,
    pub status: Status,
    pub holder: HolderId,
    pub subscription: Arc<Subscription>,
}

/// What the status of a Subscription says, also of one that cannot be judged.
pub struct Standing {
    pub key: Key,
    pub status: Status,
    pub topic: Option<String>,
}

/// How events are told of.
pub struct Telling<'t> {
    pub kind: Kind,
    pub content: Content,
    /// The address of `/fhir`.
    pub base: &'t str,
    /// How many events there have been; `None`: as many as the number of the last that is told says.
    pub so_far: Option<u64>,
    /// Up to which number events were asked for, to link those that are not told here.
    pub until: Option<u64>,
}

/// What is to be sent, or answered.
pub struct Message {
    /// `None`: of all the events nothing is to be seen any more.
    pub body: Option<Vec<u8>>,
    /// How many of the events that it was to tell of are done with, those included that are not to be seen any more.
    pub events: usize,
}

fn parsed<'a>(resource: &'a [u8], arena: &'a Bump) -> Result<json::Value<'a>, Issue> {
    json::parse(resource, arena).map_err(|e| Issue::error(IssueType::Structure, "Subscription", e.to_string()))
}

impl Standing {
    /// Reads that of a stored one.
    pub fn read(key: &Key, resource: &[u8]) -> Result<Self, Issue> {
        let arena = Bump::new();
        let resource = parsed(resource, &arena)?;
        let topic = Subscription::read(&resource).ok().and_then(|subscription| subscription.topic_canonical().map(str::to_owned));
        Ok(Self { key: key.clone(), status: Status::of(&resource), topic })
    }

    /// The SubscriptionStatus, for `$status`.
    pub fn shown(&self, base: &str, events: u64) -> serde_json::Value {
        let sender = Sender { base, id: &self.key.id, topic: self.topic.as_deref(), status: self.status, events };
        sender.status(Kind::QueryStatus, Content::Empty, &[])
    }
}

impl Told {
    /// Reads a stored one.
    pub fn read(key: &Key, holder: HolderId, version: u64, resource: &[u8]) -> Result<Self, Issue> {
        let arena = Bump::new();
        let resource = parsed(resource, &arena)?;
        let subscription = Arc::new(Subscription::read(&resource)?);
        Ok(Self { key: key.clone(), version, status: Status::of(&resource), holder, subscription })
    }

    fn followed(&self) -> Followed {
        Followed {
            holder: self.holder,
            resource_type: self.subscription.resource_type.clone(),
            conditions: self.subscription.conditions.clone(),
            deletions: self.subscription.deletions,
        }
    }

    /// The next events after a place. Blocks. Nobody is told by this: it is what a criterion is judged on.
    pub fn next(&self, app: &App, after: Cursor) -> Result<Following, ApiError> {
        Ok(app.database().followed(&app.database().snapshot(), &self.followed(), after, EVENTS_LOOKED_UP)?)
    }

    fn sender<'s>(&'s self, base: &'s str, events: u64) -> Sender<'s> {
        Sender { base, id: &self.key.id, topic: self.subscription.topic_canonical(), status: self.status, events }
    }

    /// A handshake or a heartbeat: no data of anybody's. R4's own form has no such thing. `events`: how many there have been.
    pub fn sign(&self, app: &App, kind: Kind, base: &str, events: u64) -> Option<Vec<u8>> {
        let of_topic = matches!(self.subscription.form, Form::Topic { .. });
        of_topic.then(|| self.sender(base, events).bundle(kind, Content::Empty, &[], None, app.now(), &app.database().new_id()))
    }

    /// Tells `who` of events by their numbers, the first of them at least, and the others as far as they go into one message. Blocks.
    ///
    /// Order: the intent is given to the log, then they are read; intent and completion are durable before this returns. An event
    /// that is not to be seen any more is left out, and keeps its number.
    pub fn tell(&self, app: &App, who: &Principal, how: &Telling<'_>, events: &[(u64, Cursor)]) -> Result<Message, ApiError> {
        let request = match how.kind {
            Kind::QueryEvent => format!("GET /fhir/Subscription/{}/$events", self.key.id),
            _ => format!("notification of Subscription/{}", self.key.id),
        };
        let resource_type = self.subscription.resource_type.clone();
        let access = Access { who: who.clone(), interface: "subscription", request, tables: vec![resource_type.clone()] };
        let followed = self.followed();
        app.read_about(&access, |_| {
            let (mut seen, mut patients, mut bytes, mut done) = (Vec::with_capacity(events.len()), BTreeSet::new(), 0, 0);
            for (number, at) in events {
                let Some(mut changed) = app.database().changed(&followed, *at)? else {
                    done += 1;
                    continue;
                };
                let json = changed.written.version.json.as_deref();
                let length = if how.content == Content::FullResource { json.map_or(0, <[u8]>::len) } else { 0 };
                if !seen.is_empty() && bytes + length > MAX_NOTIFICATION_BYTES {
                    break;
                }
                if how.content != Content::Empty {
                    patients.extend(app.database().patients_named(self.holder, &resource_type, &changed.written.id, json)?);
                }
                if how.content != Content::FullResource {
                    changed.written.version.json = None;
                }
                (bytes, done) = (bytes + length, done + 1);
                seen.push(Event { number: *number, changed });
            }
            let rows = seen.len() as u64;
            let body = (rows > 0 || how.kind == Kind::QueryEvent).then(|| self.body(app, how, seen, events, done));
            Ok(Read { found: Message { body, events: done }, rows, patients: Some(patients.into_iter().collect()) })
        })
    }

    /// What is said of the first `done` of the events, as far as they are `seen`.
    fn body(&self, app: &App, how: &Telling<'_>, seen: Vec<Event>, events: &[(u64, Cursor)], done: usize) -> Vec<u8> {
        if how.kind == Kind::QueryEvent || matches!(self.subscription.form, Form::Topic { .. }) {
            let last = done.checked_sub(1).and_then(|last| events.get(last)).map_or(0, |(number, _)| *number);
            let next = how.until.filter(|until| done > 0 && last < *until).map(|until| {
                let (base, id, content, from) = (how.base, &self.key.id, how.content.code(), last + 1);
                format!("{base}/Subscription/{id}/$events?eventsSinceNumber={from}&eventsUntilNumber={until}&content={content}")
            });
            let sender = self.sender(how.base, how.so_far.unwrap_or(last));
            return sender.bundle(how.kind, how.content, &seen, next.as_deref(), app.now(), &app.database().new_id());
        }
        let resource = seen.into_iter().next().and_then(|event| event.changed.written.version.json);
        resource.filter(|_| how.content == Content::FullResource).unwrap_or_default()
    }
}
