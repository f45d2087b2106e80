//! Image archives: a tar, plain or gzip or zstd, with an OCI layout or what `docker save` writes.
//!
//! Nothing of an archive is trusted: files go nowhere but into the content store under their true digest, names in the
//! archive are only keys, and everything that is kept in memory is bounded.

use super::manifest::{
    DOCKER_LIST, DOCKER_MANIFEST, Descriptor, Document, IndexEntry, MANIFEST_BYTES_MAX, OCI_CONFIG, OCI_INDEX,
    OCI_LAYER, OCI_MANIFEST, choose, host_platform,
};
use super::reference::{Digest, Reference};
use bytes::Bytes;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{self, Read};

/// An archive of more files is refused.
const FILES_MAX: usize = 20_000;
/// Files that look like JSON and are smaller are also kept in memory, up to this many bytes in all.
const MEMORY_BYTES_MAX: usize = 32 << 20;
const CHUNK_BYTES: usize = 256 << 10;

/// Why an archive was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidArchive {
    #[error("{0}")]
    Content(String),
    #[error("it broke off: {0}")]
    Broken(String),
}

fn refuse(text: impl Into<String>) -> InvalidArchive {
    InvalidArchive::Content(text.into())
}

/// What to do with the files of an archive, in the order in which they come.
pub(crate) enum Event {
    /// A file begins; its digest, where its name says so.
    Begin { size: u64, expected: Option<Digest> },
    /// Bytes of it.
    Data(Bytes),
    /// It is complete; the true digest has to be told back.
    End,
}

/// The files of an archive by name, with their true digests and sizes.
#[derive(Debug, Default)]
pub(crate) struct Index {
    files: BTreeMap<String, (Digest, u64)>,
    small: BTreeMap<String, Vec<u8>>,
    small_bytes: usize,
}

/// One image of an archive, to be found in the content store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArchivedImage {
    pub(crate) name: String,
    pub(crate) top: Descriptor,
    /// A manifest that has to be written first (`docker save` has none of its own).
    pub(crate) manifest: Option<Vec<u8>>,
}

/// Reads a whole archive; blocks. `store` gets each file, and answers the end of one with its true digest.
pub(crate) fn read<E>(
    source: impl Read,
    mut store: impl FnMut(Event) -> Result<Option<Digest>, E>,
) -> Result<Result<Index, InvalidArchive>, E> {
    let mut index = Index::default();
    let read_all = || -> Result<Result<(), InvalidArchive>, E> {
        macro_rules! check {
            ($result:expr) => {
                match $result {
                    Ok(value) => value,
                    Err(error) => return Ok(Err(error)),
                }
            };
        }
        let broken = |error: io::Error| InvalidArchive::Broken(error.to_string());
        let mut archive = tar::Archive::new(check!(decompress(source)));
        let mut files = 0;
        for entry in check!(archive.entries().map_err(broken)) {
            let mut entry = check!(entry.map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::TimedOut => broken(error),
                _ => refuse(format!("it is no tar archive: {error}")),
            }));
            files += 1;
            if files > FILES_MAX {
                return Ok(Err(refuse(format!("it has more than {FILES_MAX} files"))));
            }
            let name = check!(file_name(&entry.path_bytes()));
            let kind = entry.header().entry_type();
            if kind.is_symlink() || kind.is_hard_link() {
                // `docker save` of old wrote equal layers once and linked to them.
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                let target = check!(link_target(&name, &target, kind.is_symlink()));
                let Some(known) = index.files.get(&target).cloned() else {
                    return Ok(Err(refuse(format!("{name} links to {target}, which does not come before it"))));
                };
                index.files.insert(name, known);
                continue;
            }
            if !kind.is_file() {
                continue;
            }
            let size = entry.size();
            let expected = check!(expected_digest(&name));
            store(Event::Begin { size, expected })?;
            let keep = size <= MANIFEST_BYTES_MAX && index.small_bytes + size as usize <= MEMORY_BYTES_MAX;
            let (mut kept, mut is_json) = (Vec::new(), true);
            let mut left = size;
            while left > 0 {
                let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(left).unwrap_or(CHUNK_BYTES))];
                let length = check!(entry.read(&mut chunk).map_err(broken));
                if length == 0 {
                    return Ok(Err(InvalidArchive::Broken(format!("{name} ends {left} bytes early"))));
                }
                chunk.truncate(length);
                if left == size {
                    is_json = chunk.iter().find(|c| !c.is_ascii_whitespace()).is_some_and(|c| matches!(c, b'{' | b'['));
                }
                if keep && is_json {
                    kept.extend_from_slice(&chunk);
                }
                left -= length as u64;
                store(Event::Data(chunk.into()))?;
            }
            if let Some(digest) = store(Event::End)? {
                if keep && is_json {
                    index.small_bytes += kept.len();
                    index.small.insert(name.clone(), kept);
                }
                index.files.insert(name, (digest, size));
            }
        }
        Ok(Ok(()))
    };
    let outcome = read_all()?;
    Ok(outcome.map(|()| index))
}

/// Looks at the first bytes and unwraps what is compressed.
fn decompress<'a>(mut source: impl Read + 'a) -> Result<Box<dyn Read + 'a>, InvalidArchive> {
    let broken = |error: io::Error| InvalidArchive::Broken(error.to_string());
    let mut magic = [0; 4];
    let mut length = 0;
    while length < magic.len() {
        match source.read(&mut magic[length..]).map_err(broken)? {
            0 => break,
            more => length += more,
        }
    }
    if length == 0 {
        return Err(refuse("it is empty"));
    }
    let source = io::Cursor::new(magic[..length].to_vec()).chain(source);
    Ok(match magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(source)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(source).map_err(broken)?),
        _ => Box::new(source),
    })
}

/// A name in the archive, without `./`.
fn file_name(bytes: &[u8]) -> Result<String, InvalidArchive> {
    let name = std::str::from_utf8(bytes).map_err(|_| refuse("a file's name is not UTF-8"))?;
    let parts: Vec<_> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if name.starts_with('/') || parts.contains(&"..") || name.contains('\0') {
        return Err(refuse(format!("the file name {:?} leads out of the archive", clip(name))));
    }
    Ok(parts.join("/"))
}

/// Where a link leads; symbolic ones begin at their own directory.
fn link_target(name: &str, target: &[u8], symbolic: bool) -> Result<String, InvalidArchive> {
    let target = std::str::from_utf8(target).map_err(|_| refuse("a link's target is not UTF-8"))?;
    let escape = || refuse(format!("the link {:?} leads out of the archive", clip(name)));
    if target.starts_with('/') {
        return Err(escape());
    }
    let mut parts: Vec<&str> = if symbolic { name.split('/').collect() } else { Vec::new() };
    if symbolic {
        parts.pop();
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop().ok_or_else(escape)?;
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// The digest in the name of a blob of a layout.
fn expected_digest(name: &str) -> Result<Option<Digest>, InvalidArchive> {
    let Some(rest) = name.strip_prefix("blobs/") else { return Ok(None) };
    let digest = rest.replacen('/', ":", 1).parse();
    digest.map(Some).map_err(|_| refuse(format!("the blob {:?} is not named by a sha256 digest", clip(name))))
}

fn clip(text: &str) -> String {
    text.chars().take(120).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Index {
    /// The images of the archive, with their names. `name` names the one that has none, or renames a single one.
    pub(crate) fn images(&self, name: Option<&str>) -> Result<Vec<ArchivedImage>, InvalidArchive> {
        let images = if let Some(index) = self.small.get("index.json") {
            self.layout(index, name)?
        } else if let Some(manifest) = self.small.get("manifest.json") {
            self.saved(manifest, name)?
        } else {
            return Err(refuse(
                "it has neither index.json (an OCI layout) nor manifest.json (docker save), or they are larger than \
                 4 MiB",
            ));
        };
        if images.is_empty() {
            return Err(refuse("it holds no image"));
        }
        Ok(images)
    }

    fn layout(&self, index: &[u8], name: Option<&str>) -> Result<Vec<ArchivedImage>, InvalidArchive> {
        let document = Document::parse(index, Some(OCI_INDEX)).map_err(|error| refuse(error.0))?;
        let Document::Index(entries) = document else { return Err(refuse("its index.json is not an index")) };
        // Entries of one name are one image for several platforms.
        let mut groups: BTreeMap<Option<String>, Vec<IndexEntry>> = BTreeMap::new();
        for entry in entries {
            let known =
                [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST].contains(&entry.descriptor.media_type.as_str());
            if known {
                groups.entry(annotated_name(&entry)).or_default().push(entry);
            }
        }
        let mut images = Vec::new();
        let groups_count = groups.len();
        for (found, entries) in groups {
            let chosen = choose(&entries, &host_platform()).map_err(|error| refuse(error.0))?;
            let name = final_name(found, name, groups_count)?;
            self.require(&chosen.descriptor)?;
            images.push(ArchivedImage { name, top: chosen.descriptor.clone(), manifest: None });
        }
        Ok(images)
    }

    fn saved(&self, manifest: &[u8], name: Option<&str>) -> Result<Vec<ArchivedImage>, InvalidArchive> {
        let saved: Vec<Saved> = serde_json::from_slice(manifest)
            .map_err(|error| refuse(format!("its manifest.json cannot be read: {error}")))?;
        let mut images = Vec::new();
        let many = saved.iter().map(|image| image.repo_tags.as_ref().map_or(1, |tags| tags.len().max(1))).sum();
        for image in &saved {
            let find = |path: &String| {
                let path = file_name(path.as_bytes())?;
                self.files.get(&path).cloned().ok_or_else(|| refuse(format!("{:?} is missing", clip(&path))))
            };
            let blob = |media_type: &str, (digest, size): (Digest, u64)| {
                serde_json::json!({
                    "mediaType": media_type,
                    "digest": digest.as_str(),
                    "size": size,
                })
            };
            let config = blob(OCI_CONFIG, find(&image.config)?);
            let layers: Vec<_> = image
                .layers
                .iter()
                .map(|path| Ok(blob(OCI_LAYER, find(path)?)))
                .collect::<Result<_, InvalidArchive>>()?;
            let manifest = serde_json::json!({
                "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers,
            });
            let bytes = manifest.to_string().into_bytes();
            // Also checks what was put together.
            Document::parse(&bytes, None).map_err(|error| refuse(error.0))?;
            let top =
                Descriptor { media_type: OCI_MANIFEST.into(), digest: Digest::of(&bytes), size: bytes.len() as u64 };
            let tags = image.repo_tags.clone().unwrap_or_default();
            let names: Vec<Option<String>> =
                if tags.is_empty() { vec![None] } else { tags.into_iter().map(Some).collect() };
            for found in names {
                let name = final_name(found.filter(|tag| tag.parse::<Reference>().is_ok()), name, many)?;
                images.push(ArchivedImage { name, top: top.clone(), manifest: Some(bytes.clone()) });
            }
        }
        Ok(images)
    }

    /// A blob that the archive speaks of must be in it, as large as it says.
    fn require(&self, blob: &Descriptor) -> Result<(), InvalidArchive> {
        match self.files.values().find(|(digest, _)| *digest == blob.digest) {
            Some((_, size)) if *size == blob.size => Ok(()),
            Some((_, size)) => Err(refuse(format!("{} should have {} bytes and has {size}", blob.digest, blob.size))),
            None => Err(refuse(format!("the blob {} is missing", blob.digest))),
        }
    }

    /// Checks that all blobs of an image are there.
    pub(crate) fn require_all<'a>(
        &self,
        blobs: impl IntoIterator<Item = &'a Descriptor>,
    ) -> Result<(), InvalidArchive> {
        blobs.into_iter().try_for_each(|blob| self.require(blob))
    }
}

/// The name that tools write beside an entry. `org.opencontainers.image.ref.name` may be a mere tag.
fn annotated_name(entry: &IndexEntry) -> Option<String> {
    ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
        .iter()
        .filter_map(|key| entry.annotations.get(*key))
        .find(|name| name.parse::<Reference>().is_ok())
        .cloned()
}

fn final_name(found: Option<String>, given: Option<&str>, images: usize) -> Result<String, InvalidArchive> {
    let name = match (found, given) {
        (Some(_), Some(given)) if images == 1 => given.to_owned(),
        (Some(found), _) => found,
        (None, Some(given)) => given.to_owned(),
        (None, None) => return Err(refuse("it does not name its image: give a name")),
    };
    let reference: Reference = name.parse().map_err(|error| refuse(format!("{error}")))?;
    Ok(reference.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            // Written by hand: the crate refuses to write hostile names.
            let field = &mut header.as_old_mut().name;
            field[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn index_of(bytes: &[u8]) -> Result<Index, InvalidArchive> {
        let mut current = Vec::new();
        read(bytes, |event| -> Result<_, ()> {
            match event {
                Event::Begin { .. } => current.clear(),
                Event::Data(data) => current.extend_from_slice(&data),
                Event::End => return Ok(Some(Digest::of(&current))),
            }
            Ok(None)
        })
        .unwrap()
    }

    fn refused(bytes: &[u8], name: Option<&str>, part: &str) {
        let error = index_of(bytes).and_then(|index| index.images(name)).unwrap_err().to_string();
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }

    #[test]
    fn hostile_archives_are_refused_with_the_reason() {
        refused(b"", None, "empty");
        refused(b"hello", None, "no tar archive");
        refused(&[b'x'; 1024], None, "no tar archive");
        refused(&[0x1f, 0x8b, 1, 2, 3], None, "broke off");
        refused(&tar(&[("../etc/passwd", b"x")]), None, "leads out");
        refused(&tar(&[("/etc/passwd", b"x")]), None, "leads out");
        refused(&tar(&[("a/../../b", b"x")]), None, "leads out");
        refused(&tar(&[("blobs/sha256/xyz", b"x")]), None, "not named by a sha256 digest");
        refused(&tar(&[("blobs/md5/12", b"x")]), None, "not named by a sha256 digest");
        refused(&tar(&[("hello", b"x")]), None, "neither index.json");
        refused(&tar(&[("index.json", b"{")]), None, "cannot be read");
        refused(&tar(&[("index.json", br#"{"manifests":[]}"#)]), None, "no image");
        refused(
            &tar(&[("manifest.json", br#"[{"Config":"c","Layers":[]}]"#)]),
            Some("r.example/a"),
            "\"c\" is missing",
        );
        let missing = format!(
            r#"{{"manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":2}}]}}"#,
            Digest::of(b"nothing")
        );
        refused(&tar(&[("index.json", missing.as_bytes())]), Some("r.example/a"), "is missing");
        refused(&tar(&[("index.json", missing.as_bytes())]), None, "does not name its image");
        let cut = tar(&[("index.json", &[b' '; 3000])]);
        refused(&cut[..1500], None, "broke off");
        let huge = vec![b'{'; 5 << 20];
        refused(&tar(&[("index.json", &huge)]), None, "larger than 4 MiB");
    }

    #[test]
    fn a_layout_with_one_image_can_be_renamed_and_compressed() {
        let manifest = b"{}";
        let digest = Digest::of(manifest);
        let index = format!(
            r#"{{"manifests":[{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":2,
                "annotations":{{"org.opencontainers.image.ref.name":"r.example/a:1"}}}}]}}"#
        );
        let blob = format!("./blobs/sha256/{}", digest.hex());
        let plain = tar(&[(&blob, manifest), ("./index.json", index.as_bytes())]);
        let mut gzip = flate2::read::GzEncoder::new(plain.as_slice(), flate2::Compression::fast());
        let mut gzipped = Vec::new();
        gzip.read_to_end(&mut gzipped).unwrap();
        let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
        for bytes in [plain, gzipped, zstd] {
            let index = index_of(&bytes).unwrap();
            assert_eq!(index.images(None).unwrap()[0].name, "r.example/a:1");
            assert_eq!(index.images(Some("r.example/b")).unwrap()[0].name, "r.example/b:latest");
            assert_eq!(index.images(None).unwrap()[0].top.digest, digest);
            assert!(index.images(Some("b")).is_err());
        }
    }
}
