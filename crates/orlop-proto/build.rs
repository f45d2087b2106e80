//! Compiles every file under `proto/`, without an installed protoc.

use prost::Message;
use std::path::{Path, PathBuf};

fn protos(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            protos(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            found.push(path);
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    protos(root, &mut files)?;
    files.sort();
    let descriptors = protox::compile(&files, [root])?;
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    std::fs::write(Path::new(&out).join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .btree_map(".")
        .bytes(".orlop.peer.v1")
        .bytes(".orlop.engine.v1")
        // Several times as large as any other frame.
        .boxed(".orlop.engine.v1.EngineFrame.kind.task_assigned")
        .compile_fds(descriptors)?;
    Ok(())
}
