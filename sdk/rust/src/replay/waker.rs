//! Tells wakes that come of the journal from those that come of anything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Wake, Waker};

/// The root waker of a run. A wake on the thread that delivers an entry, while it does, is the workflow's own; every other
/// one is foreign, since replay could not bring it again.
pub(crate) struct Wakes {
    /// The thread that delivers, 0 for none.
    delivering: AtomicUsize,
    woken: AtomicBool,
    foreign: AtomicBool,
    /// Called on a foreign wake, on whatever thread it comes.
    told: Box<dyn Fn() + Send + Sync>,
}

impl Wakes {
    pub(super) fn new(told: Box<dyn Fn() + Send + Sync>) -> Arc<Self> {
        Arc::new(Self {
            delivering: AtomicUsize::new(0),
            woken: AtomicBool::new(false),
            foreign: AtomicBool::new(false),
            told,
        })
    }

    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(self.clone())
    }

    /// From here to [`leave`](Self::leave) this thread delivers.
    pub(super) fn enter(&self) {
        self.delivering.store(this_thread(), Ordering::SeqCst);
    }

    pub(super) fn leave(&self) {
        self.delivering.store(0, Ordering::SeqCst);
    }

    /// Whether whoever asks was called by the workflow.
    pub(super) fn is_delivering_here(&self) -> bool {
        self.delivering.load(Ordering::SeqCst) == this_thread()
    }

    pub(super) fn wake_own(&self) {
        self.woken.store(true, Ordering::SeqCst);
    }

    pub(super) fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::SeqCst)
    }

    pub(super) fn is_foreign(&self) -> bool {
        self.foreign.load(Ordering::SeqCst)
    }

    /// Something is to be looked at outside of any delivery.
    pub(super) fn tell(&self) {
        (self.told)();
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_delivering_here() {
            self.wake_own();
        } else if !self.foreign.swap(true, Ordering::SeqCst) {
            self.tell();
        }
    }
}

/// A number that no two living threads share; never 0.
fn this_thread() -> usize {
    thread_local!(static PLACE: u8 = const { 0 });
    PLACE.with(|place| std::ptr::from_ref(place).addr())
}
