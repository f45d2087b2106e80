//! The file that a member keeps the cluster key in.

use super::{ClusterKey, Weak};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The system refuses.
    #[error("{path}: {problem}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        problem: io::Error,
    },
    /// Others may read it.
    #[error("{path} may be read or written by others (mode {mode:o}); if nobody has, then: chmod 600 {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is not 32 bytes.
    #[error("{path} has not 32 bytes, as a cluster key has; copy that of another member, or of the backup")]
    Length {
        /// The file.
        path: PathBuf,
    },
    /// The bytes are not random.
    #[error("{path}: {weak}")]
    Weak {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        weak: Weak,
    },
}

impl ClusterKey {
    /// Reads the key from a file that only its owner may open.
    ///
    /// # Errors
    /// When others may open it, or it is not a key.
    pub fn read_file(path: &Path) -> Result<Self, KeyFileError> {
        let io = |problem| KeyFileError::Io { path: path.to_owned(), problem };
        let file = File::open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Open { path: path.to_owned(), mode });
        }
        let mut bytes = Vec::new();
        file.take(33).read_to_end(&mut bytes).map_err(io)?;
        let bytes = bytes.try_into().map_err(|_| KeyFileError::Length { path: path.to_owned() })?;
        Self::from_bytes(bytes).map_err(|weak| KeyFileError::Weak { path: path.to_owned(), weak })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_file_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.key");
        let key = ClusterKey::generate(&SystemRandom::new()).unwrap();
        write(&path, key.bytes()).unwrap();
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(ClusterKey::read_file(&path).unwrap(), key);
        for mode in [0o640, 0o604, 0o620, 0o666] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refused = ClusterKey::read_file(&path).unwrap_err();
            assert!(matches!(refused, KeyFileError::Open { mode: found, .. } if found == mode));
            assert!(refused.to_string().contains("chmod 600"), "{refused}");
        }
    }

    #[test]
    fn a_file_that_is_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cluster.key");
        assert!(matches!(ClusterKey::read_file(&path), Err(KeyFileError::Io { .. })));
        for (bytes, weak) in [(vec![0; 32], true), (vec![1; 31], false), (vec![1; 33], false), (vec![], false)] {
            write(&path, &bytes).unwrap();
            set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let refused = ClusterKey::read_file(&path).unwrap_err();
            assert_eq!(matches!(refused, KeyFileError::Weak { .. }), weak, "{refused}");
            assert_eq!(matches!(refused, KeyFileError::Length { .. }), !weak, "{refused}");
        }
    }
}
