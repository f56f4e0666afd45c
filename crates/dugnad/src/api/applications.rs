//! `/applications`: from an application to a permit.

use super::auth::Caller;
use super::desk::{APPLICATION, Deed, Form, Nothing, PERMIT, Refused, Sent, done, to_json};
use super::frozen::{NAMED_PERSONS, freeze, known, named};
use super::headers::accepted_format;
use super::routes::{Caller as May, Doc, Routes};
use super::work::Access;
use super::{ApiError, App, sql};
use crate::access::Principal;
use crate::limits::MAX_NAMED_BODY_BYTES;
use crate::query::{PERSON_LIST, Question};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use dugnad_kernel::permit::PersonName;
use dugnad_kernel::permit::application::{Act, Application, Content, Missing, What};
use dugnad_kernel::permit::organisation::Organisation;
use dugnad_kernel::permit::procedure::{Actor, ProcedureError};
use dugnad_kernel::permit::purpose::ProhibitedUse;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

const JSON: &str = "application/json";

/// What the routes have in common.
const fn doc(id: &'static str, summary: &'static str, description: &'static str) -> Doc {
    Doc {
        description,
        caller: May::Known,
        answer: &[JSON],
        statuses: &[
            (200, "The application as it stands, with what can be done next, what is missing, and the clock that runs"),
            (400, "The body is not of its form, or a field cannot be so"),
            (403, "Somebody else has to do this; the problem says who"),
            (404, "No application of this id that you may see"),
            (409, "The application is not in the state for this; the problem says what is possible"),
        ],
        ..Doc::new("Permits", id, summary)
    }
}

const fn with_body(doc: Doc) -> Doc {
    Doc { body: Some(JSON), ..doc }
}

const APPLY: Doc = with_body(doc(
    "apply",
    "Begin an application",
    "What is asked for, as docs/permits.md describes it; anything may still be absent. You apply for the organisation that you belong to.",
));
const LIST: Doc =
    doc("applications", "The applications that you may see", "Those of your organisation; the centre sees what was handed in.");
const ONE: Doc = doc("application", "An application", "");
const EDIT: Doc = with_body(doc("editApplication", "Change a draft, or one that is incomplete", "The whole content."));
const PERSONS: Doc = with_body(doc(
    "namePersons",
    "Name the persons of a population that is `listed`",
    "`{\"persons\": [{\"holder\", \"patient\"} or {\"system\", \"value\"}]}`: Patients of hospitals, or national identifiers, at most 100,000. The last list counts. The names are looked up at once and not kept; who of them is known here is not said. An erased person is in no list.",
));
const SUBMIT: Doc = doc("submit", "Hand it in", "It is public from then on, without names of persons (`GET /register`).");
const COMPLETE: Doc = with_body(doc(
    "complete",
    "Find it complete, or name what is missing",
    "For the centre. `{\"missing\"?: [{\"field\", \"what\"}]}`: what a person finds missing; what the program finds is added. If nothing is, it is complete; otherwise the applicant has four weeks (Art. 68(4)).",
));
const PROLONG: Doc = with_body(doc(
    "prolong",
    "Prolong the time for the decision",
    "For the centre, once, before it has passed: three more months, one in the accelerated procedure (Art. 68(4) and (6)); requests have none (Art. 69). `{\"reasons\"}`.",
));
const ASSESS: Doc = with_body(doc("assess", "Assess it and propose a decision", "For the centre. `{\"grant\": BOOL, \"reasons\"}`."));
const DECIDE: Doc = with_body(doc(
    "decide",
    "Grant it or refuse it",
    "For another person of the centre than who assessed it. `{\"grant\": BOOL, \"reasons\", \"permit\"?: ID}`; without `permit`, the permit has the application's id. Application and permit are one commit.",
));
const WITHDRAW: Doc = doc("withdraw", "Take it back", "");
const FEASIBILITY: Doc = with_body(doc(
    "feasibility",
    "Ask whether it is feasible",
    "For verified organisations, before the decision. `{\"sql\"}` of the one form that statistics permits have; counts are rounded to 10, and an application shows 20 cells in all.",
));

/// Adds the routes.
pub fn add(routes: Routes) -> Routes {
    routes
        .add(Method::POST, "/applications", APPLY, open)
        .add(Method::GET, "/applications", LIST, list)
        .add(Method::GET, "/applications/{id}", ONE, get)
        .add(Method::PUT, "/applications/{id}", EDIT, edit)
        .add(Method::PUT, "/applications/{id}/persons", PERSONS, persons)
        .add(Method::POST, "/applications/{id}/submit", SUBMIT, submit)
        .add(Method::POST, "/applications/{id}/complete", COMPLETE, complete)
        .add(Method::POST, "/applications/{id}/prolong", PROLONG, prolong)
        .add(Method::POST, "/applications/{id}/assess", ASSESS, assess)
        .add(Method::POST, "/applications/{id}/decide", DECIDE, decide)
        .add(Method::POST, "/applications/{id}/withdraw", WITHDRAW, withdraw)
        .add(Method::POST, "/applications/{id}/feasibility", FEASIBILITY, feasibility)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Persons {
    persons: Vec<PersonName>,
}

impl Form for Persons {
    const FORM: &'static str = "{\"persons\": [{\"holder\", \"patient\"} or {\"system\", \"value\"}]}";
    const BYTES: usize = MAX_NAMED_BODY_BYTES;
    // Identifiers of persons are not quoted.
    const QUOTED: bool = false;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Completeness {
    #[serde(default)]
    missing: Vec<Missing>,
}

impl Form for Completeness {
    const FORM: &'static str = "{\"missing\"?: [{\"field\", \"what\"}]}";
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reasons {
    reasons: String,
}

impl Form for Reasons {
    const FORM: &'static str = "{\"reasons\"}";
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Assessment {
    grant: bool,
    reasons: String,
}

impl Form for Assessment {
    const FORM: &'static str = "{\"grant\": true|false, \"reasons\"}";
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verdict {
    grant: bool,
    reasons: String,
    permit: Option<String>,
}

impl Form for Verdict {
    const FORM: &'static str = "{\"grant\": true|false, \"reasons\", \"permit\"?: ID}";
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Feasible {
    sql: String,
}

impl Form for Feasible {
    const FORM: &'static str = "{\"sql\": TEXT}";
}

/// An application with what can be done to it now.
fn shown(application: &Application, applicant: &Organisation, now: Timestamp) -> Value {
    let state = application.state(now);
    let acts: Vec<_> = state.acts().collect();
    let questions: Value = ProhibitedUse::ALL.iter().map(|q| (q.name().to_owned(), json!(q.question()))).collect();
    json!({
        "id": application.id(),
        "organisation": application.organisation(),
        "state": state,
        "possible": acts,
        "missing": application.missing(applicant),
        "deadline": application.deadline(now).map(|d| json!({"deadline": d, "overdue": d.overdue(now)})),
        "permit": application.permit_id(),
        "persons_named": application.named().map(|named| named.persons),
        "content": application.content(),
        "questions": if application.content().basis.is_ehds() { questions } else { Value::Null },
        "opened": application.opened(),
        "steps": application.steps(),
        "feasibility": application.feasibility(),
    })
}

/// The applicant sees it always, the centre once it was handed in.
fn visible(application: &Application, actor: &Actor) -> bool {
    let handed_in = application.last(Act::Submit).is_some();
    application.organisation() == actor.by.organisation || (actor.centre && handed_in)
}

fn absent() -> ApiError {
    ApiError::not_found("there is no such application that you may see; GET /applications lists yours, GET /register what is public")
}

/// An application that the actor may see, and its organisation.
fn find(app: &App, id: &str, actor: &Actor) -> Result<(Application, Organisation), ApiError> {
    let application = app.application(id)?.filter(|application| visible(application, actor)).ok_or_else(absent)?;
    let organisation = app.organisation(application.organisation())?;
    Ok((application, organisation.ok_or_else(|| ApiError::internal("an application's organisation is gone"))?))
}

impl Form for Content {
    const FORM: &'static str = "what is asked for, as docs/permits.md describes it";
}

async fn open(State(app): State<App>, Sent { who, id: (), body: content }: Sent<Content, ()>) -> Result<Response, ApiError> {
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        let deed = Deed { who, interface: "applications", request: "POST /applications".to_owned() };
        app.at_desk(&deed, |actor| {
            let none =
                || ProcedureError::Person("you belong to no organisation that the centre knows; ask it to register yours".to_owned());
            let organisation = app.organisation(&actor.by.organisation)?.ok_or_else(none)?;
            let application = Application::open(&app.database().new_id(), actor, &organisation, content, app.now())?;
            put(app, &deed, &application, &organisation)
        })
    })
    .await
}

async fn edit(State(app): State<App>, Sent { who, id, body: content }: Sent<Content>) -> Result<Response, ApiError> {
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        let deed = Deed { who, interface: "applications", request: format!("PUT /applications/{id}") };
        app.at_desk(&deed, |actor| {
            let (application, organisation) = find(app, &id, actor)?;
            put(app, &deed, &application.edit(actor, &organisation, content, app.now())?, &organisation)
        })
    })
    .await
}

async fn persons(State(app): State<App>, Sent { who, id, body: Persons { persons } }: Sent<Persons>) -> Result<Response, ApiError> {
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        let deed = Deed { who, interface: "applications", request: format!("PUT /applications/{id}/persons") };
        app.at_desk(&deed, |actor| {
            let (application, organisation) = find(app, &id, actor)?;
            let now = app.now();
            let after = application.name_persons(actor, &organisation, persons.len(), now)?;
            let list = named(app, &persons)?;
            let (json, list) = (after.to_json()?, list.to_json()?);
            let documents = [(APPLICATION, id.as_str(), json.as_str()), (NAMED_PERSONS, id.as_str(), list.as_str())];
            let commit = app.put_recorded(&deed, &documents, |e| e.outcome = Some(format!("{} persons named", persons.len())))?;
            Ok(done(commit, shown(&after, &organisation, now)))
        })
    })
    .await
}

fn put(app: &App, deed: &Deed, application: &Application, organisation: &Organisation) -> Result<Response, Refused> {
    let json = application.to_json()?;
    let now = app.now();
    let commit = app.put_recorded(deed, &[(APPLICATION, application.id(), &json)], |e| {
        e.outcome = Some(application.state(now).name().to_owned());
    })?;
    Ok(done(commit, shown(application, organisation, now)))
}

/// A step: `what` is given the application as it stands.
async fn step(
    app: App,
    who: Principal,
    id: String,
    name: &'static str,
    what: impl FnOnce(&Application, &Organisation) -> What + Send + 'static,
) -> Result<Response, ApiError> {
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        let deed = Deed { who, interface: "applications", request: format!("POST /applications/{id}/{name}") };
        app.at_desk(&deed, |actor| {
            let (application, organisation) = find(app, &id, actor)?;
            let what = what(&application, &organisation);
            let after = application.take(actor, &organisation, what.clone(), app.now())?;
            match what {
                What::Grant { permit, reasons } => grant(app, &deed, &after, &organisation, actor, (&permit, &reasons)),
                _ => put(app, &deed, &after, &organisation),
            }
        })
    })
    .await
}

/// The application and its permit are one commit.
fn grant(
    app: &App,
    deed: &Deed,
    application: &Application,
    organisation: &Organisation,
    actor: &Actor,
    (id, reasons): (&str, &str),
) -> Result<Response, Refused> {
    if app.stored_permit(id)?.is_some() {
        return Err(ProcedureError::State(format!("there is a permit `{id}` already; name another in `permit`")).into());
    }
    let now = app.now();
    let permit = application.permit(organisation, id, actor, reasons, now).map_err(|e| ProcedureError::State(e.to_string()))?;
    let (permit, list) = freeze(app, permit, Some(application.id()))?;
    let (json, permit_json) = (application.to_json()?, to_json(permit.document())?);
    let mut documents = vec![(APPLICATION, application.id(), json.as_str()), (PERMIT, id, permit_json.as_str())];
    documents.extend(list.as_deref().map(|list| (PERSON_LIST, id, list)));
    let commit = app.put_recorded(deed, &documents, |e| {
        e.permit = Some(id.to_owned());
        e.purpose = Some(permit.document().purpose.clone());
        e.outcome = Some("granted".to_owned());
    })?;
    Ok(done(commit, shown(application, organisation, now)))
}

async fn submit(State(app): State<App>, Sent { who, id, body: Nothing {} }: Sent<Nothing>) -> Result<Response, ApiError> {
    step(app, who, id, "submit", |_, _| What::Submit).await
}

async fn withdraw(State(app): State<App>, Sent { who, id, body: Nothing {} }: Sent<Nothing>) -> Result<Response, ApiError> {
    step(app, who, id, "withdraw", |_, _| What::Withdraw).await
}

async fn complete(
    State(app): State<App>,
    Sent { who, id, body: Completeness { missing } }: Sent<Completeness>,
) -> Result<Response, ApiError> {
    step(app, who, id, "complete", move |application, organisation| {
        let mut all = application.missing(organisation);
        all.extend(missing);
        if all.is_empty() { What::FindComplete } else { What::FindIncomplete { missing: all } }
    })
    .await
}

async fn prolong(State(app): State<App>, Sent { who, id, body: Reasons { reasons } }: Sent<Reasons>) -> Result<Response, ApiError> {
    step(app, who, id, "prolong", move |_, _| What::Prolong { reasons }).await
}

async fn assess(
    State(app): State<App>,
    Sent { who, id, body: Assessment { grant, reasons } }: Sent<Assessment>,
) -> Result<Response, ApiError> {
    step(app, who, id, "assess", move |_, _| What::Assess { grant, reasons }).await
}

async fn decide(
    State(app): State<App>,
    Sent { who, id, body: Verdict { grant, reasons, permit } }: Sent<Verdict>,
) -> Result<Response, ApiError> {
    step(app, who, id, "decide", move |application, _| match grant {
        true => What::Grant { permit: permit.unwrap_or_else(|| application.id().to_owned()), reasons },
        false => What::Refuse { reasons },
    })
    .await
}

async fn list(State(app): State<App>, Caller(who): Caller) -> Result<Json<Value>, ApiError> {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let actor = app.actor(&who)?;
        let access =
            Access { who, interface: "applications", request: "GET /applications".to_owned(), tables: vec![APPLICATION.to_owned()] };
        app.read_recorded(&access, |_| {
            let (now, organisations) = (app.now(), app.organisations()?);
            let mut found = Vec::new();
            for application in app.applications()?.iter().filter(|a| visible(a, &actor)) {
                let organisation = organisations.iter().find(|o| o.id == application.organisation());
                found.extend(organisation.map(|organisation| shown(application, organisation, now)));
            }
            let rows = found.len() as u64;
            Ok((Json(json!({"applications": found})), rows))
        })
    })
    .await
}

async fn get(State(app): State<App>, Caller(who): Caller, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let actor = app.actor(&who)?;
        let request = format!("GET /applications/{id}");
        let access = Access { who, interface: "applications", request, tables: vec![APPLICATION.to_owned()] };
        app.read_recorded(&access, |_| {
            let (application, organisation) = find(app, &id, &actor)?;
            let mut shown = shown(&application, &organisation, app.now());
            if actor.centre
                && let Some(known) = known(app, &id)?
            {
                shown["persons_known"] = json!(known);
            }
            Ok((Json(shown), 1))
        })
    })
    .await
}

/// The cells are spent, durably, before the first is shown.
async fn feasibility(
    State(app): State<App>,
    headers: HeaderMap,
    Sent { who, id, body: Feasible { sql } }: Sent<Feasible>,
) -> Result<Response, ApiError> {
    let format = accepted_format(&headers)?;
    let cells = app.query().feasibility_cells(&sql)?;
    let question =
        Question { who: who.clone(), interface: "feasibility", permit: id.clone(), sql: sql.clone(), as_of: None, min_commit: None };
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        let deed = Deed { who, interface: "feasibility", request: format!("POST /applications/{id}/feasibility") };
        app.at_desk(&deed, |actor| {
            let (application, organisation) = find(app, &id, actor)?;
            let json = application.ask(actor, &organisation, &sql, cells, app.now())?.to_json()?;
            Ok(app.put_recorded(&deed, &[(APPLICATION, &id, &json)], |e| e.outcome = Some(format!("{cells} cells")))?)
        })
    })
    .await?;
    sql::streamed(app.query().ask_feasibility(question).await?, format).await
}
