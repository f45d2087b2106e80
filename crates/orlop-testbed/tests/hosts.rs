//! Hosts are apart, reach one another, suffer what they are told to, and leave nothing.

use orlop_testbed::{Cluster, Disk, Footprint, Host, HostSet, MACHINE, Role, wait_for};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// Two ends of datagrams between hosts, or between a host and the machine.
struct Line {
    from: UdpSocket,
    to: UdpSocket,
}

fn socket(host: Option<&Host>, address: IpAddr) -> UdpSocket {
    let bind = || UdpSocket::bind((address, 0)).expect("an address of the host");
    let socket = host.map_or_else(bind, |host| host.within(bind).expect("a host"));
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket");
    socket
}

impl Line {
    fn between(hosts: &HostSet, from: u16, to: u16) -> Self {
        let end = |number| match number {
            MACHINE => socket(None, hosts.hosts().config().outside().into()),
            number => socket(Some(hosts.host(number)), hosts.host(number).address().into()),
        };
        Self { from: end(from), to: end(to) }
    }

    /// How many of so many datagrams come through.
    fn send(&self, count: u16) -> u16 {
        let to = self.to.local_addr().expect("an address");
        let (mut come, mut buffer) = (0, [0; 64]);
        for number in 0..count {
            self.from.send_to(&number.to_be_bytes(), to).expect("a datagram is sent");
            // A few at a time: a receiver's buffer is not endless.
            if number % 64 == 63 || number + 1 == count {
                while self.to.recv_from(&mut buffer).is_ok() {
                    come += 1;
                }
            }
        }
        come
    }
}

#[test]
fn hosts_reach_one_another_and_the_machine_until_they_are_cut_off() {
    let mut hosts = HostSet::new(2);
    let third = hosts.add();
    let open = |from, to| Line::between(&hosts, from, to).send(1) == 1;
    for (from, to) in [(1, 2), (2, 1), (third, 1), (1, MACHINE), (MACHINE, third)] {
        assert!(open(from, to), "{from} → {to}");
    }

    hosts.cut(&[1], &[2, third]);
    for (from, to, expected) in [(1, 2, false), (third, 1, false), (2, third, true), (MACHINE, 1, true)] {
        assert_eq!(open(from, to), expected, "cut: {from} → {to}");
    }
    hosts.heal();
    assert!(open(1, 2) && open(third, 1), "healed");

    hosts.cut_one_way(&[2], &[third, MACHINE]);
    for (from, to, expected) in [(2, third, false), (third, 2, true), (2, MACHINE, false), (MACHINE, 2, true)] {
        assert_eq!(open(from, to), expected, "one way: {from} → {to}");
    }
}

#[test]
fn some_datagrams_are_lost_by_chance_and_what_is_too_much_is_dropped() {
    let hosts = HostSet::new(2);
    let line = Line::between(&hosts, 1, 2);
    assert_eq!(line.send(512), 512);
    hosts.lose(&[1], &[2], 500);
    let come = line.send(512);
    // Eight standard deviations of the binomial distribution.
    assert!((166..=346).contains(&come), "{come} of 512");
    hosts.heal();
    hosts.throttle(&[1], &[2], 1);
    let come = line.send(512);
    assert!((1..=400).contains(&come), "{come} of 512 frames of 44 bytes, at 1 KiB a second");
}

#[test]
fn hosts_have_loopbacks_ports_and_names_of_their_own() {
    let hosts = HostSet::new(2);
    let listen = |host: &Host| host.within(|| TcpListener::bind("127.0.0.1:7700")).expect("a host").expect("a port");
    let first = listen(hosts.host(1));
    let _second = listen(hosts.host(2));
    let address: SocketAddr = first.local_addr().expect("an address");
    hosts.host(1).within(|| TcpStream::connect(address).map(drop)).expect("a host").expect("its own listener");
    let found = orlop_hosts::Hosts::open(hosts.hosts().config().clone()).expect("hosts that are there");
    let names = |hosts: &orlop_hosts::Hosts| hosts.all().iter().map(|host| host.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(hosts.hosts()));
    let taken = orlop_hosts::Hosts::create(hosts.hosts().config().clone(), 1).expect_err("taken");
    assert!(taken.to_string().contains("take those away first"), "{taken}");
    assert_eq!(names(&found).len(), 2, "a refused creation takes nothing away");
    hosts.host(2).within(|| ()).expect("a host that is still there");
}

#[test]
fn whatever_runs_on_a_host_goes_with_it_also_after_a_panic() {
    let mut marks = Vec::new();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let hosts = HostSet::new(1);
        marks = vec![hosts.hosts().config().name.clone(), hosts.folder().display().to_string()];
        // Nobody holds it: it would stay for a quarter of an hour.
        let mut orphan = hosts.host(1).command("sleep").expect("a host");
        #[expect(clippy::zombie_processes, reason = "the point: the host must end it, whoever reaps it")]
        let child = orphan.arg("900").spawn().expect("sleep starts");
        assert_eq!(hosts.host(1).processes(), [child.id()]);
        let _disk = Disk::mount(&hosts.host(1).places().run.join("disk"), 1);
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    let marks: Vec<&str> = marks.iter().map(String::as_str).collect();
    assert!(!marks.is_empty(), "it panicked earlier than meant");
    assert_eq!(Footprint::take(&marks).lines(), Vec::<&str>::new());
}

#[test]
fn a_paused_host_does_nothing_until_it_goes_on() {
    let cluster = Cluster::new(2);
    let host = cluster.hosts().host(1);
    let mut command = host.command("/bin/busybox").expect("a host");
    let mut child = command.args(["nc", "-ll", "-p", "7", "-e", "cat"]).spawn().expect("busybox starts");
    let from = cluster.hosts().host(2);
    let echo = || {
        from.within(|| {
            let address = SocketAddr::new(host.address().into(), 7);
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
            stream.set_read_timeout(Some(Duration::from_millis(200))).ok()?;
            stream.write_all(b"x").ok()?;
            stream.read_exact(&mut [0]).ok()
        })
        .expect("a host")
    };
    wait_for("an answer", Duration::from_secs(10), echo, String::new);
    cluster.pause_host(1);
    assert_eq!(echo(), None);
    cluster.resume_host(1);
    wait_for("an answer", Duration::from_secs(10), echo, String::new);
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn a_host_has_a_containerd_of_its_own() {
    let mut cluster = Cluster::new(1);
    let launch = cluster.launch(1, Role::Containerd, "");
    cluster.start(1, Role::Containerd, launch);
    let pid = cluster.pid(1, Role::Containerd).expect("a process");
    let host = cluster.hosts().host(1).processes();
    assert!(host.contains(&pid) && host.len() >= 2, "orlopctl is {pid}; the host has {host:?}");
    assert!(cluster.terminate(1, Role::Containerd).success(), "{}", cluster.logs());
}
