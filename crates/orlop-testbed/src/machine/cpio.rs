//! The archive that a kernel unpacks as its first root file system ("newc" cpio).

/// Grows by one file after another; see the kernel's `early-userspace/buffer-format`.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    files: u32,
}

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;
const DEVICE: u32 = 0o020_600;

impl Archive {
    /// A folder; those above it must be there already.
    pub(super) fn folder(&mut self, name: &str) {
        self.entry(name, DIRECTORY, (0, 0), &[]);
    }

    /// An executable file.
    pub(super) fn file(&mut self, name: &str, content: &[u8]) {
        self.entry(name, FILE, (0, 0), content);
    }

    /// A character device.
    pub(super) fn device(&mut self, name: &str, major: u32, minor: u32) {
        self.entry(name, DEVICE, (major, minor), &[]);
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.files += 1;
        let size = u32::try_from(content.len()).expect("a file of less than 4 GiB");
        let name_bytes = u32::try_from(name.len() + 1).expect("a short name");
        self.bytes.extend(b"070701");
        // Inode, mode, owner, group, links, time, size, the file system's device, the file's, name's length, checksum.
        let fields = [self.files, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_bytes, 0];
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn every_part_begins_at_a_multiple_of_four() {
        let mut archive = Archive::default();
        archive.folder("bin");
        archive.file("bin/x", b"12345");
        archive.device("console", 5, 1);
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        let starts: Vec<usize> = text.match_indices("070701").map(|(at, _)| at).collect();
        assert_eq!(starts.len(), 4);
        assert!(starts.iter().all(|at| at % 4 == 0), "{starts:?}");
        // Of the second entry: the mode, the size, the name behind the header.
        let second = &text[starts[1]..];
        assert_eq!((&second[14..22], &second[54..62], &second[110..115]), ("000081ed", "00000005", "bin/x"));
        let (content, next) = text[starts[1] + 116..].split_once("070701").expect("another entry");
        assert_eq!((content, &next[0..8]), ("12345\0\0\0", "00000003"));
    }
}
