//! The CapabilityStatement: what of FHIR R4 is spoken here, made from the routes that exist.

use super::routes::Route;
use dugnad_kernel::fhir::definitions::resource_types;
use serde_json::{Value, json};
use std::sync::OnceLock;

/// The statement.
pub fn statement() -> &'static Value {
    static STATEMENT: OnceLock<Value> = OnceLock::new();
    STATEMENT.get_or_init(|| build(super::api_routes().all()))
}

const ON_TYPE: [&str; 9] = ["read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create", "search-type"];

/// What a route's path says of the resource type: its name, or `{type}` for all.
fn resource_type(route: &Route) -> Option<&'static str> {
    route.path.strip_prefix("/fhir/")?.split('/').next()
}

fn build(routes: &[Route]) -> Value {
    let any = |code: &str| routes.iter().any(|r| r.doc.interactions.contains(&code));
    let has = |code: &str| routes.iter().any(|r| r.doc.interactions.contains(&code) && resource_type(r) == Some("{type}"));
    let resources: Vec<Value> = resource_types()
        .map(|name| {
            let own = |code: &str| routes.iter().any(|r| r.doc.interactions.contains(&code) && resource_type(r) == Some(name));
            let interactions = ON_TYPE.iter().filter(|code| has(code) || own(code)).map(|code| json!({"code": code}));
            json!({
                "type": name,
                "interaction": interactions.collect::<Vec<_>>(),
                "versioning": "versioned",
                "readHistory": has("vread"),
                "updateCreate": has("update"),
                "conditionalCreate": has("create"),
                "conditionalRead": "not-match",
                "conditionalUpdate": has("conditional-update"),
                "conditionalDelete": if has("conditional-delete") { "single" } else { "not-supported" },
            })
        })
        .collect();
    let mut operations: Vec<(&str, &str)> = routes.iter().filter_map(|r| r.doc.operation).collect();
    operations.sort_unstable();
    operations.dedup();
    let operations: Vec<Value> = operations.into_iter().map(|(name, definition)| json!({"name": name, "definition": definition})).collect();
    let system = ["transaction", "batch", "search-system", "history-system"];
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-01-01",
        "kind": "instance",
        "fhirVersion": "4.0.1",
        "format": ["json", "application/fhir+json"],
        "software": {"name": "Dugnad", "version": env!("CARGO_PKG_VERSION")},
        "implementation": {"description": "A live FHIR database of a national centre for clinical studies"},
        "rest": [{
            "mode": "server",
            "documentation": "A health data holder sees what it wrote itself. Search comes with a later release; until then, rows are read with POST /sql under a permit.",
            "security": {
                "description": "Bearer tokens (RFC 6750), issued by the centre.",
                "cors": false,
            },
            "resource": resources,
            "operation": operations,
            "interaction": system.iter().filter(|code| any(code)).map(|code| json!({"code": code})).collect::<Vec<_>>(),
        }],
    })
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
            let mut there = vec!["read", "vread", "update", "delete", "history-instance", "create"];
            there.extend((resource["type"] == "AuditEvent").then_some("search-type"));
            assert_eq!(codes, there, "{}", resource["type"]);
        }
    }
}
