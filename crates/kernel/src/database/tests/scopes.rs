//! Writes within scopes: by type, by what a resource holds now and then, and by what criteria and references would tell.

use super::*;
use crate::access::{Act, Scopes};
use crate::fhir::patch::Format;
use serde_json::{Value, json};

fn observation(id: &str, category: &str, status: &str) -> Value {
    json!({"resourceType": "Observation", "id": id, "status": status, "category": [{"coding": [{"code": category}]}],
           "code": {"text": "x"}, "identifier": [{"system": "urn:x", "value": id}]})
}

struct Client<'b>(&'b Bench, Option<Arc<Scopes>>);

impl Client<'_> {
    fn of<'b>(bench: &'b Bench, scopes: &str) -> Client<'b> {
        Client(bench, Some(Arc::new(Scopes::parse(scopes).unwrap())))
    }

    /// The status of the first entry, or of the refusal.
    fn write(&self, interaction: Interaction) -> u16 {
        let request = WriteRequest { holder: self.0.hospital, interaction, handling: Handling::Strict, idempotency_key: None };
        match self.0.database.write_within(request, self.1.clone()) {
            Ok(outcome) => outcome.entries[0].status,
            Err(error) => refusal(Err(error)).0,
        }
    }

    fn create(&self, resource: &Value, criteria: Option<&str>) -> u16 {
        let resource_type = resource["resourceType"].as_str().unwrap().to_owned();
        self.write(Interaction::Create {
            resource_type,
            body: resource.to_string().into_bytes(),
            if_none_exist: criteria.map(str::to_owned),
        })
    }

    fn put(&self, resource: &Value) -> u16 {
        let text = |name: &str| resource[name].as_str().unwrap().to_owned();
        let (resource_type, id) = (text("resourceType"), text("id"));
        self.write(Interaction::Update { resource_type, id, body: resource.to_string().into_bytes(), if_match: None })
    }

    fn delete(&self, id: &str) -> u16 {
        self.write(Interaction::Delete { resource_type: "Observation".to_owned(), id: id.to_owned(), if_match: None })
    }

    fn patch(&self, id: &str, patch: &Value) -> u16 {
        let (resource_type, id, body) = ("Observation".to_owned(), id.to_owned(), patch.to_string().into_bytes());
        self.write(Interaction::Patch { resource_type, id, format: Format::JsonPatch, body, if_match: None })
    }
}

/// It would be told of more than the scopes reach, and longer.
#[test]
fn no_scope_opens_a_subscription() {
    let bench = bench();
    let subscription = json!({
        "resourceType": "Subscription", "id": "s", "status": "requested", "reason": "a test", "criteria": "Observation?status=final",
        "channel": {"type": "rest-hook", "endpoint": "https://example.org/hook"},
    });
    let client = Client::of(&bench, "system/*.cruds");
    assert_eq!((client.put(&subscription), client.create(&subscription, None)), (403, 403));
    let scopes = Scopes::parse("system/*.cruds system/Subscription.rs").unwrap();
    assert!(Act::ALL.iter().all(|act| !scopes.reaches(*act, "Subscription")), "its header may hold a secret");
    let delete = Interaction::Delete { resource_type: "Subscription".to_owned(), id: "s".to_owned(), if_match: None };
    assert_eq!(client.write(delete), 403);
    assert_eq!(Client(&bench, None).put(&subscription), 201);
    let off = client.write(Interaction::Patch {
        resource_type: "Subscription".to_owned(),
        id: "s".to_owned(),
        format: Format::JsonPatch,
        body: br#"[{"op":"replace","path":"/status","value":"off"}]"#.to_vec(),
        if_match: None,
    });
    assert_eq!(off, 403);
}

#[test]
fn each_letter_opens_its_interaction() {
    let bench = bench();
    let new = observation("1", "laboratory", "final");
    for (scopes, statuses) in [
        ("system/Patient.cruds system/Observation.r", [403, 403, 403, 403]),
        ("system/Observation.c", [201, 403, 403, 403]),
        ("system/Observation.u", [403, 201, 200, 403]),
        ("system/Observation.d", [403, 403, 403, 204]),
        ("system/*.write", [201, 201, 200, 204]),
    ] {
        let client = Client::of(&bench, scopes);
        let test = json!([{"op": "replace", "path": "/status", "value": "amended"}]);
        assert_eq!([client.create(&new, None), client.put(&new), client.patch("1", &test), client.delete("1")], statuses, "{scopes}");
        Client(&bench, None).delete("1");
        if scopes.ends_with(".u") {
            Client(&bench, None).put(&new); // for the deletion that comes next
        }
    }
}

#[test]
fn a_part_is_kept_to_before_and_after() {
    let bench = bench();
    bench.put(&observation("lab", "laboratory", "final").to_string()).unwrap();
    bench.put(&observation("vital", "vital-signs", "final").to_string()).unwrap();
    let client = Client::of(&bench, "system/Observation.cruds?category=laboratory");
    assert_eq!(client.create(&observation("x", "laboratory", "final"), None), 201);
    assert_eq!(client.create(&observation("x", "vital-signs", "final"), None), 403);
    assert_eq!(client.put(&observation("lab", "laboratory", "amended")), 200);
    assert_eq!(client.put(&observation("lab", "vital-signs", "final")), 403, "nothing is moved out of the part");
    assert_eq!(client.put(&observation("vital", "laboratory", "final")), 403, "nor into it");
    assert_eq!(client.delete("vital"), 403);
    let guess = json!([{"op": "test", "path": "/status", "value": "wrong"}]);
    assert_eq!(client.patch("vital", &guess), 403, "the answer does not tell what is there");
    assert_eq!(client.patch("lab", &guess), 409);
    assert_eq!(client.patch("lab", &json!([{"op": "replace", "path": "/category/0/coding/0/code", "value": "vital-signs"}])), 403);
    assert_eq!(client.delete("lab"), 204);
}

#[test]
fn criteria_are_a_search() {
    let bench = bench();
    bench.put(&observation("lab", "laboratory", "final").to_string()).unwrap();
    bench.put(&observation("vital", "vital-signs", "final").to_string()).unwrap();
    let new = observation("new", "laboratory", "final");
    let mut new = new;
    new.as_object_mut().unwrap().remove("id");
    let writer = Client::of(&bench, "system/Observation.cud");
    assert_eq!(writer.create(&new, Some("identifier=urn:x|lab")), 403, "it would tell whether there is one");
    assert_eq!(writer.write(Interaction::DeleteMatching { resource_type: "Observation".into(), query: "status=final".into() }), 403);
    let lab = Client::of(&bench, "system/Observation.cruds?category=laboratory");
    assert_eq!(lab.create(&new, Some("identifier=urn:x|lab")), 200);
    // What lies outside of its part is absent, and no condition tells of it.
    for code in ["vital", "nothing"] {
        let query = format!("identifier=urn:x|{code}");
        let delete = Interaction::DeleteMatching { resource_type: "Observation".into(), query: query.clone() };
        assert_eq!(lab.write(delete), 200, "{code}: there is nothing to do");
        let format = Format::MergePatch;
        let (resource_type, body) = ("Observation".into(), br#"{"status":"amended"}"#.to_vec());
        assert_eq!(lab.write(Interaction::PatchMatching { resource_type, query, format, body, if_match: None }), 404, "{code}");
    }
    let both = "status=final".to_owned();
    assert_eq!(lab.write(Interaction::DeleteMatching { resource_type: "Observation".into(), query: both }), 204, "one is found");
    assert_eq!(lab.create(&new, Some("identifier=urn:x|vital")), 201, "as if it were not there");
    assert_eq!(count(&bench.database.snapshot(), "observation"), 2, "the one outside, and the new one");
}

#[test]
fn a_transaction_is_refused_for_one_of_its_entries() {
    let bench = bench();
    bench.put(&patient("p", "female")).unwrap();
    let client = Client::of(&bench, "system/Observation.c");
    let own = observation("new", "laboratory", "final");
    let mut own = own;
    own.as_object_mut().unwrap().remove("id");
    let transaction = |entries: &[Value]| client.write(Interaction::Transaction { body: bundle(entries).to_string().into_bytes() });
    let one = entry("POST", "Observation", "urn:uuid:1", &own);
    assert_eq!(transaction(std::slice::from_ref(&one)), 201);
    let other = entry("PUT", "Patient/p", "urn:uuid:2", &json!({"resourceType": "Patient", "id": "p"}));
    assert_eq!(transaction(&[one.clone(), other]), 403);
    let gone = json!({"request": {"method": "DELETE", "url": "Patient/p"}});
    assert_eq!(transaction(&[one, gone]), 403);
    let mut referring = own.clone();
    referring["subject"] = json!({"reference": "Patient?gender=female"});
    assert_eq!(transaction(&[entry("POST", "Observation", "urn:uuid:1", &referring)]), 403, "it would find somebody");
    let may = Client::of(&bench, "system/Observation.c system/Patient.s");
    let body = bundle(&[entry("POST", "Observation", "urn:uuid:1", &referring)]).to_string().into_bytes();
    assert_eq!(may.write(Interaction::Transaction { body }), 201);
    assert_eq!(count(&bench.database.snapshot(), "patient"), 1);
}
