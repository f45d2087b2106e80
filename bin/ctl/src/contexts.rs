//! Clusters that somebody has logged in to: their addresses, the certificates of their authorities, and tokens.
//!
//! They lie in `orlop/contexts.json` in the user's configuration directory, which only the user may read.

use crate::failure::{FAILED, Failure, NOT_FOUND};
use orlop_client::{Address, Credentials};
use orlop_identity::AuthorityCertificate;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// All contexts of a user.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The one that is used when none is named.
    pub(crate) current: Option<String>,
    pub(crate) contexts: BTreeMap<String, Login>,
}

/// A cluster that somebody has logged in to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    /// Where the members are.
    pub(crate) address: String,
    /// Who logged in, as the cluster says.
    pub(crate) caller: String,
    /// The certificate of the cluster's authority, PEM.
    authority: String,
    token: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("address", &self.address).field("caller", &self.caller).finish_non_exhaustive()
    }
}

impl Login {
    pub(crate) fn new(address: &Address, caller: &str, authority: &AuthorityCertificate, token: &str) -> Self {
        let authority = pem::encode(&pem::Pem::new("CERTIFICATE", authority.der().to_vec()));
        Self { address: address.to_string(), caller: caller.to_owned(), authority, token: token.to_owned() }
    }

    pub(crate) fn address(&self) -> Result<Address, Failure> {
        self.address.parse().map_err(|e| damaged(&e))
    }

    pub(crate) fn credentials(&self) -> Result<Credentials, Failure> {
        let der = pem::parse(&self.authority).map_err(|e| damaged(&e))?.into_contents();
        let authority = AuthorityCertificate::read(&der.into()).map_err(|e| damaged(&e))?;
        Ok(Credentials::Token { authority, token: self.token.as_str().into() })
    }
}

fn damaged(problem: &dyn std::fmt::Display) -> Failure {
    Failure::new(FAILED, format!("the context is damaged ({problem}); log in again with `orlopctl login`"))
}

impl Contexts {
    /// Where they lie: `$ORLOP_CONTEXTS`, or in the user's configuration directory.
    pub(crate) fn path() -> Result<PathBuf, Failure> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = set("ORLOP_CONTEXTS") {
            return Ok(path);
        }
        let folder = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
        let folder =
            folder.ok_or_else(|| Failure::usage("there is no HOME; say with ORLOP_CONTEXTS where contexts lie"))?;
        Ok(folder.join("orlop/contexts.json"))
    }

    /// Those in a file; none when it is not there.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let failed = |problem: &dyn std::fmt::Display| Failure::new(FAILED, format!("{}: {problem}", path.display()));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(&error)),
        };
        let mode = path.metadata().map_err(|e| failed(&e))?.mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = path.display();
            let message =
                format!("others may read the tokens in {path} (mode {mode:o}); if nobody has: chmod 600 {path}");
            return Err(Failure::new(FAILED, message));
        }
        serde_json::from_str(&text).map_err(|e| failed(&e))
    }

    /// Writes them to a file, whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let write = || {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            // Made with 0600.
            let mut aside = tempfile::NamedTempFile::new_in(folder)?;
            aside.write_all(&serde_json::to_vec_pretty(self)?)?;
            aside.as_file().sync_all()?;
            aside.persist(path).map_err(|e| e.error)
        };
        let written: io::Result<_> = write();
        written.map(drop).map_err(|e| Failure::new(FAILED, format!("{}: {e}", path.display())))
    }

    /// The context of a name, or the current one.
    pub(crate) fn find(&self, name: Option<&str>) -> Result<Option<&Login>, Failure> {
        let Some(name) = name.or(self.current.as_deref()) else { return Ok(None) };
        match self.contexts.get(name) {
            Some(login) => Ok(Some(login)),
            None => {
                let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Err(Failure::new(NOT_FOUND, format!("there is no context {name:?}; there is {known}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    fn login() -> Login {
        Login {
            address: "https://a:7700".into(),
            caller: "operator/a".into(),
            authority: "x".into(),
            token: "t".into(),
        }
    }

    #[test]
    fn contexts_are_for_their_owner_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/contexts.json");
        assert!(Contexts::read(&path).expect("none yet").contexts.is_empty());
        let contexts = Contexts { current: Some("a".into()), contexts: BTreeMap::from([("a".to_owned(), login())]) };
        contexts.write(&path).expect("written");
        assert_eq!(path.metadata().expect("there").mode() & 0o777, 0o600);
        let read = Contexts::read(&path).expect("read");
        assert_eq!(read.find(None).expect("found"), Some(&login()));
        assert_eq!(read.find(Some("b")).expect_err("unknown").code, NOT_FOUND);
        assert!(!format!("{read:?}").contains("\"t\""));
        set_permissions(&path, Permissions::from_mode(0o640)).expect("opened");
        let refused = Contexts::read(&path).expect_err("others may read it");
        assert!(refused.message.contains("chmod 600"), "{}", refused.message);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("contexts.json");
        Contexts::default().write(&path).expect("written");
        std::fs::write(&path, "{").expect("written");
        let refused = Contexts::read(&path).expect_err("no JSON");
        assert!(refused.message.contains("contexts.json"), "{}", refused.message);
        assert!(login().credentials().is_err());
    }
}
