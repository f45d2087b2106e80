//! Tasks outside of workflows.

use super::Client;
use super::engines::Engine;
use crate::failure::Failure;
use crate::options::{TaskOptionsBuilder, task_options};
use crate::payload::{self, PayloadError};
use crate::worker::Error;
use futures::future::BoxFuture;
use orlop_model::TaskId;
use orlop_model::durable::{CallId, Payload};
use orlop_proto::engine::v1 as pb;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A task that is wanted; it is submitted when this is awaited.
#[must_use = "nothing is submitted before this is awaited"]
pub struct SubmitTask {
    client: Client,
    input: Result<Payload, PayloadError>,
    options: TaskOptionsBuilder,
    new: pb::NewTask,
}

impl SubmitTask {
    pub(super) fn new(client: Client, name: String, input: &(impl Serialize + ?Sized)) -> Self {
        let new = pb::NewTask { name, ..Default::default() };
        Self { client, input: payload::encode(input), options: TaskOptionsBuilder::default(), new }
    }

    /// While a task of the name with this key is open, that task is answered and none is made.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.new.key = key.into();
        self
    }

    /// The trace that it belongs to, as W3C `traceparent`.
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.new.traceparent = traceparent.into();
        self
    }

    task_options!();

    async fn submit(self) -> Result<TaskHandle, Error> {
        let Self { client, input, options, mut new } = self;
        let input = input.map_err(|error| Error::Invalid(format!("the task's input: {error}")))?;
        new.input = Some(input.into());
        new.options = Some(options.build().map_err(|failure| Error::Invalid(failure.message.clone()))?.into());
        let request = pb::SubmitTasksRequest { tasks: vec![new] };
        let submit = |mut engine: Engine, request| async move { engine.submit_tasks(request).await };
        let response = client.engines.ask(request, submit).await?;
        let first = response.tasks.into_iter().next();
        let first = first.ok_or_else(|| Error::Unreadable("an answer without the task".into()))?;
        let id = first.task.parse().map_err(|error| Error::Unreadable(format!("{error}")))?;
        Ok(TaskHandle { client, id })
    }
}

impl IntoFuture for SubmitTask {
    type Output = Result<TaskHandle, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.submit())
    }
}

/// A task.
#[derive(Clone)]
pub struct TaskHandle {
    pub(super) client: Client,
    pub(super) id: TaskId,
}

impl TaskHandle {
    /// Which task.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Waits until the task is over: outside whether that could be learned, inside how it ended.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn outcome<T: DeserializeOwned>(&self) -> Result<Result<T, Failure>, Error> {
        self.client.result_of(CallId::Task(self.id)).await
    }

    /// The same, where a question that failed is as good as a task that failed.
    ///
    /// # Errors
    /// With how the task failed, or why that could not be learned.
    pub async fn result<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.outcome().await?
    }

    /// Asks the task to stop; whether it was over already.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn cancel(&self, reason: &str) -> Result<bool, Error> {
        self.client.cancel(CallId::Task(self.id), reason).await
    }
}
