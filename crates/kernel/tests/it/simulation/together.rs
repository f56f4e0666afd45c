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
    let mut left: Vec<(&Request, Answer)> = requests.iter().zip(answers).collect();
    // The state after each commit, from the one before all of them on.
    let mut states = vec![model.clone()];
    while let Some(at) = left.iter().position(|(request, answer)| makes_next(&states[states.len() - 1], request, answer).is_some()) {
        let (request, answer) = left.swap_remove(at);
        let mut next = states[states.len() - 1].clone();
        if let Some(done) = makes_next(&next, request, &answer) {
            next.apply(request, &done);
        }
        states.push(next);
    }
    // What made no commit is as the model says at the commit that it names, or, if it names none, at one of them.
    let base = model.newest();
    for (request, answer) in left {
        let fits = |state: &Model| agrees(state, request, &answer).is_some_and(|done| done.is_none_or(|d| d.changes.is_empty()));
        let fits = match &answer {
            Ok(outcome) if !outcome.replayed => outcome.commit.0.checked_sub(base).and_then(|n| states.get(n as usize)).is_some_and(fits),
            _ => states.iter().any(fits),
        };
        if !fits {
            let expected: Vec<Expected> = states.iter().map(|s| s.expect(request, &|entry| drawn(answer.as_ref().ok(), entry))).collect();
            return Err(format!(
                "the database says\n  {answer:?}\nto\n  {request:?}\nafter each commit the model would say\n  {expected:?}"
            ));
        }
    }
    *model = states.swap_remove(states.len() - 1);
    Ok(())
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
