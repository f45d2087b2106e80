//! What a workflow waits for: the answer of one of its commands.

use crate::failure::Failure;
use crate::payload;
use crate::replay::{Shared, SlotKind, Source, State};
use orlop_model::durable::{BlockCause, CallId, CommandKind};
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A step, a task, a child or a sleep that has begun. It is a future of what comes of it; dropped before that, it is called
/// off.
#[must_use = "dropped at once it is called off"]
pub struct Call<T> {
    shared: Shared,
    source: Source,
    state: CallState,
    id: Option<CallId>,
    result: PhantomData<fn() -> T>,
}

enum CallState {
    Open(u32),
    /// It ended before it began.
    Refused(Option<Failure>),
    /// It has given its result, or never will: the run is over here.
    Over,
}

impl<T> Call<T> {
    /// Begins what `kind` and `make` say, unless the run is cancelled.
    pub(crate) fn open(
        shared: &Shared,
        source: Source,
        kind: impl FnOnce(&State, u32) -> SlotKind,
        make: impl FnOnce(&State, u32) -> CommandKind,
    ) -> Self {
        let (mut state, mut id) = (CallState::Over, None);
        if let Some(mut run) = shared.issuing(source) {
            if let Some(refusal) = run.refusal() {
                state = CallState::Refused(Some(refusal));
            } else {
                let kind = kind(&run, run.next_number());
                id = match &kind {
                    SlotKind::Task(task) => Some(CallId::Task(*task)),
                    SlotKind::Child { run, .. } => Some(CallId::Run(*run)),
                    SlotKind::Step(_) | SlotKind::Timer => None,
                };
                state = run.open(source, kind, make).map_or(CallState::Over, CallState::Open);
            }
        }
        Self { shared: shared.clone(), source, state, id, result: PhantomData }
    }

    /// What could not even begin.
    pub(crate) fn refused(shared: &Shared, source: Source, failure: Failure) -> Self {
        let state = CallState::Refused(Some(failure));
        Self { shared: shared.clone(), source, state, id: None, result: PhantomData }
    }

    /// The task or the run that it began; none for a step or a sleep, and for what did not begin.
    pub fn id(&self) -> Option<CallId> {
        self.id
    }
}

impl<T> Unpin for Call<T> {}

impl<T: DeserializeOwned> Future for Call<T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let number = match &mut self.state {
            CallState::Over => return Poll::Pending,
            CallState::Refused(failure) => {
                return failure.take().map_or(Poll::Pending, |failure| Poll::Ready(Err(failure)));
            }
            CallState::Open(number) => *number,
        };
        let shared = self.shared.clone();
        let Some(mut run) = shared.issuing(self.source) else { return Poll::Pending };
        let shielded = run.shields > 0;
        let Some(slot) = run.slots.get_mut(&number) else { return Poll::Pending };
        let Some(answer) = slot.answer.take() else {
            slot.shielded = shielded;
            slot.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let name = run.slots.remove(&number).map(|slot| slot.name).unwrap_or_default();
        self.state = CallState::Over;
        drop(run);
        let payload = match answer {
            Ok(payload) => payload,
            Err(failure) => return Poll::Ready(Err(failure)),
        };
        match payload::decode(&payload) {
            Ok(value) => Poll::Ready(Ok(value)),
            // The value is right; it is the code that changed, and other code can go on.
            Err(error) => {
                let message = format!("command {number} ({name:?}, awaited at {}): its result: {error}", self.source);
                shared.lock().block(BlockCause::Unreadable, message);
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Call<T> {
    fn drop(&mut self) {
        if let CallState::Open(number) = self.state
            && let Some(mut run) = self.shared.issuing(self.source)
        {
            run.forget(number);
        }
    }
}
