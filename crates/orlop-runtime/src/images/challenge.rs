//! The ways to log in that a registry offers in `WWW-Authenticate`.

/// One way to log in, as a registry offers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// Lower case.
    pub(crate) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter by its lower-case name.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Reads a `WWW-Authenticate` header: `Bearer realm="…",service="…", Basic realm="…"`. What is not understood is
/// skipped.
pub(crate) fn parse_challenges(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = header.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let value = after.trim_start().strip_prefix('=').map(str::trim_start);
        rest = match (value, challenges.last_mut()) {
            (Some(value), Some(challenge)) => {
                let (value, after) = parse_value(value);
                challenge.parameters.push((word.to_ascii_lowercase(), value));
                after
            }
            _ if word.is_empty() => {
                let mut chars = after.chars();
                chars.next();
                chars.as_str()
            }
            _ => {
                challenges.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
                after
            }
        };
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    challenges
}

fn parse_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let check = |header: &str, expected: &[(&str, &[(&str, &str)])]| {
            let expected: Vec<_> = expected
                .iter()
                .map(|(scheme, parameters)| Challenge {
                    scheme: (*scheme).into(),
                    parameters: parameters.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
                })
                .collect();
            assert_eq!(parse_challenges(header), expected, "{header}");
        };
        check(
            r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#,
            &[(
                "bearer",
                &[
                    ("realm", "https://auth.example/token"),
                    ("service", "registry.example"),
                    ("scope", "repository:a/b:pull,push"),
                ],
            )],
        );
        check(
            r#"Basic realm="a \"b\"", Bearer realm=x"#,
            &[("basic", &[("realm", "a \"b\"")]), ("bearer", &[("realm", "x")])],
        );
        check("Negotiate", &[("negotiate", &[])]);
        check("", &[]);
        check("=,=;\"", &[]);
        check(r#"Bearer realm="unclosed"#, &[("bearer", &[("realm", "unclosed")])]);
    }

    #[test]
    fn any_header_is_read_without_trouble() {
        for seed in 0u32..2000 {
            let text: String = (0..20)
                .map(|i| {
                    ['"', '=', ',', ' ', '\\', 'a', 'é', ';'][(seed.wrapping_mul(2_654_435_761) >> i) as usize % 8]
                })
                .collect();
            parse_challenges(&text);
        }
    }
}
