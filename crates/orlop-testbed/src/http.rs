//! Requests as a user's client would send them, and a client that never stops asking.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// An HTTP response.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head, as it came.
    pub head: String,
    /// The body.
    pub body: String,
}

/// A GET with a connection of its own.
///
/// # Errors
/// When the connection fails or the response is cut or malformed.
pub fn get(address: SocketAddr, path: &str) -> std::io::Result<Answer> {
    get_from(address, "localhost", path)
}

/// A GET for a given host.
///
/// # Errors
/// As [`get`].
pub fn get_from(address: SocketAddr, host: &str, path: &str) -> std::io::Result<Answer> {
    send(address, "GET", path, &[("host", host)], b"")
}

/// One request with a connection of its own; `headers` must name the host.
///
/// # Errors
/// As [`get`].
pub(crate) fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let malformed = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    stream.write_all(body)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| malformed("the response has no end of head"))?;
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| malformed("the response has no status"))?;
    let lower = head.to_ascii_lowercase();
    if let Some(length) = lower.lines().find_map(|line| line.strip_prefix("content-length:"))
        && length.trim().parse() != Ok(body.len())
    {
        return Err(malformed("the response body is cut"));
    }
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// A client that asks again and again until stopped, and counts.
pub struct Hammer {
    stop: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
    thread: Option<JoinHandle<Vec<String>>>,
}

impl Hammer {
    /// Begins asking; anything but a 200 counts as a failure.
    pub fn start(address: SocketAddr, path: &'static str) -> Self {
        let (stop, good) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = std::thread::spawn({
            let (stop, good) = (stop.clone(), good.clone());
            move || {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match get(address, path) {
                        Ok(answer) if answer.status == 200 => {
                            good.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(answer) => failures.push(format!("{} {}", answer.status, answer.body)),
                        Err(error) => failures.push(error.to_string()),
                    }
                    // A few hundred requests a second: enough to catch a gap of milliseconds, and the machine stays usable.
                    std::thread::sleep(Duration::from_millis(2));
                }
                failures
            }
        });
        Self { stop, good, thread: Some(thread) }
    }

    /// How many requests succeeded.
    pub fn good(&self) -> u64 {
        self.good.load(Ordering::Relaxed)
    }

    /// Stops, and tells how many succeeded and what went wrong with the others.
    pub fn finish(mut self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.thread.take().map(|thread| thread.join().unwrap_or_default()).unwrap_or_default();
        (self.good.load(Ordering::Relaxed), failures)
    }
}

impl Drop for Hammer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
