//! As much of HTTP/1.1 as a greeting needs: the request's first line, its length, and whether the connection stays open.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const HEAD_MAX: usize = 16 * 1024;
const BODY_MAX: usize = 1024 * 1024;
/// How often an idle connection looks whether the server stops.
const GLANCE: Duration = Duration::from_millis(100);
/// A connection may be idle, and a request may be on its way, this long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) target: String,
    /// The client wants no further answer on this connection.
    pub(crate) close: bool,
}

/// What comes next on a connection.
pub(crate) enum Next {
    Request(Head),
    /// Something that is answered with this status and the end of the connection.
    Bad(&'static str),
    /// Nothing more.
    End,
}

/// Waits for the next request, its body included. `buffer` holds what was read too far and lives as long as the
/// connection.
pub(crate) fn next(stream: &mut TcpStream, buffer: &mut Vec<u8>, stopping: &AtomicBool) -> std::io::Result<Next> {
    stream.set_read_timeout(Some(GLANCE))?;
    let started = Instant::now();
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if buffer.len() > HEAD_MAX {
            return Ok(Next::Bad("431 Request Header Fields Too Large"));
        }
        // Looked at before reading: what arrived until now is still answered.
        let last_look = stopping.load(Ordering::SeqCst);
        match fill(stream, buffer)? {
            Filled::Some => {}
            Filled::Nothing if buffer.is_empty() && last_look => return Ok(Next::End),
            Filled::Nothing if started.elapsed() < PATIENCE => {}
            Filled::Nothing | Filled::Closed => return Ok(Next::End),
        }
    };
    let Some((head, length)) = std::str::from_utf8(&buffer[..head_end]).ok().and_then(parse) else {
        return Ok(Next::Bad("400 Bad Request"));
    };
    if length > BODY_MAX {
        return Ok(Next::Bad("413 Content Too Large"));
    }
    let end = head_end + 4 + length;
    while buffer.len() < end {
        match fill(stream, buffer)? {
            Filled::Some => {}
            Filled::Nothing if started.elapsed() < PATIENCE => {}
            Filled::Nothing | Filled::Closed => return Ok(Next::End),
        }
    }
    buffer.drain(..end);
    Ok(Next::Request(head))
}

enum Filled {
    Some,
    Nothing,
    Closed,
}

fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Filled> {
    let mut bytes = [0; 4096];
    match stream.read(&mut bytes) {
        Ok(0) => Ok(Filled::Closed),
        Ok(n) => {
            buffer.extend_from_slice(&bytes[..n]);
            Ok(Filled::Some)
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
            Ok(Filled::Nothing)
        }
        Err(error) => Err(error),
    }
}

/// The head and the length of the body; `None` for what is not HTTP/1 or has a body of unknown length.
fn parse(text: &str) -> Option<(Head, usize)> {
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || !version.starts_with("HTTP/1.") || !target.starts_with('/') {
        return None;
    }
    let (mut close, mut length) = (version == "HTTP/1.0", 0);
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok()?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return None;
        } else if name.eq_ignore_ascii_case("connection") {
            close = value.eq_ignore_ascii_case("close") || (close && !value.eq_ignore_ascii_case("keep-alive"));
        }
    }
    Some((Head { method: method.to_owned(), target: target.to_owned(), close }, length))
}
