//! The client of an engine, for people: what [`orlop_proto::engine`] offers, with errors that say what to do.

use crate::error::chain;
use orlop_proto::engine::v1 as pb;
use orlop_proto::engine::v1::engine_service_client::EngineServiceClient;
use orlop_proto::metadata::STANDING_BY;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Response, Status};

/// Where an engine listens by default.
pub const ENGINE_ADDRESS_DEFAULT: &str = "http://127.0.0.1:7420";
/// One wait of [`EngineClient::wait`], at most; a longer one is several.
const WAIT: Duration = Duration::from_secs(60);

/// Why an engine did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The address is no good.
    #[error("{0:?} is no address of an engine; write one like {ENGINE_ADDRESS_DEFAULT}")]
    Address(String),
    /// Nobody answers.
    #[error(
        "no engine answers at {address} ({problem}); is it running? Start one with `orlopctl engine dev`, or give another --engine"
    )]
    Unreachable {
        /// What was dialled.
        address: String,
        /// What the system said.
        problem: String,
    },
    /// There is no such run or task.
    #[error("{0}")]
    NotFound(String),
    /// It does not take what was sent.
    #[error("{0}")]
    Refused(String),
    /// It took too long.
    #[error("{0}")]
    TimedOut(String),
    /// A defect, told as the engine told it.
    #[error("the engine failed: {0}; its log says more")]
    Failed(String),
}

type Calls = EngineServiceClient<Channel>;

/// Asks one engine, or of several that share a store the one that has it.
#[derive(Debug, Clone)]
pub struct EngineClient {
    address: String,
    engines: Vec<Calls>,
    /// The one that answered last.
    active: Arc<AtomicUsize>,
}

impl EngineClient {
    /// A client of the engine at an address like [`ENGINE_ADDRESS_DEFAULT`], or of several with commas between them; connects
    /// when first used.
    ///
    /// # Errors
    /// When an address is none.
    pub fn new(address: &str) -> Result<Self, EngineError> {
        let calls = |address: &str| {
            let endpoint =
                Endpoint::from_shared(address.to_owned()).map_err(|_| EngineError::Address(address.to_owned()))?;
            let channel = endpoint.tcp_nodelay(true).connect_timeout(Duration::from_secs(2)).connect_lazy();
            Ok(Calls::new(channel).max_decoding_message_size(usize::MAX))
        };
        let engines = address.split(',').map(|address| calls(address.trim())).collect::<Result<_, EngineError>>()?;
        Ok(Self { address: address.to_owned(), engines, active: Arc::default() })
    }

    /// Asks the engine that answered last, and in turn the others, as long as nobody has looked at the request.
    async fn ask<R: Clone, T, F>(&self, request: R, ask: impl Fn(Calls, R) -> F) -> Result<T, EngineError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let (count, first) = (self.engines.len(), self.active.load(Ordering::Relaxed));
        let mut tries = 0;
        loop {
            let place = (first + tries) % count;
            tries += 1;
            match ask(self.engines[place].clone(), request.clone()).await {
                Err(status) if tries < count && is_untouched(&status) => {}
                answer => {
                    self.active.store(place, Ordering::Relaxed);
                    return answer.map(Response::into_inner).map_err(|status| self.error(&status));
                }
            }
        }
    }

    fn error(&self, status: &Status) -> EngineError {
        let message = status.message().to_owned();
        match status.code() {
            Code::NotFound => EngineError::NotFound(message),
            Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists | Code::OutOfRange => {
                EngineError::Refused(message)
            }
            Code::DeadlineExceeded => EngineError::TimedOut(message),
            Code::Unavailable => {
                let problem = if std::error::Error::source(status).is_some() { chain(status) } else { message };
                EngineError::Unreachable { address: self.address.clone(), problem }
            }
            _ => EngineError::Failed(message),
        }
    }

    /// Begins a run, or finds the one that has the key.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn start(&self, request: pb::StartWorkflowRequest) -> Result<pb::StartWorkflowResponse, EngineError> {
        self.ask(request, |mut calls, request| async move { calls.start_workflow(request).await }).await
    }

    /// Puts tasks into queues.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn submit(&self, tasks: Vec<pb::NewTask>) -> Result<pb::SubmitTasksResponse, EngineError> {
        self.ask(
            pb::SubmitTasksRequest { tasks },
            |mut calls, request| async move { calls.submit_tasks(request).await },
        )
        .await
    }

    /// Waits until a run or a task is over; none when it is not within the time. An engine that goes away meanwhile is
    /// waited for.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn wait(&self, id: &str, patience: Duration) -> Result<Option<pb::Outcome>, EngineError> {
        let until = tokio::time::Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            let patience_ms = u64::try_from(left.min(WAIT).as_millis()).unwrap_or(u64::MAX);
            let request = pb::AwaitRequest { id: id.to_owned(), patience_ms };
            match self.ask(request, |mut calls, request| async move { calls.r#await(request).await }).await {
                Ok(pb::AwaitResponse { outcome: Some(outcome) }) => return Ok(Some(outcome)),
                Ok(_) if left.is_zero() => return Ok(None),
                Err(EngineError::Unreachable { .. }) if !left.is_zero() => {
                    tokio::time::sleep(left.min(Duration::from_millis(200))).await;
                }
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives a run a signal.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn signal(&self, request: pb::SignalRunRequest) -> Result<(), EngineError> {
        self.ask(request, |mut calls, request| async move { calls.signal_run(request).await }).await.map(drop)
    }

    /// Asks a run or a task to end early; whether it was over already.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn cancel(&self, id: &str, reason: &str) -> Result<bool, EngineError> {
        let request = pb::CancelRequest { id: id.to_owned(), reason: reason.to_owned() };
        self.ask(request, |mut calls, request| async move { calls.cancel(request).await })
            .await
            .map(|answer| answer.over)
    }

    /// Lets a blocked run go on with the code that workers have now.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn retry(&self, id: &str) -> Result<(), EngineError> {
        self.ask(pb::RetryRequest { id: id.to_owned() }, |mut calls, request| async move { calls.retry(request).await })
            .await
            .map(drop)
    }

    /// A run with its whole journal.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn run(&self, run: &str) -> Result<(pb::Run, Vec<pb::Entry>), EngineError> {
        let mut entries: Vec<pb::Entry> = Vec::new();
        loop {
            let from_seq = entries.last().map_or(0, |last| last.seq + 1);
            let request = pb::DescribeRunRequest { run: run.to_owned(), from_seq };
            let answer =
                self.ask(request, |mut calls, request| async move { calls.describe_run(request).await }).await?;
            entries.extend(answer.entries);
            if !answer.more {
                return Ok((answer.run.unwrap_or_default(), entries));
            }
        }
    }

    /// Runs, newest first.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn runs(&self, request: pb::ListRunsRequest) -> Result<pb::ListRunsResponse, EngineError> {
        self.ask(request, |mut calls, request| async move { calls.list_runs(request).await }).await
    }

    /// A task.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn task(&self, task: &str) -> Result<pb::DescribeTaskResponse, EngineError> {
        self.ask(pb::DescribeTaskRequest { task: task.to_owned() }, |mut calls, request| async move {
            calls.describe_task(request).await
        })
        .await
    }

    /// Tasks, newest first.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn tasks(&self, request: pb::ListTasksRequest) -> Result<pb::ListTasksResponse, EngineError> {
        self.ask(request, |mut calls, request| async move { calls.list_tasks(request).await }).await
    }

    /// The queues with open tasks.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn queues(&self) -> Result<Vec<pb::Queue>, EngineError> {
        self.ask(pb::ListQueuesRequest {}, |mut calls, request| async move { calls.list_queues(request).await })
            .await
            .map(|answer| answer.queues)
    }

    /// The workers that are connected.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn workers(&self) -> Result<Vec<pb::ConnectedWorker>, EngineError> {
        self.ask(pb::ListWorkersRequest {}, |mut calls, request| async move { calls.list_workers(request).await })
            .await
            .map(|answer| answer.workers)
    }
}

/// Whether surely nothing came of a request: no connection was made, or the engine only stands by. Where a connection
/// broke, or an engine began anew, that is not known.
fn is_untouched(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    status.code() == Code::Unavailable && status.metadata().contains_key(STANDING_BY)
}
