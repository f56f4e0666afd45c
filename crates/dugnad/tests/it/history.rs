//! History of resources, types and of all that a hospital has, over HTTP.

use crate::support::{Answer, Hospital, Server};
use dugnad_kernel::clock::{Clock, ManualClock};
use serde_json::{Value, json};
use std::sync::Arc;

fn basic(id: &str, text: &str) -> Value {
    json!({"resourceType": "Basic", "id": id, "code": {"text": text}})
}

/// `METHOD Type/id/version` of each entry.
fn entries(bundle: &Value) -> Vec<String> {
    let shown = |entry: &Value| {
        let version = entry["response"]["etag"].as_str().unwrap().trim_matches(['W', '/', '"']);
        format!("{} {}/{version}", entry["request"]["method"].as_str().unwrap(), entry["request"]["url"].as_str().unwrap())
    };
    bundle["entry"].as_array().map(|entries| entries.iter().map(shown).collect()).unwrap_or_default()
}

fn link(bundle: &Value, relation: &str) -> Option<String> {
    let url = bundle["link"].as_array()?.iter().find(|link| link["relation"] == relation)?["url"].as_str()?;
    Some(url.strip_prefix("http://localhost")?.to_owned())
}

fn history(answer: Answer) -> Value {
    let bundle = answer.expect(200).json();
    assert_eq!((bundle["resourceType"].as_str(), bundle["type"].as_str()), (Some("Bundle"), Some("history")));
    bundle
}

/// Three hospitals' worth of writes; Haukeland's are 8 versions of Basic and 1 of Group.
async fn treated(hospital: &Hospital<'_>, other: &Hospital<'_>) {
    for (id, text) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")] {
        hospital.put(&format!("/fhir/Basic/{id}"), &basic(id, text)).await;
        other.put(&format!("/fhir/Basic/{id}"), &basic(id, text)).await;
    }
    hospital.send("DELETE", "/fhir/Basic/b", &[], "").await.expect(204);
    hospital.put("/fhir/Group/g", &json!({"resourceType": "Group", "id": "g", "type": "person", "actual": true})).await.expect(201);
    hospital.put("/fhir/Basic/b", &basic("b", "3")).await.expect(201);
    hospital.put("/fhir/Basic/a", &basic("a", "3")).await.expect(200);
    hospital.send("DELETE", "/fhir/Basic/c", &[], "").await.expect(204);
}

const OF_BASIC: [&str; 8] = [
    "DELETE Basic/c/2",
    "PUT Basic/a/3",
    "PUT Basic/b/3",
    "DELETE Basic/b/2",
    "PUT Basic/c/1",
    "PUT Basic/a/2",
    "PUT Basic/b/1",
    "PUT Basic/a/1",
];

#[tokio::test(flavor = "multi_thread")]
async fn of_a_type_of_the_system_and_of_a_resource() {
    let server = Server::open();
    let (hospital, other) = (server.hospital("Haukeland"), server.hospital("Ullevål"));
    treated(&hospital, &other).await;
    let of_type = history(hospital.get("/fhir/Basic/_history").await);
    assert_eq!((entries(&of_type), of_type["total"].as_u64()), (OF_BASIC.map(str::to_owned).to_vec(), Some(8)));
    let newest = &of_type["entry"][1];
    assert_eq!((&newest["resource"]["code"]["text"], &newest["fullUrl"]), (&json!("3"), &json!("http://localhost/fhir/Basic/a")));
    let at = |instant: &Value| instant.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(at(&newest["resource"]["meta"]["lastUpdated"]), at(&newest["response"]["lastModified"]));
    assert!(of_type["entry"][0].get("resource").is_none());
    let of_all = entries(&history(hospital.get("/fhir/_history").await));
    assert_eq!((of_all.len(), of_all[3].as_str()), (9, "PUT Group/g/1"));
    assert_eq!(entries(&history(hospital.get("/fhir/Basic/a/_history").await)), ["PUT Basic/a/3", "PUT Basic/a/2", "PUT Basic/a/1"]);
    assert_eq!(entries(&history(other.get("/fhir/_history").await)).len(), 4);
    assert!(entries(&history(server.hospital("Nytt").get("/fhir/_history").await)).is_empty());
    assert_eq!(history(hospital.get("/fhir/Account/_history").await)["total"], 0);
    hospital.get("/fhir/Nothing/_history").await.expect(404);
    hospital.get("/fhir/Basic/none/_history").await.expect(404);
}

/// Pages are of the commit of the first one, whatever is written in between, and only its reader may follow their links.
#[tokio::test(flavor = "multi_thread")]
async fn pages_are_of_one_commit() {
    for (path, all) in [("/fhir/Basic/_history", 8), ("/fhir/_history", 9), ("/fhir/Basic/a/_history", 3)] {
        let server = Server::open();
        let (hospital, other) = (server.hospital("Haukeland"), server.hospital("Ullevål"));
        treated(&hospital, &other).await;
        let whole = entries(&history(hospital.get(path).await));
        assert_eq!(whole.len(), all);
        let (mut found, mut commits, mut next) = (Vec::new(), Vec::new(), Some(format!("{path}?_count=2")));
        while let Some(url) = next {
            let answer = hospital.get(&url).await;
            commits.push(answer.header("dugnad-commit").unwrap().to_owned());
            let page = history(answer);
            assert!(entries(&page).len() <= 2);
            found.extend(entries(&page));
            next = link(&page, "next");
            if let Some(url) = &next {
                other.get(url).await.expect(404);
                hospital.get(&url.replace("_count=2", "_count=3")).await.expect(404);
            }
            let n = commits.len().to_string();
            hospital.put("/fhir/Basic/a", &basic("a", &format!("later {n}"))).await.expect(200);
            hospital.put(&format!("/fhir/Basic/new{n}"), &basic(&format!("new{n}"), "x")).await.expect(201);
            hospital.send("DELETE", "/fhir/Basic/b", &[], "").await;
        }
        assert_eq!(found, whole, "{path}");
        assert!(commits.iter().all(|commit| *commit == commits[0]), "{path}");
        assert_ne!(entries(&history(hospital.get(path).await)), whole, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_time() {
    let clock = Arc::new(ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap()));
    let server = Server::open_at(Arc::clone(&clock) as Arc<dyn Clock>);
    let hospital = server.hospital("Haukeland");
    for (day, text) in [(1, "1"), (2, "2"), (3, "3")] {
        clock.set(format!("2026-03-0{day}T12:00:00Z").parse().unwrap());
        hospital.put("/fhir/Basic/a", &basic("a", text)).await;
        hospital.put(&format!("/fhir/Basic/{text}"), &basic(text, text)).await;
    }
    hospital.send("DELETE", "/fhir/Basic/1", &[], "").await.expect(204);
    for path in ["/fhir/Basic/_history", "/fhir/_history"] {
        let of = |query: &str| format!("{path}?{query}");
        let since = entries(&history(hospital.get(&of("_since=2026-03-03T12:00:00Z")).await));
        assert_eq!(since, ["DELETE Basic/1/2", "PUT Basic/3/1", "PUT Basic/a/3"], "the instant itself is in it");
        assert!(entries(&history(hospital.get(&of("_since=2026-03-03T12:00:00.000001Z")).await)).is_empty());
        let zoned = hospital.get(&of("_since=2026-03-03T13:00:00%2B01:00")).await;
        assert_eq!(entries(&history(zoned)).len(), 3);
        let at = entries(&history(hospital.get(&of("_at=2026-03-02T18:00:00Z")).await));
        assert_eq!(at, ["PUT Basic/2/1", "PUT Basic/a/2", "PUT Basic/1/1"]);
        let at = entries(&history(hospital.get(&of("_at=2026-03-03")).await));
        assert_eq!(at, ["DELETE Basic/1/2", "PUT Basic/3/1", "PUT Basic/a/3", "PUT Basic/2/1", "PUT Basic/a/2", "PUT Basic/1/1"]);
        for wrong in ["_since=yesterday", "_at=2026-13", "_count=0", "_count=x"] {
            let refused = hospital.get(&of(wrong)).await.expect(400).json();
            assert_eq!(refused["issue"][0]["code"], "value", "{wrong}");
        }
        hospital.get(&of("colour=red")).await.expect(200);
        hospital.send("GET", &of("colour=red"), &[("Prefer", "handling=strict")], "").await.expect(400);
    }
    let instance = entries(&history(hospital.get("/fhir/Basic/a/_history?_since=2026-03-02").await));
    assert_eq!(instance, ["PUT Basic/a/3", "PUT Basic/a/2"]);
    assert_eq!(entries(&history(hospital.get("/fhir/Basic/a/_history?_at=2026-03-02T18:00:00Z").await)), ["PUT Basic/a/2"]);
    assert_eq!(history(hospital.get("/fhir/Basic/a/_history?_since=2027").await)["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_bundles_and_on_the_record() {
    let server = Server::open();
    let (hospital, other) = (server.hospital("Haukeland"), server.hospital("Ullevål"));
    treated(&hospital, &other).await;
    let get = |url: &str| json!({"request": {"method": "GET", "url": url}});
    let put = json!({"resource": basic("a", "9"), "request": {"method": "PUT", "url": "Basic/a"}});
    let batch = [get("Basic/_history?_count=1"), put, get("Basic/_history?_count=1"), get("_history?_count=2"), get("Basic/a/_history")];
    for (kind, counts) in [("batch", ["DELETE Basic/c/2", "PUT Basic/a/4"]), ("transaction", ["PUT Basic/a/4", "PUT Basic/a/4"])] {
        let bundle = json!({"resourceType": "Bundle", "type": kind, "entry": batch});
        let done = hospital.post("/fhir", &[], &bundle).await.expect(200).json();
        let of = |n: usize| entries(&done["entry"][n]["resource"]);
        assert_eq!((of(0), of(2)), (vec![counts[0].to_owned()], vec![counts[1].to_owned()]), "{kind}");
        assert_eq!((of(3).len(), of(4).len()), (2, 4), "{kind}");
    }
    let centre = server.token(dugnad::access::Role::Centre, "centre", None);
    let request = axum::http::Request::get("/audit/log?count=1000").header("Authorization", format!("Bearer {centre}"));
    let log = server.send(request.body(axum::body::Body::empty()).unwrap()).await;
    let log = String::from_utf8(log.body).unwrap();
    assert!(log.contains("GET /fhir/Basic/_history") && log.contains("GET /fhir/_history"), "{log}");
}
