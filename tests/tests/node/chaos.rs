//! Faults in an order that a seed decides: after each, the node comes to the state that was asked for, one process for each
//! replica, nothing left over, and no request failed that did not have to.
//!
//! `ORLOP_SEED=<n>` replays the order of the faults (their timing is the machine's), `ORLOP_ROUNDS=<n>` makes it longer.

use crate::specs::{PATIENCE, app, explain, hello, pids, replicas_if_told, testbed};
use orlop_testbed::{Hammer, Layout, Options, Role, Testbed, wait_for};
use std::time::Duration;

/// Each of them may be killed while the others run on.
const ROLES: [Role; 6] =
    [Role::Containerd, Role::ControlPlane, Role::Scheduler, Role::Overlay, Role::Agent, Role::Proxy];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill(Role),
    KillBoth(Role, Role),
    Freeze(Role),
    KillProcess,
    Scale(u64),
    Redeploy,
    /// A role is killed while what was asked for changes.
    RedeployAndKill(Role),
    ScaleAndKill(u64, Role),
}

impl Fault {
    fn draw(dice: &mut Dice) -> Self {
        let role = ROLES[dice.below(ROLES.len())];
        let count = 2 + dice.below(4) as u64;
        match dice.below(8) {
            0 => Fault::Kill(role),
            1 => Fault::KillBoth(role, ROLES[dice.below(ROLES.len())]),
            2 => Fault::Freeze(role),
            3 => Fault::KillProcess,
            4 => Fault::Scale(count),
            5 => Fault::Redeploy,
            6 => Fault::RedeployAndKill(role),
            _ => Fault::ScaleAndKill(count, role),
        }
    }

    /// A request that is under way in a process that is killed, or meets a proxy that is not there, has to fail.
    fn may_fail_requests(self) -> bool {
        match self {
            Fault::KillProcess => true,
            Fault::Kill(role) | Fault::Freeze(role) | Fault::RedeployAndKill(role) | Fault::ScaleAndKill(_, role) => {
                role == Role::Proxy
            }
            Fault::KillBoth(one, other) => one == Role::Proxy || other == Role::Proxy,
            Fault::Scale(_) | Fault::Redeploy => false,
        }
    }
}

/// Xorshift (Marsaglia, 2003): enough to shuffle faults, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }
}

struct World {
    testbed: Testbed,
    replicas: u64,
    version: u64,
}

impl World {
    fn deploy(&mut self) {
        let more = format!("    env: {{ VERSION: \"{}\" }}\n    stop_grace_period: 2s\n", self.version);
        let replicas = u32::try_from(self.replicas).expect("a few");
        let file = self.testbed.spec_file(&app(&hello("web", replicas, &more)));
        self.ask(&["deploy", "-f", file.to_str().expect("a plain path")]);
    }

    /// Asks until the control plane answers: it may just be starting again.
    fn ask(&self, arguments: &[&str]) {
        wait_for(
            &format!("orlopctl {arguments:?} to be answered"),
            PATIENCE,
            || (self.testbed.ctl(arguments).code == 0).then_some(()),
            || explain(&self.testbed, "app/web"),
        );
    }

    fn kill_and_start(&mut self, roles: &[Role], dice: &mut Dice) {
        for role in roles {
            self.testbed.kill(*role);
        }
        // The time that a supervisor takes, or none: part of the fault.
        std::thread::sleep(Duration::from_millis(dice.below(400) as u64));
        for role in ROLES.iter().filter(|role| roles.contains(role)) {
            self.testbed.start_role(*role);
        }
    }

    fn apply(&mut self, fault: Fault, dice: &mut Dice) {
        match fault {
            Fault::Kill(role) => self.kill_and_start(&[role], dice),
            Fault::KillBoth(one, other) => self.kill_and_start(&[one, other], dice),
            Fault::Freeze(role) => {
                self.testbed.signal(role, "STOP");
                std::thread::sleep(Duration::from_millis(500 + dice.below(1000) as u64));
                self.testbed.signal(role, "CONT");
            }
            Fault::KillProcess => {
                let pids = pids(&self.testbed, "app/web");
                let (_, pid) = &pids[dice.below(pids.len())];
                self.testbed.signal_process(*pid, "KILL");
            }
            Fault::Scale(count) => {
                self.replicas = count;
                self.ask(&["scale", "app/web", &count.to_string()]);
            }
            Fault::Redeploy => {
                self.version += 1;
                self.deploy();
            }
            Fault::RedeployAndKill(role) => {
                self.apply(Fault::Redeploy, dice);
                std::thread::sleep(Duration::from_millis(dice.below(600) as u64));
                self.kill_and_start(&[role], dice);
            }
            Fault::ScaleAndKill(count, role) => {
                self.apply(Fault::Scale(count), dice);
                std::thread::sleep(Duration::from_millis(dice.below(600) as u64));
                self.kill_and_start(&[role], dice);
            }
        }
    }

    /// Waits until what runs is what was asked for, and nothing else: one process and one link for each replica.
    fn converge(&self, after: &str) {
        wait_for(
            &format!("{} replicas of version {} after {after}", self.replicas, self.version),
            PATIENCE,
            || {
                let replicas = replicas_if_told(&self.testbed, "app/web")?;
                let newest = replicas.iter().filter_map(|replica| replica["generation"].as_u64()).max();
                let settled = replicas.len() as u64 == self.replicas
                    && replicas
                        .iter()
                        .all(|replica| replica["phase"] == "healthy" && replica["generation"].as_u64() == newest);
                let versions = self.versions_that_run()?;
                (settled
                    && versions.len() == replicas.len()
                    && versions.iter().all(|version| *version == self.version)
                    && self.links() == replicas.len() + 1)
                    .then_some(())
            },
            || format!("{:?}\n{}", self.testbed.footprint(), explain(&self.testbed, "app/web")),
        );
    }

    /// `VERSION` in the environment of each process; `None` when one ends meanwhile.
    fn versions_that_run(&self) -> Option<Vec<u64>> {
        let version = |pid: u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
            let text = String::from_utf8_lossy(&environment).into_owned();
            text.split('\0').find_map(|variable| variable.strip_prefix("VERSION=")?.parse().ok())
        };
        pids(&self.testbed, "app/web").into_iter().map(|(_, pid)| version(pid)).collect()
    }

    fn links(&self) -> usize {
        self.testbed.footprint().lines().iter().filter(|line| line.starts_with("interface")).count()
    }
}

#[test]
fn faults_in_any_order_leave_what_was_asked_for() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("ORLOP_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let rounds = number("ORLOP_ROUNDS").unwrap_or(12);
    eprintln!("the order of the faults comes again with ORLOP_SEED={seed}");
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);

    let testbed = testbed(Options { layout: Layout::ProcessPerRole, ..Options::default() });
    let mut world = World { testbed, replicas: 3, version: 1 };
    world.deploy();
    world.converge("the first deploy");

    for round in 1..=rounds {
        let fault = Fault::draw(&mut dice);
        let told = format!("round {round} of seed {seed}: {fault:?}");
        eprintln!("{told}");
        let http = world.testbed.http();
        wait_for(
            "an answer before the fault",
            PATIENCE,
            || orlop_testbed::get(http, "/").ok().filter(|answer| answer.status == 200),
            || explain(&world.testbed, "app/web"),
        );
        let hammer = Hammer::start(http, "/");
        world.apply(fault, &mut dice);
        world.converge(&told);
        let (good, failures) = hammer.finish();
        assert!(fault.may_fail_requests() || failures.is_empty(), "{told}: besides {good} good ones: {failures:?}");
    }

    // The power of the whole node, but for the containers, and back.
    for role in ROLES {
        world.testbed.kill(role);
    }
    world.testbed.start_all();
    world.converge("everything was killed");
    world.testbed.down();
    assert_eq!(world.testbed.footprint().lines(), Vec::<&str>::new());
}
