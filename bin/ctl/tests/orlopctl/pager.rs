//! Output that waits for its reader, as at `orlopctl logs NAME | less`.

use crate::world::World;
use std::os::fd::AsRawFd;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

nix::ioctl_read_bad!(unread, nix::libc::FIONREAD, nix::libc::c_int);

const PATIENCE: Duration = Duration::from_secs(30);
/// What the first thing of a client is, before its frames.
const PREFACE: usize = 24;
const PING: u8 = 6;
const ACK: u8 = 1;
const OURS: [u8; 8] = *b"areyoudo";

/// Stands between a client and the control plane, and can ask the client whether it lives, as HTTP/2 does.
struct Between {
    ask: Arc<Notify>,
    lives: Arc<Notify>,
}

impl Between {
    fn place(world: &World) -> (Self, String) {
        let path = world.folder.path().join("between.sock");
        let listener = UnixListener::bind(&path).expect("bound");
        let control = world.folder.path().join("control.sock");
        let between = Self { ask: Arc::default(), lives: Arc::default() };
        let (ask, lives) = (between.ask.clone(), between.lives.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&control).await.expect("connected");
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(upwards(from_client, to_server, lives.clone()));
                tokio::spawn(downwards(from_server, to_client, ask.clone()));
            }
        });
        (between, format!("unix:{}", path.display()))
    }

    async fn expect_life(&self) {
        self.ask.notify_one();
        tokio::time::timeout(PATIENCE, self.lives.notified()).await.expect("it answers while its output waits");
    }
}

/// The next frame, whole; none at the end.
async fn frame(from: &mut (impl AsyncReadExt + Unpin)) -> Option<Vec<u8>> {
    let mut frame = vec![0; 9];
    from.read_exact(&mut frame).await.ok()?;
    let length = usize::from(frame[0]) << 16 | usize::from(frame[1]) << 8 | usize::from(frame[2]);
    frame.resize(9 + length, 0);
    from.read_exact(&mut frame[9..]).await.ok()?;
    Some(frame)
}

async fn upwards(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, lives: Arc<Notify>) {
    let mut preface = [0; PREFACE];
    if from.read_exact(&mut preface).await.is_ok() && to.write_all(&preface).await.is_ok() {
        while let Some(frame) = frame(&mut from).await {
            if frame[3] == PING && frame[4] & ACK != 0 && frame[9..] == OURS {
                lives.notify_one();
            } else if to.write_all(&frame).await.is_err() {
                return;
            }
        }
    }
}

async fn downwards(
    mut from: impl AsyncReadExt + Unpin + Send + 'static,
    mut to: impl AsyncWriteExt + Unpin,
    ask: Arc<Notify>,
) {
    let (frames, mut came) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(frame) = frame(&mut from).await {
            if frames.send(frame).await.is_err() {
                return;
            }
        }
    });
    let mut ping = vec![0, 0, 8, PING, 0, 0, 0, 0, 0];
    ping.extend(OURS);
    loop {
        let frame = tokio::select! {
            frame = came.recv() => frame,
            () = ask.notified() => Some(ping.clone()),
        };
        let Some(frame) = frame else { return };
        if to.write_all(&frame).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_turns_pages_slowly_is_not_taken_for_dead_and_gets_all_of_it() {
    let world = World::whole().await;
    let file = world.spec(&[("api", "good", 1)]);
    world.ctl(&format!("deploy -f {file} --wait")).await.expect(0);
    let (between, address) = Between::place(&world);
    let mut command = world.command("logs shop/api --tail 2000");
    command.env("ORLOP_ADDRESS", address).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().expect("orlopctl starts");
    let mut stdout = child.stdout.take().expect("piped");
    // Until the pipe is full, which is when it does not get fuller.
    let mut before = -1;
    let full = async {
        loop {
            let mut now = 0;
            // Safe: the descriptor is open and the number lives.
            unsafe { unread(stdout.as_raw_fd(), &raw mut now) }.expect("a pipe");
            if now > 0 && now == before {
                return;
            }
            before = now;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, full).await.expect("there is more than a pipe holds");
    between.expect_life().await;
    let mut all = String::new();
    tokio::time::timeout(PATIENCE, stdout.read_to_string(&mut all)).await.expect("in time").expect("text");
    assert_eq!(all.lines().count(), 2000);
    assert!(child.wait().await.expect("it ran").success());
}
