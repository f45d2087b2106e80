//! What programs ask of an engine: to start workflows, to run tasks, and what came of them.

mod call;
mod run;
mod task;

pub use run::{RunHandle, StartWorkflow};
pub use task::{SubmitTask, TaskHandle};

use crate::worker::Error;
use orlop_model::{TaskId, WorkflowRunId};
use orlop_proto::engine::v1::engine_service_client::EngineServiceClient;
use serde::Serialize;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// How long the engine may take to take a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// A client of an engine. Clones share its connection, which is made again when it breaks.
#[derive(Clone)]
pub struct Client {
    engine: EngineServiceClient<Channel>,
}

impl Client {
    /// A client of the engine at an address such as `http://127.0.0.1:7420`.
    ///
    /// # Errors
    /// When the address cannot be one, or nobody takes the connection.
    pub async fn connect(address: impl Into<String>) -> Result<Self, Error> {
        let address = address.into();
        let endpoint = Endpoint::from_shared(address.clone()).map_err(|source| Error::Address { address, source })?;
        let endpoint = endpoint.connect_timeout(CONNECT).tcp_nodelay(true);
        let channel = endpoint.connect().await.map_err(Error::Unreachable)?;
        Ok(Self { engine: EngineServiceClient::new(channel).max_decoding_message_size(64 << 20) })
    }

    /// Begins a workflow when awaited.
    pub fn start(&self, workflow: impl Into<String>, input: &(impl Serialize + ?Sized)) -> StartWorkflow {
        StartWorkflow::new(self.clone(), workflow.into(), input)
    }

    /// Puts a task into its queue when awaited.
    pub fn submit(&self, task: impl Into<String>, input: &(impl Serialize + ?Sized)) -> SubmitTask {
        SubmitTask::new(self.clone(), task.into(), input)
    }

    /// A run that is known by its id.
    pub fn run(&self, id: WorkflowRunId) -> RunHandle {
        RunHandle { client: self.clone(), id }
    }

    /// A task that is known by its id.
    pub fn task(&self, id: TaskId) -> TaskHandle {
        TaskHandle { client: self.clone(), id }
    }
}
