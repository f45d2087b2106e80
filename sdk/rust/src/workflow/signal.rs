//! What comes from outside: signals, and the wish that the run ends.

use crate::failure::Failure;
use crate::payload;
use crate::replay::{Shared, Source};
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A place among those that wait; given back when dropped.
struct Listening {
    shared: Shared,
    listener: Option<u64>,
}

impl Listening {
    fn stop(&mut self) {
        if let Some(listener) = self.listener.take() {
            let gone = self.shared.lock().listeners.remove(&listener);
            // Its waker may hold the last of something of the user.
            drop(gone);
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The next signal of a name. Signals wait for it in their order and none is lost: one that it did not give stays.
#[must_use = "a signal is taken when this is awaited"]
pub struct NextSignal<T> {
    listening: Listening,
    source: Source,
    name: String,
    value: PhantomData<fn() -> T>,
}

impl<T> NextSignal<T> {
    pub(super) fn new(shared: &Shared, source: Source, name: String) -> Self {
        assert!(!name.is_empty(), "a signal has a name");
        Self { listening: Listening { shared: shared.clone(), listener: None }, source, name, value: PhantomData }
    }
}

impl<T> Unpin for NextSignal<T> {}

impl<T: DeserializeOwned> Future for NextSignal<T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let shared = self.listening.shared.clone();
        self.listening.stop();
        let Some(mut run) = shared.issuing(self.source) else { return Poll::Pending };
        if let Some(refusal) = run.refusal() {
            return Poll::Ready(Err(refusal));
        }
        if let Some(signal) = run.take_signal(&self.name) {
            drop(run);
            return Poll::Ready(payload::read(&format!("signal {:?}", self.name), &signal.payload));
        }
        self.listening.listener = Some(run.listen(Some(self.name.clone()), context.waker().clone()));
        Poll::Pending
    }
}

/// That somebody wants the run to end early, and why.
#[must_use = "nothing is waited for unless this is awaited"]
pub struct Cancelled {
    listening: Listening,
    source: Source,
}

impl Cancelled {
    pub(super) fn new(shared: &Shared, source: Source) -> Self {
        Self { listening: Listening { shared: shared.clone(), listener: None }, source }
    }
}

impl Future for Cancelled {
    type Output = String;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<String> {
        let shared = self.listening.shared.clone();
        self.listening.stop();
        let Some(mut run) = shared.issuing(self.source) else { return Poll::Pending };
        if let Some(reason) = &run.cancelled {
            return Poll::Ready(reason.clone());
        }
        self.listening.listener = Some(run.listen(None, context.waker().clone()));
        Poll::Pending
    }
}
