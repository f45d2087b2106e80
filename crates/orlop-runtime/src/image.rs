//! What callers say and hear about images.

use std::sync::Arc;

/// An image that is on the node, unpacked, ready for containers. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedImage {
    /// The name it was asked for by.
    pub name: String,
    /// Of the manifest that the name stood for (`sha256:…`): the index where there is one.
    pub digest: String,
    /// Identifies the stack of unpacked layers; the snapshot to build on. Empty for an image without layers.
    pub chain_id: String,
    /// What the image says about how to run it.
    pub config: Arc<ImageConfig>,
}

/// What an image says about how to run it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageConfig {
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// Default arguments, or the program where there is no entrypoint.
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Empty for `/`.
    pub working_dir: String,
    /// `user`, `uid`, `user:group`, `uid:gid`; empty for root.
    pub user: String,
    /// The signal that the image wants to be stopped with.
    pub stop_signal: Option<String>,
}

/// An image in the node's store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Full reference.
    pub name: String,
    /// Of its manifest or index (`sha256:…`).
    pub digest: String,
    /// Compressed, in bytes: manifest, config and layers of this machine's variant.
    pub size: u64,
}
