//! Replicas on several nodes, and the packets between them.

use crate::world::{World, hello, shell};
use orlop_testbed::{Hammer, Host, Role, get};
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Waits until so many replicas have answered through a host's proxy.
fn until_answered(world: &World, host: u16, count: usize) {
    let seen = std::cell::RefCell::new(BTreeSet::new());
    world.wait("enough replicas to answer", |world| {
        let answer = get(world.http(host), "/").ok().filter(|answer| answer.status == 200)?;
        // "Hello from web-2, request 7": the container's host name.
        seen.borrow_mut().insert(answer.body.split(',').next()?.to_owned());
        (seen.borrow().len() == count).then_some(())
    });
}

fn routes(host: &Host) -> String {
    let listed = host.command("ip").expect("a host").args(["route", "list"].map(str::to_owned)).output();
    String::from_utf8(listed.expect("ip runs").stdout).expect("UTF-8")
}

#[test]
fn every_proxy_reaches_the_replicas_of_every_node_and_replicas_see_one_another_as_they_are() {
    let mut world = World::start(3, 30_000);
    let echo = "exec nc -ll -p 9000 -e /bin/sh -c 'netstat -tn | grep :9000'";
    world.deploy(&(hello(3) + &shell("echo", echo, 2)));
    let ready = world.ready("app/web");
    let nodes: BTreeSet<&String> = ready.iter().map(|(node, _)| node).collect();
    assert_eq!(nodes.len(), 3, "{ready:?}");
    for host in 1..=3 {
        until_answered(&world, host, 3);
    }

    // A replica to one on another node: that one sees its address, not its node's.
    let status = world.json(&["status"]).expect("a status");
    let replicas = status["replicas"].as_array().expect("replicas").iter();
    let echoes: Vec<_> = replicas.filter(|replica| replica["service"] == "app/echo").collect();
    assert_ne!(echoes[0]["node"], echoes[1]["node"]);
    let text = |at: usize, field: &str| echoes[at][field].as_str().expect("a text").to_owned();
    let said = world.wait("the other replica to answer", |world| {
        let output = world.ctl(&["exec", &text(0, "id"), "--", "nc", "-w", "2", &text(1, "address"), "9000"]);
        (!output.stdout.is_empty()).then_some(output.stdout)
    });
    assert!(said.contains(&format!("{}:", text(0, "address"))), "{said}");

    // A stranger in the nodes' network who knows the way does not come in, and a node does.
    let number = world.cluster.add();
    let hosts = world.cluster.hosts();
    let (stranger, at) = (hosts.host(number), text(1, "address"));
    let home = (1..=3).find(|host| world.node(*host) == text(1, "node_name")).expect("a node");
    let way = ["route", "add", &at, "via", &hosts.host(home).address().to_string()].map(str::to_owned);
    let made = stranger.command("ip").expect("a host").args(way).status().expect("ip runs");
    assert!(made.success());
    let replica = SocketAddr::new(at.parse().expect("an address"), 9000);
    let reaches = |host: &Host| {
        host.within(|| TcpStream::connect_timeout(&replica, Duration::from_secs(1)).is_ok()).expect("a host")
    };
    assert!(!reaches(stranger), "the way in is the proxy");
    assert!(reaches(hosts.host(home % 3 + 1)));

    // Without its overlay daemon a node goes on, and a new one changes nothing that is right.
    let before = routes(world.cluster.hosts().host(2));
    assert!(before.contains(" via "), "to the other nodes: {before}");
    let hammers = [1, 2].map(|host| Hammer::start(world.http(host), "/"));
    let more = |world: &World| {
        let seen = hammers.each_ref().map(Hammer::good);
        world.wait("more answers", |_| {
            hammers.iter().zip(seen).all(|(hammer, seen)| hammer.good() > seen + 30).then_some(())
        });
    };
    more(&world);
    world.cluster.kill(2, Role::Overlay);
    more(&world);
    world.start_role(2, Role::Overlay);
    more(&world);
    assert_eq!(routes(world.cluster.hosts().host(2)), before);
    for (good, failures) in hammers.map(Hammer::finish) {
        assert_eq!(failures, Vec::<String>::new(), "besides {good} good ones");
    }
}
