//! Disks that outlive their machines.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file with an ext4 file system, empty at first. It takes no more room than what is on it.
#[derive(Debug)]
pub struct MachineDisk {
    path: PathBuf,
}

impl MachineDisk {
    /// Makes a disk of so many mebibytes.
    ///
    /// # Panics
    /// When the file cannot be written or mke2fs (e2fsprogs) is missing.
    pub fn create(path: &Path, mebibytes: u64) -> Self {
        let file = std::fs::File::create_new(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        file.set_len(mebibytes << 20).expect("room for a sparse file");
        let mut command = Command::new("mke2fs");
        // Everything is initialised now: a file system that goes on with that in the background is no empty one.
        command.args(["-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0"]).arg(path);
        command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
        let output = command.output().expect("mke2fs of e2fsprogs is installed");
        assert!(output.status.success(), "mke2fs: {}", String::from_utf8_lossy(&output.stderr));
        Self { path: path.to_owned() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
