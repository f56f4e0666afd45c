use super::{Hospital, block_on};
use crate::access::{Principal, Role};
use crate::query::record::{Done, Record, Recorded};
use crate::query::run::{Deadline, Gate, Threads, pump, start};
use crate::query::session::Session;
use crate::query::{Basis, Question};
use dugnad_kernel::audit::{Access, Act, AuditError, Entry};
use dugnad_kernel::clock::SystemClock;
use dugnad_kernel::ids::Commit;
use dugnad_sql::QueryError;
use futures::StreamExt;
use roaring::RoaringBitmap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A log in memory that stops taking entries after the first `room`.
#[derive(Default)]
struct Memory {
    entries: Mutex<Vec<Entry>>,
    room: AtomicU64,
    /// Whose data each answer delivered.
    delivered: Mutex<Vec<Arc<RoaringBitmap>>>,
}

type Told = (Act, Option<u64>, Option<u64>, Option<String>);

impl Memory {
    fn with_room(room: u64) -> Arc<Self> {
        Arc::new(Self { entries: Mutex::default(), room: AtomicU64::new(room), delivered: Mutex::default() })
    }

    /// Act, intent, rows and outcome of each entry.
    fn acts(&self) -> Vec<Told> {
        let entries = self.entries.lock().unwrap();
        entries.iter().map(|e| (e.act, e.intent, e.rows, e.outcome.clone())).collect()
    }
}

impl Record for Memory {
    fn begin_then(&self, intent: &Entry, done: Done) -> Access {
        let index = self.entries.lock().unwrap().len() as u64;
        self.append_then(intent, done);
        Access(index)
    }

    fn complete_then(&self, access: Access, completion: &Entry, delivered: Option<&Arc<RoaringBitmap>>, done: Done) {
        self.delivered.lock().unwrap().extend(delivered.cloned());
        self.append_then(&Entry { intent: Some(access.0), ..completion.clone() }, done);
    }

    fn flush(&self) {}

    fn append_then(&self, entry: &Entry, done: Done) {
        let mut entries = self.entries.lock().unwrap();
        if entries.len() as u64 >= self.room.load(Ordering::Relaxed) {
            return done(Err(AuditError::Stopped));
        }
        entries.push(entry.clone());
        done(Ok(entries.len() as u64 - 1));
    }
}

fn question(sql: &str) -> Question {
    Question {
        who: Principal { inside_spe: true, ..Principal::new("authority", Role::Authority, None) },
        interface: "sql",
        permit: "surveillance".to_owned(),
        sql: sql.to_owned(),
        as_of: None,
        min_commit: None,
    }
}

/// Asks, and reads `batches` batches of the answer; how many rows there were, or the error.
async fn read(log: &Arc<Memory>, sql: &str, limit: Duration, batches: usize) -> Result<u64, QueryError> {
    read_from(log.clone(), sql, limit, batches).await
}

async fn read_from(log: Arc<dyn Record>, sql: &str, limit: Duration, batches: usize) -> Result<u64, QueryError> {
    let threads = Threads::new();
    let deadline = Deadline::after(limit);
    let place = Gate::new().enter(deadline).await?;
    let recorded = Recorded::new(log, Arc::new(SystemClock), &question(sql));
    let world = Hospital::new().everything();
    let text = sql.to_owned();
    let planned = threads.run(deadline, async move { Session::open(&world).await?.plan(&text).await }).await;
    let planned = match planned {
        Ok(planned) => planned,
        Err(error) => return Err(recorded.refusal(error).await),
    };
    let intended = recorded.intent(&Basis::Commit(Commit(7)), &planned.tables, Some(planned.delivered().clone()))?;
    let schema = planned.schema.clone();
    let mut answer = start(&threads, schema, |sender| async move { pump(&planned, &sender).await }, intended, place, deadline)?;
    let mut rows = 0;
    for _ in 0..batches {
        match answer.next().await {
            Some(Ok(batch)) => rows += batch.num_rows() as u64,
            Some(Err(error)) => return Err(QueryError::of_stream(error)),
            None => break,
        }
    }
    Ok(rows)
}

const MINUTE: Duration = Duration::from_secs(60);
const FOREVER: &str =
    "SELECT COUNT(*) FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b CROSS JOIN generate_series(1, 1000000) c";

#[test]
fn an_answer_is_on_the_record_before_and_after() {
    let log = Memory::with_room(9);
    let rows = block_on(read(&log, "SELECT code FROM procedure JOIN patient USING (patient_key)", MINUTE, 99)).unwrap();
    assert_eq!(rows, 5);
    assert_eq!(log.acts(), [(Act::Intent, None, None, None), (Act::Completion, Some(0), Some(5), Some("ok".to_owned()))]);
    let entries = log.entries.lock().unwrap();
    assert_eq!(entries[0].tables, ["patient", "procedure"]);
    assert_eq!((entries[0].commit, entries[0].permit.as_deref()), (Some(7), Some("surveillance")));
    assert!(entries[0].request.is_some() && entries[1].request.is_none());
}

/// Of whom rows were read: all who are in an aggregate, those who pass a filter, nobody where no row does.
#[test]
fn the_record_says_whose_rows_were_read() {
    let read_of = |sql: &str| {
        let log = Memory::with_room(9);
        block_on(read(&log, sql, MINUTE, 99)).unwrap();
        let delivered = log.delivered.lock().unwrap();
        assert_eq!(delivered.len(), 1);
        delivered[0].iter().collect::<Vec<_>>()
    };
    let everybody = read_of("SELECT count(*) FROM patient");
    assert!(everybody.len() > 2, "{everybody:?}");
    assert_eq!(read_of("SELECT gender, count(*) FROM patient GROUP BY gender"), everybody);
    assert_eq!(read_of("SELECT count(*) FROM procedure WHERE false"), [] as [u32; 0]);
    assert_eq!(read_of("SELECT code FROM procedure LIMIT 1").len(), 1);
    let some = read_of("SELECT code FROM procedure");
    assert!(some.iter().all(|patient| everybody.contains(patient)));
}

/// The intent of an answer in several batches is durable before the first of them is handed out.
#[test]
fn an_intent_that_fails_hands_out_nothing() {
    /// Takes the intent, and fails when somebody waits for it.
    #[derive(Default)]
    struct Late(Mutex<Vec<Done>>);
    impl Record for Late {
        fn append_then(&self, _: &Entry, done: Done) {
            done(Err(AuditError::Stopped));
        }
        fn begin_then(&self, _: &Entry, done: Done) -> Access {
            self.0.lock().unwrap().push(done);
            Access(0)
        }
        fn complete_then(&self, _: Access, _: &Entry, _: Option<&Arc<RoaringBitmap>>, done: Done) {
            done(Err(AuditError::Stopped));
        }
        fn flush(&self) {
            self.0.lock().unwrap().drain(..).for_each(|done| done(Err(AuditError::Stopped)));
        }
    }
    for sql in ["SELECT code FROM procedure", "SELECT value FROM generate_series(1, 50000)"] {
        let error = block_on(read_from(Arc::new(Late::default()), sql, MINUTE, 9)).unwrap_err();
        assert!(matches!(error, QueryError::Audit(_)), "{sql}: {error:?}");
    }
}

#[test]
fn an_answer_without_rows_is_completed() {
    let log = Memory::with_room(9);
    assert_eq!(block_on(read(&log, "SELECT code FROM procedure WHERE false", MINUTE, 99)).unwrap(), 0);
    assert_eq!(log.acts().last().unwrap(), &(Act::Completion, Some(0), Some(0), Some("ok".to_owned())));
}

#[test]
fn nothing_is_read_without_the_log() {
    let log = Memory::with_room(0);
    let error = block_on(read(&log, "SELECT code FROM procedure", MINUTE, 99)).unwrap_err();
    assert!(matches!(error, QueryError::Audit(_)), "{error:?}");
}

#[test]
fn the_last_batch_waits_for_the_completion() {
    let log = Memory::with_room(1);
    let error = block_on(read(&log, "SELECT code FROM procedure", MINUTE, 99)).unwrap_err();
    assert!(matches!(error, QueryError::Audit(_)), "one batch was read, and none was handed out: {error:?}");
    let log = Memory::with_room(1);
    let rows = block_on(read(&log, "SELECT value FROM generate_series(1, 50000)", MINUTE, 3)).unwrap();
    assert!(rows > 0 && rows < 50_000, "earlier batches are handed out while the last one waits: {rows}");
}

#[test]
fn a_refusal_is_on_the_record() {
    let log = Memory::with_room(9);
    let error = block_on(read(&log, "SELECT secret FROM nowhere", MINUTE, 99)).unwrap_err();
    assert_eq!(log.acts(), [(Act::Refusal, None, None, Some(error.to_string()))]);
    let full = Memory::with_room(0);
    assert!(matches!(block_on(read(&full, "SELECT secret FROM nowhere", MINUTE, 99)), Err(QueryError::Audit(_))));
}

#[test]
fn a_failure_is_on_the_record() {
    let log = Memory::with_room(9);
    let error = block_on(read(&log, "SELECT CAST(remark AS INT) FROM patient", MINUTE, 99)).unwrap_err();
    assert!(matches!(error, QueryError::Refused(_)));
    assert_eq!(log.acts().last().unwrap(), &(Act::Completion, Some(0), Some(0), Some("refused".to_owned())));
}

#[test]
fn who_leaves_cancels_the_question() {
    let log = Memory::with_room(9);
    let rows = block_on(read(&log, "SELECT value FROM generate_series(1, 1000000)", MINUTE, 2)).unwrap();
    assert_eq!(log.acts().last().unwrap(), &(Act::Completion, Some(0), Some(rows), Some("cancelled".to_owned())));
}

#[test]
fn time_is_bounded() {
    let log = Memory::with_room(9);
    let began = std::time::Instant::now();
    let error = block_on(read(&log, FOREVER, Duration::from_millis(300), 99)).unwrap_err();
    assert!(matches!(error, QueryError::Limit(_)), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(log.acts().last().unwrap(), &(Act::Completion, Some(0), Some(0), Some("limit".to_owned())));
}

#[test]
fn places_are_bounded() {
    block_on(async {
        let gate = Arc::new(Gate::with(1, 1));
        let place = gate.enter(Deadline::after(MINUTE)).await.unwrap();
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter(Deadline::after(MINUTE)).await.map(drop) }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(matches!(gate.enter(Deadline::after(MINUTE)).await, Err(QueryError::Busy { .. })));
        drop(place);
        waiting.await.unwrap().unwrap();
        let place = gate.enter(Deadline::after(MINUTE)).await.unwrap();
        let late = gate.enter(Deadline::after(Duration::from_millis(20))).await;
        assert!(matches!(late, Err(QueryError::Busy { .. })), "who waits in vain is told to come back");
        drop(place);
        gate.enter(Deadline::after(MINUTE)).await.unwrap();
    });
}
