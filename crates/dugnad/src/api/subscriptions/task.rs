//! What is done for one Subscription, while it is asked for or active.
//!
//! A task reads its Subscription's newest version, makes an active one of what is asked for, and tells its endpoint of one
//! notification after the other. It holds a place in the journal and some numbers of versions, however far it is behind; no writer
//! waits for it. Order: the events are found; they are read, which is on the record; they are sent; the endpoint has taken them; the
//! new place is written. A crash anywhere before the last step sends them again.

use super::Slot;
use super::judging::{Asked, Judged, asked, no_room, owner, said, set_status};
use super::sending::{Sent, Unsent, send};
use super::state::{Activation, Key, Row};
use super::telling::{Message, Telling, Told};
use crate::api::{ApiError, App, headers};
use crate::limits::{PASSED_COMMITS, SUBSCRIPTION_LOOKS_EVERY};
use axum::http::HeaderMap;
use dugnad_kernel::ids::Commit;
use dugnad_kernel::search::execute::Cursor;
use dugnad_kernel::subscription::Status;
use dugnad_kernel::subscription::notification::Kind;
use jiff::{SignedDuration, Timestamp};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

pub struct Task {
    pub app: App,
    pub key: Key,
    pub slot: Arc<Slot>,
    pub commits: watch::Receiver<Commit>,
}

/// How something ended that is tried again.
enum Trouble {
    /// It may go better later; nobody has to be told why.
    Later,
    /// The endpoint has not taken it.
    NotTaken(String),
    /// It will not go better.
    Hopeless(String),
}

impl From<Unsent> for Trouble {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::NotTaken(why) => Self::NotTaken(why),
            Unsent::NotAllowed(why) => Self::Hopeless(why.to_owned()),
            Unsent::Overtaken => Self::Later,
            // A failure of the server's own passes.
            Unsent::Failed(error) if error.status.is_server_error() => Self::Later,
            Unsent::Failed(error) => Self::Hopeless(said(error)),
        }
    }
}

/// How far it is.
struct Place {
    row: Row,
    /// Events that were found and not told of.
    waiting: VecDeque<Cursor>,
    /// Those that were sent by their numbers, and not taken.
    sent: Vec<(u64, Cursor)>,
    /// Up to here there are no others.
    looked: Cursor,
    tries: u32,
    /// When something was said last.
    said: Timestamp,
}

/// The address of `/fhir` in what is sent.
fn base(app: &App) -> String {
    headers::base(&HeaderMap::new(), app.settings())
}

/// Whether something that is to be said so often is due.
pub fn is_due(period: Option<Duration>, said: Timestamp, now: Timestamp) -> bool {
    period.and_then(|period| SignedDuration::try_from(period).ok()).is_some_and(|period| now.duration_since(said) >= period)
}

impl Task {
    /// Works until there is nothing to be done before it is written again.
    pub async fn run(mut self) {
        let mut unknown = None;
        loop {
            self.slot.take_poke();
            let again = match self.on_thread(asked).await {
                Ok(Asked::Nothing) => return,
                Ok(Asked::Unknown(judged, why)) if unknown == Some(judged) => self.fail(judged, why).await,
                Ok(Asked::Unknown(judged, _)) => {
                    self.pause(SUBSCRIPTION_LOOKS_EVERY).await;
                    unknown = Some(judged).filter(|_| !self.slot.is_poked());
                    Ok(())
                }
                Ok(Asked::Fail(judged, why)) => self.fail(judged, &why).await,
                Ok(Asked::Activate(told, row)) => self.activate(*told, &row).await,
                Ok(Asked::Tell(told, row)) => self.tell(&told, row).await,
                Err(error) => Err(error),
            };
            self.slot.set_told(None);
            if let Err(error) = again {
                tracing::warn!(%error, "a Subscription waits: the server has trouble of its own");
                self.pause(SUBSCRIPTION_LOOKS_EVERY).await;
            }
        }
    }

    /// Waits so long, or until it was written.
    async fn pause(&self, time: Duration) {
        tokio::select! { () = tokio::time::sleep(time) => {}, () = self.slot.poked() => {} }
    }

    async fn on_thread<T: Send + 'static>(
        &self,
        job: impl FnOnce(&App, &Key) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (place, key) = (self.app.subscriptions().enter_looks().await?, self.key.clone());
        self.app.on_thread(place, move |app| job(app, &key)).await
    }

    /// Makes it active: its endpoint is there and wants it.
    async fn activate(&self, told: Told, row: &Row) -> Result<(), ApiError> {
        let judged = Judged { version: told.version, written: row.written };
        // R4's own form has no handshake.
        if told.subscription.endpoint.is_some()
            && told.subscription.topic_canonical().is_some()
            && let Err(trouble) = self.shake_hands(&told, row.events).await
        {
            return match trouble {
                Trouble::Later => {
                    self.pause(SUBSCRIPTION_LOOKS_EVERY).await;
                    Ok(())
                }
                Trouble::NotTaken(why) => self.fail(judged, &format!("the handshake was not answered: {why}")).await,
                Trouble::Hopeless(why) => self.fail(judged, &why).await,
            };
        }
        tracing::debug!(user = row.user, "a Subscription becomes active");
        let (active, Judged { version, written }) = (told.status == Status::Active, judged);
        let activation = self.on_thread(move |app, key| {
            // Written before the version is: of a crash between the two, the next start knows whose version it is.
            let (state, next) = (app.subscriptions().state()?, if active { version } else { version + 1 });
            let activation = state.activate(key, written, next)?;
            if activation == Activation::Done && !active && !set_status(app, key, version, Status::Active, None)? {
                state.not_activated(key, next)?;
            }
            Ok(activation)
        });
        match no_room(activation.await?) {
            Some(why) => self.fail(judged, &why).await,
            None => Ok(()),
        }
    }

    /// The handshake, tried again some times.
    async fn shake_hands(&self, told: &Told, events: u64) -> Result<(), Trouble> {
        let pace = &self.app.settings().pace;
        let mut tries = 0;
        loop {
            let of = told.clone();
            let hello = move |app: &App| Ok(Message { body: of.sign(app, Kind::Handshake, &base(app), events), events: 0 });
            match send(&self.app, told, &self.slot, hello).await.map_err(Trouble::from) {
                Ok(_) => return Ok(()),
                Err(Trouble::NotTaken(_)) if tries < pace.handshakes => {
                    self.pause(pace.after(tries)).await;
                    tries += 1;
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    async fn fail(&self, Judged { version, written }: Judged, why: &str) -> Result<(), ApiError> {
        let why = why.to_owned();
        self.on_thread(move |app, key| {
            app.subscriptions().state()?.deactivate(key, written, Status::Error)?;
            set_status(app, key, version, Status::Error, Some(&why)).map(drop)
        })
        .await
    }

    /// Its end has come.
    async fn end(&self, Judged { version, written }: Judged) -> Result<(), ApiError> {
        self.on_thread(move |app, key| {
            app.subscriptions().state()?.deactivate(key, written, Status::Off)?;
            set_status(app, key, version, Status::Off, None).map(drop)
        })
        .await
    }

    /// Tells of one notification after the other, until it is written anew or cannot be told any more.
    async fn tell(&mut self, told: &Told, row: Row) -> Result<(), ApiError> {
        let judged = Judged { version: told.version, written: row.written };
        let events = row.events;
        let sent = self.on_thread(move |app, key| app.subscriptions().state()?.sent(key, events)).await?;
        let mut place = Place { looked: row.cursor, row, waiting: VecDeque::new(), sent, tries: 0, said: self.app.now() };
        let has_endpoint = told.subscription.endpoint.is_some();
        self.slot.set_told(Some(place.looked.commit).filter(|_| has_endpoint));
        while !self.slot.is_poked() {
            if told.subscription.end.is_some_and(|end| end <= self.app.now()) {
                return self.end(judged).await;
            }
            let said = if !has_endpoint || !self.look(told, &mut place).await? {
                let said = self.beat(told, &mut place).await;
                self.wait().await;
                said
            } else {
                self.one(told, &mut place).await
            };
            match said {
                Ok(()) => {}
                Err(Trouble::Later) => self.pause(SUBSCRIPTION_LOOKS_EVERY).await,
                Err(Trouble::Hopeless(why)) => return self.fail(judged, &why).await,
                Err(Trouble::NotTaken(why)) => {
                    let pace = &self.app.settings().pace;
                    self.app.subscriptions().failed.fetch_add(1, Ordering::Relaxed);
                    place.tries += 1;
                    if place.tries >= pace.tries {
                        let tries = place.tries;
                        let why = format!("given up after {tries} attempts: {why}; PUT it with the status requested, and it goes on");
                        return self.fail(judged, &why).await;
                    }
                    self.pause(pace.after(place.tries - 1)).await;
                }
            }
        }
        Ok(())
    }

    /// Whether there is something to be told; it is looked for if nothing waits.
    async fn look(&mut self, told: &Told, place: &mut Place) -> Result<bool, ApiError> {
        while place.waiting.is_empty() && !self.slot.is_poked() {
            let newest = *self.commits.borrow_and_update();
            let (of, after) = (told.clone(), place.looked);
            let following = self.on_thread(move |app, _| of.next(app, after)).await?;
            place.waiting.extend(following.found);
            place.looked = following.upto;
            if place.waiting.is_empty() {
                self.passed(place).await?;
                if place.looked.commit >= newest {
                    break;
                }
            }
        }
        Ok(!place.waiting.is_empty())
    }

    /// Nothing up to here was for it: its place moves, and is written if it has moved far.
    async fn passed(&self, place: &mut Place) -> Result<(), ApiError> {
        let upto = place.looked;
        self.slot.set_told(Some(upto.commit));
        if upto.commit.0 >= place.row.cursor.commit.0 + PASSED_COMMITS {
            place.row.cursor = upto;
            self.on_thread(move |app, key| app.subscriptions().state()?.told(key, upto, &[])).await?;
        }
        Ok(())
    }

    /// Waits for a commit.
    async fn wait(&mut self) {
        tokio::select! {
            changed = self.commits.changed() => if changed.is_err() { std::future::pending::<()>().await },
            () = tokio::time::sleep(SUBSCRIPTION_LOOKS_EVERY) => {}
            () = self.slot.poked() => {}
        }
    }

    /// A heartbeat, if nothing was said for so long as its period. One that is not taken is not sent again: there is the next.
    async fn beat(&self, told: &Told, place: &mut Place) -> Result<(), Trouble> {
        let now = self.app.now();
        if told.subscription.endpoint.is_none() || !is_due(told.subscription.heartbeat(), place.said, now) {
            return Ok(());
        }
        place.said = now;
        let (of, key, user, events) = (told.clone(), self.key.clone(), place.row.user.clone(), place.row.events);
        let sign = move |app: &App| {
            owner(app, &key, &user)?;
            Ok(Message { body: of.sign(app, Kind::Heartbeat, &base(app), events), events: 0 })
        };
        match send(&self.app, told, &self.slot, sign).await.map_err(Trouble::from) {
            Err(Trouble::NotTaken(_)) => Ok(()),
            sent => sent.map(drop),
        }
    }

    /// One notification.
    async fn one(&self, told: &Told, place: &mut Place) -> Result<(), Trouble> {
        let waiting = place.waiting.iter().copied().take(told.subscription.max_count());
        let mut events = numbered(waiting, place.row.events, &place.sent);
        let last = events.last().map_or(0, |(number, _)| *number);
        let beyond = place.sent.iter().copied().filter(|(number, _)| *number > last);
        place.sent = events.iter().copied().chain(beyond).collect();
        let Sent { events: count, taken } = self.send_one(told, &place.row.user, events.clone()).await?;
        events.truncate(count);
        let Some((number, upto)) = events.last().copied() else { return Ok(()) };
        place.waiting.drain(..events.len());
        place.sent.retain(|(sent, _)| *sent > number);
        // What was erased takes its number with it.
        (place.row.cursor, place.row.events, place.tries) = (upto, number, 0);
        if taken {
            place.said = self.app.now();
            self.app.subscriptions().delivered.fetch_add(1, Ordering::Relaxed);
        }
        let written = self.on_thread(move |app, key| app.subscriptions().state()?.told(key, upto, &events)).await;
        self.slot.set_told(Some(upto.commit));
        written.map_err(|error| Trouble::from(Unsent::Failed(error)))
    }

    async fn send_one(&self, told: &Told, user: &str, events: Vec<(u64, Cursor)>) -> Result<Sent, Trouble> {
        let (of, key, user) = (told.clone(), self.key.clone(), user.to_owned());
        let make = move |app: &App| {
            let who = owner(app, &key, &user)?;
            let how = Telling { kind: Kind::Event, content: of.subscription.content, base: &base(app), so_far: None, until: None };
            let message = of.tell(app, &who, &how, &events)?;
            app.subscriptions().state()?.sending(&key, events.get(..message.events).unwrap_or_default())?;
            Ok(message)
        };
        Ok(send(&self.app, told, &self.slot, make).await?)
    }
}

/// The numbers of events: those that were `sent` before have theirs, others the next ones after all that were given. `told` is the last
/// that was taken. All are in the order of their places, but what was sent for other criteria than now.
fn numbered(events: impl Iterator<Item = Cursor>, told: u64, mut sent: &[(u64, Cursor)]) -> Vec<(u64, Cursor)> {
    let place = |cursor: Cursor| (cursor.commit, cursor.resource);
    let mut next = told + 1;
    let number = |at: Cursor| {
        // Sent, and not there any more: it was erased.
        while let Some(((number, _), rest)) = sent.split_first().filter(|((_, cursor), _)| place(*cursor) < place(at)) {
            (next, sent) = (next.max(number + 1), rest);
        }
        let number = match sent.split_first() {
            Some(((number, cursor), rest)) if *cursor == at && *number >= next => {
                sent = rest;
                *number
            }
            // Something comes before what was sent: that is told anew.
            Some(_) => {
                let last = sent.last().map_or(0, |(number, _)| *number);
                sent = &[];
                next.max(last + 1)
            }
            None => next,
        };
        next = number + 1;
        (number, at)
    };
    events.map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dugnad_kernel::ids::ResourceOrdinal;

    fn at(commit: u64) -> Cursor {
        Cursor { commit: Commit(commit), resource: ResourceOrdinal(1) }
    }

    /// The next event took the number of one that had been sent, and was erased before it was taken.
    #[test]
    fn a_number_is_of_one_event() {
        let of = |events: &[u64], told, sent: &[(u64, u64)]| -> Vec<(u64, u64)> {
            let sent: Vec<_> = sent.iter().map(|(number, commit)| (*number, at(*commit))).collect();
            numbered(events.iter().map(|commit| at(*commit)), told, &sent).into_iter().map(|(number, at)| (number, at.commit.0)).collect()
        };
        assert_eq!(of(&[10, 20], 4, &[]), [(5, 10), (6, 20)]);
        assert_eq!(of(&[10, 20, 30], 4, &[(5, 10), (6, 20)]), [(5, 10), (6, 20), (7, 30)], "again");
        assert_eq!(of(&[20, 30], 4, &[(5, 10), (6, 20)]), [(6, 20), (7, 30)], "the first was erased");
        assert_eq!(of(&[10, 30], 4, &[(5, 10), (6, 20)]), [(5, 10), (7, 30)], "the second was");
        assert_eq!(of(&[30], 4, &[(5, 10), (6, 20)]), [(7, 30)], "both were");
        assert_eq!(of(&[5, 10, 20], 4, &[(5, 10), (6, 20)]), [(7, 5), (8, 10), (9, 20)], "other criteria");
    }
}
