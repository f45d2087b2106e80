//! From layers to snapshots: each stack of layers becomes a committed snapshot with the name of its chain id.

use super::client::{Client, Failure, LAYER, PROCESS, QUICK};
use super::content::Lease;
use crate::RuntimeError;
use crate::images::Digest;
use crate::images::manifest::{Descriptor, chain_ids};
use containerd_client::services::v1::ApplyRequest;
use containerd_client::services::v1::snapshots::{
    CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest,
};
use containerd_client::types;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The snapshots of one containerd.
#[derive(Debug, Clone)]
pub(crate) struct Snapshots {
    pub(crate) snapshotter: String,
}

impl Snapshots {
    /// Is there a snapshot of this name?
    pub(crate) async fn exists(&self, client: &Client, key: &str) -> Result<bool, RuntimeError> {
        let request =
            client.request(StatSnapshotRequest { snapshotter: self.snapshotter.clone(), key: key.to_owned() });
        match client.answer(QUICK, client.snapshots().stat(request)).await {
            Ok(_) => Ok(true),
            Err(Failure::NotFound(_)) => Ok(false),
            Err(failure) => Err(client.error("looking for a snapshot", failure)),
        }
    }

    /// Is there a snapshot of this name? If so, the lease has it. It is kept before it is looked for: between a look
    /// and the keeping, containerd could collect it.
    pub(crate) async fn exists_under(&self, lease: &Lease, key: &str) -> Result<bool, RuntimeError> {
        lease.keep(&format!("snapshots/{}", self.snapshotter), key).await?;
        self.exists(lease.client(), key).await
    }

    /// A new writable snapshot on top of another.
    pub(crate) async fn prepare(&self, client: &Client, key: &str, parent: &str) -> Result<Vec<types::Mount>, Failure> {
        let request = client.request(PrepareSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: HashMap::new(),
        });
        Ok(client.answer(PROCESS, client.snapshots().prepare(request)).await?.mounts)
    }

    /// Removes a snapshot; one that does not exist is fine.
    pub(crate) async fn remove(&self, client: &Client, key: &str) -> Result<(), RuntimeError> {
        let request =
            client.request(RemoveSnapshotRequest { snapshotter: self.snapshotter.clone(), key: key.to_owned() });
        match client.answer(PROCESS, client.snapshots().remove(request)).await {
            Ok(()) | Err(Failure::NotFound(_)) => Ok(()),
            Err(failure) => Err(client.error("removing a snapshot", failure)),
        }
    }

    /// Unpacks one layer on top of `parent` (empty for the first) as the snapshot `name`, unless it exists; the lease
    /// has it then. The digest of what was unpacked must be `diff_id`.
    pub(crate) async fn unpack(
        &self,
        lease: &Lease,
        image: &str,
        layer: &Descriptor,
        diff_id: &Digest,
        parent: &str,
        name: &Digest,
    ) -> Result<(), RuntimeError> {
        let client = lease.client();
        if self.exists_under(lease, name.as_str()).await? {
            return Ok(());
        }
        let key = format!("orlop-unpack-{}-{name}", uuid::Uuid::new_v4().simple());
        let unpacked = async {
            let mounts =
                self.prepare(client, &key, parent).await.map_err(|f| client.error("preparing a snapshot", f))?;
            let written = written_to(&mounts);
            self.apply(client, image, layer, diff_id, mounts).await?;
            // containerd's record of the snapshot survives the loss of power, so its files must too: it would be taken
            // for whole, and its containers would find empty files.
            let synced = tokio::task::spawn_blocking(move || sync(written.as_deref())).await;
            synced
                .unwrap_or_else(|error| Err(std::io::Error::other(error)))
                .map_err(|error| RuntimeError::other("writing an unpacked layer to the disk", error))?;
            let request = client.request(CommitSnapshotRequest {
                snapshotter: self.snapshotter.clone(),
                name: name.to_string(),
                key: key.clone(),
                ..CommitSnapshotRequest::default()
            });
            match client.answer(PROCESS, client.snapshots().commit(request)).await {
                Ok(()) => Ok(true),
                // Somebody else was faster.
                Err(Failure::AlreadyExists) => Ok(false),
                Err(failure) => Err(client.error("keeping an unpacked layer", failure)),
            }
        };
        match unpacked.await {
            Ok(true) => Ok(()),
            Ok(false) => self.remove(client, &key).await,
            Err(error) => {
                if let Err(second) = self.remove(client, &key).await {
                    tracing::debug!(%second, "a half unpacked layer is left to the lease's end");
                }
                Err(error)
            }
        }
    }

    async fn apply(
        &self,
        client: &Client,
        image: &str,
        layer: &Descriptor,
        diff_id: &Digest,
        mounts: Vec<types::Mount>,
    ) -> Result<(), RuntimeError> {
        let diff = Some(wire(layer));
        let request = client.request(ApplyRequest { diff, mounts, ..ApplyRequest::default() });
        let applied = match client.answer(LAYER, client.diff().apply(request)).await {
            Ok(response) => response.applied.map(|descriptor| descriptor.digest).unwrap_or_default(),
            Err(Failure::Other(detail) | Failure::Precondition(detail)) => {
                let detail = format!("its layer {} cannot be unpacked: {detail}", layer.digest);
                return Err(RuntimeError::ImageInvalid { image: image.into(), detail });
            }
            Err(failure) => return Err(client.error("unpacking a layer", failure)),
        };
        if applied == diff_id.as_str() {
            return Ok(());
        }
        Err(RuntimeError::ImageInvalid {
            image: image.into(),
            detail: format!("its layer {} unpacks to {applied}, its config says {diff_id}", layer.digest),
        })
    }

    /// Unpacks all layers, which are in the store already. Gives the name of the whole stack; empty without layers.
    pub(crate) async fn unpack_all(
        &self,
        lease: &Lease,
        image: &str,
        layers: &[Descriptor],
        diff_ids: &[Digest],
    ) -> Result<String, RuntimeError> {
        let chain = chain_ids(diff_ids);
        let Some(top) = chain.last() else { return Ok(String::new()) };
        if self.exists_under(lease, top.as_str()).await? {
            return Ok(top.to_string());
        }
        let mut parent = "";
        for ((layer, diff_id), name) in layers.iter().zip(diff_ids).zip(&chain) {
            self.unpack(lease, image, layer, diff_id, parent, name).await?;
            parent = name.as_str();
        }
        Ok(top.to_string())
    }
}

/// The directory to which a snapshot's mounts write, where one can tell.
fn written_to(mounts: &[types::Mount]) -> Option<PathBuf> {
    let [mount] = mounts else { return None };
    match mount.r#type.as_str() {
        "bind" => Some(PathBuf::from(&mount.source)),
        "overlay" => mount.options.iter().find_map(|option| option.strip_prefix("upperdir=")).map(PathBuf::from),
        _ => None,
    }
}

/// Makes what was written to the file system of a directory last. Where we see no such directory (another snapshotter,
/// a containerd with mounts of its own), everything that the machine has not written yet. Blocks.
fn sync(directory: Option<&Path>) -> std::io::Result<()> {
    match directory.map(std::fs::File::open) {
        Some(Ok(directory)) => Ok(nix::unistd::syncfs(&directory)?),
        _ => {
            nix::unistd::sync();
            Ok(())
        }
    }
}

/// A descriptor as containerd has it.
pub(crate) fn wire(descriptor: &Descriptor) -> types::Descriptor {
    types::Descriptor {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.to_string(),
        size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
        annotations: HashMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{types, written_to};
    use std::path::Path;

    fn mount(kind: &str, source: &str, options: &[&str]) -> types::Mount {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        types::Mount { r#type: kind.into(), source: source.into(), options, ..types::Mount::default() }
    }

    #[test]
    fn the_directory_that_is_written_to_is_found_in_the_mounts_of_the_usual_snapshotters() {
        let overlay = mount("overlay", "overlay", &["workdir=/s/2/work", "upperdir=/s/2/fs", "lowerdir=/s/1/fs"]);
        assert_eq!(written_to(&[overlay]).as_deref(), Some(Path::new("/s/2/fs")));
        assert_eq!(written_to(&[mount("bind", "/s/1/fs", &["rw", "rbind"])]).as_deref(), Some(Path::new("/s/1/fs")));
        assert_eq!(written_to(&[mount("btrfs", "/dev/sda1", &["subvolid=260"])]), None);
        assert_eq!(written_to(&[]), None);
    }
}
