//! What of applications, permits and releases is public (Art. 57(1), point (j), and Art. 58 of Regulation (EU) 2025/327): applications
//! without undue delay, decisions within 30 working days. Here both are there at once.
//!
//! Organisations are named, natural persons are not. Nothing here times a patient: no commit, no count of rows.

use super::application::{Act, Application, What};
use super::document::{Columns, Population, Tables};
use super::organisation::Organisation;
use super::release::{Release, ReleaseState};
use super::{Cadence, Permit, Status};
use jiff::Timestamp;
use serde_json::{Value, json};

/// An application as anybody may see it; `None` while it has not been handed in.
pub fn application(application: &Application, applicant: Option<&Organisation>, now: Timestamp) -> Option<Value> {
    let received = application.steps().iter().find(|step| step.what.act() == Act::Submit)?.signed.at;
    let content = application.content();
    let decided = application.last(Act::Grant).or_else(|| application.last(Act::Refuse));
    let decision = decided.map(|step| match &step.what {
        What::Grant { permit, reasons } => json!({"at": step.signed.at, "granted": true, "permit": permit, "reasons": reasons}),
        what => json!({"at": step.signed.at, "granted": false, "reasons": what.reasons()}),
    });
    let tables: Vec<Value> = content.tables.iter().map(|table| json!(table.grant())).collect();
    Some(json!({
        "id": application.id(),
        "organisation": shown_organisation(application.organisation(), applicant),
        "title": content.title,
        "basis": content.basis,
        "purposes": content.purposes,
        "purpose": content.purpose,
        "provision": content.provision,
        "tables": tables,
        "population": content.whose().map(Population::without_commit),
        "cadence": content.how_current(),
        "delivery": content.where_shown(),
        "state": application.state(now),
        "received_at": received,
        "deadline": application.deadline(now),
        "decision": decision,
    }))
}

fn shown_organisation(id: &str, organisation: Option<&Organisation>) -> Value {
    json!({"id": id, "name": organisation.map(|o| &o.name), "public_body": organisation.map(|o| o.public_body)})
}

/// A permit as anybody may see it.
pub fn permit(permit: &Permit, now: Timestamp) -> Value {
    let document = permit.document();
    let tables = match &document.tables {
        Tables::All => json!("all"),
        Tables::List(grants) => grants
            .iter()
            .map(|grant| match &grant.columns {
                Columns::All => json!({"table": grant.table, "columns": "all", "transforms": grant.transforms}),
                Columns::List(columns) => json!({"table": grant.table, "columns": columns, "transforms": grant.transforms}),
            })
            .collect(),
    };
    json!({
        "id": document.id,
        "organisation": {"name": document.applicant},
        "basis": document.basis,
        "purpose": document.purpose,
        "provision": document.provision,
        "tables": tables,
        "population": document.population.without_commit(),
        "cadence": document.cadence,
        "standing": standing(permit),
        "delivery": document.delivery,
        "valid_from": document.valid_from,
        "valid_until": document.valid_until,
        "state": permit_state(permit, now),
        "decision": {"at": document.decision.at, "reasons": document.decision.reasons},
    })
}

/// Whether a permit was granted for data that were still to come: what lets data flow from a treatment's first second.
pub fn standing(permit: &Permit) -> bool {
    permit.cadence() != Cadence::Frozen
}

/// `active`, `expired`, `revoked`, or `granted` before its start.
pub fn permit_state(permit: &Permit, now: Timestamp) -> &'static str {
    let document = permit.document();
    match document.status {
        Status::Revoked => "revoked",
        Status::Active if now >= document.valid_until => "expired",
        Status::Active if now < document.valid_from => "granted",
        Status::Active => "active",
    }
}

/// A result that was published (Art. 58); `None` for what was released to some only, or not at all.
pub fn release(release: &Release) -> Option<Value> {
    let document = release.document();
    let approved = document.outcome.as_ref().filter(|_| document.publish && release.state() == ReleaseState::Approved)?;
    Some(json!({
        "id": document.id,
        "title": document.title,
        "permit": document.permit,
        "organisation": {"id": document.organisation},
        "published_at": approved.signed.at,
        "files": document.files,
    }))
}
