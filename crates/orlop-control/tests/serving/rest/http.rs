//! A small HTTP client.

use crate::world::{PATIENCE, World};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use orlop_control::Listen;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::net::{TcpListener, UnixStream};
use tokio::task::AbortHandle;

pub(crate) struct Http {
    pub(crate) address: SocketAddr,
    client: HttpClient,
    bridge: AbortHandle,
}

type HttpClient = Client<HttpConnector, Full<bytes::Bytes>>;

fn client() -> HttpClient {
    Client::builder(TokioExecutor::new()).build_http()
}

/// An answer, with its body read or still to come.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ::http::HeaderMap,
    body: hyper::body::Incoming,
    read: Vec<u8>,
}

impl Drop for Http {
    fn drop(&mut self) {
        self.bridge.abort();
    }
}

impl Http {
    /// By a port that leads to the control plane's socket.
    pub(crate) async fn of(world: &World) -> Self {
        let Some(Listen::Unix(socket)) = world.listen().into_iter().next() else { panic!("{:?}", world.listen()) };
        let port = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = port.local_addr().expect("an address");
        let bridge = tokio::spawn(async move {
            while let Ok((mut tcp, _)) = port.accept().await {
                let socket = socket.clone();
                tokio::spawn(async move {
                    let mut unix = UnixStream::connect(socket).await?;
                    tokio::io::copy_bidirectional(&mut tcp, &mut unix).await
                });
            }
        });
        Self { address, client: client(), bridge: bridge.abort_handle() }
    }

    /// By a port of the control plane's own.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address, client: client(), bridge: tokio::spawn(async {}).abort_handle() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<String>,
    ) -> Answer {
        let mut request = ::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.into())).expect("a request");
        let answer = tokio::time::timeout(PATIENCE, self.client.request(request)).await.expect("an answer in time");
        let (parts, body) = answer.expect("an answer").into_parts();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body, read: Vec::new() }
    }

    /// Deploys a spec in YAML.
    pub(crate) async fn deploy(&self, name: &str, spec: String, headers: &[(&str, &str)]) -> Answer {
        let headers = [&[("content-type", "application/yaml")], headers].concat();
        self.send("PUT", &format!("/api/v1/deployments/{name}"), &headers, spec).await
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ascii"))
    }

    /// All of the body.
    pub(crate) async fn text(mut self) -> String {
        while self.more().await {}
        String::from_utf8(self.read).expect("UTF-8")
    }

    pub(crate) async fn json(self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// What was expected, or all there is to know.
    pub(crate) async fn expect(self, status: u16) -> Value {
        let found = self.status;
        let json = self.json().await;
        assert_eq!(found, status, "{json:#}");
        json
    }

    /// Reads to the end. Did the answer break off, instead of ending?
    pub(crate) async fn broken_off(&mut self) -> bool {
        loop {
            match tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("more in time") {
                Some(Ok(_)) => {}
                Some(Err(_)) => return true,
                None => return false,
            }
        }
    }

    async fn more(&mut self) -> bool {
        let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("more in time");
        let Some(frame) = frame else { return false };
        self.read.extend(frame.expect("a frame").into_data().unwrap_or_default());
        true
    }

    /// What a stream says up to and with an end mark; `None` when it ends before.
    pub(crate) async fn until(&mut self, mark: &str) -> Option<String> {
        loop {
            let found = self.read.windows(mark.len()).position(|window| window == mark.as_bytes());
            if let Some(at) = found {
                let rest = self.read.split_off(at + mark.len());
                let text = std::mem::replace(&mut self.read, rest);
                return Some(String::from_utf8(text).expect("UTF-8"));
            }
            if !self.more().await {
                return None;
            }
        }
    }
}
