//! The last good view on disk, so that a follower works from its first moment also when the control plane is away.
//!
//! The file is `ORLOPVW` and a version (8 bytes), the crc32 of the rest (4, little-endian), and a protobuf message with the
//! view that was asked for and what it held. It is written aside, synced and renamed. A file that is damaged, of another
//! view, or of another version is ignored with a warning: the cluster has everything in it.

use crate::view::{Parts, ViewState};
use orlop_model::Revision;
use orlop_model::view::View;
use orlop_proto::watch::v1 as pb;
use prost::Message;
use std::io;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"ORLOPVW\x01";

#[derive(Clone, PartialEq, Message)]
struct Cached {
    #[prost(message, optional, tag = "1")]
    view: Option<pb::View>,
    #[prost(message, optional, tag = "2")]
    state: Option<pb::WatchResponse>,
}

/// Where a view is kept.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    path: PathBuf,
    view: View,
}

impl Cache {
    pub(crate) fn new(path: PathBuf, view: View) -> Self {
        Self { path, view }
    }

    /// What was kept, or why it cannot be used; none if nothing was. Blocks.
    pub(crate) fn read(&self) -> Result<Option<ViewState>, String> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.to_string()),
        };
        let wire = pb::View::from(&self.view);
        decode(&bytes, &wire).map(Some)
    }

    /// Keeps a view. Blocks.
    pub(crate) fn write(&self, state: &ViewState) -> io::Result<()> {
        orlop_client::replace_file(&self.path, &encode(state, &self.view))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn encode(state: &ViewState, view: &View) -> Vec<u8> {
    let changes = state
        .objects
        .iter()
        .map(|(key, object)| pb::Change { key: key.to_string(), object: Some((&**object).into()) })
        .collect();
    let cached = Cached {
        view: Some(view.into()),
        state: Some(pb::WatchResponse {
            revision: state.revision.0,
            cluster: state.cluster.map(|cluster| cluster.to_string()).unwrap_or_default(),
            snapshot: true,
            changes,
            more: false,
        }),
    };
    let body = cached.encode_to_vec();
    let mut bytes = Vec::with_capacity(12 + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

fn decode(bytes: &[u8], view: &pb::View) -> Result<ViewState, String> {
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or("it is cut off")?;
    let (crc, body) = rest.split_first_chunk::<4>().ok_or("it is cut off")?;
    if magic != MAGIC {
        return Err("it is no cache of this version".into());
    }
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return Err("its checksum is wrong".into());
    }
    let cached = Cached::decode(body).map_err(|e| e.to_string())?;
    if cached.view.as_ref() != Some(view) {
        return Err("it is of another view".into());
    }
    let whole = Parts::default().add(cached.state.ok_or("it is empty")?).map_err(|e| e.to_string())?;
    let mut state = ViewState::default();
    let taken = state.take(whole.ok_or("it is a part only")?).map_err(|e| e.to_string())?;
    if !taken.invalid.is_empty() {
        // Usable, but to go on from its revision would be to miss what was not understood for ever.
        state.revision = Revision(0);
    }
    state.live = false;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{cluster, node};
    use orlop_model::view::Object;
    use std::sync::Arc;

    fn state() -> ViewState {
        let object = Object::Node(node(5, "v1"));
        ViewState {
            cluster: Some(cluster(1)),
            revision: Revision(77),
            objects: [(object.key().into(), Arc::new(object))].into(),
            live: false,
        }
    }

    #[test]
    fn a_view_that_was_kept_is_read_back_but_not_as_live() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().join("deep/er/view"), View::Mesh);
        assert_eq!(cache.read(), Ok(None));
        cache.write(&ViewState { live: true, ..state() }).unwrap();
        assert_eq!(cache.read(), Ok(Some(state())));
        assert!(Cache::new(cache.path().to_owned(), View::Scheduler).read().unwrap_err().contains("another view"));
    }

    #[test]
    fn a_cache_with_any_bit_changed_or_cut_anywhere_is_refused() {
        let bytes = encode(&state(), &View::Mesh);
        let view = pb::View::from(&View::Mesh);
        assert_eq!(decode(&bytes, &view), Ok(state()));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged, &view).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length], &view).is_err(), "{length} bytes");
        }
    }
}
