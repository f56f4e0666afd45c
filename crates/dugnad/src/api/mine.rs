//! What a patient's own page shows: who read their data, whether they have opted out, the consents that stand for them.
//!
//! It is what the routes of [`super::persons`] and [`super::opt_outs`] answer; only the consents are put together here.

use super::persons::{self, Asked, Page};
use super::search::Engine;
use super::work::{Access, Read};
use super::{ApiError, App, opt_outs};
use crate::access::Principal;
use crate::limits::{ACCESSES_SHOWN, CONSENTS_SHOWN};
use dugnad_kernel::database::opt_out_id;
use dugnad_kernel::limits::SEARCH_TIME;
use dugnad_kernel::population;
use dugnad_kernel::search::compartment;
use dugnad_kernel::search::include::Source;
use dugnad_kernel::search::query::Search;
use serde_json::Value;
use std::time::Instant;

/// What the page shows.
pub struct Mine {
    /// The accesses, as `GET /audit/persons/me` answers them.
    pub accesses: Value,
    /// Whether the person is out (Art. 71), by whatever Consent.
    pub opted_out: bool,
    /// Whether they are by their own opt-out, which this page takes back.
    pub by_themself: bool,
    /// What they consented to, those that stand first.
    pub consents: Vec<Consent>,
}

/// A consent, or a part in a study.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consent {
    /// The hospital that has it.
    pub hospital: String,
    /// The study that it is for; what the Consent says it is about, where it is for none.
    pub about: String,
    /// Its status, or that of the part in the study where that is all there is.
    pub status: String,
    /// The version of the form.
    pub version: Option<String>,
    /// When it was given, as the hospital wrote it.
    pub given: Option<String>,
    /// Whether it stands.
    pub stands: bool,
    /// Whether it takes the person out.
    pub opt_out: bool,
}

/// What the page of `who` shows, on the record; none if their token is bound to no Patient who is known. Accesses are those whose
/// entries have a lower number than `before`. Blocks.
pub fn mine(app: &App, who: &Principal, before: u64) -> Result<Option<Mine>, ApiError> {
    let tables = ["audit", "Consent", "ResearchSubject", "ResearchStudy"].map(str::to_owned).to_vec();
    app.read_about(&Access { who: who.clone(), interface: "web", request: "GET /me".to_owned(), tables }, |_| {
        let Some(asked) = persons::asked(app, who, None, None)? else {
            return Ok(Read { found: None, rows: 0, patients: None });
        };
        let accesses = persons::accesses(app, &asked, &Page { before, count: ACCESSES_SHOWN, proofs: false })?;
        let (consents, by_themself) = consents(app, &asked)?;
        let out = population::opted_out(&app.database().snapshot()).map_err(|damaged| {
            app.database().report(&damaged);
            ApiError::internal(&damaged.to_string())
        })?;
        let opted_out = asked.patients.iter().any(|patient| out.contains(patient.0));
        let rows = consents.len() as u64 + accesses["accesses"].as_array().map_or(0, Vec::len) as u64;
        let found = Some(Mine { accesses, opted_out, by_themself, consents });
        Ok(Read { found, rows, patients: Some(asked.patients) })
    })
}

/// One access to the data of `who`, with its proof; none if there is none of this number. Blocks.
pub fn access(app: &App, who: &Principal, entry: u64) -> Result<Option<Value>, ApiError> {
    let request = "GET /me/accesses/{entry}".to_owned();
    app.read_about(&Access { who: who.clone(), interface: "web", request, tables: vec!["audit".to_owned()] }, |_| {
        let Some(asked) = persons::asked(app, who, None, None)? else {
            return Ok(Read { found: None, rows: 0, patients: None });
        };
        let page = Page { before: entry.saturating_add(1), count: 1, proofs: true };
        let mut newest = persons::accesses(app, &asked, &page)?;
        let found = newest["accesses"].as_array_mut().and_then(|all| all.pop()).filter(|access| access["entry"] == entry);
        Ok(Read { rows: u64::from(found.is_some()), found, patients: Some(asked.patients) })
    })
}

/// Opts `who` out, or takes that back.
pub async fn opt(app: App, who: Principal, out: bool) -> Result<(), ApiError> {
    let place = app.enter_reads().await?;
    let asking = who.clone();
    let own = app.on_thread(place, move |app| persons::own(app, &asking)).await?;
    let (holder, patient) = own.ok_or_else(|| ApiError::not_found("your token is not bound to a Patient; ask the centre"))?;
    opt_outs::change(app, who, holder, patient, out).await.map(|_| ())
}

/// The consents of a person, and whether one of them is their own opt-out.
fn consents(app: &App, asked: &Asked) -> Result<(Vec<Consent>, bool), ApiError> {
    let holders = app.database().holders();
    let snapshot = app.database().snapshot();
    let (mut all, mut by_themself) = (Vec::new(), false);
    for (id, patient) in app.database().patient_names(&asked.patients)?.into_iter().flatten() {
        let hospital = holders.iter().find(|holder| holder.id == id).map(|holder| holder.name.clone()).unwrap_or_default();
        let engine = Engine { app, holder: id, within: None, snapshot: &snapshot, until: Instant::now() + SEARCH_TIME };
        let subjects = subjects(&engine, &patient)?;
        let given = found(&engine, "Consent", &patient)?;
        let names = |subject: &&Subject, consent: &str| subject.consent.as_deref() == Some(&format!("Consent/{consent}"));
        for (consent, json) in &given {
            by_themself |= *consent == opt_out_id(&patient) && text(json, "/status") == "active";
            all.push(consented(json, subjects.iter().find(|subject| names(subject, consent)), &hospital));
        }
        // What was consented to may be kept elsewhere.
        let elsewhere = subjects.iter().filter(|subject| !given.iter().any(|(consent, _)| names(subject, consent)));
        all.extend(elsewhere.map(|subject| Consent {
            hospital: hospital.clone(),
            about: subject.study.clone(),
            status: subject.status.clone(),
            stands: subject.status != "withdrawn",
            ..Consent::default()
        }));
    }
    all.sort_by_key(|consent| !consent.stands);
    Ok((all, by_themself))
}

/// A part in a study.
struct Subject {
    study: String,
    status: String,
    consent: Option<String>,
}

fn subjects(engine: &Engine<'_>, patient: &str) -> Result<Vec<Subject>, ApiError> {
    let mut subjects = Vec::new();
    for (_, json) in found(engine, "ResearchSubject", patient)? {
        let reference = text(&json, "/study/reference");
        let study = match reference.strip_prefix("ResearchStudy/") {
            Some(id) => engine.read("ResearchStudy", id)?.and_then(|study| serde_json::from_slice::<Value>(&study.json).ok()),
            None => None,
        };
        let title = study.map(|study| text(&study, "/title")).filter(|title| !title.is_empty());
        subjects.push(Subject {
            study: title.unwrap_or(reference),
            status: text(&json, "/status"),
            consent: Some(text(&json, "/consent/reference")).filter(|reference| !reference.is_empty()),
        });
    }
    Ok(subjects)
}

/// The resources of a type in a Patient's compartment, by id.
fn found(engine: &Engine<'_>, kind: &'static str, patient: &str) -> Result<Vec<(String, Value)>, ApiError> {
    let mut search = Search::all(kind);
    search.criteria.extend(compartment::of_patient(kind, patient));
    let page = engine.page(&search, &[], CONSENTS_SHOWN)?;
    let json = |resource: dugnad_kernel::search::include::Resource| Some((resource.id, serde_json::from_slice(&resource.json).ok()?));
    Ok(page.matches.into_iter().filter_map(json).collect())
}

fn consented(json: &Value, subject: Option<&Subject>, hospital: &str) -> Consent {
    let status = text(json, "/status");
    let opt_out = json["category"].as_array().into_iter().flatten().flat_map(|category| category["coding"].as_array()).flatten();
    let opt_out = opt_out.into_iter().any(|coding| coding["code"] == "OPTOUT");
    let first = |places: &[&str]| places.iter().map(|place| text(json, place)).find(|text| !text.is_empty());
    let said =
        first(&["/category/0/text", "/category/0/coding/0/display", "/scope/text", "/scope/coding/0/display", "/scope/coding/0/code"]);
    Consent {
        hospital: hospital.to_owned(),
        about: subject.map(|subject| subject.study.clone()).or(said).unwrap_or_default(),
        stands: status == "active" && subject.is_none_or(|subject| subject.status != "withdrawn"),
        status,
        version: first(&["/policyRule/coding/0/code", "/policyRule/text"]).filter(|_| !opt_out),
        given: first(&["/dateTime"]),
        opt_out,
    }
}

fn text(json: &Value, place: &str) -> String {
    json.pointer(place).and_then(Value::as_str).unwrap_or_default().to_owned()
}
