//! Containers and images on one node: the [`ContainerRuntime`] trait, containerd behind it, a fake beside it.
//!
//! Knows nothing of desired state: it does what it is told about one container or image at a time, and every call may
//! be repeated after a crash. Promises: an image is used only when every byte of it had the digest that its reference
//! leads to; a container is removed with everything that it left outside; no call waits for ever on a peer that does
//! not answer, except [`ContainerRuntime::wait`], which is there for waiting.

pub mod container;
pub mod containerd;
pub mod error;
pub mod fake;
pub mod image;
pub mod images;
pub mod logs;
pub mod oci;
pub mod pack;
mod time;

pub use container::{
    ContainerInfo, ContainerSpec, ContainerState, ExecProcess, ExecSpec, Input, LogTarget, LostLogger, Mount,
    MountSource, Output, TerminalSize, labels,
};
pub use containerd::{Containerd, ContainerdConfig};
pub use error::RuntimeError;
pub use fake::FakeRuntime;
pub use image::{ImageConfig, ImageInfo, ResolvedImage};

use async_trait::async_trait;
use orlop_model::spec::{Image, Signal};
use orlop_model::{Exit, Resources};

/// An image archive being read.
pub type Archive = Box<dyn tokio::io::AsyncRead + Send + Unpin>;

/// Runs containers on one node. All calls may run side by side; calls about one container come one after another.
///
/// Dropping the future of a call abandons it at an unknown step; what it left is what a crash would have left, and the
/// same call or `remove` copes with it.
#[async_trait]
pub trait ContainerRuntime: Send + Sync + 'static {
    /// Makes the image ready as its pull policy says: pulled, checked, unpacked. Callers that ask for the same image
    /// at once share one pull. Fails with one of the `Image…` variants, `DiskFull` or `Unavailable`.
    async fn ensure_image(&self, image: &Image) -> Result<ResolvedImage, RuntimeError>;

    /// Reads an image archive (tar, plain or gzip or zstd; OCI layout or `docker save`) into the store. `name` names
    /// the image where the archive does not, and replaces the name of an archive with one image. A refused archive
    /// leaves nothing.
    async fn import(&self, archive: Archive, name: Option<&str>) -> Result<Vec<ImageInfo>, RuntimeError>;

    /// The images of the store, by name.
    async fn images(&self) -> Result<Vec<ImageInfo>, RuntimeError>;

    /// Forgets an image by its name; what nothing else needs of it goes from the disk soon after. Containers made of it
    /// stay as they are. Tells whether it was there.
    async fn remove_image(&self, name: &str) -> Result<bool, RuntimeError>;

    /// Makes a container with everything set up but its program not begun. What an interrupted creation of the same id
    /// left, and a container of that id that ended, is replaced; one that runs is `WrongState`. On an error nothing is
    /// left, unless containerd went away meanwhile.
    async fn create(&self, spec: &ContainerSpec) -> Result<(), RuntimeError>;

    /// Which of these limits the machine has no means to enforce (`cpu`, `memory`): containers are made without them.
    fn unenforced(&self, resources: &Resources) -> Vec<&'static str>;

    /// Begins the program. A container that runs already, or has ended since, is fine.
    async fn start(&self, id: &str) -> Result<(), RuntimeError>;

    /// Waits until the container's process has ended and says how; at once when it has. Keeps waiting while containerd
    /// is gone. `NotFound` when there is no such container, or it was removed, or its process was lost without a
    /// trace (the machine was restarted).
    async fn wait(&self, id: &str) -> Result<Exit, RuntimeError>;

    /// Sends a signal to the container's main process. One that has ended already is fine.
    async fn signal(&self, id: &str, signal: Signal) -> Result<(), RuntimeError>;

    /// Removes a container and all that belongs to it but its logs and volumes, killing what still runs. One that does
    /// not exist is fine.
    async fn remove(&self, id: &str) -> Result<(), RuntimeError>;

    /// All containers of this runtime's namespace, by id.
    async fn list(&self) -> Result<Vec<ContainerInfo>, RuntimeError>;

    /// Looks for loggers that were killed, and starts others that go on with what their containers say. Names those of
    /// containers that run; one that cannot be replaced is named after several looks. Cheap when there is nothing to do.
    async fn mend_loggers(&self) -> Vec<LostLogger>;

    /// Starts a process in a running container.
    async fn exec(&self, id: &str, exec: ExecSpec) -> Result<Box<dyn ExecProcess>, RuntimeError>;
}
