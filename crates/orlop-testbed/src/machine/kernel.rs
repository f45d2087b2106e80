//! The kernel of machines, and what of it they need to find their root file system.

use super::cpio::Archive;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a machine needs before it sees the host's files; the rest is loaded when it is asked for.
const EARLY: [&str; 6] = ["virtio_pci", "virtio_console", "virtio_blk", "9pnet_virtio", "9p", "overlay"];

/// A kernel with its modules, as `scripts/kernel` fetches it.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    folder: PathBuf,
    modules: PathBuf,
}

impl Kernel {
    /// `ORLOP_KERNEL_DIR`, or `machine` in the folder of the running program or one above it.
    ///
    /// # Panics
    /// When there is none; the message says how to get one.
    pub(super) fn find() -> Self {
        let named = std::env::var_os("ORLOP_KERNEL_DIR").map(PathBuf::from);
        let program = std::env::current_exe().unwrap_or_default();
        let above = program.ancestors().skip(1).map(|folder| folder.join("machine"));
        let folder = named.into_iter().chain(above).find(|folder| folder.join("vmlinuz").is_file());
        let folder =
            folder.unwrap_or_else(|| panic!("there is no kernel for machines: `make test-machine` fetches one"));
        let versions = folder.join("lib/modules");
        let modules = std::fs::read_dir(&versions).ok().and_then(|mut entries| entries.next()?.ok()).map(|e| e.path());
        let modules = modules.unwrap_or_else(|| panic!("{} is empty", versions.display()));
        Self { folder, modules }
    }

    /// Where it and its modules are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The kernel itself.
    pub(super) fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// Puts the early modules into an archive, with the order in which they are to be loaded.
    ///
    /// # Panics
    /// When a module cannot be read.
    pub(super) fn add_modules(&self, archive: &mut Archive) {
        let index = self.modules.join("modules.dep");
        let index = std::fs::read_to_string(&index).unwrap_or_else(|error| panic!("{}: {error}", index.display()));
        archive.folder("modules");
        let mut order = String::new();
        for path in load_order(&index, &EARLY) {
            let file = self.modules.join(&path);
            let content = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let name = path.rsplit('/').next().unwrap_or(&path);
            archive.file(&format!("modules/{name}"), &content);
            order.push_str(name);
            order.push('\n');
        }
        archive.file("modules/order", order.as_bytes());
    }
}

/// The modules wanted and what they need, each after what it needs. One that is not in the index is built in.
fn load_order(index: &str, wanted: &[&str]) -> Vec<String> {
    let needs: BTreeMap<&str, Vec<&str>> = index
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(module, needs)| (module, needs.split_whitespace().collect()))
        .collect();
    let mut order = Vec::new();
    for name in wanted {
        let file = format!("/{name}.ko");
        if let Some(module) = needs.keys().find(|module| module.ends_with(&file)) {
            add(module, &needs, &mut order);
        }
    }
    order
}

fn add(module: &str, needs: &BTreeMap<&str, Vec<&str>>, order: &mut Vec<String>) {
    if order.iter().any(|known| known == module) {
        return;
    }
    for needed in needs.get(module).into_iter().flatten() {
        add(needed, needs, order);
    }
    order.push(module.to_owned());
}

#[cfg(test)]
mod tests {
    use super::load_order;

    #[test]
    fn a_module_is_loaded_once_and_after_what_it_needs() {
        let index = "fs/9p/9p.ko: net/9pnet.ko fs/netfs.ko\nnet/9pnet.ko:\nfs/netfs.ko: lib/ring.ko\nlib/ring.ko:\n\
                     net/9pnet_virtio.ko: lib/ring.ko net/9pnet.ko\nfs/not9p.ko:\n";
        let order = load_order(index, &["9pnet_virtio", "9p", "built_in"]);
        assert_eq!(order, ["lib/ring.ko", "net/9pnet.ko", "net/9pnet_virtio.ko", "fs/netfs.ko", "fs/9p/9p.ko"]);
    }
}
