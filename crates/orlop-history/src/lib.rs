//! What faults that a seed decides need, simulated or real: the numbers that the seed gives, and the judge of what clients
//! were told meanwhile.

pub mod chance;
pub mod history;
mod search;
