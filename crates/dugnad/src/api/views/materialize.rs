//! `$viewdefinition-materialize` (proposed in HL7/sql-on-fhir #326): the table of a view, made, asked about, refreshed and dropped.
//!
//! Every registered view is live, so its definition and its table are one thing here: to create the table is to register the
//! definition, to drop it is to delete it. A refresh builds the table anew from the journal; its rows are current without.

use super::definition::{self, KIND};
use super::{Answer, readable_table, stored};
use crate::access::{Principal, Role};
use crate::api::auth::{Caller, Centre};
use crate::api::headers::{self, DUGNAD_COMMIT, value};
use crate::api::parameters::{Parameters, unsupported};
use crate::api::work::Access;
use crate::api::{ApiError, App, answer, body, interaction};
use crate::limits::MAX_VIEW_BODY_BYTES;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use dugnad_kernel::audit::Act;
use dugnad_kernel::database::{ViewState, ViewStatus};
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::live::{RowFilter, TableSnapshot};
use serde_json::{Value, json};

/// What a request that makes or refreshes a table may say.
struct Wish {
    definition: Option<String>,
    name: Option<String>,
    asynchronous: bool,
}

pub async fn status(State(app): State<App>, Caller(who): Caller, Path(id): Path<String>) -> Answer {
    let id = interaction::readable_id(&id)?;
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| told(app, &who, &id, StatusCode::OK)).await
}

pub async fn create(
    State(app): State<App>,
    Centre(who): Centre,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    let id = interaction::writable_id(&id)?;
    let wish = wish(&app, &headers, query.as_deref(), body).await?;
    make(app, who, id, wish).await
}

pub async fn create_new(State(app): State<App>, Centre(who): Centre, headers: HeaderMap, RawQuery(query): RawQuery, body: Body) -> Answer {
    let wish = wish(&app, &headers, query.as_deref(), body).await?;
    let given = wish.definition.as_deref().and_then(|d| interaction::Head::of(d.as_bytes()).id.map(std::borrow::Cow::into_owned));
    let id = given.map_or_else(|| Ok(app.database().new_id()), |id| interaction::writable_id(&id))?;
    make(app, who, id, wish).await
}

async fn make(app: App, who: Principal, id: String, wish: Wish) -> Answer {
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        let mut created = false;
        if let Some(definition) = &wish.definition {
            stored::check_id(KIND, definition.as_bytes(), &id)?;
            check_name(&wish, definition)?;
            created = definition::register(app, &who, &id, definition, format!("POST /fhir/{KIND}/{id}/$viewdefinition-materialize"))?.0;
        } else if app.database().view(&id).is_none() {
            let what = "there is no ViewDefinition of this id; send one as the parameter viewResource, or PUT it first";
            return Err(ApiError::not_found(what));
        }
        answered(app, &who, &id, &wish, created)
    })
    .await
}

/// A table is called what its ViewDefinition is called.
fn check_name(wish: &Wish, definition: &str) -> Result<(), ApiError> {
    let Some(name) = &wish.name else { return Ok(()) };
    let json: Value = serde_json::from_str(definition).unwrap_or_default();
    if json.get("name").and_then(Value::as_str) == Some(name) {
        return Ok(());
    }
    Err(unsupported("name", "must be ViewDefinition.name, which is what the table is called"))
}

pub async fn refresh(
    State(app): State<App>,
    Centre(who): Centre,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    let id = interaction::readable_id(&id)?;
    let wish = wish(&app, &headers, query.as_deref(), body).await?;
    if wish.definition.is_some() {
        return Err(unsupported("viewResource", "is for POST; a refresh builds the table of the definition that is there"));
    }
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        app.check_log()?;
        if !app.database().rebuild_view(&id) {
            return Err(interaction::absent());
        }
        let entry = app.entry(Act::Write, &who, |e| {
            e.request = Some(format!("PUT /fhir/{KIND}/{id}/$viewdefinition-materialize"));
            e.tables = vec![KIND.to_owned()];
            e.outcome = Some("refresh".to_owned());
        });
        app.append(&entry)?;
        answered(app, &who, &id, &wish, false)
    })
    .await
}

pub async fn drop_table(State(app): State<App>, Centre(who): Centre, Path(id): Path<String>) -> Answer {
    let id = interaction::readable_id(&id)?;
    let summary = format!("DELETE /fhir/{KIND}/{id}/$viewdefinition-materialize");
    definition::remove(app, who, id, summary).await
}

async fn wish(app: &App, headers: &HeaderMap, query: Option<&str>, body: Body) -> Result<Wish, ApiError> {
    let bytes = body::read(app, headers, body, MAX_VIEW_BODY_BYTES).await?.into_parts().0;
    let asynchronous = headers::is_asynchronous(headers);
    // The definition itself is taken for Parameters that hold it.
    if interaction::Head::of(&bytes).resource_type.as_deref() == Some(KIND) {
        return Ok(Wish { definition: Some(definition::text(bytes)?), name: None, asynchronous });
    }
    let mut parameters = Parameters::read(query, &bytes)?;
    let definition = parameters.resource(&["viewResource"])?.map(definition::text).transpose()?;
    for mode in ["refresh", "refreshMode", "mode"] {
        if parameters.text(&[mode])?.is_some_and(|mode| mode != "live") {
            return Err(unsupported(mode, "can only be `live`: a table here holds every commit"));
        }
    }
    let name = parameters.text(&["name"])?;
    parameters.finish()?;
    Ok(Wish { definition, name, asynchronous })
}

/// The state of the table after a request; with `Prefer: respond-async`, where to ask for it.
fn answered(app: &App, who: &Principal, id: &str, wish: &Wish, created: bool) -> Answer {
    let status = match (wish.asynchronous, created) {
        (true, _) => StatusCode::ACCEPTED,
        (false, true) => StatusCode::CREATED,
        (false, false) => StatusCode::OK,
    };
    let mut response = told(app, who, id, status)?;
    let address = stored::address(app, KIND, id);
    if wish.asynchronous {
        let place = value(&format!("{address}/$viewdefinition-materialize"));
        response.headers_mut().insert(header::CONTENT_LOCATION, place);
    } else if created {
        response.headers_mut().insert(header::LOCATION, value(&address));
    }
    Ok(response)
}

/// The state of a view, on the record. Blocks.
///
/// How many rows there are, on how many resources the view failed, and the newest commit are for the centre: they tell what is
/// in the database beyond anybody's permit.
fn told(app: &App, who: &Principal, id: &str, code: StatusCode) -> Answer {
    let request = format!("GET /fhir/{KIND}/{id}/$viewdefinition-materialize");
    let access = Access { who: who.clone(), interface: "fhir", request, tables: vec![KIND.to_owned()] };
    app.read_recorded(&access, |commit| {
        let view = app.database().view(id).filter(|v| who.role == Role::Centre || readable_table(app, who, &v.table));
        let Some(view) = view else { return Ok((Err(interaction::absent()), 0)) };
        let snapshot = app.database().snapshot();
        let table = snapshot.table(&view.table);
        let mut parameters = state(&view, table.is_some());
        let centre = who.role == Role::Centre;
        if centre {
            parameters.push(json!({"name": "failures", "valueInteger": view.failures}));
            parameters.extend(view.last_failure.as_ref().map(|why| json!({"name": "lastFailure", "valueString": why})));
            if let Some(table) = table {
                parameters.push(json!({"name": "rowCount", "valueInteger": rows(table)?}));
            }
            if let ViewState::Live { since } = view.state {
                parameters.push(json!({"name": "since", "valueInteger": since.0}));
            }
            parameters.push(json!({"name": "commit", "valueInteger": snapshot.commit().0}));
            parameters.push(json!({"name": "lastRefresh", "valueInstant": snapshot.time().to_string()}));
        }
        let body = json!({"resourceType": "Parameters", "parameter": parameters}).to_string().into_bytes();
        let mut response = answer::fhir(code, body);
        if centre {
            response.headers_mut().insert(DUGNAD_COMMIT, value(&commit.to_string()));
        }
        Ok((Ok(response), 0))
    })?
}

/// The parameters that say what has become of a view.
fn state(view: &ViewStatus, answers: bool) -> Vec<Value> {
    let mut parameters = vec![
        json!({"name": "name", "valueString": view.table}),
        json!({"name": "refreshMode", "valueCode": "live"}),
        json!({"name": "version", "valueInteger": view.version}),
    ];
    let (status, more) = match &view.state {
        ViewState::Building { done, in_all } => {
            let percent = done.saturating_mul(100).checked_div(*in_all).unwrap_or(0).min(100);
            ("building", Some(json!({"name": "percent", "valueInteger": percent})))
        }
        ViewState::Live { .. } => ("fresh", None),
        ViewState::Failed { reason } => ("error", Some(json!({"name": "reason", "valueString": reason}))),
    };
    parameters.push(json!({"name": "status", "valueCode": status}));
    parameters.extend(more);
    if status != "fresh" && answers {
        let what = "the table of before is current and goes on answering until the new one takes its place at one commit";
        parameters.push(json!({"name": "answering", "valueString": what}));
    }
    parameters
}

/// How many rows stand at the newest commit.
fn rows(table: &TableSnapshot) -> Result<u64, ApiError> {
    let everything = RowFilter { without_patient: true, ..RowFilter::default() };
    let mut rows = 0;
    for part in table.parts() {
        let visible = part.visible(&everything).map_err(|damaged| {
            let what = format!("the table cannot be read ({damaged}); refresh it with PUT");
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, IssueType::Exception, what)
        })?;
        rows += visible.count(part.len()) as u64;
    }
    Ok(rows)
}
