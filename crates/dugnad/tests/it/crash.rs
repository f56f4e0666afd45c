//! `kill -9` at random moments while four hospitals' threads write over HTTP: every acknowledged transaction is there
//! afterwards, wholly; none is there by halves; the audit log verifies; and the live tables equal a rebuild.
//!
//! `DUGNAD_KILLS` says how often (50), `DUGNAD_SEED` repeats a run's moments (the clock's as far as the machine does).

use crate::process::{Process, make_database, send, spawn, sql};
use dugnad::cli::client::Client;
use dugnad_kernel::clock::SystemClock;
use dugnad_kernel::database::{Database, Handling, Interaction, WriteRequest};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use ureq::http::Method;

const WRITERS: usize = 4;

/// How many patients the conditional creates are about: writers race for each.
const PATIENTS: u64 = 40;

/// How many acknowledged transactions of a round are read back as FHIR; SQL looks at all of all rounds.
const READ_BACK: usize = 24;

/// A transaction that was acknowledged.
struct Acknowledged {
    number: u64,
    commit: u64,
}

/// What must be there.
#[derive(Default)]
struct Model {
    /// Acknowledged, or seen once: number to commit (0 if only seen).
    there: BTreeMap<u64, u64>,
}

fn observation(id: &str, slot: &str, value: u64) -> Value {
    json!({
        "resource": {
            "resourceType": "Observation", "id": id, "status": "final",
            "code": {"coding": [{"system": "urn:crash", "code": id.split('-').next(), "display": slot}]},
            "subject": {"reference": "urn:uuid:0191a7a0-0000-7000-8000-000000000001"},
            "valueQuantity": {"value": value},
        },
        "request": {"method": "PUT", "url": format!("Observation/{id}")},
    })
}

/// A conditional create of a patient, two new Observations and a new version of one that the writer has.
fn transaction(writer: usize, number: u64) -> Value {
    let identifier = format!("person-{}", number % PATIENTS);
    let patient = json!({
        "fullUrl": "urn:uuid:0191a7a0-0000-7000-8000-000000000001",
        "resource": {"resourceType": "Patient", "identifier": [{"system": "urn:crash", "value": identifier}]},
        "request": {"method": "POST", "url": "Patient", "ifNoneExist": format!("identifier=urn:crash|{identifier}")},
    });
    let slot = format!("slot-{writer}");
    json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        patient,
        observation(&format!("first-{number}"), &slot, number),
        observation(&slot, &slot, number),
        observation(&format!("second-{number}"), &slot, number),
    ]})
}

/// Writes until the server is gone.
fn write(client: &Client, writer: usize, next: &AtomicU64, count: &AtomicU64, over: &AtomicBool) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        match send(client, Method::POST, "/fhir", Some(&transaction(writer, number))) {
            Some((200, _, commit)) => {
                acknowledged.push(Acknowledged { number, commit });
                count.fetch_add(1, Ordering::Relaxed);
            }
            Some((503, ..)) => {} // busy: not taken
            None => break,
            other => panic!("transaction {number}: {other:?}"),
        }
    }
    acknowledged
}

impl Model {
    /// Looks at everything that the server has.
    fn check(&mut self, server: &Process, hospital: &str, authority: &str, newest: &[Acknowledged], rng: &mut StdRng) {
        let rows = sql(&server.client(authority), "SELECT code, code_display, value FROM observation WHERE code_system = 'urn:crash'");
        let (mut markers, mut slots) = (HashMap::<u64, [u32; 2]>::new(), HashMap::new());
        for row in &rows {
            let (value, slot) = (row["value"].as_f64().unwrap() as u64, row["code_display"].as_str().unwrap());
            match row["code"].as_str().unwrap() {
                "first" => markers.entry(value).or_default()[0] += 1,
                "second" => markers.entry(value).or_default()[1] += 1,
                _ => assert!(slots.insert(slot.to_owned(), value).is_none(), "{slot} has two current versions"),
            }
        }
        for (number, copies) in &markers {
            assert_eq!(*copies, [1, 1], "transaction {number} is there by halves or twice");
        }
        for (number, commit) in &self.there {
            assert!(markers.contains_key(number), "transaction {number}, acknowledged with commit {commit} or seen before, is gone");
        }
        for (slot, value) in &slots {
            assert!(markers.contains_key(value), "{slot} is of transaction {value}, of which nothing else is there");
        }
        let people: BTreeSet<u64> = markers.keys().map(|n| n % PATIENTS).collect();
        let patients = sql(&server.client(authority), "SELECT count(*) AS n FROM patient")[0]["n"].as_u64().unwrap();
        assert_eq!(patients, people.len() as u64, "conditional creates make one patient each");
        let client = server.client(hospital);
        for acknowledged in (0..READ_BACK.min(newest.len())).map(|i| pick(newest, i, rng)) {
            for part in ["first", "second"] {
                let path = format!("/fhir/Observation/{part}-{}", acknowledged.number);
                let (status, resource, commit) = send(&client, Method::GET, &path, None).expect("an answer");
                assert_eq!((status, resource["valueQuantity"]["value"].as_u64()), (200, Some(acknowledged.number)), "{path}");
                assert!(commit >= acknowledged.commit);
            }
        }
        self.there.extend(markers.into_keys().map(|n| (n, 0)));
    }
}

/// The newest ones, and then any.
fn pick<'a>(of: &'a [Acknowledged], i: usize, rng: &mut StdRng) -> &'a Acknowledged {
    if i < WRITERS * 2 { &of[of.len() - 1 - i.min(of.len() - 1)] } else { &of[rng.random_range(0..of.len())] }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_half_there() {
    let kills = from_environment("DUGNAD_KILLS").unwrap_or(50);
    let seed = from_environment("DUGNAD_SEED").unwrap_or_else(rand::random);
    println!("DUGNAD_SEED={seed} DUGNAD_KILLS={kills}");
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("db");
    let tokens = make_database(&dir, &["patient", "observation"]);
    let (mut model, mut newest, next) = (Model::default(), Vec::new(), AtomicU64::new(1));
    let (mut acknowledged, began) = (0, Instant::now());
    for round in 0..kills {
        if rng.random_bool(0.2) {
            // One that is killed while it opens.
            let mut child = spawn(&dir);
            std::thread::sleep(Duration::from_millis(rng.random_range(0..120)));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let server = Process::start(&dir);
        model.check(&server, &tokens.hospital, &tokens.authority, &newest, &mut rng);
        if round % 10 == 9 {
            audit_log_verifies(&dir);
        }
        newest = run(server, &tokens.hospital, &next, Duration::from_micros(rng.random_range(0..250_000)));
        acknowledged += newest.len();
        model.there.extend(newest.iter().map(|a| (a.number, a.commit)));
        if round % 10 == 9 {
            println!("{} kills, {acknowledged} transactions acknowledged, {:.1} s", round + 1, began.elapsed().as_secs_f64());
        }
    }
    let server = Process::start(&dir);
    model.check(&server, &tokens.hospital, &tokens.authority, &newest, &mut rng);
    server.kill();
    assert!(acknowledged as u64 > kills, "the test wrote too little to mean anything: {acknowledged}");
    audit_log_verifies(&dir);
    live_tables_equal_a_rebuild(&dir);
}

fn audit_log_verifies(dir: &Path) {
    let report = dugnad_kernel::audit::verify(&dir.join("audit"), None);
    assert!(report.is_ok(), "{report:?}");
}

/// Writers at work until the server is killed, some time after the first acknowledgement.
fn run(server: Process, token: &str, next: &AtomicU64, after: Duration) -> Vec<Acknowledged> {
    let (count, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let clients: Vec<Client> = (0..WRITERS).map(|_| server.client(token)).collect();
    std::thread::scope(|scope| {
        let (count, over) = (&count, &over);
        let writers: Vec<_> =
            clients.iter().enumerate().map(|(w, client)| scope.spawn(move || write(client, w, next, count, over))).collect();
        let patience = Instant::now() + Duration::from_secs(20);
        while count.load(Ordering::Relaxed) == 0 && Instant::now() < patience {
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(after);
        server.kill();
        over.store(true, Ordering::Relaxed);
        writers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    })
}

/// What recovery made of the journal, and what more writes made of that, is what recovery makes of the journal then.
fn live_tables_equal_a_rebuild(dir: &Path) {
    let open = || Database::open(dir, Arc::new(SystemClock), &mut |_, _| {}).unwrap();
    let database = open();
    let holder = database.holder("Haukeland").unwrap().id;
    for number in 0..200 {
        let interaction =
            Interaction::Transaction { body: transaction(number as usize % WRITERS, 1 << 40 | number).to_string().into_bytes() };
        database.write(WriteRequest { holder, interaction, handling: Handling::Strict, idempotency_key: None }).unwrap();
    }
    database.close();
    let rebuilt = open();
    assert_eq!(database.first_difference(&rebuilt), None);
    rebuilt.close();
}
