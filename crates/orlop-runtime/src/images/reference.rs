//! Names of images: `registry.example:5000/shop/api:1.4@sha256:…`.

use std::fmt;
use std::str::FromStr;

/// A full image name. A name with a digest means that content, whatever the tag says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// `host` or `host:port`, as written.
    pub registry: String,
    /// Lower-case path at the registry.
    pub repository: String,
    /// Defaults to `latest` when there is no digest.
    pub tag: Option<String>,
    /// `sha256:` and 64 hexadecimal digits.
    pub digest: Option<Digest>,
}

/// What was wrong with an image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not an image name: {problem}")]
pub struct InvalidReference {
    /// As found, cut at 300 characters.
    pub found: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Reference {
    /// What the registry is asked for: the digest, or the tag.
    pub fn selector(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        }
    }

    /// The host that serves the registry (one well-known registry is served by another host than its name).
    pub fn host(&self) -> String {
        let tag = self.selector().to_owned();
        oci_spec::distribution::Reference::with_tag(self.registry.clone(), self.repository.clone(), tag)
            .resolve_registry()
            .to_owned()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let invalid = |problem| InvalidReference { found: text.chars().take(300).collect(), problem };
        if text.len() > 1024 {
            return Err(invalid("it is longer than 1024 bytes"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|_| invalid("after @ comes sha256: and 64 hexadecimal digits"))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (registry, path) = rest
            .split_once('/')
            .filter(|(host, _)| host.contains(['.', ':']) || *host == "localhost")
            .ok_or_else(|| invalid("it must begin with the registry's host, as in registry.example/shop/api:1.4"))?;
        let host_is_good = !registry.starts_with(['.', '-', ':'])
            && registry.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b':' | b'[' | b']'));
        if !host_is_good {
            return Err(invalid("the registry is not a host name with an optional port"));
        }
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        let is_component = |part: &str| {
            let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            edge(part.bytes().next())
                && edge(part.bytes().last())
                && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'.' | b'_' | b'-'))
                && !part.contains("..")
        };
        if repository.len() > 255 || !repository.split('/').all(is_component) {
            return Err(invalid("the repository is lower-case letters, digits, ., _, - and /"));
        }
        let is_tag = |tag: &str| {
            (1..=128).contains(&tag.len())
                && !tag.starts_with(['.', '-'])
                && tag.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid("the tag is 1–128 letters, digits, ., _ and -"));
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        };
        Ok(Self { registry: registry.to_owned(), repository: repository.to_owned(), tag, digest })
    }
}

/// `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self::finish(sha2::Sha256::new_with_prefix(bytes))
    }

    /// The digest of what was put into the hasher.
    pub(crate) fn finish(hasher: sha2::Sha256) -> Self {
        use sha2::Digest as _;
        use std::fmt::Write as _;
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in hasher.finalize() {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// With its prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits alone.
    pub fn hex(&self) -> &str {
        &self.0[7..]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        text.strip_prefix("sha256:")
            .filter(|hex| hex.len() == 64 && hex.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')))
            .map(|_| Self(text.to_owned()))
            .ok_or_else(|| InvalidReference {
                found: text.chars().take(100).collect(),
                problem: "a digest is sha256: and 64 lower-case hexadecimal digits",
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_names_are_read_and_printed() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let check = |text: &str, printed: &str, host: &str, selector: &str| {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), printed);
            assert_eq!(reference.host(), host, "{text}");
            assert_eq!(reference.selector(), selector, "{text}");
        };
        check("registry.example/shop/api:1.4", "registry.example/shop/api:1.4", "registry.example", "1.4");
        check("localhost/api", "localhost/api:latest", "localhost", "latest");
        check("127.0.0.1:5000/a/b_c/d-e", "127.0.0.1:5000/a/b_c/d-e:latest", "127.0.0.1:5000", "latest");
        let by_digest = format!("r.example:80/a@{digest}");
        check(&by_digest, &by_digest, "r.example:80", &digest);
        let both = format!("r.example/a:1@{digest}");
        check(&both, &both, "r.example", &digest);
    }

    #[test]
    fn what_is_no_full_name_is_refused() {
        let long = format!("r.example/{}", "a".repeat(256));
        for text in [
            "",
            "api",
            "shop/api",
            "r.example/",
            "r.example/API",
            "r.example/a:",
            "r.example/a:b:c",
            "r.example/a@sha256:12",
            "r.example//a",
            "r.example/a/",
            "r.example/../a",
            "r.example/a b",
            "-r.example/a",
            "r.exa mple/a",
            "r.example/-a",
            "r.example/a:-x",
            "r.example/a@md5:abc",
            "r.example/a@",
            &long,
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
