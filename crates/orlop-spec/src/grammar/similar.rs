//! What somebody may have meant.

use orlop_model::similar::distance;

/// The candidate that a word was probably meant to be.
pub(crate) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    const LENGTH_MAX: usize = 64;
    if word.len() > LENGTH_MAX {
        return None;
    }
    let folded = fold(word);
    candidates
        .into_iter()
        .filter(|candidate| *candidate != word)
        .map(|candidate| (distance(&folded, &fold(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().min(word.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `pullPolicy`, `pull-policy` and `pull_policy` are one word spelled in three ways.
fn fold(word: &str) -> String {
    word.chars().filter(|c| !"_-. ".contains(*c)).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not() {
        let keys = ["retries", "timeout", "interval", "pull_policy", "port"];
        for (word, expected) in [
            ("retires", Some("retries")),
            ("retry", None),
            ("time_out", Some("timeout")),
            ("pullPolicy", Some("pull_policy")),
            ("Port", Some("port")),
            ("ports", Some("port")),
            ("x", None),
            ("", None),
            ("banana", None),
        ] {
            assert_eq!(nearest(word, keys), expected, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(1_000_000), keys), None);
    }
}
