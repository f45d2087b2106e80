//! Any value of the domain, for property tests: valid by construction, small enough to read when a test fails, and wide
//! enough to visit every variant.

pub mod durable;

use orlop_model::lifecycle::*;
use orlop_model::name::*;
use orlop_model::plan::{Plan, Step};
use orlop_model::spec::*;
use orlop_model::trust::SecretValue;
use orlop_model::*;
use proptest::collection::{btree_map, vec};
use proptest::option::of as maybe;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

fn named<T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>(
    pattern: &'static str,
) -> impl Strategy<Value = T> {
    pattern.prop_map(|text| text.parse().expect("the pattern makes valid names only"))
}

/// Any timestamp.
pub fn timestamp() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp)
}

/// A span of at least `min` that a spec may contain.
pub fn span(min: Millis) -> impl Strategy<Value = Millis> {
    (min.0..=limit::SPAN_MAX.0).prop_map(Millis)
}

/// Any generation.
pub fn generation() -> impl Strategy<Value = Generation> {
    any::<u64>().prop_map(Generation)
}

/// Any replica id.
pub fn replica_id() -> impl Strategy<Value = ReplicaId> {
    any::<u128>().prop_map(ReplicaId::from_u128)
}

/// Any node id.
pub fn node_id() -> impl Strategy<Value = NodeId> {
    any::<u128>().prop_map(NodeId::from_u128)
}

/// Any deployment's name.
pub fn deployment_name() -> impl Strategy<Value = DeploymentName> {
    named("[a-z0-9][a-z0-9-]{1,6}[a-z0-9]")
}

/// Any service's name.
pub fn service_name() -> impl Strategy<Value = ServiceName> {
    named("[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?")
}

/// Any service of any deployment.
pub fn service_ref() -> impl Strategy<Value = ServiceRef> {
    (deployment_name(), service_name()).prop_map(|(deployment, service)| ServiceRef { deployment, service })
}

/// Any reason.
pub fn reason() -> impl Strategy<Value = Reason> {
    ("[a-z_]{1,12}", "\\PC{0,40}").prop_map(|(code, message)| Reason { code, message })
}

/// Any address.
pub fn address() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from_bits)
}

/// Any port.
pub fn port() -> impl Strategy<Value = u16> {
    1..=u16::MAX
}

/// What may be asked for, nothing included.
pub fn resources() -> impl Strategy<Value = Resources> {
    let cpu = maybe((1..=limit::CPU_MILLIS_MAX).prop_map(Cpu));
    let memory = maybe((1..=limit::MEMORY_BYTES_MAX).prop_map(Memory));
    (cpu, memory).prop_map(|(cpu, memory)| Resources { cpu, memory })
}

fn command() -> impl Strategy<Value = Vec<String>> {
    ("/[a-z]{1,6}", vec("[^\0]{0,8}", 0..3)).prop_map(|(program, mut arguments)| {
        arguments.insert(0, program);
        arguments
    })
}

fn absolute() -> impl Strategy<Value = String> {
    "(/[a-zA-Z0-9_ -]{1,6}){1,4}"
}

fn url() -> impl Strategy<Value = String> {
    "http://[a-z]{1,8}(:[1-9][0-9]{0,3})?(/[a-z]{0,4}){0,3}"
}

fn on_failure() -> impl Strategy<Value = OnFailure> {
    prop_oneof![Just(OnFailure::Fail), Just(OnFailure::Warn), Just(OnFailure::Continue)]
}

/// Any health check.
pub fn health_check() -> impl Strategy<Value = HealthCheck> {
    let check = prop_oneof![
        (url(), 100u16..=599).prop_map(|(url, expect_status)| Check::Http { url, expect_status }),
        port().prop_map(|port| Check::Tcp { port }),
        command().prop_map(|command| Check::Command { command }),
    ];
    (span(Millis(0)), span(limit::HEALTH_INTERVAL_MIN), span(Millis(1)), 1..=u32::MAX, check).prop_map(
        |(start_grace, interval, timeout, retries, check)| HealthCheck {
            start_grace,
            interval,
            timeout,
            retries,
            check,
        },
    )
}

fn init_step() -> impl Strategy<Value = InitStep> {
    let action = prop_oneof![
        ("[a-z.]{1,12}", port()).prop_map(|(host, port)| InitAction::WaitTcp { host, port }),
        (url(), 100u16..=599).prop_map(|(url, expect_status)| InitAction::WaitHttp { url, expect_status }),
        command().prop_map(|command| InitAction::Run { command }),
    ];
    (named("[a-z][a-z0-9]{0,8}"), action, span(Millis(1)), any::<u32>(), on_failure())
        .prop_map(|(id, action, timeout, retries, on_failure)| InitStep { id, action, timeout, retries, on_failure })
}

fn volume() -> impl Strategy<Value = Volume> {
    let size = maybe((1..=limit::MEMORY_BYTES_MAX).prop_map(Memory));
    let source = prop_oneof![
        named("[a-z][a-z0-9]{0,8}").prop_map(VolumeSource::Named),
        absolute().prop_map(VolumeSource::Bind),
        size.prop_map(|size| VolumeSource::Tmpfs { size }),
    ];
    (absolute(), any::<bool>(), source).prop_map(|(target, read_only, source)| Volume { target, read_only, source })
}

fn secret_file() -> impl Strategy<Value = SecretFile> {
    let mode = (1u32..=7).prop_map(|who| {
        let bits = (who & 4) << 6 | (who & 2) << 4 | (who & 1) << 2;
        SecretMode::from_bits(bits).expect("permissions to read")
    });
    let on_change = prop_oneof![
        Just(OnSecretChange::Restart),
        Just(OnSecretChange::Nothing),
        (1u32..=8)
            .prop_map(|n| Signal::from_number(n).and_then(OnSecretChange::signal).expect("a signal that is heard of")),
    ];
    let id = || 0..u32::MAX;
    ("[A-Za-z0-9_-]{1,8}", "/vault/[a-z]{1,8}", mode, id(), id(), on_change).prop_map(
        |(secret, path, mode, uid, gid, on_change)| SecretFile {
            secret: secret.parse().expect("a name"),
            path: path.parse().expect("a path"),
            mode,
            uid,
            gid,
            on_change,
        },
    )
}

fn image() -> impl Strategy<Value = Image> {
    let policy = prop_oneof![Just(PullPolicy::Always), Just(PullPolicy::IfNotPresent), Just(PullPolicy::Never)];
    ("[a-z]{1,8}\\.example/[a-z]{1,8}:[0-9]{1,4}", policy).prop_map(|(name, pull_policy)| Image { name, pull_policy })
}

fn env() -> impl Strategy<Value = std::collections::BTreeMap<String, EnvValue>> {
    let value = prop_oneof![
        "[^\0]{0,12}".prop_map(EnvValue::Literal),
        "[A-Z_][A-Z0-9_]{0,8}".prop_map(EnvValue::AgentEnv),
        "[A-Za-z0-9_.-]{1,8}".prop_map(|name| EnvValue::Secret(name.parse().expect("a name"))),
    ];
    btree_map("[A-Z_][A-Z0-9_]{0,8}", value, 0..4)
}

/// Any workload.
pub fn workload() -> impl Strategy<Value = Workload> {
    let process = (
        maybe(vec("[^\0]{0,8}", 0..4)),
        maybe(vec("[^\0]{0,8}", 0..4)),
        maybe(absolute()),
        maybe("[a-z0-9]{1,6}(:[a-z0-9]{1,6})?"),
        env(),
    );
    let care = (
        maybe(health_check()),
        vec(init_step(), 0..3),
        prop_oneof![Just(OnInitFailure::Fail), Just(OnInitFailure::Restart), Just(OnInitFailure::Backoff)],
        prop_oneof![Just(OnPanic::Restart), Just(OnPanic::Shutdown), Just(OnPanic::Isolate)],
    );
    let signal = (1u32..=31).prop_map(|n| Signal::from_number(n).expect("1 to 31 are signals"));
    let mounts = (vec(volume(), 0..3), vec(secret_file(), 0..3));
    (image(), process, resources(), care, mounts, maybe(signal), span(Millis(0))).prop_map(
        |(image, process, resources, care, (mut volumes, mut secret_files), stop_signal, stop_grace_period)| {
            let (command, args, working_dir, user, env) = process;
            let (health, mut init, on_init_failure, on_panic) = care;
            let (mut ids, mut targets) = (BTreeSet::new(), BTreeSet::new());
            init.retain(|step| ids.insert(step.id.clone()));
            volumes.retain(|volume| !volume.target.starts_with("/vault") && targets.insert(volume.target.clone()));
            let mut paths = BTreeSet::new();
            secret_files.retain(|file| paths.insert(file.path.clone()));
            Workload {
                image,
                command,
                args,
                working_dir,
                user,
                env,
                resources,
                health,
                init,
                on_init_failure,
                on_panic,
                volumes,
                secret_files,
                stop_signal,
                stop_grace_period,
            }
        },
    )
}

/// Any endpoint.
pub fn endpoint() -> impl Strategy<Value = Endpoint> {
    let name = || named("[a-z][a-z0-9]{0,8}");
    let http = (name(), port(), "(/[a-z]{1,4}){1,3}|/", maybe("[a-z]{1,8}\\.example"));
    prop_oneof![
        http.prop_map(|(name, port, path, host)| Endpoint { name, protocol: Protocol::Http, port, path, host }),
        (name(), port()).prop_map(|(name, port)| Endpoint {
            name,
            protocol: Protocol::Tcp,
            port,
            path: "/".into(),
            host: None
        }),
    ]
}

fn scale() -> impl Strategy<Value = Scale> {
    prop_oneof![(0..=check::REPLICAS_MAX).prop_map(|replicas| Scale::Fixed { replicas }), Just(Scale::Manual)]
}

fn dependency() -> impl Strategy<Value = Dependency> {
    let condition = prop_oneof![Just(Condition::Started), Just(Condition::Healthy), Just(Condition::Ready)];
    (service_name(), condition, maybe(span(Millis(1))), on_failure())
        .prop_map(|(service, condition, timeout, on_timeout)| Dependency { service, condition, timeout, on_timeout })
}

fn update() -> impl Strategy<Value = Update> {
    (0..=check::REPLICAS_MAX, 0..=check::REPLICAS_MAX, span(Millis(0))).prop_map(
        |(max_surge, max_unavailable, min_healthy)| Update {
            max_surge: if max_unavailable == 0 { max_surge.max(1) } else { max_surge },
            max_unavailable,
            min_healthy,
        },
    )
}

fn constraint() -> impl Strategy<Value = Constraint> {
    let attribute = prop_oneof![Just(NodeAttribute::Name), "[a-z./-]{1,12}".prop_map(NodeAttribute::Label)];
    (attribute, any::<bool>(), "[a-z0-9-]{0,8}").prop_map(|(attribute, equal, value)| Constraint {
        attribute,
        equal,
        value,
    })
}

/// Any service by itself: it may depend on services that nobody has.
pub fn service() -> impl Strategy<Value = Service> {
    (workload(), vec(endpoint(), 0..3), scale(), vec(dependency(), 0..3), update(), vec(constraint(), 0..3)).prop_map(
        |(workload, mut endpoints, scale, depends, update, constraints)| {
            let mut names = BTreeSet::new();
            endpoints.retain(|endpoint| names.insert(endpoint.name.clone()));
            Service {
                workload: Arc::new(workload),
                endpoints,
                scale,
                depends,
                update,
                placement: Placement { constraints },
            }
        },
    )
}

/// Any deployment that keeps the rules across its fields ([`check::violations`]).
pub fn deployment() -> impl Strategy<Value = Deployment> {
    (deployment_name(), btree_map(service_name(), service(), 1..5)).prop_map(|(name, mut services)| {
        let mut earlier: Vec<ServiceName> = Vec::new();
        let mut routes = BTreeSet::new();
        for (name, service) in &mut services {
            // Only services before it in order: no circles, nobody unknown.
            let known = earlier.clone();
            service.depends.truncate(known.len());
            for (dependency, known) in service.depends.iter_mut().zip(known) {
                dependency.service = known;
            }
            service.endpoints.retain(|endpoint| match endpoint.protocol {
                Protocol::Http => routes.insert((0, endpoint.host.clone(), endpoint.path.clone())),
                Protocol::Tcp => routes.insert((endpoint.port, None, String::new())),
            });
            earlier.push(name.clone());
        }
        Deployment { name, services }
    })
}

/// Any phase.
pub fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Pending),
        Just(Phase::Preparing),
        Just(Phase::Initializing),
        Just(Phase::Starting),
        Just(Phase::Running(Health::Unchecked)),
        Just(Phase::Running(Health::Healthy)),
        Just(Phase::Running(Health::Unhealthy)),
        timestamp().prop_map(Phase::BackingOff),
        Just(Phase::Stopping),
        Just(Phase::Finished(Outcome::Stopped)),
        Just(Phase::Finished(Outcome::Failed)),
        Just(Phase::Finished(Outcome::Isolated)),
        Just(Phase::Finished(Outcome::Lost)),
    ]
}

/// Any exit.
pub fn exit() -> impl Strategy<Value = Exit> {
    (any::<u32>(), any::<bool>(), timestamp()).prop_map(|(code, out_of_memory, at)| Exit { code, out_of_memory, at })
}

/// Any status of a replica.
pub fn replica_status() -> impl Strategy<Value = ReplicaStatus> {
    let counts = (any::<u32>(), any::<u32>());
    (phase(), timestamp(), counts, maybe(address()), maybe(reason()), maybe(exit()), maybe("sha256:[0-9a-f]{64}"))
        .prop_map(|(phase, since, (restarts, failures), address, reason, last_exit, image_digest)| ReplicaStatus {
            phase,
            since,
            restarts,
            failures,
            address,
            reason,
            last_exit,
            image_digest,
        })
}

/// Either order to stop.
pub fn stop_order() -> impl Strategy<Value = StopOrder> {
    prop_oneof![Just(StopOrder::Graceful), Just(StopOrder::Forced)]
}

/// Any replica.
pub fn replica() -> impl Strategy<Value = Replica> {
    let desired = prop_oneof![Just(Desired::Run), stop_order().prop_map(Desired::Stop)];
    (replica_id(), service_ref(), any::<u32>(), generation(), node_id(), resources(), desired, replica_status())
        .prop_map(|(id, service, slot, generation, node, reserved, desired, status)| Replica {
            id,
            service,
            slot,
            generation,
            node,
            reserved,
            desired,
            status,
        })
}

/// Anything that a planner may say of a service.
pub fn service_status() -> impl Strategy<Value = ServiceStatus> {
    let fault = (generation(), any::<bool>(), reason()).prop_map(|(generation, failed, reason)| DependencyFault {
        generation,
        failed,
        reason,
    });
    (vec(reason(), 0..3), maybe(fault))
        .prop_map(|(blocked, dependency_fault)| ServiceStatus { blocked, dependency_fault })
}

fn endpoint_fault() -> impl Strategy<Value = EndpointFault> {
    (named("[a-z][a-z0-9]{0,8}"), node_id(), timestamp(), reason())
        .prop_map(|(endpoint, node, since, reason)| EndpointFault { endpoint, node, since, reason })
}

/// Any service as the control plane keeps it.
pub fn service_state() -> impl Strategy<Value = ServiceState> {
    (
        service_ref(),
        generation(),
        generation(),
        service(),
        0..=check::REPLICAS_MAX,
        timestamp(),
        maybe(stop_order()),
        (service_status(), vec(endpoint_fault(), 0..3)),
    )
        .prop_map(
            |(name, generation, workload_generation, spec, replicas, changed_at, stopping, (status, faults))| {
                ServiceState {
                    name,
                    generation,
                    workload_generation,
                    spec: Arc::new(spec),
                    replicas,
                    changed_at,
                    stopping,
                    status,
                    faults,
                }
            },
        )
}

/// Any node.
pub fn node() -> impl Strategy<Value = Node> {
    let subnet = (address(), 0u8..=32)
        .prop_map(|(address, prefix)| ipnet::Ipv4Net::new(address, prefix).expect("prefixes go to 32"));
    let liveness = prop_oneof![
        Just(Liveness::Alive),
        timestamp().prop_map(Liveness::Suspect),
        timestamp().prop_map(Liveness::Lost)
    ];
    let scheduling = prop_oneof![Just(Scheduling::Open), Just(Scheduling::Cordoned), Just(Scheduling::Draining)];
    let host = prop_oneof![
        // Neither loopback nor multicast.
        (1u8..=126, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| IpAddr::from([a, b, c, d])),
        any::<[u16; 7]>().prop_map(|[b, c, d, e, f, g, h]| IpAddr::from([0xfd00, b, c, d, e, f, g, h])),
    ];
    let labels = btree_map("[a-z./]{1,8}", "[a-z0-9]{0,8}", 0..3);
    (
        node_id(),
        named("[a-z][a-z0-9]{0,8}"),
        any::<u64>(),
        any::<u64>(),
        labels,
        subnet,
        "[0-9]\\.[0-9]\\.[0-9]",
        timestamp(),
        (maybe(host), liveness, scheduling),
    )
        .prop_map(|(id, name, cpu, memory, labels, subnet, version, registered_at, rest)| Node {
            id,
            name,
            cpu: Cpu(cpu),
            memory: Memory(memory),
            labels,
            subnet,
            version,
            registered_at,
            address: rest.0,
            liveness: rest.1,
            scheduling: rest.2,
        })
}

/// Any subject of an event.
pub fn subject() -> impl Strategy<Value = Subject> {
    (maybe(deployment_name()), maybe(service_name()), maybe(replica_id()), maybe(any::<u32>()), maybe(node_id()))
        .prop_map(|(deployment, service, replica, slot, node)| Subject { deployment, service, replica, slot, node })
}

/// Any event.
pub fn event() -> impl Strategy<Value = Event> {
    let level = prop_oneof![Just(Level::Info), Just(Level::Warning), Just(Level::Error)];
    (any::<u64>(), timestamp(), level, subject(), reason()).prop_map(|(sequence, at, level, subject, reason)| Event {
        sequence,
        at,
        level,
        subject,
        reason,
    })
}

/// Any route.
pub fn route() -> impl Strategy<Value = Route> {
    let backend = (replica_id(), any::<u32>(), address(), port(), node_id())
        .prop_map(|(replica, slot, address, port, node)| Backend { replica, slot, address, port, node });
    (service_ref(), endpoint(), vec(backend, 0..4)).prop_map(|(service, endpoint, backends)| Route {
        service,
        endpoint,
        backends,
    })
}

/// Any assignment.
pub fn assignment() -> impl Strategy<Value = Assignment> {
    (replica(), workload(), btree_map("[a-z.-]{1,8}", vec(any::<u8>(), 0..20), 0..3)).prop_map(
        |(replica, workload, secrets)| Assignment {
            replica,
            workload: Arc::new(workload),
            secrets: secrets
                .into_iter()
                .map(|(name, value)| (name.parse().expect("a name"), SecretValue(value.into())))
                .collect(),
        },
    )
}

/// Any step of a plan.
pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (replica_id(), service_ref(), any::<u32>(), generation(), node_id(), reason()).prop_map(
            |(replica, service, slot, generation, node, why)| Step::Start {
                replica,
                service,
                slot,
                generation,
                node,
                why
            }
        ),
        (replica_id(), stop_order(), reason()).prop_map(|(replica, order, why)| Step::Stop { replica, order, why }),
        replica_id().prop_map(|replica| Step::Forget { replica }),
        (service_ref(), generation(), service_status()).prop_map(|(service, generation, status)| Step::Note {
            service,
            generation,
            status
        }),
        service_ref().prop_map(|service| Step::Remove { service }),
    ]
}

/// Any plan, without a time to plan again.
pub fn plan() -> impl Strategy<Value = Plan> {
    (any::<u64>(), vec(step(), 0..6)).prop_map(|(revision, steps)| Plan {
        revision: Revision(revision),
        steps,
        wake_at: None,
    })
}

/// Anything that a deploy may do to a service.
pub fn service_change() -> impl Strategy<Value = ServiceChange> {
    let kind = prop_oneof![
        Just(ChangeKind::Unchanged),
        Just(ChangeKind::Added),
        Just(ChangeKind::Removed),
        Just(ChangeKind::Replaced),
        Just(ChangeKind::Updated),
        Just(ChangeKind::Retried),
    ];
    (service_name(), kind, vec("\\PC{0,20}", 0..3)).prop_map(|(service, kind, fields)| ServiceChange {
        service,
        kind,
        fields,
    })
}

/// Any deployment as the control plane keeps it.
pub fn deployment_state() -> impl Strategy<Value = DeploymentState> {
    (deployment_name(), generation(), timestamp(), any::<bool>())
        .prop_map(|(name, generation, changed_at, stopping)| DeploymentState { name, generation, changed_at, stopping })
}

/// Any view.
pub fn view() -> impl Strategy<Value = View> {
    prop_oneof![
        Just(View::Scheduler),
        node_id().prop_map(View::Node),
        Just(View::Routes),
        Just(View::Mesh),
        maybe(deployment_name()).prop_map(View::Operator),
        maybe(deployment_name()).prop_map(View::Events),
    ]
}

/// Any object of any view.
pub fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        service_state().prop_map(Object::Service),
        replica().prop_map(Object::Replica),
        node().prop_map(Object::Node),
        assignment().prop_map(Object::Assignment),
        route().prop_map(Object::Route),
        event().prop_map(Object::Event),
    ]
}
