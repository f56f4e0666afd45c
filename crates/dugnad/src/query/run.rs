//! Running a planned question: on threads of its own, within its limits, on the record.

use super::record::Intended;
use super::running::Watch;
use super::session::Planned;
use crate::limits::{BATCHES_WAITING, QUERY_STACK_BYTES, QUESTION_NICE, QUESTIONS_PER_CORE, QUESTIONS_WAITING, RETRY_AFTER_S};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use dugnad_sql::QueryError;
use futures::{StreamExt, stream};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, timeout_at};

/// The threads on which questions are planned and run. Not those of the server: a question computes for seconds, and its
/// trees need a deep stack.
pub(super) struct Threads {
    runtime: Option<Runtime>,
}

impl Threads {
    pub fn new() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(cores())
            .thread_name("question")
            .thread_stack_size(QUERY_STACK_BYTES)
            .on_thread_start(give_way)
            .enable_time()
            .build();
        Self { runtime: runtime.inspect_err(|e| tracing::error!("no threads for questions: {e}")).ok() }
    }

    /// Runs `work` on these threads until it is done or `deadline` has passed.
    pub async fn run<T: Send + 'static>(
        &self,
        deadline: Deadline,
        work: impl Future<Output = Result<T, QueryError>> + Send + 'static,
    ) -> Result<T, QueryError> {
        let task = AbortOnDrop(self.spawn(work)?);
        wait(task, deadline.at).await.unwrap_or_else(|| Err(deadline.error()))
    }

    fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<JoinHandle<T>, QueryError> {
        let runtime = self.runtime.as_ref();
        let runtime = runtime.ok_or_else(|| QueryError::Internal("the system gave no threads for questions".to_owned()))?;
        Ok(runtime.spawn(work))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background(); // a runtime may not wait for its threads inside another one
        }
    }
}

/// Lets this thread run after others that want to, where the system can do that for a single thread.
fn give_way() {
    #[cfg(target_os = "linux")]
    // SAFETY: it takes a number and changes nothing but the priority of the calling thread, which any thread may lower.
    let _ = unsafe { libc::nice(QUESTION_NICE) };
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a task comes to; `None` if the deadline came first, and then it is aborted.
async fn wait<T>(mut task: AbortOnDrop<Result<T, QueryError>>, at: Instant) -> Option<Result<T, QueryError>> {
    let joined = timeout_at(at, &mut task.0).await.ok()?;
    Some(
        joined
            .unwrap_or_else(|e| Err(QueryError::Internal(if e.is_panic() { "the engine panicked" } else { "it was stopped" }.to_owned()))),
    )
}

/// When a question must have ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    pub fn after(limit: Duration) -> Self {
        Self { at: Instant::now() + limit, limit }
    }

    /// The earlier of this and so long after its start.
    pub fn within(self, limit: Option<Duration>) -> Self {
        match limit.filter(|limit| *limit < self.limit) {
            Some(limit) => Self { at: self.at - (self.limit - limit), limit },
            None => self,
        }
    }

    fn error(self) -> QueryError {
        QueryError::time(self.limit)
    }
}

/// Within what an answer is given.
pub(super) struct Bounds {
    pub deadline: Deadline,
    /// The most rows.
    pub rows: u64,
    pub watch: Watch,
}

#[cfg(test)]
impl From<Deadline> for Bounds {
    fn from(deadline: Deadline) -> Self {
        Self { deadline, rows: u64::MAX, watch: Watch::nothing() }
    }
}

/// The places for questions: some run, some wait, the rest is told to come back.
pub(super) struct Gate {
    places: Arc<Semaphore>,
    inside: Arc<AtomicUsize>,
    most: usize,
}

/// A place. Dropping it lets the next one in.
pub(super) struct Place {
    _place: OwnedSemaphorePermit,
    _inside: Inside,
}

struct Inside(Arc<AtomicUsize>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    pub fn new() -> Self {
        Self::with(cores() * QUESTIONS_PER_CORE, QUESTIONS_WAITING)
    }

    pub fn with(running: usize, waiting: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(running)), inside: Arc::new(AtomicUsize::new(0)), most: running + waiting }
    }

    /// Waits for a place, until `deadline`; if too many wait already, does not.
    pub async fn enter(&self, deadline: Deadline) -> Result<Place, QueryError> {
        let busy = || QueryError::Busy { retry_after_s: RETRY_AFTER_S };
        let inside = Inside(self.inside.clone());
        if self.inside.fetch_add(1, Ordering::Relaxed) >= self.most {
            return Err(busy());
        }
        let place = timeout_at(deadline.at, self.places.clone().acquire_owned()).await;
        Ok(Place { _place: place.map_err(|_| busy())?.map_err(|_| busy())?, _inside: inside })
    }
}

/// What comes from the running query.
pub(super) enum Message {
    Batch(RecordBatch),
    Failed(QueryError),
    /// Without it, an end of the channel means that the query was stopped.
    End,
}

/// Starts a question whose intent is in the log: `produce` sends its batches. Dropping the stream cancels it.
pub(super) fn start<P, F>(
    threads: &Threads,
    schema: SchemaRef,
    produce: P,
    intended: Intended,
    place: Place,
    bounds: impl Into<Bounds>,
) -> Result<SendableRecordBatchStream, QueryError>
where
    P: FnOnce(mpsc::Sender<Message>) -> F,
    F: Future<Output = Result<(), QueryError>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(BATCHES_WAITING);
    let produced = produce(sender.clone());
    let task = threads.spawn(async move {
        let end = match produced.await {
            Ok(()) => Message::End,
            Err(error) => Message::Failed(error),
        };
        drop(sender.send(end).await); // a reader that is gone needs no end
    });
    let task = match task {
        Ok(task) => task.abort_handle(),
        Err(error) => {
            intended.abandon(0, error.kind());
            return Err(error);
        }
    };
    Ok(recorded(schema, Running { receiver, task, intended, bounds: bounds.into(), held: None, rows: 0, ended: false, _place: place }))
}

/// Runs a planned question.
pub(super) async fn pump(planned: &Planned, sender: &mpsc::Sender<Message>) -> Result<(), QueryError> {
    let mut batches = planned.execute().map_err(QueryError::running)?;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(QueryError::running)?;
        if batch.num_rows() > 0 && sender.send(Message::Batch(batch)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// An answer that is being read.
struct Running {
    receiver: mpsc::Receiver<Message>,
    task: AbortHandle,
    intended: Intended,
    bounds: Bounds,
    /// The newest batch: it is handed out when the next one is there, or the completion is durable.
    held: Option<RecordBatch>,
    rows: u64,
    ended: bool,
    _place: Place,
}

fn recorded(schema: SchemaRef, running: Running) -> SendableRecordBatchStream {
    let batches = stream::unfold(running, |mut running| async move {
        let next = running.next().await?;
        Some((next.map_err(Into::into), running))
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

impl Running {
    async fn next(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        if self.ended {
            return None;
        }
        loop {
            // Before each batch, and while none comes: whether there is still a right to it.
            let message = tokio::select! {
                biased;
                error = self.bounds.watch.ended() => return Some(Err(self.fail(error).await)),
                message = timeout_at(self.bounds.deadline.at, self.receiver.recv()) => message,
            };
            match message {
                Ok(Some(Message::Batch(batch))) => {
                    self.rows += batch.num_rows() as u64;
                    if self.rows > self.bounds.rows {
                        let error = QueryError::rows(self.bounds.rows);
                        self.rows -= batch.num_rows() as u64;
                        return Some(Err(self.fail(error).await));
                    }
                    if let Some(earlier) = self.held.replace(batch) {
                        return Some(match self.intended.durable().await {
                            Ok(()) => Ok(earlier),
                            Err(error) => Err(self.fail(error).await),
                        });
                    }
                }
                Ok(Some(Message::End)) => return self.complete().await,
                Ok(Some(Message::Failed(error))) => return Some(Err(self.fail(error).await)),
                Ok(None) => return Some(Err(self.fail(QueryError::Internal("the engine stopped".to_owned())).await)),
                Err(_) => return Some(Err(self.fail(self.bounds.deadline.error()).await)),
            }
        }
    }

    /// The completion is durable before the last batch goes out.
    async fn complete(&mut self) -> Option<Result<RecordBatch, QueryError>> {
        self.ended = true;
        let last = self.held.take();
        match self.intended.complete(self.rows, "ok").await {
            Ok(()) => last.map(Ok),
            Err(error) => Some(Err(error)),
        }
    }

    async fn fail(&mut self, error: QueryError) -> QueryError {
        self.ended = true;
        self.task.abort();
        let delivered = self.delivered();
        match self.intended.complete(delivered, error.kind()).await {
            Ok(()) => error,
            Err(audit) => audit,
        }
    }

    fn delivered(&self) -> u64 {
        self.rows - self.held.as_ref().map_or(0, |b| b.num_rows() as u64)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
        if !self.ended {
            self.intended.abandon(self.delivered(), "cancelled");
        }
    }
}
