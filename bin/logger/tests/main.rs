//! The program itself, with pipes as the shim would give them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

struct Logger {
    child: Child,
    stdout: Option<std::io::PipeWriter>,
    stderr: Option<std::io::PipeWriter>,
}

fn start(arguments: &[&OsStr]) -> Logger {
    let (out_read, out_write) = std::io::pipe().unwrap();
    let (err_read, err_write) = std::io::pipe().unwrap();
    let (mut ready_read, ready_write) = std::io::pipe().unwrap();
    let given: [OwnedFd; 3] = [out_read.into(), err_read.into(), ready_write.into()];
    let mut command = Command::new(env!("CARGO_BIN_EXE_orlop-logger"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let numbers = given.each_ref().map(|fd| fd.as_raw_fd());
    // Safe: only descriptors are moved between fork and exec.
    unsafe {
        command.pre_exec(move || {
            // First out of the way of 3, 4 and 5, then to their places.
            let mut high = [0; 3];
            for (to, from) in high.iter_mut().zip(numbers) {
                *to = libc::fcntl(from, libc::F_DUPFD, 20);
            }
            for (place, from) in (3..).zip(high) {
                if libc::dup2(from, place) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                libc::close(from);
            }
            Ok(())
        });
    }
    let child = command.spawn().unwrap();
    drop(given);
    // Ready is the end of this pipe.
    let mut nothing = Vec::new();
    std::io::Read::read_to_end(&mut ready_read, &mut nothing).unwrap();
    Logger { child, stdout: Some(out_write), stderr: Some(err_write) }
}

fn logger(directory: &Path, bytes: &str, files: &str) -> Logger {
    start(&[
        "files".as_ref(),
        files.as_ref(),
        "directory".as_ref(),
        directory.as_ref(),
        "bytes".as_ref(),
        bytes.as_ref(),
    ])
}

impl Logger {
    fn finish(mut self) {
        self.stdout = None;
        self.stderr = None;
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Until nothing is left in a pipe.
fn wait_until_read(pipe: &std::io::PipeWriter) {
    let begun = std::time::Instant::now();
    loop {
        let mut left: libc::c_int = 0;
        // Safe: the kernel writes one number to where the pointer says.
        assert_eq!(unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut left) }, 0);
        if left == 0 {
            return;
        }
        assert!(begun.elapsed().as_secs() < 30, "{left} bytes are not read");
        std::thread::yield_now();
    }
}

/// The lines of all files in order, as (stream, flag, text).
fn lines(directory: &Path) -> Vec<(String, String, String)> {
    let mut numbers: Vec<u64> = std::fs::read_dir(directory)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_str().unwrap().strip_suffix(".log").unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    let mut found = Vec::new();
    let mut last = String::new();
    for number in numbers {
        for line in std::fs::read_to_string(directory.join(format!("{number}.log"))).unwrap().lines() {
            let mut parts = line.splitn(4, ' ');
            let mut part = || parts.next().unwrap().to_owned();
            let time = part();
            assert!(time > last, "{time} after {last}");
            last = time;
            found.push((part(), part(), part()));
        }
    }
    found
}

#[test]
fn both_outputs_are_written_and_the_program_ends_with_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/by/it");
    let mut logger = logger(&path, "100000", "3");
    logger.stdout.as_mut().unwrap().write_all(b"one\ntwo").unwrap();
    logger.stderr.as_mut().unwrap().write_all(b"oh\n").unwrap();
    logger.finish();
    let mut found = lines(&path);
    found.sort();
    let line = |stream: &str, text: &str| (stream.to_owned(), "F".to_owned(), text.to_owned());
    assert_eq!(found, [line("stderr", "oh"), line("stdout", "one"), line("stdout", "two")]);
}

#[test]
fn a_flood_stays_within_its_bound_and_keeps_the_newest_lines_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut logger = logger(directory.path(), "65536", "3");
    let out = logger.stdout.as_mut().unwrap();
    let mut text = Vec::new();
    for number in 0..100_000 {
        writeln!(text, "line {number}").unwrap();
    }
    out.write_all(&text).unwrap();
    logger.finish();
    let sizes: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).collect();
    assert_eq!(sizes.len(), 3);
    assert!(sizes.iter().all(|size| *size <= 65_536), "{sizes:?}");
    assert!(sizes.iter().sum::<u64>() > 2 * 65_000, "{sizes:?}");
    let found: Vec<u64> = lines(directory.path())
        .iter()
        .map(|(_, _, text)| text.strip_prefix("line ").unwrap().parse().unwrap())
        .collect();
    assert_eq!(*found.last().unwrap(), 99_999);
    assert!(found.windows(2).all(|pair| pair[0] + 1 == pair[1]));
}

#[test]
fn a_restart_goes_on_in_the_same_files_after_a_torn_line() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("7.log"), "2020-01-01T00:00:00.000000000Z stdout F torn").unwrap();
    let mut logger = logger(directory.path(), "100000", "3");
    logger.stdout.as_mut().unwrap().write_all(b"next\n").unwrap();
    logger.finish();
    let texts: Vec<_> = lines(directory.path()).into_iter().map(|(_, _, text)| text).collect();
    assert_eq!(texts, ["torn", "next"]);
}

#[test]
fn signals_do_not_end_it_while_the_container_lives() {
    let directory = tempfile::tempdir().unwrap();
    let mut logger = logger(directory.path(), "100000", "3");
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE] {
        // Safe: the child is ours and not reaped yet.
        assert_eq!(unsafe { libc::kill(logger.child.id() as i32, signal) }, 0);
    }
    logger.stdout.as_mut().unwrap().write_all(b"still here\n").unwrap();
    logger.finish();
    assert_eq!(lines(directory.path()).len(), 1);
}

#[test]
fn another_logger_takes_the_post_of_one_that_was_killed_and_none_of_one_that_lives() {
    let place = tempfile::tempdir().unwrap();
    let (logs, post) = (place.path().join("logs of it"), place.path().join("posts/c1"));
    let mut logger = start(&[
        "directory".as_ref(),
        logs.as_ref(),
        "bytes".as_ref(),
        "100000".as_ref(),
        "files".as_ref(),
        "3".as_ref(),
        "post".as_ref(),
        post.as_ref(),
    ]);
    let successor = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orlop-logger"));
        command.args(["take-over".as_ref(), post.as_os_str()]).stdin(Stdio::null()).stdout(Stdio::piped());
        command.spawn().unwrap()
    };
    assert_eq!(successor().wait().unwrap().code(), Some(3), "it lives");
    logger.stdout.as_mut().unwrap().write_all(b"before\n").unwrap();
    let written = || std::fs::read_to_string(logs.join("0.log")).unwrap_or_default().contains("before");
    while !written() {
        std::thread::yield_now();
    }
    // As the agent has them open, so that they are not broken pipes until another logger reads.
    let end = |number| std::fs::File::open(format!("/proc/{}/fd/{number}", logger.child.id())).unwrap();
    let _ends = [end(3), end(4)];
    logger.child.kill().unwrap();
    logger.child.wait().unwrap();

    // Nobody reads now; this process is the shim that the next one looks at.
    logger.stdout.as_mut().unwrap().write_all(b"between\n").unwrap();
    logger.stderr.as_mut().unwrap().write_all(b"trouble\n").unwrap();
    let written = std::fs::read(&post).unwrap();
    let mut second = successor();
    let mut said = [0; 8];
    std::io::Read::read_exact(second.stdout.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(&said, b"reading\n");
    assert_eq!(std::fs::read(&post).unwrap(), written, "whenever it is killed, the post is whole");
    assert_eq!(successor().wait().unwrap().code(), Some(3), "the second one has it");
    logger.stdout.as_mut().unwrap().write_all(b"after\n").unwrap();
    (logger.stdout, logger.stderr) = (None, None);
    assert!(second.wait().unwrap().success());
    let mut texts: Vec<_> = lines(&logs).into_iter().map(|(_, _, text)| text).collect();
    let notice = texts.iter().position(|text| text.contains("may be missing")).unwrap();
    texts.remove(notice);
    texts.sort();
    assert_eq!((notice, texts), (1, ["after", "before", "between", "trouble"].map(str::to_owned).into()));
    assert!(!post.exists(), "there is nothing to take over");
}

#[test]
fn a_post_whose_pipes_are_gone_has_nothing_to_take_over() {
    let place = tempfile::tempdir().unwrap();
    let post = place.path().join("post");
    std::fs::write(&post, format!("{} 1 2 4096 2 {}", std::process::id(), place.path().display())).unwrap();
    let take_over = |post: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orlop-logger"));
        command.args(["take-over".as_ref(), post.as_os_str()]).stderr(Stdio::null()).status().unwrap().code()
    };
    assert_eq!(take_over(&post), Some(3));
    std::fs::write(&post, "nonsense").unwrap();
    assert_eq!(take_over(&post), Some(1));
}

#[test]
fn a_full_disk_loses_lines_with_a_count_and_never_blocks_the_container() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    std::fs::create_dir(&path).unwrap();
    let size = std::ffi::CString::new("size=64k").unwrap();
    let target = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let kind = std::ffi::CString::new("tmpfs").unwrap();
    // Safe: all strings live and end with a zero byte.
    let mounted = unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, size.as_ptr().cast()) };
    assert_eq!(mounted, 0, "this test mounts a small file system and needs root");
    struct Unmount(std::ffi::CString);
    impl Drop for Unmount {
        fn drop(&mut self) {
            // Safe: as above.
            unsafe { libc::umount2(self.0.as_ptr(), libc::MNT_DETACH) };
        }
    }
    let _unmount = Unmount(target);

    let ballast = path.join("ballast");
    std::fs::write(&ballast, vec![0; 40 << 10]).unwrap();
    let mut logger = logger(&path, "1000000", "3");
    let mut out = logger.stdout.take().unwrap();
    let text = "x".repeat(999) + "\n";
    for _ in 0..500 {
        out.write_all(text.as_bytes()).unwrap();
    }
    // What each read brought is in the file before the next read: when this one more line is read, all before it were
    // tried, and none of them takes the room that is made now.
    wait_until_read(&out);
    out.write_all(text.as_bytes()).unwrap();
    wait_until_read(&out);
    std::fs::remove_file(&ballast).unwrap();
    out.write_all(b"room again\n").unwrap();
    drop(out);
    logger.finish();
    let texts: Vec<_> = lines(&path).into_iter().map(|(_, _, text)| text).collect();
    assert!(texts.iter().any(|text| text.contains("could not be written")), "{} lines", texts.len());
    assert_eq!(texts.last().unwrap(), "room again");
    assert!(texts.iter().all(|text| text.len() == 999 || text.len() < 100), "a torn line");
}

#[test]
fn wrong_arguments_are_refused() {
    for arguments in [
        &[][..],
        &["directory", "relative", "bytes", "9999", "files", "3"],
        &["directory"],
        &["what", "x"],
        &["take-over", "/x", "directory", "/y"],
    ] {
        let status = Command::new(env!("CARGO_BIN_EXE_orlop-logger")).args(arguments).stderr(Stdio::null()).status();
        assert_eq!(status.unwrap().code(), Some(2));
    }
}

#[test]
fn it_is_small() {
    let directory = tempfile::tempdir().unwrap();
    let mut logger = logger(directory.path(), "100000", "3");
    logger.stdout.as_mut().unwrap().write_all(b"x\n").unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", logger.child.id())).unwrap();
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let kib: u64 = anonymous.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 1024, "{kib} KiB");
    logger.finish();
}
