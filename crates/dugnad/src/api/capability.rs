//! The CapabilityStatement: what of FHIR R4 is spoken here, made from the routes that exist.

use super::routes::Route;
use dugnad_kernel::fhir::definitions::{is_resource_type, resource_types};
use dugnad_kernel::search::parameters::{self, Kind, Known, Parameter};
use dugnad_kernel::subscription::{BACKPORT, topic_of};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::OnceLock;

/// The statement.
pub fn statement() -> &'static Value {
    static STATEMENT: OnceLock<Value> = OnceLock::new();
    STATEMENT.get_or_init(|| build(super::api_routes().all()))
}

/// The statement of a server whose centre may have added search parameters.
pub fn statement_with(known: &Known) -> Cow<'static, Value> {
    let mut added: Vec<&Parameter> = known.added().collect();
    if added.is_empty() {
        return Cow::Borrowed(statement());
    }
    let mut statement = statement().clone();
    added.sort_unstable_by_key(|parameter| (parameter.resource_type, parameter.code));
    let resources = statement["rest"][0]["resource"].as_array_mut();
    for resource in resources.into_iter().flatten() {
        let name = resource["type"].as_str().unwrap_or_default().to_owned();
        for parameter in added.iter().filter(|parameter| parameter.resource_type == name) {
            let described = described(parameter);
            resource["searchParam"].as_array_mut().into_iter().for_each(|all| all.push(described.clone()));
        }
    }
    Cow::Owned(statement)
}

/// A parameter as the statement has it.
fn described(parameter: &Parameter) -> Value {
    json!({"name": parameter.code, "type": parameter.kind.name(), "documentation": parameter.expression})
}

const ON_TYPE: [&str; 9] = ["read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create", "search-type"];

/// What a route's path says of the resource type: its name, or `{type}` for all.
fn resource_type(route: &Route) -> Option<&'static str> {
    route.path.strip_prefix("/fhir/")?.split('/').next()
}

fn build(routes: &[Route]) -> Value {
    let any = |code: &str| routes.iter().any(|r| r.doc.interactions.contains(&code));
    let has = |code: &str| routes.iter().any(|r| r.doc.interactions.contains(&code) && resource_type(r) == Some("{type}"));
    let referring = referring();
    let resources: Vec<Value> = resource_types()
        .map(|name| {
            let own = |code: &str| routes.iter().any(|r| r.doc.interactions.contains(&code) && resource_type(r) == Some(name));
            let interactions = ON_TYPE.iter().filter(|code| has(code) || own(code)).map(|code| json!({"code": code}));
            let mut resource = json!({
                "type": name,
                "interaction": interactions.collect::<Vec<_>>(),
                "versioning": "versioned",
                "readHistory": has("vread"),
                "updateCreate": has("update"),
                "conditionalCreate": has("create"),
                "conditionalRead": "full-support",
                "conditionalUpdate": has("conditional-update"),
                "conditionalDelete": if has("conditional-delete") { "single" } else { "not-supported" },
            });
            if has("search-type") {
                add_search(name, &referring, &mut resource);
            }
            if name == "Subscription" {
                resource["extension"] = resource_types().map(topic).collect();
            }
            resource["operation"] = operations(routes, |route| matches!(resource_type(route), Some(of) if of == name || of == "{type}"));
            resource
        })
        .collect();
    // Those of the system, and of what is no resource type of R4.
    let operations = operations(routes, |route| resource_type(route).is_none_or(|of| of != "{type}" && !is_resource_type(of)));
    let system = ["transaction", "batch", "search-system", "history-system"];
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-01-01",
        "kind": "instance",
        "fhirVersion": "4.0.1",
        "format": ["json", "application/fhir+json"],
        "patchFormat": if any("patch") { json!(["application/json-patch+json", "application/fhir+json", "application/merge-patch+json"]) } else { Value::Null },
        "software": {"name": "Dugnad", "version": env!("CARGO_PKG_VERSION")},
        "implementation": {"description": "A live FHIR database of a national centre for clinical studies"},
        "rest": [{
            "mode": "server",
            "documentation": "A health data holder sees what it wrote itself. Rows of others are read with POST /sql under a permit.",
            "security": {
                "service": [{"coding": [{
                    "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                    "code": "SMART-on-FHIR",
                    "display": "SMART-on-FHIR",
                }]}],
                "description": "Bearer tokens (RFC 6750), issued by the centre, or for the signed assertions of registered clients (SMART Backend Services): .well-known/smart-configuration, below this address, says where.",
                "cors": false,
            },
            "resource": resources,
            "operation": operations,
            "interaction": system.iter().filter(|code| any(code)).map(|code| json!({"code": code})).collect::<Vec<_>>(),
        }],
    })
}

/// How a topic of Subscriptions is told of.
fn topic(resource_type: &str) -> Value {
    json!({"url": format!("{BACKPORT}capabilitystatement-subscriptiontopic-canonical"), "valueCanonical": topic_of(resource_type)})
}

/// The operations of some routes, each once.
fn operations(routes: &[Route], wanted: impl Fn(&Route) -> bool) -> Value {
    let mut operations: Vec<(&str, &str)> = routes.iter().filter(|route| wanted(route)).filter_map(|r| r.doc.operation).collect();
    operations.sort_unstable();
    operations.dedup();
    operations.into_iter().map(|(name, definition)| json!({"name": name, "definition": definition})).collect()
}

/// What of search there is for a type: its parameters, and what can come along.
fn add_search(name: &str, referring: &[&'static Parameter], resource: &mut Value) {
    let own = parameters::of_type(name).map(|t| t.all()).unwrap_or_default();
    resource["searchParam"] = own.iter().map(described).collect();
    let references = own.iter().filter(|p| p.kind == Kind::Reference).map(|p| format!("{name}:{}", p.code));
    resource["searchInclude"] = std::iter::once("*".to_owned()).chain(references).map(Value::from).collect();
    let reverse = referring.iter().filter(|p| p.targets.contains(&name)).map(|p| format!("{}:{}", p.resource_type, p.code));
    resource["searchRevInclude"] = reverse.map(Value::from).collect();
}

/// All parameters that are references.
fn referring() -> Vec<&'static Parameter> {
    let all = resource_types().filter_map(parameters::of_type).flat_map(|t| t.all());
    all.filter(|p| p.kind == Kind::Reference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_promises_only_what_there_is() {
        let statement = statement();
        let resources = statement["rest"][0]["resource"].as_array().map_or(&[][..], Vec::as_slice);
        assert_eq!(resources.len(), resource_types().count());
        for resource in resources {
            let codes: Vec<&str> = resource["interaction"].as_array().into_iter().flatten().filter_map(|i| i["code"].as_str()).collect();
            let there = ["read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create", "search-type"];
            assert_eq!(codes, there, "{}", resource["type"]);
        }
        let of_patient = resources.iter().find(|r| r["type"] == "Patient").map(|r| r["operation"].to_string()).unwrap_or_default();
        assert!(of_patient.contains("Patient-everything"), "{of_patient}");
        let systemic = &statement["rest"][0]["interaction"];
        assert_eq!(*systemic, json!([{"code": "transaction"}, {"code": "batch"}, {"code": "search-system"}, {"code": "history-system"}]));
    }

    #[test]
    fn operations_stand_where_they_are_called() {
        let rest = &statement()["rest"][0];
        let names = |of: &Value| {
            of["operation"].as_array().into_iter().flatten().filter_map(|o| o["name"].as_str()).map(str::to_owned).collect::<Vec<_>>()
        };
        let of = |name: &str| rest["resource"].as_array().into_iter().flatten().find(|r| r["type"] == name).map(names).unwrap_or_default();
        assert!(names(rest).contains(&"sql-run".to_owned()) && !names(rest).contains(&"expand".to_owned()));
        assert_eq!(of("Patient"), ["everything", "export", "purge", "validate"]);
        assert_eq!(of("ValueSet"), ["expand", "validate", "validate-code"]);
        assert_eq!(of("CodeSystem"), ["lookup", "subsumes", "validate", "validate-code"]);
    }

    #[test]
    fn it_names_what_can_be_searched_for() {
        let resources = statement()["rest"][0]["resource"].as_array().map(Vec::as_slice).unwrap_or_default();
        let Some(patient) = resources.iter().find(|r| r["type"] == "Patient") else { panic!("Patient") };
        let of = |list: &str| patient[list].as_array().cloned().unwrap_or_default();
        let has = |list: &str, what: Value| of(list).contains(&what);
        assert!(of("searchParam").iter().any(|p| p["name"] == "birthdate" && p["type"] == "date"));
        assert!(of("searchParam").iter().any(|p| p["name"] == "_lastUpdated"));
        assert!(has("searchInclude", json!("*")) && has("searchInclude", json!("Patient:general-practitioner")));
        assert!(has("searchRevInclude", json!("Observation:subject")) && !has("searchRevInclude", json!("Patient:organization")));
        // All of R4's parameters but those that are none of a resource's elements: _text, _content, _query.
        let all: usize = resources.iter().filter_map(|r| r["searchParam"].as_array()).map(Vec::len).sum();
        assert!(all > 2_000, "{all}");
    }
}
