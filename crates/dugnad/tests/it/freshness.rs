//! What was acknowledged is in every answer that is asked for afterwards: 4 writers, readers that poll, 0 stale.

use crate::support::Server;
use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use dugnad::bench::freshness::{Options, Target, Until, measure};
use dugnad_kernel::database::{Database, Handling, Interaction, WriteRequest};
use dugnad_kernel::ids::HolderId;
use dugnad_kernel::live::RowFilter;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WRITERS: usize = 4;
const READERS: usize = 3;
const SLOTS: usize = 8;
const CHECKS: u64 = 100_000;

/// However fast the readers are, they go on until so many transactions have been written among their answers...
const WRITTEN: u64 = 1_000;

/// ...unless that takes too long: a disk may be slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// The value that each writer's slots have been acknowledged to hold.
type Acknowledged = [[AtomicU64; SLOTS]; WRITERS];

fn observation(id: &str, value: u64) -> Value {
    json!({
        "resource": {"resourceType": "Observation", "id": id, "status": "final", "code": {"text": id}, "valueQuantity": {"value": value}},
        "request": {"method": "PUT", "url": format!("Observation/{id}")},
    })
}

/// Two resources get the same value in one transaction; the value tells whose they are.
fn write(database: &Database, holder: HolderId, writer: usize, acknowledged: &Acknowledged, stop: &AtomicBool) -> u64 {
    for value in 1_u64.. {
        if stop.load(Ordering::Relaxed) {
            return value;
        }
        let slot = value as usize % SLOTS;
        let shown = value * (WRITERS * SLOTS) as u64 + (writer * SLOTS + slot) as u64;
        let entries = [observation(&format!("a-{writer}-{slot}"), shown), observation(&format!("b-{writer}-{slot}"), shown)];
        let body = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}).to_string().into_bytes();
        let interaction = Interaction::Transaction { body };
        database.write(WriteRequest { holder, interaction, handling: Handling::Strict, idempotency_key: None }).unwrap();
        acknowledged[writer][slot].store(value, Ordering::Release);
    }
    unreachable!("numbers end later than this test")
}

fn value_of(json: &[u8]) -> u64 {
    let resource: Value = serde_json::from_slice(json).unwrap();
    resource["valueQuantity"]["value"].as_u64().unwrap() / (WRITERS * SLOTS) as u64
}

/// Whether a scan of the live table lacks something acknowledged before. No version is there twice, no transaction by halves.
fn scan_is_stale(database: &Database, acknowledged: &Acknowledged) -> bool {
    let wanted: Vec<u64> = acknowledged.iter().flatten().map(|v| v.load(Ordering::Acquire)).collect();
    let snapshot = database.snapshot();
    let table = snapshot.table("observation").unwrap();
    let column = table.schema().index_of("value").unwrap();
    let filter = RowFilter { without_patient: true, ..RowFilter::default() };
    let mut found: Vec<Vec<u64>> = vec![Vec::new(); WRITERS * SLOTS];
    for part in table.parts() {
        let batch = part.scan(&[column], &filter).unwrap();
        for value in batch.column(0).as_primitive::<Float64Type>().values().iter().map(|v| *v as u64) {
            found[value as usize % (WRITERS * SLOTS)].push(value / (WRITERS * SLOTS) as u64);
        }
    }
    let half = found.iter().find(|pair| !matches!(pair.as_slice(), [] | [_, _]) || pair.first() != pair.last());
    assert_eq!(half, None, "both resources of a transaction, at the same version");
    found.iter().zip(wanted).any(|(pair, wanted)| pair.first().copied().unwrap_or_default() < wanted)
}

/// Polls by turns: the current version, the history, a scan of the live table. How many answers were stale.
fn read(database: &Database, holder: HolderId, acknowledged: &Acknowledged, checks: &AtomicU64) -> u64 {
    let (mut stale, started, first) = (0, Instant::now(), database.snapshot().commit().0);
    for turn in 0_usize.. {
        let enough = || database.snapshot().commit().0 - first >= WRITTEN || started.elapsed() > PATIENCE;
        if checks.fetch_add(1, Ordering::Relaxed) >= CHECKS && enough() {
            break;
        }
        let (writer, slot) = (turn % WRITERS, turn / WRITERS % SLOTS);
        let wanted = acknowledged[writer][slot].load(Ordering::Acquire);
        let id = format!("{}-{writer}-{slot}", if turn % 2 == 0 { 'a' } else { 'b' });
        let value = |json: Option<Vec<u8>>| json.map_or(0, |json| value_of(&json));
        stale += u64::from(match turn % 50 {
            0..8 => scan_is_stale(database, acknowledged),
            8 => database.history(holder, "Observation", &id).unwrap().first().map_or(0, |v| value(v.json.clone())) < wanted,
            _ => database.read(holder, "Observation", &id).unwrap().map_or(0, |v| value(v.json)) < wanted,
        });
    }
    stale
}

#[test]
fn a_hundred_thousand_answers_are_fresh() {
    let server = Server::open();
    let database = &server.local.database;
    let holder = database.register_holder("Haukeland").unwrap().id;
    let (acknowledged, checks, stop) = (Acknowledged::default(), AtomicU64::new(0), AtomicBool::new(false));
    let (stale, written): (u64, u64) = std::thread::scope(|scope| {
        let (acknowledged, checks, stop) = (&acknowledged, &checks, &stop);
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(database, holder, writer, acknowledged, stop))).collect();
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(move || read(database, holder, acknowledged, checks))).collect();
        let stale = readers.into_iter().map(|r| r.join().unwrap()).sum();
        stop.store(true, Ordering::Relaxed);
        (stale, writers.into_iter().map(|w| w.join().unwrap()).sum())
    });
    println!("{written} transactions written while {} answers were checked", checks.into_inner());
    assert_eq!(stale, 0);
}

/// The same over HTTP, as `dugnad bench freshness` measures it: FHIR read, history and SQL under a live permit.
#[test]
fn answers_over_http_are_fresh() {
    let options = Options {
        rate_per_s: 200.0,
        writers: WRITERS,
        readers: READERS,
        until: Until::Answers(500),
        load: 0,
        data: None,
        tokens: None,
        server: None,
        register: false,
    };
    let target = Target::own(None).unwrap();
    let outcome = measure(&options, &target);
    target.stop().unwrap();
    let outcome = outcome.unwrap();
    assert!(outcome.is_clean(), "{:?}", outcome.complaints());
    assert!(outcome.answers() >= 1_500);
}
