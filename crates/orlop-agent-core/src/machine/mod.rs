//! The life of one replica.
//!
//! [`ReplicaMachine::handle`] does two things: it writes down what an input says (`note`), then it takes whatever steps
//! are due (`drive`). The second half looks only at what is known, never at which input came, so that the same code runs
//! a replica that was started here and one that was found.

mod adopt;
mod end;
mod health;
mod prepare;
mod secrets;

use crate::{ContainerState, Failure, FailureKind, FoundContainer, Input, Operation, Record, Role, Step, Timings};
use health::HealthProgress;
use orlop_model::spec::{OnPanic, PullPolicy, Signal};
use orlop_model::{
    Assignment, Desired, Exit, Health, Level, Millis, Outcome, Phase, Reason, ReplicaId, ReplicaStatus, StopOrder,
    Timestamp,
};
use prepare::InitProgress;
use secrets::SecretFiles;

/// One replica on one node.
#[derive(Debug, Clone)]
pub struct ReplicaMachine {
    id: ReplicaId,
    /// Absent for a replica that was found and is not wanted.
    assignment: Option<Assignment>,
    goal: Goal,
    record: Record,
    image: Piece,
    network: Piece,
    files: Piece,
    container: Container,
    secrets: SecretFiles,
    /// The runtime has, or may have, containers of the replica beside `container`.
    leftovers: bool,
    /// The runtime is known to have nothing of the replica, and no secret of it is in a file.
    cleared: bool,
    /// The overlay is known to have nothing of the replica.
    detached: bool,
    busy: Busy,
    init: InitProgress,
    health: HealthProgress,
    /// The process is being ended because it is unhealthy.
    unhealthy: Option<Reason>,
    ending: Option<Ending>,
    /// The container that the removal under way leaves alone.
    keeping: Option<u32>,
    /// The removal under way takes the secrets too.
    taking_secrets: bool,
    /// Of steps that change containers.
    epoch: u64,
    /// An end that was told before the start was.
    early_exit: Option<(Exit, Option<Reason>)>,
    /// No attempt before this time.
    hold_until: Option<Timestamp>,
    /// Of container, signal and network steps that failed for the lack of infrastructure.
    retry: Retry,
    /// The answer to [`Step::Forget`] is that there is no machine any more.
    gone: bool,
    timings: Timings,
    seed: u64,
}

/// What the machine works towards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// A process that runs.
    Run,
    /// Nothing left, finished.
    Stop(StopOrder),
    /// Nothing left, forgotten.
    Leave(StopOrder),
    /// Finished by its policy.
    GiveUp(Outcome),
}

/// Something that must be there before a container can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Missing { tries: u32, retry_at: Option<Timestamp> },
    Busy { tries: u32 },
    Ready,
}

impl Piece {
    const MISSING: Piece = Piece::Missing { tries: 0, retry_at: None };

    /// Takes the piece in hand, if it is due.
    fn begin(&mut self, now: Timestamp) -> bool {
        match *self {
            Piece::Missing { tries, retry_at } if retry_at.is_none_or(|at| at <= now) => {
                *self = Piece::Busy { tries };
                true
            }
            _ => false,
        }
    }

    fn deadline(self) -> Option<Timestamp> {
        match self {
            Piece::Missing { retry_at, .. } => retry_at,
            _ => None,
        }
    }
}

/// The newest main container, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    None,
    /// Made, or being made.
    Made {
        attempt: u32,
    },
    Running {
        attempt: u32,
    },
    /// Without a process, to be removed.
    Ended {
        attempt: u32,
    },
}

/// The steps that are under way, but for those that [`Piece`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Busy {
    /// Creation or start.
    container: bool,
    init: bool,
    check: bool,
    signal: bool,
    remove: bool,
    detach: bool,
    /// The cancellation was asked for already.
    pull_cancelled: bool,
    init_cancelled: bool,
    check_cancelled: bool,
}

/// A process that is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ending {
    asked: bool,
    /// When the grace is over.
    kill_at: Timestamp,
    /// When SIGKILL was last sent.
    killed_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Retry {
    tries: u32,
    at: Option<Timestamp>,
}

impl ReplicaMachine {
    /// The machine of a replica that the node has nothing of, and its first steps. `seed` spreads its waiting times.
    pub fn new(assignment: Assignment, now: Timestamp, timings: Timings, seed: u64) -> (Self, Vec<Step>) {
        let id = assignment.replica.id;
        Self::adopt(id, Some(assignment), None, crate::Found::default(), now, timings, seed)
    }

    /// Takes note of an input and gives the steps that are due then.
    pub fn handle(&mut self, input: Input, now: Timestamp) -> Vec<Step> {
        let mut out = Vec::new();
        if !self.gone {
            self.note(input, now, &mut out);
            self.drive(now, &mut out);
        }
        out
    }

    /// When [`Input::Tick`] is due at the latest; `None` when only another input can change anything.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if self.gone {
            return None;
        }
        let is_running = self.running_attempt().is_some();
        if self.goal != Goal::Run || (is_running && self.unhealthy.is_some()) {
            return self.retry.at.or_else(|| self.ending_deadline());
        }
        if is_running {
            let network = self.network.deadline().filter(|_| self.record.status.address.is_none());
            let deadlines = [self.retry.at, self.health_deadline(), self.secrets_deadline(), network];
            return deadlines.into_iter().flatten().min();
        }
        if self.busy.container || self.busy.remove || self.secrets.are_busy() {
            return None;
        }
        if let Some(at) = self.retry.at.or(self.hold_until) {
            return Some(at);
        }
        let pieces = [self.image, self.network, self.files].map(Piece::deadline);
        pieces.into_iter().chain([self.init_deadline(), self.secrets_deadline()]).flatten().min()
    }

    /// The replica.
    pub fn id(&self) -> ReplicaId {
        self.id
    }

    /// What the control plane said of it last; `None` for one that was found and is not wanted.
    pub fn assignment(&self) -> Option<&Assignment> {
        self.assignment.as_ref()
    }

    /// Its status, as last decided.
    pub fn status(&self) -> &ReplicaStatus {
        &self.record.status
    }

    /// Everything that must survive a crash.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The number of the container whose process runs, as far as is known.
    pub fn running_attempt(&self) -> Option<u32> {
        match self.container {
            Container::Running { attempt } => Some(attempt),
            _ => None,
        }
    }

    /// Is the machine done, its last step [`Step::Forget`]?
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// For [`Input::Observed`]: grows with each step that changes the replica's containers; `None` while one is under
    /// way, when it is no use to look.
    pub fn epoch(&self) -> Option<u64> {
        let changing = self.busy.container || self.busy.remove || self.busy.init;
        (!changing).then_some(self.epoch)
    }

    fn note(&mut self, input: Input, now: Timestamp, out: &mut Vec<Step>) {
        match input {
            Input::Tick => {}
            Input::Assigned(assignment) => self.assigned(assignment, out),
            Input::Withdrawn => {
                let order = match self.goal {
                    Goal::Stop(order) | Goal::Leave(order) => order,
                    Goal::Run | Goal::GiveUp(_) => StopOrder::Graceful,
                };
                self.goal = Goal::Leave(order);
            }
            Input::Observed { epoch, containers } => {
                if self.epoch() == Some(epoch) {
                    self.observed(&containers, now, out);
                }
            }
            Input::Exited { attempt, exit, reason } => self.exited(attempt, exit, reason, now, out),
            Input::ImageReady { digest, stop_signal } => {
                self.busy.pull_cancelled = false;
                self.image = Piece::Ready;
                self.record.status.image_digest = Some(digest);
                let wanted = self.assignment.as_ref().and_then(|a| a.workload.stop_signal);
                self.record.stop_signal = wanted.or(stop_signal).unwrap_or(Signal::TERM);
            }
            Input::ImageFailed(failure) => {
                self.busy.pull_cancelled = false;
                self.image = self.piece_failed(self.image, failure, now, out);
            }
            Input::NetworkReady { address } => {
                self.network = Piece::Ready;
                self.has_address(address, out);
            }
            Input::NetworkFailed(failure) => self.network = self.piece_failed(self.network, failure, now, out),
            Input::FilesReady => self.files = Piece::Ready,
            Input::FilesFailed(failure) => self.files = self.piece_failed(self.files, failure, now, out),
            Input::InitDone => self.init_done(now, out),
            Input::InitFailed(failure) => self.init_try_failed(failure, now, out),
            Input::Created => {
                self.busy.container = false;
                self.retry = Retry::default();
            }
            Input::CreateFailed(failure) => self.container_failed(failure, now, out),
            Input::Started => self.started(now, out),
            Input::StartFailed(failure) => match (self.early_exit.is_some(), failure.kind) {
                (true, _) => self.started(now, out),
                // It may run all the same: it is started again, which does no harm then.
                (false, FailureKind::Infrastructure) => {
                    self.busy.container = false;
                    self.retry_later(now);
                    self.waits_for_infrastructure(failure.reason, now, out);
                }
                (false, _) => self.container_failed(failure, now, out),
            },
            Input::Checked { attempt, result } => self.checked(attempt, result, now, out),
            Input::SecretsRefreshed { signals } => self.secrets_refreshed(signals),
            Input::SecretsFailed(failure) => self.secrets_failed(failure, now, out),
            Input::SecretsTold => self.secrets_told(),
            Input::SecretsUntold(failure) => self.secrets_untold(failure, now, out),
            Input::Signalled => {
                self.busy.signal = false;
                self.retry = Retry::default();
            }
            Input::SignalFailed(failure) => self.signal_failed(failure, now, out),
            Input::Removed => {
                self.busy.remove = false;
                self.retry = Retry::default();
                self.leftovers = false;
                if self.keeping.is_none() {
                    self.container = Container::None;
                    self.cleared = self.taking_secrets || !self.has_secret_files();
                }
            }
            Input::RemoveFailed(_) => {
                self.busy.remove = false;
                self.retry_later(now);
            }
            Input::Detached => {
                self.busy.detach = false;
                self.retry = Retry::default();
                self.detached = true;
                self.network = Piece::MISSING;
                self.record.status.address = None;
            }
            Input::DetachFailed(_) => {
                self.busy.detach = false;
                self.retry_later(now);
            }
        }
    }

    fn drive(&mut self, now: Timestamp, out: &mut Vec<Step>) {
        if self.retry.at.is_some_and(|at| at <= now) {
            self.retry.at = None;
        }
        match self.goal {
            Goal::Run => self.drive_run(now, out),
            Goal::Stop(order) => self.drive_stop(order, now, out),
            Goal::Leave(order) => self.drive_leave(order, now, out),
            Goal::GiveUp(outcome) => self.drive_give_up(outcome, now, out),
        }
    }

    fn drive_run(&mut self, now: Timestamp, out: &mut Vec<Step>) {
        if let Container::Running { attempt } = self.container {
            if self.leftovers && !self.busy.remove && self.retry.at.is_none() {
                self.remove(Some(attempt), false, out);
            }
            // The address of a process whose record was lost: to attach what is attached only tells it again.
            if self.record.status.address.is_none() {
                self.attach(now, out);
            }
            if self.unhealthy.is_some() {
                self.end_process(StopOrder::Graceful, now, out);
            } else {
                self.drive_health(now, out);
                self.drive_secrets(now, out);
            }
            return;
        }
        if self.busy.container || self.busy.remove || self.secrets.are_busy() || self.retry.at.is_some() {
            return;
        }
        if matches!(self.container, Container::Ended { .. }) || self.leftovers {
            self.remove(None, false, out);
            return;
        }
        if self.hold_until.is_some_and(|until| until > now) {
            return;
        }
        self.hold_until = None;
        if let Container::Made { attempt } = self.container {
            if self.settle_secrets(now, out) {
                self.secrets.begin();
                self.busy.container = true;
                self.epoch += 1;
                out.push(Step::StartContainer { attempt });
            }
            return;
        }
        if self.prepare(now, out) && self.initialize(now, out) {
            self.record.attempt += 1;
            let attempt = self.record.attempt;
            self.container = Container::Made { attempt };
            self.secrets = SecretFiles::NEW;
            self.cleared = false;
            self.early_exit = None;
            self.busy.container = true;
            self.epoch += 1;
            out.push(Step::Persist(self.record.clone()));
            out.push(Step::CreateContainer { attempt });
        }
    }

    fn remove(&mut self, keep: Option<u32>, last: bool, out: &mut Vec<Step>) {
        self.busy.remove = true;
        self.keeping = keep;
        self.taking_secrets = last;
        self.epoch += 1;
        out.push(Step::RemoveContainers { keep, last });
    }

    fn attach(&mut self, now: Timestamp, out: &mut Vec<Step>) {
        if self.network.begin(now) {
            self.detached = false;
            out.push(Step::AttachNetwork);
        }
    }

    fn assigned(&mut self, assignment: Assignment, out: &mut Vec<Step>) {
        let (held, offered) = (self.record.generation, assignment.replica.generation);
        if self.assignment.is_some() && offered < held {
            let message = format!("generation {offered} was refused: this node has generation {held} of the replica");
            out.push(Step::Event { level: Level::Warning, reason: Reason::new("stale_generation", message) });
            return;
        }
        if let Desired::Stop(order) = assignment.replica.desired {
            self.goal = match (self.goal, order) {
                (Goal::Leave(_), StopOrder::Forced) => Goal::Leave(StopOrder::Forced),
                (goal @ (Goal::Leave(_) | Goal::Stop(StopOrder::Forced)), _) => goal,
                // A failure that is over says more than that it was stopped afterwards.
                (goal @ Goal::GiveUp(Outcome::Failed), _) => goal,
                (Goal::Run | Goal::Stop(_) | Goal::GiveUp(_), order) => Goal::Stop(order),
            };
        }
        if self.assignment.as_ref().is_some_and(|held| held.secrets != assignment.secrets) {
            self.secrets.change();
        }
        self.assignment = Some(assignment);
    }

    /// Corrects what is known of the containers by what there is.
    fn observed(&mut self, containers: &[FoundContainer], now: Timestamp, out: &mut Vec<Step>) {
        let known = match self.container {
            Container::None => None,
            Container::Made { attempt } | Container::Running { attempt } | Container::Ended { attempt } => {
                Some(attempt)
            }
        };
        let is_known = |c: &&FoundContainer| c.role == Role::Main && Some(c.attempt) == known;
        self.leftovers = containers.iter().any(|c| !is_known(&c));
        if self.leftovers {
            self.cleared = false;
        }
        if let Container::Running { attempt } = self.container {
            match containers.iter().find(is_known).map(|c| c.state) {
                Some(ContainerState::Running) => {}
                Some(ContainerState::Stopped(exit)) => self.exited(attempt, exit, None, now, out),
                Some(ContainerState::Created | ContainerState::NoTask) | None => self.process_lost(attempt, now, out),
            }
        }
    }

    fn started(&mut self, now: Timestamp, out: &mut Vec<Step>) {
        self.busy.container = false;
        self.retry = Retry::default();
        let Container::Made { attempt } = self.container else { return };
        self.container = Container::Running { attempt };
        self.count_start(attempt);
        if let Some((exit, reason)) = self.early_exit.take() {
            self.exited(attempt, exit, reason, now, out);
            return;
        }
        self.begin_health(now);
        if self.goal == Goal::Run {
            match self.has_health_check() {
                true => self.set_status(Phase::Starting, None, now, out),
                false => {
                    self.record.ready_since = Some(now);
                    self.set_status(Phase::Running(Health::Unchecked), None, now, out);
                }
            }
        }
    }

    fn count_start(&mut self, attempt: u32) {
        if self.record.started_attempt < attempt {
            self.record.started_attempt = attempt;
            self.record.starts += 1;
            self.record.status.restarts = self.record.starts - 1;
        }
    }

    fn exited(&mut self, attempt: u32, exit: Exit, reason: Option<Reason>, now: Timestamp, out: &mut Vec<Step>) {
        match self.container {
            Container::Made { attempt: made } if made == attempt => self.early_exit = Some((exit, reason)),
            Container::Running { attempt: running } if running == attempt => {
                self.container = Container::Ended { attempt };
                self.record.ended_attempt = self.record.ended_attempt.max(attempt);
                self.record.status.last_exit = Some(exit);
                self.ending = None;
                if self.goal == Goal::Run {
                    let reason = self.unhealthy.take().or(reason).unwrap_or_else(|| self.exit_reason(&exit));
                    self.panicked(reason, now, out);
                } else {
                    out.push(Step::Persist(self.record.clone()));
                }
            }
            _ => {}
        }
    }

    /// The process is gone and nobody knows how it ended: the machine or its containerd was started anew, or someone
    /// removed the container. That is not held against the replica.
    fn process_lost(&mut self, attempt: u32, now: Timestamp, out: &mut Vec<Step>) {
        self.container = Container::Ended { attempt };
        self.record.ended_attempt = self.record.ended_attempt.max(attempt);
        self.ending = None;
        if self.goal != Goal::Run {
            return;
        }
        if let Some(reason) = self.unhealthy.take() {
            return self.panicked(reason, now, out);
        }
        self.calm_ends(now);
        self.next_attempt();
        let reason = Reason::new("container_lost", "its container is gone, and nobody knows how it ended");
        self.set_status(Phase::Preparing, Some(reason), now, out);
    }

    /// A container could not be made or started.
    fn container_failed(&mut self, failure: Failure, now: Timestamp, out: &mut Vec<Step>) {
        self.busy.container = false;
        self.early_exit = None;
        if let Container::Made { attempt } = self.container {
            self.container = Container::Ended { attempt };
        }
        match failure.kind {
            FailureKind::Infrastructure | FailureKind::ContainerGone => {
                self.retry_later(now);
                self.waits_for_infrastructure(failure.reason, now, out);
            }
            FailureKind::ImageGone => {
                self.image = Piece::MISSING;
                self.retry_later(now);
                self.waits_for_infrastructure(failure.reason, now, out);
            }
            FailureKind::Permanent => {
                // It may be the network namespace that is gone: the next attempt asks for it again, and gets the same
                // one if it is not.
                if self.network == Piece::Ready {
                    self.network = Piece::MISSING;
                }
                if self.goal == Goal::Run {
                    self.panicked(failure.reason, now, out);
                }
            }
        }
    }

    /// The process ended by itself, or could not be started, or was ended for being unhealthy.
    fn panicked(&mut self, reason: Reason, now: Timestamp, out: &mut Vec<Step>) {
        if self.busy.check && !self.busy.check_cancelled {
            self.busy.check_cancelled = true;
            out.push(Step::Cancel(Operation::Check));
        }
        self.calm_ends(now);
        self.next_attempt();
        match self.assignment.as_ref().map(|a| a.workload.on_panic) {
            Some(OnPanic::Restart) | None => self.back_off(reason, now, out),
            Some(OnPanic::Shutdown) => self.give_up(Outcome::Failed, reason, now, out),
            Some(OnPanic::Isolate) => self.give_up(Outcome::Isolated, reason, now, out),
        }
    }

    /// The present process is ready no longer. One that was for long enough has made good for the failures before it.
    fn calm_ends(&mut self, now: Timestamp) {
        let calm = self.record.ready_since.take().is_some_and(|since| now - since >= self.timings.calm);
        if calm {
            self.record.failures = 0;
        }
    }

    /// What a new attempt looks at again.
    fn next_attempt(&mut self) {
        self.files = match self.files {
            Piece::Ready => Piece::MISSING,
            other => other,
        };
        let always = self.assignment.as_ref().is_some_and(|a| a.workload.image.pull_policy == PullPolicy::Always);
        if always && self.image == Piece::Ready {
            self.image = Piece::MISSING;
        }
    }

    fn back_off(&mut self, reason: Reason, now: Timestamp, out: &mut Vec<Step>) {
        self.record.failures = self.record.failures.saturating_add(1);
        let delay = self.timings.restart_delay(self.record.failures, self.seed);
        self.hold(delay, reason, now, out);
    }

    fn hold(&mut self, delay: Millis, reason: Reason, now: Timestamp, out: &mut Vec<Step>) {
        let until = now + delay;
        self.hold_until = Some(until);
        self.record.status.failures = self.record.failures;
        self.set_status(Phase::BackingOff(until), Some(reason), now, out);
    }

    fn give_up(&mut self, outcome: Outcome, reason: Reason, now: Timestamp, out: &mut Vec<Step>) {
        self.goal = Goal::GiveUp(outcome);
        self.hold_until = None;
        self.record.failures = self.record.failures.saturating_add(1);
        self.record.status.failures = self.record.failures;
        self.set_status(Phase::Finished(outcome), Some(reason), now, out);
    }

    fn retry_later(&mut self, now: Timestamp) {
        self.retry.tries = self.retry.tries.saturating_add(1);
        self.retry.at = Some(now + self.timings.retry_delay(self.retry.tries));
    }

    /// Says why it does not go on, where that is not said yet; the phase stays.
    fn waits_for_infrastructure(&mut self, reason: Reason, now: Timestamp, out: &mut Vec<Step>) {
        if self.goal == Goal::Run {
            self.set_status(self.record.status.phase, Some(reason), now, out);
        }
    }

    fn has_address(&mut self, address: std::net::Ipv4Addr, out: &mut Vec<Step>) {
        if self.record.status.address == Some(address) {
            return;
        }
        self.record.status.address = Some(address);
        // Before the process runs, the address travels with the next transition.
        if self.record.status.phase.is_started() {
            out.push(Step::Persist(self.record.clone()));
            out.push(Step::Report(self.record.status.clone()));
        }
    }

    /// Goes to a phase: written down, then reported. The same phase for the same reason again is no transition.
    fn set_status(&mut self, phase: Phase, reason: Option<Reason>, now: Timestamp, out: &mut Vec<Step>) {
        let status = &mut self.record.status;
        if status.phase == phase && status.reason == reason {
            return;
        }
        if status.phase != phase {
            status.since = now.max(status.since);
            status.phase = phase;
        }
        status.reason = reason;
        out.push(Step::Persist(self.record.clone()));
        out.push(Step::Report(self.record.status.clone()));
    }

    fn exit_reason(&self, exit: &Exit) -> Reason {
        let limit = self.assignment.as_ref().and_then(|a| a.workload.resources.memory);
        match (exit.out_of_memory, limit) {
            (false, _) => Reason::new("exited", format!("its process {exit}")),
            (true, Some(limit)) => {
                let message =
                    format!("its process used more memory than its limit of {limit}, and the kernel killed it");
                Reason::new("out_of_memory", message)
            }
            (true, None) => {
                let message = "the node ran out of memory, and the kernel killed its process, which has no limit";
                Reason::new("out_of_memory", message)
            }
        }
    }
}
