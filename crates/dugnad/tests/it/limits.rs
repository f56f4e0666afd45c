//! The bounds that protect a server from its callers: full queues and memory.

use crate::process::{Process, live_permit, make_database};
use crate::support::{Answer, Server};
use axum::body::Body;
use axum::http::Request;
use dugnad::access::Role;
use dugnad::limits::{MAX_WRITES_RUNNING, MAX_WRITES_WAITING};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// While the journal cannot commit, writers wait, so many as the bounds say; the rest are told at once to come back. When it
/// can, all who waited are served.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_when_to_come_back() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let patient = |n: usize| json!({"resourceType": "Patient", "id": format!("p{n}")});
    hospital.put("/fhir/Patient/first", &json!({"resourceType": "Patient", "id": "first"})).await.expect(201);
    let journal = rusqlite::Connection::open(server.dir().join("journal.sqlite")).unwrap();
    journal.execute_batch("BEGIN IMMEDIATE").unwrap();
    let places = MAX_WRITES_RUNNING + MAX_WRITES_WAITING;
    let sent = futures::future::join_all((0..places + 100).map(|n| {
        let (hospital, patient) = (&hospital, patient(n));
        async move { hospital.put(&format!("/fhir/Patient/p{n}"), &patient).await }
    }));
    let free = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        journal.execute_batch("ROLLBACK").unwrap();
    };
    let (answers, ()) = tokio::join!(sent, free);
    let turned_away: Vec<&Answer> = answers.iter().filter(|a| matches!(a.status.as_u16(), 429 | 503)).collect();
    assert_eq!(turned_away.len(), 100);
    for answer in turned_away {
        assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u64>().is_ok()));
        assert_eq!(answer.json()["resourceType"], "OperationOutcome");
    }
    assert_eq!(answers.iter().filter(|a| a.status == 201).count(), places, "who waited was served");
    hospital.put("/fhir/Patient/last", &json!({"resourceType": "Patient", "id": "last"})).await.expect(201);
}

/// What a permit lacks is answered as what does not exist; so is a permit that is somebody else's.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_permit_lacks_does_not_exist() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    hospital.put("/fhir/Patient/1", &json!({"resourceType": "Patient", "id": "1"})).await.expect(201);
    let mut permit = live_permit(server.local.clock.now(), &["observation"]);
    permit["delivery"] = json!("remote");
    server.local.database.put_document("permit", "live", &permit.to_string()).unwrap();
    let ask = async |token: &str, permit: &str, sql: &str| {
        let request = Request::post("/sql").header("Authorization", format!("Bearer {token}")).header("Content-Type", "application/json");
        server.send(request.body(Body::from(json!({"permit": permit, "sql": sql}).to_string())).unwrap()).await
    };
    let authority = server.token(Role::Authority, "authority", None);
    ask(&authority, "live", "SELECT count(*) AS n FROM observation").await.expect(200);
    let same = |a: &Answer, b: &Answer, names: [&str; 2]| {
        let said = |answer: &Answer, name: &str| String::from_utf8(answer.body.clone()).unwrap().replace(name, "NAME");
        assert_eq!(a.status, b.status);
        assert!(a.status.is_client_error());
        assert_eq!(said(a, names[0]), said(b, names[1]));
    };
    let lacking = ask(&authority, "live", "SELECT count(*) AS n FROM patient").await;
    let absent = ask(&authority, "live", "SELECT count(*) AS n FROM patimnt").await;
    same(&lacking, &absent, ["patient", "patimnt"]);
    let company = server.token(Role::Company, "company", None);
    let foreign = ask(&company, "live", "SELECT count(*) AS n FROM observation").await;
    let absent = ask(&company, "lvie", "SELECT count(*) AS n FROM observation").await;
    same(&foreign, &absent, ["live", "lvie"]);
}

/// Sends a request and reads what comes back, as far as it comes.
fn say(address: &str, head: &str, body: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answer = Vec::new();
    if stream.write_all(head.as_bytes()).is_ok() {
        // A server that has answered and closed need not take the rest.
        let _ = body.iter().try_for_each(|chunk| stream.write_all(chunk));
    }
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Bombs, bodies without end and bodies cut off, several at once and again: an error each, bounded memory, a server that
/// lives. In a process of its own, since memory is measured.
#[test]
fn memory_is_bounded_whatever_is_sent() {
    const MB: usize = 1 << 20;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("db");
    let tokens = make_database(&dir, &["patient"]);
    let mut server = Process::start(&dir);
    let address = server.url.trim_start_matches("http://").to_owned();
    let head = |length: usize| {
        format!(
            "POST /fhir HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Type: application/fhir+json\r\nContent-Length: {length}\r\n\r\n",
            tokens.hospital
        )
    };
    let deep = format!("{{\"resourceType\":\"Patient\",\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)).into_bytes();
    let wide = format!("{{\"resourceType\":\"Patient\",\"a\":[{}[]]}}", "[],".repeat(8_000_000)).into_bytes();
    let spaces = vec![b' '; MB];
    let before = server.peak_rss_bytes();
    for round in 0..2 {
        std::thread::scope(|scope| {
            let mut asked = Vec::new();
            for _ in 0..4 {
                asked.push(scope.spawn(|| say(&address, &head(deep.len()), &[&deep])));
                asked.push(scope.spawn(|| say(&address, &head(wide.len()), &[&wide])));
                asked.push(scope.spawn(|| say(&address, &head(200 * MB), &vec![&spaces[..]; 200])));
                asked.push(scope.spawn(|| say(&address, &head(1_000), &[b"{\"resourceType\":"])));
            }
            for answer in asked {
                let answer = answer.join().unwrap();
                // (To a connection that breaks while it still sends, the answer may not get through.)
                assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 503"), "{answer}");
            }
        });
        assert!(server.is_alive());
        let grown = server.peak_rss_bytes().saturating_sub(before);
        println!("round {round}: {} MB more than before", grown / MB as u64);
        assert!(grown < 1_200 * MB as u64, "grown by {} MB", grown / MB as u64);
    }
    let client = server.client(&tokens.hospital);
    let body: Value = json!({"resourceType": "Patient", "id": "well"});
    let (status, ..) = crate::process::send(&client, ureq::http::Method::PUT, "/fhir/Patient/well", Some(&body)).unwrap();
    assert_eq!(status, 201);
}
