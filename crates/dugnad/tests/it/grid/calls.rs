//! How each route is called.

use super::Scene;
use crate::views::permit as document;
use serde_json::{Value, json};

/// A request.
pub struct Call {
    pub method: String,
    pub path: String,
    /// JSON, a text, or nothing.
    pub body: Value,
    /// What tells it from another call of its route.
    pub note: &'static str,
}

impl Call {
    pub fn new(method: &str, path: &str, body: Value) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), body, note: "" }
    }

    fn noted(self, note: &'static str) -> Self {
        Self { note, ..self }
    }
}

/// A SearchParameter of the code and id.
fn search_parameter(code: &str) -> Value {
    json!({
        "resourceType": "SearchParameter", "id": code, "url": format!("http://example.no/SearchParameter/{code}"), "name": code, "status": "active",
        "description": "of the grid", "code": code, "base": ["Basic"], "type": "token", "expression": "Basic.extension.value",
    })
}

pub fn library(name: &str) -> Value {
    let extension = json!([{"url": "http://hl7.org/fhir/uv/sql-on-fhir/StructureDefinition/sql-text",
                            "valueString": "SELECT code, COUNT(*) AS n FROM measured GROUP BY code"}]);
    json!({
        "resourceType": "Library", "id": name, "name": name, "url": format!("http://example.no/Library/{name}"), "status": "active",
        "type": {"coding": [{"system": "http://hl7.org/fhir/uv/sql-on-fhir/CodeSystem/LibraryTypesCodes", "code": "sql-view"}]},
        "relatedArtifact": [{"type": "depends-on", "label": "Measured", "resource": "http://example.no/ViewDefinition/bp"}],
        "content": [{"contentType": "application/sql", "extension": extension}],
    })
}

pub fn release(permit: &str) -> Value {
    json!({"permit": permit, "sql": "SELECT COUNT(*) AS n FROM observation", "title": "How many", "reason": "a test"})
}

pub fn export(permit: &str) -> Value {
    parameters(permit, json!([{"name": "view", "part": [{"name": "viewReference", "valueReference": {"reference": "ViewDefinition/bp"}}]}]))
}

const GENDER: &str = "http://hl7.org/fhir/ValueSet/administrative-gender";

fn given(parameters: Value) -> Value {
    json!({"resourceType": "Parameters", "parameter": parameters})
}

fn parameters(permit: &str, more: Value) -> Value {
    let mut all = vec![json!({"name": "permit", "valueString": permit})];
    all.extend(more.as_array().unwrap().clone());
    json!({"resourceType": "Parameters", "parameter": all})
}

fn view() -> Value {
    let mut view = crate::views::bp();
    view["name"] = "another".into();
    view["url"] = "http://example.no/ViewDefinition/another".into();
    view
}

pub fn cohort() -> Value {
    json!({"title": "Measured", "expression": {"rows": {"table": "observation"}}, "justification": "a test"})
}

fn dimension() -> Value {
    json!({"name": "site", "title": "Site", "source": "a test", "levels": [{"name": "site", "title": "Site"}],
           "codes": [{"level": "site", "code": "breast", "label": "Breast"}]})
}

fn statistic() -> Value {
    json!({"name": "registered", "title": "Registered", "table": "patient", "sql": "SELECT patient_key AS person, gender FROM patient",
           "dimensions": [{"dimension": "sex", "column": "gender", "needs": "patient.gender"}]})
}

/// A FHIRPath Patch that adds an element.
fn turned(name: &str) -> Value {
    let name = if name == "valueString" { "value" } else { name };
    let part = [("type", "add"), ("name", name), ("value", "patched")].map(|(name, text)| json!({"name": name, "valueString": text}));
    let mut part = part.to_vec();
    part.push(json!({"name": "path", "valueString": "Resource"}));
    json!({"resourceType": "Parameters", "parameter": [{"name": "operation", "part": part}]})
}

/// The calls of a route. Panics if it is not known here: then say how it is called.
pub fn calls(method: &str, path: &str, scene: &Scene, user: &str, permit: &str) -> Vec<Call> {
    let one = |at: &str, body: Value| vec![Call::new(method, at, body)];
    let read = |at: &str| one(at, Value::Null);
    let observation = json!({"resourceType": "Observation", "id": "bp-p1", "status": "final", "code": {"text": "again"},
                             "subject": {"reference": "Patient/p1"}});
    let mut new = observation.clone();
    new.as_object_mut().unwrap().remove("id");
    let application = |act: &str| format!("/applications/{}{act}", scene.application);
    let release_at = |more: &str| format!("/releases/{}{more}", scene.release);
    let export_at = |more: &str| format!("/fhir/$sql-export/{}{more}", scene.export);
    let of_bp =
        json!([{"name": "viewReference", "valueReference": {"reference": "ViewDefinition/bp"}}, {"name": "_format", "valueCode": "json"}]);
    let no_view = json!([{"name": "_format", "valueCode": "json"}]);
    let verdict = json!({"grant": true, "reasons": "R"});
    match (method, path) {
        (
            "GET",
            "/applications"
            | "/cohorts"
            | "/statistics"
            | "/audit/checkpoint"
            | "/audit/checkpoint/cosigned"
            | "/audit/key"
            | "/audit/rotations"
            | "/clocks"
            | "/erasures"
            | "/fhir/Library"
            | "/fhir/SearchParameter"
            | "/fhir/ViewDefinition"
            | "/fhir/.well-known/smart-configuration"
            | "/fhir/metadata"
            | "/healthz"
            | "/metrics"
            | "/openapi.json"
            | "/organisations"
            | "/permits"
            | "/register"
            | "/releases"
            | "/releases/key"
            | "/sql/queries"
            | "/audit/persons/me",
        ) => read(path),
        ("GET", "/applications/{id}") => read(&application("")),
        ("GET", "/audit/log") => read("/audit/log?first=0&count=5"),
        ("GET", "/audit/persons/{id}") => vec![
            Call::new(method, "/audit/persons/p1?holder=Nord", Value::Null).noted("(Nord's)"),
            Call::new(method, "/audit/persons/v1?holder=Vest", Value::Null).noted("(Vest's)"),
        ],
        ("GET", "/audit/proof/{index}") => read("/audit/proof/0"),
        ("GET", "/audit/tile/{path}") => read(&format!("/audit/tile/0/000.p/{}", scene.signed)),
        ("GET", "/fhir/$sql-export/{id}") => read(&export_at("")),
        ("GET", "/fhir/$sql-export/{id}/result") => read(&export_at("/result")),
        ("GET", "/fhir/$sql-export/{id}/{file}") => read(&export_at(&format!("/{}", scene.export_file))),
        ("GET", "/fhir/$sql-run" | "/fhir/$viewdefinition-run" | "/fhir/ViewDefinition/$viewdefinition-run") => {
            read(&format!("{path}?viewReference=ViewDefinition/bp&permit={permit}&_format=json"))
        }
        ("GET", "/fhir/ViewDefinition/{id}/$viewdefinition-run") => {
            read(&format!("/fhir/ViewDefinition/bp/$viewdefinition-run?permit={permit}&_format=json"))
        }
        ("GET", "/fhir/AuditEvent") => vec![
            Call::new(method, "/fhir/AuditEvent?_count=4", Value::Null),
            Call::new(method, "/fhir/AuditEvent?patient=p1&holder=Nord&_count=4", Value::Null).noted("?patient=p1"),
        ],
        ("GET", "/fhir/Library/{id}") => read("/fhir/Library/counted"),
        ("GET", "/fhir/ViewDefinition/{id}") => read("/fhir/ViewDefinition/bp"),
        ("GET", "/fhir/ViewDefinition/{id}/$viewdefinition-materialize") => read("/fhir/ViewDefinition/bp/$viewdefinition-materialize"),
        ("GET" | "POST", "/fhir/Patient/{id}/$everything") => {
            one("/fhir/Patient/p1/$everything", if method == "GET" { Value::Null } else { json!({"resourceType": "Parameters"}) })
        }
        ("POST", "/fhir/Patient/{id}/$purge") => {
            let parameter = [("holder", "Nord"), ("reason", "a test")].map(|(name, text)| json!({"name": name, "valueString": text}));
            one("/fhir/Patient/none/$purge", json!({"resourceType": "Parameters", "parameter": parameter}))
        }
        ("GET" | "POST", "/fhir/$export" | "/fhir/Patient/$export") => read(path),
        ("GET" | "POST", "/fhir/Group/{id}/$export") => read("/fhir/Group/none/$export"),
        ("GET" | "DELETE", "/fhir/$export/{id}") => read(&format!("/fhir/$export/{}", scene.bulk)),
        ("GET", "/fhir/$export/{id}/{file}") => read(&format!("/fhir/$export/{}/Patient.1.ndjson", scene.bulk)),
        ("GET", "/fhir/_history") => read("/fhir/_history?_count=100"),
        ("GET", "/fhir/{type}/_history") => read("/fhir/Observation/_history"),
        ("GET", "/fhir/SearchParameter/{id}") => read("/fhir/SearchParameter/shoes"),
        ("GET", "/fhir/SearchParameter/_history") => read("/fhir/SearchParameter/_history"),
        ("GET", "/fhir/Library/_history") => read("/fhir/Library/_history"),
        ("GET", "/fhir/{type}/{id}") => read("/fhir/Observation/bp-p1"),
        ("GET", "/fhir") => read("/fhir?_type=Patient,Observation"),
        ("GET", "/fhir/{type}") => read("/fhir/Observation?code:missing=false&_count=100"),
        ("GET", "/fhir/{type}/{id}/{of}") => read("/fhir/Patient/p1/Observation"),
        ("GET", "/fhir/{type}/{id}/_history") => read("/fhir/Observation/bp-p1/_history"),
        ("GET", "/fhir/{type}/{id}/_history/{version}") => read("/fhir/Observation/bp-p1/_history/1"),
        ("GET", "/dimensions/{name}") => read("/dimensions/sex"),
        ("GET", "/statistics/{table}") => read(&format!("/statistics/patients?permit={permit}&by=sex")),
        ("GET", "/opt-outs/{holder}/{patient}") => vec![
            Call::new(method, "/opt-outs/Nord/p1", Value::Null).noted("(p1)"),
            Call::new(method, "/opt-outs/Nord/p2", Value::Null).noted("(p2)"),
        ],
        ("GET", "/permits/{id}") => read(&format!("/permits/{permit}")),
        ("GET", "/permits/{id}/unblindings") => read("/permits/trial_protocol/unblindings"),
        ("GET", "/register/{kind}/{id}") => read("/register/permits/ehds_permit"),
        ("GET", "/register/releases/{id}/{file}") => read(&format!("/register/releases/{}/result.csv", scene.release)),
        ("GET", "/releases/{id}") => read(&release_at("")),
        ("GET", "/releases/{id}/{file}") => read(&release_at("/result.csv")),

        ("POST", "/applications") => one(path, crate::people::content()),
        ("POST", "/applications/{id}/assess") => one(&application("/assess"), verdict),
        ("POST", "/applications/{id}/complete") => one(&application("/complete"), json!({})),
        ("POST", "/applications/{id}/decide") => one(&application("/decide"), verdict),
        ("POST", "/applications/{id}/feasibility") => {
            one(&application("/feasibility"), json!({"sql": "SELECT sex, persons FROM statistics.patients GROUP BY sex"}))
        }
        ("POST", "/applications/{id}/prolong") => one(&application("/prolong"), json!({"reasons": "R"})),
        ("POST", "/applications/{id}/submit" | "/applications/{id}/withdraw") => {
            one(&application(&format!("/{}", path.rsplit('/').next().unwrap())), Value::Null)
        }
        ("POST", "/audit/checkpoint") => one(path, json!("no checkpoint")),
        ("POST", "/auth/token") => one(path, json!("grant_type=client_credentials")),
        ("POST", "/cohorts/{id}/decision") => one("/cohorts/proposed/decision", json!({"registered": false, "reasons": "R"})),
        ("POST", "/erasures") => one(path, json!({"holder": "Nord", "patient": "p3", "reason": "a test"})),
        ("POST", "/fhir") => {
            let request = json!({"method": "POST", "url": "Observation"});
            one(path, json!({"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": new, "request": request}]}))
        }
        ("POST", "/fhir/$sql-export" | "/fhir/$viewdefinition-export" | "/fhir/ViewDefinition/$viewdefinition-export") => {
            one(path, export(permit))
        }
        ("POST", "/fhir/ViewDefinition/{id}/$viewdefinition-export") => {
            one("/fhir/ViewDefinition/bp/$viewdefinition-export", parameters(permit, json!([])))
        }
        ("POST", "/fhir/$sql-run" | "/fhir/$viewdefinition-run" | "/fhir/ViewDefinition/$viewdefinition-run") => {
            one(path, parameters(permit, of_bp))
        }
        ("POST", "/fhir/$sqlquery-run") => {
            let mut query = library("asked");
            query["type"]["coding"][0]["code"] = "sql-query".into();
            let more = json!([{"name": "queryResource", "resource": query}, {"name": "_format", "valueCode": "json"}]);
            one(path, parameters(permit, more))
        }
        ("POST", "/fhir/ViewDefinition/{id}/$viewdefinition-run") => {
            one("/fhir/ViewDefinition/bp/$viewdefinition-run", parameters(permit, no_view))
        }
        ("POST", "/fhir/AuditEvent") => one(
            path,
            json!({"resourceType": "AuditEvent", "type": {"code": "rest"},
            "recorded": "2026-03-10T09:00:00Z", "agent": [{"requestor": true}], "source": {"observer": {"display": "a system"}}}),
        ),
        ("POST", "/fhir/Library") => one(path, library("published")),
        ("POST", "/fhir/ViewDefinition") => one(path, view()),
        ("POST", "/fhir/ViewDefinition/$viewdefinition-materialize") => {
            let mut view = view();
            view["name"] = "third".into();
            one(path, json!({"resourceType": "Parameters", "parameter": [{"name": "viewResource", "resource": view}]}))
        }
        ("POST", "/fhir/ViewDefinition/{id}/$viewdefinition-materialize") => {
            one("/fhir/ViewDefinition/bp/$viewdefinition-materialize", json!({"resourceType": "Parameters"}))
        }
        ("POST", "/fhir/{type}") => one("/fhir/Observation", new),
        ("POST", "/fhir/_search") => one(path, json!("_type=Patient")),
        ("POST", "/fhir/{type}/_search") => one("/fhir/Observation/_search", json!("code:missing=false&_count=100")),
        ("POST", "/fhir/{type}/{id}/{of}/_search") => one("/fhir/Patient/p1/Observation/_search", json!("_count=100")),
        ("POST", "/fhir/{type}/$validate") => one("/fhir/Observation/$validate", new),
        ("POST", "/fhir/Library/$validate") => one(path, library("asked")),
        ("POST", "/fhir/{type}/{id}/$validate") => one("/fhir/Observation/bp-p1/$validate", Value::Null),
        ("POST", "/fhir/$import") => one(path, given(json!([]))),
        ("GET" | "DELETE", "/fhir/$import/{id}") => read("/fhir/$import/none"),
        ("GET", "/fhir/$import/{id}/{file}") => read("/fhir/$import/none/1.errors.ndjson"),
        ("GET", "/fhir/Subscription/$status") => read(path),
        ("POST", "/fhir/Subscription/$status") => one(path, given(json!([]))),
        ("GET", "/fhir/Subscription/{id}/$status" | "/fhir/Subscription/{id}/$events" | "/fhir/Subscription/{id}/$events-stream") => {
            read(&path.replace("{id}", "told"))
        }
        ("POST", "/fhir/Subscription/{id}/$status" | "/fhir/Subscription/{id}/$events") => one(&path.replace("{id}", "told"), Value::Null),
        ("GET", "/fhir/ValueSet/$expand") => read(&format!("{path}?url={GENDER}")),
        ("GET", "/fhir/ValueSet/$validate-code") => {
            read(&format!("{path}?url={GENDER}&system=http://hl7.org/fhir/administrative-gender&code=male"))
        }
        ("GET", "/fhir/ValueSet/{id}/$expand" | "/fhir/ValueSet/{id}/$validate-code") => read(&path.replace("{id}", "none")),
        ("GET", "/fhir/CodeSystem/$lookup") => read(&format!("{path}?system=http://hl7.org/fhir/administrative-gender&code=male")),
        ("GET", "/fhir/CodeSystem/$validate-code") => read(&format!("{path}?url=http://hl7.org/fhir/administrative-gender&code=male")),
        ("GET", "/fhir/CodeSystem/$subsumes") => read(&format!("{path}?system=http://hl7.org/fhir/sid/icd-10&codeA=C50&codeB=C50.9")),
        ("POST", "/fhir/ValueSet/$expand") => one(path, given(json!([{"name": "url", "valueUri": GENDER}]))),
        ("POST", "/fhir/ValueSet/$validate-code") => one(
            path,
            given(json!([{"name": "url", "valueUri": GENDER},
                {"name": "coding", "valueCoding": {"system": "http://hl7.org/fhir/administrative-gender", "code": "male"}}])),
        ),
        ("POST", "/fhir/ValueSet/{id}/$expand" | "/fhir/ValueSet/{id}/$validate-code") => one(&path.replace("{id}", "none"), Value::Null),
        ("POST", "/fhir/CodeSystem/$lookup" | "/fhir/CodeSystem/$validate-code") => one(
            path,
            given(json!([{"name": "coding", "valueCoding": {"system": "http://hl7.org/fhir/administrative-gender", "code": "male"}}])),
        ),
        ("POST", "/fhir/CodeSystem/$subsumes") => one(
            path,
            given(json!([{"name": "system", "valueUri": "http://hl7.org/fhir/sid/icd-10"}, {"name": "codeA", "valueCode": "C50"},
                {"name": "codeB", "valueCode": "C50.9"}])),
        ),
        ("POST", "/fhir/SearchParameter") => one(path, search_parameter("hats")),
        ("POST", "/fhir/SearchParameter/_search") => one(path, json!("status=active")),
        ("POST", "/fhir/Library/_search") => one(path, json!("status=active")),
        ("POST", "/permits/{id}/extend") => {
            one(&format!("/permits/{permit}/extend"), json!({"until": "2098-06-01T00:00:00Z", "reasons": "R"}))
        }
        ("POST", "/permits/{id}/revoke") => one(&format!("/permits/{permit}/revoke"), json!({"findings": "F"})),
        ("POST", "/permits/{id}/unblindings") => one(
            "/permits/trial_protocol/unblindings",
            json!({"requested_by": "an investigator", "reason": "an emergency", "subject": {"holder": "Nord", "patient": "p1"}}),
        ),
        ("POST", "/releases") => one(path, release(permit)),
        ("POST", "/releases/{id}/decide") => one(&release_at("/decide"), json!({"approve": false, "reasons": "R"})),
        ("POST", "/releases/{id}/withdraw") => one(&release_at("/withdraw"), Value::Null),
        ("POST", "/sql") => [
            ("(Observations)", "SELECT * FROM observation"),
            ("(a view)", "SELECT * FROM bp"),
            ("(statistics)", "SELECT sex, persons FROM statistics.patients GROUP BY sex"),
            ("(another's table)", "SELECT * FROM condition"),
        ]
        .into_iter()
        .map(|(note, sql)| Call::new(method, path, json!({"permit": permit, "sql": sql, "format": "json"})).noted(note))
        .chain([Call::new(method, path, json!({"permit": permit, "sql": "SELECT * FROM observation", "format": "json", "as_of": 1}))
            .noted("(as of before the permit)")])
        .collect(),

        ("PUT", "/applications/{id}") => one(&application(""), crate::people::content()),
        ("PUT", "/applications/{id}/persons") => one(&application("/persons"), json!({"persons": [{"holder": "Nord", "patient": "p1"}]})),
        ("PUT", "/cohorts/{id}") => one("/cohorts/another", cohort()),
        ("PUT", "/dimensions/{name}") => one("/dimensions/site", dimension()),
        ("PUT", "/statistics/{table}") => one("/statistics/registered", statistic()),
        ("PUT", "/fhir/AuditEvent") => one(
            "/fhir/AuditEvent?_id=none",
            json!({"resourceType": "AuditEvent", "type": {"code": "rest"},
            "recorded": "2026-03-10T09:00:00Z", "agent": [{"requestor": true}], "source": {"observer": {"display": "a system"}}}),
        ),
        ("PUT", "/fhir/SearchParameter") => one("/fhir/SearchParameter?code=none", search_parameter("none")),
        ("PUT", "/fhir/SearchParameter/{id}") => one("/fhir/SearchParameter/shoes", search_parameter("shoes")),
        ("PUT", "/fhir/Library") => one("/fhir/Library?name=none", library("none")),
        ("PUT", "/fhir/Library/{id}") => one("/fhir/Library/counted", library("counted")),
        ("PUT", "/fhir/ViewDefinition/{id}") => one("/fhir/ViewDefinition/bp", crate::views::bp()),
        ("PUT", "/fhir/ViewDefinition/{id}/$viewdefinition-materialize") => {
            one("/fhir/ViewDefinition/bp/$viewdefinition-materialize", json!({"resourceType": "Parameters"}))
        }
        ("PUT", "/fhir/{type}") => one("/fhir/Observation?identifier=urn:x%7C1", new),
        ("PUT", "/fhir/{type}/{id}") => one("/fhir/Observation/bp-p1", observation),
        ("PUT", "/opt-outs/{holder}/{patient}") => read("/opt-outs/Nord/p1"),
        ("PUT", "/organisations/{id}") => {
            one("/organisations/third", json!({"id": "third", "name": "third", "public_body": false, "users": ["somebody"]}))
        }
        ("PUT", "/permits/{id}") => {
            let mut granted = document("granted", user, "statutory_register", json!("everyone"), &["patient"]);
            granted["decision"]["by"] = user.into();
            granted["delivery"] = "enclave".into();
            let mut proposed = granted.clone();
            proposed["basis"] = "ehds_permit".into();
            proposed.as_object_mut().unwrap().remove("provision");
            vec![
                Call::new(method, "/permits/granted", granted),
                Call::new(method, "/permits/granted", proposed).noted("(of an EHDS basis)"),
            ]
        }

        ("PATCH", "/fhir/AuditEvent") => one("/fhir/AuditEvent?outcome=4", turned("outcomeDesc")),
        ("PATCH", "/fhir/SearchParameter") => one("/fhir/SearchParameter?_id=shoes", turned("description")),
        ("PATCH", "/fhir/SearchParameter/{id}") => one("/fhir/SearchParameter/shoes", turned("description")),
        ("PATCH", "/fhir/Library") => one("/fhir/Library?_id=counted", turned("title")),
        ("PATCH", "/fhir/Library/{id}") => one("/fhir/Library/counted", turned("title")),
        ("PATCH", "/fhir/{type}") => one("/fhir/Observation?_id=kit-p3", turned("valueString")),
        ("PATCH", "/fhir/{type}/{id}") => one("/fhir/Observation/kit-p3", turned("valueString")),
        ("DELETE", "/fhir/$sql-export/{id}") => read(&export_at("")),
        ("DELETE", "/fhir/AuditEvent") => read("/fhir/AuditEvent?outcome=8"),
        ("DELETE", "/fhir/SearchParameter") => read("/fhir/SearchParameter?code=none"),
        ("DELETE", "/fhir/SearchParameter/{id}") => read("/fhir/SearchParameter/shoes"),
        ("DELETE", "/fhir/Library") => read("/fhir/Library?name=none"),
        ("DELETE", "/fhir/Library/{id}") => read("/fhir/Library/counted"),
        ("DELETE", "/fhir/ViewDefinition/{id}") => read("/fhir/ViewDefinition/bp"),
        ("DELETE", "/fhir/ViewDefinition/{id}/$viewdefinition-materialize") => read("/fhir/ViewDefinition/bp/$viewdefinition-materialize"),
        ("DELETE", "/fhir/{type}") => read("/fhir/Observation?_id=kit-p3&status=final"),
        ("DELETE", "/fhir/{type}/{id}") => read("/fhir/Observation/bp-p1"),
        ("DELETE", "/opt-outs/{holder}/{patient}") => read("/opt-outs/Nord/p1"),
        ("DELETE", "/sql/queries/{id}") => read("/sql/queries/none"),

        ("GET", "/me" | "/me/sign-in" | "/me/sign-in/provider" | "/me/sign-in/return" | "/public-register") => read(path),
        ("GET", "/me/accesses/{entry}") => read(&format!("/me/accesses/{}", scene.access)),
        ("GET", "/me/accesses/{entry}/proof") => read(&format!("/me/accesses/{}/proof", scene.access)),
        ("GET", "/public-register/{kind}") => read("/public-register/permits"),
        ("GET", "/public-register/{kind}/{id}") => read("/public-register/permits/ehds_permit"),
        ("POST", "/me/sign-in") => one(path, "token=dgn_wrong".into()),
        ("POST", "/me/opt-out") => one(path, "opt=out&csrf=CSRF".into()),
        ("POST", "/me/sign-out") => one(path, "".into()),
        _ => panic!("{method} {path} is not in the grid: say in tests/it/grid/calls.rs how it is called"),
    }
}
