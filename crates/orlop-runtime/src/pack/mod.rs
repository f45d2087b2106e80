//! Packs files into an image: for programs that need nothing but themselves, no other tool is wanted.
//!
//! The same input makes the same bytes, whoever packs it and when: times are zero, owners are root unless said otherwise,
//! entries are sorted, and modes come from what is asked for rather than from a umask. The result is an OCI image layout
//! in a tar, as `orlopctl image import`, containerd, podman and docker read it; or, for a registry, its blobs.

mod document;
mod layer;

use document::{Descriptor, ImageFile, Index, Manifest};
use layer::{Kind, append, check_interpreter, layer, tree};
use oci_spec::distribution::Reference;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What an image is made of. Everything but `name` and the layers may stay empty.
#[derive(Debug, Clone, Default)]
pub struct PackOptions {
    /// With host, repository and tag: `localhost/hello:0.1`.
    pub name: String,
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// Arguments that a deployment may replace.
    pub cmd: Vec<String>,
    /// Variables in their order.
    pub env: Vec<(String, String)>,
    /// Where the program starts.
    pub working_dir: Option<String>,
    /// Whom the program runs as.
    pub user: Option<String>,
    /// `8080/tcp`.
    pub exposed_ports: Vec<String>,
    /// Free words about the image.
    pub labels: BTreeMap<String, String>,
    /// `SIGTERM`.
    pub stop_signal: Option<String>,
    /// The layers, the lowest first.
    pub layers: Vec<Vec<Entry>>,
    /// How layers are compressed.
    pub compression: Compression,
}

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Read by everything.
    #[default]
    Gzip,
    /// Smaller and faster; read by containerd from 1.5 on.
    Zstd,
    /// Not at all.
    None,
}

/// Something in a layer. Directories on the way to it are made with mode 755 unless they are entries themselves.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where in the image; absolute.
    pub target: String,
    /// Permission bits; without, 755 for directories and executable sources, 644 for other files.
    pub mode: Option<u32>,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
    /// What is there.
    pub content: Content,
}

/// What an entry is.
#[derive(Debug, Clone)]
pub enum Content {
    /// A file of this machine, or a directory with everything below it (`mode` then goes for the directory alone).
    Path(PathBuf),
    /// A file with these bytes.
    Bytes(Vec<u8>),
    /// An empty directory.
    Directory,
    /// A symbolic link to this text.
    Symlink(String),
}

impl Entry {
    /// An entry that root owns.
    pub fn new(target: impl Into<String>, content: Content) -> Entry {
        Entry { target: target.into(), mode: None, uid: 0, gid: 0, content }
    }

    /// A file or directory tree of this machine.
    pub fn path(source: impl Into<PathBuf>, target: impl Into<String>) -> Entry {
        Entry::new(target, Content::Path(source.into()))
    }

    /// A file with these bytes.
    pub fn bytes(target: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Entry {
        Entry::new(target, Content::Bytes(bytes.into()))
    }

    /// An empty directory.
    pub fn directory(target: impl Into<String>) -> Entry {
        Entry::new(target, Content::Directory)
    }

    /// A symbolic link at `target` to `to`.
    pub fn symlink(target: impl Into<String>, to: impl Into<String>) -> Entry {
        Entry::new(target, Content::Symlink(to.into()))
    }

    /// With these permission bits: `0o1777`.
    pub fn mode(mut self, mode: u32) -> Entry {
        self.mode = Some(mode);
        self
    }

    /// With this owner and group.
    pub fn owner(mut self, uid: u64, gid: u64) -> Entry {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// Reads `SOURCE:TARGET` or `SOURCE:TARGET:MODE` with an octal mode, as a command line gives it.
    pub fn parse(text: &str) -> Result<Entry, PackError> {
        let invalid = || PackError::Argument { found: text.to_owned() };
        let (source, rest) = text.split_once(':').filter(|(source, _)| !source.is_empty()).ok_or_else(invalid)?;
        let (target, mode) = match rest.split_once(':') {
            Some((target, mode)) => {
                let mode = u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(invalid)?;
                (target, Some(mode))
            }
            None => (rest, None),
        };
        Ok(Entry { mode, ..Entry::path(source, target) })
    }
}

/// One static program that goes by many names, as busybox does: the program, and a link for each name in its directory.
pub fn multi_call(source: impl Into<PathBuf>, target: &str, names: &[&str]) -> Vec<Entry> {
    let (directory, own_name) = target.rsplit_once('/').unwrap_or(("", target));
    let links = names.iter().filter(|name| **name != own_name);
    let mut entries = vec![Entry::path(source, target).mode(0o755)];
    entries.extend(links.map(|name| Entry::symlink(format!("{directory}/{name}"), own_name)));
    entries
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A name that would not mean the same everywhere.
    #[error("{found:?} does not name an image: expected host, repository and tag, as in localhost/hello:0.1")]
    Name {
        /// The name.
        found: String,
    },
    /// A target that is not absolute, or leaves the image.
    #[error("{found:?} is not a place in an image: expected an absolute path without . and ..")]
    Target {
        /// The target.
        found: String,
    },
    /// Two entries for one place in one layer.
    #[error("two files for {target} in one layer: leave one out")]
    Twice {
        /// The place.
        target: String,
    },
    /// An entry below something that is no directory.
    #[error("{target} cannot be below {file}, which is not a directory")]
    BelowFile {
        /// The entry.
        target: String,
        /// What is above it.
        file: String,
    },
    /// An argument that cannot be read.
    #[error("{found:?} is not SOURCE:TARGET or SOURCE:TARGET:MODE (an octal mode such as 755)")]
    Argument {
        /// The argument.
        found: String,
    },
    /// A program that is not static and lacks its loader.
    #[error(
        "{program} is dynamically linked and needs {interpreter}, which is not in the image: link it statically (for Rust: \
         -C target-feature=+crt-static), or add the loader and its libraries"
    )]
    Interpreter {
        /// The program.
        program: String,
        /// The dynamic loader that it asks for.
        interpreter: String,
    },
    /// A source that cannot be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The source.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A source that is neither file, directory nor link.
    #[error("{} is neither a file, a directory nor a symbolic link: an image cannot hold it", path.display())]
    Kind {
        /// The source.
        path: PathBuf,
    },
    /// The image cannot be written.
    #[error("could not write the image")]
    Write(#[source] io::Error),
}

/// A piece of an image, found by the digest of its bytes.
#[derive(Debug, Clone)]
pub struct Blob {
    /// What it is.
    pub media_type: &'static str,
    /// `sha256:…`.
    pub digest: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Blob {
        Blob { media_type, digest: digest(&bytes), bytes }
    }

    fn descriptor(&self) -> Descriptor<'_> {
        Descriptor {
            media_type: self.media_type,
            digest: &self.digest,
            size: self.bytes.len(),
            annotations: BTreeMap::new(),
        }
    }
}

/// An image in memory.
#[derive(Debug, Clone)]
pub struct PackedImage {
    /// As in the options.
    pub name: String,
    /// Its digest is the image's.
    pub manifest: Blob,
    /// Entrypoint, environment and so on.
    pub config: Blob,
    /// The layers, the lowest first.
    pub layers: Vec<Blob>,
}

/// Makes an image of files.
pub fn pack(options: &PackOptions) -> Result<PackedImage, PackError> {
    let invalid = || PackError::Name { found: options.name.clone() };
    let reference: Reference = options.name.parse().map_err(|_| invalid())?;
    // What the parser would have assumed, the deployment's file must not leave open either.
    if reference.whole() != options.name || reference.tag().is_none() || reference.digest().is_some() {
        return Err(invalid());
    }
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    let trees = options.layers.iter().map(|entries| tree(entries)).collect::<Result<Vec<_>, _>>()?;
    if let Some(program) = options.entrypoint.first().or(options.cmd.first()) {
        check_interpreter(&trees, program)?;
    }
    for tree in &trees {
        let tar = layer(tree)?;
        diff_ids.push(digest(&tar));
        layers.push(match options.compression {
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(&tar).map_err(PackError::Write)?;
                let bytes = encoder.finish().map_err(PackError::Write)?;
                Blob::new("application/vnd.oci.image.layer.v1.tar+gzip", bytes)
            }
            Compression::Zstd => {
                let bytes = zstd::encode_all(tar.as_slice(), 3).map_err(PackError::Write)?;
                Blob::new("application/vnd.oci.image.layer.v1.tar+zstd", bytes)
            }
            Compression::None => Blob::new("application/vnd.oci.image.layer.v1.tar", tar),
        });
    }
    let config = Blob::new(CONFIG, json(&ImageFile::new(options, &diff_ids))?);
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST,
        config: config.descriptor(),
        layers: layers.iter().map(Blob::descriptor).collect(),
    };
    let manifest = Blob::new(MANIFEST, json(&manifest)?);
    Ok(PackedImage { name: options.name.clone(), manifest, config, layers })
}

impl PackedImage {
    /// Writes an OCI image layout as a tar.
    pub fn write_archive(&self, out: impl Write) -> Result<(), PackError> {
        let mut manifest = self.manifest.descriptor();
        // The first is what containerd and its relatives look at, the second what the OCI says.
        manifest.annotations.insert("io.containerd.image.name", &self.name);
        manifest.annotations.insert("org.opencontainers.image.ref.name", &self.name);
        let index = json(&Index { schema_version: 2, media_type: INDEX, manifests: vec![manifest] })?;
        let mut tar = tar::Builder::new(out);
        let mut add = |path: &str, bytes: &[u8]| append(&mut tar, path, 0o644, (0, 0), Kind::File(bytes));
        add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        add("index.json", &index)?;
        let mut blobs: BTreeMap<&str, &[u8]> = BTreeMap::new();
        for blob in self.layers.iter().chain([&self.config, &self.manifest]) {
            blobs.insert(blob.digest.trim_start_matches("sha256:"), &blob.bytes);
        }
        for (digest, bytes) in blobs {
            add(&format!("blobs/sha256/{digest}"), bytes)?;
        }
        tar.into_inner().and_then(|mut out| out.flush()).map_err(PackError::Write)
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, PackError> {
    serde_json::to_vec(value).map_err(|error| PackError::Write(error.into()))
}

#[cfg(test)]
mod tests;
