//! Reading a few files of an image's unpacked layers, as the container will see them, without trusting any of them:
//! links that lead out of the image end at its root, sizes are bounded, devices and FIFOs are not opened.

use super::client::{Client, PROCESS};
use super::content::Lease;
use super::unpack::Snapshots;
use crate::RuntimeError;
use crate::oci::user::UserFiles;
use containerd_client::services::v1::snapshots::ViewSnapshotRequest;
use containerd_client::types::Mount;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Of `/etc/passwd` and `/etc/group` each.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl Snapshots {
    /// The user files of a stack of layers. `directory` is an empty one to mount on, in a mount namespace of its own.
    pub(crate) async fn user_files(
        &self,
        client: &Client,
        chain_id: &str,
        directory: &Path,
    ) -> Result<UserFiles, RuntimeError> {
        if chain_id.is_empty() {
            return Ok(UserFiles::default());
        }
        // Nothing but the lease refers to the view, so containerd collects it if we die in between.
        let lease = Lease::take(client, None).await?;
        let client = lease.client();
        let key = format!("orlop-view-{}", uuid::Uuid::new_v4().simple());
        let request = client.request(ViewSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.clone(),
            parent: chain_id.to_owned(),
            ..ViewSnapshotRequest::default()
        });
        let view = client.answer(PROCESS, client.snapshots().view(request)).await;
        let mounts = view.map_err(|f| client.error("looking into the image", f))?.mounts;
        let directory = directory.to_owned();
        let read = tokio::task::spawn_blocking(move || read_in_thread(mounts, directory)).await;
        self.remove(client, &key).await?;
        lease.release(false).await?;
        read.map_err(|error| RuntimeError::other("looking into the image", error))?
            .map_err(|error| RuntimeError::other("reading /etc/passwd and /etc/group of the image", error))
    }
}

/// On a thread that dies afterwards, and its mounts with it.
fn read_in_thread(mounts: Vec<Mount>, directory: PathBuf) -> io::Result<UserFiles> {
    let thread = std::thread::Builder::new().name("image-files".into()).spawn(move || read(&mounts, &directory))?;
    thread.join().map_err(|_| io::Error::other("the reading thread panicked"))?
}

fn read(mounts: &[Mount], directory: &Path) -> io::Result<UserFiles> {
    let [mount] = mounts else {
        return Err(io::Error::other(format!("a snapshot with {} mounts", mounts.len())));
    };
    let root = match mount.r#type.as_str() {
        "bind" => open_directory(Path::new(&mount.source))?,
        "overlay" => {
            std::fs::create_dir_all(directory)?;
            nix::sched::unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS)?;
            nix::mount::mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
            let options = short_options(&mount.options)?;
            nix::mount::mount(
                Some("overlay"),
                directory,
                Some("overlay"),
                MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
                Some(options.as_str()),
            )?;
            open_directory(directory)?
        }
        other => return Err(io::Error::other(format!("a snapshot of the unknown type {other:?}"))),
    };
    Ok(UserFiles { passwd: read_file(&root, "etc/passwd")?, group: read_file(&root, "etc/group")? })
}

/// The options for mount(2), which takes one page of them: with many layers their common directory becomes the working
/// directory of this thread.
fn short_options(options: &[String]) -> io::Result<String> {
    let joined = options.join(",");
    if joined.len() < 4000 {
        return Ok(joined);
    }
    let layers = options.iter().find_map(|option| option.strip_prefix("lowerdir="));
    let paths: Vec<&Path> = layers.unwrap_or_default().split(':').map(Path::new).collect();
    // …/snapshots/17/fs
    let common = paths.first().and_then(|path| path.parent()?.parent());
    let common = common.ok_or_else(|| io::Error::other("an overlay without layers"))?;
    let relative: Option<Vec<_>> = paths.iter().map(|path| path.strip_prefix(common).ok()?.to_str()).collect();
    let relative = relative.ok_or_else(|| io::Error::other("layers in different directories"))?;
    nix::unistd::chdir(common)?;
    Ok(format!("lowerdir={}", relative.join(":")))
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(path, flags, nix::sys::stat::Mode::empty())?)
}

/// A regular file below `root`, or nothing where there is none.
fn read_file(root: &OwnedFd, path: &str) -> io::Result<Vec<u8>> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    use nix::errno::Errno::{ELOOP, ENOENT, ENOTDIR, ENXIO};
    let file = match nix::fcntl::openat2(root.as_fd(), path, how) {
        Ok(fd) => File::from(fd),
        Err(ENOENT | ENOTDIR | ELOOP | ENXIO) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("/{path} has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}
