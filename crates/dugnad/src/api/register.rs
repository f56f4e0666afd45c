//! `GET /register`: what is public of applications, permits and published results (Art. 57 and 58). `GET /clocks`: what is due.

use super::auth::Caller as Known;
use super::desk::{APPLICATION, HEARING, PERMIT};
use super::releases;
use super::routes::{Caller, Doc, Routes};
use super::work::Access;
use super::{ApiError, App};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Method, Response};
use dugnad_kernel::permit::application::Application;
use dugnad_kernel::permit::deadline::{Deadline, Debtor, RESULTS_MONTHS, due_after};
use dugnad_kernel::permit::procedure::Actor;
use dugnad_kernel::permit::release::{MANIFEST, Release, ReleaseState};
use dugnad_kernel::permit::{Permit, register};
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

const JSON: &str = "application/json";

/// Adds the routes.
pub fn add(routes: Routes) -> Routes {
    let all_doc = Doc {
        description: "Applications from their reception on, with decisions and reasons, refusals included; permits; published results. Organisations are named, natural persons are not. It carries no commit and no count of patients.",
        answer: &[JSON],
        statuses: &[(200, "The whole register")],
        ..Doc::new("Permits", "register", "The public register (Art. 57, 58)")
    };
    let one_doc = Doc {
        description: "`kind` is `applications`, `permits` or `releases`.",
        statuses: &[(200, "The entry"), (404, "There is none")],
        ..Doc { id: "registerEntry", summary: "An entry of the public register", ..all_doc }
    };
    let file_doc = Doc {
        answer: &["text/csv", "application/vnd.apache.parquet", JSON],
        statuses: &[(200, "The bytes that were released"), (404, "There is no such published result")],
        ..Doc::new("Permits", "publishedFile", "A file of a published result")
    };
    let clocks_doc = Doc {
        description: "Decisions (Art. 68, 69), completions, hearings (Art. 63) and results to be published (Art. 61(4)), each with its end. The centre sees all, others their own.",
        caller: Caller::Known,
        answer: &[JSON],
        statuses: &[(200, "`clocks`, by their end, and how many are `overdue`")],
        ..Doc::new("Permits", "clocks", "The legal clocks that run, and those that are overdue")
    };
    routes
        .add(Method::GET, "/register", all_doc, all)
        .add(Method::GET, "/register/{kind}/{id}", one_doc, one)
        .add(Method::GET, "/register/releases/{id}/{file}", file_doc, file)
        .add(Method::GET, "/clocks", clocks_doc, clocks)
}

/// Everything public, by kind. It is not put on the record: anybody may read it, and no patient is in it. Blocks.
pub fn entries(app: &App, now: Timestamp) -> Result<[(&'static str, Vec<Value>); 3], ApiError> {
    let organisations = app.organisations()?;
    let applicant = |a: &Application| organisations.iter().find(|o| o.id == a.organisation());
    let applications = app.applications()?.iter().filter_map(|a| register::application(a, applicant(a), now)).collect();
    let permits = permits(app)?.iter().map(|permit| register::permit(permit, now)).collect();
    let releases = app.releases()?.iter().filter_map(register::release).collect();
    Ok([("applications", applications), ("permits", permits), ("releases", releases)])
}

/// Permits that keep the rules of their basis; others cannot be used.
fn permits(app: &App) -> Result<Vec<Permit>, ApiError> {
    Ok(app.database().documents(PERMIT)?.iter().filter_map(|document| Permit::parse(&document.json).ok()).collect())
}

async fn all(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let place = app.enter_reads().await?;
    app.on_thread(place, |app| {
        let entries = entries(app, app.now())?;
        Ok(Json(entries.into_iter().map(|(kind, entries)| (kind.to_owned(), Value::Array(entries))).collect()))
    })
    .await
}

async fn one(State(app): State<App>, Path((kind, id)): Path<(String, String)>) -> Result<Json<Value>, ApiError> {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let entries = entries(app, app.now())?;
        let of_kind = entries.into_iter().find(|(name, _)| *name == kind).map(|(_, entries)| entries).unwrap_or_default();
        let entry = of_kind.into_iter().find(|entry| entry["id"] == id.as_str());
        entry.map(Json).ok_or_else(|| ApiError::not_found("there is no such entry; GET /register has all"))
    })
    .await
}

async fn file(State(app): State<App>, Path((id, file)): Path<(String, String)>) -> Result<Response<Body>, ApiError> {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        // The manifest is for those who were given the result: it names a commit, and the reviewer.
        let published = app.release(&id)?.filter(|release| register::release(release).is_some() && file != MANIFEST);
        let release = published.ok_or_else(|| ApiError::not_found("there is no such published result; GET /register has all"))?;
        releases::bytes_of(app, &release, &file)
    })
    .await
}

/// A clock, and what it is about.
struct Running {
    about: Value,
    deadline: Deadline,
}

async fn clocks(State(app): State<App>, Known(who): Known) -> Result<Json<Value>, ApiError> {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let actor = app.actor(&who)?;
        let tables = vec![APPLICATION.to_owned(), PERMIT.to_owned(), HEARING.to_owned()];
        let access = Access { who, interface: "clocks", request: "GET /clocks".to_owned(), tables };
        app.read_recorded(&access, |_| {
            let now = app.now();
            let mut running = of_applications(app, &actor, now)?;
            running.extend(of_permits(app, &actor, now)?);
            running.sort_by_key(|running| running.deadline.due);
            let overdue = running.iter().filter(|running| running.deadline.overdue(now)).count();
            let shown = |r: &Running| json!({"about": r.about, "deadline": r.deadline, "overdue": r.deadline.overdue(now)});
            let clocks: Vec<Value> = running.iter().map(shown).collect();
            let rows = clocks.len() as u64;
            Ok((Json(json!({"now": now, "overdue": overdue, "clocks": clocks})), rows))
        })
    })
    .await
}

fn of_applications(app: &App, actor: &Actor, now: Timestamp) -> Result<Vec<Running>, ApiError> {
    let applications = app.applications()?;
    let mine = applications.iter().filter(|a| actor.centre || a.organisation() == actor.by.organisation);
    let running = |a: &Application| {
        a.deadline(now).map(|deadline| Running { about: json!({"application": a.id(), "title": a.content().title}), deadline })
    };
    Ok(mine.filter_map(running).collect())
}

fn of_permits(app: &App, actor: &Actor, now: Timestamp) -> Result<Vec<Running>, ApiError> {
    let releases = app.releases()?;
    let mut running = Vec::new();
    for permit in permits(app)? {
        if !actor.centre && !permit.document().users.contains(&actor.by.user) {
            continue;
        }
        let hearing = app.hearing(permit.id())?.and_then(|hearing| hearing.deadline(now));
        let about = || json!({"permit": permit.id(), "purpose": permit.document().purpose});
        let deadlines = hearing.into_iter().chain(results_due(&permit, &releases, now));
        running.extend(deadlines.map(|deadline| Running { about: about(), deadline }));
    }
    Ok(running)
}

/// Results are made public within 18 months of the end of the processing (Art. 61(4)); the clock stops with the first that are.
fn results_due(permit: &Permit, releases: &[Release], now: Timestamp) -> Option<Deadline> {
    let ended = permit.document().valid_until;
    let published =
        releases.iter().any(|r| r.document().permit == permit.id() && r.document().publish && r.state() == ReleaseState::Approved);
    if !permit.basis().is_ehds() || now < ended || published {
        return None;
    }
    let due = due_after(ended, RESULTS_MONTHS.months());
    Some(Deadline { task: "make results public", who: Debtor::DataUser, article: "Art. 61(4)", since: ended, due })
}
