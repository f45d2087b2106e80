//! Which media type to answer with ([RFC 9110, 12.5.1](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.1)).

use super::problem::Problem;
use http::header::ACCEPT;
use http::{HeaderMap, StatusCode};

/// The offered media type that the caller likes best; of several the first.
pub(super) fn choose(headers: &HeaderMap, offered: &[&'static str]) -> Result<&'static str, Problem> {
    if offered.is_empty() {
        // There is nothing to take offence at.
        return Ok("");
    }
    let texts: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let ranges: Vec<Range<'_>> = texts.iter().flat_map(|text| text.split(',')).filter_map(Range::read).collect();
    if ranges.is_empty() {
        // Nothing was said that can be understood, so everything is welcome.
        return offered.first().copied().ok_or_else(|| refused(offered));
    }
    let best = offered.iter().rev().map(|media| (quality(&ranges, media), *media)).max_by_key(|(quality, _)| *quality);
    best.filter(|(quality, _)| *quality > 0).map(|(_, media)| media).ok_or_else(|| refused(offered))
}

fn refused(offered: &[&'static str]) -> Problem {
    let remedy = format!("accept {}", offered.join(" or "));
    Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", "there is no such form of the answer", remedy)
}

/// One media range of an `Accept` header.
struct Range<'h> {
    kind: &'h str,
    subkind: &'h str,
    /// In thousandths.
    quality: u32,
}

impl<'h> Range<'h> {
    fn read(text: &'h str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subkind) = parts.next()?.split_once('/')?;
        let mut quality = 1000;
        for parameter in parts {
            if let Some(("q" | "Q", weight)) = parameter.split_once('=').map(|(name, weight)| (name.trim(), weight)) {
                let weight: f32 = weight.trim().parse().ok()?;
                // At most three decimals, so nothing is lost.
                quality = (weight.clamp(0.0, 1.0) * 1000.0).round() as u32;
            }
        }
        Some(Self { kind, subkind, quality })
    }

    /// How exactly it names a media type, if it does.
    fn fits(&self, media: &str) -> Option<u8> {
        let (kind, subkind) = media.split(';').next()?.split_once('/')?;
        match (self.kind, self.subkind) {
            ("*", "*") => Some(0),
            (own, "*") if own.eq_ignore_ascii_case(kind) => Some(1),
            (own, sub) if own.eq_ignore_ascii_case(kind) && sub.eq_ignore_ascii_case(subkind) => Some(2),
            _ => None,
        }
    }
}

/// The quality of the range that names the media type most exactly.
fn quality(ranges: &[Range<'_>], media: &str) -> u32 {
    let fitting = ranges.iter().filter_map(|range| Some((range.fits(media)?, range.quality)));
    fitting.max_by_key(|(exactness, _)| *exactness).map_or(0, |(_, quality)| quality)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_liked_form_is_chosen() {
        const OFFERED: &[&str] = &["application/jsonl", "text/event-stream"];
        for (accept, expected) in [
            (None, Some("application/jsonl")),
            (Some("*/*"), Some("application/jsonl")),
            (Some("text/event-stream"), Some("text/event-stream")),
            (Some("Text/Event-Stream; q=0.5, application/jsonl;q=0.4"), Some("text/event-stream")),
            (Some("text/*, */*;q=0.1"), Some("text/event-stream")),
            (Some("*/*, application/jsonl;q=0"), Some("text/event-stream")),
            (Some("application/json"), None),
            (Some("*/*;q=0"), None),
            (Some("nonsense"), Some("application/jsonl")),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, accept.parse().expect("a value"));
            }
            assert_eq!(choose(&headers, OFFERED).ok(), expected, "{accept:?}");
        }
    }
}
