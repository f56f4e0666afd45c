//! Sending to an endpoint: one request, and whether it was taken.

use super::Subscriptions;
use super::telling::Told;
use crate::api::{ApiError, App, outgoing};
use crate::limits::NOTIFICATIONS_OF_ONE;
use std::sync::Arc;
use tokio::sync::Semaphore;
use ureq::Agent;
use ureq::http::{HeaderName, Request};

/// Why something was not sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Unsent {
    /// The endpoint has not taken it; a sentence without its address.
    NotTaken(String),
    /// It may not be called.
    NotAllowed(&'static str),
}

/// Sends `body` to the endpoint of a Subscription; an empty one as none.
pub async fn send(app: &App, told: &Told, body: Vec<u8>) -> Result<(), Unsent> {
    let subscriptions = app.subscriptions();
    let endpoint = told.subscription.endpoint.clone().unwrap_or_default();
    if let Some(refusal) = outgoing::refusal(&app.settings().endpoints, &endpoint) {
        return Err(Unsent::NotAllowed(refusal));
    }
    // The hospital's own places first: those who wait for a slow one hold none of the others'.
    let (own, all) = (subscriptions.places_of(&told.key.holder), Arc::clone(&subscriptions.places));
    let (Ok(own), Ok(all)) = (own.acquire_owned().await, all.acquire_owned().await) else {
        return Err(Unsent::NotTaken("the server is stopping".to_owned()));
    };
    let (agent, headers) = (subscriptions.agent.clone(), told.subscription.headers.clone());
    let send = move || {
        let _places = (own, all);
        post(&agent, &endpoint, &headers, body)
    };
    match tokio::task::spawn_blocking(send).await {
        Ok(taken) => taken.map_err(Unsent::NotTaken),
        Err(_) => Err(Unsent::NotTaken("the server failed while it sent this".to_owned())),
    }
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

/// Whether a failure of the server's own passes by itself.
pub fn passes(error: &ApiError) -> bool {
    error.status.is_server_error()
}
