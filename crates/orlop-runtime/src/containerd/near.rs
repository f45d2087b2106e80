//! Images by name: forgetting one, and what there is instead of one that is not there.

use super::client::{Failure, PROCESS, QUICK};
use super::images::Images;
use crate::RuntimeError;
use containerd_client::services::v1::{DeleteImageRequest, ListImagesRequest};
use orlop_model::similar::distance;

/// More would not be read.
const NEAR_MAX: usize = 3;

impl Images {
    /// See [`crate::ContainerRuntime::remove_image`].
    pub(super) async fn remove(&self, name: &str) -> Result<bool, RuntimeError> {
        // The record alone: containerd collects what it held together by itself.
        let request = self.client.request(DeleteImageRequest { name: name.to_owned(), ..Default::default() });
        match self.client.answer(PROCESS, self.client.images().delete(request)).await {
            Ok(_) => Ok(true),
            Err(Failure::NotFound(_)) => Ok(false),
            Err(failure) => Err(self.client.error("removing an image", failure)),
        }
    }

    /// The names of the node's images that may have been meant, three at most.
    pub(super) async fn near(&self, wanted: &str) -> Result<Vec<String>, RuntimeError> {
        let request = self.client.request(ListImagesRequest::default());
        let response = self.client.answer(QUICK, self.client.images().list(request)).await;
        let records = response.map_err(|f| self.client.error("listing images", f))?.images;
        Ok(nearest(wanted, records.into_iter().map(|record| record.name)))
    }
}

/// The names that differ by a few letters, or only in host and tag; the nearest first.
fn nearest(wanted: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let near = |name: String| {
        let slips = distance(wanted, &name);
        (slips <= 1 + wanted.len() / 6 || repository(&name) == repository(wanted)).then_some((slips, name))
    };
    let mut near: Vec<(usize, String)> = names.filter_map(near).collect();
    near.sort();
    near.into_iter().take(NEAR_MAX).map(|(_, name)| name).collect()
}

/// An image's name without host and tag.
fn repository(name: &str) -> &str {
    let path = name.split_once('/').map_or(name, |(_, path)| path);
    path.split(['@', ':']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn another_tag_another_host_and_a_slip_are_near() {
        let names = ["localhost/hello:1", "localhost/hello:2", "registry.example/hello:7", "localhost/busybox:1"];
        let near = |wanted| nearest(wanted, names.iter().map(|name| (*name).to_owned()));
        assert_eq!(near("localhost/hello:3"), ["localhost/hello:1", "localhost/hello:2", "registry.example/hello:7"]);
        assert_eq!(near("localhost/helo:2"), ["localhost/hello:2", "localhost/hello:1"]);
        assert_eq!(near("localhost/postgres:16"), [] as [&str; 0]);
    }
}
