//! Search against a plain implementation of its rules: the same answers to random searches over random resources, at several
//! commits, in memory and from files, in one page and in many.

mod freshness;
mod reference;
mod story;

use dugnad_kernel::clock::{Clock, ManualClock};
use dugnad_kernel::database::{Database, Handling, Interaction, Page, WriteRequest};
use dugnad_kernel::disk::{Disk, RealDisk};
use dugnad_kernel::ids::{Commit, HolderId};
use dugnad_kernel::live::Tuning;
use dugnad_kernel::search::query::{Search, Total};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use reference::{Resource, is_found, order};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use story::{Step, as_search, search, step};

type Current = BTreeMap<(String, String), Resource>;

/// Small segments and frequent checkpoints, so that a story of some dozen commits has files, merges and history.
fn tuning() -> Tuning {
    Tuning { segment_rows: 4, checkpoint_log_bytes: 2_000 }
}

fn write(database: &Database, holder: HolderId, step: &Step) -> Option<Commit> {
    let interaction = match step {
        Step::Put(json) => Interaction::Update {
            resource_type: json["resourceType"].as_str().unwrap().to_owned(),
            id: json["id"].as_str().unwrap().to_owned(),
            body: json.to_string().into_bytes(),
            if_match: None,
        },
        Step::Delete(kind, id) => Interaction::Delete { resource_type: (*kind).to_owned(), id: id.clone(), if_match: None },
    };
    let before = database.snapshot().commit();
    let outcome = database.write(WriteRequest { holder, interaction, handling: Handling::Strict, idempotency_key: None }).unwrap();
    Some(outcome.commit).filter(|commit| *commit > before)
}

/// All pages of an answer, and the total.
fn pages(database: &Database, holder: HolderId, search: &Search, at: Commit, count: usize) -> (Vec<String>, u64) {
    let (mut ids, mut page) = (Vec::new(), Page { at: Some(at), after: None, count });
    loop {
        let found = database.search(holder, search, page).unwrap();
        assert!(found.hits.len() <= count && found.commit == at);
        ids.extend(found.hits.into_iter().map(|hit| hit.id));
        page.after = found.next;
        if page.after.is_none() {
            return (ids, found.total.unwrap());
        }
    }
}

/// What the rules say.
fn expected(current: &Current, resource_type: &str, asks: &[story::Ask], sort: Option<story::Sorted>) -> Vec<String> {
    let all: Vec<Resource> = current.values().cloned().collect();
    let of_type = all.iter().filter(|r| r.json["resourceType"] == resource_type);
    let mut found: Vec<&Resource> = of_type.filter(|r| asks.iter().all(|ask| is_found(r, ask, &all))).collect();
    found.sort_by(|a, b| order(a, b, sort));
    found.into_iter().map(|r| r.json["id"].as_str().unwrap().to_owned()).collect()
}

fn check(steps: &[Step], searches: &[(&'static str, Vec<story::Ask>, Option<story::Sorted>)], restart: bool) -> Result<(), TestCaseError> {
    let dir = tempfile::TempDir::new().unwrap();
    let clock = Arc::new(ManualClock::new("2026-11-21T12:00:00Z".parse().unwrap()));
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let open = || Database::open_tuned(dir.path(), Arc::clone(&clock) as Arc<dyn Clock>, tuning(), &disk, &mut |_, _| {}).unwrap();
    let mut database = open();
    let holder = database.register_holder("A").unwrap().id;
    let other = database.register_holder("B").unwrap().id;
    let (mut current, mut states) = (Current::new(), HashMap::new());
    for (at, step) in steps.iter().enumerate() {
        clock.set(clock.now() + Duration::from_secs(30));
        // Somebody else's resources of the same ids are not in anybody's answer but theirs.
        if at % 3 == 0 {
            write(&database, other, step);
        }
        let Some(commit) = write(&database, holder, step) else { continue };
        match step {
            Step::Put(json) => {
                let name = (json["resourceType"].as_str().unwrap().to_owned(), json["id"].as_str().unwrap().to_owned());
                let ordinal = database.resource_ordinal(holder, &name.0, &name.1).unwrap().unwrap().0;
                let time_us = database.snapshot().time().as_microsecond();
                current.insert(name, Resource { json: json.clone(), commit: commit.0, time_us, ordinal });
            }
            Step::Delete(kind, id) => {
                current.remove(&((*kind).to_owned(), id.clone()));
            }
        }
        // At the acknowledgement: the first search after it.
        let (resource_type, asks, sort) = &searches[at % searches.len()];
        let (ids, total) = pages(&database, holder, &as_search(resource_type, asks, *sort), commit, 100);
        let wanted = expected(&current, resource_type, asks, *sort);
        prop_assert_eq!((ids, total), (wanted.clone(), wanted.len() as u64), "after step {}: {} {:?}", at, resource_type, asks);
        states.insert(commit, current.clone());
    }
    if restart {
        database.close();
        drop(database);
        database = open();
    }
    for (commit, state) in &states {
        for (resource_type, asks, sort) in searches {
            let wanted = expected(state, resource_type, asks, *sort);
            let search = as_search(resource_type, asks, *sort);
            let (ids, total) = pages(&database, holder, &search, *commit, 2);
            prop_assert_eq!((&ids, total), (&wanted, wanted.len() as u64), "at {}: {} {:?} {:?}", commit, resource_type, asks, sort);
            let search = Search { total: Total::None, ..search };
            let first = database.search(holder, &search, Page { at: Some(*commit), after: None, count: 3 }).unwrap();
            let ids: Vec<_> = first.hits.iter().map(|hit| hit.id.clone()).collect();
            prop_assert_eq!(&ids[..], &wanted[..wanted.len().min(3)], "the first page without a total");
            let versions = database.found(holder, resource_type, &first.hits).unwrap();
            prop_assert!(
                versions.iter().zip(&first.hits).all(|(v, hit)| v.as_ref().is_some_and(|v| v.commit == hit.commit && v.json.is_some()))
            );
        }
    }
    database.close();
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_search_finds_what_the_rules_say(
        steps in prop::collection::vec(step(), 1..30),
        searches in prop::collection::vec(search(), 1..10),
        restart in any::<bool>(),
    ) {
        check(&steps, &searches, restart)?;
    }
}
