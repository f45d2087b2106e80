//! The agent killed in the middle of each step: the next one ends at the same place, with one process and nothing over.

use crate::cluster::{Cluster, assignment, replica_id, until, within, workload};
use crate::memory::{IMAGE, cluster, ids, runtime, start};
use orlop_model::spec::{Check, HealthCheck, InitAction, InitStep, OnFailure, Workload};
use orlop_model::*;
use orlop_runtime::fake::Operation;
use orlop_runtime::{ContainerRuntime, ContainerState, FakeRuntime};

const REPLICA: ReplicaId = replica_id(1);

/// The step that the agent dies in.
#[derive(Debug, Clone)]
enum Dies {
    In(Operation, String),
    InOverlay(&'static str),
}

impl Dies {
    fn hold(&self, cluster: &Cluster, runtime: &FakeRuntime) {
        match self {
            Dies::In(operation, subject) => runtime.hold(*operation, subject),
            Dies::InOverlay(call) => _ = cluster.overlay.held.send_replace(Some(call)),
        }
    }

    async fn reached(&self, cluster: &Cluster, runtime: &FakeRuntime) {
        match self {
            Dies::In(operation, subject) => {
                let is_it = |c: &orlop_runtime::fake::Call| c.operation == *operation && c.subject == *subject;
                within(runtime.until(|runtime| runtime.take_calls().iter().any(is_it))).await;
            }
            Dies::InOverlay(call) => {
                let mut asked = cluster.overlay.asked.subscribe();
                within(asked.wait_for(|asked| asked == call)).await.expect("the sender lives");
            }
        }
    }

    fn release(&self, cluster: &Cluster, runtime: &FakeRuntime) {
        match self {
            Dies::In(operation, subject) => runtime.release(*operation, subject),
            Dies::InOverlay(_) => _ = cluster.overlay.held.send_replace(None),
        }
    }
}

fn main_container() -> String {
    format!("{REPLICA}-1")
}

fn init_container() -> String {
    format!("{REPLICA}-init-0-0")
}

fn with_init() -> Workload {
    let mut workload = workload(IMAGE);
    workload.init = vec![InitStep {
        id: "prepare".parse().expect("a name"),
        action: InitAction::Run { command: vec!["/prepare".into()] },
        timeout: Millis::from_secs(30),
        retries: 0,
        on_failure: OnFailure::Fail,
    }];
    workload
}

fn with_check() -> Workload {
    let mut workload = workload(IMAGE);
    workload.health = Some(HealthCheck {
        start_grace: Millis::from_secs(20),
        interval: Millis(100),
        timeout: Millis::from_secs(20),
        retries: 3,
        check: Check::Command { command: vec!["/check".into()] },
    });
    workload
}

/// Waits for the one process of the replica, and sees that it is the only one. Init steps are ended when they run.
async fn one_process(cluster: &Cluster, runtime: &FakeRuntime, case: &str) {
    let steps = {
        let runtime = runtime.clone();
        tokio::spawn(async move {
            loop {
                runtime.until(|runtime| runtime.exit(&init_container(), 0)).await;
            }
        })
    };
    let status = cluster.control.until(REPLICA, |status| status.phase.is_ready()).await;
    steps.abort();
    assert_eq!(status.restarts, 0, "{case}");
    let runs = |c: &orlop_runtime::ContainerInfo| matches!(c.state, ContainerState::Running { .. });
    // What the last agent left beside it goes a moment later.
    within(async {
        loop {
            let containers = runtime.list().await.expect("listed");
            assert_eq!(containers.iter().filter(|c| runs(c)).count(), 1, "{case}: {containers:?}");
            if containers.len() == 1 {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(cluster.overlay.attached.lock().iter().eq([&REPLICA]), "{case}");
}

async fn nothing_left(cluster: &Cluster, runtime: &FakeRuntime, case: &str) {
    cluster.control.until_phase(REPLICA, Phase::Finished(Outcome::Stopped)).await;
    assert!(ids(runtime).await.is_empty() && cluster.overlay.attached.lock().is_empty(), "{case}");
    cluster.control.withdraw(REPLICA);
    let directory = cluster.data().join(format!("replicas/{REPLICA}"));
    until("its files are gone", || !directory.exists()).await;
}

#[tokio::test]
async fn an_agent_killed_in_any_step_to_a_running_process_is_followed_by_one_that_gets_there() {
    for (workload, dies) in [
        (workload(IMAGE), Dies::In(Operation::EnsureImage, IMAGE.into())),
        (workload(IMAGE), Dies::InOverlay("attach")),
        (workload(IMAGE), Dies::In(Operation::Create, main_container())),
        (workload(IMAGE), Dies::In(Operation::Start, main_container())),
        (with_init(), Dies::In(Operation::Create, init_container())),
        (with_init(), Dies::In(Operation::Start, init_container())),
        (with_init(), Dies::In(Operation::Wait, init_container())),
        (with_init(), Dies::In(Operation::Remove, init_container())),
        (with_check(), Dies::In(Operation::Exec, main_container())),
    ] {
        let case = format!("{dies:?}");
        let (cluster, runtime) = (cluster(), runtime());
        dies.hold(&cluster, &runtime);
        let agent = start(&cluster, &runtime).await;
        cluster.control.assign(assignment(REPLICA, workload));
        if let Dies::In(Operation::Remove, id) = &dies {
            within(runtime.until(|runtime| runtime.exit(id, 0))).await;
        }
        dies.reached(&cluster, &runtime).await;
        agent.kill().await;
        let agent = start(&cluster, &runtime).await;
        dies.release(&cluster, &runtime);
        one_process(&cluster, &runtime, &case).await;
        cluster.control.order(REPLICA, Desired::Stop(StopOrder::Graceful));
        nothing_left(&cluster, &runtime, &case).await;
        agent.kill().await;
    }
}

#[tokio::test]
async fn an_agent_killed_in_any_step_to_nothing_is_followed_by_one_that_gets_there() {
    for dies in [
        Dies::In(Operation::Signal, main_container()),
        Dies::In(Operation::Remove, main_container()),
        Dies::InOverlay("detach"),
    ] {
        let case = format!("{dies:?}");
        let (cluster, runtime) = (cluster(), runtime());
        let agent = start(&cluster, &runtime).await;
        cluster.control.assign(assignment(REPLICA, workload(IMAGE)));
        one_process(&cluster, &runtime, &case).await;
        runtime.take_calls();
        dies.hold(&cluster, &runtime);
        cluster.control.order(REPLICA, Desired::Stop(StopOrder::Graceful));
        dies.reached(&cluster, &runtime).await;
        agent.kill().await;
        let agent = start(&cluster, &runtime).await;
        dies.release(&cluster, &runtime);
        nothing_left(&cluster, &runtime, &case).await;
        let began = |c: &orlop_runtime::fake::Call| matches!(c.operation, Operation::Create | Operation::Start);
        assert!(!runtime.take_calls().iter().any(began), "{case}: something was begun after the stop order");
        agent.kill().await;
    }
}
