//! Who leads, and what follows for this member: whether its clock runs, and whom it knows as voters.

use crate::peer::outgoing::Known;
use crate::types::{Raft, Types};
use crate::{Leadership, Options, watch};
use openraft::async_runtime::Instant as _;
use openraft::{RaftMetrics, ServerState, TokioInstant};
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Who leads, as far as a member knows. Its last vote alone does not tell: a leader that was removed, and started again, did
/// win once, and nobody tells it of another.
pub(super) fn leader(metrics: &RaftMetrics<Types>) -> Option<u64> {
    metrics.current_leader.filter(|leader| *leader != metrics.id || metrics.state == ServerState::Leader)
}

/// Keeps `leadership` and `known` as they are, and lets the protocol's clock run only while there are others: there is
/// nothing to keep time for else. Ends with the member.
pub(super) async fn follow(
    raft: Raft,
    options: Options,
    known: Arc<RwLock<Known>>,
    leadership: watch::Sender<Leadership>,
    stop: CancellationToken,
) {
    let mut metrics = raft.metrics();
    loop {
        let recheck = {
            let metrics = metrics.borrow_and_update();
            let membership = metrics.membership_config.membership();
            let others = membership.nodes().any(|(id, _)| *id != options.member);
            // The last voter may be left behind by a leader that removed itself: it must stand for election then.
            let left = membership.voter_ids().any(|id| id == options.member) && metrics.state != ServerState::Leader;
            raft.runtime_config().tick(others || left);
            *known.write() = Known {
                voters: membership.voter_ids().collect(),
                addresses: membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
            };
            let leads = metrics.state == ServerState::Leader;
            let alone = membership.voter_ids().all(|id| id == options.member);
            let confirmed = metrics.last_quorum_acked.map(|at| TokioInstant::now() - *at);
            let lost = leads && !alone && confirmed.is_none_or(|age| age > options.election_timeout * 2);
            let leader = leader(&metrics).filter(|_| !lost);
            let address = leader.and_then(|id| membership.get_node(&id)).map(|node| node.addr.clone());
            let now = Leadership { leader, address, term: metrics.current_term };
            leadership.send_if_modified(|before| {
                let changed = *before != now;
                if changed {
                    *before = now;
                }
                changed
            });
            // A leader that is cut off hears nothing, so nothing changes: it must look at the clock.
            (leads && !alone).then_some(options.election_timeout)
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            changed = metrics.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(recheck.unwrap_or(Duration::MAX)), if recheck.is_some() => {}
        }
    }
}
