//! Schedulers at work on a real state machine, over gRPC on a unix socket.

mod fake;
mod real;

use fake::{Control, now};
use orlop_model::plan::Plan;
use orlop_model::spec::{Condition, Dependency, Deployment, OnFailure, Scale, Service, Update, Workload};
use orlop_model::{Millis, Replica};
use orlop_scheduler::{Config, serve};
use orlop_state::command::SubmitPlan;
use orlop_state::{Answer, Kind, State};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

fn service(image: &str, replicas: u32) -> Service {
    Service {
        scale: Scale::Fixed { replicas },
        update: Update { max_surge: 1, max_unavailable: 0, min_healthy: Millis(20) },
        ..Service::of(Workload::of(image))
    }
}

fn deployment<const N: usize>(services: [(&str, Service); N]) -> Deployment {
    let services = services.into_iter().map(|(name, service)| (name.parse().expect("a name"), service)).collect();
    Deployment { name: "shop".parse().expect("a name"), services }
}

struct Scheduler {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Scheduler {
    fn start(address: &str) -> Self {
        let config = Config { lease_ttl: Duration::from_secs(1), ..Config::new(address) };
        let stop = CancellationToken::new();
        let serving = serve(config, stop.clone());
        Self { stop, task: tokio::spawn(async move { serving.await.expect("serves") }) }
    }

    /// As SIGTERM does.
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic");
    }

    /// As SIGKILL does: nothing of it runs any more, and nobody was told.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

fn ready(state: &State, service: &str) -> usize {
    let name = service.parse().expect("deployment/service");
    state.replicas_of(&name).filter(|r| r.is_ready()).count()
}

fn all_ready(state: &State, service: &str, count: usize) -> bool {
    let name = service.parse().expect("deployment/service");
    ready(state, service) == count && state.replicas_of(&name).count() == count
}

fn slots(replicas: &[Replica]) -> BTreeSet<u32> {
    replicas.iter().map(|r| r.slot).collect()
}

fn fixture() -> (TempDir, Arc<Control>) {
    let control = Control::new();
    control.add_node(1, "alpha");
    control.add_node(2, "beta");
    (tempfile::tempdir().expect("a directory"), control)
}

#[tokio::test]
async fn a_deploy_becomes_replicas_and_a_changed_one_replaces_them() {
    let (directory, control) = fixture();
    let served = control.serve(directory.path().join("control.sock"));
    let _nodes = control.nodes_at_work();
    let scheduler = Scheduler::start(&served.address);

    control.deploy(deployment([("api", service("app:1", 3))]));
    control.wait("three replicas", |state| all_ready(state, "shop/api", 3)).await;
    let before = control.replicas();
    assert_eq!(slots(&before), BTreeSet::from([0, 1, 2]));

    control.deploy(deployment([("api", service("app:2", 3))]));
    let fresh = |r: &Replica| before.iter().all(|old| old.id != r.id);
    control.wait("three new replicas", |s| all_ready(s, "shop/api", 3) && s.replicas().all(fresh)).await;
    assert_eq!(slots(&control.replicas()), BTreeSet::from([0, 1, 2]));

    control.scale("shop/api", 1);
    control.wait("one replica", |state| all_ready(state, "shop/api", 1)).await;
    scheduler.stop().await;
}

#[tokio::test]
async fn a_scheduler_killed_after_any_plan_is_succeeded_by_one_that_does_the_rest() {
    let (directory, control) = fixture();
    let served = control.serve(directory.path().join("control.sock"));
    let _nodes = control.nodes_at_work();
    control.deploy(deployment([("api", service("app:1", 2))]));
    control.deploy(deployment([("api", service("app:2", 2))]));
    let mut killed = 0;
    while killed < 4 {
        let plans = control.plans.lock().expect("not poisoned").len();
        let scheduler = Scheduler::start(&served.address);
        let planned = |_: &State| control.plans.lock().expect("not poisoned").len() > plans;
        control.wait("a plan", planned).await;
        scheduler.kill().await;
        killed += 1;
        // A change that the next one finds.
        control.scale("shop/api", 2 + killed);
    }
    let scheduler = Scheduler::start(&served.address);
    control.wait("what was asked for last", |state| all_ready(state, "shop/api", 6)).await;
    assert_eq!(slots(&control.replicas()).len(), 6);
    scheduler.stop().await;
}

#[tokio::test]
async fn of_two_schedulers_one_is_active_and_the_other_takes_over_when_it_leaves() {
    let (directory, control) = fixture();
    let served = control.serve(directory.path().join("control.sock"));
    let _nodes = control.nodes_at_work();
    let (first, second) = (Scheduler::start(&served.address), Scheduler::start(&served.address));
    for replicas in 1..4 {
        control.deploy(deployment([("api", service("app:1", replicas))]));
        control.wait("replicas", |state| all_ready(state, "shop/api", replicas as usize)).await;
    }
    let fence = control.state().lease().expect("a lease").fence;
    assert_eq!(control.fences(), [fence], "all plans came from one");

    first.stop().await;
    control.deploy(deployment([("api", service("app:1", 5))]));
    control.wait("more replicas", |state| all_ready(state, "shop/api", 5)).await;
    second.stop().await;
    let third = Scheduler::start(&served.address);
    control.deploy(deployment([("api", service("app:1", 6))]));
    control.wait("more replicas yet", |state| all_ready(state, "shop/api", 6)).await;
    assert!(control.fences().len() >= 2, "each change of holder has its fence: {:?}", control.fences());
    third.stop().await;
}

#[tokio::test]
async fn a_plan_under_an_old_fence_does_nothing_and_its_scheduler_asks_for_the_lease_again() {
    let (directory, control) = fixture();
    let served = control.serve(directory.path().join("control.sock"));
    let _nodes = control.nodes_at_work();
    let scheduler = Scheduler::start(&served.address);
    control.deploy(deployment([("api", service("app:1", 1))]));
    control.wait("a replica", |state| all_ready(state, "shop/api", 1)).await;
    let old = control.state().lease().expect("a lease").fence;

    // Another takes the lease while the first believes to have it, and lets it go.
    let holder = control.state().lease().expect("a lease").holder.clone();
    for (holder, ttl) in [(holder.as_str(), 0), ("thief", 1_000), ("thief", 0)] {
        let command = orlop_state::command::AcquireLease { holder: holder.into(), ttl: Millis(ttl) };
        control.apply(Kind::AcquireLease(command));
    }
    let stale = SubmitPlan { fence: old, plan: Plan::default() };
    assert!(matches!(control.apply(Kind::SubmitPlan(stale)), Answer::Refused(_)));
    control.deploy(deployment([("api", service("app:1", 4))]));
    control.wait("more replicas", |state| all_ready(state, "shop/api", 4)).await;
    assert!(control.fences().last().is_some_and(|fence| *fence > old));
    scheduler.stop().await;
}

#[tokio::test]
async fn a_plan_whose_answer_is_lost_is_not_done_twice() {
    let (directory, control) = fixture();
    let served = control.serve(directory.path().join("control.sock"));
    let _nodes = control.nodes_at_work();
    let scheduler = Scheduler::start(&served.address);
    control.lose_answers.store(3, Ordering::SeqCst);
    control.deploy(deployment([("api", service("app:1", 4)), ("db", service("db:1", 2))]));
    control.wait("api", |state| all_ready(state, "shop/api", 4)).await;
    control.wait("db", |state| all_ready(state, "shop/db", 2)).await;
    control.deploy(deployment([("api", service("app:2", 4)), ("db", service("db:1", 2))]));
    let generation = control.state().service(&"shop/api".parse().expect("a name")).expect("known").workload_generation;
    let replaced = |state: &State| {
        let name = "shop/api".parse().expect("a name");
        all_ready(state, "shop/api", 4) && state.replicas_of(&name).all(|r| r.generation == generation)
    };
    control.wait("the update", replaced).await;
    assert_eq!(control.lose_answers.load(Ordering::SeqCst), 0);
    scheduler.stop().await;
}

#[tokio::test]
async fn a_dependency_times_out_without_anything_else_happening() {
    let (directory, control) = fixture();
    let served = control.serve(directory.path().join("control.sock"));
    let scheduler = Scheduler::start(&served.address);
    let mut api = service("app:1", 1);
    api.depends.push(Dependency {
        service: "db".parse().expect("a name"),
        condition: Condition::Healthy,
        timeout: Some(Millis(400)),
        on_timeout: OnFailure::Warn,
    });
    let deployed = now();
    control.deploy(deployment([("api", api), ("db", service("db:1", 1))]));
    let name = "shop/api".parse().expect("a name");
    control.wait("the note", |state| !state.service(&name).expect("known").status.blocked.is_empty()).await;
    control.wait("the start", |state| state.replicas_of(&name).count() == 1).await;
    assert!(now() - deployed >= Millis(400));
    assert!(control.state().service(&name).expect("known").status.dependency_fault.is_some());
    scheduler.stop().await;
}

#[tokio::test]
async fn a_control_plane_that_comes_back_is_found_again() {
    let (directory, control) = fixture();
    let socket = directory.path().join("control.sock");
    let scheduler = Scheduler::start(&format!("unix:{}", socket.display()));
    let _nodes = control.nodes_at_work();
    for (round, replicas) in [1u32, 3, 2].into_iter().enumerate() {
        let served = control.serve(socket.clone());
        control.deploy(deployment([("api", service("app:1", replicas))]));
        control.wait(&format!("round {round}"), |state| all_ready(state, "shop/api", replicas as usize)).await;
        drop(served);
    }
    scheduler.stop().await;
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_at_once() {
    let stop = CancellationToken::new();
    for (config, words) in [
        (Config::new("http://192.0.2.1:7700"), "over TLS only"),
        (Config { lease_ttl: Duration::from_millis(10), ..Config::new("unix:/run/a.sock") }, "1s to 60s"),
    ] {
        let error = serve(config, stop.clone()).await.expect_err("refused");
        let chain = format!("{error} {:?}", std::error::Error::source(&error).map(ToString::to_string));
        assert!(chain.contains(words), "{chain}");
    }
}
