//! Views that are registered while the database runs.

use super::stored::{open_small, small, wait_until};
use super::*;

const CODES: &str = r#"{"resourceType":"ViewDefinition","name":"codes","status":"active","resource":"Observation","select":[{"column":[
    {"name":"observation","path":"getResourceKey()"},{"name":"patient","path":"subject.getReferenceKey(Patient)"},
    {"name":"who","path":"performer.first().getReferenceKey(Practitioner)"},
    {"name":"code","path":"code.coding.code.first()","type":"code"}]}]}"#;

fn observation(id: usize, code: &str) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"o{id}","status":"final","code":{{"coding":[{{"code":"{code}"}}]}},"subject":{{"reference":"Patient/p{}"}},"performer":[{{"reference":"Practitioner/n{}"}}]}}"#,
        id % 3,
        id % 5
    )
}

fn state(bench: &Bench, id: &str) -> ViewState {
    bench.database.view(id).unwrap().state
}

fn is_live(bench: &Bench, id: &str) -> bool {
    match state(bench, id) {
        ViewState::Failed { reason } => panic!("it failed: {reason}"),
        state => matches!(state, ViewState::Live { .. }),
    }
}

#[test]
fn a_view_that_is_registered_while_writes_go_on_holds_every_commit() {
    let bench = small();
    for id in 0..50 {
        bench.put(&observation(id, "before")).unwrap();
    }
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for id in 0..300 {
                bench.put(&observation(id % 70, &format!("c{id}"))).unwrap();
            }
        });
        bench.database.register_view("v1", CODES).unwrap();
        wait_until("the view", || is_live(&bench, "v1"));
        writer.join().unwrap();
    });
    let snapshot = bench.database.snapshot();
    assert_eq!(count(&snapshot, "codes"), 70);
    assert_eq!(count(&snapshot, "codes"), count(&snapshot, "observation"));
    for commit in 0..=snapshot.commit().0 {
        let then = bench.database.snapshot_at(Commit(commit)).unwrap().unwrap();
        assert_eq!(count(&then, "codes"), count(&then, "observation"), "as of commit {commit}");
    }
    bench.database.close();
    // Stored tables, and a rebuild from the journal alone.
    let again = open_small(bench.dir.path(), &bench.clock);
    assert_eq!(again.view("v1").unwrap().state, ViewState::Live { since: snapshot.commit() }, "it is on disk");
    assert_eq!(again.snapshot().first_difference(&snapshot), None);
    again.close();
    std::fs::remove_dir_all(bench.dir.path().join("live")).unwrap();
    let rebuilt = open_small(bench.dir.path(), &bench.clock);
    wait_until("the view", || matches!(rebuilt.view("v1").unwrap().state, ViewState::Live { .. }));
    assert_eq!(rebuilt.snapshot().first_difference(&snapshot), None);
    rebuilt.close();
}

#[test]
fn a_changed_definition_takes_the_place_of_the_old_one_and_a_deleted_one_goes() {
    let bench = small();
    bench.put(&observation(1, "a")).unwrap();
    bench.put(&observation(2, "b")).unwrap();
    bench.database.register_view("v1", CODES).unwrap();
    wait_until("the view", || is_live(&bench, "v1"));
    let only_a = CODES.replace(r#""select":"#, r#""where":[{"path":"code.coding.code = 'a'"}],"select":"#);
    bench.database.register_view("v1", &only_a).unwrap();
    assert_eq!(bench.database.view("v1").unwrap().version, 2);
    wait_until("the change", || is_live(&bench, "v1"));
    assert_eq!(count(&bench.database.snapshot(), "codes"), 1);
    bench.put(&observation(3, "a")).unwrap();
    bench.put(&observation(4, "b")).unwrap();
    assert_eq!(count(&bench.database.snapshot(), "codes"), 2);
    assert_eq!(count(&bench.database.snapshot_at(Commit(1)).unwrap().unwrap(), "codes"), 1, "the definition of today, the data of then");
    assert!(bench.database.remove_view("v1").unwrap().is_some());
    assert!(bench.database.snapshot().table("codes").is_none());
    assert!(bench.database.view("v1").is_none() && bench.database.remove_view("v1").unwrap().is_none());
    let bench = bench.reopened();
    assert!(bench.database.snapshot().table("codes").is_none() && bench.database.views().is_empty());
}

#[test]
fn what_cannot_be_a_live_table_is_refused_and_changes_nothing() {
    let bench = small();
    let commit = bench.database.snapshot().commit();
    let refused = |definition: &str| bench.database.register_view("x", definition).unwrap_err().to_string();
    assert!(refused("{").contains("no JSON"));
    assert!(refused(&CODES.replace("codes", "patient")).contains("built-in table"));
    assert!(refused(&CODES.replace("codes", "Two words")).contains("ViewDefinition.name"));
    assert!(refused(&CODES.replace("\"who\"", "\"holder\"")).contains("holder"));
    assert!(refused(&CODES.replace("code.coding.code.first()", "today()")).contains("today"));
    assert_eq!((bench.database.snapshot().commit(), bench.database.views().len()), (commit, 0));
    bench.database.register_view("a", CODES).unwrap();
    assert!(refused(CODES).contains("already has the name"));
}

#[test]
fn a_view_that_fails_on_what_is_there_says_so_and_one_that_fails_later_counts() {
    let bench = small();
    let several = CODES.replace("code.coding.code.first()", "code.coding.code");
    let two_codes = observation(1, "a").replace(r#"{"code":"a"}"#, r#"{"code":"a"},{"code":"b"}"#);
    bench.put(&observation(2, "a")).unwrap();
    bench.database.register_view("v", &several).unwrap();
    wait_until("the view", || is_live(&bench, "v"));
    bench.put(&two_codes).unwrap();
    let status = bench.database.view("v").unwrap();
    assert_eq!((status.failures, count(&bench.database.snapshot(), "codes")), (1, 1));
    assert!(status.last_failure.unwrap().contains("code"));
    assert!(bench.database.rebuild_view("v"));
    wait_until("the failure", || matches!(state(&bench, "v"), ViewState::Failed { .. }));
    let ViewState::Failed { reason } = state(&bench, "v") else { panic!("it failed") };
    assert!(reason.contains("Observation of commit 3") && reason.contains("code"), "{reason}");
}

/// Found by simulation: a Patient that was mentioned first in a column of keys of any type got no patient ordinal, ever, so
/// that its rows had no keys.
#[test]
fn a_patient_has_a_patient_key_whatever_column_mentions_it_first() {
    let any = r#"{"resourceType":"ViewDefinition","name":"about","status":"active","resource":"Condition","select":[{"column":[
        {"name":"about","path":"subject.getReferenceKey()"}]}]}"#;
    let bench = small();
    bench.database.register_view("v1", any).unwrap();
    wait_until("the view", || is_live(&bench, "v1"));
    bench.put(r#"{"resourceType":"Condition","id":"c","subject":{"reference":"Patient/p"}}"#).unwrap();
    bench.put(&patient("p", "female")).unwrap();
    let key = |table| rows(&bench.database.snapshot(), table, &["patient_key"])[0].column(0).null_count();
    assert_eq!((key("patient"), key("condition")), (0, 0));
}

/// A view was registered under another name, and under a third while the second was being built: the first table stayed, with the
/// rows of a definition that nobody had any more. And a view that was taken away while its table of another name was being built
/// left the one that it had.
#[test]
fn no_table_of_an_earlier_name_stays() {
    let bench = small();
    bench.put(&observation(1, "a")).unwrap();
    let named = |name: &str| CODES.replace("\"codes\"", &format!("\"{name}\""));
    let tables = || -> Vec<String> {
        let snapshot = bench.database.snapshot();
        let names = snapshot.tables().iter().map(|t| t.schema().name.clone());
        names.filter(|name| ["first", "second", "third"].contains(&name.as_str())).collect()
    };
    bench.database.register_view("v1", &named("first")).unwrap();
    wait_until("the first", || is_live(&bench, "v1"));
    let nobody_builds = bench.database.shared.building.lock().unwrap();
    bench.database.register_view("v1", &named("second")).unwrap();
    bench.database.register_view("v1", &named("third")).unwrap();
    assert_eq!(tables(), ["first"], "it goes on until the new one is there");
    drop(nobody_builds);
    wait_until("the third", || is_live(&bench, "v1"));
    assert_eq!(tables(), ["third"]);

    let nobody_builds = bench.database.shared.building.lock().unwrap();
    bench.database.register_view("v1", &named("first")).unwrap();
    bench.database.register_view("v2", &named("third")).unwrap();
    drop(nobody_builds);
    wait_until("both", || is_live(&bench, "v1") && is_live(&bench, "v2"));
    assert_eq!(tables().len(), 2, "another view may have the name that one had before: {:?}", tables());

    let nobody_builds = bench.database.shared.building.lock().unwrap();
    bench.database.register_view("v1", &named("second")).unwrap();
    bench.database.remove_view("v1").unwrap();
    assert_eq!(tables(), ["third"]);
    drop(nobody_builds);
}

#[test]
fn a_difference_names_the_table_that_only_one_side_has() {
    let (with, without) = (small(), small());
    with.database.register_view("v1", CODES).unwrap();
    without.database.put_document("study", "s", "{}").unwrap();
    wait_until("the view", || is_live(&with, "v1"));
    let (with, without) = (with.database.snapshot(), without.database.snapshot());
    assert_eq!(with.first_difference(&without).unwrap(), "codes: only the first has this table");
    assert_eq!(without.first_difference(&with).unwrap(), "codes: only the second has this table");
}
