//! Query strings that strangers with a token may send.

use crate::support::Server;
use dugnad_kernel::limits::{MAX_SEARCH_DEPTH, MAX_SEARCH_VALUES};
use serde_json::json;

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_or_malformed_is_refused_with_a_reason() {
    let server = Server::open();
    let hospital = server.hospital("Haukeland");
    hospital.put("/fhir/Patient/p", &json!({"resourceType": "Patient", "id": "p"})).await.expect(201);
    let long = "x".repeat(20_000);
    let many_values = vec!["1"; MAX_SEARCH_VALUES + 1].join(",");
    let many_parameters = vec!["name=x"; 1_000].join("&");
    let deep = format!("{}_id=x", "link:Patient.".repeat(MAX_SEARCH_DEPTH + 1));
    let very_deep = format!("{}_id=x", "link.".repeat(2_000));
    let has = "_has:Observation:patient:".repeat(50);
    for (query, status) in [
        (format!("name={long}"), 413),
        (format!("_id={many_values}"), 400),
        (many_parameters, 400),
        (deep, 400),
        (very_deep, 400),
        (format!("{has}code=1"), 400),
        ("name=%".to_owned(), 400),
        ("name=%zz".to_owned(), 400),
        ("name=%ff%fe".to_owned(), 400),
        ("birthdate=%00".to_owned(), 400),
        (r"name=a\".to_owned(), 400),
        ("_count=99999999999999999999".to_owned(), 200),
        ("_count=1e3".to_owned(), 400),
        ("_sort=".to_owned() + &"-".repeat(100), 400),
        ("_page=".to_owned() + &"A".repeat(10_000), 404),
        ("name=%F0%9F%92%A9&&&=&=x&%20=1".to_owned(), 200),
        ("name:contains=%25".to_owned(), 200),
    ] {
        let answer = hospital.send("POST", "/fhir/Patient/_search", &[FORM], query.clone()).await;
        let shown: String = query.chars().take(60).collect();
        assert_eq!(answer.status.as_u16(), status, "{shown}: {}", String::from_utf8_lossy(&answer.body));
        if status >= 400 {
            let outcome = answer.json();
            assert_eq!(outcome["resourceType"], "OperationOutcome", "{shown}");
            assert!(outcome["issue"][0]["diagnostics"].as_str().is_some_and(|d| d.len() > 20), "{shown}");
        }
    }
    let uri = format!("/fhir/Patient?name={}", "x".repeat(60_000));
    hospital.get(&uri).await.expect(414);
    // The longest that is taken has links that are taken too.
    for n in 0..3 {
        let patient = json!({"resourceType": "Patient", "id": format!("p{n}"), "name": [{"family": "|".repeat(40)}]});
        hospital.put(&format!("/fhir/Patient/p{n}"), &patient).await.expect(201);
    }
    let pipes = vec![r"\|\|"; 1_900].join(",");
    let page = hospital.send("POST", "/fhir/Patient/_search", &[FORM], format!("name={pipes}&_count=1")).await;
    let next = super::link(&super::searchset(page), "next").unwrap();
    assert!(next.len() > 20_000);
    hospital.get(&next).await.expect(200);
}
