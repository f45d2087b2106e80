//! Workflows that a workflow starts.

use super::Call;
use crate::failure::Failure;
use crate::payload;
use crate::replay::{Shared, SlotKind, Source};
use orlop_model::durable::{CommandKind, Payload};
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// A child that has not begun; it begins when it is awaited, or [started](Self::start).
#[must_use = "a child begins when it is awaited"]
pub struct Child<O> {
    shared: Shared,
    source: Source,
    workflow: String,
    input: Result<Payload, Failure>,
    version: String,
    key: String,
    detached: bool,
    result: PhantomData<fn() -> O>,
}

impl<O: DeserializeOwned> Child<O> {
    pub(super) fn new(shared: &Shared, source: Source, workflow: String, input: Result<Payload, Failure>) -> Self {
        assert!(!workflow.is_empty(), "a workflow has a name");
        let (version, key) = (String::new(), String::new());
        Self { shared: shared.clone(), source, workflow, input, version, key, detached: false, result: PhantomData }
    }

    /// At most one run with this key and name is open at a time.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// The version that it is pinned to.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// It goes on when its parent ends, or does not wait for it any more.
    pub fn detached(mut self) -> Self {
        self.detached = true;
        self
    }

    /// Begins it; [`Call::id`] says which run it is.
    pub fn start(self) -> Call<O> {
        let Self { shared, source, workflow, input, version, key, detached, .. } = self;
        let bytes_max = shared.lock().payload_bytes_max;
        let input = match input.and_then(|input| payload::bounded(input, bytes_max)) {
            Ok(input) => input,
            Err(failure) => return Call::refused(&shared, source, failure),
        };
        Call::open(
            &shared,
            source,
            |state, number| SlotKind::Child { run: state.child_of(number), detached },
            |state, number| {
                let run = state.child_of(number);
                CommandKind::ChildStarted { run, workflow, version, input, key, detached }
            },
        )
    }
}

impl<O: DeserializeOwned> IntoFuture for Child<O> {
    type Output = Result<O, Failure>;
    type IntoFuture = Call<O>;

    fn into_future(self) -> Call<O> {
        self.start()
    }
}
