//! A scheduler under the control plane that ships, log on disk included.

use crate::{Scheduler, deployment, service};
use orlop_client::{Address, ClusterState, OperatorClient};
use orlop_control::{Listen, Running};
use orlop_model::{Desired, Health, NodeId, Outcome, Phase, ReplicaStatus, Revision, View};
use orlop_proto::node::v1 as pb;
use orlop_proto::node::v1::node_service_client::NodeServiceClient;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct ControlPlane {
    stop: CancellationToken,
    running: Running,
    address: Address,
}

impl ControlPlane {
    async fn start(directory: &Path) -> Self {
        let socket = directory.join("control.sock");
        let config = orlop_control::Config {
            // The node of these tests reports but does not attend.
            suspect_after: Duration::from_secs(3600),
            ..orlop_control::Config::new(directory.join("data"), vec![Listen::Unix(socket.clone())])
        };
        let stop = CancellationToken::new();
        let running = orlop_control::start(config, stop.clone()).await.expect("starts");
        Self { stop, running, address: Address::Unix(socket) }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.running.wait().await.expect("ends well");
    }

    fn client(&self) -> OperatorClient {
        OperatorClient::new(self.address.clone()).expect("a client")
    }
}

async fn wait(client: &OperatorClient, what: &str, is: impl Fn(&ClusterState) -> bool) {
    let mut state = ClusterState::default();
    let mut watch = client.watch(View::Operator(None));
    let wait = async {
        while state.revision == Revision(0) || !is(&state) {
            state.apply(watch.next().await.expect("the view"));
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), wait).await.is_err() {
        panic!("{what}: not in 20 s; {:#?} {:#?}", state.services, state.replicas);
    }
}

fn running(state: &ClusterState, count: usize) -> bool {
    state.replicas.len() == count && state.replicas.values().all(|r| r.is_ready())
}

/// A node that does at once what it is told, until the task is aborted.
async fn node(address: &Address) -> JoinHandle<()> {
    let mut control = NodeServiceClient::new(address.channel().expect("a channel"));
    let id = NodeId::from_u128(1).to_string();
    let register = pb::RegisterRequest {
        id: id.clone(),
        name: "alpha".into(),
        cpu_millis: 8000,
        memory_bytes: 16 << 30,
        version: "0".into(),
        address: String::new(),
        ..pb::RegisterRequest::default()
    };
    control.register(register).await.expect("registers");
    let mut watch = OperatorClient::new(address.clone()).expect("a client").watch(View::Operator(None));
    tokio::spawn(async move {
        let mut state = ClusterState::default();
        while let Ok(changes) = watch.next().await {
            state.apply(changes);
            let reports = state.replicas.values().filter_map(|replica| {
                let phase = match (replica.desired, replica.status.phase) {
                    (Desired::Run, Phase::Pending) => Phase::Running(Health::Unchecked),
                    (Desired::Stop(_), phase) if !phase.is_finished() => Phase::Finished(Outcome::Stopped),
                    _ => return None,
                };
                let status = ReplicaStatus { phase, ..ReplicaStatus::pending(crate::now()) };
                Some(pb::ReplicaReport {
                    replica: replica.id.to_string(),
                    generation: replica.generation.0,
                    status: Some((&status).into()),
                })
            });
            let request = pb::ReportRequest { node: id.clone(), replicas: reports.collect() };
            if !request.replicas.is_empty() {
                // What is lost here is reported again with the next change.
                let _ = control.report(request).await;
            }
        }
    })
}

#[tokio::test]
async fn a_deployment_lives_through_restarts_of_scheduler_and_control_plane() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut control = ControlPlane::start(directory.path()).await;
    let mut nodes = node(&control.address).await;
    let mut scheduler = Scheduler::start(&control.address.to_string());
    let name = "shop".parse().expect("a name");

    control.client().deploy(&deployment([("api", service("app:1", 3))]), None).await.expect("deploys");
    wait(&control.client(), "three replicas", |state| running(state, 3)).await;

    scheduler.kill().await;
    control.client().deploy(&deployment([("api", service("app:2", 5))]), None).await.expect("deploys");
    scheduler = Scheduler::start(&control.address.to_string());
    wait(&control.client(), "five new replicas", |state| {
        let generation = state.services.values().map(|s| s.workload_generation).max();
        running(state, 5) && state.replicas.values().all(|r| Some(r.generation) == generation)
    })
    .await;

    nodes.abort();
    control.stop().await;
    control = ControlPlane::start(directory.path()).await;
    nodes = node(&control.address).await;
    let service = "shop/api".parse().expect("a name");
    control.client().scale(&service, 2).await.expect("scales");
    wait(&control.client(), "two replicas", |state| running(state, 2)).await;

    control.client().stop(&name, None, false).await.expect("stops");
    wait(&control.client(), "nothing", |state| state.services.is_empty() && state.replicas.is_empty()).await;
    scheduler.stop().await;
    nodes.abort();
    control.stop().await;
}

#[tokio::test]
async fn a_replica_is_placed_within_moments_of_its_deploy() {
    let directory = tempfile::tempdir().expect("a directory");
    let control = ControlPlane::start(directory.path()).await;
    let nodes = node(&control.address).await;
    let scheduler = Scheduler::start(&control.address.to_string());
    let client = control.client();
    client.deploy(&deployment([("api", service("app:1", 1))]), None).await.expect("deploys");
    wait(&client, "a replica", |state| running(state, 1)).await;
    let mut took = Vec::new();
    for replicas in 2..12 {
        let begun = Instant::now();
        client.scale(&"shop/api".parse().expect("a name"), replicas).await.expect("scales");
        wait(&client, "one more", |state| state.replicas.len() == replicas as usize).await;
        took.push(begun.elapsed());
    }
    took.sort();
    println!("from the call to the replica in the operator's view: {took:?}");
    // Far above what it takes, far below every timer: it was the change that made it plan.
    assert!(took[took.len() / 2] < Duration::from_millis(500), "{took:?}");
    scheduler.stop().await;
    nodes.abort();
    control.stop().await;
}
