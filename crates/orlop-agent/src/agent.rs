//! The one owner of all machines.
//!
//! The loop waits for the next [`Event`] and applies it, without waiting for anything while it does. What takes time runs
//! in tasks whose result is an event again. Dropping the loop drops them all, which is what a crash is.

mod adopt;
mod loggers;
mod resync;
mod warnings;
mod writing;

use crate::board::{Board, Posted, main_container};
use crate::clock::Clock;
use crate::config::Config;
use crate::node::{Layout, Lock, NodeError, capacity, host_name};
use crate::replica::{Attachment, Executor, Known, Learned, Overlay, Secrets, StepContext, fail_of, refusal};
use crate::session::Sessions;
use crate::uplink::{Introduction, Uplink, attend};
use crate::{Fault, StartError};
use adopt::Leftover;
use futures::FutureExt;
use orlop_agent_core::{Failure, GenerationGuard, Input, Operation, ReplicaMachine, Step};
use orlop_client::IdentityDirectory;
use orlop_follower::{Follower, FollowerConfig, ViewState};
use orlop_identity::Identity;
use orlop_model::{Assignment, Exit, Level, NodeId, Outcome, Phase, Reason, ReplicaId, ReplicaStatus, Subject, View};
use orlop_runtime::{ContainerRuntime, LostLogger, ResolvedImage, RuntimeError};
use resync::Listing;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use writing::Unwritten;

/// How long an agent that was asked to stop waits for its last reports to be taken.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);
/// How often loggers that were killed are looked for. A container that says 64 KiB meanwhile has to wait.
const LOGGERS_EVERY: Duration = Duration::from_secs(2);

pub(crate) struct Agent {
    config: Config,
    layout: Layout,
    clock: Clock,
    node: NodeId,
    executor: Executor,
    follower: Follower,
    uplink: Uplink,
    board: Board,
    stop: CancellationToken,
    view: Arc<ViewState>,
    entries: BTreeMap<ReplicaId, Entry>,
    /// Found on the node at the start, and waiting for a view that tells what they are.
    found: BTreeMap<ReplicaId, Leftover>,
    guard: GenerationGuard,
    refused: BTreeSet<ReplicaId>,
    /// Since the listing that is under way was begun, which may still have something of them.
    forgotten: BTreeSet<ReplicaId>,
    runtime_is_away: bool,
    resync_at: Instant,
    resync_runs: bool,
    sweep_at: Instant,
    /// None while they are looked for.
    loggers_at: Option<Instant>,
    tasks: JoinSet<Event>,
    attending: AbortOnDrop,
    _ends: DropGuard,
    _lock: Lock,
}

struct Entry {
    machine: ReplicaMachine,
    image: Option<ResolvedImage>,
    attachment: Option<Attachment>,
    cancels: BTreeMap<Operation, CancellationToken>,
    unwritten: Option<Unwritten>,
}

enum Event {
    Step(Box<Done>),
    Ended {
        replica: ReplicaId,
        attempt: u32,
        result: Result<(Exit, Option<Reason>), RuntimeError>,
    },
    Listed(Listing),
    Mended(Vec<LostLogger>),
    /// Something that needs no follow-up.
    Done,
}

/// A step that was executed.
struct Done {
    replica: ReplicaId,
    step: Step,
    outcome: Result<(Input, Learned), Failure>,
}

/// The node that a machine has joined as.
fn joined_as(identity: &IdentityDirectory) -> Result<NodeId, NodeError> {
    match identity.read()?.certificate.identity {
        Identity::Node { node, .. } => Ok(node),
        found => Err(NodeError::NoNode { found: found.to_string() }),
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Agent {
    pub(crate) async fn prepare(
        config: Config,
        runtime: Arc<dyn ContainerRuntime>,
        stop: CancellationToken,
    ) -> Result<Agent, StartError> {
        let channel = orlop_client::connect(&config.control_plane)?;
        let overlay = Overlay::new(orlop_client::connect(&format!("unix:{}", config.overlay_socket.display()))?);
        let (layout, lock) = Layout::claim(&config.data_dir)?;
        let identity = orlop_client::identity_behind(&config.control_plane)?;
        let node = layout.node_id(identity.as_ref().map(joined_as).transpose()?)?;
        let name = match &config.name {
            Some(name) => name.clone(),
            None => host_name()?,
        };
        let (cpu, memory) = capacity(&config.reserve)?;
        // What runs beside the loop outlives its stop for as long as the last reports take, and ends with it whatever
        // happens to it.
        let beside = CancellationToken::new();
        let follower_config = FollowerConfig {
            name: "agent",
            channel: channel.clone(),
            view: View::Node(node),
            cache_path: Some(layout.view_cache()),
        };
        let follower = Follower::start(follower_config, beside.clone()).await?;
        if let Some(identity) = identity {
            tokio::spawn(orlop_client::keep_renewed(identity, beside.clone()));
        }
        let board = Board::new();
        let sweep_at = Instant::now() + config.sweep;
        let executor = Executor {
            runtime: runtime.clone(),
            overlay,
            layout: layout.clone(),
            logs: config.logs.clone(),
            environment: Arc::new(config.environment.clone()),
            node,
            known: Known::default(),
            secrets: Secrets::new(std::path::absolute(&config.secrets_dir).map_err(|source| NodeError::File {
                doing: "finding",
                path: config.secrets_dir.clone(),
                source,
            })?),
        };
        let sessions = Arc::new(Sessions::new(runtime, layout.clone(), board.clone()));
        let introduction = Introduction {
            id: node,
            name,
            cpu,
            memory,
            labels: config.labels.clone(),
            address: config.address,
            control_plane: orlop_client::resolve(&config.control_plane)?,
        };
        let attending = tokio::spawn(attend(introduction, channel.clone(), sessions));
        Ok(Agent {
            uplink: Uplink::start(node, channel, beside.clone()),
            view: follower.view(),
            follower,
            board,
            executor,
            config,
            layout,
            clock: Clock::start(),
            node,
            stop,
            entries: BTreeMap::new(),
            found: BTreeMap::new(),
            guard: GenerationGuard::default(),
            refused: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            runtime_is_away: false,
            resync_at: Instant::now(),
            resync_runs: false,
            sweep_at,
            loggers_at: Some(Instant::now()),
            tasks: JoinSet::new(),
            attending: AbortOnDrop(attending),
            _ends: beside.drop_guard(),
            _lock: lock,
        })
    }

    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    /// Until the stop. Containers go on: stopping an agent is a crash that was announced.
    pub(crate) async fn run(mut self) -> Result<(), Fault> {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = self.find() => {}
        }
        loop {
            self.set_off();
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                view = self.follower.changed() => match view {
                    Ok(view) => self.view_changed(view),
                    Err(_) => return Err(Fault::Blind),
                },
                // It goes on for ever; without it the control plane takes the node for silent.
                died = &mut self.attending.0 => {
                    let died = died.map_or_else(|died| died.to_string(), |()| "it stopped attending".to_owned());
                    return Err(Fault::Panicked(died));
                }
                Some(event) = self.tasks.join_next() => match event {
                    Ok(event) => self.happened(event),
                    Err(error) => tracing::error!(%error, "a task of the agent died"),
                },
                () = tokio::time::sleep_until(deadline.into()) => self.time_passed(),
            }
        }
        self.uplink.flush(FLUSH_WITHIN).await;
        Ok(())
    }

    /// Begins what is due by the clock.
    fn set_off(&mut self) {
        let now = Instant::now();
        if !self.resync_runs && self.resync_at <= now {
            self.begin_listing();
        }
        if self.loggers_at.is_some_and(|at| at <= now) {
            self.begin_mending();
        }
        if self.sweep_at <= now {
            self.sweep_at = now + self.config.sweep;
            self.begin_sweep();
        }
    }

    fn deadline(&self) -> Instant {
        let machines = self.entries.values().filter_map(|entry| entry.machine.next_deadline());
        let machines = machines.min().map(|at| self.clock.instant(at));
        let resync = (!self.resync_runs).then_some(self.resync_at);
        let writing = self.writing_deadline();
        [machines, resync, writing, self.loggers_at, Some(self.sweep_at)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.sweep_at)
    }

    fn time_passed(&mut self) {
        self.write_again();
        let now = self.clock.now();
        let is_due = |(replica, entry): (&ReplicaId, &Entry)| {
            entry.machine.next_deadline().is_some_and(|at| at <= now).then_some(*replica)
        };
        let due: Vec<ReplicaId> = self.entries.iter().filter_map(is_due).collect();
        for replica in due {
            self.tell(replica, Input::Tick);
        }
    }

    fn view_changed(&mut self, view: Arc<ViewState>) {
        self.view = view.clone();
        let mut wanted = BTreeSet::new();
        for assignment in view.assignments() {
            let replica = assignment.replica.id;
            wanted.insert(replica);
            if assignment.replica.node != self.node {
                continue;
            }
            match self.entries.get(&replica).map(|entry| entry.machine.assignment()) {
                Some(Some(held)) if is_same_order(held, assignment) => self.object(assignment),
                Some(_) => self.tell(replica, Input::Assigned(assignment.clone())),
                None => self.take_on(assignment),
            }
        }
        if !view.live {
            return;
        }
        let known = self.entries.keys().chain(self.found.keys()).copied();
        let gone: Vec<ReplicaId> = known.filter(|replica| !wanted.contains(replica)).collect();
        for replica in gone {
            match self.found.remove(&replica) {
                Some(leftover) => self.adopt(replica, None, leftover),
                None => self.tell(replica, Input::Withdrawn),
            }
        }
        self.refused.retain(|replica| wanted.contains(replica));
    }

    /// Says how a replica is that the control plane has given up with this node, while nothing has taken its place.
    fn object(&self, assignment: &Assignment) {
        let replica = assignment.replica.id;
        let given_up = assignment.replica.status.is_given_up() && self.view.live;
        if let Some(entry) = self.entries.get(&replica).filter(|_| given_up) {
            self.uplink.report(replica, entry.machine.record().generation, entry.machine.status().clone());
        }
    }

    /// Begins a replica that has no machine yet.
    fn take_on(&mut self, assignment: &Assignment) {
        let replica = assignment.replica.id;
        if let Some(leftover) = self.found.remove(&replica) {
            self.guard.adopted(assignment);
            self.adopt(replica, Some(assignment.clone()), leftover);
            return;
        }
        // What is in an old view only, and has left no trace, was ended and forgotten after the view was written.
        if !self.view.live || self.refused.contains(&replica) {
            return;
        }
        if let Err(stale) = self.guard.admit(assignment) {
            tracing::warn!(%replica, %stale, "refused");
            self.refused.insert(replica);
            let mut status = ReplicaStatus::pending(self.clock.now());
            status.phase = Phase::Finished(Outcome::Failed);
            status.reason = Some(Reason::new("stale_generation", stale.to_string()));
            self.uplink.report(replica, assignment.replica.generation, status);
            return;
        }
        self.adopt(replica, Some(assignment.clone()), Leftover::default());
    }

    fn happened(&mut self, event: Event) {
        match event {
            Event::Step(done) => self.step_done(*done),
            Event::Ended { replica, attempt, result } => match result {
                Ok((exit, reason)) => self.tell(replica, Input::Exited { attempt, exit, reason }),
                Err(error) => {
                    let runs = self.entries.get(&replica).is_some_and(|e| e.machine.running_attempt() == Some(attempt));
                    if runs {
                        tracing::warn!(%replica, %error, "its container cannot be waited for; looking for it");
                        self.resync_at = Instant::now();
                    }
                }
            },
            Event::Listed(listing) => self.listed(listing),
            Event::Mended(lost) => self.mended(lost),
            Event::Done => {}
        }
    }

    fn step_done(&mut self, done: Done) {
        let Done { replica, step, outcome } = done;
        let input = match outcome {
            Ok((input, learned)) => {
                if let Some(entry) = self.entries.get_mut(&replica) {
                    entry.image = learned.image.or(entry.image.take());
                    entry.attachment = learned.attachment.or(entry.attachment.take());
                    if input == Input::Detached {
                        entry.attachment = None;
                    }
                }
                Some(input)
            }
            Err(failure) => {
                let reason = &failure.reason;
                tracing::debug!(%replica, ?step, code = reason.code, message = reason.message, "failed");
                fail_of(&step, failure)
            }
        };
        if let (Step::CreateContainer { attempt }, Some(Input::Created)) = (&step, &input) {
            self.await_end(replica, *attempt);
            self.tell_of_limits(replica);
            self.tell_of_signal(replica);
        }
        if let Some(input) = input {
            self.tell(replica, input);
        }
    }

    /// Tells a machine something, and sets what it decides in motion.
    fn tell(&mut self, replica: ReplicaId, input: Input) {
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(&replica) else { return };
        let steps = entry.machine.handle(input, now);
        self.take_steps(replica, steps);
    }

    fn take_steps(&mut self, replica: ReplicaId, steps: Vec<Step>) {
        let mut answers = Vec::new();
        for step in steps {
            match step {
                Step::Persist(record) => self.persist(replica, &record),
                Step::Report(status) => {
                    if !self.withhold(replica, &status) {
                        self.report(replica, status);
                    }
                }
                Step::Event { level, reason } => {
                    let subject = self.subject_of(replica);
                    self.uplink.event(self.clock.now(), level, &subject, &reason);
                }
                Step::Cancel(operation) => {
                    let entry = self.entries.get(&replica);
                    if let Some(cancel) = entry.and_then(|entry| entry.cancels.get(&operation)) {
                        cancel.cancel();
                    }
                }
                Step::Forget => return self.forget(replica),
                step => match self.held_back(replica, &step) {
                    Some(failure) => answers.extend(fail_of(&step, failure)),
                    None => self.begin(replica, step),
                },
            }
        }
        // A machine that hears of a failure waits before it tries again, so this ends.
        for answer in answers {
            self.tell(replica, answer);
        }
        if let Some(entry) = self.entries.get(&replica) {
            let container = entry.machine.running_attempt().map(|attempt| main_container(replica, attempt));
            self.board.post(replica, Posted { container, phase: entry.machine.status().phase.word() });
        }
    }

    fn begin(&mut self, replica: ReplicaId, step: Step) {
        let Some(entry) = self.entries.get_mut(&replica) else { return };
        let cancel = CancellationToken::new();
        let operation = match step {
            Step::PullImage => Some(Operation::Pull),
            Step::RunInit { .. } => Some(Operation::Init),
            Step::Check { .. } => Some(Operation::Check),
            _ => None,
        };
        if let Some(operation) = operation {
            entry.cancels.insert(operation, cancel.clone());
        }
        let context = StepContext {
            replica,
            assignment: entry.machine.assignment().cloned(),
            revision: self.view.revision,
            cluster: self.view.cluster,
            image: entry.image.clone(),
            attachment: entry.attachment.clone(),
            cancel,
        };
        let executor = self.executor.clone();
        self.tasks.spawn(async move {
            let done = AssertUnwindSafe(executor.execute(&step, context)).catch_unwind().await;
            let outcome = done.unwrap_or_else(|_| {
                Err(Failure::infrastructure("agent_fault", "the agent has a fault; its log has the details"))
            });
            Event::Step(Box::new(Done { replica, step, outcome }))
        });
    }

    /// Waits for the end of a container's process.
    fn await_end(&mut self, replica: ReplicaId, attempt: u32) {
        let runtime = self.executor.runtime.clone();
        let assignment = self.entries.get(&replica).and_then(|entry| entry.machine.assignment());
        let logs = assignment.map(|assignment| self.layout.replica_logs(&assignment.replica));
        let since_ns = self.clock.now().0.saturating_mul(1_000_000);
        self.tasks.spawn(async move {
            let id = main_container(replica, attempt);
            loop {
                let result = match runtime.wait(&id).await {
                    Err(RuntimeError::Unavailable { .. } | RuntimeError::Other { .. }) => {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        continue;
                    }
                    Err(error) => Err(error),
                    Ok(exit) => match &logs {
                        Some(logs) => Ok((exit, refusal(&exit, logs.clone(), since_ns).await)),
                        None => Ok((exit, None)),
                    },
                };
                return Event::Ended { replica, attempt, result };
            }
        });
    }

    fn report(&self, replica: ReplicaId, status: ReplicaStatus) {
        let Some(entry) = self.entries.get(&replica) else { return };
        let phase = status.phase.word();
        match &status.reason {
            Some(reason) => tracing::info!(%replica, phase, code = reason.code, message = reason.message, "replica"),
            None => tracing::info!(%replica, phase, "replica"),
        }
        self.uplink.report(replica, entry.machine.record().generation, status);
    }

    fn forget(&mut self, replica: ReplicaId) {
        if let Err(error) = std::fs::remove_dir_all(self.layout.replica(replica))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%replica, %error, "its files were not removed; the next start of the agent tries again");
        }
        if let Err(failure) = self.executor.secrets.remove(replica) {
            let problem = failure.reason.message;
            tracing::warn!(%replica, problem, "the next start of the agent tries again");
        }
        self.entries.remove(&replica);
        self.forgotten.insert(replica);
        self.board.drop_replica(replica);
        self.executor.known.forget(replica);
        self.guard.forget(replica);
        tracing::info!(%replica, "forgotten");
    }

    fn subject_of(&self, replica: ReplicaId) -> Subject {
        let assignment = self.entries.get(&replica).and_then(|entry| entry.machine.assignment());
        Subject {
            deployment: assignment.map(|a| a.replica.service.deployment.clone()),
            service: assignment.map(|a| a.replica.service.service.clone()),
            replica: Some(replica),
            slot: assignment.map(|a| a.replica.slot),
            node: Some(self.node),
        }
    }

    fn node_event(&self, level: Level, reason: Reason) {
        let subject = Subject { node: Some(self.node), ..Subject::default() };
        self.uplink.event(self.clock.now(), level, &subject, &reason);
    }

    fn begin_sweep(&mut self) {
        let (root, limits) = (self.layout.logs(), self.config.logs.clone());
        // What was found counts before a view has told what it is.
        let live: BTreeSet<ReplicaId> = self.entries.keys().chain(self.found.keys()).copied().collect();
        self.tasks.spawn_blocking(move || {
            let is_live = |path: &std::path::Path| {
                path.file_name().and_then(|n| n.to_str()?.parse().ok()).is_some_and(|id: ReplicaId| live.contains(&id))
            };
            match orlop_runtime::logs::sweep(&root, &is_live, limits.age_max, limits.bytes_max) {
                Ok(swept) if swept.directories > 0 => {
                    tracing::info!(directories = swept.directories, bytes = swept.bytes, "removed old logs");
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "old logs were not removed; tried again later"),
            }
            Event::Done
        });
    }
}

/// Does the control plane want what it wanted before? That it echoes a status is no order.
fn is_same_order(held: &Assignment, offered: &Assignment) -> bool {
    held.replica.desired == offered.replica.desired
        && held.replica.generation == offered.replica.generation
        && held.workload == offered.workload
        && held.secrets == offered.secrets
}
