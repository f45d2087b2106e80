//! The pure half of the proxy: which route a request belongs to, which backend gets it, whether it may be tried again,
//! and whether its bytes are HTTP that everybody reads the same way.
//!
//! Nothing here opens a socket, reads a clock or draws a number: time is a [`Moment`], randomness an argument.

pub mod balance;
pub mod framing;
pub mod retry;
pub mod table;

/// Microseconds since some moment that stays the same while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub u64);

impl Moment {
    /// The microseconds from `earlier` to here; 0 when it is not earlier.
    pub fn since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// So many microseconds later.
    pub fn plus(self, micros: u64) -> Moment {
        Moment(self.0.saturating_add(micros))
    }
}
