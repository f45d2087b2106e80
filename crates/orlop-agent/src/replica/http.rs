//! A plain GET, for checks: one request on one connection, no redirects followed, and of the answer only its status.

use super::netns;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::path::Path;

/// The host and port of an `http://` URL, and what to ask for.
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    authority: String,
    path: String,
}

impl Target {
    pub(crate) fn read(url: &str) -> Result<Target, String> {
        let uri: http::Uri = url.parse().map_err(|e| format!("{url:?} is not a URL: {e}"))?;
        if uri.scheme_str() != Some("http") {
            return Err(format!("{url:?} does not begin with http://"));
        }
        let authority = uri.authority().ok_or_else(|| format!("{url:?} has no host"))?;
        Ok(Target {
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: authority.to_string(),
            path: uri.path_and_query().map_or("/", |p| p.as_str()).to_owned(),
        })
    }
}

/// The status that `target` answers with at `to`, asked from inside the namespace.
pub(crate) async fn status(namespace: &Path, to: SocketAddr, target: &Target) -> Result<u16, String> {
    let stream = netns::connect(namespace, to).await.map_err(|e| format!("connecting to {to}: {e}"))?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(64 << 10)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| format!("speaking HTTP with {to}: {e}"))?;
    let request = http::Request::get(&target.path)
        .header(http::header::HOST, &target.authority)
        .header(http::header::USER_AGENT, "orlop-check")
        .header(http::header::CONNECTION, "close")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|e| format!("making the request: {e}"))?;
    // The connection ends with the answer's head: its body is of no interest, however long it is.
    let answer = sender.send_request(request);
    tokio::pin!(answer, connection);
    let mut end = None;
    let answer = loop {
        tokio::select! {
            answer = &mut answer => break answer,
            // It may end in the moment in which the answer has come; without one, the answer is an error now.
            ended = &mut connection, if end.is_none() => end = Some(ended),
        }
    };
    match (answer, end) {
        (Ok(answer), _) => Ok(answer.status().as_u16()),
        (Err(_), Some(Ok(()))) => Err(format!("{to} closed the connection without an answer")),
        (Err(_), Some(Err(error))) | (Err(error), None) => Err(format!("asking {to}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_their_defaults() {
        let target = Target::read("http://localhost/up?x=1").expect("good");
        assert_eq!((target.host.as_str(), target.port, target.path.as_str()), ("localhost", 80, "/up?x=1"));
        let target = Target::read("http://[::1]:8080").expect("good");
        assert_eq!((target.host.as_str(), target.port, target.path.as_str()), ("::1", 8080, "/"));
        for bad in ["https://localhost/", "localhost:80", "/up", ""] {
            assert!(Target::read(bad).is_err(), "{bad}");
        }
    }
}
