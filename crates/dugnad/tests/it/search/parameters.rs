//! Each kind of parameter with its prefixes and modifiers; found in the first search after the acknowledgement.

use super::{names, searchset};
use crate::support::{Hospital, Server};
use serde_json::{Value, json};

fn patients() -> Vec<Value> {
    vec![
        json!({"resourceType": "Patient", "id": "kari", "active": true, "gender": "female", "birthDate": "1980-05-12",
            "identifier": [{"system": "urn:mrn", "value": "12345", "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}}],
            "name": [{"family": "Østensjø", "given": ["Kari", "Anne"]}], "address": [{"city": "Bergen", "country": "NO"}],
            "managingOrganization": {"reference": "Organization/a"}}),
        json!({"resourceType": "Patient", "id": "ola", "active": false, "gender": "male", "birthDate": "1980-06",
            "identifier": [{"system": "urn:other", "value": "12345"}], "name": [{"family": "Ost"}, {"family": "Nordmann"}]}),
        json!({"resourceType": "Patient", "id": "nn", "meta": {"tag": [{"system": "urn:t", "code": "odd"}], "profile": ["http://p/q"], "source": "http://s",
            "security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}]}}),
    ]
}

fn observation(id: &str, code: &str, at: &str, value: Value, patient: &str) -> Value {
    let mut observation = json!({"resourceType": "Observation", "id": id, "status": "final", "effectiveDateTime": at,
        "code": {"coding": [{"system": "http://loinc.org", "code": code, "display": "Heart rate"}]}, "subject": {"reference": format!("Patient/{patient}")}});
    observation["valueQuantity"] = value;
    observation
}

fn quantity(value: f64, code: &str) -> Value {
    json!({"value": value, "unit": code, "system": "http://unitsofmeasure.org", "code": code})
}

fn others() -> Vec<Value> {
    let mut amended = observation("late", "8867-4", "2026-03-14T09:26:53Z", quantity(120.0, "/min"), "ola");
    amended["status"] = json!("amended");
    vec![
        json!({"resourceType": "Organization", "id": "a", "name": "Haukeland", "partOf": {"reference": "Organization/b"}}),
        json!({"resourceType": "Organization", "id": "b", "name": "Helse Vest", "partOf": {"reference": "Organization/a"}}),
        observation("early", "8867-4", "2026-01-01", quantity(5.4, "mg"), "kari"),
        amended,
        observation("month", "1-1", "2026-02", quantity(0.0054, "g"), "kari"),
        json!({"resourceType": "RiskAssessment", "id": "r", "status": "final", "subject": {"reference": "Patient/kari"}, "prediction": [{"probabilityDecimal": 0.8}]}),
        json!({"resourceType": "ValueSet", "id": "v", "status": "active", "url": "http://x.example/fhir/ValueSet/a/b"}),
        json!({"resourceType": "Location", "id": "here", "position": {"latitude": 60.3913, "longitude": 5.3221}}),
        json!({"resourceType": "Condition", "id": "logical", "subject": {"identifier": {"system": "urn:mrn", "value": "77"}, "display": "Somebody"}}),
        json!({"resourceType": "Provenance", "id": "w", "target": [{"reference": "Observation/early"}], "recorded": "2026-01-02T00:00:00Z", "agent": [{"who": {"display": "x"}}]}),
    ]
}

async fn filled(server: &Server) -> Hospital<'_> {
    let hospital = server.hospital("Haukeland");
    for resource in patients().into_iter().chain(others()) {
        let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        hospital.put(&path, &resource).await.expect(201);
    }
    hospital
}

#[track_caller]
fn same(found: &[String], expected: &[&str], query: &str) {
    assert_eq!(found, expected, "{query}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_strings_dates_references_quantities_numbers_uris_composites_and_places() {
    let server = Server::open();
    let hospital = filled(&server).await;
    for (query, expected) in [
        ("Patient", &["kari", "nn", "ola"][..]),
        // token
        ("Patient?gender=female", &["kari"]),
        ("Patient?gender=female,male", &["kari", "ola"]),
        ("Patient?gender:not=female", &["nn", "ola"]),
        ("Patient?active=true", &["kari"]),
        ("Patient?identifier=12345", &["kari", "ola"]),
        ("Patient?identifier=urn:mrn|12345", &["kari"]),
        ("Patient?identifier=urn:mrn|", &["kari"]),
        ("Patient?identifier=%7C12345", &[]),
        ("Patient?identifier:of-type=http://terminology.hl7.org/CodeSystem/v2-0203|MR|12345", &["kari"]),
        ("Patient?gender:missing=true", &["nn"]),
        ("Patient?gender:missing=false", &["kari", "ola"]),
        ("Observation?code:text=heart", &["early", "late", "month"]),
        ("Observation?code=http://loinc.org|8867-4&status=final", &["early"]),
        // string
        ("Patient?name=ost", &["ola"]),
        ("Patient?family=%C3%B8stens", &["kari"]),
        ("Patient?name:exact=Ost", &["ola"]),
        ("Patient?name:contains=mann", &["ola"]),
        ("Patient?given=anne", &["kari"]),
        ("Patient?name=kari&name=anne", &["kari"]),
        ("Patient?name=kari&name=ost", &[]),
        ("Patient?address-city=berg", &["kari"]),
        // date
        ("Patient?birthdate=1980", &["kari", "ola"]),
        ("Patient?birthdate=1980-05-12", &["kari"]),
        ("Patient?birthdate=ge1980-06", &["ola"]),
        ("Patient?birthdate=lt1980-06", &["kari"]),
        ("Patient?birthdate=ne1980-05-12", &["ola"]),
        ("Observation?date=2026", &["early", "late", "month"]),
        ("Observation?date=sa2026-01-31", &["late", "month"]),
        ("Observation?date=eb2026-02", &["early"]),
        ("Observation?date=ge2026-01-15&date=le2026-03-01", &["month"]),
        ("Observation?date=2026-03-14T10:26:53%2B01:00", &["late"]),
        // reference
        ("Observation?subject=Patient/kari", &["early", "month"]),
        ("Observation?subject=kari", &["early", "month"]),
        ("Observation?subject:Patient=kari", &["early", "month"]),
        ("Observation?patient=kari", &["early", "month"]),
        ("Observation?subject=http://localhost/fhir/Patient/kari", &["early", "month"]),
        ("Observation?subject=Patient/absent", &[]),
        ("Condition?subject:identifier=urn:mrn|77", &["logical"]),
        // quantity, number
        ("Observation?value-quantity=5.4", &["early"]),
        ("Observation?value-quantity=5.4|http://unitsofmeasure.org|mg", &["early", "month"]),
        ("Observation?value-quantity=0.0054|http://unitsofmeasure.org|g", &["early", "month"]),
        ("Observation?value-quantity=5.4|http://unitsofmeasure.org|mL", &[]),
        ("Observation?value-quantity=5.4||mg", &["early"]),
        ("Observation?value-quantity=gt100", &["late"]),
        ("Observation?value-quantity=ap118", &["late"]),
        ("RiskAssessment?probability=0.8", &["r"]),
        ("RiskAssessment?probability=gt0.8", &[]),
        // uri
        ("ValueSet?url=http://x.example/fhir/ValueSet/a/b", &["v"]),
        ("ValueSet?url:below=http://x.example/fhir/ValueSet/a", &["v"]),
        ("ValueSet?url:below=http://x.example/fhir/ValueSet/aa", &[]),
        ("ValueSet?url:above=http://x.example/fhir/ValueSet/a/b/c", &["v"]),
        // composite: within one element
        ("Observation?code-value-quantity=http://loinc.org|8867-4$gt100", &["late"]),
        ("Observation?code-value-quantity=1-1$gt100", &[]),
        // special
        ("Location?near=60.39|5.32|1|km", &["here"]),
        ("Location?near=61|5.32|1|km", &[]),
        // what every resource has
        ("Patient?_id=kari,nn", &["kari", "nn"]),
        ("Patient?_tag=urn:t|odd", &["nn"]),
        ("Patient?_profile=http://p/q", &["nn"]),
        ("Patient?_source=http://s", &["nn"]),
        ("Patient?_security=R", &["nn"]),
        ("Patient?_lastUpdated=ge2020", &["kari", "nn", "ola"]),
        ("Patient?_lastUpdated=lt2020", &[]),
        // chains
        ("Observation?subject:Patient.name=kari", &["early", "month"]),
        ("Observation?subject.name=kari", &["early", "month"]),
        ("Observation?patient.organization.name=haukeland", &["early", "month"]),
        ("Patient?_has:Observation:patient:code=1-1", &["kari"]),
        ("Patient?_has:Observation:patient:status=amended", &["ola"]),
        ("Patient?organization:Organization._has:Patient:organization:gender=female", &["kari"]),
        ("Patient?_has:Observation:patient:_has:Provenance:target:_id=w", &["kari"]),
    ] {
        same(&hospital.ids(&format!("/fhir/{query}")).await, expected, query);
    }
}

/// Found by each parameter in the first search after the acknowledgement; not found any more in the first after a change.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_found_at_once() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    for n in 0..20 {
        let mut kari = patients().remove(0);
        kari["id"] = json!(format!("p{n}"));
        kari["identifier"][0]["value"] = json!(format!("v{n}"));
        kari["birthDate"] = json!(format!("19{:02}-01-01", 50 + n));
        kari["name"][0]["family"] = json!(format!("Family{n:02}"));
        hospital.put(&format!("/fhir/Patient/p{n}"), &kari).await.expect(201);
        let by = [format!("_id=p{n}"), format!("identifier=v{n}"), format!("birthdate=19{:02}", 50 + n), format!("name=family{n:02}")];
        for query in by {
            same(&hospital.ids(&format!("/fhir/Patient?{query}")).await, &[&format!("p{n}")], &query);
        }
        kari["name"][0]["family"] = json!("Renamed");
        hospital.put(&format!("/fhir/Patient/p{n}"), &kari).await.expect(200);
        same(&hospital.ids(&format!("/fhir/Patient?name=family{n:02}")).await, &[], "the old name");
        assert_eq!(hospital.ids("/fhir/Patient?name=renamed&_count=100").await.len(), n + 1);
    }
    hospital.send("DELETE", "/fhir/Patient/p0", &[], "").await.expect(204);
    same(&hospital.ids("/fhir/Patient?_id=p0").await, &[], "deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn order_size_and_parts() {
    let server = Server::open();
    let hospital = filled(&server).await;
    let ordered = async |query: &str| names(&searchset(hospital.get(query).await), "match");
    assert_eq!(ordered("/fhir/Observation?_sort=date").await, ["Observation/early", "Observation/month", "Observation/late"]);
    assert_eq!(ordered("/fhir/Observation?_sort=-date").await, ["Observation/late", "Observation/month", "Observation/early"]);
    assert_eq!(ordered("/fhir/Observation?_sort=code,-date").await, ["Observation/month", "Observation/late", "Observation/early"]);
    assert_eq!(ordered("/fhir/Patient?_sort=_id").await, ["Patient/kari", "Patient/nn", "Patient/ola"]);

    let count = searchset(hospital.get("/fhir/Patient?_summary=count").await);
    assert_eq!((count["total"].as_u64(), count["entry"].is_null()), (Some(3), true));
    assert_eq!(searchset(hospital.get("/fhir/Patient?_count=0").await)["total"], 3);
    let page = searchset(hospital.get("/fhir/Patient?_count=1&_total=accurate").await);
    assert_eq!((page["total"].as_u64(), names(&page, "match").len()), (Some(3), 1));
    assert_eq!(searchset(hospital.get("/fhir/Patient?_count=1").await)["total"], Value::Null, "not counted unless asked");
    assert_eq!(searchset(hospital.get("/fhir/Patient").await)["total"], 3, "known, since all are there");

    let elements = searchset(hospital.get("/fhir/Patient?_id=kari&_elements=birthDate").await);
    let kari = &elements["entry"][0]["resource"];
    assert_eq!((kari["birthDate"].as_str(), kari["name"].is_null(), kari["id"].as_str()), (Some("1980-05-12"), true, Some("kari")));
    assert_eq!(kari["meta"]["tag"][0]["code"], "SUBSETTED");
    let summary = searchset(hospital.get("/fhir/Patient?_id=kari&_summary=true").await);
    assert!(summary["entry"][0]["resource"]["name"].is_array());
    let read = hospital.get("/fhir/Patient/kari?_elements=gender").await.expect(200).json();
    assert_eq!((read["gender"].as_str(), read["name"].is_null()), (Some("female"), true));
    hospital.get("/fhir/Patient/kari?_elements=nonsense").await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_along() {
    let server = Server::open();
    let hospital = filled(&server).await;
    let along = async |query: &str| {
        let bundle = searchset(hospital.get(query).await);
        let mut along = names(&bundle, "include");
        along.sort();
        along
    };
    assert_eq!(along("/fhir/Observation?_include=Observation:subject").await, ["Patient/kari", "Patient/ola"]);
    assert_eq!(along("/fhir/Observation?_id=early&_include=*&_revinclude=Provenance:target").await, ["Patient/kari", "Provenance/w"]);
    // Two organizations that are part of each other: once each, and the search ends.
    let circle = "/fhir/Observation?_id=early&_include=Observation:subject&_include:iterate=Patient:organization&_include:iterate=Organization:partof";
    assert_eq!(along(circle).await, ["Organization/a", "Organization/b", "Patient/kari"]);
    assert_eq!(
        along("/fhir/Patient?_id=kari&_revinclude=Observation:subject&_revinclude:iterate=Provenance:target").await,
        ["Observation/early", "Observation/month", "Provenance/w"]
    );
    let match_is_no_include = searchset(hospital.get("/fhir/Organization?_include=Organization:partof").await);
    assert_eq!((names(&match_is_no_include, "match").len(), names(&match_is_no_include, "include").len()), (2, 0));
}

/// Numbers keep their digits: what is found is what was stored.
#[tokio::test(flavor = "multi_thread")]
async fn stored_bytes_are_answered() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let body = r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.10}}"#;
    hospital.send("PUT", "/fhir/Observation/o", &[], body).await.expect(201);
    let found = hospital.get("/fhir/Observation?value-quantity=1.1").await.expect(200);
    let read = hospital.get("/fhir/Observation/o").await.expect(200);
    let (found, read) = (String::from_utf8(found.body).unwrap(), String::from_utf8(read.body).unwrap());
    assert!(found.contains(&read) && read.contains("1.10"), "{found}");
}
