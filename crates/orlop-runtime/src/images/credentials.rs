//! Credentials from a docker `config.json`.

use base64::Engine;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// What to present to a registry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    None,
    /// User name and password.
    Basic(String, String),
    /// A refresh token, good for the registry's token server only.
    IdentityToken(String),
    /// A token to send as it is.
    RegistryToken(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Credentials::None => "None",
            Credentials::Basic(..) => "Basic(…)",
            Credentials::IdentityToken(_) => "IdentityToken(…)",
            Credentials::RegistryToken(_) => "RegistryToken(…)",
        })
    }
}

/// Why no credentials could be read. Never quotes the file: it holds secrets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidCredentials {
    #[error("{0} cannot be read: {1}")]
    Unreadable(String, io::Error),
    #[error("{path} is not a docker config.json: {problem} (line {line})")]
    Malformed { path: String, problem: &'static str, line: usize },
    #[error("{path}: the credentials of {host} have no user:password in base64")]
    BadAuth { path: String, host: String },
    #[error(
        "{path} wants the credential helper {helper:?} for {host}, and credential helpers are not supported: \
         log in without one, so that `auths` holds the credentials"
    )]
    Helper { path: String, helper: String, host: String },
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct File {
    auths: BTreeMap<String, Auth>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl Credentials {
    /// The credentials for a registry; `None` where there is no file or no entry.
    pub(crate) fn read(path: Option<&Path>, registry: &str) -> Result<Credentials, InvalidCredentials> {
        let Some(path) = path else { return Ok(Credentials::None) };
        match std::fs::read(path) {
            Ok(bytes) => Self::parse(&bytes, &path.display().to_string(), registry),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Credentials::None),
            Err(error) => Err(InvalidCredentials::Unreadable(path.display().to_string(), error)),
        }
    }

    fn parse(bytes: &[u8], path: &str, registry: &str) -> Result<Credentials, InvalidCredentials> {
        let file: File = serde_json::from_slice(bytes).map_err(|error| InvalidCredentials::Malformed {
            path: path.to_owned(),
            problem: match error.classify() {
                serde_json::error::Category::Data => "a value has the wrong type",
                _ => "it is not JSON",
            },
            line: error.line(),
        })?;
        let helper = |helper: &String| InvalidCredentials::Helper {
            path: path.to_owned(),
            helper: helper.clone(),
            host: registry.to_owned(),
        };
        if let Some(name) = file.cred_helpers.iter().find(|(key, _)| host_of(key) == registry).map(|(_, name)| name) {
            return Err(helper(name));
        }
        let entry = file.auths.iter().find(|(key, _)| host_of(key) == registry).map(|(_, auth)| auth);
        let Some(auth) = entry else { return Ok(Credentials::None) };
        if !auth.identitytoken.is_empty() {
            return Ok(Credentials::IdentityToken(auth.identitytoken.clone()));
        }
        if !auth.registrytoken.is_empty() {
            return Ok(Credentials::RegistryToken(auth.registrytoken.clone()));
        }
        if !auth.username.is_empty() {
            return Ok(Credentials::Basic(auth.username.clone(), auth.password.clone()));
        }
        if auth.auth.is_empty() {
            // With a store, docker leaves an empty entry behind as a marker.
            return file.creds_store.as_ref().map_or(Ok(Credentials::None), |name| Err(helper(name)));
        }
        base64::engine::general_purpose::STANDARD
            .decode(auth.auth.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .and_then(|text| {
                let (user, password) = text.split_once(':')?;
                Some(Credentials::Basic(user.to_owned(), password.trim_end_matches('\0').to_owned()))
            })
            .ok_or_else(|| InvalidCredentials::BadAuth { path: path.to_owned(), host: registry.to_owned() })
    }
}

/// Keys are hosts, or URLs as older tools wrote them (`https://registry.example/v1/`).
fn host_of(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_entry_is_understood() {
        let file = br#"{
            "auths": {
                "a.example": {"auth": "dXNlcjpwYTpzcw=="},
                "https://b.example/v1/": {"username": "u", "password": "p"},
                "c.example:5000": {"auth": "dTpw", "identitytoken": "t"},
                "d.example": {"registrytoken": "r"},
                "e.example": {"auth": "%%%"},
                "f.example": {}
            },
            "credHelpers": {"g.example": "ecr"}, "credsStore": "desktop", "HttpHeaders": {}
        }"#;
        let read = |host| Credentials::parse(file, "config.json", host).map_err(|error| error.to_string());
        assert_eq!(read("a.example"), Ok(Credentials::Basic("user".into(), "pa:ss".into())));
        assert_eq!(read("b.example"), Ok(Credentials::Basic("u".into(), "p".into())));
        assert_eq!(read("c.example:5000"), Ok(Credentials::IdentityToken("t".into())));
        assert_eq!(read("d.example"), Ok(Credentials::RegistryToken("r".into())));
        assert!(read("e.example").unwrap_err().contains("e.example"));
        assert!(read("f.example").unwrap_err().contains("\"desktop\""));
        assert!(read("g.example").unwrap_err().contains("\"ecr\""));
        assert_eq!(read("h.example"), Ok(Credentials::None));
        let error = Credentials::parse(b"{\"auths\": 1}", "config.json", "a").unwrap_err().to_string();
        assert_eq!(error, "config.json is not a docker config.json: a value has the wrong type (line 1)");
    }

    #[test]
    fn secrets_are_not_printed() {
        assert!(!format!("{:?}", Credentials::Basic("user".into(), "secret".into())).contains("secret"));
        let error = Credentials::parse(br#"{"auths": {"a": {"password": "secret"#, "c", "a").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}
