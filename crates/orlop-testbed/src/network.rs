//! Address ranges for tests: of this machine's tests no two have the same, and no cluster has one of them by default.

use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

static MADE: AtomicU32 = AtomicU32::new(0);

/// A /24 for whoever asks.
pub fn network() -> Ipv4Net {
    // Process ids and a counter keep parallel test programs apart.
    numbered(std::process::id().wrapping_mul(31).wrapping_add(MADE.fetch_add(1, Ordering::Relaxed)))
}

/// The /24 of a number, of 32,768.
pub(crate) fn numbered(number: u32) -> Ipv4Net {
    let [_, _, high, low] = (number % 0x8000).to_be_bytes();
    Ipv4Net::new_assert(Ipv4Addr::new(10, 128 + high, low, 0), 24)
}
