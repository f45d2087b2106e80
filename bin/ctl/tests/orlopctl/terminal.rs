//! `exec -it` at a terminal: raw while the command runs, told of a new size, put back afterwards.

use crate::world::World;
use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

nix::ioctl_write_ptr_bad!(set_window_size, nix::libc::TIOCSWINSZ, nix::libc::winsize);

fn window(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// What the terminal shows, read by a thread of its own until the terminal is gone.
struct Screen {
    bytes: mpsc::Receiver<Vec<u8>>,
    text: String,
}

impl Screen {
    fn of(terminal: &OwnedFd) -> Self {
        let (sender, bytes) = mpsc::channel();
        let mut reader = File::from(terminal.try_clone().expect("a second handle"));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { bytes, text: String::new() }
    }

    #[track_caller]
    fn wait_for(&mut self, expected: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.text.contains(expected) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.bytes.recv_timeout(left) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{expected:?} does not appear in {:?}", self.text),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_raw_resized_and_put_back() {
    let world = World::whole().await;
    let file = world.spec(&[("api", "good", 1)]);
    world.ctl(&format!("deploy -f {file} --wait")).await.expect(0);

    let pair = openpty(&window(30, 100), None).expect("a terminal");
    let before = tcgetattr(&pair.slave).expect("its modes");
    assert!(before.local_flags.contains(LocalFlags::ICANON | LocalFlags::ECHO));
    let end = || Stdio::from(pair.slave.try_clone().expect("a handle"));
    let mut command = world.command("exec -it shop/api/0 -- size");
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("orlopctl starts");
    let mut screen = Screen::of(&pair.master);
    let mut keyboard = File::from(pair.master.try_clone().expect("a handle"));

    screen.wait_for("30x100");
    assert!(!tcgetattr(&pair.slave).expect("its modes").local_flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO));
    let larger = window(40, 120);
    // SAFETY: the kernel reads a `winsize` from the pointer, which is one.
    unsafe { set_window_size(pair.master.as_raw_fd(), &raw const larger) }.expect("a new size");
    // The terminal is not the child's controlling one, so nobody tells it but us.
    let pid = Pid::from_raw(child.id().expect("it runs") as i32);
    nix::sys::signal::kill(pid, Signal::SIGWINCH).expect("it is told");
    screen.wait_for("now 40x120");
    keyboard.write_all(b"x").expect("typed");
    screen.wait_for("typed [120]");
    // Ctrl-C is a byte for the command, not the end of orlopctl.
    keyboard.write_all(&[3]).expect("typed");
    screen.wait_for("typed [3]");
    let ended = tokio::time::timeout(Duration::from_secs(20), child.wait()).await.expect("it ends");
    assert_eq!(ended.expect("it ran").code(), Some(7));
    assert_eq!(tcgetattr(&pair.slave).expect("its modes").local_flags, before.local_flags);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_put_back_when_orlopctl_is_ended_from_outside() {
    let world = World::whole().await;
    let file = world.spec(&[("api", "good", 1)]);
    world.ctl(&format!("deploy -f {file} --wait")).await.expect(0);
    let pair = openpty(&window(30, 100), None).expect("a terminal");
    let before = tcgetattr(&pair.slave).expect("its modes");
    let end = || Stdio::from(pair.slave.try_clone().expect("a handle"));
    let mut command = world.command("exec -it shop/api/0 -- size");
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("orlopctl starts");
    let mut screen = Screen::of(&pair.master);
    screen.wait_for("30x100");
    let pid = Pid::from_raw(child.id().expect("it runs") as i32);
    nix::sys::signal::kill(pid, Signal::SIGTERM).expect("it is told");
    let ended = tokio::time::timeout(Duration::from_secs(20), child.wait()).await.expect("it ends");
    assert_eq!(ended.expect("it ran").code(), Some(143));
    assert_eq!(tcgetattr(&pair.slave).expect("its modes").local_flags, before.local_flags);
}
