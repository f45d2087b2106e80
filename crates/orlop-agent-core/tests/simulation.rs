//! Thousands of lives of one replica, each with its own luck: slow and failing steps, exits, outages, and an agent that
//! dies at any moment. A life is a function of its seed: a failure names it, and it replays.

mod common;

use common::{REPLICA, assignment, health, hup, init_step, secret_file, with_secret, workload};
use orlop_agent_core::{
    ContainerState, Failure, Found, FoundContainer, Input, Operation, Record, ReplicaMachine, Role, Step, Timings,
};
use orlop_model::spec::{OnFailure, OnInitFailure, OnPanic, PullPolicy, Signal, Workload};
use orlop_model::{Assignment, Desired, Exit, Outcome, Phase, ReplicaStatus, StopOrder, Timestamp};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

struct Luck(u64);

impl Luck {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn percent(&mut self, p: u64) -> bool {
        self.below(100) < p
    }
}

/// What goes wrong in a life.
#[derive(Clone, Copy)]
struct Fate {
    exits: bool,
    sick: bool,
    faults: u64,
    crashes: u64,
    reboots: u64,
    ignores_signals: bool,
}

/// A step that is under way.
struct Work {
    step: Step,
    /// The value of the secret when it was begun.
    value: u32,
    effect_at: u64,
    result_at: u64,
    done: Option<Input>,
    cancelled: bool,
}

/// The node: it outlives the agent.
struct World {
    now: u64,
    luck: Luck,
    fate: Fate,
    mains: BTreeMap<u32, ContainerState>,
    init_runs: bool,
    init_left: bool,
    attached: bool,
    record: Option<Record>,
    forgotten: bool,
    starts: u32,
    signals: u32,
    work: Vec<Work>,
    told: Vec<(u64, Input)>,
    /// The workload has a secret in a file.
    has_file: bool,
    /// What is in the file, if there is one; a reboot takes it away.
    file: Option<u32>,
    /// The process is still to get a signal for it.
    untold: bool,
    /// What the process of this number has read.
    read: BTreeMap<u32, u32>,
    /// The value in the newest assignment.
    value: u32,
    reported: Option<ReplicaStatus>,
}

impl World {
    fn new(seed: u64, fate: Fate) -> Self {
        World {
            now: 1_000_000,
            luck: Luck(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            fate,
            mains: BTreeMap::new(),
            init_runs: false,
            init_left: false,
            attached: false,
            record: None,
            forgotten: false,
            starts: 0,
            signals: 0,
            work: Vec::new(),
            told: Vec::new(),
            has_file: false,
            file: None,
            untold: false,
            read: BTreeMap::new(),
            value: 0,
            reported: None,
        }
    }

    fn processes(&self) -> usize {
        self.mains.values().filter(|s| **s == ContainerState::Running).count() + usize::from(self.init_runs)
    }

    fn begin(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Persist(record) => {
                    assert!(!self.forgotten);
                    if let Some(old) = &self.record {
                        assert!(record.attempt >= old.attempt && record.starts >= old.starts, "a record went back");
                    }
                    self.record = Some(record);
                }
                Step::Report(status) => {
                    if let Some(old) = &self.reported {
                        assert!(status.since >= old.since, "{old:?} then {status:?}");
                        assert!(status.restarts >= old.restarts, "{old:?} then {status:?}");
                    }
                    self.reported = Some(status);
                }
                Step::Event { .. } => {}
                Step::Cancel(operation) => {
                    let is_meant = |step: &Step| match operation {
                        Operation::Pull => *step == Step::PullImage,
                        Operation::Init => matches!(step, Step::RunInit { .. }),
                        Operation::Check => matches!(step, Step::Check { .. }),
                    };
                    let (now, delay) = (self.now, self.luck.below(5));
                    let work = self.work.iter_mut().find(|w| is_meant(&w.step));
                    let work = work.expect("only what is under way is cancelled");
                    assert!(!work.cancelled, "cancelled twice");
                    work.cancelled = true;
                    work.result_at = work.result_at.min(now + delay);
                }
                Step::Forget => {
                    assert!(
                        self.mains.is_empty() && !self.init_left && !self.attached,
                        "forgotten with something left"
                    );
                    self.record = None;
                    self.forgotten = true;
                }
                step => {
                    let kind = std::mem::discriminant(&step);
                    assert!(self.work.iter().all(|w| std::mem::discriminant(&w.step) != kind), "{step:?} twice");
                    if let Step::CreateContainer { attempt } = step {
                        assert_eq!(self.record.as_ref().map(|r| r.attempt), Some(attempt), "made before written down");
                    }
                    let effect_at = self.now + self.luck.below(80);
                    let result_at = effect_at + self.luck.below(40);
                    let value = self.value;
                    self.work.push(Work { step, value, effect_at, result_at, done: None, cancelled: false });
                }
            }
        }
    }

    fn next_event(&self) -> Option<u64> {
        let work = self.work.iter().map(|w| if w.done.is_some() { w.result_at } else { w.effect_at.min(w.result_at) });
        work.chain(self.told.iter().map(|(at, _)| *at)).min()
    }

    /// Lets everything happen that is due; the inputs are for the agent.
    fn happen(&mut self) -> Vec<Input> {
        let mut inputs = Vec::new();
        let mut i = 0;
        while i < self.work.len() {
            if self.work[i].done.is_none() && self.work[i].effect_at.min(self.work[i].result_at) <= self.now {
                let (step, value, cancelled) = (self.work[i].step.clone(), self.work[i].value, self.work[i].cancelled);
                self.work[i].done = Some(self.effect(&step, value, cancelled));
            }
            if self.work[i].done.is_some() && self.work[i].result_at <= self.now {
                inputs.extend(self.work.remove(i).done);
            } else {
                i += 1;
            }
        }
        let now = self.now;
        let (due, later) = self.told.drain(..).partition(|(at, _)| *at <= now);
        self.told = later;
        inputs.extend(Vec::into_iter(due).map(|(_, input)| input));
        assert!(self.processes() <= 1, "two processes of one replica");
        inputs
    }

    fn effect(&mut self, step: &Step, value: u32, cancelled: bool) -> Input {
        let fault = self.luck.percent(self.fate.faults);
        let happens = !fault || self.luck.percent(50);
        let away = || Failure::infrastructure("runtime_unavailable", "containerd does not answer");
        let wrong = fault && !happens && self.luck.percent(30);
        let failure = move || match wrong {
            true => Failure::permanent("command_not_found", "no such command"),
            false => away(),
        };
        match step {
            Step::PullImage if fault || cancelled => Input::ImageFailed(failure()),
            Step::PullImage => Input::ImageReady { digest: "sha256:1".into(), stop_signal: None },
            Step::AttachNetwork => {
                self.attached |= happens;
                if fault { Input::NetworkFailed(away()) } else { Input::NetworkReady { address: ADDRESS } }
            }
            Step::PrepareFiles if fault => Input::FilesFailed(failure()),
            Step::PrepareFiles => Input::FilesReady,
            Step::RunInit { .. } => {
                assert!(self.attached, "init without network");
                // Whoever runs it cleans up behind it, unless the agent dies.
                let left = fault && self.luck.percent(20);
                self.init_left |= left;
                if fault || cancelled { Input::InitFailed(failure()) } else { Input::InitDone }
            }
            Step::CreateContainer { attempt } => {
                assert!(self.attached, "a container without network");
                if happens {
                    self.mains.insert(*attempt, ContainerState::Created);
                    self.file = self.has_file.then_some(value);
                    self.untold = false;
                }
                if fault { Input::CreateFailed(failure()) } else { Input::Created }
            }
            Step::StartContainer { attempt } => {
                if happens && self.mains.get(attempt) == Some(&ContainerState::Created) {
                    self.mains.insert(*attempt, ContainerState::Running);
                    assert_eq!(self.file.is_some(), self.has_file, "a container has its files");
                    self.read.extend(self.file.map(|value| (*attempt, value)));
                    self.starts += 1;
                    if self.fate.exits && self.luck.percent(60) {
                        let lives = if self.luck.percent(50) { self.luck.below(5) } else { self.luck.below(200_000) };
                        self.told.push((self.now + lives, self.exit_input(*attempt, 1)));
                    }
                }
                match self.mains.get(attempt) {
                    None => Input::StartFailed(Failure::permanent("container_not_found", "it is gone")),
                    Some(_) if fault => Input::StartFailed(failure()),
                    Some(_) => Input::Started,
                }
            }
            Step::RefreshSecrets { started } => {
                assert!(self.file.is_some(), "files are not made under a container");
                if happens {
                    self.untold = *started && (self.untold || self.file != Some(value));
                    self.file = Some(value);
                }
                let signals = self.untold.then(|| Signal::parse("HUP").expect("a signal")).into_iter().collect();
                if fault { Input::SecretsFailed(away()) } else { Input::SecretsRefreshed { signals } }
            }
            Step::TellOfSecrets { attempt, signals } => {
                assert_eq!(signals.len(), 1, "told for nothing");
                if happens && self.mains.get(attempt) == Some(&ContainerState::Running) {
                    self.read.extend(self.file.map(|value| (*attempt, value)));
                    self.untold = false;
                }
                if fault { Input::SecretsUntold(away()) } else { Input::SecretsTold }
            }
            Step::Check { attempt } => {
                let sick = self.fate.sick && self.luck.percent(60);
                let result = match (sick || cancelled, fault) {
                    (_, true) => Err(away()),
                    (true, _) => Err(Failure::permanent("check_failed", "connection refused")),
                    (false, _) => Ok(()),
                };
                Input::Checked { attempt: *attempt, result }
            }
            Step::Signal { attempt, signal } => {
                if happens && self.mains.get(attempt) == Some(&ContainerState::Running) {
                    self.signals += 1;
                    if *signal == Signal::KILL || !self.fate.ignores_signals {
                        let later = self.now + self.luck.below(50);
                        self.told.push((later, self.exit_input(*attempt, 143)));
                    }
                }
                if fault { Input::SignalFailed(away()) } else { Input::Signalled }
            }
            Step::RemoveContainers { keep, last } => {
                if happens {
                    if *last {
                        self.file = None;
                    }
                    self.mains.retain(|attempt, _| Some(*attempt) == *keep);
                    self.init_runs = false;
                    self.init_left = false;
                }
                if fault { Input::RemoveFailed(away()) } else { Input::Removed }
            }
            Step::DetachNetwork => {
                if happens {
                    assert!(self.mains.is_empty(), "detached under a container");
                    self.attached = false;
                }
                if fault { Input::DetachFailed(away()) } else { Input::Detached }
            }
            Step::Persist(_) | Step::Report(_) | Step::Event { .. } | Step::Cancel(_) | Step::Forget => {
                unreachable!("no work")
            }
        }
    }

    fn exit_input(&self, attempt: u32, code: u32) -> Input {
        Input::Exited { attempt, exit: Exit { code, out_of_memory: false, at: Timestamp(self.now) }, reason: None }
    }

    /// A process that ends tells the runtime first, and the agent if there is one.
    fn apply_exit(&mut self, input: &Input) -> bool {
        let Input::Exited { attempt, exit, .. } = input else { return true };
        match self.mains.get_mut(attempt) {
            Some(state) if *state == ContainerState::Running => {
                *state = ContainerState::Stopped(*exit);
                true
            }
            _ => false,
        }
    }

    /// The agent dies: of what was under way, some has reached the runtime and happens, some not; no result is told.
    fn lose_agent(&mut self) {
        for work in std::mem::take(&mut self.work) {
            if work.done.is_none() && self.luck.percent(50) {
                if let Step::RunInit { .. } = work.step {
                    self.init_runs = self.luck.percent(50);
                    self.init_left = true;
                } else {
                    self.effect(&work.step, work.value, work.cancelled);
                }
            }
        }
    }

    fn reboot(&mut self) {
        self.mains.values_mut().for_each(|state| *state = ContainerState::NoTask);
        self.init_runs = false;
        self.told.clear();
        self.attached = false;
        self.file = None;
        self.untold = false;
    }

    fn containers(&self) -> Vec<FoundContainer> {
        let main = |(attempt, state): (&u32, &ContainerState)| FoundContainer {
            attempt: *attempt,
            role: Role::Main,
            state: *state,
        };
        let init = FoundContainer { attempt: 0, role: Role::Init, state: ContainerState::NoTask };
        self.mains.iter().map(main).chain(self.init_left.then_some(init)).collect()
    }

    fn adopt(&mut self, assignment: Option<Assignment>) -> ReplicaMachine {
        let found = Found { containers: self.containers(), address: self.attached.then_some(ADDRESS) };
        let now = Timestamp(self.now);
        let record = self.record.clone();
        let (machine, steps) =
            ReplicaMachine::adopt(REPLICA, assignment, record, found, now, Timings::default(), self.luck.next());
        self.begin(steps);
        machine
    }

    /// Runs node and agent until the time given, or until `done`.
    fn run(
        &mut self,
        machine: &mut ReplicaMachine,
        assignment: &Assignment,
        until: u64,
        done: impl Fn(&World, &ReplicaMachine) -> bool,
    ) {
        let mut rounds = 0;
        while self.now < until && !done(self, machine) {
            rounds += 1;
            assert!(rounds < 200_000, "it does not come to rest");
            let deadline = machine.next_deadline().map(|d| d.0.max(self.now));
            let next = [self.next_event(), deadline].into_iter().flatten().min().unwrap_or(until).min(until);
            self.now = next.max(self.now);
            let now = Timestamp(self.now);
            for input in self.happen() {
                if self.apply_exit(&input) {
                    let steps = machine.handle(input, now);
                    self.begin(steps);
                }
            }
            if machine.next_deadline().is_some_and(|d| d <= now) {
                let steps = machine.handle(Input::Tick, now);
                self.begin(steps);
                assert!(machine.next_deadline().is_none_or(|d| d > now), "it asks for a time that has passed");
            }
            if self.luck.below(1000) < self.fate.reboots {
                self.lose_agent();
                self.reboot();
                *machine = self.adopt(Some(assignment.clone()));
            } else if self.luck.percent(self.fate.crashes) {
                self.lose_agent();
                self.now += self.luck.below(5000);
                let exits: Vec<_> = self.told.extract_if(.., |(at, _)| *at <= self.now).collect();
                exits.iter().for_each(|(_, input)| _ = self.apply_exit(input));
                *machine = self.adopt(Some(assignment.clone()));
            } else if self.luck.percent(2)
                && let Some(epoch) = machine.epoch()
            {
                let steps = machine.handle(Input::Observed { epoch, containers: self.containers() }, now);
                self.begin(steps);
            }
        }
    }
}

fn random_workload(luck: &mut Luck) -> Workload {
    let mut workload = workload();
    if luck.percent(50) {
        workload.health = Some(health());
    }
    if luck.percent(40) {
        workload.init = vec![
            init_step("one", 2, if luck.percent(50) { OnFailure::Fail } else { OnFailure::Warn }),
            init_step("two", 0, OnFailure::Fail),
        ];
    }
    workload.on_init_failure =
        [OnInitFailure::Fail, OnInitFailure::Restart, OnInitFailure::Backoff][luck.below(3) as usize];
    workload.on_panic =
        [OnPanic::Restart, OnPanic::Restart, OnPanic::Shutdown, OnPanic::Isolate][luck.below(4) as usize];
    if luck.percent(30) {
        workload.image.pull_policy = PullPolicy::Always;
    }
    if luck.percent(50) {
        workload.secret_files.push(secret_file("key", hup()));
    }
    workload
}

#[test]
fn whatever_happens_a_stopped_replica_leaves_nothing_and_never_has_two_processes() {
    for seed in 0..4000 {
        let fate = Fate {
            exits: seed % 2 == 0,
            sick: seed % 3 == 0,
            faults: [0, 10, 40][seed as usize % 3],
            crashes: [0, 3, 15][seed as usize / 3 % 3],
            reboots: [0, 2][seed as usize / 2 % 2],
            ignores_signals: seed % 5 == 0,
        };
        let mut world = World::new(seed, fate);
        let workload = random_workload(&mut world.luck);
        world.has_file = !workload.secret_files.is_empty();
        let run = assignment(workload.clone(), Desired::Run);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let (mut machine, steps) = ReplicaMachine::new(run.clone(), Timestamp(world.now), Timings::default(), seed);
            world.begin(steps);
            let length = if world.luck.percent(30) { 300 } else { 120_000 };
            let until = world.now + world.luck.below(length);
            world.run(&mut machine, &run, until, |_, _| false);
            let order = if world.luck.percent(30) { StopOrder::Forced } else { StopOrder::Graceful };
            let stop = assignment(workload, Desired::Stop(order));
            let steps = machine.handle(Input::Assigned(stop.clone()), Timestamp(world.now));
            world.begin(steps);
            let trouble_until = world.now + 2000;
            world.run(&mut machine, &stop, trouble_until, |_, m| m.status().phase.is_finished());
            world.fate.faults = 0;
            world.fate.crashes = 0;
            world.fate.reboots = 0;
            let until = world.now + 60_000;
            let is_clean =
                |w: &World| w.mains.is_empty() && !w.attached && !w.init_left && w.file.is_none() && w.work.is_empty();
            world.run(&mut machine, &stop, until, |w, m| m.status().phase.is_finished() && is_clean(w));
            let phase = machine.status().phase;
            assert!(matches!(phase, Phase::Finished(Outcome::Stopped | Outcome::Failed)), "{phase:?}");
            let World { mains, attached, init_left, file, .. } = &world;
            assert!(is_clean(&world), "left: {mains:?}, attached {attached}, init {init_left}, secret {file:?}");
            assert!(machine.record().starts <= world.starts);
            let steps = machine.handle(Input::Withdrawn, Timestamp(world.now));
            world.begin(steps);
            let until = world.now + 60_000;
            world.run(&mut machine, &stop, until, |w, _| w.forgotten);
            assert!(world.forgotten && machine.is_gone());
        }));
        if let Err(panic) = result {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn an_agent_that_dies_at_any_moment_starts_a_well_replica_once_and_leaves_it_alone() {
    for seed in 0..2000 {
        let fate = Fate { exits: false, sick: false, faults: 0, crashes: 25, reboots: 0, ignores_signals: false };
        let mut world = World::new(seed, fate);
        let mut workload = random_workload(&mut world.luck);
        workload.on_init_failure = OnInitFailure::Backoff;
        world.has_file = !workload.secret_files.is_empty();
        let run = assignment(workload, Desired::Run);
        let (mut machine, steps) = ReplicaMachine::new(run.clone(), Timestamp(world.now), Timings::default(), seed);
        world.begin(steps);
        let until = world.now + 3_600_000;
        world.run(&mut machine, &run, until, |_, m| m.status().phase.is_ready());
        assert!(machine.status().phase.is_ready(), "seed {seed}: {:?}", machine.status());
        let until = world.now + 300_000;
        world.run(&mut machine, &run, until, |_, _| false);
        assert_eq!(world.signals, 0, "seed {seed}");
        assert_eq!((world.starts, machine.record().starts, machine.status().restarts), (1, 1, 0), "seed {seed}");
        assert!(machine.status().phase.is_ready(), "seed {seed}: {:?}", machine.status());
        assert!(world.reported.as_ref().is_some_and(|s| s.phase.is_ready()), "seed {seed}: not reported");
    }
}

#[test]
fn every_start_is_counted_once_through_crashes_of_the_agent() {
    for seed in 0..2000 {
        let fate = Fate { exits: true, sick: false, faults: 0, crashes: 10, reboots: 0, ignores_signals: false };
        let mut world = World::new(seed, fate);
        let run = assignment(workload(), Desired::Run);
        let (mut machine, steps) = ReplicaMachine::new(run.clone(), Timestamp(world.now), Timings::default(), seed);
        world.begin(steps);
        let until = world.now + 300_000;
        world.run(&mut machine, &run, until, |_, _| false);
        world.fate.crashes = 0;
        world.fate.exits = false;
        let until = world.now + 400_000;
        world.run(&mut machine, &run, until, |w, m| m.status().phase.is_ready() && w.told.is_empty());
        assert_eq!(machine.record().starts, world.starts, "seed {seed}");
        assert_eq!(machine.status().restarts, world.starts - 1, "seed {seed}");
    }
}

#[test]
fn whatever_happens_the_process_of_a_replica_ends_up_with_the_newest_secret() {
    for seed in 0..3000 {
        let fate = Fate {
            exits: seed % 3 == 0,
            sick: false,
            faults: [0, 10, 30][seed as usize % 3],
            crashes: [0, 5, 20][seed as usize / 3 % 3],
            reboots: [0, 2][seed as usize / 2 % 2],
            ignores_signals: false,
        };
        let mut world = World::new(seed, fate);
        let mut workload = random_workload(&mut world.luck);
        workload.on_panic = OnPanic::Restart;
        workload.on_init_failure = OnInitFailure::Backoff;
        workload.secret_files = vec![secret_file("key", hup())];
        world.has_file = true;
        let with_value = |value: u32| with_secret(workload.clone(), Desired::Run, &value.to_string());
        let mut run = with_value(0);
        let (mut machine, steps) = ReplicaMachine::new(run.clone(), Timestamp(world.now), Timings::default(), seed);
        world.begin(steps);
        for value in 1..=world.luck.below(6) as u32 {
            let until = world.now + [50, 500, 20_000][world.luck.below(3) as usize];
            world.run(&mut machine, &run, until, |_, _| false);
            run = with_value(value);
            world.value = value;
            let steps = machine.handle(Input::Assigned(run.clone()), Timestamp(world.now));
            world.begin(steps);
        }
        world.fate = Fate { exits: false, faults: 0, crashes: 0, reboots: 0, ..fate };
        let newest = world.value;
        let knows = |world: &World, machine: &ReplicaMachine| {
            let attempt = machine.running_attempt();
            machine.status().phase.is_ready() && attempt.is_some_and(|a| world.read.get(&a) == Some(&newest))
        };
        let until = world.now + 600_000;
        world.run(&mut machine, &run, until, |w, m| knows(w, m) && w.work.is_empty() && w.told.is_empty());
        assert!(knows(&world, &machine), "seed {seed}: {:?} has {:?}", machine.status(), world.read);
        assert_eq!((world.file, world.untold), (Some(newest), false), "seed {seed}");
    }
}
