//! Whether the log can be written, as the writer finds it.

use crate::room;
use parking_lot::Mutex;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// Shared by the writer and those who submit.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    /// A write waits for room on the disk.
    held: watch::Sender<bool>,
    /// Writes that lack room wait; else they fail. While a member starts there is nobody to tell that something waits.
    patient: AtomicBool,
    broken: Mutex<Option<String>>,
    /// It was for want of room that it broke.
    full: AtomicBool,
}

impl Condition {
    /// Hears when a write begins to wait for room, and when it goes on.
    pub(crate) fn held(&self) -> watch::Receiver<bool> {
        self.held.subscribe()
    }

    pub(crate) fn is_held(&self) -> bool {
        *self.held.borrow()
    }

    /// The first write that failed.
    pub(crate) fn broken(&self) -> Option<String> {
        self.broken.lock().clone()
    }

    /// Was it for want of room that it failed?
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    pub(crate) fn be_patient(&self, patient: bool) {
        self.patient.store(patient, Ordering::Release);
    }

    pub(super) fn is_patient(&self) -> bool {
        self.patient.load(Ordering::Acquire)
    }

    /// Was it otherwise before?
    pub(super) fn hold(&self, held: bool) -> bool {
        self.held.send_if_modified(|before| std::mem::replace(before, held) != held)
    }

    /// A write failed. The first failure is kept.
    pub(super) fn fail(&self, error: &io::Error) {
        self.break_with(|| {
            self.full.store(room::is_full(error), Ordering::Release);
            error.to_string()
        });
    }

    /// The protocol stopped, for the reason that is known or this one. Returns the reason.
    pub(crate) fn break_with(&self, reason: impl FnOnce() -> String) -> String {
        self.broken.lock().get_or_insert_with(reason).clone()
    }
}
