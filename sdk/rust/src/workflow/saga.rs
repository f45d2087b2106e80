//! Sagas: what was done is undone when what follows fails.

use super::WorkflowContext;
use crate::failure::Failure;
use crate::replay::{Source, StepBody};
use futures::FutureExt as _;
use orlop_model::durable::RetryPolicy;
use std::panic::Location;
use std::sync::Arc;

/// What undoes what a workflow did, the last first. Each compensation is a step named `compensate …`, so that one that
/// completed is never run again, and stands in a shield, so that a cancelled run is undone as well.
pub struct Saga {
    context: WorkflowContext,
    compensations: Vec<Compensation>,
}

struct Compensation {
    name: String,
    source: Source,
    body: StepBody,
    retry: RetryPolicy,
}

/// What came of undoing.
#[derive(Debug, Clone, Default)]
pub struct Undone {
    /// The compensations that completed, in the order in which they ran.
    pub completed: Vec<String>,
    /// Those that did not.
    pub failed: Vec<(String, Failure)>,
}

impl Saga {
    pub(super) const fn new(context: WorkflowContext) -> Self {
        Self { context, compensations: Vec::new() }
    }

    /// Notes what undoes what was done, or is about to be done.
    #[track_caller]
    pub fn compensate<F, Fut>(&mut self, name: impl Into<String>, code: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let body = move || code().map(|result| result.map(|()| Default::default())).boxed();
        let (name, source) = (name.into(), Location::caller());
        self.compensations.push(Compensation { name, source, body: Arc::new(body), retry: RetryPolicy::default() });
    }

    /// How often the compensation that was noted last is tried.
    pub fn retry(&mut self, retry: RetryPolicy) {
        if let Some(last) = self.compensations.last_mut() {
            last.retry = retry;
        }
    }

    /// Runs all compensations, the last first. One that fails does not keep the others from being run.
    pub async fn undo(self) -> Undone {
        let Self { context, compensations } = self;
        let shared = context.shared().clone();
        let undoing = async {
            let mut undone = Undone::default();
            for Compensation { name, source, body, retry } in compensations.into_iter().rev() {
                let step = super::Step::<()>::raw(&shared, source, format!("compensate {name}"), body, retry);
                match step.await {
                    Ok(()) => undone.completed.push(name),
                    Err(failure) => undone.failed.push((name, failure)),
                }
            }
            undone
        };
        context.shielded(undoing).await
    }

    /// The result, after everything was undone if it is a failure; what could not be undone is said in its message.
    ///
    /// # Errors
    /// With the failure that was given.
    pub async fn settle<T>(self, result: Result<T, Failure>) -> Result<T, Failure> {
        let failure = match result {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        let undone = self.undo().await;
        if undone.failed.is_empty() {
            return Err(failure);
        }
        let not_undone: Vec<String> =
            undone.failed.iter().map(|(name, failure)| format!("{name}: {failure}")).collect();
        let mut failure = failure.into_domain();
        failure.message = format!("{}; not undone: {}", failure.message, not_undone.join("; "));
        Err(Failure::from_domain(failure))
    }
}
