//! FHIR search over HTTP: `GET` and `POST _search` on a type, on the system and in a Patient's compartment.
//!
//! What can be searched for is the kernel's (`kernel/search`). Here is who asks, what goes on the record, pages and their links.

mod asked;
mod bundle;
mod engine;
mod everything;
pub mod link;
mod run;

pub use asked::{Asked, Place, part, refused};
pub use bundle::write_part;
pub use engine::Engine;
pub use run::{Searcher, run};

use super::answer;
use super::auth::Hospital;
use super::fhir::min_commit;
use super::headers::{self, DUGNAD_COMMIT, Preferences, value};
use super::parameters::Parameters;
use super::routes::{Caller, Doc, Parameter, Routes};
use super::{ApiError, App, body};
use crate::limits::MAX_SEARCH_BYTES;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, header};
use dugnad_kernel::database::Handling;
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::search::parse;

type Answer = Result<Response<Body>, ApiError>;

const FHIR: &str = "application/fhir+json";
const FORM: &str = "application/x-www-form-urlencoded";

const fn query(name: &'static str, description: &'static str) -> Parameter {
    Parameter { place: "query", name, description }
}

const PREFER: Parameter = Parameter {
    place: "header",
    name: "Prefer",
    description: "`handling=strict` refuses a search with parameters that are not known; `lenient` (the default) leaves them out, of the `self` link too, and says so in an entry of mode `outcome`.",
};
const MIN_COMMIT: Parameter = Parameter {
    place: "header",
    name: "Dugnad-Min-Commit",
    description: "Search no older commit than this; waits up to two seconds for it, then 503.",
};
const PARAMETERS: &[Parameter] = &[
    PREFER,
    MIN_COMMIT,
    query("_id", "Logical ids, with commas between them. All other search parameters of R4 are named in /fhir/metadata."),
    query("_lastUpdated", "When the current version was written: `ge2026-01-01`."),
    query("_sort", "Parameters to order by, `-` before those that descend: `-date,code`."),
    query("_count", "How many matches a page has at most; 0: only their number."),
    query("_total", "`accurate` or `estimate`: count all matches. `none`: do not (the default)."),
    query("_include", "What comes along: `Observation:subject`; `_include:iterate` also of what has come along."),
    query("_revinclude", "What refers to the matches comes along: `Provenance:target`."),
    query("_summary", "`true`, `text`, `data`, `count` or `false`."),
    query("_elements", "Elements of the matches that are wanted: `id,name`."),
    query("_pretty", "`true`: indented."),
];
const EVERYTHING_DEFINITION: &str = "http://hl7.org/fhir/OperationDefinition/Patient-everything";
const EVERYTHING: &[Parameter] = &[
    PREFER,
    MIN_COMMIT,
    query("start", "Of care that was given on this date or later; what has no care date is there too."),
    query("end", "Of care that was given on this date or earlier."),
    query("_since", "Only what was written then or later: an instant."),
    query("_type", "Only these resource types: `Observation,Condition`."),
    query("_count", "How many resources of the compartment a page has at most; at most 500."),
    query("_pretty", "`true`: indented."),
];
const STATUSES: &[(u16, &str)] = &[
    (200, "A searchset: links `self`, `first` and `next`, pages pinned to one commit for an hour"),
    (400, "A parameter's modifier or value is wrong: each problem with its place"),
    (404, "No such page, or not yours"),
    (406, "Not JSON"),
    (410, "The link to the page has expired"),
    (413, "The parameters or the page are too large"),
    (503, "The audit log cannot be written, or Dugnad-Min-Commit has not come"),
];

/// Adds the routes of search.
pub fn add(routes: Routes) -> Routes {
    let get = Doc { caller: Caller::Hospital, parameters: PARAMETERS, answer: &[FHIR], statuses: STATUSES, ..Doc::new("FHIR", "", "") };
    let post = Doc { body: Some(FORM), parameters: &[PREFER, MIN_COMMIT], ..get };
    let on_type = "Every search parameter of FHIR R4 for the type, its prefixes and modifiers, chains (`subject:Patient.name`) and `_has`. A resource is found from its acknowledgement on.";
    let everything = Doc { parameters: &[PREFER, MIN_COMMIT], operation: Some(("everything", EVERYTHING_DEFINITION)), ..get };
    let of_everything = "The Patient and the patient's compartment, and the practitioners, organisations, medications and others that these refer to. Pages of one commit.";
    routes
        .add(
            Method::GET,
            "/fhir/{type}",
            Doc { id: "searchType", summary: "Search resources of a type", description: on_type, interactions: &["search-type"], ..get },
            on_type_by_get,
        )
        .add(
            Method::POST,
            "/fhir/{type}/_search",
            Doc { id: "searchTypeByForm", summary: "Search resources of a type, the parameters as a form", ..post },
            on_type_by_post,
        )
        .add(
            Method::GET,
            "/fhir",
            Doc {
                id: "searchSystem",
                summary: "Search resources of several types",
                description: "`_type=Patient,Observation` says which; parameters are those that all of them have.",
                interactions: &["search-system"],
                ..get
            },
            on_system_by_get,
        )
        .add(
            Method::POST,
            "/fhir/_search",
            Doc { id: "searchSystemByForm", summary: "Search resources of several types, the parameters as a form", ..post },
            on_system_by_post,
        )
        .add(
            Method::GET,
            "/fhir/{type}/{id}/{of}",
            Doc {
                id: "searchCompartment",
                summary: "Search a Patient's compartment",
                description: "`/fhir/Patient/1/Observation`; `/fhir/Patient/1/*` for all types.",
                ..get
            },
            in_compartment_by_get,
        )
        .add(
            Method::GET,
            "/fhir/Patient/{id}/$everything",
            Doc {
                id: "everything",
                summary: "All that there is about a Patient",
                description: of_everything,
                parameters: EVERYTHING,
                ..everything
            },
            everything_by_get,
        )
        .add(
            Method::POST,
            "/fhir/Patient/{id}/$everything",
            Doc {
                id: "everythingByParameters",
                summary: "All that there is about a Patient, asked for with Parameters",
                body: Some(FHIR),
                ..everything
            },
            everything_by_post,
        )
        .add(
            Method::POST,
            "/fhir/{type}/{id}/{of}/_search",
            Doc { id: "searchCompartmentByForm", summary: "Search a Patient's compartment, the parameters as a form", ..post },
            in_compartment_by_post,
        )
}

pub async fn on_type_by_get(
    State(app): State<App>,
    hospital: Hospital,
    Path(kind): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Answer {
    by_get(app, hospital, Place::of_type(&kind)?, &headers, query.as_deref()).await
}

async fn on_system_by_get(State(app): State<App>, hospital: Hospital, headers: HeaderMap, RawQuery(query): RawQuery) -> Answer {
    by_get(app, hospital, Place::System, &headers, query.as_deref()).await
}

async fn in_compartment_by_get(
    State(app): State<App>,
    hospital: Hospital,
    Path((owner, id, kind)): Path<(String, String, String)>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Answer {
    by_get(app, hospital, Place::compartment(&owner, &id, &kind)?, &headers, query.as_deref()).await
}

pub async fn on_type_by_post(
    State(app): State<App>,
    hospital: Hospital,
    Path(kind): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    by_post(app, hospital, Place::of_type(&kind)?, &headers, query.as_deref(), body).await
}

async fn on_system_by_post(
    State(app): State<App>,
    hospital: Hospital,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    by_post(app, hospital, Place::System, &headers, query.as_deref(), body).await
}

async fn in_compartment_by_post(
    State(app): State<App>,
    hospital: Hospital,
    Path((owner, id, kind)): Path<(String, String, String)>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    by_post(app, hospital, Place::compartment(&owner, &id, &kind)?, &headers, query.as_deref(), body).await
}

async fn everything_by_get(
    State(app): State<App>,
    hospital: Hospital,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Answer {
    by_get(app, hospital, Place::everything(&id)?, &headers, query.as_deref()).await
}

async fn everything_by_post(
    State(app): State<App>,
    hospital: Hospital,
    Path(id): Path<String>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer {
    let (bytes, claim) = body::read(&app, &headers, body, MAX_SEARCH_BYTES).await?.into_parts();
    if !bytes.is_empty() {
        headers::require_json_body(&headers)?;
    }
    let mut pairs = String::new();
    for (name, value) in Parameters::read(query.as_deref(), &bytes)?.rest()? {
        for (before, text) in [("&", &name), ("=", &value)] {
            pairs.push_str(before);
            parse::encode(text, &mut pairs);
        }
    }
    drop(claim);
    let asked = Asked::new(Place::everything(&id)?, pairs.trim_start_matches('&'), "", strict(&headers))?;
    answered(app, hospital, "POST", &headers, asked).await
}

async fn by_get(app: App, hospital: Hospital, place: Place, headers: &HeaderMap, query: Option<&str>) -> Answer {
    let asked = Asked::new(place, query.unwrap_or_default(), "", strict(headers))?;
    answered(app, hospital, "GET", headers, asked).await
}

/// Parameters may stand in the address and in the form (FHIR R4, section 3.1.0.8.1).
async fn by_post(app: App, hospital: Hospital, place: Place, headers: &HeaderMap, query: Option<&str>, body: Body) -> Answer {
    headers::require_form(headers)?;
    let (bytes, claim) = body::read(&app, headers, body, MAX_SEARCH_BYTES).await?.into_parts();
    let wrong = |_| ApiError::bad_request(IssueType::Structure, "the form is not UTF-8; encode other characters as `%41`");
    let asked = Asked::new(place, query.unwrap_or_default(), std::str::from_utf8(&bytes).map_err(wrong)?, strict(headers))?;
    drop(claim);
    answered(app, hospital, "POST", headers, asked).await
}

fn strict(headers: &HeaderMap) -> bool {
    Preferences::parse(headers).handling == Some(Handling::Strict)
}

async fn answered(app: App, hospital: Hospital, method: &'static str, headers: &HeaderMap, asked: Asked) -> Answer {
    headers::require_json_format(headers, asked.parameter("_format"))?;
    min_commit(&app, headers).await?;
    let base = headers::base(headers, app.settings());
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let page = run(app, &Searcher { hospital: &hospital, base: &base, method, commit: None }, &asked)?;
        let body = if asked.parameter("_pretty") == Some("true") { answer::pretty(&page.body) } else { page.body };
        let mut response = answer::fhir(StatusCode::OK, body);
        response.headers_mut().insert(DUGNAD_COMMIT, value(&page.commit.to_string()));
        response.headers_mut().insert(header::VARY, value("Authorization"));
        Ok(response)
    })
    .await
}
