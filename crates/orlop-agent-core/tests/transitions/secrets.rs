//! Secrets in files, which change under the process that reads them.

use super::*;
use crate::common::{hup, secret_file, with_secret};
use orlop_model::spec::OnSecretChange;

fn with_file(on_change: OnSecretChange) -> Workload {
    let mut workload = workload();
    workload.secret_files.push(secret_file("key", on_change));
    workload
}

fn value(workload: &Workload, value: &str) -> Input {
    Input::Assigned(with_secret(workload.clone(), Desired::Run, value))
}

fn refreshed(signals: &[&str]) -> Input {
    let signals = signals.iter().map(|signal| Signal::parse(signal).expect("a signal"));
    Input::SecretsRefreshed { signals: signals.collect() }
}

/// A replica with a secret in a file, whose process has just started.
fn running_with(workload: &Workload) -> Life {
    Life::of(with_secret(workload.clone(), Desired::Run, "one")).created().started()
}

#[test]
fn a_new_value_goes_into_the_file_and_then_its_process_is_told() {
    let workload = with_file(hup());
    let mut life = running_with(&workload);
    life.transcript(vec![
        (value(&workload, "one"), ""),
        (value(&workload, "two"), "refresh secrets"),
        (refreshed(&["HUP"]), "tell 1 SIGHUP"),
        (Input::SecretsTold, ""),
        // What comes meanwhile follows, each in its turn.
        (value(&workload, "three"), "refresh secrets"),
        (value(&workload, "four"), ""),
        (refreshed(&["HUP"]), "refresh secrets"),
        (value(&workload, "five"), ""),
        (refreshed(&["HUP"]), "refresh secrets"),
        (refreshed(&["HUP"]), "tell 1 SIGHUP"),
        (value(&workload, "six"), ""),
        (Input::SecretsTold, "refresh secrets"),
        (refreshed(&["HUP"]), "tell 1 SIGHUP"),
        (Input::SecretsTold, ""),
    ]);
    assert_eq!(life.machine.status().restarts, 0);
    assert_eq!(life.machine.next_deadline(), None);
}

#[test]
fn who_is_not_to_be_told_is_not_and_who_is_replaced_keeps_the_value_until_then() {
    let mut quiet = with_file(OnSecretChange::Nothing);
    let mut life = running_with(&quiet);
    life.transcript(vec![(value(&quiet, "two"), "refresh secrets"), (refreshed(&[]), "")]);
    let replaced = with_file(OnSecretChange::Restart);
    let mut life = running_with(&replaced);
    assert_eq!(life.tell(value(&replaced, "two")), "");
    // A value in a variable is that of the process; its file does not run ahead.
    let secret = "key".parse().expect("a name");
    quiet.env.insert("KEY".into(), orlop_model::spec::EnvValue::Secret(secret));
    let mut life = running_with(&quiet);
    assert_eq!(life.tell(value(&quiet, "two")), "");
    assert_eq!(life.machine.next_deadline(), None);
}

#[test]
fn a_value_that_comes_before_the_process_begins_is_there_when_it_does_and_nobody_is_told() {
    for on_change in [OnSecretChange::Restart, OnSecretChange::Nothing, hup()] {
        let workload = with_file(on_change);
        let mut life = Life::of(with_secret(workload.clone(), Desired::Run, "one"));
        life.transcript(vec![
            (image(), ""),
            (network(), ""),
            (value(&workload, "two"), ""),
            (Input::FilesReady, "create 1"),
            (value(&workload, "three"), ""),
            (Input::Created, "settle secrets"),
            (value(&workload, "four"), ""),
            (refreshed(&[]), "settle secrets"),
            (Input::SecretsFailed(away()), "event away"),
        ]);
        assert_eq!(life.wait(), (250, "settle secrets".into()));
        life.transcript(vec![(refreshed(&[]), "start 1"), (Input::Started, "report running")]);
    }
}

#[test]
fn a_process_is_told_when_it_is_ready_and_not_before() {
    let mut workload = with_file(hup());
    workload.health = Some(health());
    let mut life = running_with(&workload);
    life.transcript(vec![
        (value(&workload, "two"), "refresh secrets"),
        (refreshed(&["HUP"]), ""),
        (passed(1), "report healthy, tell 1 SIGHUP"),
        (Input::SecretsTold, ""),
    ]);
}

#[test]
fn what_fails_is_tried_again_told_once_and_does_not_hold_up_the_end() {
    let workload = with_file(hup());
    let mut life = running_with(&workload);
    life.transcript(vec![(value(&workload, "two"), "refresh secrets"), (Input::SecretsFailed(away()), "event away")]);
    assert_eq!(life.wait(), (250, "refresh secrets".into()));
    assert_eq!(life.tell(Input::SecretsFailed(away())), "");
    assert_eq!(life.wait(), (500, "refresh secrets".into()));
    life.transcript(vec![(refreshed(&["HUP"]), "tell 1 SIGHUP"), (Input::SecretsUntold(away()), "event away")]);
    assert_eq!(life.wait(), (250, "tell 1 SIGHUP".into()));
    let stop = || Input::Assigned(with_secret(workload.clone(), Desired::Stop(StopOrder::Graceful), "three"));
    life.transcript(vec![
        (stop(), "report stopping, signal 1 SIGTERM"),
        (Input::Signalled, ""),
        (exited(1), ""),
        (Input::SecretsUntold(away()), "remove"),
    ]);
    assert_eq!(life.steps, [Step::RemoveContainers { keep: None, last: true }]);
    life.transcript(vec![(Input::Removed, "detach"), (Input::Detached, "report stopped")]);
}

#[test]
fn a_process_that_ends_is_told_nothing_more_and_the_next_one_begins_with_the_value_of_now() {
    let workload = with_file(hup());
    let mut life = running_with(&workload);
    life.transcript(vec![
        (value(&workload, "two"), "refresh secrets"),
        (exited(1), "report backing-off(exited)"),
        (refreshed(&["HUP"]), "remove"),
    ]);
    assert_eq!(life.steps, [Step::RemoveContainers { keep: None, last: false }], "the files stay for the next one");
    life.tell(Input::Removed);
    let (_, steps) = life.wait();
    assert_eq!(steps, "report preparing, files");
    life.transcript(vec![
        (Input::FilesReady, "create 2"),
        (Input::Created, "start 2"),
        (Input::Started, "report running"),
    ]);
    // Stopped between two processes: nothing of the secrets stays either.
    life.tell(exited(2));
    life.tell(Input::Removed);
    life.tell(Input::Assigned(with_secret(workload, Desired::Stop(StopOrder::Graceful), "two")));
    assert!(life.steps.contains(&Step::RemoveContainers { keep: None, last: true }), "{}", words(&life.steps));
}

#[test]
fn a_process_that_is_found_gets_what_it_missed() {
    let workload = with_file(hup());
    let mut life = Life::adopted(workload.clone(), record(ran), &[(2, Role::Main, ContainerState::Running)]);
    assert_eq!(words(&life.steps), "report running, refresh secrets");
    life.transcript(vec![(refreshed(&["HUP"]), "tell 2 SIGHUP"), (Input::SecretsTold, "")]);
    let made = record(|r| r.attempt = 1);
    let mut life = Life::adopted(workload, made, &[(1, Role::Main, ContainerState::Created)]);
    // It may have been started, by the last request of the agent that died.
    assert_eq!(words(&life.steps), "report preparing, refresh secrets");
    life.transcript(vec![
        (refreshed(&["HUP"]), "start 1"),
        (Input::Started, "report running, tell 1 SIGHUP"),
        (Input::SecretsTold, ""),
    ]);
    assert_eq!(life.machine.next_deadline(), None);
}

#[test]
fn a_process_that_may_have_begun_is_told_although_its_start_has_failed() {
    let workload = with_file(hup());
    let mut life = Life::of(with_secret(workload.clone(), Desired::Run, "one")).created();
    life.transcript(vec![(Input::StartFailed(away()), "report preparing(away)"), (value(&workload, "two"), "")]);
    assert_eq!(life.wait(), (250, "refresh secrets".into()));
    life.transcript(vec![
        (refreshed(&["HUP"]), "start 1"),
        (Input::Started, "report running, tell 1 SIGHUP"),
        (Input::SecretsTold, ""),
    ]);
}
