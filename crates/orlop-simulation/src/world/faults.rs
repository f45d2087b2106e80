//! What goes wrong, and when.
//!
//! Each run has some kinds of faults and not others: what few kinds hide together shows when they are alone (Groce,
//! Zhang, Eide, Chen and Regehr, "Swarm Testing", 2012).

use super::World;
use crate::chance::Chance;
use crate::host::Host;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

/// Members that were removed count too.
const HOSTS_MAX: usize = 6;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Kill,
    PowerLoss,
    PowerLossInWrite,
    PowerLossOfAll,
    Stop,
    Cut,
    OneWayCut,
    Loss,
    Slow,
    ClockJump,
    FullDisk,
    BrokenDisk,
    Transfer,
    AddMember,
    RemoveMember,
}

const ALL: [(Fault, &str); 15] = [
    (Fault::Kill, "kill"),
    (Fault::PowerLoss, "power loss"),
    (Fault::PowerLossInWrite, "power loss in a write"),
    (Fault::PowerLossOfAll, "power loss of all"),
    (Fault::Stop, "stop"),
    (Fault::Cut, "cut"),
    (Fault::OneWayCut, "one-way cut"),
    (Fault::Loss, "loss"),
    (Fault::Slow, "slow"),
    (Fault::ClockJump, "clock jump"),
    (Fault::FullDisk, "full disk"),
    (Fault::BrokenDisk, "broken disk"),
    (Fault::Transfer, "transfer"),
    (Fault::AddMember, "member added"),
    (Fault::RemoveMember, "member removed"),
];

pub(crate) struct Faults {
    chance: Chance,
    kinds: Vec<Fault>,
    next_at: u64,
    /// Ticks between faults, at most.
    pause: u64,
    /// What ends, and when.
    ends: BTreeMap<u64, Vec<End>>,
    /// Hosts whose disk cannot be used.
    harmed: BTreeSet<u64>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Links,
    Disk(u64),
}

impl Faults {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let mut chance = chance.fork();
        let kinds = ALL.iter().map(|(fault, _)| *fault).filter(|_| chance.per_mille(400)).collect();
        let pause = chance.between(40, 400);
        Self {
            chance,
            kinds,
            next_at: 0,
            pause,
            ends: BTreeMap::new(),
            harmed: BTreeSet::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Is something wrong with the host's disk that may keep it from starting?
    pub(crate) fn harms_start(&self, host: u64) -> bool {
        self.harmed.contains(&host)
    }

    fn end_at(&mut self, tick: u64, end: End) {
        self.ends.entry(tick).or_default().push(end);
    }
}

impl World {
    pub(super) fn cause_trouble(&mut self) {
        let later = self.faults.ends.split_off(&(self.tick + 1));
        for end in std::mem::replace(&mut self.faults.ends, later).into_values().flatten() {
            self.end_fault(end);
        }
        if self.tick < self.faults.next_at {
            return;
        }
        let pause = self.faults.pause;
        self.faults.next_at = self.tick + self.faults.chance.between(1, pause);
        let (kinds, hosts) = (self.faults.kinds.clone(), self.ids());
        let Some(fault) = self.faults.chance.pick(&kinds) else { return };
        // Who leads is worth more trouble than others.
        let leader = self.leader().filter(|_| self.faults.chance.per_mille(400));
        let Some(host) = leader.or_else(|| self.faults.chance.pick(&hosts)) else { return };
        let name = ALL.iter().find(|(kind, _)| *kind == fault).map_or("", |(_, name)| *name);
        *self.faults.counts.entry(name).or_default() += 1;
        self.note(format_args!("fault: {name} {host}"));
        self.cause(fault, host);
    }

    fn end_fault(&mut self, end: End) {
        match end {
            End::Links => self.network.mend(),
            End::Disk(host) => {
                self.faults.harmed.remove(&host);
                if let Some(host) = self.hosts.get_mut(&host) {
                    host.drive.set_full(false);
                    host.drive.set_broken(false);
                }
            }
        }
        self.note(format_args!("over: {end:?}"));
    }

    fn cause(&mut self, fault: Fault, id: u64) {
        let tick = self.tick;
        let chance = &mut self.faults.chance;
        let restart = tick + if chance.per_mille(700) { chance.between(1, 200) } else { chance.between(200, 1000) };
        let while_ = chance.between(20, 800);
        let others: Vec<u64> = self.hosts.keys().copied().filter(|other| *other != id).collect();
        let Some(host) = self.hosts.get_mut(&id) else { return };
        match fault {
            Fault::AddMember => self.add_member(),
            Fault::RemoveMember => {
                if let Some(leader) = self.leader() {
                    self.ask(leader, move |consensus| async move { consensus.remove(id).await });
                }
            }
            Fault::Kill if host.process.is_some() => {
                host.kill();
                host.starts_at = Some(restart);
            }
            Fault::PowerLoss if host.process.is_some() => {
                host.cut_power();
                host.starts_at = Some(restart);
            }
            Fault::Kill | Fault::PowerLoss => {}
            Fault::PowerLossInWrite => host.drive.fail_power_after(chance.between(0, 6)),
            Fault::PowerLossOfAll => {
                for host in self.hosts.values_mut().filter(|host| host.process.is_some()) {
                    host.cut_power();
                    host.starts_at = Some(tick + chance.between(1, 200));
                }
            }
            Fault::Stop => host.stop(tick, while_.min(600)),
            Fault::Cut => {
                let one = chance.pick(&others).filter(|_| chance.per_mille(400));
                for other in others.into_iter().filter(|other| one.is_none_or(|one| one == *other)) {
                    self.network.link(id, other, |link| link.cut = true);
                    self.network.link(other, id, |link| link.cut = true);
                }
                self.faults.end_at(tick + while_, End::Links);
            }
            Fault::OneWayCut => {
                let inward = chance.per_mille(500);
                for other in others {
                    let way = if inward { (other, id) } else { (id, other) };
                    self.network.link(way.0, way.1, |link| link.cut = true);
                }
                self.faults.end_at(tick + while_, End::Links);
            }
            Fault::Loss | Fault::Slow => {
                let (loss, slow) = (chance.between(20, 400), chance.between(5, 60));
                for other in others {
                    for way in [(id, other), (other, id)] {
                        self.network.link(way.0, way.1, |link| match fault {
                            Fault::Loss => link.loss = loss,
                            _ => link.delay = (0, slow),
                        });
                    }
                }
                self.faults.end_at(tick + while_, End::Links);
            }
            Fault::ClockJump => {
                let jump = chance.between(0, 7_200_000);
                let forth = chance.per_mille(500);
                let jumped = |now: u64| if forth { now + jump } else { now.saturating_sub(jump) };
                host.wall.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(jumped(now))).ok();
            }
            Fault::FullDisk => {
                host.drive.set_full(true);
                self.faults.harmed.insert(id);
                self.faults.end_at(tick + while_, End::Disk(id));
            }
            Fault::BrokenDisk => {
                host.drive.set_broken(true);
                host.disk_failed = true;
                self.faults.harmed.insert(id);
                self.faults.end_at(tick + while_, End::Disk(id));
                // A member whose disk failed is started again by whoever mends it.
                host.starts_at = None;
            }
            Fault::Transfer => {
                if let (Some(leader), Some(to)) = (self.leader(), self.faults.chance.pick(&others)) {
                    self.ask(leader, move |consensus| async move { consensus.transfer_leadership(to).await });
                }
            }
        }
    }

    /// A new member on a new host, which votes when it has caught up.
    fn add_member(&mut self) {
        let (Some(leader), Some(last)) = (self.leader(), self.hosts.keys().next_back().copied()) else { return };
        if self.hosts.len() >= HOSTS_MAX {
            return;
        }
        let id = last + 1;
        let mut host = Host::new(id, &mut self.chance, &self.network, self.plan.mutation);
        host.starts_at = Some(self.tick);
        self.hosts.insert(id, host);
        self.ask(leader, move |consensus| async move {
            consensus.add_learner(id, &format!("host-{id}")).await?;
            consensus.promote(id).await
        });
    }

    /// Mends everything and starts everybody.
    pub(super) fn mend(&mut self) {
        self.faults.ends.clear();
        self.faults.harmed.clear();
        self.network.mend();
        for host in self.hosts.values_mut() {
            host.drive.set_full(false);
            host.drive.set_broken(false);
            let broken = host
                .process
                .as_ref()
                .and_then(|process| process.consensus())
                .is_some_and(|consensus| matches!(consensus.trouble(), Some(orlop_consensus::Trouble::Broken(_))));
            if broken {
                host.kill();
            }
            if host.process.is_none() {
                host.starts_at = Some(self.tick);
            }
        }
    }
}
