//! Which nodes are there. An agent holds its `Attend` stream open as long as it lives; when it is gone for a while, the
//! node is silent. The while is measured here, in memory; only the outcome is a command.

use crate::control::Control;
use crate::status;
use orlop_model::{Liveness, NodeId};
use orlop_proto::node::v1 as pb;
use orlop_state::Kind;
use orlop_state::command::{NodeAlive, NodeSilent};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tonic::Status;

/// Invitations that may wait for an agent to read them.
const INVITATIONS_MAX: usize = 64;

/// After a start of the control plane, agents that were connected get so many times the usual while to come back: they
/// try again with pauses.
const AFTER_START: u32 = 3;

/// Between two attempts to record what could not be written.
const AGAIN: Duration = Duration::from_secs(1);

/// The agents that are connected.
#[derive(Debug, Default)]
pub(crate) struct Attendance {
    seats: Mutex<Seats>,
    /// Rings when somebody comes.
    arrivals: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Seats {
    taken: BTreeMap<NodeId, Seat>,
    given: u64,
}

#[derive(Debug)]
struct Seat {
    number: u64,
    invitations: mpsc::Sender<Result<pb::SessionInvitation, Status>>,
}

/// Held as long as an agent attends.
pub(crate) struct Presence {
    control: Control,
    node: NodeId,
    number: u64,
}

impl Attendance {
    /// The nodes whose agents are connected.
    pub(crate) fn present(&self) -> Vec<NodeId> {
        self.seats.lock().taken.keys().copied().collect()
    }

    pub(crate) fn is_present(&self, node: NodeId) -> bool {
        self.seats.lock().taken.contains_key(&node)
    }

    /// The number of a node's seat, another one each time its agent comes; `None` while it is away.
    pub(crate) fn seat_of(&self, node: NodeId) -> Option<u64> {
        self.seats.lock().taken.get(&node).map(|seat| seat.number)
    }

    /// Hears of every agent that comes.
    pub(crate) fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.subscribe()
    }

    /// Asks a node's agent to open a session.
    pub(crate) fn invite(&self, node: NodeId, invitation: pb::SessionInvitation) -> Result<(), Status> {
        let seats = self.seats.lock();
        let Some(seat) = seats.taken.get(&node) else {
            return Err(Status::unavailable(format!("the agent of {node} is not connected")));
        };
        match seat.invitations.try_send(Ok(invitation)) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(Status::resource_exhausted(format!("the agent of {node} has too many sessions waiting; try later")))
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                Err(Status::unavailable(format!("the agent of {node} is not connected")))
            }
        }
    }
}

impl Control {
    /// Seats an agent; an earlier stream of the same node ends.
    pub(crate) async fn attend(
        &self,
        node: NodeId,
    ) -> Result<(Presence, mpsc::Receiver<Result<pb::SessionInvitation, Status>>), Status> {
        let known = self.machine.read(|state| state.node(node).map(|n| n.liveness));
        let Some(liveness) = known else {
            return Err(Status::not_found(format!("there is no node {node}; register it first")));
        };
        let (invitations, asked) = mpsc::channel(INVITATIONS_MAX);
        let number = {
            let mut seats = self.attendance.seats.lock();
            seats.given += 1;
            let number = seats.given;
            seats.taken.insert(node, Seat { number, invitations });
            number
        };
        self.attendance.arrivals.send_replace(number);
        let presence = Presence { control: self.clone(), node, number };
        if liveness != Liveness::Alive {
            match self.submit(Kind::NodeAlive(NodeAlive { node })).await {
                // The node can be worked with all the same.
                Err(full) if status::is_for_later(&full) => self.note_later(node, number),
                noted => drop(noted?),
            }
        }
        Ok((presence, asked))
    }

    /// Records that a node is alive as soon as that can be written, unless its agent has gone by then.
    fn note_later(&self, node: NodeId, number: u64) {
        let control = self.clone();
        self.tasks.spawn(async move {
            while control.pause(AGAIN).await && control.attendance.seat_of(node) == Some(number) {
                let silent = control.machine.read(|s| s.node(node).is_some_and(|n| n.liveness != Liveness::Alive));
                if !silent || control.submit(Kind::NodeAlive(NodeAlive { node })).await.is_ok() {
                    return;
                }
            }
        });
    }

    /// Waits; false when the control plane stops meanwhile.
    async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// Gives every node that is believed to be there a while to connect, after a start.
    pub(crate) fn watch_for_absentees(&self) {
        let alive = |state: &orlop_state::State| {
            state.nodes().filter(|n| n.liveness == Liveness::Alive).map(|n| n.id).collect::<Vec<_>>()
        };
        let time = self.config.silent_after * AFTER_START;
        self.machine.read(alive).into_iter().for_each(|node| self.expect_within(node, time));
    }

    /// Gives a node a while to connect; then it is silent.
    pub(crate) fn expect(&self, node: NodeId) {
        self.expect_within(node, self.config.silent_after);
    }

    fn expect_within(&self, node: NodeId, time: Duration) {
        let control = self.clone();
        self.tasks.spawn(async move {
            let (mut time, mut told) = (time, false);
            while control.pause(time).await {
                let alive = control.machine.read(|s| s.node(node).is_some_and(|n| n.liveness == Liveness::Alive));
                if !alive || control.attendance.is_present(node) {
                    return;
                }
                if !told {
                    tracing::warn!(%node, "the agent is gone");
                }
                match control.submit(Kind::NodeSilent(NodeSilent { node })).await {
                    Ok(_) => {}
                    Err(status) => {
                        if !told {
                            let status = status.message();
                            tracing::warn!(%node, status, "could not record that a node is silent; trying again");
                        }
                        (time, told) = (AGAIN, true);
                        continue;
                    }
                }
                if let Some(number) = control.attendance.seat_of(node)
                    && control.submit(Kind::NodeAlive(NodeAlive { node })).await.is_err()
                {
                    // It came back while that was written.
                    control.note_later(node, number);
                }
                return;
            }
        });
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        {
            let mut seats = self.control.attendance.seats.lock();
            if seats.taken.get(&self.node).is_none_or(|seat| seat.number != self.number) {
                return;
            }
            seats.taken.remove(&self.node);
        }
        if self.control.leading.leads() {
            self.control.expect(self.node);
        }
    }
}
