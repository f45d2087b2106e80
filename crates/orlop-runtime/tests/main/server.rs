//! A registry as small as it can be, which misbehaves as a test wants.

use orlop_runtime::images::{Patience, RegistryConfig};
use orlop_runtime::pack::{Blob, PackedImage};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// After so many bytes of the body the connection is closed.
    pub(crate) cut: Option<usize>,
    /// After the headers nothing more comes.
    pub(crate) hang: bool,
}

impl Response {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), cut: None, hang: false }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

pub(crate) struct Server {
    pub(crate) host: String,
    requests: Arc<Mutex<Vec<Request>>>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    pub(crate) async fn start(handler: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (handler, log) = (Arc::new(handler), requests.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (handler, log) = (handler.clone(), log.clone());
                connections.spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some(request) = read(&mut stream).await {
                        log.lock().push(request.clone());
                        if !write(stream.get_mut(), handler(&request)).await {
                            return;
                        }
                    }
                });
            }
        });
        Server { host, requests, _task: AbortOnDropHandle::new(task) }
    }

    /// Serves an image by tag `1` and by digest.
    pub(crate) async fn of(image: &PackedImage) -> Server {
        let store = Store::of(image);
        Server::start(move |request| store.answer(request)).await
    }

    pub(crate) fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.host)
    }

    /// The targets asked for since the last time.
    pub(crate) fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock())
    }

    pub(crate) fn config(&self) -> RegistryConfig {
        RegistryConfig {
            insecure_registries: [self.host.clone()].into(),
            patience: Patience {
                idle: Duration::from_millis(400),
                document: Duration::from_millis(800),
                attempts: 3,
                backoff: Duration::from_millis(5),
                ..Patience::default()
            },
            ..RegistryConfig::default()
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    if stream.read_line(&mut line).await.ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { method, target, headers, body: String::from_utf8(body).ok()? })
}

/// True when the connection may go on.
async fn write(stream: &mut TcpStream, response: Response) -> bool {
    let mut head = format!("HTTP/1.1 {} X\r\ncontent-length: {}\r\n", response.status, response.body.len());
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    if stream.write_all(head.as_bytes()).await.is_err() {
        return false;
    }
    if response.hang {
        // Until the other side goes.
        let _ = stream.read(&mut [0]).await;
        return false;
    }
    let body = &response.body[..response.cut.unwrap_or(response.body.len())];
    stream.write_all(body).await.is_ok() && response.cut.is_none()
}

/// What a registry holds.
#[derive(Default, Clone)]
pub(crate) struct Store {
    /// By tag or digest: media type and bytes.
    pub(crate) manifests: BTreeMap<String, (String, Vec<u8>)>,
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
}

impl Store {
    pub(crate) fn of(image: &PackedImage) -> Store {
        let mut store = Store::default();
        store.add(image);
        store.tag("1", &image.manifest);
        store
    }

    pub(crate) fn add(&mut self, image: &PackedImage) {
        self.tag(&image.manifest.digest, &image.manifest);
        for blob in image.layers.iter().chain([&image.config]) {
            self.blobs.insert(blob.digest.clone(), blob.bytes.clone());
        }
    }

    pub(crate) fn tag(&mut self, name: &str, manifest: &Blob) {
        self.manifests.insert(name.to_owned(), (manifest.media_type.to_owned(), manifest.bytes.clone()));
    }

    pub(crate) fn answer(&self, request: &Request) -> Response {
        let path = request.target.split('?').next().unwrap();
        let found = if let Some((_, selector)) = path.split_once("/manifests/") {
            self.manifests
                .get(selector)
                .map(|(kind, bytes)| Response::new(200, bytes.clone()).header("content-type", kind.clone()))
        } else if let Some((_, digest)) = path.split_once("/blobs/") {
            self.blobs.get(digest).map(|bytes| match request.headers.get("range") {
                Some(range) => {
                    let from: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
                    Response::new(206, &bytes[from..])
                }
                None => Response::new(200, bytes.clone()),
            })
        } else {
            None
        };
        found.unwrap_or_else(|| {
            Response::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#)
        })
    }
}
