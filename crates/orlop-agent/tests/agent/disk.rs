//! What the agent keeps on disk: records that cannot be written, records of other versions, logs of the past.

use crate::cluster::{assignment, replica_id, until, within, workload};
use crate::memory::{IMAGE, cluster, ids, runtime, start};
use orlop_model::spec::OnPanic;
use orlop_model::*;
use orlop_runtime::FakeRuntime;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Keeps a record from being written, whoever tries: there is a directory where the file is made aside.
fn forbid(directory: &Path) {
    fs::create_dir_all(directory.join("record.new")).expect("made");
}

fn allow(directory: &Path) {
    fs::remove_dir(directory.join("record.new")).expect("removed");
}

#[tokio::test]
async fn no_process_is_begun_before_its_record_is_written_and_the_reason_says_so() {
    let (cluster, runtime) = (cluster(), runtime());
    let replica = replica_id(1);
    let directory = cluster.data().join(format!("replicas/{replica}"));
    let _agent = start(&cluster, &runtime).await;
    forbid(&directory);
    cluster.control.assign(assignment(replica, workload(IMAGE)));
    let said = |status: &ReplicaStatus| status.reason.as_ref().is_some_and(|reason| reason.code == "disk_failed");
    let status = cluster.control.until(replica, said).await;
    assert!(!status.phase.is_started(), "{status:?}");
    assert!(ids(&runtime).await.is_empty());
    allow(&directory);
    let status = cluster.control.until(replica, |status| status.phase.is_ready()).await;
    assert_eq!((status.restarts, status.reason), (0, None));
    until("its record is written", || directory.join("record").exists()).await;
}

#[tokio::test]
async fn a_replica_can_be_stopped_while_its_record_cannot_be_written() {
    let (cluster, runtime) = (cluster(), runtime());
    let replica = replica_id(1);
    let directory = cluster.data().join(format!("replicas/{replica}"));
    let _agent = start(&cluster, &runtime).await;
    cluster.control.assign(assignment(replica, workload(IMAGE)));
    cluster.control.until(replica, |status| status.phase.is_ready()).await;
    forbid(&directory);
    cluster.control.order(replica, Desired::Stop(StopOrder::Graceful));
    cluster.control.until_phase(replica, Phase::Finished(Outcome::Stopped)).await;
    assert!(ids(&runtime).await.is_empty());
}

#[tokio::test]
async fn that_a_replica_was_given_up_is_told_when_it_is_written() {
    let (cluster, runtime) = (cluster(), runtime());
    let replica = replica_id(1);
    let directory = cluster.data().join(format!("replicas/{replica}"));
    let agent = start(&cluster, &runtime).await;
    let mut workload = workload(IMAGE);
    workload.on_panic = OnPanic::Shutdown;
    cluster.control.assign(assignment(replica, workload));
    cluster.control.until(replica, |status| status.phase.is_ready()).await;
    forbid(&directory);
    runtime.exit(&format!("{replica}-1"), 1);
    let removed = |runtime: &FakeRuntime| runtime.spec(&format!("{replica}-1")).is_none();
    within(runtime.until(removed)).await;
    let finished = |status: &ReplicaStatus| status.phase.is_finished();
    assert!(!cluster.control.last(replica).is_some_and(|status| finished(&status)), "it was told");
    allow(&directory);
    cluster.control.until_phase(replica, Phase::Finished(Outcome::Failed)).await;
    // So the next agent knows it too.
    agent.kill().await;
    cluster.control.reports.send_replace(Vec::new());
    let _agent = start(&cluster, &runtime).await;
    cluster.control.until_phase(replica, Phase::Finished(Outcome::Failed)).await;
    assert!(ids(&runtime).await.is_empty());
}

/// A record as this version writes it, and what a later version may add: a field that nobody here knows.
const RECORD: &[u8] = include_bytes!("../../src/replica/golden/record.bin");
const UNKNOWN_FIELD: &[u8] = b"\xfa\x01\x05later";

#[tokio::test]
async fn a_replica_goes_on_from_the_record_of_this_version_and_of_a_later_one() {
    for record in [RECORD.to_vec(), [RECORD, UNKNOWN_FIELD].concat()] {
        let (cluster, runtime) = (cluster(), runtime());
        let replica = replica_id(7);
        let directory = cluster.data().join(format!("replicas/{replica}"));
        fs::create_dir_all(&directory).expect("made");
        fs::write(directory.join("record"), record).expect("written");
        let agent = start(&cluster, &runtime).await;
        cluster.control.assign(assignment(replica, workload(IMAGE)));
        let status = cluster.control.until(replica, |status| status.phase.is_ready()).await;
        // It was started twice, and its fourth container was the last.
        assert_eq!(status.restarts, 2);
        assert_eq!(status.last_exit.map(|exit| exit.code), Some(1));
        assert_eq!(ids(&runtime).await, [format!("{replica}-5")]);
        agent.kill().await;
    }
}

#[tokio::test]
async fn old_logs_go_by_their_age_and_by_what_all_take_and_those_of_living_replicas_stay() {
    let (cluster, runtime) = (cluster(), runtime());
    let log = |n: u128, age: Duration| {
        let directory = cluster.data().join(format!("logs/shop/api/0/{}", replica_id(n)));
        fs::create_dir_all(&directory).expect("made");
        let path = directory.join("1.log");
        fs::write(&path, vec![b'x'; 1000]).expect("written");
        File::options().write(true).open(path).expect("open").set_modified(SystemTime::now() - age).expect("set");
        directory
    };
    let agent = start(&cluster, &runtime).await;
    cluster.control.assign(assignment(replica_id(1), workload(IMAGE)));
    cluster.control.until(replica_id(1), |status| status.phase.is_ready()).await;
    agent.kill().await;
    // The next agent has no view yet when it looks for the first time.
    cluster.stop("control");
    std::fs::remove_file(cluster.data().join("view")).unwrap_or_default();
    let hour = Duration::from_secs(3600);
    let (living, too_old) = (log(1, hour * 50), log(2, hour * 30));
    let (older, newer) = (log(3, hour * 2), log(4, hour));
    let mut config = cluster.config();
    config.sweep = Duration::from_millis(10);
    config.logs.age_max = hour * 24;
    let agent = cluster.agent_with(config.clone(), Arc::new(runtime.clone())).await;
    until("the old log is gone", || !too_old.exists()).await;
    assert!(living.exists() && older.exists() && newer.exists());
    agent.kill().await;
    // One of the living and one of the past fit.
    config.logs.bytes_max = 2500;
    let _agent = cluster.agent_with(config, Arc::new(runtime.clone())).await;
    until("the older log is gone", || !older.exists()).await;
    assert!(living.exists() && newer.exists());
}

#[tokio::test]
async fn a_limit_that_the_machine_cannot_enforce_is_told_at_each_start() {
    let (cluster, runtime) = (cluster(), runtime());
    let _agent = start(&cluster, &runtime).await;
    let limited = |memory| {
        let mut workload = workload(IMAGE);
        workload.resources = Resources { cpu: Some(Cpu(500)), memory };
        workload
    };
    cluster.control.assign(assignment(replica_id(1), limited(None)));
    cluster.control.until(replica_id(1), |status| status.phase.is_ready()).await;
    runtime.set_without_limits();
    let mut second = assignment(replica_id(2), limited(Some(Memory(1 << 20))));
    second.replica.slot = 1;
    cluster.control.assign(second);
    cluster.control.until_event("limit_not_enforced").await;
    let told = cluster.control.events.borrow().clone();
    let told: Vec<_> = told.iter().filter(|(code, _)| code == "limit_not_enforced").collect();
    assert!(told.len() == 1 && told[0].1.contains("cpu and memory"), "only the second was made without: {told:?}");
    runtime.exit(&format!("{}-1", replica_id(2)), 1);
    let mut events = cluster.control.events.subscribe();
    let twice = |events: &Vec<(String, String)>| events.iter().filter(|(c, _)| c == "limit_not_enforced").count() == 2;
    within(events.wait_for(twice)).await.expect("the sender lives");
}
