//! `/releases`: taking a result out of the secure processing environment.
//!
//! A request is computed and checked at once, and its files are kept where only the requester and the centre see them. A second
//! person decides. What is let out is signed, and stays as it is; of what is not let out, the files are removed.

mod files;
mod request;

pub use files::sweep;
pub(crate) use files::{bytes_of, remove_waiting};

use super::auth::Caller as Known;
use super::desk::{Deed, Form, Nothing, RELEASE, Refused, Sent, done};
use super::routes::{Caller, Doc, Routes};
use super::work::{Access, Read};
use super::{ApiError, App};
use crate::access::Principal;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Method, Response};
use dugnad_kernel::audit::VerifierKey;
use dugnad_kernel::ids::PatientOrdinal;
use dugnad_kernel::permit::procedure::{Actor, ProcedureError};
use dugnad_kernel::permit::release::{FindingKind, MANIFEST, Manifest, Release, ReleaseAct, ReleaseState};
use dugnad_kernel::permit::{Permit, PersonList, Status};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const JSON: &str = "application/json";

/// The kind of document that the persons behind a release are, by the release's id.
const RELEASE_PERSONS: &str = "release_persons";

/// Adds the routes.
pub fn add(routes: Routes) -> Routes {
    let doc = Doc {
        caller: Caller::Known,
        answer: &[JSON],
        statuses: &[
            (200, "The release as it stands"),
            (400, "The body is not of its form, or a field cannot be so"),
            (403, "Somebody else has to do this; the problem says who"),
            (404, "None that you may see from where you are"),
            (409, "Not in this state; the problem says why"),
        ],
        ..Doc::new("Releases", "release", "What a release is, and where it stands")
    };
    let ask = Doc {
        description: "`{\"permit\", \"sql\" or \"csv\", \"as_of\"?, \"title\", \"reason\", \"columns\"?: {NAME: ROLE}, \"recipients\"?: [ORGANISATION], \"publish\"?: BOOL}`. The table is computed under the permit, or supplied as CSV, and checked: small cells, k-anonymity over quasi-identifiers, keys, free text, and differences against earlier outputs of the same group of organisations. What was found goes to a second person with it. ROLE is `count`, `quasi_identifier`, `measure`, `free_text` or `identifier`.",
        body: Some(JSON),
        ..Doc { id: "requestRelease", summary: "Ask to take a table out", ..doc }
    };
    let decide_doc = Doc {
        description: "For another person of the centre than who asked. `{\"approve\": BOOL, \"reasons\", \"accepts\"?: [KIND]}`: an approval names every kind of finding that it lets through; keys and identifiers cannot be. Approved, it is signed; rejected, its files are removed.",
        body: Some(JSON),
        ..Doc { id: "decideRelease", summary: "Let a release out, or not", ..doc }
    };
    let file_doc = Doc {
        description: "`result.csv`, `result.parquet`, `chart.json`, or `manifest`, which is signed (docs/formats/release.md). Once it is approved: for the permit's users, the requester's organisation, the recipients and the centre. Before: for the requester and the centre, from inside the environment if the permit says so.",
        answer: &["text/csv", "application/vnd.apache.parquet", JSON, "text/plain"],
        ..Doc { id: "releaseFile", summary: "The bytes of a release", ..doc }
    };
    let key_doc = Doc {
        answer: &["text/plain"],
        statuses: &[(200, "The public key, as `dugnad release verify --key` takes it")],
        ..Doc::new("Releases", "releaseKey", "The key that signs releases")
    };
    let list_doc = Doc { id: "releases", summary: "The releases that you may see", ..doc };
    let withdraw_doc = Doc { id: "withdrawRelease", summary: "Take a request back; its files are removed", ..doc };
    routes
        .add(Method::POST, "/releases", ask, request::post)
        .add(Method::GET, "/releases", list_doc, list)
        .add(Method::GET, "/releases/key", key_doc, key)
        .add(Method::GET, "/releases/{id}", doc, get)
        .add(Method::GET, "/releases/{id}/{file}", file_doc, file)
        .add(Method::POST, "/releases/{id}/decide", decide_doc, decide)
        .add(Method::POST, "/releases/{id}/withdraw", withdraw_doc, withdraw)
}

impl App {
    /// The name under which releases are signed, and the public key that checks them.
    fn release_verifier(&self) -> Result<VerifierKey, ApiError> {
        let name = format!("{}/releases", self.audit().verifier_key().name());
        VerifierKey::new(&name, self.release_key().verifying_key()).map_err(|e| ApiError::internal(&e.to_string()))
    }
}

/// A release with what follows from it.
fn shown(release: &Release) -> Value {
    let mut files: Vec<&str> = release.document().files.iter().map(|file| file.name.as_str()).collect();
    match release.state() {
        ReleaseState::Approved => files.push(MANIFEST),
        ReleaseState::Requested => {}
        ReleaseState::Rejected | ReleaseState::Withdrawn => files.clear(),
    }
    let addresses: Vec<String> = files.iter().map(|file| format!("/releases/{}/{file}", release.document().id)).collect();
    json!({"state": release.state(), "release": release.document(), "addresses": addresses})
}

/// Whether it concerns the actor; `permit` is the release's, if it is still there.
fn concerns(release: &Release, permit: Option<&Permit>, actor: &Actor) -> bool {
    let document = release.document();
    let own = document.organisation == actor.by.organisation || document.recipients.contains(&actor.by.organisation);
    let named = permit.is_some_and(|permit| permit.document().users.contains(&actor.by.user));
    match release.state() {
        _ if actor.centre || document.requested.by.user == actor.by.user => true,
        ReleaseState::Approved => named || (own && !actor.by.organisation.is_empty()),
        _ => false,
    }
}

fn absent() -> ApiError {
    ApiError::not_found("there is no such release that you may see from where you are; GET /releases lists yours")
}

fn find(app: &App, id: &str, actor: &Actor) -> Result<(Release, Option<Permit>), ApiError> {
    let release = app.release(id)?.ok_or_else(absent)?;
    let permit = app.stored_permit(&release.document().permit)?;
    if concerns(&release, permit.as_ref(), actor) { Ok((release, permit)) } else { Err(absent()) }
}

fn access(who: &Principal, request: String) -> Access {
    Access { who: who.clone(), interface: "releases", request, tables: vec![RELEASE.to_owned()] }
}

async fn list(State(app): State<App>, Known(who): Known) -> Result<Json<Value>, ApiError> {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let actor = app.actor(&who)?;
        app.read_recorded(&access(&who, "GET /releases".to_owned()), |_| {
            let mut found = Vec::new();
            for release in app.releases()? {
                let permit = app.stored_permit(&release.document().permit)?;
                found.extend(concerns(&release, permit.as_ref(), &actor).then(|| shown(&release)));
            }
            let rows = found.len() as u64;
            Ok((Json(json!({"releases": found})), rows))
        })
    })
    .await
}

async fn get(State(app): State<App>, Known(who): Known, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let actor = app.actor(&who)?;
        app.read_recorded(&access(&who, format!("GET /releases/{id}")), |_| {
            let (release, _) = find(app, &id, &actor)?;
            Ok((Json(shown(&release)), 1))
        })
    })
    .await
}

async fn key(State(app): State<App>) -> Result<String, ApiError> {
    Ok(format!("{}\n", app.release_verifier()?))
}

/// The persons whose rows a release was computed from; none if it was brought, or has been computed by an earlier version.
fn persons(app: &App, release: &str) -> Result<Option<Vec<PatientOrdinal>>, ApiError> {
    let Some(document) = app.database().document(RELEASE_PERSONS, release)? else { return Ok(None) };
    let list = PersonList::parse(&document.json).map_err(|error| ApiError::internal(&error.to_string()))?;
    Ok(Some(list.patients(&app.database().erased_patients()).iter().map(PatientOrdinal).collect()))
}

/// The bytes, for those entitled. What has not been let out stays where the permit's rows may be shown. Whoever opens a file has an
/// access to the persons that it was computed from, as whoever asked for it had.
async fn file(State(app): State<App>, Known(who): Known, Path((id, file)): Path<(String, String)>) -> Result<Response<Body>, ApiError> {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let actor = app.actor(&who)?;
        app.read_about(&access(&who, format!("GET /releases/{id}/{file}")), |_| {
            let (release, permit) = find(app, &id, &actor)?;
            let inside = permit.is_some_and(|permit| permit.reachable(who.inside_spe));
            match release.state() {
                ReleaseState::Approved => {}
                ReleaseState::Requested if inside => {}
                _ => return Err(absent()),
            }
            let patients = persons(app, &id)?.filter(|_| file != MANIFEST);
            Ok(Read { found: bytes_of(app, &release, &file)?, rows: release.document().rows, patients })
        })
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verdict {
    approve: bool,
    reasons: String,
    #[serde(default)]
    accepts: BTreeSet<FindingKind>,
}

impl Form for Verdict {
    const FORM: &'static str = "{\"approve\": true|false, \"reasons\", \"accepts\"?: [KIND]}";
}

async fn decide(State(app): State<App>, Sent { who, id, body }: Sent<Verdict>) -> Result<axum::response::Response, ApiError> {
    let Verdict { approve, reasons, accepts } = body;
    let act = if approve { ReleaseAct::Approve } else { ReleaseAct::Reject };
    end(app, who, id, "decide", act, reasons, accepts).await
}

async fn withdraw(State(app): State<App>, Sent { who, id, body: Nothing {} }: Sent<Nothing>) -> Result<axum::response::Response, ApiError> {
    end(app, who, id, "withdraw", ReleaseAct::Withdraw, String::new(), BTreeSet::new()).await
}

/// Order: the manifest is durable, then the decision (from there on it is handed out), then its entry in the log. What is not let
/// out: the decision, its entry, then the files are removed; after a crash in between, the next start removes them.
async fn end(
    app: App,
    who: Principal,
    id: String,
    name: &'static str,
    act: ReleaseAct,
    reasons: String,
    accepts: BTreeSet<FindingKind>,
) -> Result<axum::response::Response, ApiError> {
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        let deed = Deed { who, interface: "releases", request: format!("POST /releases/{id}/{name}") };
        app.at_desk(&deed, |actor| {
            let (release, permit) = find(app, &id, actor)?;
            let users = permit.as_ref().map(|permit| permit.document().users.clone()).unwrap_or_default();
            let ended = release.end(actor, &users, act, &reasons, accepts, app.now())?;
            if act == ReleaseAct::Approve {
                prepare(app, &ended, permit.as_ref())?;
            }
            let json = ended.to_json()?;
            let commit = app.put_recorded(&deed, &[(RELEASE, &id, &json)], |e| {
                e.permit = Some(ended.document().permit.clone());
                e.purpose = Some(ended.document().title.clone());
                e.outcome = Some(ended.state().name().to_owned());
            })?;
            if act != ReleaseAct::Approve {
                files::remove(app.data(), &id);
            }
            Ok(done(commit, shown(&ended)))
        })
    })
    .await
}

/// Signs what is let out, once its bytes have been found to be those that were checked.
fn prepare(app: &App, approved: &Release, permit: Option<&Permit>) -> Result<(), Refused> {
    if permit.is_none_or(|permit| permit.document().status == Status::Revoked) {
        return Err(ProcedureError::State("the permit was revoked; the release can only be rejected".to_owned()).into());
    }
    files::check_whole(app.data(), approved)?;
    let name = app.release_verifier()?;
    let manifest = Manifest::of(approved).and_then(|manifest| manifest.sign(name.name(), app.release_key()));
    let manifest = manifest.map_err(|e| ApiError::internal(&e.to_string()))?;
    Ok(files::write(app.data(), &approved.document().id, &[(MANIFEST, manifest.as_bytes())])?)
}
