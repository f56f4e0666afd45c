//! FHIR AuditEvent (R4, in the shape of IHE BALP), made from the audit log: nothing is stored twice.
//!
//! `GET /fhir/AuditEvent` is answered to a patient about their own data, to a hospital about its own patients (`patient=ID`), and to
//! the centre about everything.

use super::answer::{self, BundleWriter};
use super::auth::{Caller, Hospital};
use super::headers::{parameter, percent_decode};
use super::persons::{self, Asked, Shown};
use super::routes::{self, Doc, Parameter, Routes};
use super::work::{Access, Read};
use super::{ApiError, App, fhir};
use crate::access::{Principal, Role};
use crate::limits::{MAX_EVENTS_LOOKED_AT, MAX_LOG_ENTRIES};
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dugnad_kernel::audit::{ASSUMED, Act, Entry};
use dugnad_kernel::fhir::issue::IssueType;
use jiff::Timestamp;
use serde_json::{Value, json};

const FHIR: &str = "application/fhir+json";
const KIND: &str = "AuditEvent";
const PATH: &str = "/fhir/AuditEvent";
const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const EVENT_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-event-type";
const INTERACTION: &str = "http://hl7.org/fhir/restful-interaction";

/// Adds the routes. A hospital may still write AuditEvents of its own, as resources like others.
pub fn add(routes: Routes) -> Routes {
    let search = Doc {
        description: "Made from the audit log (IHE BALP shape). A patient is answered about their own data, a hospital about its own Patient of `patient`, the centre about everything.",
        caller: routes::Caller::Known,
        parameters: &[
            Parameter { place: "query", name: "patient", description: "The logical id of a Patient; for the centre with `holder`." },
            Parameter { place: "query", name: "holder", description: "For the centre: the hospital whose Patient it is." },
            Parameter { place: "query", name: "agent", description: "The user's name." },
            Parameter {
                place: "query",
                name: "date",
                description: "When it was recorded: `ge`, `gt`, `le` or `lt` with an instant or a date; may be given twice.",
            },
            Parameter { place: "query", name: "_count", description: "How many, at most 1,000, the newest first." },
            Parameter { place: "query", name: "_before", description: "Only entries of a lower number; the link `next` has it." },
        ],
        answer: &[FHIR],
        statuses: &[(200, "A searchset Bundle"), (404, "There is no such Patient whose accesses you may see")],
        interactions: &["search-type"],
        ..Doc::new("FHIR", "auditEvents", "Search the audit log as AuditEvents")
    };
    let write = Doc { caller: routes::Caller::Hospital, body: Some(FHIR), answer: &[FHIR], ..Doc::new("FHIR", "", "") };
    let create = Doc {
        id: "createAuditEvent",
        summary: "Create a hospital's own AuditEvent, a resource like others",
        statuses: &[(201, "Created")],
        ..write
    };
    let update =
        Doc { id: "updateMatchingAuditEvent", summary: "Update the hospital's one AuditEvent that matches, or create it", ..write };
    let patch = Doc {
        id: "patchMatchingAuditEvent",
        summary: "Change a part of the hospital's one AuditEvent that matches",
        other_bodies: &["application/json-patch+json", "application/merge-patch+json"],
        statuses: fhir::PATCH_STATUSES,
        ..write
    };
    let delete = Doc {
        id: "deleteMatchingAuditEvent",
        summary: "Delete the hospital's one AuditEvent that matches",
        body: None,
        statuses: &[(204, "Deleted, or there was none"), (412, "Several match")],
        ..write
    };
    routes
        .add(Method::GET, PATH, search, events)
        .add(Method::POST, PATH, create, |state: State<App>, hospital: Hospital, headers: HeaderMap, query: RawQuery, body: Body| {
            fhir::create(state, hospital, Path(KIND.to_owned()), headers, query, body)
        })
        .add(Method::PUT, PATH, update, |state: State<App>, hospital: Hospital, headers: HeaderMap, query: RawQuery, body: Body| {
            fhir::update_matching(state, hospital, Path(KIND.to_owned()), headers, query, body)
        })
        .add(Method::PATCH, PATH, patch, |state: State<App>, hospital: Hospital, headers: HeaderMap, query: RawQuery, body: Body| {
            fhir::patch_matching(state, hospital, Path(KIND.to_owned()), headers, query, body)
        })
        .add(Method::DELETE, PATH, delete, |state: State<App>, hospital: Hospital, headers: HeaderMap, query: RawQuery| {
            fhir::delete_matching(state, hospital, Path(KIND.to_owned()), headers, query)
        })
}

/// What is searched for.
struct Search {
    patient: Option<String>,
    holder: Option<String>,
    agent: Option<String>,
    dates: Vec<Bound>,
    count: usize,
    before: u64,
}

/// A bound on the time of an entry.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    From(Timestamp),
    Until(Timestamp),
}

impl Search {
    fn of(query: Option<&str>) -> Result<Self, ApiError> {
        let wrong = |name: &str, what: &str| ApiError::bad_request(IssueType::Value, what.to_owned()).at(format!("query.{name}"));
        let number = |name: &str| -> Result<Option<u64>, ApiError> {
            parameter(query, name).map(|v| v.parse().map_err(|_| wrong(name, "this must be a whole number"))).transpose()
        };
        let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let mut dates = Vec::new();
        for (_, value) in pairs.filter(|(name, _)| *name == "date") {
            let bound = bounds(&percent_decode(value, false));
            dates.extend(bound.ok_or_else(|| wrong("date", "a date is ge, gt, le or lt and an instant or a day, such as ge2026-11-21"))?);
        }
        let patient = parameter(query, "patient").map(|id| id.strip_prefix("Patient/").unwrap_or(&id).to_owned());
        let count = usize::try_from(number("_count")?.unwrap_or(100)).unwrap_or(usize::MAX).min(MAX_LOG_ENTRIES);
        let (holder, agent) = (parameter(query, "holder"), parameter(query, "agent"));
        Ok(Self { patient, holder, agent, dates, count, before: number("_before")?.unwrap_or(u64::MAX) })
    }

    fn takes(&self, entry: &Entry) -> bool {
        let within = |bound: &Bound| match bound {
            Bound::From(from) => entry.at >= *from,
            Bound::Until(until) => entry.at < *until,
        };
        self.agent.as_ref().is_none_or(|agent| *agent == entry.user) && self.dates.iter().all(within)
    }
}

/// The bounds of a date parameter (FHIR R4, 3.1.1.4.7); a day is one in UTC.
fn bounds(text: &str) -> Option<Vec<Bound>> {
    let (prefix, text) = match text.get(..2) {
        Some(prefix @ ("ge" | "gt" | "le" | "lt" | "eq")) => (prefix, text.get(2..)?),
        _ => ("eq", text),
    };
    let (from, until) = match text.parse::<Timestamp>() {
        Ok(instant) => (instant, instant.checked_add(jiff::SignedDuration::from_micros(1)).ok()?),
        Err(_) => {
            let day: jiff::civil::Date = text.parse().ok()?;
            let at = |day: jiff::civil::Date| day.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
            (at(day)?, at(day.tomorrow().ok()?)?)
        }
    };
    Some(match prefix {
        "ge" => vec![Bound::From(from)],
        "gt" => vec![Bound::From(until)],
        "le" => vec![Bound::Until(until)],
        "lt" => vec![Bound::Until(from)],
        _ => vec![Bound::From(from), Bound::Until(until)],
    })
}

async fn events(State(app): State<App>, Caller(who): Caller, RawQuery(query): RawQuery) -> Result<Response<Body>, ApiError> {
    let search = Search::of(query.as_deref())?;
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| {
        let access = Access { who: who.clone(), interface: "fhir", request: format!("GET /fhir/{KIND}"), tables: vec![KIND.to_owned()] };
        app.read_about(&access, |_| {
            if who.role == Role::Centre && search.patient.is_none() {
                let (bundle, rows) = all(app, &search)?;
                return Ok(Read { found: Ok(bundle), rows, patients: None });
            }
            let id = search.patient.as_deref().filter(|_| who.role != Role::Patient);
            let Some(asked) = persons::asked(app, &who, id, search.holder.as_deref())? else {
                return Ok(Read { found: Err(absent()), rows: 0, patients: None });
            };
            let (bundle, rows) = of_person(app, &who, &search, &asked)?;
            Ok(Read { found: Ok(bundle), rows, patients: Some(asked.patients) })
        })?
    })
    .await
}

fn absent() -> ApiError {
    ApiError::not_found("say whose accesses, with patient=ID: your own Patient's. A patient's token must be bound to a Patient")
}

/// What was found, as a Bundle; `next` is where a further search goes on.
fn bundle(app: &App, events: &[Value], next: Option<u64>) -> Response<Body> {
    let base = app.settings().public_url.as_deref().unwrap_or_default().trim_end_matches('/');
    let mut bundle = BundleWriter::new("searchset");
    for event in events {
        let id = event["id"].as_str().unwrap_or_default();
        let members = json!({"fullUrl": format!("{base}/fhir/{KIND}/{id}"), "search": {"mode": "match"}});
        bundle.entry(&members, Some(event.to_string().as_bytes()));
    }
    let mut response = answer::fhir(StatusCode::OK, bundle.finish());
    if let Some(next) = next {
        let link = format!("<{base}/fhir/{KIND}?_before={next}>; rel=\"next\"");
        response.headers_mut().insert(axum::http::header::LINK, super::headers::value(&link));
    }
    response
}

/// The newest entries that the search takes, for the centre.
fn all(app: &App, search: &Search) -> Result<(Response<Body>, u64), ApiError> {
    let log = app.audit();
    let mut end = search.before.min(log.size());
    let least = end.saturating_sub(MAX_EVENTS_LOOKED_AT);
    let mut found = Vec::new();
    while end > least && found.len() < search.count {
        let first = end.saturating_sub(MAX_LOG_ENTRIES as u64).max(least);
        let entries = log.entries(first, usize::try_from(end - first).unwrap_or(0))?;
        for (index, entry) in entries.into_iter().rev() {
            if found.len() == search.count {
                break;
            }
            end = index;
            // An access is told by its completion, and while it is under way not at all.
            if !matches!(entry.act, Act::Intent | Act::Persons) && search.takes(&entry) {
                found.push(event(log.verifier_key().name(), index, &entry, None));
            }
        }
    }
    let next = (end > 0).then_some(end);
    Ok((bundle(app, &found, next), found.len() as u64))
}

/// The accesses that delivered a person's data.
fn of_person(app: &App, who: &Principal, search: &Search, asked: &Asked) -> Result<(Response<Body>, u64), ApiError> {
    let log = app.audit();
    let found = log.who(&asked.patients)?;
    // Whoever asks knows the Patient by this id.
    let subject = persons::own(app, who)?.map_or_else(|| search.patient.clone(), |(_, id)| Some(id));
    let (mut events, mut next) = (Vec::new(), None);
    for access in found.iter().rev().filter(|access| access.entry < search.before) {
        if events.len() == search.count {
            next = Some(access.entry + 1);
            break;
        }
        let shown = Shown::of(log, *access)?.filter(|shown| shown.concerns(asked) && search.takes(&shown.completion));
        if let Some(shown) = shown {
            events.push(event(log.verifier_key().name(), shown.index, &shown.completion, subject.as_deref()));
        }
    }
    Ok((bundle(app, &events, next), events.len() as u64))
}

fn coding(system: &str, code: &str, display: &str) -> Value {
    json!({"system": system, "code": code, "display": display})
}

/// What kind of event an entry is: type, subtype, action.
fn kind(entry: &Entry) -> (Value, Option<Value>, &'static str) {
    let rest = || coding(EVENT_TYPE, "rest", "RESTful Operation");
    let interaction = |code: &str| Some(coding(INTERACTION, code, code));
    match entry.act {
        Act::Login => (coding(DCM, "110114", "User Authentication"), Some(coding(DCM, "110122", "Login")), "E"),
        Act::Administration => (coding(DCM, "110100", "Application Activity"), None, "E"),
        Act::Decision => (coding(DCM, "110136", "Security Roles Changed"), None, "E"),
        Act::Write => (rest(), interaction("transaction"), "U"),
        _ if entry.permit.is_some() => (rest(), interaction("search"), "E"),
        _ => (rest(), interaction("read"), "R"),
    }
}

/// An entry as an AuditEvent. `patient` is the logical id by which whoever asks knows the patient.
fn event(origin: &str, index: u64, entry: &Entry, patient: Option<&str>) -> Value {
    let (kind, subtype, action) = kind(entry);
    let outcome = match (entry.act, entry.outcome.as_deref()) {
        (Act::Refusal, _) => "4",
        (_, None | Some("ok" | "granted" | "revoked" | "replayed" | "cancelled" | "refresh")) => "0",
        (_, Some(ASSUMED)) => "8",
        _ => "4",
    };
    let mut agent = json!({
        "type": {"coding": [coding("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP", "information recipient")]},
        "who": {"identifier": {"value": entry.user}},
        "role": [{"text": entry.role}],
        "requestor": true,
    });
    if let Some(purpose) = &entry.purpose {
        agent["purposeOfUse"] = json!([{"text": purpose}]);
    }
    if let Some(permit) = &entry.permit {
        agent["policy"] = json!([format!("urn:dugnad:permit:{permit}")]);
    }
    let mut event = json!({
        "resourceType": KIND,
        "id": index.to_string(),
        "type": kind,
        "action": action,
        "recorded": entry.at,
        "outcome": outcome,
        "agent": [agent],
        "source": {
            "observer": {"identifier": {"value": origin}},
            "type": [coding("http://terminology.hl7.org/CodeSystem/security-source-type", "4", "Application Server")],
        },
    });
    if let Some(subtype) = subtype {
        event["subtype"] = json!([subtype]);
    }
    if let Some(said) = entry.outcome.as_ref().filter(|said| said.as_str() != "ok") {
        event["outcomeDesc"] = json!(said);
    }
    let entities = entities(entry, patient);
    if !entities.is_empty() {
        event["entity"] = json!(entities);
    }
    event
}

fn entities(entry: &Entry, patient: Option<&str>) -> Vec<Value> {
    let kind = |code: &str, display: &str| coding(EVENT_TYPE.replace("audit-event-type", "audit-entity-type").as_str(), code, display);
    let role = |code: &str, display: &str| coding("http://terminology.hl7.org/CodeSystem/object-role", code, display);
    let person = patient.map(|id| {
        json!({
            "what": {"reference": format!("Patient/{id}")},
            "type": kind("1", "Person"),
            "role": role("1", "Patient"),
        })
    });
    let tables = (!entry.tables.is_empty())
        .then(|| json!({"type": kind("2", "System Object"), "role": role("4", "Domain Resource"), "name": entry.tables.join(", ")}));
    // What was asked may name others: where the event is about one patient it is left out.
    let query = entry.request.as_ref().filter(|_| patient.is_none());
    let query =
        query.map(|query| json!({"type": kind("2", "System Object"), "role": role("24", "Query"), "query": STANDARD.encode(query)}));
    person.into_iter().chain(tables).chain(query).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_a_precision() {
        let at = |text: &str| text.parse::<Timestamp>().ok();
        let day = |text| bounds(text).unwrap_or_default();
        let (first, next) = (at("2026-11-21T00:00:00Z"), at("2026-11-22T00:00:00Z"));
        let both = || Some((first?, next?));
        assert_eq!(both().map(|(first, next)| vec![Bound::From(first), Bound::Until(next)]), Some(day("2026-11-21")));
        assert_eq!(both().map(|(_, next)| vec![Bound::From(next)]), Some(day("gt2026-11-21")));
        assert_eq!(both().map(|(first, _)| vec![Bound::Until(first)]), Some(day("lt2026-11-21")));
        assert_eq!(both().map(|(_, next)| vec![Bound::Until(next)]), Some(day("le2026-11-21T23:59:59.999999Z")));
        assert_eq!(bounds("yesterday"), None);
    }
}
