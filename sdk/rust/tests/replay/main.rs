//! Replay: journals in, commands out, with an engine that is a list.

mod blocked;
mod cancellation;
mod chance;
mod live;
mod patches;
mod rig;
mod signals;
mod transcripts;
