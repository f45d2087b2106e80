//! What is checked while a run goes on, and after it.

pub(crate) mod applied;
pub(crate) mod command;
pub(crate) mod leaders;

pub(crate) use orlop_history::history;
