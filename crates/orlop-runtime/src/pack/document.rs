//! The documents of the image format, with their fields in a fixed order: the digest depends on it.

use super::PackOptions;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor<'a> {
    pub(super) media_type: &'a str,
    pub(super) digest: &'a str,
    pub(super) size: usize,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest<'a> {
    pub(super) schema_version: u8,
    pub(super) media_type: &'a str,
    pub(super) config: Descriptor<'a>,
    pub(super) layers: Vec<Descriptor<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index<'a> {
    pub(super) schema_version: u8,
    pub(super) media_type: &'a str,
    pub(super) manifests: Vec<Descriptor<'a>>,
}

#[derive(Serialize)]
pub(super) struct ImageFile<'a> {
    architecture: &'static str,
    os: &'static str,
    pub(super) config: RunConfig<'a>,
    rootfs: RootFs<'a>,
}

#[derive(Serialize)]
pub(super) struct RootFs<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RunConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: &'a Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: BTreeMap<&'a str, Nothing>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    entrypoint: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    cmd: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: &'a Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: &'a Option<String>,
}

#[derive(Serialize)]
pub(super) struct Nothing {}

impl<'a> ImageFile<'a> {
    pub(super) fn new(options: &'a PackOptions, diff_ids: &'a [String]) -> Self {
        Self {
            // The image format's words, which are Go's.
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
            os: "linux",
            config: RunConfig {
                user: &options.user,
                exposed_ports: options.exposed_ports.iter().map(|port| (port.as_str(), Nothing {})).collect(),
                env: options.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
                entrypoint: &options.entrypoint,
                cmd: &options.cmd,
                working_dir: &options.working_dir,
                labels: &options.labels,
                stop_signal: &options.stop_signal,
            },
            rootfs: RootFs { kind: "layers", diff_ids },
        }
    }
}
