//! `make bench-scale`: what a thousand nodes with ten thousand replicas cost the control plane, and what is left of ten
//! thousand services that were started, updated and stopped.
//!
//! Three real members over mTLS on hosts of this machine, each with a real scheduler, and a thousand agents without
//! containers in this process, each with a key, a certificate and connections of its own. What is measured are the members;
//! the agents compete with them for this machine's cores, so the times are worse than on machines of their own. A goal that
//! a run does not reach is marked MISSED.

mod agents;

use agents::Counts;
use orlop_client::{Address, AdminClient, ClusterState, Credentials, HostPort, OperatorClient, TrustClient, calls};
use orlop_model::trust::JoinKind;
use orlop_model::{Generation, Millis};
use orlop_proto::admin::v1::GetClusterRequest;
use orlop_proto::admin::v1::admin_service_client::AdminServiceClient;
use orlop_proto::metadata::STALE;
use orlop_testbed::{Cluster, Role, program, run_with_input, wait_for};
use orlop_tests::measure::{cpu, mebibytes, mebibytes_at_most, mebibytes_on_disk};
use std::future::Future;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tonic::Request;

const HOSTS: [u16; 3] = [1, 2, 3];
/// So long the steady state is watched.
const STEADY: Duration = Duration::from_secs(60);
/// So long nothing may have been reported before the state is called steady: what was written last settles.
const CALM: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(900);
/// The services of one deployment in the steady part.
const SERVICES: u32 = 100;
/// The most services that a deployment may have.
const SERVICES_MAX: u32 = 1000;

fn main() {
    // `cargo bench` passes `--bench`; anything else chooses what to run.
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| chosen.is_empty() || chosen.iter().any(|c| c == name);
    let number = |name: &str, usual: u32| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let nodes = number("ORLOP_NODES", 1000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let mut bench = Bench::start(runtime.expect("a runtime"), nodes);
    println!("{:<66} {:>12} {:>12} {:>8}", "", "", "goal", "ratio");
    if wanted("steady") {
        bench.steady(number("ORLOP_REPLICAS", 10_000));
    }
    if wanted("replay") {
        bench.replay(number("ORLOP_SERVICES", 10_000));
    }
}

/// A figure beside the most that it should be.
fn figure(what: &str, value: f64, unit: &str, goal: Option<f64>) {
    let (told, ratio, verdict) = match goal {
        Some(goal) => {
            let verdict = if value <= goal { "" } else { "  MISSED" };
            (format!("{goal} {unit}"), format!("{:.2}", value / goal), verdict)
        }
        None => (String::new(), String::new(), ""),
    };
    println!("{what:<66} {:>12} {told:>12} {ratio:>8}{verdict}", format!("{value:.1} {unit}"));
}

struct Bench {
    // Ended before the hosts go.
    stop: CancellationToken,
    nodes: u32,
    counts: Arc<Counts>,
    cluster: Cluster,
    runtime: tokio::runtime::Runtime,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Joining is not what is measured, and all agents are at one address.
fn start_member(cluster: &mut Cluster, host: u16) {
    let mut launch = cluster.launch(host, Role::ControlPlane, "");
    launch.environment.insert("ORLOP_CONTROL_PLANE_CALLS_PER_SECOND".into(), "5000".into());
    cluster.start(host, Role::ControlPlane, launch);
}

impl Bench {
    fn start(runtime: tokio::runtime::Runtime, nodes: u32) -> Self {
        let (soft, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).expect("a limit");
        if soft < hard {
            nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard, hard).expect("a limit");
        }
        let mut cluster = Cluster::new(3);
        // A /24 for each node.
        cluster.make_members(3, &["--cluster-range", "10.0.0.0/12"], start_member);
        for host in HOSTS {
            let socket = format!("unix:{}", cluster.hosts().host(host).places().control_socket().display());
            let launch = cluster.launch(host, Role::Scheduler, &socket);
            cluster.start(host, Role::Scheduler, launch);
        }
        let (stop, counts) = (CancellationToken::new(), Arc::new(Counts::default()));
        let bench = Self { stop, nodes, counts, cluster, runtime };
        let members: Vec<HostPort> = HOSTS.map(|host| HostPort::from(bench.cluster.member_address(host))).to_vec();
        let trust = bench.within(async { TrustClient::new(bench.socket(1), &Credentials::None) }).expect("a client");
        let lifetime = Millis::from_secs(24 * 3600);
        let token = bench.within(trust.create_join_token(JoinKind::Node, nodes, lifetime, None)).expect("a token");
        let begun = Instant::now();
        let (folder, token) = (bench.cluster.hosts().folder().join("nodes"), token.text.parse().expect("a token"));
        let agents = bench.within(agents::join_all(nodes, members, token, &folder, &bench.counts));
        let joined = begun.elapsed();
        for agent in agents {
            bench.runtime.spawn(agent.run(bench.stop.clone()));
        }
        let attend = || (bench.counts.attending.load(Ordering::Relaxed) >= u64::from(nodes)).then_some(());
        bench.wait("all nodes to attend", attend);
        let there = begun.elapsed();
        let seconds = |time: Duration| time.as_secs_f64();
        println!("{nodes} nodes joined in {:.1} s and attend after {:.1} s", seconds(joined), seconds(there));
        bench
    }

    fn within<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn socket(&self, host: u16) -> Address {
        Address::Unix(self.cluster.hosts().host(host).places().control_socket())
    }

    fn wait<T>(&self, what: &str, check: impl FnMut() -> Option<T>) -> T {
        wait_for(what, PATIENCE, check, || self.cluster.logs())
    }

    /// The state, as a linearizable read at a member gives it; none when it does not answer.
    fn state(&self, host: u16) -> Option<ClusterState> {
        self.within(async { OperatorClient::new(self.socket(host)).ok()?.state(None).await.ok() })
    }

    /// Waits until a state is as it should be. Asking costs the leader something, so it is not asked often.
    fn wait_for_state(&self, what: &str, check: impl Fn(&ClusterState) -> bool) {
        let mut asked: Option<Instant> = None;
        self.wait(what, || {
            if asked.is_some_and(|at| at.elapsed() < Duration::from_secs(1)) {
                return None;
            }
            let found = self.state(1).filter(|state| check(state));
            asked = Some(Instant::now());
            found.map(drop)
        });
    }

    fn leader(&self) -> u16 {
        self.wait("a leader", || {
            let client = self.within(async { AdminClient::new(self.socket(1), &Credentials::None) }).ok()?;
            let found = self.within(client.members()).ok()?;
            let leader = found.members.iter().find(|state| Some(state.member.id) == found.leader)?;
            leader.member.name.as_str().rsplit('-').next()?.parse().ok()
        })
    }

    fn pid(&self, host: u16) -> u32 {
        self.cluster.pid(host, Role::ControlPlane).expect("a member that runs")
    }

    /// Deploys services of which each has so many replicas; `version` tells one such deployment from the next.
    fn deploy(&self, deployment: &str, services: u32, replicas: u32, version: u32) {
        let mut spec = format!("version: v1\ndeployment: {deployment}\nservices:\n");
        for number in 0..services {
            spec.push_str(&format!(
                "  s{number:04}:\n    rtype: service\n    image: {{ name: localhost/none:1, pull_policy: never }}\n    \
                 env: {{ VERSION: \"{version}\" }}\n    resources: {{ cpu: 0.1, memory: 16Mi }}\n    \
                 scale: {{ mode: fixed, replicas: {replicas} }}\n"
            ));
        }
        let file = self.cluster.hosts().folder().join("scale.yaml");
        std::fs::write(&file, spec).expect("a file");
        self.ctl(&["deploy", "-f", &file.display().to_string()]);
    }

    /// Asks until it is answered: on a busy machine another member may begin to lead meanwhile.
    fn ctl(&self, arguments: &[&str]) {
        self.wait(&format!("orlopctl {arguments:?}"), || {
            let mut command = Command::new(program("orlopctl"));
            command.args(["--address", &self.socket(1).to_string()]).args(arguments);
            let output = run_with_input(&mut command, b"", PATIENCE).unwrap_or_else(|late| panic!("{late}"));
            if output.code != 0 {
                eprintln!("orlopctl {arguments:?}: {}", output.stderr.trim());
            }
            (output.code == 0).then_some(())
        });
    }

    fn term(&self) -> u64 {
        self.wait("a term", || {
            let client = self.within(async { AdminClient::new(self.socket(1), &Credentials::None) }).ok()?;
            self.within(client.members()).ok().map(|found| found.term)
        })
    }

    /// Waits until so many replicas are ready, all of the newest generation of their service, and no others are there.
    fn wait_for_replicas(&self, count: u32) {
        self.wait_for_state(&format!("{count} replicas to be ready"), |state| {
            let newest = |replica: &orlop_model::Replica| -> Generation {
                state.services.get(&replica.service).map_or(Generation(0), |service| service.workload_generation)
            };
            state.replicas.len() == count as usize
                && state.replicas.values().all(|replica| replica.is_ready() && replica.generation == newest(replica))
        });
    }

    /// Waits until agents have reported nothing for a while.
    fn calm(&self) {
        let (mut seen, mut since) = (0, Instant::now());
        self.wait("agents to have nothing to report", || {
            let now = self.counts.reports.load(Ordering::Relaxed);
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            (since.elapsed() >= CALM).then_some(())
        });
    }

    fn steady(&self, replicas: u32) {
        let nodes = self.nodes;
        let begun = Instant::now();
        self.deploy("steady", SERVICES, replicas / SERVICES, 1);
        self.wait_for_replicas(replicas / SERVICES * SERVICES);
        let placed = begun.elapsed().as_secs_f64();
        figure(&format!("{replicas} replicas on {nodes} nodes: deployed → all ready"), placed, "s", None);
        self.calm();
        let leader = self.leader();
        let pids = HOSTS.map(|host| self.pid(host));
        let scheduler = self.cluster.pid(leader, Role::Scheduler).expect("a scheduler");
        let before = pids.map(cpu);
        let scheduled = cpu(scheduler);
        std::thread::sleep(STEADY);
        let after = pids.map(cpu);
        let share = |used: Duration| 100.0 * used.as_secs_f64() / STEADY.as_secs_f64();
        for (at, host) in HOSTS.into_iter().enumerate() {
            let (used, leads) = (share(after[at].saturating_sub(before[at])), host == leader);
            let who = if leads { "the leader" } else { "another member" };
            figure(&format!("steady, {who}: of a core"), used, "%", leads.then_some(20.0));
            figure(&format!("steady, {who}: resident"), mebibytes(pids[at]), "MiB", leads.then_some(150.0));
            figure(&format!("steady, {who}: resident at most so far"), mebibytes_at_most(pids[at]), "MiB", None);
        }
        figure("steady, its scheduler: of a core", share(cpu(scheduler).saturating_sub(scheduled)), "%", None);
        figure("steady, its scheduler: resident", mebibytes(scheduler), "MiB", None);
        let same = self.leader() == leader && self.counts.attending.load(Ordering::Relaxed) == u64::from(nodes);
        println!("the same member led and all nodes attended: {}", if same { "yes" } else { "NO" });
        self.stop_all(&["steady".to_owned()]);
        self.elections();
    }

    /// More than those of the beginning say that the machine was too busy for the leader to give signs of life in time.
    fn elections(&self) {
        println!("the term that the leader leads in: {}", self.term());
    }

    fn stop_all(&self, deployments: &[String]) {
        for deployment in deployments {
            self.ctl(&["stop", deployment]);
        }
        self.wait_for_state("all to be stopped", |state| state.replicas.is_empty() && state.services.is_empty());
    }

    fn replay(&mut self, services: u32) {
        let deployments: Vec<(String, u32)> = (0..services.div_ceil(SERVICES_MAX))
            .map(|number| (format!("replay-{number:02}"), SERVICES_MAX.min(services - number * SERVICES_MAX)))
            .collect();
        self.calm();
        let kept = |bench: &Self| {
            let leader = bench.leader();
            (mebibytes_on_disk(&bench.cluster.member_data(leader)), mebibytes(bench.pid(leader)))
        };
        let before = kept(self);
        let timed = |what: &str, work: &dyn Fn()| {
            let begun = Instant::now();
            work();
            figure(&format!("{services} services: {what}"), begun.elapsed().as_secs_f64(), "s", None);
        };
        let deploy = |version: u32| {
            for (deployment, services) in &deployments {
                self.deploy(deployment, *services, 1, version);
            }
            self.wait_for_replicas(services);
        };
        timed("deployed → all ready", &|| deploy(1));
        timed("updated → all replaced and ready", &|| deploy(2));
        let full = kept(self);
        figure("on disk while all run: grown by", full.0 - before.0, "MiB", None);
        figure("resident while all run: grown by", full.1 - before.1, "MiB", None);
        let names: Vec<String> = deployments.iter().map(|(name, _)| name.clone()).collect();
        timed("stopped → all gone", &|| self.stop_all(&names));
        self.calm();
        let after = kept(self);
        figure("started, updated, stopped: on disk grown by", after.0 - before.0, "MiB", Some(100.0));
        figure("started, updated, stopped: resident grown by", after.1 - before.1, "MiB", Some(100.0));
        deploy(3);
        self.calm();
        self.restart("with all services running");
        self.stop_all(&names);
        self.elections();
        self.restart("after the replay");
    }

    /// Waits until members answer from what is on their disks; who leads is found out later.
    fn wait_to_know(&self, hosts: &[u16], what: &str, begun: Instant) {
        for host in hosts {
            let calls = self.within(async { calls(&self.socket(*host), &Credentials::None) }).expect("a channel");
            let mut client = AdminServiceClient::new(calls);
            self.wait("a member to answer", || {
                let mut request = Request::new(GetClusterRequest {});
                request.metadata_mut().insert(STALE, "true".parse().ok()?);
                self.within(client.get_cluster(request)).ok()
            });
        }
        figure(what, begun.elapsed().as_secs_f64(), "s", None);
    }

    /// Kills one member, then all of them, and starts them again.
    fn restart(&mut self, when: &str) {
        let leader = self.leader();
        let one = leader % 3 + 1;
        self.cluster.kill(one, Role::ControlPlane);
        let begun = Instant::now();
        start_member(&mut self.cluster, one);
        self.wait_to_know(&[one], &format!("one killed {when}: started → has its log again"), begun);
        self.wait("the member to serve", || self.state(one).map(drop));
        figure(&format!("one killed {when}: started → serves"), begun.elapsed().as_secs_f64(), "s", Some(1.0));
        let came = self.counts.came.load(Ordering::Relaxed);
        for host in HOSTS {
            self.cluster.kill(host, Role::ControlPlane);
        }
        let begun = Instant::now();
        for host in HOSTS {
            start_member(&mut self.cluster, host);
        }
        self.wait_to_know(&HOSTS, &format!("all killed {when}: started → have their logs again"), begun);
        self.wait("the members to serve", || HOSTS.into_iter().find_map(|host| self.state(host)).map(drop));
        figure(&format!("all killed {when}: started → serve"), begun.elapsed().as_secs_f64(), "s", Some(1.0));
        let back = || (self.counts.came.load(Ordering::Relaxed) >= came + u64::from(self.nodes)).then_some(());
        self.wait("all nodes to attend again", back);
        figure("  and all nodes attend again", begun.elapsed().as_secs_f64(), "s", None);
    }
}
