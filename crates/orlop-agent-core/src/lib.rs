//! The pure half of the agent: what a node does for each replica, decided without a clock, a disk or a socket.
//!
//! A [`ReplicaMachine`] is the life of one replica. It takes [`Input`]s (orders of the control plane, results of earlier
//! steps, the passing of time) and answers with [`Step`]s for the shell to execute. It is level-triggered: it holds what
//! is known of the image, the network and the container, and after each input takes whatever step is due next. A machine
//! that was [adopted](ReplicaMachine::adopt) after a crash of the agent therefore needs no path of its own: it is given
//! what was found, and goes on.
//!
//! What it promises, and its simulation checks for thousands of schedules with crashes anywhere:
//! - never two processes of one replica;
//! - adoption neither restarts nor signals a container that runs and is wanted;
//! - after a stop order the replica ends finished, with nothing left in the runtime or the overlay;
//! - each start is counted once, each end at most once; reports never go back in time.
//!
//! Exactly one input answers each step that [has a result](Step); a second step of the same kind is not given before.

mod guard;
mod input;
mod machine;
mod policy;
mod record;
mod step;

pub use guard::{GenerationGuard, Stale};
pub use input::{ContainerState, Failure, FailureKind, Found, FoundContainer, Input, Role};
pub use machine::ReplicaMachine;
pub use policy::Timings;
pub use record::Record;
pub use step::{Operation, Step};
