//! What people and their tools say.

use crate::control::{Call, Control, new_replica_id, now};
use crate::logs::{Query, TAIL_MAX};
use crate::service::{Answers, parsed, parsed_if_set, required};
use crate::status;
use futures::StreamExt;
use orlop_identity::Identity;
use orlop_model::spec::Deployment;
use orlop_model::trust::Role;
use orlop_model::{DeploymentName, Event, Generation, Revision, StopOrder, Subject, plan};
use orlop_planner::Cluster;
use orlop_proto::cluster::v1::NodeScheduling;
use orlop_proto::operator::v1 as pb;
use orlop_proto::{InvalidWire, scheduling_of};
use orlop_state::command::{Deploy, RemoveNode, Scale, ScheduleNode, Stop};
use orlop_state::{Answer, Command, Kind, State};
use pb::{exec_request, import_image_request};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Log lines that may wait for an operator who reads slowly.
const LINES_MAX: usize = 256;
/// Exec frames that may wait for an operator who reads slowly.
const FRAMES_MAX: usize = 16;
/// The most events of one answer.
const EVENTS_MAX: u32 = 10_000;
/// The most images that are removed by name at once.
const REMOVED_MAX: usize = 1000;
/// The events of an answer when nobody says how many.
const EVENTS_DEFAULT: u32 = 100;

pub(crate) struct Service(pub(crate) Control);

#[tonic::async_trait]
impl pb::operator_service_server::OperatorService for Service {
    type LogsStream = Answers<pb::LogsResponse>;
    type ExecStream = Answers<pb::ExecResponse>;

    async fn deploy(&self, request: Request<pb::DeployRequest>) -> Result<Response<pb::DeployResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let deploy = Deploy {
            deployment: required("deployment", request.deployment)?,
            expected_generation: request.expected_generation.map(Generation),
            retry: true,
        };
        call.for_deployment(Role::Deployer, Some(&deploy.deployment.name))?;
        match self.0.submit_as(&call, Kind::Deploy(deploy)).await? {
            (revision, Answer::Deployed { generation, changes }) => Ok(Response::new(pb::DeployResponse {
                generation: generation.0,
                revision: revision.0,
                changes: changes.iter().map(Into::into).collect(),
            })),
            (_, answer) => Err(status::unexpected(&answer)),
        }
    }

    async fn plan(&self, request: Request<pb::PlanRequest>) -> Result<Response<pb::PlanResponse>, Status> {
        let call = Call::of(&request)?;
        self.0.catch_up(&request).await?;
        let deployment: Deployment = required("deployment", request.into_inner().deployment)?;
        call.for_deployment(Role::Viewer, Some(&deployment.name))?;
        let state = self.0.machine.read(State::clone);
        let planning = tokio::task::spawn_blocking(move || foresee(state, deployment));
        planning.await.map_err(|e| Status::internal(format!("planning failed: {e}")))?.map(Response::new)
    }

    async fn scale(&self, request: Request<pb::ScaleRequest>) -> Result<Response<pb::ScaleResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let scale = Scale { service: required("service", request.service)?, replicas: request.replicas };
        call.for_deployment(Role::Deployer, Some(&scale.service.deployment))?;
        match self.0.submit_as(&call, Kind::Scale(scale)).await? {
            (revision, Answer::Scaled { previous }) => {
                Ok(Response::new(pb::ScaleResponse { revision: revision.0, previous }))
            }
            (_, answer) => Err(status::unexpected(&answer)),
        }
    }

    async fn stop(&self, request: Request<pb::StopRequest>) -> Result<Response<pb::StopResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let stop = Stop {
            deployment: parsed("deployment", &request.deployment)?,
            service: parsed_if_set("service", &request.service)?,
            order: if request.force { StopOrder::Forced } else { StopOrder::Graceful },
        };
        call.for_deployment(Role::Deployer, Some(&stop.deployment))?;
        let (revision, _) = self.0.submit_as(&call, Kind::Stop(stop)).await?;
        Ok(Response::new(pb::StopResponse { revision: revision.0 }))
    }

    async fn schedule_node(
        &self,
        request: Request<pb::ScheduleNodeRequest>,
    ) -> Result<Response<pb::ScheduleNodeResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let unset = request.scheduling == NodeScheduling::Unspecified as i32;
        let scheduling = scheduling_of("scheduling", request.scheduling)?;
        if unset {
            return Err(InvalidWire::new("scheduling", "is not set").into());
        }
        let schedule = ScheduleNode { node: parsed("node", &request.node)?, scheduling };
        let (revision, _) = self.0.submit_as(&call, Kind::ScheduleNode(schedule)).await?;
        Ok(Response::new(pb::ScheduleNodeResponse { revision: revision.0 }))
    }

    async fn remove_node(
        &self,
        request: Request<pb::RemoveNodeRequest>,
    ) -> Result<Response<pb::RemoveNodeResponse>, Status> {
        let call = Call::of(&request)?;
        let node = parsed("node", &request.into_inner().node)?;
        // A machine that was removed is not to come back on its own account.
        let cluster = self.0.machine.read(|state| state.authority().and(state.cluster()));
        let identity = cluster.map(|cluster| Identity::Node { cluster, node }.to_string());
        let (revision, _) = self.0.submit_as(&call, Kind::RemoveNode(RemoveNode { node, identity })).await?;
        Ok(Response::new(pb::RemoveNodeResponse { revision: revision.0 }))
    }

    async fn get_state(&self, request: Request<pb::GetStateRequest>) -> Result<Response<pb::GetStateResponse>, Status> {
        let call = Call::of(&request)?;
        self.0.catch_up(&request).await?;
        let only: Option<DeploymentName> = parsed_if_set("deployment", &request.into_inner().deployment)?;
        if only.is_some() {
            call.for_deployment(Role::Viewer, only.as_ref())?;
        }
        // Before the state is held: it looks at the disk.
        let refused = self.0.writes_refused().unwrap_or_default();
        let shown = |name: &DeploymentName| {
            only.as_ref().is_none_or(|only| name == only) && call.caller.may(Role::Viewer, Some(name))
        };
        Ok(Response::new(self.0.machine.read(|state| state_of(state, &self.0, shown, refused))))
    }

    async fn list_events(
        &self,
        request: Request<pb::ListEventsRequest>,
    ) -> Result<Response<pb::ListEventsResponse>, Status> {
        let call = Call::of(&request)?;
        self.0.catch_up(&request).await?;
        let request = request.into_inner();
        let about: Subject = required("subject", Some(request.subject.unwrap_or_default()))?;
        let limit = match request.limit {
            0 => EVENTS_DEFAULT,
            limit @ 1..=EVENTS_MAX => limit,
            limit => return Err(InvalidWire::new("limit", format!("found {limit}; expected 1 to {EVENTS_MAX}")).into()),
        };
        let mut answer = self.0.machine.read(|state| {
            // Events that are of no deployment are for those who may see all.
            let shown = |event: &&Event| call.caller.may(Role::Viewer, event.subject.deployment.as_ref());
            let matching = state.events().rev().filter(|event| concerns(event, &about)).filter(shown);
            let matching = matching.take(limit as usize);
            pb::ListEventsResponse { events: matching.map(Into::into).collect(), revision: state.revision().0 }
        });
        answer.events.reverse();
        Ok(Response::new(answer))
    }

    async fn logs(&self, request: Request<pb::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        if let Some(tail) = request.tail.filter(|tail| *tail > TAIL_MAX) {
            return Err(InvalidWire::new("tail", format!("found {tail}; expected at most {TAIL_MAX}")).into());
        }
        let query = Query {
            service: required("service", request.service)?,
            replica: parsed_if_set("replica", &request.replica)?,
            follow: request.follow,
            since_ms: request.since_ms,
            tail: request.tail,
        };
        call.for_deployment(Role::Viewer, Some(&query.service.deployment))?;
        let (sender, lines) = mpsc::channel(LINES_MAX);
        self.0.tasks.spawn(self.0.clone().logs(query, sender));
        let batches = ReceiverStream::new(lines).ready_chunks(LINES_MAX).flat_map(|batch| {
            let (mut lines, mut failure) = (Vec::with_capacity(batch.len()), None);
            for line in batch {
                match line {
                    Ok(line) => lines.push(line),
                    Err(status) => failure = Some(status),
                }
            }
            let lines = (!lines.is_empty()).then_some(Ok(pb::LogsResponse { lines }));
            futures::stream::iter(lines.into_iter().chain(failure.map(Err)))
        });
        Ok(Response::new(Box::pin(batches)))
    }

    async fn exec(&self, request: Request<Streaming<pb::ExecRequest>>) -> Result<Response<Self::ExecStream>, Status> {
        let call = Call::of_stream(&request);
        let mut input = request.into_inner();
        let Some(pb::ExecRequest { frame: Some(exec_request::Frame::Start(start)) }) = input.message().await? else {
            return Err(Status::invalid_argument("the first frame must be start"));
        };
        let session = self.0.start_exec(&call, start).await?;
        let (sender, output) = mpsc::channel(FRAMES_MAX);
        self.0.tasks.spawn(self.0.clone().run_exec(session, input, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(output))))
    }

    async fn import_image(
        &self,
        request: Request<Streaming<pb::ImportImageRequest>>,
    ) -> Result<Response<pb::ImportImageResponse>, Status> {
        use import_image_request::Frame;
        let mut frames = request.into_inner();
        let importing = async {
            let Some(pb::ImportImageRequest { frame: Some(Frame::Start(start)) }) = frames.message().await? else {
                return Err(Status::invalid_argument("the first frame must be start"));
            };
            let nodes = self.0.nodes_for_images(&start.nodes)?;
            let mut import = self.0.start_import(&start.name, nodes).await?;
            while let Some(pb::ImportImageRequest { frame }) = frames.message().await? {
                match frame {
                    Some(Frame::Chunk(chunk)) => import.send(&chunk).await?,
                    Some(Frame::Start(_)) => return Err(Status::invalid_argument("start may only be the first frame")),
                    None => {}
                }
            }
            import.finish().await
        };
        let images = tokio::select! {
            images = importing => images?,
            () = self.0.stop.cancelled() => return Err(status::stopping()),
        };
        Ok(Response::new(pb::ImportImageResponse { images }))
    }

    async fn list_images(
        &self,
        _request: Request<pb::ListImagesRequest>,
    ) -> Result<Response<pb::ListImagesResponse>, Status> {
        Ok(Response::new(pb::ListImagesResponse { images: self.0.list_images().await? }))
    }

    async fn remove_images(
        &self,
        request: Request<pb::RemoveImagesRequest>,
    ) -> Result<Response<pb::RemoveImagesResponse>, Status> {
        let request = request.into_inner();
        if request.names.len() > REMOVED_MAX {
            let found = request.names.len();
            return Err(InvalidWire::new("names", format!("found {found}; expected at most {REMOVED_MAX}")).into());
        }
        let nodes = self.0.nodes_for_images(&request.nodes)?;
        let images = self.0.remove_images(&request.names, nodes).await?;
        Ok(Response::new(pb::RemoveImagesResponse { images }))
    }
}

/// What a deploy would change, and the steps that would follow at once, on a copy of the state.
fn foresee(mut state: State, deployment: Deployment) -> Result<pb::PlanResponse, Status> {
    let now = now();
    let generation = state.generation_of(&deployment.name);
    let name = deployment.name.clone();
    let deploy = Command::new(now, Kind::Deploy(Deploy { deployment, expected_generation: None, retry: true }));
    let changes = match state.apply(Revision(state.revision().0 + 1), deploy).answer {
        Answer::Deployed { changes, .. } => changes,
        Answer::Refused(refusal) => return Err(status::of_refusal(refusal)),
        answer => return Err(status::unexpected(&answer)),
    };
    let cluster = Cluster {
        revision: state.revision(),
        services: state.services().map(|s| (s.name.clone(), s.clone())).collect(),
        replicas: state.replicas().map(|r| (r.id, r.clone())).collect(),
        nodes: state.nodes().map(|n| (n.id, n.clone())).collect(),
    };
    let steps = orlop_planner::plan(&cluster, now, &mut new_replica_id).steps;
    Ok(pb::PlanResponse {
        generation: generation.0,
        changes: changes.iter().map(Into::into).collect(),
        steps: steps.iter().filter(|step| is_about(&state, step, &name)).map(Into::into).collect(),
    })
}

/// Steps for other deployments are not this plan's.
fn is_about(state: &State, step: &plan::Step, deployment: &DeploymentName) -> bool {
    use plan::Step;
    match step {
        Step::Start { service, .. } | Step::Note { service, .. } | Step::Remove { service } => {
            service.deployment == *deployment
        }
        Step::Stop { replica, .. } | Step::Forget { replica } => {
            state.replica(*replica).is_some_and(|r| r.service.deployment == *deployment)
        }
    }
}

fn state_of(
    state: &State,
    control: &Control,
    shown: impl Fn(&DeploymentName) -> bool,
    writes_refused: String,
) -> pb::GetStateResponse {
    let lease = state.lease().map(|lease| control.renewals.of(lease)).filter(|lease| now() < lease.expires_at);
    pb::GetStateResponse {
        revision: state.revision().0,
        cluster: state.cluster().map(|id| id.to_string()).unwrap_or_default(),
        services: state.services().filter(|s| shown(&s.name.deployment)).map(Into::into).collect(),
        replicas: state.replicas().filter(|r| shown(&r.service.deployment)).map(Into::into).collect(),
        nodes: state.nodes().map(Into::into).collect(),
        deployments: state.deployments().filter(|d| shown(&d.name)).map(|d| (&d).into()).collect(),
        scheduler: lease.map(|lease| lease.holder).unwrap_or_default(),
        writes_refused,
    }
}

/// Do all fields that are set agree?
fn concerns(event: &Event, about: &Subject) -> bool {
    fn agrees<T: PartialEq>(wanted: &Option<T>, found: &Option<T>) -> bool {
        wanted.is_none() || wanted == found
    }
    let subject = &event.subject;
    agrees(&about.deployment, &subject.deployment)
        && agrees(&about.service, &subject.service)
        && agrees(&about.replica, &subject.replica)
        && agrees(&about.slot, &subject.slot)
        && agrees(&about.node, &subject.node)
}
