//! What cancellation does not touch.

use crate::replay::Shared;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A future whose awaits are untouched by the run's cancellation.
#[must_use = "a future does nothing unless awaited"]
pub struct Shielded<F> {
    shared: Shared,
    inner: Pin<Box<F>>,
}

impl<F: Future> Shielded<F> {
    pub(super) fn new<I: IntoFuture<IntoFuture = F>>(shared: &Shared, inner: I) -> Self {
        // What begins at once begins in the shield.
        let within = Within::enter(shared);
        let inner = Box::pin(inner.into_future());
        drop(within);
        Self { shared: shared.clone(), inner }
    }
}

impl<F: Future> Future for Shielded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let shared = self.shared.clone();
        let _within = Within::enter(&shared);
        self.inner.as_mut().poll(context)
    }
}

/// The time for which the shield is around what runs; it ends with a panic as well.
struct Within<'a>(&'a Shared);

impl<'a> Within<'a> {
    fn enter(shared: &'a Shared) -> Self {
        shared.lock().shields += 1;
        Self(shared)
    }
}

impl Drop for Within<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.shields = state.shields.saturating_sub(1);
    }
}
