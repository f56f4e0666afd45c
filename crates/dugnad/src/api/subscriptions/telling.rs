//! What is told of events: read anew for each time that it is told, and on the record as any read is.

use super::state::Key;
use crate::access::Principal;
use crate::api::work::{Access, Read};
use crate::api::{ApiError, App};
use crate::limits::EVENTS_LOOKED_UP;
use bumpalo::Bump;
use dugnad_kernel::database::{Followed, Following};
use dugnad_kernel::fhir::issue::Issue;
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

/// How events are told of.
pub struct Telling<'t> {
    pub kind: Kind,
    pub content: Content,
    /// The address of `/fhir`.
    pub base: &'t str,
    /// How many events there have been, with these.
    pub so_far: u64,
}

impl Told {
    /// Reads a stored one.
    pub fn read(key: &Key, holder: HolderId, version: u64, resource: &[u8]) -> Result<Self, Issue> {
        let arena = Bump::new();
        let wrong = |e: json::JsonError| Issue::error(dugnad_kernel::fhir::issue::IssueType::Structure, "Subscription", e.to_string());
        let resource = json::parse(resource, &arena).map_err(wrong)?;
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
        Sender { base, id: &self.key.id, subscription: &self.subscription, status: self.status, events }
    }

    /// Whether somebody is there: no data of anybody's. R4's own form has no such thing.
    pub fn handshake(&self, app: &App, base: &str) -> Option<Vec<u8>> {
        let of_topic = matches!(self.subscription.form, Form::Topic { .. });
        of_topic.then(|| self.sender(base, 0).bundle(Kind::Handshake, Content::Empty, &[], app.now(), &app.database().new_id()))
    }

    /// The SubscriptionStatus, for `$status`.
    pub fn status(&self, base: &str, events: u64) -> serde_json::Value {
        self.sender(base, events).status(Kind::QueryStatus, Content::Empty, &[])
    }

    /// Tells `who` of events, numbered from `first` on. Blocks.
    ///
    /// Order: the intent is given to the log, then they are read; intent and completion are durable before this returns. An event
    /// that is not to be seen any more is left out, and keeps its number. `None`: of all of them nothing is left.
    pub fn tell(&self, app: &App, who: &Principal, how: &Telling<'_>, events: &[(u64, Cursor)]) -> Result<Option<Vec<u8>>, ApiError> {
        let request = match how.kind {
            Kind::QueryEvent => format!("GET /fhir/Subscription/{}/$events", self.key.id),
            _ => format!("notification of Subscription/{}", self.key.id),
        };
        let resource_type = self.subscription.resource_type.clone();
        let access = Access { who: who.clone(), interface: "subscription", request, tables: vec![resource_type.clone()] };
        let followed = self.followed();
        app.read_about(&access, |_| {
            let (mut seen, mut patients) = (Vec::with_capacity(events.len()), BTreeSet::new());
            for (number, at) in events {
                let Some(changed) = app.database().changed(&followed, *at)? else { continue };
                if how.content != Content::Empty {
                    let (id, json) = (&changed.written.id, changed.written.version.json.as_deref());
                    patients.extend(app.database().patients_named(self.holder, &resource_type, id, json)?);
                }
                seen.push(Event { number: *number, changed });
            }
            let rows = seen.len() as u64;
            let found = (rows > 0 || how.kind == Kind::QueryEvent).then(|| self.body(app, how, seen));
            Ok(Read { found, rows, patients: Some(patients.into_iter().collect()) })
        })
    }

    fn body(&self, app: &App, how: &Telling<'_>, seen: Vec<Event>) -> Vec<u8> {
        if how.kind == Kind::QueryEvent || matches!(self.subscription.form, Form::Topic { .. }) {
            return self.sender(how.base, how.so_far).bundle(how.kind, how.content, &seen, app.now(), &app.database().new_id());
        }
        let resource = seen.into_iter().next().and_then(|event| event.changed.written.version.json);
        resource.filter(|_| how.content == Content::FullResource).unwrap_or_default()
    }
}
