//! `$sql-run` (SQL on FHIR 3.0-ballot) and its names of 2.1, `$viewdefinition-run` and `$sqlquery-run`: the rows of a registered
//! view under a permit, of a query under a permit, or of a view over the resources that come with the request.
//!
//! Rows of the database come from the query service: `SELECT * FROM table` under the permit, so that guard, record, cadence
//! and formats are those of `POST /sql`.

use super::definition::{self, KIND};
use super::{Answer, inline, library, published, supplied};
use crate::access::{Principal, Role};
use crate::api::auth::Caller;
use crate::api::headers::{self, media_type};
use crate::api::parameters::{Parameters, unsupported};
use crate::api::sql::streamed;
use crate::api::{ApiError, App, body, fhir, interaction};
use crate::limits::RETRY_AFTER_S;
use crate::query::Question;
use crate::query::format::Format;
use crate::query::library::SqlLibrary;
use crate::query::published::LIBRARY;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use dugnad_kernel::audit::Act;
use dugnad_kernel::database::ViewState;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::ids::{Commit, HolderId};
use dugnad_kernel::limits::MAX_BODY_BYTES;
use dugnad_kernel::permit::{CARE, Permit};

/// The permit, as a header.
pub const DUGNAD_PERMIT: HeaderName = HeaderName::from_static("dugnad-permit");

/// What runs.
pub enum Subject {
    /// A registered view.
    View(String),
    /// A view that came with the request.
    Definition(Vec<u8>),
    /// The table of a published SQLView.
    Table(String),
    /// A query, published or in the request.
    Library(Box<SqlLibrary>),
}

/// On the server, or on a view whose id is in the address.
pub async fn run(
    State(app): State<App>,
    Caller(who): Caller,
    id: Option<Path<String>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    let (bytes, claim) = body::read(&app, &headers, body, MAX_BODY_BYTES).await?.into_parts();
    if !bytes.is_empty() {
        headers::require_json_body(&headers)?;
    }
    let mut parameters = Parameters::read(query.as_deref(), &bytes)?;
    drop(bytes);
    let format = format(&headers, &mut parameters)?;
    let subject = subject(&app, &mut parameters, id.map(|Path(id)| id))?;
    let resources = parameters.resources("resource")?;
    let limit = parameters.number("_limit")?;
    let min_commit = fhir::min_commit(&app, &headers).await?;
    if !resources.is_empty() {
        parameters.finish()?;
        let run = supplied::Run { view: definition_of(&app, &who, subject)?, resources, limit, format };
        let place = app.enter_reads().await?;
        return app
            .on_thread(place, move |_| {
                let _claim = claim;
                run.answer()
            })
            .await;
    }
    let as_of = parameters.number("as_of")?.map(Commit);
    let permit = permit(&who, &headers, &mut parameters)?;
    let patients = parameters.texts("patient")?;
    if let Subject::Definition(definition) = subject {
        parameters.finish()?;
        let question = Question { who, interface: "fhir", permit, sql: String::new(), as_of, min_commit };
        return inline::answered(&app, question, &definition, &patients, limit, format).await;
    }
    let sql = asked(&app, &who, &permit, &mut parameters, subject, &patients, limit).await?;
    parameters.finish()?;
    let question = Question { who, interface: "fhir", permit, sql, as_of, min_commit };
    streamed(app.query().ask(question).await?, format).await
}

/// Why a view that is not registered is not run.
pub const UNREGISTERED: &str = "a view that is not registered runs over the resources that come with it (parameter resource), or over what is stored for those who may see whole resources: a hospital its own, and an inspection of all tables; the centre can register it";

/// Which of its names the request gives the subject: exactly one.
pub fn subject(app: &App, parameters: &mut Parameters, id: Option<String>) -> Result<Subject, ApiError> {
    let reference = parameters.text(&["subjectReference", "viewReference", "queryReference"])?;
    let canonical = parameters.text(&["subjectCanonical", "viewCanonical", "queryCanonical"])?;
    let resource = parameters.resource(&["subjectResource", "viewResource", "queryResource"])?;
    let wrong = |what: &str| ApiError::bad_request(IssueType::Required, what).at("Parameters.parameter");
    match (id, reference, canonical, resource) {
        (Some(id), None, None, None) => Ok(Subject::View(id)),
        (None, Some(reference), None, None) => match reference.rsplit_once('/') {
            Some((kind, id)) if kind == KIND || kind.ends_with("/ViewDefinition") => Ok(Subject::View(id.to_owned())),
            Some((kind, id)) if kind == LIBRARY || kind.ends_with("/Library") => published::find(app, id),
            _ => Err(wrong("the reference must be to a ViewDefinition or a Library of this server, such as ViewDefinition/ID")),
        },
        (None, None, Some(canonical), None) => match app.query().view_of(&canonical) {
            Some(view) => Ok(Subject::View(view.id)),
            None => published::of_canonical(app, &canonical),
        },
        (None, None, None, Some(resource)) => match interaction::Head::of(&resource).resource_type.as_deref() {
            Some(KIND) => Ok(Subject::Definition(resource)),
            Some(LIBRARY) => Ok(Subject::Library(Box::new(SqlLibrary::parse(&resource)?))),
            _ => Err(wrong("what runs is a ViewDefinition or a Library")),
        },
        (Some(_), ..) => Err(wrong("the address says what runs; leave the other names of it out")),
        _ => Err(wrong("say once what runs: subjectReference, subjectCanonical or subjectResource")),
    }
}

/// The definition that runs over supplied resources.
fn definition_of(app: &App, who: &Principal, subject: Subject) -> Result<Vec<u8>, ApiError> {
    match subject {
        Subject::Definition(definition) => Ok(definition),
        Subject::Library(_) | Subject::Table(_) => Err(unsupported("resource", "is for views; a query reads the tables of a permit")),
        Subject::View(id) if definition::may_read(app, who, &id) => {
            let stored = app.database().read(HolderId::CENTRE, KIND, &id)?;
            stored.and_then(|s| s.json).ok_or_else(absent)
        }
        Subject::View(_) => Err(absent()),
    }
}

/// The question that a request comes to.
pub async fn asked(
    app: &App,
    who: &Principal,
    permit: &str,
    parameters: &mut Parameters,
    subject: Subject,
    patients: &[String],
    limit: Option<u64>,
) -> Result<String, ApiError> {
    let sql = match subject {
        Subject::View(id) => {
            let Some((table, granted)) = table_under(app, who, permit, &id) else { return Err(refused(app, who, permit, &id).await) };
            rows_of(app, &granted, "*", &table, patients, limit)?
        }
        Subject::Table(table) => {
            let granted = app.query().permit(who, permit).ok().filter(|granted| granted.covers_table(&table));
            let Some(_) = granted else { return Err(refused(app, who, permit, &table).await) };
            if !patients.is_empty() {
                return Err(unsupported("patient", "is for ViewDefinitions; ask a SQLView in a query"));
            }
            let limit = limit.map(|limit| format!(" LIMIT {limit}")).unwrap_or_default();
            format!("SELECT * FROM \"{table}\"{limit}")
        }
        Subject::Library(_) if !patients.is_empty() => {
            return Err(unsupported("patient", "is for views; write the condition into the query"));
        }
        Subject::Library(_) if limit.is_some() => return Err(unsupported("_limit", "is for views; write LIMIT into the query")),
        Subject::Library(library) => app.query().sql(&library, &library::bound(&library.sql, &library.parameters, parameters)?)?,
        Subject::Definition(_) => return Err(unsupported("viewResource", UNREGISTERED)),
    };
    Ok(sql)
}

/// The permit that a request names: in the parameter `permit` or the header `Dugnad-Permit`. A hospital's own is `care`.
pub fn permit(who: &Principal, headers: &HeaderMap, parameters: &mut Parameters) -> Result<String, ApiError> {
    let header = headers.get(DUGNAD_PERMIT).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let wrong = |what: &str| ApiError::bad_request(IssueType::Required, what).at("http.Dugnad-Permit");
    match (parameters.text(&["permit"])?, header) {
        (Some(one), Some(other)) if one != other => {
            Err(wrong("the parameter permit and the header Dugnad-Permit name two permits; name one"))
        }
        (Some(permit), _) | (None, Some(permit)) => Ok(permit),
        (None, None) if who.role == Role::Hospital => Ok(CARE.to_owned()),
        (None, None) => Err(wrong("say under which permit: the header Dugnad-Permit or the parameter permit")),
    }
}

/// The table of a registered view, if the permit has it.
fn table_under(app: &App, who: &Principal, permit: &str, id: &str) -> Option<(String, Permit)> {
    let permit = app.query().permit(who, permit).ok()?;
    let view = app.database().view(id)?;
    permit.covers_table(&view.table).then_some((view.table, permit))
}

/// A view that is not there, one outside the permit and a permit that is not there look the same.
pub fn absent() -> ApiError {
    ApiError::not_found("there is no such ViewDefinition or Library under a permit that you may use now; check the id of both")
}

async fn refused(app: &App, who: &Principal, permit: &str, id: &str) -> ApiError {
    let error = absent();
    let entry = app.entry(Act::Refusal, who, |e| {
        e.permit = Some(permit.chars().take(64).collect());
        e.request = Some(format!("run {KIND}/{}", id.chars().take(64).collect::<String>()));
        e.outcome = Some("no such view under the permit".to_owned());
    });
    match app.record(entry).await {
        Ok(_) => error,
        Err(failed) => failed,
    }
}

/// The SQL for columns of the rows of a table.
pub fn rows_of(
    app: &App,
    permit: &Permit,
    columns: &str,
    table: &str,
    patients: &[String],
    limit: Option<u64>,
) -> Result<String, ApiError> {
    let snapshot = app.database().snapshot();
    let Some(found) = snapshot.table(table) else { return Err(not_yet(app, table)) };
    let mut sql = format!("SELECT {columns} FROM \"{table}\"");
    if !patients.is_empty() {
        let schema = found.schema();
        let column = schema.patient_column().and_then(|position| schema.columns.get(position));
        let column = column.filter(|c| permit.covers(table, &c.name).is_some());
        let column =
            column.ok_or_else(|| unsupported("patient", "needs a table with the patient's key, and a permit that has that column"))?;
        let keys: Vec<String> = patients.iter().map(|p| quoted(p.strip_prefix("Patient/").unwrap_or(p))).collect();
        sql.push_str(&format!(" WHERE \"{}\" IN ({})", column.name, keys.join(", ")));
    }
    if let Some(limit) = limit {
        sql.push_str(&format!(" LIMIT {limit}"));
    }
    Ok(sql)
}

/// A text literal of SQL.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn not_yet(app: &App, table: &str) -> ApiError {
    match app.database().views().into_iter().find(|v| v.table == table).map(|v| v.state) {
        Some(ViewState::Failed { .. }) => {
            let what = "the table of this view could not be built; $viewdefinition-materialize says why";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, IssueType::Exception, what)
        }
        _ => ApiError::busy("the table of this view is being built", RETRY_AFTER_S),
    }
}

/// `_format`, or else `Accept`, or else NDJSON, as the specification says.
pub fn format(headers: &HeaderMap, parameters: &mut Parameters) -> Result<Format, ApiError> {
    if parameters.text(&["header"])?.is_some_and(|header| header != "true") {
        return Err(unsupported("header", "can only be true: CSV has its header here"));
    }
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
    let any = |range: &str| matches!(media_type(range).0.as_str(), "" | "*/*" | "application/*" | "application/octet-stream");
    match parameters.text(&["_format"])? {
        Some(name) => {
            let known = Format::ALL.into_iter().filter(|f| *f != Format::Table);
            let found = known.clone().find(|f| f.name() == name || media_type(f.content_type()).0 == name.replace(' ', "+"));
            let names: Vec<&str> = known.map(Format::name).collect();
            found.ok_or_else(|| unsupported("_format", &format!("can be {}", names.join(", "))))
        }
        None if accept.split(',').any(any) => Ok(Format::Ndjson),
        None => headers::accepted_format(headers),
    }
}
