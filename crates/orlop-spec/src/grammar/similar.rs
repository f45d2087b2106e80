//! What somebody may have meant.

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
fn fold(word: &str) -> Vec<char> {
    word.chars().filter(|c| !"_-. ".contains(*c)).flat_map(char::to_lowercase).collect()
}

/// How many insertions, deletions, replacements and swaps of neighbours lead from one word to the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let (mut before, mut last): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=b.len()).collect());
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
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
