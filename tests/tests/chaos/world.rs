//! Three members on three hosts, what goes wrong there, and mending it.

use crate::client;
use crate::record::KEYS;
use crate::schedule::{Fault, Kind, Whom};
use nix::sys::signal::Signal;
use orlop_client::{Address, AdminClient, Calls, Credentials, HostPort, TrustClient, calls};
use orlop_identity::token::Login;
use orlop_model::trust::{Digest, Operator, Role as OperatorRole};
use orlop_model::{MemberId, Millis};
use orlop_proto::admin::v1 as admin;
use orlop_proto::metadata::STALE;
use orlop_proto::operator::v1 as operator;
use orlop_testbed::{Cluster, Disk, FailingDisk, MACHINE, Output, Role, program, run_with_input, wait_for};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tonic::Request;

/// Long enough for a loaded machine with two cores; a run that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(90);
/// So long a member may take to say how it stands.
const LOOK: Duration = Duration::from_secs(2);
const HOSTS: [u16; 3] = [1, 2, 3];
/// Its disk breaks, and is replaced with the member on it; those of the others fill up.
const BREAKS: u16 = 3;
/// Of each disk.
const MEBIBYTES: u32 = 192;

pub(crate) struct World {
    // Dropped in this order, after all programs have ended: a disk lies in the hosts' folder.
    disks: Vec<Disk>,
    breaks: Option<FailingDisk>,
    cluster: Cluster,
    runtime: tokio::runtime::Handle,
    token: String,
    login: Login,
    paused: BTreeSet<u16>,
    down: BTreeSet<u16>,
    full: BTreeSet<u16>,
    broken: bool,
}

/// How a member stands, as it says.
#[derive(Debug, Clone)]
pub(crate) struct Stand {
    pub(crate) member: u64,
    pub(crate) leader: Option<u16>,
    pub(crate) term: u64,
    pub(crate) revision: u64,
    voters: usize,
    members: usize,
}

impl World {
    pub(crate) fn start(runtime: &tokio::runtime::Handle) -> Self {
        let cluster = Cluster::new(3);
        let fills = HOSTS.into_iter().filter(|host| *host != BREAKS);
        let disks = fills.map(|host| Disk::mount(&cluster.member_data(host), MEBIBYTES)).collect();
        let breaks = Some(FailingDisk::mount(&cluster.member_data(BREAKS), MEBIBYTES));
        let mut world = Self {
            disks,
            breaks,
            cluster,
            runtime: runtime.clone(),
            token: String::new(),
            login: Login { fingerprint: Digest::of(b""), token: String::new() },
            paused: BTreeSet::new(),
            down: BTreeSet::new(),
            full: BTreeSet::new(),
            broken: false,
        };
        world.token = world.cluster.make_members(3, &[], start_member).member;
        world.settle();
        world.login = world.let_in("chaos");
        for key in 0..KEYS {
            world.deploy(key);
        }
        world
    }

    /// An operator who may deploy, and nothing else.
    pub(crate) fn let_in(&self, name: &str) -> Login {
        let trust = self.within(async { TrustClient::new(self.socket(1), &Credentials::None) }).expect("a client");
        let operator = Operator {
            name: name.parse().expect("a name"),
            role: OperatorRole::Deployer,
            deployments: vec!["*".parse().expect("a pattern")],
        };
        let issued = self.within(async {
            trust.put_operator(&operator).await?;
            trust.issue_operator_token(&operator.name, Millis::from_secs(24 * 3600)).await
        });
        issued.expect("a token").login.parse().expect("a login")
    }

    fn deploy(&self, key: usize) {
        let file = self.cluster.hosts().folder().join("register.yaml");
        let (deployment, service) = (client::deployment(key), client::SERVICE);
        let spec = format!(
            "version: v1\ndeployment: {deployment}\nservices:\n  {service}:\n    rtype: service\n    \
             image: {{ name: localhost/none:1, pull_policy: never }}\n    scale: {{ mode: fixed, replicas: 0 }}\n"
        );
        std::fs::write(&file, spec).expect("a file");
        let output = self.ctl(1, &["deploy", "-f", &text(file)]);
        assert!(output.code == 0, "{output:?}\n{}", self.explain());
    }

    fn within<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn ctl(&self, host: u16, arguments: &[&str]) -> Output {
        let mut command = Command::new(program("orlopctl"));
        command.args(["--address", &self.socket(host).to_string()]).args(arguments);
        run_with_input(&mut command, b"", PATIENCE).unwrap_or_else(|late| panic!("{late}\n{}", self.explain()))
    }

    fn socket(&self, host: u16) -> Address {
        Address::Unix(self.cluster.hosts().host(host).places().control_socket())
    }

    /// Where the members are.
    pub(crate) fn address(&self) -> Address {
        Address::Members(HOSTS.map(|host| HostPort::from(self.cluster.member_address(host))).to_vec())
    }

    /// The way to one member over TLS, as an operator.
    pub(crate) fn way(&self, host: u16) -> Calls {
        self.way_of(host, &self.login)
    }

    /// The same as somebody else.
    pub(crate) fn way_of(&self, host: u16, login: &Login) -> Calls {
        let Login { fingerprint, token } = login.clone();
        let credentials = Credentials::Login { fingerprint, token: token.into() };
        let _within = self.runtime.enter();
        calls(&Address::Members(vec![HostPort::from(self.cluster.member_address(host))]), &credentials)
            .expect("a channel")
    }

    /// The way to one member as its administrator.
    pub(crate) fn door(&self, host: u16) -> Calls {
        let _within = self.runtime.enter();
        calls(&self.socket(host), &Credentials::None).expect("a channel")
    }

    /// How a member stands, if it says so.
    pub(crate) fn look(&self, host: u16) -> Option<Stand> {
        let mut client = admin::admin_service_client::AdminServiceClient::new(self.door(host));
        let mut request = Request::new(admin::GetClusterRequest {});
        request.metadata_mut().insert(STALE, "true".parse().expect("text"));
        let asked = self.within(async { tokio::time::timeout(LOOK, client.get_cluster(request)).await });
        let found = asked.ok()?.ok()?.into_inner();
        let leader = found.members.iter().find(|member| member.id == found.leader);
        Some(Stand {
            member: found.answering,
            leader: leader.and_then(|leader| leader.name.rsplit('-').next()?.parse().ok()),
            term: found.term,
            revision: found.revision,
            voters: found.members.iter().filter(|m| m.suffrage == i32::from(admin::Suffrage::Voter)).count(),
            members: found.members.len(),
        })
    }

    /// The host whose member leads.
    pub(crate) fn leader(&self) -> Option<u16> {
        let stands = HOSTS.into_iter().filter(|host| !self.down.contains(host) && !self.paused.contains(host));
        // A member that is cut off may still believe in an older one.
        let newest = stands.filter_map(|host| self.look(host)).max_by_key(|stand| stand.term)?;
        newest.leader
    }

    /// Waits until nothing is wrong any more: all agree on who they are and who leads, and each has what the others have.
    pub(crate) fn settle(&self) {
        let settled = || {
            let stands: Option<Vec<Stand>> = HOSTS.into_iter().map(|host| self.look(host)).collect();
            let stands = stands?;
            let first = &stands[0];
            let agrees = |stand: &Stand| {
                stand.voters == HOSTS.len()
                    && stand.members == HOSTS.len()
                    && stand.leader == first.leader
                    && stand.term == first.term
            };
            let newest = stands.iter().map(|stand| stand.revision).max()?;
            (first.leader.is_some() && stands.iter().all(agrees)).then_some(newest)
        };
        let newest = wait_for("the members to agree", PATIENCE, settled, || self.explain());
        for host in HOSTS {
            let caught_up = || self.look(host).filter(|stand| stand.revision >= newest);
            wait_for("a member to catch up", PATIENCE, caught_up, || self.explain());
        }
    }

    fn whom(&self, whom: Whom) -> u16 {
        let leader = self.leader().unwrap_or(1);
        match whom {
            Whom::Leader => leader,
            Whom::Other(which) => HOSTS.into_iter().filter(|host| *host != leader).nth(usize::from(which)).unwrap_or(1),
        }
    }

    /// Lets something go wrong; says what.
    pub(crate) fn inject(&mut self, fault: Fault) -> String {
        let Fault { kind, whom, much } = fault;
        let whom = self.aim(kind, self.whom(whom));
        let others: Vec<u16> = HOSTS.into_iter().filter(|host| *host != whom).collect();
        let hosts = self.cluster.hosts();
        match kind {
            Kind::Kill => self.kill(&[whom]),
            Kind::KillMost => self.kill(&[whom, others[0]]),
            Kind::KillAll => self.kill(&HOSTS),
            // One that is stopped hears no signal but this.
            Kind::Terminate if self.paused.contains(&whom) => self.kill(&[whom]),
            Kind::Terminate => {
                if self.runs(whom) {
                    self.cluster.terminate(whom, Role::ControlPlane);
                    self.down.insert(whom);
                }
            }
            Kind::Pause => self.pause(&[whom]),
            Kind::PauseMost => self.pause(&[whom, others[0]]),
            Kind::Isolate => hosts.cut(&[whom], &others),
            Kind::Vanish => hosts.cut(&[whom], &[others[0], others[1], MACHINE]),
            Kind::Mute => hosts.cut_one_way(&[whom], &others),
            Kind::Deafen => hosts.cut_one_way(&others, &[whom]),
            Kind::Sever => hosts.cut(&[whom], &[others[0]]),
            Kind::Shatter => {
                hosts.cut(&[1], &[2, 3]);
                hosts.cut(&[2], &[3]);
            }
            Kind::Lose => {
                hosts.lose(&[1], &[2, 3], much);
                hosts.lose(&[2], &[3], much);
            }
            Kind::Throttle => hosts.throttle(&[whom], &others, u32::from(much)),
            Kind::Transfer => self.hand_over(None),
            Kind::FillDisk => {
                self.disks[usize::from(whom) - 1].fill();
                self.full.insert(whom);
            }
            Kind::FailDisk | Kind::LoseDisk => {
                let disk = self.breaks.as_ref().expect("a disk that was not replaced yet");
                if kind == Kind::FailDisk {
                    disk.lose_writes()
                } else {
                    disk.die()
                }
                self.broken = true;
            }
        }
        match kind {
            Kind::Shatter | Kind::Lose | Kind::KillAll | Kind::Transfer => kind.words().to_owned(),
            _ => format!("{} ({whom})", kind.words()),
        }
    }

    /// Not every disk can break in every way: where the fault is to meet the leader, leadership goes to the disk.
    fn aim(&self, kind: Kind, whom: u16) -> u16 {
        let meant = match kind {
            Kind::FillDisk if whom == BREAKS => 1,
            Kind::FailDisk | Kind::LoseDisk => BREAKS,
            _ => return whom,
        };
        if self.leader() == Some(whom) && meant != whom {
            self.hand_over(Some(meant));
        }
        meant
    }

    /// Asks for another leader; what becomes of it is the members' affair.
    pub(crate) fn hand_over(&self, to: Option<u16>) {
        let to = to.and_then(|host| self.look(host)).map(|stand| MemberId(stand.member));
        let Some(by) = HOSTS.into_iter().find(|host| self.runs(*host) && !self.paused.contains(host)) else { return };
        let _ = self.within(async {
            let client = AdminClient::new(self.socket(by), &Credentials::None).expect("a client");
            tokio::time::timeout(Duration::from_secs(10), client.transfer_leader(to)).await
        });
    }

    fn runs(&self, host: u16) -> bool {
        !self.down.contains(&host)
    }

    fn kill(&mut self, hosts: &[u16]) {
        for host in hosts {
            self.cluster.kill(*host, Role::ControlPlane);
            self.paused.remove(host);
            self.down.insert(*host);
        }
    }

    fn pause(&mut self, hosts: &[u16]) {
        for host in hosts.iter().filter(|host| !self.down.contains(host)) {
            self.cluster.signal(*host, Role::ControlPlane, Signal::SIGSTOP);
            self.paused.insert(*host);
        }
    }

    /// Mends everything.
    pub(crate) fn heal(&mut self) {
        self.cluster.hosts().heal();
        for host in std::mem::take(&mut self.full) {
            self.disks[usize::from(host) - 1].free();
        }
        for host in std::mem::take(&mut self.paused) {
            self.cluster.signal(host, Role::ControlPlane, Signal::SIGCONT);
        }
        for host in std::mem::take(&mut self.down) {
            start_member(&mut self.cluster, host);
        }
        if std::mem::take(&mut self.broken) {
            self.replace();
        }
    }

    /// Another machine takes the place of the one whose disk broke.
    fn replace(&mut self) {
        self.cluster.kill(BREAKS, Role::ControlPlane);
        let name = self.cluster.hosts().host(BREAKS).name().to_owned();
        let removed = || {
            self.within(async {
                let client = AdminClient::new(self.socket(1), &Credentials::None).ok()?;
                let known = tokio::time::timeout(LOOK, client.members()).await.ok()?.ok()?;
                match known.members.iter().find(|state| state.member.name.as_str() == name) {
                    Some(old) => client.remove_member(old.member.id).await.err().map_or(Some(()), |_| None),
                    None => Some(()),
                }
            })
        };
        wait_for("the member with the broken disk to be removed", PATIENCE, removed, || self.explain());
        self.breaks = None;
        self.breaks = Some(FailingDisk::mount(&self.cluster.member_data(BREAKS), MEBIBYTES));
        self.cluster.join_as_member(BREAKS, 1, &self.token);
        start_member(&mut self.cluster, BREAKS);
    }

    /// What a member knows by itself: the state, and the newest events.
    pub(crate) fn knows(&self, host: u16) -> (u64, String) {
        let mut client = operator::operator_service_client::OperatorServiceClient::new(self.door(host))
            .max_decoding_message_size(orlop_client::MESSAGE_BYTES_MAX);
        fn stale<T>(message: T) -> Request<T> {
            let mut request = Request::new(message);
            request.metadata_mut().insert(STALE, "true".parse().expect("text"));
            request
        }
        let asked = self.within(async {
            let mut state = client.get_state(stale(operator::GetStateRequest::default())).await?.into_inner();
            // Of the member, and not of the state.
            state.writes_refused.clear();
            let request = operator::ListEventsRequest { limit: 10_000, ..Default::default() };
            let events = client.list_events(stale(request)).await?.into_inner();
            Ok::<_, tonic::Status>((state.revision, format!("{state:?}{events:?}")))
        });
        asked.unwrap_or_else(|status| panic!("member {host}: {status}\n{}", self.explain()))
    }

    pub(crate) fn explain(&self) -> String {
        let stands: Vec<_> = HOSTS.into_iter().map(|host| (host, self.look(host))).collect();
        format!("{stands:#?}\n{}", self.cluster.logs())
    }

    /// Cuts a member off from the others; clients still reach it.
    pub(crate) fn isolate(&mut self, host: u16) {
        let others: Vec<u16> = HOSTS.into_iter().filter(|other| *other != host).collect();
        self.cluster.hosts().cut(&[host], &others);
    }

    pub(crate) fn wait<T>(&self, what: &str, check: impl FnMut() -> Option<T>) -> T {
        wait_for(what, PATIENCE, check, || self.explain())
    }
}

impl Drop for World {
    /// Programs end before the disks go that they write to, and those before the hosts that they lie on.
    fn drop(&mut self) {
        for host in HOSTS {
            self.cluster.kill(host, Role::ControlPlane);
        }
    }
}

fn start_member(cluster: &mut Cluster, host: u16) {
    let mut launch = cluster.launch(host, Role::ControlPlane, "");
    // What is tried here is not how much one operator may ask.
    launch.environment.insert("ORLOP_CONTROL_PLANE_CALLS_PER_SECOND".into(), "10000".into());
    cluster.start(host, Role::ControlPlane, launch);
}

fn text(path: PathBuf) -> String {
    path.display().to_string()
}
