//! What a resource says about who may see it, besides what its views show: labels, and the Patients that it names.

use super::tables::{PATIENT, PreparedCell};
use crate::fhir::json::Value;
use crate::fhir::reference;
use crate::live::Marks;

/// HL7's code system of confidentiality. A label without a system is read as one of it.
const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";

/// The codes that keep a record out of pseudonymised permits: restricted and very restricted.
const WITHHELD: [&str; 2] = ["R", "V"];

/// A resource, before the marks of its rows.
#[derive(Debug, Default)]
pub(super) struct Record<'r> {
    withheld: bool,
    /// The logical ids of the Patients that it names, of the same holder. A Patient is about itself alone, whatever it is linked to.
    patients: Vec<&'r str>,
}

impl<'r> Record<'r> {
    /// Looks at a resource, if it will have rows.
    pub(super) fn of(resource_type: &str, resource: &Value<'r>, has_rows: bool) -> Self {
        let mut record = Self::default();
        if has_rows {
            record.withheld = is_withheld(resource);
            if resource_type != PATIENT {
                patients(resource, &mut record.patients);
            }
        }
        record
    }

    /// The marks of a row of it.
    pub(super) fn marks(&self, cells: &[PreparedCell]) -> Marks {
        let shown = |patient: &&str| {
            let is = |cell: &PreparedCell| matches!(cell, PreparedCell::Key { id, patient: true, .. } if **id == **patient);
            cells.iter().any(is)
        };
        Marks::new(self.withheld, !self.patients.iter().all(shown))
    }
}

fn is_withheld(resource: &Value<'_>) -> bool {
    let labels = resource.get("meta").and_then(|meta| meta.get("security"));
    let labels = labels.as_ref().map(Value::items).unwrap_or_default();
    labels.iter().any(|label| {
        label.str("system").is_none_or(|system| system == CONFIDENTIALITY) && label.str("code").is_some_and(|code| WITHHELD.contains(&code))
    })
}

/// The Patients that literal references name, each once. Depth is bounded by the parser.
fn patients<'r>(value: &Value<'r>, found: &mut Vec<&'r str>) {
    for (name, member) in value.members() {
        match member {
            Value::String(text) if *name == "reference" => {
                if let Some((PATIENT, id)) = reference::literal(text)
                    && !found.contains(&id)
                {
                    found.push(id);
                }
            }
            Value::Object(_) | Value::Array(_) => patients(member, found),
            _ => {}
        }
    }
    for item in value.items().iter().filter(|item| matches!(item, Value::Object(_) | Value::Array(_))) {
        patients(item, found);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::fhir::json;
    use bumpalo::Bump;

    fn marks(json: &str, shown: &[&str]) -> Marks {
        let arena = Bump::new();
        let resource = json::parse(json.as_bytes(), &arena).unwrap();
        let key = |id: &&str| PreparedCell::Key { kind: PATIENT, id: (*id).into(), patient: true };
        Record::of(resource.str("resourceType").unwrap(), &resource, true).marks(&shown.iter().map(key).collect::<Vec<_>>())
    }

    #[test]
    fn labels_r_and_v_withhold_a_record() {
        let labelled = |label: &str| marks(&format!(r#"{{"resourceType":"Observation","meta":{{"security":[{label}]}}}}"#), &[]);
        for label in [r#"{"code":"R"}"#, r#"{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"V"}"#] {
            assert_eq!(labelled(label), Marks::new(true, false), "{label}");
        }
        assert_eq!(labelled(r#"{"code":"N"},{"code":"R"}"#), Marks::new(true, false));
        for label in [r#"{"code":"N"}"#, r#"{"system":"http://example.org","code":"R"}"#, r#"{"code":"HTEST"}"#] {
            assert_eq!(labelled(label), Marks::NONE, "{label}");
        }
    }

    #[test]
    fn a_row_is_marked_if_its_record_names_a_patient_whom_it_does_not_show() {
        let of_two = r#"{"resourceType":"Observation","subject":{"reference":"Patient/1"},"focus":[{"reference":"Patient/2"}]}"#;
        assert_eq!(marks(of_two, &["1"]), Marks::new(false, true));
        assert_eq!(marks(of_two, &["1", "2"]), Marks::NONE);
        let of_one = r#"{"resourceType":"Observation","subject":{"reference":"Patient/1"},"performer":[{"reference":"Patient/1"}]}"#;
        assert_eq!(marks(of_one, &["1"]), Marks::NONE);
        let linked = r#"{"resourceType":"Patient","id":"1","link":[{"other":{"reference":"Patient/2"},"type":"seealso"}]}"#;
        assert_eq!(marks(linked, &["1"]), Marks::NONE, "a Patient is about itself");
        let elsewhere = r#"{"resourceType":"Observation","focus":[{"reference":"https://other.example/Patient/2"}]}"#;
        assert_eq!(marks(elsewhere, &[]), Marks::NONE, "another server's Patient has no row here");
    }
}
