//! Opt-outs that are made here, rather than in a hospital's own Consents: each is a Consent too, of the holder of the Patient. So it
//! has versions, is in the tables, and goes with the person when they are erased.

use super::erased::hex;
use crate::fhir::issue::{Issue, IssueType};
use sha2::{Digest, Sha256};

/// How the ids of such Consents begin.
pub const OPT_OUT_ID: &str = "opt-out-";

/// The id of a Patient's opt-out. Ids of Patients are as long as ids may be, so theirs is a part of it only as a hash.
pub fn opt_out_id(patient: &str) -> String {
    let digest = hex(&Sha256::digest(patient.as_bytes()));
    format!("{OPT_OUT_ID}{}", digest.get(..32).unwrap_or_default())
}

/// The Consent that is a Patient's opt-out.
pub(super) fn opt_out(patient: &str) -> String {
    let coding = |system: &str, code: &str| serde_json::json!({"coding": [{"system": system, "code": code}]});
    let directive = || coding("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTOUT");
    serde_json::json!({
        "resourceType": "Consent", "id": opt_out_id(patient), "status": "active",
        "scope": coding("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy"),
        "category": [directive()],
        "patient": {"reference": format!("Patient/{patient}")},
        "policyRule": directive(),
    })
    .to_string()
}

/// What an entry is answered that names such a Consent itself.
pub(super) fn refusal(at: &str) -> Issue {
    let what = format!("a Consent whose id begins with `{OPT_OUT_ID}` is a person's own opt-out: PUT or DELETE /opt-outs changes it");
    Issue::error(IssueType::Conflict, at.to_owned(), what)
}
