//! How a follower keeps files, and where those that are nobody else's business.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// What the owner may do, and nobody else anything.
const OWNER_ONLY: u32 = 0o700;

/// Makes a directory that only its owner can look into, and the missing ones above it; one that is there is closed to
/// others. Views hold the environment of containers, and a node's logs and volumes what those make of it.
///
/// # Errors
/// Those of the file system.
pub fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(path)?;
    if path.metadata()?.permissions().mode() & 0o777 != OWNER_ONLY {
        std::fs::set_permissions(path, Permissions::from_mode(OWNER_ONLY))?;
    }
    Ok(())
}

/// Writes a file so that a reader sees the old contents or the new, whole, also after a crash of this process. Not synced: for
/// what describes this machine as it runs, which an end of power takes away as well.
///
/// # Errors
/// Those of the file system.
pub fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    std::fs::write(&aside, contents)?;
    std::fs::rename(&aside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_one_is_closed_and_so_is_one_that_was_open() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b");
        let mode = || path.metadata().expect("it is there").permissions().mode() & 0o777;
        private_directory(&path).expect("made");
        assert_eq!(mode(), 0o700);
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("opened");
        private_directory(&path).expect("closed");
        assert_eq!(mode(), 0o700);
        std::fs::write(folder.path().join("file"), "").expect("a file");
        assert!(private_directory(&folder.path().join("file")).is_err());
    }
}
