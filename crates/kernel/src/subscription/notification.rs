//! What is told: the Bundles and the SubscriptionStatus of the backport for R4.

use super::{BACKPORT, Content, Status};
use crate::database::{Change, Changed};
use crate::fhir::json::write_string;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Of which kind a notification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whether somebody is there.
    Handshake,
    /// Nothing has happened for a while, and whoever would tell of it is there.
    Heartbeat,
    /// Something has happened.
    Event,
    /// An answer to `$status`.
    QueryStatus,
    /// An answer to `$events`.
    QueryEvent,
}

impl Kind {
    fn code(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Heartbeat => "heartbeat",
            Self::Event => "event-notification",
            Self::QueryStatus => "query-status",
            Self::QueryEvent => "query-event",
        }
    }
}

/// Something that has happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its number, from 1, among those of the Subscription.
    pub number: u64,
    /// What.
    pub changed: Changed,
}

/// Whose notification it is.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'s> {
    /// The address of `/fhir`.
    pub base: &'s str,
    /// The id of the Subscription.
    pub id: &'s str,
    /// The canonical of its topic, if it has one.
    pub topic: Option<&'s str>,
    /// What state it is in.
    pub status: Status,
    /// How many events there have been.
    pub events: u64,
}

impl Sender<'_> {
    /// The SubscriptionStatus, as Parameters.
    pub fn status(&self, kind: Kind, content: Content, events: &[Event]) -> Value {
        let mut parameters = vec![
            json!({"name": "subscription", "valueReference": {"reference": format!("{}/Subscription/{}", self.base, self.id)}}),
            json!({"name": "status", "valueCode": self.status.code()}),
            json!({"name": "type", "valueCode": kind.code()}),
            json!({"name": "events-since-subscription-start", "valueString": self.events.to_string()}),
        ];
        if let Some(topic) = self.topic {
            parameters.insert(1, json!({"name": "topic", "valueCanonical": topic}));
        }
        parameters.extend(events.iter().map(|event| {
            let at = event.changed.written.version.last_updated.to_string();
            let mut part = vec![
                json!({"name": "event-number", "valueString": event.number.to_string()}),
                json!({"name": "timestamp", "valueInstant": at}),
            ];
            if content != Content::Empty {
                part.push(json!({"name": "focus", "valueReference": {"reference": self.address(event)}}));
            }
            json!({"name": "notification-event", "part": part})
        }));
        json!({
            "resourceType": "Parameters",
            "meta": {"profile": [format!("{BACKPORT}backport-subscription-status-r4")]},
            "parameter": parameters,
        })
    }

    fn address(&self, event: &Event) -> String {
        let written = &event.changed.written;
        format!("{}/{}/{}", self.base, written.resource_type, written.id)
    }

    /// A notification: a Bundle of type `history`, its first entry the status. `uuid` names that entry; `next` is where further events are.
    pub fn bundle(&self, kind: Kind, content: Content, events: &[Event], next: Option<&str>, now: Timestamp, uuid: &str) -> Vec<u8> {
        let status = json!({
            "fullUrl": format!("urn:uuid:{uuid}"),
            "resource": self.status(kind, content, events),
            "request": {"method": "GET", "url": format!("Subscription/{}/$status", self.id)},
            "response": {"status": "200"},
        });
        let mut head = json!({
            "resourceType": "Bundle",
            "meta": {"profile": [format!("{BACKPORT}backport-subscription-notification-r4")]},
            "type": "history",
            "timestamp": now.to_string(),
        });
        if let (Some(next), Some(head)) = (next, head.as_object_mut()) {
            head.insert("link".to_owned(), json!([{"relation": "next", "url": next}]));
        }
        let mut out = head.to_string().into_bytes();
        out.pop(); // its brace: the entries follow
        out.extend_from_slice(br#","entry":["#);
        out.extend_from_slice(status.to_string().as_bytes());
        if content != Content::Empty {
            events.iter().for_each(|event| self.entry(content, event, &mut out));
        }
        out.extend_from_slice(b"]}");
        out
    }

    /// The entry of an event; the resource is copied as it is stored.
    fn entry(&self, content: Content, event: &Event, out: &mut Vec<u8>) {
        let written = &event.changed.written;
        let status = match event.changed.change {
            Change::Created => "201",
            Change::Updated => "200",
            Change::Deleted => "204",
        };
        out.extend_from_slice(br#",{"fullUrl":"#);
        write_string(&self.address(event), out);
        if let Some(resource) = written.version.json.as_ref().filter(|_| content == Content::FullResource) {
            out.extend_from_slice(br#","resource":"#);
            out.extend_from_slice(resource);
        }
        let rest = json!({
            "request": {"method": written.version.method.name(), "url": written.request_url()},
            "response": {
                "status": status,
                "etag": format!("W/\"{}\"", written.version.version),
                "lastModified": written.version.last_updated.to_string(),
            },
        });
        let rest = rest.to_string();
        out.push(b',');
        out.extend_from_slice(rest.trim_start_matches('{').as_bytes());
    }
}
