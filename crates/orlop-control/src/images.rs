//! Images: an archive to several nodes at once, what they have, and what of it goes.

use crate::control::Control;
use crate::sessions::Session;
use futures::future::join_all;
use orlop_model::NodeId;
use orlop_proto::node::v1 as pb;
use pb::session_frame::Frame;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Status;

/// Chunks of an archive that may wait for a slow node.
const CHUNKS_MAX: usize = 4;

/// An archive on its way to nodes. It goes as fast as the slowest takes it.
pub(crate) struct Import {
    nodes: Vec<(NodeId, mpsc::Sender<Vec<u8>>, JoinHandle<Imported>)>,
    control: Control,
}

/// What a node found in an archive.
type Imported = Result<Vec<pb::ImageInfo>, Status>;

impl Control {
    /// The nodes that are named, or all that are there.
    pub(crate) fn nodes_for_images(&self, named: &[String]) -> Result<Vec<NodeId>, Status> {
        let mut nodes = Vec::new();
        for name in named {
            let id: NodeId = name.parse().map_err(|e| Status::invalid_argument(format!("nodes: {e}")))?;
            if self.machine.read(|state| state.node(id).is_none()) {
                return Err(Status::not_found(format!("there is no node {id}; `node ls` lists them")));
            }
            nodes.push(id);
        }
        if named.is_empty() {
            nodes = self.attendance.present();
        }
        if nodes.is_empty() {
            return Err(Status::unavailable("no node's agent is connected; start one first"));
        }
        Ok(nodes)
    }

    /// Begins to send an archive.
    pub(crate) async fn start_import(&self, name: &str, nodes: Vec<NodeId>) -> Result<Import, Status> {
        let opening = nodes.into_iter().map(|node| {
            let start = pb::ImageImportStart { name: name.to_owned() };
            self.open_session(node, pb::session_start::Kind::ImageImport(start))
        });
        let mut import = Import { nodes: Vec::new(), control: self.clone() };
        for session in join_all(opening).await {
            let session = session?;
            let (chunks, received) = mpsc::channel(CHUNKS_MAX);
            let node = session.node;
            import.nodes.push((node, chunks, self.tasks.spawn(send_archive(session, received))));
        }
        Ok(import)
    }

    /// What all nodes that are there have.
    pub(crate) async fn list_images(&self) -> Imported {
        let nodes = self.nodes_for_images(&[])?;
        let asking = nodes.into_iter().map(|node| async move {
            let start = pb::session_start::Kind::ImageList(pb::ImageListStart {});
            images_of(&mut self.open_session(node, start).await?).await
        });
        let mut images = Vec::new();
        for list in join_all(asking).await {
            images.extend(list?);
        }
        images.sort_by(|a, b| (&a.name, &a.node).cmp(&(&b.name, &b.node)));
        Ok(images)
    }

    /// Removes images from nodes: those that are named, none of which may be in use, or else all that are not in use.
    pub(crate) async fn remove_images(&self, named: &[String], nodes: Vec<NodeId>) -> Imported {
        for name in named {
            let users: Vec<String> =
                self.machine.read(|state| state.users_of_image(name).map(ToString::to_string).collect());
            if !users.is_empty() {
                let message = format!("{name} is used by {}; stop that first, or change its image", users.join(", "));
                return Err(Status::failed_precondition(message));
            }
        }
        let removing = nodes.into_iter().map(|node| async move {
            let mut names: Vec<String> = named.to_vec();
            if names.is_empty() {
                let start = pb::session_start::Kind::ImageList(pb::ImageListStart {});
                let there = images_of(&mut self.open_session(node, start).await?).await?;
                let unused = |name: &String| self.machine.read(|state| state.users_of_image(name).next().is_none());
                names = there.into_iter().map(|image| image.name).filter(unused).collect();
            }
            if names.is_empty() {
                return Ok(Vec::new());
            }
            let start = pb::session_start::Kind::ImageRemove(pb::ImageRemoveStart { names });
            images_of(&mut self.open_session(node, start).await?).await
        });
        let mut removed = Vec::new();
        for list in join_all(removing).await {
            removed.extend(list?);
        }
        removed.sort_by(|a, b| (&a.name, &a.node).cmp(&(&b.name, &b.node)));
        Ok(removed)
    }
}

impl Import {
    /// Sends the next chunk to all nodes.
    pub(crate) async fn send(&mut self, chunk: &[u8]) -> Result<(), Status> {
        let sent = join_all(self.nodes.iter().map(|(_, chunks, _)| chunks.send(chunk.to_vec()))).await;
        if let Some(failed) = sent.iter().position(Result::is_err) {
            let (node, _, task) = self.nodes.swap_remove(failed);
            return Err(self.failure(node, task.await));
        }
        Ok(())
    }

    /// Says that the archive is complete, and waits for what the nodes found in it.
    pub(crate) async fn finish(mut self) -> Imported {
        let mut images = Vec::new();
        let nodes = std::mem::take(&mut self.nodes);
        let (ids, tasks): (Vec<_>, Vec<_>) = nodes
            .into_iter()
            .map(|(node, chunks, task)| {
                drop(chunks);
                (node, task)
            })
            .unzip();
        for (node, imported) in ids.into_iter().zip(join_all(tasks).await) {
            match imported {
                Ok(Ok(list)) => images.extend(list),
                failed => return Err(self.failure(node, failed)),
            }
        }
        Ok(images)
    }

    fn failure(&self, node: NodeId, ended: Result<Imported, tokio::task::JoinError>) -> Status {
        let name = self.control.name_of(node);
        match ended {
            Ok(Err(status)) => Status::new(status.code(), format!("node {name}: {}", status.message())),
            Ok(Ok(_)) => Status::internal(format!("node {name} ended the import before the archive did")),
            Err(error) => Status::internal(format!("node {name}: {error}")),
        }
    }
}

/// An import that is given up lets go of its sessions, by which the nodes learn of it.
impl Drop for Import {
    fn drop(&mut self) {
        for (_, _, task) in &self.nodes {
            task.abort();
        }
    }
}

/// Sends an archive and waits for what the node found in it. A node that has enough of it early is heard at once.
async fn send_archive(mut session: Session, mut chunks: mpsc::Receiver<Vec<u8>>) -> Imported {
    let to_node = session.to_node.clone();
    let sending = async move {
        while let Some(chunk) = chunks.recv().await {
            // An empty chunk would mean the end.
            if !chunk.is_empty() && to_node.send(Ok(frame(chunk))).await.is_err() {
                break;
            }
        }
        let _ = to_node.send(Ok(frame(Vec::new()))).await;
        std::future::pending::<()>().await
    };
    tokio::select! {
        images = images_of(&mut session) => images,
        () = sending => Err(Status::internal("the archive was sent, but nobody waits")),
    }
}

fn frame(input: Vec<u8>) -> pb::SessionFrame {
    pb::SessionFrame { frame: Some(Frame::Input(input)) }
}

async fn images_of(session: &mut Session) -> Imported {
    loop {
        match session.from_node.next().await? {
            Some(Frame::Images(list)) => {
                let node = session.node.to_string();
                return Ok(list
                    .images
                    .into_iter()
                    .map(|image| pb::ImageInfo { node: node.clone(), ..image })
                    .collect());
            }
            Some(_) => {}
            None => return Err(Status::unavailable("the session ended without an answer; try again")),
        }
    }
}
