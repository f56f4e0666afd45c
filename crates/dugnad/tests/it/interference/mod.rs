//! Non-interference: what lies outside a permit changes nothing of what is answered under it.
//!
//! A small database; a random permit; random SQL by a grammar. Each question is asked, then data outside the permit are changed (other
//! persons, other holders, columns and tables that are not granted, withheld records, persons who are out), and each is asked again.
//! The answer, the text of its error and its EXPLAIN must be the same, byte for byte. And as plans are kept for whoever asks the same
//! again, they must be those of a question that nobody has asked: the same SQL with a space behind it.
//!
//! `cargo test interference` asks 2,000 questions. `just fuzz 1000000` asks as many as wanted, on all cores, says how fast, and ends
//! with the first that fails: seed, permit, SQL, both answers and what changed. `DUGNAD_FUZZ_SEED=n` begins with that seed;
//! `DUGNAD_FUZZ_SQL='SELECT ...; ...'` asks these first under each permit.

mod grammar;
mod world;

use bytes::Bytes;
use dugnad::query::Question;
use dugnad::query::format::{Format, encode};
use futures::{StreamExt, stream};
use grammar::Grammar;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use world::{Case, KINDS, World};

/// How many questions are asked where nobody says.
const QUESTIONS: u64 = 2_000;

/// How many of them under one permit.
const OF_A_PERMIT: usize = 40;

/// How many are asked at once: no more than have a place.
const AT_ONCE: usize = 4;

/// After how many seeds it is said how far it has come.
const SAID_EVERY: u64 = 50;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Questions, and those of them that had an answer.
#[derive(Clone, Copy, Default)]
struct Asked {
    questions: usize,
    answered: usize,
    stories: u64,
}

#[test]
fn interference_is_none() {
    let (first, questions) = (number("DUGNAD_FUZZ_SEED", 1), number("DUGNAD_FUZZ_QUESTIONS", QUESTIONS));
    let stories = questions.div_ceil((OF_A_PERMIT * KINDS.len()) as u64);
    let (next, failed, all) = (AtomicU64::new(first), AtomicBool::new(false), Mutex::new(Asked::default()));
    let started = Instant::now();
    let work = || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _last = FailsAll(&failed);
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + stories {
                return;
            }
            let (asked, answered) = runtime.block_on(story(seed));
            let mut all = all.lock().unwrap();
            *all = Asked { questions: all.questions + asked, answered: all.answered + answered, stories: all.stories + 1 };
            if all.stories.is_multiple_of(SAID_EVERY) || all.stories == stories {
                let seconds = started.elapsed().as_secs_f64();
                let (seeds, asked) = (all.stories as f64 / seconds, all.questions as f64 / seconds);
                println!(
                    "{} questions, {} with an answer; {seeds:.2} seeds and {asked:.0} questions a second",
                    all.questions, all.answered
                );
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64).min(stories);
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    let Asked { questions, answered, .. } = *all.lock().unwrap();
    assert!(answered * 4 > questions, "most questions are refused: {answered} of {questions} have an answer");
}

/// Ends the other workers when one fails: the first failure is the one that is wanted.
struct FailsAll<'f>(&'f AtomicBool);

impl Drop for FailsAll<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// A database, some permits, and questions under each. How many, and how many of them were answered.
async fn story(seed: u64) -> (usize, usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut world, mut cases) = (World::new(), Vec::new());
    let (mut asked, mut answered) = (0, 0);
    for round in 0..KINDS.len() {
        let case = world.case(round, &mut random);
        let (questions, good) = held(&world, &case, seed, &mut random).await;
        asked += questions.len();
        answered += good;
        cases.push((case, questions));
    }
    // By now the database has changed inside these permits too.
    for (case, questions) in &cases {
        as_if_new(&world, case, questions, seed).await;
    }
    (asked, answered)
}

/// What was asked before is answered like what nobody has asked.
async fn as_if_new(world: &World, case: &Case, questions: &[String], seed: u64) {
    let new: Vec<String> = questions.iter().map(|sql| format!("{sql} ")).collect();
    let (again, new) = (answers(world, case, questions).await, answers(world, case, &new).await);
    for ((question, again), new) in questions.iter().zip(&again).zip(&new) {
        let plans = |answered: &Answered| lines(answered).iter().map(|line| without_order(line)).collect::<Vec<_>>();
        assert!(
            again == new || (question.starts_with("EXPLAIN") && plans(again) == plans(new)),
            "a kept plan, DUGNAD_FUZZ_SEED={seed}\npermit: {}\nquestion: {question}\nkept: {}\nnew: {}",
            case.permit,
            lines(again).join("\n"),
            lines(new).join("\n"),
        );
    }
}

/// Asks questions under one permit before and after a change outside it. Which, and how many of them were answered.
async fn held(world: &World, case: &Case, seed: u64, random: &mut StdRng) -> (Vec<String>, usize) {
    let grammar = Grammar::new(world.columns(case).await, case.order_may_change);
    let own = std::env::var("DUGNAD_FUZZ_SQL").unwrap_or_default();
    let own = own.split(';').filter(|sql| !sql.trim().is_empty()).map(str::to_owned);
    let questions: Vec<String> = own.chain((0..OF_A_PERMIT).map(|_| grammar.question(random))).collect();
    let before = answers(world, case, &questions).await;
    let changes = world.change_outside(case, random);
    let after = answers(world, case, &questions).await;
    for ((question, before), after) in questions.iter().zip(&before).zip(&after) {
        let (mut a, mut b) = (lines(before), lines(after));
        if question.starts_with("EXPLAIN") {
            a.iter_mut().chain(&mut b).for_each(|line| *line = without_order(line));
        }
        if case.order_may_change {
            a.sort_unstable();
            b.sort_unstable();
        }
        assert!(
            a == b,
            "interference, DUGNAD_FUZZ_SEED={seed}\npermit: {}\nquestion: {question}\nbefore: {}\nafter: {}\nchanged: {changes:#?}",
            case.permit,
            a.join("\n"),
            b.join("\n"),
        );
    }
    let good = before.iter().filter(|(_, refused)| refused.is_none()).count();
    (questions, good)
}

/// A line of a plan without the order of its expressions and where they stand: DataFusion takes the keys of a join out of a set that is
/// hashed with another seed each time, so that their order is another one from one EXPLAIN to the next, whatever the data.
fn without_order(line: &str) -> String {
    let mut parts: Vec<&str> = line.split([',', '[', ']', '(', ')', ' ']).map(|part| part.split('@').next().unwrap_or_default()).collect();
    parts.sort_unstable();
    parts.join(" ")
}

type Answered = (Vec<u8>, Option<String>);

fn lines((body, refused): &Answered) -> Vec<String> {
    let body = String::from_utf8_lossy(body);
    body.lines().map(str::to_owned).chain(refused.clone()).collect()
}

async fn answers(world: &World, case: &Case, questions: &[String]) -> Vec<Answered> {
    stream::iter(questions.iter().map(|sql| ask(world, case, sql))).buffered(AT_ONCE).collect().await
}

/// The bytes of an answer, and its error if it has one.
async fn ask(world: &World, case: &Case, sql: &str) -> Answered {
    let (who, permit) = (case.who.clone(), case.id.clone());
    let question = Question { who, interface: "sql", permit, sql: sql.to_owned(), as_of: None, min_commit: None };
    let answer = match world.local.query.ask(question).await {
        Ok(answer) => answer,
        Err(error) => return (Vec::new(), Some(error.to_string())),
    };
    let (mut body, mut refused) = (Vec::new(), None);
    let chunks: Vec<Result<Bytes, _>> = encode(answer, Format::Csv).collect().await;
    for chunk in chunks {
        match chunk {
            Ok(chunk) => body.extend_from_slice(&chunk),
            Err(error) => refused = Some(error.to_string()),
        }
    }
    (body, refused)
}

/// One of several.
fn one<'a, T>(from: &'a [T], random: &mut StdRng) -> &'a T {
    &from[random.random_range(0..from.len())]
}
