//! Who takes part: the roles, their tokens and their permits.

use super::{EPOCH, Registered};
use crate::access::{Role, TokenRequest};
use crate::api::work::blank_entry;
use crate::cli::CliError;
use crate::cli::local::Local;
use crate::feed::study::{OPEN_LABEL_STUDY, studies};
use crate::feed::{self};
use dugnad_kernel::audit::{Act, Entry};
use dugnad_kernel::ids::PatientOrdinal;
use dugnad_kernel::permit::Permit;
use dugnad_kernel::permit::application::{Application, Content, What};
use dugnad_kernel::permit::organisation::Organisation;
use dugnad_kernel::permit::procedure::{Actor, By, CENTRE};
use dugnad_kernel::permit::purpose::ProhibitedUse;
use jiff::{Span, Timestamp, ToSpan};
use serde_json::{Map, Value, json};
use std::path::Path;

/// How long a demo's tokens are valid.
pub(super) fn token_life() -> Span {
    7.days()
}

/// Permit ids.
pub(super) const SURVEILLANCE: &str = "surveillance";
pub(super) const STATISTICS: &str = "statistics";
pub(super) const STUDY: &str = "study";

/// The second person of the centre.
const REVIEWER: &str = "reviewer";

/// The user who is a patient.
const PATIENT: &str = "patient";

/// The tokens of the roles, and the study.
#[derive(Clone)]
pub(super) struct Cast {
    pub(super) hospital: String,
    pub(super) authority: String,
    pub(super) company: String,
    pub(super) centre: String,
    /// A second person of the centre: who proposes cannot decide.
    pub(super) reviewer: String,
    pub(super) patient: String,
    pub(super) study_title: String,
}

impl Cast {
    /// Issues the tokens and writes the permits: granted before the first treatment, so that data flows from its first second.
    pub(super) fn introduce(local: &Local, hospitals: &[Registered]) -> Result<Self, CliError> {
        let token = |user: &str, role| {
            let request = TokenRequest { user: user.to_owned(), role, holder: None, subject: None, valid_for: token_life() };
            local.tokens.issue(&request).map_err(CliError::failed)
        };
        for organisation in [organisation("authority", "A public authority", true), organisation("company", "A company", false)] {
            let organisation = Organisation::parse(&organisation.to_string()).map_err(CliError::failed)?;
            let json = serde_json::to_string(&organisation).map_err(CliError::failed)?;
            decide(local, CENTRE, &[("organisation", &organisation.id, &json)])?;
        }
        for permit in permits(local) {
            let parsed = Permit::parse(&permit.to_string()).map_err(CliError::failed)?;
            decide(local, CENTRE, &[("permit", parsed.id(), &permit.to_string())])?;
        }
        request_statistics(local)?;
        let study = studies().iter().find(|s| s.id == OPEN_LABEL_STUDY);
        Ok(Self {
            hospital: hospitals.get(shown_hospital()).map(|h| h.token.clone()).unwrap_or_default(),
            authority: token("authority", Role::Authority)?,
            company: token("company", Role::Company)?,
            centre: token("centre", Role::Centre)?,
            reviewer: token(REVIEWER, Role::Centre)?,
            patient: token(PATIENT, Role::Patient)?,
            study_title: study.map(|s| s.title.clone()).unwrap_or_default(),
        })
    }

    /// `demo.json`: what a script needs to try everything that a person can.
    pub(super) fn write_json(&self, url: &str, data: &Path) -> Result<(), CliError> {
        let json = json!({
            "url": url,
            "data": data.display().to_string(),
            "tokens": {"hospital": self.hospital, "authority": self.authority, "company": self.company, "centre": self.centre, "reviewer": self.reviewer, "patient": self.patient},
            "permits": {"authority": SURVEILLANCE, "company": STATISTICS, "company_study": STUDY},
        });
        let path = data.join("demo.json");
        write_private(&path, &format!("{json:#}\n")).map_err(|e| CliError::Failed(format!("{}: {e}", path.display())))
    }

    /// What a person at the terminal needs to try it.
    pub(super) fn tell(&self, url: &str, data: &Path, temporary: bool) {
        let kept = if temporary { "  (temporary: removed at the end)" } else { "" };
        println!("Dugnad demo. SYNTHETIC: nobody in it exists.");
        println!();
        println!("  page       {url}/");
        println!("  FHIR R4    {url}/fhir/metadata");
        println!("  audit log  {url}/audit/checkpoint");
        println!("  data       {}{kept}", data.display());
        println!();
        let hospital = feed::hospitals().get(shown_hospital()).map_or("", |h| h.name);
        println!("A hospital ({hospital}) writes, and reads its own patients:");
        println!("  TOKEN={}", self.hospital);
        println!(
            r#"  curl -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/fhir+json' {url}/fhir/Patient -d '{{"resourceType":"Patient","gender":"female"}}'"#
        );
        println!("The authority reads rows, live, under the permit `{SURVEILLANCE}`:");
        println!("  TOKEN={}", self.authority);
        println!(r#"  {}"#, sql_line(url, SURVEILLANCE, "SELECT kind, count(*) AS n FROM treatment GROUP BY kind ORDER BY n DESC"));
        println!("The company reads its study's subjects, live (`{STUDY}`), and statistics by epoch (`{STATISTICS}`):");
        println!("  TOKEN={}", self.company);
        println!(r#"  {}"#, sql_line(url, STUDY, "SELECT status, count(*) AS n FROM research_subject GROUP BY status"));
        println!(r#"  {}"#, sql_line(url, STATISTICS, "SELECT kind, persons FROM statistics.treatments GROUP BY kind"));
        println!("The centre reads the audit log:");
        println!("  TOKEN={}", self.centre);
        println!(r#"  curl -H "Authorization: Bearer $TOKEN" '{url}/audit/log?count=5'"#);
        println!("A second person of the centre, who can decide on what the first proposed (`dugnad application --help`):");
        println!("  TOKEN={}", self.reviewer);
        println!("A patient sees who read their data, opts out and back in, at {url}/me with this token:");
        println!("  TOKEN={}", self.patient);
        println!(r#"  curl -H "Authorization: Bearer $TOKEN" {url}/audit/persons/me"#);
        println!();
    }
}

/// Says that the demo's patient is the first one that any hospital wrote.
pub(super) fn bind_patient(local: &Local) -> Result<(), CliError> {
    let names = local.database.patient_names(&[PatientOrdinal(1)]).map_err(CliError::failed)?;
    let Some((holder, id)) = names.into_iter().next().flatten() else { return Ok(()) };
    let Some(holder) = local.database.holders().into_iter().find(|h| h.id == holder) else { return Ok(()) };
    local.tokens.bind(PATIENT, Some((&holder.name, &id))).map_err(CliError::failed)
}

/// Writes a file that its owner only can read: it has tokens in it.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    std::io::Write::write_all(&mut options.open(path)?, text.as_bytes())
}

fn sql_line(url: &str, permit: &str, sql: &str) -> String {
    format!(
        r#"curl -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' {url}/sql -d '{{"permit":"{permit}","sql":"{sql}"}}'"#
    )
}

/// The hospital whose token the terminal shows: the one that treats most.
fn shown_hospital() -> usize {
    let hospitals = feed::hospitals().iter().enumerate();
    hospitals.max_by_key(|(_, h)| h.weight).map_or(0, |(index, _)| index)
}

/// An organisation of one user, who has its id.
fn organisation(id: &str, name: &str, public_body: bool) -> Value {
    json!({"id": id, "name": name, "public_body": public_body, "users": [id], "verified": "Made for the demo."})
}

/// One commit of documents, as (kind, id, JSON), and its entry in the log.
fn decide(local: &Local, by: &str, documents: &[(&str, &str, &str)]) -> Result<(), CliError> {
    let commit = local.database.put_documents(documents).map_err(CliError::failed)?;
    let permit = documents.iter().find(|(kind, ..)| *kind == "permit").map(|(_, id, _)| (*id).to_owned());
    let request = documents.iter().map(|(kind, id, _)| format!("{kind} {id}")).collect::<Vec<_>>().join(", ");
    let entry = Entry {
        user: by.to_owned(),
        role: Role::Centre.name().to_owned(),
        interface: Some("cli".to_owned()),
        permit,
        request: Some(request),
        commit: Some(commit.0),
        ..blank_entry(local.clock.now(), Act::Decision)
    };
    local.audit.append(&entry).map_err(CliError::failed)?;
    Ok(())
}

/// The company's health data request: from its application to the permit, in all steps and by two persons of the centre, as over HTTP.
fn request_statistics(local: &Local) -> Result<(), CliError> {
    // An epoch ago: permits for statistics begin with the epoch after their decision.
    let now = local.clock.now() - i64::from(EPOCH).seconds();
    let company = Organisation::parse(&organisation("company", "A company", false).to_string()).map_err(CliError::failed)?;
    let content: Content = serde_json::from_value(statistics(now)).map_err(CliError::failed)?;
    let actor = |user: &str, organisation: &str, centre: bool| Actor {
        by: By { user: user.to_owned(), organisation: organisation.to_owned() },
        group: organisation.to_owned(),
        centre,
    };
    let (applicant, assessor, reviewer) = (actor("company", "company", false), actor(CENTRE, CENTRE, true), actor(REVIEWER, CENTRE, true));
    let reasons = || "Made for the demo; nobody in the data exists.".to_owned();
    let mut application = Application::open(STATISTICS, &applicant, &company, content, now).map_err(CliError::failed)?;
    for (who, what) in [
        (&applicant, What::Submit),
        (&assessor, What::FindComplete),
        (&assessor, What::Assess { grant: true, reasons: reasons() }),
        (&reviewer, What::Grant { permit: STATISTICS.to_owned(), reasons: reasons() }),
    ] {
        application = application.take(who, &company, what, now).map_err(CliError::failed)?;
    }
    let permit = application.permit(&company, STATISTICS, &reviewer, &reasons(), now).map_err(CliError::failed)?;
    let json = serde_json::to_string(permit.document()).map_err(CliError::failed)?;
    let application = application.to_json().map_err(CliError::failed)?;
    decide(local, REVIEWER, &[("application", STATISTICS, &application), ("permit", STATISTICS, &json)])
}

/// What the company asks for.
fn statistics(now: Timestamp) -> Value {
    let until = now.checked_add(24.hours() * 365).unwrap_or(now);
    let answer = json!({"intended": false, "explanation": "Made up for the demo."});
    let answers: Map<String, Value> = ProhibitedUse::ALL.iter().map(|question| (question.name().to_owned(), answer.clone())).collect();
    let table = |table: &str, names: &[&str]| {
        let why = "It tells the cells apart.";
        json!({"table": table, "columns": [{"names": names, "transform": "keep", "justification": why, "transform_justification": "Cells are coarse."}]})
    };
    json!({
        "basis": "ehds_request", "title": "How many are treated, and how", "users": ["company"],
        "purpose": "How many are treated, and how", "purposes": ["research"], "prohibited_uses": answers,
        "safeguards": "Statistics only; nobody sees a row.",
        "tables": [
            table("treatment", &["patient_key", "holder", "kind", "started"]),
            table("patient", &["patient_key", "holder", "gender", "birth_date"]),
            table("condition", &["patient_key", "holder", "code", "code_system", "started", "verification_status"]),
        ],
        "population": {"value": "everyone", "justification": "Capacity is planned for all."},
        "cadence": {"value": "daily", "justification": "It follows the calendar of epochs."},
        "delivery": "remote", "valid_from": now, "valid_until": until,
    })
}

fn permits(local: &Local) -> [Value; 2] {
    let now = local.clock.now();
    let until = now.checked_add(24.hours() * 365).unwrap_or(now);
    let decision = json!({"by": "centre", "at": now, "reasons": "Made for the demo; nobody in the data exists."});
    let common = |id: &str, basis: &str, applicant: &str, user: &str, purpose: &str| {
        json!({
            "id": id, "basis": basis, "applicant": applicant, "users": [user], "purpose": purpose,
            "valid_from": now, "valid_until": until, "decision": decision, "status": "active",
        })
    };
    let mut surveillance =
        common(SURVEILLANCE, "statutory_register", "a public authority", "authority", "Surveillance of cancer treatment as it happens");
    let all = |table: &str| json!({"table": table, "columns": "all"});
    surveillance["provision"] = json!({"law": "made up for the demo", "retention": "P10Y"});
    surveillance["tables"] = json!([
        {"table": "patient", "columns": ["resource_id", "patient_key", "gender", "birth_date", "deceased", "municipality", "holder"],
         "transforms": {"birth_date": "year"}},
        all("encounter"), all("condition"), all("procedure"), all("medication_administration"), all("medication_request"),
        all("observation"), all("diagnostic_report"), all("immunization"), all("specimen"), all("adverse_event"), all("treatment"),
    ]);
    surveillance["population"] = json!("everyone");
    surveillance["cadence"] = json!("live");
    surveillance["cadence_reason"] = json!("Near-real-time surveillance");
    surveillance["delivery"] = json!("enclave");
    let mut study =
        common(STUDY, "trial_protocol", "a company (the study's sponsor, made up)", "company", "The study's own data as they arise");
    let sites: Vec<Value> = studies()
        .iter()
        .filter(|s| s.id == OPEN_LABEL_STUDY)
        .flat_map(|s| feed::hospitals().iter().filter(|h| s.has_site(h)).map(|h| json!({"holder": h.name, "id": s.resource_id()})))
        .collect();
    study["tables"] = json!([
        {"table": "patient", "columns": ["resource_id", "patient_key", "gender", "birth_date", "holder"], "transforms": {"birth_date": "year"}},
        all("condition"), all("treatment"), all("procedure"), all("medication_administration"), all("observation"), all("adverse_event"),
        all("research_subject"),
    ]);
    study["population"] = json!({"study_subjects": {"studies": sites}});
    study["cadence"] = json!("live");
    study["cadence_reason"] = json!("Safety follow-up");
    study["delivery"] = json!("remote");
    [surveillance, study]
}
