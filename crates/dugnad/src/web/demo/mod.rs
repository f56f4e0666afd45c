//! The demo: one page that shows treatments as they arrive and what each permit sees of them.

mod page;
mod state;

pub use state::{
    Arrival, AuthorityView, Cell, Checkpoint, DemoState, Freshness, KindCount, LATEST, RECENT, StatisticsView, StudyView, TableRows,
    time_in_norway,
};

use super::assets;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::StreamExt;
use maud::Markup;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};
use tokio_stream::wrappers::WatchStream;

/// How many pages may listen at once: each holds a connection, and a state is about 10 kB a second.
const LISTENERS: usize = 64;

#[derive(Clone)]
struct Shared {
    state: watch::Receiver<DemoState>,
    places: Arc<Semaphore>,
}

/// `/`, `/demo/events` and the files they need. The streams end when the sender of `state` is dropped.
pub fn routes(state: watch::Receiver<DemoState>) -> Router {
    let shared = Shared { state, places: Arc::new(Semaphore::new(LISTENERS)) };
    let pages = Router::new().route("/", get(show)).route("/demo/events", get(events)).with_state(shared);
    assets::secured(pages.merge(assets::routes()))
}

async fn show(State(shared): State<Shared>) -> Markup {
    let state = shared.state.borrow().clone();
    page::page(&state)
}

async fn events(State(shared): State<Shared>) -> Response {
    let Ok(place) = shared.places.try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "10")], "too many pages are listening; close one or try again")
            .into_response();
    };
    let states = WatchStream::new(shared.state).map(move |state| {
        // The place is given back when the stream is dropped, that is when the page goes away.
        let _held = &place;
        Ok::<_, Infallible>(Event::default().json_data(&state).unwrap_or_else(|_| Event::default().comment("a state could not be written")))
    });
    ([(CACHE_CONTROL, "no-store")], Sse::new(states).keep_alive(KeepAlive::default())).into_response()
}
