//! Finding the last lines of a log without reading the rest of it: backwards from the end.

use super::cursor::Position;
use super::{Raw, file, numbers};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const READ_BYTES: u64 = 64 << 10;

/// Where the last `lines` lines before `end` and of `since_ns` or later begin, and how many there are (fewer in a
/// shorter log).
pub(super) fn locate(directory: &Path, end: Position, lines: usize, since_ns: u64) -> io::Result<(Position, usize)> {
    let (mut found, mut start) = (0, end);
    for number in numbers(directory)?.into_iter().rev().filter(|number| *number <= end.number) {
        let file = match File::open(file(directory, number)) {
            Ok(file) => file,
            // Rotated away meanwhile, and all before it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let length = if number == end.number { length.min(end.offset) } else { length };
        let mut backwards = Backwards { file, at: length, buffer: Vec::new() };
        // What follows the last newline is not complete yet.
        backwards.line()?;
        while let Some((offset, line)) = backwards.line()? {
            let Some(raw) = Raw::parse(&line) else { continue };
            if raw.at_ns < since_ns || (raw.ends && found == lines) {
                return Ok((start, found));
            }
            found += usize::from(raw.ends);
            start = Position { number, offset };
        }
    }
    Ok((start, found))
}

struct Backwards {
    file: File,
    /// Bytes of the file before the buffer.
    at: u64,
    buffer: Vec<u8>,
}

impl Backwards {
    /// The last line that was not given yet, with its offset; at first what follows the last newline.
    fn line(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        let mut searched = 0;
        loop {
            let unsearched = self.buffer.len() - searched;
            if let Some(newline) = self.buffer[..unsearched].iter().rposition(|byte| *byte == b'\n') {
                let line = self.buffer.split_off(newline + 1);
                self.buffer.truncate(newline);
                return Ok(Some((self.at + newline as u64 + 1, line)));
            }
            searched = self.buffer.len();
            if self.at == 0 {
                // The first line of the file has no newline before it; after it nothing is left.
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Ok(Some((0, std::mem::take(&mut self.buffer))));
            }
            let length = self.at.min(READ_BYTES);
            self.at -= length;
            let mut chunk = vec![0; usize::try_from(length).unwrap_or(0)];
            self.file.read_exact_at(&mut chunk, self.at)?;
            chunk.append(&mut self.buffer);
            self.buffer = chunk;
        }
    }
}
