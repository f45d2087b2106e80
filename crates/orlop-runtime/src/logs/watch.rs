//! Waiting for changes in directories, some of which may not exist yet.

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};
use tokio::io::unix::AsyncFd;

#[derive(Debug)]
pub(super) struct Watch {
    inotify: AsyncFd<Fd>,
    /// Not there yet; an ancestor is watched.
    missing: Vec<PathBuf>,
}

#[derive(Debug)]
struct Fd(Inotify);

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Watch {
    pub(super) fn new() -> io::Result<Watch> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        // Safe: the descriptor is owned by the value and the same as long as that lives.
        let inotify = unsafe { AsyncFd::register(Fd(inotify)) }?;
        Ok(Watch { inotify, missing: Vec::new() })
    }

    /// Also watches this directory, as soon as it exists.
    pub(super) fn add(&mut self, directory: &Path) {
        let wanted = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        if self.inotify.get_ref().0.add_watch(directory, wanted).is_ok() {
            return;
        }
        let appears = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
        for ancestor in directory.ancestors().skip(1) {
            if self.inotify.get_ref().0.add_watch(ancestor, appears).is_ok() {
                break;
            }
        }
        if !self.missing.iter().any(|missing| missing == directory) {
            self.missing.push(directory.to_owned());
        }
        // It may have been made between the two looks.
        if directory.is_dir() && self.inotify.get_ref().0.add_watch(directory, wanted).is_ok() {
            self.missing.retain(|missing| missing != directory);
        }
    }

    /// Returns after something may have changed.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        let mut guard = self.inotify.readable().await?;
        loop {
            match guard.get_inner().0.read_events() {
                Ok(_) => {}
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        guard.clear_ready();
        drop(guard);
        for directory in std::mem::take(&mut self.missing) {
            self.add(&directory);
        }
        Ok(())
    }
}
