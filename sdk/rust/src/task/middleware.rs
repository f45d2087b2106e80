//! What stands around tasks and steps: the first that was given to the worker is the outermost.

use crate::failure::{Failure, panic_message};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use orlop_model::durable::Payload;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// What is about to run.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// What kind of code it is.
    pub kind: InvocationKind,
    /// What it is called by.
    pub name: String,
    /// The task; of a step, its run.
    pub id: String,
    /// Which attempt; the first is 1.
    pub attempt: u32,
    /// What a task is called with; empty for a step.
    pub input: Payload,
    /// The trace that it belongs to, as W3C `traceparent`; empty for none.
    pub traceparent: String,
}

/// What kind of code is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvocationKind {
    /// A task.
    Task,
    /// A step of a workflow.
    Step,
}

/// Code around every task and every step that a worker runs.
#[async_trait::async_trait]
pub trait Middleware: Send + Sync + 'static {
    /// Runs `next`, or does not, and what is to be done before and after.
    async fn call(&self, invocation: Invocation, next: Next<'_>) -> Result<Payload, Failure>;
}

type Innermost = Box<dyn FnOnce(Payload) -> BoxFuture<'static, Result<Payload, Failure>> + Send>;

/// What a [`Middleware`] stands around.
pub struct Next<'a> {
    rest: &'a [Arc<dyn Middleware>],
    innermost: Innermost,
}

impl Next<'_> {
    /// Runs it, with what the invocation says now.
    ///
    /// # Errors
    /// With the failure of the code, or of a middleware in between.
    pub async fn run(self, invocation: Invocation) -> Result<Payload, Failure> {
        match self.rest.split_first() {
            Some((first, rest)) => first.call(invocation, Next { rest, innermost: self.innermost }).await,
            None => (self.innermost)(invocation.input).await,
        }
    }
}

/// All that stands around, the outermost first.
#[derive(Clone, Default)]
pub(crate) struct Chain(pub(crate) Arc<[Arc<dyn Middleware>]>);

impl Chain {
    pub(crate) async fn run<F>(&self, invocation: Invocation, innermost: F) -> Result<Payload, Failure>
    where
        F: FnOnce(Payload) -> BoxFuture<'static, Result<Payload, Failure>> + Send + 'static,
    {
        caught(Next { rest: &self.0, innermost: Box::new(innermost) }.run(invocation)).await
    }
}

/// A panic is a failure as well.
async fn caught(running: impl Future<Output = Result<Payload, Failure>>) -> Result<Payload, Failure> {
    match AssertUnwindSafe(running).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => Err(Failure::panicked(panic_message(&*panic))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload;
    use orlop_model::durable::FailureCause;

    struct Wraps(&'static str);

    #[async_trait::async_trait]
    impl Middleware for Wraps {
        async fn call(&self, mut invocation: Invocation, next: Next<'_>) -> Result<Payload, Failure> {
            let input: String = payload::decode(&invocation.input)?;
            invocation.input = payload::encode(&format!("{input}{}", self.0))?;
            let output: String = payload::decode(&next.run(invocation).await?)?;
            Ok(payload::encode(&format!("{output}{}", self.0))?)
        }
    }

    fn invocation() -> Invocation {
        let (name, id, traceparent) = ("a".into(), "task_1".into(), String::new());
        let input = payload::encode("").unwrap();
        Invocation { kind: InvocationKind::Task, name, id, attempt: 1, input, traceparent }
    }

    #[tokio::test]
    async fn the_first_middleware_is_the_outermost() {
        let chain = Chain([Wraps("a"), Wraps("b")].map(|wraps| Arc::new(wraps) as Arc<dyn Middleware>).into());
        let run =
            |input: Payload| async move { Ok(payload::encode(&(payload::decode::<String>(&input)? + "!"))?) }.boxed();
        let output = chain.run(invocation(), run).await.unwrap();
        assert_eq!(payload::decode::<String>(&output).unwrap(), "ab!ba");
    }

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        let failure = Chain::default().run(invocation(), |_| async { panic!("no {}", 7) }.boxed()).await.unwrap_err();
        assert_eq!((failure.cause, failure.message.as_str()), (FailureCause::Panicked, "no 7"));
    }
}
