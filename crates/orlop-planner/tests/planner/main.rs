//! Tests of the planner: transcripts that can be read, properties of every plan, and a simulated cluster.

mod golden;
mod properties;
mod simulation;
mod text;
mod toy;
