//! One layer: which files it has, and its tar.

use super::{Content, Entry, PackError};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What goes into a layer, by its path without the leading slash; parents come before their children.
pub(super) type Tree = BTreeMap<String, Planned>;

pub(super) struct Planned {
    mode: u32,
    owner: (u64, u64),
    content: Ready,
    /// Made because something is below it.
    implied: bool,
}

enum Ready {
    File(Vec<u8>),
    Directory,
    Symlink(String),
}

pub(super) enum Kind<'a> {
    File(&'a [u8]),
    Directory,
    Symlink(&'a str),
}

pub(super) fn tree(entries: &[Entry]) -> Result<Tree, PackError> {
    let mut tree = Tree::new();
    for entry in entries {
        let parts: Vec<&str> = entry.target.split('/').filter(|part| !part.is_empty()).collect();
        let outside = !entry.target.starts_with('/') || parts.iter().any(|part| matches!(*part, "." | ".."));
        if outside || parts.is_empty() || entry.target.contains('\0') {
            return Err(PackError::Target { found: entry.target.clone() });
        }
        add(&mut tree, &parts.join("/"), entry)?;
    }
    imply_parents(&mut tree)?;
    Ok(tree)
}

pub(super) fn layer(tree: &Tree) -> Result<Vec<u8>, PackError> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, planned) in tree {
        let kind = match &planned.content {
            Ready::File(bytes) => Kind::File(bytes),
            Ready::Directory => Kind::Directory,
            Ready::Symlink(to) => Kind::Symlink(to),
        };
        append(&mut tar, path, planned.mode, planned.owner, kind)?;
    }
    tar.into_inner().map_err(PackError::Write)
}

/// Adds an entry and, for a directory of this machine, what is below it.
fn add(tree: &mut Tree, path: &str, entry: &Entry) -> Result<(), PackError> {
    let owner = (entry.uid, entry.gid);
    let (content, default_mode) = match &entry.content {
        Content::Bytes(bytes) => (Ready::File(bytes.clone()), 0o644),
        Content::Directory => (Ready::Directory, 0o755),
        Content::Symlink(to) => (Ready::Symlink(to.clone()), 0o777),
        Content::Path(source) => {
            // A source that is named may be a link to the file; one that is found in a directory is kept as the link.
            let metadata = fs::metadata(source).map_err(|error| read_error(source, error))?;
            if metadata.is_dir() {
                add_below(tree, path, source, owner)?;
                (Ready::Directory, 0o755)
            } else if metadata.is_file() {
                let bytes = fs::read(source).map_err(|error| read_error(source, error))?;
                (Ready::File(bytes), if metadata.permissions().mode() & 0o111 != 0 { 0o755 } else { 0o644 })
            } else {
                return Err(PackError::Kind { path: source.clone() });
            }
        }
    };
    let planned = Planned { mode: entry.mode.unwrap_or(default_mode), owner, content, implied: false };
    match tree.insert(path.to_owned(), planned) {
        Some(_) => Err(PackError::Twice { target: format!("/{path}") }),
        None => Ok(()),
    }
}

fn add_below(tree: &mut Tree, path: &str, source: &Path, owner: (u64, u64)) -> Result<(), PackError> {
    for child in fs::read_dir(source).map_err(|error| read_error(source, error))? {
        let child = child.map_err(|error| read_error(source, error))?;
        let kind = child.file_type().map_err(|error| read_error(&child.path(), error))?;
        let name = child.file_name();
        let Some(name) = name.to_str() else { return Err(PackError::Kind { path: child.path() }) };
        let content = if kind.is_symlink() {
            let to = fs::read_link(child.path()).map_err(|error| read_error(&child.path(), error))?;
            Content::Symlink(to.to_str().ok_or_else(|| PackError::Kind { path: child.path() })?.to_owned())
        } else {
            Content::Path(child.path())
        };
        let path = format!("{path}/{name}");
        add(tree, &path, &Entry::new(format!("/{path}"), content).owner(owner.0, owner.1))?;
    }
    Ok(())
}

fn read_error(path: &Path, source: io::Error) -> PackError {
    PackError::Read { path: path.to_owned(), source }
}

fn imply_parents(tree: &mut Tree) -> Result<(), PackError> {
    let paths: Vec<String> = tree.keys().cloned().collect();
    for path in paths {
        for (end, _) in path.match_indices('/') {
            let parent = tree.entry(path[..end].to_owned()).or_insert(Planned {
                mode: 0o755,
                owner: (0, 0),
                content: Ready::Directory,
                implied: true,
            });
            if !matches!(parent.content, Ready::Directory) {
                debug_assert!(!parent.implied);
                return Err(PackError::BelowFile { target: format!("/{path}"), file: format!("/{}", &path[..end]) });
            }
        }
    }
    Ok(())
}

/// A program that wants a dynamic loader which the image lacks fails at its start with "no such file", which names the
/// wrong file; here the right one is known.
pub(super) fn check_interpreter(trees: &[Tree], program: &str) -> Result<(), PackError> {
    let path = program.trim_start_matches('/');
    let Some(Ready::File(bytes)) = trees.iter().rev().find_map(|tree| tree.get(path)).map(|planned| &planned.content)
    else {
        return Ok(());
    };
    let Some(interpreter) = interpreter(bytes) else { return Ok(()) };
    // The way to the loader may lead over links; its name does not change.
    let name = interpreter.rsplit('/').next().unwrap_or_default();
    let there = |path: &String| path.rsplit('/').next() == Some(name);
    if trees.iter().any(|tree| tree.keys().any(there)) {
        return Ok(());
    }
    Err(PackError::Interpreter { program: program.to_owned(), interpreter: interpreter.to_owned() })
}

/// The dynamic loader that a 64-bit little-endian ELF file asks for.
pub(super) fn interpreter(bytes: &[u8]) -> Option<&str> {
    const PT_INTERP: u64 = 3;
    let number = |offset: usize, length: usize| {
        let bytes = bytes.get(offset..offset.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for i in 0..count {
        let header = usize::try_from(table.checked_add(i * size)?).ok()?;
        if number(header, 4)? == PT_INTERP {
            let start = usize::try_from(number(header.checked_add(8)?, 8)?).ok()?;
            let length = usize::try_from(number(header.checked_add(32)?, 8)?).ok()?;
            let text = bytes.get(start..start.checked_add(length)?)?;
            return std::str::from_utf8(text).ok().map(|text| text.trim_end_matches('\0'));
        }
    }
    None
}

pub(super) fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    mode: u32,
    (uid, gid): (u64, u64),
    kind: Kind<'_>,
) -> Result<(), PackError> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(uid);
    header.set_gid(gid);
    header.set_mtime(0);
    header.set_size(0);
    match kind {
        Kind::File(bytes) => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, path, bytes)
        }
        Kind::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, format!("{path}/"), io::empty())
        }
        Kind::Symlink(to) => {
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, path, to)
        }
    }
    .map_err(PackError::Write)
}
