//! What each input leads to, one transition at a time, as text that can be read.

#[path = "../common/mod.rs"]
mod common;
mod secrets;

use common::{REPLICA, assignment, health, init_step, workload};
use orlop_agent_core::{
    ContainerState, Failure, Found, FoundContainer, Input, Operation, Record, ReplicaMachine, Role, Step, Timings,
};
use orlop_model::spec::{InitAction, OnFailure, OnInitFailure, OnPanic, PullPolicy, Signal, Workload};
use orlop_model::{
    Assignment, Desired, Exit, Generation, Health, Millis, Outcome, Phase, Reason, StopOrder, Timestamp,
};
use std::net::Ipv4Addr;

const START: u64 = 1_000_000;

/// A machine, its clock, and what it has been told.
struct Life {
    machine: ReplicaMachine,
    now: u64,
    /// The steps of the last input.
    steps: Vec<Step>,
}

fn words(steps: &[Step]) -> String {
    let word = |step: &Step| match step {
        Step::Persist(_) => None,
        Step::Report(status) => Some(match &status.reason {
            Some(reason) => format!("report {}({})", status.phase.word(), reason.code),
            None => format!("report {}", status.phase.word()),
        }),
        Step::Event { reason, .. } => Some(format!("event {}", reason.code)),
        Step::PullImage => Some("pull".into()),
        Step::AttachNetwork => Some("attach".into()),
        Step::PrepareFiles => Some("files".into()),
        Step::RunInit { index, attempt } => Some(format!("init {index}.{attempt}")),
        Step::CreateContainer { attempt } => Some(format!("create {attempt}")),
        Step::StartContainer { attempt } => Some(format!("start {attempt}")),
        Step::Check { attempt } => Some(format!("check {attempt}")),
        Step::Signal { attempt, signal } => Some(format!("signal {attempt} {signal}")),
        Step::RemoveContainers { keep: None, .. } => Some("remove".into()),
        Step::RemoveContainers { keep: Some(attempt), .. } => Some(format!("remove but {attempt}")),
        Step::RefreshSecrets { started: false } => Some("settle secrets".into()),
        Step::RefreshSecrets { started: true } => Some("refresh secrets".into()),
        Step::TellOfSecrets { attempt, signals } => {
            let signals: Vec<String> = signals.iter().map(ToString::to_string).collect();
            Some(format!("tell {attempt} {}", signals.join(" ")))
        }
        Step::DetachNetwork => Some("detach".into()),
        Step::Cancel(Operation::Pull) => Some("cancel pull".into()),
        Step::Cancel(Operation::Init) => Some("cancel init".into()),
        Step::Cancel(Operation::Check) => Some("cancel check".into()),
        Step::Forget => Some("forget".into()),
    };
    steps.iter().filter_map(word).collect::<Vec<_>>().join(", ")
}

fn image() -> Input {
    Input::ImageReady { digest: "sha256:1".into(), stop_signal: None }
}

fn network() -> Input {
    Input::NetworkReady { address: Ipv4Addr::new(10, 0, 0, 2) }
}

fn exited(attempt: u32) -> Input {
    Input::Exited { attempt, exit: Exit { code: 1, out_of_memory: false, at: Timestamp(START) }, reason: None }
}

fn passed(attempt: u32) -> Input {
    Input::Checked { attempt, result: Ok(()) }
}

fn failed(attempt: u32) -> Input {
    Input::Checked { attempt, result: Err(wrong()) }
}

fn wrong() -> Failure {
    Failure::permanent("wrong", "it is wrong")
}

fn away() -> Failure {
    Failure::infrastructure("away", "nobody answers")
}

fn stop(order: StopOrder) -> Input {
    Input::Assigned(assignment(workload(), Desired::Stop(order)))
}

impl Life {
    fn new(workload: Workload) -> Life {
        Life::of(assignment(workload, Desired::Run))
    }

    fn of(run: Assignment) -> Life {
        let (machine, steps) = ReplicaMachine::new(run, Timestamp(START), Timings::default(), 1);
        Life { machine, now: START, steps }
    }

    /// A replica whose process has just started for the first time.
    fn running(workload: Workload) -> Life {
        Life::new(workload).created().started()
    }

    fn created(mut self) -> Life {
        for input in [image(), network(), Input::FilesReady, Input::Created] {
            self.tell(input);
        }
        self
    }

    fn started(mut self) -> Life {
        self.tell(Input::Started);
        self
    }

    fn adopted(workload: Workload, record: Option<Record>, containers: &[(u32, Role, ContainerState)]) -> Life {
        let containers =
            containers.iter().map(|&(attempt, role, state)| FoundContainer { attempt, role, state }).collect();
        let found = Found { containers, address: Some(Ipv4Addr::new(10, 0, 0, 2)) };
        let run = Some(assignment(workload, Desired::Run));
        let now = Timestamp(START + 1000);
        let (machine, steps) = ReplicaMachine::adopt(REPLICA, run, record, found, now, Timings::default(), 1);
        Life { machine, now: now.0, steps }
    }

    fn tell(&mut self, input: Input) -> String {
        self.steps = self.machine.handle(input, Timestamp(self.now));
        words(&self.steps)
    }

    /// Lets time pass until the machine wants to be called; tells how much.
    fn wait(&mut self) -> (u64, String) {
        let at = self.machine.next_deadline().expect("it waits for a time").0;
        let span = at - self.now;
        self.now = at;
        (span, self.tell(Input::Tick))
    }

    fn phase(&self) -> Phase {
        self.machine.status().phase
    }

    fn transcript(&mut self, script: Vec<(Input, &str)>) {
        for (input, expected) in script {
            let told = format!("{input:?}");
            assert_eq!(self.tell(input), expected, "after {told}");
        }
    }
}

#[test]
fn an_ordinary_life() {
    let mut life = Life::new(workload());
    assert_eq!(words(&life.steps), "report preparing, pull, attach, files");
    life.transcript(vec![
        (network(), ""),
        (Input::FilesReady, ""),
        (image(), "create 1"),
        (Input::Created, "start 1"),
        (Input::Started, "report running"),
        (stop(StopOrder::Graceful), "report stopping, signal 1 SIGTERM"),
        (Input::Signalled, ""),
        (exited(1), "remove"),
        (Input::Removed, "detach"),
        (Input::Detached, "report stopped"),
        (Input::Withdrawn, "forget"),
    ]);
    assert!(life.machine.is_gone());
    assert_eq!(life.machine.next_deadline(), None);
}

#[test]
fn what_must_survive_is_written_before_the_step_that_depends_on_it() {
    let mut life = Life::new(workload());
    life.tell(image());
    life.tell(network());
    life.tell(Input::FilesReady);
    let [Step::Persist(record), Step::CreateContainer { attempt: 1 }] = &life.steps[..] else {
        panic!("{:?}", life.steps)
    };
    assert_eq!((record.attempt, record.starts), (1, 0));
    life.tell(Input::Created);
    life.tell(Input::Started);
    let [Step::Persist(record), Step::Report(status)] = &life.steps[..] else { panic!("{:?}", life.steps) };
    assert_eq!((record.started_attempt, record.starts, &record.status), (1, 1, status));
    life.tell(exited(1));
    let [Step::Persist(record), Step::Report(_), Step::RemoveContainers { .. }] = &life.steps[..] else {
        panic!("{:?}", life.steps)
    };
    assert_eq!((record.ended_attempt, record.failures), (1, 1));
}

#[test]
fn a_stop_order_ends_a_replica_wherever_it_is() {
    use StopOrder::{Forced, Graceful};
    let with_init = || Workload { init: vec![init_step("one", 0, OnFailure::Fail)], ..workload() };
    for order in [Graceful, Forced] {
        // Before anything was there: what is under way is cancelled, and waited for.
        let mut life = Life::new(workload());
        life.transcript(vec![
            (stop(order), "report stopping, cancel pull"),
            (Input::FilesReady, ""),
            (network(), ""),
            (Input::ImageFailed(away()), "detach"),
            (Input::Detached, "report stopped"),
        ]);
        // While an init step runs.
        let mut life = Life::new(with_init());
        life.transcript(vec![
            (image(), ""),
            (network(), ""),
            (Input::FilesReady, "report initializing, init 0.0"),
            (stop(order), "report stopping, cancel init"),
            (Input::InitFailed(away()), "remove"),
            (Input::Removed, "detach"),
            (Input::Detached, "report stopped"),
        ]);
        // While the container is being made.
        let mut life = Life::new(workload());
        life.transcript(vec![
            (image(), ""),
            (network(), ""),
            (Input::FilesReady, "create 1"),
            (stop(order), "report stopping"),
            (Input::Created, "remove"),
            (Input::Removed, "detach"),
            (Input::Detached, "report stopped"),
        ]);
        // While it waits for its next attempt.
        let mut life = Life::running(workload());
        life.transcript(vec![
            (exited(1), "report backing-off(exited), remove"),
            (Input::Removed, ""),
            (stop(order), "report stopping, detach"),
            (Input::Detached, "report stopped"),
        ]);
        // While the process is being started: it is asked to end once it runs.
        let signal = if order == Forced { "SIGKILL" } else { "SIGTERM" };
        let mut life = Life::new(workload());
        for input in [image(), network(), Input::FilesReady, Input::Created] {
            life.tell(input);
        }
        life.tell(stop(order));
        assert_eq!(life.tell(Input::Started), format!("signal 1 {signal}"));
    }
}

#[test]
fn a_process_that_does_not_go_is_killed_when_its_grace_is_over_and_again() {
    let mut life = Life::running(workload());
    assert_eq!(life.tell(stop(StopOrder::Graceful)), "report stopping, signal 1 SIGTERM");
    life.tell(Input::Signalled);
    assert_eq!(life.wait(), (10_000, "event killed_after_grace, signal 1 SIGKILL".into()));
    life.tell(Input::Signalled);
    assert_eq!(life.wait(), (10_000, "signal 1 SIGKILL".into()));
    life.tell(Input::Signalled);
    assert_eq!(life.tell(exited(1)), "remove");
}

#[test]
fn the_stop_signal_is_the_services_else_the_images_else_sigterm() {
    let signal = |text: &str| Signal::parse(text).expect("a signal");
    for (service, image, sent) in [
        (None, None, "SIGTERM"),
        (None, Some(signal("USR1")), "SIGUSR1"),
        (Some(signal("INT")), Some(signal("USR1")), "SIGINT"),
        (Some(signal("INT")), None, "SIGINT"),
    ] {
        let mut life = Life::new(Workload { stop_signal: service, ..workload() });
        life.tell(Input::ImageReady { digest: "sha256:1".into(), stop_signal: image });
        for input in [network(), Input::FilesReady, Input::Created, Input::Started] {
            life.tell(input);
        }
        // The next agent does not look at the image of a process that runs.
        let running = [(1, Role::Main, ContainerState::Running)];
        let workload = Workload { stop_signal: service, ..workload() };
        let mut next = Life::adopted(workload, Some(life.machine.record().clone()), &running);
        for life in [&mut life, &mut next] {
            assert_eq!(life.tell(stop(StopOrder::Graceful)), format!("report stopping, signal 1 {sent}"));
        }
    }
}

#[test]
fn a_forced_stop_overtakes_a_graceful_one_and_not_the_other_way() {
    let mut life = Life::running(workload());
    life.tell(stop(StopOrder::Graceful));
    life.tell(Input::Signalled);
    assert_eq!(life.tell(stop(StopOrder::Forced)), "signal 1 SIGKILL");
    life.tell(Input::Signalled);
    assert_eq!(life.tell(stop(StopOrder::Graceful)), "");
    assert_eq!(life.tell(Input::Assigned(assignment(workload(), Desired::Run))), "", "a stop is never taken back");
    assert_eq!(life.tell(exited(1)), "remove");
}

#[test]
fn crashes_wait_longer_each_time_and_a_calm_while_is_forgiven() {
    let mut life = Life::running(workload());
    let restart = |life: &mut Life, attempt: u32| {
        life.tell(exited(attempt));
        life.tell(Input::Removed);
        let (span, steps) = life.wait();
        assert_eq!(steps, "report preparing, files");
        assert_eq!(life.tell(Input::FilesReady), format!("create {}", attempt + 1));
        life.tell(Input::Created);
        life.tell(Input::Started);
        assert_eq!(life.machine.status().restarts, attempt);
        span
    };
    let about = |span: u64, plain: u64| assert!((plain..=plain + plain / 10).contains(&span), "{span} for {plain}");
    about(restart(&mut life, 1), 100);
    about(restart(&mut life, 2), 1000);
    about(restart(&mut life, 3), 2000);
    life.now += 59_000;
    about(restart(&mut life, 4), 4000);
    life.now += 60_000;
    about(restart(&mut life, 5), 100);
}

#[test]
fn the_time_that_a_lost_process_was_ready_does_not_count_for_the_next() {
    let mut life = Life::running(Workload { health: Some(health()), ..workload() });
    let again = |life: &mut Life, attempt: u32| {
        for input in [Input::Removed, Input::FilesReady, Input::Created, Input::Started] {
            if life.machine.next_deadline().is_some_and(|_| life.phase().word() == "backing-off") {
                life.wait();
            }
            life.tell(input);
        }
        assert_eq!(life.machine.running_attempt(), Some(attempt));
    };
    // It crashes twice, is ready once, and its container is lost long after.
    life.tell(exited(1));
    again(&mut life, 2);
    life.tell(exited(2));
    again(&mut life, 3);
    assert_eq!(life.machine.record().failures, 2);
    life.tell(passed(3));
    life.now += 1000;
    let epoch = life.machine.epoch().expect("nothing is under way");
    assert_eq!(
        life.tell(Input::Observed { epoch, containers: Vec::new() }),
        "report preparing(container_lost), remove"
    );
    assert_eq!((life.machine.record().failures, life.machine.record().ready_since), (2, None));
    again(&mut life, 4);
    // The next was never ready, however long it took.
    life.now += 100_000;
    life.tell(exited(4));
    assert_eq!(life.machine.record().failures, 3);
    // One that had calmed down before it was lost has made good for the failures before.
    again(&mut life, 5);
    life.tell(passed(5));
    life.now += 60_000;
    let epoch = life.machine.epoch().expect("nothing is under way");
    life.tell(Input::Observed { epoch, containers: Vec::new() });
    assert_eq!(life.machine.record().failures, 0);
}

#[test]
fn a_crash_means_what_the_service_says() {
    for (on_panic, steps, outcome) in [
        (OnPanic::Shutdown, "report failed(exited), remove", Outcome::Failed),
        (OnPanic::Isolate, "report isolated(exited)", Outcome::Isolated),
    ] {
        let mut life = Life::running(Workload { on_panic, ..workload() });
        assert_eq!(life.tell(exited(1)), steps);
        assert_eq!(life.phase(), Phase::Finished(outcome));
        assert_eq!(life.machine.next_deadline(), None);
        // A new agent leaves it at that.
        let record = life.machine.record().clone();
        let stopped = ContainerState::Stopped(Exit { code: 1, out_of_memory: false, at: Timestamp(START) });
        let life = Life::adopted(Workload { on_panic, ..workload() }, Some(record), &[(1, Role::Main, stopped)]);
        assert_eq!(words(&life.steps), steps);
    }
    // The isolated one goes when it is told to.
    let mut life = Life::running(Workload { on_panic: OnPanic::Isolate, ..workload() });
    life.tell(exited(1));
    life.transcript(vec![
        (stop(StopOrder::Graceful), "report stopping, remove"),
        (Input::Removed, "detach"),
        (Input::Detached, "report stopped"),
    ]);
}

#[test]
fn a_container_that_can_never_start_is_a_crash_and_one_that_cannot_now_is_not() {
    for (is_created, input) in
        [(false, Input::CreateFailed as fn(Failure) -> Input), (true, Input::StartFailed as fn(Failure) -> Input)]
    {
        let ready = |life: &mut Life| {
            for input in [image(), network(), Input::FilesReady] {
                life.tell(input);
            }
            if is_created {
                life.tell(Input::Created);
            }
        };
        let mut life = Life::new(workload());
        ready(&mut life);
        assert_eq!(life.tell(input(wrong())), "report backing-off(wrong), remove");
        assert_eq!(life.machine.record().failures, 1);
        let mut life = Life::new(workload());
        ready(&mut life);
        assert_eq!(life.tell(input(away())), "report preparing(away)");
        assert_eq!(life.machine.record().failures, 0);
        assert_eq!(life.wait(), (250, if is_created { "start 1" } else { "remove" }.into()));
        let mut life = Life::new(Workload { on_panic: OnPanic::Shutdown, ..workload() });
        ready(&mut life);
        assert_eq!(life.tell(input(wrong())), "report failed(wrong), remove");
    }
}

#[test]
fn what_the_node_lacks_is_waited_for_with_the_reason_and_without_blame() {
    let mut life = Life::new(workload());
    assert_eq!(life.tell(Input::ImageFailed(away())), "report preparing(away)");
    assert_eq!(life.tell(Input::NetworkFailed(away())), "", "the same reason is no news");
    life.tell(Input::FilesReady);
    let spans: Vec<u64> = (0..8)
        .map(|_| {
            let (span, steps) = life.wait();
            assert_eq!(steps, "pull, attach");
            life.tell(Input::ImageFailed(away()));
            life.tell(Input::NetworkFailed(away()));
            span
        })
        .collect();
    assert_eq!(spans, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    life.wait();
    life.tell(network());
    assert_eq!(life.tell(image()), "create 1");
    life.tell(Input::Created);
    assert_eq!(life.tell(Input::Started), "report running");
    assert_eq!((life.machine.record().failures, life.machine.status().restarts), (0, 0));
}

#[test]
fn what_can_never_be_prepared_is_a_failure_of_init() {
    for (on_init_failure, expected) in [
        (OnInitFailure::Fail, "report failed(wrong), cancel pull"),
        (OnInitFailure::Restart, "report backing-off(wrong)"),
        (OnInitFailure::Backoff, "report backing-off(wrong)"),
    ] {
        let mut life = Life::new(Workload { on_init_failure, ..workload() });
        life.tell(network());
        assert_eq!(life.tell(Input::FilesFailed(wrong())), expected, "{on_init_failure:?}");
        if on_init_failure != OnInitFailure::Fail {
            life.tell(image());
            let (span, steps) = life.wait();
            assert_eq!(steps, "report preparing, files");
            assert_eq!(span >= 1000, on_init_failure == OnInitFailure::Restart, "{span}");
        }
    }
}

#[test]
fn init_steps_run_in_order_and_once() {
    let init = vec![init_step("one", 1, OnFailure::Fail), init_step("two", 0, OnFailure::Warn)];
    let mut life = Life::new(Workload { init, ..workload() });
    life.transcript(vec![
        (image(), ""),
        (network(), ""),
        (Input::FilesReady, "report initializing, init 0.0"),
        (Input::InitFailed(wrong()), ""),
    ]);
    assert_eq!(life.wait(), (500, "init 0.1".into()));
    life.transcript(vec![
        (Input::InitDone, "init 1.0"),
        (Input::InitFailed(wrong()), "event init_failed, create 1"),
        (Input::Created, "start 1"),
        (Input::Started, "report running"),
        (exited(1), "report backing-off(exited), remove"),
        (Input::Removed, ""),
    ]);
    assert_eq!(life.wait().1, "report preparing, files");
    assert_eq!(life.tell(Input::FilesReady), "create 2", "init steps are for the first start");
}

#[test]
fn a_failed_init_step_means_what_the_service_says_and_is_where_it_goes_on() {
    let init = || vec![init_step("one", 0, OnFailure::Fail), init_step("two", 0, OnFailure::Fail)];
    for (on_init_failure, expected) in [
        (OnInitFailure::Fail, "report failed(init_failed), detach"),
        (OnInitFailure::Restart, "report backing-off(init_failed)"),
        (OnInitFailure::Backoff, "report backing-off(init_failed)"),
    ] {
        let mut life = Life::new(Workload { init: init(), on_init_failure, ..workload() });
        for input in [image(), network(), Input::FilesReady, Input::InitDone] {
            life.tell(input);
        }
        let told = life.tell(Input::InitFailed(wrong()));
        // What an init step has left, if anything, goes before the network.
        assert_eq!(told.replace("remove", "detach"), expected, "{on_init_failure:?}");
        if on_init_failure != OnInitFailure::Fail {
            assert_eq!(life.wait().1, "report preparing, files");
            assert_eq!(life.tell(Input::FilesReady), "report initializing, init 1.0");
        }
    }
}

#[test]
fn an_init_step_has_its_time_and_no_more() {
    let mut wait = init_step("wait", 0, OnFailure::Fail);
    wait.action = InitAction::WaitTcp { host: "db".into(), port: 5432 };
    wait.timeout = Millis(1200);
    let mut life = Life::new(Workload { init: vec![wait], on_init_failure: OnInitFailure::Fail, ..workload() });
    for input in [image(), network(), Input::FilesReady] {
        life.tell(input);
    }
    for _ in 0..2 {
        assert_eq!(life.tell(Input::InitFailed(wrong())), "", "it polls");
        assert!(life.wait().1.starts_with("init 0."));
    }
    assert_eq!(life.wait(), (200, "cancel init".into()));
    assert_eq!(life.tell(Input::InitFailed(away())), "report failed(init_timeout), remove");
}

#[test]
fn a_process_is_ready_when_its_check_passes_and_ended_when_it_fails_for_good() {
    let mut life = Life::running(Workload { health: Some(health()), ..workload() });
    assert_eq!(life.phase(), Phase::Starting);
    assert_eq!(words(&life.steps), "report starting, check 1");
    // At first it is asked often, and nothing counts.
    assert_eq!(life.tell(failed(1)), "");
    let mut spans = Vec::new();
    while life.now < START + 10_000 {
        let (span, steps) = life.wait();
        assert_eq!(steps, "check 1");
        life.tell(failed(1));
        spans.push(span);
    }
    assert_eq!(spans[..4], [50, 76, 115, 173]);
    assert_eq!(life.phase(), Phase::Starting);
    assert_eq!(life.now, START + 10_000, "the first that counts is an interval after the start");
    assert_eq!(life.wait(), (10_000, "check 1".into()));
    assert_eq!(life.tell(passed(1)), "report healthy");
    for _ in 0..2 {
        assert_eq!(life.wait(), (10_000, "check 1".into()));
        assert_eq!(life.tell(failed(1)), "");
    }
    assert_eq!(life.wait().1, "check 1");
    assert_eq!(life.tell(passed(1)), "", "one that passes forgives those that failed");
    for failures in 1..=3 {
        assert_eq!(life.wait(), (10_000, "check 1".into()));
        let steps = life.tell(failed(1));
        assert_eq!(steps, if failures < 3 { "" } else { "report unhealthy(unhealthy), signal 1 SIGTERM" });
    }
    life.tell(Input::Signalled);
    assert_eq!(life.tell(exited(1)), "report backing-off(unhealthy), remove");
    assert_eq!(life.machine.record().failures, 1);
}

#[test]
fn a_check_that_nobody_could_do_does_not_count() {
    let mut life = Life::running(Workload { health: Some(health()), ..workload() });
    life.tell(passed(1));
    for _ in 0..10 {
        assert_eq!(life.wait().1, "check 1");
        assert_eq!(life.tell(Input::Checked { attempt: 1, result: Err(away()) }), "");
    }
    assert_eq!(life.phase(), Phase::Running(Health::Healthy));
}

#[test]
fn a_check_of_an_earlier_process_says_nothing_of_the_next() {
    let mut life = Life::running(Workload { health: Some(health()), ..workload() });
    assert_eq!(life.tell(exited(1)), "cancel check, report backing-off(exited), remove");
    life.tell(Input::Removed);
    life.wait();
    life.tell(Input::FilesReady);
    life.tell(Input::Created);
    assert_eq!(life.tell(Input::Started), "report starting");
    assert_eq!(life.tell(passed(1)), "check 2");
    assert_eq!(life.phase(), Phase::Starting);
}

#[test]
fn a_process_that_ends_before_its_start_was_told_has_started_and_ended() {
    let mut life = Life::new(workload());
    for input in [image(), network(), Input::FilesReady, Input::Created] {
        life.tell(input);
    }
    assert_eq!(life.tell(exited(1)), "");
    assert_eq!(life.tell(Input::Started), "report backing-off(exited), remove");
    assert_eq!((life.machine.record().starts, life.machine.record().failures), (1, 1));
}

#[test]
fn pull_policy_always_asks_before_each_start() {
    let mut always = workload();
    always.image.pull_policy = PullPolicy::Always;
    let mut life = Life::running(always);
    life.tell(exited(1));
    life.tell(Input::Removed);
    assert_eq!(life.wait().1, "report preparing, pull, files");
}

#[test]
fn an_order_of_an_older_generation_is_refused() {
    let mut life = Life::running(workload());
    let mut old = assignment(workload(), Desired::Stop(StopOrder::Forced));
    old.replica.generation = Generation(2);
    assert_eq!(life.tell(Input::Assigned(old)), "event stale_generation");
    assert_eq!(life.phase(), Phase::Running(Health::Unchecked));
}

#[test]
fn what_the_runtime_tells_corrects_what_is_believed() {
    let found = |attempt, role, state| FoundContainer { attempt, role, state };
    let mut life = Life::running(workload());
    let epoch = life.machine.epoch().expect("at rest");
    let seen = |containers| Input::Observed { epoch, containers };
    let running = found(1, Role::Main, ContainerState::Running);
    assert_eq!(life.tell(seen(vec![running.clone()])), "");
    assert_eq!(life.tell(Input::Observed { epoch: epoch - 1, containers: vec![] }), "", "overtaken by a step");
    let leftover = found(0, Role::Init, ContainerState::NoTask);
    assert_eq!(life.tell(seen(vec![running, leftover])), "remove but 1");
    life.tell(Input::Removed);
    let epoch = life.machine.epoch().expect("at rest");
    assert_eq!(
        life.tell(Input::Observed { epoch, containers: vec![] }),
        "report preparing(container_lost), remove",
        "it is gone"
    );
    assert_eq!(life.machine.record().failures, 0);
}

/// A record as it is after so much of a life.
fn record(f: impl FnOnce(&mut Record)) -> Option<Record> {
    let mut record = Record::new(REPLICA, Some(&assignment(workload(), Desired::Run)), Timestamp(START));
    record.status.phase = Phase::Preparing;
    f(&mut record);
    Some(record)
}

fn ran(record: &mut Record) {
    (record.attempt, record.started_attempt, record.starts) = (2, 2, 2);
    record.ended_attempt = 1;
    record.status.restarts = 1;
    record.status.phase = Phase::Running(Health::Unchecked);
    record.status.address = Some(Ipv4Addr::new(10, 0, 0, 2));
}

#[test]
fn whatever_is_found_is_adopted() {
    use ContainerState::{Created, NoTask, Running};
    use Role::{Init, Main};
    let stopped = ContainerState::Stopped(Exit { code: 1, out_of_memory: false, at: Timestamp(START) });
    let begun = |r: &mut Record| r.attempt = 1;
    let back_off = |r: &mut Record| {
        ran(r);
        r.ended_attempt = 2;
        r.failures = 1;
        r.status.phase = Phase::BackingOff(Timestamp(START + 5000));
        r.status.reason = Some(Reason::new("exited", "its process exited with code 1"));
    };
    type Case<'a> = (&'a str, Option<Record>, Vec<(u32, Role, ContainerState)>, &'a str, u32);
    let cases: Vec<Case<'_>> = vec![
        ("runs", record(ran), vec![(2, Main, Running)], "report running", 2),
        ("runs, no record", None, vec![(2, Main, Running)], "report running", 2),
        ("runs, record of before its start", record(begun), vec![(1, Main, Running)], "report running", 1),
        (
            "runs, something left",
            record(ran),
            vec![(2, Main, Running), (1, Main, NoTask)],
            "report running, remove but 2",
            2,
        ),
        ("made, not started", record(begun), vec![(1, Main, Created)], "report preparing, start 1", 0),
        ("half made", record(begun), vec![(1, Main, NoTask)], "report preparing, remove", 0),
        ("to be made", record(begun), vec![], "report preparing, pull, files", 0),
        (
            "ended meanwhile",
            record(ran),
            vec![(2, Main, stopped)],
            "report backing-off(exited), report backing-off(exited), remove",
            2,
        ),
        ("ended, dealt with", record(back_off), vec![(2, Main, stopped)], "report backing-off(exited), remove", 2),
        ("ended, removed", record(back_off), vec![], "report backing-off(exited)", 2),
        ("an init step left", record(|_| ()), vec![(0, Init, Running)], "report preparing, remove", 0),
        (
            "lost with the machine",
            record(ran),
            vec![(2, Main, NoTask)],
            "report preparing(container_lost), report preparing(container_lost), remove",
            2,
        ),
    ];
    for (name, record, containers, steps, starts) in cases {
        let life = Life::adopted(workload(), record, &containers);
        assert_eq!(words(&life.steps), steps, "{name}");
        assert_eq!(life.machine.record().starts, starts, "{name}");
        assert_eq!(life.machine.status().restarts, starts.saturating_sub(1), "{name}");
    }
}

#[test]
fn a_found_replica_that_is_not_wanted_is_ended_and_forgotten() {
    let found = Found {
        containers: vec![FoundContainer { attempt: 2, role: Role::Main, state: ContainerState::Running }],
        address: None,
    };
    let (now, timings) = (Timestamp(START), Timings::default());
    let (machine, steps) = ReplicaMachine::adopt(REPLICA, None, None, found, now, timings, 1);
    assert_eq!(words(&steps), "report pending, report stopping, signal 2 SIGTERM");
    let mut life = Life { machine, now: START, steps };
    life.transcript(vec![
        (Input::Signalled, ""),
        (exited(2), "remove"),
        (Input::Removed, "detach"),
        (Input::Detached, "forget"),
    ]);
}

#[test]
fn an_agent_that_died_while_stopping_goes_on_with_the_same_grace() {
    let stopping = |r: &mut Record| {
        ran(r);
        r.status.phase = Phase::Stopping;
        r.status.since = Timestamp(START - 4000);
    };
    // Also when its view is from before the order.
    let mut life = Life::adopted(workload(), record(stopping), &[(2, Role::Main, ContainerState::Running)]);
    assert_eq!(words(&life.steps), "report stopping, signal 2 SIGTERM");
    life.tell(Input::Signalled);
    assert_eq!(life.wait(), (5000, "event killed_after_grace, signal 2 SIGKILL".into()));
}
