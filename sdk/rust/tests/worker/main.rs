//! The worker over a real stream, with an engine that says what the test says.

mod engine;
mod leaving;
mod runs;
mod tasks;
