//! Secrets that a container reads from files.

use super::workload::Signal;
use crate::limit::PATH_BYTES_MAX;
use crate::trust::SecretName;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A secret as a file in the container, in memory and never on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// Which secret.
    pub secret: SecretName,
    /// Where.
    pub path: SecretPath,
    /// Who may read it.
    pub mode: SecretMode,
    /// Whose it is, by number.
    pub uid: u32,
    /// Whose group's it is, by number.
    pub gid: u32,
    /// What a new value means.
    pub on_change: OnSecretChange,
}

/// What a new value of a secret means to who reads it from a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnSecretChange {
    /// The replicas are replaced.
    Restart,
    /// The file gets it, then the process a signal; neither SIGKILL nor SIGSTOP, of which it could make nothing.
    Signal(Signal),
    /// The file gets it, and nobody is told.
    Nothing,
}

impl OnSecretChange {
    /// Sends a signal; `None` for one that a process does not hear of.
    pub fn signal(signal: Signal) -> Option<Self> {
        (signal != Signal::KILL && signal != Signal::STOP).then_some(Self::Signal(signal))
    }
}

impl fmt::Display for OnSecretChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restart => f.write_str("restart"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Nothing => f.write_str("none"),
        }
    }
}

/// Where the file of a secret is. Its directory is mounted as a whole, because a file that is mounted by itself does not
/// change when another takes its place; so it holds nothing but secrets, and cannot be one that the container needs
/// something else of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretPath(Arc<str>);

/// What was wrong with the path of a secret's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecretPath {
    /// Not in the one spelling of an absolute path.
    #[error("a path is absolute, without ., .. and empty parts")]
    Spelling,
    /// Longer than the kernel takes it, or one of its parts is.
    #[error("a path has at most {PATH_BYTES_MAX} bytes, and each of its parts at most {PART_BYTES_MAX}")]
    Length,
    /// In a directory of others.
    #[error(
        "the directory of a secret holds secrets only, such as /run/secrets; it is not / or /etc, nor in /dev, /proc or /sys"
    )]
    Directory,
}

/// The longest name of a file.
const PART_BYTES_MAX: usize = 255;

/// Is a path within a directory?
pub(crate) fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

impl SecretPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory that it is in.
    pub fn directory(&self) -> &str {
        self.0.rsplit_once('/').map_or("/", |(directory, _)| directory)
    }
}

impl fmt::Display for SecretPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for SecretPath {
    type Err = InvalidSecretPath;

    fn from_str(text: &str) -> Result<Self, InvalidSecretPath> {
        if text == "/" {
            return Err(InvalidSecretPath::Directory);
        }
        let Some(relative) = text.strip_prefix('/') else { return Err(InvalidSecretPath::Spelling) };
        if relative.split('/').any(|part| matches!(part, "" | "." | "..")) || text.contains(char::is_control) {
            return Err(InvalidSecretPath::Spelling);
        }
        if text.len() > PATH_BYTES_MAX || relative.split('/').any(|part| part.len() > PART_BYTES_MAX) {
            return Err(InvalidSecretPath::Length);
        }
        let path = Self(text.into());
        let others = ["/dev", "/proc", "/sys"].iter().any(|of| is_below(text, of));
        if matches!(path.directory(), "" | "/etc") || others {
            return Err(InvalidSecretPath::Directory);
        }
        Ok(path)
    }
}

/// The permissions of a secret's file: reading, for its owner, its group, all others. Nobody can write it or run it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretMode(u16);

impl SecretMode {
    /// All may read.
    pub const ALL: SecretMode = SecretMode(0o444);

    /// The bits of chmod(2); `None` for such as would allow more than reading, or nothing.
    pub fn from_bits(bits: u32) -> Option<Self> {
        u16::try_from(bits).ok().filter(|bits| bits & !0o444 == 0 && *bits != 0).map(Self)
    }

    /// The bits of chmod(2).
    pub fn bits(self) -> u32 {
        self.0.into()
    }

    /// Reads `0400` or `400`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
        let octal = digits.len() == 3 && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        u32::from_str_radix(digits, 8).ok().filter(|_| octal).and_then(Self::from_bits)
    }
}

impl fmt::Display for SecretMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Debug for SecretMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{EnvValue, Workload};

    #[test]
    fn a_file_of_a_secret_has_a_directory_of_secrets() {
        for (good, directory) in [
            ("/run/secrets/key", "/run/secrets"),
            ("/secrets/key", "/secrets"),
            ("/etc/app/tls.pem", "/etc/app"),
            ("/device/key", "/device"),
        ] {
            assert_eq!(good.parse::<SecretPath>().map(|path| path.directory().to_owned()), Ok(directory.to_owned()));
        }
        for (bad, problem) in [
            ("", InvalidSecretPath::Spelling),
            ("key", InvalidSecretPath::Spelling),
            ("/run//key", InvalidSecretPath::Spelling),
            ("/run/../key", InvalidSecretPath::Spelling),
            ("/run/secrets/", InvalidSecretPath::Spelling),
            ("/run/a\nb", InvalidSecretPath::Spelling),
            ("/key", InvalidSecretPath::Directory),
            ("/etc/key", InvalidSecretPath::Directory),
            ("/dev/shm/key", InvalidSecretPath::Directory),
            ("/proc/key", InvalidSecretPath::Directory),
            ("/sys/fs/key", InvalidSecretPath::Directory),
        ] {
            assert_eq!(bad.parse::<SecretPath>(), Err(problem), "{bad:?}");
        }
        assert_eq!(format!("/run/{}", "k".repeat(256)).parse::<SecretPath>(), Err(InvalidSecretPath::Length));
        assert_eq!("/k".repeat(2048).parse::<SecretPath>(), Err(InvalidSecretPath::Length));
    }

    #[test]
    fn a_mode_lets_somebody_read_and_nobody_else_do_anything() {
        for (good, bits) in [("0400", 0o400), ("444", 0o444), ("0440", 0o440), ("004", 0o4)] {
            assert_eq!(SecretMode::parse(good).map(SecretMode::bits), Some(bits), "{good}");
        }
        for bad in ["", "0000", "0600", "0644", "0500", "04444", "4444", "00400", "+400", "0o400", "rw", "888", "44"] {
            assert_eq!(SecretMode::parse(bad), None, "{bad}");
        }
        assert_eq!(SecretMode::ALL.to_string(), "0444");
    }

    #[test]
    fn what_a_process_has_in_its_environment_or_asks_a_restart_for_replaces_it_and_the_rest_changes_under_it() {
        let file = |secret: &str, path: &str, on_change| SecretFile {
            secret: secret.parse().expect("a name"),
            path: path.parse().expect("a path"),
            mode: SecretMode::ALL,
            uid: 0,
            gid: 0,
            on_change,
        };
        let mut workload = Workload::of("registry.test/a:1");
        workload.env.insert("KEY".into(), EnvValue::Secret("env".parse().expect("a name")));
        workload.secret_files = vec![
            file("env", "/run/secrets/env", OnSecretChange::Nothing),
            file("tls", "/run/secrets/tls/key", OnSecretChange::Signal(Signal::TERM)),
            file("cold", "/srv/cold", OnSecretChange::Restart),
            file("both", "/run/secretary/one", OnSecretChange::Nothing),
            file("both", "/run/secretary/two", OnSecretChange::Restart),
        ];
        let replaced: Vec<&str> = workload
            .secrets()
            .into_iter()
            .filter(|secret| workload.is_replaced_by(secret))
            .map(SecretName::as_str)
            .collect();
        assert_eq!(replaced, ["both", "cold", "env"]);
        assert_eq!(workload.changing_files().map(|file| file.secret.as_str()).collect::<Vec<_>>(), ["tls"]);
        let directories: Vec<&str> = workload.secret_directories().into_iter().collect();
        assert_eq!(directories, ["/run/secretary", "/run/secrets", "/srv"]);
        assert_eq!(OnSecretChange::signal(Signal::KILL), None);
    }
}
