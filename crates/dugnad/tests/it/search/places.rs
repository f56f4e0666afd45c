//! Where is searched: types, the system, compartments; by form; in batches and transactions; and what goes on the record.

use super::{link, names, searchset};
use crate::support::Server;
use dugnad_kernel::audit::Act;
use serde_json::{Value, json};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

fn bundle(kind: &str) -> Value {
    json!({"resourceType": "Bundle", "type": kind, "entry": [
        {"request": {"method": "GET", "url": "Patient?name=moe"}},
        {"resource": {"resourceType": "Patient", "id": "p", "name": [{"family": "Moe"}]}, "request": {"method": "PUT", "url": "Patient/p"}},
        {"resource": {"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "c"}, "subject": {"reference": "Patient/p"}},
         "request": {"method": "PUT", "url": "Observation/o"}},
        {"request": {"method": "GET", "url": "/Observation?patient=p&_include=Observation:subject"}},
        {"request": {"method": "GET", "url": "Patient/p"}},
        {"request": {"method": "GET", "url": "Patient/absent"}},
        {"request": {"method": "GET", "url": "Patient?gender:exact=x"}},
    ]})
}

/// A transaction writes first and reads then, whatever the order of its entries (FHIR R4, section 3.1.0.11.2); a batch goes by the
/// order of its entries.
#[tokio::test(flavor = "multi_thread")]
async fn batches_and_transactions_search() {
    for (kind, before) in [("transaction", 1), ("batch", 0)] {
        let server = Server::open();
        let hospital = server.hospital("Haukeland");
        let answer = hospital.post("/fhir", &[], &bundle(kind)).await.expect(200).json();
        let status = |n: usize| answer["entry"][n]["response"]["status"].as_str().unwrap()[..3].to_owned();
        let statuses: Vec<String> = (0..7).map(status).collect();
        assert_eq!(statuses, ["200", "201", "201", "200", "200", "404", "400"], "{kind}");
        assert_eq!(names(&answer["entry"][0]["resource"], "match").len(), before, "{kind}");
        let found = &answer["entry"][3]["resource"];
        assert_eq!((names(found, "match"), names(found, "include")), (vec!["Observation/o".into()], vec!["Patient/p".into()]), "{kind}");
        assert_eq!(answer["entry"][4]["resource"]["id"], "p");
        assert!(answer["entry"][4]["response"]["etag"].is_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_systems_and_compartments() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    hospital.post("/fhir", &[], &bundle("transaction")).await.expect(200);
    hospital.put("/fhir/Practitioner/d", &json!({"resourceType": "Practitioner", "id": "d"})).await.expect(201);
    hospital.put("/fhir/Observation/x", &json!({"resourceType": "Observation", "id": "x", "status": "final", "code": {"text": "c"}, "performer": [{"reference": "Patient/p"}]})).await.expect(201);

    let by_form = searchset(hospital.send("POST", "/fhir/Patient/_search?_count=5", &[FORM], "name=MO&_sort=_id").await);
    assert_eq!(names(&by_form, "match"), ["Patient/p"]);
    assert_eq!(link(&by_form, "self").unwrap(), "/fhir/Patient?_count=5&name=MO&_sort=_id");
    hospital.send("POST", "/fhir/Patient/_search", &[("Content-Type", "application/json")], "{}").await.expect(415);

    let both = searchset(hospital.get("/fhir?_type=Observation,Patient&_lastUpdated=ge2020").await);
    assert_eq!(names(&both, "match").len(), 3);
    let mut left = vec!["Observation/o".to_owned(), "Observation/x".to_owned(), "Patient/p".to_owned()];
    let mut next = Some("/fhir?_type=Observation,Patient&_count=1&_total=accurate".to_owned());
    while let Some(url) = next {
        let page = searchset(hospital.get(&url).await);
        assert_eq!(page["total"], 3);
        for name in names(&page, "match") {
            left.retain(|n| *n != name);
        }
        next = link(&page, "next");
    }
    assert!(left.is_empty(), "{left:?}");

    // Some clients write the base with a slash at its end.
    hospital.post("/fhir/", &[], &bundle("transaction")).await.expect(200);
    assert_eq!(names(&searchset(hospital.get("/fhir/?_type=Patient").await), "match"), ["Patient/p"]);

    let own = searchset(hospital.get("/fhir/Patient/p/Observation").await);
    assert_eq!(names(&own, "match").len(), 2, "as subject and as performer");
    assert_eq!(hospital.ids("/fhir/Patient/p/Observation?status=final&subject=Patient/p").await, ["o"]);
    let all = searchset(hospital.get("/fhir/Patient/p/*").await);
    let mut all = names(&all, "match");
    all.sort();
    assert_eq!(all, ["Observation/o", "Observation/x", "Patient/p"]);
    assert!(names(&searchset(hospital.get("/fhir/Patient/absent/Observation").await), "match").is_empty());
    hospital.get("/fhir/Patient/p/Practitioner").await.expect(404);
    hospital.get("/fhir/Encounter/e/Observation").await.expect(404);
    assert_eq!(
        names(&searchset(hospital.send("POST", "/fhir/Patient/p/Observation/_search", &[FORM], "status=final").await), "match").len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_parameters_are_left_out_and_said_or_refused() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    hospital.post("/fhir", &[], &bundle("transaction")).await.expect(200);
    let lenient = searchset(hospital.get("/fhir/Patient?name=moe&shoe-size=44&_format=json").await);
    assert_eq!(names(&lenient, "match"), ["Patient/p"]);
    assert_eq!(link(&lenient, "self").unwrap(), "/fhir/Patient?name=moe&_format=json");
    let outcome = lenient["entry"].as_array().unwrap().iter().find(|e| e["search"]["mode"] == "outcome").unwrap();
    assert_eq!(outcome["resource"]["resourceType"], "OperationOutcome");
    assert!(outcome["resource"]["issue"][0]["diagnostics"].as_str().unwrap().contains("shoe-size"));
    let strict =
        hospital.send("GET", "/fhir/Patient?name=moe&shoe-size=44&hat=1", &[("Prefer", "handling=strict")], "").await.expect(400).json();
    let places: Vec<&str> = strict["issue"].as_array().unwrap().iter().map(|i| i["expression"][0].as_str().unwrap()).collect();
    assert_eq!(places, ["http.shoe-size", "http.hat"]);
    // A modifier that is passed over would find something else: refused, however lenient.
    let refused = hospital.get("/fhir/Patient?gender:exact=x").await.expect(400).json();
    assert!(refused["issue"][0]["diagnostics"].as_str().unwrap().contains(":not"));
    hospital.get("/fhir/Patience?name=x").await.expect(404);
    hospital.send("GET", "/fhir/Patient", &[("Accept", "application/fhir+xml")], "").await.expect(406);
}

/// Intent and completion, with the names of parameters, the types and the number of records; no value.
#[tokio::test(flavor = "multi_thread")]
async fn searches_are_on_the_record() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    hospital.post("/fhir", &[], &bundle("transaction")).await.expect(200);
    let before = server.local.audit.entries(0, 1_000).unwrap().len();
    hospital.get("/fhir/Observation?subject:Patient.name=Moe&_include=Observation:subject:Patient").await.expect(200);
    let entries = server.local.audit.entries(before as u64, 1_000).unwrap();
    let acts: Vec<Act> = entries.iter().map(|(_, e)| e.act).collect();
    assert_eq!(acts, [Act::Intent, Act::Completion]);
    let (_, completion) = &entries[1];
    assert_eq!((completion.rows, completion.intent, completion.outcome.as_deref()), (Some(2), Some(entries[0].0), Some("ok")));
    assert_eq!(entries[0].1.request.as_deref(), Some("GET /fhir/Observation?subject:Patient.name&_include"));
    assert_eq!(completion.tables, ["Observation", "Patient"]);
    assert_eq!(completion.commit, Some(server.local.database.snapshot().commit().0));
    assert!(!format!("{entries:?}").contains("Moe"));
}
