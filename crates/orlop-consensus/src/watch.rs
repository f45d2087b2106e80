//! A value that can be watched as it changes.
//!
//! It does what tokio's does, but wakes those who wait in the order in which they came; tokio's spreads them over several
//! queues by chance that nobody can fix, and a simulation would never run the same way twice.

use openraft::async_runtime::watch as protocol;
use parking_lot::{RwLock, RwLockReadGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// The other side is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the watched value does not change any more")]
pub struct Closed;

struct Shared<T> {
    value: RwLock<T>,
    /// Grows with every change, while `value` is locked.
    version: AtomicU64,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    changed: Notify,
}

/// Changes the value; clones change the same one.
pub(crate) struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// Sees the value, and hears when it changes.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// The value, which does not change while this is held.
pub type Ref<'a, T> = RwLockReadGuard<'a, T>;

pub(crate) fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let shared = Shared {
        value: RwLock::new(value),
        version: AtomicU64::new(0),
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(0),
        changed: Notify::new(),
    };
    let sender = Sender { shared: Arc::new(shared) };
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T> Sender<T> {
    /// Changes the value if the function says that it did.
    pub(crate) fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        {
            let mut value = self.shared.value.write();
            if !modify(&mut value) {
                return false;
            }
            self.shared.version.fetch_add(1, Ordering::Release);
        }
        self.shared.changed.notify_waiters();
        true
    }

    pub(crate) fn subscribe(&self) -> Receiver<T> {
        self.shared.receivers.fetch_add(1, Ordering::Relaxed);
        Receiver { shared: self.shared.clone(), seen: self.shared.version.load(Ordering::Acquire) }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.changed.notify_waiters();
        }
    }
}

impl<T> Receiver<T> {
    /// The value.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.shared.value.read()
    }

    /// The value, which counts as seen.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let value = self.shared.value.read();
        self.seen = self.shared.version.load(Ordering::Acquire);
        value
    }

    /// Counts the value as seen.
    pub fn mark_unchanged(&mut self) {
        self.seen = self.shared.version.load(Ordering::Acquire);
    }

    /// Waits for a value that was not seen, which counts as seen then.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            // Made before it is looked: a change in between wakes it.
            let changed = self.shared.changed.notified();
            let version = self.shared.version.load(Ordering::Acquire);
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.shared.senders.load(Ordering::Acquire) == 0 {
                return Err(Closed);
            }
            changed.await;
        }
    }

    /// Waits until the value is such, and counts it as seen.
    pub async fn wait_for(&mut self, mut is_such: impl FnMut(&T) -> bool) -> Result<Ref<'_, T>, Closed> {
        loop {
            // Looked at twice: what is borrowed in a loop cannot be returned from it.
            if is_such(&self.borrow_and_update()) {
                return Ok(self.shared.value.read());
            }
            self.changed().await?;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receivers.fetch_add(1, Ordering::Relaxed);
        Self { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The same for the protocol.
pub(crate) struct Watch;

impl protocol::Watch for Watch {
    type Sender<T: Send + Sync> = Sender<T>;
    type Receiver<T: Send + Sync> = Receiver<T>;
    type Ref<'a, T: Send + 'a> = Ref<'a, T>;

    fn channel<T: Send + Sync>(init: T) -> (Sender<T>, Receiver<T>) {
        channel(init)
    }
}

impl<T: Send + Sync> protocol::WatchSender<Watch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), protocol::SendError<T>> {
        if self.shared.receivers.load(Ordering::Acquire) == 0 {
            return Err(protocol::SendError(value));
        }
        self.send_if_modified(|old| {
            *old = value;
            true
        });
        Ok(())
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        self.send_if_modified(modify)
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.shared.value.read()
    }

    fn subscribe(&self) -> Receiver<T> {
        self.subscribe()
    }
}

impl<T: Send + Sync> protocol::WatchReceiver<Watch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), protocol::RecvError> {
        self.changed().await.map_err(|Closed| protocol::RecvError(()))
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.borrow()
    }

    fn borrow_and_update(&mut self) -> Ref<'_, T> {
        self.borrow_and_update()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[tokio::test]
    async fn those_who_wait_are_woken_in_the_order_in_which_they_came() {
        let (sender, receiver) = channel(0);
        let woken = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..20)
            .map(|number| {
                let (mut receiver, woken) = (receiver.clone(), woken.clone());
                tokio::spawn(async move {
                    receiver.changed().await.unwrap();
                    woken.lock().push(number);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        sender.send_if_modified(|value| {
            *value = 1;
            true
        });
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*woken.lock(), (0..20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_change_is_heard_once_and_the_end_after_the_last_change() {
        let (sender, mut receiver) = channel(0);
        assert!(!sender.send_if_modified(|_| false));
        let set = |to| sender.send_if_modified(|value| std::mem::replace(value, to) != to);
        set(1);
        set(2);
        receiver.changed().await.unwrap();
        assert_eq!(*receiver.borrow(), 2);
        set(3);
        assert_eq!(*receiver.borrow_and_update(), 3);
        set(4);
        drop(sender);
        assert_eq!(receiver.wait_for(|value| *value == 4).await.map(|value| *value), Ok(4));
        assert_eq!(receiver.changed().await, Err(Closed));
    }
}
