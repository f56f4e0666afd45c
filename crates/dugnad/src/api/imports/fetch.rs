//! The bytes of an import: fetched, unpacked, within their bounds, and no longer than they are wanted.

use crate::api::outgoing;
use crate::limits::{IMPORT_TIME, MAX_IMPORT_BYTES, OUTGOING_CONNECT_TIME};
use flate2::read::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What stands at an address, or the status that says that it does not. No more than `idle` may pass without a byte of it.
///
/// # Errors
/// Why nobody answered.
pub fn fetch(url: &str, idle: Duration) -> Result<Result<Box<dyn Read + Send>, String>, String> {
    let request = ureq::http::Request::get(url).header("Accept", "application/fhir+ndjson, application/ndjson, */*;q=0.1");
    let request = request.body(()).map_err(|_| "the address is none".to_owned())?;
    let agent = outgoing::agent(IMPORT_TIME);
    let request = agent.configure_request(request);
    let request = request.timeout_resolve(Some(OUTGOING_CONNECT_TIME)).timeout_recv_response(Some(idle)).timeout_per_read(Some(idle));
    let answer = agent.run(request.build()).map_err(|error| outgoing::unreached(&error).to_owned())?;
    Ok(match answer.status().as_u16() {
        200 => Ok(Box::new(Fetched(answer.into_body().into_reader()))),
        status @ 300..400 => Err(format!("the address answered {status}; redirections are not followed")),
        status => Err(format!("the address answered {status}")),
    })
}

/// An answer's body. What is said where it breaks off is not the error's own text, which may name addresses.
struct Fetched<R>(R);

impl<R: Read> Read for Fetched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.get_ref().and_then(|error| error.downcast_ref::<ureq::Error>()) {
            Some(ureq::Error::Timeout(_)) => io::Error::other("the address stopped sending, or took too long"),
            _ => io::Error::other("the address broke the transfer off"),
        })
    }
}

/// Ends with an error once an import is cancelled.
pub struct Stoppable {
    pub inner: Box<dyn Read + Send>,
    pub over: Arc<AtomicBool>,
}

impl Read for Stoppable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.over.load(Ordering::Acquire) {
            return Err(io::Error::other("the import was cancelled"));
        }
        self.inner.read(buffer)
    }
}

/// What is in it, if it is gzip; no more than an import may be.
pub fn unpacked(reader: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut reader = BufReader::new(reader);
    let is_gzip = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let plain: Box<dyn Read + Send> = if is_gzip { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) };
    Ok(Box::new(Bounded { left: MAX_IMPORT_BYTES, inner: plain }))
}

/// Fails where more comes than may.
struct Bounded {
    inner: Box<dyn Read + Send>,
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left =
            self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other("the file is larger than an import may be; split it"))?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    /// An address that accepts and says this, and then nothing.
    fn silent(said: &'static [u8]) -> (String, std::thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x", listener.local_addr().unwrap());
        let serve = move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(said).unwrap();
            // Until the other end has gone.
            let _: io::Result<u64> = io::copy(&mut stream, &mut io::sink());
        };
        (url, std::thread::spawn(serve))
    }

    #[test]
    fn an_address_that_says_nothing_is_given_up() {
        let idle = Duration::from_millis(50);
        let (url, served) = silent(b"");
        assert_eq!(fetch(&url, idle).err().unwrap(), "the address did not answer in time");
        served.join().unwrap();

        let (url, served) = silent(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc");
        let mut body = fetch(&url, idle).unwrap().unwrap();
        let (mut read, mut error) = (Vec::new(), None);
        let mut buffer = [0; 8];
        while error.is_none() {
            match body.read(&mut buffer) {
                Ok(count) => read.extend_from_slice(&buffer[..count]),
                Err(e) => error = Some(e.to_string()),
            }
        }
        assert_eq!((read.as_slice(), error.unwrap().contains("stopped sending")), (&b"abc"[..], true));
        drop(body);
        served.join().unwrap();
    }

    #[test]
    fn what_was_cancelled_is_read_no_further() {
        let over = Arc::new(AtomicBool::new(false));
        let mut reader = Stoppable { inner: Box::new(io::repeat(b'x')), over: Arc::clone(&over) };
        let mut buffer = [0; 8];
        assert_eq!(reader.read(&mut buffer).unwrap(), 8);
        over.store(true, Ordering::Release);
        assert!(reader.read(&mut buffer).is_err());
    }
}
