//! A workflow as a worker has it: a name, and code that takes and gives bytes.

use super::WorkflowContext;
use crate::failure::Failure;
use crate::payload;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use orlop_model::durable::Payload;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;

/// A run's future.
pub(crate) type WorkflowBody = BoxFuture<'static, Result<Payload, Failure>>;

type Begin = dyn Fn(WorkflowContext, &Payload) -> Result<WorkflowBody, Failure> + Send + Sync;

/// A workflow by its name.
#[derive(Clone)]
pub struct Definition {
    name: String,
    begin: Arc<Begin>,
}

impl Definition {
    /// The workflow of this name.
    pub fn new<I, O, F, Fut>(name: impl Into<String>, code: F) -> Self
    where
        I: DeserializeOwned,
        O: Serialize,
        F: Fn(WorkflowContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        let begin = move |context: WorkflowContext, input: &Payload| {
            let running = code(context, payload::read("the workflow's input", input)?);
            let written = running.map(|result| payload::written("the workflow's result", &result?));
            Ok(written.boxed())
        };
        Self { name: name.into(), begin: Arc::new(begin) }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn begin(&self, context: WorkflowContext, input: &Payload) -> Result<WorkflowBody, Failure> {
        (self.begin)(context, input)
    }
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "workflow {:?}", self.name)
    }
}
