//! The edges between wire and domain: nothing is lost on the way, nothing from outside panics, every bound is kept.

use orlop_arbitrary::{self as arbitrary, durable as any_durable};
use orlop_model::durable::{
    self, AssignedTask, BlockCause, Command, CommandKind, CommandNumber, EngineFrame, Entry, Failure, FailureCause,
    Fence, Hello, Payload, Record, RetryPolicy, Seq, Started, TaskOptions, TaskReport, Waiting, WorkerFrame,
};
use orlop_model::plan::{Plan, Step};
use orlop_model::spec::{Deployment, Service, Workload};
use orlop_model::view::{Object, View};
use orlop_model::*;
use orlop_proto::engine::v1 as engine;
use orlop_proto::{InvalidWire, cluster, operator, scheduler, spec, watch};
use proptest::prelude::*;
use prost::Message;
use prost::bytes::Bytes;
use std::fmt::Debug;

/// Encodes, decodes and converts back.
fn there_and_back<M, T>(value: &T) -> Result<T, InvalidWire>
where
    M: Message + Default + for<'a> From<&'a T>,
    T: TryFrom<M, Error = InvalidWire>,
{
    let bytes = M::from(value).encode_to_vec();
    T::try_from(M::decode(bytes.as_slice()).expect("what was encoded can be decoded"))
}

/// Encodes, decodes and converts back what is written by value.
fn moved_and_back<M, T>(value: &T) -> Result<T, InvalidWire>
where
    M: Message + Default + From<T>,
    T: TryFrom<M, Error = InvalidWire> + Clone,
{
    let bytes = M::from(value.clone()).encode_to_vec();
    T::try_from(M::decode(bytes.as_slice()).expect("what was encoded can be decoded"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_deployment_comes_back_as_it_was(value in arbitrary::deployment()) {
        prop_assert_eq!(there_and_back::<spec::v1::Deployment, _>(&value), Ok(value));
    }

    #[test]
    fn any_service_state_comes_back_as_it_was(value in arbitrary::service_state()) {
        prop_assert_eq!(there_and_back::<cluster::v1::ServiceState, _>(&value), Ok(value));
    }

    #[test]
    fn any_assignment_comes_back_as_it_was(value in arbitrary::assignment()) {
        prop_assert_eq!(there_and_back::<cluster::v1::Assignment, _>(&value), Ok(value));
    }

    #[test]
    fn any_node_comes_back_as_it_was(value in arbitrary::node()) {
        prop_assert_eq!(there_and_back::<cluster::v1::Node, _>(&value), Ok(value));
    }

    #[test]
    fn any_event_comes_back_as_it_was(value in arbitrary::event()) {
        prop_assert_eq!(there_and_back::<cluster::v1::Event, _>(&value), Ok(value));
    }

    #[test]
    fn any_route_comes_back_as_it_was(value in arbitrary::route()) {
        prop_assert_eq!(there_and_back::<cluster::v1::Route, _>(&value), Ok(value));
    }

    #[test]
    fn any_plan_comes_back_as_it_was(value in arbitrary::plan()) {
        prop_assert_eq!(there_and_back::<scheduler::v1::Plan, _>(&value), Ok(value));
    }

    #[test]
    fn any_view_comes_back_as_it_was(value in arbitrary::view()) {
        prop_assert_eq!(there_and_back::<watch::v1::View, _>(&value), Ok(value));
    }

    #[test]
    fn any_change_of_a_service_comes_back_as_it_was(value in arbitrary::service_change()) {
        prop_assert_eq!(there_and_back::<operator::v1::ServiceChange, _>(&value), Ok(value));
    }

    #[test]
    fn any_deployment_state_comes_back_as_it_was(value in arbitrary::deployment_state()) {
        prop_assert_eq!(there_and_back::<operator::v1::DeploymentState, _>(&value), Ok(value));
    }

    #[test]
    fn any_object_of_a_change_comes_back_as_it_was(value in arbitrary::object()) {
        let change = watch::v1::Change { key: value.key(), object: Some((&value).into()) };
        let back = watch::v1::Change::decode(change.encode_to_vec().as_slice()).expect("just encoded");
        prop_assert_eq!(back.object.map(Object::try_from), Some(Ok(value)));
    }

    #[test]
    fn any_failure_comes_back_as_it_was(value in any_durable::failure()) {
        prop_assert_eq!(moved_and_back::<engine::Failure, _>(&value), Ok(value));
    }

    #[test]
    fn any_outcome_comes_back_as_it_was(value in any_durable::outcome()) {
        prop_assert_eq!(moved_and_back::<engine::Outcome, _>(&value), Ok(value));
    }

    #[test]
    fn any_retry_policy_comes_back_as_it_was(value in any_durable::retry_policy()) {
        prop_assert_eq!(moved_and_back::<engine::RetryPolicy, _>(&value), Ok(value));
    }

    #[test]
    fn any_options_of_a_task_come_back_as_they_were(value in any_durable::task_options()) {
        prop_assert_eq!(moved_and_back::<engine::TaskOptions, _>(&value), Ok(value));
    }

    #[test]
    fn any_entry_comes_back_as_it_was(value in any_durable::entry()) {
        prop_assert_eq!(moved_and_back::<engine::Entry, _>(&value), Ok(value));
    }

    #[test]
    fn any_command_comes_back_as_it_was(value in any_durable::command()) {
        prop_assert_eq!(moved_and_back::<engine::Entry, _>(&value), Ok(value));
    }

    #[test]
    fn any_introduction_of_a_worker_comes_back_as_it_was(value in any_durable::hello()) {
        prop_assert_eq!(moved_and_back::<engine::Hello, _>(&value), Ok(value.clone()));
        prop_assert_eq!(moved_and_back::<engine::WorkerFrame, _>(&value), Ok(value));
    }

    #[test]
    fn any_frame_of_a_worker_comes_back_as_it_was(value in any_durable::worker_frame()) {
        prop_assert_eq!(moved_and_back::<engine::WorkerFrame, _>(&value), Ok(value));
    }

    #[test]
    fn any_frame_of_an_engine_comes_back_as_it_was(value in any_durable::engine_frame()) {
        prop_assert_eq!(moved_and_back::<engine::EngineFrame, _>(&value), Ok(value));
    }

    #[test]
    fn damaged_frames_never_panic(
        worker in any_durable::worker_frame(),
        answer in any_durable::engine_frame(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut frames =
            [engine::WorkerFrame::from(worker).encode_to_vec(), engine::EngineFrame::from(answer).encode_to_vec()];
        for bytes in &mut frames {
            for (at, value) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
        }
        for bytes in frames.iter().chain([&noise]) {
            decode::<engine::WorkerFrame, WorkerFrame>(bytes);
            decode::<engine::WorkerFrame, Hello>(bytes);
            decode::<engine::EngineFrame, EngineFrame>(bytes);
            decode::<engine::Entry, Entry>(bytes);
            decode::<engine::Entry, Command>(bytes);
        }
    }

    /// Bytes that are nearly a message reach deeper than random ones.
    #[test]
    fn damaged_and_random_bytes_never_panic(
        good in arbitrary::service_state(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = cluster::v1::ServiceState::from(&good).encode_to_vec();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for bytes in [bytes, noise] {
            decode::<cluster::v1::ServiceState, ServiceState>(&bytes);
            decode::<cluster::v1::Replica, Replica>(&bytes);
            decode::<cluster::v1::Assignment, Assignment>(&bytes);
            decode::<cluster::v1::Node, Node>(&bytes);
            decode::<cluster::v1::Event, Event>(&bytes);
            decode::<cluster::v1::Route, Route>(&bytes);
            decode::<spec::v1::Deployment, Deployment>(&bytes);
            decode::<scheduler::v1::Plan, Plan>(&bytes);
            decode::<scheduler::v1::Step, Step>(&bytes);
            decode::<watch::v1::View, View>(&bytes);
        }
    }
}

fn decode<M: Message + Default, T: TryFrom<M, Error = InvalidWire>>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes)
        && let Err(invalid) = T::try_from(message)
    {
        assert!(!invalid.problem.is_empty());
    }
}

fn sample() -> spec::v1::Deployment {
    let workload = spec::v1::Workload {
        image: "registry.example/shop/api:1".into(),
        pull_policy: spec::v1::PullPolicy::IfNotPresent.into(),
        on_init_failure: spec::v1::OnInitFailure::Backoff.into(),
        on_panic: spec::v1::OnPanic::Restart.into(),
        stop_signal: 15,
        stop_signal_of_image: false,
        health: Some(spec::v1::HealthCheck {
            interval_ms: 1000,
            timeout_ms: 1000,
            retries: 3,
            check: Some(spec::v1::health_check::Check::Tcp(spec::v1::TcpCheck { port: 80 })),
            ..Default::default()
        }),
        ..Default::default()
    };
    let service = spec::v1::Service {
        workload: Some(workload),
        scale: Some(spec::v1::Scale { mode: Some(spec::v1::scale::Mode::Fixed(1)) }),
        update: Some(spec::v1::Update { max_surge: 1, ..Default::default() }),
        ..Default::default()
    };
    spec::v1::Deployment { name: "shop".into(), services: [("api".to_owned(), service)].into() }
}

/// One way to spoil a message.
type Spoil = fn(&mut spec::v1::Service);

/// Every bound, broken one at a time: the path names the field.
#[test]
fn each_broken_bound_is_named_by_its_path() {
    fn workload(service: &mut spec::v1::Service) -> &mut spec::v1::Workload {
        service.workload.as_mut().expect("the sample has one")
    }
    fn health(service: &mut spec::v1::Service) -> &mut spec::v1::HealthCheck {
        workload(service).health.as_mut().expect("the sample has one")
    }
    fn endpoint(port: u32, path: &str, host: Option<&str>, protocol: spec::v1::Protocol) -> spec::v1::Endpoint {
        spec::v1::Endpoint {
            name: "http".into(),
            protocol: protocol.into(),
            port,
            path: path.into(),
            host: host.map(Into::into),
        }
    }
    use spec::v1::Protocol::{Http, Tcp, Unspecified};
    Deployment::try_from(sample()).expect("the sample is sound");
    let table: &[(&str, Spoil)] = &[
        ("workload", |s| s.workload = None),
        ("workload.image", |s| workload(s).image.clear()),
        ("workload.image", |s| workload(s).image = "x".repeat(600)),
        ("workload.pull_policy", |s| workload(s).pull_policy = 0),
        ("workload.pull_policy", |s| workload(s).pull_policy = 99),
        ("workload.stop_signal", |s| workload(s).stop_signal = 0),
        ("workload.stop_signal", |s| workload(s).stop_signal = 32),
        ("workload.stop_signal", |s| {
            let workload = workload(s);
            (workload.stop_signal, workload.stop_signal_of_image) = (2, true);
        }),
        ("workload.working_dir", |s| workload(s).working_dir = Some("srv".into())),
        ("workload.working_dir", |s| workload(s).working_dir = Some("/srv/../etc".into())),
        ("workload.user", |s| workload(s).user = Some("a:b:c".into())),
        ("workload.cpu_millis", |s| workload(s).cpu_millis = Some(0)),
        ("workload.memory_bytes", |s| workload(s).memory_bytes = Some(u64::MAX)),
        ("workload.stop_grace_period_ms", |s| workload(s).stop_grace_period_ms = u64::MAX),
        ("workload.args[1]", |s| {
            workload(s).args = Some(spec::v1::StringList { values: vec!["a".into(), "b\0".into()] });
        }),
        ("workload.args", |s| {
            workload(s).args = Some(spec::v1::StringList { values: vec![String::new(); 1001] });
        }),
        ("workload.env.A", |s| {
            workload(s).env.insert("A".into(), spec::v1::EnvValue { value: None });
        }),
        ("workload.env", |s| {
            let value = spec::v1::env_value::Value::Literal("x".into());
            workload(s).env.insert("A=B".into(), spec::v1::EnvValue { value: Some(value) });
        }),
        ("workload.health.retries", |s| health(s).retries = 0),
        ("workload.health.interval_ms", |s| health(s).interval_ms = 99),
        ("workload.health.timeout_ms", |s| health(s).timeout_ms = 0),
        ("workload.health.check", |s| health(s).check = None),
        ("workload.health.tcp.port", |s| {
            health(s).check = Some(spec::v1::health_check::Check::Tcp(spec::v1::TcpCheck { port: 65_536 }));
        }),
        ("workload.health.http.url", |s| {
            let http = spec::v1::HttpCheck { url: "ftp://x/".into(), expect_status: 200 };
            health(s).check = Some(spec::v1::health_check::Check::Http(http));
        }),
        ("workload.health.http.expect_status", |s| {
            let http = spec::v1::HttpCheck { url: "http://x/".into(), expect_status: 600 };
            health(s).check = Some(spec::v1::health_check::Check::Http(http));
        }),
        ("workload.health.command", |s| {
            health(s).check = Some(spec::v1::health_check::Check::Command(spec::v1::StringList::default()));
        }),
        ("workload.volumes[0].target", |s| {
            let source = Some(spec::v1::volume::Source::Tmpfs(spec::v1::Tmpfs { size_bytes: None }));
            workload(s).volumes.push(spec::v1::Volume { target: "data".into(), read_only: false, source });
        }),
        ("workload.volumes[0].source", |s| {
            workload(s).volumes.push(spec::v1::Volume { target: "/data".into(), read_only: false, source: None });
        }),
        ("workload.init[0].action", |s| {
            workload(s).init.push(spec::v1::InitStep {
                id: "wait".into(),
                timeout_ms: 1,
                retries: 0,
                on_failure: spec::v1::OnFailure::Fail.into(),
                action: None,
            });
        }),
        ("scale.fixed", |s| {
            s.scale = Some(spec::v1::Scale { mode: Some(spec::v1::scale::Mode::Fixed(10_001)) });
        }),
        ("scale.mode", |s| s.scale = Some(spec::v1::Scale { mode: None })),
        ("update.max_surge", |s| s.update = Some(spec::v1::Update::default())),
        ("endpoints[0].port", |s| s.endpoints.push(endpoint(0, "/", None, Http))),
        ("endpoints[0].path", |s| s.endpoints.push(endpoint(80, "api", None, Http))),
        ("endpoints[0].host", |s| s.endpoints.push(endpoint(80, "/", Some("Shop"), Http))),
        ("endpoints[0].protocol", |s| s.endpoints.push(endpoint(80, "/x", None, Tcp))),
        ("endpoints[0].protocol", |s| s.endpoints.push(endpoint(80, "/", None, Unspecified))),
        ("depends[0].service", |s| s.depends.push(spec::v1::Dependency::default())),
    ];
    for (path, spoil) in table {
        let mut wire = sample();
        spoil(wire.services.get_mut("api").expect("the sample has one"));
        match Deployment::try_from(wire) {
            Ok(_) => panic!("{path} was taken"),
            Err(invalid) => assert_eq!(invalid.field, format!("services.api.{path}"), "{invalid}"),
        }
    }
}

#[test]
fn rules_across_fields_hold_at_the_edge() {
    let mut wire = sample();
    wire.services.get_mut("api").expect("the sample has one").depends.push(spec::v1::Dependency {
        service: "db".into(),
        condition: spec::v1::Condition::Healthy.into(),
        timeout_ms: None,
        on_timeout: spec::v1::OnFailure::Fail.into(),
    });
    let invalid = Deployment::try_from(wire).expect_err("nobody is called db");
    assert_eq!(invalid.field, "services.api.depends[0].service");
    assert!(invalid.problem.contains("expected one of api"), "{invalid}");
}

#[test]
fn a_talkative_reason_is_cut_and_still_taken() {
    let long = Reason::new("image_pull_failed", "é".repeat(10_000));
    let back = there_and_back::<cluster::v1::Reason, _>(&long).expect("cut reasons are taken");
    assert!(back.message.ends_with('…') && back.message.len() <= limit::MESSAGE_BYTES_MAX);
    let whole = cluster::v1::Reason { code: long.code, message: long.message };
    assert_eq!(Reason::try_from(whole).map_err(|e| e.field), Err("message".to_owned()));
}

#[test]
fn a_retry_time_belongs_to_backing_off_only() {
    let wire = cluster::v1::ReplicaStatus {
        phase: cluster::v1::Phase::Preparing.into(),
        retry_at_ms: 7,
        ..Default::default()
    };
    assert_eq!(ReplicaStatus::try_from(wire).map_err(|e| e.field), Err("retry_at_ms".to_owned()));
}

#[test]
fn an_invalid_message_is_an_invalid_argument_for_grpc() {
    let status = tonic::Status::from(InvalidWire::new("retries", "found 0").within("health").within("workload"));
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert_eq!(status.message(), "workload.health.retries: found 0");
}

/// The stored form keeps a workload once for each generation, apart from its service.
#[test]
fn a_service_without_neighbours_is_whole_by_itself() {
    let wire = sample().services.remove("api").expect("the sample has one");
    let service = Service::try_from(wire).expect("sound");
    assert_eq!(Workload::try_from(spec::v1::Workload::from(&*service.workload)).as_ref(), Ok(&*service.workload));
}

/// The field that is named when the message is read.
fn refused<M, T: TryFrom<M, Error = InvalidWire> + Debug>(wire: M) -> String {
    T::try_from(wire).expect_err("it was taken").field
}

fn run() -> WorkflowRunId {
    WorkflowRunId::from_u128(1)
}

fn task() -> TaskId {
    TaskId::from_u128(2)
}

fn entry_of(kind: CommandKind) -> engine::Entry {
    let number = kind.is_numbered().then_some(CommandNumber(1));
    let record = Record::Command(Command { number, source: "main.rs:7".into(), kind });
    Entry { seq: Seq(3), at: Timestamp(5), record }.into()
}

fn scheduled() -> engine::Entry {
    entry_of(CommandKind::TaskScheduled {
        task: task(),
        name: "charge".into(),
        input: Payload::default(),
        options: Box::default(),
    })
}

fn step() -> engine::Entry {
    entry_of(CommandKind::StepDone {
        name: "pick".into(),
        outcome: durable::Outcome::Ok(Payload::default()),
        attempt: 1,
        began_at: Timestamp(4),
    })
}

fn cancel() -> engine::Entry {
    entry_of(CommandKind::CommandCancelled(CommandNumber(1)))
}

fn patch() -> engine::Entry {
    entry_of(CommandKind::PatchMarked { id: "new".into() })
}

fn answered() -> engine::Entry {
    let outcome = durable::Outcome::Failed(Failure::new(FailureCause::Returned, "no"));
    let record = Record::Answered { command: CommandNumber(1), outcome };
    Entry { seq: Seq(4), at: Timestamp(6), record }.into()
}

fn started() -> engine::Entry {
    let started = Started {
        workflow: "order".into(),
        version: String::new(),
        input: Payload::default(),
        seed: 1,
        continues: None,
        traceparent: String::new(),
    };
    Entry { seq: Seq(0), at: Timestamp(1), record: Record::Started(started) }.into()
}

/// What a message is before it is spoilt, and how it is.
type SpoiltEntry = (&'static str, fn() -> engine::Entry, fn(&mut engine::Entry));

#[test]
fn each_wrong_entry_is_named_by_its_field() {
    use engine::entry::Kind;
    fn within(entry: &mut engine::Entry) -> &mut engine::TaskScheduled {
        let Some(Kind::TaskScheduled(scheduled)) = &mut entry.kind else { panic!("no task") };
        scheduled
    }
    fn options(entry: &mut engine::Entry) -> &mut engine::TaskOptions {
        within(entry).options.as_mut().expect("written with options")
    }
    fn retry(entry: &mut engine::Entry) -> &mut engine::RetryPolicy {
        options(entry).retry.as_mut().expect("written with a policy")
    }
    fn done(entry: &mut engine::Entry) -> &mut engine::StepDone {
        let Some(Kind::StepDone(done)) = &mut entry.kind else { panic!("no step") };
        done
    }
    fn target(entry: &mut engine::Entry, target: Option<engine::cancel_sent::Target>) {
        entry.kind = Some(Kind::CancelSent(engine::CancelSent { target }));
    }
    fn failure(entry: &mut engine::Entry) -> &mut engine::Failure {
        use engine::outcome::Kind::Failed;
        match &mut entry.kind {
            Some(Kind::Answered(engine::Answered {
                outcome: Some(engine::Outcome { kind: Some(Failed(failure)) }),
            })) => failure,
            _ => panic!("no failure"),
        }
    }
    fn start(entry: &mut engine::Entry) -> &mut engine::Started {
        let Some(Kind::Started(started)) = &mut entry.kind else { panic!("no beginning") };
        started
    }
    let table: &[SpoiltEntry] = &[
        ("kind", scheduled, |e| e.kind = None),
        ("at_ms", scheduled, |e| e.at_ms = -1),
        ("hash", scheduled, |e| e.hash ^= 1),
        ("hash", scheduled, |e| within(e).name.push('x')),
        ("command", scheduled, |e| e.command = 0),
        ("command", patch, |e| e.command = 1),
        ("command", started, |e| e.command = 1),
        ("command", answered, |e| e.command = 0),
        ("hash", answered, |e| e.hash = 1),
        ("source", started, |e| e.source = "main.rs:7".into()),
        ("patch_marked.id", patch, |e| e.kind = Some(Kind::PatchMarked(engine::PatchMarked::default()))),
        ("task_scheduled.task", scheduled, |e| within(e).task = run().to_string()),
        ("task_scheduled.name", scheduled, |e| within(e).name.clear()),
        ("task_scheduled.input", scheduled, |e| within(e).input = None),
        ("task_scheduled.options.queue", scheduled, |e| options(e).queue = "a b".into()),
        ("task_scheduled.options.priority", scheduled, |e| options(e).priority = 101),
        ("task_scheduled.options.priority", scheduled, |e| options(e).priority = i32::MIN),
        ("task_scheduled.options.run_at_ms", scheduled, |e| options(e).run_at_ms = -1),
        ("task_scheduled.options.retry.growth_permille", scheduled, |e| retry(e).growth_permille = 999),
        ("task_scheduled.options.retry.jitter_permille", scheduled, |e| retry(e).jitter_permille = 1001),
        ("step_done.attempt", step, |e| done(e).attempt = 0),
        ("step_done.began_at_ms", step, |e| done(e).began_at_ms = i64::MIN),
        ("step_done.outcome", step, |e| done(e).outcome = None),
        ("step_done.outcome.kind", step, |e| done(e).outcome = Some(engine::Outcome { kind: None })),
        ("cancel_sent.target", cancel, |e| target(e, None)),
        ("cancel_sent.of_command", cancel, |e| target(e, Some(engine::cancel_sent::Target::OfCommand(0)))),
        ("cancel_sent.run", cancel, |e| target(e, Some(engine::cancel_sent::Target::Run("wfr_1".into())))),
        ("answered.outcome.failed.cause", answered, |e| failure(e).cause = 0),
        ("answered.outcome.failed.cause", answered, |e| failure(e).cause = 99),
        ("started.workflow", started, |e| start(e).workflow.clear()),
        ("started.continues", started, |e| start(e).continues = task().to_string()),
    ];
    for (field, sample, spoil) in table {
        let mut wire = sample();
        Entry::try_from(wire.clone()).expect("the sample is sound");
        spoil(&mut wire);
        assert_eq!(&refused::<_, Entry>(wire), field);
    }
    assert_eq!(refused::<_, Command>(step()), "seq");
    assert_eq!(refused::<_, Command>(engine::Entry { seq: 0, ..step() }), "at_ms");
    assert_eq!(refused::<_, Command>(engine::Entry { seq: 0, at_ms: 0, ..started() }), "started");
}

#[test]
fn each_wrong_frame_is_named_by_its_field() {
    use engine::{engine_frame, worker_frame};
    fn worker(kind: worker_frame::Kind) -> engine::WorkerFrame {
        engine::WorkerFrame { kind: Some(kind) }
    }
    fn answer(kind: engine_frame::Kind) -> engine::EngineFrame {
        engine::EngineFrame { kind: Some(kind) }
    }
    let (run, task) = (run().to_string(), task().to_string());
    let held = engine::HeldTask { task: run.clone(), fence: 1 };
    let workflow = engine::WorkerWorkflow { name: "order".into(), versions: Vec::new() };
    let hello = |hello: engine::Hello| worker(worker_frame::Kind::Hello(hello));
    let advanced = |commands: Vec<engine::Entry>, waiting: Option<engine::Waiting>| {
        worker(worker_frame::Kind::RunAdvanced(engine::RunAdvanced { run: run.clone(), fence: 1, commands, waiting }))
    };
    let command = engine::Entry { seq: 0, at_ms: 0, ..scheduled() };
    let table = [
        ("kind", engine::WorkerFrame::default()),
        ("hello", hello(engine::Hello::default())),
        ("run_released.run", worker(worker_frame::Kind::RunReleased(engine::RunReleased::default()))),
        ("run_advanced.commands[1].at_ms", advanced(vec![command.clone(), engine::Entry { seq: 0, ..step() }], None)),
        (
            "run_advanced.commands[0].command",
            advanced(vec![engine::Entry { command: 0, ..command }], Some(engine::Waiting::default())),
        ),
        (
            "run_advanced.waiting.commands[1]",
            advanced(vec![], Some(engine::Waiting { commands: vec![1, 0], ..Default::default() })),
        ),
        (
            "run_blocked.cause",
            worker(worker_frame::Kind::RunBlocked(engine::RunBlocked { run: run.clone(), ..Default::default() })),
        ),
        ("query_answered.outcome", worker(worker_frame::Kind::QueryAnswered(engine::QueryAnswered::default()))),
        (
            "task_finished.outcome",
            worker(worker_frame::Kind::TaskFinished(engine::TaskFinished { task: task.clone(), ..Default::default() })),
        ),
        (
            "task_reported.progress_permille",
            worker(worker_frame::Kind::TaskReported(engine::TaskReported {
                task: task.clone(),
                progress_permille: Some(1001),
                ..Default::default()
            })),
        ),
        (
            "task_reported.log[0].at_ms",
            worker(worker_frame::Kind::TaskReported(engine::TaskReported {
                task: task.clone(),
                log: vec![engine::TaskLog { at_ms: -5, ..Default::default() }],
                ..Default::default()
            })),
        ),
        (
            "task_returned.task",
            worker(worker_frame::Kind::TaskReturned(engine::TaskReturned { task: run.clone(), fence: 1 })),
        ),
    ];
    for (field, wire) in table {
        assert_eq!(refused::<_, WorkerFrame>(wire), field);
    }
    let table = [
        ("kind", engine::WorkerFrame::default()),
        ("pong", worker(worker_frame::Kind::Pong(engine::Pong {}))),
        ("hello.queues[0].name", hello(engine::Hello { queues: vec![Default::default()], ..Default::default() })),
        ("hello.tasks[1]", hello(engine::Hello { tasks: vec!["a".into(), String::new()], ..Default::default() })),
        ("hello.workflows", hello(engine::Hello { workflows: vec![workflow.clone(), workflow], ..Default::default() })),
        ("hello.held_tasks[0].task", hello(engine::Hello { held_tasks: vec![held.clone()], ..Default::default() })),
    ];
    for (field, wire) in table {
        assert_eq!(refused::<_, Hello>(wire), field);
    }
    let assigned = engine::TaskAssigned::from(AssignedTask {
        task: TaskId::from_u128(2),
        fence: Fence(1),
        name: "charge".into(),
        queue: durable::QueueName::default(),
        input: Payload::default(),
        attempt: 1,
        checkpoint: None,
        start_to_close: None,
        heartbeat: None,
        parent: run.clone(),
        root: run.clone(),
        traceparent: String::new(),
        last_failure: None,
    });
    let given = |task: engine::TaskAssigned| answer(engine_frame::Kind::TaskAssigned(Box::new(task)));
    let table = [
        ("kind", engine::EngineFrame::default()),
        ("welcome.session", answer(engine_frame::Kind::Welcome(engine::Welcome::default()))),
        (
            "welcome.kept_tasks[0].task",
            answer(engine_frame::Kind::Welcome(engine::Welcome {
                session: WorkerSessionId::from_u128(3).to_string(),
                kept_tasks: vec![held],
                ..Default::default()
            })),
        ),
        (
            "run_assigned.entries[1].hash",
            answer(engine_frame::Kind::RunAssigned(engine::RunAssigned {
                run: run.clone(),
                workflow: "order".into(),
                entries: vec![started(), engine::Entry { hash: 0, ..step() }],
                ..Default::default()
            })),
        ),
        (
            "run_appended.at_ms",
            answer(engine_frame::Kind::RunAppended(engine::RunAppended {
                run: run.clone(),
                at_ms: -1,
                ..Default::default()
            })),
        ),
        ("query.name", answer(engine_frame::Kind::Query(engine::Query { run, ..Default::default() }))),
        ("task_assigned.queue", given(engine::TaskAssigned { queue: String::new(), ..assigned.clone() })),
        ("task_assigned.attempt", given(engine::TaskAssigned { attempt: 0, ..assigned.clone() })),
        ("task_assigned.parent", given(engine::TaskAssigned { parent: "me".into(), ..assigned })),
    ];
    for (field, wire) in table {
        assert_eq!(refused::<_, EngineFrame>(wire), field);
    }
}

#[test]
fn what_is_absent_is_the_default() {
    assert_eq!(TaskOptions::try_from(engine::TaskOptions::default()), Ok(TaskOptions::default()));
    let mut wire = scheduled();
    let Some(engine::entry::Kind::TaskScheduled(scheduled)) = &mut wire.kind else { panic!("no task") };
    scheduled.options = None;
    let Record::Command(Command { kind: CommandKind::TaskScheduled { options, .. }, .. }) =
        Entry::try_from(wire).expect("options may be absent").record
    else {
        panic!("no task")
    };
    assert_eq!(*options, TaskOptions::default());
    let policy = RetryPolicy::try_from(engine::RetryPolicy::default()).expect("nothing is out of bounds");
    assert_eq!((policy.attempts_max, policy.growth_permille), (None, RetryPolicy::default().growth_permille));
    assert_eq!(Waiting::try_from(engine::Waiting::default()), Ok(Waiting::default()));
    assert_eq!(TaskReport::try_from(engine::TaskReported::default()), Ok(TaskReport::default()));
}

#[test]
fn a_time_beyond_the_wire_is_the_last_that_it_has() {
    let entry = Entry { seq: Seq(0), at: Timestamp(u64::MAX), record: Record::CancelRequested { reason: "no".into() } };
    assert_eq!(engine::Entry::from(entry).at_ms, i64::MAX);
}

#[test]
fn a_block_needs_a_cause_on_the_wire_only() {
    assert_eq!(BlockCause::try_from(engine::BlockCause::Unspecified).map_err(|e| e.problem), Err("is not set".into()));
    assert_eq!(BlockCause::try_from(engine::BlockCause::ForeignWake), Ok(BlockCause::ForeignWake));
}

/// Ten thousand frames a second carry their payloads through here.
#[test]
fn the_bytes_of_a_payload_are_moved_and_never_copied() {
    let data = Bytes::from(vec![7; 1000]);
    let outcome = durable::Outcome::Ok(Payload { data: data.clone(), encoding: String::new() });
    let frame = WorkerFrame::TaskFinished { task: task(), fence: Fence(1), outcome };
    let payload_of = |frame: &WorkerFrame| match frame {
        WorkerFrame::TaskFinished { outcome: durable::Outcome::Ok(payload), .. } => payload.data.clone(),
        _ => panic!("another frame"),
    };
    let wire = engine::WorkerFrame::from(frame);
    let encoded = Bytes::from(wire.encode_to_vec());
    let back = WorkerFrame::try_from(wire).expect("sound");
    assert_eq!(payload_of(&back).as_ptr(), data.as_ptr());
    let decoded = engine::WorkerFrame::decode(encoded.clone()).expect("just encoded");
    let decoded = payload_of(&WorkerFrame::try_from(decoded).expect("sound"));
    assert!(encoded.as_ptr_range().contains(&decoded.as_ptr()), "the payload is a part of what was received");
}
