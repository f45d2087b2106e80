//! Host names and URLs.

use super::{Refusal, because, not_yet, whole};
use std::net::{Ipv4Addr, Ipv6Addr};

const INTERNAL: &str = "names below .internal arrive with the cluster's DNS; gate the service with `depends` instead";

/// A host that requests are for, given back in lower case.
pub(crate) fn public(text: &str) -> Result<String, Refusal> {
    if text.contains("://") || text.contains('/') {
        return because("a host is only the name: no scheme and no path");
    }
    if text.contains('*') {
        return because("a host is one name; leave `host` out to take requests for any");
    }
    if text.contains(':') {
        return because("a host has no port: the proxy decides on which port it listens");
    }
    if !is_name(text, false) { Err(Refusal::Plain) } else { Ok(text.to_ascii_lowercase()) }
}

/// A host to connect to: a name or an address.
pub(crate) fn target(text: &str) -> Result<String, Refusal> {
    if text.parse::<Ipv4Addr>().is_ok() || text.parse::<Ipv6Addr>().is_ok() {
        return Ok(text.to_owned());
    }
    if text.contains("://") || text.contains('/') {
        return because("a host is only the name or address: no scheme and no path");
    }
    if text.contains(':') {
        return because("a host has no port in it: write the port as `port`");
    }
    if !is_name(text, true) {
        return Err(Refusal::Plain);
    }
    let lower = text.trim_end_matches('.').to_ascii_lowercase();
    if lower == "internal" || lower.ends_with(".internal") { not_yet(INTERNAL) } else { Ok(text.to_owned()) }
}

/// An `http://` URL to be asked with GET; used as written.
pub(crate) fn url(text: &str) -> Result<String, Refusal> {
    const LENGTH_MAX: usize = 2048;
    if text.len() > LENGTH_MAX {
        return because(format!("a URL has at most {LENGTH_MAX} bytes"));
    }
    if text.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
        return not_yet("checks are made over http://");
    }
    let Some(rest) = text.strip_prefix("http://") else {
        return because("a URL begins with http://, as in http://localhost:8080/up");
    };
    if !rest.bytes().all(|c| c.is_ascii_graphic()) {
        return because("a URL is of printable ASCII; write other characters in percent-encoding");
    }
    if rest.contains('#') {
        return because("a URL that is asked for has no fragment: leave out # and what follows");
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return because("a URL here carries no user and password");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let Some((address, port)) = bracketed.split_once(']') else {
                return because("an IPv6 address in a URL stands in brackets: http://[::1]:8080/");
            };
            if address.parse::<Ipv6Addr>().is_err() {
                return because("an IPv6 address in a URL stands in brackets: http://[::1]:8080/");
            }
            (None, port.strip_prefix(':').or((!port.is_empty()).then_some("no")))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(authority), None),
        },
    };
    if port.is_some_and(|port| whole(port).is_none_or(|port| !(1..=65535).contains(&port))) {
        return because("the port of a URL is a whole number from 1 to 65535");
    }
    match host.map(target) {
        None | Some(Ok(_)) => Ok(text.to_owned()),
        Some(Err(Refusal::Plain)) => because("a URL names a host: http://localhost:8080/up"),
        Some(Err(refusal)) => Err(refusal),
    }
}

/// Labels of letters, digits and `-`, and `_` where a resolver is merely asked.
fn is_name(text: &str, underscores: bool) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || (underscores && c == b'_'))
    };
    let text = if underscores { text.strip_suffix('.').unwrap_or(text) } else { text };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::super::remedy;
    use super::*;

    #[test]
    fn a_public_host_is_a_bare_name_in_lower_case() {
        assert_eq!(public("Shop.Example"), Ok("shop.example".into()));
        assert_eq!(public("localhost"), Ok("localhost".into()));
        for (bad, expected) in [
            ("http://shop.example", "no scheme"),
            ("shop.example/x", "no path"),
            ("shop.example:80", "no port"),
            ("*.shop.example", "one name"),
            ("shop..example", "plain"),
            ("-shop", "plain"),
            ("", "plain"),
            ("shöp", "plain"),
            ("shop.example.", "plain"),
        ] {
            assert!(remedy(public(bad)).contains(expected), "{bad}: {}", remedy(public(bad)));
        }
    }

    #[test]
    fn a_host_to_connect_to_is_a_name_or_an_address() {
        for good in ["db", "db.example", "10.0.0.1", "::1", "_x.example.", "localhost"] {
            assert_eq!(target(good), Ok(good.to_owned()));
        }
        for (bad, expected) in [
            ("db.shop.internal", "depends"),
            ("DB.Internal.", "not supported yet"),
            ("tcp://db", "no scheme"),
            ("db:5432", "as `port`"),
            ("", "plain"),
            ("a b", "plain"),
        ] {
            assert!(remedy(target(bad)).contains(expected), "{bad}");
        }
    }

    #[test]
    fn a_url_is_plain_http() {
        for good in [
            "http://localhost:8080/up",
            "http://localhost",
            "http://10.0.0.1?x=1",
            "http://[::1]:8080/",
            "http://[::1]",
            "http://a.example/x?y=z",
        ] {
            assert_eq!(url(good), Ok(good.to_owned()));
        }
        for (bad, expected) in [
            ("localhost:8080", "begins with http://"),
            ("", "begins with http://"),
            ("https://localhost", "not supported yet"),
            ("http://", "names a host"),
            ("http:///up", "names a host"),
            ("http://localhost:0/", "65535"),
            ("http://localhost:http/", "65535"),
            ("http://[::1]x/", "65535"),
            ("http://[::1/", "brackets"),
            ("http://[x]/", "brackets"),
            ("http://a@b/", "no user"),
            ("http://a/#b", "fragment"),
            ("http://a/b c", "percent"),
            ("http://db.shop.internal/", "not supported yet"),
        ] {
            assert!(remedy(url(bad)).contains(expected), "{bad}: {}", remedy(url(bad)));
        }
    }
}
