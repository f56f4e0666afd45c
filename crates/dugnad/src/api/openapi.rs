//! `/openapi.json`: OpenAPI 3.1, made from the descriptions that the routes were added with.

use super::routes::{Caller, Route};
use serde_json::{Map, Value, json};
use std::sync::OnceLock;

const TIMELINE: &str =
    "Answer on this timeline only: the one that came with the commit that you know. 412 if the database was restored since.";

/// The description.
pub fn description() -> &'static Value {
    static DESCRIPTION: OnceLock<Value> = OnceLock::new();
    DESCRIPTION.get_or_init(|| build(super::api_routes().all()))
}

fn build(routes: &[Route]) -> Value {
    let mut paths = Map::new();
    for route in routes {
        let path = route.path.replace("{*", "{");
        let operations = paths.entry(path).or_insert_with(|| json!({}));
        operations[route.method.as_str().to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Dugnad",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "The common database of a national centre for clinical studies",
            "description": "Hospitals send FHIR R4 as they treat; authorities and industry read it within permits, from the moment the write is acknowledged. Answers with records and answers to writes carry `Dugnad-Commit`; statistics carry `Dugnad-Epoch`. Beside `Dugnad-Commit` stands `Dugnad-Timeline`: after a restore it is another one, and commit numbers are given anew; a request that sends `Dugnad-Timeline` is refused with 412 on any other.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": "FHIR"}, {"name": "SQL"}, {"name": "Permits"}, {"name": "Releases"}, {"name": "Audit"}, {"name": "Operations"}],
        "paths": paths,
        "components": components(),
    })
}

fn components() -> Value {
    json!({
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "Issued with `dugnad token issue`."}},
        "schemas": {
            "Problem": {
                "type": "object",
                "description": "RFC 9457",
                "required": ["type", "title", "status", "detail"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string", "description": "What is wrong and what to do"},
                    "errors": {"type": "array", "items": {"type": "object", "properties": {"detail": {"type": "string"}, "at": {"type": ["string", "null"]}}}},
                },
            },
            "OAuthError": {
                "type": "object",
                "description": "RFC 6749, section 5.2",
                "required": ["error"],
                "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
            },
            "OperationOutcome": {
                "type": "object",
                "description": "https://hl7.org/fhir/R4/operationoutcome.html",
                "required": ["resourceType", "issue"],
                "properties": {"resourceType": {"const": "OperationOutcome"}, "issue": {"type": "array", "items": {"type": "object"}}},
            },
            "Question": {
                "type": "object",
                "required": ["permit", "sql"],
                "additionalProperties": false,
                "properties": {
                    "permit": {"type": "string"},
                    "sql": {"type": "string", "description": "One SELECT"},
                    "as_of": {"type": "integer", "minimum": 0, "description": "A commit; the newest by default"},
                    "format": {"enum": ["json", "ndjson", "csv", "parquet", "arrow", "table"]},
                },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let doc = &route.doc;
    let in_path = path_names(route.path).map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
    let others =
        doc.parameters.iter().map(|p| json!({"name": p.name, "in": p.place, "description": p.description, "schema": {"type": "string"}}));
    let timeline = json!({"name": "Dugnad-Timeline", "in": "header", "description": TIMELINE, "schema": {"type": "string"}});
    let commits = matches!(doc.tag, "FHIR" | "SQL") && doc.caller != Caller::Anybody;
    let parameters: Vec<Value> = in_path.chain(others).chain(commits.then_some(timeline)).collect();
    let mut operation = json!({"operationId": doc.id, "tags": [doc.tag], "summary": doc.summary, "responses": responses(route)});
    if !doc.description.is_empty() {
        operation["description"] = doc.description.into();
    }
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(media_type) = doc.body {
        let schema = if doc.id == "sql" { json!({"$ref": "#/components/schemas/Question"}) } else { json!({"type": "object"}) };
        let types = std::iter::once(media_type).chain(doc.other_bodies.iter().copied());
        let content: Map<String, Value> = types.map(|media_type| (media_type.to_owned(), json!({"schema": schema}))).collect();
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    operation["security"] = match doc.caller {
        Caller::Anybody => json!([]),
        _ => json!([{"bearer": []}]),
    };
    operation
}

fn path_names(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|part| part.split('}').next()).map(|name| name.trim_start_matches('*'))
}

fn responses(route: &Route) -> Value {
    let doc = &route.doc;
    let (media_type, schema) = match doc.tag {
        "FHIR" => ("application/fhir+json", "OperationOutcome"),
        "OAuth" => ("application/json", "OAuthError"),
        _ => ("application/problem+json", "Problem"),
    };
    let error =
        |what: &str| json!({"description": what, "content": {media_type: {"schema": {"$ref": format!("#/components/schemas/{schema}")}}}});
    let mut responses = Map::new();
    for (status, what) in doc.statuses {
        let response = if *status >= 400 {
            error(what)
        } else {
            let content: Map<String, Value> = doc.answer.iter().map(|m| ((*m).to_owned(), json!({}))).collect();
            if content.is_empty() || matches!(status, 204 | 304) {
                json!({"description": what})
            } else {
                json!({"description": what, "content": content})
            }
        };
        responses.insert(status.to_string(), response);
    }
    match doc.caller {
        Caller::Anybody => {}
        Caller::Known => {
            responses.insert("401".to_owned(), error("No valid token"));
        }
        Caller::Hospital | Caller::Centre => {
            responses.insert("401".to_owned(), error("No valid token"));
            responses
                .insert("403".to_owned(), error(if doc.caller == Caller::Centre { "Not the centre" } else { "Not a health data holder" }));
        }
    }
    responses.insert("default".to_owned(), error("Any other problem: what is wrong, where, and what to do"));
    Value::Object(responses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_route_is_described() {
        let routes = super::super::api_routes();
        let description = description();
        let mut ids = HashSet::new();
        for route in routes.all() {
            let path = route.path.replace("{*", "{");
            let operation = &description["paths"][&path][route.method.as_str().to_ascii_lowercase()];
            assert!(operation.is_object(), "{} {path}", route.method);
            assert!(!route.doc.summary.is_empty() && !route.doc.tag.is_empty(), "{path}");
            assert!(ids.insert(route.doc.id), "operationId {} is used twice", route.doc.id);
            for name in path_names(route.path) {
                assert!(operation["parameters"].as_array().is_some_and(|p| p.iter().any(|p| p["name"] == name)), "{path}: {name}");
            }
        }
        let described: usize =
            description["paths"].as_object().into_iter().flatten().filter_map(|(_, p)| p.as_object()).map(Map::len).sum();
        assert_eq!(described, routes.all().len());
    }

    #[test]
    fn the_contract_is_there() {
        let paths = &description()["paths"];
        for (method, path) in [
            ("post", "/fhir"),
            ("get", "/fhir/metadata"),
            ("put", "/fhir/{type}/{id}"),
            ("post", "/sql"),
            ("get", "/permits"),
            ("post", "/erasures"),
            ("get", "/audit/checkpoint"),
            ("get", "/audit/tile/{path}"),
            ("get", "/healthz"),
            ("get", "/metrics"),
            ("get", "/openapi.json"),
        ] {
            assert!(paths[path][method].is_object(), "{method} {path}");
        }
    }
}
