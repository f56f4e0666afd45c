//! `Patient/$everything` over HTTP.

use crate::support::{Answer, Hospital, Server};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn reference(to: &str) -> Value {
    json!({"reference": to})
}

fn observation(id: &str, patient: &str, day: Option<&str>) -> Value {
    let mut observation = json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"text": "x"},
        "subject": reference(&format!("Patient/{patient}")), "performer": [reference("Practitioner/d")]});
    if let Some(day) = day {
        observation["effectiveDateTime"] = day.into();
    }
    observation
}

/// Two patients; the first with an encounter, observations, a coverage and a medication, and with whom they refer to.
async fn treated(hospital: &Hospital<'_>) {
    let mut all = vec![
        json!({"resourceType": "Patient", "id": "p", "managingOrganization": reference("Organization/o")}),
        json!({"resourceType": "Patient", "id": "q"}),
        json!({"resourceType": "Organization", "id": "o", "name": "x"}),
        json!({"resourceType": "Organization", "id": "unused", "name": "y"}),
        json!({"resourceType": "Practitioner", "id": "d"}),
        json!({"resourceType": "Medication", "id": "m"}),
        json!({"resourceType": "Encounter", "id": "e", "status": "finished", "class": {"code": "AMB"}, "subject": reference("Patient/p"),
               "period": {"start": "2026-02-01", "end": "2026-02-03"}}),
        json!({"resourceType": "MedicationRequest", "id": "mr", "status": "active", "intent": "order", "subject": reference("Patient/p"),
               "medicationReference": reference("Medication/m"), "authoredOn": "2026-03-01"}),
        json!({"resourceType": "Coverage", "id": "c", "status": "active", "beneficiary": reference("Patient/p"),
               "payor": [reference("Organization/o")]}),
        observation("of-q", "q", Some("2026-02-02")),
        observation("undated", "p", None),
    ];
    for (n, day) in ["2026-01-01", "2026-02-02", "2026-03-03"].iter().enumerate() {
        all.push(observation(&format!("o{n}"), "p", Some(day)));
    }
    for resource in all {
        let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        hospital.put(&path, &resource).await.expect(201);
    }
}

fn names(bundle: &Value) -> Vec<String> {
    assert_eq!((bundle["resourceType"].as_str(), bundle["type"].as_str()), (Some("Bundle"), Some("searchset")));
    let shown = |r: &Value| format!("{}/{}", r["resourceType"].as_str().unwrap(), r["id"].as_str().unwrap());
    bundle["entry"].as_array().map(|all| all.iter().map(|entry| shown(&entry["resource"])).collect()).unwrap_or_default()
}

fn sorted(answer: Answer) -> Vec<String> {
    let all: BTreeSet<String> = names(&answer.expect(200).json()).into_iter().collect();
    all.into_iter().collect()
}

const ALL: [&str; 11] = [
    "Coverage/c",
    "Encounter/e",
    "Medication/m",
    "MedicationRequest/mr",
    "Observation/o0",
    "Observation/o1",
    "Observation/o2",
    "Observation/undated",
    "Organization/o",
    "Patient/p",
    "Practitioner/d",
];

#[tokio::test(flavor = "multi_thread")]
async fn all_that_there_is_about_a_patient() {
    let server = Server::open();
    let (hospital, other) = (server.hospital("Haukeland"), server.hospital("Ullevål"));
    treated(&hospital).await;
    let whole = hospital.get("/fhir/Patient/p/$everything").await.expect(200);
    assert_eq!(names(&whole.json())[0], "Patient/p", "the patient comes first");
    assert_eq!(sorted(whole), ALL);
    let body = json!({"resourceType": "Parameters", "parameter": []});
    assert_eq!(sorted(hospital.post("/fhir/Patient/p/$everything", &[], &body).await), ALL);
    assert_eq!(sorted(hospital.get("/fhir/Patient/q/$everything").await), ["Observation/of-q", "Patient/q", "Practitioner/d"]);
    hospital.get("/fhir/Patient/none/$everything").await.expect(404);
    other.get("/fhir/Patient/p/$everything").await.expect(404);
    hospital.send("DELETE", "/fhir/Patient/q", &[], "").await.expect(204);
    hospital.get("/fhir/Patient/q/$everything").await.expect(410);
    hospital.get("/fhir/Patient/q").await.expect(410);
    hospital.get("/fhir/Patient/p").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_it() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    treated(&hospital).await;
    let get = |query: &str| {
        let (hospital, path) = (&hospital, format!("/fhir/Patient/p/$everything?{query}"));
        async move { sorted(hospital.get(&path).await) }
    };
    assert_eq!(
        get("_type=Observation,Practitioner").await[..4],
        ["Observation/o0", "Observation/o1", "Observation/o2", "Observation/undated"]
    );
    assert_eq!(get("_type=Patient").await, ["Patient/p"]);
    let without = |gone: &[&str]| ALL.iter().filter(|name| !gone.contains(name)).map(|name| (*name).to_owned()).collect::<Vec<_>>();
    // What has no care date is never outside.
    assert_eq!(
        get("start=2026-02-01&end=2026-02-28").await,
        without(&["Observation/o0", "Observation/o2", "MedicationRequest/mr", "Medication/m"])
    );
    assert_eq!(get("start=2026-02-15").await, without(&["Observation/o0", "Observation/o1", "Encounter/e"]));
    assert_eq!(get("end=2026").await, ALL);
    assert!(get("_since=2099-01-01T00:00:00Z").await.is_empty());
    let parameters = json!({"resourceType": "Parameters", "parameter": [{"name": "start", "valueDate": "2026-02-15"}]});
    let posted = hospital.post("/fhir/Patient/p/$everything", &[], &parameters).await;
    assert_eq!(sorted(posted), get("start=2026-02-15").await);
    for wrong in ["start=soon", "_since=x", "_type=Patience", "_count=0"] {
        hospital.get(&format!("/fhir/Patient/p/$everything?{wrong}")).await.expect(400);
    }
    hospital.send("GET", "/fhir/Patient/p/$everything?colour=red", &[("Prefer", "handling=strict")], "").await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_pages_of_one_commit() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    treated(&hospital).await;
    let (mut found, mut pages, mut next) = (BTreeSet::new(), 0, Some("/fhir/Patient/p/$everything?_count=2".to_owned()));
    while let Some(path) = next {
        let page = hospital.get(&path).await.expect(200).json();
        found.extend(names(&page));
        pages += 1;
        hospital.put(&format!("/fhir/Observation/new{pages}"), &observation(&format!("new{pages}"), "p", None)).await.expect(201);
        let links = page["link"].as_array().unwrap();
        let link = links.iter().find(|link| link["relation"] == "next").map(|link| link["url"].as_str().unwrap().to_owned());
        next = link.map(|url| url.strip_prefix("http://localhost").unwrap().to_owned());
    }
    assert!(pages >= 4 && found.into_iter().eq(ALL.map(str::to_owned)));
    let batch =
        json!({"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "GET", "url": "Patient/p/$everything"}}]});
    let done = hospital.post("/fhir", &[], &batch).await.expect(200).json();
    assert_eq!(names(&done["entry"][0]["resource"]).len(), ALL.len() + pages);
}

/// The centre's door to the erasure, for whoever speaks FHIR.
#[tokio::test(flavor = "multi_thread")]
async fn the_centre_purges() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    treated(&hospital).await;
    let centre = Hospital { server: &server, token: server.token(dugnad::access::Role::Centre, "centre", None) };
    let asked = |holder: &str| {
        let parameter = [("holder", holder), ("reason", "a test")].map(|(name, text)| json!({"name": name, "valueString": text}));
        json!({"resourceType": "Parameters", "parameter": parameter})
    };
    hospital.post("/fhir/Patient/p/$purge", &[], &asked("Haukeland")).await.expect(403);
    centre.post("/fhir/Patient/p/$purge", &[], &json!({"resourceType": "Parameters"})).await.expect(400);
    centre.post("/fhir/Patient/p/$purge", &[], &asked("Nowhere")).await.expect(404);
    centre.post("/fhir/Patient/none/$purge", &[], &asked("Haukeland")).await.expect(404);
    let purged = centre.post("/fhir/Patient/p/$purge", &[], &asked("Haukeland")).await.expect(200);
    assert!(purged.header("dugnad-commit").is_some() && purged.json()["resourceType"] == "OperationOutcome");
    hospital.get("/fhir/Patient/p/$everything").await.expect(404);
    hospital.get("/fhir/Observation/o1").await.expect(404);
    hospital.get("/fhir/Observation/of-q").await.expect(200);
    let history = hospital.get("/fhir/_history").await.expect(200).json();
    let urls: Vec<&str> = history["entry"].as_array().unwrap().iter().map(|e| e["request"]["url"].as_str().unwrap()).collect();
    assert!(!urls.contains(&"Patient/p") && !urls.contains(&"Observation/o1") && urls.contains(&"Observation/of-q"), "{urls:?}");
}
