//! Image references: `HOST[:PORT]/REPOSITORY:TAG`, `…@sha256:DIGEST`, or both.
//!
//! The registry's host and the version are always written. No registry is assumed, so that a name means the same on every
//! node whatever is configured there, and no tag either: a file without a version would name another program every day,
//! and a rollback would have nothing to go back to.

use super::{Refusal, because, not_yet};

/// Checks a reference; it is used as written.
pub(crate) fn check(text: &str) -> Result<String, Refusal> {
    const REPOSITORY_MAX: usize = 255;
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    // A colon after the last slash begins the tag; one before it, a port.
    let slash = name.rfind('/').map_or(0, |i| i + 1);
    let (name, tag) = match name[slash..].find(':') {
        Some(i) => (&name[..slash + i], Some(&name[slash + i + 1..])),
        None => (name, None),
    };
    if text.starts_with('[') {
        return not_yet("name the registry by host name or IPv4 address");
    }
    if text.contains("://") {
        return because("an image reference has no scheme: leave out what stands before the host");
    }
    let host_and_path = name.split_once('/').filter(|(host, _)| is_host(host));
    let Some((host, repository)) = host_and_path else {
        return because(format!(
            "no registry is assumed: write the host in front, as in registry.example/{text} or localhost:5000/{text} \
             (a host has a dot or a port, or is localhost)"
        ));
    };
    if let Some((_, port)) = host.split_once(':')
        && super::whole(port).is_none_or(|port| !(1..=65535).contains(&port))
    {
        return because("the port of the registry is a whole number from 1 to 65535");
    }
    if repository.chars().any(|c| c.is_ascii_uppercase()) {
        return because("a repository is written in lower case");
    }
    if repository.len() > REPOSITORY_MAX || !repository.split('/').all(is_component) {
        return because(
            "a repository is of words of a–z and 0–9, joined by /, -, one or two _, or a dot, at most 255 characters",
        );
    }
    if let Some(digest) = digest {
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() != 64 || !hex.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c)) {
            return because("a digest is sha256: and 64 hexadecimal digits in lower case");
        }
    }
    match tag {
        Some(tag) if !is_tag(tag) => because("a tag is 1–128 letters, digits, _, . and -, not beginning with . or -"),
        None if digest.is_none() => {
            because(format!("write which version is meant, by tag or digest, as in {text}:1.0; none is assumed"))
        }
        _ => Ok(text.to_owned()),
    }
}

/// A host is told from the first word of a repository by a dot, a port, or being `localhost`.
fn is_host(text: &str) -> bool {
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (name.contains('.') || port.is_some() || name == "localhost") && name.len() <= 253 && name.split('.').all(label)
}

fn is_component(text: &str) -> bool {
    let word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    let joined = bytes.split(|c| word(*c)).filter(|joint| !joint.is_empty());
    let mut joints = joined.map(|joint| matches!(joint, b"." | b"_" | b"__") || joint.iter().all(|c| *c == b'-'));
    bytes.first().is_some_and(|c| word(*c)) && bytes.last().is_some_and(|c| word(*c)) && joints.all(|good| good)
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c))
}

#[cfg(test)]
mod tests {
    use super::super::remedy;
    use super::*;

    #[test]
    fn a_reference_has_host_repository_and_version() {
        let digest = format!("registry.example/shop/api@sha256:{}", "0123456789abcdef".repeat(4));
        let both = format!("localhost:5000/x:1@sha256:{}", "a".repeat(64));
        for good in [
            "registry.example/shop/api:1.4",
            "localhost:5000/x:1",
            "localhost/hello:0.1",
            "127.0.0.1:5000/a/b/c:v1.2.3-rc_1",
            "reg:5000/x:latest",
            "registry.example/a-b/c__d/e.f:1",
            "registry.example/a--b:1",
            "Registry.Example/x:1",
            &digest,
            &both,
        ] {
            assert_eq!(check(good), Ok(good.to_owned()));
        }
    }

    #[test]
    fn each_way_to_miss_it_has_its_own_remedy() {
        let short = format!("registry.example/x@sha256:{}", "a".repeat(63));
        let upper = format!("registry.example/x@sha256:{}", "A".repeat(64));
        let long = format!("registry.example/{}:1", "a".repeat(256));
        for (bad, expected) in [
            ("busybox", "localhost:5000/busybox"),
            ("shop/api", "registry.example/shop/api"),
            ("shop/api:1.4", "no registry is assumed"),
            ("busybox:1", "no registry is assumed"),
            ("", "no registry is assumed"),
            ("/x:1", "no registry is assumed"),
            ("-a.example/x:1", "no registry is assumed"),
            ("registry.example/shop/api", "registry.example/shop/api:1.0"),
            ("registry.example/shop/API:1", "lower case"),
            ("registry.example/shop//api:1", "a repository is"),
            ("registry.example/shop/api-:1", "a repository is"),
            ("registry.example/a___b:1", "a repository is"),
            ("registry.example/a..b:1", "a repository is"),
            ("registry.example/:1", "a repository is"),
            ("registry.example/a b:1", "a repository is"),
            (&long, "255"),
            ("registry.example/x:", "a tag is"),
            ("registry.example/x:.1", "a tag is"),
            ("registry.example/x:1:2", "a tag is"),
            ("registry.example/x:ü", "a tag is"),
            ("registry.example:0/x:1", "port"),
            ("registry.example:99999/x:1", "port"),
            ("registry.example/x@sha512:aa", "sha256"),
            ("registry.example/x@", "sha256"),
            (&short, "64"),
            (&upper, "64"),
            ("https://registry.example/x:1", "no scheme"),
            ("[::1]:5000/x:1", "not supported yet"),
        ] {
            assert!(remedy(check(bad)).contains(expected), "{bad}: {}", remedy(check(bad)));
        }
    }
}
