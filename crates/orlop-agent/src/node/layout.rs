//! Where everything is on disk.
//!
//! ```text
//! <data>/lock                       held by the one agent
//! <data>/node-id
//! <data>/view                       the last good view (orlop-follower's)
//! <data>/replicas/<replica>/        record, hosts, hostname, resolv.conf
//! <data>/volumes/<deployment>/<name>/
//! <data>/logs/<deployment>/<service>/<slot>/<replica>/
//! ```

use super::NodeError;
use nix::fcntl::{Flock, FlockArg};
use orlop_model::{DeploymentName, NodeId, Replica, ReplicaId, ServiceRef, VolumeName};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone)]
pub(crate) struct Layout {
    data: PathBuf,
}

/// Held as long as it lives; the kernel lets go of it when the agent dies.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl Layout {
    /// Makes the directories and takes the lock.
    pub(crate) fn claim(data: &Path) -> Result<(Layout, Lock), NodeError> {
        let data = std::path::absolute(data).map_err(|source| NodeError::File {
            doing: "finding",
            path: data.to_owned(),
            source,
        })?;
        let layout = Layout { data };
        let making = |path: &Path, source| NodeError::File { doing: "making", path: path.to_owned(), source };
        orlop_follower::private_directory(&layout.data).map_err(|source| making(&layout.data, source))?;
        for directory in [layout.replicas(), layout.volumes(), layout.logs()] {
            fs::create_dir_all(&directory).map_err(|source| making(&directory, source))?;
        }
        let path = layout.data.join("lock");
        let file =
            File::create(&path).map_err(|source| NodeError::File { doing: "opening", path: path.clone(), source })?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok((layout, Lock(lock))),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(NodeError::InUse { path: layout.data }),
            Err((_, errno)) => Err(NodeError::File { doing: "locking", path, source: errno.into() }),
        }
    }

    /// The node's id: that of the identity with which the machine joined, or else one that is made at the first start.
    /// Written down for good.
    pub(crate) fn node_id(&self, joined: Option<NodeId>) -> Result<NodeId, NodeError> {
        let path = self.data.join("node-id");
        match fs::read_to_string(&path) {
            Ok(text) => {
                let invalid = |e: orlop_model::id::InvalidId| NodeError::BadId { path, problem: e.to_string() };
                let own: NodeId = text.trim().parse().map_err(invalid)?;
                match joined.filter(|joined| *joined != own) {
                    Some(joined) => Err(NodeError::OtherNode { own, joined, data: self.data.clone() }),
                    None => Ok(own),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let id = joined.unwrap_or_else(|| NodeId::from_u128(uuid::Uuid::now_v7().as_u128()));
                orlop_client::replace_file(&path, format!("{id}\n").as_bytes()).map_err(|source| NodeError::File {
                    doing: "writing",
                    path,
                    source,
                })?;
                Ok(id)
            }
            Err(source) => Err(NodeError::File { doing: "reading", path, source }),
        }
    }

    pub(crate) fn view_cache(&self) -> PathBuf {
        self.data.join("view")
    }

    pub(crate) fn replicas(&self) -> PathBuf {
        self.data.join("replicas")
    }

    pub(crate) fn replica(&self, replica: ReplicaId) -> PathBuf {
        self.replicas().join(replica.to_string())
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }

    pub(crate) fn volume(&self, deployment: &DeploymentName, name: &VolumeName) -> PathBuf {
        self.volumes().join(deployment.as_str()).join(name.as_str())
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    pub(crate) fn service_logs(&self, service: &ServiceRef) -> PathBuf {
        self.logs().join(service.deployment.as_str()).join(service.service.as_str())
    }

    pub(crate) fn replica_logs(&self, replica: &Replica) -> PathBuf {
        self.service_logs(&replica.service).join(replica.slot.to_string()).join(replica.id.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_its_id_and_has_one_agent() {
        let dir = tempfile::tempdir().expect("a directory");
        let (layout, lock) = Layout::claim(dir.path()).expect("claimed");
        let id = layout.node_id(None).expect("an id");
        assert!(matches!(Layout::claim(dir.path()), Err(NodeError::InUse { .. })));
        drop(lock);
        let (layout, _lock) = Layout::claim(dir.path()).expect("claimed again");
        assert_eq!(layout.node_id(None).expect("an id"), id);
        assert_eq!(layout.node_id(Some(id)).expect("an id"), id);
        let other = NodeId::from_u128(7);
        assert!(matches!(layout.node_id(Some(other)), Err(NodeError::OtherNode { .. })), "it was another node");
        fs::write(dir.path().join("node-id"), "rep_1").expect("written");
        assert!(matches!(layout.node_id(None), Err(NodeError::BadId { .. })));
    }
}
