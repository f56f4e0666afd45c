//! The history of types and of all that a holder has.

use super::*;
use crate::fhir::patch::Format;
use crate::limits::SEARCH_TIME;
use std::time::Instant;

fn bounds(count: usize) -> Bounds {
    Bounds { count, bytes: 1 << 20, until: Instant::now() + SEARCH_TIME }
}

const ALL: Span = Span { from: Commit(0), until: Commit(u64::MAX), current_after: None };

impl Bench {
    fn basic(&self, id: &str, text: &str) {
        self.put(&serde_json::json!({"resourceType": "Basic", "id": id, "code": {"text": text}}).to_string()).unwrap();
    }

    fn remove(&self, resource_type: &str, id: &str) {
        self.write(Interaction::Delete { resource_type: resource_type.to_owned(), id: id.to_owned(), if_match: None }).unwrap();
    }

    /// All pages of a history as `Type/id/version`, a `-` before deletions.
    fn written(&self, resource_type: Option<&str>, span: Span, count: usize) -> Vec<String> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let snapshot = self.database.snapshot();
            let page = self.database.written(&snapshot, self.hospital, resource_type, span, after, bounds(count)).unwrap();
            assert!(page.versions.len() <= count);
            all.extend(page.versions.iter().map(shown));
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }
}

fn shown(written: &Written) -> String {
    let deleted = if written.version.json.is_none() { "-" } else { "" };
    format!("{deleted}{}/{}/{}", written.resource_type, written.id, written.version.version)
}

fn story() -> Bench {
    let bench = bench();
    bench.basic("a", "1"); // commit 1
    bench.put(r#"{"resourceType":"Patient","id":"p"}"#).unwrap();
    bench.basic("b", "1");
    bench.basic("a", "2");
    bench.remove("Basic", "b"); // commit 5
    bench.basic("b", "3");
    bench.basic("a", "3");
    bench.remove("Basic", "a");
    bench
}

const OF_BASIC: [&str; 7] = ["-Basic/a/4", "Basic/a/3", "Basic/b/3", "-Basic/b/2", "Basic/a/2", "Basic/b/1", "Basic/a/1"];

/// It was not modified: what is answered is when its version was written, and not when somebody else wrote something.
#[test]
fn what_changes_nothing_says_since_when_it_is_so() {
    let bench = bench();
    let put = |id: &str| bench.put(&format!(r#"{{"resourceType":"Basic","id":"{id}","code":{{"text":"1"}}}}"#)).unwrap();
    let first = put("a");
    bench.clock.set("2026-11-21T12:01:00Z".parse().unwrap());
    let other = put("b");
    let again = put("a");
    assert!(other.time > first.time && again.commit == other.commit);
    assert_eq!((again.entries[0].changed, again.entries[0].since), (false, Some(first.time)));
    assert_eq!((first.entries[0].changed, first.entries[0].since), (true, None));
}

/// The methods and addresses of the requests that wrote a history, oldest first.
#[test]
fn a_history_says_how_each_version_was_written() {
    let bench = bench();
    let body = br#"{"resourceType":"Basic","code":{"text":"1"}}"#.to_vec();
    let made = bench.write(Interaction::Create { resource_type: "Basic".to_owned(), body, if_none_exist: None }).unwrap();
    let id = made.entries[0].id.clone();
    bench.basic(&id, "2");
    let (format, body) = (Format::MergePatch, br#"{"code":{"text":"3"}}"#.to_vec());
    bench.write(Interaction::Patch { resource_type: "Basic".to_owned(), id: id.clone(), format, body, if_match: None }).unwrap();
    bench.remove("Basic", &id);
    bench.basic("a", "1");
    let expected = ["POST Basic".to_owned(), format!("PUT Basic/{id}"), format!("PATCH Basic/{id}"), format!("DELETE Basic/{id}")];
    let bench = bench.reopened();
    let page = bench.database.written(&bench.database.snapshot(), bench.hospital, None, ALL, None, bounds(9)).unwrap();
    let of = |w: &Written| format!("{} {}", w.version.method.name(), w.request_url());
    let said: Vec<String> = page.versions.iter().rev().map(of).collect();
    assert_eq!(said[..4], expected);
    assert_eq!(said[4..], ["PUT Basic/a"]);
}

#[test]
fn a_type_has_a_history_in_pages_of_any_size() {
    let bench = story();
    for count in [1, 2, 3, 6, 7, 8, 100] {
        assert_eq!(bench.written(Some("Basic"), ALL, count), OF_BASIC, "{count}");
    }
    assert_eq!(bench.written(Some("Patient"), ALL, 5), ["Patient/p/1"]);
    assert!(bench.written(Some("Account"), ALL, 5).is_empty());
    let all = bench.written(None, ALL, 3);
    assert_eq!((all.len(), all[6].as_str()), (8, "Patient/p/1"));
    let other = bench.database.register_holder("other").unwrap().id;
    let page = bench.database.written(&bench.database.snapshot(), other, None, ALL, None, bounds(5)).unwrap();
    assert!(page.versions.is_empty() && page.next.is_none());
    // After a restart the tables come from files.
    let bench = bench.reopened();
    assert_eq!(bench.written(Some("Basic"), ALL, 2), OF_BASIC);
}

#[test]
fn a_span_of_commits_bounds_it() {
    let bench = story();
    let between = |from, until| Span { from: Commit(from), until: Commit(until), current_after: None };
    assert_eq!(bench.written(Some("Basic"), between(4, 6), 2), ["Basic/b/3", "-Basic/b/2", "Basic/a/2"]);
    assert!(bench.written(None, between(9, 100), 2).is_empty());
    // Current at some time after commit 4 and up to commit 6.
    let at = Span { from: Commit(0), until: Commit(6), current_after: Some(Commit(4)) };
    assert_eq!(bench.written(Some("Basic"), at, 2), ["Basic/b/3", "-Basic/b/2", "Basic/a/2", "Basic/b/1"]);
}

#[test]
fn one_resource_in_pages() {
    let bench = bench();
    for n in 0..7 {
        bench.basic("a", &n.to_string());
    }
    let (mut versions, mut after) = (Vec::new(), None);
    loop {
        let page = bench.database.versions_of(bench.hospital, "Basic", "a", ALL, after, bounds(3)).unwrap();
        versions.push(page.versions.iter().map(|v| v.version.version).collect::<Vec<_>>());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(versions, [vec![7, 6, 5], vec![4, 3, 2], vec![1]]);
    let span = Span { from: Commit(2), until: Commit(6), current_after: Some(Commit(4)) };
    let page = bench.database.versions_of(bench.hospital, "Basic", "a", span, None, bounds(9)).unwrap();
    assert_eq!(page.versions.iter().map(|v| v.version.version).collect::<Vec<_>>(), [6, 5, 4]);
}

/// A resource that is written again and again is found at each of its commits, without all of its versions being read.
#[test]
fn of_many_versions_each_is_found() {
    let bench = bench();
    for n in 0..60 {
        bench.basic("a", &n.to_string());
        bench.basic("b", &n.to_string());
    }
    let all = bench.written(Some("Basic"), ALL, 7);
    assert_eq!(all.len(), 120);
    assert_eq!((all[0].as_str(), all[119].as_str()), ("Basic/b/60", "Basic/a/1"));
}

#[test]
fn who_was_erased_is_in_no_history() {
    let bench = story();
    let observation = |id: &str, patient: &str| {
        let subject = serde_json::json!({"reference": format!("Patient/{patient}")});
        let code = serde_json::json!({"text": "x"});
        let json = serde_json::json!({"resourceType": "Observation", "id": id, "status": "final", "code": code, "subject": subject});
        bench.put(&json.to_string()).unwrap();
    };
    bench.put(r#"{"resourceType":"Patient","id":"q"}"#).unwrap();
    observation("o", "p");
    observation("o2", "q");
    bench.remove("Observation", "o");
    bench.remove("Observation", "o2");
    bench.database.erase(bench.hospital, "p", "a reason").unwrap();
    // While the purge runs, and after it.
    for _ in 0..2 {
        assert_eq!(bench.written(Some("Observation"), ALL, 2), ["-Observation/o2/2", "Observation/o2/1"]);
        assert_eq!(bench.written(Some("Patient"), ALL, 2), ["Patient/q/1"]);
        assert_eq!(bench.written(Some("Basic"), ALL, 2), OF_BASIC);
        while bench.database.erasures().iter().any(|erasure| erasure.purged_at.is_none()) {
            std::thread::yield_now();
        }
    }
}

/// What a copy that was made before `from` has to give up.
#[test]
fn what_was_deleted_in_a_span_and_is_not_there() {
    let bench = story();
    let deleted = |bench: &Bench, span: (u64, u64)| {
        let (snapshot, span) = (bench.database.snapshot(), (Commit(span.0), Commit(span.1)));
        let found = bench.database.deleted(&snapshot, bench.hospital, "Basic", span, Instant::now() + SEARCH_TIME).unwrap();
        let of = bench.database.last_of(&snapshot, bench.hospital, "Basic", &found).unwrap();
        of.into_iter().map(|d| (d.id, String::from_utf8(d.last).unwrap().contains(r#""text":"3""#))).collect::<Vec<_>>()
    };
    let a = [("a".to_owned(), true)];
    // `b` was deleted by commit 5, and made anew by the next.
    assert_eq!((deleted(&bench, (0, u64::MAX)), deleted(&bench, (8, 8))), (a.to_vec(), a.to_vec()));
    for span in [(9, u64::MAX), (0, 7), (5, 5), (4, 7)] {
        assert!(deleted(&bench, span).is_empty(), "{span:?}");
    }
    bench.basic("c", "1");
    assert_eq!(deleted(&bench, (1, 100)), a);
    let bench = bench.reopened();
    assert_eq!(deleted(&bench, (1, 100)), a, "from files");
    let before = bench.database.snapshot();
    bench.basic("a", "4");
    assert!(deleted(&bench, (1, 100)).is_empty());
    let found = bench.database.deleted(&before, bench.hospital, "Basic", (Commit(1), Commit(100)), Instant::now() + SEARCH_TIME).unwrap();
    assert_eq!(bench.database.last_of(&before, bench.hospital, "Basic", &found).unwrap()[0].id, "a", "as of the snapshot");
    let other = bench.database.register_holder("other").unwrap().id;
    let none = bench.database.deleted(&before, other, "Basic", (Commit(1), Commit(100)), Instant::now() + SEARCH_TIME).unwrap();
    assert!(none.is_empty());
}
