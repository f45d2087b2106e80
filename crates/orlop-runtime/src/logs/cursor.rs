//! A place in one log directory, moving forward line by line over the borders of files.

use super::{Line, Raw, Stream, file, numbers};
use bytes::{Buf, Bytes, BytesMut};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const READ_BYTES: usize = 32 << 10;
/// A line of more bytes is given in pieces.
const LINE_BYTES_MAX: usize = 256 << 10;
/// A raw line of more bytes is not ours; its bytes are passed over.
const RAW_BYTES_MAX: usize = 64 << 10;

/// A byte of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) number: u64,
    pub(super) offset: u64,
}

/// The end of a directory's newest file; `None` when there is no file.
pub(super) fn newest(directory: &Path) -> io::Result<Option<Position>> {
    let Some(number) = numbers(directory)?.pop() else { return Ok(None) };
    match std::fs::metadata(file(directory, number)) {
        Ok(metadata) => Ok(Some(Position { number, offset: metadata.len() })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[derive(Debug)]
pub(super) struct Cursor {
    directory: PathBuf,
    /// What was there at the beginning ends here.
    end: Option<Position>,
    /// The file being read, and how much of it was taken into the buffer.
    file: Option<(u64, File)>,
    offset: u64,
    buffer: BytesMut,
    /// Bytes of the buffer that are known to hold no newline.
    scanned: usize,
    /// Lines whose last part has not come, by stream.
    begun: [Option<(u64, BytesMut)>; 2],
    next: Option<Line>,
}

impl Cursor {
    pub(super) fn new(directory: PathBuf, end: Option<Position>) -> Self {
        Self {
            directory,
            end,
            file: None,
            offset: 0,
            buffer: BytesMut::new(),
            scanned: 0,
            begun: [None, None],
            next: None,
        }
    }

    /// Goes to a place, before anything was read. One whose file is gone meanwhile is the beginning.
    pub(super) fn seek(&mut self, position: Position) {
        if let Ok(mut file) = File::open(file(&self.directory, position.number))
            && file.seek(SeekFrom::Start(position.offset)).is_ok()
        {
            self.file = Some((position.number, file));
            self.offset = position.offset;
        }
    }

    /// The time of the next line, if there is one. `bounded` stops at what was there at the beginning; `last` takes
    /// what is there for the end of the log, so that a line without its last part is given too.
    pub(super) fn peek(&mut self, bounded: bool, last: bool) -> io::Result<Option<u64>> {
        while self.next.is_none() {
            if let Some(newline) = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') {
                let raw = self.buffer.split_to(self.scanned + newline + 1);
                self.scanned = 0;
                self.next = self.take_raw(&raw[..raw.len() - 1]);
                continue;
            }
            self.scanned = self.buffer.len();
            if self.scanned > RAW_BYTES_MAX {
                self.buffer.clear();
                self.scanned = 0;
            }
            if !self.read(bounded)? {
                if last {
                    self.next = self.take_begun();
                }
                break;
            }
        }
        Ok(self.next.as_ref().map(|line| line.at_ns))
    }

    /// The line that was peeked at.
    pub(super) fn take(&mut self) -> Option<Line> {
        self.next.take()
    }

    /// Puts a line together from its parts.
    fn take_raw(&mut self, raw: &[u8]) -> Option<Line> {
        let raw = Raw::parse(raw)?;
        let begun = &mut self.begun[raw.stream as usize];
        let (at_ns, mut text) = match begun.take() {
            Some(begun) => begun,
            None if raw.ends => {
                return Some(Line { at_ns: raw.at_ns, stream: raw.stream, text: Bytes::copy_from_slice(raw.text) });
            }
            None => (raw.at_ns, BytesMut::new()),
        };
        text.extend_from_slice(raw.text);
        if raw.ends || text.len() >= LINE_BYTES_MAX {
            return Some(Line { at_ns, stream: raw.stream, text: text.freeze() });
        }
        *begun = Some((at_ns, text));
        None
    }

    fn take_begun(&mut self) -> Option<Line> {
        [Stream::Stdout, Stream::Stderr].into_iter().find_map(|stream| {
            let (at_ns, text) = self.begun[stream as usize].take()?;
            Some(Line { at_ns, stream, text: text.freeze() })
        })
    }

    /// Reads more; false when there is no more.
    fn read(&mut self, bounded: bool) -> io::Result<bool> {
        let end = match (bounded, self.end) {
            (false, _) => None,
            (true, Some(end)) => Some(end),
            (true, None) => return Ok(false),
        };
        if self.read_chunk(end)? {
            return Ok(true);
        }
        // The logger makes a next file only when it is done with this one, so what this one still gets comes first.
        let next = self.next_number()?;
        if next.is_some() && self.read_chunk(end)? {
            return Ok(true);
        }
        let Some(next) = next.filter(|next| end.is_none_or(|end| *next <= end.number)) else { return Ok(false) };
        match File::open(file(&self.directory, next)) {
            Ok(file) => {
                self.file = Some((next, file));
                self.offset = 0;
                // The rest of a file whose logger was killed in the middle of a line.
                let torn = self.buffer.len();
                self.buffer.advance(torn);
                self.scanned = 0;
                Ok(true)
            }
            // Rotated away in between; the one after it is there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(self.next_number()? != Some(next)),
            Err(error) => Err(error),
        }
    }

    /// Reads more of the present file, up to the end if that is in it.
    fn read_chunk(&mut self, end: Option<Position>) -> io::Result<bool> {
        let Some((number, file)) = &mut self.file else { return Ok(false) };
        let limit = match end {
            Some(end) if *number > end.number => 0,
            Some(end) if *number == end.number => end.offset.saturating_sub(self.offset),
            _ => u64::MAX,
        };
        let mut chunk = [0; READ_BYTES];
        let wanted = usize::try_from(limit).unwrap_or(READ_BYTES).min(READ_BYTES);
        let length = file.read(&mut chunk[..wanted])?;
        self.buffer.extend_from_slice(&chunk[..length]);
        self.offset += length as u64;
        Ok(length > 0)
    }

    /// The file to be read after the present one.
    fn next_number(&self) -> io::Result<Option<u64>> {
        let present = self.file.as_ref().map(|(number, _)| *number);
        Ok(numbers(&self.directory)?.into_iter().find(|next| present.is_none_or(|present| *next > present)))
    }
}
