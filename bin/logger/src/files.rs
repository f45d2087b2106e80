//! The files of a log: `0.log`, `1.log`, and so on, the highest number being written. A full one is followed by the
//! next number, and the oldest are removed, so that a follower that has come to the end of a file knows where to go on,
//! and all together never exceed their bound by more than a line.

use crate::lines::{self, Line};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

/// The files of one log.
pub(crate) struct Files {
    directory: PathBuf,
    bytes_max: u64,
    files_max: u64,
    current: Option<Current>,
    /// Formatted, not yet written.
    pending: Vec<u8>,
    pending_lines: u64,
    /// Lines that could not be written since the last that could.
    lost: u64,
    /// When the last of them came.
    lost_ns: u64,
    last_ns: u64,
}

struct Current {
    file: File,
    number: u64,
    length: u64,
}

impl Files {
    /// Goes on with the newest file of the directory, or begins the first. Failures count as lost lines.
    pub(crate) fn open(directory: PathBuf, bytes_max: u64, files_max: u64) -> Self {
        let pending = Vec::with_capacity(128 << 10);
        let mut files = Files {
            directory,
            bytes_max,
            files_max,
            current: None,
            pending,
            pending_lines: 0,
            lost: 0,
            lost_ns: 0,
            last_ns: 0,
        };
        files.reopen();
        files
    }

    /// Takes a line; it is in the file after `flush`.
    pub(crate) fn line(&mut self, line: Line<'_>) {
        let before = self.pending.len();
        let at = self.next_ns();
        lines::format(&mut self.pending, at, &line);
        self.pending_lines += 1;
        let length = self.current.as_ref().map_or(0, |current| current.length);
        if length + before as u64 > 0 && length + self.pending.len() as u64 > self.bytes_max {
            // This line begins the next file.
            let rest = self.pending.split_off(before);
            self.pending_lines -= 1;
            self.flush();
            self.rotate();
            self.pending = rest;
            self.pending_lines = 1;
        }
    }

    /// Writes what was taken, or counts it as lost.
    pub(crate) fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        if self.current.is_none() {
            self.reopen();
        }
        if self.lost > 0 {
            let text = format!("orlop: {} lines before this one could not be written to the log", self.lost);
            let mut with_notice = Vec::with_capacity(self.pending.len() + 128);
            let notice = Line { stream: "stderr", ends: true, text: text.as_bytes() };
            lines::format(&mut with_notice, self.lost_ns, &notice);
            with_notice.extend_from_slice(&self.pending);
            self.pending = with_notice;
        }
        match self.current.as_mut().map(|current| current.write(&self.pending)) {
            Some(Ok(())) => self.lost = 0,
            Some(Err(_)) | None => {
                self.lost += self.pending_lines;
                self.lost_ns = self.last_ns;
            }
        }
        self.pending.clear();
        self.pending_lines = 0;
    }

    /// The clock, but always a little later than before: the order of lines can be read from their times.
    fn next_ns(&mut self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.last_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).max(self.last_ns + 1);
        self.last_ns
    }

    fn reopen(&mut self) {
        let newest = self.numbers().into_iter().max().unwrap_or(0);
        self.current = self.open_file(newest).ok();
        if self.current.as_ref().is_some_and(|current| current.length >= self.bytes_max) {
            self.rotate();
        }
    }

    fn rotate(&mut self) {
        let Some(number) = self.current.as_ref().map(|current| current.number) else { return };
        let next = number + 1;
        for old in self.numbers() {
            if old + self.files_max <= next {
                let _ = std::fs::remove_file(self.path(old));
            }
        }
        if let Ok(file) = self.open_file(next) {
            self.current = Some(file);
        } else if let Some(current) = &mut self.current {
            // No new file can be made (no space for its name): the old one is begun anew, and the bound holds.
            if current.file.set_len(0).is_ok() {
                current.length = 0;
            }
        }
    }

    fn open_file(&self, number: u64) -> io::Result<Current> {
        std::fs::create_dir_all(&self.directory)?;
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(self.path(number))?;
        let mut length = file.metadata()?.len();
        if length > 0 {
            // An earlier logger may have been killed in the middle of a line.
            let mut last = [0];
            file.seek(SeekFrom::Start(length - 1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                length += 1;
            }
        }
        Ok(Current { file, number, length })
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number}.log"))
    }

    fn numbers(&self) -> Vec<u64> {
        let Ok(entries) = std::fs::read_dir(&self.directory) else { return Vec::new() };
        entries.flatten().filter_map(|e| e.file_name().to_str()?.strip_suffix(".log")?.parse().ok()).collect()
    }
}

impl Current {
    /// All of it or nothing.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // A part may have been written; a torn line would be taken for one that the container wrote.
                let _ = self.file.set_len(self.length);
                Err(error)
            }
        }
    }
}
