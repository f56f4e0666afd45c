//! Writes of several clients at once: whatever order the database has given them, it must be one in which the model says the
//! same, one after the other.

use super::model::{Done, Expected, Model};
use super::request::Request;
use super::run::drawn;
use super::story::Write;
use dugnad_kernel::database::{Database, Outcome, WriteError};

type Answer = Result<Outcome, WriteError>;

/// Sends them all at once, and brings the model to where the database is.
pub fn write(database: &Database, model: &mut Model, writes: &[Write]) -> Result<(), String> {
    let requests: Vec<Request> = writes.iter().map(|write| Request::of(write, model)).filter(|r| !r.entries.is_empty()).collect();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let clients: Vec<_> = requests.iter().map(|request| scope.spawn(|| database.write(request.write()))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let left: Vec<(&Request, &Answer)> = requests.iter().zip(&answers).collect();
    // The state after each commit, from the one before all of them on.
    let mut states = vec![model.clone()];
    if let Err((request, answer)) = explained(&mut states, &left) {
        let expected = model.expect(request, &|entry| drawn(answer.as_ref().ok(), entry));
        return Err(format!(
            "no order of these explains the answers\n  {answers:?}\nto\n  {requests:?}\nBefore all of them the model would say\n  {expected:?}"
        ));
    }
    *model = states.swap_remove(states.len() - 1);
    Ok(())
}

/// Finds an order that explains the answers that are left, and leaves the state after each of its commits; an answer that nothing
/// explains, if there is none. Several answers may name one commit: the one that made it, and those that found what it wrote.
fn explained<'l>(states: &mut Vec<Model>, left: &[(&'l Request, &'l Answer)]) -> Result<(), (&'l Request, &'l Answer)> {
    let depth = states.len();
    for (at, (request, answer)) in left.iter().enumerate() {
        let newest = &states[depth - 1];
        let Some(done) = makes_next(newest, request, answer) else { continue };
        let mut next = newest.clone();
        next.apply(request, &done);
        states.push(next);
        let rest: Vec<_> = left.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, one)| *one).collect();
        if explained(states, &rest).is_ok() {
            return Ok(());
        }
        states.truncate(depth);
    }
    // What made no commit is as the model says at the commit that it names, or, if it names none, at one of them.
    let base = states[0].newest();
    let fits = |request: &Request, answer: &Answer| {
        let at = |state: &Model| agrees(state, request, answer).is_some_and(|done| done.is_none_or(|d| d.changes.is_empty()));
        match answer {
            Ok(outcome) if !outcome.replayed => outcome.commit.0.checked_sub(base).and_then(|n| states.get(n as usize)).is_some_and(at),
            _ => states.iter().any(at),
        }
    };
    left.iter().find(|(request, answer)| !fits(request, answer)).map_or(Ok(()), |one| Err(*one))
}

/// What the write does that makes the commit after this state; `None` if this one does not.
fn makes_next(state: &Model, request: &Request, answer: &Answer) -> Option<Done> {
    let next = answer.as_ref().is_ok_and(|outcome| !outcome.replayed && outcome.commit.0 == state.newest() + 1);
    agrees(state, request, answer).flatten().filter(|done| next && !done.changes.is_empty())
}

/// Whether the model, in this state, says what the database has said; and what that does.
fn agrees(state: &Model, request: &Request, answer: &Answer) -> Option<Option<Done>> {
    let expected = state.expect(request, &|entry| drawn(answer.as_ref().ok(), entry));
    match (expected, answer) {
        (Expected::Refused(wanted), Err(WriteError::Refused { status, .. })) if wanted == *status => Some(None),
        (Expected::Replayed(commit), Ok(outcome)) if outcome.replayed && outcome.commit.0 == commit => Some(None),
        (Expected::Done(done), Ok(outcome)) if !outcome.replayed => {
            let entries = outcome.entries.iter().map(|e| (e.status, e.id.clone(), e.version));
            entries.eq(done.entries.iter().cloned()).then_some(Some(done))
        }
        _ => None,
    }
}
