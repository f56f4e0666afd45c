//! Who is told: a task for each Subscription, which wakes with each commit.
//!
//! A task reads its Subscription's newest version, makes an active one of what is asked for, and tells its endpoint of one
//! notification after the other. It holds a place in the journal and some numbers of versions, however far it is behind; no writer
//! waits for it. Order: the events are found; they are read, which is on the record; they are sent; the endpoint has taken them; the
//! new place is written. A crash anywhere before the last step sends them again.

use super::Slot;
use super::sending::{Unsent, passes, send};
use super::state::{Key, Row};
use super::telling::{Telling, Told};
use crate::access::{Principal, Role};
use crate::api::{ApiError, App, headers};
use crate::limits::{COMMITS_LOOKED_AT_EVERY, MAX_SUBSCRIPTIONS, MAX_SUBSCRIPTIONS_OF_ONE, SUBSCRIPTION_LOOKS_EVERY};
use axum::http::{HeaderMap, StatusCode};
use dugnad_kernel::audit::Act;
use dugnad_kernel::database::{Handling, Interaction, WriteRequest, end_of};
use dugnad_kernel::fhir::patch::Format;
use dugnad_kernel::ids::Commit;
use dugnad_kernel::search::execute::Cursor;
use dugnad_kernel::subscription::Status;
use dugnad_kernel::subscription::notification::Kind;
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Tells everybody, until it is dropped.
pub async fn run(app: App) {
    let commits = app.subscriptions().commits();
    let mut tasks: JoinSet<Key> = JoinSet::new();
    let mut slots: BTreeMap<Key, Arc<Slot>> = BTreeMap::new();
    match app.enter_reads().await {
        Ok(place) => match app.on_thread(place, all).await {
            Ok(keys) => app.subscriptions().poke(keys),
            Err(error) => tracing::error!(%error, "the Subscriptions could not be read"),
        },
        Err(error) => tracing::error!(%error, "the Subscriptions could not be read"),
    }
    let mut look = tokio::time::interval(COMMITS_LOOKED_AT_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {
                let newest = app.database().snapshot().commit();
                app.subscriptions().published.send_if_modified(|commit| std::mem::replace(commit, newest) != newest);
            }
            () = app.subscriptions().poked() => {
                for key in app.subscriptions().take_poked() {
                    match slots.get(&key) {
                        Some(slot) => slot.poke(),
                        None => start(&app, &mut tasks, &mut slots, key, &commits),
                    }
                }
            }
            Some(ended) = tasks.join_next() => {
                // A panic ends the task of one Subscription: it is found again when it is written, or at a start.
                let Ok(key) = ended else { continue };
                let again = slots.remove(&key).is_some_and(|slot| slot.is_poked());
                app.subscriptions().remove(&key);
                if again {
                    start(&app, &mut tasks, &mut slots, key, &commits);
                }
            }
        }
    }
}

fn start(app: &App, tasks: &mut JoinSet<Key>, slots: &mut BTreeMap<Key, Arc<Slot>>, key: Key, commits: &watch::Receiver<Commit>) {
    let slot = Arc::new(Slot::default());
    slots.insert(key.clone(), Arc::clone(&slot));
    app.subscriptions().add(&key, &slot);
    let task = Task { app: app.clone(), key: key.clone(), slot, commits: commits.clone() };
    tasks.spawn(async move {
        task.run().await;
        key
    });
}

/// All Subscriptions that there are.
fn all(app: &App) -> Result<Vec<Key>, ApiError> {
    let mut keys = Vec::new();
    for holder in app.database().holders() {
        keys.extend(super::of_holder(app, holder.id)?.into_iter().map(|id| Key { holder: holder.name.clone(), id }));
    }
    Ok(keys)
}

struct Task {
    app: App,
    key: Key,
    slot: Arc<Slot>,
    commits: watch::Receiver<Commit>,
}

/// What a Subscription's newest version asks for.
enum Asked {
    /// It was deleted.
    Gone,
    /// Nothing, until it is written again.
    Nothing(Status),
    /// To be made active.
    Activate(Box<Told>, Row, Commit),
    /// To be told.
    Tell(Box<Told>, Row),
    /// It cannot be.
    Fail(u64, String),
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

/// What an error says, without its status.
fn said(error: ApiError) -> String {
    error.issues.into_iter().next().map_or(String::new(), |issue| issue.diagnostics)
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        if passes(&error) { Self::Later } else { Self::Hopeless(said(error)) }
    }
}

impl Task {
    async fn run(mut self) {
        loop {
            self.slot.take_poke();
            let again = match self.asked().await {
                Ok(Asked::Gone) => return,
                Ok(Asked::Nothing(status)) => {
                    self.slot.set(status, None);
                    self.slot.poked().await;
                    continue;
                }
                Ok(Asked::Fail(version, why)) => self.fail(version, &why).await,
                Ok(Asked::Activate(told, row, commit)) => {
                    self.slot.set(Status::Requested, None);
                    self.activate(*told, &row, commit).await
                }
                Ok(Asked::Tell(told, row)) => self.tell(&told, row).await,
                Err(error) => Err(error),
            };
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
        let (place, key) = (self.app.enter_reads().await?, self.key.clone());
        self.app.on_thread(place, move |app| job(app, &key)).await
    }

    async fn asked(&self) -> Result<Asked, ApiError> {
        self.on_thread(asked).await
    }

    /// Makes it active: its endpoint is there and wants it.
    async fn activate(&self, told: Told, row: &Row, commit: Commit) -> Result<(), ApiError> {
        if told.subscription.endpoint.is_some() {
            let base = base(&self.app);
            let mut tries = 0;
            while let Some(body) = told.handshake(&self.app, &base) {
                let pace = &self.app.settings().pace;
                match send(&self.app, &told, body).await {
                    Ok(()) => break,
                    Err(Unsent::NotAllowed(why)) => return self.fail(told.version, why).await,
                    Err(Unsent::NotTaken(why)) if tries >= pace.handshakes => {
                        return self.fail(told.version, &format!("the handshake was not answered: {why}")).await;
                    }
                    Err(Unsent::NotTaken(_)) => {
                        self.pause(pace.after(tries)).await;
                        tries += 1;
                        if self.slot.is_poked() {
                            return Ok(());
                        }
                    }
                }
            }
        }
        let (version, from) = (told.version, end_of(commit));
        tracing::debug!(user = row.user, "a Subscription becomes active");
        let active = told.status == Status::Active;
        self.on_thread(move |app, key| {
            // Written before the version is: of a crash between the two, the next start knows whose version it is.
            let next = if active { version } else { version + 1 };
            app.subscriptions().state()?.activate(key, next, from)?;
            if active { Ok(()) } else { set_status(app, key, version, Status::Active, None) }
        })
        .await
    }

    async fn fail(&self, version: u64, why: &str) -> Result<(), ApiError> {
        let why = why.to_owned();
        self.on_thread(move |app, key| {
            app.subscriptions().state()?.deactivate(key, false)?;
            set_status(app, key, version, Status::Error, Some(&why))
        })
        .await
    }

    /// Tells of one notification after the other, until it is written anew or cannot be told any more.
    async fn tell(&mut self, told: &Told, mut row: Row) -> Result<(), ApiError> {
        let mut waiting: VecDeque<Cursor> = VecDeque::new();
        let (mut looked, mut tries) = (row.cursor, 0);
        self.slot.set(Status::Active, Some(row.cursor.commit));
        while !self.slot.is_poked() {
            if told.subscription.end.is_some_and(|end| end <= self.app.now()) {
                return self.end(told.version).await;
            }
            if waiting.is_empty() && told.subscription.endpoint.is_some() {
                let (found, upto) = self.look(told, looked).await?;
                waiting.extend(found);
                looked = upto;
                if waiting.is_empty() {
                    self.passed(&mut row, looked).await?;
                }
            }
            if waiting.is_empty() {
                let newest = *self.commits.borrow_and_update();
                if looked.commit >= newest || told.subscription.endpoint.is_none() {
                    self.wait().await;
                }
                continue;
            }
            match self.one(told, &row, &waiting).await {
                Ok((count, events)) => {
                    let upto = waiting.get(count.saturating_sub(1)).copied().unwrap_or(looked);
                    let at: Vec<Cursor> = waiting.drain(..count).collect();
                    let (key, first) = (self.key.clone(), row.events + 1);
                    (row.cursor, tries) = (upto, 0);
                    row.events += events;
                    let at = if events == 0 { Vec::new() } else { at };
                    self.on_thread(move |app, _| app.subscriptions().state()?.told(&key, upto, first, &at)).await?;
                    self.app.subscriptions().delivered.fetch_add(1, Ordering::Relaxed);
                    self.slot.set(Status::Active, Some(upto.commit));
                }
                Err(Trouble::Later) => self.pause(SUBSCRIPTION_LOOKS_EVERY).await,
                Err(Trouble::Hopeless(why)) => return self.fail(told.version, &why).await,
                Err(Trouble::NotTaken(why)) => {
                    self.app.subscriptions().failed.fetch_add(1, Ordering::Relaxed);
                    let pace = &self.app.settings().pace;
                    if tries + 1 >= pace.tries {
                        let why = format!("given up after {} attempts: {why}; PUT it with the status requested, and it goes on", tries + 1);
                        return self.fail(told.version, &why).await;
                    }
                    self.pause(pace.after(tries)).await;
                    tries += 1;
                }
            }
        }
        Ok(())
    }

    async fn look(&self, told: &Told, after: Cursor) -> Result<(Vec<Cursor>, Cursor), ApiError> {
        let told = told.clone();
        let following = self.on_thread(move |app, _| told.next(app, after)).await?;
        Ok((following.found, following.upto))
    }

    /// Nothing up to here was for it: its place moves, and is written if it has moved far.
    async fn passed(&self, row: &mut Row, upto: Cursor) -> Result<(), ApiError> {
        self.slot.set(Status::Active, Some(upto.commit));
        if upto.commit.0 >= row.cursor.commit.0 + crate::limits::PASSED_COMMITS {
            row.cursor = upto;
            self.on_thread(move |app, key| app.subscriptions().state()?.told(key, upto, 0, &[])).await?;
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

    /// Its end has come.
    async fn end(&self, version: u64) -> Result<(), ApiError> {
        self.on_thread(move |app, key| {
            app.subscriptions().state()?.deactivate(key, true)?;
            set_status(app, key, version, Status::Off, None)
        })
        .await
    }

    /// One notification: how many places of those that wait it has told of, and how many events those were.
    async fn one(&self, told: &Told, row: &Row, waiting: &VecDeque<Cursor>) -> Result<(usize, u64), Trouble> {
        let count = waiting.len().min(told.subscription.max_count());
        let events: Vec<(u64, Cursor)> = (row.events + 1..).zip(waiting.iter().copied()).take(count).collect();
        let (of, user, base) = (told.clone(), row.user.clone(), base(&self.app));
        let so_far = row.events + count as u64;
        let message = self
            .on_thread(move |app, key| {
                let who = owner(app, key, &user)?;
                let how = Telling { kind: Kind::Event, content: of.subscription.content, base: &base, so_far };
                of.tell(app, &who, &how, &events)
            })
            .await;
        match message? {
            // All of it was erased: nobody is told, and no number is taken.
            None => Ok((count, 0)),
            Some(body) => match send(&self.app, told, body).await {
                Ok(()) => Ok((count, count as u64)),
                Err(Unsent::NotAllowed(why)) => Err(Trouble::Hopeless(why.to_owned())),
                Err(Unsent::NotTaken(why)) => Err(Trouble::NotTaken(why)),
            },
        }
    }
}

/// The address of `/fhir` in what is sent.
pub fn base(app: &App) -> String {
    headers::base(&HeaderMap::new(), app.settings())
}

/// Who asked for it, if they still may.
fn owner(app: &App, key: &Key, user: &str) -> Result<Principal, ApiError> {
    if !app.holds(user, &key.holder)? {
        return Err(ApiError::forbidden("who asked for it has no valid token any more; somebody who has one can write it again"));
    }
    Ok(Principal {
        user: user.to_owned(),
        role: Role::Hospital,
        holder: Some(key.holder.clone()),
        inside_spe: false,
        scopes: None,
        until: None,
    })
}

/// Looks what a Subscription asks for now. Blocks.
fn asked(app: &App, key: &Key) -> Result<Asked, ApiError> {
    let state = app.subscriptions().state()?;
    let holder = app.database().holder(&key.holder);
    let stored = match &holder {
        Some(holder) => app.database().read(holder.id, "Subscription", &key.id)?,
        None => None,
    };
    let (Some(holder), Some(stored)) = (holder, stored) else {
        state.forget(key)?;
        return Ok(Asked::Gone);
    };
    let Some(json) = &stored.json else {
        state.forget(key)?;
        return Ok(Asked::Gone);
    };
    let status = super::status_of(json);
    if !matches!(status, Status::Requested | Status::Active) {
        state.deactivate(key, status == Status::Off)?;
        return Ok(Asked::Nothing(status));
    }
    let fail = |why: &str| Ok(Asked::Fail(stored.version, why.to_owned()));
    let told = match Told::read(key, holder.id, stored.version, json) {
        Ok(told) => told,
        Err(issue) => return fail(&issue.diagnostics),
    };
    let Some(row) = state.row(key)? else {
        return fail("who asks for it is not known to this server, which was restored or was given it in a file: write it again");
    };
    match owner(app, key, &row.user) {
        Err(error) if error.status == StatusCode::FORBIDDEN => {
            return fail(&said(error));
        }
        owner => drop(owner?),
    }
    if let Some(endpoint) = &told.subscription.endpoint
        && let Some(refusal) = crate::api::outgoing::refusal(&app.settings().endpoints, endpoint)
    {
        return fail(refusal);
    }
    if status == Status::Active && row.activated == stored.version {
        return Ok(Asked::Tell(Box::new(told), row));
    }
    let (own, every) = state.active(&key.holder)?;
    if own >= MAX_SUBSCRIPTIONS_OF_ONE || every >= MAX_SUBSCRIPTIONS {
        return fail("too many Subscriptions are active; turn one off that is not needed");
    }
    Ok(Asked::Activate(Box::new(told), row, stored.commit))
}

/// Writes the status that the server gives it, as a version of its own; not if somebody has written it meanwhile. Blocks.
fn set_status(app: &App, key: &Key, version: u64, status: Status, why: Option<&str>) -> Result<(), ApiError> {
    let holder = app.holder_for_writing(&key.holder)?.id;
    let Some(json) = app.database().read(holder, "Subscription", &key.id)?.and_then(|stored| stored.json) else { return Ok(()) };
    let has_error = serde_json::from_slice::<serde_json::Value>(&json).is_ok_and(|resource| resource.get("error").is_some());
    let mut patch = vec![json!({"op": "replace", "path": "/status", "value": status.code()})];
    match why {
        Some(why) => patch.push(json!({"op": "add", "path": "/error", "value": why})),
        None if has_error => patch.push(json!({"op": "remove", "path": "/error"})),
        None => {}
    }
    let interaction = Interaction::Patch {
        resource_type: "Subscription".to_owned(),
        id: key.id.clone(),
        format: Format::JsonPatch,
        body: json!(patch).to_string().into_bytes(),
        if_match: Some(version),
    };
    let server = Principal {
        user: "server".to_owned(),
        role: Role::Centre,
        holder: Some(key.holder.clone()),
        inside_spe: false,
        scopes: None,
        until: None,
    };
    let request = WriteRequest { holder, interaction, handling: Handling::Strict, idempotency_key: None };
    let written = app.write_as(Act::Write, &server, request, |e| {
        e.request = Some(format!("Subscription/{} becomes {}", key.id, status.code()));
    });
    match written {
        Ok(_) => Ok(()),
        // Somebody was quicker, or it was deleted: what they wrote is looked at next.
        Err(error) if matches!(error.status, StatusCode::PRECONDITION_FAILED | StatusCode::NOT_FOUND) => Ok(()),
        Err(error) => Err(error),
    }
}
