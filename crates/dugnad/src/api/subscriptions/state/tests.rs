use super::*;

fn at(commit: u64) -> Cursor {
    Cursor { commit: Commit(commit), resource: ResourceOrdinal(7) }
}

fn key(id: &str) -> Key {
    Key { holder: "Haukeland".to_owned(), id: id.to_owned() }
}

fn write(state: &State, id: &str, user: &str, version: u64, commit: u64) -> Result<(), ApiError> {
    state.written(user, Commit(commit), &[Written { key: key(id), version, gone: false }])
}

fn there(state: &State, id: &str) -> Result<Row, Box<dyn std::error::Error>> {
    Ok(state.row(&key(id))?.ok_or("it is there")?)
}

#[test]
fn a_place_outlives_errors_and_not_what_is_over() -> Result<(), Box<dyn std::error::Error>> {
    let (dir, key) = (tempfile::tempdir()?, key("s"));
    let state = State::open(dir.path(), "one")?;
    write(&state, "s", "kari", 1, 5)?;
    assert_eq!(state.activate(&key, 1, 2)?, Activation::Done);
    state.told(&key, at(9), &[(1, at(6)), (2, at(9))])?;
    state.told(&key, at(12), &[])?;
    // On its way, and not taken.
    state.sending(&key, &[(3, at(13))])?;
    assert_eq!(state.sent(&key, 2)?, [(3, at(13))]);
    let row = there(&state, "s")?;
    assert_eq!((row.cursor, row.events, row.begun, state.by_status()?), (at(12), 2, Commit(5), vec![("active".to_owned(), 1)]));
    // Given up, asked for again by somebody else: on from where it stopped.
    state.deactivate(&key, 1, Status::Error)?;
    assert_eq!(state.by_status()?, [("error".to_owned(), 1)]);
    write(&state, "s", "ola", 4, 40)?;
    state.activate(&key, 4, 5)?;
    drop(state);
    let state = State::open(dir.path(), "one")?;
    let row = there(&state, "s")?;
    assert_eq!((row.user.as_str(), row.activated, row.cursor, row.begun), ("ola", 5, at(12), Commit(5)));
    assert_eq!(state.events(&key, 2, 2, 9)?, [(2, at(9))]);
    assert_eq!(state.sent(&key, row.events)?, [(3, at(13))]);
    assert_eq!(state.events(&key, u64::MAX, u64::MAX, 9)?, []);
    // Off, and on again: anew. What is still told of before it does not bring its place back.
    state.deactivate(&key, 4, Status::Off)?;
    state.told(&key, at(13), &[(3, at(13))])?;
    write(&state, "s", "ola", 7, 50)?;
    state.told(&key, at(14), &[(4, at(14))])?;
    let row = there(&state, "s")?;
    assert_eq!((row.cursor, row.events), (end_of(Commit(50)), 0));
    assert!(state.events(&key, 0, 9, 9)?.is_empty());
    drop(state);
    // On another timeline its place means nothing; who asked does.
    let row = there(&State::open(dir.path(), "two")?, "s")?;
    assert!(row.is_restored() && row.user == "ola" && row.begun == Commit(0));
    Ok(())
}

/// It was begun only when it became active: what came between asking and a handshake that failed was never told.
#[test]
fn it_counts_from_the_commit_that_first_asked_for_it() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let state = State::open(dir.path(), "one")?;
    write(&state, "s", "kari", 1, 10)?;
    state.deactivate(&key("s"), 1, Status::Error)?;
    write(&state, "s", "kari", 3, 50)?;
    state.activate(&key("s"), 3, 4)?;
    assert_eq!((there(&state, "s")?.begun, there(&state, "s")?.cursor), (Commit(10), end_of(Commit(10))));
    Ok(())
}

/// What the server had judged was carried out on what somebody had written since.
#[test]
fn what_is_judged_is_what_was_looked_at() -> Result<(), Box<dyn std::error::Error>> {
    let (dir, key) = (tempfile::tempdir()?, key("s"));
    let state = State::open(dir.path(), "one")?;
    write(&state, "s", "kari", 1, 1)?;
    write(&state, "s", "ola", 3, 3)?;
    write(&state, "s", "kari", 2, 2)?; // it was on its way for longer
    assert_eq!((there(&state, "s")?.user.as_str(), there(&state, "s")?.written), ("ola", 3));
    assert_eq!(state.activate(&key, 1, 2)?, Activation::Overtaken);
    state.activate(&key, 3, 4)?;
    state.deactivate(&key, 1, Status::Off)?;
    state.forget(&key, 1)?;
    assert_eq!(there(&state, "s")?.activated, 4);
    // A version of the server's that was not written after all.
    state.not_activated(&key, 4)?;
    assert_eq!(there(&state, "s")?.activated, 0);
    // Deleted, and made again before anybody has looked.
    let gone = |version| state.written("ola", Commit(9), &[Written { key: key.clone(), version, gone: true }]);
    gone(5)?;
    assert_eq!(state.row(&key)?, None);
    write(&state, "s", "ola", 6, 10)?;
    gone(5)?;
    state.forget(&key, 5)?;
    assert_eq!(there(&state, "s")?.begun, Commit(10));
    assert_eq!((state.keys(None)?, state.keys(Some("Ullev\u{e5}l"))?), (vec![key], vec![]));
    Ok(())
}

#[test]
fn no_more_are_active_than_may_be() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let state = State::open(dir.path(), "one")?;
    let fill = |holder: &str, count: usize| {
        let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
                   INSERT INTO subscription (holder, id, timeline, user, activated, begun, commit_number, resource, events, written)
                   SELECT ?1, 'n' || i, 'one', 'x', 2, 1, 1, 1, 0, 1 FROM n";
        state.store().execute(sql, params![holder, count])
    };
    write(&state, "s", "kari", 1, 1)?;
    fill("Haukeland", MAX_SUBSCRIPTIONS_OF_ONE)?;
    assert_eq!((state.room(&key("s"))?, state.activate(&key("s"), 1, 2)?), (Activation::ManyOfHolder, Activation::ManyOfHolder));
    state.deactivate(&key("n1"), 1, Status::Off)?;
    assert_eq!((state.room(&key("s"))?, state.activate(&key("s"), 1, 2)?), (Activation::Done, Activation::Done));
    assert_eq!(state.activate(&key("s"), 1, 2)?, Activation::Done, "it does not count against itself");
    fill("Ullev\u{e5}l", MAX_SUBSCRIPTIONS - MAX_SUBSCRIPTIONS_OF_ONE)?;
    let other = Key { holder: "Stavanger".to_owned(), id: "s".to_owned() };
    state.written("per", Commit(2), &[Written { key: other.clone(), version: 1, gone: false }])?;
    assert_eq!((state.room(&other)?, state.activate(&other, 1, 2)?), (Activation::Many, Activation::Many));
    Ok(())
}

/// A file of an earlier version goes on: what it made active is told.
#[test]
fn a_file_without_the_newer_columns_is_taken() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let earlier = Connection::open(dir.path().join(FILE))?;
    earlier.execute_batch(
        "CREATE TABLE subscription (holder TEXT NOT NULL, id TEXT NOT NULL, timeline TEXT NOT NULL, user TEXT NOT NULL,
             activated INTEGER NOT NULL, begun INTEGER NOT NULL, commit_number INTEGER NOT NULL, resource INTEGER NOT NULL,
             events INTEGER NOT NULL, PRIMARY KEY (holder, id)) STRICT, WITHOUT ROWID;
         INSERT INTO subscription VALUES ('Haukeland', 's', 'one', 'kari', 2, 5, 9, 7, 3);",
    )?;
    drop(earlier);
    let row = there(&State::open(dir.path(), "one")?, "s")?;
    assert!(row.knows(2) && !row.is_restored() && row.cursor == at(9));
    Ok(())
}
