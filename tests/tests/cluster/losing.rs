//! Nodes that are cut off: what becomes of their replicas, and what they do when they come back.

use crate::world::{World, hello};
use orlop_testbed::{Hammer, Role, get};

/// The node's name and the replica on it.
fn on(world: &World, host: u16) -> Option<(String, String)> {
    let node = world.node(host);
    world.ready("app/web").into_iter().find(|(name, _)| *name == node)
}

#[test]
fn a_node_that_is_cut_off_is_replaced_goes_on_alone_and_stops_what_was_replaced_when_it_is_back() {
    let world = World::start(3, 4_000);
    world.deploy(&hello(3));
    let (_, old) = on(&world, 3).expect("a replica on each node");
    let running = world.processes_of(&old);
    assert!(!running.is_empty());

    world.cluster.hosts().cut(&[3], &[1, 2]);
    world.wait("the node to be suspect", |world| (world.state_of(3) == "suspect").then_some(()));
    assert_eq!(world.ready("app/web").len(), 3, "what runs on a suspect node is believed to run on");
    world.wait("the node to be lost", |world| (world.state_of(3) == "lost").then_some(()));
    let replaced = world.wait("three replicas on two nodes", |world| {
        let ready = world.ready("app/web");
        (ready.len() == 3 && on(world, 3).is_none()).then_some(ready)
    });
    // Nobody told it anything, and its own proxy still serves what is there.
    assert_eq!(world.processes_of(&old), running);
    let alone = world.cluster.hosts().host(3).within(|| get(([127, 0, 0, 1], 80).into(), "/")).expect("a host");
    assert_eq!(alone.expect("an answer").status, 200);

    world.cluster.hosts().heal();
    world.wait("the node to be alive", |world| (world.state_of(3) == "alive").then_some(()));
    world.wait("what was replaced to be stopped", |world| world.processes_of(&old).is_empty().then_some(()));
    assert_eq!(world.ready("app/web"), replaced, "what took its place stays");
}

#[test]
fn a_node_that_is_back_before_anything_took_its_place_goes_on_with_the_same_processes() {
    let world = World::start(2, 2_000);
    world.deploy(&hello(2));
    let (_, id) = on(&world, 2).expect("a replica on each node");
    let running = world.processes_of(&id);
    // Nowhere else is there room for it.
    world.ok(&["node", "cordon", &world.node(1)]);
    world.cluster.hosts().cut(&[2], &[1]);
    world.wait("the node to be lost", |world| (world.state_of(2) == "lost").then_some(()));
    world.wait("one replica to be left", |world| (world.ready("app/web").len() == 1).then_some(()));
    world.cluster.hosts().heal();
    world.wait("the replica to be ready again", |world| on(world, 2).filter(|(_, now)| *now == id));
    assert_eq!(world.processes_of(&id), running, "no process was touched");
}

/// Waits until the agent and the proxy of the second node have the replica on disk: they write what they know with a delay.
fn known_on_disk(world: &World, id: &str) {
    let data = &world.cluster.hosts().host(2).places().data;
    for cache in ["proxy/routes.view", "agent/view"].map(|name| data.join(name)) {
        world.wait(&format!("{id} to be in {}", cache.display()), |_| {
            let bytes = std::fs::read(&cache).ok()?;
            bytes.windows(id.len()).any(|part| part == id.as_bytes()).then_some(())
        });
    }
}

/// Waits until the second node's proxy serves, asked from there.
fn served_at_home(world: &World) {
    world.wait("its proxy to serve it", |world| {
        let host = world.cluster.hosts().host(2);
        let answer = host.within(|| get(([127, 0, 0, 1], 80).into(), "/")).expect("a host");
        answer.ok().filter(|answer| answer.status == 200)
    });
}

#[test]
fn a_node_without_a_control_plane_begins_its_replicas_again_after_its_power_was_lost() {
    let mut world = World::start(2, 600_000);
    world.deploy(&hello(2));
    let (_, id) = on(&world, 2).expect("a replica on each node");
    known_on_disk(&world, &id);
    world.cluster.hosts().cut(&[2], &[1]);
    world.cluster.reboot(2);
    assert!(world.processes_of(&id).is_empty());
    world.start_node(2);
    world.wait("a process of the replica", |world| (!world.processes_of(&id).is_empty()).then_some(()));
    served_at_home(&world);
    world.cluster.hosts().heal();
    world.wait("the replica to be known as ready", |world| on(world, 2).filter(|(_, now)| *now == id));
}

#[test]
fn a_node_without_a_control_plane_keeps_its_replicas_running_over_a_restart_of_its_agent() {
    let mut world = World::start(2, 600_000);
    world.deploy(&hello(2));
    let (_, id) = on(&world, 2).expect("a replica on each node");
    known_on_disk(&world, &id);
    world.cluster.hosts().cut(&[2], &[1]);
    let kill = |world: &World| {
        let before = world.processes_of(&id);
        for pid in &before {
            orlop_testbed::signal_process(*pid, "KILL");
        }
        world.wait("another process in its place", |world| {
            let now = world.processes_of(&id);
            (!now.is_empty() && now.iter().all(|pid| !before.contains(pid))).then_some(())
        });
    };
    kill(&world);
    world.cluster.kill(2, Role::Agent);
    world.cluster.kill(2, Role::Proxy);
    world.start_role(2, Role::Agent);
    world.start_role(2, Role::Proxy);
    kill(&world);
    served_at_home(&world);
    world.cluster.hosts().heal();
    world.wait("the replica to be known as ready", |world| on(world, 2).filter(|(_, now)| *now == id));
}

#[test]
fn a_node_is_drained_without_a_failed_request_and_then_removed() {
    let mut world = World::start(2, 1_000);
    world.deploy(&hello(2));
    let hammer = Hammer::start(world.http(1), "/");
    world.ok(&["node", "drain", &world.node(2), "--wait", "--timeout", "60s"]);
    assert!(on(&world, 2).is_none());
    assert_eq!(world.ready("app/web").len(), 2);
    let (good, bad) = hammer.finish();
    assert!(good > 0 && bad.is_empty(), "{good} requests went well, and not {bad:?}");

    let alive = world.ctl(&["node", "rm", &world.node(2)]);
    assert!(alive.code == 1 && alive.stderr.contains("stop its agent first"), "{}", alive.stderr);
    world.cluster.kill(2, Role::Agent);
    world.wait("the node to be removed", |world| (world.ctl(&["node", "rm", &world.node(2)]).code == 0).then_some(()));
    assert_eq!(world.state_of(2), "", "it is not known any more");
}
