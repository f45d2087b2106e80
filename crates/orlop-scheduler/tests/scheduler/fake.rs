//! A control plane that is only a state machine behind the two services that a scheduler uses, with faults to order; and
//! nodes that do at once what they are told.

use futures::StreamExt;
use futures::stream::BoxStream;
use orlop_model::plan::Plan;
use orlop_model::spec::Deployment;
use orlop_model::{
    ClusterId, Cpu, Desired, Health, Memory, NodeId, Object, Outcome, Phase, Replica, ReplicaStatus, Revision,
    Timestamp, View,
};
use orlop_proto::scheduler::v1 as scheduler_pb;
use orlop_proto::watch::v1 as watch_pb;
use orlop_state::command::{
    AcquireLease, Deploy, InitCluster, RegisterNode, ReplicaReport, ReportReplicas, Scale, SubmitPlan,
};
use orlop_state::{Answer, Command, Kind, State, view};
use scheduler_pb::scheduler_service_server::{SchedulerService, SchedulerServiceServer};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use watch_pb::watch_service_server::{WatchService, WatchServiceServer};

pub(crate) fn now() -> Timestamp {
    SystemTime::now().into()
}

/// The state machine, its faults, and what was asked of it.
pub(crate) struct Control {
    state: Mutex<State>,
    revision: watch::Sender<u64>,
    /// So many answers to plans get lost after the plan was taken.
    pub(crate) lose_answers: AtomicU32,
    /// The fences of the plans that came, with the number of their steps that were taken.
    pub(crate) plans: Mutex<Vec<(u64, usize)>>,
}

impl Control {
    pub(crate) fn new() -> Arc<Self> {
        let control = Arc::new(Self {
            state: Mutex::new(State::new()),
            revision: watch::channel(0).0,
            lose_answers: AtomicU32::new(0),
            plans: Mutex::new(Vec::new()),
        });
        let range = "10.200.0.0/16".parse().expect("a range");
        control.apply(Kind::InitCluster(InitCluster { cluster: ClusterId::from_u128(1), range, trust: None }));
        control
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    pub(crate) fn apply(&self, kind: Kind) -> Answer {
        let mut state = self.state();
        let revision = Revision(state.revision().0 + 1);
        let answer = state.apply(revision, Command::new(now(), kind)).answer;
        drop(state);
        self.revision.send_replace(revision.0);
        answer
    }

    pub(crate) fn add_node(&self, id: u128, name: &str) {
        let answer = self.apply(Kind::RegisterNode(RegisterNode {
            node: NodeId::from_u128(id),
            name: name.parse().expect("a name"),
            cpu: Cpu(8000),
            memory: Memory(16 << 30),
            labels: BTreeMap::new(),
            version: "0".into(),
            address: None,
        }));
        assert!(matches!(answer, Answer::Registered { .. }), "{answer:?}");
    }

    pub(crate) fn deploy(&self, deployment: Deployment) {
        let answer = self.apply(Kind::Deploy(Deploy { deployment, expected_generation: None, retry: true }));
        assert!(matches!(answer, Answer::Deployed { .. }), "{answer:?}");
    }

    pub(crate) fn scale(&self, service: &str, replicas: u32) {
        let service = service.parse().expect("deployment/service");
        let answer = self.apply(Kind::Scale(Scale { service, replicas }));
        assert!(matches!(answer, Answer::Scaled { .. }), "{answer:?}");
    }

    pub(crate) fn replicas(&self) -> Vec<Replica> {
        self.state().replicas().cloned().collect()
    }

    /// The fences under which plans came, each once.
    pub(crate) fn fences(&self) -> Vec<u64> {
        let mut fences: Vec<u64> = self.plans.lock().expect("not poisoned").iter().map(|(fence, _)| *fence).collect();
        fences.dedup();
        fences
    }

    /// Waits until the state is as told.
    pub(crate) async fn wait(&self, what: &str, mut is: impl FnMut(&State) -> bool) {
        let mut revision = self.revision.subscribe();
        let wait = async {
            while !is(&self.state()) {
                revision.changed().await.expect("the sender lives");
            }
        };
        if tokio::time::timeout(Duration::from_secs(20), wait).await.is_err() {
            panic!("{what}: not in 20 s; {:#?}", self.replicas());
        }
    }

    /// Nodes that start and stop everything at once, until the guard is dropped.
    pub(crate) fn nodes_at_work(self: &Arc<Self>) -> AbortOnDrop {
        let (control, mut revision) = (self.clone(), self.revision.subscribe());
        AbortOnDrop(tokio::spawn(async move {
            loop {
                revision.borrow_and_update();
                for replica in control.replicas() {
                    let phase = match (replica.desired, replica.status.phase) {
                        (Desired::Run, Phase::Pending) => Phase::Running(Health::Unchecked),
                        (Desired::Stop(_), phase) if !phase.is_finished() => Phase::Finished(Outcome::Stopped),
                        _ => continue,
                    };
                    let status = ReplicaStatus { phase, ..ReplicaStatus::pending(now()) };
                    let report = ReplicaReport { replica: replica.id, generation: replica.generation, status };
                    control.apply(Kind::ReportReplicas(ReportReplicas { node: replica.node, reports: vec![report] }));
                }
                if revision.changed().await.is_err() {
                    return;
                }
            }
        }))
    }

    /// Serves at a socket until the guard is dropped.
    pub(crate) fn serve(self: &Arc<Self>, socket: PathBuf) -> Served {
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("bind");
        let stop = CancellationToken::new();
        let server = tonic::transport::Server::builder()
            .add_service(WatchServiceServer::new(Service(self.clone(), stop.clone())))
            .add_service(SchedulerServiceServer::new(Service(self.clone(), stop.clone())))
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.clone().cancelled_owned());
        tokio::spawn(server);
        Served { address: format!("unix:{}", socket.display()), stop }
    }
}

/// A task that ends with its guard.
pub(crate) struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) struct Served {
    pub(crate) address: String,
    stop: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Service(Arc<Control>, CancellationToken);

#[tonic::async_trait]
impl WatchService for Service {
    type WatchStream = BoxStream<'static, Result<watch_pb::WatchResponse, Status>>;

    async fn watch(&self, request: Request<watch_pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let wanted = request.into_inner().view.expect("a view");
        assert_eq!(View::try_from(wanted), Ok(View::Scheduler));
        let control = self.0.clone();
        let snapshots = WatchStream::new(self.0.revision.subscribe()).map(move |_| {
            let state = control.state();
            let change = |object: Object| watch_pb::Change { key: object.key(), object: Some((&object).into()) };
            Ok(watch_pb::WatchResponse {
                revision: state.revision().0,
                cluster: ClusterId::from_u128(1).to_string(),
                snapshot: true,
                more: false,
                changes: view::snapshot(&state, &View::Scheduler).into_iter().map(change).collect(),
            })
        });
        Ok(Response::new(snapshots.take_until(self.1.clone().cancelled_owned()).boxed()))
    }
}

#[tonic::async_trait]
impl SchedulerService for Service {
    async fn acquire_lease(
        &self,
        request: Request<scheduler_pb::AcquireLeaseRequest>,
    ) -> Result<Response<scheduler_pb::AcquireLeaseResponse>, Status> {
        let scheduler_pb::AcquireLeaseRequest { holder, ttl_ms } = request.into_inner();
        let command = AcquireLease { holder, ttl: orlop_model::Millis(ttl_ms) };
        let Answer::Lease { held, lease } = self.0.apply(Kind::AcquireLease(command)) else {
            return Err(Status::internal("no lease"));
        };
        Ok(Response::new(scheduler_pb::AcquireLeaseResponse {
            fence: lease.fence,
            held,
            holder: lease.holder,
            expires_at_ms: lease.expires_at.0,
        }))
    }

    async fn submit_plan(
        &self,
        request: Request<scheduler_pb::SubmitPlanRequest>,
    ) -> Result<Response<scheduler_pb::SubmitPlanResponse>, Status> {
        let scheduler_pb::SubmitPlanRequest { fence, plan } = request.into_inner();
        let plan = Plan::try_from(plan.expect("a plan")).expect("a sound plan");
        let steps = plan.steps.len();
        let answer = self.0.apply(Kind::SubmitPlan(SubmitPlan { fence, plan }));
        let refused = match answer {
            Answer::PlanTaken { refused } => refused,
            Answer::Refused(refusal) => return Err(Status::aborted(refusal.reason.message)),
            other => return Err(Status::internal(format!("{other:?}"))),
        };
        self.0.plans.lock().expect("not poisoned").push((fence, steps - refused.len()));
        let lose = |n: u32| n.checked_sub(1);
        if self.0.lose_answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose).is_ok() {
            return Err(Status::unavailable("the connection broke"));
        }
        let refused = refused
            .into_iter()
            .map(|refused| scheduler_pb::RefusedStep { step: refused.step, reason: Some((&refused.reason).into()) });
        let revision = self.0.state().revision().0;
        Ok(Response::new(scheduler_pb::SubmitPlanResponse { revision, refused: refused.collect() }))
    }
}
