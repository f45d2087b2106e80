//! Images for tests, packed from Debian's static busybox and from this project's own static example. No registry is asked.

use orlop_runtime::pack::{Entry, PackOptions, PackedImage, multi_call, pack};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// An image that tests use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestImage {
    /// `localhost/busybox:1`: a shell and its tools, `/tmp`, the users root and nobody.
    Busybox,
    /// `localhost/hello:1`: the static build of examples/hello.
    Hello,
    /// `localhost/mute:1`: files, but no command.
    Mute,
}

impl TestImage {
    /// Writes the image's archive into a folder.
    ///
    /// # Panics
    /// When busybox is not installed, the example was not built, or the archive cannot be written.
    pub fn write(self, folder: &Path) -> PathBuf {
        // Packed once for each test program: compressing takes longer than anything else here.
        static ARCHIVES: [OnceLock<Vec<u8>>; 3] = [OnceLock::new(), OnceLock::new(), OnceLock::new()];
        let bytes = ARCHIVES[self as usize].get_or_init(|| {
            let mut bytes = Vec::new();
            self.packed().write_archive(&mut bytes).expect("an image that fits into memory");
            bytes
        });
        let file = folder.join(format!("{self:?}.tar").to_lowercase());
        std::fs::write(&file, bytes).expect("a file in the folder");
        file
    }

    /// The image, for a registry.
    ///
    /// # Panics
    /// As [`TestImage::write`].
    pub fn packed(self) -> PackedImage {
        pack(&self.options()).expect("an image that can be packed")
    }

    fn options(self) -> PackOptions {
        match self {
            TestImage::Busybox => {
                let listed = Command::new("/bin/busybox").arg("--list").output().expect("busybox-static is installed");
                let names = String::from_utf8_lossy(&listed.stdout).into_owned();
                let names: Vec<&str> = names.lines().collect();
                let mut layer = multi_call("/bin/busybox", "/bin/busybox", &names);
                layer.push(Entry::directory("/tmp").mode(0o1777));
                let users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";
                layer.push(Entry::bytes("/etc/passwd", users));
                layer.push(Entry::bytes("/etc/group", "root:x:0:\nnogroup:x:65534:\n"));
                PackOptions {
                    name: "localhost/busybox:1".into(),
                    cmd: vec!["/bin/sh".into()],
                    env: vec![("PATH".into(), "/bin".into())],
                    layers: vec![layer],
                    ..PackOptions::default()
                }
            }
            TestImage::Hello => PackOptions {
                name: "localhost/hello:1".into(),
                entrypoint: vec!["/hello".into()],
                layers: vec![vec![Entry::path(static_hello(), "/hello").mode(0o755)]],
                ..PackOptions::default()
            },
            TestImage::Mute => PackOptions {
                name: "localhost/mute:1".into(),
                layers: vec![vec![Entry::path("/bin/busybox", "/bin/busybox").mode(0o755)]],
                ..PackOptions::default()
            },
        }
    }
}

/// The example as `make hello` builds it, somewhere above the running program.
fn static_hello() -> PathBuf {
    let built = Path::new("static/debug/hello");
    let test = std::env::current_exe().unwrap_or_default();
    test.ancestors()
        .map(|folder| folder.join(built))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{} is not there: `make hello` builds it", built.display()))
}
