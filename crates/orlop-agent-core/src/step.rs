//! What a machine wants done.

use orlop_model::{Level, Reason, ReplicaStatus};

use crate::Record;
use orlop_model::spec::Signal;
use std::collections::BTreeSet;

/// One thing to do for a replica. Steps of one answer are taken in order; those that run on are answered later by the
/// input that is named with them, exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write this down, in place of what was written before, ahead of the steps that follow.
    Persist(Record),
    /// Tell the control plane.
    Report(ReplicaStatus),
    /// Tell people what a status cannot say.
    Event {
        /// How much it matters.
        level: Level,
        /// What happened.
        reason: Reason,
    },
    /// Make the image be here and unpacked, by the workload's pull policy. → `ImageReady` or `ImageFailed`
    PullImage,
    /// Attach the replica to the overlay, or learn that it is. → `NetworkReady` or `NetworkFailed`
    AttachNetwork,
    /// Make named volumes, see that bind sources exist, that all `$E:` variables are set and that all secrets came.
    /// → `FilesReady` or `FilesFailed`
    PrepareFiles,
    /// Do an init step once; one that runs a command leaves nothing of it behind. → `InitDone` or `InitFailed`
    RunInit {
        /// Index into the workload's `init`.
        index: usize,
        /// 0 at first; grows with each try of this step.
        attempt: u32,
    },
    /// Make the container, with the secrets of now in its files. → `Created` or `CreateFailed`
    CreateContainer {
        /// The number of the container among the replica's, from 1.
        attempt: u32,
    },
    /// Start the process; that it runs already is success. → `Started` or `StartFailed`
    StartContainer {
        /// Of which container.
        attempt: u32,
    },
    /// Put the secrets of now into the files of the container that is there: into all of them before its process begins,
    /// then into those that [may change](orlop_model::spec::Workload::changing_files) under it. Which signals the process
    /// is to get for that is remembered, for as long as the process can live, until it was told.
    /// → `SecretsRefreshed` or `SecretsFailed`
    RefreshSecrets {
        /// May the process have begun?
        started: bool,
    },
    /// Send the process the signals that tell it of new secrets, and forget that it was to get them.
    /// → `SecretsTold` or `SecretsUntold`
    TellOfSecrets {
        /// In which container.
        attempt: u32,
        /// What it gets, one after the other.
        signals: BTreeSet<Signal>,
    },
    /// Do the health check once, within its timeout. → `Checked`
    Check {
        /// In which container.
        attempt: u32,
    },
    /// Send a signal to the process. → `Signalled` or `SignalFailed`
    Signal {
        /// Of which container.
        attempt: u32,
        /// Which signal.
        signal: Signal,
    },
    /// Kill and remove all containers of the replica, main or init, but one; that there is none is success.
    /// → `Removed` or `RemoveFailed`
    RemoveContainers {
        /// The number of the main container that stays.
        keep: Option<u32>,
        /// No other container follows: its files of secrets go as well.
        last: bool,
    },
    /// Detach the replica from the overlay; that it is not attached is success. → `Detached` or `DetachFailed`
    DetachNetwork,
    /// Give up what is under way and clean up behind it. It is answered by its own input all the same, as soon as it has
    /// ended, with a failure or, if that was quicker, its success.
    Cancel(Operation),
    /// Drop the record and the files of the replica, logs excepted. The last step: the machine is done.
    Forget,
}

/// What can be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// [`Step::PullImage`].
    Pull,
    /// [`Step::RunInit`].
    Init,
    /// [`Step::Check`].
    Check,
}
