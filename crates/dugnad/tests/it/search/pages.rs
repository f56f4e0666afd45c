//! Pages are of one commit, and of one user; records of others are never there.

use super::{link, names, searchset};
use crate::support::{Hospital, Server};
use dugnad::access::Role;
use serde_json::json;
use std::collections::HashSet;

async fn put(hospital: &Hospital<'_>, n: usize) {
    let patient =
        json!({"resourceType": "Patient", "id": format!("p{n:03}"), "gender": "female", "birthDate": format!("{}-01-01", 1900 + n)});
    let status = hospital.put(&format!("/fhir/Patient/p{n:03}"), &patient).await.status;
    assert!(status.is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_of_one_commit_while_writes_go_on() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    for n in 0..25 {
        put(&hospital, n).await;
    }
    for order in ["", "&_sort=birthdate", "&_sort=-birthdate,_id"] {
        let first = hospital.get(&format!("/fhir/Patient?gender=female&_count=10&_total=accurate{order}")).await;
        let commit = first.header("dugnad-commit").unwrap().to_owned();
        let (mut page, mut seen) = (searchset(first), Vec::new());
        let (mut pages, mut written) = (0, 100);
        loop {
            seen.extend(names(&page, "match"));
            pages += 1;
            assert_eq!(page["total"], 25);
            // Between two pages: a new patient, one that matches no more, one that is gone and comes again.
            put(&hospital, written).await;
            let male = json!({"resourceType": "Patient", "id": "p003", "gender": "male"});
            hospital.put("/fhir/Patient/p003", &male).await;
            hospital.send("DELETE", "/fhir/Patient/p024", &[], "").await;
            written += 1;
            let Some(next) = link(&page, "next") else { break };
            let answer = hospital.get(&next).await;
            assert_eq!(answer.header("dugnad-commit"), Some(commit.as_str()));
            page = searchset(answer);
            assert_eq!(link(&page, "self").as_deref(), Some(next.as_str()));
            let again = searchset(hospital.get(&link(&page, "first").unwrap()).await);
            assert_eq!(names(&again, "match"), seen[..10], "the first page is of that commit too");
        }
        assert_eq!((pages, seen.len(), seen.iter().collect::<HashSet<_>>().len()), (3, 25, 25), "{order}");
        // As it was, for the next order.
        for n in [3, 24] {
            put(&hospital, n).await;
        }
        for n in 100..written {
            hospital.send("DELETE", &format!("/fhir/Patient/p{n}"), &[], "").await.expect(204);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_for_the_one_who_got_them() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    for n in 0..5 {
        put(&hospital, n).await;
    }
    let page = searchset(hospital.get("/fhir/Patient?gender=female&_count=2").await);
    let next = link(&page, "next").unwrap();
    hospital.get(&next).await.expect(200);
    hospital.get(&format!("{next}&_format=json")).await.expect(200);

    let colleague = Hospital { server: &server, token: server.token(Role::Hospital, "somebody", Some("Haukeland")) };
    let stranger = server.hospital("Ullevål");
    let refused = colleague.get(&next).await.expect(404);
    let nonsense = colleague.get("/fhir/Patient?gender=female&_count=2&_page=AAAA").await.expect(404);
    assert_eq!(refused.body, nonsense.body, "nobody can tell a link of somebody else from none");
    stranger.get(&next).await.expect(404);
    for changed in [
        next.replace("gender=female", "gender=male"),
        next.replace("_count=2", "_count=3"),
        next.replace("/fhir/Patient", "/fhir/Group"),
        format!("{next}A"),
        next[..next.len() - 4].to_owned(),
        next.replace("gender=female&", ""),
    ] {
        hospital.get(&changed).await.expect(404);
    }
    let token = next.split_once("_page=").unwrap().1;
    for at in [0, 5, token.len() / 2, token.len() - 2] {
        let mut changed = token.to_owned().into_bytes();
        changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
        hospital.get(&next.replace(token, std::str::from_utf8(&changed).unwrap())).await.expect(404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_others_are_not_there() {
    let server = Server::open();
    let (mine, other) = (server.hospital("Haukeland"), server.hospital("Ullevål"));
    let observation = |patient: &str| json!({"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "c"}, "subject": {"reference": format!("Patient/{patient}")}});
    put(&mine, 1).await;
    mine.put("/fhir/Observation/o", &observation("p001")).await.expect(201);
    let nothing = searchset(other.get("/fhir/Patient").await);
    assert_eq!((nothing["total"].as_u64(), nothing["entry"].is_null()), (Some(0), true), "one that has never written");
    // The same ids, other records.
    other.put("/fhir/Observation/o", &observation("p001")).await.expect(201);
    for query in [
        "Patient",
        "Patient?_id=p001",
        "Patient?gender=female",
        "Patient?gender:missing=true",
        "Patient?_has:Observation:patient:status=final",
        "Patient?_lastUpdated=ge2000",
        "Patient/p001/Patient",
    ] {
        assert_eq!(other.ids(&format!("/fhir/{query}")).await, Vec::<String>::new(), "{query}");
    }
    assert!(other.ids("/fhir/Observation?subject.gender=female").await.is_empty(), "a chain leads over one's own records");
    let along = searchset(other.get("/fhir/Observation?_include=Observation:subject").await);
    assert_eq!((names(&along, "match").len(), names(&along, "include").len()), (1, 0));
    // The other one's Patient has the id that this one's Observation refers to, and the other way round.
    other
        .put(
            "/fhir/Patient/p002",
            &json!({"resourceType": "Patient", "id": "p002", "link": [{"other": {"reference": "Patient/p001"}, "type": "seealso"}]}),
        )
        .await
        .expect(201);
    let mut referring = observation("p002");
    referring["id"] = json!("of-p002");
    mine.put("/fhir/Observation/of-p002", &referring).await.expect(201);
    let referring = searchset(other.get("/fhir/Patient?_revinclude=Observation:subject&_include=Patient:link").await);
    assert_eq!((names(&referring, "match"), names(&referring, "include").len()), (vec!["Patient/p002".to_owned()], 0));
    assert!(other.ids("/fhir/Patient?_has:Observation:patient:_id=of-p002").await.is_empty());
    assert!(other.ids("/fhir/Patient?link.gender=female").await.is_empty());
    other.send("DELETE", "/fhir/Patient/p002", &[], "").await.expect(204);
    assert_eq!(searchset(other.get("/fhir/Patient?_summary=count").await)["total"], 0);
    assert_eq!(mine.ids("/fhir/Observation?subject.gender=female").await, ["o"]);
    let authority = Hospital { server: &server, token: server.token(Role::Authority, "authority", None) };
    authority.get("/fhir/Patient").await.expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_may_insist_on_a_commit() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    put(&hospital, 1).await;
    let commit = server.local.database.snapshot().commit().to_string();
    let found = hospital.send("GET", "/fhir/Patient", &[("Dugnad-Min-Commit", &commit)], "").await.expect(200);
    assert!(found.header("dugnad-commit") >= Some(commit.as_str()) && found.header("dugnad-timeline").is_some());
    hospital.send("GET", "/fhir/Patient", &[("Dugnad-Min-Commit", "1000000")], "").await.expect(503);
}
