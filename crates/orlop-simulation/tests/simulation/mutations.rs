//! Bugs that are put in on purpose are found, soon, and by the check that is meant for them.

use orlop_simulation::{Check, Mutation, Plan, run};

/// Runs seeds until the bug is found.
fn is_caught(mutation: Mutation, within: u64, by: &[Check]) {
    for seed in 0..within {
        let report = run(Plan { mutation: Some(mutation), ..Plan::new(seed) });
        if let Some(violation) = &report.violation {
            eprintln!("{mutation:?} after {} schedules: {violation:.200}", seed + 1);
            assert!(by.contains(&violation.check), "{mutation:?} is taken for something else: {report}");
            return;
        }
    }
    panic!("{mutation:?} is not found within {within} schedules");
}

#[test]
fn a_sync_that_is_skipped() {
    is_caught(Mutation::SkipSync, 60, &[Check::SameLog, Check::Linearizable, Check::Starts, Check::Acknowledged]);
}

#[test]
fn a_file_that_is_not_synced() {
    is_caught(Mutation::SkipFileSync, 60, &[Check::Starts]);
}

#[test]
fn a_vote_that_is_dropped() {
    // The protocol itself stops at what cannot be.
    is_caught(Mutation::DropVote, 40, &[Check::OneLeader, Check::SameLog, Check::Linearizable, Check::Runs]);
}

#[test]
fn a_command_that_is_applied_twice() {
    is_caught(Mutation::ApplyTwice, 20, &[Check::Linearizable, Check::SameLog, Check::Watch]);
}

#[test]
fn a_read_that_is_not_confirmed() {
    is_caught(Mutation::SkipReadIndex, 20, &[Check::Linearizable]);
}

#[test]
fn a_plan_of_a_scheduler_that_lost_the_lease() {
    is_caught(Mutation::IgnoreFence, 60, &[Check::OneWriter]);
}

#[test]
fn a_report_of_another_generation() {
    is_caught(Mutation::IgnoreGeneration, 20, &[Check::Generation]);
}

#[test]
fn members_of_the_past_in_a_snapshot() {
    is_caught(Mutation::StaleMembership, 100, &[Check::SameMembers, Check::SameLog, Check::Linearizable]);
}
