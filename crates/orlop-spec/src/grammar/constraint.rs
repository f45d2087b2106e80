//! Conditions on nodes: `node.labels.disk == ssd`.

use super::{Refusal, because};
use orlop_model::spec::{Constraint, NodeAttribute};

/// Reads one condition.
pub(crate) fn parse(text: &str) -> Result<Constraint, Refusal> {
    let (left, equal, right) = match (text.split_once("=="), text.split_once("!=")) {
        (Some((left, right)), None) => (left.trim(), true, right.trim()),
        (None, Some((left, right))) => (left.trim(), false, right.trim()),
        (None, None) if text.contains('=') => return because("compare with == or !=, not with a single ="),
        _ => return Err(Refusal::Plain),
    };
    let attribute = match left.strip_prefix("node.labels.") {
        Some(key) if is_word(key) => NodeAttribute::Label(key.to_owned()),
        Some(_) => return because("a label's key is of letters, digits, -, _, . and /, at most 253"),
        None if left == "node.name" => NodeAttribute::Name,
        None => return because("on the left stands node.name or node.labels.KEY"),
    };
    if !is_word(right) {
        return because("on the right stands the value, without quotes: letters, digits, -, _, . and /, at most 253");
    }
    Ok(Constraint { attribute, equal, value: right.to_owned() })
}

fn is_word(text: &str) -> bool {
    (1..=253).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_./".contains(&c))
}

#[cfg(test)]
mod tests {
    use super::super::remedy;
    use super::*;

    #[test]
    fn constraints_compare_a_name_or_label() {
        for (text, printed) in [
            ("node.labels.disk == ssd", "node.labels.disk == ssd"),
            ("node.labels.example/zone!=a", "node.labels.example/zone != a"),
            ("  node.name  ==  alpha ", "node.name == alpha"),
        ] {
            assert_eq!(parse(text).map(|c| c.to_string()), Ok(printed.to_owned()), "{text}");
        }
        for (bad, expected) in [
            ("", "plain"),
            ("node.name", "plain"),
            ("node.name == a != b", "plain"),
            ("node.name = alpha", "single ="),
            ("node.labels == a", "on the left"),
            ("node.labels. == a", "label's key"),
            ("labels.disk == ssd", "on the left"),
            ("node.name ==", "on the right"),
            ("node.name == \"a\"", "without quotes"),
            ("node.name == a == b", "on the right"),
        ] {
            assert!(remedy(parse(bad)).contains(expected), "{bad}: {}", remedy(parse(bad)));
        }
    }
}
