//! Code systems and value sets: expanded, looked up, and searched by.

use crate::support::{Answer, Hospital, Server};
use dugnad::access::Role;
use serde_json::{Value, json};

/// A parameter's value in a Parameters resource.
fn parameter(answer: &Value, name: &str) -> Value {
    let of = answer["parameter"].as_array().unwrap().iter().find(|p| p["name"] == name);
    of.and_then(|p| p.as_object().unwrap().iter().find(|(key, _)| key.starts_with("value")).map(|(_, value)| value.clone()))
        .unwrap_or_default()
}

/// The codes of an expansion.
#[track_caller]
fn codes(answer: Answer) -> Vec<String> {
    let set = answer.expect(200).json();
    let contains = set["expansion"]["contains"].as_array().cloned().unwrap_or_default();
    contains.iter().map(|c| c["code"].as_str().unwrap().to_owned()).collect()
}

/// What an OperationOutcome says.
#[track_caller]
fn refused(answer: Answer, status: u16, code: &str) -> String {
    let outcome = answer.expect(status).json();
    assert_eq!(outcome["issue"][0]["code"], code, "{outcome}");
    outcome["issue"][0]["diagnostics"].as_str().unwrap().to_owned()
}

const ICD: &str = "http://hl7.org/fhir/sid/icd-10";
const GENDER: &str = "http://hl7.org/fhir/ValueSet/administrative-gender";

/// A code system of wards with a hierarchy, and value sets of it.
async fn wards(hospital: &Hospital<'_>) {
    let system = json!({"resourceType": "CodeSystem", "id": "wards", "url": "urn:wards", "version": "1", "status": "active", "content": "complete",
        "concept": [{"code": "surgery", "display": "Surgery", "concept": [{"code": "ortho", "display": "Orthopaedics"}, {"code": "neuro", "display": "Neurosurgery"}]},
                    {"code": "medicine", "display": "Medicine"}]});
    let set = json!({"resourceType": "ValueSet", "id": "surgical", "url": "urn:surgical", "status": "active",
        "compose": {"include": [{"system": "urn:wards", "filter": [{"property": "concept", "op": "is-a", "value": "surgery"}]}]}});
    let foreign = json!({"resourceType": "ValueSet", "id": "foreign", "url": "urn:foreign", "status": "active",
        "compose": {"include": [{"system": "http://snomed.info/sct"}]}});
    for resource in [&system, &set, &foreign] {
        let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        hospital.put(&path, resource).await.expect(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn value_sets_are_expanded_or_refused() {
    let server = Server::open();
    let hospital = server.hospital("Vest");
    let expand = |more: &str| format!("/fhir/ValueSet/$expand?{more}");
    assert_eq!(codes(hospital.get(&expand(&format!("url={GENDER}"))).await), ["male", "female", "other", "unknown"]);
    assert_eq!(codes(hospital.get(&expand(&format!("url={GENDER}&filter=ALE"))).await), ["male", "female"]);
    let page = hospital.get(&expand(&format!("url={GENDER}&count=1&offset=1"))).await.expect(200).json();
    assert_eq!((&page["expansion"]["total"], &page["expansion"]["contains"][0]["code"]), (&json!(4), &json!("female")));
    // Not before it is there, and of its hospital only.
    refused(hospital.get(&expand("url=urn:surgical")).await, 404, "not-found");
    wards(&hospital).await;
    assert_eq!(codes(hospital.get(&expand("url=urn:surgical")).await), ["surgery", "ortho", "neuro"]);
    assert_eq!(codes(hospital.get("/fhir/ValueSet/surgical/$expand").await), ["surgery", "ortho", "neuro"]);
    refused(server.hospital("Nord").get(&expand("url=urn:surgical")).await, 404, "not-found");
    let inline = json!({"resourceType": "Parameters", "parameter": [{"name": "valueSet", "resource": {"resourceType": "ValueSet", "status": "draft",
        "compose": {"include": [{"valueSet": ["urn:surgical"]}], "exclude": [{"system": "urn:wards", "concept": [{"code": "neuro"}]}]}}}]});
    assert_eq!(codes(hospital.post("/fhir/ValueSet/$expand", &[], &inline).await), ["surgery", "ortho"]);
    let what = refused(hospital.get(&expand("url=urn:foreign")).await, 422, "not-supported");
    assert!(what.contains("http://snomed.info/sct"), "{what}");
    refused(hospital.get(&expand("url=http://hl7.org/fhir/ValueSet/condition-code")).await, 422, "not-supported");
    refused(hospital.get(&expand("")).await, 400, "required");
    refused(hospital.get(&expand(&format!("url={GENDER}&colour=red"))).await, 400, "not-supported");
    // The resource itself is read as ever, beside its operations.
    hospital.get("/fhir/ValueSet/surgical").await.expect(200);
    hospital.get("/fhir/CodeSystem/wards").await.expect(200);
    // Whoever has a token may ask for what comes with the program.
    let company = server.token(Role::Company, "company", None);
    let request = axum::http::Request::builder().uri(expand(&format!("url={GENDER}"))).header("Authorization", format!("Bearer {company}"));
    assert_eq!(codes(server.send(request.body(axum::body::Body::empty()).unwrap()).await).len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_validated_looked_up_and_compared() {
    let server = Server::open();
    let hospital = server.hospital("Vest");
    wards(&hospital).await;
    let ask = async |path: &str| hospital.get(path).await.expect(200).json();
    let in_set = |more: &str| format!("/fhir/ValueSet/$validate-code?url=urn:surgical&{more}");
    for (more, result) in [
        ("system=urn:wards&code=ortho", true),
        ("system=urn:wards&code=ortho&display=orthopaedics", true),
        ("system=urn:wards&code=ortho&display=Medicine", false),
        ("system=urn:wards&code=medicine", false),
        ("system=urn:other&code=ortho", false),
    ] {
        assert_eq!(parameter(&ask(&in_set(more)).await, "result"), json!(result), "{more}");
    }
    refused(hospital.get(&in_set("code=ortho")).await, 400, "required");
    let concept = json!({"resourceType": "Parameters", "parameter": [{"name": "url", "valueUri": "urn:surgical"},
        {"name": "codeableConcept", "valueCodeableConcept": {"coding": [{"system": "urn:x", "code": "y"}, {"system": "urn:wards", "code": "neuro"}]}}]});
    let answer = hospital.post("/fhir/ValueSet/$validate-code", &[], &concept).await.expect(200).json();
    assert_eq!((parameter(&answer, "result"), parameter(&answer, "display")), (json!(true), json!("Neurosurgery")));

    let of_system = |more: &str| format!("/fhir/CodeSystem/$validate-code?url=urn:wards&{more}");
    assert_eq!(parameter(&ask(&of_system("code=ortho")).await, "result"), json!(true));
    assert_eq!(parameter(&ask(&of_system("code=none")).await, "result"), json!(false));
    refused(hospital.get(&format!("/fhir/CodeSystem/$validate-code?url={ICD}&code=C50.9")).await, 422, "not-supported");
    refused(hospital.get("/fhir/CodeSystem/$validate-code?url=urn:none&code=a").await, 404, "not-found");

    let found = ask("/fhir/CodeSystem/$lookup?system=urn:wards&code=ortho").await;
    assert_eq!((parameter(&found, "display"), parameter(&found, "version")), (json!("Orthopaedics"), json!("1")));
    assert!(found.to_string().contains(r#"{"name":"code","valueCode":"parent"},{"name":"value","valueCode":"surgery"}"#), "{found}");
    let chapter = ask(&format!("/fhir/CodeSystem/$lookup?system={ICD}&code=C50")).await;
    assert!(parameter(&chapter, "display").as_str().unwrap().contains("breast"), "{chapter}");
    refused(hospital.get("/fhir/CodeSystem/$lookup?system=urn:wards&code=none").await, 404, "not-found");

    let subsumes = |system: &str, a: &str, b: &str| format!("/fhir/CodeSystem/$subsumes?system={system}&codeA={a}&codeB={b}");
    for (system, a, b, outcome) in [
        ("urn:wards", "surgery", "ortho", "subsumes"),
        ("urn:wards", "ortho", "surgery", "subsumed-by"),
        ("urn:wards", "ortho", "neuro", "not-subsumed"),
        (ICD, "C50", "C50.9", "subsumes"),
        (ICD, "II", "C50.9", "subsumes"),
        (ICD, "C50.9", "C50.9", "equivalent"),
    ] {
        assert_eq!(parameter(&ask(&subsumes(system, a, b)).await, "outcome"), json!(outcome), "{a} {b}");
    }
    refused(hospital.get(&subsumes("urn:wards", "surgery", "none")).await, 404, "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_by_value_sets_and_hierarchies() {
    let server = Server::open();
    let hospital = server.hospital("Vest");
    wards(&hospital).await;
    let condition = |id: &str, system: &str, code: &str| json!({"resourceType": "Condition", "id": id, "subject": {"display": "x"}, "code": {"coding": [{"system": system, "code": code}]}});
    for (id, system, code) in [
        ("o", "urn:wards", "ortho"),
        ("m", "urn:wards", "medicine"),
        ("b", ICD, "C50.9"),
        ("c", ICD, "C50"),
        ("h", ICD, "I21.0"),
        ("x", "urn:x", "ortho"),
    ] {
        hospital.put(&format!("/fhir/Condition/{id}"), &condition(id, system, code)).await.expect(201);
    }
    let ids = async |query: &str| {
        let bundle = hospital.get(&format!("/fhir/Condition?{query}")).await.expect(200).json();
        let mut ids: Vec<String> =
            bundle["entry"].as_array().into_iter().flatten().map(|e| e["resource"]["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids.join(" ")
    };
    assert_eq!(ids("code:in=urn:surgical").await, "o");
    assert_eq!(ids("code:in=ValueSet/surgical").await, "o");
    assert_eq!(ids("code:not-in=urn:surgical").await, "b c h m x");
    assert_eq!(ids("code:below=urn:wards|surgery").await, "o");
    assert_eq!(ids("code:above=urn:wards|ortho").await, "o");
    assert_eq!(ids(&format!("code:below={ICD}|C50-C50")).await, "b c");
    assert_eq!(ids(&format!("code:below={ICD}|C50.9")).await, "b");
    assert_eq!(ids(&format!("code:above={ICD}|C50.9")).await, "b c");
    assert_eq!(ids(&format!("code:below={ICD}|II,{ICD}|IX")).await, "b c h");
    // A value set of today: the next search has its next version.
    let wider = json!({"resourceType": "ValueSet", "id": "surgical", "url": "urn:surgical", "status": "active", "compose": {"include": [{"system": "urn:wards"}]}});
    hospital.put("/fhir/ValueSet/surgical", &wider).await.expect(200);
    assert_eq!(ids("code:in=urn:surgical").await, "m o");
    for query in [
        "code:in=urn:none",
        "code:in=urn:foreign",
        "code:below=http://snomed.info/sct|1",
        "code:not-in=urn:none",
        &format!("code:below={ICD}|XX9"),
    ] {
        refused(hospital.get(&format!("/fhir/Condition?{query}")).await, 400, "not-supported");
    }
    refused(hospital.get("/fhir/Condition?code:below=C50").await, 400, "value");
    // Another hospital has other definitions.
    let other = server.hospital("Nord");
    other.put("/fhir/Condition/o", &condition("o", "urn:wards", "ortho")).await.expect(201);
    refused(other.get("/fhir/Condition?code:in=urn:surgical").await, 400, "not-supported");
    let conditional = [("If-None-Exist", "code:in=urn:surgical")];
    hospital.post("/fhir/Condition", &conditional, &json!({"resourceType": "Condition", "subject": {"display": "x"}})).await.expect(400);
}
