//! What registries and archives say an image is made of: parsed strictly, in bounds, before anything is fetched.

use super::reference::Digest;
use crate::image::ImageConfig;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A manifest or index of more bytes is refused.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// An image config of more bytes is refused.
pub(crate) const CONFIG_BYTES_MAX: u64 = 8 << 20;
/// An image of more layers is refused (overlayfs takes 500 at best, other tools stop at 127).
const LAYERS_MAX: usize = 256;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Why a manifest, an index or a config cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvalidImage(pub(crate) String);

fn invalid(text: impl Into<String>) -> InvalidImage {
    InvalidImage(text.into())
}

/// A reference to a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// One entry of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) descriptor: Descriptor,
    pub(crate) platform: Option<Platform>,
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Platform {
    pub(crate) os: String,
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) variant: String,
}

/// What a name can stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Vec<IndexEntry>),
}

/// An image for one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// What a config says: how to run it, and the digests of the unpacked layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) platform: Platform,
    pub(crate) run: ImageConfig,
    pub(crate) diff_ids: Vec<Digest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDescriptor {
    media_type: String,
    digest: String,
    size: i64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDocument {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<WireDescriptor>,
    layers: Option<Vec<WireDescriptor>>,
    manifests: Option<Vec<WireDescriptor>>,
}

impl WireDescriptor {
    fn descriptor(&self) -> Result<Descriptor, InvalidImage> {
        Ok(Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest.parse().map_err(|error| invalid(format!("{error}")))?,
            size: u64::try_from(self.size).map_err(|_| invalid(format!("{} has a negative size", self.digest)))?,
        })
    }
}

impl Document {
    /// Reads a manifest or an index. `media_type` is what the carrier said it is, where it said so.
    pub(crate) fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Document, InvalidImage> {
        let wire: WireDocument =
            serde_json::from_slice(bytes).map_err(|error| invalid(format!("its manifest cannot be read: {error}")))?;
        if wire.schema_version == Some(1) {
            return Err(invalid(
                "its manifest has schema version 1, which is long obsolete: push it again with a newer tool",
            ));
        }
        let said = wire.media_type.as_deref().or(media_type).map(|said| said.split(';').next().unwrap_or(said).trim());
        match said {
            Some(OCI_MANIFEST | DOCKER_MANIFEST | OCI_INDEX | DOCKER_LIST | "" | "application/json") | None => {}
            Some(other) => return Err(invalid(format!("its manifest has the unknown media type {other:?}"))),
        }
        match (wire.manifests, wire.config, wire.layers) {
            (Some(manifests), None, None) => Ok(Document::Index(
                manifests
                    .into_iter()
                    .map(|entry| {
                        let descriptor = entry.descriptor()?;
                        Ok(IndexEntry {
                            descriptor,
                            platform: entry.platform,
                            annotations: entry.annotations.unwrap_or_default(),
                        })
                    })
                    .collect::<Result<_, _>>()?,
            )),
            (None, Some(config), Some(layers)) => Manifest::new(config.descriptor()?, &layers).map(Document::Manifest),
            _ => Err(invalid("its manifest is neither one image (config, layers) nor an index (manifests)")),
        }
    }
}

impl Manifest {
    fn new(config: Descriptor, layers: &[WireDescriptor]) -> Result<Manifest, InvalidImage> {
        match config.media_type.as_str() {
            OCI_CONFIG | "application/vnd.docker.container.image.v1+json" => {}
            other => {
                return Err(invalid(format!("it is not a container image: its config has the media type {other:?}")));
            }
        }
        if config.size > CONFIG_BYTES_MAX {
            return Err(invalid(format!(
                "its config has {} bytes, at most {CONFIG_BYTES_MAX} are allowed",
                config.size
            )));
        }
        if layers.len() > LAYERS_MAX {
            return Err(invalid(format!("it has {} layers, at most {LAYERS_MAX} are allowed", layers.len())));
        }
        let layers = layers.iter().map(|layer| usable_layer(layer.descriptor()?)).collect::<Result<_, _>>()?;
        Ok(Manifest { config, layers })
    }

    /// Compressed bytes of config and layers.
    pub(crate) fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).fold(self.config.size, u64::saturating_add)
    }
}

/// Layers are known by many media types and few formats; containerd is told the OCI name.
fn usable_layer(layer: Descriptor) -> Result<Descriptor, InvalidImage> {
    let suffix = match layer.media_type.as_str() {
        OCI_LAYER | "application/vnd.docker.image.rootfs.diff.tar" => "",
        "application/vnd.oci.image.layer.v1.tar+gzip" | "application/vnd.docker.image.rootfs.diff.tar.gzip" => "+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd" | "application/vnd.docker.image.rootfs.diff.tar.zstd" => "+zstd",
        other if other.contains("nondistributable") || other.contains("foreign") => {
            return Err(invalid(format!("its layer {} may not be distributed by registries ({other})", layer.digest)));
        }
        other => return Err(invalid(format!("its layer {} has the unknown media type {other:?}", layer.digest))),
    };
    Ok(Descriptor { media_type: format!("{OCI_LAYER}{suffix}"), ..layer })
}

/// This machine, in the words of images.
pub(crate) fn host_platform() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "riscv64" => "riscv64",
        other => other,
    };
    let variant = if architecture == "arm64" { "v8" } else { "" };
    Platform { os: "linux".into(), architecture: architecture.into(), variant: variant.into() }
}

impl Platform {
    /// How well an image for `self` suits a machine; smaller is better, `None` not at all.
    fn distance(&self, machine: &Platform) -> Option<u8> {
        if self.os != machine.os || self.architecture != machine.architecture {
            return None;
        }
        match (self.variant.as_str(), machine.variant.as_str()) {
            (ours, theirs) if ours == theirs => Some(0),
            ("", _) => Some(1),
            // The first level of the architecture, which every machine of it has.
            ("v1" | "v8", _) => Some(2),
            // A level that the machine may not have (amd64 v3).
            _ => None,
        }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

/// The entry of an index for this machine. An entry that does not name its platform serves when nothing better does.
pub(crate) fn choose<'a>(entries: &'a [IndexEntry], machine: &Platform) -> Result<&'a IndexEntry, InvalidImage> {
    entries
        .iter()
        .filter(|e| {
            matches!(e.descriptor.media_type.as_str(), OCI_MANIFEST | DOCKER_MANIFEST | OCI_INDEX | DOCKER_LIST)
        })
        .filter_map(|e| e.platform.as_ref().map_or(Some(10), |p| p.distance(machine)).map(|distance| (distance, e)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, entry)| entry)
        .ok_or_else(|| {
            let mut has: Vec<_> =
                entries.iter().filter_map(|e| e.platform.as_ref()).map(|p| p.to_string()).take(20).collect();
            has.dedup();
            let has = if has.is_empty() { "nothing".into() } else { has.join(", ") };
            invalid(format!("it has no variant for {machine}; it has {has}"))
        })
}

#[derive(Deserialize)]
struct WireConfig {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: String,
    config: Option<WireRun>,
    rootfs: WireRootfs,
}

#[derive(Deserialize)]
struct WireRootfs {
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct WireRun {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    stop_signal: Option<String>,
}

impl Config {
    /// Reads an image's config and checks that it belongs to so many layers.
    pub(crate) fn parse(bytes: &[u8], layers: usize) -> Result<Config, InvalidImage> {
        let wire: WireConfig =
            serde_json::from_slice(bytes).map_err(|error| invalid(format!("its config cannot be read: {error}")))?;
        let diff_ids = wire.rootfs.diff_ids.unwrap_or_default();
        if diff_ids.len() != layers {
            return Err(invalid(format!("its config speaks of {} layers, its manifest of {layers}", diff_ids.len())));
        }
        let diff_ids =
            diff_ids.iter().map(|id| id.parse()).collect::<Result<_, _>>().map_err(|e| invalid(format!("{e}")))?;
        let run = wire.config.unwrap_or_default();
        Ok(Config {
            platform: Platform { os: wire.os, architecture: wire.architecture, variant: wire.variant },
            run: ImageConfig {
                entrypoint: run.entrypoint.unwrap_or_default(),
                cmd: run.cmd.unwrap_or_default(),
                env: run.env.unwrap_or_default(),
                working_dir: run.working_dir.unwrap_or_default(),
                user: run.user.unwrap_or_default(),
                stop_signal: run.stop_signal.filter(|signal| !signal.is_empty()),
            },
            diff_ids,
        })
    }

    /// Is the image for this machine? One that names no platform is taken on trust.
    pub(crate) fn check_platform(&self, machine: &Platform) -> Result<(), InvalidImage> {
        let unsaid = self.platform.os.is_empty() && self.platform.architecture.is_empty();
        if unsaid || (self.platform.os == machine.os && self.platform.architecture == machine.architecture) {
            return Ok(());
        }
        Err(invalid(format!("it is for {}, this machine is {machine}", self.platform)))
    }
}

/// The name of each stack of layers, from the first to all: the first diff id, then the digest of both names.
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(platform: Option<(&str, &str, &str)>) -> IndexEntry {
        let text = format!("{platform:?}");
        IndexEntry {
            descriptor: Descriptor { media_type: OCI_MANIFEST.into(), digest: Digest::of(text.as_bytes()), size: 1 },
            platform: platform.map(|(os, architecture, variant)| Platform {
                os: os.into(),
                architecture: architecture.into(),
                variant: variant.into(),
            }),
            annotations: BTreeMap::new(),
        }
    }

    #[test]
    fn the_variant_for_the_machine_is_chosen() {
        let amd = Platform { os: "linux".into(), architecture: "amd64".into(), variant: String::new() };
        let arm = Platform { os: "linux".into(), architecture: "arm64".into(), variant: "v8".into() };
        type P = Option<(&'static str, &'static str, &'static str)>;
        let check = |machine: &Platform, entries: &[P], expected: Option<P>| {
            let entries: Vec<_> = entries.iter().map(|p| entry(*p)).collect();
            assert_eq!(choose(&entries, machine).ok().cloned(), expected.map(entry));
        };
        let (plain, v3) = (Some(("linux", "amd64", "")), Some(("linux", "amd64", "v3")));
        let (windows, arm8, arm) = (Some(("windows", "amd64", "")), Some(("linux", "arm64", "v8")), &arm);
        check(&amd, &[windows, arm8, v3, plain], Some(plain));
        check(&amd, &[None, plain], Some(plain));
        check(&amd, &[None, arm8], Some(None));
        check(&amd, &[windows, arm8, v3], None);
        check(arm, &[plain, arm8], Some(arm8));
        check(arm, &[plain, Some(("linux", "arm64", ""))], Some(Some(("linux", "arm64", ""))));
        check(&amd, &[], None);
    }

    #[test]
    fn documents_that_make_no_sense_are_refused_with_the_reason() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let config = format!(r#"{{"mediaType":"{OCI_CONFIG}","digest":"{digest}","size":2}}"#);
        let check = |json: &str, part: &str| {
            let error = Document::parse(json.as_bytes(), None).unwrap_err().0;
            assert!(error.contains(part), "{error:?} does not say {part:?}");
        };
        check("", "cannot be read");
        check("[]", "cannot be read");
        check("{}", "neither");
        check(r#"{"schemaVersion":1}"#, "schema version 1");
        check(r#"{"schemaVersion":2,"mediaType":"text/html"}"#, "text/html");
        check(&format!(r#"{{"config":{config},"layers":[],"manifests":[]}}"#), "neither");
        check(
            &format!(r#"{{"config":{config},"layers":[{{"mediaType":"x","digest":"{digest}","size":1}}]}}"#),
            "\"x\"",
        );
        check(
            &format!(r#"{{"config":{config},"layers":[{{"mediaType":"x","digest":"sha256:1","size":1}}]}}"#),
            "sha256:1",
        );
        check(&format!(r#"{{"manifests":[{{"mediaType":"x","digest":"{digest}","size":-1}}]}}"#), "negative");
        let huge = config.replace("\"size\":2", "\"size\":99999999999");
        check(&format!(r#"{{"config":{huge},"layers":[]}}"#), "99999999999");
        let chart = config.replace(OCI_CONFIG, "application/vnd.cncf.helm.config.v1+json");
        check(&format!(r#"{{"config":{chart},"layers":[]}}"#), "not a container image");
        let layer = format!(r#"{{"mediaType":"{OCI_LAYER}","digest":"{digest}","size":1}}"#);
        let many = vec![layer; 257].join(",");
        check(&format!(r#"{{"config":{config},"layers":[{many}]}}"#), "257 layers");
        assert!(Document::parse(b"{}", Some("text/html; charset=utf-8")).unwrap_err().0.contains("text/html"));
    }

    #[test]
    fn chain_ids_are_those_of_the_specification() {
        let digests: Vec<Digest> = ["a", "b", "c"].iter().map(|t| Digest::of(t.as_bytes())).collect();
        let chain = chain_ids(&digests);
        assert_eq!(chain[0], digests[0]);
        assert_eq!(chain[1], Digest::of(format!("{} {}", digests[0], digests[1]).as_bytes()));
        assert_eq!(chain[2], Digest::of(format!("{} {}", chain[1], digests[2]).as_bytes()));
        assert_eq!(chain_ids(&[]), []);
    }

    #[test]
    fn a_config_must_fit_its_manifest_and_the_machine() {
        let json = format!(
            r#"{{"architecture":"s390x","os":"linux","config":{{"Cmd":["a"],"Env":null,"User":"x"}},"rootfs":{{"diff_ids":["sha256:{}"]}}}}"#,
            "0".repeat(64)
        );
        assert!(Config::parse(json.as_bytes(), 2).unwrap_err().0.contains("1 layers, its manifest of 2"));
        let config = Config::parse(json.as_bytes(), 1).unwrap();
        assert_eq!((config.run.cmd, config.run.user), (vec!["a".to_owned()], "x".to_owned()));
        let config = Config::parse(json.as_bytes(), 1).unwrap();
        assert!(config.check_platform(&host_platform()).unwrap_err().0.contains("linux/s390x"));
    }
}
