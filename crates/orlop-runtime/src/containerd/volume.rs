//! The directories of volumes.

use crate::oci::user::User;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::Path;

/// Is there no room, for this user or for anybody?
pub(super) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

/// Only a directory that we make changes its owner. It is made aside and renamed, so that one that is there under its
/// name is known to be whole, whenever an earlier try was cut off. To be called by one at a time.
pub(super) fn make_volume(path: &Path, user: &User) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(std::io::ErrorKind::InvalidInput.into());
    };
    std::fs::create_dir_all(parent)?;
    let mut aside = std::ffi::OsString::from(".");
    aside.push(name);
    aside.push(".new");
    let aside = parent.join(aside);
    match std::fs::DirBuilder::new().mode(0o755).create(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => chown(&aside, Some(user.uid), Some(user.gid))?,
    }
    // A directory does not replace a file: what is there under the name says so.
    std::fs::rename(&aside, path)
}
