//! Which nodes are there. An agent holds its `Attend` stream open as long as it lives; when it is gone for a while, the
//! node is suspect, and later lost ([`crate::leases`]). The while is measured here, in memory; only the outcome is a command,
//! one for all nodes that it is due for.

use crate::control::Control;
use crate::leases::{Heard, Terms};
use orlop_model::{NodeId, Revision};
use orlop_proto::node::v1 as pb;
use orlop_state::command::{JudgeNodes, Verdict};
use orlop_state::{Answer, Kind};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Invitations that may wait for an agent to read them.
const INVITATIONS_MAX: usize = 64;

/// Between two looks at whether there is something to judge, when nobody says so.
const LOOK: Duration = Duration::from_secs(5);

/// Between two attempts to record what could not be written.
const AGAIN: Duration = Duration::from_secs(1);

/// The agents that are connected.
#[derive(Debug, Default)]
pub(crate) struct Attendance {
    seats: Mutex<Seats>,
    /// Rings when somebody comes.
    arrivals: watch::Sender<u64>,
    /// Rings when a node is to be judged anew.
    stirred: Notify,
}

#[derive(Debug, Default)]
struct Seats {
    taken: BTreeMap<NodeId, Seat>,
    given: u64,
    /// When the connections of those ended that were there, and since when those are expected that only registered.
    gone: BTreeMap<NodeId, Instant>,
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

    /// The number of a node's seat, another one each time its agent comes; `None` while it is away.
    pub(crate) fn seat_of(&self, node: NodeId) -> Option<u64> {
        self.seats.lock().taken.get(&node).map(|seat| seat.number)
    }

    /// Hears of every agent that comes.
    pub(crate) fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.subscribe()
    }

    /// Gives a node a while to connect, from now on.
    pub(crate) fn expect(&self, node: NodeId) {
        let mut seats = self.seats.lock();
        if !seats.taken.contains_key(&node) {
            seats.gone.insert(node, Instant::now());
            drop(seats);
            self.stirred.notify_one();
        }
    }

    /// Forgets all agents, whose streams end, so that they look for whoever judges now.
    pub(crate) fn clear(&self) {
        let mut seats = self.seats.lock();
        seats.taken.clear();
        seats.gone.clear();
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
        if self.machine.read(|state| state.node(node).is_none()) {
            return Err(Status::not_found(format!("there is no node {node}; register it first")));
        }
        let (invitations, asked) = mpsc::channel(INVITATIONS_MAX);
        let number = {
            let mut seats = self.attendance.seats.lock();
            seats.given += 1;
            let number = seats.given;
            seats.taken.insert(node, Seat { number, invitations });
            seats.gone.remove(&node);
            number
        };
        self.attendance.arrivals.send_replace(number);
        self.attendance.stirred.notify_one();
        Ok((Presence { control: self.clone(), node, number }, asked))
    }

    /// Judges all nodes as long as this spell of leading lasts.
    pub(crate) async fn judge_nodes(&self, spell: CancellationToken) {
        let judging = async {
            // What earlier leaders said is applied first; they say nothing after this.
            while self.consensus.read_index().await.is_err() {
                tokio::time::sleep(AGAIN).await;
            }
            let began = Instant::now();
            // Only as long as this member leads: another leader would not know what this one heard.
            let record = |verdicts| self.submit_as_leader(Kind::JudgeNodes(JudgeNodes { verdicts }));
            judge(&self.attendance.stirred, || self.verdicts(began), record).await
        };
        spell.run_until_cancelled(judging).await;
    }

    fn verdicts(&self, began: Instant) -> (Verdicts, Option<Instant>) {
        let terms = Terms { suspect_after: self.config.suspect_after, lost_after: self.config.lost_after };
        let (mut verdicts, mut next): (_, Option<Instant>) = (BTreeMap::new(), None);
        let known: Vec<_> = self.machine.read(|state| state.nodes().map(|node| (node.id, node.liveness)).collect());
        let seats = self.attendance.seats.lock();
        let now = Instant::now();
        for (node, liveness) in known {
            let heard = match (seats.taken.contains_key(&node), seats.gone.get(&node)) {
                (true, _) => Heard::Now,
                (false, Some(end)) => Heard::Until(*end),
                (false, None) => Heard::Never { began },
            };
            let (verdict, again) = terms.judge(liveness, heard, now);
            verdicts.extend(verdict.map(|verdict| (node, verdict)));
            next = next.into_iter().chain(again).min();
        }
        (verdicts, next)
    }
}

type Verdicts = BTreeMap<NodeId, Verdict>;

/// Records for ever what is to be recorded. `verdicts` says what that is now, and when to look again without news.
async fn judge<T>(
    stirred: &Notify,
    verdicts: impl Fn() -> (Verdicts, Option<Instant>),
    record: impl Fn(Verdicts) -> T,
) -> Infallible
where
    T: Future<Output = Result<(Revision, Answer), Status>>,
{
    let mut told = false;
    loop {
        let (due, next) = verdicts();
        if due.is_empty() {
            told = false;
            // Nobody may have said that there is something to judge.
            let next = next.unwrap_or_else(|| Instant::now() + LOOK).min(Instant::now() + LOOK);
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                () = stirred.notified() => {}
            }
            continue;
        }
        let gone = due.iter().filter(|(_, verdict)| **verdict != Verdict::Alive && !told);
        gone.for_each(|(node, verdict)| tracing::warn!(%node, ?verdict, "the agent is gone"));
        match record(due).await {
            Ok(_) => told = false,
            Err(status) => {
                if !told {
                    let status = status.message();
                    tracing::warn!(status, "could not record which nodes are there; trying again");
                }
                told = true;
                tokio::time::sleep(AGAIN).await;
            }
        }
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
            seats.gone.insert(self.node, Instant::now());
        }
        self.control.attendance.stirred.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A verdict that cannot be written is one that nobody needs when the agent is back before the next attempt.
    #[tokio::test(start_paused = true)]
    async fn after_a_verdict_that_was_not_recorded_in_time_nodes_are_judged_on() {
        let stirred = Notify::new();
        let node = NodeId::from_u128(1);
        let gone = Mutex::new(true);
        let (recorded, mut records) = mpsc::unbounded_channel();
        let verdicts = || (gone.lock().then_some((node, Verdict::Suspect)).into_iter().collect(), None);
        let refused = Mutex::new(1);
        let record = |verdicts: Verdicts| {
            recorded.send(verdicts).expect("somebody looks");
            let full = std::mem::take(&mut *refused.lock()) > 0;
            *gone.lock() = false;
            let answer = if full {
                Err(Status::resource_exhausted("the disk is full"))
            } else {
                Ok((Revision(1), Answer::Done))
            };
            std::future::ready(answer)
        };
        let looking = async {
            records.recv().await.expect("the first attempt, which is refused");
            // The agent is back by the time of the next, and then gone again.
            tokio::time::sleep(2 * AGAIN).await;
            *gone.lock() = true;
            stirred.notify_one();
            records.recv().await.expect("a new verdict");
        };
        tokio::select! {
            never = judge(&stirred, verdicts, record) => match never {},
            looked = tokio::time::timeout(10 * AGAIN, looking) => looked.expect("it judges on"),
        }
    }
}
