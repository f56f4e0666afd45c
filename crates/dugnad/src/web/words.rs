//! Words for people: times, and the names of tables.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// An instant as documents write it.
pub(super) fn instant(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

fn in_norway(at: Timestamp) -> jiff::Zoned {
    at.to_zoned(TimeZone::get("Europe/Oslo").unwrap_or(TimeZone::UTC))
}

/// `10 March 2026, 10:00:05`, in Norway.
pub(super) fn day_and_time(at: Timestamp) -> String {
    in_norway(at).strftime("%-d %B %Y, %H:%M:%S").to_string()
}

/// `10 March 2026`, in Norway.
pub(super) fn day(at: Timestamp) -> String {
    in_norway(at).strftime("%-d %B %Y").to_string()
}

/// What kinds of data tables or resource types hold: `diagnoses, measurements`.
pub(super) fn kinds<'t>(tables: impl Iterator<Item = &'t str>) -> String {
    let mut words: Vec<String> = tables.map(kind).collect();
    words.sort_unstable();
    words.dedup();
    if words.is_empty() { "not said".to_owned() } else { words.join(", ") }
}

fn kind(table: &str) -> String {
    let words = match table {
        "patient" | "Patient" => "who you are",
        "encounter" | "Encounter" => "contacts with the hospital",
        "condition" | "Condition" => "diagnoses",
        "procedure" | "Procedure" => "procedures",
        "treatment" => "treatments",
        "medication_administration" | "MedicationAdministration" => "medicines given",
        "medication_request" | "MedicationRequest" => "prescriptions",
        "observation" | "Observation" => "measurements and findings",
        "diagnostic_report" | "DiagnosticReport" => "reports of examinations",
        "immunization" | "Immunization" => "vaccines",
        "specimen" | "Specimen" => "samples",
        "adverse_event" | "AdverseEvent" => "adverse events",
        "research_subject" | "ResearchSubject" => "taking part in studies",
        "research_study" | "ResearchStudy" => "studies",
        "Consent" => "consents",
        "release" => "a result that was made from your data and others’",
        "audit" | "AuditEvent" => "this log",
        other => return other.replace('_', " "),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_said_once() {
        assert_eq!(kinds(["Patient", "patient", "condition", "my_view"].into_iter()), "diagnoses, my view, who you are");
        assert_eq!(kinds(std::iter::empty()), "not said");
    }

    #[test]
    fn times_are_those_of_norway() {
        assert_eq!(instant("2026-03-10T23:30:00Z").map(day_and_time).as_deref(), Some("11 March 2026, 00:30:00"));
        assert_eq!(instant("2026-07-10T23:30:00Z").map(day).as_deref(), Some("11 July 2026"));
    }
}
