//! What a hospital writes: transactions, and single creates, updates and deletions.

use super::binary::Raw;
use super::{Answer, Reader, min_commit};
use crate::api::answer::{self, BundleWriter};
use crate::api::auth::Hospital;
use crate::api::headers::{self, DUGNAD_COMMIT, Preferences, Return, value};
use crate::api::interaction::{self, Head};
use crate::api::{ApiError, App, batch, body};
use crate::limits::{MAX_ANSWER_BYTES, MAX_CONTENT_BYTES};
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use dugnad_kernel::database::{Handling, Interaction, WriteRequest};
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::fhir::patch::Format;
use dugnad_kernel::limits::MAX_BODY_BYTES;

/// The types of Bundles that are neither a transaction nor a batch.
const BUNDLES: [&str; 7] = ["document", "message", "transaction-response", "batch-response", "history", "searchset", "collection"];

pub async fn transaction(State(app): State<App>, hospital: Hospital, headers: HeaderMap, RawQuery(query): RawQuery, body: Body) -> Answer {
    headers::require_json_accepted(&headers, query.as_deref())?;
    headers::require_json_body(&headers)?;
    let idempotency_key = headers::idempotency_key(&headers)?;
    let preferences = Preferences::parse(&headers);
    let (bytes, claim) = body::read(&app, &headers, body, MAX_BODY_BYTES).await?.into_parts();
    let bundle_type = Head::of(&bytes).bundle_type().map(str::to_owned);
    if bundle_type.as_deref() == Some("batch") {
        let (commit, base) = (min_commit(&app, &headers).await?, headers::base(&headers, app.settings()));
        let batch = batch::Batch { hospital, preferences, idempotency_key, commit, base };
        return batch.run(app, bytes, claim).await;
    }
    if let Some(kind) = bundle_type.filter(|kind| BUNDLES.contains(&kind.as_str())) {
        let what = format!("a Bundle of type {kind} asks for nothing: it is stored as the resource that it is with POST /fhir/Bundle");
        return Err(ApiError::bad_request(IssueType::Value, what).at("Bundle.type"));
    }
    let base = headers::base(&headers, app.settings());
    let place = app.enter_writes().await?;
    let wanted = preferences.answer.unwrap_or(Return::Minimal);
    app.on_thread(place, move |app| {
        let _claim = claim;
        let holder = app.holder_for_writing(&hospital.holder)?.id;
        let request = WriteRequest {
            holder,
            interaction: Interaction::Transaction { body: bytes },
            handling: preferences.handling.unwrap_or_default(),
            idempotency_key,
        };
        let outcome = app.write_recorded(&hospital.who, request, "POST /fhir (transaction)")?;
        if outcome.replayed {
            return Ok(answer::replayed(&outcome));
        }
        let strict = preferences.handling == Some(Handling::Strict);
        let reader = Reader { hospital, base, strict, commit: Some(outcome.commit) };
        let mut bundle = BundleWriter::new("transaction-response");
        for entry in &outcome.entries {
            if let Some(url) = &entry.read {
                reader.read_entry(app, url, &mut bundle);
                continue;
            }
            // Once the answer is large enough, the rest is answered without bodies: the transaction is done and must be told.
            let resource = if wanted == Return::Representation && bundle.len() < MAX_ANSWER_BYTES {
                answer::representation(app, holder, entry)?
            } else {
                None
            };
            bundle.entry(&answer::entry_response(entry, outcome.time, wanted), resource.as_deref());
        }
        let mut response = answer::fhir(StatusCode::OK, bundle.finish());
        response.headers_mut().insert(DUGNAD_COMMIT, value(&outcome.commit.to_string()));
        Ok(response)
    })
    .await
}

pub async fn create(
    State(app): State<App>,
    hospital: Hospital,
    Path(kind): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    headers::require_json_accepted(&headers, query.as_deref())?;
    let raw = body_of(&kind, &headers)?;
    let resource_type = interaction::known_type(&kind)?;
    // Passed over, criteria in the address would make a second resource where there is one.
    let in_address = Some(interaction::criteria(query.as_deref().unwrap_or_default())).filter(|criteria| !criteria.is_empty());
    let if_none_exist = match (headers::if_none_exist(&headers)?, in_address) {
        (Some(_), Some(_)) => {
            let what = "a conditional create has its criteria in the header If-None-Exist or in the address, not in both";
            return Err(ApiError::bad_request(IssueType::Invalid, what));
        }
        (header, address) => header.or(address),
    };
    let summary = format!("POST /fhir/{resource_type}{}", if if_none_exist.is_some() { " (conditional)" } else { "" });
    let limit = limit(raw.as_ref());
    let make = move |body| Interaction::Create { resource_type, body: resource(raw, None, body), if_none_exist };
    write(app, hospital, headers, (body, limit), summary, make).await
}

pub async fn update(
    State(app): State<App>,
    hospital: Hospital,
    Path((kind, id)): Path<(String, String)>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    headers::require_json_accepted(&headers, query.as_deref())?;
    let raw = body_of(&kind, &headers)?;
    let (resource_type, id) = (interaction::known_type(&kind)?, interaction::writable_id(&id)?);
    let if_match = headers::if_match(&headers)?;
    let summary = format!("PUT /fhir/{resource_type}/{id}");
    let limit = limit(raw.as_ref());
    let make = move |body| {
        let body = resource(raw, Some(&id), body);
        Interaction::Update { resource_type, id, body, if_match }
    };
    write(app, hospital, headers, (body, limit), summary, make).await
}

pub async fn update_matching(
    State(app): State<App>,
    hospital: Hospital,
    Path(kind): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    headers::require_json_accepted(&headers, query.as_deref())?;
    headers::require_json_body(&headers)?;
    let resource_type = interaction::known_type(&kind)?;
    let what = "an update needs an id (PUT /fhir/Patient/1) or criteria (PUT /fhir/Patient?identifier=system|value)";
    let query = criteria(query.as_deref(), what)?;
    let summary = format!("PUT /fhir/{resource_type} (conditional)");
    let make = move |body| Interaction::UpdateMatching { resource_type, query, body };
    write(app, hospital, headers, (body, MAX_BODY_BYTES), summary, make).await
}

pub async fn patch(
    State(app): State<App>,
    hospital: Hospital,
    Path((kind, id)): Path<(String, String)>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    headers::require_json_accepted(&headers, query.as_deref())?;
    let format = headers::patch_format(&headers)?;
    let (resource_type, id) = (interaction::known_type(&kind)?, interaction::readable_id(&id)?);
    let if_match = headers::if_match(&headers)?;
    let summary = format!("PATCH /fhir/{resource_type}/{id}");
    let make = move |body: Vec<u8>| Interaction::Patch { resource_type, id, format: form(format, &body), body, if_match };
    write(app, hospital, headers, (body, MAX_BODY_BYTES), summary, make).await
}

pub async fn patch_matching(
    State(app): State<App>,
    hospital: Hospital,
    Path(kind): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    headers::require_json_accepted(&headers, query.as_deref())?;
    let format = headers::patch_format(&headers)?;
    let resource_type = interaction::known_type(&kind)?;
    let what = "a patch needs an id (PATCH /fhir/Patient/1) or criteria (PATCH /fhir/Patient?identifier=system|value)";
    let query = criteria(query.as_deref(), what)?;
    let if_match = headers::if_match(&headers)?;
    let summary = format!("PATCH /fhir/{resource_type} (conditional)");
    let make = move |body: Vec<u8>| Interaction::PatchMatching { resource_type, query, format: form(format, &body), body, if_match };
    write(app, hospital, headers, (body, MAX_BODY_BYTES), summary, make).await
}

/// Clients that say `application/json` of everything send JSON Patches under it too: an array is nothing else.
fn form(said: Format, body: &[u8]) -> Format {
    let is_array = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if is_array { Format::JsonPatch } else { said }
}

pub async fn delete(
    State(app): State<App>,
    hospital: Hospital,
    Path((kind, id)): Path<(String, String)>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Answer {
    headers::require_json_accepted(&headers, query.as_deref())?;
    let (resource_type, id) = (interaction::known_type(&kind)?, interaction::readable_id(&id)?);
    let if_match = headers::if_match(&headers)?;
    let summary = format!("DELETE /fhir/{resource_type}/{id}");
    let interaction = Interaction::Delete { resource_type, id, if_match };
    commit(app, hospital, &headers, summary, interaction, None).await
}

pub async fn delete_matching(
    State(app): State<App>,
    hospital: Hospital,
    Path(kind): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Answer {
    headers::require_json_accepted(&headers, query.as_deref())?;
    let resource_type = interaction::known_type(&kind)?;
    let what = "a deletion needs an id (DELETE /fhir/Patient/1) or criteria (DELETE /fhir/Patient?identifier=system|value)";
    let query = criteria(query.as_deref(), what)?;
    let summary = format!("DELETE /fhir/{resource_type} (conditional)");
    commit(app, hospital, &headers, summary, Interaction::DeleteMatching { resource_type, query }, None).await
}

/// How the content of a Binary was sent, if it was; anything else must be JSON.
fn body_of(kind: &str, headers: &HeaderMap) -> Result<Option<Raw>, ApiError> {
    let raw = Raw::of(kind, headers)?;
    if raw.is_none() {
        headers::require_json_body(headers)?;
    }
    Ok(raw)
}

fn limit(raw: Option<&Raw>) -> usize {
    if raw.is_some() { MAX_CONTENT_BYTES } else { MAX_BODY_BYTES }
}

/// The resource that a body is, or that is made of the content which it is.
fn resource(raw: Option<Raw>, id: Option<&str>, body: Vec<u8>) -> Vec<u8> {
    match raw {
        Some(raw) => raw.wrapped(id, &body),
        None => body,
    }
}

/// The criteria of an interaction that needs some.
fn criteria(query: Option<&str>, what: &str) -> Result<String, ApiError> {
    let criteria = interaction::criteria(query.unwrap_or_default());
    if criteria.is_empty() { Err(ApiError::bad_request(IssueType::Required, what)) } else { Ok(criteria) }
}

async fn write(
    app: App,
    hospital: Hospital,
    headers: HeaderMap,
    (body, limit): (Body, usize),
    summary: String,
    make: impl FnOnce(Vec<u8>) -> Interaction,
) -> Answer {
    let (bytes, claim) = body::read(&app, &headers, body, limit).await?.into_parts();
    commit(app, hospital, &headers, summary, make(bytes), claim).await
}

/// One commit, recorded and answered. `claim` is held as long as the body is.
async fn commit(
    app: App,
    hospital: Hospital,
    headers: &HeaderMap,
    summary: String,
    interaction: Interaction,
    claim: Option<tokio::sync::OwnedSemaphorePermit>,
) -> Answer {
    let preferences = Preferences::parse(headers);
    let deletes = matches!(interaction, Interaction::Delete { .. } | Interaction::DeleteMatching { .. });
    let wanted = preferences.answer.unwrap_or(if deletes { Return::Minimal } else { Return::Representation });
    let idempotency_key = headers::idempotency_key(headers)?;
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        let _claim = claim;
        let holder = app.holder_for_writing(&hospital.holder)?.id;
        let request = WriteRequest { holder, interaction, handling: preferences.handling.unwrap_or_default(), idempotency_key };
        let outcome = app.write_recorded(&hospital.who, request, &summary)?;
        let resource = match outcome.entries.first() {
            Some(entry) if wanted == Return::Representation => answer::representation(app, holder, entry)?,
            _ => None,
        };
        Ok(answer::written(app, &outcome, wanted, resource))
    })
    .await
}
