//! Who is told: a task for each Subscription that is asked for or active, which wakes with each commit. One that is not wanted, or was
//! given up, has none until it is written again.

use super::Slot;
use super::state::Key;
use super::task::Task;
use crate::api::{ApiError, App};
use crate::limits::{COMMITS_LOOKED_AT_EVERY, SUBSCRIPTION_LOOKS_EVERY};
use dugnad_kernel::ids::Commit;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

/// Tells everybody, until it is dropped.
pub async fn run(app: App) {
    if !app.settings().endpoints.is_empty() && app.settings().public_url.is_none() {
        tracing::warn!("without public_url, notifications of Subscriptions name this server http://localhost/fhir");
    }
    tokio::join!(find(&app), tell(&app));
}

/// Has all Subscriptions looked at that there are, and all that something is known of: one may have been deleted and not forgotten.
async fn find(app: &App) {
    let look = || async {
        let place = app.subscriptions().enter_looks().await?;
        app.on_thread(place, all).await
    };
    app.subscriptions().poke(until_read(look).await);
}

/// What `look` finds, as soon as it can: a table that is damaged is built anew meanwhile.
async fn until_read<F: Future<Output = Result<Vec<Key>, ApiError>>>(mut look: impl FnMut() -> F) -> Vec<Key> {
    loop {
        match look().await {
            Ok(keys) => return keys,
            Err(error) => tracing::error!(%error, "the Subscriptions cannot be read; it is tried again"),
        }
        tokio::time::sleep(SUBSCRIPTION_LOOKS_EVERY).await;
    }
}

fn all(app: &App) -> Result<Vec<Key>, ApiError> {
    let mut keys = app.subscriptions().state()?.keys(None)?;
    for holder in app.database().holders() {
        keys.extend(super::of_holder(app, holder.id)?.into_iter().map(|id| Key { holder: holder.name.clone(), id }));
    }
    Ok(keys)
}

async fn tell(app: &App) {
    let subscriptions = app.subscriptions();
    let commits = subscriptions.commits();
    let mut crew = Crew::default();
    let mut look = tokio::time::interval(COMMITS_LOOKED_AT_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let begun = tokio::select! {
            _ = look.tick() => {
                let newest = app.database().snapshot().commit();
                subscriptions.published.send_if_modified(|commit| std::mem::replace(commit, newest) != newest);
                continue;
            }
            () = subscriptions.poked() => subscriptions.take_poked().into_iter().collect(),
            Some(key) = crew.ended() => if subscriptions.end(&key) { vec![key] } else { Vec::new() },
        };
        for key in begun {
            if let Some(slot) = subscriptions.begin(&key) {
                crew.start(key.clone(), work(app, key, slot, commits.clone()));
            }
        }
    }
}

fn work(app: &App, key: Key, slot: Arc<Slot>, commits: watch::Receiver<Commit>) -> impl Future<Output = ()> + Send + 'static {
    Task { app: app.clone(), key, slot, commits }.run()
}

/// The tasks, and whose each is: also that of one that panics, so that its Subscription is found again when it is written.
#[derive(Default)]
struct Crew {
    tasks: JoinSet<()>,
    keys: HashMap<Id, Key>,
}

impl Crew {
    fn start(&mut self, key: Key, task: impl Future<Output = ()> + Send + 'static) {
        self.keys.insert(self.tasks.spawn(task).id(), key);
    }

    /// Whose task has ended; `None` if there is none.
    async fn ended(&mut self) -> Option<Key> {
        let id = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "who tells of a Subscription has failed; it goes on when it is written, or at a start");
                error.id()
            }
        };
        self.keys.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One look that failed at the start, and nobody was told anything until the next.
    #[tokio::test]
    async fn it_is_looked_again_until_they_can_be_read() {
        let (mut looks, key) = (0, Key { holder: "Haukeland".to_owned(), id: "a".to_owned() });
        let look = || {
            looks += 1;
            std::future::ready(if looks < 2 { Err(ApiError::busy("a test", 1)) } else { Ok(vec![key.clone()]) })
        };
        assert_eq!(until_read(look).await, [key]);
    }

    /// The key of a task that had panicked was lost: its Subscription could be written as often as one liked.
    #[tokio::test]
    async fn a_task_that_panics_gives_its_key_back() {
        let key = |id: &str| Key { holder: "Haukeland".to_owned(), id: id.to_owned() };
        let mut crew = Crew::default();
        #[expect(clippy::panic, reason = "that is what is tested")]
        crew.start(key("a"), async { panic!("a test") });
        assert_eq!(crew.ended().await, Some(key("a")));
        crew.start(key("b"), async {});
        assert_eq!((crew.ended().await, crew.ended().await), (Some(key("b")), None));
        assert!(crew.keys.is_empty());
    }
}
