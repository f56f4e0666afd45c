//! Live tables that were kept current equal a rebuild from the journal: for stories of the simulation and for HL7's examples,
//! with the built-in views and with registered ones that are drawn.

use crate::simulation::definition::definition;
use crate::simulation::rows::{Names, of_snapshot};
use crate::simulation::run::{self, Run, Trouble, wait_for_views};
use crate::simulation::story::{Plot, story};
use dugnad_kernel::clock::ManualClock;
use dugnad_kernel::database::{Database, Handling, Interaction, WriteRequest};
use dugnad_kernel::ids::Commit;
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

const PLOT: Plot = Plot { operations: 25, drawn_ids: true, views: true, erasures: false, crashes: false };

/// HL7's examples, if they are there.
static EXAMPLES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/fhir-r4/hl7-r4-examples"));
    let Ok(files) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: {} is absent", folder.display());
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    let parsed = paths.iter().map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap());
    parsed.filter(|resource: &Value| resource["resourceType"] != "Bundle").collect()
});

/// The rows of all tables at some commits.
fn rows(database: &Database) -> Vec<BTreeMap<String, Vec<String>>> {
    let newest = database.snapshot().commit().0;
    let at = |commit: u64| {
        let snapshot = database.snapshot_at(Commit(commit)).unwrap().unwrap();
        of_snapshot(&snapshot, database, &mut Names::default()).unwrap()
    };
    [newest, newest / 2, newest / 4, newest * 3 / 4].map(at).into()
}

/// Closes the database in `dir`, and opens it without its live tables.
fn rebuilt(dir: &Path, database: &Database) -> Database {
    database.close();
    std::fs::remove_dir_all(dir.join("live")).unwrap();
    let database = run::open(dir, &Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH))).unwrap();
    wait_for_views(&database).unwrap();
    database
}

/// Writes an example under another id, so that it is a version of the one that had it before; or deletes it.
fn put(database: &Database, example: &Value, id: u8, deletion: bool) {
    let holder = database.register_holder("Hospital").unwrap().id;
    let (resource_type, id) = (example["resourceType"].as_str().unwrap().to_owned(), format!("e{id}"));
    let mut resource = example.clone();
    resource["id"] = id.as_str().into();
    let interaction = if deletion {
        Interaction::Delete { resource_type, id, if_match: None }
    } else {
        Interaction::Update { resource_type, id, body: resource.to_string().into_bytes(), if_match: None }
    };
    database.write(WriteRequest { holder, interaction, handling: Handling::Lenient, idempotency_key: None }).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_tables_of_a_story_equal_a_rebuild(seed: u64) {
        let folder = run::folder();
        let mut told = Run::begin(folder.path()).map_err(Trouble::what).unwrap();
        for step in story(&mut ChaCha8Rng::seed_from_u64(seed), PLOT) {
            told.step(&step).map_err(Trouble::what).unwrap();
        }
        wait_for_views(&told.database).unwrap();
        let current = rows(&told.database);
        prop_assert_eq!(current, rows(&rebuilt(&told.dir(), &told.database)));
    }

    #[test]
    fn the_tables_of_examples_equal_a_rebuild(
        writes in vec((any::<Index>(), 0..3_u8, prop::bool::weighted(0.1)), 1..60),
        views in vec((any::<u32>(), any::<Index>()), 0..3),
    ) {
        prop_assume!(!EXAMPLES.is_empty());
        let folder = run::folder();
        let database = run::open(folder.path(), &Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH))).unwrap();
        for (at, (which, id, deletion)) in writes.iter().enumerate() {
            for (i, (seed, _)) in views.iter().enumerate().filter(|(_, (_, when))| when.index(writes.len()) == at) {
                let name = format!("view_{i}");
                database.register_view(&name, &definition(*seed, &name).to_string()).unwrap();
            }
            put(&database, which.get(&EXAMPLES), *id, *deletion);
        }
        wait_for_views(&database).unwrap();
        let current = rows(&database);
        prop_assert_eq!(current, rows(&rebuilt(folder.path(), &database)));
    }
}
