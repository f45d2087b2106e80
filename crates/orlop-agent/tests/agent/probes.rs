//! What health checks and init steps ask over the network, and how long they wait for an answer.

use crate::cluster::{assignment, replica_id, within, workload};
use crate::memory::{IMAGE, answers, cluster, ids, runtime, start};
use orlop_model::spec::{Check, HealthCheck, InitAction, InitStep, OnFailure};
use orlop_model::*;
use orlop_runtime::fake::ExecBehaviour;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// An address on loopback where nobody listens, for a server to come.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address")
}

fn health(check: Check) -> HealthCheck {
    HealthCheck { start_grace: Millis(0), interval: Millis(100), timeout: Millis(300), retries: 2, check }
}

#[tokio::test]
async fn init_waits_until_a_server_answers_with_the_status() {
    let (cluster, runtime) = (cluster(), runtime());
    let address = free();
    let answer = Arc::new(AtomicU32::new(503));
    let server = tokio::spawn(answers(address, answer.clone()));
    let _agent = start(&cluster, &runtime).await;
    let replica = replica_id(1);
    let mut workload = workload(IMAGE);
    let url = format!("http://localhost:{}/up?x=1", address.port());
    workload.init = vec![InitStep {
        id: "wait-api".parse().expect("a name"),
        action: InitAction::WaitHttp { url, expect_status: 204 },
        timeout: Millis::from_secs(60),
        retries: 0,
        on_failure: OnFailure::Fail,
    }];
    let asked = answer.clone();
    cluster.control.assign(assignment(replica, workload));
    cluster.control.until_phase(replica, Phase::Initializing).await;
    assert!(ids(&runtime).await.is_empty(), "it started before its init step was done");
    asked.store(204, Ordering::Relaxed);
    cluster.control.until_phase(replica, Phase::Running(Health::Unchecked)).await;
    server.abort();
}

#[tokio::test]
async fn a_replica_is_well_while_its_port_is_open() {
    let (cluster, runtime) = (cluster(), runtime());
    let address = free();
    let _agent = start(&cluster, &runtime).await;
    let replica = replica_id(1);
    let mut workload = workload(IMAGE);
    let check = health(Check::Tcp { port: address.port() });
    workload.health = Some(HealthCheck { start_grace: Millis::from_secs(20), ..check });
    cluster.control.assign(assignment(replica, workload));
    cluster.control.until_phase(replica, Phase::Starting).await;
    let listener = TcpListener::bind(address).expect("bound");
    cluster.control.until_phase(replica, Phase::Running(Health::Healthy)).await;
    drop(listener);
    let unhealthy = cluster.control.until_phase(replica, Phase::Running(Health::Unhealthy)).await;
    let reason = unhealthy.reason.expect("a reason");
    assert!(reason.message.contains(&format!("connecting to {address}")), "{reason}");
    let _listener = TcpListener::bind(address).expect("bound again");
    let status = cluster.control.until(replica, |s| s.phase.is_ready() && s.restarts == 1).await;
    assert_eq!(status.phase, Phase::Running(Health::Healthy));
}

#[tokio::test]
async fn a_check_that_takes_longer_than_its_timeout_has_failed() {
    // Takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("http://localhost:{}/", silent.local_addr().expect("an address").port());
    for check in
        [Check::Http { url, expect_status: 200 }, Check::Command { command: vec!["sleep".into(), "100".into()] }]
    {
        let (cluster, runtime) = (cluster(), runtime());
        runtime.add_exec("sleep", ExecBehaviour::default());
        let agent = start(&cluster, &runtime).await;
        let replica = replica_id(1);
        let mut workload = workload(IMAGE);
        workload.health = Some(health(check.clone()));
        cluster.control.assign(assignment(replica, workload));
        let status = within(cluster.control.until_phase(replica, Phase::Running(Health::Unhealthy))).await;
        let reason = status.reason.expect("a reason");
        assert!(reason.message.contains("it took longer than 300ms"), "{check:?}: {reason}");
        agent.kill().await;
    }
}
