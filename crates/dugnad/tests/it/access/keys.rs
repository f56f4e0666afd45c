//! Key sets that clients publish: fetched, kept, and fetched again for a new key, but not whenever somebody names one.

use super::{Signer, ask, claims, register};
use crate::support::Server;
use dugnad::access::ClientKeys;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A server of a document, which counts how often it is asked. It ends with the test's process.
struct Published {
    url: String,
    asked: Arc<AtomicUsize>,
    document: Arc<Mutex<String>>,
}

fn publish(document: &str) -> Published {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let (asked, document) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(document.to_owned())));
    let (count, shown) = (Arc::clone(&asked), Arc::clone(&document));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            _ = stream.read(&mut [0; 4096]);
            let body = shown.lock().unwrap().clone();
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        }
    });
    Published { url, asked, document }
}

const SCOPE: &str = "system/Patient.r";

#[tokio::test(flavor = "multi_thread")]
async fn a_published_set_is_fetched_once_and_again_for_a_new_key() {
    let server = Server::open();
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let published = publish(&old.jwks());
    register(&server, "lab", "Haukeland", ClientKeys::Url(published.url.clone()), "system/*.rs");
    for _ in 0..3 {
        ask(&server, &old.assertion("lab"), SCOPE).await.expect(200);
    }
    assert_eq!(published.asked.load(Ordering::SeqCst), 1);
    *published.document.lock().unwrap() = json!({"keys": [old.jwk(), new.jwk()]}).to_string();
    // Within a minute of the last time nobody makes the server ask again.
    for _ in 0..5 {
        ask(&server, &new.assertion("lab"), SCOPE).await.expect(401);
    }
    assert_eq!(published.asked.load(Ordering::SeqCst), 1);
    ask(&server, &old.assertion("lab"), SCOPE).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_cannot_be_had_lets_nobody_in() {
    let server = Server::open();
    let signer = Signer::new("k");
    let many: Vec<Value> = (0..200).map(|_| signer.jwk()).collect();
    let padded = format!("{}{}", signer.jwks(), " ".repeat(1 << 20));
    for (id, document) in
        [("empty", "{}".to_owned()), ("many", json!({"keys": many}).to_string()), ("large", padded), ("no-json", "<html>".to_owned())]
    {
        let published = publish(&document);
        register(&server, id, "Haukeland", ClientKeys::Url(published.url.clone()), "system/*.rs");
        let answer = ask(&server, &signer.assertion(id), SCOPE).await.expect(503);
        assert_eq!(answer.json()["error"], "temporarily_unavailable", "{id}");
        assert!(answer.header("retry-after").is_some());
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    register(&server, "gone", "Haukeland", ClientKeys::Url(format!("http://{closed}/jwks")), "system/*.rs");
    ask(&server, &signer.assertion("gone"), SCOPE).await.expect(503);
    // Where keys are is said at registration, and nowhere in an assertion.
    let own = publish(&signer.jwks());
    register(&server, "lab", "Haukeland", ClientKeys::Set(Signer::new("k").jwks()), "system/*.rs");
    let mut header = signer.header();
    header["jku"] = own.url.clone().into();
    header["jwk"] = signer.jwk();
    ask(&server, &signer.sign(&header, &claims("lab")), SCOPE).await.expect(401);
    assert_eq!(own.asked.load(Ordering::SeqCst), 0);
}
