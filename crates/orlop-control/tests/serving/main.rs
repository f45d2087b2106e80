//! A control plane in this process, and clients on its socket.

mod backups;
mod floods;
mod identity;
mod lapses;
mod making;
mod recovery;
mod repeats;
mod rest;
mod sessions;
mod world;

use orlop_model::{Generation, Liveness, NodeId, Object, Outcome, Phase, Revision, View};
use orlop_proto::watch::v1 as watch;
use std::time::Duration;
use tonic::Code;
use world::{World, deployment, until};

#[tokio::test]
async fn a_deploy_is_seen_by_who_watches_and_survives_a_restart() {
    let mut world = World::start().await;
    let mut watcher = world.watch(View::Operator(None), None).await;
    assert!(watcher.update().await.snapshot, "nothing was seen before");

    let deployed = world.operator().deploy(&deployment("shop", &[("api", "a/api:1")]), Some(Generation(0))).await;
    let deployed = deployed.expect("a deploy");
    assert_eq!(deployed.generation, Generation(1));
    until("the service", &mut watcher, |w| w.has("service/shop/api")).await;
    assert!(watcher.revision >= deployed.revision);

    world.restart().await;
    let state = world.operator().state(None).await.expect("the state");
    assert_eq!(state.services.len(), 1);
    assert_eq!(state.cluster, watcher.cluster.parse().ok());
}

#[tokio::test]
async fn it_serves_quickly_from_an_empty_directory() {
    let begun = std::time::Instant::now();
    let world = World::start().await;
    world.operator().state(None).await.expect("the state");
    // Five times what a debug build takes on a machine that has nothing else to do.
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_deploy_is_compare_and_set_on_the_generation() {
    let world = World::start().await;
    let operator = world.operator();
    let first = deployment("shop", &[("api", "a/api:1")]);
    operator.deploy(&first, Some(Generation(0))).await.expect("the first");
    let again = operator.deploy(&first, Some(Generation(0))).await.expect_err("it exists");
    assert!(matches!(&again, orlop_client::Error::Conflict(m) if m.contains("generation 1")), "{again:?}");
    let same = operator.deploy(&first, Some(Generation(1))).await.expect("the same again");
    assert_eq!(same.generation, Generation(1), "nothing changed");
    let second = operator.deploy(&deployment("shop", &[("api", "a/api:2")]), Some(Generation(1))).await;
    let second = second.expect("a change");
    assert_eq!(second.generation, Generation(2));
    assert!(second.changes[0].fields.iter().any(|f| f.contains("a/api:1 → a/api:2")), "{:?}", second.changes);
}

#[tokio::test]
async fn a_watch_resumes_without_gap_or_repeat() {
    let world = World::start().await;
    let mut watcher = world.watch(View::Operator(None), None).await;
    watcher.update().await;
    world.deploy("one").await;
    until("one", &mut watcher, |w| w.has("service/one/api")).await;
    let (cluster, revision) = (watcher.cluster.clone(), watcher.revision);
    drop(watcher);

    world.deploy("two").await;
    let mut resumed = world.watch(View::Operator(None), Some((cluster.clone(), revision))).await;
    let update = resumed.update().await;
    assert!(!update.snapshot, "the ring reaches back");
    assert_eq!(update.changes.iter().map(|c| c.key.as_str()).collect::<Vec<_>>(), ["service/two/api"]);

    world.deploy("three").await;
    let update = resumed.update().await;
    assert_eq!(update.changes.iter().map(|c| c.key.as_str()).collect::<Vec<_>>(), ["service/three/api"]);

    let mut stranger =
        world.watch(View::Operator(None), Some(("clu_00000000000000000000000000000001".into(), revision))).await;
    assert!(stranger.update().await.snapshot, "what another cluster said is worth nothing");
    let mut future = world.watch(View::Operator(None), Some((cluster, Revision(1_000_000)))).await;
    assert!(future.update().await.snapshot, "a revision that is still to come was said by a state that is lost");
}

#[tokio::test]
async fn a_watcher_that_missed_too_much_gets_a_snapshot() {
    let world = World::start_with(|config| config.ring_entities = 4).await;
    let mut watcher = world.watch(View::Operator(None), None).await;
    watcher.update().await;
    let (cluster, revision) = (watcher.cluster.clone(), watcher.revision);
    drop(watcher);
    for name in ["one", "two", "three"] {
        world.deploy(name).await;
    }
    let mut resumed = world.watch(View::Operator(None), Some((cluster, revision))).await;
    let update = resumed.update().await;
    assert!(update.snapshot);
    assert_eq!(update.changes.len(), 3);
}

#[tokio::test]
async fn a_slow_watcher_gets_the_outcome_of_many_changes_at_once() {
    let world = World::start().await;
    let watcher = world.watch(View::Operator(None), None).await;
    let mut watcher = watcher;
    watcher.update().await;
    let (cluster, revision) = (watcher.cluster.clone(), watcher.revision);
    drop(watcher);
    let operator = world.operator();
    for i in 0..20 {
        let image = format!("a/api:{i}");
        operator.deploy(&deployment("shop", &[("api", &image)]), None).await.expect("a deploy");
    }
    let mut slow = world.watch(View::Operator(None), Some((cluster, revision))).await;
    let update = slow.update().await;
    assert_eq!(update.changes.len(), 1, "twenty deploys of one service");
    let Some(watch::change::Object::Service(service)) = &update.changes[0].object else { panic!("{update:?}") };
    assert_eq!(service.generation, 20);
}

#[tokio::test]
async fn a_large_snapshot_comes_in_parts() {
    let world = World::start().await;
    let names: Vec<String> = (0..40).map(|i| format!("s{i}")).collect();
    let image = "a/api:1";
    let mut big = deployment("shop", &names.iter().map(|n| (n.as_str(), image)).collect::<Vec<_>>());
    for service in big.services.values_mut() {
        let workload = std::sync::Arc::make_mut(&mut service.workload);
        workload.args = Some(vec!["x".repeat(60_000)]);
    }
    world.operator().deploy(&big, None).await.expect("a large deploy");
    let mut watcher = world.watch(View::Scheduler, None).await;
    let first = watcher.message().await;
    assert!(first.snapshot && first.more && first.changes.len() < 40, "{} changes", first.changes.len());
    let mut changes = first.changes.len();
    loop {
        let part = watcher.message().await;
        assert!(part.snapshot && part.revision == first.revision);
        changes += part.changes.len();
        if !part.more {
            break;
        }
    }
    assert_eq!(changes, 40);
}

#[tokio::test]
async fn every_view_shows_what_its_follower_needs() {
    let world = World::start().await;
    let agent = world.agent("alpha").await;
    let replica = world.place("shop", agent.node).await;
    agent.report(replica, Phase::Running(orlop_model::Health::Unchecked)).await;
    for (view, expected) in [
        (
            View::Scheduler,
            vec![format!("node/{}", agent.node), format!("replica/{replica}"), "service/shop/api".into()],
        ),
        (View::Node(agent.node), vec![format!("assignment/{replica}")]),
        (View::Node(NodeId::from_u128(7)), vec![]),
        (View::Routes, vec!["route/shop/api/http".into()]),
        (View::Mesh, vec![format!("node/{}", agent.node)]),
        (View::Operator(Some("other".parse().expect("a name"))), vec![format!("node/{}", agent.node)]),
    ] {
        let mut watcher = world.watch(view.clone(), None).await;
        watcher.update().await;
        assert_eq!(watcher.objects.keys().cloned().collect::<Vec<_>>(), expected, "{view:?}");
    }
    let mut routes = world.watch(View::Routes, None).await;
    until(
        "the backend",
        &mut routes,
        |w| matches!(w.objects.get("route/shop/api/http"), Some(Object::Route(route)) if route.backends.len() == 1),
    )
    .await;
    world.operator().stop(&"shop".parse().expect("a name"), None, false).await.expect("a stop");
    until("the route to go", &mut routes, |w| w.objects.is_empty()).await;
}

#[tokio::test]
async fn events_come_once_and_in_order() {
    let world = World::start().await;
    let mut events = world.watch(View::Events(None), None).await;
    world.deploy("one").await;
    world.deploy("two").await;
    let mut sequences = Vec::new();
    while sequences.len() < 6 {
        let update = events.update().await;
        for change in update.changes {
            let Some(watch::change::Object::Event(event)) = change.object else { panic!("{change:?}") };
            sequences.push(event.sequence);
        }
    }
    // The making of the cluster and its member, and for each deploy one of the deployment and one of the service.
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6]);
    let (listed, _) = world.operator().events(&Default::default(), 2).await.expect("events");
    assert_eq!(listed.iter().map(|e| e.sequence).collect::<Vec<_>>(), [5, 6]);
}

#[tokio::test]
async fn steps_that_no_longer_hold_are_refused_by_name_and_old_fences_wholly() {
    let world = World::start().await;
    let agent = world.agent("alpha").await;
    world.deploy("shop").await;
    let mut scheduler = world.scheduler("one").await;
    let refused = scheduler.submit(vec![
        world::start("shop", 1, 0, 1, agent.node),
        world::start("shop", 2, 0, 1, agent.node),
        world::start("shop", 3, 0, 9, agent.node),
        world::start("shop", 4, 1, 1, NodeId::from_u128(99)),
    ]);
    let refused = refused.await.expect("a plan");
    let found: Vec<_> = refused.iter().map(|r| (r.0, r.1.as_str())).collect();
    assert_eq!(found, [(1, "slot_taken"), (2, "stale_generation"), (3, "node_not_found")]);

    scheduler.give_back().await;
    let mut other = world.scheduler("two").await;
    let stale = scheduler.submit(vec![]).await.expect_err("the fence is old");
    assert_eq!(stale.code(), Code::Aborted);
    assert!(stale.message().contains("acquire the lease"), "{stale:?}");
    other.submit(vec![]).await.expect("the new holder");
}

#[tokio::test]
async fn one_scheduler_holds_the_lease_and_renews_it_without_a_command() {
    let world = World::start().await;
    let first = world.scheduler("one").await;
    assert!(!world.try_lease("two").await.held);
    let before = world.revision().await;
    for _ in 0..10 {
        assert!(world.try_lease("one").await.held);
    }
    assert_eq!(world.revision().await, before, "renewals are not written");
    first.give_back().await;
    assert!(world.try_lease("two").await.held);
}

#[tokio::test]
async fn a_lease_is_free_when_the_last_connection_it_was_renewed_on_has_ended() {
    let world = World::start().await;
    let (first, second) = (world.channel(), world.channel());
    let fence = world::try_lease_on(first.clone(), "one").await.fence;
    assert_eq!(world::try_lease_on(second.clone(), "one").await.fence, fence);
    let revision = world.revision().await;
    drop(first);
    // Its end is no news: the lease was renewed on another since. To see that, something else has to go the same way.
    let third = world.channel();
    assert!(!world::try_lease_on(third, "two").await.held);
    assert!(!world.try_lease("two").await.held);
    assert_eq!(world.revision().await, revision);

    drop(second);
    let began = std::time::Instant::now();
    let lease = loop {
        let lease = world.try_lease("two").await;
        if lease.held {
            break lease;
        }
        assert!(began.elapsed() < world::PATIENCE, "the lease of one that is gone is still held");
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    assert!(lease.fence > fence, "{lease:?} after fence {fence}");
    assert!(!world.try_lease("one").await.held);
}

#[tokio::test]
async fn a_plan_is_foreseen_and_nothing_is_done() {
    let world = World::start().await;
    let agent = world.agent("alpha").await;
    let planned = world.operator().plan(&deployment("shop", &[("api", "a/api:1")])).await.expect("a plan");
    assert_eq!(planned.generation, Generation(0));
    assert_eq!(planned.steps.len(), 1);
    assert!(matches!(&planned.steps[0], orlop_model::plan::Step::Start { node, .. } if *node == agent.node));
    assert!(world.operator().state(None).await.expect("the state").services.is_empty());
}

#[tokio::test]
async fn a_node_keeps_its_subnet_and_is_silent_when_its_agent_is_gone_for_a_while() {
    let world = World::start_with(|config| config.suspect_after = Duration::from_millis(100)).await;
    let agent = world.agent("alpha").await;
    assert_eq!(agent.subnet, "10.77.0.0/24");
    assert_eq!(world.agent("beta").await.subnet, "10.77.1.0/24");
    let mut mesh = world.watch(View::Mesh, None).await;
    let key = format!("node/{}", agent.node);
    let silent = |w: &world::Watcher| matches!(w.objects.get(&key), Some(Object::Node(node)) if node.liveness != Liveness::Alive);
    let id = agent.node;
    drop(agent);
    until("silence", &mut mesh, silent).await;
    let back = world.agent_with_id("alpha", id).await;
    assert_eq!(back.subnet, "10.77.0.0/24");
    until("the return", &mut mesh, |w| !silent(w)).await;
    // Whoever is there and comes again as it was is not written down again.
    let before = world.revision().await;
    let again = world.agent_with_id("alpha", id).await;
    assert_eq!((&again.subnet, world.revision().await), (&back.subnet, before));
}

#[tokio::test]
async fn reports_of_replicas_that_are_not_known_are_named() {
    let world = World::start().await;
    let (alpha, beta) = (world.agent("alpha").await, world.agent("beta").await);
    let replica = world.place("shop", alpha.node).await;
    beta.report(replica, Phase::Starting).await;
    let state = world.operator().state(None).await.expect("the state");
    assert_eq!(state.replicas[&replica].status.phase, Phase::Pending, "it is not at this node");
    alpha.report(replica, Phase::Preparing).await;
    let before = world.revision().await;
    let mut node = world.watch(View::Node(alpha.node), None).await;
    node.update().await;
    alpha.report(replica, Phase::Preparing).await;
    alpha.report(replica, Phase::Finished(Outcome::Failed)).await;
    let update = node.update().await;
    assert_eq!(update.revision, before.0 + 2, "the repeated report was not told to anybody");
}

#[tokio::test]
async fn without_tls_only_this_machine_is_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let everybody = orlop_control::Listen::Loopback("0.0.0.0:0".parse().expect("an address"));
    let config = orlop_control::Config::new(folder.path(), vec![everybody]);
    let error = orlop_control::start(config, Default::default()).await.expect_err("refused");
    assert!(error.to_string().contains("without TLS"), "{error}");
}

#[tokio::test]
async fn a_socket_that_somebody_serves_is_not_taken_and_a_dead_one_is() {
    let world = World::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = orlop_control::Config::new(folder.path(), world.listen());
    let error = orlop_control::start(config, Default::default()).await.expect_err("in use");
    assert!(error.to_string().contains("stop it first"), "{error}");
    world.operator().state(None).await.expect("the first still serves");

    let dead = folder.path().join("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).expect("a socket"));
    let config = orlop_control::Config::new(folder.path(), vec![orlop_control::Listen::Unix(dead)]);
    let stop = tokio_util::sync::CancellationToken::new();
    let running = orlop_control::start(config, stop.clone()).await.expect("it takes the dead one's place");
    stop.cancel();
    running.wait().await.expect("it ends");
}

#[tokio::test]
async fn a_stop_ends_watches_at_once() {
    let mut world = World::start().await;
    let mut watcher = world.watch(View::Scheduler, None).await;
    watcher.update().await;
    let begun = std::time::Instant::now();
    world.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let status = watcher.failure().await;
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}

#[tokio::test]
async fn a_spec_that_is_too_large_is_refused_and_disturbs_nobody() {
    let world = World::start().await;
    let mut huge = deployment("shop", &[("api", "a/api:1")]);
    for service in huge.services.values_mut() {
        let workload = std::sync::Arc::make_mut(&mut service.workload);
        workload.args = Some(vec!["x".repeat(100_000); 100]);
    }
    let error = world.operator().deploy(&huge, None).await.expect_err("10 MB");
    assert!(matches!(&error, orlop_client::Error::Invalid(_) | orlop_client::Error::Refused(_)), "{error:?}");
    world.deploy("shop").await;
}

#[tokio::test]
async fn nonsense_is_refused_with_the_field_that_is_wrong() {
    use orlop_proto::operator::v1 as pb;
    let world = World::start().await;
    let mut client = pb::operator_service_client::OperatorServiceClient::new(world.channel());
    let mut spec: orlop_proto::spec::v1::Deployment = (&deployment("shop", &[("api", "a/api:1")])).into();
    spec.services.values_mut().for_each(|service| service.endpoints[0].port = 70_000);
    let request = pb::DeployRequest { deployment: Some(spec), expected_generation: None };
    let status = client.deploy(request).await.expect_err("a port that is none");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("services.api.endpoints[0].port"), "{status:?}");

    let request = pb::ScaleRequest { service: None, replicas: 1 };
    assert!(client.scale(request).await.expect_err("no service").message().contains("service"));
    let request = pb::ListEventsRequest { subject: None, limit: 10_001 };
    assert!(client.list_events(request).await.expect_err("too many").message().contains("1 to 10000"));
    let request = scheduler_request("one", 5);
    let mut client = orlop_proto::scheduler::v1::scheduler_service_client::SchedulerServiceClient::new(world.channel());
    assert!(client.acquire_lease(request).await.expect_err("too short").message().contains("1000 to 60000"));
}

fn scheduler_request(holder: &str, ttl_ms: u64) -> orlop_proto::scheduler::v1::AcquireLeaseRequest {
    orlop_proto::scheduler::v1::AcquireLeaseRequest { holder: holder.into(), ttl_ms }
}

#[tokio::test]
async fn what_a_proxy_cannot_serve_is_state_until_it_says_otherwise_and_repeats_are_not_written() {
    let world = World::start().await;
    let agent = world.agent("alpha").await;
    world.deploy("shop").await;
    let faults = async || {
        let state = world.operator().state(None).await.expect("the state");
        state.services.values().flat_map(|service| service.faults.clone()).collect::<Vec<_>>()
    };
    let stranger = agent.unserved("gamma", &[]).await.expect_err("there is no such node");
    assert_eq!(stranger.code(), Code::NotFound, "{stranger:?}");
    agent.unserved("alpha", &[("shop/api", "http")]).await.expect("a report");
    let found = faults().await;
    assert_eq!((found.len(), found[0].node, found[0].reason.code.as_str()), (1, agent.node, "port_taken"));
    let before = world.revision().await;
    agent.unserved("alpha", &[("shop/api", "http")]).await.expect("the same again");
    assert_eq!(world.revision().await, before);
    agent.unserved("alpha", &[]).await.expect("a report");
    assert_eq!(faults().await, []);
}
