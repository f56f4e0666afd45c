//! `$validate`: everything that is wrong with a resource and what could be better, and nothing written.

use crate::support::{Answer, Server};
use serde_json::{Value, json};

/// The issues of an answer, as `severity code place`.
#[track_caller]
fn issues(answer: Answer) -> Vec<String> {
    let outcome = answer.expect(200).json();
    assert_eq!(outcome["resourceType"], "OperationOutcome");
    let text = |issue: &Value, name: &str| issue[name].as_str().unwrap_or_default().to_owned();
    let all = outcome["issue"].as_array().unwrap().iter();
    all.map(|i| format!("{} {} {}", text(i, "severity"), text(i, "code"), i["expression"][0].as_str().unwrap_or_default())).collect()
}

fn patient() -> Value {
    json!({"resourceType": "Patient", "id": "p", "gender": "female",
        "text": {"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">a</div>"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_and_advice_are_told_and_nothing_is_written() {
    let server = Server::open();
    let hospital = server.hospital("Vest");
    let good = patient();
    assert_eq!(issues(hospital.post("/fhir/Patient/$validate", &[], &good).await), ["information informational Patient"]);
    let mut wrong = good.clone();
    wrong["gender"] = json!("kvinne");
    wrong["contact"] = json!([{"gender": "male"}]);
    wrong["maritalStatus"] = json!({"coding": [{"system": "urn:x", "code": "a"}]});
    wrong["meta"] = json!({"profile": ["http://example.org/p"]});
    wrong.as_object_mut().unwrap().remove("text");
    let told = [
        "error code-invalid Patient.gender",
        "error invariant Patient.contact[0]",
        "warning code-invalid Patient.maritalStatus",
        "warning invariant Patient",
        "information not-supported Patient.meta.profile",
    ];
    assert_eq!(issues(hospital.post("/fhir/Patient/$validate", &[], &wrong).await), told);
    let wrapped = json!({"resourceType": "Parameters", "parameter": [
        {"name": "mode", "valueCode": "create"}, {"name": "resource", "resource": wrong},
        {"name": "profile", "valueUri": "http://hl7.org/fhir/StructureDefinition/Patient"}]});
    assert_eq!(issues(hospital.post("/fhir/Patient/$validate", &[], &wrapped).await), told);
    // The errors are those of a write; the rest does not stop one.
    let refused = hospital.put("/fhir/Patient/p", &wrong).await.expect(422).json();
    assert_eq!(refused["issue"].as_array().unwrap().len(), 2, "{refused}");
    hospital.get("/fhir/Patient/p").await.expect(404);
    let library = json!({"resourceType": "Library", "status": "draft", "type": {"text": "a"}, "text": good["text"]});
    assert_eq!(issues(hospital.post("/fhir/Library/$validate", &[], &library).await), ["information informational Library"]);
    let set = json!({"resourceType": "ValueSet", "status": "drft", "text": good["text"]});
    assert_eq!(issues(hospital.post("/fhir/ValueSet/$validate", &[], &set).await), ["error code-invalid ValueSet.status"]);
    let parameters = json!({"resourceType": "Parameters", "parameter": [{"name": "a"}]});
    assert_eq!(issues(hospital.post("/fhir/Parameters/$validate", &[], &parameters).await), ["error invariant Parameters.parameter[0]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_modes_and_profiles() {
    let server = Server::open();
    let hospital = server.hospital("Vest");
    let mut stored = patient();
    stored["active"] = json!(true);
    hospital.put("/fhir/Patient/p", &stored).await.expect(201);
    let at = "/fhir/Patient/p/$validate";
    assert_eq!(issues(hospital.post(at, &[], &patient()).await), ["information informational Patient"]);
    let mut other = patient();
    other["id"] = json!("q");
    assert_eq!(issues(hospital.post(at, &[], &other).await), ["error invalid Patient.id"]);
    assert_eq!(issues(hospital.post(&format!("{at}?mode=create"), &[], &other).await), ["information informational Patient"]);
    let group = json!({"resourceType": "Group", "type": "person", "actual": true, "text": patient()["text"]});
    assert_eq!(issues(hospital.post("/fhir/Patient/$validate", &[], &group).await), ["error invalid Patient.resourceType"]);
    let profiled = hospital.post("/fhir/Patient/$validate?profile=http://example.org/p", &[], &patient()).await;
    assert_eq!(issues(profiled), ["error not-supported Parameters.parameter.where(name='profile')"]);
    // As it is stored, or to be deleted: of the hospital's own only.
    assert_eq!(issues(hospital.send("POST", at, &[], "").await), ["information informational Patient"]);
    assert_eq!(issues(hospital.send("POST", &format!("{at}?mode=delete"), &[], "").await), ["information informational Patient"]);
    server.hospital("Nord").send("POST", at, &[], "").await.expect(404);
    hospital.send("POST", "/fhir/Patient/none/$validate", &[], "").await.expect(404);
    for (path, body) in
        [("/fhir/Patient/$validate", ""), ("/fhir/Patient/$validate?mode=delete", "{}"), ("/fhir/Patient/$validate?mode=x", "{}")]
    {
        hospital.send("POST", path, &[("Content-Type", "application/json")], body).await.expect(400);
    }
    hospital.post("/fhir/Patient/$validate?colour=red", &[], &patient()).await.expect(400);
    hospital.send("POST", "/fhir/Patient/$validate", &[("Content-Type", "application/json")], "{").await.expect(400);
    hospital.send("POST", "/fhir/Nothing/$validate", &[], "").await.expect(404);
    hospital.get("/fhir/Patient/p").await.expect(200);
}
