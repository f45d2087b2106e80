//! Single transitions that schedules of the simulation found wrong once, or seldom come to.

mod bench;
mod runs;
mod tasks;
