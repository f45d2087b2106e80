//! Schedules of cron services, and time zones.

use super::{Refusal, because, whole};

struct Field {
    name: &'static str,
    min: u64,
    max: u64,
    words: &'static [&'static str],
}

const FIELDS: [Field; 6] = [
    Field { name: "second", min: 0, max: 59, words: &[] },
    Field { name: "minute", min: 0, max: 59, words: &[] },
    Field { name: "hour", min: 0, max: 23, words: &[] },
    Field { name: "day of the month", min: 1, max: 31, words: &[] },
    Field {
        name: "month",
        min: 1,
        max: 12,
        words: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field { name: "day of the week", min: 0, max: 7, words: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

/// Five fields (minute, hour, day, month, weekday), or six with seconds in front. Checked, also for dates that never
/// come, and used as written.
pub(crate) fn schedule(text: &str) -> Result<String, Refusal> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let fields = match words.len() {
        5 => &FIELDS[1..],
        6 => &FIELDS[..],
        _ if text.starts_with('@') => {
            return because("write the fields out: \"0 0 * * *\" is daily, \"0 * * * *\" hourly");
        }
        n => {
            return because(format!(
                "a schedule has 5 fields (minute hour day month weekday), or 6 with seconds in front; this one has {n}"
            ));
        }
    };
    let mut sets = Vec::new();
    for (field, word) in fields.iter().zip(&words) {
        sets.push(set(field, word)?);
    }
    let [.., days, months, _] = sets.as_slice() else { return Err(Refusal::Plain) };
    let longest = |month: u64| match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let any_weekday = words.last().is_some_and(|word| *word == "*");
    let comes = (1..=12).any(|month| months & (1 << month) != 0 && (1..=longest(month)).any(|d| days & (1 << d) != 0));
    if any_weekday && !comes {
        return because("such a day never comes: choose a day that one of the months has");
    }
    Ok(text.to_owned())
}

/// The values of a field, as bits.
fn set(field: &Field, text: &str) -> Result<u64, Refusal> {
    let Field { name, min, max, words } = field;
    let wrong = |part: &str| {
        Refusal::Because(format!(
            "{part:?} is no {name}: write *, a number from {min} to {max}, a range a-b, a step */n or a list of them"
        ))
    };
    let number = |part: &str| {
        let lower = part.to_ascii_lowercase();
        let word = words.iter().position(|w| *w == lower).map(|i| i as u64 + min);
        word.or_else(|| part.bytes().all(|c| c.is_ascii_digit()).then(|| part.parse().ok()).flatten())
            .filter(|n| (min..=max).contains(&n))
    };
    let mut bits = 0u64;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, whole(step).filter(|s| (1..=*max).contains(s)).ok_or_else(|| wrong(part))?),
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (*min, *max),
            Some((first, last)) => {
                (number(first).ok_or_else(|| wrong(part))?, number(last).ok_or_else(|| wrong(part))?)
            }
            None => {
                let first = number(range).ok_or_else(|| wrong(part))?;
                (first, if part.contains('/') { *max } else { first })
            }
        };
        if first > last {
            return because(format!("{part:?} runs backwards: a range goes from the smaller {name} to the larger"));
        }
        let mut value = first;
        while value <= last {
            bits |= 1 << value;
            value += step;
        }
    }
    Ok(bits)
}

/// `UTC` or a name of the time zone database, `Europe/Berlin`; its form only.
pub(crate) fn timezone(text: &str) -> Result<String, Refusal> {
    let part = |part: &str| {
        (1..=14).contains(&part.len())
            && part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|c| c.is_ascii_alphanumeric() || b"_+-".contains(&c))
    };
    let parts: Vec<&str> = text.split('/').collect();
    let good = (1..=3).contains(&parts.len()) && parts.iter().all(|p| part(p));
    if good { Ok(text.to_owned()) } else { Err(Refusal::Plain) }
}

#[cfg(test)]
mod tests {
    use super::super::remedy;
    use super::*;

    #[test]
    fn schedules_have_five_or_six_fields_in_their_ranges() {
        for good in [
            "0 3 * * *",
            "*/5 * * * *",
            "0 0 1,15 * *",
            "0 9-17/2 * jan-mar MON-FRI",
            "30 0 3 * * *",
            "0 0 29 2 *",
            "0 0 31 * 7",
            "0 0 30 2 1",
            "5/10 * * * *",
            "00 03 * * *",
        ] {
            assert_eq!(schedule(good), Ok(good.to_owned()));
        }
        for (bad, expected) in [
            ("", "has 0"),
            ("* * * *", "has 4"),
            ("* * * * * * *", "has 7"),
            ("@daily", "0 0 * * *"),
            ("60 * * * *", "0 to 59"),
            ("* 24 * * *", "0 to 23"),
            ("* * 0 * *", "1 to 31"),
            ("* * * 13 *", "1 to 12"),
            ("* * * * 8", "0 to 7"),
            ("* * * foo *", "is no month"),
            ("*/0 * * * *", "is no minute"),
            ("*/x * * * *", "is no minute"),
            ("5-1 * * * *", "backwards"),
            ("1,,2 * * * *", "is no minute"),
            ("-1 * * * *", "is no minute"),
            ("0 0 30 2 *", "never comes"),
            ("0 0 31 4,6 *", "never comes"),
            ("0 0 L * *", "is no day"),
        ] {
            assert!(remedy(schedule(bad)).contains(expected), "{bad}: {}", remedy(schedule(bad)));
        }
    }

    #[test]
    fn time_zones_have_their_databases_names() {
        for good in ["UTC", "CET", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"] {
            assert_eq!(timezone(good), Ok(good.to_owned()));
        }
        for bad in ["", "Europe/", "+02:00", "Europe/Berlin/x/y", "../etc/passwd"] {
            assert_eq!(timezone(bad), Err(Refusal::Plain), "{bad}");
        }
    }
}
