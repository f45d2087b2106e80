//! Runs code over histories without an engine, so that a build is known to go on with open runs before it is deployed.

use super::machine::{Blocked, Machine};
use crate::workflow::Definition;
use orlop_model::WorkflowRunId;
use orlop_model::durable::Entry;

/// Whether the workflow, as it is in this build, issues what the journal has.
///
/// # Errors
/// With what a worker would block the run with.
pub fn check(definition: &Definition, run: WorkflowRunId, journal: Vec<Entry>) -> Result<(), Blocked> {
    let mut machine = Machine::new(run, definition.clone(), u64::MAX, || {});
    match machine.replay(journal).blocked {
        Some(blocked) => Err(blocked),
        None => Ok(()),
    }
}
