//! The edges between wire and domain: nothing is lost on the way, nothing from outside panics, every bound is kept.

use orlop_arbitrary as arbitrary;
use orlop_model::plan::{Plan, Step};
use orlop_model::spec::{Deployment, Service, Workload};
use orlop_model::view::{Object, View};
use orlop_model::*;
use orlop_proto::{InvalidWire, cluster, operator, scheduler, spec, watch};
use proptest::prelude::*;
use prost::Message;

/// Encodes, decodes and converts back.
fn there_and_back<M, T>(value: &T) -> Result<T, InvalidWire>
where
    M: Message + Default + for<'a> From<&'a T>,
    T: TryFrom<M, Error = InvalidWire>,
{
    let bytes = M::from(value).encode_to_vec();
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
