//! Blobs, and the leases that keep them while nothing refers to them yet.

use super::client::{Client, Failure, QUICK};
use crate::RuntimeError;
use crate::images::Digest;
use bytes::Bytes;
use containerd_client::services::v1::{
    AbortRequest, AddResourceRequest, CreateRequest, DeleteRequest, InfoRequest, ListRequest, ListResourcesRequest,
    ReadContentRequest, Resource, UpdateRequest, WriteAction, WriteContentRequest, WriteContentResponse,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// A lease nobody gave back (we died) ends by itself after this long.
const LEASE_HOURS: u64 = 24;
/// For one message of a write: containerd writes and hashes at most a megabyte.
const CHUNK: Duration = Duration::from_secs(120);
/// For committing, which syncs to disk and may hash again what an earlier attempt had written.
const COMMIT: Duration = Duration::from_secs(600);
/// Bytes in one message of a write; below containerd's bound of 16 MiB for a message.
pub(crate) const CHUNK_BYTES_MAX: usize = 1 << 20;

/// Keeps what is written through [`Lease::client`] until it is released, dropped, or a day has passed.
pub(crate) struct Lease {
    id: String,
    client: Client,
    outer: Client,
    settled: AtomicBool,
}

/// The label by which a lease that was left behind is found again.
const PURPOSE: &str = "orlop.dev/pull";

impl Lease {
    /// Takes a lease. One for a purpose takes over what earlier ones for the same purpose have kept.
    pub(crate) async fn take(client: &Client, purpose: Option<&str>) -> Result<Lease, RuntimeError> {
        let failed = |failure| client.error("taking a lease", failure);
        let id = format!("orlop-{}", uuid::Uuid::new_v4().simple());
        let expire = crate::time::now_ns() / 1_000_000_000 + LEASE_HOURS * 3600;
        let mut labels = HashMap::from([("containerd.io/gc.expire".into(), crate::time::format_seconds(expire))]);
        // containerd bounds a label's length; a digest always fits.
        let purpose = purpose.map(|purpose| Digest::of(purpose.as_bytes()).to_string());
        labels.extend(purpose.clone().map(|purpose| (PURPOSE.into(), purpose)));
        let request = client.request(CreateRequest { id: id.clone(), labels });
        client.answer(QUICK, client.leases().create(request)).await.map_err(failed)?;
        let header = id.parse().map_err(|e| RuntimeError::other("taking a lease", e))?;
        let lease =
            Lease { id, client: client.under_lease(header), outer: client.clone(), settled: AtomicBool::new(false) };
        if let Some(purpose) = purpose {
            lease.take_over(&purpose).await.map_err(failed)?;
        }
        Ok(lease)
    }

    async fn take_over(&self, purpose: &str) -> Result<(), Failure> {
        let client = &self.outer;
        let filters = vec![format!("labels.\"{PURPOSE}\"==\"{purpose}\"")];
        let request = client.request(ListRequest { filters });
        let earlier = client.answer(QUICK, client.leases().list(request)).await?.leases;
        for old in earlier.into_iter().filter(|old| old.id != self.id) {
            let request = client.request(ListResourcesRequest { id: old.id.clone() });
            let resources = match client.answer(QUICK, client.leases().list_resources(request)).await {
                Ok(response) => response.resources,
                Err(Failure::NotFound(_)) => continue,
                Err(failure) => return Err(failure),
            };
            for resource in resources {
                let request =
                    client.request(AddResourceRequest { id: self.id.clone(), resource: Some(resource.clone()) });
                match client.answer(QUICK, client.leases().add_resource(request)).await {
                    Ok(()) | Err(Failure::AlreadyExists | Failure::NotFound(_)) => {}
                    Err(failure @ Failure::Gone(_)) => return Err(failure),
                    // Kinds that this version of containerd does not let us move are fetched again.
                    Err(failure) => tracing::debug!(?failure, ?resource, "a kept blob could not be taken over"),
                }
            }
            let request = client.request(DeleteRequest { id: old.id, sync: false });
            match client.answer(QUICK, client.leases().delete(request)).await {
                Ok(()) | Err(Failure::NotFound(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// The connection under this lease.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Also keeps something that exists already.
    pub(crate) async fn keep(&self, kind: &str, id: &str) -> Result<(), RuntimeError> {
        let resource = Some(Resource { id: id.into(), r#type: kind.into() });
        let request = self.outer.request(AddResourceRequest { id: self.id.clone(), resource });
        match self.outer.answer(QUICK, self.outer.leases().add_resource(request)).await {
            Ok(()) | Err(Failure::AlreadyExists) => Ok(()),
            Err(failure) => Err(self.outer.error("keeping a blob", failure)),
        }
    }

    /// Leaves the lease to its expiry, or to the next one for the same purpose.
    pub(crate) fn leave(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    /// Gives the lease back; what nothing refers to by now is collected at containerd's next round, or, if `sync`,
    /// before this returns.
    pub(crate) async fn release(&self, sync: bool) -> Result<(), RuntimeError> {
        self.settled.store(true, Ordering::Relaxed);
        let request = self.outer.request(DeleteRequest { id: self.id.clone(), sync });
        match self.outer.answer(COMMIT, self.outer.leases().delete(request)).await {
            Ok(()) | Err(Failure::NotFound(_)) => Ok(()),
            Err(failure) => Err(self.outer.error("giving a lease back", failure)),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if *self.settled.get_mut() {
            return;
        }
        // Outside of a runtime the lease ends by its expiry.
        if let Ok(handle) = tokio::runtime::Handle::try_current() {
            let (client, id) = (self.outer.clone(), std::mem::take(&mut self.id));
            handle.spawn(async move {
                let request = client.request(DeleteRequest { id, sync: false });
                if let Err(failure) = client.answer(QUICK, client.leases().delete(request)).await {
                    tracing::debug!(?failure, "an abandoned lease could not be given back; it expires within a day");
                }
            });
        }
    }
}

impl Client {
    /// The size of a blob, if it is there.
    pub(crate) async fn blob_size(&self, digest: &str) -> Result<Option<u64>, RuntimeError> {
        let request = self.request(InfoRequest { digest: digest.into() });
        match self.answer(QUICK, self.content().info(request)).await {
            Ok(response) => Ok(Some(response.info.map_or(0, |info| u64::try_from(info.size).unwrap_or(0)))),
            Err(Failure::NotFound(_)) => Ok(None),
            Err(failure) => Err(self.error("looking for a blob", failure)),
        }
    }

    /// A whole small blob, if it is there. One of more than `bytes_max` is an error.
    pub(crate) async fn read_blob(&self, digest: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, RuntimeError> {
        let Some(size) = self.blob_size(digest).await? else { return Ok(None) };
        if size > bytes_max {
            return Err(RuntimeError::other(
                format!("reading {digest}"),
                format!("it has {size} bytes, at most {bytes_max} are allowed"),
            ));
        }
        let request = self.request(ReadContentRequest { digest: digest.into(), offset: 0, size: 0 });
        let mut stream = match self.answer(QUICK, self.content().read(request)).await {
            Ok(stream) => stream,
            Err(Failure::NotFound(_)) => return Ok(None),
            Err(failure) => return Err(self.error("reading a blob", failure)),
        };
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        loop {
            let next = tokio::time::timeout(QUICK, stream.message()).await;
            let next = next.map_err(|_| self.error("reading a blob", Failure::Gone("no answer".into())))?;
            match next.map_err(|status| self.error("reading a blob", self.failure(status)))? {
                Some(part) => bytes.extend_from_slice(&part.data),
                None => return Ok(Some(bytes)),
            }
        }
    }

    /// Adds labels to a blob.
    pub(crate) async fn label_blob(&self, digest: &str, labels: HashMap<String, String>) -> Result<(), RuntimeError> {
        use containerd_client::services::v1::Info;
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let info = Some(Info { digest: digest.into(), labels, ..Info::default() });
        let request = self.request(UpdateRequest { info, update_mask: Some(prost_types::FieldMask { paths }) });
        self.answer(QUICK, self.content().update(request)).await.map_err(|f| self.error("labelling a blob", f))?;
        Ok(())
    }

    /// Writes a small blob whose digest is known, unless it is there.
    pub(crate) async fn write_blob(&self, digest: &str, bytes: &[u8]) -> Result<(), RuntimeError> {
        let total = bytes.len() as u64;
        let reference = format!("orlop-{}-{digest}", uuid::Uuid::new_v4().simple());
        let outcome = async {
            let Some(mut ingest) = Ingest::open(self, &reference, Some(digest), Some(total)).await? else {
                return Ok(());
            };
            if !ingest.is_taken_over(total) {
                for chunk in bytes.chunks(CHUNK_BYTES_MAX) {
                    ingest.write(Bytes::copy_from_slice(chunk)).await?;
                }
            }
            ingest.commit().await
        };
        outcome.await.map_err(|f| self.error("writing a blob", f))
    }

    /// Throws an unfinished write away.
    pub(crate) async fn abort_ingest(&self, reference: &str) {
        let request = self.request(AbortRequest { r#ref: reference.into() });
        match self.answer(QUICK, self.content().abort(request)).await {
            Ok(()) | Err(Failure::NotFound(_)) => {}
            Err(failure) => tracing::debug!(?failure, reference, "an unfinished blob could not be thrown away"),
        }
    }
}

/// A blob being written. An unfinished one keeps its bytes under its reference for the next attempt.
pub(crate) struct Ingest {
    client: Client,
    reference: String,
    expected: String,
    total: i64,
    requests: mpsc::Sender<WriteContentRequest>,
    responses: Streaming<WriteContentResponse>,
    offset: u64,
}

impl Ingest {
    /// Begins, or goes on at [`Ingest::offset`]; `None` when the blob is there already (the lease has it then).
    pub(crate) async fn open(
        client: &Client,
        reference: &str,
        expected: Option<&str>,
        total: Option<u64>,
    ) -> Result<Option<Ingest>, Failure> {
        let expected = expected.unwrap_or_default().to_owned();
        let total = total.map_or(0, |total| i64::try_from(total).unwrap_or(i64::MAX));
        let (requests, receiver) = mpsc::channel(2);
        // The answer to the call begins with the answer to its first message, so that has to be on its way before.
        let first = WriteContentRequest {
            action: WriteAction::Stat as i32,
            r#ref: reference.into(),
            total,
            expected: expected.clone(),
            ..WriteContentRequest::default()
        };
        requests.send(first).await.map_err(|_| Failure::Gone("the stream ended".into()))?;
        let call = client.request(ReceiverStream::new(receiver));
        let responses = match client.answer(CHUNK, client.content().write(call)).await {
            Ok(responses) => responses,
            Err(Failure::AlreadyExists) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let mut ingest = Ingest {
            client: client.clone(),
            reference: reference.into(),
            expected,
            total,
            requests,
            responses,
            offset: 0,
        };
        match ingest.response(COMMIT).await {
            Ok(response) => ingest.offset = u64::try_from(response.offset).unwrap_or(0),
            Err(Failure::AlreadyExists) => return Ok(None),
            Err(failure) => return Err(failure),
        }
        Ok(Some(ingest))
    }

    /// How many bytes are written.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Has containerd all of a blob of this size from elsewhere, such as another namespace? Then only a commit is missing,
    /// and bytes that are written would be added to those that are there.
    pub(crate) fn is_taken_over(&self, total: u64) -> bool {
        total > 0 && self.offset >= total
    }

    /// Writes up to [`CHUNK_BYTES_MAX`] bytes and waits until they are written.
    pub(crate) async fn write(&mut self, data: Bytes) -> Result<(), Failure> {
        debug_assert!(data.len() <= CHUNK_BYTES_MAX);
        let length = data.len() as u64;
        self.send(WriteAction::Write, data.to_vec(), CHUNK).await?;
        self.offset += length;
        Ok(())
    }

    /// Makes the blob known under its digest. A wrong digest or size is `Precondition`.
    pub(crate) async fn commit(mut self) -> Result<(), Failure> {
        let response = self.send(WriteAction::Commit, Vec::new(), COMMIT).await;
        let reference = std::mem::take(&mut self.reference);
        match response {
            Ok(_) | Err(Failure::AlreadyExists) => {}
            Err(failure @ Failure::Gone(_)) => return Err(failure),
            Err(failure) => {
                // The bytes are wrong; the next attempt must not go on from them.
                let client = self.client.clone();
                drop(self);
                client.abort_ingest(&reference).await;
                return Err(failure);
            }
        }
        // containerd answers a commit twice; leaving before the end would cancel the call on its side.
        drop(self.requests);
        while let Ok(Ok(Some(_))) = tokio::time::timeout(CHUNK, self.responses.message()).await {}
        Ok(())
    }

    async fn send(
        &mut self,
        action: WriteAction,
        data: Vec<u8>,
        within: Duration,
    ) -> Result<WriteContentResponse, Failure> {
        let message = WriteContentRequest {
            action: action as i32,
            r#ref: self.reference.clone(),
            total: self.total,
            expected: self.expected.clone(),
            offset: i64::try_from(self.offset).unwrap_or(i64::MAX),
            data,
            labels: HashMap::new(),
        };
        // A failed send means that the answer says why.
        let _ = self.requests.send(message).await;
        self.response(within).await
    }

    async fn response(&mut self, within: Duration) -> Result<WriteContentResponse, Failure> {
        match tokio::time::timeout(within, self.responses.message()).await {
            Ok(Ok(Some(response))) => Ok(response),
            Ok(Ok(None)) => Err(Failure::Gone("it ended the write".into())),
            Ok(Err(status)) => Err(self.client.failure(status)),
            Err(_) => Err(Failure::Gone("no answer to a write".into())),
        }
    }
}
