//! Files that are replaced whole.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Writes a file, for its owner only, in place of the one that is there: whoever reads it finds all of the one or all of
/// the other, also after an end of power. The directory is made. Durable when it returns.
///
/// # Errors
/// When it cannot be written.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    make_directory(directory)?;
    let mut aside = name.to_owned();
    aside.push(".new");
    let aside = directory.join(aside);
    let mut options = OpenOptions::new();
    let replaced = options.write(true).create(true).truncate(true).mode(0o600).open(&aside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&aside, path)
    });
    if let Err(error) = replaced {
        // On a full disk the part that was written is in the way.
        std::fs::remove_file(&aside).ok();
        return Err(error);
    }
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory)?.sync_all()
}

/// Makes a directory and those above it, for their owner only. Durable when it returns.
fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    let above = directory.parent().unwrap_or(directory);
    make_directory(above)?;
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    File::open(above)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_whole_and_what_could_not_be_is_not_left_half_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/er/file");
        for content in ["one", "another"] {
            replace_file(&path, content.as_bytes()).expect("written");
            assert_eq!(std::fs::read_to_string(&path).expect("there"), content);
        }
        let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&folder.path().join("deep"))), (0o600, 0o700));
        // A directory is not replaced by a file.
        std::fs::create_dir(folder.path().join("taken")).expect("made");
        assert!(replace_file(&folder.path().join("taken"), b"x").is_err());
        assert!(!folder.path().join("taken.new").exists());
    }
}
