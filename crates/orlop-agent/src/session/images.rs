//! Image archives in, image lists out, images away.

use super::{HungUp, Incoming, Outgoing, Sessions};
use bytes::Bytes;
use futures::stream;
use orlop_proto::node::v1 as pb;
use orlop_proto::node::v1::session_frame::Frame;
use orlop_runtime::{ImageInfo, RuntimeError};
use std::io;
use tokio_util::io::StreamReader;

impl Sessions {
    pub(super) async fn import(
        &self,
        start: pb::ImageImportStart,
        incoming: Incoming,
        outgoing: &Outgoing,
    ) -> Result<(), HungUp> {
        // An archive whose sender goes away is broken off, not finished: an error, never an end.
        let chunks = stream::unfold(Some(incoming), async |incoming| {
            let mut incoming = incoming?;
            match incoming.next().await {
                Some(Frame::Input(data)) if data.is_empty() => None,
                Some(Frame::Input(data)) => Some((Ok(Bytes::from(data)), Some(incoming))),
                _ => Some((Err(io::Error::from(io::ErrorKind::ConnectionAborted)), None)),
            }
        });
        let archive = Box::new(StreamReader::new(Box::pin(chunks)));
        let name = Some(start.name.as_str()).filter(|name| !name.is_empty());
        match self.runtime.import(archive, name).await {
            Ok(images) => outgoing.send(listed(images)).await,
            Err(error) => outgoing.fail_with(&error).await,
        }
    }

    pub(super) async fn list_images(&self, outgoing: &Outgoing) -> Result<(), HungUp> {
        match self.runtime.images().await {
            Ok(images) => outgoing.send(listed(images)).await,
            Err(error) => outgoing.fail_with(&error).await,
        }
    }

    pub(super) async fn remove_images(&self, start: pb::ImageRemoveStart, outgoing: &Outgoing) -> Result<(), HungUp> {
        let removing = async {
            let mut removed: Vec<ImageInfo> = self.runtime.images().await?;
            removed.retain(|image| start.names.contains(&image.name));
            for image in &removed {
                self.runtime.remove_image(&image.name).await?;
                tracing::info!(image = image.name, "removed an image, as asked");
            }
            Ok::<_, RuntimeError>(removed)
        };
        match removing.await {
            Ok(removed) => outgoing.send(listed(removed)).await,
            Err(error) => outgoing.fail_with(&error).await,
        }
    }
}

fn listed(images: Vec<ImageInfo>) -> Frame {
    let wire = |image: ImageInfo| pb::ImageInfo {
        name: image.name,
        digest: image.digest,
        size: image.size,
        node: String::new(),
    };
    Frame::Images(pb::ImageList { images: images.into_iter().map(wire).collect() })
}
