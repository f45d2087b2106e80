//! Disks that break.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::fs::{File, create_dir_all, remove_file};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

mod ioctl {
    nix::ioctl_read!(
        /// `FS_IOC_SHUTDOWN` of the kernel's `fs.h`: ends a file system at once, as a disk does that is torn out.
        shutdown,
        b'X',
        125,
        u32
    );
}

/// Nothing of what is not on the disk yet gets there.
const WITHOUT_FLUSH: u32 = 2;

/// The most files of 1 MiB that take the room of blocks that have some.
const SOAKS: usize = 16;

/// An ext4 file system on a block device of its own that can break in two ways. It is made of a file in memory that has no
/// room for all of the device's blocks. It goes when it is dropped, also from under programs that still use it.
#[derive(Debug)]
pub struct FailingDisk {
    path: PathBuf,
    memory: PathBuf,
    device: String,
}

impl FailingDisk {
    /// Mounts one of so many MiB (8 at least) at a path, which is made; beside it, `<path>.memory` is made too. Takes root.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn mount(path: &Path, mebibytes: u32) -> Self {
        let memory = path.with_extension("memory");
        create_dir_all(path).expect("a folder to mount on");
        create_dir_all(&memory).expect("a folder to mount on");
        // ext4 needs some more for itself than what programs may write.
        let size = format!("size={}m,mode=0700", mebibytes + 8);
        mount(Some("tmpfs"), &memory, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).expect("run as root");
        let mut disk = Self { path: path.to_owned(), memory, device: String::new() };
        let image = disk.memory.join("image");
        let file = File::create(&image).expect("a file in memory");
        file.set_len(u64::from(mebibytes) << 21).expect("a file with a hole");
        disk.device = run("losetup", &["-f", "--show", &image.display().to_string()]).trim().to_owned();
        run("mkfs.ext4", &["-q", "-E", "nodiscard,lazy_itable_init=1", &disk.device]);
        mount(Some(disk.device.as_str()), path, Some("ext4"), MsFlags::empty(), None::<&str>).expect("a file system");
        disk
    }

    /// From now on what is written anew is taken, and lost: only syncing it says that it could not be kept.
    ///
    /// # Panics
    /// When it has room after all.
    pub fn lose_writes(&self) {
        let mut file = File::create(self.filler()).expect("a file in memory");
        let block = vec![0; 1 << 16];
        while file.write_all(&block).is_ok() {}
        // Some blocks have room already; they are taken until one has none.
        let soaked = |number: &usize| {
            let mut file = File::create(self.soak(*number))?;
            file.write_all(&vec![1; 1 << 20]).and_then(|()| file.sync_all())
        };
        assert!((0..SOAKS).any(|number| soaked(&number).is_err()), "every write finds room");
    }

    /// Ends [`FailingDisk::lose_writes`]; what was lost stays lost.
    ///
    /// # Panics
    /// When it loses nothing.
    pub fn keep_writes(&self) {
        remove_file(self.filler()).expect("a disk that loses writes");
        for number in 0..SOAKS {
            let _ = remove_file(self.soak(number));
        }
    }

    /// From now on everything fails with an error of input and output, for good.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn die(&self) {
        let root = File::open(&self.path).expect("a disk");
        let mut how = WITHOUT_FLUSH;
        // SAFETY: the descriptor is open, and the kernel reads one number.
        unsafe { ioctl::shutdown(root.as_raw_fd(), &raw mut how) }.expect("ext4 can be shut down");
    }

    fn soak(&self, number: usize) -> PathBuf {
        self.path.join(format!(".soak-{number}"))
    }

    fn filler(&self) -> PathBuf {
        self.memory.join("filler")
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        // Nothing is kept: a file system that cannot write must not be asked to, or it would be waited for.
        let root = File::open(&self.path);
        let mut how = WITHOUT_FLUSH;
        // SAFETY: as in `die`; one that is dead already is no matter.
        let _ = root.map(|root| unsafe { ioctl::shutdown(root.as_raw_fd(), &raw mut how) });
        let mut stayed = umount2(&self.path, MntFlags::MNT_DETACH).is_err();
        if !self.device.is_empty() {
            stayed |= !Command::new("losetup").args(["-d", &self.device]).status().is_ok_and(|status| status.success());
        }
        stayed |= umount2(&self.memory, MntFlags::MNT_DETACH).is_err();
        if stayed {
            eprintln!("{} or its device {} is still there", self.path.display(), self.device);
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    fn write(path: &Path) -> (std::io::Result<()>, std::io::Result<()>) {
        let write = || {
            let mut file = File::create(path)?;
            file.write_all(&vec![7; 1 << 20])?;
            Ok(file)
        };
        match write() {
            Ok(file) => (Ok(()), file.sync_all()),
            Err(error) => (Err(error), Ok(())),
        }
    }

    #[test]
    fn a_disk_loses_what_it_takes_then_keeps_it_then_dies_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk");
        let disk = FailingDisk::mount(&path, 16);
        let (written, synced) = write(&path.join("a"));
        assert!(written.is_ok() && synced.is_ok(), "{written:?} {synced:?}");

        disk.lose_writes();
        let (written, synced) = write(&path.join("b"));
        assert!(written.is_ok() && synced.is_err(), "{written:?} {synced:?}");
        disk.keep_writes();
        let (written, synced) = write(&path.join("c"));
        assert!(written.is_ok() && synced.is_ok(), "{written:?} {synced:?}");

        disk.die();
        let (written, _) = write(&path.join("d"));
        let error = written.expect_err("a dead disk").raw_os_error();
        assert_eq!(error, Some(nix::libc::EIO));
        let device = disk.device.clone();
        drop(disk);
        assert_eq!(File::open(path.join("a")).expect_err("unmounted").kind(), ErrorKind::NotFound);
        let devices = run("losetup", &["-a"]);
        assert!(!devices.lines().any(|line| line.starts_with(&format!("{device}:"))), "{devices}");
    }
}
