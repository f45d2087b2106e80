//! `orlop-logger` writes what one container says into files.
//!
//! The containerd shim starts one for each container (`binary://…`), with standard output on descriptor 3, standard
//! error on 4, and on 5 a pipe to close when ready. It belongs to the container, not to the agent: it lives until both
//! outputs are closed, whatever becomes of agent and containerd. It is small, has one thread, and never makes the
//! container wait for a full disk: what cannot be written is counted, and the count is written when there is room.
//!
//! Lines have the form that Kubernetes made common: `2026-11-21T07:53:50.123456789Z stdout F text`, with `P` for `F` on
//! all but the last part of a line of more than 16 KiB. What each read brought is in the file before the next read.

mod files;
mod lines;

use files::Files;
use lines::Splitter;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str =
    "orlop-logger is started by the containerd shim, as binary:///path/orlop-logger?directory=…&bytes=…&files=…";
/// One read of an output.
const READ_BYTES: usize = 64 << 10;

struct Arguments {
    directory: PathBuf,
    bytes: u64,
    files: u64,
}

/// The shim passes each key of the query and its value as two arguments, keys in no certain order.
fn arguments(mut list: impl Iterator<Item = std::ffi::OsString>) -> Option<Arguments> {
    let (mut directory, mut bytes, mut files) = (None, None, None);
    while let Some(key) = list.next() {
        let value = list.next()?;
        match key.to_str()? {
            "directory" => directory = Some(PathBuf::from(value)),
            "bytes" => bytes = value.to_str()?.parse().ok().filter(|bytes| *bytes >= 4096),
            "files" => files = value.to_str()?.parse().ok().filter(|files| *files >= 2),
            _ => return None,
        }
    }
    Some(Arguments { directory: directory.filter(|path| path.is_absolute())?, bytes: bytes?, files: files? })
}

fn main() -> ExitCode {
    let Some(Arguments { directory, bytes, files }) = arguments(std::env::args_os().skip(1)) else {
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
    let mut files = Files::open(directory, bytes, files);
    // Safe: the shim has opened 3, 4 and 5 for us; nobody else in this process knows of them.
    let (stdout, stderr, ready) =
        unsafe { (OwnedFd::from_raw_fd(3), OwnedFd::from_raw_fd(4), OwnedFd::from_raw_fd(5)) };
    drop(ready);
    copy([stdout, stderr], &mut files);
    ExitCode::SUCCESS
}

/// Until both are at their end.
fn copy(outputs: [OwnedFd; 2], files: &mut Files) {
    use std::os::fd::AsRawFd;
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
