//! `/dimensions/{name}` and `PUT /statistics/{table}`: the published hierarchies of codes, and the centre's own tables.

use crate::api::auth::Centre;
use crate::api::desk::{Deed, done};
use crate::api::routes::{Caller, Doc, Routes};
use crate::api::{ApiError, App, body};
use crate::limits::{MAX_DIMENSION_BODY_BYTES, MAX_STATISTIC_BODY_BYTES};
use crate::query::{DIMENSION, STATISTIC};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Response};
use dugnad_kernel::disclosure::{Hierarchy, HierarchyDocument, Statistic};
use dugnad_kernel::fhir::issue::IssueType;
use serde_json::{Value, json};

const JSON: &str = "application/json";

/// Adds the routes.
pub(super) fn add(routes: Routes) -> Routes {
    let get = Doc {
        description: "All codes of all levels, each with its parent, as tables have them. Anybody may read it.",
        answer: &[JSON],
        statuses: &[(200, "The dimension"), (404, "There is no such dimension")],
        ..Doc::new("Statistics", "dimension", "A published hierarchy of codes")
    };
    let put = Doc {
        description: "`{\"name\", \"title\", \"source\", \"levels\": [{\"name\", \"title\"}], \"codes\": [{\"level\", \"code\", \"parent\"?, \"label\", \"also\"?}]}`, the coarsest level first. In the place of one that the program carries, if it has the same name.",
        caller: Caller::Centre,
        body: Some(JSON),
        answer: &[JSON],
        statuses: &[
            (200, "Published; `Dugnad-Commit` says from which commit on"),
            (400, "Not a hierarchy; the problem says why"),
            (403, "For the centre only"),
        ],
        ..Doc::new("Statistics", "putDimension", "Publish a dimension")
    };
    let table = Doc {
        description: "`{\"name\", \"title\", \"table\", \"sql\", \"dimensions\": [{\"dimension\", \"column\", \"needs\", \"holds\"?, \"system\"?, \"systems\"?}], \"value\"?, \"survival\"?}`: rows that one SELECT finds, whose column `person` is a `patient_key`, and the dimension that each column is of.",
        caller: Caller::Centre,
        body: Some(JSON),
        answer: &[JSON],
        statuses: &[
            (200, "Published; `Dugnad-Commit` says from which commit on"),
            (400, "Not a statistic; the problem says why"),
            (403, "For the centre only"),
        ],
        ..Doc::new("Statistics", "putStatistic", "Publish a statistics table")
    };
    routes.add(Method::GET, "/dimensions/{name}", get, read).add(Method::PUT, "/dimensions/{name}", put, publish_dimension).add(
        Method::PUT,
        "/statistics/{table}",
        table,
        publish_statistic,
    )
}

async fn read(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let absent = || ApiError::not_found("there is no such dimension; GET /statistics lists them");
        let hierarchy = app.query().dimension(&name)?.ok_or_else(absent)?;
        Ok(Json(shown(&hierarchy)))
    })
    .await
}

fn shown(hierarchy: &Hierarchy) -> Value {
    let levels: Vec<Value> = hierarchy.levels().iter().map(|l| json!({"name": l.name(), "title": l.title()})).collect();
    let mut codes = Vec::new();
    for (depth, level) in hierarchy.levels().iter().enumerate() {
        for (at, category) in level.categories().iter().enumerate() {
            let mut code = json!({"level": level.name(), "code": category.code, "label": category.label});
            if depth > 0 && at != level.unknown() {
                code["parent"] = json!(hierarchy.levels()[depth - 1].categories()[level.above(at)].code);
            }
            codes.push(code);
        }
    }
    json!({"name": hierarchy.name(), "title": hierarchy.title(), "source": hierarchy.source(), "levels": levels, "codes": codes})
}

fn invalid(error: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(IssueType::Invalid, error.to_string())
}

fn same_name(address: &str, name: &str) -> Result<(), ApiError> {
    if address == name { Ok(()) } else { Err(ApiError::bad_request(IssueType::Invalid, "the name must be that of the address").at("name")) }
}

async fn publish_dimension(
    State(app): State<App>,
    Centre(who): Centre,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, ApiError> {
    let json = body::json(&app, &headers, body, MAX_DIMENSION_BODY_BYTES).await?;
    let document = HierarchyDocument::parse(&json).map_err(invalid)?;
    let hierarchy = Hierarchy::new(&document).map_err(invalid)?;
    same_name(&name, &document.name)?;
    let said = json!({"name": name, "codes": document.codes.len(), "levels": hierarchy.levels().len()});
    let deed = Deed { who, interface: "dimensions", request: format!("PUT /dimensions/{name}") };
    publish(&app, deed, (DIMENSION, name, json), said, move |app| Ok(app.query().check_dimension(&hierarchy)?)).await
}

async fn publish_statistic(
    State(app): State<App>,
    Centre(who): Centre,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, ApiError> {
    let json = body::json(&app, &headers, body, MAX_STATISTIC_BODY_BYTES).await?;
    let statistic = Statistic::parse(&json).map_err(invalid)?;
    same_name(&name, &statistic.name)?;
    app.query().check_statistic(&statistic).await?;
    let deed = Deed { who, interface: "statistics", request: format!("PUT /statistics/{name}") };
    publish(&app, deed, (STATISTIC, name, json), json!(statistic), |_| Ok(())).await
}

/// Writes a document of the centre's, if `check` lets it.
async fn publish(
    app: &App,
    deed: Deed,
    (kind, name, json): (&'static str, String, String),
    said: Value,
    check: impl FnOnce(&App) -> Result<(), ApiError> + Send + 'static,
) -> Result<Response<Body>, ApiError> {
    let place = app.enter_writes().await?;
    app.on_thread(place, move |app| {
        check(app)?;
        let commit = app.at_desk(&deed, |_| {
            Ok(app.put_recorded(&deed, &[(kind, &name, &json)], |entry| entry.outcome = Some("published".to_owned()))?)
        })?;
        Ok(done(commit, said))
    })
    .await
}
