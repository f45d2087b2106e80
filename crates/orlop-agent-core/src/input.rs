//! What a machine is told.

use orlop_model::spec::Signal;
use orlop_model::{Assignment, Exit, Reason};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Something that happened to a replica.
#[expect(clippy::large_enum_variant, reason = "an input lives for one call, and a box for each would be no smaller")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// What the control plane wants of it, from its view: to run it, or to stop it.
    Assigned(Assignment),
    /// A live view holds it no more: it is to be stopped and forgotten.
    Withdrawn,
    /// Nothing; time has passed.
    Tick,
    /// What the runtime has of it. Told after containerd came back, and now and then for truth.
    Observed {
        /// The machine's [epoch](crate::ReplicaMachine::epoch) when the listing was begun; a listing that a step has
        /// overtaken is of no use, and is ignored.
        epoch: u64,
        /// Its containers.
        containers: Vec<FoundContainer>,
    },
    /// The process of a container ended. May come more than once, and before `Started`.
    Exited {
        /// Of which container.
        attempt: u32,
        /// How.
        exit: Exit,
        /// Why, where more is known than the exit tells: the kernel refused to execute the program.
        reason: Option<Reason>,
    },
    /// The image is here.
    ImageReady {
        /// Its manifest's digest, `sha256:…`.
        digest: String,
        /// The stop signal that it names.
        stop_signal: Option<Signal>,
    },
    /// It is not.
    ImageFailed(Failure),
    /// It has its network namespace.
    NetworkReady {
        /// Its address.
        address: Ipv4Addr,
    },
    /// It has not.
    NetworkFailed(Failure),
    /// Volumes and environment are there.
    FilesReady,
    /// They are not.
    FilesFailed(Failure),
    /// The init step succeeded.
    InitDone,
    /// It did not.
    InitFailed(Failure),
    /// The container was made.
    Created,
    /// It was not.
    CreateFailed(Failure),
    /// The process runs, or ran.
    Started,
    /// It does not and did not.
    StartFailed(Failure),
    /// The health check ended.
    Checked {
        /// In which container.
        attempt: u32,
        /// How.
        result: Result<(), Failure>,
    },
    /// Its files have the secrets that the assignment had when this was begun.
    SecretsRefreshed {
        /// What its process is to get for that, and for what it was not told before.
        signals: BTreeSet<Signal>,
    },
    /// They may have others.
    SecretsFailed(Failure),
    /// The process got all signals.
    SecretsTold,
    /// It may lack some.
    SecretsUntold(Failure),
    /// The signal was sent.
    Signalled,
    /// It was not.
    SignalFailed(Failure),
    /// The runtime has no container of the replica but the one that was to stay.
    Removed,
    /// It may have.
    RemoveFailed(Failure),
    /// The overlay has nothing of it.
    Detached,
    /// It may have.
    DetachFailed(Failure),
}

/// Why a step did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What that means for the replica.
    pub kind: FailureKind,
    /// Why, for people.
    pub reason: Reason,
}

impl Failure {
    /// A failure that trying again does not cure: no such command, a refused login, a check that failed.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Permanent, reason: Reason::new(code, message) }
    }

    /// A failure of what the node needs to work, not of the replica: no containerd, no overlay.
    pub fn infrastructure(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Infrastructure, reason: Reason::new(code, message) }
    }
}

/// What a failure means for the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The replica itself, its image or its spec is at fault: its policy applies.
    Permanent,
    /// The node lacks something for now: the step waits and is tried again, and the replica is not blamed.
    Infrastructure,
    /// The image is not here any more.
    ImageGone,
    /// The container, or its process, is not there.
    ContainerGone,
}

/// What was found of a replica on the node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Its containers in the runtime.
    pub containers: Vec<FoundContainer>,
    /// Its address, where the overlay has it attached.
    pub address: Option<Ipv4Addr>,
}

/// A container found in the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundContainer {
    /// Its number among the replica's.
    pub attempt: u32,
    /// What it is for.
    pub role: Role,
    /// What it does.
    pub state: ContainerState,
}

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is the replica.
    Main,
    /// It runs an init step.
    Init,
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// It has no process: the machine was switched off, or a creation or removal stopped half-way.
    NoTask,
    /// Its process was made, not started.
    Created,
    /// Its process runs.
    Running,
    /// Its process ended.
    Stopped(Exit),
}
