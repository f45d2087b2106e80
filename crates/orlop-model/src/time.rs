//! Time as a value. Nothing in the pure crates asks a clock; the shells pass [`Timestamp`]s in.

use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

/// A span of time in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// A span of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    /// As exact as a sentence needs it: whole seconds from one second on, tenths of a second below, so that it is
    /// printed `32s`, not `32054ms`.
    pub const fn rounded(self) -> Self {
        let unit = if self.0 >= 1000 { 1000 } else { 100 };
        match self.0.saturating_add(unit / 2) / unit * unit {
            0 => self,
            rounded => Self(rounded),
        }
    }
}

impl From<Millis> for Duration {
    fn from(span: Millis) -> Duration {
        Duration::from_millis(span.0)
    }
}

impl From<Duration> for Millis {
    fn from(span: Duration) -> Millis {
        Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Prints the largest unit that divides the span: `15s`, `5m`, `1500ms`.
impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [(u64, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
        if self.0 == 0 {
            return f.write_str("0s");
        }
        match UNITS.iter().find(|(unit, _)| self.0.is_multiple_of(*unit)) {
            Some((unit, suffix)) => write!(f, "{}{suffix}", self.0 / unit),
            None => write!(f, "{}ms", self.0),
        }
    }
}

/// How shells read their clock; a time before 1970 becomes 1970.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Timestamp {
        Timestamp(Millis::from(time.duration_since(UNIX_EPOCH).unwrap_or_default()).0)
    }
}

impl Add<Millis> for Timestamp {
    type Output = Timestamp;

    fn add(self, span: Millis) -> Timestamp {
        Timestamp(self.0.saturating_add(span.0))
    }
}

/// The span from the earlier to the later; zero when the clock went backwards.
impl Sub for Timestamp {
    type Output = Millis;

    fn sub(self, earlier: Timestamp) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_read_in_milliseconds_since_1970() {
        let at = |offset: Duration| Timestamp::from(UNIX_EPOCH + offset);
        assert_eq!(at(Duration::from_micros(1_700_000_000_123_999)), Timestamp(1_700_000_000_123));
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_secs(1)), Timestamp(0));
    }

    #[test]
    fn a_rounded_span_is_as_exact_as_a_sentence_needs_it() {
        for (span, said) in [
            (0, "0s"),
            (7, "7ms"),
            (107, "100ms"),
            (999, "1s"),
            (1077, "1s"),
            (32_054, "32s"),
            (59_700, "1m"),
            (u64::MAX, "18446744073709551s"),
        ] {
            assert_eq!(Millis(span).rounded().to_string(), said);
        }
    }
}
