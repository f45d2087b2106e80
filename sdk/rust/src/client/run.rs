//! Runs of workflows.

use super::Client;
use super::engines::Engine;
use crate::failure::Failure;
use crate::payload::{self, PayloadError};
use crate::worker::Error;
use futures::future::BoxFuture;
use orlop_model::WorkflowRunId;
use orlop_model::durable::{CallId, Payload};
use orlop_proto::engine::v1 as pb;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A run that is wanted; it begins when this is awaited.
#[must_use = "nothing begins before this is awaited"]
pub struct StartWorkflow {
    client: Client,
    input: Result<Payload, PayloadError>,
    request: pb::StartWorkflowRequest,
}

impl StartWorkflow {
    pub(super) fn new(client: Client, workflow: String, input: &(impl Serialize + ?Sized)) -> Self {
        let request = pb::StartWorkflowRequest { workflow, ..Default::default() };
        Self { client, input: payload::encode(input), request }
    }

    /// If a run of the workflow with this key is open, that run is answered and none begins.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.request.key = key.into();
        self
    }

    /// The version that the run is pinned to.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.request.version = version.into();
        self
    }

    /// Something that the run can be found by.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.attributes.insert(name.into(), value.into());
        self
    }

    /// All that the run can be found by.
    pub fn attributes<K: Into<String>, V: Into<String>>(
        mut self,
        attributes: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.request.attributes = attributes.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self
    }

    /// The trace that it belongs to, as W3C `traceparent`.
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.request.traceparent = traceparent.into();
        self
    }

    async fn start(self) -> Result<RunHandle, Error> {
        let Self { client, input, mut request } = self;
        let input = input.map_err(|error| Error::Invalid(format!("the workflow's input: {error}")))?;
        request.input = Some(input.into());
        let start = |mut engine: Engine, request| async move { engine.start_workflow(request).await };
        let response = client.engines.ask(request, start).await?;
        let id = response.run.parse().map_err(|error| Error::Unreadable(format!("{error}")))?;
        Ok(RunHandle { client, id })
    }
}

impl IntoFuture for StartWorkflow {
    type Output = Result<RunHandle, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

/// A run.
#[derive(Clone)]
pub struct RunHandle {
    pub(super) client: Client,
    pub(super) id: WorkflowRunId,
}

impl RunHandle {
    /// Which run.
    pub fn id(&self) -> WorkflowRunId {
        self.id
    }

    /// Waits until the run is over, or the one that goes on in its place: outside whether that could be learned, inside how
    /// it ended.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn outcome<T: DeserializeOwned>(&self) -> Result<Result<T, Failure>, Error> {
        self.client.result_of(CallId::Run(self.id)).await
    }

    /// The same, where a question that failed is as good as a run that failed.
    ///
    /// # Errors
    /// With how the run failed, or why that could not be learned.
    pub async fn result<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.outcome().await?
    }

    /// Gives the run a signal.
    ///
    /// # Errors
    /// When the run is over, or the engine cannot be asked.
    pub async fn signal(&self, name: impl Into<String>, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.signal_once(name, value, "").await
    }

    /// Gives the run a signal, unless it has had one with this id.
    ///
    /// # Errors
    /// When the run is over, or the engine cannot be asked.
    pub async fn signal_once(
        &self,
        name: impl Into<String>,
        value: &(impl Serialize + ?Sized),
        id: impl Into<String>,
    ) -> Result<(), Error> {
        let value = payload::encode(value).map_err(|error| Error::Invalid(format!("the signal's value: {error}")))?;
        let (run, payload) = (self.id.to_string(), Some(value.into()));
        let request = pb::SignalRunRequest { run, name: name.into(), payload, id: id.into() };
        let signal = |mut engine: Engine, request| async move { engine.signal_run(request).await };
        self.client.engines.ask(request, signal).await?;
        Ok(())
    }

    /// Asks the run to end early; whether it was over already.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn cancel(&self, reason: &str) -> Result<bool, Error> {
        self.client.cancel(CallId::Run(self.id), reason).await
    }
}
