//! Following what is written: each version that matches once, in the order of commits, as a plain evaluation of the journal finds it.

use super::*;
use crate::search::execute::Cursor;
use crate::search::parameters::Known;
use crate::search::parse::pairs;
use proptest::prelude::*;

const START: Cursor = Cursor { commit: Commit(0), resource: ResourceOrdinal(0) };

fn followed(bench: &Bench, query: &str, deletions: bool) -> Followed {
    let conditions = crate::search::conditions::Conditions::parse("Observation", pairs(query).unwrap(), Known::standard()).unwrap();
    Followed { holder: bench.hospital, resource_type: "Observation".to_owned(), conditions, deletions }
}

/// All that is found from a place on, a few at a time.
fn all(bench: &Bench, followed: &Followed, mut after: Cursor, count: usize) -> Vec<Cursor> {
    let snapshot = bench.database.snapshot();
    let mut found = Vec::new();
    loop {
        let next = bench.database.followed(&snapshot, followed, after, count).unwrap();
        assert!(next.found.len() <= count && next.found.is_sorted_by_key(|c| (c.commit, c.resource)));
        if next.upto == after {
            return found;
        }
        found.extend(next.found);
        after = next.upto;
    }
}

fn told(bench: &Bench, followed: &Followed, found: &[Cursor]) -> Vec<(u64, Change, String, u64)> {
    let changed = |at: &Cursor| bench.database.changed(followed, *at).unwrap();
    let shown = |c: Changed| (c.written.version.commit.0, c.change, c.written.id, c.written.version.version);
    found.iter().filter_map(changed).map(shown).collect()
}

fn observation(id: usize, code: usize) -> String {
    format!(r#"{{"resourceType":"Observation","id":"o{id}","status":"final","code":{{"coding":[{{"code":"{code}"}}]}}}}"#)
}

#[test]
fn what_was_created_updated_and_deleted_in_order() {
    let bench = bench();
    let delete = |id: &str| {
        bench.write(Interaction::Delete { resource_type: "Observation".to_owned(), id: id.to_owned(), if_match: None }).unwrap().commit.0
    };
    let put = |id, code| bench.put(&observation(id, code)).unwrap().commit.0;
    let other = bench.database.register_holder("Ullevål").unwrap().id;
    let (a, b, c) = (put(1, 1), put(2, 2), put(1, 2));
    let update = Interaction::Update {
        resource_type: "Observation".to_owned(),
        id: "o1".to_owned(),
        body: observation(1, 2).into_bytes(),
        if_match: None,
    };
    bench.database.write(WriteRequest { holder: other, interaction: update, handling: Handling::Strict, idempotency_key: None }).unwrap();
    bench.put(&patient("p", "male")).unwrap();
    let (d, e, f) = (put(2, 1), delete("o1"), put(1, 2));
    delete("o2");
    let of_2 = followed(&bench, "code=2", true);
    let expected = [
        (b, Change::Created, "o2".to_owned(), 1),
        (c, Change::Updated, "o1".to_owned(), 2),
        (e, Change::Deleted, "o1".to_owned(), 3),
        (f, Change::Created, "o1".to_owned(), 4),
    ];
    for count in [1, 2, 100] {
        assert_eq!(told(&bench, &of_2, &all(&bench, &of_2, START, count)), expected);
    }
    assert!(a < d);
    let without = followed(&bench, "code=2", false);
    let found = all(&bench, &without, START, 3);
    assert_eq!(told(&bench, &without, &found).iter().map(|t| t.0).collect::<Vec<_>>(), [b, c, f]);
    assert_eq!(told(&bench, &without, &all(&bench, &without, found[0], 3)).len(), 2, "after a place");
}

#[test]
fn who_was_erased_is_not_told_of() {
    let bench = bench();
    for id in ["p", "q"] {
        bench.put(&patient(id, "male")).unwrap();
        bench
            .put(&format!(
                r#"{{"resourceType":"Observation","id":"of-{id}","status":"final","code":{{"text":"x"}},"subject":{{"reference":"Patient/{id}"}}}}"#
            ))
            .unwrap();
    }
    let every = followed(&bench, "", true);
    let found = all(&bench, &every, START, 9);
    assert_eq!(told(&bench, &every, &found).len(), 2);
    bench.database.erase(bench.hospital, "p", "a test").unwrap();
    // What was found before the erasure is not told after it.
    assert_eq!(told(&bench, &every, &found).iter().map(|t| t.2.clone()).collect::<Vec<_>>(), ["of-q"]);
    assert_eq!(told(&bench, &every, &all(&bench, &every, START, 9)).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// What is told is what a search with the same criteria finds among the versions that were committed.
    #[test]
    fn it_is_what_searches_find(writes in prop::collection::vec((0_usize..4, 0_usize..4), 1..24), count in 1_usize..5, cut in 0_usize..24) {
        let bench = bench();
        let every = followed(&bench, "code=1,2", true);
        let searched = crate::search::parse::query(
            "Observation",
            &pairs("code=1,2").unwrap(),
            &crate::search::parse::Environment { now: Timestamp::UNIX_EPOCH, base: "", known: crate::search::parameters::Known::standard() },
        ).unwrap().search;
        let found_at = |commit: Commit, id: &str| {
            let page = Page { at: Some(commit), after: None, count: 100 };
            bench.database.search(bench.hospital, &searched, page).unwrap().hits.iter().any(|hit| hit.id == id && hit.commit == commit)
        };
        let mut expected = Vec::new();
        let mut before = [false; 4];
        for (id, code) in &writes {
            let newest = bench.database.snapshot().commit();
            let name = format!("o{id}");
            let commit = if *code == 0 {
                bench.write(Interaction::Delete { resource_type: "Observation".to_owned(), id: name.clone(), if_match: None }).unwrap().commit
            } else {
                bench.put(&observation(*id, *code)).unwrap().commit
            };
            if commit == newest {
                continue; // it changed nothing
            }
            let matches = *code != 0 && found_at(commit, &name);
            if matches || *code == 0 && before[*id] {
                expected.push((commit.0, name));
            }
            before[*id] = matches;
        }
        let first = all(&bench, &every, START, count);
        let shown: Vec<_> = told(&bench, &every, &first).into_iter().map(|t| (t.0, t.2)).collect();
        prop_assert_eq!(&shown, &expected);
        if let Some(at) = first.get(cut) {
            prop_assert_eq!(all(&bench, &every, *at, count), first[cut + 1..].to_vec());
        }
        let bench = bench.reopened();
        let again = all(&bench, &every, START, count);
        prop_assert_eq!(told(&bench, &every, &again).into_iter().map(|t| (t.0, t.2)).collect::<Vec<_>>(), expected);
    }
}
