//! Followers against a control plane that the test plays: resume, snapshots, outages, the cache.

use orlop_follower::{Follower, FollowerConfig, ViewState};
use orlop_model::view::View;
use orlop_model::{ClusterId, Revision};
use orlop_proto::cluster::v1 as cluster;
use orlop_proto::watch::v1 as pb;
use orlop_proto::watch::v1::watch_service_server::{WatchService, WatchServiceServer};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

type Answers = mpsc::Sender<Result<pb::WatchResponse, Status>>;

/// Hands each watch that is opened to the test: what was asked, and where to send answers.
struct Played(mpsc::Sender<(pb::WatchRequest, Answers)>);

#[tonic::async_trait]
impl WatchService for Played {
    type WatchStream = ReceiverStream<Result<pb::WatchResponse, Status>>;

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (answers, stream) = mpsc::channel(8);
        self.0.send((request.into_inner(), answers)).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

struct ControlPlane {
    watches: mpsc::Receiver<(pb::WatchRequest, Answers)>,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

impl ControlPlane {
    fn start(socket: &Path) -> Self {
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).expect("a socket");
        let (tell, watches) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let served = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(WatchServiceServer::new(Played(tell)))
                .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stopped.cancelled())
                .await
                .expect("a server that ends well");
        });
        Self { watches, stop, served }
    }

    async fn watch(&mut self) -> (pb::WatchRequest, Answers) {
        tokio::time::timeout(Duration::from_secs(20), self.watches.recv()).await.expect("in time").expect("a watch")
    }

    async fn end(self) {
        self.stop.cancel();
        drop(self.watches);
        self.served.await.expect("a server that ends well");
    }
}

fn node(number: u128) -> pb::Change {
    let id = orlop_model::NodeId::from_u128(number);
    pb::Change {
        key: format!("node/{id}"),
        object: Some(pb::change::Object::Node(cluster::Node {
            id: id.to_string(),
            name: format!("n{number}"),
            cpu_millis: 1000,
            memory_bytes: 1 << 30,
            subnet: "10.77.1.0/24".into(),
            version: "0.1.0".into(),
            ..cluster::Node::default()
        })),
    }
}

fn gone(number: u128) -> pb::Change {
    pb::Change { object: None, ..node(number) }
}

fn response(of: u128, revision: u64, snapshot: bool, changes: Vec<pb::Change>) -> Result<pb::WatchResponse, Status> {
    Ok(pb::WatchResponse { revision, cluster: ClusterId::from_u128(of).to_string(), snapshot, changes, more: false })
}

async fn follower(folder: &Path, stop: &CancellationToken) -> Follower {
    let channel = orlop_client::connect(&format!("unix:{}", folder.join("s").display())).expect("an address");
    let cache_path = Some(folder.join("cache/mesh.view"));
    Follower::start(FollowerConfig { name: "test", channel, view: View::Mesh, cache_path }, stop.clone())
        .await
        .expect("a view that can be followed")
}

async fn until(follower: &mut Follower, what: &str, is: impl Fn(&ViewState) -> bool) -> Arc<ViewState> {
    let wait = async {
        loop {
            let view = follower.changed().await.expect("a follower that runs");
            if is(&view) {
                return view;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("no view with {what}"))
}

fn names(view: &ViewState) -> Vec<String> {
    view.nodes().map(|node| node.name.to_string()).collect()
}

#[tokio::test]
async fn a_follower_resumes_where_it_was_over_outages_and_restarts() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut control = ControlPlane::start(&folder.path().join("s"));
    let stop = CancellationToken::new();
    let mut follows = follower(folder.path(), &stop).await;
    assert!(!follows.view().is_known());

    let (asked, answers) = control.watch().await;
    assert_eq!((asked.since, asked.cluster.as_str()), (0, ""));
    answers.send(response(1, 5, true, vec![node(1), node(2)])).await.expect("a stream");
    let view = until(&mut follows, "two nodes", |view| view.live).await;
    assert_eq!((names(&view), view.revision), (vec!["n1".to_owned(), "n2".into()], Revision(5)));
    answers.send(response(1, 6, false, vec![gone(1), node(3)])).await.expect("a stream");
    until(&mut follows, "revision 6", |view| view.revision == Revision(6)).await;

    // The control plane goes away: the view stays, and says that it is old.
    drop(answers);
    control.end().await;
    let view = until(&mut follows, "an old view", |view| !view.live).await;
    assert_eq!(names(&view), ["n2", "n3"]);

    // It comes back: the follower asks for what it has not seen.
    let mut control = ControlPlane::start(&folder.path().join("s"));
    let (asked, answers) = control.watch().await;
    assert_eq!((asked.since, asked.cluster), (6, ClusterId::from_u128(1).to_string()));
    answers.send(response(1, 9, false, vec![node(4)])).await.expect("a stream");
    until(&mut follows, "revision 9", |view| view.revision == Revision(9) && view.live).await;
    stop.cancel();
    follows.ended().await;
    drop(answers);
    control.end().await;

    // Another process, and no control plane: the view is there, and not live.
    let stop = CancellationToken::new();
    let mut again = follower(folder.path(), &stop).await;
    let view = again.changed().await.expect("a follower that runs");
    assert_eq!((names(&view).len(), view.revision, view.live), (3, Revision(9), false));

    // Another cluster replaces everything.
    let mut control = ControlPlane::start(&folder.path().join("s"));
    let (asked, answers) = control.watch().await;
    assert_eq!(asked.since, 9);
    answers.send(response(2, 2, true, vec![node(7)])).await.expect("a stream");
    let view = until(&mut again, "the other cluster", |view| view.live).await;
    assert_eq!((names(&view), view.cluster), (vec!["n7".to_owned()], Some(ClusterId::from_u128(2))));
    stop.cancel();
}

#[tokio::test]
async fn parts_are_used_together_and_a_bad_object_leaves_the_last_good_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut control = ControlPlane::start(&folder.path().join("s"));
    let stop = CancellationToken::new();
    let mut follows = follower(folder.path(), &stop).await;
    let (_, answers) = control.watch().await;
    let mut part = response(1, 5, true, vec![node(1)]).expect("a message");
    part.more = true;
    answers.send(Ok(part)).await.expect("a stream");
    answers.send(response(1, 5, true, vec![node(2)])).await.expect("a stream");
    let view = until(&mut follows, "something live", |view| view.live).await;
    assert_eq!(names(&view), ["n1", "n2"]);

    let mut bad = node(2);
    if let Some(pb::change::Object::Node(node)) = &mut bad.object {
        node.subnet = "nonsense".into();
    }
    answers.send(response(1, 6, true, vec![node(3), bad])).await.expect("a stream");
    let view = until(&mut follows, "revision 6", |view| view.revision == Revision(6)).await;
    assert_eq!(names(&view), ["n2", "n3"]);
    stop.cancel();
}

#[tokio::test]
async fn a_control_plane_that_refuses_at_once_is_not_asked_in_a_busy_loop() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut control = ControlPlane::start(&folder.path().join("s"));
    let stop = CancellationToken::new();
    let _follows = follower(folder.path(), &stop).await;
    let begun = std::time::Instant::now();
    for _ in 0..6 {
        let (_, answers) = control.watch().await;
        answers.send(Err(Status::unavailable("not now"))).await.expect("a stream");
    }
    // Half of 50 + 100 + 200 + 400 + 800 ms at the least.
    assert!(begun.elapsed() >= Duration::from_millis(775), "{:?}", begun.elapsed());
    stop.cancel();
}

#[tokio::test]
async fn a_control_plane_that_answers_and_hangs_up_is_not_asked_in_a_busy_loop_either() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut control = ControlPlane::start(&folder.path().join("s"));
    let stop = CancellationToken::new();
    let _follows = follower(folder.path(), &stop).await;
    let begun = std::time::Instant::now();
    for revision in 1..=6 {
        let (_, answers) = control.watch().await;
        answers.send(response(1, revision, true, vec![node(1)])).await.expect("a stream");
    }
    assert!(begun.elapsed() >= Duration::from_millis(775), "{:?}", begun.elapsed());
    stop.cancel();
}

#[tokio::test]
async fn changes_that_do_not_follow_make_the_follower_ask_for_everything() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut control = ControlPlane::start(&folder.path().join("s"));
    let stop = CancellationToken::new();
    let mut follows = follower(folder.path(), &stop).await;
    let (_, mut answers) = control.watch().await;
    answers.send(response(1, 5, true, vec![node(1)])).await.expect("a stream");
    until(&mut follows, "one node", |view| view.live).await;
    for wrong in [response(2, 6, false, vec![node(2)]), response(1, 4, false, vec![node(2)])] {
        answers.send(wrong).await.expect("a stream");
        let (asked, next) = control.watch().await;
        assert_eq!(asked.since, 0);
        assert_eq!(names(&follows.view()), ["n1"]);
        answers = next;
        answers.send(response(1, 5, true, vec![node(1)])).await.expect("a stream");
        until(&mut follows, "one node again", |view| view.live).await;
    }
    stop.cancel();
    follows.ended().await;
    assert_eq!(names(&follows.view()), ["n1"]);
}
