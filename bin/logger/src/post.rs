//! The post of a logger: a file that says what it reads and where it writes to, locked for as long as it does.
//!
//! Nobody is told when a logger is killed, and nobody else reads: the shim has only the ends to write to. Whoever finds a
//! post that nobody holds starts another logger on it, which opens the pipes anew through the shim and goes on. Until
//! then the agent keeps them from being broken pipes, by having them open too; it finds them through the post.
//!
//! The form: the shim's process id, the inodes of standard output and error, the bounds of files and their number, and
//! the directory, with spaces between them. It is written once, by the first logger: a logger that is killed while it
//! takes over leaves it whole.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a logger is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    pub(crate) directory: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

/// A post that is held; it is given up when this is dropped, and gone after [`Post::leave`].
pub(crate) struct Post {
    path: PathBuf,
    file: File,
}

/// Where the pipes are found again.
#[derive(Debug, PartialEq, Eq)]
struct Pipes {
    shim: u32,
    /// The inodes of standard output and standard error.
    inodes: [u64; 2],
}

impl Post {
    /// Takes the post of a new container, whose shim has started this process.
    pub(crate) fn take(path: &Path, task: &Task, outputs: &[OwnedFd; 2]) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        lock(&file, libc::LOCK_EX)?;
        let mut inodes = [0; 2];
        for (inode, output) in inodes.iter_mut().zip(outputs) {
            *inode = File::from(output.try_clone()?).metadata()?.ino();
        }
        let post = Post { path: path.to_owned(), file };
        post.write(&Pipes { shim: std::os::unix::process::parent_id(), inodes }, task)?;
        Ok(post)
    }

    /// Takes a post that another logger has lost; `None` when it is held, or there is nothing to read any more.
    pub(crate) fn take_over(path: &Path) -> io::Result<Option<(Self, Task, [OwnedFd; 2])>> {
        let mut file = File::options().read(true).write(true).open(path)?;
        match lock(&file, libc::LOCK_EX | libc::LOCK_NB) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            locked => locked?,
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let Some((pipes, task)) = parse(&text) else { return Err(io::ErrorKind::InvalidData.into()) };
        let Some(outputs) = pipes.open()? else { return Ok(None) };
        join_cgroups(pipes.shim);
        Ok(Some((Post { path: path.to_owned(), file }, task, outputs)))
    }

    /// There is nothing more to do here.
    pub(crate) fn leave(self) {
        // A container of the same name may have a logger there by now.
        let own = self.file.metadata().map(|own| (own.dev(), own.ino())).ok();
        let there = std::fs::metadata(&self.path).map(|there| (there.dev(), there.ino())).ok();
        if own == there {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn write(&self, pipes: &Pipes, task: &Task) -> io::Result<()> {
        let [stdout, stderr] = pipes.inodes;
        let mut text = format!("{} {stdout} {stderr} {} {} ", pipes.shim, task.bytes, task.files).into_bytes();
        text.extend_from_slice(task.directory.as_os_str().as_bytes());
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&text)
    }
}

/// The words of a post; the directory, which may hold spaces, comes last.
fn parse(text: &[u8]) -> Option<(Pipes, Task)> {
    let mut words = text.splitn(6, |byte| *byte == b' ');
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<u64>().ok();
    let (shim, stdout, stderr, bytes, files) = (number()?, number()?, number()?, number()?, number()?);
    let directory = PathBuf::from(std::ffi::OsString::from_vec(words.next()?.to_vec()));
    let pipes = Pipes { shim: u32::try_from(shim).ok()?, inodes: [stdout, stderr] };
    (directory.is_absolute()).then_some((pipes, Task { directory, bytes, files }))
}

impl Pipes {
    /// Opens both at the shim, which has the other ends for as long as the container is there; `None` when it has not.
    fn open(&self) -> io::Result<Option<[OwnedFd; 2]>> {
        let process = PathBuf::from(format!("/proc/{}", self.shim));
        let Ok(entries) = std::fs::read_dir(process.join("fd")) else { return Ok(None) };
        let mut found: [Option<OwnedFd>; 2] = [None, None];
        for entry in entries.flatten() {
            let Ok(target) = std::fs::read_link(entry.path()) else { continue };
            for (found, inode) in found.iter_mut().zip(self.inodes) {
                if found.is_none() && target.as_os_str() == format!("pipe:[{inode}]").as_str() {
                    // Opened anew, whichever end this is: for reading.
                    *found = Some(File::options().read(true).open(entry.path())?.into());
                }
            }
        }
        let [Some(stdout), Some(stderr)] = found else { return Ok(None) };
        Ok(Some([stdout, stderr]))
    }
}

/// Moves this process to where the shim is, so that it is not taken for a part of whoever started it, and ended with it.
/// Where that cannot be, it works all the same.
fn join_cgroups(shim: u32) {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{shim}/cgroup")) else { return };
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let hierarchy = controllers.strip_prefix("name=").unwrap_or(controllers);
        let procs = Path::new("/sys/fs/cgroup").join(hierarchy).join(path.trim_start_matches('/')).join("cgroup.procs");
        let _ = std::fs::write(procs, std::process::id().to_string());
    }
}

fn lock(file: &File, how: libc::c_int) -> io::Result<()> {
    loop {
        // Safe: the descriptor is open.
        if unsafe { libc::flock(file.as_raw_fd(), how) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_is_read_as_it_was_written() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("post");
        let file = File::options().create_new(true).read(true).write(true).open(&path).expect("made");
        let task = Task { directory: "/logs/with a space/1".into(), bytes: 4096, files: 2 };
        let post = Post { path: path.clone(), file };
        post.write(&Pipes { shim: 12, inodes: [345, 678] }, &task).expect("written");
        let text = std::fs::read(&path).expect("there");
        assert_eq!(parse(&text), Some((Pipes { shim: 12, inodes: [345, 678] }, task)));
        for bad in ["", "1 2 3 4096 2", "1 2 3 4096 2 relative", "1 2 x 4096 2 /logs"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
        post.leave();
        assert!(!path.exists());
    }

    #[test]
    fn a_post_of_another_is_left_alone() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("post");
        let file = File::options().create_new(true).write(true).open(&path).expect("made");
        std::fs::remove_file(&path).expect("removed");
        std::fs::write(&path, "another's").expect("written");
        Post { path: path.clone(), file }.leave();
        assert!(path.exists());
    }
}
