//! A run: hosts, clients and faults, tick by tick.

mod begin;
mod end;
mod faults;
mod work;

use crate::agent::Agent;
use crate::chance::Chance;
use crate::check::applied::AppliedLog;
use crate::check::history::History;
use crate::check::leaders::Leaders;
use crate::client::{Answers, Client, Done, FIRST_CLIENT};
use crate::follower::Follower;
use crate::host::{Host, SECOND, Setting};
use crate::mutation::Mutation;
use crate::network::Network;
use crate::scheduler::Scheduler;
use crate::trace::Trace;
use crate::violation::{Check, Violation};
use faults::Faults;
use orlop_consensus::{Consensus, Trouble};
use orlop_model::View;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

/// What is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What everything follows from.
    pub seed: u64,
    /// How long things go wrong, in virtual seconds.
    pub seconds: u64,
    /// A bug to put in.
    pub mutation: Option<Mutation>,
    /// Print what happens.
    pub aloud: bool,
}

impl Plan {
    /// Four seconds of trouble, without bugs of ours.
    pub fn new(seed: u64) -> Self {
        Self { seed, seconds: 4, mutation: None, aloud: false }
    }
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Of everything that happened, in order.
    pub hash: u64,
    /// How many things happened.
    pub events: u64,
    /// Virtual time, in ms.
    pub milliseconds: u64,
    /// Terms that somebody led in, and those that passed from one member to another.
    pub terms: (u64, u64),
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// What watchers were told, and how often that went on from what they knew.
    pub updates: (u64, u64),
    /// Plans that schedulers submitted.
    pub plans: u64,
    /// Operations in the history that was judged.
    pub operations: u64,
    /// Faults, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// What was found, if anything.
    pub violation: Option<Violation>,
    /// The latest events, in words.
    pub latest: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.violation {
            None => write!(f, "ORLOP_SEED={}: nothing found", self.seed),
            Some(violation) => {
                self.latest.iter().try_for_each(|line| writeln!(f, "{line}"))?;
                write!(f, "ORLOP_SEED={}: {violation}", self.seed)
            }
        }
    }
}

/// Runs a plan to its end, or to the first violation.
pub fn run(plan: Plan) -> Report {
    let mut world = World::new(plan);
    let violation = world.live().err();
    orlop_consensus::seam::fix_chance(None);
    let (hash, events) = world.trace.sum();
    Report {
        seed: plan.seed,
        hash,
        events,
        milliseconds: world.tick * 5,
        terms: world.leaders.terms(),
        acknowledged: world.acknowledged,
        updates: world.watchers.iter().fold((0, 0), |sum, one| (sum.0 + one.updates, sum.1 + one.resumed)),
        plans: world.schedulers.iter().map(|scheduler| scheduler.plans).sum(),
        operations: world.history.operations(),
        faults: world.faults.counts.clone(),
        violation,
        latest: world.trace.latest(),
    }
}

pub(crate) struct World {
    plan: Plan,
    tick: u64,
    /// The next point in the order of calls and returns.
    point: u64,
    chance: Chance,
    trace: Trace,
    network: Network,
    hosts: BTreeMap<u64, Host>,
    setting: Setting,
    clients: Vec<Client>,
    answers: Answers,
    log: Arc<Mutex<AppliedLog>>,
    leaders: Leaders,
    history: History,
    acknowledged: u64,
    watchers: Vec<Follower>,
    schedulers: Vec<Scheduler>,
    agents: Vec<Agent>,
    operates_at: u64,
    /// Of the deployment.
    version: u64,
    faults: Faults,
}

type Verdict = Result<(), Violation>;

impl World {
    fn new(plan: Plan) -> Self {
        let mut chance = Chance::new(plan.seed);
        orlop_consensus::seam::fix_chance(Some(chance.next()));
        let trace = Trace::new(plan.aloud);
        let network = Network::new(chance.fork(), trace.clone(), plan.mutation);
        let hosts = (1..=3).map(|id| (id, Host::new(id, &mut chance, &network, plan.mutation))).collect();
        let setting = Setting { snapshot_after: chance.between(20, 80), keep: chance.between(0, 20) };
        let faults = Faults::new(&mut chance);
        let clients = (0..chance.between(2, 6)).map(Client::new).collect();
        Self {
            plan,
            tick: 0,
            point: 0,
            chance,
            trace,
            network,
            hosts,
            setting,
            clients,
            answers: Answers::default(),
            log: Arc::default(),
            leaders: Leaders::default(),
            history: History::default(),
            acknowledged: 0,
            watchers: vec![Follower::new(View::Operator(None)), Follower::new(View::Events(None))],
            schedulers: (0..2).map(Scheduler::new).collect(),
            agents: (0..3).map(Agent::new).collect(),
            operates_at: 0,
            version: 1,
            faults,
        }
    }

    fn live(&mut self) -> Verdict {
        self.begin()?;
        let end = self.tick + self.plan.seconds * SECOND;
        while self.tick < end {
            self.cause_trouble();
            self.talk();
            self.operate();
            self.pass_tick()?;
        }
        self.end()
    }

    fn note(&self, event: fmt::Arguments<'_>) {
        self.trace.note(event);
    }

    /// Lets a tick pass everywhere, and looks at what it did.
    fn pass_tick(&mut self) -> Verdict {
        self.tick += 1;
        self.trace.tick(self.tick);
        for packet in self.network.begin(self.tick) {
            let to = packet.to;
            match self.hosts.get_mut(&to) {
                Some(host) => host.deliver(packet),
                None => packet.arrive(None),
            }
        }
        for id in self.ids() {
            self.step_host(id)?;
        }
        self.hear()?;
        self.look_at_leaders()?;
        self.watch()?;
        self.work()?;
        self.log.lock().verdict()
    }

    fn ids(&self) -> Vec<u64> {
        self.hosts.keys().copied().collect()
    }

    fn step_host(&mut self, id: u64) -> Verdict {
        let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
        if host.process.is_none() && host.starts_at.is_some_and(|at| at <= self.tick) {
            host.start(self.setting, &self.network, &self.log)
                .map_err(|error| Violation::new(Check::Starts, error.to_string()))?;
            self.trace.note(format_args!("host {id} starts"));
        }
        let stepped = host.step(self.tick);
        if host.drive.dead.load(std::sync::atomic::Ordering::Relaxed) {
            host.cut_power();
            host.starts_at = Some(self.tick + self.chance.between(10, 400));
            self.trace.note(format_args!("host {id} lost power in the middle of a write"));
            return Ok(());
        }
        match stepped {
            Ok(()) => Ok(()),
            // What stands in its way is still there.
            Err(_) if self.faults.harms_start(id) => {
                host.kill();
                host.starts_at = Some(self.tick + SECOND);
                Ok(())
            }
            Err(error) => Err(Violation::new(Check::Starts, format!("host {id}: {error}"))),
        }
    }

    /// Clients hear what they are told.
    fn hear(&mut self) -> Verdict {
        let answers = std::mem::take(&mut *self.answers.lock());
        for (id, number, outcome) in answers {
            let client = usize::try_from(id - FIRST_CLIENT).ok().and_then(|at| self.clients.get_mut(at));
            let done = client.and_then(|client| client.hear(number, outcome, self.tick, &mut self.chance));
            self.record(id, done)?;
        }
        Ok(())
    }

    /// Clients ask.
    fn talk(&mut self) {
        let hosts = self.ids();
        let confirms = self.plan.mutation != Some(Mutation::SkipReadIndex);
        let mut over = Vec::new();
        for client in &mut self.clients {
            self.point += 1;
            let at = (self.tick, self.point);
            let done = client.step(at, &hosts, &mut self.chance, &self.network, &self.answers, confirms);
            over.extend(done.map(|done| (client.id, done)));
        }
        for (id, done) in over {
            // Nothing is acknowledged by giving up.
            self.record(id, Some(done)).ok();
        }
    }

    fn record(&mut self, client: u64, done: Option<Done>) -> Verdict {
        let Some(Done { key, operation, called, certain, written }) = done else { return Ok(()) };
        self.point += 1;
        let returned = certain.then_some(self.point);
        self.trace.note(format_args!("client {client} {key} {operation:?} {written:?} {certain}"));
        self.history.push(key, operation, called, returned);
        if let Some((index, hash)) = written {
            self.acknowledged += 1;
            self.log.lock().acknowledged(index, hash)?;
        }
        Ok(())
    }

    fn look_at_leaders(&mut self) -> Verdict {
        for host in self.hosts.values() {
            let Some(consensus) = host.process.as_ref().and_then(|process| process.consensus()) else { continue };
            if let Some(Trouble::Broken(broken)) = consensus.trouble().filter(|_| !host.disk_failed) {
                return Err(Violation::new(Check::Runs, format!("member {} gave up: {broken}", host.id)));
            }
            let status = consensus.status();
            if status.leader == Some(host.id) && self.leaders.leads(status.term, host.id, host.processes)? {
                self.trace.note(format_args!("member {} leads in term {}", host.id, status.term));
            }
        }
        Ok(())
    }

    fn watch(&mut self) -> Verdict {
        self.watchers.iter_mut().try_for_each(|watcher| watcher.step(&self.hosts, &mut self.chance))
    }

    /// The member that leads as far as it knows itself.
    fn leader(&self) -> Option<u64> {
        let leads = |host: &&Host| {
            let consensus = host.process.as_ref().and_then(|process| process.consensus());
            consensus.is_some_and(|consensus| {
                let status = consensus.status();
                status.leader == Some(status.member)
            })
        };
        self.hosts.values().filter(leads).max_by_key(|host| self.term_of(host)).map(|host| host.id)
    }

    fn term_of(&self, host: &Host) -> u64 {
        host.process.as_ref().and_then(|process| process.consensus()).map_or(0, |consensus| consensus.status().term)
    }

    /// Does something at a member, without waiting for it. The result is where it says, when there is one.
    fn ask<T, F>(&self, host: u64, work: impl FnOnce(Consensus) -> F) -> Arc<Mutex<Option<T>>>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let slot = Arc::new(Mutex::new(None));
        let process = self.hosts.get(&host).and_then(|host| host.process.as_ref());
        if let Some((process, consensus)) = process.and_then(|process| Some((process, process.consensus()?.clone()))) {
            let (result, work) = (slot.clone(), work(consensus));
            process.runtime().spawn(async move {
                let value = work.await;
                *result.lock() = Some(value);
            });
        }
        slot
    }

    /// The same, and lets time pass until it is done.
    fn wait<T, F>(&mut self, host: u64, ticks: u64, work: impl FnOnce(Consensus) -> F) -> Result<Option<T>, Violation>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let slot = self.ask(host, work);
        let end = self.tick + ticks;
        while self.tick < end {
            self.pass_tick()?;
            if let Some(value) = slot.lock().take() {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}
