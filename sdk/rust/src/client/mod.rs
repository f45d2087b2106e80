//! What programs ask of an engine: to start workflows, to run tasks, and what came of them.

mod call;
mod engines;
mod run;
mod task;

pub use run::{RunHandle, StartWorkflow};
pub use task::{SubmitTask, TaskHandle};

use crate::worker::{Error, endpoints};
use engines::Engines;
use orlop_model::{TaskId, WorkflowRunId};
use serde::Serialize;

/// A client of an engine. Clones share its connection, which is made again when it breaks.
#[derive(Clone)]
pub struct Client {
    engines: Engines,
}

impl Client {
    /// A client of the engine at an address such as `http://127.0.0.1:7420`, or of several with commas between them, of which
    /// the one is asked that has their store.
    ///
    /// # Errors
    /// When an address cannot be one, or nobody takes a connection.
    pub async fn connect(address: impl Into<String>) -> Result<Self, Error> {
        Ok(Self { engines: Engines::connect(endpoints(&address.into())?).await? })
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
