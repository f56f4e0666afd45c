//! Who read my data? Accesses that delivered a person's data, for that person, for their hospital and for the centre.

use super::auth::Caller;
use super::headers::parameter;
use super::routes::{self, Doc, Parameter, Routes};
use super::work::{Access, Read};
use super::{ApiError, App};
use crate::access::{Principal, Role};
use crate::limits::MAX_ACCESSES;
use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::Method;
use dugnad_kernel::audit::{ASSUMED, Entry, Log, PersonAccess};
use dugnad_kernel::fhir::issue::IssueType;
use dugnad_kernel::ids::{HolderId, PatientOrdinal};
use dugnad_kernel::permit::organisation::Organisation;
use serde_json::{Value, json};
use std::collections::HashMap;

const BEFORE: Parameter =
    Parameter { place: "query", name: "before", description: "Only accesses whose entry has a lower number; to go on from `next`." };
const COUNT: Parameter = Parameter { place: "query", name: "count", description: "How many, at most 100, the newest first." };
const PROOFS: Parameter = Parameter {
    place: "query",
    name: "proofs",
    description: "`true`: with the proof of each entry, checked with the log's public key alone.",
};
const OF_HOLDER: Parameter = Parameter { place: "query", name: "holder", description: "For the centre: the hospital whose Patient it is." };

/// Adds the routes.
pub fn add(routes: Routes) -> Routes {
    let mine = Doc {
        description: "Each access that delivered data about the patient whose token it is: who, for which organisation, when, for which purpose, which tables. Exact: from what was delivered, not from what could have been. `certain: false` marks an access that a crash cut off, which is taken to have delivered everybody whom it could.",
        caller: routes::Caller::Known,
        parameters: &[BEFORE, COUNT, PROOFS],
        answer: &["application/json"],
        statuses: &[(200, "The accesses, the newest first"), (404, "The token is of no Patient who is known here")],
        ..Doc::new("Audit", "personMe", "Who read my data?")
    };
    let one = Doc {
        description: "For a hospital: about its own Patient of this id. For the centre: about the Patient of the hospital in `holder`, with all Patients that are one person with it.",
        parameters: &[BEFORE, COUNT, PROOFS, OF_HOLDER],
        ..mine
    };
    let one = Doc { id: "person", summary: "Who read this patient's data?", ..one };
    routes.add(Method::GET, "/audit/persons/me", mine, me).add(Method::GET, "/audit/persons/{id}", one, of_patient)
}

async fn me(State(app): State<App>, Caller(who): Caller, RawQuery(query): RawQuery) -> Result<Json<Value>, ApiError> {
    answer(app, who, None, query).await
}

async fn of_patient(
    State(app): State<App>,
    Caller(who): Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    answer(app, who, Some(id), query).await
}

/// Which page is asked for.
pub struct Page {
    /// Only entries of a lower number.
    pub before: u64,
    /// How many accesses.
    pub count: usize,
    /// With proofs.
    pub proofs: bool,
}

impl Page {
    fn of(query: Option<&str>) -> Result<Self, ApiError> {
        let number = |name: &str| -> Result<Option<u64>, ApiError> {
            let wrong = |_| ApiError::bad_request(IssueType::Value, format!("{name} must be a whole number")).at(format!("query.{name}"));
            parameter(query, name).map(|v| v.parse().map_err(wrong)).transpose()
        };
        let count = usize::try_from(number("count")?.unwrap_or(MAX_ACCESSES as u64)).unwrap_or(usize::MAX);
        let proofs = parameter(query, "proofs").as_deref() == Some("true");
        Ok(Self { before: number("before")?.unwrap_or(u64::MAX), count: count.min(MAX_ACCESSES), proofs })
    }
}

async fn answer(app: App, who: Principal, id: Option<String>, query: Option<String>) -> Result<Json<Value>, ApiError> {
    let page = Page::of(query.as_deref())?;
    let holder = parameter(query.as_deref(), "holder");
    let place = app.enter_reads().await?;
    app.on_thread(place, move |app| told(app, &who, id.as_deref(), holder.as_deref(), &page).map(Json)).await
}

/// The accesses to a person's data, on the record: who asks is on it too. Blocks.
pub fn told(app: &App, who: &Principal, id: Option<&str>, holder: Option<&str>, page: &Page) -> Result<Value, ApiError> {
    let request = format!("GET /audit/persons/{}", if id.is_some() { "{id}" } else { "me" });
    let access = Access { who: who.clone(), interface: "audit", request, tables: vec!["audit".to_owned()] };
    app.read_about(&access, |_| {
        let Some(asked) = asked(app, who, id, holder)? else {
            return Ok(Read { found: Err(absent()), rows: 0, patients: None });
        };
        let answer = accesses(app, &asked, page)?;
        let rows = answer["accesses"].as_array().map_or(0, |all| all.len() as u64);
        Ok(Read { found: Ok(answer), rows, patients: Some(asked.patients) })
    })?
}

/// What is not there and what is another's look the same.
fn absent() -> ApiError {
    ApiError::not_found(
        "there is no such Patient whose accesses you may see; a patient's token must be bound to a Patient (dugnad token issue --patient)",
    )
}

/// Whom a question is about.
pub struct Asked {
    /// The Patients that are the person.
    pub patients: Vec<PatientOrdinal>,
    /// Their hospitals, by name: where accesses of one hospital are assumed to have shown anybody, only its own count.
    pub holders: Vec<String>,
}

/// The Patient that a patient's token is bound to: holder and logical id. Blocks.
pub fn own(app: &App, who: &Principal) -> Result<Option<(String, String)>, ApiError> {
    if who.role != Role::Patient {
        return Ok(None);
    }
    app.tokens().subject(&who.user).map_err(|error| ApiError::internal(&error.to_string()))
}

/// The person that `who` may ask about. Blocks.
pub fn asked(app: &App, who: &Principal, id: Option<&str>, holder: Option<&str>) -> Result<Option<Asked>, ApiError> {
    let (holder, id) = match (who.role, id) {
        (Role::Patient, None) => match own(app, who)? {
            Some(own) => own,
            None => return Ok(None),
        },
        (Role::Hospital, Some(id)) => (who.holder.clone().unwrap_or_default(), id.to_owned()),
        (Role::Centre, Some(id)) => (holder.unwrap_or_default().to_owned(), id.to_owned()),
        _ => return Ok(None),
    };
    let Some(holder) = app.database().holder(&holder) else { return Ok(None) };
    let Some(patient) = app.database().patient(holder.id, &id)? else { return Ok(None) };
    // A hospital is answered about its own Patient, whoever else they are elsewhere.
    if who.role == Role::Hospital {
        return Ok(Some(Asked { patients: vec![patient], holders: vec![holder.name] }));
    }
    let patients = app.database().same_person(patient)?;
    let names = app.database().patient_names(&patients)?;
    let all = app.database().holders();
    let name = |of: &Option<(HolderId, String)>| of.as_ref().and_then(|(id, _)| all.iter().find(|h| h.id == *id)).map(|h| h.name.clone());
    let holders = names.iter().filter_map(name).collect();
    Ok(Some(Asked { patients, holders }))
}

/// An access as it is shown: its completion and its intent.
pub struct Shown {
    /// The completion's number.
    pub index: u64,
    /// The completion.
    pub completion: Entry,
    /// What was asked; none if the log does not have it (it always does).
    pub intent: Option<Entry>,
    /// Whether it is known that the person's data was delivered.
    pub certain: bool,
}

impl Shown {
    /// Looks an access up.
    pub fn of(log: &Log, found: PersonAccess) -> Result<Option<Self>, ApiError> {
        let entry = |index: u64| -> Result<Option<Entry>, ApiError> { Ok(log.entries(index, 1)?.pop().map(|(_, entry)| entry)) };
        let Some(completion) = entry(found.entry)? else { return Ok(None) };
        let intent = completion.intent.map_or(Ok(None), entry)?;
        Ok(Some(Self { index: found.entry, completion, intent, certain: found.certain }))
    }

    /// Whether it concerns the person: an access of one hospital that is taken to have shown anybody showed its own patients only.
    pub fn concerns(&self, asked: &Asked) -> bool {
        self.certain || self.completion.holder.as_ref().is_none_or(|holder| asked.holders.contains(holder))
    }

    fn json(&self) -> Value {
        let entry = &self.completion;
        let mut shown = json!({
            "entry": self.index,
            "intent": entry.intent,
            "at": entry.at,
            "user": entry.user,
            "role": entry.role,
            "certain": self.certain && entry.outcome.as_deref() != Some(ASSUMED),
        });
        // What was asked may name others: it is for the centre, in GET /audit/log.
        for (name, value) in [
            ("holder", json!(entry.holder)),
            ("interface", json!(entry.interface)),
            ("permit", json!(entry.permit)),
            ("purpose", json!(entry.purpose)),
            ("commit", json!(entry.commit)),
            ("rows", json!(entry.rows)),
            ("outcome", json!(entry.outcome)),
        ] {
            if !value.is_null() {
                shown[name] = value;
            }
        }
        let tables = self.intent.as_ref().map_or(&entry.tables, |intent| &intent.tables);
        shown["tables"] = json!(tables);
        shown
    }
}

/// Names of organisations, each looked up once.
struct Organisations<'a> {
    app: &'a App,
    registered: Vec<Organisation>,
    applicants: HashMap<String, Option<String>>,
}

impl<'a> Organisations<'a> {
    fn of(app: &'a App) -> Result<Self, ApiError> {
        Ok(Self { app, registered: app.organisations()?, applicants: HashMap::new() })
    }

    /// For whom somebody acted: the organisation that the centre has registered them with, whom their permit was granted to, or
    /// their hospital.
    fn name(&mut self, entry: &Entry) -> Result<Option<String>, ApiError> {
        if let Some(own) = self.registered.iter().find(|organisation| organisation.has(&entry.user)) {
            return Ok(Some(own.name.clone()));
        }
        if let Some(id) = &entry.permit {
            if !self.applicants.contains_key(id) {
                let permit = self.app.stored_permit(id)?;
                self.applicants.insert(id.clone(), permit.map(|permit| permit.document().applicant.clone()));
            }
            if let Some(Some(applicant)) = self.applicants.get(id) {
                return Ok(Some(applicant.clone()));
            }
        }
        Ok(entry.holder.clone())
    }
}

/// A page of the accesses to a person's data.
pub fn accesses(app: &App, asked: &Asked, page: &Page) -> Result<Value, ApiError> {
    let log = app.audit();
    let mut organisations = Organisations::of(app)?;
    let found = log.who(&asked.patients)?;
    let mut shown = Vec::new();
    let mut next = None;
    for access in found.iter().rev().filter(|access| access.entry < page.before) {
        if shown.len() == page.count {
            next = shown.last().and_then(|last: &Value| last["entry"].as_u64());
            break;
        }
        let Some(access) = Shown::of(log, *access)?.filter(|access| access.concerns(asked)) else { continue };
        let mut json = access.json();
        if let Some(organisation) = organisations.name(&access.completion)? {
            json["organisation"] = json!(organisation);
        }
        if page.proofs {
            json["proof"] = json!(log.prove(access.index)?);
        }
        shown.push(json);
    }
    Ok(json!({"size": log.size(), "total": found.len(), "accesses": shown, "next": next}))
}
