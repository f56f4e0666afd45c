//! A document of somebody else's, fetched when it is needed and kept for a while. All of this blocks.

use super::keysets::FetchError;
use crate::limits::{FETCH_AGAIN_AFTER, FETCH_RETRY_AFTER, KEYS_FRESH, KEYS_KEPT};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

/// A document, as long as it may be relied on.
#[derive(Debug)]
pub(super) struct Fetched<T> {
    state: Mutex<State<T>>,
    /// Held by whoever fetches.
    fetching: Mutex<()>,
}

#[derive(Debug)]
struct State<T> {
    kept: Option<(Arc<T>, Instant)>,
    tried: Option<Instant>,
    failed: Option<FetchError>,
}

impl<T> Default for Fetched<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { kept: None, tried: None, failed: None }), fetching: Mutex::default() }
    }
}

impl<T> Fetched<T> {
    /// The document. It is fetched again when it has become old, or if it does not serve and nobody has tried in the last minute; an
    /// old one is relied on for a while if that fails, and while somebody else fetches.
    pub(super) fn get(&self, serves: impl Fn(&T) -> bool, fetch: impl FnOnce() -> Result<T, FetchError>) -> Result<Arc<T>, FetchError> {
        self.get_by(&Instant::now, serves, fetch)
    }

    fn get_by(
        &self,
        clock: &dyn Fn() -> Instant,
        serves: impl Fn(&T) -> bool,
        fetch: impl FnOnce() -> Result<T, FetchError>,
    ) -> Result<Arc<T>, FetchError> {
        if let Some(known) = self.state().known(clock(), &serves) {
            return known;
        }
        let _one = match self.fetching.try_lock() {
            Ok(one) => one,
            Err(TryLockError::Poisoned(one)) => one.into_inner(),
            Err(TryLockError::WouldBlock) => {
                if let Some(kept) = self.state().reliable(clock()).filter(|kept| serves(kept)) {
                    return Ok(kept);
                }
                // A fetch is bounded in time: waiting for it is better than another.
                self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
            }
        };
        if let Some(known) = self.state().known(clock(), &serves) {
            return known;
        }
        let fetched = fetch().map(Arc::new);
        let (now, mut state) = (clock(), self.state());
        state.tried = Some(now);
        state.failed = fetched.as_ref().err().cloned();
        match (fetched, state.reliable(now)) {
            (Ok(new), _) => {
                state.kept = Some((Arc::clone(&new), now));
                Ok(new)
            }
            (Err(error), Some(kept)) => {
                tracing::warn!(%error, "what was fetched before is used for a while");
                Ok(kept)
            }
            (Err(error), None) => Err(error),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// What is answered without fetching.
    fn known(&self, now: Instant, serves: impl Fn(&T) -> bool) -> Option<Result<Arc<T>, FetchError>> {
        let since = |at: Instant| now.saturating_duration_since(at);
        let lately = self.tried.is_some_and(|tried| since(tried) < FETCH_AGAIN_AFTER);
        let fresh = self.kept.as_ref().filter(|(kept, at)| since(*at) < KEYS_FRESH && serves(kept)).map(|(kept, _)| Arc::clone(kept));
        if let Some(kept) = fresh.or_else(|| self.reliable(now).filter(|_| lately)) {
            return Some(Ok(kept));
        }
        let just = self.tried.is_some_and(|tried| since(tried) < FETCH_RETRY_AFTER);
        self.failed.clone().filter(|_| just).map(Err)
    }

    /// What was fetched, if that is not too long ago.
    fn reliable(&self, now: Instant) -> Option<Arc<T>> {
        let (kept, at) = self.kept.as_ref()?;
        (now.saturating_duration_since(*at) < KEYS_KEPT).then(|| Arc::clone(kept))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn silent() -> FetchError {
        FetchError::Unreachable { url: "https://login.example.no".to_owned(), what: "it does not answer".to_owned() }
    }

    /// A document with a clock of its own; each fetch takes five seconds.
    struct Bench {
        fetched: Fetched<u32>,
        now: Cell<Instant>,
        fetches: Cell<u32>,
    }

    impl Bench {
        fn new() -> Self {
            Self { fetched: Fetched::default(), now: Cell::new(Instant::now()), fetches: Cell::new(0) }
        }

        fn after(&self, time: Duration) -> &Self {
            self.now.set(self.now.get() + time);
            self
        }

        fn get(&self, serves: bool, answers: Result<u32, FetchError>) -> Option<u32> {
            let fetch = || {
                self.fetches.set(self.fetches.get() + 1);
                self.after(5 * SECOND);
                answers
            };
            self.fetched.get_by(&|| self.now.get(), |_| serves, fetch).ok().map(|kept| *kept)
        }
    }

    #[test]
    fn it_is_fetched_when_it_is_needed_and_when_it_is_old() {
        let bench = Bench::new();
        assert_eq!((bench.get(true, Ok(1)), bench.get(true, Ok(2)), bench.fetches.get()), (Some(1), Some(1), 1));
        assert_eq!(bench.after(KEYS_FRESH).get(true, Ok(3)), Some(3));
        assert_eq!((bench.get(false, Ok(4)), bench.fetches.get()), (Some(3), 2), "it was fetched in the last minute");
        assert_eq!(bench.after(FETCH_AGAIN_AFTER).get(false, Ok(5)), Some(5));
    }

    /// A provider that has gone silent costs somebody five seconds a minute, and not everybody.
    #[test]
    fn an_old_one_is_relied_on_and_a_silent_server_is_asked_once_a_minute() {
        let bench = Bench::new();
        bench.get(true, Ok(1));
        bench.after(KEYS_FRESH);
        for minute in 2..40 {
            assert_eq!((bench.get(true, Err(silent())), bench.fetches.get()), (Some(1), minute));
            for _ in 0..9 {
                assert_eq!(bench.after(5 * SECOND).get(true, Err(silent())), Some(1));
            }
            assert_eq!(bench.fetches.get(), minute);
            bench.after(FETCH_AGAIN_AFTER - 45 * SECOND);
        }
        assert_eq!(bench.after(KEYS_KEPT).get(true, Err(silent())), None);
        let fetches = bench.fetches.get();
        assert_eq!((bench.get(true, Ok(2)), bench.fetches.get()), (None, fetches), "those who waited do not wait for another");
        assert_eq!(bench.after(FETCH_RETRY_AFTER).get(true, Ok(2)), Some(2));
    }

    #[test]
    fn who_comes_while_it_is_fetched_makes_do_with_what_there_is() {
        let bench = Bench::new();
        bench.get(true, Ok(1));
        bench.after(KEYS_FRESH);
        let (later, Bench { fetched, .. }) = (bench.now.get(), bench);
        let ((begun, has_begun), (go_on, may_go_on)) = (channel(), channel());
        std::thread::scope(|scope| {
            let fetched = &fetched;
            let fetch = move || {
                begun.send(()).unwrap();
                may_go_on.recv().unwrap();
                Ok(2)
            };
            let one = scope.spawn(move || fetched.get_by(&|| later, |_| true, fetch).map(|kept| *kept));
            has_begun.recv().unwrap();
            let other = fetched.get_by(&|| later, |_| true, || Err(silent())).map(|kept| *kept);
            assert!(matches!(other, Ok(1)), "{other:?}");
            go_on.send(()).unwrap();
            assert!(matches!(one.join().unwrap(), Ok(2)));
        });
    }
}
