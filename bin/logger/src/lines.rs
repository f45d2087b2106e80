//! From bytes to lines, and their form in the file.

/// A line of more bytes is written in parts.
pub(crate) const PART_BYTES_MAX: usize = 16 << 10;

/// A line, or a part of one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// `stdout` or `stderr`.
    pub(crate) stream: &'static str,
    /// Is this the line's last part?
    pub(crate) ends: bool,
    /// Without the newline.
    pub(crate) text: &'a [u8],
}

/// Cuts one output into lines; keeps the beginning of a line until the rest comes.
pub(crate) struct Splitter {
    stream: &'static str,
    begun: Vec<u8>,
    /// The last part written was not the line's last.
    inside: bool,
}

impl Splitter {
    pub(crate) fn new(stream: &'static str) -> Self {
        Self { stream, begun: Vec::new(), inside: false }
    }

    /// Takes more bytes and gives the lines and parts that are complete with them.
    pub(crate) fn split(&mut self, mut bytes: &[u8], mut give: impl FnMut(Line<'_>)) {
        while !bytes.is_empty() {
            let newline = bytes.iter().position(|byte| *byte == b'\n');
            let room = PART_BYTES_MAX - self.begun.len();
            let (taken, ends) = match newline {
                Some(at) if at <= room => (at, true),
                _ => (room.min(bytes.len()), false),
            };
            let (text, rest) = bytes.split_at(taken);
            bytes = if ends { &rest[1..] } else { rest };
            if !ends && taken < room {
                self.begun.extend_from_slice(text);
                return;
            }
            if self.begun.is_empty() {
                give(Line { stream: self.stream, ends, text });
            } else {
                self.begun.extend_from_slice(text);
                give(Line { stream: self.stream, ends, text: &self.begun });
                self.begun.clear();
            }
            self.inside = !ends;
        }
    }

    /// No more bytes come: gives what is left, as the end of its line.
    pub(crate) fn end(&mut self, mut give: impl FnMut(Line<'_>)) {
        if !self.begun.is_empty() || self.inside {
            give(Line { stream: self.stream, ends: true, text: &self.begun });
            self.begun.clear();
            self.inside = false;
        }
    }
}

/// Appends the line in the form of the file, newline included.
pub(crate) fn format(out: &mut Vec<u8>, at_ns: u64, line: &Line<'_>) {
    let (seconds, nanoseconds) = (at_ns / 1_000_000_000, at_ns % 1_000_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let mut number = |value: u64, digits: u32, after: u8| {
        for digit in (0..digits).rev() {
            out.push(b'0' + (value / 10u64.pow(digit) % 10) as u8);
        }
        out.push(after);
    };
    number(year, 4, b'-');
    number(month, 2, b'-');
    number(day, 2, b'T');
    number(second / 3600, 2, b':');
    number(second / 60 % 60, 2, b':');
    number(second % 60, 2, b'.');
    number(nanoseconds, 9, b'Z');
    out.push(b' ');
    out.extend_from_slice(line.stream.as_bytes());
    out.extend_from_slice(if line.ends { b" F " } else { b" P " });
    out.extend_from_slice(line.text);
    out.push(b'\n');
}

/// Year, month and day of a number of days since 1970-01-01, counted in eras of 400 years that begin in March.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(chunks: &[&[u8]]) -> Vec<(bool, Vec<u8>)> {
        let mut splitter = Splitter::new("stdout");
        let mut found = Vec::new();
        for chunk in chunks {
            splitter.split(chunk, |line| found.push((line.ends, line.text.to_vec())));
        }
        splitter.end(|line| found.push((line.ends, line.text.to_vec())));
        found
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let full = |text: &[u8]| (true, text.to_vec());
        assert_eq!(parts(&[b"a\n\nb"]), [full(b"a"), full(b""), full(b"b")]);
        assert_eq!(parts(&[b"a", b"b\nc", b"\n"]), [full(b"ab"), full(b"c")]);
        assert_eq!(parts(&[]), []);
        let text: Vec<u8> = (0..100_000u32).map(|i| if i % 977 == 0 { b'\n' } else { b'a' + (i % 26) as u8 }).collect();
        let whole = parts(&[&text]);
        for size in [1, 7, 976, 977, 4096, 65_536] {
            assert_eq!(parts(&text.chunks(size).collect::<Vec<_>>()), whole, "in chunks of {size}");
        }
    }

    #[test]
    fn long_lines_come_in_parts_of_which_only_the_last_ends() {
        for (length, expected) in [
            (PART_BYTES_MAX - 1, vec![(true, PART_BYTES_MAX - 1)]),
            (PART_BYTES_MAX, vec![(true, PART_BYTES_MAX)]),
            (PART_BYTES_MAX + 1, vec![(false, PART_BYTES_MAX), (true, 1)]),
            (3 * PART_BYTES_MAX, vec![(false, PART_BYTES_MAX), (false, PART_BYTES_MAX), (true, PART_BYTES_MAX)]),
        ] {
            let mut text = vec![b'x'; length];
            text.push(b'\n');
            let found: Vec<_> = parts(&[&text]).into_iter().map(|(ends, text)| (ends, text.len())).collect();
            assert_eq!(found, expected, "{length}");
        }
        // Without a newline at the very end, and with a chunk border at the part's.
        let text = vec![b'x'; PART_BYTES_MAX];
        assert_eq!(parts(&[&text]).len(), 2);
        assert_eq!(parts(&[&text]).last(), Some(&(true, Vec::new())));
        assert_eq!(parts(&[&text, b"\n"]).last(), Some(&(true, Vec::new())));
    }

    #[test]
    fn a_line_has_the_common_form() {
        let mut out = Vec::new();
        let line = Line { stream: "stderr", ends: false, text: b"hello \xff" };
        format(&mut out, 1_795_247_630_123_456_789, &line);
        assert_eq!(out, b"2026-11-21T07:53:50.123456789Z stderr P hello \xff\n");
        out.clear();
        format(&mut out, 951_782_400_000_000_001, &Line { stream: "stdout", ends: true, text: b"" });
        assert_eq!(out, b"2000-02-29T00:00:00.000000001Z stdout F \n");
    }
}
