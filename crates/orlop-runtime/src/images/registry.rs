//! A client of registries that speak the OCI distribution protocol: manifests and blobs, nothing else.
//!
//! Credentials are sent only over TLS or to registries that the configuration lists for plain http, and never to
//! another host than the registry and the token server that it names.

use super::challenge::{Challenge, parse_challenges};
use super::credentials::Credentials;
use super::manifest::{DOCKER_LIST, DOCKER_MANIFEST, MANIFEST_BYTES_MAX, OCI_INDEX, OCI_MANIFEST};
use super::reference::{Digest, Reference};
use super::{Patience, RegistryConfig};
use parking_lot::Mutex;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest wait that a registry may ask for before we try again.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// Bytes of an error's or a token server's answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
const REDIRECTS_MAX: usize = 5;

/// Why something could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FetchError {
    /// The registry does not have it.
    NotFound(String),
    /// Other credentials are needed.
    Unauthorized(String),
    /// What came is not what was asked for.
    Invalid(String),
    /// It may pass; the wait that the registry asks for.
    Transient(String, Option<Duration>),
    /// It will not pass by itself (TLS, configuration, a client error).
    Permanent(String),
}

/// Registries in general; makes sessions with one.
#[derive(Debug)]
pub(crate) struct Registries {
    config: RegistryConfig,
    /// One for plain http, one for TLS by extra authority. Made at first use: the system's roots cost memory.
    clients: Mutex<BTreeMap<ClientKind, Client>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct ClientKind {
    tls: bool,
    direct: bool,
    ca: Option<std::path::PathBuf>,
}

/// One pull's conversation with one registry about one repository.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    base: Url,
    repository: String,
    host: String,
    insecure: bool,
    credentials: Credentials,
    credentials_file: Option<std::path::PathBuf>,
    authorization: Mutex<Option<HeaderValue>>,
    patience: Patience,
}

/// A manifest or index as it came.
#[derive(Debug)]
pub(crate) struct FetchedManifest {
    pub(crate) bytes: Vec<u8>,
    pub(crate) media_type: Option<String>,
    pub(crate) digest: Digest,
}

impl Registries {
    pub(crate) fn new(config: RegistryConfig) -> Self {
        Self { config, clients: Mutex::default() }
    }

    pub(crate) fn patience(&self) -> Patience {
        self.config.patience
    }

    /// Is this the host that images are given which come from no registry at all (`localhost/hello:1`)? Not where the
    /// configuration says how to reach one there.
    pub(crate) fn is_nobody(&self, reference: &Reference) -> bool {
        let registry = &reference.registry;
        registry == "localhost"
            && !self.config.insecure_registries.contains(registry)
            && !self.config.ca_files.contains_key(registry)
    }

    /// Begins a conversation; reads the credentials, sends nothing yet.
    pub(crate) fn session(&self, reference: &Reference) -> Result<Session, FetchError> {
        let permanent = |error: &dyn std::fmt::Display| FetchError::Permanent(error.to_string());
        let insecure = self.config.insecure_registries.contains(&reference.registry);
        let host = reference.host();
        let base = format!("{}://{host}/v2/", if insecure { "http" } else { "https" });
        let base = Url::parse(&base).map_err(|error| permanent(&format!("{base} is not a URL: {error}")))?;
        let credentials_file = self.config.credentials_file.clone();
        let mut credentials = Credentials::read(credentials_file.as_deref(), &reference.registry)
            .map_err(|error| FetchError::Unauthorized(error.to_string()))?;
        if credentials == Credentials::None && host != reference.registry {
            credentials = Credentials::read(credentials_file.as_deref(), &host)
                .map_err(|error| FetchError::Unauthorized(error.to_string()))?;
        }
        let loopback = match base.host() {
            Some(url) => {
                let text = url.to_string();
                let text = text.trim_matches(['[', ']']);
                text == "localhost" || text.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
            None => false,
        };
        let kind = ClientKind {
            tls: !insecure,
            direct: insecure || loopback,
            ca: self.config.ca_files.get(&reference.registry).cloned(),
        };
        Ok(Session {
            client: self.client(kind)?,
            base,
            repository: reference.repository.clone(),
            host,
            insecure,
            credentials,
            credentials_file,
            authorization: Mutex::new(None),
            patience: match self.is_nobody(reference) {
                true => Patience { attempts: 1, ..self.config.patience },
                false => self.config.patience,
            },
        })
    }

    fn client(&self, kind: ClientKind) -> Result<Client, FetchError> {
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(&kind) {
            return Ok(client.clone());
        }
        // Another part of the process may have chosen a provider already; any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("orlop/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.config.patience.connect)
            .read_timeout(self.config.patience.idle)
            .pool_idle_timeout(Duration::from_secs(15))
            .pool_max_idle_per_host(8)
            .redirect(redirects(kind.tls));
        if kind.direct {
            builder = builder.no_proxy();
        }
        if let Some(path) = &kind.ca {
            let unusable = |error: &dyn std::fmt::Display| {
                FetchError::Permanent(format!("the authority file {} cannot be used: {error}", path.display()))
            };
            let pem = std::fs::read(path).map_err(|error| unusable(&error))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| unusable(&error))?;
            if certificates.is_empty() {
                return Err(unusable(&"it has no certificate"));
            }
            builder = builder.tls_certs_merge(certificates);
        } else if !kind.tls {
            // Plain http must work on machines without any certificate authority.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| {
            FetchError::Permanent(format!(
                "TLS cannot be set up: {}; is the package ca-certificates installed?",
                chain(&error)
            ))
        })?;
        clients.insert(kind, client.clone());
        Ok(client)
    }
}

/// Registries send blobs' readers elsewhere; from TLS they may not send us to plain http.
fn redirects(tls: bool) -> reqwest::redirect::Policy {
    reqwest::redirect::Policy::custom(move |attempt| {
        if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error("too many redirects")
        } else if tls && attempt.url().scheme() != "https" {
            attempt.error("a redirect from https to http")
        } else {
            attempt.follow()
        }
    })
}

impl Session {
    /// The registry's host, for messages.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// A manifest or index by tag or digest. Its digest is checked where it is known.
    pub(crate) async fn manifest(&self, selector: &str) -> Result<FetchedManifest, FetchError> {
        let wanted: Option<Digest> = selector.parse().ok();
        let url = self.url(&format!("manifests/{selector}"))?;
        let fetch = || async {
            let within = self.patience.document;
            tokio::time::timeout(within, self.manifest_once(&url, wanted.as_ref())).await.unwrap_or_else(|_| {
                Err(FetchError::Transient(format!("no answer within {} s", within.as_secs()), None))
            })
        };
        self.with_retries(fetch).await
    }

    async fn manifest_once(&self, url: &Url, wanted: Option<&Digest>) -> Result<FetchedManifest, FetchError> {
        let mut headers = HeaderMap::new();
        for media_type in [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST] {
            headers.append(ACCEPT, HeaderValue::from_static(media_type));
        }
        let response = self.get(url, headers).await?;
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let (media_type, said) = (header(CONTENT_TYPE.as_str()), header("docker-content-digest"));
        let bytes = read_bounded(response, MANIFEST_BYTES_MAX).await?;
        let digest = Digest::of(&bytes);
        if let Some(wanted) = wanted.filter(|wanted| **wanted != digest) {
            return Err(FetchError::Invalid(format!("{} sent a manifest {digest} instead of {wanted}", self.host)));
        }
        if let Some(said) = said.filter(|said| said.starts_with("sha256:") && said != digest.as_str()) {
            return Err(FetchError::Invalid(format!("{} sent a manifest {digest} and called it {said}", self.host)));
        }
        Ok(FetchedManifest { bytes, media_type, digest })
    }

    /// A blob's bytes from `offset` on: the response, and the offset that it really begins at (0 where the registry
    /// does not know ranges). One attempt.
    pub(crate) async fn blob(&self, digest: &Digest, offset: u64) -> Result<(Response, u64), FetchError> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let mut headers = HeaderMap::new();
        if offset > 0 {
            let range = HeaderValue::try_from(format!("bytes={offset}-"));
            headers.insert(RANGE, range.map_err(|error| FetchError::Permanent(error.to_string()))?);
        }
        let response = self.get(&url, headers).await?;
        let begins = if response.status() == StatusCode::PARTIAL_CONTENT { offset } else { 0 };
        Ok((response, begins))
    }

    /// Repeats what fails in a way that may pass.
    async fn with_retries<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, FetchError>
    where
        F: Future<Output = Result<T, FetchError>>,
    {
        let mut failures = 0;
        loop {
            match attempt().await {
                Err(FetchError::Transient(detail, wait)) => {
                    failures += 1;
                    if failures >= self.patience.attempts {
                        return Err(FetchError::Transient(self.given_up(&detail), wait));
                    }
                    tracing::debug!(host = self.host, detail, failures, "a registry failed; trying again");
                    tokio::time::sleep(self.pause(failures, wait)).await;
                }
                other => return other,
            }
        }
    }

    /// How often one request is made in all.
    pub(crate) fn attempts(&self) -> u32 {
        self.patience.attempts
    }

    /// How long to wait after so many failures.
    pub(crate) fn pause(&self, failures: u32, asked: Option<Duration>) -> Duration {
        let ours = self.patience.backoff.saturating_mul(1 << failures.saturating_sub(1).min(10));
        asked.unwrap_or(ours).min(RETRY_AFTER_MAX)
    }

    /// What to say after the last attempt.
    pub(crate) fn given_up(&self, detail: &str) -> String {
        match self.patience.attempts {
            0 | 1 => detail.to_owned(),
            attempts => format!("{attempts} attempts failed, the last so: {detail}"),
        }
    }

    fn url(&self, path: &str) -> Result<Url, FetchError> {
        self.base
            .join(&format!("{}/{path}", self.repository))
            .map_err(|error| FetchError::Permanent(format!("{path} makes no URL: {error}")))
    }

    /// A GET with authorization, which is negotiated once when the registry asks for it.
    async fn get(&self, url: &Url, headers: HeaderMap) -> Result<Response, FetchError> {
        let response = self.get_once(url, headers.clone()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.check(response).await;
        }
        let challenges: Vec<_> = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(parse_challenges)
            .collect();
        let authorization = self.authorize(&challenges, response).await?;
        *self.authorization.lock() = Some(authorization);
        self.check(self.get_once(url, headers).await?).await
    }

    async fn get_once(&self, url: &Url, mut headers: HeaderMap) -> Result<Response, FetchError> {
        if let Some(authorization) = self.authorization.lock().clone() {
            headers.insert(AUTHORIZATION, authorization);
        }
        self.client.get(url.clone()).headers(headers).send().await.map_err(|error| self.transport_error(&error))
    }

    async fn check(&self, response: Response) -> Result<Response, FetchError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
        let said = explain(response).await;
        let host = &self.host;
        Err(match status {
            StatusCode::NOT_FOUND => FetchError::NotFound(format!("{host} does not have it{said}")),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                FetchError::Unauthorized(format!("{host} answered {status}{said}; {}", self.credentials_hint()))
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                FetchError::Transient(format!("{host} answered {status}{said}"), retry_after)
            }
            _ if status.is_server_error() => {
                FetchError::Transient(format!("{host} answered {status}{said}"), retry_after)
            }
            _ => FetchError::Permanent(format!("{host} answered {status}{said}")),
        })
    }

    fn credentials_hint(&self) -> String {
        let file = self.credentials_file.as_ref().map(|path| path.display().to_string());
        match (&self.credentials, file) {
            (Credentials::None, Some(file)) => format!("{file} has no credentials for it"),
            (Credentials::None, None) => "no credentials file is configured on this node".into(),
            (_, file) => format!("the credentials came from {}", file.unwrap_or_default()),
        }
    }

    /// What to say when one of the challenges is to be met.
    async fn authorize(&self, challenges: &[Challenge], refused: Response) -> Result<HeaderValue, FetchError> {
        if let Credentials::RegistryToken(token) = &self.credentials {
            return secret_header(format!("Bearer {token}"));
        }
        if let Some(bearer) = challenges.iter().find(|challenge| challenge.scheme == "bearer") {
            let token = self.with_retries(|| async {
                let within = self.patience.document;
                tokio::time::timeout(within, self.token(bearer))
                    .await
                    .unwrap_or_else(|_| Err(FetchError::Transient("the token server does not answer".into(), None)))
            });
            return secret_header(format!("Bearer {}", token.await?));
        }
        match (&self.credentials, challenges.iter().any(|challenge| challenge.scheme == "basic")) {
            (Credentials::Basic(user, password), true) => secret_header(basic(user, password)),
            _ => {
                let said = explain(refused).await;
                Err(FetchError::Unauthorized(format!("{} wants a login{said}; {}", self.host, self.credentials_hint())))
            }
        }
    }

    /// Gets a token from the server that the registry names.
    async fn token(&self, challenge: &Challenge) -> Result<String, FetchError> {
        let host = &self.host;
        let realm = challenge.parameter("realm").unwrap_or_default();
        let mut url = Url::parse(realm)
            .map_err(|error| FetchError::Invalid(format!("{host} names the token server {realm:?}: {error}")))?;
        if url.scheme() != "https" && !self.insecure {
            return Err(FetchError::Invalid(format!(
                "{host} names the token server {realm}, which is not https: credentials are not sent there"
            )));
        }
        let scope = match challenge.parameter("scope") {
            Some(scope) => scope.to_owned(),
            None => format!("repository:{}:pull", self.repository),
        };
        let service = challenge.parameter("service").unwrap_or_default();
        let request = if let Credentials::IdentityToken(token) = &self.credentials {
            let form = [
                ("grant_type", "refresh_token"),
                ("client_id", "orlop"),
                ("service", service),
                ("scope", &scope),
                ("refresh_token", token),
            ];
            let body = form.map(|(key, value)| format!("{key}={}", percent(value))).join("&");
            self.client.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
        } else {
            {
                let mut query = url.query_pairs_mut();
                if !service.is_empty() {
                    query.append_pair("service", service);
                }
                query.append_pair("scope", &scope);
            }
            let request = self.client.get(url);
            match &self.credentials {
                Credentials::Basic(user, password) => {
                    request.header(AUTHORIZATION, secret_header(basic(user, password))?)
                }
                _ => request,
            }
        };
        let response = request.send().await.map_err(|error| self.transport_error(&error))?;
        let status = response.status();
        if matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let said = explain(response).await;
            let hint = self.credentials_hint();
            return Err(FetchError::Unauthorized(format!(
                "the token server of {host} answered {status}{said}; {hint}"
            )));
        }
        let bytes = read_bounded(self.check(response).await?, ANSWER_BYTES_MAX).await?;
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        serde_json::from_slice(&bytes)
            .ok()
            .and_then(|answer: Answer| answer.token.or(answer.access_token))
            .filter(|token| !token.is_empty())
            .ok_or_else(|| FetchError::Invalid(format!("the token server of {host} sent no token")))
    }

    fn transport_error(&self, error: &reqwest::Error) -> FetchError {
        let detail = chain(error);
        // A certificate does not become valid by asking again.
        let hopeless = error.is_redirect() || error.is_builder() || detail.contains("certificate");
        let plain_http =
            ["InvalidContentType", "corrupt message", "tls handshake eof"].iter().any(|w| detail.contains(w));
        if plain_http {
            return FetchError::Permanent(format!(
                "{} does not speak TLS ({detail}); if it is meant to speak plain http, list it in insecure_registries",
                self.host
            ));
        }
        let detail = format!("{}: {detail}", self.host);
        if hopeless { FetchError::Permanent(detail) } else { FetchError::Transient(detail, None) }
    }

    /// A body that broke off.
    pub(crate) fn body_error(&self, error: &reqwest::Error) -> FetchError {
        FetchError::Transient(format!("{}: {}", self.host, chain(error)), None)
    }
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

fn secret_header(value: String) -> Result<HeaderValue, FetchError> {
    let mut value = HeaderValue::try_from(value)
        .map_err(|_| FetchError::Unauthorized("the credentials cannot be sent in a header".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn percent(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The whole chain of causes; reqwest's own message alone says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut parts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(next) = source {
        let text = next.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        source = next.source();
    }
    parts.join(": ")
}

async fn read_bounded(mut response: Response, bytes_max: u64) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if (bytes.len() + chunk.len()) as u64 > bytes_max => {
                return Err(FetchError::Invalid(format!("the answer has more than {bytes_max} bytes")));
            }
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes),
            Err(error) => return Err(FetchError::Transient(chain(&error), None)),
        }
    }
}

/// `: ` and what the registry says in its answer, if it says something.
async fn explain(mut response: Response) -> String {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        errors: Vec<Fault>,
        details: Option<String>,
    }
    #[derive(Deserialize)]
    struct Fault {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < ANSWER_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            _ => break,
        }
    }
    let Ok(answer) = serde_json::from_slice::<Answer>(&bytes) else { return String::new() };
    let mut said: Vec<_> = answer
        .errors
        .into_iter()
        .take(3)
        .map(|fault| if fault.message.is_empty() { fault.code } else { fault.message })
        .collect();
    said.extend(answer.details);
    let said: String = said.join(", ").chars().filter(|c| !c.is_control()).take(300).collect();
    if said.is_empty() { said } else { format!(": {said}") }
}
