//! A small HTTP server to deploy: it greets, says how it is, and can be told to be slow or to crash.
//!
//! | path | answer |
//! |---|---|
//! | `/` | a greeting with the host name, the replica's slot (`ORLOP_SLOT`) if it has one, and how many requests there were |
//! | `/up` | `ok`, for health checks |
//! | `/slow?ms=N` | a greeting after N milliseconds, at most 60 000 |
//! | `/exit?code=N` | `bye`, and then the process ends with N (1 without) |
//!
//! `hello --version` prints the version. The port is the first argument or `PORT`, 8080 without; `GREETING` replaces "Hello". Each request is a line on standard
//! output. On SIGTERM or SIGINT the server takes no more connections, finishes the requests that it has begun, and ends
//! with 0. It needs nothing but the kernel when built with
//! `cargo rustc -p hello --bin hello -- -C target-feature=+crt-static`.

mod request;
mod signal;

use request::{Head, Next};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Connections served at once; more are told to come back.
const CONNECTIONS_MAX: usize = 1024;

struct Server {
    greeting: String,
    host: String,
    slot: Option<String>,
    requests: AtomicU64,
    stopping: AtomicBool,
    connections: Mutex<usize>,
    closed: Condvar,
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--version") {
        println!("hello {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let port = std::env::args().nth(1).or_else(|| std::env::var("PORT").ok()).unwrap_or_else(|| "8080".to_owned());
    let Ok(port) = port.parse::<u16>() else {
        eprintln!("{port:?} is not a port: expected a number from 0 to 65535, as argument or in PORT");
        return ExitCode::from(2);
    };
    // Before any thread is started: all of them must leave the signals to the one that waits for them.
    let signals = signal::Signals::block();
    let listener = match TcpListener::bind(("0.0.0.0", port)) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on port {port}: {error}");
            return ExitCode::from(1);
        }
    };
    let server = Arc::new(Server {
        greeting: std::env::var("GREETING").unwrap_or_else(|_| "Hello".to_owned()),
        host: std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned(),
        slot: std::env::var("ORLOP_SLOT").ok(),
        requests: AtomicU64::new(0),
        stopping: AtomicBool::new(false),
        connections: Mutex::new(0),
        closed: Condvar::new(),
    });
    if let Ok(address) = listener.local_addr() {
        println!("listening on {address}");
    }
    let closer = listener.try_clone();
    let stopper = Arc::clone(&server);
    std::thread::spawn(move || {
        let name = signals.wait();
        println!("{name}: finishing what is under way");
        stopper.stopping.store(true, Ordering::SeqCst);
        if let Ok(listener) = closer {
            signal::close(&listener);
        }
    });
    accept(&listener, &server);
    let mut connections = lock(&server.connections);
    while *connections > 0 {
        connections = server.closed.wait(connections).unwrap_or_else(|poisoned| poisoned.into_inner());
    }
    println!("ended after {} requests", server.requests.load(Ordering::Relaxed));
    ExitCode::SUCCESS
}

/// Takes connections until the listener is closed.
fn accept(listener: &TcpListener, server: &Arc<Server>) {
    while !server.stopping.load(Ordering::SeqCst) {
        let Ok((mut stream, _)) = listener.accept() else {
            // Out of descriptors, or the listener was closed; only the first needs the pause.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        let mut connections = lock(&server.connections);
        if *connections >= CONNECTIONS_MAX {
            drop(connections);
            let _ = write!(stream, "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            continue;
        }
        *connections += 1;
        drop(connections);
        let open = Open(Arc::clone(server));
        std::thread::spawn(move || {
            // A client that goes away is its own affair.
            let _ = serve(&open.0, &mut stream);
        });
    }
}

/// An open connection, counted until it is dropped.
struct Open(Arc<Server>);

impl Drop for Open {
    fn drop(&mut self) {
        *lock(&self.0.connections) -= 1;
        self.0.closed.notify_all();
    }
}

fn lock(count: &Mutex<usize>) -> std::sync::MutexGuard<'_, usize> {
    count.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Answers the requests of a connection, one after the other.
fn serve(server: &Server, stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    loop {
        let head = match request::next(stream, &mut buffer, &server.stopping)? {
            Next::Request(head) => head,
            Next::Bad(status) => return respond(stream, status, "not understood\n", true, false),
            Next::End => return Ok(()),
        };
        let started = Instant::now();
        let count = server.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let Answer { status, body, exit } = answer(server, &head, count);
        let close = head.close || exit.is_some() || server.stopping.load(Ordering::SeqCst);
        let sent = respond(stream, status, &body, close, head.method == "HEAD");
        println!("{} {} {status} {:.1}ms", head.method, head.target, started.elapsed().as_secs_f64() * 1000.0);
        if let Some(code) = exit {
            std::process::exit(code);
        }
        sent?;
        if close {
            return Ok(());
        }
    }
}

struct Answer {
    status: &'static str,
    body: String,
    /// End the process with this, after answering.
    exit: Option<i32>,
}

fn answer(server: &Server, head: &Head, count: u64) -> Answer {
    let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
    let number = |name: &str| {
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, v)| v.parse())
    };
    let greeting = || {
        let slot = server.slot.as_deref().map(|slot| format!(", slot {slot}")).unwrap_or_default();
        format!("{} from {}{slot}, request {count}\n", server.greeting, server.host)
    };
    let said = |status, body: String| Answer { status, body, exit: None };
    match path {
        "/" => said("200 OK", greeting()),
        "/up" => said("200 OK", "ok\n".to_owned()),
        "/slow" => match number("ms").unwrap_or(Ok(1000)) {
            Ok(ms @ 0..=60_000) => {
                std::thread::sleep(Duration::from_millis(ms as u64));
                said("200 OK", greeting())
            }
            _ => said("400 Bad Request", "ms is a number from 0 to 60000\n".to_owned()),
        },
        "/exit" => match number("code").unwrap_or(Ok(1)) {
            Ok(code @ 0..=255) => Answer { status: "200 OK", body: "bye\n".to_owned(), exit: Some(code) },
            _ => said("400 Bad Request", "code is a number from 0 to 255\n".to_owned()),
        },
        _ => said("404 Not Found", "try /, /up, /slow?ms=N or /exit?code=N\n".to_owned()),
    }
}

fn respond(stream: &mut TcpStream, status: &str, body: &str, close: bool, head_only: bool) -> std::io::Result<()> {
    let connection = if close { "connection: close\r\n" } else { "" };
    let length = body.len();
    let body = if head_only { "" } else { body };
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n{connection}\r\n{body}"
    );
    stream.write_all(text.as_bytes())
}
