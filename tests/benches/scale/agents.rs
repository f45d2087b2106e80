//! Agents without containers: everything that an agent says to the control plane, by the same code where that is a library,
//! and of the work that it is given nothing but the reports.

use orlop_client::{Address, HostPort, IdentityDirectory, JoinError, Joining, join, keep_renewed};
use orlop_follower::{Backoff, Follower, FollowerConfig, Reporter, ReporterConfig, SendError};
use orlop_identity::token::JoinToken;
use orlop_model::{
    Desired, Generation, Health, NodeId, Object, Outcome, Phase, ReplicaId, ReplicaStatus, Timestamp, View,
};
use orlop_proto::node::v1 as pb;
use orlop_proto::report_of;
use pb::node_service_client::NodeServiceClient;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// So long each step of a replica's life takes.
const STEP: Duration = Duration::from_millis(100);
/// Joins that are refused because there are too many at once are tried again after so long.
const JOIN_AGAIN: Duration = Duration::from_millis(200);
/// So many join at once.
const JOINING: usize = 16;

/// What all agents have done so far.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) attending: AtomicU64,
    /// How often one came to attend.
    pub(crate) came: AtomicU64,
    pub(crate) reports: AtomicU64,
}

type Reports = Reporter<ReplicaId, (Generation, ReplicaStatus)>;

/// One node's.
pub(crate) struct Agent {
    id: NodeId,
    number: u32,
    directory: IdentityDirectory,
    channel: Channel,
    counts: Arc<Counts>,
}

/// Lets so many nodes join, each with a key and a certificate of its own.
pub(crate) async fn join_all(
    count: u32,
    members: Vec<HostPort>,
    token: JoinToken,
    folder: &Path,
    counts: &Arc<Counts>,
) -> Vec<Agent> {
    use futures::StreamExt;
    let one = |number: u32| {
        let (members, token, counts) = (members.clone(), token.clone(), counts.clone());
        let directory = IdentityDirectory::new(folder.join(number.to_string()));
        async move {
            let id = NodeId::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + u128::from(number));
            loop {
                match join(&members, &token, &Joining::Node(id)).await {
                    Ok(joined) => break joined.keep(&directory).expect("room for an identity"),
                    Err(JoinError::Call(error)) if error.to_string().contains("too many") => sleep(JOIN_AGAIN).await,
                    Err(error) => panic!("node {number} cannot join: {error}"),
                }
            }
            let channel = Address::Joined(directory.path().to_owned()).channel().expect("a channel");
            Agent { id, number, directory, channel, counts }
        }
    };
    futures::stream::iter(0..count).map(one).buffer_unordered(JOINING).collect().await
}

impl Agent {
    pub(crate) async fn run(self, stop: CancellationToken) {
        tokio::spawn(keep_renewed(self.directory.clone(), stop.clone()));
        let follower = FollowerConfig {
            name: "agent",
            channel: self.channel.clone(),
            view: View::Node(self.id),
            cache_path: None,
        };
        let mut follower = Follower::start(follower, stop.clone()).await.expect("a view to follow");
        let reports = self.reports(stop.clone());
        tokio::spawn({
            let stop = stop.clone();
            let attending = attend(self.id, self.number, self.channel.clone(), self.counts.clone());
            async move {
                tokio::select! {
                    () = attending => {}
                    () = stop.cancelled() => {}
                }
            }
        });
        // What each replica was last told to do, as far as the agent has begun with it.
        let mut begun: BTreeMap<ReplicaId, bool> = BTreeMap::new();
        while let Ok(view) = follower.changed().await {
            let assigned = view.objects.values().filter_map(|object| match &**object {
                Object::Assignment(assignment) => Some(&assignment.replica),
                _ => None,
            });
            let mut seen = BTreeMap::new();
            for replica in assigned {
                let stop = replica.desired != Desired::Run;
                seen.insert(replica.id, stop);
                if begun.get(&replica.id) != Some(&stop) && !replica.status.phase.is_finished() {
                    tokio::spawn(live(replica.id, replica.generation, stop, reports.clone()));
                }
            }
            begun = seen;
        }
    }

    fn reports(&self, stop: CancellationToken) -> Reports {
        let config = ReporterConfig { name: "agent reports", batch_max: 200, waiting_max: 100_000 };
        let (client, node, counts) = (NodeServiceClient::new(self.channel.clone()), self.id, self.counts.clone());
        let send = move |batch: Vec<(ReplicaId, (Generation, ReplicaStatus))>| {
            let (mut client, counts) = (client.clone(), counts.clone());
            async move {
                client.report(report_of(node, &batch)).await.map_err(|status| SendError::Later(status.to_string()))?;
                counts.reports.fetch_add(batch.len() as u64, Ordering::Relaxed);
                Ok(())
            }
        };
        Reporter::start(config, send, stop)
    }
}

/// The steps of a replica, as an agent reports them.
async fn live(replica: ReplicaId, generation: Generation, stop: bool, reports: Reports) {
    let steps: &[Phase] = match stop {
        false => &[Phase::Preparing, Phase::Starting, Phase::Running(Health::Unchecked)],
        true => &[Phase::Stopping, Phase::Finished(Outcome::Stopped)],
    };
    for phase in steps {
        let since = Timestamp::from(SystemTime::now());
        reports.report(replica, (generation, ReplicaStatus { phase: *phase, ..ReplicaStatus::pending(since) }));
        sleep(STEP).await;
    }
}

/// Registers and holds the stream open by which the node counts as alive; for ever.
async fn attend(id: NodeId, number: u32, channel: Channel, counts: Arc<Counts>) {
    let mut client = NodeServiceClient::new(channel);
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5), u64::from(number));
    loop {
        let register = pb::RegisterRequest {
            id: id.to_string(),
            name: format!("node-{number:04}"),
            cpu_millis: 64_000,
            memory_bytes: 256 << 30,
            version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        };
        if client.register(register).await.is_ok()
            && let Ok(answer) = client.attend(pb::AttendRequest { node: id.to_string() }).await
        {
            counts.attending.fetch_add(1, Ordering::Relaxed);
            counts.came.fetch_add(1, Ordering::Relaxed);
            backoff.reset();
            let mut invitations = answer.into_inner();
            while let Ok(Some(_)) = invitations.message().await {}
            counts.attending.fetch_sub(1, Ordering::Relaxed);
        }
        sleep(backoff.delay()).await;
    }
}
