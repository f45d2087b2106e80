//! What the kernel of this machine cannot show, in machines of their own: the loss of power.
//!
//! The tests of `outside` boot machines, which run tests of `inside`. None of them runs unless asked for
//! (`make test-machine`), because machines are slow.

mod inside;
mod outside;
