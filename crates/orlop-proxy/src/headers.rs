//! Header fields that belong to one connection and not to the message, and what a backend is told of the client.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Uri, Version};
use std::net::IpAddr;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What clients may not tell backends about themselves: backends believe it.
const CLAIMS: [HeaderName; 5] = [
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-real-ip"),
    header::FORWARDED,
];

/// Removes what belongs to one connection: the known fields, and those that `Connection` names.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // A client that names these would take from the message what says where it ends or where it goes.
        .filter(|name| ![header::HOST, header::CONTENT_LENGTH].contains(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
    let known = [
        header::CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    for name in known {
        headers.remove(name);
    }
}

/// The protocol that a message wants to leave HTTP for. Never `h2c`: a backend that agreed to it would be reached past
/// the routes.
fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let wants = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(header::UPGRADE).filter(|_| wants)?;
    let text = protocol.to_str().ok()?;
    let plain = text.split(',').all(|word| !word.trim().to_ascii_lowercase().starts_with("h2"));
    plain.then(|| protocol.clone())
}

fn put_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// Makes of a client's request what a backend gets. Answers whether it asks for an upgrade.
pub(crate) fn to_backend<B>(request: &mut Request<B>, client: IpAddr) -> bool {
    // What was sent as `GET http://host/path` goes on as `GET /path`; its host is in Host.
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    let protocol = upgrade(headers);
    strip(headers);
    // The proxy itself says 100 Continue once it reads the body.
    headers.remove(header::EXPECT);
    CLAIMS.iter().for_each(|name| {
        headers.remove(name);
    });
    if let Ok(client) = HeaderValue::from_str(&client.to_string()) {
        headers.insert(FORWARDED_FOR, client);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    match headers.get(header::HOST).cloned() {
        Some(host) => headers.insert(FORWARDED_HOST, host),
        None => {
            // An HTTP/1.0 client may leave it out; in HTTP/1.1 that is said with an empty one.
            headers.insert(header::HOST, HeaderValue::from_static(""));
            headers.remove(FORWARDED_HOST)
        }
    };
    let upgrades = protocol.is_some();
    if let Some(protocol) = protocol {
        put_upgrade(headers, protocol);
    }
    upgrades
}

/// Makes of a backend's response what the client gets.
pub(crate) fn to_client(headers: &mut HeaderMap, switches: bool) {
    let protocol = headers.get(header::UPGRADE).cloned().filter(|_| switches);
    strip(headers);
    if let Some(protocol) = protocol {
        put_upgrade(headers, protocol);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::get("http://shop.example/a?b=c");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn printed(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<_> = headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_backend_learns_about_the_client_from_the_proxy_alone() {
        let mut request = request(&[
            ("host", "shop.example"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("x-real-ip", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("cookie", "a=b"),
        ]);
        assert!(!to_backend(&mut request, [192, 0, 2, 7].into()));
        assert_eq!(request.uri(), "/a?b=c");
        assert_eq!(
            printed(request.headers()),
            [
                "cookie: a=b",
                "host: shop.example",
                "x-forwarded-for: 192.0.2.7",
                "x-forwarded-host: shop.example",
                "x-forwarded-proto: http",
            ]
        );
    }

    #[test]
    fn what_belongs_to_one_connection_stays_on_it() {
        let mut request = request(&[
            ("host", "a"),
            ("connection", "close, X-Secret, host, content-length"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("x-secret", "1"),
            ("content-length", "3"),
            ("proxy-authorization", "basic"),
            ("expect", "100-continue"),
        ]);
        assert!(!to_backend(&mut request, [127, 0, 0, 1].into()));
        let names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["host", "content-length", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"]);
    }

    #[test]
    fn an_upgrade_passes_unless_it_is_to_another_http() {
        let mut websocket = request(&[("host", "a"), ("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert!(to_backend(&mut websocket, [127, 0, 0, 1].into()));
        assert_eq!(websocket.headers()["connection"], "upgrade");
        assert_eq!(websocket.headers()["upgrade"], "websocket");
        for other in ["h2c", "websocket, H2C", "h2"] {
            let mut h2c = request(&[
                ("host", "a"),
                ("connection", "upgrade, http2-settings"),
                ("upgrade", other),
                ("http2-settings", "x"),
            ]);
            assert!(!to_backend(&mut h2c, [127, 0, 0, 1].into()), "{other}");
            assert!(!h2c.headers().contains_key("upgrade") && !h2c.headers().contains_key("http2-settings"));
        }
        let mut without = request(&[("host", "a"), ("upgrade", "websocket")]);
        assert!(!to_backend(&mut without, [127, 0, 0, 1].into()));
    }
}
