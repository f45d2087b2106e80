//! What was needed for a moment goes back to the system.
//!
//! A deploy of a thousand services, a snapshot, or the whole state as an answer takes tens of megabytes, in pieces between others
//! that stay. The allocator of the C library keeps such pieces for the next time, for each thread by itself, unless it is asked.

use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Seldom enough to cost nothing: looking through all that is free takes milliseconds.
const EVERY: Duration = Duration::from_secs(10);

/// Asks now and then, until the member stops.
pub(crate) async fn give_back(stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
        if tokio::task::spawn_blocking(trim).await.is_err() {
            return;
        }
    }
}

#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: it takes no pointers, and locks what it looks at.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators do it by themselves, or cannot.
#[cfg(not(target_env = "gnu"))]
fn trim() {}
