//! Which of a service's replicas count as what. Every replica is in exactly one list.

use orlop_model::{Desired, NodeId, Outcome, Phase, Replica, ServiceState};

/// The replicas of a service that is to stay.
#[derive(Default)]
pub(crate) struct Roster<'a> {
    /// Wanted, of the service's workload generation. Those that failed for good are among them: they keep their slot, and
    /// nothing takes their place until the generation changes.
    pub(crate) current: Vec<&'a Replica>,
    /// Wanted and not over, of an older generation or on a node that is drained: what is replaced.
    pub(crate) outdated: Vec<&'a Replica>,
    /// Told to stop, and not over.
    pub(crate) leaving: Vec<&'a Replica>,
    /// Wanted, but gone with its node, or stopped by somebody else. Remembered until its place is taken, because the memory of it keeps the gates of
    /// `depends` open.
    pub(crate) lost: Vec<&'a Replica>,
    /// Of an older generation, and over, but with files kept on the node for a look that nobody needs any more.
    pub(crate) isolated: Vec<&'a Replica>,
    /// Over, and nothing of it needs to be remembered.
    pub(crate) remains: Vec<&'a Replica>,
}

impl<'a> Roster<'a> {
    /// `drained` says whether a node's replicas are to move away.
    pub(crate) fn of(service: &ServiceState, replicas: &[&'a Replica], drained: impl Fn(NodeId) -> bool) -> Self {
        let mut roster = Self::default();
        for replica in replicas {
            // What is over has nothing to move.
            let moves = !replica.status.phase.is_finished() && drained(replica.node);
            let current = replica.generation == service.workload_generation && !moves;
            let list = match (replica.desired, replica.status.phase) {
                (Desired::Stop(_), phase) if is_gone(phase) => &mut roster.remains,
                (Desired::Stop(_), _) => &mut roster.leaving,
                (Desired::Run, Phase::Finished(Outcome::Lost | Outcome::Stopped)) => &mut roster.lost,
                (Desired::Run, _) if current => &mut roster.current,
                (Desired::Run, Phase::Finished(Outcome::Failed)) => &mut roster.remains,
                (Desired::Run, Phase::Finished(Outcome::Isolated)) => &mut roster.isolated,
                (Desired::Run, _) => &mut roster.outdated,
            };
            list.push(replica);
        }
        roster
    }

    /// The slots of replicas that were given up with their node, and whose node is back: it says how they are, and when
    /// they run they go on. To be asked when only those are in `lost` whose place nothing has taken.
    pub(crate) fn returning(&self, service: &ServiceState, is_alive: impl Fn(NodeId) -> bool) -> Vec<u32> {
        let back =
            |r: &&&Replica| r.status.is_given_up() && r.generation == service.workload_generation && is_alive(r.node);
        self.lost.iter().filter(back).map(|r| r.slot).collect()
    }
}

/// Is nothing of it left on its node? (Of an isolated replica, there is.)
pub(crate) fn is_gone(phase: Phase) -> bool {
    matches!(phase, Phase::Finished(Outcome::Stopped | Outcome::Failed | Outcome::Lost))
}

/// Did it end by itself, for good?
pub(crate) fn has_failed(replica: &Replica) -> bool {
    matches!(replica.status.phase, Phase::Finished(Outcome::Failed | Outcome::Isolated))
}
