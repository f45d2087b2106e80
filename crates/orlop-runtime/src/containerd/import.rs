//! Image archives into containerd's store.

use super::client::{Client, Failure};
use super::content::{CHUNK_BYTES_MAX, Ingest, Lease};
use super::images::Images;
use crate::images::Digest;
use crate::images::archive::{self, ArchivedImage, Event, Index, InvalidArchive};
use crate::{Archive, ImageInfo, RuntimeError};
use bytes::{Buf, Bytes};
use sha2::Digest as _;
use std::io::{self, Read};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

/// A sender of an archive that is silent for so long is given up.
const IDLE: Duration = Duration::from_secs(120);

impl Images {
    /// See [`crate::ContainerRuntime::import`].
    pub(crate) async fn import(&self, archive: Archive, name: Option<&str>) -> Result<Vec<ImageInfo>, RuntimeError> {
        let lease = Lease::take(&self.client, None).await?;
        match self.import_under(&lease, archive, name).await {
            Ok(infos) => {
                lease.release(false).await?;
                Ok(infos)
            }
            Err(error) => {
                // A refused archive must be gone when the answer arrives.
                if let Err(second) = lease.release(true).await {
                    tracing::warn!(%second, "what a refused archive left is kept for a day");
                }
                Err(error)
            }
        }
    }

    async fn import_under(
        &self,
        lease: &Lease,
        archive: Archive,
        name: Option<&str>,
    ) -> Result<Vec<ImageInfo>, RuntimeError> {
        let refused = |error: InvalidArchive| RuntimeError::ImageInvalid {
            image: name.unwrap_or("archive").to_owned(),
            detail: error.to_string(),
        };
        let index = receive(lease.client(), archive).await?.map_err(refused)?;
        let mut infos = Vec::new();
        let mut ready = Vec::new();
        for ArchivedImage { name, top, manifest } in index.images(name).map_err(refused)? {
            if let Some(bytes) = manifest {
                lease.client().write_blob(top.digest.as_str(), &bytes).await?;
            }
            let missing =
                || refused(InvalidArchive::Content(format!("a document that {} leads to is missing", top.digest)));
            let stored = self.load(&name, &top.digest).await?.ok_or_else(missing)?;
            index.require_all(stored.manifest.layers.iter().chain([&stored.manifest.config])).map_err(refused)?;
            self.snapshots.unpack_all(lease, &name, &stored.manifest.layers, &stored.config.diff_ids).await?;
            infos.push(ImageInfo { name: name.clone(), digest: top.digest.to_string(), size: stored.size() });
            ready.push((name, stored));
        }
        for (name, stored) in &ready {
            self.record_as(name, stored).await?;
        }
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(infos)
    }
}

/// Reads the archive and writes its files as blobs.
async fn receive(client: &Client, mut archive: Archive) -> Result<Result<Index, InvalidArchive>, RuntimeError> {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
    // The archive may come from a connection; it is read here, so that it can time out, and unpacked on a thread.
    let pump = async move {
        loop {
            let mut chunk = bytes::BytesMut::with_capacity(64 << 10);
            let read = match tokio::time::timeout(IDLE, archive.read_buf(&mut chunk)).await {
                Ok(Ok(0)) => return,
                Ok(read) => read.map(|_| chunk.freeze()),
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came for two minutes")),
            };
            let ended = read.is_err();
            if sender.send(read).await.is_err() || ended {
                return;
            }
        }
    };
    let (client, handle) = (client.clone(), tokio::runtime::Handle::current());
    let unpack = tokio::task::spawn_blocking(move || {
        let mut writer = Writer { client: &client, current: Current::None };
        let source = Receiver { receiver, chunk: Bytes::new() };
        archive::read(source, |event| handle.block_on(writer.handle(event)))
    });
    let ((), unpacked) = tokio::join!(pump, unpack);
    match unpacked.map_err(|error| RuntimeError::other("reading an archive", error))? {
        Ok(index) => Ok(index),
        Err(WriteError::Refused(error)) => Ok(Err(error)),
        Err(WriteError::Failed(error)) => Err(error),
    }
}

enum WriteError {
    Refused(InvalidArchive),
    Failed(RuntimeError),
}

struct Writer<'a> {
    client: &'a Client,
    current: Current,
}

enum Current {
    None,
    /// Hashed here too: where a blob turns out to be known already, containerd does not say which it is.
    Writing(Box<Ingest>, sha2::Sha256),
    /// The store has it already.
    Known(Option<Digest>),
}

impl Writer<'_> {
    async fn handle(&mut self, event: Event) -> Result<Option<Digest>, WriteError> {
        match event {
            Event::Begin { size, expected } => {
                let reference = format!("orlop-import-{}", uuid::Uuid::new_v4().simple());
                let digest = expected.as_ref().map(Digest::as_str);
                self.current = match Ingest::open(self.client, &reference, digest, Some(size)).await {
                    Ok(Some(ingest)) if expected.is_some() && ingest.is_taken_over(size) => {
                        ingest.commit().await.map_err(|failure| self.failed(failure))?;
                        Current::Known(expected)
                    }
                    Ok(Some(ingest)) => Current::Writing(Box::new(ingest), sha2::Sha256::new()),
                    Ok(None) => Current::Known(expected),
                    Err(failure) => return Err(self.failed(failure)),
                };
                Ok(None)
            }
            Event::Data(data) => {
                if let Current::Writing(ingest, hasher) = &mut self.current {
                    debug_assert!(data.len() <= CHUNK_BYTES_MAX);
                    hasher.update(&data);
                    ingest.write(data).await.map_err(|failure| self.failed(failure))?;
                }
                Ok(None)
            }
            Event::End => match std::mem::replace(&mut self.current, Current::None) {
                Current::Writing(ingest, hasher) => {
                    ingest.commit().await.map_err(|failure| self.failed(failure))?;
                    Ok(Some(Digest::finish(hasher)))
                }
                Current::Known(digest) => Ok(digest),
                Current::None => Ok(None),
            },
        }
    }

    fn failed(&self, failure: Failure) -> WriteError {
        match failure {
            Failure::Precondition(detail) => {
                WriteError::Refused(InvalidArchive::Content(format!("a blob is not what its name says: {detail}")))
            }
            failure => WriteError::Failed(self.client.error("writing a blob", failure)),
        }
    }
}

/// The archive as the thread reads it.
struct Receiver {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
}

impl Read for Receiver {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.chunk = chunk?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
