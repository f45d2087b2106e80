//! The state machine, command by command, by properties of any history, and in its stored form.

mod commands;
mod golden;
mod history;
mod nodes;
mod sample;
mod stored;
mod trust;
