//! Any text in a column that takes every character but NUL.
//!
//! NUL is written `␀0`, and `␀` itself `␀␀`: different texts stay different, and what was written is what is read. It is
//! kept here, and not refused where texts come in, because a worker would send what was refused again and again.

use crate::store::rows;
use std::collections::BTreeMap;

const MARK: char = '␀';

/// The text as a column takes it.
pub(super) fn stored(text: &str) -> String {
    if !text.contains(['\0', MARK]) {
        return text.to_owned();
    }
    let mut stored = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\0' => stored.extend([MARK, '0']),
            MARK => stored.extend([MARK, MARK]),
            other => stored.push(other),
        }
    }
    stored
}

/// Attributes as JSON, which takes every character but NUL as well.
pub(super) fn json(attributes: &BTreeMap<String, String>) -> String {
    rows::json(&attributes.iter().map(|(name, value)| (stored(name), stored(value))).collect())
}

/// The text as it was.
pub(super) fn read(stored: String) -> String {
    if !stored.contains(MARK) {
        return stored;
    }
    let mut text = String::with_capacity(stored.len());
    let mut characters = stored.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            MARK if characters.next() == Some('0') => '\0',
            other => other,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back_and_none_has_a_nul_while_it_is_stored() {
        for text in ["", "plain", "\0", "␀", "␀0", "\0␀\u{0}0", "ü\0\0␀␀x"] {
            let stored = stored(text);
            assert!(!stored.contains('\0'), "{stored:?}");
            assert_eq!(read(stored), text);
        }
        assert_ne!(stored("\0"), stored("␀0"));
    }
}
