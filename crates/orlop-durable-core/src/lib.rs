//! The pure half of the engine: what becomes of runs and tasks, decided without a clock, a disk or a socket.
//!
//! An [`Engine`] takes [`Input`]s (what workers and clients say, what was read from the store, the passing of time) and
//! leaves [`Effects`]: rows to write, messages to send, rows to read. Its state runs ahead of the store: whoever drives
//! it writes the rows of a batch in one transaction, and sends the messages of the batch only when that is durable. If it
//! cannot be written, the engine is thrown away and begins anew from what is in the store.
//!
//! What it promises:
//! - a place in a journal is written once, and only by who holds the run under the newest fence;
//! - a command's answer is written once;
//! - a task that is open is delayed, ready, or held by one worker; a run that is open is held by one worker, wanted by
//!   none because it waits for something that is open, or waits for a worker;
//! - what ends, and the journals that are to hear of it, are written in one go: no batch leaves anything to be told later;
//! - nobody is sent more than they gave credit for.

mod effect;
mod engine;
mod input;
mod numbers;
mod ready;

pub use effect::{
    ClosedTask, Effects, Load, Message, Reply, Requested, RunChange, RunRow, RunStatus, TaskChange, TaskRow,
    TaskStatus, Write,
};
pub use engine::{Engine, Options, QueueView, RunView, TaskView, WorkerView};
pub use input::{Input, NewRun, NewTask, Recovered, Refusal, Request, StoredRun, Ticket};
