//! The events of a Subscription as a stream of server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! The place is the client's: the id of an event is its commit and its number, and comes with the last event of a commit. Whoever
//! goes on after it misses nothing, and gets again what it had of a commit that it had not got whole. Each event is read and put on
//! the record when the client has taken those before it; for one that does not read, nothing is held.

use super::operations::{find, require_active};
use super::runner::base;
use super::state::Key;
use super::telling::{Telling, Told};
use crate::api::auth::{Hospital, OwnHospital};
use crate::api::{ApiError, App, interaction};
use crate::limits::{RETRY_AFTER_S, STREAM_KEEP_ALIVE};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use bytes::Bytes;
use dugnad_kernel::database::end_of;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::ids::Commit;
use dugnad_kernel::search::execute::Cursor;
use dugnad_kernel::subscription::notification::Kind;
use futures::stream;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, watch};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Opens a stream.
pub async fn stream(
    State(app): State<App>,
    OwnHospital(hospital): OwnHospital,
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
    let (commit, number) = last.filter(|(commit, _)| *commit >= begun).unwrap_or((begun, 0));
    let subscriptions = app.subscriptions();
    let open = Open {
        commits: subscriptions.commits(),
        closing: subscriptions.closing.subscribe(),
        app: app.clone(),
        hospital,
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

/// `Last-Event-ID`: a commit and a number.
fn last_event(headers: &HeaderMap) -> Result<Option<(Commit, u64)>, ApiError> {
    let Some(given) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let parse = |text: &str| {
        let (commit, number) = text.split_once('-')?;
        Some((Commit(commit.parse().ok().filter(|commit| *commit < i64::MAX.unsigned_abs())?), number.parse().ok()?))
    };
    let wrong = || ApiError::bad_request(IssueType::Value, "expected the id of an event of this stream").at("http.Last-Event-ID");
    given.to_str().ok().and_then(parse).map(Some).ok_or_else(wrong)
}

/// A stream that is open.
struct Open {
    app: App,
    hospital: Hospital,
    told: Told,
    waiting: VecDeque<Cursor>,
    looked: Cursor,
    /// That of the last event that was told.
    number: u64,
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
                let place = self.app.enter_reads().await?;
                let following = self.app.on_thread(place, move |app| told.next(app, after)).await?;
                self.waiting.extend(following.found);
                self.looked = following.upto;
                if self.waiting.is_empty() && self.looked.commit >= newest {
                    let idle = tokio::select! {
                        _ = self.commits.changed() => false,
                        _ = self.closing.changed() => false,
                        () = tokio::time::sleep(STREAM_KEEP_ALIVE) => true,
                    };
                    if idle {
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

    /// Whether it still is what was asked for, and who asked may still know.
    async fn holds(&self) -> Result<bool, ApiError> {
        let (who, key, version) = (self.hospital.who.clone(), self.told.key.clone(), self.told.version);
        let place = self.app.enter_reads().await?;
        let look = move |app: &App| Ok(app.holds(&who.user, &key.holder)? && find(app, &key).is_ok_and(|told| told.version == version));
        self.app.on_thread(place, look).await
    }

    /// Tells of the next event; none if it is not to be seen any more.
    async fn one(&mut self) -> Result<Option<Bytes>, ApiError> {
        let Some(at) = self.waiting.pop_front() else { return Ok(None) };
        let number = self.number + 1;
        let (told, who) = (self.told.clone(), self.hospital.who.clone());
        let place = self.app.enter_reads().await?;
        let content = told.subscription.content;
        let tell = move |app: &App| {
            let how = Telling { kind: Kind::Event, content, base: &base(app), so_far: number };
            told.tell(app, &who, &how, &[(number, at)])
        };
        let Some(body) = self.app.on_thread(place, tell).await? else { return Ok(None) };
        self.number = number;
        let last_of_commit = match self.waiting.front() {
            Some(next) => next.commit > at.commit,
            None => (at.commit, end_of(at.commit).resource) <= (self.looked.commit, self.looked.resource),
        };
        Ok(Some(event(&body, last_of_commit.then_some((at.commit, number)))))
    }
}

/// An event: a line of its data is a line of the message.
fn event(body: &[u8], id: Option<(Commit, u64)>) -> Bytes {
    let mut out = b"event: notification\n".to_vec();
    if let Some((commit, number)) = id {
        out.extend_from_slice(format!("id: {commit}-{number}\n").as_bytes());
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

    #[test]
    fn an_event_has_a_line_for_each_line() {
        assert_eq!(event(b"{\n}", Some((Commit(7), 3))), Bytes::from_static(b"event: notification\nid: 7-3\ndata: {\ndata: }\n\n"));
        assert_eq!(event(b"", None), Bytes::from_static(b"event: notification\ndata: {}\n\n"));
    }

    #[test]
    fn the_last_event() -> Result<(), ApiError> {
        let of = |text: &'static str| HeaderMap::from_iter([(LAST_EVENT_ID, HeaderValue::from_static(text))]);
        assert_eq!((last_event(&of("7-3"))?, last_event(&HeaderMap::new())?), (Some((Commit(7), 3)), None));
        for wrong in ["", "7", "-3", "x-y", "18446744073709551615-1"] {
            assert!(last_event(&of(wrong)).is_err(), "{wrong}");
        }
        Ok(())
    }
}
