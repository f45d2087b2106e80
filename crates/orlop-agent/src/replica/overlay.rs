//! The node's overlay daemon.

use orlop_agent_core::Failure;
use orlop_model::ReplicaId;
use orlop_proto::overlay::v1 as pb;
use orlop_proto::overlay::v1::overlay_service_client::OverlayServiceClient;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::Channel;

/// A replica's place in the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attachment {
    pub(crate) namespace: PathBuf,
    pub(crate) address: Ipv4Addr,
}

#[derive(Debug, Clone)]
pub(crate) struct Overlay {
    client: OverlayServiceClient<Channel>,
}

/// A daemon that works answers within milliseconds; one that does not is asked again later.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

impl Overlay {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { client: OverlayServiceClient::new(channel) }
    }

    pub(crate) async fn attach(&self, replica: ReplicaId) -> Result<Attachment, Failure> {
        let request = pb::AttachRequest { replica: replica.to_string() };
        let response = self.client.clone().attach(timed(request)).await.map_err(|s| unavailable(&s))?;
        let attachment = response.into_inner().attachment.ok_or_else(|| bad("no attachment"))?;
        read(attachment).map(|(_, attachment)| attachment).ok_or_else(|| bad("an unreadable attachment"))
    }

    pub(crate) async fn detach(&self, replica: ReplicaId) -> Result<(), Failure> {
        let request = pb::DetachRequest { replica: replica.to_string() };
        self.client.clone().detach(timed(request)).await.map_err(|s| unavailable(&s))?;
        Ok(())
    }

    pub(crate) async fn list(&self) -> Result<Vec<(ReplicaId, Attachment)>, Failure> {
        let request = pb::ListAttachmentsRequest {};
        let response = self.client.clone().list_attachments(timed(request)).await.map_err(|s| unavailable(&s))?;
        Ok(response.into_inner().attachments.into_iter().filter_map(read).collect())
    }
}

fn timed<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(ANSWER_WITHIN);
    request
}

fn read(wire: pb::Attachment) -> Option<(ReplicaId, Attachment)> {
    let attachment = Attachment { namespace: wire.namespace.into(), address: wire.address.parse().ok()? };
    Some((wire.replica.parse().ok()?, attachment))
}

fn unavailable(status: &tonic::Status) -> Failure {
    let message = format!("the overlay daemon does not give it a network: {}", status.message());
    Failure::infrastructure("overlay_unavailable", message)
}

fn bad(what: &str) -> Failure {
    Failure::infrastructure("overlay_unavailable", format!("the overlay daemon answered with {what}"))
}
