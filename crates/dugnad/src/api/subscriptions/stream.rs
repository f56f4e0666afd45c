//! The events of a Subscription as a stream of server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! The place is the client's: the id of an event is its timeline, its commit and its number, and comes with the last event of a commit.
//! Whoever goes on after it misses nothing, and gets again what it had of a commit that it had not got whole. Each event is read and
//! put on the record when the client has taken those before it; for one that does not read, nothing is held.

use super::operations::{find, require_active};
use super::state::Key;
use super::task::is_due;
use super::telling::{Message, Telling, Told};
use crate::api::auth::{Credential, Hospital, OwnHospital};
use crate::api::{ApiError, App, headers, interaction};
use crate::limits::{RETRY_AFTER_S, STREAM_KEEP_ALIVE};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use bytes::Bytes;
use dugnad_kernel::database::end_of;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::ids::{Commit, Timeline};
use dugnad_kernel::search::execute::Cursor;
use dugnad_kernel::subscription::notification::Kind;
use futures::stream;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Opens a stream.
pub async fn stream(
    State(app): State<App>,
    OwnHospital(hospital): OwnHospital,
    credential: Credential,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let key = Key { holder: hospital.holder.clone(), id: interaction::readable_id(&id)? };
    let last = last_event(&headers)?;
    let full = |_| ApiError::busy("too many streams are open", RETRY_AFTER_S);
    let place = Arc::clone(&app.subscriptions().streams).try_acquire_owned().map_err(full)?;
    app.check_log()?;
    let reading = app.enter_reads().await?;
    let (told, begun) = app
        .on_thread(reading, move |app| {
            let told = find(app, &key)?;
            require_active(&told)?;
            let row = app.subscriptions().state()?.row(&told.key)?.filter(|row| row.begun > Commit(0));
            Ok((told, row.map(|row| row.begun)))
        })
        .await?;
    let begun = begun.ok_or_else(|| ApiError::busy("the Subscription has not begun yet", RETRY_AFTER_S))?;
    // Of another timeline, or of what has not been yet, is what a restored database has not got: from the beginning, then.
    let (timeline, newest) = (app.database().timeline(), app.database().snapshot().commit());
    let known = |last: &Last| last.timeline == timeline && begun <= last.commit && last.commit <= newest;
    let (commit, number) = last.filter(known).map_or((begun, 0), |last| (last.commit, last.number));
    let subscriptions = app.subscriptions();
    let open = Open {
        commits: subscriptions.commits(),
        closing: subscriptions.closing.subscribe(),
        app: app.clone(),
        base: headers::base(&headers, app.settings()),
        said: app.now(),
        hospital,
        credential,
        told,
        waiting: VecDeque::new(),
        looked: end_of(commit),
        number,
        _place: place,
    };
    let first = stream::once(async { Ok(Bytes::from_static(b": the events follow\n\n")) });
    let rest = stream::try_unfold(open, |mut open| async move { Ok::<_, ApiError>(open.next().await?.map(|chunk| (chunk, open))) });
    let mut response = Response::new(Body::from_stream(futures::StreamExt::chain(first, rest)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

/// The event after which a stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Last {
    timeline: Timeline,
    commit: Commit,
    number: u64,
}

impl Last {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let timeline = Timeline::parse(parts.next()?)?;
        let mut number = || parts.next()?.parse().ok().filter(|number: &u64| *number < i64::MAX.unsigned_abs());
        let (commit, number) = (Commit(number()?), number()?);
        parts.next().is_none().then_some(Self { timeline, commit, number })
    }

    fn shown(self) -> String {
        format!("{}-{}-{}", self.timeline, self.commit, self.number)
    }
}

/// `Last-Event-ID`.
fn last_event(headers: &HeaderMap) -> Result<Option<Last>, ApiError> {
    let Some(given) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let wrong = || ApiError::bad_request(IssueType::Value, "expected the id of an event of this stream").at("http.Last-Event-ID");
    given.to_str().ok().and_then(Last::parse).map(Some).ok_or_else(wrong)
}

/// A stream that is open.
struct Open {
    app: App,
    /// The address of `/fhir`.
    base: String,
    hospital: Hospital,
    credential: Credential,
    told: Told,
    waiting: VecDeque<Cursor>,
    looked: Cursor,
    /// That of the last event that was looked at.
    number: u64,
    /// When something was said last.
    said: Timestamp,
    commits: watch::Receiver<Commit>,
    closing: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

impl Open {
    /// The next event, or a sign that the server is there; `None`: the stream is over, for now or for ever.
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            if *self.closing.borrow() || !self.holds().await? {
                return Ok(None);
            }
            if self.waiting.is_empty() {
                let newest = *self.commits.borrow_and_update();
                let (told, after) = (self.told.clone(), self.looked);
                let place = self.app.subscriptions().enter_looks().await?;
                let following = self.app.on_thread(place, move |app| told.next(app, after)).await?;
                self.waiting.extend(following.found);
                self.looked = following.upto;
                if self.waiting.is_empty() && self.looked.commit >= newest {
                    if let Some(sign) = self.beat() {
                        return Ok(Some(sign));
                    }
                    let patience = self.idle_for();
                    let idle = tokio::select! {
                        _ = self.commits.changed() => false,
                        _ = self.closing.changed() => false,
                        () = tokio::time::sleep(patience) => true,
                    };
                    if idle && self.told.subscription.heartbeat().is_none() {
                        return Ok(Some(Bytes::from_static(b":\n\n")));
                    }
                }
                continue;
            }
            if let Some(chunk) = self.one().await? {
                return Ok(Some(chunk));
            }
        }
    }

    /// How long it waits for a commit before it says that it is there.
    fn idle_for(&self) -> Duration {
        self.told.subscription.heartbeat().map_or(STREAM_KEEP_ALIVE, |period| period.min(STREAM_KEEP_ALIVE))
    }

    /// A heartbeat, if nothing was said for so long as its period.
    fn beat(&mut self) -> Option<Bytes> {
        let now = self.app.now();
        if !is_due(self.told.subscription.heartbeat(), self.said, now) {
            return None;
        }
        self.said = now;
        self.told.sign(&self.app, Kind::Heartbeat, &self.base, self.number).map(|body| event(&body, None))
    }

    /// Whether it still is what was asked for, and who asked may still know: by what they came with, not by what else they have.
    async fn holds(&self) -> Result<bool, ApiError> {
        let (who, key, version) = (self.hospital.who.clone(), self.told.key.clone(), self.told.version);
        let credential = self.credential.clone();
        let place = self.app.subscriptions().enter_looks().await?;
        let look = move |app: &App| Ok(app.still_holds(&who, &credential)? && find(app, &key).is_ok_and(|told| told.version == version));
        self.app.on_thread(place, look).await
    }

    /// Tells of the next event; none if it is not to be seen any more. That takes its number with it: it may have been sent under it.
    async fn one(&mut self) -> Result<Option<Bytes>, ApiError> {
        let Some(at) = self.waiting.pop_front() else { return Ok(None) };
        self.number += 1;
        let number = self.number;
        let (told, who, base) = (self.told.clone(), self.hospital.who.clone(), self.base.clone());
        let place = self.app.enter_reads().await?;
        let content = told.subscription.content;
        let tell = move |app: &App| {
            let how = Telling { kind: Kind::Event, content, base: &base, so_far: None, until: None };
            told.tell(app, &who, &how, &[(number, at)])
        };
        let Message { body: Some(body), .. } = self.app.on_thread(place, tell).await? else { return Ok(None) };
        self.said = self.app.now();
        let last_of_commit = match self.waiting.front() {
            Some(next) => next.commit > at.commit,
            None => (at.commit, end_of(at.commit).resource) <= (self.looked.commit, self.looked.resource),
        };
        let id = Last { timeline: self.app.database().timeline(), commit: at.commit, number };
        Ok(Some(event(&body, last_of_commit.then_some(id))))
    }
}

/// An event: a line of its data is a line of the message.
fn event(body: &[u8], id: Option<Last>) -> Bytes {
    let mut out = b"event: notification\n".to_vec();
    if let Some(id) = id {
        out.extend_from_slice(format!("id: {}\n", id.shown()).as_bytes());
    }
    let body = if body.is_empty() { b"{}" } else { body };
    for line in body.split(|b| matches!(b, b'\n' | b'\r')) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.push(b'\n');
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMELINE: &str = "00112233445566ff";

    #[test]
    fn an_event_has_a_line_for_each_line() -> Result<(), &'static str> {
        let timeline = Timeline::parse(TIMELINE).ok_or("16 digits")?;
        let id = Last { timeline, commit: Commit(7), number: 3 };
        let expected = format!("event: notification\nid: {TIMELINE}-7-3\ndata: {{\ndata: }}\n\n");
        assert_eq!((event(b"{\n}", Some(id)), Last::parse(&id.shown())), (Bytes::from(expected), Some(id)));
        assert_eq!(event(b"", None), Bytes::from_static(b"event: notification\ndata: {}\n\n"));
        Ok(())
    }

    /// A number that has no next one was counted on from.
    #[test]
    fn the_last_event() -> Result<(), ApiError> {
        let of = |text: &str| HeaderMap::from_iter(HeaderValue::from_str(text).ok().map(|value| (LAST_EVENT_ID, value)));
        let last = last_event(&of(&format!("{TIMELINE}-7-3")))?.map(|last| (last.commit, last.number));
        assert_eq!((last, last_event(&HeaderMap::new())?), (Some((Commit(7), 3)), None));
        for wrong in ["", "7", "-3", "x-y", "18446744073709551615-1", "1-18446744073709551615", "5-1-2"] {
            assert!(last_event(&of(&format!("{TIMELINE}-{wrong}"))).is_err(), "{wrong}");
        }
        assert!(last_event(&of("7-3")).is_err());
        Ok(())
    }
}
