#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::super::tests::{Bench, bench, bundle, count, entry, open, patient, refusal};
use super::super::{ERASURE_LIST, Handling, Interaction, JOURNAL, Method, inspect_journal};
use super::*;
use crate::live::{RowFilter, Snapshot};
use arrow::util::pretty::pretty_format_batches;
use memchr::memmem;
use roaring::RoaringBitmap;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Stands in everything that is stored about the person who is erased, and nowhere else.
const PLANTED: &str = "Xyzzyplugh";

/// A number that can be a national identifier and, with 80 added to its month, nobody's.
const NUMBER: &str = "13872190036";

/// How long a purge may take here before the test fails; a fraction of a second is usual.
const PATIENCE: Duration = Duration::from_secs(30);

impl Bench {
    fn erase(&self, id: &str) -> Erasure {
        self.database.erase(self.hospital, id, "asked for it").unwrap()
    }

    fn purged(&self) {
        let began = Instant::now();
        while self.database.erasures().iter().any(|e| e.purged_at.is_none()) {
            assert!(began.elapsed() < PATIENCE, "the purge does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn read(&self, kind: &str, id: &str) -> Option<String> {
        let stored = self.database.read(self.hospital, kind, id).unwrap()?;
        stored.json.map(|json| String::from_utf8(json).unwrap())
    }

    fn versions(&self, kind: &str, id: &str) -> Vec<u64> {
        self.database.history(self.hospital, kind, id).unwrap().iter().map(|v| v.version).collect()
    }

    fn delete(&self, kind: &str, id: &str) {
        self.write(Interaction::Delete { resource_type: kind.to_owned(), id: id.to_owned(), if_match: None }).unwrap();
    }
}

/// The files below `dir` whose bytes hold `text`.
fn files_with(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            found.extend(files_with(&entry.path(), text));
        } else if memmem::find(&std::fs::read(entry.path()).unwrap(), text.as_bytes()).is_some() {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

/// All that one sees of others than `patient`, in all tables at all commits up to `until`.
fn others(database: &Database, patient: u32, until: u64) -> Vec<String> {
    let everybody: RoaringBitmap = (0..10_000).filter(|p| *p != patient).collect();
    let filter = RowFilter { patients: Some(Arc::new(everybody)), without_patient: true, ..RowFilter::default() };
    let at = |commit| database.snapshot_at(Commit(commit)).unwrap().unwrap();
    (0..=until).map(|commit| shown(&at(commit), &filter)).collect()
}

fn shown(snapshot: &Snapshot, filter: &RowFilter) -> String {
    let tables = snapshot.tables().iter().map(|table| {
        let all: Vec<usize> = (0..table.schema().columns.len()).collect();
        let batches: Vec<_> = table.parts().iter().map(|p| p.scan(&all, filter).unwrap()).filter(|b| b.num_rows() > 0).collect();
        let text = pretty_format_batches(&batches).unwrap().to_string();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable(); // a merge takes ended rows out of the order of commits
        format!("{}\n{}", table.schema().name, lines.join("\n"))
    });
    tables.collect()
}

fn observation(id: &str, subject: &str, text: &str) -> String {
    json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"text": text}, "subject": {"reference": subject},
           "note": [{"text": text}]})
    .to_string()
}

fn named_patient(id: &str, name: &str) -> String {
    json!({"resourceType": "Patient", "id": id, "gender": "female", "name": [{"family": name}],
           "identifier": [{"system": "urn:x", "value": name}], "telecom": [{"system": "email", "value": format!("{name}@example.org")}]})
    .to_string()
}

/// Two persons, with updates, deletions, long texts, and a relative.
fn two_persons(bench: &Bench) {
    let long = format!("{} {PLANTED}", "long text ".repeat(20_000));
    bench.put(&named_patient("p2", "Other")).unwrap();
    bench.put(&named_patient("p1", PLANTED)).unwrap();
    for n in 0..40 {
        bench.put(&observation(&format!("a{n}"), "Patient/p1", &format!("{PLANTED} {n}"))).unwrap();
        bench.put(&observation(&format!("b{n}"), "Patient/p2", &format!("other {n}"))).unwrap();
    }
    bench.put(&observation("a0", "Patient/p1", &format!("again {PLANTED}"))).unwrap();
    bench.put(&observation("b0", "Patient/p2", "other again")).unwrap();
    bench.put(&observation("a1", "Patient/p1", &long)).unwrap();
    bench.delete("Observation", "a2");
    bench.delete("Observation", "b2");
    let relative =
        json!({"resourceType": "RelatedPerson", "id": "r1", "patient": {"reference": "Patient/p1"}, "name": [{"family": PLANTED}]});
    bench.put(&relative.to_string()).unwrap();
    bench.put(&named_patient("p1", &format!("New{PLANTED}"))).unwrap();
}

#[test]
fn an_erased_person_is_in_no_answer_and_then_in_no_file() {
    let bench = bench();
    two_persons(&bench);
    let newest = bench.database.snapshot().commit().0;
    let patient = bench.database.shared.look(|l| l.head(bench.hospital, l.kind("Patient")?.unwrap(), "p1")).unwrap().unwrap();
    let patient = bench.database.shared.look(|l| l.patient(patient.ordinal)).unwrap().unwrap().0;
    let before = others(&bench.database, patient, newest);
    let reads = |bench: &Bench| -> Vec<_> {
        (0..40).map(|n| (bench.read("Observation", &format!("b{n}")), bench.versions("Observation", &format!("b{n}")))).collect()
    };
    let read_before: Vec<_> = reads(&bench);
    assert!(!files_with(bench.dir.path(), PLANTED).is_empty(), "the string is where it was planted");

    let erasure = bench.erase("p1");
    assert_eq!((erasure.commit, bench.database.snapshot().commit()), (Commit(newest + 1), Commit(newest + 1)));
    let only = RowFilter { patients: Some(Arc::new([patient].into_iter().collect())), ..RowFilter::default() };
    let gone = |bench: &Bench, at: &str| {
        for commit in 0..=newest + 1 {
            let snapshot = bench.database.snapshot_at(Commit(commit)).unwrap().unwrap();
            let rows: usize = snapshot.tables().iter().flat_map(|t| t.parts()).map(|p| p.scan(&[], &only).unwrap().num_rows()).sum();
            assert_eq!(rows, 0, "{at}: no row of the person at commit {commit}");
        }
        for (kind, id) in [("Patient", "p1"), ("Observation", "a0"), ("Observation", "a1"), ("Observation", "a2"), ("RelatedPerson", "r1")]
        {
            assert_eq!((bench.read(kind, id), bench.versions(kind, id)), (None, vec![]), "{at}: {kind}/{id} is as if it had never been");
        }
        assert!(others(&bench.database, patient, newest) == before, "{at}: nobody else's rows have changed");
        assert_eq!(reads(bench), read_before, "{at}: nobody else's resources have changed");
    };
    gone(&bench, "at once");
    bench.purged();
    gone(&bench, "after the purge");
    assert_eq!(files_with(bench.dir.path(), PLANTED), [] as [String; 0], "while the database is open");
    assert_eq!(bench.database.counters().resources, [("Observation".to_owned(), 39), ("Patient".to_owned(), 1)]);

    let live = bench.database.clone();
    let bench = bench.reopened();
    assert_eq!(files_with(bench.dir.path(), PLANTED), [] as [String; 0], "and after it was closed");
    assert_eq!(live.first_difference(&bench.database), None, "a rebuild is what was live");
    for commit in 0..=newest {
        let at = |database: &Database| database.snapshot_at(Commit(commit)).unwrap().unwrap();
        assert_eq!(at(&live).first_difference(&at(&bench.database)), None, "commit {commit}");
    }
    gone(&bench, "after a restart");
    assert_eq!(bench.database.counters().resources, [("Observation".to_owned(), 39), ("Patient".to_owned(), 1)]);
}

#[test]
fn nothing_more_is_taken_about_an_erased_person() {
    let bench = bench();
    bench.put(&named_patient("p1", "Old")).unwrap();
    bench.put(&observation("o1", "Patient/p1", "old")).unwrap();
    let first = bench.erase("p1");
    assert_eq!(bench.erase("p1"), first, "erasing somebody again changes nothing");
    let unknown = |result| assert!(matches!(result, Err(EraseError::Unknown)));
    unknown(bench.database.erase(bench.hospital, "p7", ""));
    unknown(bench.database.erase(HolderId::CENTRE, "p1", ""));
    let refused = |bench: &Bench| {
        for json in [named_patient("p1", "Old"), observation("o1", "Patient/p1", "old"), observation("o9", "Patient/p1/_history/1", "new")]
        {
            assert_eq!(refusal(bench.put(&json)).0, 410, "{json}");
        }
        let commit = bench.database.snapshot().commit();
        for (kind, id) in [("Patient", "p1"), ("Observation", "o1")] {
            bench.delete(kind, id);
        }
        assert_eq!(bench.database.snapshot().commit(), commit, "deleting what is not there changes nothing");
    };
    refused(&bench);
    // A conditional create does not find the erased one: the person is treated again, under a new id.
    let new: Value = serde_json::from_str(&named_patient("any", "Old")).unwrap();
    let mut again = entry("POST", "Patient", "urn:uuid:0191a7a0-0000-7000-8000-000000000001", &new);
    again["request"]["ifNoneExist"] = "identifier=urn:x|Old".into();
    let outcome = bench.transaction(&bundle(&[again]), Handling::Strict, None).unwrap();
    assert_eq!((outcome.entries[0].status, count(&bench.database.snapshot(), "patient")), (201, 1));
    assert_ne!(outcome.entries[0].id, "p1");
    bench.purged();
    let bench = bench.reopened();
    refused(&bench);
    assert_eq!(count(&bench.database.snapshot(), "patient"), 1);
    // The id of an erased resource can be used for somebody else.
    assert_eq!(bench.put(&observation("o1", &format!("Patient/{}", outcome.entries[0].id), "new")).unwrap().entries[0].status, 201);
    assert_eq!(bench.versions("Observation", "o1"), [2]);
}

/// The hash of a national identifier is soon guessed: there are some hundred million of them.
#[test]
fn nothing_is_left_of_whom_a_patient_was_one_person_with() {
    let bench = bench();
    let mut person: Value = serde_json::from_str(&patient("p1", "female")).unwrap();
    person["identifier"] = json!([{"system": "urn:oid:2.16.578.1.12.4.1.4.1", "value": NUMBER}]);
    person["link"] = json!([{"other": {"reference": "Patient/p2"}, "type": "seealso"}]);
    bench.put(&patient("p2", "female")).unwrap();
    bench.put(&person.to_string()).unwrap();
    let rows = |bench: &Bench| -> Vec<u32> {
        let connection = Connection::open(bench.dir.path().join(JOURNAL)).unwrap();
        ["person_identifier", "person_link"]
            .map(|t| connection.query_row(&format!("SELECT count(*) FROM {t}"), [], |r| r.get(0)).unwrap())
            .into()
    };
    assert_eq!(rows(&bench), [1, 1]);
    bench.erase("p1");
    assert_eq!(rows(&bench), [0, 0]);
    bench.purged();
    assert_eq!(rows(&bench.reopened()), [0, 0]);
}

/// An Observation that was filed under the wrong person, lost its subject, was put right, and then names both.
#[test]
fn a_resource_is_erased_version_by_version() {
    let bench = bench();
    bench.put(&patient("p1", "female")).unwrap();
    bench.put(&patient("p2", "male")).unwrap();
    let text = |text: &str| format!("{PLANTED} {text}");
    bench.put(&observation("o1", "Patient/p1", &text("first"))).unwrap();
    let without = json!({"resourceType": "Observation", "id": "o1", "status": "final", "code": {"text": text("second")}});
    bench.put(&without.to_string()).unwrap();
    bench.put(&observation("o1", "Patient/p2", "third")).unwrap();
    let mut both: Value = serde_json::from_str(&observation("o2", "Patient/p2", &text("of two"))).unwrap();
    both["performer"] = json!([{"reference": "Patient/p1"}]);
    bench.put(&both.to_string()).unwrap();
    bench.erase("p1");
    let check = |bench: &Bench| {
        assert_eq!(bench.versions("Observation", "o1"), [3]);
        assert!(bench.read("Observation", "o1").unwrap().contains("third"));
        assert_eq!(bench.read("Observation", "o2"), None, "what is about two is about each of them");
    };
    check(&bench);
    // What is written afterwards and names nobody is nobody's.
    bench.put(&without.to_string().replace(PLANTED, "later")).unwrap();
    assert_eq!(bench.versions("Observation", "o1"), [4, 3]);
    bench.purged();
    assert_eq!(bench.versions("Observation", "o1"), [4, 3]);
    assert_eq!(count(&bench.database.snapshot(), "observation"), 1);
    assert_eq!(count(&bench.database.snapshot_at(Commit(6)).unwrap().unwrap(), "observation"), 1, "and o2 is gone from history");
    let live = bench.database.clone();
    let bench = bench.reopened();
    assert_eq!(live.first_difference(&bench.database), None);
    assert_eq!(files_with(bench.dir.path(), PLANTED), [] as [String; 0]);
    // An end that comes later must not bring back what was erased.
    bench.put(&observation("o2", "Patient/p2", "new")).unwrap();
    assert_eq!(count(&bench.database.snapshot_at(Commit(6)).unwrap().unwrap(), "observation"), 1);
}

/// The logical id in the criteria of a Subscription outlived the person.
#[test]
fn a_subscription_is_about_whom_its_criteria_name() {
    let bench = bench();
    bench.put(&patient("p1", "female")).unwrap();
    bench.put(&patient("p2", "male")).unwrap();
    let subscription = |id: &str, patient: &str, reason: &str| {
        json!({"resourceType": "Subscription", "id": id, "status": "off", "reason": reason, "criteria": format!("Observation?patient={patient}"),
               "channel": {"type": "rest-hook"}})
        .to_string()
    };
    bench.put(&subscription("s1", "p1", PLANTED)).unwrap();
    bench.put(&subscription("s1", "p2,p1", PLANTED)).unwrap();
    bench.put(&subscription("s2", "p2", "others")).unwrap();
    let named = bench.database.patients_named(bench.hospital, "Subscription", "s1", [subscription("s1", "p1", "").as_bytes()]).unwrap();
    assert_eq!(named.len(), 1, "who reads it reads of the person");
    bench.erase("p1");
    let gone = |bench: &Bench| {
        assert_eq!((bench.read("Subscription", "s1"), bench.versions("Subscription", "s1")), (None, vec![]));
        assert_eq!(bench.versions("Subscription", "s2"), [1]);
        assert_eq!(refusal(bench.put(&subscription("s3", "p1", "again"))).0, 410);
    };
    gone(&bench);
    bench.purged();
    gone(&bench);
    assert_eq!(files_with(bench.dir.path(), PLANTED), [] as [String; 0]);
}

/// Until the purge had come to it, a resource that nobody saw any more counted as there: it could be found unchanged, an update of
/// it was no creation, and a version before it was read as the current one.
#[test]
fn a_hidden_resource_is_not_there_before_the_purge_either() {
    let bench = bench();
    bench.put(&patient("p1", "female")).unwrap();
    bench.put(&patient("p2", "male")).unwrap();
    bench.put(&observation("o1", "Patient/p2", "others")).unwrap();
    bench.put(&observation("o1", "Patient/p1", "hers")).unwrap();
    let without = json!({"resourceType": "Observation", "id": "o1", "status": "final", "code": {"text": "nobody's"}}).to_string();
    bench.put(&observation("o2", "Patient/p1", "hers")).unwrap();
    bench.put(&without.replace("o1", "o2")).unwrap();
    bench.erase("p1");
    assert_eq!((bench.read("Observation", "o1"), bench.versions("Observation", "o1")), (None, vec![1]), "not current again");
    let written = bench.put(&without.replace("o1", "o2")).unwrap();
    assert_eq!((written.entries[0].status, written.entries[0].version), (201, 3));
    bench.purged();
    assert_eq!((bench.read("Observation", "o1"), bench.versions("Observation", "o2")), (None, vec![3]));
}

/// The counters knew of what a purge had overwritten when the process was killed only in memory: afterwards they counted it.
#[test]
fn a_purge_that_is_interrupted_is_counted_once() {
    let bench = bench();
    let entries: Vec<Value> = (0..2_000)
        .map(|i| {
            let resource: Value = serde_json::from_str(&observation(&format!("o{i}"), "Patient/p1", PLANTED)).unwrap();
            entry("PUT", &format!("Observation/o{i}"), &format!("urn:uuid:0191a7a0-0000-7000-8000-{i:012}"), &resource)
        })
        .collect();
    bench.put(&patient("p1", "female")).unwrap();
    bench.transaction(&bundle(&entries), Handling::Strict, None).unwrap();
    let bench = bench.reopened(); // with tables and counters on disk
    bench.erase("p1");
    let left = |path: &Path| {
        let connection = Connection::open(path.join(JOURNAL)).unwrap();
        let left: u64 = connection.query_row("SELECT count(*) FROM version WHERE typeof(json) = 'blob'", [], |r| r.get(0)).unwrap();
        left
    };
    while left(bench.dir.path()) > 1_500 {
        std::thread::sleep(Duration::from_millis(1));
    }
    // What a killed process leaves.
    let killed = tempfile::tempdir().unwrap();
    std::fs::create_dir(killed.path().join("live")).unwrap();
    for file in std::fs::read_dir(bench.dir.path().join("live")).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), killed.path().join("live").join(file.file_name())).unwrap();
    }
    super::super::copy_journal(bench.dir.path(), &killed.path().join(JOURNAL), &mut |_, _| {}).unwrap();
    std::fs::copy(bench.dir.path().join(ERASURE_LIST), killed.path().join(ERASURE_LIST)).unwrap();
    assert!(left(killed.path()) > 0, "the purge was under way");
    bench.database.close();
    let bench = Bench { database: open(killed.path(), &bench.clock), dir: killed, ..bench };
    bench.purged();
    assert_eq!(bench.database.counters().resources, []);
    bench.database.close();
}

#[test]
fn a_purge_goes_on_after_a_restart() {
    let bench = bench();
    bench.put(&named_patient("p1", PLANTED)).unwrap();
    for n in 0..4 {
        let entries = (0..500).map(|i| {
            let resource: Value = serde_json::from_str(&observation(&format!("o{n}-{i}"), "Patient/p1", PLANTED)).unwrap();
            entry("PUT", &format!("Observation/o{n}-{i}"), &format!("urn:uuid:0191a7a0-0000-7000-8000-{n:04}{i:08}"), &resource)
        });
        bench.transaction(&bundle(&entries.collect::<Vec<_>>()), Handling::Strict, None).unwrap();
    }
    bench.erase("p1");
    let bench = bench.reopened();
    assert!(bench.database.erasures().iter().all(|e| e.purged_at.is_none()), "the restart came before its end");
    assert_eq!(count(&bench.database.snapshot(), "observation"), 0, "hidden after a restart too");
    bench.put(&named_patient("p2", "Other")).unwrap();
    bench.purged();
    assert_eq!(files_with(bench.dir.path(), PLANTED), [] as [String; 0]);
    assert!(bench.read("Patient", "p2").is_some());
}

/// A journal is put back that is older than two erasures; one of the persons it has never heard of.
#[test]
fn the_list_erases_again_what_an_older_journal_brings_back() {
    let bench = bench();
    bench.put(&named_patient("p1", PLANTED)).unwrap();
    let bench = bench.reopened();
    bench.database.close();
    let old = std::fs::read(bench.dir.path().join(JOURNAL)).unwrap();
    let bench = bench.reopened();
    bench.put(&named_patient("p9", PLANTED)).unwrap();
    bench.erase("p1");
    bench.erase("p9");
    bench.database.close();
    let list = std::fs::read_to_string(bench.dir.path().join(ERASURE_LIST)).unwrap();
    assert!(list.lines().count() == 3 && !list.contains("p9") && !list.contains("asked"), "{list}");
    std::fs::write(bench.dir.path().join(JOURNAL), &old).unwrap();
    std::fs::remove_dir_all(bench.dir.path().join("live")).unwrap();
    let bench = bench.reopened();
    assert_eq!((bench.database.erasures().len(), count(&bench.database.snapshot(), "patient")), (2, 0));
    assert_eq!(bench.read("Patient", "p1"), None);
    assert_eq!(refusal(bench.put(&named_patient("p9", PLANTED))).0, 410, "who comes again is not taken either");
    bench.purged();
    assert_eq!(files_with(bench.dir.path(), PLANTED), [] as [String; 0]);
    assert_eq!(std::fs::read_to_string(bench.dir.path().join(ERASURE_LIST)).unwrap(), list);
    // And the other way round: a list that was lost is written again from the journal.
    bench.database.close();
    std::fs::remove_file(bench.dir.path().join(ERASURE_LIST)).unwrap();
    let bench = bench.reopened();
    assert_eq!(std::fs::read_to_string(bench.dir.path().join(ERASURE_LIST)).unwrap().lines().count(), 3);
}

/// Rows of format 2 have a column less. One that was not written anew would grow when it is erased, and leave its neighbours' bytes.
#[test]
fn a_journal_of_format_2_is_brought_to_this_format_and_erased_from() {
    let older = "ALTER TABLE version DROP COLUMN method; UPDATE meta SET value = '2' WHERE key = 'format';";
    let interrupted = "UPDATE meta SET value = '3, to be written anew' WHERE key = 'format';";
    for (sql, method) in [(older, Method::Put), (interrupted, Method::Post)] {
        let bench = bench();
        for n in 0..60 {
            bench.put(&named_patient(&format!("p{n}"), &PLANTED.repeat(n + 1))).unwrap();
        }
        let body = br#"{"resourceType":"Basic","code":{"text":"new"}}"#.to_vec();
        let made = bench.write(Interaction::Create { resource_type: "Basic".to_owned(), body, if_none_exist: None }).unwrap();
        let bench = bench.reopened();
        bench.database.close();
        Connection::open(bench.dir.path().join(JOURNAL)).unwrap().execute_batch(sql).unwrap();
        let (commit, timeline) = (bench.database.snapshot().commit(), bench.database.timeline());
        let inspected = inspect_journal(bench.dir.path()).unwrap();
        assert_eq!((inspected.commit, inspected.timeline), (commit, timeline), "a backup of that format can be restored");
        let bench = bench.reopened();
        let basic = bench.database.history(bench.hospital, "Basic", &made.entries[0].id).unwrap();
        assert_eq!(basic.iter().map(|v| v.method).collect::<Vec<_>>(), [method]);
        for n in 0..60 {
            bench.erase(&format!("p{n}"));
        }
        bench.purged();
        assert_eq!(files_with(bench.dir.path(), PLANTED), [] as [String; 0]);
        bench.database.close();
    }
}

#[test]
fn a_journal_of_format_1_is_brought_to_this_format() {
    let bench = bench();
    bench.database.close();
    let path = bench.dir.path().join("old");
    std::fs::create_dir(&path).unwrap();
    let connection = Connection::open(path.join(JOURNAL)).unwrap();
    connection.execute_batch(include_str!("../../journal/samples/format-1.sql")).unwrap();
    connection.close().unwrap();
    let database = open(&path, &bench.clock);
    let holder = database.holder("Haukeland").unwrap().id;
    assert_eq!(database.snapshot().commit(), Commit(3));
    assert_eq!(database.history(holder, "Condition", "c1").unwrap().len(), 2);
    database.erase(holder, "p1", "asked for it").unwrap();
    let timeline = database.timeline();
    database.close();
    let again = open(&path, &bench.clock);
    assert_eq!((again.timeline(), again.erasures().len()), (timeline, 1));
    assert_eq!(again.history(holder, "Observation", "o1").unwrap().len(), 1, "its first version was about p1");
    again.close();
}
