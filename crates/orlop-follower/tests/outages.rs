//! Followers of the real control plane, over connections that break at any byte: in the end they have what it has.

use orlop_control::{Config, Listen};
use orlop_follower::{Follower, FollowerConfig};
use orlop_model::Revision;
use orlop_model::view::View;
use orlop_proto::node::v1::RegisterRequest;
use orlop_proto::node::v1::node_service_client::NodeServiceClient;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

/// A series of numbers that a seed decides.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Passes connections on, and breaks each after a number of bytes, for as long as it is told to.
fn bad_wire(from: PathBuf, to: PathBuf, breaks: Arc<AtomicBool>, mut numbers: Numbers, stop: CancellationToken) {
    let listener = UnixListener::bind(from).expect("a socket");
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        loop {
            let (near, _) = listener.accept().await.expect("a connection");
            let Ok(far) = UnixStream::connect(&to).await else { continue };
            let bytes = if breaks.load(Ordering::Relaxed) { 100 + numbers.below(30_000) } else { u64::MAX };
            tokio::spawn(async move {
                let (mut near_read, mut near_write) = near.into_split();
                let (far_read, mut far_write) = far.into_split();
                let mut far_read = far_read.take(bytes);
                tokio::select! {
                    _ = tokio::io::copy(&mut near_read, &mut far_write) => {}
                    _ = tokio::io::copy(&mut far_read, &mut near_write) => {}
                }
            });
        }
    }));
}

async fn follower(socket: &Path, cache: Option<PathBuf>, view: View, stop: &CancellationToken) -> Follower {
    let channel = orlop_client::connect(&format!("unix:{}", socket.display())).expect("an address");
    Follower::start(FollowerConfig { name: "test", channel, view, cache_path: cache }, stop.clone())
        .await
        .expect("a view")
}

fn control(folder: &Path) -> Config {
    Config {
        // So few that a follower which is away for longer needs a snapshot, and enough that most can resume.
        ring_entities: 40,
        suspect_after: Duration::from_secs(3600),
        ..Config::new(folder.join("data"), vec![Listen::Unix(folder.join("control"))])
    }
}

async fn register(socket: &Path, number: u64, label: u64) {
    let channel = orlop_client::connect(&format!("unix:{}", socket.display())).expect("an address");
    let request = RegisterRequest {
        id: orlop_model::NodeId::from_u128(u128::from(number) + 1).to_string(),
        name: format!("node-{number}"),
        cpu_millis: 1000,
        memory_bytes: 1 << 30,
        labels: [("label".to_owned(), format!("{label}-{}", "x".repeat((label % 200) as usize)))].into(),
        version: "0.1.0".into(),
        address: String::new(),
    };
    NodeServiceClient::new(channel).register(request).await.expect("a node that is registered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_over_broken_connections_end_up_with_what_the_control_plane_has() {
    const SEED: u64 = 11;
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("control");
    let mut control_stop = CancellationToken::new();
    let mut running =
        orlop_control::start(control(folder.path()), control_stop.clone()).await.expect("a control plane");
    let stop = CancellationToken::new();
    let breaks = Arc::new(AtomicBool::new(true));

    let mut followers = Vec::new();
    for (number, view) in [View::Mesh, View::Scheduler, View::Mesh, View::Operator(None)].into_iter().enumerate() {
        let wire = folder.path().join(format!("wire-{number}"));
        bad_wire(wire.clone(), socket.clone(), breaks.clone(), Numbers(SEED + number as u64), stop.clone());
        let cache = folder.path().join(format!("cache-{number}"));
        let follower = follower(&wire, Some(cache), view.clone(), &stop).await;
        let mut seen = follower.clone();
        // A view that is published never goes back.
        let watched = tokio::spawn(async move {
            let mut last = Revision(0);
            while let Ok(view) = seen.changed().await {
                assert!(view.revision >= last, "{:?} after {last:?}", view.revision);
                last = view.revision;
            }
        });
        followers.push((view, follower, watched));
    }

    let mut numbers = Numbers(SEED);
    for step in 0..240 {
        register(&socket, numbers.below(150), numbers.below(1000)).await;
        // Nodes are many, so that a change which a follower misses is not made good by the next one to the same node; and
        // there is time to come back in between.
        if numbers.below(3) == 0 {
            tokio::time::sleep(Duration::from_millis(numbers.below(40))).await;
        }
        if step % 80 == 79 {
            control_stop.cancel();
            running.wait().await.expect("an end in order");
            control_stop = CancellationToken::new();
            running =
                orlop_control::start(control(folder.path()), control_stop.clone()).await.expect("a control plane");
        }
    }
    breaks.store(false, Ordering::Relaxed);

    for (view, follower, _) in &followers {
        let mut direct = self::follower(&socket, None, view.clone(), &stop).await;
        let truth = loop {
            let truth = direct.changed().await.expect("a follower that runs");
            if truth.live {
                break truth;
            }
        };
        assert!(truth.nodes().count() > 50, "the test makes no nodes");
        let began = Instant::now();
        while follower.view().objects != truth.objects {
            assert!(began.elapsed() < Duration::from_secs(30), "seed {SEED}: {view:?} is not what it should be");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    stop.cancel();
    for (_, follower, watched) in followers {
        follower.ended().await;
        watched.await.expect("revisions that only grow");
    }
    control_stop.cancel();
    running.wait().await.expect("an end in order");
}
