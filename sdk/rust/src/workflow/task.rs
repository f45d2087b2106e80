//! Tasks as a workflow calls them.

use super::Call;
use crate::failure::Failure;
use crate::options::{TaskOptionsBuilder, task_options};
use crate::payload;
use crate::replay::{Shared, SlotKind, Source};
use orlop_model::durable::{CommandKind, Payload};
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// A task that has not begun; it begins when it is awaited.
#[must_use = "a task begins when it is awaited"]
pub struct TaskCall<O> {
    shared: Shared,
    source: Source,
    name: String,
    input: Result<Payload, Failure>,
    options: TaskOptionsBuilder,
    result: PhantomData<fn() -> O>,
}

impl<O: DeserializeOwned> TaskCall<O> {
    pub(super) fn new(shared: &Shared, source: Source, name: String, input: Result<Payload, Failure>) -> Self {
        assert!(!name.is_empty(), "a task needs a name");
        let (shared, options) = (shared.clone(), TaskOptionsBuilder::default());
        Self { shared, source, name, input, options, result: PhantomData }
    }

    task_options!();

    /// Begins it.
    pub fn start(self) -> Call<O> {
        let Self { shared, source, name, input, options, .. } = self;
        let bytes_max = shared.lock().payload_bytes_max;
        let ready = options.build().and_then(|options| Ok((options, payload::bounded(input?, bytes_max)?)));
        let (options, input) = match ready {
            Ok(ready) => ready,
            Err(failure) => return Call::refused(&shared, source, failure),
        };
        Call::open(
            &shared,
            source,
            |state, number| SlotKind::Task(state.task_of(number)),
            |state, number| CommandKind::TaskScheduled {
                task: state.task_of(number),
                name,
                input,
                options: Box::new(options),
            },
        )
    }
}

impl<O: DeserializeOwned> IntoFuture for TaskCall<O> {
    type Output = Result<O, Failure>;
    type IntoFuture = Call<O>;

    fn into_future(self) -> Call<O> {
        self.start()
    }
}
