//! How many searches `patient & code & _sort=-date & _count=20` a second one thread answers, matches read, and how long the first one
//! takes, which makes the indexes: `cargo run -p dugnad-kernel --example search_throughput -- [OBSERVATIONS [SEARCHES]]`.

use dugnad_kernel::clock::SystemClock;
use dugnad_kernel::database::{Database, Handling, Interaction, Page, WriteRequest};
use dugnad_kernel::ids::HolderId;
use dugnad_kernel::search::parameters::parameter;
use dugnad_kernel::search::query::{Criterion, Operand, Reference, Search, Sort, System, Test, Token};
use std::error::Error;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

const CODES: u64 = 40;
const PER_PATIENT: u64 = 400;
const PER_BUNDLE: u64 = 1_000;

/// Numbers that look random and are the same each time (Knuth's MMIX constants).
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn bundle(draw: &mut Draw, patients: u64) -> String {
    let mut text = r#"{"resourceType":"Bundle","type":"transaction","entry":["#.to_owned();
    for entry in 0..PER_BUNDLE {
        let (patient, code, day, value) = (draw.below(patients), draw.below(CODES), draw.below(28) + 1, draw.below(1_000));
        let (year, month) = (2010 + draw.below(16), draw.below(12) + 1);
        let separator = if entry == 0 { "" } else { "," };
        let _: std::fmt::Result = write!(
            text,
            r#"{separator}{{"request":{{"method":"POST","url":"Observation"}},"resource":{{"resourceType":"Observation","status":"final",
            "category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"laboratory"}}]}}],
            "code":{{"coding":[{{"system":"http://loinc.org","code":"{code}-1","display":"Analysis {code}"}}],"text":"Analysis {code}"}},
            "subject":{{"reference":"Patient/p{patient}"}},"effectiveDateTime":"{year}-{month:02}-{day:02}T10:00:00+01:00",
            "valueQuantity":{{"value":{value},"unit":"mmol/L","system":"http://unitsofmeasure.org","code":"mmol/L"}}}}}}"#
        );
    }
    text.push_str("]}");
    text
}

fn search(patient: u64, code: u64) -> Option<Search> {
    let of = |code: &str| parameter("Observation", code);
    let patient = Operand::Reference(Reference::Resource { resource_type: "Patient", id: format!("p{patient}") });
    let code = Operand::Token(Token { system: System::Is("http://loinc.org".to_owned()), code: Some(format!("{code}-1")) });
    let criteria = vec![
        Criterion::Is { parameter: of("patient")?, test: Test::Any(vec![patient]) },
        Criterion::Is { parameter: of("code")?, test: Test::Any(vec![code]) },
    ];
    Some(Search { criteria, sort: vec![Sort { parameter: of("date")?, descending: true }], ..Search::all("Observation") })
}

fn answer(database: &Database, holder: HolderId, draw: &mut Draw, patients: u64) -> Result<usize, Box<dyn Error>> {
    let search = search(draw.below(patients), draw.below(CODES)).ok_or("no such parameter")?;
    let found = database.search(holder, &search, Page { count: 20, ..Page::default() })?;
    let versions = database.found(holder, "Observation", &found.hits)?;
    Ok(versions.iter().flatten().filter(|v| v.json.is_some()).count())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let resources: u64 = arguments.next().map_or(Ok(100_000), |n| n.parse())?;
    let searches: usize = arguments.next().map_or(Ok(20_000), |n| n.parse())?;
    let (patients, mut draw) = ((resources / PER_PATIENT).max(1), Draw(1));
    let held = tempfile::tempdir()?;
    let database = Database::open(held.path(), Arc::new(SystemClock), &mut |_, _| {})?;
    let holder = database.register_holder("Benchmark")?.id;
    let started = Instant::now();
    for _ in 0..resources.div_ceil(PER_BUNDLE) {
        let interaction = Interaction::Transaction { body: bundle(&mut draw, patients).into_bytes() };
        database.write(WriteRequest { holder, interaction, handling: Handling::Lenient, idempotency_key: None })?;
    }
    println!("{resources} observations of {patients} patients written in {:.1} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    answer(&database, holder, &mut draw, patients)?;
    println!("the first search, which makes the indexes: {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
    let (mut micros, mut read) = (Vec::with_capacity(searches), 0);
    let started = Instant::now();
    for _ in 0..searches {
        let sent = Instant::now();
        read += answer(&database, holder, &mut draw, patients)?;
        micros.push(sent.elapsed().as_micros());
    }
    let seconds = started.elapsed().as_secs_f64();
    micros.sort_unstable();
    let at = |share: usize| micros.get(micros.len() * share / 1_000).copied().unwrap_or_default();
    println!(
        "{searches} searches on one thread: {:.0}/s, p50 {} us, p99 {} us, p99.9 {} us; {:.1} matches each",
        searches as f64 / seconds,
        at(500),
        at(990),
        at(999),
        read as f64 / searches as f64
    );
    database.close();
    Ok(())
}
