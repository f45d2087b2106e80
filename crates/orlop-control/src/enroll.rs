//! A member that has joined and does not vote yet asks the leader to let it, until it does.

use crate::peers::Peers;
use orlop_client::HostPort;
use orlop_consensus::{Consensus, Suffrage};
use orlop_proto::admin::v1 as pb;
use pb::admin_service_client::AdminServiceClient;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(500);
/// How long one attempt may take: the leader brings this member up to date meanwhile.
const WITHIN: Duration = Duration::from_secs(60);

/// Asks the members at the addresses, one after the other, until this one votes under its address.
pub(crate) async fn enroll(
    consensus: Consensus,
    peers: Arc<Peers>,
    members: Vec<HostPort>,
    advertise: HostPort,
    stop: CancellationToken,
) {
    let own = consensus.status().member;
    let mut told = false;
    for member in members.iter().cycle() {
        let known = consensus.members().into_iter().find(|known| known.id == own);
        if known.is_some_and(|known| known.suffrage == Suffrage::Voter && known.address == advertise.to_string()) {
            tracing::info!(member = own, "this member votes");
            return;
        }
        let asking = tokio::time::timeout(WITHIN, ask(peers.channel_to_any(member), &advertise));
        let asked = tokio::select! {
            asked = asking => asked,
            () = stop.cancelled() => return,
        };
        match asked {
            Ok(Ok(pb::Suffrage::Voter)) => tracing::info!(member = own, "the leader has given this member a vote"),
            Ok(Ok(suffrage)) => tracing::info!(member = own, ?suffrage, "this member is being brought up to date"),
            Ok(Err(status)) if !told => {
                let reason = status.message();
                tracing::warn!(%member, reason, "the control plane does not take this member yet; trying again");
                told = true;
            }
            Ok(Err(_)) | Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn ask(channel: Channel, advertise: &HostPort) -> Result<pb::Suffrage, tonic::Status> {
    let request = pb::EnrollMemberRequest { address: advertise.to_string() };
    let answer = AdminServiceClient::new(channel).enroll_member(request).await?.into_inner();
    Ok(answer.suffrage())
}
