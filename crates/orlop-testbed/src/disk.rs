//! Small disks that a test can fill.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;
use std::fs::{File, create_dir_all, remove_file};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file system in memory. It goes when it is dropped, also from under programs that still use it.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts one of so many MiB at a path, which is made. Takes root.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn mount(path: &Path, mebibytes: u32) -> Self {
        create_dir_all(path).expect("a folder to mount on");
        let options = format!("size={mebibytes}m,mode=0700");
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
            .expect("a mount: run as root");
        Self { path: path.to_owned() }
    }

    /// Takes every byte that is left, also those that programs give back meanwhile.
    ///
    /// # Panics
    /// When the disk cannot be looked at.
    pub fn fill(&self) {
        let mut file = File::options().append(true).create(true).open(self.filler()).expect("a file on the disk");
        let block = vec![0; 1 << 16];
        while statvfs(&self.path).expect("a disk").blocks_available() > 0 {
            while file.write_all(&block).is_ok() {}
        }
    }

    /// Gives back what [`Disk::fill`] took.
    ///
    /// # Panics
    /// When it was not filled.
    pub fn free(&self) {
        remove_file(self.filler()).expect("a disk that was filled");
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.path, MntFlags::MNT_DETACH) {
            eprintln!("{} is still mounted: {error}", self.path.display());
        }
    }
}
