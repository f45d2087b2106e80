//! Steps: code that touches the world, inside the worker.

use super::Call;
use crate::failure::Failure;
use crate::payload;
use crate::replay::{Shared, SlotKind, Source, StepBody, StepWork};
use futures::FutureExt as _;
use orlop_model::Timestamp;
use orlop_model::durable::{CommandKind, Outcome, RetryPolicy};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::sync::Arc;

/// A step that has not begun; it begins when it is awaited.
#[must_use = "a step begins when it is awaited"]
pub struct Step<T> {
    shared: Shared,
    source: Source,
    name: String,
    body: StepBody,
    retry: RetryPolicy,
    result: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Step<T> {
    pub(super) fn new<F, Fut>(shared: &Shared, source: Source, name: String, code: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        assert!(!name.is_empty(), "a step needs a name");
        let body = move || {
            let running = code();
            async move { payload::written("the step's result", &running.await?) }.boxed()
        };
        let (shared, retry) = (shared.clone(), RetryPolicy::default());
        Self { shared, source, name, body: Arc::new(body), retry, result: PhantomData }
    }

    /// With code that gives bytes already.
    pub(super) fn raw(shared: &Shared, source: Source, name: String, body: StepBody, retry: RetryPolicy) -> Self {
        Self { shared: shared.clone(), source, name, body, retry, result: PhantomData }
    }

    /// How often it is tried, and when again.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Begins it.
    pub fn start(self) -> Call<T> {
        let Self { shared, source, name, body, retry, .. } = self;
        let work = StepWork { body, retry, attempt: 1, not_before: Timestamp::default() };
        Call::open(
            &shared,
            source,
            |_, _| SlotKind::Step(work),
            |state, _| {
                // The rest is known when it has ended.
                CommandKind::StepDone {
                    name,
                    outcome: Outcome::Ok(Default::default()),
                    attempt: 1,
                    began_at: state.now,
                }
            },
        )
    }
}

impl<T: Serialize + DeserializeOwned> IntoFuture for Step<T> {
    type Output = Result<T, Failure>;
    type IntoFuture = Call<T>;

    fn into_future(self) -> Call<T> {
        self.start()
    }
}
