//! The server as a process, over real connections.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

struct Server {
    process: Child,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl Server {
    fn start() -> Server {
        let mut process = Command::new(env!("CARGO_BIN_EXE_hello"))
            .env("PORT", "0")
            .env("ORLOP_SLOT", "7")
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a first line");
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        Server { process, output, port: port.unwrap_or_else(|| panic!("no port in {line:?}")) }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).expect("connects")
    }

    fn get(&self, target: &str) -> String {
        let mut stream = self.connect();
        write!(stream, "GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("reads");
        answer
    }

    fn terminate(&self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads an answer whose end is known by its length.
fn read_answer(stream: &mut BufReader<TcpStream>) -> String {
    let (mut answer, mut length) = (String::new(), 0);
    loop {
        let start = answer.len();
        stream.read_line(&mut answer).expect("reads");
        let line = answer[start..].trim();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().expect("a number");
        }
        if line.is_empty() {
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("reads");
            return answer + &String::from_utf8(body).expect("text");
        }
    }
}

#[test]
fn it_greets_counts_and_logs_each_request() {
    let mut server = Server::start();
    let first = server.get("/");
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n") && first.contains("Hello from "), "{first}");
    assert!(first.ends_with(", slot 7, request 1\n"), "{first}");
    assert!(server.get("/up").ends_with("\r\n\r\nok\n"));
    assert!(server.get("/nowhere").starts_with("HTTP/1.1 404 "));
    assert!(server.get("/slow?ms=x").starts_with("HTTP/1.1 400 "));
    let mut log = String::new();
    for _ in 0..4 {
        server.output.read_line(&mut log).expect("reads");
    }
    assert!(log.contains("GET / 200 OK ") && log.contains("GET /nowhere 404 Not Found "), "{log}");
}

#[test]
fn a_connection_carries_several_requests_and_bodies_are_skipped() {
    let server = Server::start();
    let mut stream = BufReader::new(server.connect());
    stream
        .get_mut()
        .write_all(b"POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\nGET HEAD / HTTP/1.1\r\n\r\n")
        .expect("writes");
    assert!(read_answer(&mut stream).ends_with("request 1\n"));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        stream.read_line(&mut head).expect("reads");
    }
    stream.get_mut().write_all(b"GET / HTTP/1.1\r\n\r\n").expect("writes");
    assert!(read_answer(&mut stream).ends_with("request 3\n"));
    stream.get_mut().write_all(b"nonsense\r\n\r\n").expect("writes");
    assert!(read_answer(&mut stream).starts_with("HTTP/1.1 400 "));
}

#[test]
fn it_ends_with_the_code_that_it_is_told() {
    let mut server = Server::start();
    assert!(server.get("/exit?code=7").ends_with("bye\n"));
    assert_eq!(server.process.wait().expect("ends").code(), Some(7));
}

#[test]
fn sigterm_lets_requests_under_way_finish_closes_idle_connections_and_ends_with_0() {
    let mut server = Server::start();
    let mut idle = server.connect();
    let mut slow = server.connect();
    slow.write_all(b"GET /slow?ms=700 HTTP/1.1\r\n\r\n").expect("writes");
    // Seen by the server once an answer on a later connection arrives.
    assert!(server.get("/up").ends_with("ok\n"));
    server.terminate();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).expect("reads");
    assert!(answer.contains("connection: close") && answer.contains("Hello from"), "{answer}");
    assert_eq!(idle.read(&mut [0]).expect("closed in order"), 0);
    assert_eq!(server.process.wait().expect("ends").code(), Some(0));
    assert!(TcpStream::connect(("127.0.0.1", server.port)).is_err(), "still listening");
}
