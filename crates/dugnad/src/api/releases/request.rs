//! `POST /releases`: the table is computed or taken in, checked, and put aside for a second person.

use super::{RELEASE_PERSONS, files, shown};
use crate::access::Principal;
use crate::api::auth::Caller as Known;
use crate::api::desk::{Deed, RELEASE, done};
use crate::api::{ApiError, App, body, headers};
use crate::limits::{MAX_RELEASE_BODY_BYTES, MAX_RELEASES_WAITING};
use crate::query::format::{Format, encode_whole};
use crate::query::{Basis, Question};
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::ids::Commit;
use dugnad_kernel::limits::MAX_RELEASE_BYTES;
use dugnad_kernel::permit::procedure::{Actor, ProcedureError};
use dugnad_kernel::permit::release::{Document, Earlier, Release, ReleaseError, ReleaseState, Role, Source, Table, check, digest};
use dugnad_kernel::permit::{Permit, PersonList};
use serde::Deserialize;
use std::collections::BTreeMap;

const CSV: &str = "result.csv";
const PARQUET: &str = "result.parquet";
const CHART: &str = "chart.json";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    permit: String,
    sql: Option<String>,
    csv: Option<String>,
    as_of: Option<u64>,
    title: String,
    reason: String,
    #[serde(default)]
    columns: BTreeMap<String, Role>,
    #[serde(default)]
    recipients: Vec<String>,
    #[serde(default)]
    publish: bool,
}

impl From<ReleaseError> for ApiError {
    fn from(error: ReleaseError) -> Self {
        Self::bad_request(IssueType::Invalid, error.to_string())
    }
}

/// A table that is to leave, with its files: name, media type, bytes.
struct Taken {
    source: Source,
    table: Table,
    files: Vec<(&'static str, &'static str, Vec<u8>)>,
}

pub async fn post(State(app): State<App>, Known(who): Known, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    headers::require_json_body(&headers)?;
    let (bytes, held) = body::read(&app, &headers, body, MAX_RELEASE_BODY_BYTES).await?.into_parts();
    let request: Request = serde_json::from_slice(&bytes).map_err(|e| {
        // The message could quote a value of the table.
        let what = format!(
            "the body must be {{\"permit\", \"sql\" or \"csv\", \"as_of\"?, \"title\", \"reason\", \"columns\"?: {{NAME: ROLE}}, \"recipients\"?, \"publish\"?}} (line {}, column {})",
            e.line(),
            e.column()
        );
        ApiError::bad_request(IssueType::Structure, what)
    })?;
    drop(bytes);
    let permit = app.query().permit(&who, &request.permit)?;
    let (source, csv, parquet, of) = match (&request.sql, &request.csv) {
        (Some(sql), None) => computed(&app, &who, &request, sql).await?,
        (None, Some(csv)) => (Source::Supplied, csv.clone().into_bytes(), None, None),
        _ => return Err(ApiError::bad_request(IssueType::Invalid, "give one of `sql` and `csv`").at("sql")),
    };
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        let _held = held;
        let result = assemble(source, csv, parquet, &request.columns)?;
        let deed = Deed { who, interface: "releases", request: "POST /releases".to_owned() };
        app.at_desk(&deed, |actor| {
            let release = checked(app, actor, &permit, request, &result)?;
            keep(app, &deed, &release, &result.files, of.as_ref())
        })
    })
    .await
}

/// What a statement gives: CSV, Parquet, and the persons whose rows it was computed from.
type Computed = (Source, Vec<u8>, Option<Vec<u8>>, Option<PersonList>);

/// Runs the statement under the permit, as the requester, on the record.
async fn computed(app: &App, who: &Principal, request: &Request, sql: &str) -> Result<Computed, ApiError> {
    let question = Question {
        who: who.clone(),
        interface: "release",
        permit: request.permit.clone(),
        sql: sql.to_owned(),
        as_of: request.as_of.map(Commit),
        min_commit: None,
    };
    let answer = app.query().ask(question).await?;
    let (commit, timeline, epoch) = match &answer.basis {
        Basis::Commit(commit) => (Some(commit.0), Some(app.database().timeline().to_string()), None),
        Basis::Epoch { epoch, .. } => (None, None, Some(epoch.clone())),
    };
    let (delivered, at) = (answer.delivered.clone(), commit.map(Commit));
    let (mut encoded, _) = encode_whole(answer, &[Format::Csv, Format::Parquet], MAX_RELEASE_BYTES).await?;
    let parquet = encoded.pop();
    let csv = encoded.pop().unwrap_or_default();
    let of = delivered.zip(at).map(|(delivered, at)| PersonList::new(at, delivered.set().as_ref().clone()));
    Ok((Source::Sql { sql: sql.to_owned(), commit, timeline, epoch }, csv, parquet, of))
}

fn assemble(source: Source, csv: Vec<u8>, parquet: Option<Vec<u8>>, declared: &BTreeMap<String, Role>) -> Result<Taken, ApiError> {
    if csv.len() > MAX_RELEASE_BYTES {
        return Err(ApiError::too_large(MAX_RELEASE_BYTES));
    }
    let text = std::str::from_utf8(&csv).map_err(|_| ReleaseError::Form("it is not UTF-8".to_owned()))?;
    let table = Table::parse(text, declared)?;
    let chart = table.chart().to_string().into_bytes();
    let mut files = vec![(CSV, "text/csv; charset=utf-8; header=present", csv)];
    files.extend(parquet.map(|bytes| (PARQUET, "application/vnd.apache.parquet", bytes)));
    files.push((CHART, "application/json", chart));
    Ok(Taken { source, table, files })
}

/// The request with what the checks found, against all that the same group has got or asked for.
fn checked(app: &App, actor: &Actor, permit: &Permit, request: Request, result: &Taken) -> Result<Release, super::Refused> {
    let (organisation, group) = match actor.by.organisation.is_empty() {
        false => (actor.by.organisation.clone(), actor.group.clone()),
        // Whoever belongs to no registered organisation counts with those that the permit was granted to.
        true => (permit.document().applicant.clone(), permit.document().applicant.clone()),
    };
    let releases = app.releases()?;
    let waiting = |r: &&Release| r.state() == ReleaseState::Requested && r.document().requested.by.user == actor.by.user;
    if releases.iter().filter(waiting).count() >= MAX_RELEASES_WAITING {
        return Err(
            ProcedureError::State("as many of your requests wait as may; withdraw some, or wait for their decisions".to_owned()).into()
        );
    }
    for recipient in &request.recipients {
        if app.organisation(recipient)?.is_none() {
            return Err(ProcedureError::field("recipients", format!("there is no organisation `{recipient}`")).into());
        }
    }
    let earlier = earlier(app, &releases, &group, permit.id());
    let document = Document {
        id: app.database().new_id(),
        title: request.title,
        reason: request.reason,
        permit: permit.id().to_owned(),
        basis: permit.basis(),
        organisation,
        group,
        requested: actor.signs(app.now()),
        source: result.source.clone(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        columns: result.table.columns().to_vec(),
        rows: result.table.rows().len() as u64,
        findings: check(&result.table, result.source.sql(), &earlier),
        recipients: request.recipients,
        publish: request.publish,
        files: result.files.iter().map(|(name, media_type, bytes)| digest(name, media_type, bytes)).collect(),
        outcome: None,
    };
    Ok(Release::request(document)?)
}

/// The tables that the same group of organisations, or anybody under the same permit, has got or waits for.
fn earlier(app: &App, releases: &[Release], group: &str, permit: &str) -> Vec<Earlier> {
    let counts = |r: &&Release| {
        let alive = matches!(r.state(), ReleaseState::Approved | ReleaseState::Requested);
        alive && (r.document().group == group || r.document().permit == permit)
    };
    let table = |r: &Release| {
        let csv = String::from_utf8(files::read(app.data(), r.document(), CSV)?).ok()?;
        let table = Table::with_columns(&csv, &r.document().columns).ok()?;
        Some(Earlier { id: r.document().id.clone(), table })
    };
    releases.iter().filter(counts).filter_map(table).collect()
}

/// Order: the files are durable, then the request, then its entry in the log. After a crash in between, the next start removes the
/// files.
fn keep(
    app: &App,
    deed: &Deed,
    release: &Release,
    kept: &[(&str, &str, Vec<u8>)],
    of: Option<&PersonList>,
) -> Result<Response, super::Refused> {
    let id = release.document().id.as_str();
    let bytes: Vec<(&str, &[u8])> = kept.iter().map(|(name, _, bytes)| (*name, bytes.as_slice())).collect();
    let (json, of) = (release.to_json()?, of.map(PersonList::to_json).transpose()?);
    let mut documents = vec![(RELEASE, id, json.as_str())];
    documents.extend(of.as_deref().map(|of| (RELEASE_PERSONS, id, of)));
    let written = files::write(app.data(), id, &bytes).and_then(|()| {
        app.put_recorded(deed, &documents, |e| {
            e.permit = Some(release.document().permit.clone());
            e.purpose = Some(release.document().reason.clone());
            e.rows = Some(release.document().rows);
            e.outcome = Some("requested".to_owned());
        })
    });
    Ok(done(written?, shown(release)))
}
