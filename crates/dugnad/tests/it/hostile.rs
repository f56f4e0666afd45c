//! What strangers send. Each gets a clear error, and the server lives.

use crate::support::{Hospital, Server};
use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use dugnad::api;
use futures::stream;
use std::convert::Infallible;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The next request is answered as if nothing had been.
async fn is_well(hospital: &Hospital<'_>) {
    hospital.server.get("/healthz").await.expect(200);
    let body = serde_json::json!({"resourceType": "Patient", "id": "well"});
    assert!(hospital.put("/fhir/Patient/well", &body).await.status.is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn json_bombs() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let deep = format!("{{\"resourceType\":\"Patient\",\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let wide = format!("{{\"resourceType\":\"Patient\",\"a\":[{}[]]}}", "[],".repeat(4_000_000));
    let objects = format!("{{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[{}{{}}]}}", "{},".repeat(100_000));
    for (name, bomb) in [("deep", deep), ("wide", wide), ("entries", objects)] {
        for path in ["/fhir", "/fhir/Patient"] {
            let answer = hospital.send("POST", path, &[], bomb.clone()).await;
            assert!(answer.status.is_client_error(), "{name} {path}: {}", answer.status);
            assert_eq!(answer.json()["resourceType"], "OperationOutcome");
            assert!(answer.body.len() < 100_000, "{name}: an answer is small");
        }
        let batch = bomb.replace("\"transaction\"", "\"batch\"");
        assert!(!hospital.send("POST", "/fhir", &[], batch).await.status.is_server_error());
    }
    is_well(&hospital).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_megabytes() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let chunk = Bytes::from(vec![b' '; 1 << 20]);
    let endless = || {
        Body::from_stream(stream::iter((0..200).map({
            let chunk = chunk.clone();
            move |_| Ok::<_, Infallible>(chunk.clone())
        })))
    };
    for path in ["/fhir", "/fhir/Patient"] {
        let answer = hospital.send("POST", path, &[], endless()).await.expect(413);
        assert_eq!(answer.json()["issue"][0]["code"], "too-costly");
    }
    let told = hospital.send("POST", "/fhir", &[("Content-Length", "209715200")], endless()).await.expect(413);
    assert_eq!(told.json()["resourceType"], "OperationOutcome");
    hospital.send("POST", "/sql", &[("Content-Type", "application/json")], endless()).await.expect(413);
    is_well(&hospital).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_none() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    for body in [
        &b""[..],
        b"{",
        b"null",
        b"[]",
        b"\"Patient\"",
        b"\xff\xfe{}",
        b"{\"resourceType\":\"Patient\",\"id\":\"\xff\"}",
        b"{} {}",
        b"\xef\xbb\xbf{}",
    ] {
        for path in ["/fhir", "/fhir/Patient", "/sql"] {
            let answer = hospital.send("POST", path, &[("Content-Type", "application/json")], body.to_vec()).await;
            assert!(answer.status.is_client_error(), "{path} {body:?}: {}", answer.status);
            assert!(!answer.body.is_empty());
        }
    }
    for content_type in ["text/plain", "application/fhir+xml", "multipart/form-data", "application/x-www-form-urlencoded"] {
        hospital.send("POST", "/fhir", &[("Content-Type", content_type)], "{}").await.expect(415);
    }
    hospital.send("POST", "/fhir", &[("Content-Encoding", "gzip")], "{}").await.expect(400);
    hospital.send("POST", "/fhir", &[("Content-Encoding", "br")], "{}").await.expect(415);
    is_well(&hospital).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let body = serde_json::json!({"resourceType": "Patient"});
    for id in ["a%2Fb", "..%2F..%2Fetc", "%ff", "a%00b", "a_b", &"x".repeat(65), "%2E%2E", "a%3Fb"] {
        let path = format!("/fhir/Patient/{id}");
        let written = hospital.put(&path, &body).await;
        assert!(written.status.is_client_error(), "PUT {path}: {}", written.status);
        assert!(hospital.get(&path).await.status.is_client_error(), "GET {path}");
        assert!(hospital.get(&format!("{path}/_history/1")).await.status.is_client_error());
    }
    hospital.get(&format!("/fhir/Patient/1?x={}", "y".repeat(60_000))).await.expect(414);
    for path in ["/audit/tile/../../keys/audit", "/audit/tile/%2e%2e/%2e%2e/journal.sqlite", "/audit/tile/0/999", "/audit/tile/x"] {
        server.get(path).await.expect(404);
    }
    is_well(&hospital).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_lie() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let body = r#"{"resourceType":"Patient","id":"1"}"#;
    for (name, value) in [("If-Match", "three"), ("Idempotency-Key", ""), ("Prefer", "return=everything;;;,,="), ("If-None-Exist", "?????")]
    {
        let answer = hospital.send("PUT", "/fhir/Patient/1", &[(name, value)], body).await;
        assert!(!answer.status.is_server_error(), "{name}: {}", answer.status);
    }
    let bytes = axum::http::HeaderValue::from_bytes(b"caf\xe9").unwrap();
    for name in ["Authorization", "If-Match", "Accept", "Dugnad-Min-Commit", "Content-Type"] {
        let request = Request::put("/fhir/Patient/1")
            .header("Content-Type", "application/json")
            .header("Authorization", format!("Bearer {}", hospital.token));
        let mut request = request.body(Body::from(body)).unwrap();
        request.headers_mut().insert(axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap(), bytes.clone());
        let answer = server.send(request).await;
        assert!(!answer.status.is_server_error(), "{name}: {}", answer.status);
    }
    is_well(&hospital).await;
}

/// Over a real connection: bodies that are cut off, heads that are too large, requests that are none; then a stop.
#[tokio::test(flavor = "multi_thread")]
async fn connections() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let app = server.local.app(api::Settings::default());
    let running = tokio::spawn(api::serve(app, axum::Router::new(), listener, async {
        let _ = stopped.await;
    }));
    let say = async |text: String, half_close: bool| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        if half_close {
            stream.shutdown().await.unwrap();
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let head = |length: usize| {
        format!(
            "POST /fhir HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/fhir+json\r\nContent-Length: {length}\r\n",
            hospital.token
        )
    };
    let cut = say(format!("{}\r\n{{\"resourceType\":", head(1000)), true).await;
    assert!(cut.is_empty() || cut.starts_with("HTTP/1.1 400"), "{cut}");
    let large = say(format!("{}X-Pad: {}\r\n\r\n", head(0), "y".repeat(200_000)), true).await;
    assert!(large.is_empty() || large.starts_with("HTTP/1.1 4"), "{large}");
    let many = say(format!("{}{}\r\n", head(0), "a: b\r\n".repeat(500)), true).await;
    assert!(many.is_empty() || many.starts_with("HTTP/1.1 4"), "{many}");
    let nonsense = say("\x16\x03\x01\x02\x00\r\n\r\n".to_owned(), true).await;
    assert!(nonsense.is_empty() || nonsense.starts_with("HTTP/1.1 400"), "{nonsense}");
    let well = say("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), false).await;
    assert!(well.starts_with("HTTP/1.1 200 OK"), "{well}");
    // An idle connection does not hold the stop up.
    let _idle = TcpStream::connect(address).await.unwrap();
    stop.send(()).unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(5), running).await.expect("it stops").unwrap().unwrap();
}
