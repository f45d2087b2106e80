//! Doing what a machine decided. Nothing is decided here: a step is done once, and how it went is the answer.

use super::files::{check_binds, environment, unwritten, write_etc};
use super::secrets::check_secrets;
use super::spec::Ingredients;
use super::{Attachment, Overlay, ROLE_INIT, ROLE_MAIN, Secrets, probe};
use crate::board::{init_container, main_container};
use crate::config::LogLimits;
use crate::node::Layout;
use orlop_agent_core::{Failure, FailureKind, Input, Step};
use orlop_model::spec::{InitAction, Signal};
use orlop_model::{Assignment, ClusterId, NodeId, ReplicaId, Revision};
use orlop_runtime::{ContainerRuntime, ContainerSpec, ResolvedImage, RuntimeError};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The containers that each replica has or may have; a name is here before the container is made. Kept so that a removal
/// need not list all containers of the node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known(Arc<Mutex<BTreeMap<ReplicaId, BTreeSet<String>>>>);

impl Known {
    pub(crate) fn add(&self, replica: ReplicaId, container: String) {
        self.0.lock().entry(replica).or_default().insert(container);
    }

    pub(crate) fn forget(&self, replica: ReplicaId) {
        self.0.lock().remove(&replica);
    }

    fn of(&self, replica: ReplicaId) -> Vec<String> {
        self.0.lock().get(&replica).into_iter().flatten().cloned().collect()
    }

    fn removed(&self, replica: ReplicaId, container: &str) {
        if let Some(known) = self.0.lock().get_mut(&replica) {
            known.remove(container);
        }
    }
}

/// The handles that steps need; cheap to clone.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) runtime: Arc<dyn ContainerRuntime>,
    pub(crate) overlay: Overlay,
    pub(crate) layout: Layout,
    pub(crate) logs: LogLimits,
    pub(crate) environment: Arc<BTreeMap<String, String>>,
    pub(crate) node: NodeId,
    pub(crate) known: Known,
    pub(crate) secrets: Secrets,
}

/// What the agent knows of the replica beyond the step.
#[derive(Clone)]
pub(crate) struct StepContext {
    pub(crate) replica: ReplicaId,
    pub(crate) assignment: Option<Assignment>,
    /// Of the view that the assignment is from.
    pub(crate) revision: Revision,
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) image: Option<ResolvedImage>,
    pub(crate) attachment: Option<Attachment>,
    pub(crate) cancel: CancellationToken,
}

/// What a step brought besides its answer, for the steps after it.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    pub(crate) image: Option<ResolvedImage>,
    pub(crate) attachment: Option<Attachment>,
}

/// The answer to a step that failed in this way; `None` for steps that have no answer.
pub(crate) fn fail_of(step: &Step, failure: Failure) -> Option<Input> {
    Some(match step {
        Step::PullImage => Input::ImageFailed(failure),
        Step::AttachNetwork => Input::NetworkFailed(failure),
        Step::PrepareFiles => Input::FilesFailed(failure),
        Step::RunInit { .. } => Input::InitFailed(failure),
        Step::CreateContainer { .. } => Input::CreateFailed(failure),
        Step::StartContainer { .. } => Input::StartFailed(failure),
        Step::RefreshSecrets { .. } => Input::SecretsFailed(failure),
        Step::TellOfSecrets { .. } => Input::SecretsUntold(failure),
        Step::Check { attempt } => Input::Checked { attempt: *attempt, result: Err(failure) },
        Step::Signal { .. } => Input::SignalFailed(failure),
        Step::RemoveContainers { .. } => Input::RemoveFailed(failure),
        Step::DetachNetwork => Input::DetachFailed(failure),
        Step::Persist(_) | Step::Report(_) | Step::Event { .. } | Step::Cancel(_) | Step::Forget => return None,
    })
}

fn cancelled() -> Failure {
    Failure::infrastructure("cancelled", "it was cancelled")
}

/// What a failure of the runtime means for the replica. `unknown` is the judgement of failures that nobody can name.
fn blame(error: RuntimeError, unknown: FailureKind) -> Failure {
    let kind = match &error {
        RuntimeError::NotFound { .. } => FailureKind::ContainerGone,
        RuntimeError::Unavailable { .. }
        | RuntimeError::DiskFull { .. }
        | RuntimeError::ImageUnavailable { .. }
        | RuntimeError::WrongState { .. } => FailureKind::Infrastructure,
        RuntimeError::ImageNotFound { .. }
        | RuntimeError::ImageUnauthorized { .. }
        | RuntimeError::ImageInvalid { .. }
        | RuntimeError::NoCommand { .. }
        | RuntimeError::CommandNotFound { .. }
        | RuntimeError::UnknownUser { .. }
        | RuntimeError::PermissionDenied { .. }
        | RuntimeError::MountInvalid { .. }
        | RuntimeError::WorkingDirInvalid { .. } => FailureKind::Permanent,
        RuntimeError::Other { .. } => unknown,
    };
    Failure { kind, reason: orlop_model::Reason::new(error.code(), error.to_string()) }
}

impl Executor {
    /// Does a step that has an answer.
    pub(crate) async fn execute(&self, step: &Step, context: StepContext) -> Result<(Input, Learned), Failure> {
        let nothing = Learned::default();
        match step {
            Step::PullImage => {
                let image = &assigned(&context)?.workload.image;
                let image = tokio::select! {
                    biased;
                    () = context.cancel.cancelled() => return Err(cancelled()),
                    image = self.runtime.ensure_image(image) => {
                        image.map_err(|e| blame(e, FailureKind::Infrastructure))?
                    }
                };
                let learned = Learned { image: Some(image.clone()), attachment: None };
                let stop_signal = image.config.stop_signal.as_deref().and_then(Signal::parse);
                Ok((Input::ImageReady { digest: image.digest, stop_signal }, learned))
            }
            Step::AttachNetwork => {
                let attachment = self.overlay.attach(context.replica).await?;
                let input = Input::NetworkReady { address: attachment.address };
                Ok((input, Learned { image: None, attachment: Some(attachment) }))
            }
            Step::PrepareFiles => {
                let assignment = assigned(&context)?;
                environment(assignment, &self.environment)?;
                check_binds(assignment)?;
                check_secrets(assignment)?;
                Ok((Input::FilesReady, nothing))
            }
            Step::RunInit { index, attempt } => {
                self.run_init(*index, *attempt, &context).await.map(|learned| (Input::InitDone, learned))
            }
            Step::CreateContainer { attempt } => {
                let (ingredients, learned) = self.ingredients(&context).await?;
                self.create(&context, &ingredients.main(*attempt)).await?;
                Ok((Input::Created, learned))
            }
            Step::StartContainer { attempt } => {
                let id = main_container(context.replica, *attempt);
                self.runtime.start(&id).await.map_err(|e| blame(e, FailureKind::Permanent))?;
                Ok((Input::Started, nothing))
            }
            Step::RefreshSecrets { started: false } => {
                self.secrets.place(assigned(&context)?, context.revision).await?;
                Ok((Input::SecretsRefreshed { signals: BTreeSet::new() }, nothing))
            }
            Step::RefreshSecrets { started: true } => {
                let signals = self.secrets.refresh(assigned(&context)?, context.revision).await?;
                Ok((Input::SecretsRefreshed { signals }, nothing))
            }
            Step::TellOfSecrets { attempt, signals } => {
                let id = main_container(context.replica, *attempt);
                for signal in signals {
                    self.runtime.signal(&id, *signal).await.map_err(|e| blame(e, FailureKind::Infrastructure))?;
                }
                self.secrets.told(context.replica).await?;
                Ok((Input::SecretsTold, nothing))
            }
            Step::Check { attempt } => {
                let (result, learned) = tokio::select! {
                    biased;
                    () = context.cancel.cancelled() => return Err(cancelled()),
                    result = self.check(*attempt, &context) => result?,
                };
                Ok((Input::Checked { attempt: *attempt, result }, learned))
            }
            Step::Signal { attempt, signal } => {
                let id = main_container(context.replica, *attempt);
                self.runtime.signal(&id, *signal).await.map_err(|e| blame(e, FailureKind::Infrastructure))?;
                Ok((Input::Signalled, nothing))
            }
            Step::RemoveContainers { keep, last } => {
                let keep = keep.map(|attempt| main_container(context.replica, attempt));
                for id in self.known.of(context.replica).into_iter().filter(|id| Some(id) != keep.as_ref()) {
                    self.remove(context.replica, &id).await?;
                }
                if *last {
                    self.secrets.remove(context.replica)?;
                }
                Ok((Input::Removed, nothing))
            }
            Step::DetachNetwork => {
                self.overlay.detach(context.replica).await?;
                Ok((Input::Detached, nothing))
            }
            Step::Persist(_) | Step::Report(_) | Step::Event { .. } | Step::Cancel(_) | Step::Forget => {
                Err(Failure::infrastructure("agent_fault", "the agent began a step that has no answer"))
            }
        }
    }

    /// What a container is made from. The attachment is asked for again by an agent that was not there when it was made.
    async fn ingredients<'a>(&'a self, context: &'a StepContext) -> Result<(Ingredients<'a>, Learned), Failure> {
        let assignment = assigned(context)?;
        let image = context.image.clone().ok_or_else(|| Failure {
            kind: FailureKind::ImageGone,
            reason: orlop_model::Reason::new("image_unknown", "its image has to be looked up again"),
        })?;
        let (attachment, learned) = self.attachment(context).await?;
        let environment = environment(assignment, &self.environment)?;
        let etc = write_etc(&self.layout, &assignment.replica, attachment.address);
        let directory = self.layout.replica(assignment.replica.id);
        etc.map_err(|error| unwritten("its files in /etc were not written", &directory, &error))?;
        self.secrets.place(assignment, context.revision).await?;
        let ingredients = Ingredients {
            assignment,
            node: self.node,
            cluster: context.cluster,
            layout: &self.layout,
            logs: &self.logs,
            image,
            namespace: attachment.namespace,
            environment,
            secrets: self.secrets.mounts(assignment),
        };
        Ok((ingredients, learned))
    }

    async fn attachment(&self, context: &StepContext) -> Result<(Attachment, Learned), Failure> {
        if let Some(attachment) = &context.attachment {
            return Ok((attachment.clone(), Learned::default()));
        }
        let attachment = self.overlay.attach(context.replica).await?;
        Ok((attachment.clone(), Learned { image: None, attachment: Some(attachment) }))
    }

    async fn create(&self, context: &StepContext, spec: &ContainerSpec) -> Result<(), Failure> {
        self.known.add(context.replica, spec.id.clone());
        self.runtime.create(spec).await.map_err(|error| match error {
            RuntimeError::NotFound { what } => Failure {
                kind: FailureKind::ImageGone,
                reason: orlop_model::Reason::new("image_gone", format!("{what} was removed meanwhile")),
            },
            error => blame(error, FailureKind::Permanent),
        })
    }

    async fn remove(&self, replica: ReplicaId, id: &str) -> Result<(), Failure> {
        self.runtime.remove(id).await.map_err(|e| blame(e, FailureKind::Infrastructure))?;
        self.known.removed(replica, id);
        Ok(())
    }

    async fn check(&self, attempt: u32, context: &StepContext) -> Result<(Result<(), Failure>, Learned), Failure> {
        let assignment = assigned(context)?;
        let Some(health) = &assignment.workload.health else { return Ok((Ok(()), Learned::default())) };
        let (attachment, learned) = self.attachment(context).await?;
        let id = main_container(context.replica, attempt);
        let result = probe::check(&*self.runtime, &id, &attachment.namespace, &health.check, health.timeout).await;
        Ok((result, learned))
    }

    async fn run_init(&self, index: usize, attempt: u32, context: &StepContext) -> Result<Learned, Failure> {
        let assignment = assigned(context)?;
        let gone = || Failure::infrastructure("agent_fault", "the service has no such init step");
        let step = assignment.workload.init.get(index).ok_or_else(gone)?;
        let (attachment, learned) = self.attachment(context).await?;
        let namespace = attachment.namespace;
        let wait = async {
            match &step.action {
                InitAction::WaitTcp { host, port } => probe::wait_tcp(&namespace, host, *port).await,
                InitAction::WaitHttp { url, expect_status } => probe::wait_http(&namespace, url, *expect_status).await,
                InitAction::Run { .. } => self.run_init_command(index, attempt, context).await,
            }
        };
        match &step.action {
            // It heeds the cancellation itself, because it has something to clean up.
            InitAction::Run { .. } => wait.await.map(|()| learned),
            InitAction::WaitTcp { .. } | InitAction::WaitHttp { .. } => tokio::select! {
                biased;
                () = context.cancel.cancelled() => Err(cancelled()),
                result = wait => result.map(|()| learned),
            },
        }
    }

    async fn run_init_command(&self, index: usize, attempt: u32, context: &StepContext) -> Result<(), Failure> {
        let (ingredients, _) = self.ingredients(context).await?;
        let assignment = assigned(context)?;
        let Some(spec) = ingredients.init(index, attempt) else { return Ok(()) };
        let id = init_container(assignment, index, attempt);
        let run = async {
            self.create(context, &spec).await?;
            self.runtime.start(&id).await.map_err(|e| blame(e, FailureKind::Permanent))?;
            self.runtime.wait(&id).await.map_err(|e| blame(e, FailureKind::Infrastructure))
        };
        let result = tokio::select! {
            biased;
            () = context.cancel.cancelled() => Err(cancelled()),
            result = run => result,
        };
        if result.as_ref().is_err_and(|failure| failure.reason.code == "cancelled") {
            // Killed first: what is removed in the middle of a creation may come to life after the removal.
            let _ = self.runtime.signal(&id, Signal::KILL).await;
        }
        let removed = self.remove(context.replica, &id).await;
        let exit = result?;
        removed?;
        match exit.code {
            0 => Ok(()),
            _ => Err(Failure::permanent("init_exited", format!("its command {exit}; see its logs"))),
        }
    }
}

/// The role of a container by its label.
pub(crate) fn role_of(label: Option<&String>) -> Option<orlop_agent_core::Role> {
    match label.map(String::as_str) {
        Some(ROLE_MAIN) => Some(orlop_agent_core::Role::Main),
        Some(ROLE_INIT) => Some(orlop_agent_core::Role::Init),
        _ => None,
    }
}

fn assigned(context: &StepContext) -> Result<&Assignment, Failure> {
    context.assignment.as_ref().ok_or_else(|| {
        Failure::infrastructure("agent_fault", "the agent began a step that needs an assignment, and there is none")
    })
}
