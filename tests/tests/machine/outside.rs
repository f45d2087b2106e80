//! Tests that boot machines, and take their power away.

use orlop_testbed::{Machine, MachineDisk, MachineOptions};
use std::path::PathBuf;
use std::time::Duration;

/// Emulated machines on a busy one take their time; a test that needs all of it has failed.
const PATIENCE: Duration = Duration::from_secs(240);

/// Boots a machine that runs one of the tests of `inside`.
fn boot(test: &str, disk: &MachineDisk) -> Machine {
    let program = std::env::current_exe().expect("a test program");
    let program = program.to_str().expect("a plain path");
    let command = [program, "--ignored", "--exact", "--nocapture", &format!("inside::{test}")];
    Machine::boot(&MachineOptions::new(&command).disk(disk))
}

struct Folder(PathBuf);

impl Folder {
    fn disk(name: &str) -> (Self, MachineDisk) {
        let folder = std::env::temp_dir().join(format!("orlop-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("a temporary directory");
        let disk = MachineDisk::create(&folder.join("disk"), 2048);
        (Self(folder), disk)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The number behind a word, on the last line that has it.
fn number_after(word: &str, output: &str) -> u64 {
    let line = output.lines().rev().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{word}: {output}"));
    let number = line.rsplit(' ').next().and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("no number in {line:?}"))
}

#[test]
#[ignore = "boots machines: make test-machine"]
fn a_deploy_that_was_acknowledged_survives_the_loss_of_power() {
    let (_folder, disk) = Folder::disk("power");
    let machine = boot("deploys_until_the_power_is_gone", &disk);
    machine.wait_for_line("acknowledged 6", PATIENCE);
    let acknowledged = number_after("acknowledged", &machine.lose_power());

    let ended = boot("tells_what_is_there", &disk).finish(PATIENCE);
    assert_eq!(ended.code, 0, "{}", ended.output);
    let there = number_after("generation", &ended.output);
    // The one after the last acknowledged may have been on its way.
    assert!((acknowledged..=acknowledged + 1).contains(&there), "{acknowledged} acknowledged, {there} there");
    // What was not made to last is gone: otherwise this test would prove nothing.
    assert_eq!(number_after("bytes nobody synced", &ended.output), 0, "{}", ended.output);
}

#[test]
#[ignore = "boots machines: make test-machine"]
fn a_node_that_lost_its_power_runs_its_deployments_again() {
    let (_folder, disk) = Folder::disk("node");
    let machine = boot("runs_a_deployment_for_ever", &disk);
    machine.wait_for_line("the deployment runs", PATIENCE);
    machine.lose_power();

    let ended = boot("finds_the_deployment_running_again", &disk).finish(PATIENCE);
    assert_eq!(ended.code, 0, "{}", ended.output);
}
