//! Two operators who deploy at the same time.

use crate::world::World;
use std::process::Stdio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

/// Passes one connection on to the control plane, and holds back its second call until it is let go.
struct Relay {
    address: String,
    /// The second call has come.
    held: oneshot::Receiver<()>,
    let_go: oneshot::Sender<()>,
}

fn relay(world: &World) -> Relay {
    let path = world.folder.path().join("relay.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let control = world.folder.path().join("control.sock");
    let (tell, held) = oneshot::channel();
    let (let_go, released) = oneshot::channel();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.expect("a client");
        let (mut from_client, mut to_client) = client.into_split();
        let control = UnixStream::connect(control).await.expect("the control plane");
        let (mut from_control, mut to_control) = control.into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_control, &mut to_client).await });
        let mut preface = [0; 24];
        from_client.read_exact(&mut preface).await.expect("HTTP/2's first bytes");
        to_control.write_all(&preface).await.expect("the control plane reads");
        let (mut calls, mut waiting) = (0, Some((tell, released)));
        loop {
            // Nine bytes, of which the first three are the length of what follows and the fourth is the kind.
            let mut head = [0; 9];
            if from_client.read_exact(&mut head).await.is_err() {
                return;
            }
            let mut frame = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
            from_client.read_exact(&mut frame).await.expect("a whole frame");
            const HEADERS: u8 = 1;
            calls += u32::from(head[3] == HEADERS);
            if calls == 2
                && let Some((tell, released)) = waiting.take()
            {
                let _ = tell.send(());
                let _ = released.await;
            }
            if to_control.write_all(&[&head[..], &frame].concat()).await.is_err() {
                return;
            }
        }
    });
    Relay { address: format!("unix:{}", path.display()), held, let_go }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_came_between_is_not_undone_unseen() {
    let world = World::whole().await;
    let first = world.spec(&[("api", "good", 1)]);
    world.ctl(&format!("deploy -f {first}")).await.expect(0);

    let relay = relay(&world);
    let mine = world.file("mine.yaml", &std::fs::read_to_string(&first).expect("a spec").replace("good", "mine"));
    let mut command = world.command(&format!("deploy -f {mine}"));
    command.env("ORLOP_ADDRESS", &relay.address).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("orlopctl starts");
    relay.held.await.expect("a call after the first");

    let theirs = world.spec(&[("api", "theirs", 1)]);
    world.ctl(&format!("deploy -f {theirs}")).await.expect(0);
    relay.let_go.send(()).expect("the relay waits");
    let ended = child.wait_with_output().await.expect("orlopctl ran");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(7), "{said}");
    assert!(said.contains("is at generation 2, not 1"), "{said}");
    let status = world.ctl("status -o json").await.expect(0);
    assert!(status.contains("registry.example/theirs:1") && !status.contains("mine"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_minds_the_generation_that_is_expected() {
    let world = World::whole().await;
    let file = world.spec(&[("api", "good", 1)]);
    world.ctl(&format!("deploy -f {file}")).await.expect(0);
    let right = world.ctl(&format!("deploy -f {file} --dry-run --expect-generation 1")).await.expect(0);
    assert!(right.contains("Nothing was done"), "{right}");
    for wrong in [0, 2] {
        let refused = world.ctl(&format!("deploy -f {file} --dry-run --expect-generation {wrong}")).await.expect(7);
        assert!(refused.contains(&format!("is at generation 1, not {wrong}")), "{refused}");
    }
}
