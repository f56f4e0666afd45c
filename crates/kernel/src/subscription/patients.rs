//! Whom the criteria of a Subscription name: a logical id in them is of a person as much as a reference in an element is.

use super::{TOPICS, extensions, search_of};
use crate::fhir::json::Value;
use crate::fhir::{primitive, reference};
use crate::search::parameters::{self, Kind};

const PATIENT: &str = "Patient";

/// The logical ids of the Patients that the criteria and filters of a Subscription name, each once: `subject=Patient/1`,
/// `patient=1,2`, `Patient?_id=1`. Criteria that cannot be judged are read as far as they can be.
pub fn patients_named(subscription: &Value<'_>) -> Vec<String> {
    let criteria = subscription.str("criteria").unwrap_or_default();
    let of_topic = criteria.strip_prefix(TOPICS);
    let mut found = Vec::new();
    if of_topic.is_none() {
        search(criteria, None, &mut found);
    }
    if let Some(element) = subscription.get("_criteria") {
        let filters = extensions(&element, "backport-filter-criteria");
        filters.filter_map(|filter| filter.str("valueString")).for_each(|filter| search(filter, of_topic, &mut found));
    }
    found
}

fn search(text: &str, of_topic: Option<&str>, found: &mut Vec<String>) {
    let Ok((of, pairs)) = search_of(text) else { return };
    let resource_type = of.as_deref().or(of_topic).unwrap_or_default();
    for (name, value) in &pairs {
        let bare = takes_bare_ids(resource_type, name);
        for text in value.split(',') {
            let literal = reference::literal(text).filter(|(of, _)| *of == PATIENT).map(|(_, id)| id);
            let id = literal.or_else(|| Some(text).filter(|id| bare && primitive::is_id(id.as_bytes())));
            if let Some(id) = id.filter(|id| !found.iter().any(|known| known == id)) {
                found.push(id.to_owned());
            }
        }
    }
}

/// Whether `1` among the values of a parameter is, or may be, Patient/1.
fn takes_bare_ids(resource_type: &str, name: &str) -> bool {
    let (name, modifier) = name.split_once(':').unwrap_or((name, ""));
    let of_patients = || {
        let parameter = parameters::parameter(resource_type, name);
        parameter.is_some_and(|p| p.kind == Kind::Reference && (p.targets.is_empty() || p.targets.contains(&PATIENT)))
    };
    match (name, modifier) {
        ("_id", _) => resource_type == PATIENT,
        (_, PATIENT) => true,
        (_, "") => of_patients(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json;
    use crate::subscription::BACKPORT;
    use bumpalo::Bump;

    fn named(subscription: &serde_json::Value) -> Vec<String> {
        let (arena, text) = (Bump::new(), subscription.to_string());
        json::parse(text.as_bytes(), &arena).map(|value| patients_named(&value)).unwrap_or_default()
    }

    #[test]
    fn ids_in_criteria_are_of_persons() {
        let of = |criteria: &str| named(&serde_json::json!({"resourceType": "Subscription", "criteria": criteria}));
        assert_eq!(of("Observation?subject=Patient/a&code=7"), ["a"]);
        assert_eq!(of("Observation?patient=a,b&subject:Patient=b,c"), ["a", "b", "c"]);
        assert_eq!(of("Observation?subject=Patient%2Fa/_history/2"), ["a"]);
        assert_eq!(of("Patient?_id=a"), ["a"]);
        for nobody in [
            "Observation?_id=a",
            "Observation?code=a&encounter=b",
            "Observation?subject=https://x.example/Patient/a",
            "Patient?",
            "nothing",
        ] {
            assert!(of(nobody).is_empty(), "{nobody}");
        }
    }

    #[test]
    fn ids_in_filters_are_too() {
        let filter = |text: &str| serde_json::json!({"url": format!("{BACKPORT}backport-filter-criteria"), "valueString": text});
        let subscription = serde_json::json!({
            "resourceType": "Subscription", "criteria": "urn:dugnad:topic:Observation",
            "_criteria": {"extension": [filter("?patient=a"), filter("Observation?subject=Patient/b")]},
        });
        assert_eq!(named(&subscription), ["a", "b"]);
    }
}
