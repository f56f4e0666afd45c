//! Sending to an endpoint: one request, and whether it was taken.

use super::telling::{Message, Told};
use super::{Slot, Subscriptions};
use crate::api::{ApiError, App, outgoing};
use crate::limits::NOTIFICATIONS_OF_ONE;
use std::sync::Arc;
use tokio::sync::Semaphore;
use ureq::Agent;
use ureq::http::{HeaderName, Request};

/// Why something was not sent.
#[derive(Debug)]
pub enum Unsent {
    /// The endpoint has not taken it; a sentence without its address.
    NotTaken(String),
    /// It may not be called.
    NotAllowed(&'static str),
    /// The Subscription was written meanwhile.
    Overtaken,
    /// It could not be said what is to be sent.
    Failed(ApiError),
}

/// What has become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// How many of the events it was to tell of are done with.
    pub events: usize,
    /// Whether there was something to send; it was taken then.
    pub taken: bool,
}

/// Makes a message and sends it to the endpoint of a Subscription; an empty one as a request without a body.
///
/// Order: the places; that nobody has written the Subscription; what is to be said, which is read now; the request. So nothing that
/// was read waits, and what was taken back meanwhile (a Subscription, a token, a person's data) is not sent.
pub async fn send(
    app: &App,
    told: &Told,
    slot: &Arc<Slot>,
    make: impl FnOnce(&App) -> Result<Message, ApiError> + Send + 'static,
) -> Result<Sent, Unsent> {
    let subscriptions = app.subscriptions();
    let endpoint = told.subscription.endpoint.clone().unwrap_or_default();
    if let Some(refusal) = outgoing::refusal(&app.settings().endpoints, &endpoint) {
        return Err(Unsent::NotAllowed(refusal));
    }
    // The hospital's own places first: those who wait for a slow one hold none of the others'.
    let (own, all) = (subscriptions.places_of(&told.key.holder), Arc::clone(&subscriptions.places));
    let places = async { (own.acquire_owned().await, all.acquire_owned().await) };
    let (own, all) = tokio::select! {
        (Ok(own), Ok(all)) = places => (own, all),
        () = slot.poked() => return Err(Unsent::Overtaken),
        else => return Err(Unsent::NotTaken("the server is stopping".to_owned())),
    };
    let (app, slot, agent, headers) = (app.clone(), Arc::clone(slot), subscriptions.agent.clone(), told.subscription.headers.clone());
    let send = move || {
        let _places = (own, all);
        if slot.is_poked() {
            return Err(Unsent::Overtaken);
        }
        let Message { body, events } = make(&app).map_err(Unsent::Failed)?;
        let Some(body) = body else { return Ok(Sent { events, taken: false }) };
        post(&agent, &endpoint, &headers, body).map(|()| Sent { events, taken: true }).map_err(Unsent::NotTaken)
    };
    tokio::task::spawn_blocking(send).await.unwrap_or_else(|_| Err(Unsent::NotTaken("the server failed while it sent this".to_owned())))
}

fn post(agent: &Agent, endpoint: &str, headers: &[(String, String)], body: Vec<u8>) -> Result<(), String> {
    let mut request = Request::post(endpoint);
    for (name, value) in headers {
        request = request.header(HeaderName::try_from(name).map_err(|_| "a header of the channel is none".to_owned())?, value);
    }
    if !body.is_empty() {
        request = request.header("Content-Type", "application/fhir+json");
    }
    let request = request.body(body).map_err(|_| "the endpoint is no address".to_owned())?;
    // What it answers is not read: only whether it has taken it.
    match agent.run(request) {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) if answer.status().is_redirection() => {
            Err(format!("the endpoint answered {}; redirections are not followed", answer.status().as_u16()))
        }
        Ok(answer) => Err(format!("the endpoint answered {}", answer.status().as_u16())),
        Err(error) => Err(outgoing::unreached(&error).to_owned()),
    }
}

impl Subscriptions {
    /// The places of one hospital's requests.
    fn places_of(&self, holder: &str) -> Arc<Semaphore> {
        let mut of = self.of_holder.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(of.entry(holder.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(NOTIFICATIONS_OF_ONE))))
    }
}
