//! Reading what `orlop-logger` has written.
//!
//! A log directory holds `0.log`, `1.log` and so on; the highest number is being written, and the lowest go when there
//! are too many. Lines are `2026-11-21T07:53:50.123456789Z stdout F text`, long ones in parts (`P`) with a last one
//! (`F`), in order of time within a directory. Reading takes little memory whatever the size of the log, following
//! waits for the kernel's word, and a line torn by a crash is passed over.

mod cursor;
mod retention;
mod tail;
mod watch;

pub use retention::{Swept, sweep};

use bytes::Bytes;
use cursor::{Cursor, Position};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use watch::Watch;

/// Lines read before others get a turn.
const BATCH_LINES: usize = 256;

/// Which of the two outputs of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line that a container wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was read from the container, in nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// Where it was written to.
    pub stream: Stream,
    /// Without its newline; may not be UTF-8. Lines of more than 256 KiB come in pieces.
    pub text: Bytes,
}

/// Which lines of some directories are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Query {
    /// Lines of this time or later, in nanoseconds since the Unix epoch.
    pub since_ns: u64,
    /// At most so many of the newest lines of all directories together, before following.
    pub tail: Option<usize>,
    /// Go on with what is written later.
    pub follow: bool,
}

/// What a [`Reader`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A line of the directory with this index.
    Line(usize, Line),
    /// Everything written before the reader was opened has been given. Once, only when following.
    CaughtUp,
}

/// Reads lines of several log directories in order of time.
#[derive(Debug)]
pub struct Reader {
    query: Query,
    cursors: Vec<Cursor>,
    watch: Option<Watch>,
    /// Where the first [`Reader::next`] puts the cursors; looked for aside, because it may read much.
    locating: Option<tokio::task::JoinHandle<io::Result<Located>>>,
    /// Lines still to be passed over, because others of the tail are newer.
    skip: usize,
    caught_up: bool,
    ready: VecDeque<Item>,
}

#[derive(Debug, Default)]
struct Located {
    starts: Vec<Option<Position>>,
    /// Lines from there on.
    lines: usize,
}

impl Reader {
    /// Opens the directories; one that does not exist is empty (and is waited for when following). To be called in a
    /// tokio runtime.
    pub fn open(directories: Vec<PathBuf>, query: Query) -> io::Result<Reader> {
        // Watched before it is looked at, so that nothing written in between is missed.
        let mut watch = if query.follow { Some(Watch::new()?) } else { None };
        let (mut cursors, mut ends) = (Vec::with_capacity(directories.len()), Vec::new());
        for directory in &directories {
            if let Some(watch) = &mut watch {
                watch.add(directory);
            }
            let end = cursor::newest(directory)?;
            cursors.push(Cursor::new(directory.clone(), end));
            ends.push(end);
        }
        let locating = query.tail.map(|lines| {
            tokio::task::spawn_blocking(move || {
                let mut located = Located::default();
                for (directory, end) in directories.iter().zip(ends) {
                    let Some(end) = end else {
                        located.starts.push(None);
                        continue;
                    };
                    let (start, found) = tail::locate(directory, end, lines, query.since_ns)?;
                    located.starts.push(Some(start));
                    located.lines += found;
                }
                Ok(located)
            })
        });
        Ok(Reader { query, cursors, watch, locating, skip: 0, caught_up: false, ready: VecDeque::new() })
    }

    /// Also follows this directory, from its beginning; gives its index. Only for a reader that follows.
    pub fn add(&mut self, directory: PathBuf) -> io::Result<usize> {
        let Some(watch) = &mut self.watch else { return Err(io::ErrorKind::Unsupported.into()) };
        watch.add(&directory);
        self.cursors.push(Cursor::new(directory, None));
        Ok(self.cursors.len() - 1)
    }

    /// The next item; `None` at the end, which never comes when following. May be dropped without losing a line.
    pub async fn next(&mut self) -> io::Result<Option<Item>> {
        if let Some(locating) = &mut self.locating {
            let located = locating.await.map_err(io::Error::other)??;
            self.locating = None;
            for (cursor, start) in self.cursors.iter_mut().zip(located.starts) {
                if let Some(start) = start {
                    cursor.seek(start);
                }
            }
            self.skip = located.lines.saturating_sub(self.query.tail.unwrap_or(usize::MAX));
        }
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            self.fill()?;
            if !self.ready.is_empty() {
                // Files are read in place; others want to run too.
                tokio::task::yield_now().await;
                continue;
            }
            if !self.caught_up {
                self.caught_up = true;
                if self.query.follow {
                    return Ok(Some(Item::CaughtUp));
                }
            }
            match &mut self.watch {
                Some(watch) => watch.changed().await?,
                None => return Ok(None),
            }
        }
    }

    /// Reads the next lines in order of time, as many as there are or fit into a batch.
    fn fill(&mut self) -> io::Result<()> {
        let bounded = !self.caught_up;
        while self.ready.len() < BATCH_LINES {
            let mut earliest: Option<(usize, u64)> = None;
            for (index, cursor) in self.cursors.iter_mut().enumerate() {
                if let Some(at_ns) = cursor.peek(bounded, self.watch.is_none())?
                    && earliest.is_none_or(|(_, earlier)| at_ns < earlier)
                {
                    earliest = Some((index, at_ns));
                }
            }
            let Some((index, _)) = earliest else { return Ok(()) };
            let Some(line) = self.cursors[index].take() else { return Ok(()) };
            if line.at_ns < self.query.since_ns {
                continue;
            }
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            self.ready.push_back(Item::Line(index, line));
        }
        Ok(())
    }
}

/// The numbers of the files of a log directory, in order.
fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        if let Some(number) = entry?.file_name().to_str().and_then(|name| name.strip_suffix(".log")?.parse().ok()) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn file(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number}.log"))
}

/// A line of a file, as it is there.
#[derive(Debug, PartialEq, Eq)]
struct Raw<'a> {
    at_ns: u64,
    stream: Stream,
    ends: bool,
    text: &'a [u8],
}

impl<'a> Raw<'a> {
    /// Reads a line without its newline; `None` for one that is torn or not ours.
    fn parse(line: &'a [u8]) -> Option<Raw<'a>> {
        let space = line.iter().take(31).position(|byte| *byte == b' ')?;
        let at_ns = crate::time::parse_ns(&line[..space])?;
        let rest = &line[space + 1..];
        let (stream, rest) = match rest.get(..7)? {
            b"stdout " => (Stream::Stdout, &rest[7..]),
            b"stderr " => (Stream::Stderr, &rest[7..]),
            _ => return None,
        };
        let ends = match rest.get(..2)? {
            b"F " => true,
            b"P " => false,
            _ => return None,
        };
        Some(Raw { at_ns, stream, ends, text: &rest[2..] })
    }
}

#[cfg(test)]
mod tests;
