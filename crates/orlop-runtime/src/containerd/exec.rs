//! Processes beside a container's own, over FIFOs.

use super::client::{Failure, PROCESS, QUICK};
use super::containers::{Containers, was_stopped};
use super::proto::process_any;
use super::words::runc_error;
use crate::container::{ExecProcess, ExecSpec, Input, Output, TerminalSize};
use crate::{RuntimeError, oci};
use async_trait::async_trait;
use containerd_client::services::v1::{
    CloseIoRequest, DeleteProcessRequest, ExecProcessRequest, GetContainerRequest, ResizePtyRequest, StartRequest,
};
use nix::sys::stat::Mode;
use oci_spec::runtime::Spec;
use orlop_model::Exit;
use orlop_model::spec::Signal;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::net::unix::pipe;

/// One exec'd process.
struct Exec {
    handle: Arc<Handle>,
    stdin: Option<Input>,
    stdout: Option<Output>,
    stderr: Option<Output>,
    terminal: bool,
    ended: Option<Exit>,
    /// The process's record is being removed: its end begins that, or the drop of this.
    removed: bool,
}

/// What is to be taken away at the end.
struct Handle {
    containers: Arc<Containers>,
    container: String,
    id: String,
    directory: PathBuf,
}

impl Containers {
    /// See [`crate::ContainerRuntime::exec`].
    pub(crate) async fn exec(
        self: &Arc<Self>,
        container: &str,
        exec: ExecSpec,
    ) -> Result<Box<dyn ExecProcess>, RuntimeError> {
        oci::check_id(container)?;
        let failed = |failure| self.client.error("starting a process", failure);
        let request = self.client.request(GetContainerRequest { id: container.to_owned() });
        let record = match self.client.answer(QUICK, self.client.containers().get(request)).await {
            Ok(response) => response.container.unwrap_or_default(),
            Err(Failure::NotFound(_)) => {
                return Err(RuntimeError::NotFound { what: format!("container {container}") });
            }
            Err(failure) => return Err(failed(failure)),
        };
        let spec: Spec = serde_json::from_slice(&record.spec.unwrap_or_default().value)
            .map_err(|error| RuntimeError::other("reading the container's record", error))?;
        let process = process_any(&oci::exec_process(&spec, &exec)?)
            .map_err(|error| RuntimeError::other("describing the process", error))?;

        let id = format!("exec-{}", uuid::Uuid::new_v4().simple());
        let directory = self.exec_directory(container).join(&id);
        let handle = Handle { containers: self.clone(), container: container.to_owned(), id, directory };
        match handle.begin(&exec, process).await {
            Ok((stdout, stderr)) => {
                let stdin = match exec.stdin {
                    true => Some(handle.open_stdin().await),
                    false => None,
                };
                let process = Exec {
                    stdin,
                    stdout: Some(stdout),
                    stderr,
                    terminal: exec.terminal.is_some(),
                    ended: None,
                    removed: false,
                    handle: Arc::new(handle),
                };
                if let Some(size) = exec.terminal {
                    process.resize(size).await?;
                }
                Ok(Box::new(process))
            }
            Err(error) => {
                handle.take_away().await;
                Err(error)
            }
        }
    }
}

impl Handle {
    async fn begin(
        &self,
        exec: &ExecSpec,
        process: prost_types::Any,
    ) -> Result<(Output, Option<Output>), RuntimeError> {
        let io_failed = |error: io::Error| match error.kind() {
            io::ErrorKind::StorageFull => RuntimeError::DiskFull { detail: self.directory.display().to_string() },
            _ => RuntimeError::other("making the FIFOs of a process", format!("{}: {error}", self.directory.display())),
        };
        std::fs::create_dir_all(&self.directory).map_err(io_failed)?;
        let fifo = |name: &str, wanted: bool| -> Result<(String, PathBuf), RuntimeError> {
            let path = self.directory.join(name);
            if !wanted {
                return Ok((String::new(), path));
            }
            nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).map_err(|error| io_failed(error.into()))?;
            Ok((path.to_string_lossy().into_owned(), path))
        };
        let (stdin, _) = fifo("in", exec.stdin)?;
        let (stdout, stdout_path) = fifo("out", true)?;
        let (stderr, stderr_path) = fifo("err", exec.terminal.is_none())?;
        // Open before the process begins, so that nothing is lost; nobody reads before the shim has opened its ends,
        // because a FIFO that no writer has opened yet looks like one that was closed.
        let out: Output = Box::new(open(&stdout_path).map_err(io_failed)?);
        let err: Option<Output> = match exec.terminal {
            Some(_) => None,
            None => Some(Box::new(open(&stderr_path).map_err(io_failed)?)),
        };
        let client = &self.containers.client;
        let wrong_state = |asked| RuntimeError::WrongState { id: self.container.clone(), found: "not running", asked };
        let request = client.request(ExecProcessRequest {
            container_id: self.container.clone(),
            stdin,
            stdout,
            stderr,
            terminal: exec.terminal.is_some(),
            spec: Some(process),
            exec_id: self.id.clone(),
        });
        match client.answer(PROCESS, client.tasks().exec(request)).await {
            Ok(_) => {}
            Err(Failure::NotFound(_)) => return Err(wrong_state("exec")),
            Err(failure) if was_stopped(&failure) => return Err(wrong_state("exec")),
            Err(failure) => return Err(client.error("preparing a process", failure)),
        }
        let request = client.request(StartRequest { container_id: self.container.clone(), exec_id: self.id.clone() });
        match client.answer(PROCESS, client.tasks().start(request)).await {
            Ok(_) => Ok((out, err)),
            Err(failure) if was_stopped(&failure) => Err(wrong_state("exec")),
            Err(Failure::Other(detail) | Failure::NotFound(detail)) => {
                if detail.contains("container not running") || detail.contains("stopped container") {
                    return Err(wrong_state("exec"));
                }
                Err(runc_error("starting a process", &detail, None))
            }
            Err(failure) => Err(client.error("starting a process", failure)),
        }
    }

    /// A process that has ended already takes what is written to it.
    async fn open_stdin(&self) -> Input {
        let ended = self.containers.exits.wait(&self.container, &self.id);
        match open_once_read(&self.directory.join("in"), ended).await {
            Ok(Some(sender)) => Box::new(Stdin {
                sender: Some(sender),
                close: Some(Close {
                    client: self.containers.client.clone(),
                    container: self.container.clone(),
                    id: self.id.clone(),
                }),
            }),
            Ok(None) => Box::new(tokio::io::sink()),
            Err(error) => {
                tracing::warn!(%error, process = self.id, "the input of a process cannot be opened; it gets none");
                Box::new(tokio::io::sink())
            }
        }
    }

    /// Ends the process if need be and removes what is left of it.
    async fn take_away(&self) {
        let containers = &self.containers;
        for _ in 0..3 {
            let request = containers
                .client
                .request(DeleteProcessRequest { container_id: self.container.clone(), exec_id: self.id.clone() });
            match containers.client.answer(PROCESS, containers.client.tasks().delete_process(request)).await {
                Ok(_) | Err(Failure::NotFound(_) | Failure::Gone(_)) => break,
                Err(failure) => {
                    tracing::debug!(?failure, process = self.id, "a process is still there; killing it");
                    if containers.signal(&self.container, &self.id, Signal::KILL).await.is_ok() {
                        let ended = containers.exits.wait(&self.container, &self.id);
                        let _ = tokio::time::timeout(Duration::from_secs(5), ended).await;
                    }
                }
            }
        }
        let _ = std::fs::remove_dir_all(&self.directory);
        if let Some(parent) = self.directory.parent() {
            // Succeeds for the last process of the container only.
            let _ = std::fs::remove_dir(parent);
        }
    }
}

/// Opens a FIFO for writing as soon as somebody reads it; `None` when the process has ended first.
///
/// The shim opens its reading end in the background: it may come after the process has started. Until then the FIFO
/// takes nothing, and what was written before would be lost with the last descriptor. The kernel tells nobody about a
/// first reader, so it is asked again and again, for the few milliseconds that it takes.
async fn open_once_read<T>(path: &Path, ended: impl Future<Output = T>) -> io::Result<Option<pipe::Sender>> {
    const AGAIN: Duration = Duration::from_millis(2);
    tokio::pin!(ended);
    loop {
        match pipe::OpenOptions::new().open_sender(path) {
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {}
            opened => return opened.map(Some),
        }
        tokio::select! {
            _ = &mut ended => return Ok(None),
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

fn open(path: &Path) -> io::Result<pipe::Receiver> {
    pipe::OpenOptions::new().open_receiver(path)
}

#[async_trait]
impl ExecProcess for Exec {
    fn take_stdin(&mut self) -> Option<Input> {
        self.stdin.take()
    }

    fn take_stdout(&mut self) -> Option<Output> {
        self.stdout.take()
    }

    fn take_stderr(&mut self) -> Option<Output> {
        self.stderr.take()
    }

    async fn wait(&mut self) -> Result<Exit, RuntimeError> {
        if let Some(exit) = self.ended {
            return Ok(exit);
        }
        let ended = self.handle.containers.exits.wait(&self.handle.container, &self.handle.id).await?;
        let exit = Exit { code: ended.code, out_of_memory: false, at: ended.at };
        self.ended = Some(exit);
        // Makes the shim pass on what it still holds of the output and close its ends, also when a child of the process
        // keeps the other side open: whoever reads to the end gets everything, and gets there.
        self.remove();
        Ok(exit)
    }

    async fn resize(&self, size: TerminalSize) -> Result<(), RuntimeError> {
        if !self.terminal {
            return Err(RuntimeError::WrongState {
                id: self.handle.container.clone(),
                found: "without a terminal",
                asked: "resizing it",
            });
        }
        let client = &self.handle.containers.client;
        let request = client.request(ResizePtyRequest {
            container_id: self.handle.container.clone(),
            exec_id: self.handle.id.clone(),
            width: u32::from(size.columns),
            height: u32::from(size.rows),
        });
        match client.answer(QUICK, client.tasks().resize_pty(request)).await {
            // A process that has ended needs no size.
            Ok(()) | Err(Failure::NotFound(_) | Failure::Precondition(_)) => Ok(()),
            Err(Failure::Other(detail)) if detail.contains("cannot resize a stopped") => Ok(()),
            Err(failure) => Err(client.error("resizing a terminal", failure)),
        }
    }

    async fn signal(&self, signal: Signal) -> Result<(), RuntimeError> {
        self.handle.containers.signal(&self.handle.container, &self.handle.id, signal).await
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        // Closed first: a process that still writes must not wait for us.
        self.stdin = None;
        self.stdout = None;
        self.stderr = None;
        self.remove();
    }
}

impl Exec {
    fn remove(&mut self) {
        if self.removed {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.removed = true;
            let handle = self.handle.clone();
            runtime.spawn(async move { handle.take_away().await });
        }
    }
}

/// The writing end of standard input. The shim holds one too, so that clients can come and go; it has to be told that
/// ours was the last.
struct Stdin {
    sender: Option<pipe::Sender>,
    close: Option<Close>,
}

struct Close {
    client: super::client::Client,
    container: String,
    id: String,
}

impl Stdin {
    fn end(&mut self) {
        self.sender = None;
        let (Some(close), Ok(runtime)) = (self.close.take(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(async move {
            let Close { client, container, id } = close;
            let request = client.request(CloseIoRequest { container_id: container, exec_id: id, stdin: true });
            if let Err(failure) = client.answer(QUICK, client.tasks().close_io(request)).await {
                tracing::debug!(?failure, "the end of a process's input was not passed on; it has probably ended");
            }
        });
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        self.end();
    }
}

impl AsyncWrite for Stdin {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.sender {
            Some(sender) => Pin::new(sender).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn fifo() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("in");
        nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
        (directory, path)
    }

    #[tokio::test]
    async fn input_waits_for_a_reader_that_comes_late() {
        let (_directory, path) = fifo();
        let mut opening = Box::pin(open_once_read(&path, std::future::pending::<()>()));
        assert!(futures::poll!(&mut opening).is_pending());
        let mut reader = open(&path).unwrap();
        let mut sender = opening.await.unwrap().unwrap();
        sender.write_all(b"through").await.unwrap();
        drop(sender);
        let mut found = String::new();
        reader.read_to_string(&mut found).await.unwrap();
        assert_eq!(found, "through");
    }

    #[tokio::test]
    async fn input_of_a_process_that_has_ended_is_not_waited_for() {
        let (_directory, path) = fifo();
        assert!(open_once_read(&path, std::future::ready(())).await.unwrap().is_none());
    }
}
