//! `orlop-logger` writes what one container says into files.
//!
//! The containerd shim starts one for each container (`binary://…`), with standard output on descriptor 3, standard
//! error on 4, and on 5 a pipe to close when ready. It belongs to the container, not to the agent: it lives until both
//! outputs are closed, whatever becomes of agent and containerd. It is small, has one thread, and never makes the
//! container wait for a full disk: what cannot be written is counted, and the count is written when there is room.
//!
//! Nothing ends it before its container but a kill. Then the agent finds its post empty (see [`post`]) and starts another
//! one, as `orlop-logger take-over /path/of/the/post`, which goes on with the same pipes.
//!
//! Lines have the form that Kubernetes made common: `2026-11-21T07:53:50.123456789Z stdout F text`, with `P` for `F` on
//! all but the last part of a line of more than 16 KiB. What each read brought is in the file before the next read.

mod files;
mod lines;
mod post;

use files::Files;
use lines::Splitter;
use post::{Post, Task};
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str =
    "orlop-logger is started by the containerd shim, as binary:///path/orlop-logger?directory=…&bytes=…&files=…&post=…";
/// One read of an output.
const READ_BYTES: usize = 64 << 10;

/// The exit code of a logger that finds nothing to take over.
const NOTHING_TO_DO: u8 = 3;

enum Arguments {
    /// From the shim: the outputs are open.
    Begin { task: Task, post: Option<PathBuf> },
    /// From the agent: the logger before is gone.
    TakeOver { post: PathBuf },
}

/// The shim passes each key of the query and its value as two arguments, keys in no certain order.
fn arguments(mut list: impl Iterator<Item = std::ffi::OsString>) -> Option<Arguments> {
    let (mut directory, mut bytes, mut files, mut post, mut take_over) = (None, None, None, None, None);
    while let Some(key) = list.next() {
        let value = list.next()?;
        match key.to_str()? {
            "directory" => directory = Some(PathBuf::from(value)),
            "bytes" => bytes = value.to_str()?.parse().ok().filter(|bytes| *bytes >= 4096),
            "files" => files = value.to_str()?.parse().ok().filter(|files| *files >= 2),
            "post" => post = Some(PathBuf::from(value)),
            "take-over" => take_over = Some(PathBuf::from(value)),
            _ => return None,
        }
    }
    match (take_over, directory) {
        (Some(post), None) => Some(Arguments::TakeOver { post }),
        (None, Some(directory)) if directory.is_absolute() => {
            Some(Arguments::Begin { task: Task { directory, bytes: bytes?, files: files? }, post })
        }
        _ => None,
    }
}

fn main() -> ExitCode {
    let Some(arguments) = arguments(std::env::args_os().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // Only the end of both outputs ends it. The shim sends SIGTERM when a container is removed, and then waits.
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE] {
        // Safe: no handler of ours runs.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // The directory it was started in belongs to the shim, which wants to remove it.
    let _ = std::env::set_current_dir("/");
    match arguments {
        Arguments::Begin { task, post } => begin(task, post),
        Arguments::TakeOver { post } => match Post::take_over(&post) {
            Ok(Some((post, task, outputs))) => take_over(post, task, outputs),
            Ok(None) => ExitCode::from(NOTHING_TO_DO),
            Err(error) => {
                eprintln!("{}: {error}", post.display());
                ExitCode::FAILURE
            }
        },
    }
}

fn begin(task: Task, post: Option<PathBuf>) -> ExitCode {
    // Safe: the shim has opened 3, 4 and 5 for us; nobody else in this process knows of them.
    let (stdout, stderr, ready) =
        unsafe { (OwnedFd::from_raw_fd(3), OwnedFd::from_raw_fd(4), OwnedFd::from_raw_fd(5)) };
    let outputs = [stdout, stderr];
    // Without a post (the disk is full) it does its work all the same; only nobody can take over from it.
    let post = post.and_then(|path| Post::take(&path, &task, &outputs).ok());
    let mut files = Files::open(task.directory, task.bytes, task.files);
    drop(ready);
    copy(outputs, &mut files);
    post.into_iter().for_each(Post::leave);
    ExitCode::SUCCESS
}

fn take_over(post: Post, task: Task, outputs: [OwnedFd; 2]) -> ExitCode {
    let mut files = Files::open(task.directory, task.bytes, task.files);
    let text = b"orlop: the logger ended before its time and another one went on; lines before this one may be missing";
    files.line(lines::Line { stream: "stderr", ends: true, text });
    files.flush();
    // Whoever started it hears that it reads, and is kept waiting by nothing of it.
    let _ = std::io::stdout().write_all(b"reading\n");
    if let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") {
        for standard in 0..=2 {
            // Safe: both are descriptors of ours.
            unsafe { libc::dup2(null.as_raw_fd(), standard) };
        }
    }
    copy(outputs, &mut files);
    post.leave();
    ExitCode::SUCCESS
}

/// Until both are at their end.
fn copy(outputs: [OwnedFd; 2], files: &mut Files) {
    let mut splitters = [Splitter::new("stdout"), Splitter::new("stderr")];
    let mut polled = outputs.each_ref().map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    let mut buffer = vec![0; READ_BYTES];
    while polled.iter().any(|p| p.fd >= 0) {
        // Safe: the array lives, and its length is right. Descriptors below 0 are passed over.
        let woken = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, -1) };
        if woken < 0 {
            continue;
        }
        for (output, splitter) in polled.iter_mut().zip(&mut splitters) {
            if output.fd < 0 || output.revents == 0 {
                continue;
            }
            // Safe: the buffer is as long as said.
            let length = unsafe { libc::read(output.fd, buffer.as_mut_ptr().cast(), buffer.len()) };
            match usize::try_from(length) {
                Ok(0) => {
                    splitter.end(|line| files.line(line));
                    output.fd = -1;
                }
                Ok(length) => splitter.split(&buffer[..length], |line| files.line(line)),
                Err(_) if matches!(errno(), libc::EINTR | libc::EAGAIN) => {}
                Err(_) => output.fd = -1,
            }
        }
        files.flush();
    }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}
