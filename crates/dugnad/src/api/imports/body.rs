//! An import whose lines are the body of its request: taken in while it comes, no faster than it is written.

use super::asked::Input;
use super::job::{self, Job};
use super::{Answer, begun};
use crate::api::auth::Hospital;
use crate::api::{ApiError, App};
use crate::limits::{BODY_IDLE_TIMEOUT, IMPORT_CHUNKS_WAITING};
use axum::body::Body;
use bytes::{Buf, Bytes};
use dugnad_kernel::fhir::issue::IssueType;
use futures::StreamExt;
use std::io::{self, Read};
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::timeout;

/// Reads what comes through a channel; blocks until it comes.
struct Coming {
    chunks: Receiver<io::Result<Bytes>>,
    now: Bytes,
}

impl Read for Coming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.chunks.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => self.now = chunk?,
            }
        }
        let count = buffer.len().min(self.now.len());
        self.now.copy_to_slice(buffer.get_mut(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Takes a body in, if there is a place for it now. It is answered when all of it has come; the last lines may still be written then.
pub async fn take(app: &App, hospital: Hospital, base: String, body: Body) -> Answer {
    let (sender, chunks) = mpsc::channel(IMPORT_CHUNKS_WAITING);
    let job = Job::new(app, hospital, base, vec![Input { resource_type: "Resource".to_owned(), url: String::new() }]);
    let coming = Coming { chunks, now: Bytes::new() };
    let work = move |app, job, folder, place| job::run_body(app, job, folder, place, Box::new(coming));
    let job = app.imports().start_now(app, job, work)?;
    let mut body = body.into_data_stream();
    loop {
        let broken = match timeout(BODY_IDLE_TIMEOUT, body.next()).await {
            Ok(None) => break,
            Ok(Some(Ok(chunk))) => match sender.send(Ok(chunk)).await {
                Ok(()) => continue,
                Err(_) => break, // it has ended: its status says why
            },
            Ok(Some(Err(_))) | Err(_) => "the body ended before it was complete, or is not gzip as its Content-Encoding says",
        };
        let _: Result<(), _> = sender.send(Err(io::Error::other(broken))).await; // nobody may be reading
        let what =
            format!("{broken}; send it again, whole: what was taken is not taken twice. What was taken is said at {}", job.address());
        return Err(ApiError::bad_request(IssueType::Structure, what));
    }
    drop(sender);
    Ok(begun(&job))
}
