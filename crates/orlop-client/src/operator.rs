//! The operator's calls, with domain types.

use crate::address::{Address, MESSAGE_BYTES_MAX};
use crate::calls::{Calls, calls};
use crate::change::change;
use crate::credentials::Credentials;
use crate::error::Error;
use crate::session::{ExecInput, ExecOutput, LogQuery, Logs};
use crate::state::ClusterState;
use crate::watch::Watch;
use orlop_model::plan::Step;
use orlop_model::spec::Deployment;
use orlop_model::view::View;
use orlop_model::{
    DeploymentName, Event, Generation, NodeId, ReplicaId, Revision, Scheduling, ServiceChange, ServiceName, ServiceRef,
    Subject,
};
use orlop_proto::operator::v1 as pb;
use orlop_proto::watch::v1::watch_service_client::WatchServiceClient;
use orlop_proto::{InvalidWire, Within};
use pb::operator_service_client::OperatorServiceClient;
use tokio::io::{AsyncRead, AsyncReadExt};
use tonic::{Response, Status};

/// The most bytes of an archive in one message.
const CHUNK_BYTES: usize = 1 << 20;

/// A connection to a control plane for an operator. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OperatorClient {
    operator: OperatorServiceClient<Calls>,
    watch: WatchServiceClient<Calls>,
    address: Address,
}

/// What a deploy did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// The deployment's generation; the one before when nothing differed.
    pub generation: Generation,
    /// The revision at which it is in force.
    pub revision: Revision,
    /// What happened to each service, the unchanged ones included.
    pub changes: Vec<ServiceChange>,
}

/// What a deploy would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The deployment's generation now; 0 when it does not exist.
    pub generation: Generation,
    /// What would happen to each service.
    pub changes: Vec<ServiceChange>,
    /// What the scheduler would do at once.
    pub steps: Vec<Step>,
}

/// What a change of scale did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scaled {
    /// The revision at which it is in force.
    pub revision: Revision,
    /// How many replicas were wanted before.
    pub previous: u32,
}

/// An image that a node has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Image {
    /// Its reference.
    pub name: String,
    /// The digest of its manifest or index, `sha256:…`.
    pub digest: String,
    /// Compressed, in bytes.
    pub size: u64,
    /// The node that has it, where the control plane said so.
    pub node: Option<NodeId>,
}

impl TryFrom<orlop_proto::node::v1::ImageInfo> for Image {
    type Error = InvalidWire;

    fn try_from(wire: orlop_proto::node::v1::ImageInfo) -> Result<Self, InvalidWire> {
        let node = match wire.node.as_str() {
            "" => None,
            node => {
                Some(node.parse().map_err(|e: orlop_model::id::InvalidId| InvalidWire::new("node", e.to_string()))?)
            }
        };
        Ok(Self { name: wire.name, digest: wire.digest, size: wire.size, node })
    }
}

impl OperatorClient {
    /// A client of the control plane at an address. It dials when first used.
    pub fn new(address: Address) -> Result<Self, Error> {
        Self::with_credentials(address, &Credentials::None)
    }

    /// A client that proves who it is.
    pub fn with_credentials(address: Address, credentials: &Credentials) -> Result<Self, Error> {
        let calls = calls(&address, credentials)?;
        let operator = OperatorServiceClient::new(calls.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let watch = WatchServiceClient::new(calls).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { operator, watch, address })
    }

    /// The address that is dialled.
    pub fn address(&self) -> &Address {
        &self.address
    }

    fn answer<T>(&self, answer: Result<Response<T>, Status>) -> Result<T, Error> {
        answer.map(Response::into_inner).map_err(|status| Error::from_status(&status, &self.address))
    }

    /// Makes a deployment what the spec says. With `expected`, only if its generation is that one (0: only if it does
    /// not exist); else [`Error::Conflict`].
    pub async fn deploy(&self, deployment: &Deployment, expected: Option<Generation>) -> Result<Deployed, Error> {
        let request = pb::DeployRequest {
            deployment: Some(deployment.into()),
            expected_generation: expected.map(|generation| generation.0),
        };
        let answer = change(&self.address, &request, async |call| self.operator.clone().deploy(call).await).await?;
        Ok(Deployed {
            generation: Generation(answer.generation),
            revision: Revision(answer.revision),
            changes: all("changes", answer.changes)?,
        })
    }

    /// Says whether a node is to have replicas; gives the revision at which it is in force.
    pub async fn schedule_node(&self, node: NodeId, scheduling: Scheduling) -> Result<Revision, Error> {
        let scheduling = orlop_proto::cluster::v1::NodeScheduling::from(scheduling).into();
        let request = pb::ScheduleNodeRequest { node: node.to_string(), scheduling };
        let answer =
            change(&self.address, &request, async |call| self.operator.clone().schedule_node(call).await).await?;
        Ok(Revision(answer.revision))
    }

    /// Forgets a node that is gone for good; gives the revision at which it is in force.
    pub async fn remove_node(&self, node: NodeId) -> Result<Revision, Error> {
        let request = pb::RemoveNodeRequest { node: node.to_string() };
        let answer =
            change(&self.address, &request, async |call| self.operator.clone().remove_node(call).await).await?;
        Ok(Revision(answer.revision))
    }

    /// What a deploy would do, without doing it.
    pub async fn plan(&self, deployment: &Deployment) -> Result<Planned, Error> {
        let request = pb::PlanRequest { deployment: Some(deployment.into()) };
        let answer = self.answer(self.operator.clone().plan(request).await)?;
        Ok(Planned {
            generation: Generation(answer.generation),
            changes: all("changes", answer.changes)?,
            steps: all("steps", answer.steps)?,
        })
    }

    /// Sets how many replicas a service has.
    pub async fn scale(&self, service: &ServiceRef, replicas: u32) -> Result<Scaled, Error> {
        let request = pb::ScaleRequest { service: Some(service.into()), replicas };
        let answer = change(&self.address, &request, async |call| self.operator.clone().scale(call).await).await?;
        Ok(Scaled { revision: Revision(answer.revision), previous: answer.previous })
    }

    /// Ends a deployment, or one service of it; with `force` by SIGKILL at once.
    pub async fn stop(
        &self,
        deployment: &DeploymentName,
        service: Option<&ServiceName>,
        force: bool,
    ) -> Result<Revision, Error> {
        let request = pb::StopRequest {
            deployment: deployment.to_string(),
            service: service.map(ToString::to_string).unwrap_or_default(),
            force,
        };
        let answer = change(&self.address, &request, async |call| self.operator.clone().stop(call).await).await?;
        Ok(Revision(answer.revision))
    }

    /// The state now, of one deployment or of all. Nodes are always all there.
    pub async fn state(&self, deployment: Option<&DeploymentName>) -> Result<ClusterState, Error> {
        let request = pb::GetStateRequest { deployment: deployment.map(ToString::to_string).unwrap_or_default() };
        ClusterState::try_from(self.answer(self.operator.clone().get_state(request).await)?)
    }

    /// The newest events that match all fields of `subject` that are set, oldest first; at most `limit` (1–10,000).
    pub async fn events(&self, subject: &Subject, limit: u32) -> Result<(Vec<Event>, Revision), Error> {
        let request = pb::ListEventsRequest { subject: Some(subject.into()), limit };
        let answer = self.answer(self.operator.clone().list_events(request).await)?;
        Ok((all("events", answer.events)?, Revision(answer.revision)))
    }

    /// Follows a view.
    pub fn watch(&self, view: View) -> Watch {
        Watch::new(self.watch.clone(), self.address.clone(), view)
    }

    /// Lines of a service's logs.
    pub async fn logs(&self, query: &LogQuery) -> Result<Logs, Error> {
        let request = pb::LogsRequest {
            service: Some((&query.service).into()),
            replica: query.replica.as_ref().map(ToString::to_string).unwrap_or_default(),
            follow: query.follow,
            since_ms: query.since.map_or(0, |since| since.0),
            tail: query.tail,
        };
        let stream = self.answer(self.operator.clone().logs(request).await)?;
        Ok(Logs::new(stream, self.address.clone()))
    }

    /// Runs a command in a replica. `terminal` gives it one of that many rows and columns.
    pub async fn exec(
        &self,
        replica: ReplicaId,
        command: Vec<String>,
        terminal: Option<(u16, u16)>,
    ) -> Result<(ExecInput, ExecOutput), Error> {
        let (input, requests) = ExecInput::start(replica, command, terminal);
        let stream = self.answer(self.operator.clone().exec(requests).await)?;
        Ok((input, ExecOutput::new(stream, self.address.clone())))
    }

    /// Sends an OCI archive to nodes, to all when none is named. `name` names the image where the archive does not.
    /// `sent` hears how many bytes were read so far.
    pub async fn import_image(
        &self,
        name: &str,
        nodes: &[NodeId],
        mut archive: impl AsyncRead + Unpin + Send + 'static,
        sent: impl Fn(u64) + Send + 'static,
    ) -> Result<Vec<Image>, Error> {
        use pb::import_image_request::Frame;
        let start =
            pb::ImportImageStart { name: name.to_owned(), nodes: nodes.iter().map(ToString::to_string).collect() };
        let (frames, requests) = tokio::sync::mpsc::channel(4);
        let (failed, failure) = tokio::sync::oneshot::channel();
        let reader = tokio::spawn(async move {
            let mut total = 0;
            if frames.send(pb::ImportImageRequest { frame: Some(Frame::Start(start)) }).await.is_err() {
                return;
            }
            loop {
                let mut chunk = Vec::with_capacity(CHUNK_BYTES);
                match (&mut archive).take(CHUNK_BYTES as u64).read_to_end(&mut chunk).await {
                    Ok(0) => return,
                    Ok(read) => {
                        total += read as u64;
                        sent(total);
                        let frame = pb::ImportImageRequest { frame: Some(Frame::Chunk(chunk)) };
                        if frames.send(frame).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        // Dropping the sender here would look like the archive's end: hold it until the call is given up.
                        let _ = failed.send(error);
                        frames.closed().await;
                        return;
                    }
                }
            }
        });
        let mut operator = self.operator.clone();
        let call = operator.import_image(tokio_stream::wrappers::ReceiverStream::new(requests));
        let answer = tokio::select! {
            answer = call => self.answer(answer),
            Ok(error) = failure => Err(Error::Invalid(format!("the archive cannot be read: {error}"))),
        };
        reader.abort();
        all("images", answer?.images)
    }

    /// The images of all nodes.
    pub async fn images(&self) -> Result<Vec<Image>, Error> {
        let answer = self.answer(self.operator.clone().list_images(pb::ListImagesRequest {}).await)?;
        all("images", answer.images)
    }

    /// Removes images from nodes (from all, when none is named): those of these names, or all that nothing uses when no
    /// name is given. Answers with those that were there.
    pub async fn remove_images(&self, names: &[String], nodes: &[NodeId]) -> Result<Vec<Image>, Error> {
        let nodes = nodes.iter().map(ToString::to_string).collect();
        let request = pb::RemoveImagesRequest { names: names.to_vec(), nodes };
        let answer = self.answer(self.operator.clone().remove_images(request).await)?;
        all("images", answer.images)
    }
}

fn all<W, T: TryFrom<W, Error = InvalidWire>>(field: &str, wire: Vec<W>) -> Result<Vec<T>, Error> {
    wire.into_iter()
        .enumerate()
        .map(|(i, w)| T::try_from(w).within(&format!("{field}[{i}]")).map_err(Error::Answer))
        .collect()
}
