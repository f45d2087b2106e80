//! Images in containerd's store: finding them, recording them, and pulling what is missing.

use super::client::{Client, Failure, QUICK};
use super::content::{CHUNK_BYTES_MAX, Ingest, Lease};
use super::locks::KeyedLocks;
use super::unpack::{Snapshots, wire};
use crate::RuntimeError;
use crate::image::{ImageConfig, ImageInfo, ResolvedImage};
use crate::images::manifest::{
    CONFIG_BYTES_MAX, Config, Descriptor, Document, InvalidImage, MANIFEST_BYTES_MAX, Manifest, OCI_INDEX,
    OCI_MANIFEST, chain_ids, choose, host_platform,
};
use crate::images::registry::{FetchError, FetchedManifest, Registries, Session};
use crate::images::{Digest, Reference};
use bytes::BytesMut;
use containerd_client::services::v1::{
    CreateImageRequest, GetImageRequest, Image as Record, ListImagesRequest, UpdateImageRequest,
};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use orlop_model::spec::{Image, PullPolicy};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;

/// Bytes gathered before they are handed to containerd.
const WRITE_BYTES: usize = CHUNK_BYTES_MAX / 4;
/// Images whose config is kept in memory.
const REMEMBERED_MAX: usize = 256;

type Ensured = Shared<BoxFuture<'static, Result<ResolvedImage, RuntimeError>>>;

/// The images of one containerd.
#[derive(Debug)]
pub(crate) struct Images {
    pub(crate) client: Client,
    pub(crate) snapshots: Snapshots,
    registries: Registries,
    /// By digest of what the name stands for. Content under a digest never changes; only its presence has to be asked.
    remembered: Mutex<HashMap<String, Known>>,
    /// Pulls under way, by name.
    pulls: Mutex<HashMap<String, Ensured>>,
    blobs: Arc<KeyedLocks>,
}

#[derive(Debug, Clone)]
struct Known {
    chain_id: String,
    config: Arc<ImageConfig>,
}

/// An image that is in the store completely, for this machine.
pub(crate) struct Stored {
    pub(crate) manifest: Manifest,
    pub(crate) config: Config,
    /// From the top (index or manifest) down to the manifest, each with the one it leads to.
    path: Vec<Descriptor>,
}

impl Stored {
    pub(crate) fn size(&self) -> u64 {
        self.path.iter().map(|document| document.size).sum::<u64>().saturating_add(self.manifest.size())
    }
}

impl Images {
    pub(crate) fn new(client: Client, snapshots: Snapshots, registries: Registries) -> Self {
        Self {
            client,
            snapshots,
            registries,
            remembered: Mutex::default(),
            pulls: Mutex::default(),
            blobs: Arc::default(),
        }
    }

    /// See [`crate::ContainerRuntime::ensure_image`].
    pub(crate) async fn ensure(self: &Arc<Self>, image: &Image) -> Result<ResolvedImage, RuntimeError> {
        match self.find_or_pull(image).await {
            Err(RuntimeError::ImageNotFound { image, detail }) => {
                // Where even this fails, what is known is better told than not.
                let detail = match self.near(&image).await.unwrap_or_default() {
                    near if near.is_empty() => detail,
                    near => format!("{detail}; the node has {}", near.join(", ")),
                };
                Err(RuntimeError::ImageNotFound { image, detail })
            }
            result => result,
        }
    }

    async fn find_or_pull(self: &Arc<Self>, image: &Image) -> Result<ResolvedImage, RuntimeError> {
        let reference: Reference = image.name.parse().map_err(|error: crate::images::InvalidReference| {
            RuntimeError::ImageInvalid { image: image.name.clone(), detail: error.problem.into() }
        })?;
        if image.pull_policy != PullPolicy::Always
            && let Some(found) = self.local(&image.name, &reference).await?
        {
            return Ok(found);
        }
        if image.pull_policy == PullPolicy::Never {
            return Err(RuntimeError::ImageNotFound {
                image: image.name.clone(),
                detail: "it is not on the node, and pull_policy is never".into(),
            });
        }
        // The pull goes on when a caller loses interest: the others, or its next attempt, will want it.
        let shared = {
            let mut pulls = self.pulls.lock();
            match pulls.get(&image.name) {
                Some(pull) => pull.clone(),
                None => {
                    let (images, name) = (self.clone(), image.name.clone());
                    let task = tokio::spawn(async move {
                        let result = images.pull(&name, &reference).await;
                        let result = result.map_err(|error| match error {
                            RuntimeError::ImageUnavailable { image, .. } if images.registries.is_nobody(&reference) => {
                                let detail = "it is not on the node, and no registry answers at localhost".into();
                                RuntimeError::ImageNotFound { image, detail }
                            }
                            error => error,
                        });
                        images.pulls.lock().remove(&name);
                        result
                    });
                    let pull = async move {
                        task.await.unwrap_or_else(|error| Err(RuntimeError::other("pulling an image", error)))
                    };
                    let pull = pull.boxed().shared();
                    pulls.insert(image.name.clone(), pull.clone());
                    pull
                }
            }
        };
        shared.await
    }

    /// The image, if it is completely there; unpacks it if only that is missing.
    async fn local(&self, name: &str, reference: &Reference) -> Result<Option<ResolvedImage>, RuntimeError> {
        let Some(record) = self.record(&reference.to_string()).await? else { return Ok(None) };
        let target = record.target.unwrap_or_default().digest;
        if reference.digest.as_ref().is_some_and(|digest| digest.as_str() != target) {
            return Ok(None);
        }
        let known = self.remembered.lock().get(&target).cloned();
        let known = match known {
            Some(known) => known,
            None => match self.recall(name, &target).await? {
                Some(known) => known,
                None => return Ok(None),
            },
        };
        Ok(Some(ResolvedImage {
            name: name.to_owned(),
            digest: target,
            chain_id: known.chain_id,
            config: known.config,
        }))
    }

    /// Reads from the store what is to be known of an image.
    async fn recall(&self, name: &str, target: &str) -> Result<Option<Known>, RuntimeError> {
        let Ok(digest) = target.parse() else { return Ok(None) };
        let Some(stored) = self.load(name, &digest).await? else { return Ok(None) };
        let chain = chain_ids(&stored.config.diff_ids);
        let top = chain.last().map(Digest::to_string).unwrap_or_default();
        if !top.is_empty() && !self.snapshots.exists(&self.client, &top).await? {
            for layer in &stored.manifest.layers {
                if self.client.blob_size(layer.digest.as_str()).await? != Some(layer.size) {
                    return Ok(None);
                }
            }
            let lease = Lease::take(&self.client, None).await?;
            let unpacked =
                self.snapshots.unpack_all(&lease, name, &stored.manifest.layers, &stored.config.diff_ids).await;
            if unpacked.is_ok() {
                self.keep_snapshot(&stored.manifest.config.digest, &top).await?;
            }
            lease.release(false).await?;
            unpacked?;
        }
        Ok(Some(self.remember(target, top, stored.config.run)))
    }

    fn remember(&self, target: &str, chain_id: String, config: ImageConfig) -> Known {
        let known = Known { chain_id, config: Arc::new(config) };
        let mut remembered = self.remembered.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(target.to_owned(), known.clone());
        known
    }

    /// Forgets what is known of an image whose snapshot turned out to be gone.
    pub(crate) fn forget(&self, target: &str) {
        self.remembered.lock().remove(target);
    }

    /// Reads an image's documents from the store; `None` when one is missing.
    pub(crate) async fn load(&self, name: &str, top: &Digest) -> Result<Option<Stored>, RuntimeError> {
        let unusable = |InvalidImage(detail)| RuntimeError::ImageInvalid { image: name.to_owned(), detail };
        let machine = host_platform();
        let (mut path, mut digest) = (Vec::new(), top.clone());
        let manifest = loop {
            let Some(bytes) = self.client.read_blob(digest.as_str(), MANIFEST_BYTES_MAX).await? else {
                return Ok(None);
            };
            let document = Document::parse(&bytes, None).map_err(unusable)?;
            let media_type = media_type(&document).to_owned();
            path.push(Descriptor { media_type, digest: digest.clone(), size: bytes.len() as u64 });
            match document {
                Document::Manifest(manifest) => break manifest,
                Document::Index(entries) => {
                    check_depth(path.len()).map_err(unusable)?;
                    digest = choose(&entries, &machine).map_err(unusable)?.descriptor.digest.clone();
                }
            }
        };
        let Some(bytes) = self.client.read_blob(manifest.config.digest.as_str(), CONFIG_BYTES_MAX).await? else {
            return Ok(None);
        };
        let config = Config::parse(&bytes, manifest.layers.len()).map_err(unusable)?;
        config.check_platform(&machine).map_err(unusable)?;
        Ok(Some(Stored { manifest, config, path }))
    }

    /// See [`crate::ContainerRuntime::images`].
    pub(crate) async fn list(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        let request = self.client.request(ListImagesRequest::default());
        let response = self.client.answer(QUICK, self.client.images().list(request)).await;
        let records = response.map_err(|f| self.client.error("listing images", f))?.images;
        let mut infos = Vec::with_capacity(records.len());
        for record in records {
            let digest = record.target.unwrap_or_default().digest;
            let size = match digest.parse() {
                Ok(parsed) => match self.load(&record.name, &parsed).await {
                    Ok(Some(stored)) => stored.size(),
                    // Not ours, or not for this machine: it is there, and what it weighs is not known.
                    Ok(None) | Err(RuntimeError::ImageInvalid { .. }) => 0,
                    Err(error) => return Err(error),
                },
                Err(_) => 0,
            };
            infos.push(ImageInfo { name: record.name, digest, size });
        }
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(infos)
    }

    async fn record(&self, name: &str) -> Result<Option<Record>, RuntimeError> {
        let request = self.client.request(GetImageRequest { name: name.to_owned() });
        match self.client.answer(QUICK, self.client.images().get(request)).await {
            Ok(response) => Ok(response.image),
            Err(Failure::NotFound(_)) => Ok(None),
            Err(failure) => Err(self.client.error("looking for an image", failure)),
        }
    }

    /// Fetches, checks, unpacks and records an image. What was fetched before a failure that may pass is kept for a
    /// day under the lease, for the next attempt.
    async fn pull(&self, name: &str, reference: &Reference) -> Result<ResolvedImage, RuntimeError> {
        let session = self.registries.session(reference).map_err(|error| fetch_error(name, error))?;
        let fetched = session.manifest(reference.selector()).await.map_err(|error| fetch_error(name, error))?;
        let digest = fetched.digest.clone();
        if let Some(found) = self.local(name, reference).await?
            && found.digest == digest.as_str()
        {
            return Ok(found);
        }
        tracing::info!(image = name, digest = digest.as_str(), host = session.host(), "pulling an image");
        let lease = Arc::new(Lease::take(&self.client, Some(&reference.to_string())).await?);
        let pulled = self.pull_under(&lease, name, Arc::new(session), fetched).await;
        let stored = match pulled {
            Ok(stored) => stored,
            Err(error) => {
                if error.is_permanent() {
                    lease.release(false).await?;
                } else {
                    lease.leave();
                }
                return Err(error);
            }
        };
        let recorded = self.record_as(&reference.to_string(), &stored).await;
        lease.release(false).await?;
        let chain_id = recorded?;
        let known = self.remember(digest.as_str(), chain_id, stored.config.run);
        Ok(ResolvedImage {
            name: name.to_owned(),
            digest: digest.to_string(),
            chain_id: known.chain_id,
            config: known.config,
        })
    }

    async fn pull_under(
        &self,
        lease: &Arc<Lease>,
        name: &str,
        session: Arc<Session>,
        fetched: FetchedManifest,
    ) -> Result<Stored, RuntimeError> {
        let unusable = |InvalidImage(detail)| RuntimeError::ImageInvalid { image: name.to_owned(), detail };
        let machine = host_platform();
        let (mut path, mut fetched) = (Vec::new(), fetched);
        let manifest = loop {
            let document = Document::parse(&fetched.bytes, fetched.media_type.as_deref()).map_err(unusable)?;
            let media_type = media_type(&document).to_owned();
            lease.client().write_blob(fetched.digest.as_str(), &fetched.bytes).await?;
            path.push(Descriptor { media_type, digest: fetched.digest, size: fetched.bytes.len() as u64 });
            match document {
                Document::Manifest(manifest) => break manifest,
                Document::Index(entries) => {
                    check_depth(path.len()).map_err(unusable)?;
                    let chosen = choose(&entries, &machine).map_err(unusable)?;
                    let next = session.manifest(chosen.descriptor.digest.as_str()).await;
                    fetched = next.map_err(|error| fetch_error(name, error))?;
                }
            }
        };
        fetch_blob(&self.blobs, lease, name, &session, &manifest.config).await?;
        let bytes = self.client.read_blob(manifest.config.digest.as_str(), CONFIG_BYTES_MAX).await?;
        let bytes = bytes.ok_or_else(|| RuntimeError::other("reading an image's config", "it has vanished"))?;
        let config = Config::parse(&bytes, manifest.layers.len()).map_err(unusable)?;
        config.check_platform(&machine).map_err(unusable)?;

        let chain = chain_ids(&config.diff_ids);
        // Stacks that are unpacked already need no layers, and neither do those below them.
        let mut unpacked = 0;
        for (index, chain_id) in chain.iter().enumerate().rev() {
            if self.snapshots.exists_under(lease, chain_id.as_str()).await? {
                unpacked = index + 1;
                break;
            }
        }
        // Layers arrive side by side and are unpacked one after another as they do; all are fetched, also those that
        // need no unpacking, so that the image in the store is whole.
        let slots = Arc::new(tokio::sync::Semaphore::new(self.registries.patience().layers_at_once.max(1)));
        let fetches: Vec<_> = manifest
            .layers
            .iter()
            .map(|layer| {
                let (slots, session, layer) = (slots.clone(), session.clone(), layer.clone());
                let (blobs, lease, name) = (self.blobs.clone(), lease.clone(), name.to_owned());
                AbortOnDropHandle::new(tokio::spawn(async move {
                    // The semaphore is never closed.
                    let _slot = slots.acquire_owned().await;
                    fetch_blob(&blobs, &lease, &name, &session, &layer).await
                }))
            })
            .collect();
        let mut parent = String::new();
        for (index, fetch) in fetches.into_iter().enumerate() {
            fetch.await.map_err(|error| RuntimeError::other("fetching a layer", error))??;
            if index >= unpacked {
                let (layer, diff_id) = (&manifest.layers[index], &config.diff_ids[index]);
                self.snapshots.unpack(lease, name, layer, diff_id, &parent, &chain[index]).await?;
            }
            parent = chain[index].to_string();
        }
        Ok(Stored { manifest, config, path })
    }

    /// Ties an image's blobs together so that they stay while the name does, and gives it the name. Gives the name of
    /// its top snapshot.
    pub(crate) async fn record_as(&self, name: &str, stored: &Stored) -> Result<String, RuntimeError> {
        let chain = chain_ids(&stored.config.diff_ids);
        let chain_id = chain.last().map(Digest::to_string).unwrap_or_default();
        let reference = |name: String| format!("containerd.io/gc.ref.content.{name}");
        for pair in stored.path.windows(2) {
            let labels = HashMap::from([(reference("m.0".into()), pair[1].digest.to_string())]);
            self.client.label_blob(pair[0].digest.as_str(), labels).await?;
        }
        let mut labels = HashMap::from([(reference("config".into()), stored.manifest.config.digest.to_string())]);
        for (index, layer) in stored.manifest.layers.iter().enumerate() {
            labels.insert(reference(format!("l.{index}")), layer.digest.to_string());
        }
        let (Some(top), Some(manifest)) = (stored.path.first(), stored.path.last()) else {
            return Err(RuntimeError::other("recording an image", "it has no manifest"));
        };
        self.client.label_blob(manifest.digest.as_str(), labels).await?;
        self.keep_snapshot(&stored.manifest.config.digest, &chain_id).await?;

        let record = Record { name: name.to_owned(), target: Some(wire(top)), ..Record::default() };
        let request = self.client.request(CreateImageRequest { image: Some(record.clone()), ..Default::default() });
        match self.client.answer(QUICK, self.client.images().create(request)).await {
            Ok(_) => {}
            Err(Failure::AlreadyExists) => {
                let update_mask = Some(prost_types::FieldMask { paths: vec!["target".into()] });
                let request =
                    self.client.request(UpdateImageRequest { image: Some(record), update_mask, ..Default::default() });
                self.client
                    .answer(QUICK, self.client.images().update(request))
                    .await
                    .map_err(|f| self.client.error("recording an image", f))?;
            }
            Err(failure) => return Err(self.client.error("recording an image", failure)),
        }
        Ok(chain_id)
    }

    /// Keeps the unpacked layers as long as the config.
    async fn keep_snapshot(&self, config: &Digest, chain_id: &str) -> Result<(), RuntimeError> {
        if chain_id.is_empty() {
            return Ok(());
        }
        let key = format!("containerd.io/gc.ref.snapshot.{}", self.snapshots.snapshotter);
        self.client.label_blob(config.as_str(), HashMap::from([(key, chain_id.to_owned())])).await
    }
}

/// Brings one blob into the store, going on where an earlier attempt broke off. containerd checks digest and size
/// before the blob becomes visible.
async fn fetch_blob(
    locks: &KeyedLocks,
    lease: &Lease,
    image: &str,
    session: &Session,
    blob: &Descriptor,
) -> Result<(), RuntimeError> {
    let client = lease.client();
    let _lock = locks.lock(blob.digest.as_str()).await;
    // Kept before it is looked for: between a look and the keeping, containerd could collect it.
    lease.keep("content", blob.digest.as_str()).await?;
    match client.blob_size(blob.digest.as_str()).await? {
        Some(size) if size == blob.size => return Ok(()),
        Some(size) => return Err(wrong_size(image, blob, &format!("{size}"))),
        None => {}
    }
    let reference = format!("orlop-{}", blob.digest);
    let mut failures = 0;
    loop {
        let failure = match fetch_blob_once(client, &reference, image, session, blob).await {
            Ok(()) => return Ok(()),
            Err(BlobError::Final(error)) => return Err(error),
            Err(BlobError::Fetch(FetchError::Transient(detail, wait))) => (detail, wait),
            Err(BlobError::Fetch(error)) => return Err(fetch_error(image, error)),
        };
        failures += 1;
        if failures >= session.attempts() {
            return Err(fetch_error(image, FetchError::Transient(session.given_up(&failure.0), None)));
        }
        tracing::debug!(image, blob = blob.digest.as_str(), detail = failure.0, "a blob broke off; going on");
        tokio::time::sleep(session.pause(failures, failure.1)).await;
    }
}

enum BlobError {
    Final(RuntimeError),
    Fetch(FetchError),
}

async fn fetch_blob_once(
    client: &Client,
    reference: &str,
    image: &str,
    session: &Session,
    blob: &Descriptor,
) -> Result<(), BlobError> {
    let failed = |failure: Failure| match failure {
        // Another process pulls the same.
        Failure::Locked => BlobError::Fetch(FetchError::Transient("somebody else is writing the blob".into(), None)),
        Failure::Precondition(detail) => {
            let detail = format!("the registry sent wrong bytes for {}: {detail}", blob.digest);
            BlobError::Final(RuntimeError::ImageInvalid { image: image.to_owned(), detail })
        }
        failure => BlobError::Final(client.error("writing a blob", failure)),
    };
    let opened = Ingest::open(client, reference, Some(blob.digest.as_str()), Some(blob.size)).await;
    let Some(mut ingest) = opened.map_err(failed)? else { return Ok(()) };
    if ingest.offset() < blob.size || blob.size == 0 {
        let (mut response, begins) = session.blob(&blob.digest, ingest.offset()).await.map_err(BlobError::Fetch)?;
        // A registry that does not know ranges begins at 0: what we have is passed over.
        let mut skip = ingest.offset() - begins;
        let mut gathered = BytesMut::new();
        let mut received = begins;
        loop {
            let chunk = response.chunk().await.map_err(|error| BlobError::Fetch(session.body_error(&error)));
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    // What came so far is kept for the next attempt.
                    if !gathered.is_empty() {
                        ingest.write(gathered.split().freeze()).await.map_err(failed)?;
                    }
                    return Err(error);
                }
            };
            let Some(mut chunk) = chunk else { break };
            received += chunk.len() as u64;
            if received > blob.size {
                client.abort_ingest(reference).await;
                return Err(BlobError::Final(wrong_size(image, blob, "more")));
            }
            let passed = skip.min(chunk.len() as u64);
            skip -= passed;
            bytes::Buf::advance(&mut chunk, usize::try_from(passed).unwrap_or(usize::MAX));
            gathered.extend_from_slice(&chunk);
            while gathered.len() >= WRITE_BYTES {
                ingest.write(gathered.split_to(WRITE_BYTES).freeze()).await.map_err(failed)?;
            }
        }
        if !gathered.is_empty() {
            ingest.write(gathered.freeze()).await.map_err(failed)?;
        }
        if received < blob.size {
            let detail = format!("{} ended after {received} of {} bytes", session.host(), blob.size);
            return Err(BlobError::Fetch(FetchError::Transient(detail, None)));
        }
    }
    ingest.commit().await.map_err(failed)
}

fn wrong_size(image: &str, blob: &Descriptor, found: &str) -> RuntimeError {
    let detail = format!("{} should have {} bytes and has {found}", blob.digest, blob.size);
    RuntimeError::ImageInvalid { image: image.to_owned(), detail }
}

fn fetch_error(image: &str, error: FetchError) -> RuntimeError {
    let image = image.to_owned();
    match error {
        FetchError::NotFound(detail) => RuntimeError::ImageNotFound { image, detail },
        FetchError::Unauthorized(detail) => RuntimeError::ImageUnauthorized { image, detail },
        FetchError::Invalid(detail) => RuntimeError::ImageInvalid { image, detail },
        FetchError::Transient(detail, _) | FetchError::Permanent(detail) => {
            RuntimeError::ImageUnavailable { image, detail }
        }
    }
}

fn media_type(document: &Document) -> &'static str {
    match document {
        Document::Manifest(_) => OCI_MANIFEST,
        Document::Index(_) => OCI_INDEX,
    }
}

/// An index may lead to another; a longer chain has no honest use.
fn check_depth(documents: usize) -> Result<(), InvalidImage> {
    if documents < 3 { Ok(()) } else { Err(InvalidImage("its indexes lead to more indexes".into())) }
}
