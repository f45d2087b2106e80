//! From an assignment to what the runtime is asked to make.

use super::files::{ETC, hostname};
use crate::board::{init_container, main_container};
use crate::config::LogLimits;
use crate::node::Layout;
use orlop_model::spec::{InitAction, Signal, VolumeSource};
use orlop_model::{Assignment, ClusterId, NodeId};
use orlop_runtime::{ContainerSpec, LogTarget, Mount, MountSource, ResolvedImage, labels};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Whose a container is: the id of the node that made it. Two agents that share a containerd leave each other's alone.
pub(crate) const LABEL_NODE: &str = "orlop.dev/node";
/// [`labels::ROLE`] of a replica's own container.
pub(crate) const ROLE_MAIN: &str = "main";
/// [`labels::ROLE`] of an init step's.
pub(crate) const ROLE_INIT: &str = "init";

/// Everything that a container of a replica is made from.
pub(crate) struct Ingredients<'a> {
    pub(crate) assignment: &'a Assignment,
    pub(crate) node: NodeId,
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) layout: &'a Layout,
    pub(crate) logs: &'a LogLimits,
    pub(crate) image: ResolvedImage,
    pub(crate) namespace: PathBuf,
    pub(crate) environment: BTreeMap<String, String>,
    /// The directories of its secrets, which may lie in a volume.
    pub(crate) secrets: Vec<Mount>,
}

impl Ingredients<'_> {
    /// The replica's own container.
    pub(crate) fn main(self, attempt: u32) -> ContainerSpec {
        let workload = &self.assignment.workload;
        let (command, args) = (workload.command.clone(), workload.args.clone());
        let id = main_container(self.assignment.replica.id, attempt);
        self.container(id, ROLE_MAIN, attempt, command, args)
    }

    /// The container of an init step that runs a command; `None` for other steps.
    pub(crate) fn init(self, index: usize, attempt: u32) -> Option<ContainerSpec> {
        let InitAction::Run { command } = &self.assignment.workload.init.get(index)?.action else { return None };
        let id = init_container(self.assignment, index, attempt);
        let command = command.clone();
        Some(self.container(id, ROLE_INIT, attempt, Some(command), Some(Vec::new())))
    }

    fn container(
        self,
        id: String,
        role: &str,
        attempt: u32,
        command: Option<Vec<String>>,
        args: Option<Vec<String>>,
    ) -> ContainerSpec {
        let (replica, workload) = (&self.assignment.replica, &self.assignment.workload);
        let of_image = self.image.config.stop_signal.as_deref().and_then(Signal::parse);
        let stop_signal = workload.stop_signal.or(of_image).unwrap_or(Signal::TERM);
        let mut labels = BTreeMap::from([
            (LABEL_NODE, self.node.to_string()),
            (labels::REPLICA, replica.id.to_string()),
            (labels::DEPLOYMENT, replica.service.deployment.to_string()),
            (labels::SERVICE, replica.service.service.to_string()),
            (labels::SLOT, replica.slot.to_string()),
            (labels::GENERATION, replica.generation.to_string()),
            (labels::ATTEMPT, attempt.to_string()),
            (labels::ROLE, role.to_owned()),
            (labels::STOP_SIGNAL, stop_signal.number().to_string()),
            (labels::STOP_GRACE, workload.stop_grace_period.0.to_string()),
        ]);
        labels.extend(self.cluster.map(|cluster| (labels::CLUSTER, cluster.to_string())));
        let etc = ETC.map(|name| Mount {
            target: format!("/etc/{name}"),
            read_only: false,
            source: MountSource::Bind(self.layout.replica(replica.id).join(name)),
        });
        let volumes = workload.volumes.iter().map(|volume| Mount {
            target: volume.target.clone(),
            read_only: volume.read_only,
            source: match &volume.source {
                VolumeSource::Named(name) => MountSource::Volume(self.layout.volume(&replica.service.deployment, name)),
                VolumeSource::Bind(path) => MountSource::Bind(path.into()),
                VolumeSource::Tmpfs { size } => MountSource::Tmpfs { size: *size },
            },
        });
        ContainerSpec {
            id,
            labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            image: self.image,
            command,
            args,
            env: self.environment,
            working_dir: workload.working_dir.clone(),
            user: workload.user.clone(),
            hostname: hostname(replica),
            resources: workload.resources,
            network_namespace: Some(self.namespace),
            mounts: etc.into_iter().chain(volumes).chain(self.secrets).collect(),
            log: LogTarget::Files {
                directory: self.layout.replica_logs(replica),
                file_bytes_max: self.logs.file_bytes_max,
                files_max: self.logs.files_max,
            },
            kin: (role == ROLE_MAIN).then(|| replica.service.to_string()),
        }
    }
}
