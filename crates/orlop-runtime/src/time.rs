//! Moments as text: RFC 3339 in UTC, the form of log lines and of containerd's labels.

use std::time::{SystemTime, UNIX_EPOCH};

/// The clock, in nanoseconds since the Unix epoch.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// `2026-11-21T07:53:50Z`.
pub(crate) fn format_seconds(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Reads `2026-11-21T07:53:50[.fraction]Z` as nanoseconds since the Unix epoch. Nothing else is read: the logger
/// writes UTC.
pub(crate) fn parse_ns(text: &[u8]) -> Option<u64> {
    let digits = |range: std::ops::Range<usize>| -> Option<u64> {
        text.get(range)?.iter().try_fold(0u64, |n, c| c.is_ascii_digit().then(|| n * 10 + u64::from(c - b'0')))
    };
    let punctuation = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !punctuation.iter().all(|&(at, c)| text.get(at) == Some(&c)) || text.last() != Some(&b'Z') {
        return None;
    }
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let (hour, minute, second) = (digits(11..13)?, digits(14..16)?, digits(17..19)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60
    {
        return None;
    }
    let fraction = match text.get(19)? {
        b'Z' if text.len() == 20 => 0,
        b'.' if (22..=30).contains(&text.len()) => {
            digits(20..text.len() - 1)? * 10u64.pow(u32::try_from(9 - (text.len() - 21)).ok()?)
        }
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction)
}

/// Days since 1970-01-01 to year, month, day of the Gregorian calendar.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // Eras of 400 years, which begin in March so that the leap day is the last of a year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_back_as_they_were_written() {
        for seconds in [0, 951_782_400, 951_868_799, 1_000_000_000, 1_795_247_630, 4_102_444_800, 253_402_300_799] {
            let text = format_seconds(seconds);
            assert_eq!(parse_ns(text.as_bytes()), seconds.checked_mul(1_000_000_000), "{text}");
        }
        assert_eq!(format_seconds(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(parse_ns(b"2026-11-21T07:53:50.123456789Z"), Some(1_795_247_630_123_456_789));
        assert_eq!(parse_ns(b"2026-11-21T07:53:50.5Z"), Some(1_795_247_630_500_000_000));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "Z",
            "2026-11-21",
            "2026-13-21T07:53:50Z",
            "2026-11-21T07:53:50",
            "2026-11-21T07:53:50.Z",
            "2026-11-21T07:53:50.1234567890Z",
            "2026-11-21T07:53:5xZ",
            "1969-12-31T23:59:59Z",
            "2026-11-21T07:53:50+01",
        ] {
            assert_eq!(parse_ns(text.as_bytes()), None, "{text}");
        }
    }
}
