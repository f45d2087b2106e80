//! A task as a worker has it: code that takes and gives bytes.

use super::TaskContext;
use crate::failure::Failure;
use crate::payload;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use orlop_model::durable::Payload;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

type Run = dyn Fn(TaskContext, Payload) -> BoxFuture<'static, Result<Payload, Failure>> + Send + Sync;

/// The code of a task.
#[derive(Clone)]
pub(crate) struct TaskCode(Arc<Run>);

impl TaskCode {
    pub(crate) fn new<I, O, F, Fut>(code: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize,
        F: Fn(TaskContext, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        Self(Arc::new(move |context, input| {
            let running = payload::read("the task's input", &input).map(|input| code(context, input));
            async move { payload::written("the task's result", &running?.await?) }.boxed()
        }))
    }

    pub(crate) fn run(&self, context: TaskContext, input: Payload) -> BoxFuture<'static, Result<Payload, Failure>> {
        (self.0)(context, input)
    }
}
