//! Sleeps that outlive the worker.

use super::Call;
use crate::failure::Failure;
use crate::replay::{Shared, SlotKind, Source};
use orlop_model::durable::CommandKind;
use orlop_model::{Millis, Timestamp};

/// A sleep that has not begun; it begins when it is awaited.
#[must_use = "a sleep begins when it is awaited"]
pub struct Timer {
    shared: Shared,
    source: Source,
    until: Until,
    name: String,
}

pub(super) enum Until {
    After(Millis),
    At(Timestamp),
}

impl Timer {
    pub(super) fn new(shared: &Shared, source: Source, until: Until) -> Self {
        Self { shared: shared.clone(), source, until, name: String::new() }
    }

    /// What it is called; for people, and part of what the code must say again on replay.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Begins it.
    pub fn start(self) -> Call<()> {
        let Self { shared, source, until, name } = self;
        Call::open(
            &shared,
            source,
            |_, _| SlotKind::Timer,
            |state, _| {
                let fires_at = match until {
                    Until::After(span) => state.now + span,
                    Until::At(at) => at,
                };
                CommandKind::TimerSet { fires_at, name }
            },
        )
    }
}

impl IntoFuture for Timer {
    type Output = Result<(), Failure>;
    type IntoFuture = Call<()>;

    fn into_future(self) -> Call<()> {
        self.start()
    }
}
