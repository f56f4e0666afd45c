//! Tests of the feed.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::identifier::{Sex, is_synthetic_national_id, synthetic_national_id};
use super::*;
use jiff::civil::date;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

fn now() -> Timestamp {
    "2026-03-02T09:00:00Z".parse().unwrap()
}

fn entries(transaction: &Transaction) -> Vec<Value> {
    let bundle: Value = serde_json::from_slice(&transaction.bundle).unwrap();
    assert_eq!(bundle["type"], "transaction");
    let entries = bundle["entry"].as_array().unwrap().clone();
    assert_eq!(entries.len(), transaction.resources);
    entries
}

/// All texts under a key `reference`.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(text) if key == "reference" => found.push(text.clone()),
                    other => references(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_unit_of_the_register_has_a_place_in_norway() {
    assert_eq!(hospitals().len(), 58);
    for hospital in hospitals() {
        assert!((57.9..=71.2).contains(&hospital.latitude), "{}", hospital.name);
        assert!((4.5..=31.2).contains(&hospital.longitude), "{}", hospital.name);
        assert!(!hospital.catchment.is_empty() && hospital.weight > 0, "{}", hospital.name);
        assert!(hospital.catchment.iter().all(|(town, code)| !town.is_empty() && code.len() == 4), "{}", hospital.name);
        assert!(hospitals()[hospital.radiotherapy].surgery, "{}", hospital.name);
        let centre = &hospitals()[hospital.radiotherapy];
        assert_eq!(centre.orgnr, hospitals()[centre.radiotherapy].orgnr, "a centre irradiates its own patients");
    }
    let counties: HashSet<_> = hospitals().iter().map(|hospital| hospital.county).collect();
    assert_eq!(counties.len(), 15);
}

#[test]
fn identifiers_have_right_control_digits_and_month_plus_80() {
    // By hand: 01 81 90 000 -> 3*0+7*1+6*8+1*1+8*9+9*0 = 128, 128 mod 11 = 7, k1 = 4;
    // 5*0+4*1+3*8+2*1+7*9+6*0+5*0+4*0+3*0+2*4 = 101, 101 mod 11 = 2, k2 = 9.
    assert_eq!(synthetic_national_id(date(1990, 1, 1), Sex::Female, 0).as_deref(), Some("01819000049"));
    assert!(is_synthetic_national_id("01819000049"));
    assert!(!is_synthetic_national_id("01819000048"));
    assert!(!is_synthetic_national_id("01019000049"), "an ordinary month is a real person's");
    assert!(!is_synthetic_national_id("0181900004"));
    assert_eq!(synthetic_national_id(date(1990, 1, 1), Sex::Female, 1), None, "odd is male");
    assert_eq!(synthetic_national_id(date(2005, 1, 1), Sex::Female, 400), None, "500 to 999 from 2000 on");
}

#[test]
fn all_patients_have_identifiers_of_their_own_that_belong_to_nobody() {
    let mut feed = Feed::new(7, 3000, now());
    let mut identifiers = HashSet::new();
    for patient in &feed.patients {
        assert!(is_synthetic_national_id(&patient.national_id));
        assert!(identifiers.insert(patient.national_id.clone()));
    }
    let text: String = feed.history(now()).take(50).map(|t| String::from_utf8(t.bundle).unwrap()).collect();
    assert!(text.contains("Syntetisk") && text.contains("HTEST"));
}

#[test]
fn same_seed_same_bytes() {
    let run = |seed| {
        let mut feed = Feed::new(seed, 120, now());
        let mut all = feed.study_setup();
        all.extend(feed.history(now()));
        all.extend((0..300).map(|second| feed.next_treatment(now() + SignedDuration::from_secs(second)).transaction));
        all.push(feed.next_transaction(3, now()));
        all
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_history_is_whole_stories_within_50_000_resources() {
    let mut feed = Feed::new(1, 1_400, now());
    let mut by_type = BTreeMap::new();
    let mut total = 0;
    let mut largest = 0;
    for transaction in feed.history(now()) {
        total += transaction.resources;
        largest = largest.max(transaction.resources);
        for entry in entries(&transaction) {
            *by_type.entry(entry["resource"]["resourceType"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
    }
    eprintln!("{total} resources, the largest transaction {largest}: {by_type:?}");
    assert!((35_000..=50_000).contains(&total), "{total}");
    assert!(largest <= 60, "{largest}");
    for needed in [
        "Patient",
        "Encounter",
        "Condition",
        "Observation",
        "Procedure",
        "MedicationAdministration",
        "MedicationRequest",
        "DiagnosticReport",
        "Specimen",
        "AdverseEvent",
        "Immunization",
        "Consent",
        "ResearchSubject",
    ] {
        assert!(by_type.contains_key(needed), "no {needed}");
    }
}

#[test]
fn references_resolve_within_the_hospital() {
    let mut feed = Feed::new(3, 400, now());
    let mut known: HashSet<(usize, String)> = HashSet::new();
    let mut transactions = feed.study_setup();
    transactions.extend(feed.history(now()));
    transactions.extend((0..4_000).map(|_| feed.next_treatment(now()).transaction));
    for transaction in transactions {
        let hospital = transaction.hospital;
        let entries = entries(&transaction);
        for entry in &entries {
            let (method, url) = (entry["request"]["method"].as_str().unwrap(), entry["request"]["url"].as_str().unwrap());
            let resource = &entry["resource"];
            let resource_type = resource["resourceType"].as_str().unwrap();
            match method {
                "PUT" => {
                    assert_eq!(url, format!("{resource_type}/{}", resource["id"].as_str().unwrap()));
                    assert!(known.insert((hospital, url.to_owned())) || resource_type == "Patient", "{url} twice");
                }
                "POST" => {
                    assert_eq!(url, resource_type);
                    assert!(resource.get("id").is_none());
                    assert!(known.insert((hospital, entry["fullUrl"].as_str().unwrap().to_owned())));
                }
                other => panic!("{other}"),
            }
        }
        let mut found = Vec::new();
        entries.iter().for_each(|entry| references(&entry["resource"], &mut found));
        for reference in found {
            assert!(known.contains(&(hospital, reference.clone())), "{reference} at {}", hospitals()[hospital].name);
        }
    }
}

#[test]
fn every_resource_is_valid_r4() {
    use dugnad_kernel::fhir::{bundle, json, validate};
    use dugnad_kernel::search::parameters::Known;
    let mut feed = Feed::new(11, 150, now());
    let mut transactions = feed.study_setup();
    transactions.extend(feed.history(now()));
    transactions.extend((0..1_500).map(|_| feed.next_treatment(now()).transaction));
    transactions.push(feed.next_transaction(200, now()));
    for transaction in transactions {
        let arena = bumpalo::Bump::new();
        let parsed = bundle::read(json::parse(&transaction.bundle, &arena).unwrap(), Known::standard(), &arena).unwrap();
        for resource in parsed.entries.iter().filter_map(|entry| entry.resource) {
            assert_eq!(validate::validate(&resource), [], "{}", String::from_utf8_lossy(&transaction.bundle));
        }
    }
}

#[test]
fn all_hospitals_treat_and_all_kinds_happen() {
    let mut feed = Feed::new(1, 1_400, now());
    feed.history(now()).for_each(drop);
    let (mut by_hospital, mut by_kind, mut resources, mut subjects) = (vec![0; hospitals().len()], BTreeMap::new(), 0, 0);
    const RUN: usize = 20_000;
    for _ in 0..RUN {
        let treatment = feed.next_treatment(now());
        by_hospital[treatment.transaction.hospital] += 1;
        *by_kind.entry(treatment.kind).or_insert(0) += 1;
        resources += treatment.transaction.resources;
        subjects += usize::from(treatment.study_subject);
    }
    eprintln!("{by_kind:?}, {:.2} resources each, {subjects} of study subjects, {by_hospital:?}", resources as f64 / RUN as f64);
    for (count, hospital) in by_hospital.iter().zip(hospitals()) {
        assert!(*count > 0, "{} treats nobody", hospital.name);
    }
    for kind in Kind::ALL {
        assert!(by_kind.get(&kind).is_some_and(|count| *count > 100), "{kind:?}");
    }
    assert!((3.0..5.0).contains(&(resources as f64 / RUN as f64)));
    assert!(subjects > RUN / 50);
}

#[test]
fn nothing_happens_in_the_future() {
    let mut feed = Feed::new(5, 60, now());
    let mut transactions: Vec<_> = feed.history(now()).collect();
    transactions.extend((0..500).map(|_| feed.next_treatment(now()).transaction));
    let mut latest = String::new();
    for transaction in &transactions {
        for text in String::from_utf8_lossy(&transaction.bundle).split('"') {
            if text.len() == 25 && text.contains("T") && text.starts_with("20") {
                let at: Timestamp = text.parse().unwrap();
                assert!(at <= now(), "{text}");
                latest = latest.max(text.to_owned());
            }
        }
    }
    assert!(latest.as_str() > "2026-03-02", "{latest}");
}

#[test]
fn a_transaction_of_a_benchmark_has_the_size_that_was_asked_for() {
    let mut feed = Feed::new(1, 0, now());
    for resources in [1, 2, 3, 3, 3, 10, 33, 300] {
        let transaction = feed.next_transaction(resources, now());
        assert_eq!(transaction.resources, resources);
        assert_eq!(entries(&transaction).len(), resources);
    }
}

#[test]
fn the_open_label_study_has_sites_in_every_region() {
    let study = studies().iter().find(|study| study.id == OPEN_LABEL_STUDY).unwrap();
    let sites: Vec<_> = hospitals().iter().filter(|hospital| study.has_site(hospital)).collect();
    let regions: HashSet<_> = sites.iter().map(|hospital| hospital.region).collect();
    assert_eq!(regions.len(), 4);
    assert_eq!(studies().len(), 8);
}

#[test]
#[ignore = "measures; run it alone on a quiet machine"]
fn speed() {
    let mut feed = Feed::new(1, 1_400, now());
    let began = std::time::Instant::now();
    let resources: usize = feed.history(now()).map(|transaction| transaction.resources).sum();
    eprintln!("history: {:.0} resources/s", resources as f64 / began.elapsed().as_secs_f64());
    let began = std::time::Instant::now();
    let resources: usize = (0..20_000).map(|_| feed.next_transaction(3, now()).resources).sum();
    eprintln!("transactions of 3: {:.0} resources/s", resources as f64 / began.elapsed().as_secs_f64());
}

mod live {
    use super::super::live::*;
    use super::*;
    use axum::Router;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::post;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    /// A server that takes transactions: every 10th is refused as too many.
    fn serve() -> String {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let commits = Arc::new(AtomicU64::new(0));
                let take = async move |headers: HeaderMap, body: String| {
                    let bundle: Value = serde_json::from_str(&body).unwrap();
                    let hospital = headers["authorization"].to_str().unwrap().strip_prefix("Bearer token-").unwrap().to_owned();
                    assert!(hospital.parse::<usize>().unwrap() < hospitals().len() && bundle["type"] == "transaction");
                    let commit = commits.fetch_add(1, Ordering::SeqCst) + 1;
                    let status = if commit.is_multiple_of(10) { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
                    (status, [("dugnad-commit", commit.to_string())], "{}")
                };
                axum::serve(listener, Router::new().route("/fhir", post(take))).await.unwrap();
            });
        });
        format!("http://{}", told.recv().unwrap())
    }

    #[test]
    fn treatments_are_sent_at_the_rate_and_reported() {
        let tokens = (0..hospitals().len()).map(|index| format!("token-{index}")).collect();
        let config = LiveConfig { base_url: serve(), tokens, rate_per_s: 100.0, workers: 4 };
        let reports = Arc::new(Mutex::new(Vec::new()));
        let (kept, stop, began) = (reports.clone(), Arc::new(AtomicBool::new(false)), Instant::now());
        let feed = LiveFeed::start(config, Feed::new(1, 200, now()), stop, move |report| kept.lock().unwrap().push(report)).unwrap();
        while reports.lock().unwrap().len() < 25 && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        feed.stop();
        let reports = reports.lock().unwrap();
        assert!(reports.len() >= 25 && began.elapsed() >= Duration::from_millis(240), "open loop: not faster than the rate");
        assert!(reports.iter().any(|report| matches!(report, Report::Busy { .. })));
        for report in reports.iter() {
            match report {
                Report::Acknowledged(ack) => assert!(ack.commit > 0 && ack.latency >= ack.service_time && ack.resources > 0),
                Report::Busy { .. } => {}
                Report::Failed { what, .. } => panic!("{what}"),
            }
        }
    }

    #[test]
    fn a_server_that_is_away_is_reported_and_the_feed_stops() {
        let config = LiveConfig {
            base_url: "http://127.0.0.1:9".into(),
            tokens: vec![String::new(); hospitals().len()],
            rate_per_s: 50.0,
            workers: 2,
        };
        let failures = Arc::new(AtomicU64::new(0));
        let counted = failures.clone();
        let feed = LiveFeed::start(config, Feed::new(1, 10, now()), Arc::default(), move |report| {
            assert!(matches!(report, Report::Failed { .. }));
            counted.fetch_add(1, Ordering::SeqCst);
        })
        .unwrap();
        std::thread::sleep(Duration::from_millis(200));
        feed.stop();
        assert!(failures.load(Ordering::SeqCst) > 0);
    }
}

/// For looking at: `DUGNAD_FEED_SAMPLE=folder cargo test -p dugnad --lib feed::tests::write_sample -- --ignored`.
#[test]
#[ignore = "writes files for people to look at"]
fn write_sample() {
    let Some(folder) = std::env::var_os("DUGNAD_FEED_SAMPLE").map(std::path::PathBuf::from) else { return };
    let mut feed = Feed::new(1, 1_400, now());
    let mut all = feed.study_setup();
    all.extend(feed.history(now()));
    all.extend((0..3_000).map(|_| feed.next_treatment(now()).transaction));
    all.push(feed.next_transaction(300, now()));
    for (number, transaction) in all.iter().enumerate() {
        std::fs::write(folder.join(format!("{number:05}.json")), &transaction.bundle).unwrap();
    }
}
