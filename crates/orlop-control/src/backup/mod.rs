//! Backups of the state, while the member runs: `stream` gives one to whoever asks, `schedule` keeps files of them.

mod schedule;
mod stream;

pub use schedule::Schedule;
pub(crate) use schedule::{Kept, keep};
