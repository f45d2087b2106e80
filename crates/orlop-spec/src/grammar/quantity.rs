//! Durations, sizes and shares of a processor.

use super::{Refusal, because, whole};

/// Milliseconds of `500ms`, `15s`, `5m`, `1h`, `1d`, or several from large to small: `1h30m`.
pub(crate) fn duration(text: &str) -> Result<u64, Refusal> {
    const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    if text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(|c| c.is_ascii_digit() || c == b'.') {
        return because(format!("a duration has a unit (ms, s, m, h, d): write {text}s if seconds are meant"));
    }
    let (mut rest, mut total, mut coarsest) = (text, 0u64, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let unit = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let (Some(number), true) = (whole(&rest[..digits]), unit > 0) else {
            if rest[digits..].starts_with('.') {
                return because("a duration is of whole numbers: write 1500ms or 1s500ms for one and a half seconds");
            }
            return Err(Refusal::Plain);
        };
        let Some(index) = UNITS.iter().position(|(name, _)| *name == &rest[digits..digits + unit]) else {
            return because("the units of a duration are ms, s, m, h and d");
        };
        if index < coarsest {
            return because("a duration names each unit once, the large ones first: 1h30m");
        }
        coarsest = index + 1;
        total = number.checked_mul(UNITS[index].1).and_then(|ms| total.checked_add(ms)).ok_or(Refusal::Plain)?;
        rest = &rest[digits + unit..];
    }
    if coarsest == 0 { Err(Refusal::Plain) } else { Ok(total) }
}

/// Bytes of `1048576`, `256Mi`, `500M`.
pub(crate) fn size(text: &str) -> Result<u64, Refusal> {
    const UNITS: [(&str, u64); 9] = [
        ("", 1),
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ];
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let Some(number) = whole(&text[..digits]) else { return Err(Refusal::Plain) };
    let unit = &text[digits..];
    if unit.starts_with('.') {
        return because("a size is a whole number: write 1536Mi for one and a half Gi");
    }
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let stem = unit.trim_end_matches(['b', 'B']);
        let meant = UNITS.iter().skip(1).find(|(name, _)| name.eq_ignore_ascii_case(stem)).map(|(name, _)| *name);
        return because(match meant {
            Some(name) => format!("did you mean {number}{name}? Units are Ki, Mi, Gi, Ti (1024) and k, M, G, T (1000)"),
            None => "the units of a size are Ki, Mi, Gi, Ti (1024) and k, M, G, T (1000); none means bytes".to_owned(),
        });
    };
    number.checked_mul(*factor).ok_or(Refusal::Plain)
}

/// Thousandths of a core of `2`, `0.5`, `500m`.
pub(crate) fn cpu(text: &str) -> Result<u64, Refusal> {
    if let Some(thousandths) = text.strip_suffix('m') {
        return whole(thousandths).ok_or(Refusal::Plain);
    }
    let (cores, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = !fraction.is_empty() && fraction.bytes().all(|c| c.is_ascii_digit());
    let (Some(cores), true) = (whole(cores), digits) else { return Err(Refusal::Plain) };
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 3 {
        return because("cpu is counted in thousandths of a core: at most three digits after the point");
    }
    let thousandths: u64 = format!("{fraction:0<3}").parse().map_err(|_| Refusal::Plain)?;
    cores.checked_mul(1000).and_then(|ms| ms.checked_add(thousandths)).ok_or(Refusal::Plain)
}

#[cfg(test)]
mod tests {
    use super::super::remedy;
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("0s", 0),
            ("15s", 15_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("1h30m", 5_400_000),
            ("1d1h1m1s1ms", 90_061_001),
        ] {
            assert_eq!(duration(text), Ok(ms), "{text}");
        }
        for text in ["", "s", "-1s", "1 s", " 1s", "015s", "1s ", "99999999999999999d", "18446744073709551615h", "1s2"]
        {
            assert_eq!(duration(text), Err(Refusal::Plain), "{text}");
        }
        assert!(remedy(duration("15")).contains("write 15s"));
        assert!(remedy(duration("0.5")).contains("unit"));
        assert!(remedy(duration("1.5s")).contains("1500ms"));
        assert!(remedy(duration("15sec")).contains("ms, s, m"));
        assert!(remedy(duration("30m1h")).contains("1h30m"));
        assert!(remedy(duration("1s1s")).contains("once"));
    }

    #[test]
    fn sizes_are_binary_or_decimal_and_never_guessed() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("256Mi", 256 << 20),
            ("1Gi", 1 << 30),
            ("2Ti", 2 << 40),
            ("4Ki", 4096),
            ("500M", 500_000_000),
            ("1k", 1000),
            ("1G", 1_000_000_000),
            ("1T", 1_000_000_000_000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "Mi", "-1", "0256Mi", "99999999999Ti"] {
            assert_eq!(size(text), Err(Refusal::Plain), "{text}");
        }
        assert!(remedy(size("1.5Gi")).contains("1536Mi"));
        assert!(remedy(size("256MB")).contains("256M?"), "{}", remedy(size("256MB")));
        assert!(remedy(size("256mib")).contains("256Mi?"));
        assert!(remedy(size("256K")).contains("256k?"));
        assert!(remedy(size("256 Mi")).contains("units"));
        assert!(remedy(size("1X")).contains("units"));
    }

    #[test]
    fn cpu_is_cores_or_thousandths() {
        for (text, thousandths) in [("0.5", 500), ("2", 2000), ("500m", 500), ("0.025", 25), ("1.50", 1500), ("0", 0)] {
            assert_eq!(cpu(text), Ok(thousandths), "{text}");
        }
        for text in ["", "m", ".5", "1.", "-1", "1e3", "0.5m", "half", "01", "99999999999999999999"] {
            assert_eq!(cpu(text), Err(Refusal::Plain), "{text}");
        }
        assert!(remedy(cpu("0.0001")).contains("thousandths"));
    }
}
