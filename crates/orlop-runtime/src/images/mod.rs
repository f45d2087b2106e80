//! Images: what registries and archives hold, checked before it is believed. Storing and unpacking is the runtime's.

pub(crate) mod archive;
pub(crate) mod challenge;
pub(crate) mod credentials;
pub(crate) mod manifest;
pub mod reference;
pub(crate) mod registry;

pub use reference::{Digest, InvalidReference, Reference};

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// Where images come from and how registries are talked to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryConfig {
    /// `host` or `host:port` of registries that are spoken to over plain http. Nothing is listed by itself, loopback
    /// addresses neither.
    pub insecure_registries: BTreeSet<String>,
    /// PEM files with certificate authorities to trust beside the system's, by `host` or `host:port`.
    pub ca_files: BTreeMap<String, PathBuf>,
    /// A docker `config.json` with credentials; read anew for each pull. A missing file is one without credentials.
    pub credentials_file: Option<PathBuf>,
    /// How patient a pull is.
    pub patience: Patience,
}

/// How patient a pull is with a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For opening a connection.
    pub connect: Duration,
    /// Without a byte for so long, a transfer has failed.
    pub idle: Duration,
    /// For a whole manifest or token, which are small.
    pub document: Duration,
    /// How often one request is made in all when it fails in a way that may pass. At least 1.
    pub attempts: u32,
    /// Before the second attempt; doubles for each further one. A registry's `Retry-After` counts up to 30 s.
    pub backoff: Duration,
    /// Layers of one image fetched at once. At least 1.
    pub layers_at_once: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            document: Duration::from_secs(60),
            attempts: 5,
            backoff: Duration::from_millis(300),
            layers_at_once: 4,
        }
    }
}
